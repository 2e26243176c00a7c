/**
 * What a send brings, as messages (api.md, rules 11 and 12). The content type decides and nothing is sniffed: JSON and
 * NDJSON describe messages, anything else is one message as it is, text where its type says so. Either every message is
 * fit to be stored, or the request is refused with the place of its first fault. One pass; this is the hottest code of
 * the rim.
 */
import { isUtf8 } from 'node:buffer';
import { GantryError, type ErrorLocation } from '../src/base/errors';
import { LIMITS } from '../src/base/limits';
import { DELAY_LEVELS_MS } from '../src/broker/delayLevels';
import { bodyBytes, type OutgoingMessage } from '../src/broker/message';
import { normalTag } from '../src/broker/tag';
import type { Operation } from './contract';
import { fieldsOfItems, fieldsOfObject, type FieldTexts } from './exactJson';
import { decodeUtf8, parseJson } from './jsonText';
import { isJsonLines, isJsonType, isUtf8Charset, mayBeText, parseMediaType } from './mediaType';
import { attributeFault, type FieldFault } from './messageAttributes';
import type { Call } from './operation';
import { isReservedProperty } from './reservedProperties';
import type { Schema } from './schema';
import { SchemaCheck } from './schemaCheck';

/** The query parameters that describe a message sent as it is. */
export interface RawMessageQuery {
  readonly tag?: string | undefined;
  readonly key?: readonly string[] | undefined;
  /** `name:value`, once per property. */
  readonly property?: readonly string[] | undefined;
  readonly messageGroup?: string | undefined;
  readonly delayMs?: number | undefined;
  readonly deliverAt?: number | undefined;
  readonly delayLevel?: number | undefined;
}

/** A message as the contract's JSON describes it; its schema has been checked. */
export interface WireMessage {
  readonly body?: string;
  readonly bodyJson?: unknown;
  readonly bodyEncoding?: string;
  readonly contentType?: string;
  readonly tag?: string;
  readonly keys?: readonly string[];
  readonly properties?: Readonly<Record<string, string>>;
  readonly messageGroup?: string;
  readonly messageId?: string;
  readonly queue?: { readonly broker: string; readonly queueId: number };
  readonly delayMs?: number;
  readonly deliverAt?: number;
  readonly delayLevel?: number;
}

/** Where a message stands in the request; made into text only when something is wrong. */
interface Place {
  readonly pointer: string;
  /** 'line 3: ' in NDJSON. */
  readonly prefix: string;
}

/** Text must be UTF-8. */
const isText = (type: string): boolean => type.startsWith('text/') || isJsonType(type);

/** Instead of its place among the messages: the request has one, under the name `message`. */
const ALONE = -1;

const place = (index: number, line = 0): Place => ({
  pointer: index === ALONE ? '/message' : `/messages/${index}`,
  prefix: line === 0 ? '' : `line ${line}: `,
});

/** Characters of a content type that is kept with a message. */
const CONTENT_TYPE_CHARACTERS = 255;

const readers = new WeakMap<Operation, MessageReader>();

/** The reader of an operation that takes what sendMessages takes; compiled once. */
export function messageReader(operation: Operation): MessageReader {
  const known = readers.get(operation);
  if (known) return known;
  const reader = new MessageReader(operation);
  readers.set(operation, reader);
  return reader;
}

/** The messages of a call, checked. */
export function readMessages(call: Call<'sendMessages'>): OutgoingMessage[] {
  const messages = messageReader(call.operation).read(call.contentType, call.bodyBytes, call.query);
  // The Kafka face stores a record where its partition says, which is Kafka's rule, and its key is the messageGroup.
  if (call.isClients) refuseTwoPlaces(messages);
  return messages;
}

/** A messageGroup has one queue: were another one allowed, its messages would be in no order. */
function refuseTwoPlaces(messages: readonly OutgoingMessage[]): void {
  for (let i = 0; i < messages.length; i += 1) {
    const { queue, messageGroup } = messages[i]!;
    if (queue === undefined || messageGroup === undefined) continue;
    throw refused(place(i), {
      field: '/queue',
      detail: 'does not go with messageGroup, which has its queue already: leave queue out',
    });
  }
}

/** Reads the bodies of one operation. */
export class MessageReader {
  readonly #batch: SchemaCheck;
  readonly #one: SchemaCheck;

