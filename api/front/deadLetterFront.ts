/** Dead letters over all brokers of a group: a message that was given up stays on its broker. */
import { GantryError } from '../../src/base/errors';
import { bulkAnswer, failed, type BulkItem } from '../bulk';
import { checkRedrive, exported } from '../handlers/deadLetters';
import type { DeadLetterOperations } from '../handlers/deadLetters';
import type { Answer, Call, HandlerTable } from '../operation';
import { firstFound } from './firstFound';
import type { GroupPlaces } from './groupPlaces';
import { oneByOne } from './oneByOne';
import type { PeerAnswer } from './peer';
import { answersOf, namely, type Rounds } from './rounds';

interface RedriveResult {
  readonly remaining: number;
  readonly results: readonly (BulkItem & { readonly messageId: string })[];
}

export function deadLetterFront(rounds: Rounds, places: GroupPlaces): HandlerTable<DeadLetterOperations> {
  const { front } = rounds;
  return {
    listDeadLetters: (call) =>
      places.serve(call, call.path.group, ({ brokers }) =>
        brokers.length === 1 ? front.forward(call, brokers[0]!) : list(call, brokers),
      ),

    getDeadLetter: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => (await find(call, brokers)).asAnswer()),

    exportDeadLetter: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => {
        const found = await find(call, brokers);
        if (!found.ok) return found.asAnswer();
        const { body, bodyEncoding } = found.json<{ body: string; bodyEncoding?: string }>();
        return exported(call.path.messageId, Buffer.from(body, bodyEncoding === 'BASE64' ? 'base64' : 'utf8'));
      }),

    deleteDeadLetter: (call) =>
      places.serve(call, call.path.group, async ({ brokers }) => {
        const ask = (broker: string, signal: AbortSignal) => front.ask(call, broker, signal);
        return (await firstFound(brokers, call.signal, ask, { changes: true })).asAnswer();
      }),

    redriveDeadLetters(call) {
      checkRedrive(call.body);
      return places.serve(call, call.path.group, ({ brokers }) =>
        brokers.length === 1 ? front.forward(call, brokers[0]!) : redrive(call, brokers),
      );
    },
  };

  /** One broker has it, if any has. */
  function find(
    call: Call<'getDeadLetter'> | Call<'exportDeadLetter'>,
    brokers: readonly string[],
  ): Promise<PeerAnswer> {
    const { path } = call;
    return firstFound(brokers, call.signal, (broker, signal) =>
      rounds.ask(call, broker, 'getDeadLetter', { path, query: {} as never }, { signal }),
    );
  }

  async function list(call: Call<'listDeadLetters'>, brokers: readonly string[]): Promise<Answer> {
    const { path, signal } = call;
    const body = await oneByOne(brokers, call.query, 'deadLetters', (broker, query) =>
      rounds.ask(call, broker, 'listDeadLetters', { path, query }, { signal }),
    );
    return { status: 200, body };
  }

  async function redrive(call: Call<'redriveDeadLetters'>, brokers: readonly string[]): Promise<Answer> {
    const { messageIds, dryRun = false } = call.body;
    const { path, headers, body } = call;
    const outcomes = new Map<string, PeerAnswer | GantryError>();
    await Promise.all(
      brokers.map(async (broker) => {
        const asked = { path, query: {}, headers, body };
        outcomes.set(broker, await withResults(front.change(call, broker, 'redriveDeadLetters', asked)));
      }),
    );
    const refusals = new Map(
      [...outcomes].filter((one): one is [string, GantryError] => one[1] instanceof GantryError),
    );
    const answers = new Map([...outcomes].filter((one): one is [string, PeerAnswer] => !refusals.has(one[0])));
    answersOf({ answers, refusals, away: new Map() });
    const parts = [...answers.values()].map((answer) => answer.json<RedriveResult>());
    const results = messageIds
      ? byMessage(messageIds, parts, [...refusals.values()], call.requestId)
      : parts.flatMap((part) => part.results);
    const remaining = parts.reduce((sum, part) => sum + part.remaining, 0);
    const answer = bulkAnswer(call, results, { dryRun, remaining, ...namely(refusals.keys()) });
    const replayed = [...answers.values()].every((one) => one.headers['idempotency-replayed'] === 'true');
    return replayed ? { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } } : answer;
  }
}

/** A problem that carries results is an answer, too. */
async function withResults(asking: Promise<PeerAnswer>): Promise<PeerAnswer | GantryError> {
  try {
    const answer = await asking;
    return answer.json<Partial<RedriveResult>>().results ? answer : answer.failure();
  } catch (error) {
    if (error instanceof GantryError) return error;
    throw error;
  }
}

/**
 * One broker has it, at most; what the others say of it is that they have not. Of what nobody has, a broker that was not
 * heard may have it.
 */
function byMessage(
  ids: readonly string[],
  parts: readonly RedriveResult[],
  refusals: readonly GantryError[],
  requestId: string,
): BulkItem[] {
  const found = new Map<string, BulkItem[]>();
  for (const item of parts.flatMap(({ results }) => results)) {
    const id = item.messageId.toUpperCase();
    found.set(id, [...(found.get(id) ?? []), item]);
  }
  return [...new Set(ids.map((id) => id.toUpperCase()))].flatMap((id): BulkItem[] => {
    const items = found.get(id) ?? [];
    const [said] = items.filter(({ error }) => error?.code !== 'MESSAGE_NOT_FOUND');
    if (said) return [said];
    const [unheard] = refusals;
    // Not in an answer at all: it is left for another call.
    if (items.length < parts.length) return [];
    const item = unheard ? { ...failed(unheard, requestId), messageId: id } : items[0]!;
    return [item];
  });
}
