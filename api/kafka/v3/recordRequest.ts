/** One record as version 3 of this API writes it: an object with typed key and value. */
import { fieldsOfObject, type FieldTexts } from '../../exactJson';
import type { Header } from '../attributes';
import { KafkaFault } from '../faults';
import { base64, type OutgoingRecord } from '../produceBody';

/** Key or value as the report tells of it. */
export interface DataReport {
  readonly type: string;
  readonly size: number;
}

export interface RecordRequest {
  readonly record: OutgoingRecord;
  readonly key: DataReport | undefined;
  readonly value: DataReport | undefined;
}

const FIELDS: ReadonlySet<string> = new Set(['partition_id', 'headers', 'key', 'value', 'timestamp', 'original_size']);
const DATA_FIELDS: ReadonlySet<string> = new Set(['type', 'data']);
/** Fields and types that need a schema registry; there is none. */
const SCHEMA_FIELDS: ReadonlySet<string> = new Set([
  'subject',
  'subject_name_strategy',
  'schema_id',
  'schema_version',
  'schema',
]);
const SCHEMA_TYPES: ReadonlySet<unknown> = new Set(['AVRO', 'JSONSCHEMA', 'PROTOBUF']);

const BAD_BASE64 = { notBase64: [400, 400] } as const;

const badRequest = (detail: string): KafkaFault => new KafkaFault(400, 400, detail);
const needsSchema = (at: string): KafkaFault =>
  new KafkaFault(422, 42207, `${at} needs a schema registry, and there is none: send type BINARY, JSON or STRING.`);

/** The fields of a record whose JSON is kept as it was written. */
export const EXACT_FIELDS = ['key', 'value'];

/** The record in an object; `exact` are the texts of EXACT_FIELDS. Throws a KafkaFault. */
export function readRecordRequest(object: Readonly<Record<string, unknown>>, exact: FieldTexts): RecordRequest {
  const unknown = Object.keys(object).find((name) => !FIELDS.has(name));
  if (unknown !== undefined)
    throw badRequest(
      `Unrecognized field ${JSON.stringify(unknown.slice(0, 100))}: a record has partition_id, headers, key, value and timestamp.`,
    );
  const { partition_id: partition, headers, timestamp } = object;
  const key = readData('key', object['key'], exact['key']);
  const value = readData('value', object['value'], exact['value']);
  return {
    record: {
      key: typeof key.data === 'string' ? Buffer.from(key.data, 'utf8') : key.data,
      value: value.data,
      isJson: value.type === 'JSON',
      partition: readPartition(partition),
      headers: readHeaders(headers),
      timestamp: readTimestamp(timestamp),
    },
    key: reportOf(key),
    value: reportOf(value),
  };
}

interface Data {
  readonly type: string | undefined;
  readonly data: Buffer | string | null;
}

function readData(at: string, given: unknown, text: string | undefined): Data {
  if (given === undefined || given === null) return { type: undefined, data: null };
  if (typeof given !== 'object' || Array.isArray(given))
    throw badRequest(`${at} must be an object, such as {"type": "JSON", "data": …}.`);
  const names = Object.keys(given);
  const { type, data } = given as { type?: unknown; data?: unknown };
  if (SCHEMA_TYPES.has(type) || names.some((name) => SCHEMA_FIELDS.has(name))) throw needsSchema(at);
  const unknown = names.find((name) => !DATA_FIELDS.has(name));
  if (unknown !== undefined) throw badRequest(`Unrecognized field ${JSON.stringify(unknown.slice(0, 100))} in ${at}.`);
  if (type !== 'BINARY' && type !== 'JSON' && type !== 'STRING')
    throw badRequest(`${at}.type must be BINARY, JSON or STRING.`);
  if (data === undefined || data === null) return { type, data: null };
  if (type === 'JSON') return { type, data: fieldsOfObject(text!, ['data'])['data']! };
  if (type === 'BINARY') return { type, data: base64(data, `${at}.data`, BAD_BASE64) };
  if (typeof data !== 'string') throw badRequest(`${at}.data must be a string, because its type is STRING.`);
  return { type, data };
}

const reportOf = ({ type, data }: Data): DataReport | undefined =>
  type === undefined ? undefined : { type, size: data === null ? 0 : Buffer.byteLength(data) };

function readPartition(given: unknown): number | undefined {
  if (given === undefined || given === null) return undefined;
  if (!Number.isSafeInteger(given)) throw badRequest('partition_id must be a whole number.');
  if ((given as number) < 0) throw new KafkaFault(404, 40402, 'Partition not found.');
  return given as number;
}

function readHeaders(given: unknown): Header[] {
  if (given === undefined || given === null) return [];
  if (!Array.isArray(given)) throw badRequest('headers must be a list of {"name": …, "value": base64}.');
  return given.map((header: unknown, i) => {
    const { name, value } = (header ?? {}) as { name?: unknown; value?: unknown };
    if (typeof name !== 'string') throw badRequest(`headers[${i}].name must be a string.`);
    const isNull = value === undefined || value === null;
    return { name, value: isNull ? null : base64(value, `headers[${i}].value`, BAD_BASE64) };
  });
}

/** ISO 8601, or milliseconds since 1970. */
function readTimestamp(given: unknown): number | undefined {
  if (given === undefined || given === null) return undefined;
  const at = typeof given === 'string' ? Date.parse(given) : given;
  if (typeof at === 'number' && Number.isSafeInteger(at) && at >= 0) return at;
  throw badRequest('timestamp must be a date and time as ISO 8601 writes it, such as 2026-01-01T10:00:00Z.');
}