  constructor(operation: Operation) {
    const schema = operation.body?.content.get('application/json');
    const messages = (schema?.['properties'] as Record<string, Schema> | undefined)?.['messages'];
    if (!schema || !messages) throw new Error(`openapi.yaml: ${operation.id} takes no JSON with messages`);
    this.#batch = new SchemaCheck(schema);
    this.#one = new SchemaCheck(messages['items'] as Schema);
  }

  /** At least one message, or a GantryError. */
  read(contentType: string | undefined, bytes: Buffer, query: RawMessageQuery): OutgoingMessage[] {
    const media = contentType === undefined ? undefined : parseMediaType(contentType);
    const type = media?.type ?? '';
    if (type === 'application/json') return this.#readJson(bytes, query);
    if (isJsonLines(type)) return this.#readLines(bytes, query);
    const text = isUtf8Charset(media?.charset) && (isText(type) || (mayBeText(type) && isUtf8(bytes)));
    return [readRaw(contentType, text, bytes, query)];
  }

  #readJson(bytes: Buffer, query: RawMessageQuery): OutgoingMessage[] {
    refuseRawQuery(query);
    if (bytes.length === 0) throw bodyEmpty('', 'The request has no body: send {"body":"…"} or {"messages":[…]}.');
    const text = decodeUtf8(bytes);
    const value = parseJson(text);
    const alone = typeof value === 'object' && value !== null && !Array.isArray(value) && !('messages' in value);
    const batch = (alone ? { messages: [value] } : value) as { messages: WireMessage[] };
    const given = (batch as { messages?: unknown } | null)?.messages;
    if (Array.isArray(given)) checkCount(given.length);
    if (!this.#batch.accepts(batch)) throw invalid(this.#batch.faults(batch, alone), '');
    const { messages } = batch;
    const outgoing: OutgoingMessage[] = new Array(messages.length) as OutgoingMessage[];
    let total = 0;
    let texts: readonly FieldTexts[] | undefined;
    for (let i = 0; i < messages.length; i += 1) {
      const wire = messages[i]!;
      if (wire.bodyJson !== undefined)
        texts ??= alone ? [fieldsOfObject(text, BODY_JSON)] : fieldsOfItems(text, 'messages', BODY_JSON);
      const message = fromWire(wire, i, 0, texts?.[i]?.['bodyJson']);
      total += bodyBytes(message.body);
      outgoing[i] = message;
    }
    checkTotal(total);
    return outgoing;
  }

  #readLines(bytes: Buffer, query: RawMessageQuery): OutgoingMessage[] {
    refuseRawQuery(query);
    const text = decodeUtf8(bytes);
    const outgoing: OutgoingMessage[] = [];
    let total = 0;
    let line = 0;
    for (let start = 0; start < text.length;) {
      const newline = text.indexOf('\n', start);
      const end = newline < 0 ? text.length : newline;
      line += 1;
      const part = text.slice(start, end).trim();
      start = end + 1;
      if (part === '') continue;
      const index = outgoing.length;
      checkCount(index + 1);
      const value = parseJson(part, place(index, line));
      if (!this.#one.accepts(value)) {
        const { pointer, prefix } = place(index, line);
        throw invalid(
          this.#one.faults(value, false).map((fault) => ({ ...fault, pointer: pointer + fault.pointer })),
          prefix,
        );
      }
      const message = fromWire(value as WireMessage, index, line, bodyJsonOf(value as WireMessage, part));
      total += bodyBytes(message.body);
      outgoing.push(message);
    }
    if (outgoing.length === 0) throw bodyEmpty('', 'The request has no message: send one JSON object per line.');
    checkTotal(total);
    return outgoing;
  }
}

const BODY_JSON = ['bodyJson'];

/** The message of a prepareTransaction. `bytes`: the whole body of the request, of which it is the field `message`. */
export function readPrepared(wire: WireMessage, bytes: Buffer): OutgoingMessage {
  if (wire.bodyJson === undefined) return fromWire(wire, ALONE, 0);
  const { message } = fieldsOfObject(decodeUtf8(bytes), ['message']);
  return fromWire(wire, ALONE, 0, bodyJsonOf(wire, message!));
}

/** The text of a message's bodyJson, cut out of the message's own text; undefined where it has none. */
const bodyJsonOf = (wire: WireMessage, text: string): string | undefined =>
  wire.bodyJson === undefined ? undefined : fieldsOfObject(text, BODY_JSON)['bodyJson'];

