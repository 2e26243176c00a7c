/**
 * A message as it lies in the journal: one record, whose bytes go to disk, to slaves, into the memory tail and out to
 * consumers without being built again. Everything a filter or the index needs stands at fixed places, so that neither
 * parses the rest.
 *
 *   record header (storage/record.ts)        28
 *   topic 6 · queueId 2 · flags 1 · messageId 16 · born 8 · tagHash 4 · groupHash 4 · tagBytes 2 · metaBytes 4
 *   tag (UTF-8) · meta (JSON, absent when empty) · body
 */
import { RECORD_HEADER_BYTES, recordPosition, recordTime } from '../../storage/record';
import { readNumber, writeNumber } from '../../storage/keys';
import { MESSAGE_ID_BYTES } from '../base/messageId';
import { messageGroupHash, tagHash } from './hash';

/** What a sender gives, checked. */
export interface OutgoingMessage {
  /** Text may stay a string, which is written into the record as UTF-8 without a buffer of its own (measured: 4 µs a message). */
  readonly body: Buffer | string;
  /** The body is UTF-8 text and is shown as such; otherwise it is shown in base64. */
  readonly text: boolean;
  readonly contentType?: string | undefined;
  readonly tag?: string | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  readonly messageGroup?: string | undefined;
  /** 32 hex digits chosen by the sender; otherwise one is made. */
  readonly messageId?: string | undefined;
  readonly queue?: { readonly broker: string; readonly queueId: number } | undefined;
  /** Milliseconds until it becomes visible. */
  readonly delayMs?: number | undefined;
  /** Instead: when it becomes visible, milliseconds since 1970. */
  readonly deliverAt?: number | undefined;
}

/** What is neither at a fixed place nor the body. One letter per field, because it is stored with every message. */
interface Meta {
  /** First of all: `eachKey` finds them there without parsing the rest. */
  k?: readonly string[];
  p?: Readonly<Record<string, string>>;
  c?: string;
  g?: string;
  a?: KeyedSend;
  /** Which delivery the next one is; absent = the first. */
  n?: number;
  /** Where a copy for a retry, or a dead letter, came from. */
  o?: StoredOrigin;
  /** Why it was given back, in the consumer's words. */
  r?: string;
  /** When it is, or was, to become visible. */
  d?: number;
  /** Of a committed transaction: position and time of its half message. */
  x?: readonly [number, number];
}

/** [topic, queueId, queueOffset, position, storeTime] of the message that a copy was made of. */
type StoredOrigin = readonly [string, number, number, number, number];

/** The message that a copy was made of. */
export interface Origin {
  readonly topic: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly position: number;
  readonly storeTimestamp: number;
}

/** Stands in the first record of a send with an Idempotency-Key. */
export interface KeyedSend {
  /** Base64 of the 16-byte hash of scope and key. */
  readonly key: string;
  /** Base64 of the hash of the whole request's content. */
  readonly content: string;
  /** For each item of the request: its ordinal in this command; -1 = refused; or the answer stored earlier. */
  readonly items: readonly (number | StoredAnswer)[];
}

/** A stored item's answer as it is remembered: [messageId hex, queueId, queueOffset, position, storeTime, when it is due if it waits]. */
export type StoredAnswer = readonly [string, number, number, number, number, number?];

const TOPIC = RECORD_HEADER_BYTES;
const QUEUE = TOPIC + 6;
const FLAGS = QUEUE + 2;
const ID = FLAGS + 1;
const BORN = ID + MESSAGE_ID_BYTES;
const TAG_HASH = BORN + 8;
const GROUP_HASH = TAG_HASH + 4;
const TAG_BYTES = GROUP_HASH + 4;
const META_BYTES = TAG_BYTES + 2;
const FIXED = META_BYTES + 4;

const FLAG_TEXT = 1;
const FLAG_KEYED = 2;
const FLAG_SCHEDULED = 4;

