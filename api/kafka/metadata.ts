/**
 * Brokers, topics and partitions, as this API tells of them. Numbers of brokers are their places among the names of
 * those that live: stable while the set is.
 */
import type { Native } from './native';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from './exchange';
import { KafkaFault, partitionMissing, topicMissing, unprocessable } from './faults';
import { answerType } from './mediaTypes';
import { partitionsOf, type Partitions, type QueuePlace, type TopicFacts } from './partitions';
import { topicOf } from './places';
import { partitionNumber } from './produce';
import { readObject } from './produceBody';

interface BrokerInfo {
  readonly broker: string;
}

interface QueueInfo extends QueuePlace {
  readonly minOffset: number;
  readonly maxOffset: number;
}

const MOST = 1000;

type MetadataOperations =
  | 'getRoot'
  | 'postRoot'
  | 'listBrokers'
  | 'listTopics'
  | 'getTopic'
  | 'listPartitions'
  | 'getPartition'
  | 'getPartitionOffsets'
  | 'createTopic';

export function metadataHandlers(native: Native): KafkaHandlers<MetadataOperations> {
  const answer = (call: KafkaCall, body: unknown): KafkaAnswer => ({
    status: 200,
    body,
    type: answerType(call.headers.accept),
  });
  const root = (call: KafkaCall) => answer(call, {});
  const numbers = (call: KafkaCall) => brokerNumbers(native, call.signal);
  return {
    getRoot: root,
    postRoot: root,

    listBrokers: async (call) => answer(call, { brokers: [...(await numbers(call)).values()] }),

    listTopics: async (call) => answer(call, await topicNames(native, call.signal)),

    async getTopic(call) {
      const topic = await existing(native, call, true);
      const brokers = await numbers(call);
      const partitions = partitionsOf(topic);
      return answer(call, {
        name: topic.name,
        configs: configsOf(topic),
        partitions: partitions.numbers.map((number) => view(partitions, number, brokers)),
      });
    },

    async listPartitions(call) {
      const partitions = partitionsOf(await existing(native, call));
      const brokers = await numbers(call);
      return answer(
        call,
        partitions.numbers.map((number) => view(partitions, number, brokers)),
      );
    },

    async getPartition(call) {
      const partitions = partitionsOf(await existing(native, call));
      const number = partitionNumber(call);
      if (!partitions.queueOf(number)) throw partitionMissing();
      return answer(call, view(partitions, number, await numbers(call)));
    },

    async getPartitionOffsets(call) {
      const topic = await existing(native, call);
      const place = partitionsOf(topic).queueOf(partitionNumber(call));
      if (!place) throw partitionMissing();
      const { minOffset, maxOffset } = await queueInfo(native, topic.name, place, call.signal);
      return answer(call, { beginning_offset: minOffset, end_offset: maxOffset });
    },

    async createTopic(call) {
      await createTopic(native, call, (name) => new KafkaFault(409, 40901, `Topic ${name} already exists.`));
      return { status: 201 };
    },
  };
}

/** The topic of the path. Throws 404 with the number that the dialect has for it, also `itself`, when nothing of it is meant. */
export async function existing(native: Native, call: KafkaCall, itself = false): Promise<TopicFacts> {
  const name = call.params['topic']!;
  const topic = await topicOf(native, name);
  if (topic) return topic;
  throw topicMissing(call.dialect, name, itself);
}

async function brokerNumbers(native: Native, signal: AbortSignal): Promise<Map<string, number>> {
  const answer = await native.call('listBrokers', { path: {} as never, query: {} }, signal);
  const { brokers } = answer.orThrow().json<{ brokers: BrokerInfo[] }>();
  return new Map(
    brokers
      .map(({ broker }) => broker)
      .sort()
      .map((name, i) => [name, i]),
  );
}

/** All names but those of the system, in order. */
export async function topicNames(native: Native, signal: AbortSignal): Promise<string[]> {
  const names: string[] = [];
  let cursor: string | undefined;
  do {
    const query = { limit: MOST, ...(cursor === undefined ? {} : { cursor }) };
    const page = (await native.call('listTopics', { path: {} as never, query }, signal)).orThrow();
    const { topics, cursor: next } = page.json<{ topics: { name: string }[]; cursor?: string }>();
    names.push(...topics.map(({ name }) => name));
    cursor = next;
  } while (cursor !== undefined);
  return names;
}

/** Where a queue begins and ends now. Throws 503 when its broker is away. */
export async function queueInfo(
  native: Native,
  topic: string,
  place: QueuePlace,
  signal: AbortSignal,
): Promise<QueueInfo> {
  return (await queueInfos(native, topic, signal))(place);
}

/** Where the queues of a topic begin and end now, to be asked for each; throws 503 for one whose broker is away. */
export async function queueInfos(
  native: Native,
  topic: string,
  signal: AbortSignal,
): Promise<(place: QueuePlace) => QueueInfo> {
  const answer = await native.call('listQueues', { path: { topic }, query: {} }, signal);
  const { queues } = answer.orThrow().json<{ queues: QueueInfo[] }>();
  return (place) => {
    const found = queues.find(({ broker, queueId }) => broker === place.broker && queueId === place.queueId);
    if (found) return found;
    throw new KafkaFault(503, 50301, `The broker of this partition, ${place.broker}, is away.`);
  };
}

/** There is one replica, the master: it leads, as long as it lives. */
function view(partitions: Partitions, partition: number, brokers: ReadonlyMap<string, number>) {
  const number = brokers.get(partitions.queueOf(partition)!.broker);
  if (number === undefined) return { partition, leader: -1, replicas: [] };
  return { partition, leader: number, replicas: [{ broker: number, leader: true, in_sync: true }] };
}

/** A handful, for clients that look: what they mean here. */
const configsOf = (topic: TopicFacts): Record<string, string> => ({
  'cleanup.policy': 'delete',
  'max.message.bytes': String(4 * 1024 * 1024),
  'message.timestamp.type': 'CreateTime',
  'gantry.message.type': topic.type,
});

const NAME = /^[A-Za-z0-9_.-]{1,127}$/;

/** Creates the topic that the body names, and returns its name. The partitions are spread evenly, over as many brokers as that allows. */
export async function createTopic(
  native: Native,
  call: KafkaCall,
  exists: (name: string) => KafkaFault,
): Promise<string> {
  const { object } = readObject(await call.body());
  const { topic_name: name, partitions_count: count } = object;
  if (typeof name !== 'string' || !NAME.test(name) || name === '.' || name === '..')
    throw unprocessable('topic_name must be 1 to 127 letters, digits, and _ . -');
  if (!isCount(count)) throw unprocessable('partitions_count must be a whole number from 1.');
  if (await topicOf(native, name)) throw exists(name);
  const brokers = [...(await brokerNumbers(native, call.signal)).keys()];
  const body = { name, type: 'NORMAL', permission: 'RW', tagPolicy: 'OPEN', ...spread(count, brokers) } as const;
  const answer = await native.call('createTopic', { path: {} as never, query: {} as never, body }, call.signal);
  answer.orThrow();
  return name;
}

const isCount = (count: unknown): count is number | null | undefined =>
  count === undefined || count === null || (Number.isSafeInteger(count) && (count as number) > 0);

function spread(
  count: number | null | undefined,
  brokers: readonly string[],
): { brokers?: string[]; writeQueues?: number } {
  if (count === undefined || count === null) return {};
  let over = Math.min(count, brokers.length);
  while (over > 1 && count % over !== 0) over--;
  return { brokers: brokers.slice(0, over), writeQueues: count / over };
}
