/** Records out: of an instance, or of a partition without one. */
import { LIMITS } from '../../src/base/limits';
import type { Clock } from '../../src/base/clock';
import { withInstance, type ConsumerParts } from './consumers';
import type { KafkaAnswer, KafkaCall, KafkaHandlers } from './exchange';
import { faultAs, KafkaFault, partitionMissing, unprocessable } from './faults';
import type { Instance } from './instance';
import { bodyTypeOf, recordsType, wantedFormat } from './mediaTypes';
import { existing } from './metadata';
import type { Native } from './native';
import { partitionsOf, type Partitions } from './partitions';
import { topicOf } from './places';
import { partitionNumber } from './produce';
import { bytesOf, recordJson, storedBytes, type NativeMessage, type Writing } from './records';

/** Bytes of an answer when nobody says: about what a server can hold for many clients at once. */
const MAX_BYTES = 4 * 1024 * 1024;
/** Longest wait that is granted, milliseconds. */
const MAX_WAIT_MS = 5 * 60_000;
/** Bytes that a client may ask for, and characters of an answer, whatever was asked for. */
const MOST_BYTES = 64 * 1024 * 1024;
const V1_COUNT = 100;
/** Partitions that move end the native wait early, and so do looks for new topics; a server that stops does so each time. */
const EMPTY_ANSWERS = 64;

export function recordHandlers(
  parts: ConsumerParts & { readonly clock: Clock },
): KafkaHandlers<'readRecords' | 'readRecordsV1' | 'readPartition' | 'readPartitionV1'> {
  const { native, clock, instances } = parts;
  return {
    readRecords: withInstance(parts, (call, instance) => readInstance(native, clock, call, instance)),

    readRecordsV1: withInstance(parts, async (call, instance) => {
      const topic = call.params['topic']!;
      if (!instance.subscribed?.topics.includes(topic)) {
        const before = instance.subscribed?.wanted;
        await existing(native, call);
        await instance.subscribe(
          { topics: [...(before && 'topics' in before ? before.topics : []), topic] },
          call.signal,
        );
        await instances.note(instance, call.signal);
      }
      return readInstance(native, clock, call, instance);
    }),

    readPartition: (call) =>
      readPartition(native, call, {
        waitMs: Math.min(numberIn(call, 'timeout') ?? 0, LIMITS.waitMs),
        maxBytes: bytesIn(call),
        max: LIMITS.pollMessages,
      }),

    readPartitionV1: (call) =>
      readPartition(native, call, {
        waitMs: 0,
        maxBytes: MAX_BYTES,
        max: Math.min(Math.max(numberIn(call, 'count') ?? V1_COUNT, 1), LIMITS.pollMessages),
      }),
  };
}

async function readInstance(native: Native, clock: Clock, call: KafkaCall, instance: Instance): Promise<KafkaAnswer> {
  const { settings, reading } = instance;
  const type = recordsType(call.headers.accept, settings.format, call.dialect.wrongFormatCode);
  if (!reading)
    throw faultAs(call.dialect.notReading, 'Consumer is not subscribed to any topics or assigned any partitions');
  const writing: Writing = { format: settings.format, version: versionOf(type), dialect: call.dialect };
  const page = new RecordPage(native, writing, bytesIn(call));
  const deadline = clock.monotonic() + waitOf(call, instance);
  const taken: NativeMessage[] = [];
  let empty = 0;
  for (let first = true; ; first = false) {
    const waitMs = Math.floor(Math.min(Math.max(deadline - clock.monotonic(), 0), LIMITS.waitMs));
    const messages = await reading.next({ maxBytes: page.room, waitMs, first }, call.signal);
    let fitting: number;
    try {
      fitting = await page.add(messages);
    } catch (error) {
      // None of these records is delivered: the next call finds the same ones.
      reading.giveBack([...taken, ...messages]);
      throw error;
    }
    taken.push(...messages.slice(0, fitting));
    if (fitting < messages.length) reading.giveBack(messages.slice(fitting));
    if (messages.length === 0) empty++;
    const enough = fitting < messages.length || (page.count > 0 && page.bytes >= settings.minBytes);
    if (enough || clock.monotonic() >= deadline || empty > EMPTY_ANSWERS || call.signal.aborted) break;
  }
  // Nobody reads this answer: the next one gets the same.
  if (call.signal.aborted) reading.giveBack(taken);
  else for (const message of taken) reading.delivered(message);
  return { status: 200, json: page.json, type };
}

