/**
 * Reads of a queue's index, from memory where it stands there and from the tables store otherwise. Offsets are dense:
 * an entry between min and max that cannot be found is damage and never passed over.
 */
import { DamagedError } from '../../storage/failures';
import { readNumber, tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import type { Queue } from './queue';
import type { ReadGate } from './readGate';
import { Segment } from './segment';

/** Segments fetched from disk at once: about 100 KiB at most. */
const SEGMENTS_PER_READ = 8;
/** Segments kept after a read: 13 MiB at most. */
const SEGMENTS_REMEMBERED = 1024;
/** First step of a search: about what one segment holds. */
const SEARCH_STEP = 64;
const FIRST_AT = 9;

export class QueueIndex {
  readonly #tables: Tables;
  readonly #gate: ReadGate;
  /** The stretch read last of each queue: sequential readers find their next entries in it. The oldest leaves first. */
  readonly #lastRead = new Map<Queue, Segment>();

  constructor(tables: Tables, gate: ReadGate) {
    this.#tables = tables;
    this.#gate = gate;
  }

  /** The segment that holds `offset` (min <= offset < max), if it stands in memory. */
  inMemory(queue: Queue, offset: number): Segment | undefined {
    if (offset < queue.memoryFirst) {
      const read = this.#lastRead.get(queue);
      return read !== undefined && offset >= read.first && offset < read.end ? read : undefined;
    }
    const { segments } = queue;
    let low = 0;
    let high = segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (segments[middle]!.first <= offset) low = middle;
      else high = middle - 1;
    }
    return segments[low];
  }

  /** The same, from disk if need be; undefined when the offset was trimmed, or its topic deleted, in the meantime. */
  async at(queue: Queue, offset: number): Promise<Segment | undefined> {
    return this.inMemory(queue, offset) ?? (await this.#gate.run(() => this.#fetch(queue, offset)));
  }

  async #fetch(queue: Queue, offset: number): Promise<Segment | undefined> {
    const key = tableKeys.segment(queue.topic, queue.queueId, offset);
    const [row] = await this.#tables.scan({
      lte: key,
      gte: tableKeys.segmentsOf(queue.topic, queue.queueId),
      limit: 1,
      reverse: true,
    });
    const segment = row === undefined ? undefined : Segment.read(readNumber(row.key, FIRST_AT), row.value);
    if (segment === undefined || offset >= segment.end) {
      if (offset < queue.min) return undefined;
      throw new DamagedError(
        `the index of topic ${queue.topic}, queue ${queue.queueId} has no entry for offset ${offset}`,
      );
    }
    this.#remember(queue, segment);
    return segment;
  }

  #remember(queue: Queue, segment: Segment): void {
    this.#lastRead.delete(queue);
    this.#lastRead.set(queue, segment);
    if (this.#lastRead.size > SEGMENTS_REMEMBERED) this.#lastRead.delete(this.#lastRead.keys().next().value!);
  }

  /** Segments from the one that holds `from` on, enough for `count` entries or as many as one read brings; none when `from` was trimmed. */
  async from(queue: Queue, from: number, count: number): Promise<Segment[]> {
    const first = await this.at(queue, from);
    if (first === undefined) return [];
    const segments = [first];
    while (segments.length < SEGMENTS_PER_READ * 4) {
      const next = segments.at(-1)!.end;
      if (next - from >= count || next >= queue.max || next < queue.min) break;
      const known = this.inMemory(queue, next);
      const more = known ? [known] : await this.#gate.run(() => this.#fetchOn(queue, next));
      if (more.length === 0) break;
      segments.push(...more);
    }
    return segments;
  }

  async #fetchOn(queue: Queue, from: number): Promise<Segment[]> {
    const rows = await this.#tables.scan({
      gte: tableKeys.segment(queue.topic, queue.queueId, from),
      lt: tableKeys.segment(queue.topic, queue.queueId, queue.memoryFirst),
      limit: SEGMENTS_PER_READ,
    });
    const segments = rows.map(({ key, value }) => Segment.read(readNumber(key, FIRST_AT), value));
    let expected = from;
    for (const segment of segments) {
      if (segment.first !== expected) break;
      expected = segment.end;
    }
    if (segments.length === 0 || expected !== segments.at(-1)!.end) {
      if (from < queue.min) return [];
      throw new DamagedError(
        `the index of topic ${queue.topic}, queue ${queue.queueId} has a gap at offset ${expected}`,
      );
    }
    this.#remember(queue, segments.at(-1)!);
    return segments;
  }

  /**
   * The first offset in [min, max] for which `isAtOrAfter` holds; it must hold for all later ones, too. Looks near the
   * beginning first, in doubling steps: what is searched for mostly lies there (trimming), and then costs a read or two.
   */
  async search(queue: Queue, isAtOrAfter: (segment: Segment, offset: number) => boolean): Promise<number> {
    const holds = async (offset: number): Promise<boolean> => {
      const segment = await this.at(queue, offset);
      return segment !== undefined && isAtOrAfter(segment, offset);
    };
    let low = queue.min;
    let high = queue.max;
    for (let step = SEARCH_STEP; low < high; step *= 2) {
      const probe = low + step;
      if (probe >= high) break;
      if (await holds(probe)) high = probe;
      else low = probe + 1;
      if (high === probe) break;
    }
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (await holds(middle)) high = middle;
      else low = middle + 1;
    }
    return Math.max(low, queue.min);
  }
}
