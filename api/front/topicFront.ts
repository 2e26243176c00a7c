/**
 * Topics over all brokers. What changes one is decided by its home, the broker of its first partition, which tells the
 * others; so a front only finds the home. What is asked about one is put together from all brokers that hold it.
 */
import { GantryError } from '../../src/base/errors';
import { groupOfOwnTopic } from '../../src/broker/group';
import { brokersIn } from '../../src/broker/partitions';
import { rendezvous } from '../../src/cluster/rendezvous';
import type { TagOperations } from '../handlers/tags';
import type { TopicOperations } from '../handlers/topics';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { listCursor } from '../paging';
import { askedOf, type Front } from './front';
import { holdersOf, type OwnTopics } from './holders';
import { Homes } from './homes';
import { mergedByName, type Named } from './mergedByName';
import { answersOf, namely, type Rounds } from './rounds';

export function topicFront(rounds: Rounds, groups: OwnTopics): HandlerTable<TopicOperations | TagOperations> {
  const { front } = rounds;
  const holders = { front, groups };
  const homes = new Homes(rounds);
  const changing = async (call: Parameters<typeof holdersOf>[1]) => {
    const { topic } = call.path;
    return { topic, brokers: await holdersOf(holders, call), what: `topic ${nameOf(topic)}` };
  };
  return {
    async listTopics(call) {
      const brokers = await front.liveBrokers();
      const round = await rounds.everybody(call, brokers, 'listTopics', askedOf(call));
      const pages = [...answersOf(round).values()].map((answer) => answer.json<{ topics: Named[]; cursor?: string }>());
      const { items, more } = mergedByName(
        pages.map(({ topics, cursor }) => [topics, cursor]),
        call.query.limit,
      );
      const cursor = more ? { cursor: listCursor(items.at(-1)!.name) } : {};
      return { status: 200, body: { topics: items, ...cursor, ...namely(round.away.keys()) } };
    },

    async createTopic(call) {
      const { name, brokers } = call.body;
      const known = await brokersKnown(front, name);
      if (known !== undefined) return homes.create(call, name, known);
      const chosen = await mastersNamed(front, brokers);
      const [first] = await homes.living(call, name, rendezvous(name, chosen));
      const { path, query, headers, body } = call;
      const asked = { path, query, headers, body: { ...body, brokers: chosen } };
      const answer = await front.peer(first!, call).call('createTopic', asked, call.signal);
      return answer.asAnswer();
    },

    async getTopic(call) {
      return rounds.inTurn(call, await holdersOf(holders, call));
    },

    updateTopic: async (call) => homes.change(call, await changing(call)),
    putTag: async (call) => homes.change(call, await changing(call)),
    deleteTag: async (call) => homes.change(call, await changing(call)),

    async deleteTopic(call) {
      return rounds.inTurn(call, await holdersOf(holders, call));
    },

    async getTopicRoute(call) {
      const name = nameOf(call.path.topic);
      const group = groupOfOwnTopic(name);
      if (group === undefined) return { status: 200, body: await front.fleet.routeNow(name) };
      return rounds.inTurn(call, await holdersOf(holders, call));
    },

    async listQueues(call) {
      const brokers = await holdersOf(holders, call);
      const round = await rounds.everybody(call, brokers, 'listQueues', askedOf(call));
      const queues = [...answersOf(round).values()].flatMap((answer) => answer.json<{ queues: object[] }>().queues);
      return { status: 200, body: { queues, ...namely(round.away.keys()) } };
    },

    async listTags(call) {
      const brokers = await holdersOf(holders, call);
      const round = await rounds.everybody(call, brokers, 'listTags', askedOf(call));
      const lists = [...answersOf(round).values()].map((answer) => answer.json<TagLists>());
      // The declared ones are the same everywhere but for what is on its way: the first broker is the home.
      const { policy, declared } = lists[0]!;
      return { status: 200, body: { policy, declared, seen: seenTogether(lists), ...namely(round.away.keys()) } };
    },
  };
}

interface Seen {
  readonly tag: string;
  readonly count: number;
  readonly lastTimestamp: number;
}

interface TagLists {
  readonly policy: string;
  readonly declared: readonly object[];
  readonly seen: readonly Seen[];
}

/** Counts of all brokers, the most used first. */
function seenTogether(lists: readonly TagLists[]): Seen[] {
  const tags = new Map<string, Seen>();
  for (const { tag, count, lastTimestamp } of lists.flatMap(({ seen }) => seen)) {
    const before = tags.get(tag);
    tags.set(tag, {
      tag,
      count: count + (before?.count ?? 0),
      lastTimestamp: Math.max(lastTimestamp, before?.lastTimestamp ?? 0),
    });
  }
  return [...tags.values()].sort((a, b) => b.count - a.count || (a.tag < b.tag ? -1 : 1));
}

/** The brokers of a topic, its home first; undefined when there is no such topic. */
async function brokersKnown(front: Front, topic: string): Promise<readonly string[] | undefined> {
  try {
    return brokersIn((await front.fleet.routeNow(topic)).partitions);
  } catch (error) {
    if (error instanceof GantryError && error.code === 'TOPIC_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The named brokers, or all that have a master. */
async function mastersNamed(front: Front, named: readonly string[] | undefined): Promise<string[]> {
  const live = await front.fleet.brokersNow();
  const masters = live.filter(({ address }) => address !== undefined).map(({ name }) => name);
  if (named === undefined || named.length === 0) {
    if (masters.length > 0) return masters;
    throw new GantryError('SERVICE_NOT_AVAILABLE', 'no broker with a master is registered: start one first', {
      retryAfterMs: 1000,
    });
  }
  const unknown = named.filter((name) => !masters.includes(name));
  if (unknown.length === 0) return [...new Set(named)].sort();
  throw new GantryError(
    'BROKER_NOT_FOUND',
    `there is no live broker ${unknown.join(', ')}: GET /v1/brokers lists those that are`,
    { errors: [{ pointer: '/brokers', detail: `live are ${masters.join(', ')}` }] },
  );
}
