/** The cluster, its topics and partitions as version 3 of this API shows them. Any cluster id in a path is taken. */
import { baseOf } from '../baseUri';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from '../exchange';
import { KafkaFault, partitionMissing } from '../faults';
import { createTopic, topicNames } from '../metadata';
import type { Native } from '../native';
import { partitionsOf, type TopicFacts } from '../partitions';
import { topicOf } from '../places';
import { partitionNumber } from '../produce';

type ClusterOperations =
  | 'listClustersV3'
  | 'getClusterV3'
  | 'listTopicsV3'
  | 'createTopicV3'
  | 'getTopicV3'
  | 'listPartitionsV3'
  | 'getPartitionV3';

export function clusterHandlers(native: Native): KafkaHandlers<ClusterOperations> {
  return {
    async listClustersV3(call) {
      const answer = await native.call('getCluster', { path: {} as never, query: {} as never }, call.signal);
      const { cluster } = answer.orThrow().json<{ cluster: string }>();
      const root = rootOf(call);
      return listOf('KafkaClusterList', `${root}/clusters`, [clusterView(`${root}/clusters`, cluster)]);
    },

    getClusterV3: (call) => viewed(clusterView(`${rootOf(call)}/clusters`, call.params['cluster']!)),

    async listTopicsV3(call) {
      const names = await topicNames(native, call.signal);
      const topics = await Promise.all(names.map((name) => topicOf(native, name)));
      const found = topics.filter((topic): topic is TopicFacts => topic !== undefined);
      const views = found.map((topic) => topicView(call, topic));
      return listOf('KafkaTopicList', `${clusterUri(call)}/topics`, views);
    },

    async createTopicV3(call) {
      const name = await createTopic(
        native,
        call,
        (taken) => new KafkaFault(400, 40002, `Topic '${taken}' already exists.`),
      );
      return { ...viewed(topicView(call, await native.topic(name))), status: 201 };
    },

    getTopicV3: async (call) => viewed(topicView(call, await existing(native, call))),

    async listPartitionsV3(call) {
      const topic = await existing(native, call);
      const views = partitionsOf(topic).numbers.map((number) => partitionView(call, topic.name, number));
      return listOf('KafkaPartitionList', `${topicUri(call, topic.name)}/partitions`, views);
    },

    async getPartitionV3(call) {
      const topic = await existing(native, call);
      const number = partitionNumber(call);
      if (!partitionsOf(topic).queueOf(number)) throw partitionMissing();
      return viewed(partitionView(call, topic.name, number));
    },
  };
}

const viewed = (body: object): KafkaAnswer => ({ status: 200, type: 'application/json', body });

const listOf = (kind: string, self: string, data: readonly object[]): KafkaAnswer =>
  viewed({ kind, metadata: { self, next: null }, data });

async function existing(native: Native, { params }: KafkaCall): Promise<TopicFacts> {
  const topic = await topicOf(native, params['topic']!);
  if (topic) return topic;
  throw new KafkaFault(404, 40403, 'This server does not host this topic-partition.');
}

/** The URI of version 3 as the client calls it, with the prefix that it chose. */
function rootOf({ req, dialect }: KafkaCall): string {
  const own = baseOf(req, dialect);
  return own.slice(0, own.lastIndexOf('/v3/') + '/v3'.length);
}

const clusterUri = (call: KafkaCall): string => `${rootOf(call)}/clusters/${call.params['cluster']!}`;
const topicUri = (call: KafkaCall, topic: string): string => `${clusterUri(call)}/topics/${topic}`;
const related = (uri: string) => ({ related: uri });

function clusterView(clusters: string, id: string) {
  const self = `${clusters}/${id}`;
  return {
    kind: 'KafkaCluster',
    metadata: { self, resource_name: `crn:///kafka=${id}` },
    cluster_id: id,
    controller: related(`${self}/brokers/0`),
    acls: related(`${self}/acls`),
    brokers: related(`${self}/brokers`),
    broker_configs: related(`${self}/broker-configs`),
    consumer_groups: related(`${self}/consumer-groups`),
    topics: related(`${self}/topics`),
    partition_reassignments: related(`${self}/topics/-/partitions/-/reassignment`),
  };
}

function topicView(call: KafkaCall, topic: TopicFacts) {
  const self = topicUri(call, topic.name);
  const cluster = call.params['cluster']!;
  return {
    kind: 'KafkaTopic',
    metadata: { self, resource_name: `crn:///kafka=${cluster}/topic=${topic.name}` },
    cluster_id: cluster,
    topic_name: topic.name,
    is_internal: false,
    replication_factor: 1,
    partitions_count: partitionsOf(topic).numbers.length,
    partitions: related(`${self}/partitions`),
    configs: related(`${self}/configs`),
    partition_reassignments: related(`${self}/partitions/-/reassignment`),
  };
}

function partitionView(call: KafkaCall, topic: string, partition: number) {
  const self = `${topicUri(call, topic)}/partitions/${partition}`;
  const cluster = call.params['cluster']!;
  return {
    kind: 'KafkaPartition',
    metadata: { self, resource_name: `crn:///kafka=${cluster}/topic=${topic}/partition=${partition}` },
    cluster_id: cluster,
    topic_name: topic,
    partition_id: partition,
    leader: related(`${self}/replicas/0`),
    replicas: related(`${self}/replicas`),
    reassignment: related(`${self}/reassignment`),
  };
}
