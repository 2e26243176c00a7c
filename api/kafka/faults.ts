/**
 * Failures as this API tells them: a status, a code of five digits that begins with it, and a sentence. What the native
 * side refuses has a code there; one table says which one it has here.
 */
import { GantryError, type Code } from '../../src/base/errors';

export class KafkaFault extends Error {
  readonly status: number;
  readonly code: number;

  constructor(status: number, code: number, message: string) {
    super(message);
    this.name = 'KafkaFault';
    this.status = status;
    this.code = code;
  }
}

/** As far as a dialect says it. `itself`: the topic was asked for, and not something of it. */
export const topicMissing = (
  { missingTopicCode: codes }: { readonly missingTopicCode: { readonly itself: number; readonly elsewhere: number } },
  name: string,
  itself = false,
): KafkaFault => new KafkaFault(404, itself ? codes.itself : codes.elsewhere, `Topic ${name.slice(0, 127)} not found.`);
export const partitionMissing = (): KafkaFault => new KafkaFault(404, 40402, 'Partition not found.');
export const instanceMissing = (): KafkaFault => new KafkaFault(404, 40403, 'Consumer instance not found.');
export const instanceExists = (): KafkaFault =>
  new KafkaFault(409, 40902, 'Consumer with specified consumer ID already exists in the specified consumer group.');
export const illegalState = (detail: string): KafkaFault => new KafkaFault(409, 40903, detail);
export const unprocessable = (detail: string): KafkaFault => new KafkaFault(422, 422, detail);
export const invalidConfig = (detail: string): KafkaFault =>
  new KafkaFault(422, 42204, `Invalid consumer configuration: ${detail}`);
export const notAcceptable = (): KafkaFault => new KafkaFault(406, 406, 'HTTP 406 Not Acceptable');

/** A failure whose status and code a dialect says. */
export const faultAs = ([status, code]: readonly [status: number, code: number], message: string): KafkaFault =>
  new KafkaFault(status, code, message);

/** What is not listed is 50002: the cluster refused, and repeating it will not help. */
const FAULTS: { readonly [C in Code]?: readonly [status: number, code: number] } = {
  MALFORMED_REQUEST: [400, 400],
  MALFORMED_JSON: [400, 400],
  INVALID_PATH: [400, 400],
  VALIDATION_FAILED: [422, 422],
  JSON_TOO_DEEP: [422, 422],
  ENCODING_INVALID: [422, 422],
  BODY_EMPTY: [422, 422],
  UNAUTHENTICATED: [401, 40101],
  NO_PERMISSION: [403, 40301],
  ORIGIN_NOT_ALLOWED: [403, 403],
  MISDIRECTED_REQUEST: [421, 421],
  TOPIC_NOT_FOUND: [404, 40401],
  QUEUE_NOT_FOUND: [404, 40402],
  METHOD_NOT_ALLOWED: [405, 405],
  REQUEST_TIMEOUT: [408, 408],
  BODY_TOO_LARGE: [413, 413],
  URI_TOO_LONG: [414, 414],
  UNSUPPORTED_MEDIA_TYPE: [415, 415],
  SUBSCRIPTION_CONFLICT: [409, 40903],
  STYLE_CONFLICT: [409, 40903],
  QUEUE_NOT_OWNED: [409, 40903],
  NOT_JOINED: [409, 40903],
  CONSUMER_REPLACED: [409, 40903],
  OFFSET_MOVED: [422, 422],
  LIMIT_EXCEEDED: [422, 422],
  TOO_MANY_REQUESTS: [429, 429],
  STARTING: [503, 50301],
  SERVICE_NOT_AVAILABLE: [503, 50301],
  QUEUE_READ_ONLY: [503, 50301],
  DISK_FULL: [503, 50301],
  NOT_MASTER: [503, 50301],
};

const UNEXPECTED = 'Internal Server Error: the log of the server has the details under the X-Request-Id.';

/** The failure as this API tells it. */
export function faultOf(error: unknown): KafkaFault {
  if (error instanceof KafkaFault) return error;
  if (!(error instanceof GantryError)) return new KafkaFault(500, 500, UNEXPECTED);
  const [status, code] = FAULTS[error.code] ?? [500, error.retryable ? 50003 : 50002];
  return new KafkaFault(status, code, error.message);
}

/** Of one record: the codes of failed records are those of the cluster. */
export function recordCodeOf(error: unknown): number {
  if (error instanceof KafkaFault) return error.code;
  if (!(error instanceof GantryError)) return 50002;
  if (error.code === 'NO_PERMISSION') return 40301;
  // A topic that is missing may come: Kafka's own client goes on asking for it.
  return error.retryable || error.code === 'TOPIC_NOT_FOUND' ? 50003 : 50002;
}
