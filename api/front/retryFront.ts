/**
 * Messages of a poll over several brokers that could not be handled: each goes back to its own broker, and what the
 * cursor covers there is committed with it. At brokers of which no message failed it is committed when nothing was
 * refused, as a broker does it: what is not committed is delivered again.
 */
import { GantryError } from '../../src/base/errors';
import { bulkAnswer, type BulkItem } from '../bulk';
import { isAway } from '../homes';
import type { Answer, Call, HandlerTable } from '../operation';
import { isComposite, unpackCursors } from './compositeCursor';
import { commitCursors, type CursorCommit, type CursorCommitted } from './cursorCommit';
import { generationsOf } from './generations';
import type { GroupPlaces, Places } from './groupPlaces';
import { knownBroker } from './offsetFront';
import type { PeerAnswer } from './peer';
import { namely, type Rounds } from './rounds';
import { placesByBroker, split } from './split';

export function retryFront(rounds: Rounds, places: GroupPlaces): HandlerTable<'sendBack'> {
  const { front } = rounds;
  return {
    sendBack: (call) =>
      places.serve(call, call.path.group, (at) => {
        if (at.brokers.length === 1 && !isComposite(call.body.cursor ?? '')) return front.forward(call, at.home);
        return sendBack(call, at);
      }),
  };

  async function sendBack(call: Call<'sendBack'>, at: Places): Promise<Answer> {
    const { consumerId, messages, cursor, generation } = call.body;
    const cursors = cursor === undefined ? undefined : unpackCursors(cursor, at.home, 'body');
    const generationOf = generationsOf(generation, at.home);
    const parts = placesByBroker(messages, ({ broker }) => knownBroker(at, broker));
    const sent = await split(front, {
      call,
      operationId: 'sendBack',
      parts,
      asked: (broker, part) => ({
        path: call.path,
        query: {},
        headers: call.headers,
        body: {
          consumerId,
          messages: part.map((i) => messages[i]!),
          ...given('cursor', cursors?.get(broker)),
          ...given('generation', generationOf(broker)),
        },
      }),
      nameOf: (place) => {
        const { topic, broker, queueId, queueOffset } = messages[place]!;
        return { topic, broker, queueId, queueOffset };
      },
    });
    const open = cursors && (await commitRest(call, at, { ...sent, cursors, generationOf }));
    const unavailable = new Set([...sent.unavailable, ...(open?.unavailable ?? [])]);
    const answer = bulkAnswer(call, sent.results, { ...committed(open?.uncommitted), ...namely(unavailable) });
    const replayed = sent.answers.size === parts.size && [...sent.answers.values()].every(isReplayed);
    return replayed ? { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } } : answer;
  }

  /** Commits what the cursor covers at brokers that were given no message, if all messages were taken. */
  async function commitRest(call: Call<'sendBack'>, at: Places, sent: Sent): Promise<Open> {
    const { cursors, results, answers, generationOf } = sent;
    const withMessages = [...answers].filter(([broker]) => cursors.has(broker));
    const done = withMessages.filter(([, answer]) => answer.json<{ cursorCommitted?: boolean }>().cursorCommitted);
    const left = new Map(cursors);
    for (const [broker] of done) left.delete(broker);
    if (results.some(({ error }) => error)) return { uncommitted: [...left.keys()], unavailable: [] };
    const refused = withMessages.map(([broker]) => broker).filter((broker) => left.delete(broker));
    const open = await commitLeft(call, { cursors: left, topic: at.topics[0]!, generationOf });
    return { ...open, uncommitted: [...refused, ...open.uncommitted] };
  }

  /** The messages were sent back, and that has to be told whatever becomes of the cursor. */
  async function commitLeft(call: Call<'sendBack'>, wanted: Omit<CursorCommit, 'consumerId'>): Promise<Open> {
    if (wanted.cursors.size === 0) return { uncommitted: [], unavailable: [] };
    try {
      return await commitCursors(front, call, { ...wanted, consumerId: call.body.consumerId });
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      const brokers = [...wanted.cursors.keys()];
      return { uncommitted: brokers, unavailable: isAway(error) ? brokers : [] };
    }
  }
}

/** Brokers whose part of the cursor is not committed, and which of all could not be asked. */
type Open = Pick<CursorCommitted, 'uncommitted' | 'unavailable'>;

/** Response fields about the cursor; undefined without one. */
const committed = (uncommitted: readonly string[] | undefined) =>
  uncommitted && { cursorCommitted: uncommitted.length === 0, ...(uncommitted.length > 0 ? { uncommitted } : {}) };

/** What became of the messages, and what else the call said. */
interface Sent {
  readonly cursors: ReadonlyMap<string, string>;
  readonly results: readonly BulkItem[];
  readonly answers: ReadonlyMap<string, PeerAnswer>;
  readonly generationOf: (broker: string) => string | undefined;
}

const isReplayed = ({ headers }: PeerAnswer): boolean => headers['idempotency-replayed'] === 'true';

const given = <Name extends string>(name: Name, value: string | undefined): { [N in Name]?: string } =>
  (value === undefined ? {} : { [name]: value }) as { [N in Name]?: string };
