/**
 * Messages of a poll over several brokers that could not be handled: each goes back to its own broker, and what the
 * cursor covers there is committed with it. At brokers of which no message failed it is committed when nothing was
 * refused, as a broker does it: what is not committed is delivered again.
 */
import { GantryError } from '../../src/base/errors';
import { bulkAnswer, type BulkItem } from '../bulk';
import type { Answer, Call, HandlerTable } from '../operation';
import { isComposite, unpackCursors } from './compositeCursor';
import { generationsOf } from './generations';
import type { GroupPlaces, Places } from './groupPlaces';
import { commitParts, knownBroker } from './offsetFront';
import type { PeerAnswer } from './peer';
import type { Rounds } from './rounds';
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
    const { results, answers } = await split(front, {
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
    const committed = cursors && (await commitRest(call, at, { cursors, results, answers, generationOf }));
    const answer = bulkAnswer(call, results, committed === undefined ? {} : { cursorCommitted: committed });
    const replayed = answers.size === parts.size && [...answers.values()].every(isReplayed);
    return replayed ? { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } } : answer;
  }

  /** Whether all that the cursor covers is committed. */
  async function commitRest(
    call: Call<'sendBack'>,
    at: Places,
    { cursors, results, answers, generationOf }: Sent,
  ): Promise<boolean> {
    if (results.some(({ error }) => error)) return false;
    const withThem = [...answers].filter(([broker]) => cursors.has(broker));
    if (!withThem.every(([, answer]) => answer.json<{ cursorCommitted?: boolean }>().cursorCommitted)) return false;
    const rest = new Map([...cursors].filter(([broker]) => !answers.has(broker)));
    const wish = { cursors: rest, consumerId: call.body.consumerId, generationOf, topic: at.topics[0]! };
    try {
      const items = await commitParts(rounds, call, wish);
      return items.every(({ error }) => error === undefined);
    } catch (error) {
      // The messages were sent back, and that has to be told; what is not committed is delivered again.
      if (error instanceof GantryError) return false;
      throw error;
    }
  }
}

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
