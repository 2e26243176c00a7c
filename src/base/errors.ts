/**
 * The coded failures a caller may see. One registry: the code, what it means in a few words, and whether the same
 * request may be repeated as it is. Which HTTP status a code has is api/problem.ts's business.
 *
 * Two kinds of failure exist. An expected one is a `GantryError`. What cannot happen goes through `invariant` and ends
 * the process: a broken invariant is never handled and continued.
 */
export const CODES = {
  // malformed or against the contract
  VALIDATION_FAILED: { title: 'The request does not fit the contract', retryable: false },
  MALFORMED_JSON: { title: 'The body is not JSON', retryable: false },
  JSON_TOO_DEEP: { title: 'The JSON is nested too deep', retryable: false },
  ENCODING_INVALID: { title: 'The text is not valid Unicode', retryable: false },
  INVALID_PATH: { title: 'The path cannot be decoded', retryable: false },
  MALFORMED_REQUEST: { title: 'The HTTP request is malformed', retryable: false },
  BODY_EMPTY: { title: 'The body is empty', retryable: false },
  CURSOR_INVALID: { title: 'The cursor is not valid here', retryable: false },
  FILTER_INVALID: { title: 'The filter cannot be read', retryable: false },
  RECEIPT_INVALID: { title: 'The receipt handle is not valid here', retryable: false },
  // not allowed
  UNAUTHENTICATED: { title: 'The secret of the cluster is needed', retryable: false },
  NO_PERMISSION: { title: 'The topic does not permit this', retryable: false },
  ORIGIN_NOT_ALLOWED: { title: 'Cross-site call refused', retryable: false },
  MISDIRECTED_REQUEST: { title: 'The request is for another host', retryable: false },
  // absent
  PATH_NOT_FOUND: { title: 'No such path', retryable: false },
  TOPIC_NOT_FOUND: { title: 'No such topic', retryable: false },
  GROUP_NOT_FOUND: { title: 'No such consumer group', retryable: false },
  TAG_NOT_FOUND: { title: 'No such declared tag', retryable: false },
  QUEUE_NOT_FOUND: { title: 'No such queue', retryable: false },
  MESSAGE_NOT_FOUND: { title: 'No such message', retryable: false },
  TRANSACTION_NOT_FOUND: { title: 'No such transaction', retryable: false },
  PRODUCER_GROUP_NOT_FOUND: { title: 'No such producer group', retryable: false },
  BROKER_NOT_FOUND: { title: 'No such broker', retryable: false },
  // the HTTP request itself
  METHOD_NOT_ALLOWED: { title: 'The method is not allowed here', retryable: false },
  NOT_ACCEPTABLE: { title: 'No answer in an accepted media type', retryable: false },
  REQUEST_TIMEOUT: { title: 'The request came too slowly', retryable: true },
  BODY_TOO_LARGE: { title: 'The body is too large', retryable: false },
  URI_TOO_LONG: { title: 'The URI is too long', retryable: false },
  HEADERS_TOO_LARGE: { title: 'The headers are too large', retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { title: 'The content type is not supported here', retryable: false },
  // against the present state
  TOPIC_EXISTS: { title: 'The topic exists with another configuration', retryable: false },
  REGISTRATION_CONFLICT: { title: 'Another broker holds this name, id or address', retryable: false },
  TOPIC_RECREATED: { title: 'The topic was deleted and created again', retryable: false },
  SUBSCRIPTION_CONFLICT: { title: 'The subscription differs from the group’s', retryable: false },
  STYLE_CONFLICT: { title: 'The group is not used in this style', retryable: false },
  QUEUE_NOT_OWNED: { title: 'The consumer does not own this queue', retryable: false },
  NOT_JOINED: { title: 'The consumer is not a member of the group', retryable: false },
  CONSUMER_REPLACED: { title: 'A newer poll of the same consumer took over', retryable: false },
  OFFSET_MOVED: { title: 'The offset is outside the queue', retryable: false },
  OFFSET_BACKWARDS: { title: 'The offset is behind the committed one', retryable: false },
  LATE_ACK: { title: 'The receipt does not count any more', retryable: false },
  ALREADY_RESOLVED: { title: 'The transaction was decided otherwise', retryable: false },
  PRODUCER_GROUP_MISMATCH: { title: 'Another producer group prepared this', retryable: false },
  ALREADY_DELIVERED: { title: 'The message waits no more', retryable: false },
  IN_USE: { title: 'The resource is in use', retryable: false },
  IDEMPOTENCY_IN_PROGRESS: { title: 'The first call with this key still runs', retryable: true },
  PRECONDITION_FAILED: { title: 'The precondition does not hold', retryable: false },
  // well-formed, but against the configuration
  MESSAGE_TYPE_MISMATCH: { title: 'The message does not fit the topic’s type', retryable: false },
  DELAY_TOO_LONG: { title: 'The delay is too long', retryable: false },
  TAG_NOT_DECLARED: { title: 'The topic takes declared tags only', retryable: false },
  IDEMPOTENCY_KEY_REUSED: { title: 'The Idempotency-Key was used for another content', retryable: false },
  WEBHOOK_REFUSED: { title: 'The webhook may not be called', retryable: false },
  REORDER_NOT_ALLOWED: { title: 'More queues would break the order', retryable: false },
  GROUP_SETTINGS_CONFLICT: { title: 'Settings of the group exclude each other', retryable: false },
  LIMIT_EXCEEDED: { title: 'A limit of the broker is reached', retryable: false },
  // not now
  TOO_MANY_REQUESTS: { title: 'A limit on concurrent requests is reached', retryable: true },
  STARTING: { title: 'Still starting', retryable: true },
  SERVICE_NOT_AVAILABLE: { title: 'The service cannot take this now', retryable: true },
  QUEUE_READ_ONLY: { title: 'The broker takes no messages now', retryable: true },
  DISK_FULL: { title: 'The disk is full', retryable: true },
  NOT_MASTER: { title: 'This broker is not the master', retryable: true },
  NOT_HOME: { title: 'Another broker decides about this', retryable: true },
  QUEUE_ELSEWHERE: { title: 'The queue is on another broker', retryable: true },
  // nobody knows
  OUTCOME_UNKNOWN: { title: 'The outcome is unknown', retryable: false },
  INTERNAL_ERROR: { title: 'Something broke here', retryable: false },
} as const satisfies Record<string, { title: string; retryable: boolean }>;

export type Code = keyof typeof CODES;

/** Where in the request the fault is: a JSON pointer into the body, or a named parameter. */
export type ErrorLocation =
  { pointer: string; detail: string } | { parameter: string; in: 'path' | 'query' | 'header'; detail: string };

export interface ErrorExtras {
  errors?: ErrorLocation[];
  /** Milliseconds after which a retry makes sense; becomes Retry-After (RFC 9110, 10.2.3). */
  retryAfterMs?: number;
  /** Further members of the problem document, documented per code in openapi.yaml. */
  members?: Record<string, unknown>;
  /** Overrides the registry where the same code may or may not be repeated (OUTCOME_UNKNOWN with a key). */
  retryable?: boolean;
}

export class GantryError extends Error {
  readonly code: Code;
  readonly extras: ErrorExtras;

  /** `detail` says what is wrong with this very request and what to do about it. */
  constructor(code: Code, detail: string, extras: ErrorExtras = {}) {
    super(detail);
    this.name = 'GantryError';
    this.code = code;
    this.extras = extras;
  }

  get retryable(): boolean {
    return this.extras.retryable ?? CODES[this.code].retryable;
  }
}

/** For what cannot happen. Throws an uncoded error, which nothing catches: the process ends and restarts. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${what}`);
}

/** Why a call's own signal is aborted when its time is over. */
export class DeadlineOver extends Error {
  constructor(ms: number) {
    super(`no answer within ${ms} ms`);
    this.name = 'DeadlineOver';
  }
}
