/**
 * Messages as records, written as JSON text. A record that cannot be shown in the wanted format is shown as text or, if
 * it is none, in base64, and says so in a header: one of them never fails an answer.
 */
import { headersOf, keyOf, SHOWN, textOf, timestampOf, VALUE, type Attributes, type Header } from './attributes';
import type { Dialect } from './dialects';
import type { Format } from './mediaTypes';

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
  readonly format: Format;
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

/** One record as JSON text. */
export function recordJson(message: NativeMessage, partition: number, { format, version, dialect }: Writing): string {
  const keyBytes = keyOf(message);
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
  if (headers.length > 0) json += `,"headers":${headersJson(headers)}`;
  return `${json}}`;
}

const fallback = (part: string, as: string): Header => ({ name: FALLBACK, value: Buffer.from(`${part}=${as}`) });

const headersJson = (headers: readonly Header[]): string =>
  JSON.stringify(headers.map(({ name, value }) => ({ key: name, value: value?.toString('base64') ?? null })));

function showValue(message: NativeMessage, format: Format): Shown {
  const { body, bodyEncoding, properties } = message;
  if (body === '' && properties[VALUE] === 'null') return NULL;
  if (bodyEncoding === 'BASE64')
    return format === 'binary' ? { json: `"${body}"` } : showBytes(Buffer.from(body, 'base64'), format);
  return format === 'binary' ? { json: `"${Buffer.from(body, 'utf8').toString('base64')}"` } : showText(body, format);
}

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
