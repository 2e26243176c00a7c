/** Topics, their queues and routes on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { permissionHere } from '../../src/broker/brokerPermission';
import type { Precondition } from '../../src/broker/command';
import { topicDefinition } from '../../src/broker/definition';
import { brokersIn } from '../../src/broker/partitions';
import { queuesInUse } from '../../src/broker/topicChanges';
import { homeOf, type Topic, type TopicPatch } from '../../src/broker/topic';
import type { Fleet } from '../../src/cluster/fleet';
import type { Routes } from '../../src/cluster/routes';
import { REMIND_MS, type Spread, type Told } from '../../src/cluster/spread';
import { etagOf, preconditionOf } from '../etag';
import { nameOf } from '../names';
import type { Answer, Call, HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';
import { goneAnswer, notTold, resultsOf } from '../told';

export interface TopicDeps {
  readonly broker: Broker;
  /** Queues of a new topic whose creator names no number. */
  readonly defaultQueues: number;
  /** Resolves when the NameServers that can be reached know of the last change. */
  readonly registered: () => Promise<unknown>;
  readonly routes: Routes;
  readonly fleet: Fleet;
  readonly spread: Spread;
}

export type TopicOperations =
  'listTopics' | 'createTopic' | 'getTopic' | 'updateTopic' | 'deleteTopic' | 'getTopicRoute' | 'listQueues';

