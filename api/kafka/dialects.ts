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
  /** `error_code` when a topic is missing: asked for itself, and named on the way to something else. */
  readonly missingTopicCode: { readonly itself: number; readonly elsewhere: number };
  /** A partition in a path that is no number. */
  readonly badPartition: StatusAndCode;
  /** Status of a produce without records, or in which a record has fields that no record has, or no value. */
  readonly badRecord: 422 | 400;
  /** Status of a produce whose records are no list of objects. */
  readonly noRecords: 422 | 400;
  /** A key or value that is not base64 in the binary format. */
  readonly notBase64: StatusAndCode;
  /** Whether a record must have a value, be it null, or a key alone will do. */
  readonly valueRequired: boolean;
  /** A record that cannot be decoded in the format of the instance. */
  readonly undecodable: StatusAndCode;
  /** A subscription to an empty list: it is none from now on, or it is refused. */
  readonly emptySubscription: 204 | 409;
  /** A call for records of an instance that is neither subscribed nor assigned. */
  readonly notReading: StatusAndCode;
  /** Whether a subscription is told with the partitions that it has now. */
  readonly subscribedPartitions: boolean;
  /** `error_code` when records are wanted in another format than the instance's. */
  readonly wrongFormatCode: number;
  readonly failureShape: FailureShape;
  /** Whether the results name schema ids (there are none). */
  readonly schemaIds: boolean;
  /** Whether records tell their time always, or only if the producer gave one. */
  readonly timestamps: 'always' | 'given';
  /** Field with the name of a header, among the headers of a record that is read. */
  readonly headerName: 'key' | 'name';
  /** Whether base_uri has the port even if it is the usual one. */
  readonly explicitPort: boolean;
  /** X-Forwarded-Path: the whole path as the client called it, or what stands before ours. */
  readonly forwardedPath: 'whole' | 'prefix';
}

/** HTTP status and `error_code` of a failure. */
export type StatusAndCode = readonly [status: number, code: number];

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
  missingTopicCode: { itself: 40401, elsewhere: 40401 },
  badPartition: [404, 404],
  badRecord: 422,
  noRecords: 422,
  notBase64: [422, 42206],
  valueRequired: false,
  undecodable: [500, 50002],
  emptySubscription: 204,
  notReading: [409, 40903],
  subscribedPartitions: false,
  wrongFormatCode: 40601,
  failureShape: 'confluent',
  schemaIds: true,
  timestamps: 'given',
  headerName: 'key',
  explicitPort: false,
  forwardedPath: 'prefix',
};

const karapace: Dialect = {
  ...confluent,
  missingTopic: '404',
  partialFailure: 422,
  commitAnswer: 204,
  waitMs: 11_000,
  waitBounded: false,
  reset: 'earliest',
  missingTopicCode: { itself: 40403, elsewhere: 40401 },
  noRecords: 400,
  notBase64: [400, 400],
  undecodable: [422, 422],
  emptySubscription: 409,
  failureShape: 'karapace',
  timestamps: 'always',
  headerName: 'name',
};

const strimzi: Dialect = {
  ...confluent,
  commitOffset: 'next',
  unassignedSeek: 404,
  commitAnswer: 204,
  waitMs: 100,
  waitBounded: false,
  errorCode: 'status',
  badPartition: [400, 400],
  badRecord: 400,
  noRecords: 400,
  valueRequired: true,
  undecodable: [406, 406],
  notReading: [500, 500],
  subscribedPartitions: true,
  failureShape: 'strimzi',
  schemaIds: false,
  timestamps: 'always',
  explicitPort: true,
  forwardedPath: 'whole',
};

const redpanda: Dialect = {
  ...confluent,
  commitOffset: 'next',
  commitAnswer: 204,
  waitMs: 100,
  waitBounded: false,
  reset: 'earliest',
  missingTopicCode: { itself: 40402, elsewhere: 40402 },
  badPartition: [400, 40002],
  undecodable: [422, 422],
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
