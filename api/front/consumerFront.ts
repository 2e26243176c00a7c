/**
 * Members of a group over all its brokers: each broker has its own list of who lives, and divides the queues alike. A
 * broker that is away fails nobody: it is named, and the consumer gets its queues when it joins again.
 */
import { GantryError } from '../../src/base/errors';
import { bulkAnswer, failed } from '../bulk';
import type { ConsumerOperations } from '../handlers/consumers';
import { homeAway, isAway } from '../homes';
import type { Answer, Call, HandlerTable } from '../operation';
import { fits, isComposite, packCursors, unpackCursors } from './compositeCursor';
import { generationIn, joinGenerations } from './generations';
import type { GroupPlaces, Places } from './groupPlaces';
import type { PeerAnswer } from './peer';
import { Homes } from './homes';
import { answersOf, namely, type Round, type Rounds } from './rounds';
import { knownBroker } from './offsetFront';
import { placesByBroker } from './split';
import { WidePoll } from './widePoll';

interface JoinResult {
  readonly generation: string;
  readonly queues: readonly object[];
  readonly pending: readonly object[];
}

interface SeekResult {
  readonly cursor: string;
  readonly generation: string;
}

interface Consumer {
  readonly consumerId: string;
  readonly joinedTimestamp: number;
  readonly lastSeenTimestamp: number;
  readonly queues: readonly object[];
}

export function consumerFront(rounds: Rounds, places: GroupPlaces): HandlerTable<ConsumerOperations> {
  const { front } = rounds;
  const homes = new Homes(rounds);
  /** Polls begin with another broker each time, so that none starves. */
  let polls = 0;
  return {
    async joinGroup(call) {
      const known = await places.ifAnyLives(call, call.path.group);
      return known?.topics.includes(call.body.topic) ? joinAll(call) : joinNew(call, known);
    },

    leaveGroup: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => {
        const round = await rounds.change(call, brokers, 'leaveGroup', () => ({ path: call.path, query: {} }));
        const gone = answersOf(round);
        if (gone.size === brokers.length) return { status: 204 };
        const failures = new Map([...round.away, ...round.refusals]);
        const results = brokers.map((broker) => {
          const error = failures.get(broker);
          return { ...(error && !isNotThere(error) ? failed(error, call.requestId) : { status: 'OK' }), broker };
        });
        const isGone = results.every(({ status }) => status === 'OK');
        return isGone ? { status: 204 } : bulkAnswer(call, results, namely(round.away.keys()));
      }),

    listConsumers: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => {
        if (brokers.length === 1) return front.forward(call, brokers[0]!);
        const round = await rounds.all(call, brokers, 'listConsumers', () => ({ path: call.path, query: {} }));
        return { status: 200, body: { ...consumersIn(answersOf(round)), ...left(round) } };
      }),

    seekConsumer: (call) =>
      places.serve(call, call.path.group, async (known) => {
        const isPlain = !isComposite(call.body.cursor ?? '');
        if (known.brokers.length === 1 && isPlain) return front.forward(call, known.home);
        return seekAll(rounds, call, known);
      }),

    pollMessages: (call) =>
      places.serve(call, call.path.group, async (known) => {
        const { home, brokers, topics } = await covering(call, known);
        if (brokers.length === 1 && !isComposite(call.query.cursor ?? '')) return front.forward(call, home);
        return new WidePoll(rounds, { call, home, brokers, topic: topics[0]!, first: polls++ }).run();
      }),
  };

  /** The client may have been served where a new broker of the topic was known before it was here. */
  async function covering(call: Call<'pollMessages'>, known: Places): Promise<Places> {
    const named = unpackCursors(call.query.cursor ?? '', known.home, 'query');
    if ([...named.keys()].every((broker) => known.brokers.includes(broker))) return known;
    front.fleet.doubt();
    places.forget(call.path.group);
    return places.of(call, call.path.group);
  }

  /** The group is made, or reads another topic from now on: that its home decides, before the others are asked. */
  async function joinNew(call: Call<'joinGroup'>, known: Places | undefined): Promise<Answer> {
    const { topic } = call.body;
    const { group } = call.path;
    const brokers = await front.fleet.brokersOf(topic);
    if (known && !brokers.includes(known.home)) throw notAtHome(group, topic, known.home);
    // Another broker creates a new group while the home is away; a change of the topics of a group waits for the home.
    const asked = known ? [...new Set([known.home, ...brokers])] : brokers;
    const [broker] = await homes.living(call, topic, asked);
    if (known && broker !== known.home) throw homeAway(`group ${group}`, known.home);
    const answer = await front.peer(broker!, call).call('joinGroup', askedOf(call), call.signal);
    answer.orThrow();
    places.forget(group);
    return joinAll(call, { broker: broker!, answer });
  }

  async function joinAll(
    call: Call<'joinGroup'>,
    done?: { readonly broker: string; readonly answer: PeerAnswer },
  ): Promise<Answer> {
    const brokers = await front.fleet.brokersOf(call.body.topic);
    const others = brokers.filter((broker) => broker !== done?.broker);
    if (others.length === 0 && done) return done.answer.asAnswer();
    if (brokers.length === 1) return front.forward(call, brokers[0]!);
    const round = await rounds.all(call, others, 'joinGroup', () => askedOf(call));
    const [refusal] = [...round.refusals.values()].filter((error) => !isUnheard(error));
    if (refusal) throw refusal;
    const answers = done ? new Map([[done.broker, done.answer], ...round.answers]) : answersOf(round);
    return { status: 200, body: { ...joined(answers), ...left(round) } };
  }
}

