/** Rules for a call that was sent and brought no answer: whether it may have been done, and whether to repeat it. */
import { GantryError } from '../../src/base/errors';
import type { Operation } from '../contract';

/** A call as far as its outcome depends on it. */
export interface Unanswered {
  readonly operation: Pick<Operation, 'id' | 'method'>;
  /** It has an Idempotency-Key. */
  readonly keyed: boolean;
  /** The silent broker, as it is named to the client. */
  readonly broker: string;
}

/** POSTs that change nothing, or whose unread answer harms nobody. */
const HARMLESS: ReadonlySet<string> = new Set(['receiveMessages', 'testFilter']);

/** POSTs that do nothing more when they are repeated: brokers recognise what was done before. */
const REPEATABLE: ReadonlySet<string> = new Set([
  ...['createTopic', 'commitOffsets', 'resetOffsets', 'sendBack', 'endTransaction', 'endTransactions'],
  ...['ackMessages', 'nackMessages', 'extendReceipts'],
]);

export const changesSomething = ({ id, method }: Unanswered['operation']): boolean =>
  method !== 'get' && !HARMLESS.has(id);

/** SERVICE_NOT_AVAILABLE for a question; OUTCOME_UNKNOWN for a change, which the broker may have made. */
export function unanswered({ operation, keyed, broker }: Unanswered): GantryError {
  if (!changesSomething(operation))
    return new GantryError('SERVICE_NOT_AVAILABLE', `${broker} did not answer: ask again`, { retryAfterMs: 1000 });
  const retryable = keyed || operation.method !== 'post' || REPEATABLE.has(operation.id);
  const then = retryable ? 'call again, which does nothing twice' : 'check whether it was done before you call again';
  return new GantryError('OUTCOME_UNKNOWN', `${broker} gave no answer, and may have done what was asked: ${then}`, {
    retryable,
  });
}