export interface Addressed {
  topic: number;
  queueId: number;
  /** 16 bytes. */
  messageId: Buffer;
  bornTimestamp: number;
  keyed?: KeyedSend | undefined;
  /** It waits until then, milliseconds since 1970. */
  due?: number | undefined;
}

/** A record with its header still empty (the journal fills it in when it knows the position). */
export function encodeMessage(message: OutgoingMessage, to: Addressed): Buffer {
  const { body, tag } = message;
  const meta = metaText(message, to);
  const tagBytes = tag === undefined ? 0 : Buffer.byteLength(tag);
  const metaBytes = Buffer.byteLength(meta);
  const bytes = bodyBytes(body);
  const bodyAt = FIXED + tagBytes + metaBytes;
  const record = Buffer.allocUnsafe(bodyAt + bytes);
  record.writeUIntBE(to.topic, TOPIC, 6);
  record.writeUInt16BE(to.queueId, QUEUE);
  record[FLAGS] =
    (message.text ? FLAG_TEXT : 0) | (to.keyed ? FLAG_KEYED : 0) | (to.due === undefined ? 0 : FLAG_SCHEDULED);
  to.messageId.copy(record, ID);
  writeNumber(record, to.bornTimestamp, BORN);
  record.writeInt32BE(tag === undefined ? 0 : tagHash(tag), TAG_HASH);
  record.writeUInt32BE(message.messageGroup === undefined ? 0 : messageGroupHash(message.messageGroup), GROUP_HASH);
  record.writeUInt16BE(tagBytes, TAG_BYTES);
  record.writeUInt32BE(metaBytes, META_BYTES);
  if (tagBytes > 0) record.write(tag!, FIXED, 'utf8');
  if (metaBytes > 0) record.write(meta, FIXED + tagBytes, 'utf8');
  // As many bytes as characters: it is ASCII, which is the same in Latin-1 and copied faster.
  if (typeof body === 'string') record.write(body, bodyAt, bytes === body.length ? 'latin1' : 'utf8');
  else body.copy(record, bodyAt);
  return record;
}

/** Bytes that a body takes when it is stored. */
export const bodyBytes = (body: Buffer | string): number =>
  typeof body === 'string' ? Buffer.byteLength(body) : body.length;

function metaText(message: OutgoingMessage, { keyed, due }: Addressed): string {
  const { keys, properties, contentType, messageGroup } = message;
  const plain = contentType === undefined && messageGroup === undefined && due === undefined;
  if (plain && !keys && !properties && !keyed) return '';
  const meta: Meta = {};
  if (keys) meta.k = keys;
  if (properties) meta.p = properties;
  if (contentType !== undefined) meta.c = contentType;
  if (messageGroup !== undefined) meta.g = messageGroup;
  if (keyed) meta.a = keyed;
  if (due !== undefined) meta.d = due;
  return JSON.stringify(meta);
}

export interface Copied {
  readonly topic: number;
  readonly queueId: number;
  /** Which delivery the copy's next one is. */
  readonly attempt: number;
  readonly origin: Origin;
  readonly reason?: string | undefined;
}

/** Another record with the same message for another queue: id, times of birth, tag, keys and body stay. */
export function copyMessage(record: Buffer, to: Copied): Buffer {
  const { topic, queueId, queueOffset, position, storeTimestamp } = to.origin;
  const meta: Meta = { ...readMeta(record), o: [topic, queueId, queueOffset, position, storeTimestamp] };
  delete meta.n;
  delete meta.r;
  if (to.attempt > 1) meta.n = to.attempt;
  if (to.reason !== undefined) meta.r = to.reason;
  return rewrite(record, to, meta);
}

/** A half message's place and time, as the message says it when it is committed. */
export interface Prepared {
  readonly position: number;
  readonly timestamp: number;
}