/** What a group reads its home decides, which must know the topic. */
const notAtHome = (group: string, topic: string, home: string): GantryError =>
  new GantryError(
    'SUBSCRIPTION_CONFLICT',
    `group ${group} belongs to broker ${home}, where topic ${topic} has no queues: use another group, or give the topic queues there (PATCH /v1/topics/${topic} with brokers)`,
  );

/** Each broker moves its own part of the cursor; the others stay as they are. */
async function seekAll(rounds: Rounds, call: Call<'seekConsumer'>, known: Places): Promise<Answer> {
  const { cursor = '', offsets } = call.body;
  const cursors = new Map(unpackCursors(cursor, known.home, 'body'));
  const parts = placesByBroker(offsets, ({ broker }) => knownBroker(known, broker));
  const round = await rounds.all(call, [...parts.keys()], 'seekConsumer', (broker) => {
    const own = cursors.get(broker);
    const wanted = parts.get(broker)!.map((i) => offsets[i]!);
    return { path: call.path, query: {}, body: { ...(own === undefined ? {} : { cursor: own }), offsets: wanted } };
  });
  for (const failure of [...round.refusals.values(), ...round.away.values()]) throw failure;
  const moved = new Map([...answersOf(round)].map(([broker, answer]) => [broker, answer.json<SeekResult>()] as const));
  const generations = new Map([...cursors].map(([broker, text]) => [broker, generationIn(text)] as const));
  for (const [broker, answer] of moved) {
    cursors.set(broker, answer.cursor);
    generations.set(broker, answer.generation);
  }
  if (!fits(cursors)) throw tooWide();
  return { status: 200, body: { cursor: packCursors(cursors), generation: joinGenerations(generations) } };
}

const tooWide = (): GantryError =>
  new GantryError(
    'LIMIT_EXCEEDED',
    'a cursor has no room for the positions of so many brokers: commit what is handled, and seek in fewer queues',
  );

const askedOf = ({ path, body }: Call<'joinGroup'>) => ({ path, query: {}, body });

/** A broker that was away when the group was made, or its topic, is told later. */
const isUnheard = (error: GantryError): boolean => isAway(error) || isNotThere(error);

const isNotThere = ({ code }: GantryError): boolean => code === 'GROUP_NOT_FOUND' || code === 'TOPIC_NOT_FOUND';

const left = ({ refusals, away }: Round): { unavailable?: string[] } => namely([...away.keys(), ...refusals.keys()]);

function joined(answers: ReadonlyMap<string, PeerAnswer>) {
  const parts = [...answers].map(([broker, answer]) => [broker, answer.json<JoinResult>()] as const);
  return {
    ...parts[0]![1],
    generation: joinGenerations(new Map(parts.map(([broker, { generation }]) => [broker, generation]))),
    queues: parts.flatMap(([, { queues }]) => queues),
    pending: parts.flatMap(([, { pending }]) => pending),
  };
}

function consumersIn(answers: ReadonlyMap<string, PeerAnswer>) {
  const parts = [...answers].map(
    ([broker, answer]) => [broker, answer.json<{ generation: string; consumers: Consumer[] }>()] as const,
  );
  const byId = new Map<string, Consumer>();
  for (const consumer of parts.flatMap(([, { consumers }]) => consumers)) {
    const known = byId.get(consumer.consumerId);
    byId.set(consumer.consumerId, known ? merged(known, consumer) : consumer);
  }
  return {
    consumers: [...byId.values()].sort((a, b) => (a.consumerId < b.consumerId ? -1 : 1)),
    generation: joinGenerations(new Map(parts.map(([broker, { generation }]) => [broker, generation]))),
  };
}

/** Its lease is what it said last. */
function merged(one: Consumer, other: Consumer): Consumer {
  const [earlier, later] = one.lastSeenTimestamp <= other.lastSeenTimestamp ? [one, other] : [other, one];
  return {
    ...later,
    joinedTimestamp: Math.min(earlier.joinedTimestamp, later.joinedTimestamp),
    queues: [...one.queues, ...other.queues],
  };
}