/**
 * One message of a JSON request, checked for what its schema cannot say. `index` is its place among the messages, or
 * ALONE; `line` its line in NDJSON, 0 = not NDJSON; `bodyJson` the text of that field, which is stored as it was written:
 * JavaScript's numbers and objects cannot hold every JSON value without a change.
 */
export function fromWire(wire: WireMessage, index: number, line: number, bodyJson = ''): OutgoingMessage {
  const { keys, properties, messageGroup } = wire;
  const tag = wire.tag === undefined ? undefined : normalTag(wire.tag);
  const json = wire.bodyJson !== undefined;
  if (json === (wire.body !== undefined)) throw bodyChoice(wire, place(index, line));
  const text = wire.bodyEncoding === undefined || wire.bodyEncoding === 'TEXT';
  const body = json
    ? jsonBody(wire, bodyJson, place(index, line))
    : text
      ? wire.body!
      : base64Body(wire.body!, place(index, line));
  if (bodyBytes(body) > LIMITS.messageBodyBytes) throw tooLarge(place(index, line), bodyBytes(body));
  if (tag !== undefined || keys || properties || messageGroup !== undefined) {
    const fault = attributeFault(tag, keys, properties, messageGroup);
    if (fault) throw refused(place(index, line), fault);
  }
  const late = delayFault(wire);
  if (late) throw refused(place(index, line), late);
  return {
    body,
    text,
    contentType: json ? 'application/json' : wire.contentType,
    tag,
    keys,
    properties,
    messageGroup,
    messageId: wire.messageId,
    queue: wire.queue,
    delayMs: delayOf(wire),
    deliverAt: wire.deliverAt,
  };
}

/** What a message may say of when it becomes visible. */
interface Delay {
  readonly delayMs?: number | undefined;
  readonly deliverAt?: number | undefined;
  readonly delayLevel?: number | undefined;
  readonly messageGroup?: string | undefined;
}

/** Milliseconds that it waits, if it says so. */
const delayOf = ({ delayMs, delayLevel }: Delay): number | undefined =>
  delayLevel === undefined ? delayMs : DELAY_LEVELS_MS[delayLevel - 1];

function delayFault({ delayMs, deliverAt, delayLevel, messageGroup }: Delay): FieldFault | undefined {
  if (delayMs === undefined && deliverAt === undefined && delayLevel === undefined) return undefined;
  const fields = Object.entries({ delayMs, deliverAt, delayLevel }).flatMap(([name, value]) =>
    value === undefined ? [] : name,
  );
  if (fields.length > 1) return { field: `/${fields[1]}`, detail: `stands beside ${fields[0]}: give one of them` };
  if (messageGroup === undefined) return undefined;
  return { field: `/${fields[0]}`, detail: 'does not go with messageGroup: later messages would overtake this one' };
}

function jsonBody({ contentType, bodyEncoding }: WireMessage, text: string, at: Place): string {
  if (bodyEncoding !== undefined) throw refused(at, { field: '/bodyEncoding', detail: 'does not go with bodyJson' });
  if (contentType !== undefined && contentType !== 'application/json') {
    throw refused(at, { field: '/contentType', detail: 'is application/json where bodyJson is given' });
  }
  return text;
}

/** Strict: alphabet, padding and unused bits as RFC 4648 writes them, nothing else. */
function base64Body(text: string, at: Place): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') === text) return bytes;
  throw refused(at, { field: '/body', detail: 'is not base64 with padding (RFC 4648, section 4)' });
}

/** One message as it is, described by the query. */
function readRaw(
  contentType: string | undefined,
  text: boolean,
  bytes: Buffer,
  query: RawMessageQuery,
): OutgoingMessage {
  if (bytes.length === 0 && contentType === undefined) {
    throw bodyEmpty('', 'The request has no body: it is the message. Give a content type to send an empty message.');
  }
  if (bytes.length > LIMITS.messageBodyBytes) throw tooLarge({ pointer: '', prefix: '' }, bytes.length);
  if (text) decodeUtf8(bytes);
  if (contentType !== undefined && contentType.length > CONTENT_TYPE_CHARACTERS) {
    const detail = `has at most ${CONTENT_TYPE_CHARACTERS} characters`;
    throw new GantryError('VALIDATION_FAILED', `The content type ${detail}.`, {
      errors: [{ parameter: 'Content-Type', in: 'header', detail }],
    });
  }
  const { messageGroup } = query;
  const tag = query.tag === undefined ? undefined : normalTag(query.tag);
  const keys = query.key && query.key.length > 0 ? query.key : undefined;
  const properties = query.property && query.property.length > 0 ? readProperties(query.property) : undefined;
  const fault = attributeFault(tag, keys, properties, messageGroup);
  if (fault) throw refusedParameter(PARAMETERS[fault.field.split('/')[1]!] ?? 'property', fault.detail);
  const late = delayFault(query);
  if (late) throw refusedParameter(late.field.slice(1), late.detail);
  return {
    body: bytes,
    text,
    contentType,
    tag,
    keys,
    properties,
    messageGroup,
    messageId: undefined,
    queue: undefined,
    delayMs: delayOf(query),
    deliverAt: query.deliverAt,
  };
}