/** A message that waited, or was prepared, as it becomes visible in a queue of its topic. */
export function releaseMessage(record: Buffer, queueId: number, prepared?: Prepared): Buffer {
  const to = { topic: messageTopic(record), queueId };
  if (prepared) return rewrite(record, to, { ...readMeta(record), x: [prepared.position, prepared.timestamp] });
  if ((record[FLAGS]! & FLAG_KEYED) !== 0) return rewrite(record, to, readMeta(record) ?? {});
  const released = Buffer.from(record);
  released.writeUInt16BE(queueId, QUEUE);
  released[FLAGS] = record[FLAGS]! & ~FLAG_SCHEDULED;
  return released;
}

/** The same message with another place and meta; what was said of the request it came with stays behind. */
function rewrite(record: Buffer, to: { readonly topic: number; readonly queueId: number }, meta: Meta): Buffer {
  const { a: _, ...kept } = meta;
  const text = Object.keys(kept).length === 0 ? '' : JSON.stringify(kept);
  const metaBytes = Buffer.from(text, 'utf8');
  const tagEnd = FIXED + record.readUInt16BE(TAG_BYTES);
  const body = record.subarray(tagEnd + record.readUInt32BE(META_BYTES));
  const copy = Buffer.concat([record.subarray(0, tagEnd), metaBytes, body]);
  copy.writeUIntBE(to.topic, TOPIC, 6);
  copy.writeUInt16BE(to.queueId, QUEUE);
  copy[FLAGS] = record[FLAGS]! & ~FLAG_KEYED & ~FLAG_SCHEDULED;
  copy.writeUInt32BE(metaBytes.length, META_BYTES);
  return copy;
}

/** Which delivery of the message the first one of this record is. */
export const messageAttempt = (record: Buffer): number => readMeta(record)?.n ?? 1;

/** Bytes a message adds to the journal beside tag, meta and body. */
export const MESSAGE_OVERHEAD_BYTES = FIXED;

export const messageTopic = (record: Buffer): number => record.readUIntBE(TOPIC, 6);
export const messageQueueId = (record: Buffer): number => record.readUInt16BE(QUEUE);
export const messageTagHash = (record: Buffer): number => record.readInt32BE(TAG_HASH);
export const messageGroupHashOf = (record: Buffer): number => record.readUInt32BE(GROUP_HASH);
export const messageIdOf = (record: Buffer): Buffer => record.subarray(ID, ID + MESSAGE_ID_BYTES);

/** The tag, or undefined; an empty tag does not exist. */
export function messageTag(record: Buffer): string | undefined {
  const bytes = record.readUInt16BE(TAG_BYTES);
  return bytes === 0 ? undefined : record.toString('utf8', FIXED, FIXED + bytes);
}

function readMeta(record: Buffer): Meta | undefined {
  const start = FIXED + record.readUInt16BE(TAG_BYTES);
  const bytes = record.readUInt32BE(META_BYTES);
  return bytes === 0 ? undefined : (JSON.parse(record.toString('utf8', start, start + bytes)) as Meta);
}

/** Tag, keys and properties of a record, read when they are asked for: most of what a SQL filter costs is reading them. */
export class RecordAttributes {
  readonly #record: Buffer;
  #meta: Meta | undefined;

  constructor(record: Buffer) {
    this.#record = record;
  }

  get tag(): string | undefined {
    return messageTag(this.#record);
  }

  get keys(): readonly string[] | undefined {
    return this.#read().k;
  }

  get properties(): Readonly<Record<string, string>> | undefined {
    return this.#read().p;
  }

  #read(): Meta {
    this.#meta ??= readMeta(this.#record) ?? {};
    return this.#meta;
  }
}

/** What the meta of a message with keys begins with. */
const KEYS_FIRST = Buffer.from('{"k":["');
const [QUOTE, BACKSLASH, COMMA] = Buffer.from('"\\,');

