/** Topics, their queues and routes on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { permissionHere } from '../../src/broker/brokerPermission';
import type { Topic, TopicPatch } from '../../src/broker/topic';
import type { Routes } from '../../src/cluster/routes';
import { bulkAnswer } from '../bulk';
import { etagOf, preconditionOf } from '../etag';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';

export interface TopicDeps {
  readonly broker: Broker;
  /** Queues of a new topic whose creator names no number. */
  readonly defaultQueues: number;
  /** Resolves when the NameServers that can be reached know of the last change. */
  readonly registered: () => Promise<unknown>;
  readonly routes: Routes;
}

type TopicOperations =
  'listTopics' | 'createTopic' | 'getTopic' | 'updateTopic' | 'deleteTopic' | 'getTopicRoute' | 'listQueues';

export function topicHandlers({ broker, defaultQueues, registered, routes }: TopicDeps): HandlerTable<TopicOperations> {
  return {
    listTopics({ query }) {
      const { topics, more } = broker.rooms.topics.list(afterOf(query.cursor), query.limit, query.system);
      return {
        status: 200,
        body: { topics: topics.map(topicView), ...(more ? { cursor: listCursor(topics.at(-1)!.name) } : {}) },
      };
    },

    async createTopic(call) {
      const { body } = call;
      checkName(body.name, '/name');
      const elsewhere = body.brokers?.filter((name) => name !== broker.name) ?? [];
      if (elsewhere.length > 0) {
        throw new GantryError(
          'BROKER_NOT_FOUND',
          `there is no broker ${elsewhere.join(', ')} here: GET /v1/brokers lists those that are`,
          {
            errors: [{ pointer: '/brokers', detail: `only ${broker.name} can be reached from here` }],
          },
        );
      }
      const writeQueues = body.writeQueues ?? Math.min(defaultQueues, body.readQueues ?? defaultQueues);
      const wanted = {
        name: body.name,
        type: body.type ?? 'NORMAL',
        readQueues: body.readQueues ?? writeQueues,
        writeQueues,
        permission: body.permission ?? 'RW',
        tagPolicy: body.tagPolicy ?? 'OPEN',
        ...(body.description === undefined ? {} : { description: body.description }),
      };
      const condition = preconditionOf(call.headers, idOf(broker, body.name));
      const { topic, changed } = await broker.rooms.topics.create(wanted, condition);
      await registered();
      const headers = { ETag: topicTag(topic) };
      return { ...bulkAnswer(call, [okOn(broker)], { topic: topicView(topic) }), status: changed ? 201 : 200, headers };
    },

    getTopic({ path }) {
      const topic = broker.rooms.topics.get(nameOf(path.topic));
      return { status: 200, body: topicView(topic), headers: { ETag: topicTag(topic) } };
    },

    async updateTopic({ path, body, headers }) {
      const name = nameOf(path.topic);
      const patch = withDefaults(body, defaultQueues);
      const { topic } = await broker.rooms.topics.update(name, patch, preconditionOf(headers, idOf(broker, name)));
      await registered();
      return { status: 200, body: topicView(topic), headers: { ETag: topicTag(topic) } };
    },

    async deleteTopic({ path, query, headers }) {
      const name = nameOf(path.topic);
      await broker.rooms.topics.delete(name, query.force, preconditionOf(headers, idOf(broker, name)));
      await registered();
      return { status: 204 };
    },

    async getTopicRoute(call) {
      const name = nameOf(call.path.topic);
      const here = broker.state.topicsByName.get(name)?.record;
      try {
        return { status: 200, body: await routes.of(name, call.signal) };
      } catch (error) {
        // The NameServers know of no groups' own topics, and may all be away: what is here is known here.
        if (!here || !(error instanceof GantryError)) throw error;
        return { status: 200, body: routeView(broker, here) };
      }
    },

    listQueues({ path }) {
      const name = nameOf(path.topic);
      const queues = broker.rooms.topics.queues(name).map(({ queue, permission, readable, writable }) => ({
        broker: broker.name,
        queueId: queue.queueId,
        minOffset: queue.min,
        maxOffset: queue.max,
        ...(queue.lastStoreTime > 0 ? { lastStoreTimestamp: queue.lastStoreTime } : {}),
        readable,
        writable,
        permission,
      }));
      return { status: 200, body: { queues } };
    },
  };
}

/** Names that the pattern allows and a path or a file system would take for something else. */
export function checkName(name: string, pointer: string): void {
  if (name !== '.' && name !== '..') return;
  throw new GantryError('VALIDATION_FAILED', `"${name}" cannot be a name: it means a place in a path`, {
    errors: [{ pointer, detail: 'must not be . or ..' }],
  });
}

type Nullable<T> = { [K in keyof T]: T[K] | null };

/** In an update null resets to what a new topic has. */
function withDefaults(patch: Nullable<TopicPatch>, queues: number): TopicPatch {
  const defaults = {
    readQueues: queues,
    writeQueues: queues,
    permission: 'RW',
    tagPolicy: 'OPEN',
    allowReorder: false,
  } as const;
  const result: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === undefined) continue;
    result[field] = value ?? (field in defaults ? defaults[field as keyof typeof defaults] : null);
  }
  return result;
}

const idOf = (broker: Broker, name: string): string | undefined => broker.state.topicsByName.get(name)?.record.id;

const okOn = (broker: Broker) => ({ status: 'OK', broker: broker.name });

const topicTag = (topic: Topic): string => etagOf(topic.id, topic.version);

export function topicView({ no: _, createdAt, updatedAt, ...topic }: Topic) {
  return { ...topic, createdTimestamp: createdAt, updatedTimestamp: updatedAt };
}

function routeView(broker: Broker, topic: Topic) {
  const { epoch, identity } = broker.rooms;
  return {
    topic: topic.name,
    id: topic.id,
    version: topic.version,
    partitions: topic.partitions,
    brokers: [
      {
        cluster: broker.cluster,
        broker: broker.name,
        epoch,
        addresses: { '0': broker.address },
        messageIdTag: identity.messageIdTag,
      },
    ],
    queues: [
      {
        broker: broker.name,
        readQueues: topic.readQueues,
        writeQueues: topic.writeQueues,
        permission: permissionHere(broker.state, topic),
      },
    ],
  };
}