/** Milliseconds. */
function waitOf(call: KafkaCall, { settings }: Instance): number {
  const { waitMs, waitBounded } = call.dialect;
  const own = settings.waitMs ?? waitMs;
  const asked = numberIn(call, 'timeout');
  const bound = waitBounded || settings.waitMs !== undefined ? own : MAX_WAIT_MS;
  return Math.min(asked ?? own, bound, MAX_WAIT_MS);
}

function numberIn(call: KafkaCall, name: string): number | undefined {
  const text = call.query.get(name);
  if (text === null || text === '') return undefined;
  // -1 stands for "not said" in Confluent's client.
  if (text === '-1') return undefined;
  if (!/^[0-9]{1,15}$/.test(text)) throw unprocessable(`${name} must be a whole number from 0.`);
  return Number(text);
}

const bytesIn = (call: KafkaCall): number => Math.min(numberIn(call, 'max_bytes') ?? MAX_BYTES, MOST_BYTES);

const versionOf = (type: string): 1 | 2 => (type.includes('.v1+') ? 1 : 2);

/** Records of one answer, as many as fit: what counts is the bytes of keys and values before they become JSON. */
class RecordPage {
  readonly #native: Native;
  readonly #writing: Writing;
  readonly #maxBytes: number;
  readonly #partitions = new Map<string, Partitions | undefined>();
  #text = '';
  count = 0;
  /** Of keys and values. */
  bytes = 0;

  constructor(native: Native, writing: Writing, maxBytes: number) {
    this.#native = native;
    this.#writing = writing;
    this.#maxBytes = maxBytes;
  }

  /** Bytes of keys and values that there is room for; at least one. */
  get room(): number {
    return Math.max(this.#maxBytes - this.bytes, 1);
  }

  get json(): string {
    return `[${this.#text}]`;
  }

  /** Answers how many of them fit; at least one, if there is none yet. */
  async add(messages: readonly NativeMessage[]): Promise<number> {
    for (let i = 0; i < messages.length; i++) {
      const message = messages[i]!;
      const { topic, broker, queueId } = message.origin ?? message;
      if (!this.#partitions.has(topic)) this.#partitions.set(topic, await this.#partitionsOf(topic));
      const json = recordJson(message, this.#partitions.get(topic)?.numberOf(broker, queueId) ?? -1, this.#writing);
      const bytes = bytesOf(message);
      const tooMany = this.bytes + bytes > this.#maxBytes || this.#text.length + json.length > MOST_BYTES;
      if (this.count > 0 && tooMany) return i;
      this.#text += this.count === 0 ? json : `,${json}`;
      this.bytes += bytes;
      this.count++;
    }
    return messages.length;
  }

  /** Undefined: it was deleted since. */
  async #partitionsOf(topic: string): Promise<Partitions | undefined> {
    const facts = await topicOf(this.#native, topic);
    return facts && partitionsOf(facts);
  }
}

async function readPartition(
  native: Native,
  call: KafkaCall,
  bounds: { readonly waitMs: number; readonly maxBytes: number; readonly max: number },
): Promise<KafkaAnswer> {
  const asked = bodyTypeOf(call.headers['content-type']).format;
  const { format, type } = wantedFormat(call.headers.accept);
  const topic = await existing(native, call);
  const place = partitionsOf(topic).queueOf(partitionNumber(call));
  if (!place) throw partitionMissing();
  const writing = {
    format: type.includes('kafka.') ? format : (asked ?? format),
    version: versionOf(type),
    dialect: call.dialect,
  };
  const page = new RecordPage(native, writing, bounds.maxBytes);
  const query = { ...bounds, maxBytes: storedBytes(page.room), offset: numberIn(call, 'offset') ?? 0 };
  const answer = await native.call('readQueue', { path: { topic: topic.name, ...place }, query }, call.signal);
  if (!answer.ok) {
    const failure = answer.failure();
    if (failure.code === 'OFFSET_MOVED') throw new KafkaFault(400, 400, failure.message);
    throw failure;
  }
  await page.add(answer.json<{ messages: NativeMessage[] }>().messages);
  return { status: 200, json: page.json, type };
}
