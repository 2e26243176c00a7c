/** How a change went on other brokers, as the answer to whoever asked for it says it. */
import type { Told } from '../src/cluster/spread';
import { failed, type BulkItem } from './bulk';
import type { Answer } from './operation';

/** One entry for each broker, the one that decided first. */
export const resultsOf = (requestId: string, here: string, others: readonly Told[]): BulkItem[] => [
  { status: 'OK', broker: here } as BulkItem,
  ...others.map(({ broker, error }) => ({ ...(error ? failed(error, requestId) : { status: 'OK' }), broker })),
];

/** It is decided, and some do not know yet: for an answer that shows the resource. */
export function notTold(others: readonly Told[]): { unavailable?: readonly string[] } {
  const unavailable = others.filter(({ error }) => error).map(({ broker }) => broker);
  return unavailable.length > 0 ? { unavailable } : {};
}

/** It is gone: everywhere, or some do not know yet. */
export const goneAnswer = (requestId: string, here: string, others: readonly Told[]): Answer =>
  others.some(({ error }) => error)
    ? { status: 207, body: { results: resultsOf(requestId, here, others), ...notTold(others) } }
    : { status: 204 };
