/**
 * Messages as records, written as JSON text. A record that cannot be shown in the wanted format is shown as text or, if
 * it is none, in base64, and says so in a header: one of them never fails an answer.
 */
import {
  HEADERS,
  headersOf,
  KEY,
  keyOf,
  SHOWN,
  textOf,
  timestampOf,
  VALUE,
  type Attributes,
  type Header,
} from './attributes';
import type { Dialect } from './dialects';
import { faultAs } from './faults';
import { needsSchema, type Format, type SchemaFormat } from './mediaTypes';

/** A message as the native operations tell it. */
export interface NativeMessage extends Attributes {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly body: string;
  readonly bodyEncoding?: string;
  readonly bornTimestamp: number;
  /** Of a copy for a retry: the message itself. */
  readonly origin?: {
    readonly topic: string;
    readonly broker: string;
    readonly queueId: number;
    readonly queueOffset: number;
  };
}

/** How records are to be written. */
export interface Writing {
  readonly format: Format | SchemaFormat;
  readonly version: 1 | 2;
  readonly dialect: Dialect;
}

/** Header of a record of which the key or the value stands there in another form: `value=base64`, say. */
const FALLBACK = `${SHOWN}shown-as`;

interface Shown {
  /** JSON. */
  readonly json: string;
  /** Undefined: as wanted. */
  readonly as?: 'text' | 'base64';
}

const NULL: Shown = { json: 'null' };

/** Bytes of a record's key, value and headers (about), before they are written as JSON. */
export function bytesOf(message: NativeMessage): number {
  const { body, bodyEncoding, properties } = message;
  const value = bodyEncoding === 'BASE64' ? base64Bytes(body) : Buffer.byteLength(body);
  const key = properties[KEY];
  const headers = properties[HEADERS];
  return (
    value +
    (key === undefined ? Buffer.byteLength(message.messageGroup ?? '') : base64Bytes(key)) +
    (headers === undefined ? 0 : Math.floor((headers.length * 3) / 4))
  );
}

/** Of one native read at most, as the contract has it. */
const READ_BYTES = 8 * 1024 * 1024;
/** Bytes that a native read counts beside keys and values: a thousand small messages have no more than this. */
const OVERHEAD_BYTES = 256 * 1024;
/** Keys are stored as text, which is longer. An instance keeps what is read in vain, so it is not much. */
const GROWTH = 1.25;

/** Byte limit of a native read that is to get `bytes` of keys and values: it counts messages as they are stored. */
export const storedBytes = (bytes: number): number => Math.min(Math.ceil(bytes * GROWTH) + OVERHEAD_BYTES, READ_BYTES);

const base64Bytes = (text: string): number => Buffer.byteLength(text, 'base64');

/** One record as JSON text. Throws a KafkaFault when the format needs a schema and there is something to decode. */
export function recordJson(message: NativeMessage, partition: number, { format, version, dialect }: Writing): string {
  const keyBytes = keyOf(message);
  if (needsSchema(format)) {
    if (keyBytes !== null || !hasNoValue(message)) throw undecodable(message, partition, format, dialect);
    return recordJson(message, partition, { format: 'json', version, dialect });
  }
  const key = keyBytes === null ? NULL : showBytes(keyBytes, format);
  const value = showValue(message, format);
  const { topic, queueOffset } = message.origin ?? message;
  const head = version === 1 ? '{' : `{"topic":${JSON.stringify(topic)},`;
  let json = `${head}"key":${key.json},"value":${value.json},"partition":${partition},"offset":${queueOffset}`;
  const timestamp = timestampOf(message);
  if (dialect.timestamps === 'always' || timestamp !== undefined)
    json += `,"timestamp":${timestamp ?? message.bornTimestamp}`;
  const headers = headersOf(message);
  if (key.as) headers.push(fallback('key', key.as));
  if (value.as) headers.push(fallback('value', value.as));
  if (headers.length > 0) json += `,"headers":${headersJson(headers, dialect)}`;
  return `${json}}`;
}

const undecodable = ({ queueOffset }: NativeMessage, partition: number, format: SchemaFormat, dialect: Dialect) =>
  faultAs(
    dialect.undecodable,
    `The record at offset ${queueOffset} of partition ${partition} cannot be decoded as ${format}: there is no schema registry here. Create the instance with the format binary, json or text.`,
  );

const fallback = (part: string, as: string): Header => ({ name: FALLBACK, value: Buffer.from(`${part}=${as}`) });

const headersJson = (headers: readonly Header[], { headerName }: Dialect): string =>
  JSON.stringify(headers.map(({ name, value }) => ({ [headerName]: name, value: value?.toString('base64') ?? null })));

function showValue(message: NativeMessage, format: Format): Shown {
  const { body, bodyEncoding } = message;
  if (hasNoValue(message)) return NULL;
  if (bodyEncoding === 'BASE64')
    return format === 'binary' ? { json: `"${body}"` } : showBytes(Buffer.from(body, 'base64'), format);
  return format === 'binary' ? { json: `"${Buffer.from(body, 'utf8').toString('base64')}"` } : showText(body, format);
}

const hasNoValue = ({ body, properties }: NativeMessage): boolean => body === '' && properties[VALUE] === 'null';

function showBytes(bytes: Buffer, format: Format): Shown {
  if (format === 'binary') return { json: `"${bytes.toString('base64')}"` };
  const text = textOf(bytes);
  return text === undefined ? { json: `"${bytes.toString('base64')}"`, as: 'base64' } : showText(text, format);
}

function showText(text: string, format: Format): Shown {
  if (format !== 'json') return { json: JSON.stringify(text) };
  return isJson(text) ? { json: text } : { json: JSON.stringify(text), as: 'text' };
}

/** JSON goes out as it was written: numbers that JavaScript cannot hold, too. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
