/** Where groups stand over all brokers: each broker keeps the positions of its own queues, and judges what is committed there. */
import { GantryError } from '../../src/base/errors';
import { cursorContent } from '../../src/broker/cursor';
import { retryTopicOf } from '../../src/broker/group';
import { bulkAnswer, failed, type BulkItem } from '../bulk';
import { checkCommit } from '../handlers/offsets';
import type { OffsetOperations } from '../handlers/offsets';
import { nameOf } from '../names';
import type { Answer, BodyOf, Call, HandlerTable } from '../operation';
import { unpackCursors } from './compositeCursor';
import { generationsOf } from './generations';
import type { GroupPlaces, Places } from './groupPlaces';
import type { Asking, PeerAnswer, PeerRequest } from './peer';
import { answersOf, isAway, namely, type Round, type Rounds } from './rounds';
import { placesByBroker, split } from './split';

interface Progress {
  readonly group: string;
  readonly topic: string;
  readonly lag: number;
  readonly ready?: number;
  readonly inFlight?: number;
  readonly stranded?: number;
  readonly offsets: readonly object[];
}

export function offsetFront(rounds: Rounds, places: GroupPlaces): HandlerTable<OffsetOperations> {
  const { front } = rounds;
  return {
    commitOffsets(call) {
      checkCommit(call.body);
      return places.serve(call, call.path.group, async (at) => {
        const { cursor, offsets } = call.body;
        const parts = cursor === undefined ? undefined : unpackCursors(cursor, at.home, 'body');
        const isPlain = parts === undefined || parts.get(at.home) === cursor;
        if (at.brokers.length === 1 && isPlain) return front.forward(call, at.home);
        return parts ? commitCursors(call, at, parts) : commitNamed(call, at, offsets!);
      });
    },

    getOffsets: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => {
        if (brokers.length === 1) return front.forward(call, brokers[0]!);
        const round = await rounds.all(call, brokers, 'getOffsets', () => ({ path: call.path, query: call.query }));
        return { status: 200, body: { ...progressIn([...answersOf(round).values()]), ...missing(round) } };
      }),

    resetOffsets: (call) =>
      places.serve(call, call.path.group, async (at) => {
        if (at.brokers.length === 1) return front.forward(call, at.home);
        return resetAll(call, at);
      }),
  };

  async function commitCursors(
    call: Call<'commitOffsets'>,
    at: Places,
    cursors: ReadonlyMap<string, string>,
  ): Promise<Answer> {
    const { consumerId, force, generation } = call.body;
    const wanted = { cursors, topic: at.topics[0]!, generationOf: generationsOf(generation, at.home) };
    return bulkAnswer(call, await commitParts(rounds, call, { ...wanted, consumerId, force }));
  }

  async function commitNamed(
    call: Call<'commitOffsets'>,
    at: Places,
    offsets: NonNullable<BodyOf<'commitOffsets'>['offsets']>,
  ): Promise<Answer> {
    const generationOf = generationsOf(call.body.generation, at.home);
    const { results } = await split(front, {
      call,
      operationId: 'commitOffsets',
      parts: placesByBroker(offsets, ({ broker }) => knownBroker(at, broker)),
      asked: (broker, part) => ({
        path: call.path,
        query: {},
        body: withoutAbsent({
          ...{ ...call.body, offsets: part.map((i) => offsets[i]!) },
          generation: generationOf(broker),
        }),
      }),
      nameOf: (place) => offsets[place]!,
    });
    return bulkAnswer(call, results);
  }

  /** A wrong request is found out before anything is moved. */
  async function resetAll(call: Call<'resetOffsets'>, at: Places): Promise<Answer> {
    const { queues, dryRun = false } = call.body;
    const parts = queues ? placesByBroker(queues, ({ broker }) => knownBroker(at, broker)) : undefined;
    const brokers = parts ? [...parts.keys()] : at.brokers;
    const ask = async (dry: boolean): Promise<Round> => {
      const round = await rounds.all(call, brokers, 'resetOffsets', (broker) => ({
        path: call.path,
        query: {},
        body: withoutAbsent({ ...call.body, dryRun: dry, queues: parts?.get(broker)?.map((i) => queues![i]!) }),
      }));
      for (const refusal of round.refusals.values()) throw refusal;
      return round;
    };
    const looked = await ask(true);
    const round = dryRun ? looked : await ask(false);
    const answers = [...answersOf(round).values()];
    const results = answers.flatMap((answer) => answer.json<{ results: object[] }>().results);
    return { status: 200, body: { dryRun, results, ...missing(round) } };
  }
}