/** The query's names for the fields of a message. */
const PARAMETERS: Readonly<Record<string, string>> = { tag: 'tag', keys: 'key', messageGroup: 'messageGroup' };

function readProperties(pairs: readonly string[]): Record<string, string> {
  const properties: Record<string, string> = {};
  for (const pair of pairs) {
    const colon = pair.indexOf(':');
    if (colon <= 0) throw refusedParameter('property', 'must be name:value');
    const name = pair.slice(0, colon);
    if (Object.hasOwn(properties, name)) throw refusedParameter('property', `${name} stands twice`);
    if (isReservedProperty(name)) throw refusedParameter('property', `the name ${name} is reserved`);
    properties[name] = pair.slice(colon + 1);
  }
  return properties;
}

const RAW_PARAMETERS = ['tag', 'key', 'property', 'messageGroup', 'delayMs', 'deliverAt', 'delayLevel'] as const;

/** With JSON, the message says everything itself. */
function refuseRawQuery(query: RawMessageQuery): void {
  const name = RAW_PARAMETERS.find((parameter) => query[parameter] !== undefined);
  if (name === undefined) return;
  throw refusedParameter(name, 'describes a message sent as it is; in JSON it is a field of the message');
}

function checkCount(count: number): void {
  if (count <= LIMITS.batchMessages) return;
  const detail = `at most ${LIMITS.batchMessages} messages in one request`;
  throw new GantryError('VALIDATION_FAILED', `The body is refused at /messages: ${detail}.`, {
    errors: [{ pointer: '/messages', detail }],
  });
}

function checkTotal(bytes: number): void {
  if (bytes <= LIMITS.batchBytes) return;
  throw new GantryError(
    'BODY_TOO_LARGE',
    `All bodies of a request have at most ${LIMITS.batchBytes} bytes together, not ${bytes}.`,
    {
      errors: [{ pointer: '/messages', detail: `at most ${LIMITS.batchBytes} bytes of bodies` }],
    },
  );
}

function tooLarge({ pointer, prefix }: Place, bytes: number): GantryError {
  const detail = `${prefix}a body has at most ${LIMITS.messageBodyBytes} bytes, not ${bytes}`;
  return new GantryError('BODY_TOO_LARGE', `A message is too large: ${detail}.`, {
    errors: [{ pointer: pointer === '' ? '' : `${pointer}/body`, detail }],
  });
}

function bodyChoice(wire: WireMessage, at: Place): GantryError {
  const both = wire.body !== undefined;
  return refused(at, {
    field: '/body',
    detail: both ? 'stands beside bodyJson: give one of them' : 'is required, or bodyJson',
  });
}

const bodyEmpty = (pointer: string, detail: string): GantryError =>
  new GantryError('BODY_EMPTY', detail, { errors: [{ pointer, detail: 'is empty' }] });

function refused({ pointer, prefix }: Place, { field, detail }: FieldFault): GantryError {
  return invalid([{ pointer: pointer + field, detail }], prefix);
}

function invalid(faults: readonly { pointer: string; detail: string }[], prefix: string): GantryError {
  const errors: ErrorLocation[] = faults.map(({ pointer, detail }) => ({ pointer, detail: prefix + detail }));
  const [first] = faults;
  return new GantryError(
    'VALIDATION_FAILED',
    `The body is refused at ${first?.pointer || 'its top'}: ${prefix}${first?.detail}.`,
    { errors },
  );
}

function refusedParameter(parameter: string, detail: string): GantryError {
  return new GantryError('VALIDATION_FAILED', `Query parameter ${parameter}: ${detail}.`, {
    errors: [{ parameter, in: 'query', detail }],
  });
}
