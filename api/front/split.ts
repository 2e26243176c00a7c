/** Many items in one call that concern different brokers: each gets its own, and the results are put back in order. */
import { GantryError } from '../../src/base/errors';
import { failed, type BulkItem } from '../bulk';
import { isAway } from '../homes';
import type { OperationId } from '../operation';
import type { Front } from './front';
import type { PeerAnswer, PeerRequest } from './peer';
import type { AskingNow } from './rounds';

/** Places in the request, by the broker whose they are. */
export function placesByBroker<Item>(
  items: readonly Item[],
  brokerOf: (item: Item) => string,
): ReadonlyMap<string, readonly number[]> {
  const places = new Map<string, number[]>();
  items.forEach((item, at) => {
    const broker = brokerOf(item);
    const known = places.get(broker);
    if (known) known.push(at);
    else places.set(broker, [at]);
  });
  return places;
}

export interface SplitCall<Op extends OperationId> {
  readonly call: AskingNow;
  readonly operationId: Op;
  readonly parts: ReadonlyMap<string, readonly number[]>;
  /** What is asked of a broker, about the items at these places. */
  readonly asked: (broker: string, at: readonly number[]) => PeerRequest<Op>;
  /** By what the result of an item names it, also when its broker says nothing. */
  readonly nameOf: (at: number) => object;
}

export interface SplitAnswer {
  /** By place; places that no part has are left open. */
  readonly results: BulkItem[];
  readonly answers: ReadonlyMap<string, PeerAnswer>;
  /** Brokers that did not answer, or can do nothing now: what became of their items is not known, or nothing. */
  readonly unavailable: readonly string[];
}

/**
 * One call per broker, all at once. A refusal of a whole call is that of each of its items; so is the failure of a broker
 * that did not answer. Rejects only with what is no broker's failure, such as the client's going away.
 */
export async function split<Op extends OperationId>(front: Front, wanted: SplitCall<Op>): Promise<SplitAnswer> {
  const { call, operationId, parts, asked, nameOf } = wanted;
  const results: BulkItem[] = [];
  const answers = new Map<string, PeerAnswer>();
  const unavailable: string[] = [];
  await Promise.all(
    [...parts].map(async ([broker, at]) => {
      const answer = await answerOf(front.change(call, broker, operationId, asked(broker, at)));
      if (!(answer instanceof GantryError)) answers.set(broker, answer);
      const items = itemsIn(answer, at.length);
      if (items) return at.forEach((place, i) => (results[place] = items[i]!));
      const error = answer instanceof GantryError ? answer : answer.failure();
      if (isAway(error)) unavailable.push(broker);
      const refusal = failed(error, call.requestId);
      at.forEach((place) => (results[place] = { ...refusal, ...nameOf(place) }));
    }),
  );
  return { results, answers, unavailable };
}

async function answerOf(asking: Promise<PeerAnswer>): Promise<PeerAnswer | GantryError> {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof GantryError) return error;
    throw error;
  }
}

/** Also of a problem document that carries them. */
function itemsIn(answer: PeerAnswer | GantryError, count: number): readonly BulkItem[] | undefined {
  if (answer instanceof GantryError) return undefined;
  const { results } = answer.json<{ results?: readonly BulkItem[] }>();
  return results?.length === count ? results : undefined;
}