/** A broker that has nothing of the group is none of its brokers: its home says so. */
export const knownBroker = ({ home, brokers }: Places, broker: string): string =>
  brokers.includes(broker) ? broker : home;

/** What is undefined is not said. */
const withoutAbsent = <T extends object>(body: T): never =>
  Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)) as never;

const missing = ({ away, refusals }: Round) => namely([...away.keys(), ...refusals.keys()]);

function progressIn(answers: readonly PeerAnswer[]) {
  const parts = answers.map((answer) => answer.json<Progress>());
  const sum = (field: 'lag' | 'ready' | 'inFlight' | 'stranded') =>
    parts.reduce((total, part) => total + (part[field] ?? 0), 0);
  const leased = parts.some(({ ready }) => ready !== undefined);
  return {
    ...{ group: parts[0]!.group, topic: parts[0]!.topic, lag: sum('lag') },
    ...(sum('stranded') > 0 ? { stranded: sum('stranded') } : {}),
    ...(leased ? { ready: sum('ready'), inFlight: sum('inFlight') } : {}),
    offsets: parts.flatMap(({ offsets }) => offsets),
  };
}

interface CommitWish {
  readonly cursors: ReadonlyMap<string, string>;
  readonly consumerId: string | undefined;
  readonly force?: boolean | undefined;
  readonly generationOf: (broker: string) => string | undefined;
  /** The group's first topic. */
  readonly topic: string;
}

/** What each broker made of its part of a cursor, one item per queue. */
export async function commitParts(
  rounds: Rounds,
  call: Asking & { readonly path: { readonly group: string }; readonly signal: AbortSignal },
  { cursors, consumerId, force, generationOf, topic }: CommitWish,
): Promise<BulkItem[]> {
  const group = call.path.group;
  const items = await Promise.all(
    [...cursors].map(async ([broker, cursor]): Promise<readonly BulkItem[]> => {
      const asked: PeerRequest<'commitOffsets'> = {
        path: { group },
        query: {},
        body: withoutAbsent({ consumerId, cursor, force, generation: generationOf(broker) }),
      };
      const outcome = await itemsOf(rounds.front.peer(broker, call).call('commitOffsets', asked, call.signal));
      if (!(outcome instanceof GantryError)) return outcome;
      const covered = isAway(outcome) ? cursorContent(cursor) : [];
      if (covered.length === 0) throw outcome;
      // What became of it nobody can say but by what the cursor itself says.
      const refused = failed(outcome, call.requestId);
      return covered.map(({ ofFirstTopic, queueId, position }) => ({
        ...{ ...refused, topic: ofFirstTopic ? topic : retryTopicOf(nameOf(group)) },
        ...{ broker, queueId, nextOffset: position },
      }));
    }),
  );
  return items.flat();
}

/** Results also of a problem document that carries them. */
async function itemsOf(asking: Promise<PeerAnswer>): Promise<readonly BulkItem[] | GantryError> {
  const seen = asking.then((answer) => {
    const { results } = answer.json<{ results?: readonly BulkItem[] }>();
    return results ?? answer.failure();
  });
  try {
    return await seen;
  } catch (error) {
    if (error instanceof GantryError) return error;
    throw error;
  }
}