/** Whether a message has keys; one without meta costs nothing more. */
export function hasKeys(record: Buffer): boolean {
  if (record.readUInt32BE(META_BYTES) < KEYS_FIRST.length) return false;
  const meta = FIXED + record.readUInt16BE(TAG_BYTES);
  return KEYS_FIRST.compare(record, meta, meta + KEYS_FIRST.length) === 0;
}

/** Tells of a message that has keys where each stands in the record, as `keyBytes` writes it. */
export function eachKey(record: Buffer, take: (start: number, end: number) => void): void {
  const first = FIXED + record.readUInt16BE(TAG_BYTES) + KEYS_FIRST.length;
  for (let start = first, at = first; ; at++) {
    if (record[at] === BACKSLASH) at++;
    else if (record[at] === QUOTE) {
      take(start, at);
      if (record[at + 1] !== COMMA) return;
      start = at + 3; // behind the comma and the quote of the next one
      at += 2;
    }
  }
}

/** A key as it stands in a record: JSON's escapes, without the quotes. */
export const keyBytes = (key: string): Buffer => Buffer.from(JSON.stringify(key).slice(1, -1), 'utf8');

/** Where a copy comes from: the first message of all; undefined for one that is no copy. */
export const messageOrigin = (record: Buffer): Origin | undefined => readOrigin(readMeta(record)?.o);

/** The idempotency part of a send's first record, or undefined. */
export function keyedSendOf(record: Buffer): KeyedSend | undefined {
  return (record[FLAGS]! & FLAG_KEYED) === 0 ? undefined : readMeta(record)?.a;
}

/** When a message becomes visible that is to wait (milliseconds since 1970), or undefined. */
export function dueOf(record: Buffer): number | undefined {
  return (record[FLAGS]! & FLAG_SCHEDULED) === 0 ? undefined : readMeta(record)?.d;
}

/** A stored message, read out of its record. */
export interface StoredMessage {
  readonly topic: number;
  readonly queueId: number;
  readonly position: number;
  readonly messageId: Buffer;
  readonly text: boolean;
  readonly body: Buffer;
  readonly tag: string | undefined;
  readonly keys: readonly string[] | undefined;
  readonly properties: Readonly<Record<string, string>> | undefined;
  readonly contentType: string | undefined;
  readonly messageGroup: string | undefined;
  readonly bornTimestamp: number;
  readonly storeTimestamp: number;
  readonly attempt: number;
  readonly origin: Origin | undefined;
  readonly reason: string | undefined;
  /** When it was to become visible, if it had to wait. */
  readonly deliverTimestamp: number | undefined;
  /** Its half message, if it was sent in a transaction. */
  readonly prepared: Prepared | undefined;
}

function readOrigin(stored: StoredOrigin | undefined): Origin | undefined {
  if (stored === undefined) return undefined;
  const [topic, queueId, queueOffset, position, storeTimestamp] = stored;
  return { topic, queueId, queueOffset, position, storeTimestamp };
}

export function decodeMessage(record: Buffer): StoredMessage {
  const meta = readMeta(record);
  const bodyStart = FIXED + record.readUInt16BE(TAG_BYTES) + record.readUInt32BE(META_BYTES);
  return {
    topic: messageTopic(record),
    queueId: messageQueueId(record),
    position: recordPosition(record),
    messageId: messageIdOf(record),
    text: (record[FLAGS]! & FLAG_TEXT) !== 0,
    body: record.subarray(bodyStart),
    tag: messageTag(record),
    keys: meta?.k,
    properties: meta?.p,
    contentType: meta?.c,
    messageGroup: meta?.g,
    bornTimestamp: readNumber(record, BORN),
    storeTimestamp: recordTime(record),
    attempt: meta?.n ?? 1,
    origin: readOrigin(meta?.o),
    reason: meta?.r,
    deliverTimestamp: meta?.d,
    prepared: meta?.x && { position: meta.x[0], timestamp: meta.x[1] },
  };
}