export function topicHandlers(deps: TopicDeps): HandlerTable<TopicOperations> {
  const { broker, defaultQueues, registered, routes } = deps;
  return {
    listTopics({ query }) {
      const { topics, more } = broker.rooms.topics.list(afterOf(query.cursor), query.limit, query.system);
      return {
        status: 200,
        body: {
          topics: topics.map((topic) => listedView(topic, query.partitions === true)),
          ...(more ? { cursor: listCursor(topics.at(-1)!.name) } : {}),
        },
      };
    },

    async createTopic(call) {
      const { body } = call;
      checkName(body.name, '/name');
      const existing = broker.state.topicsByName.get(body.name)?.record;
      // Any broker of an existing topic can confirm it; the home may be away, or one of the named brokers.
      const isElsewhere = existing !== undefined && homeOf(existing) !== broker.name;
      const brokers = isElsewhere ? [] : await checkBrokers(deps, body.brokers);
      if (brokers.length > 0 && !brokers.includes(broker.name)) throw notAmongThem(broker, brokers);
      const writeQueues = body.writeQueues ?? Math.min(defaultQueues, body.readQueues ?? defaultQueues);
      const wanted = {
        name: body.name,
        type: body.type ?? 'NORMAL',
        readQueues: body.readQueues ?? writeQueues,
        writeQueues,
        permission: body.permission ?? 'RW',
        tagPolicy: body.tagPolicy ?? 'OPEN',
        brokers,
        ...(body.description === undefined ? {} : { description: body.description }),
      };
      const condition = preconditionOf(call.headers, idOf(broker, body.name));
      const { topic, changed } = await broker.rooms.topics.create(wanted, condition);
      const headers = { ETag: topicTag(topic) };
      if (!changed) {
        const told = isElsewhere ? [] : await tellTopic(deps, topic, REMIND_MS);
        const reminded = told.filter(({ error }) => !error);
        const results = resultsOf(call.requestId, broker.name, reminded);
        return { status: 200, body: { topic: topicView(topic), results, ...notTold(told) }, headers };
      }
      const [told] = await Promise.all([tellTopic(deps, topic), registered()]);
      const results = resultsOf(call.requestId, broker.name, told);
      const status = told.some(({ error }) => error) ? 207 : 201;
      return { status, body: { topic: topicView(topic), results }, headers };
    },

    getTopic({ path }) {
      const topic = broker.rooms.topics.get(nameOf(path.topic));
      return { status: 200, body: topicView(topic), headers: { ETag: topicTag(topic) } };
    },

    updateTopic: (call) => update(deps, call),

    async deleteTopic(call) {
      const { path, query, headers } = call;
      const name = nameOf(path.topic);
      const condition = preconditionOf(headers, idOf(broker, name));
      const { topic } = await broker.rooms.topics.delete(name, query.force, condition);
      const [told] = await Promise.all([tellTopic(deps, topic), registered()]);
      return goneAnswer(call.requestId, broker.name, told);
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

async function update(deps: TopicDeps, { path, query, body, headers }: Call<'updateTopic'>): Promise<Answer> {
  const { broker, defaultQueues, registered } = deps;
  const name = nameOf(path.topic);
  const { added, leaving } = brokersChange(broker.rooms.topics.get(name), body.brokers ?? undefined);
  await checkBrokers(deps, added);
  const { brokers: _, ...fields } = withDefaults(body, defaultQueues);
  const spread = { ...(added.length > 0 ? { brokers: added } : {}), ...(leaving.length > 0 ? { leaving } : {}) };
  const patch = { ...fields, ...spread, keepsUnread: !query.force };
  if (patch.keepsUnread) await checkShrinking(deps, name, patch.readQueues);
  if (leaving.length > 0)
    return leave(deps, { name, patch, force: query.force }, preconditionOf(headers, idOf(broker, name)));
  const { topic } = await broker.rooms.topics.update(name, patch, preconditionOf(headers, idOf(broker, name)));
  const [told] = await Promise.all([tellTopic(deps, topic), registered()]);
  return { status: 200, body: { ...topicView(topic), ...notTold(told) }, headers: { ETag: topicTag(topic) } };
}

/** Tells the topic's other brokers what is known of it now; who gets it for the first time gets the groups that read it, too. */
export function tellTopic(deps: Pick<TopicDeps, 'broker' | 'spread'>, topic: Topic, waitMs?: number): Promise<Told[]> {
  const { definitions } = deps.broker.rooms;
  const others = definitions.others(brokersIn(topic.partitions));
  return deps.spread.tell(others, [...definitions.topic(topic.name), ...definitions.groupsOf(topic.no)], waitMs);
}

/** Brokers that join and leave a topic when its list becomes `wanted`. Throws VALIDATION_FAILED when there are both. */
function brokersChange(topic: Topic, wanted: readonly string[] | undefined) {
  const before = brokersIn(topic.partitions);
  const added = (wanted ?? []).filter((name) => !before.includes(name));
  const leaving = wanted ? before.filter((name) => !wanted.includes(name)) : [];
  if (added.length === 0 || leaving.length === 0) return { added, leaving };
  throw new GantryError(
    'VALIDATION_FAILED',
    `brokers is the whole list, and this one adds ${added.join(', ')} and leaves out ${leaving.join(', ')}: ` +
      `add first, with ${JSON.stringify([...before, ...added])}, and leave out with a second request`,
    {
      errors: [
        { pointer: '/brokers', detail: `must name all of ${before.join(', ')}, or none that is not among them` },
      ],
    },
  );
}

interface Departure {
  readonly name: string;
  readonly patch: TopicPatch;
  readonly force: boolean;
}

/** Brokers give up their queues first, so that no message comes to one that is out of the list; this one goes last. */
async function leave(deps: TopicDeps, { name, patch, force }: Departure, condition: Precondition): Promise<Answer> {
  const { broker, spread, registered } = deps;
  const { definitions, topics } = broker.rooms;
  topics.checkUpdate(name, patch, condition);
  const { no } = topics.get(name);
  const [tags, groups] = [[...topics.tags(name).declared], definitions.groupsOf(no)];
  await spread.leave(definitions.others(patch.leaving ?? []), name, force);
  const { topic } = await topics.update(name, patch, condition);
  const told = definitions.others(brokersIn(topic.partitions));
  // Without queues here it is not known here any more: the others hear of it from its last state.
  const known = [...definitions.topic(name).filter(({ record }) => !record), topicDefinition(topic, tags), ...groups];
  const [outcome] = await Promise.all([spread.tell(told, known), registered()]);
  return { status: 200, body: { ...topicView(topic), ...notTold(outcome) }, headers: { ETag: topicTag(topic) } };
}

/** The home judges its own queues when it decides. Throws IN_USE by what other brokers have, SERVICE_NOT_AVAILABLE. */
async function checkShrinking({ broker, spread }: TopicDeps, name: string, readQueues: number | undefined) {
  const topic = broker.state.topicsByName.get(name)?.record;
  if (!topic || readQueues === undefined || readQueues >= topic.readQueues) return;
  const others = broker.rooms.definitions.others(brokersIn(topic.partitions));
  const unread = await spread.holdings(others, name, readQueues);
  if (unread.length > 0) throw queuesInUse({ name, readQueues }, unread);
}

/** A topic is spread over brokers that exist: its list of them only grows. Throws BROKER_NOT_FOUND. */
async function checkBrokers({ broker, fleet }: TopicDeps, names: readonly string[] = []): Promise<readonly string[]> {
  const others = names.filter((name) => name !== broker.name);
  if (others.length === 0) return names;
  const live = new Set((await fleet.brokersNow()).map(({ name }) => name));
  const unknown = others.filter((name) => !live.has(name));
  if (unknown.length > 0) {
    throw new GantryError(
      'BROKER_NOT_FOUND',
      `there is no live broker ${unknown.join(', ')}: GET /v1/brokers lists those that are`,
      { errors: [{ pointer: '/brokers', detail: `${unknown.join(', ')} cannot be found` }] },
    );
  }
  return names;
}

const notAmongThem = (broker: Broker, brokers: readonly string[]): GantryError =>
  new GantryError(
    'NOT_HOME',
    `the topic is to be on ${brokers.join(', ')}, and this is ${broker.name}: create it at one of them`,
    { retryAfterMs: 1000, members: { home: brokers[0] } },
  );

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

const topicTag = (topic: Topic): string => etagOf(topic.id, topic.version);

/** An entry of the list. */
function listedView(topic: Topic, withPartitions: boolean) {
  const { partitions, ...view } = topicView(topic);
  return withPartitions ? { ...view, partitions } : view;
}

export function topicView({ no: _, tagsVersion: _tags, name, createdAt, updatedAt, ...topic }: Topic) {
  return { name, ...topic, createdTimestamp: createdAt, updatedTimestamp: updatedAt };
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
