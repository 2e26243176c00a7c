/**
 * Failures as RFC 9457 documents. One table says which HTTP status a code has; nothing else in the program does.
 * What is no GantryError is shown as INTERNAL_ERROR without a word of its own: the log has the stack.
 */
import { CODES, GantryError, type Code, type ErrorLocation } from '../src/base/errors';

export const PROBLEM_TYPE = 'application/problem+json';

/** The one table from codes to statuses (api.md, rule 8). */
export const STATUS: Readonly<Record<Code, number>> = {
  VALIDATION_FAILED: 400,
  MALFORMED_JSON: 400,
  JSON_TOO_DEEP: 400,
  ENCODING_INVALID: 400,
  INVALID_PATH: 400,
  MALFORMED_REQUEST: 400,
  BODY_EMPTY: 400,
  CURSOR_INVALID: 400,
  FILTER_INVALID: 400,
  RECEIPT_INVALID: 400,
  UNAUTHENTICATED: 401,
  NO_PERMISSION: 403,
  ORIGIN_NOT_ALLOWED: 403,
  MISDIRECTED_REQUEST: 421,
  PATH_NOT_FOUND: 404,
  TOPIC_NOT_FOUND: 404,
  GROUP_NOT_FOUND: 404,
  TAG_NOT_FOUND: 404,
  QUEUE_NOT_FOUND: 404,
  MESSAGE_NOT_FOUND: 404,
  TRANSACTION_NOT_FOUND: 404,
  PRODUCER_GROUP_NOT_FOUND: 404,
  BROKER_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  NOT_ACCEPTABLE: 406,
  REQUEST_TIMEOUT: 408,
  BODY_TOO_LARGE: 413,
  URI_TOO_LONG: 414,
  HEADERS_TOO_LARGE: 431,
  UNSUPPORTED_MEDIA_TYPE: 415,
  TOPIC_EXISTS: 409,
  TOPIC_RECREATED: 409,
  SUBSCRIPTION_CONFLICT: 409,
  STYLE_CONFLICT: 409,
  QUEUE_NOT_OWNED: 409,
  NOT_JOINED: 409,
  CONSUMER_REPLACED: 409,
  OFFSET_MOVED: 409,
  OFFSET_BACKWARDS: 409,
  LATE_ACK: 409,
  ALREADY_RESOLVED: 409,
  PRODUCER_GROUP_MISMATCH: 409,
  ALREADY_DELIVERED: 409,
  IN_USE: 409,
  REGISTRATION_CONFLICT: 409,
  IDEMPOTENCY_IN_PROGRESS: 409,
  PRECONDITION_FAILED: 412,
  MESSAGE_TYPE_MISMATCH: 422,
  DELAY_TOO_LONG: 422,
  TAG_NOT_DECLARED: 422,
  IDEMPOTENCY_KEY_REUSED: 422,
  WEBHOOK_REFUSED: 422,
  REORDER_NOT_ALLOWED: 422,
  GROUP_SETTINGS_CONFLICT: 422,
  LIMIT_EXCEEDED: 422,
  TOO_MANY_REQUESTS: 429,
  STARTING: 503,
  SERVICE_NOT_AVAILABLE: 503,
  QUEUE_READ_ONLY: 503,
  DISK_FULL: 503,
  NOT_MASTER: 503,
  NOT_HOME: 503,
  QUEUE_ELSEWHERE: 503,
  OUTCOME_UNKNOWN: 504,
  INTERNAL_ERROR: 500,
};

/** The members every problem has; a code may add its own. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance?: string;
  code: Code;
  retryable: boolean;
  requestId: string;
  errors?: ErrorLocation[];
  retryAfterMs?: number;
  [member: string]: unknown;
}

/** What the caller is told instead of a failure's own words. */
const UNEXPECTED = new GantryError(
  'INTERNAL_ERROR',
  'This is a fault of the server. Its log has the details under the requestId.',
);

/** The failure as a coded one. */
export const coded = (error: unknown): GantryError => (error instanceof GantryError ? error : UNEXPECTED);

/** The problem document of a failure; `instance` is the path of the request, left out for one item of many. */
export function problemOf(error: unknown, requestId: string, instance?: string): Problem {
  const { code, message, retryable, extras } = coded(error);
  const problem: Problem = {
    type: `urn:gantry:problem:${code}`,
    title: CODES[code].title,
    status: STATUS[code],
    detail: message,
    code,
    retryable,
    requestId,
  };
  if (instance !== undefined) problem.instance = instance;
  if (extras.errors) problem.errors = extras.errors;
  if (extras.retryAfterMs !== undefined) problem.retryAfterMs = extras.retryAfterMs;
  return extras.members ? { ...extras.members, ...problem } : problem;
}

/** Retry-After: whole seconds, never less than one (RFC 9110, 10.2.3). */
export const retryAfterSeconds = (ms: number): string => String(Math.max(1, Math.ceil(ms / 1000)));

/** Retry-After of a failure; undefined when nothing is known. */
export function retryAfter(error: unknown): string | undefined {
  const { retryAfterMs } = coded(error).extras;
  return retryAfterMs === undefined ? undefined : retryAfterSeconds(retryAfterMs);
}
