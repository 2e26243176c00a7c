/**
 * Where the servers of this API differ from each other (rest-gateways.md, section 1.0): one table. A client that was
 * written for one of them is served in its dialect, by `--kafka-dialect` for the server or by a header for one request.
 * What does not stand here is the same for all of them.
 */
import { KafkaFault } from './faults';

/** How a failed record looks among the results. */
export type FailureShape = 'confluent' | 'karapace' | 'strimzi' | 'redpanda';

export interface Dialect {
  /** A commit of offset N says that N is handled (N + 1 is stored), or that N is the next one to read. */
  readonly commitOffset: 'last' | 'next';
  /** A produce to a missing topic: 404 for the request, or 200 with a failure for each record. */
  readonly missingTopic: '404' | 'perRecord';
  /** Status of a produce of which a record failed. */
  readonly partialFailure: 200 | 422;
  /** A seek on a partition that is not assigned. */
  readonly unassignedSeek: 409 | 404;
  /** A commit that was made: 200 with an empty list, or 204. */
  readonly commitAnswer: 200 | 204;
  /** Milliseconds that a call for records waits when it does not say. */
  readonly waitMs: number;
  /** Whether that is also the longest, unless the instance says otherwise. */
  readonly waitBounded: boolean;
  /** Where a new group begins when its first instance does not say. */
  readonly reset: 'earliest' | 'latest';
  /** `error_code` of a failed call: five digits, or the status alone. */
  readonly errorCode: 'detailed' | 'status';
  /** `error_code` of a question about a missing topic. */
  readonly missingTopicCode: number;
  /** `error_code` when records are wanted in another format than the instance's. */
  readonly wrongFormatCode: number;
  readonly failureShape: FailureShape;
  /** Whether the results name schema ids (there are none). */
  readonly schemaIds: boolean;
  /** Whether records tell their time always, or only if the producer gave one. */
  readonly timestamps: 'always' | 'given';
  /** Whether base_uri has the port even if it is the usual one. */
  readonly explicitPort: boolean;
}

const confluent: Dialect = {
  commitOffset: 'last',
  missingTopic: 'perRecord',
  partialFailure: 200,
  unassignedSeek: 409,
  commitAnswer: 200,
  waitMs: 1000,
  waitBounded: true,
  reset: 'latest',
  errorCode: 'detailed',
  missingTopicCode: 40401,
  wrongFormatCode: 40601,
  failureShape: 'confluent',
  schemaIds: true,
  timestamps: 'given',
  explicitPort: false,
};

const karapace: Dialect = {
  ...confluent,
  missingTopic: '404',
  partialFailure: 422,
  commitAnswer: 204,
  waitMs: 11_000,
  waitBounded: false,
  reset: 'earliest',
  missingTopicCode: 40403,
  failureShape: 'karapace',
  timestamps: 'always',
};

const strimzi: Dialect = {
  ...confluent,
  commitOffset: 'next',
  unassignedSeek: 404,
  commitAnswer: 204,
  waitMs: 100,
  waitBounded: false,
  errorCode: 'status',
  failureShape: 'strimzi',
  schemaIds: false,
  timestamps: 'always',
  explicitPort: true,
};

const redpanda: Dialect = {
  ...confluent,
  commitOffset: 'next',
  commitAnswer: 204,
  waitMs: 100,
  waitBounded: false,
  reset: 'earliest',
  wrongFormatCode: 406,
  failureShape: 'redpanda',
  schemaIds: false,
};

/** All presets by name; the first is the default. */
export const DIALECTS = { confluent, karapace, strimzi, redpanda } as const satisfies Record<string, Dialect>;

/** The header by which one request chooses. */
export const DIALECT_HEADER = 'x-gantry-kafka-dialect';

/** What may be set by itself, and to what. */
const SWITCHES: { readonly [Name in keyof Dialect]?: Readonly<Record<string, Dialect[Name]>> } = {
  commitOffset: { last: 'last', next: 'next' },
  missingTopic: { 404: '404', perRecord: 'perRecord' },
  partialFailure: { 200: 200, 422: 422 },
  unassignedSeek: { 409: 409, 404: 404 },
  commitAnswer: { 200: 200, 204: 204 },
};

const LONGEST_WAIT_MS = 30_000;

/** What a text such as `strimzi` or `karapace,commitOffset=next,waitMs=500` makes of a dialect. Throws a KafkaFault. */
export function readDialect(text: string, base: Dialect = confluent): Dialect {
  let dialect = base;
  for (const part of text.split(',').map((one) => one.trim())) {
    if (part === '') continue;
    const [name, value] = part.split('=').map((piece) => piece.trim()) as [string, string?];
    const change = value === undefined ? presetOf(name) : changeOf(name, value);
    if (!change) throw new KafkaFault(400, 400, `The Kafka dialect "${part.slice(0, 100)}" is none of ${known()}`);
    dialect = { ...dialect, ...change };
  }
  return dialect;
}

const presetOf = (name: string): Dialect | undefined =>
  Object.hasOwn(DIALECTS, name) ? DIALECTS[name as keyof typeof DIALECTS] : undefined;

function changeOf(name: string, value: string): Partial<Dialect> | undefined {
  if (name === 'waitMs') {
    const ms = /^[0-9]{1,5}$/.test(value) ? Number(value) : Infinity;
    return ms <= LONGEST_WAIT_MS ? { waitMs: ms } : undefined;
  }
  const values = Object.hasOwn(SWITCHES, name) ? SWITCHES[name as keyof Dialect] : undefined;
  return values && Object.hasOwn(values, value) ? { [name]: values[value] } : undefined;
}

function known(): string {
  const switches = Object.entries(SWITCHES).map(([name, values]) => `${name}=${Object.keys(values).join('|')}`);
  return [...Object.keys(DIALECTS), ...switches, 'waitMs=0..30000'].join(', ');
}

const read = new Map<string, Dialect>();

/** The dialect of a request. Clients say the same thing each time: it is read once. */
export function dialectOf(header: string | string[] | undefined, server: Dialect): Dialect {
  if (typeof header !== 'string') return server;
  if (server !== confluent) return readDialect(header, server);
  let dialect = read.get(header);
  if (!dialect) {
    dialect = readDialect(header);
    if (read.size < 1000) read.set(header, dialect);
  }
  return dialect;
}
