/**
 * What a record has and a message has not, as properties of the message, and the other way round. Their names are open:
 * whoever sends natively may set them, and then writes records.
 *
 *   gantry-kafka-key        the key's bytes, base64
 *   gantry-kafka-value      'null': there is no value; 'empty': it has no bytes. The body is empty then.
 *   gantry-kafka-headers    JSON: [[name, base64 or null], …], in order, names may repeat
 *   gantry-kafka-timestamp  milliseconds since 1970, as the producer gave them
 *
 * A message that was sent natively shows what it has as headers: gantry-tag, gantry-key (one for each key),
 * gantry-message-group, gantry-property-NAME.
 */
import { LIMITS } from '../../src/base/limits';
import { attributeFault } from '../messageAttributes';
import { isReservedProperty } from '../reservedProperties';

export const VALUE = 'gantry-kafka-value';
export const KEY = 'gantry-kafka-key';
export const HEADERS = 'gantry-kafka-headers';
export const TIMESTAMP = 'gantry-kafka-timestamp';
/** Of headers that stand for what a native message has. */
export const SHOWN = 'gantry-';

/** A header of a record. */
export interface Header {
  readonly name: string;
  readonly value: Buffer | null;
}

/** What is kept of a record beside its value. */
export interface RecordFacts {
  readonly key: Buffer | null;
  readonly noValue: boolean;
  readonly emptyValue: boolean;
  readonly headers: readonly Header[];
  readonly timestamp: number | undefined;
}

type Properties = Readonly<Record<string, string>>;

/** Properties that carry these facts; undefined when there is nothing to carry. */
export function propertiesOf({ key, noValue, emptyValue, headers, timestamp }: RecordFacts): Properties | undefined {
  const properties: Record<string, string> = {};
  if (key) properties[KEY] = key.toString('base64');
  if (noValue || emptyValue) properties[VALUE] = noValue ? 'null' : 'empty';
  if (timestamp !== undefined) properties[TIMESTAMP] = String(timestamp);
  if (headers.length > 0) {
    properties[HEADERS] = JSON.stringify(headers.map(({ name, value }) => [name, value?.toString('base64') ?? null]));
    const plain = plainOf(headers);
    // Only for the convenience of native readers: where there is no room for them they are left out.
    if (attributeFault(undefined, undefined, { ...plain, ...properties }, undefined) === undefined)
      return { ...plain, ...properties };
  }
  return Object.keys(properties).length > 0 ? properties : undefined;
}

/** Headers that can be properties as they are: text under a name that stands once. */
function plainOf(headers: readonly Header[]): Record<string, string> {
  const plain: Record<string, string> = {};
  const seen = new Set<string>();
  for (const { name, value } of headers) {
    if (seen.has(name)) delete plain[name];
    else if (name !== '' && !name.startsWith(SHOWN) && !isReservedProperty(name) && value) {
      const text = textOf(value);
      if (text !== undefined) plain[name] = text;
    }
    seen.add(name);
  }
  return plain;
}

/** The bytes as text; undefined when they are not UTF-8. */
export function textOf(bytes: Buffer): string | undefined {
  const text = bytes.toString('utf8');
  return text.includes('\ufffd') && !Buffer.from(text, 'utf8').equals(bytes) ? undefined : text;
}

/** By which the native look-up finds a record; undefined for keys that are no short text. */
export function searchKeyOf(key: Buffer): string | undefined {
  if (key.length === 0 || key.length > MAX_SEARCH_KEY) return undefined;
  const text = textOf(key);
  return text === undefined || /\p{Cc}/u.test(text) ? undefined : text;
}

/** Bytes: what is longer is nobody's search word, and it would count twice against the bound on properties. */
const MAX_SEARCH_KEY = 256;

/** What a message natively has. */
export interface Attributes {
  readonly tag?: string;
  readonly keys: readonly string[];
  readonly properties: Properties;
  readonly messageGroup?: string;
}

/** The headers that readers of records see. */
export function headersOf({ tag, keys, properties, messageGroup }: Attributes): Header[] {
  const written = readHeaders(properties[HEADERS]);
  const own = new Set(written?.map(({ name }) => name));
  const headers = [...(written ?? [])];
  const show = (name: string, value: string) => void headers.push({ name, value: Buffer.from(value, 'utf8') });
  if (tag !== undefined) show(`${SHOWN}tag`, tag);
  // The key and the messageGroup of what was produced as a record are the record's key.
  if (properties[KEY] === undefined) {
    for (const key of keys) show(`${SHOWN}key`, key);
    if (messageGroup !== undefined) show(`${SHOWN}message-group`, messageGroup);
  }
  for (const [name, value] of Object.entries(properties))
    if (!OWN.has(name) && !own.has(name)) show(`${SHOWN}property-${name}`, value);
  return headers;
}

const OWN = new Set([KEY, VALUE, HEADERS, TIMESTAMP]);

/** What somebody else wrote there is not trusted to be ours: then it is a property like any other. */
function readHeaders(text: string | undefined): Header[] | undefined {
  if (text === undefined) return undefined;
  try {
    const pairs = JSON.parse(text) as [string, string | null][];
    return pairs.map(([name, value]) => ({ name: String(name), value: value === null ? null : bytesOf(value) }));
  } catch {
    return undefined;
  }
}

const bytesOf = (base64: string): Buffer => Buffer.from(String(base64), 'base64');

/** The key of a record: as it was produced, or the messageGroup, by which a native message is placed like one. */
export function keyOf({ properties, messageGroup }: Attributes): Buffer | null {
  const key = properties[KEY];
  if (key !== undefined) return bytesOf(key);
  return messageGroup === undefined ? null : Buffer.from(messageGroup, 'utf8');
}

/** When the producer says it was made; undefined when he says nothing. */
export function timestampOf({ properties }: Attributes): number | undefined {
  const text = properties[TIMESTAMP];
  return text !== undefined && /^[0-9]{1,16}$/.test(text) ? Number(text) : undefined;
}

/** What a message can carry beside its body, in words for whoever sends more. */
export const ROOM = `key and headers have at most ${LIMITS.messagePropertiesBytes} bytes together, as they are stored`;
