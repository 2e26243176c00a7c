/**
 * The answer to many items at once (api.md, rule 9): all well → 200; every item failed with one code → that code's
 * status as a problem that carries the results; anything else → 207. Results stand in the order of the request.
 */
import type { GantryError } from '../src/base/errors';
import type { Answer } from './operation';
import { PROBLEM_TYPE, problemOf, retryAfterSeconds, type Problem } from './problem';

/** What every item of a bulk answer has, whatever else it says. */
export interface BulkItem {
  /** SEND_OK, OK or FAILED. */
  readonly status: string;
  /** Present exactly when the item failed. */
  readonly error?: Problem | undefined;
}

/** The part of a failed item that is the same everywhere; its place in the request is added by the caller. */
export const failed = (error: unknown, requestId: string): { status: 'FAILED'; error: Problem } => ({
  status: 'FAILED',
  error: problemOf(error, requestId),
});

/** What the core said of each item, as the wire says it. */
export const itemsOf = <Item extends { readonly error?: GantryError | undefined }>(
  call: { readonly requestId: string },
  items: readonly Item[],
): BulkItem[] =>
  items.map(({ error, ...rest }) => ({ ...(error ? failed(error, call.requestId) : { status: 'OK' }), ...rest }));

/** Answers `results`; `members` stand beside them whatever the status. */
export function bulkAnswer(
  call: { readonly requestId: string; readonly instance: string },
  results: readonly BulkItem[],
  members: Readonly<Record<string, unknown>> = {},
): Answer {
  const first = results[0]?.error;
  if (results.every((item) => item.error === undefined)) return { status: 200, body: { ...members, results } };
  if (!first || results.some((item) => item.error?.code !== first.code)) {
    return { status: 207, body: { ...members, results } };
  }
  const { type, title, status, detail, code } = first;
  const problem = {
    type,
    title,
    status,
    detail: results.length === 1 ? detail : `All ${results.length} items failed: ${title}`,
    instance: call.instance,
    code,
    retryable: results.every((item) => item.error?.retryable === true),
    requestId: call.requestId,
  };
  const headers: Record<string, string> = { 'Content-Type': PROBLEM_TYPE };
  if (first.retryAfterMs !== undefined) headers['Retry-After'] = retryAfterSeconds(first.retryAfterMs);
  else if (status === 503 || status === 429) headers['Retry-After'] = '1';
  // A single item's own members (the offsets of OFFSET_MOVED, say) are the problem's, too.
  return { status, body: { ...(results.length === 1 ? first : {}), ...members, ...problem, results }, headers };
}
