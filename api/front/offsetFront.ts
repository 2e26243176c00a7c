/** Where groups stand over all brokers: each broker keeps the positions of its own queues, and judges what is committed there. */
import { bulkAnswer } from '../bulk';
import { checkCommit } from '../handlers/offsets';
import type { OffsetOperations } from '../handlers/offsets';
import type { Answer, BodyOf, Call, HandlerTable } from '../operation';
import { unpackCursors } from './compositeCursor';
import { commitCursors, withoutAbsent } from './cursorCommit';
import { generationsOf } from './generations';
import type { GroupPlaces, Places } from './groupPlaces';
import type { PeerAnswer } from './peer';
import { answersOf, namely, type Round, type Rounds } from './rounds';
import { placesByBroker, split } from './split';

interface Progress {
  readonly group: string;
  readonly topic: string;
  readonly lag: number;
  readonly ready?: number;
  readonly inFlight?: number;
  readonly stranded?: number;
  readonly retryTopic: string;
  readonly waitingRetry: number;
  readonly deadLetters: number;
  readonly offsets: readonly object[];
}

/** Result of a reset at one broker. */
interface ResetPart {
  readonly results: readonly object[];
  readonly retriesToCome: number;
  readonly retriesDropped: number;
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
        return parts ? commitAll(call, at, parts) : commitNamed(call, at, offsets!);
      });
    },

    getOffsets: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => {
        if (brokers.length === 1) return front.forward(call, brokers[0]!);
        const round = await rounds.all(call, brokers, 'getOffsets', () => ({ path: call.path, query: call.query }));
        return { status: 200, body: { ...progressIn([...answersOf(round).values()]), ...namely(namesIn(round)) } };
      }),

    resetOffsets: (call) =>
      places.serve(call, call.path.group, async (at) => {
        if (at.brokers.length === 1) return front.forward(call, at.home);
        return resetAll(call, at);
      }),
  };

  async function commitAll(
    call: Call<'commitOffsets'>,
    at: Places,
    cursors: ReadonlyMap<string, string>,
  ): Promise<Answer> {
    const { consumerId, force, generation } = call.body;
    const wanted = { cursors, topic: at.topics[0]!, generationOf: generationsOf(generation, at.home) };
    const { items, unavailable } = await commitCursors(front, call, { ...wanted, consumerId, force });
    return bulkAnswer(call, items, namely(unavailable));
  }

  async function commitNamed(
    call: Call<'commitOffsets'>,
    at: Places,
    offsets: NonNullable<BodyOf<'commitOffsets'>['offsets']>,
  ): Promise<Answer> {
    const generationOf = generationsOf(call.body.generation, at.home);
    const { results, unavailable } = await split(front, {
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
    return bulkAnswer(call, results, namely(unavailable));
  }

  /** A wrong request is found out before anything is moved; a broker that refuses or is silent after that is named. */
  async function resetAll(call: Call<'resetOffsets'>, at: Places): Promise<Answer> {
    const { queues, dryRun = false } = call.body;
    const parts = queues ? placesByBroker(queues, ({ broker }) => knownBroker(at, broker)) : undefined;
    const asked = (dry: boolean) => (broker: string) => ({
      path: call.path,
      query: {},
      body: withoutAbsent({ ...call.body, dryRun: dry, queues: parts?.get(broker)?.map((i) => queues![i]!) }),
    });
    const looked = await rounds.look(call, parts ? [...parts.keys()] : at.brokers, 'resetOffsets', asked(true));
    for (const refusal of looked.refusals.values()) throw refusal;
    const open = [...answersOf(looked).keys()];
    const round = dryRun ? looked : await rounds.change(call, open, 'resetOffsets', asked(false));
    const resets = [...answersOf(round).values()].map((answer) => answer.json<ResetPart>());
    const sum = (field: 'retriesToCome' | 'retriesDropped') => resets.reduce((total, part) => total + part[field], 0);
    const retries = { retriesToCome: sum('retriesToCome'), retriesDropped: sum('retriesDropped') };
    const results = resets.flatMap((part) => part.results);
    const unavailable = namely(new Set([...namesIn(looked), ...namesIn(round)]));
    return { status: 200, body: { dryRun, results, ...retries, ...unavailable } };
  }
}

/** A broker that has nothing of the group is none of its brokers: its home says so. */
export const knownBroker = ({ home, brokers }: Places, broker: string): string =>
  brokers.includes(broker) ? broker : home;

const namesIn = ({ away, refusals }: Round) => [...away.keys(), ...refusals.keys()];

function progressIn(answers: readonly PeerAnswer[]) {
  const parts = answers.map((answer) => answer.json<Progress>());
  const sum = (field: 'lag' | 'ready' | 'inFlight' | 'stranded' | 'waitingRetry' | 'deadLetters') =>
    parts.reduce((total, part) => total + (part[field] ?? 0), 0);
  const leased = parts.some(({ ready }) => ready !== undefined);
  return {
    ...{ group: parts[0]!.group, topic: parts[0]!.topic, lag: sum('lag') },
    ...(sum('stranded') > 0 ? { stranded: sum('stranded') } : {}),
    ...(leased ? { ready: sum('ready'), inFlight: sum('inFlight') } : {}),
    ...{ retryTopic: parts[0]!.retryTopic, waitingRetry: sum('waitingRetry'), deadLetters: sum('deadLetters') },
    offsets: parts.flatMap(({ offsets }) => offsets),
  };
}
