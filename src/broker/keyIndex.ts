/**
 * Finds the messages of a topic that have a key. One row for each key of a message: topic, hash of the key, time, place.
 * Rows of one day lie together, so that old days can be dropped together; within a day those of one key do, in the order
 * in which their messages were stored, so that a stretch of time is one scan. The key itself is not stored: whoever
 * reads the message compares it, because different keys may share a hash.
 */
import { readNumber, tableKeys, writeNumber } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { HOUR_MS } from './idRuns';
import { eachKey, keyBytes } from './message';
import type { Operation } from './overlay';

/** A message that may have the key. */
export interface KeyedPlace {
  readonly time: number;
  readonly position: number;
  readonly queueId: number;
  readonly queueOffset: number;
  /** Of its record. */
  readonly bytes: number;
}

interface Entry extends KeyedPlace {
  readonly topic: number;
  readonly hash: number;
  /** The one noted before it whose hash is the same. */
  readonly older: Entry | undefined;
}

/** What is looked for: times are inclusive, and of what was stored at `from` only what lies behind `position` counts. */
export interface KeyQuery {
  readonly topic: number;
  readonly hash: number;
  readonly from: number;
  readonly position: number;
  readonly to: number;
}

const DAY_HOURS = 24;
const DAY_MS = DAY_HOURS * HOUR_MS;
const TIME_AT = 17;
const POSITION_AT = 23;
const VALUE_BYTES = 14;
const LAST_POSITION = Number.MAX_SAFE_INTEGER;

export const dayOfHour = (hour: number): number => Math.floor(hour / DAY_HOURS);
const dayOf = (time: number): number => Math.floor(time / DAY_MS);

/** 48 bits (cyrb53, shortened). It is stored, and never changes. */
function hashOf(bytes: Buffer, start: number, end: number): number {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = start; i < end; i++) {
    a = Math.imul(a ^ bytes[i]!, 2654435761);
    b = Math.imul(b ^ bytes[i]!, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (b & 0xffff) * 0x1_0000_0000 + (a >>> 0);
}

export function keyHash(key: string): number {
  const bytes = keyBytes(key);
  return hashOf(bytes, 0, bytes.length);
}

export class KeyIndex {
  /** The newest of each hash. */
  #active = new Map<number, Entry>();
  #flushing = new Map<number, Entry>();
  #entries: Entry[] = [];

  /** Notes a stored message that has keys, under each of them. */
  add(record: Buffer, topic: number, time: number, position: number, queueId: number, queueOffset: number): void {
    eachKey(record, (start, end) => {
      const hash = hashOf(record, start, end);
      const older = this.#active.get(hash);
      const entry = { topic, hash, time, position, queueId, queueOffset, bytes: record.length, older };
      this.#active.set(hash, entry);
      this.#entries.push(entry);
    });
  }

  get pending(): number {
    return this.#entries.length;
  }

  *take(): Iterable<Operation> {
    const entries = this.#entries;
    this.#flushing = this.#active;
    this.#active = new Map();
    this.#entries = [];
    for (const { topic, hash, time, position, queueId, queueOffset, bytes } of entries) {
      const value = Buffer.allocUnsafe(VALUE_BYTES);
      value.writeUInt16BE(queueId, 0);
      writeNumber(value, queueOffset, 2);
      value.writeUInt32BE(bytes, 10);
      yield { key: tableKeys.messageKey(dayOf(time), topic, hash, time, position), value };
    }
  }

  flushed(): void {
    this.#flushing = new Map();
  }

  /** The first `limit` that fit, oldest first; `more` says that there are others. */
  async find(
    query: KeyQuery,
    tables: Pick<Tables, 'scan'>,
    limit: number,
  ): Promise<{ places: KeyedPlace[]; more: boolean }> {
    // First, because a flush may carry them away while the store is read; then they stand in both.
    const fresh = this.#recent(query);
    const places: KeyedPlace[] = [];
    const { topic, hash, to } = query;
    let { from, position } = query;
    for (let day = dayOf(from); day <= dayOf(to) && places.length <= limit; day++) {
      const rows = await tables.scan({
        gt: tableKeys.messageKey(day, topic, hash, from, position),
        lte: tableKeys.messageKey(day, topic, hash, to, LAST_POSITION),
        limit: limit + 1 - places.length,
      });
      for (const { key, value } of rows) places.push(placeOf(key, value));
      [from, position] = [(day + 1) * DAY_MS, 0];
    }
    const all = new Map([...places, ...fresh].map((place) => [place.position, place]));
    const sorted = [...all.values()].sort((a, b) => a.position - b.position);
    return { places: sorted.slice(0, limit), more: sorted.length > limit };
  }

  /** What is not in the tables store yet. */
  #recent({ topic, hash, from, position, to }: KeyQuery): KeyedPlace[] {
    const found: KeyedPlace[] = [];
    for (const entries of [this.#flushing, this.#active])
      for (let entry = entries.get(hash); entry; entry = entry.older) {
        const { time, queueId, queueOffset, bytes } = entry;
        const behind = time > from || (time === from && entry.position > position);
        if (entry.topic === topic && behind && time <= to)
          found.push({ time, position: entry.position, queueId, queueOffset, bytes });
      }
    return found;
  }
}

const placeOf = (key: Buffer, value: Buffer): KeyedPlace => ({
  time: key.readUIntBE(TIME_AT, 6),
  position: readNumber(key, POSITION_AT),
  queueId: value.readUInt16BE(0),
  queueOffset: readNumber(value, 2),
  bytes: value.readUInt32BE(10),
});
