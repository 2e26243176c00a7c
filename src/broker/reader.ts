/**
 * Reads messages of a queue from an offset on: index entries first, filtered by their hash without touching a body, then
 * the bodies, from the memory tail or in one bounded read from disk. Examines a bounded number of entries and says how
 * far it came, so that a caller with a sparse filter gets on, too. A filter that has to see the records is shown them
 * part by part, as long as the caller's effort lasts.
 */
import type { Journal } from '../../storage/journal';
import { LIMITS } from '../base/limits';
import type { Effort } from './effort';
import type { Filter } from './filter';
import type { Queue } from './queue';
import type { QueueIndex } from './queueIndex';
import type { ReadGate } from './readGate';
import type { Tail } from './tail';

/** Cold records are looked up in as many parts as may be read at once, none smaller than this (measured: 256 of them in a third less time). */
const SMALLEST_PART = 32;

export interface ReadOptions {
  /** Messages at most. */
  max: number;
  /** Bytes of their records at most; the first message is handed out whatever it weighs, if `atLeastOne`. */
  maxBytes: number;
  atLeastOne: boolean;
  /** Index entries looked at, at most. */
  maxEntries: number;
  filter: Filter | undefined;
  /** What a filter that has to see the records may cost. */
  effort: Effort;
  /** The first offset at or behind this one that is to be read; what lies before it costs nothing. */
  skip?: ((offset: number) => number) | undefined;
}

export interface ExamineOptions {
  readonly filter: Filter;
  readonly effort: Effort;
  /** So many that it takes are enough: it stops behind the last of them. */
  readonly max?: number;
  /** Index entries looked at, at most. */
  readonly maxEntries: number;
  readonly skip?: ((offset: number) => number) | undefined;
}

export interface Examined {
  readonly taken: Delivery[];
  readonly examined: number;
  /** Up to where the filter has decided; where it began if nothing is there any more. */
  readonly nextOffset: number;
}

export interface Delivery {
  readonly queue: Queue;
  readonly queueOffset: number;
  readonly record: Buffer;
  /** Which delivery it is, when leases of this queue made earlier ones; else the record says so. */
  readonly attempt?: number;
}

export interface ReadResult {
  readonly messages: Delivery[];
  /** Where to read on: behind the last message, and behind what the filter left out. */
  readonly nextOffset: number;
  readonly examined: number;
  readonly bytes: number;
  /** A bound (max or maxBytes) ended the read, not the queue's end. */
  readonly full: boolean;
  /** The effort ended it. */
  readonly spent: boolean;
}

interface Choice {
  offsets: number[];
  positions: number[];
  nextOffset: number;
  examined: number;
  bytes: number;
  full: boolean;
}

export class Reader {
  readonly #index: QueueIndex;
  readonly #journal: Journal;
  readonly #tail: Tail;
  readonly #gate: ReadGate;

  constructor(parts: { index: QueueIndex; journal: Journal; tail: Tail; gate: ReadGate }) {
    this.#index = parts.index;
    this.#journal = parts.journal;
    this.#tail = parts.tail;
    this.#gate = parts.gate;
  }

  /** `from` lies between min and max of the queue; if it is below min afterwards, it was trimmed while it was read. */
  read(queue: Queue, from: number, options: ReadOptions): Promise<ReadResult> {
    const { filter } = options;
    return filter?.byRecord ? this.#readAll(queue, from, options, filter) : this.#readChosen(queue, from, options);
  }

  async #readChosen(queue: Queue, from: number, options: ReadOptions): Promise<ReadResult> {
    const choice = await this.#choose(queue, from, options);
    const records = await this.records(choice.positions);
    const messages: Delivery[] = [];
    let bytes = 0;
    for (let i = 0; i < records.length; i++) {
      const record = records[i];
      if (record === undefined) continue; // its range was given up with --accept-data-loss
      if (options.filter && !options.filter.matches(record)) continue;
      messages.push({ queue, queueOffset: choice.offsets[i]!, record });
      bytes += record.length;
    }
    const { nextOffset, examined, full } = choice;
    return { messages, nextOffset, examined, bytes, full, spent: false };
  }

  /** What is behind the last one that fits is shown to the filter again when it is read the next time. */
  async #readAll(queue: Queue, from: number, options: ReadOptions, filter: Filter): Promise<ReadResult> {
    const { max, maxBytes, atLeastOne, maxEntries, effort, skip } = options;
    const messages: Delivery[] = [];
    let [nextOffset, looked, bytes, full, spent] = [from, 0, 0, max <= 0, false];
    const end = Math.min(queue.max, from + maxEntries);
    while (nextOffset < end && !full && !spent) {
      const wanted = { max: max - messages.length, maxEntries: end - nextOffset };
      const examined = await this.examine(queue, nextOffset, { filter, effort, skip, ...wanted });
      if (examined.nextOffset === nextOffset) break; // trimmed meanwhile: the caller sees it by the queue's minimum
      nextOffset = examined.nextOffset;
      looked += examined.examined;
      for (const message of examined.taken) {
        const first = messages.length === 0 && atLeastOne;
        if (bytes + message.record.length > maxBytes && !first) {
          [full, nextOffset] = [true, message.queueOffset];
          break;
        }
        messages.push(message);
        bytes += message.record.length;
      }
      full ||= messages.length >= max;
      spent = !full && nextOffset < end && effort.spent;
    }
    return { messages, nextOffset, examined: looked, bytes, full, spent };
  }

  /** Shows the next messages to a filter that has to see them: one part, and at least one message, however little effort is left. */
  async examine(queue: Queue, from: number, options: ExamineOptions): Promise<Examined> {
    const { filter, effort, max = Infinity, maxEntries, skip } = options;
    const part = await this.#choose(queue, from, {
      max: effort.nextPart(options.max),
      maxBytes: LIMITS.filterBytes,
      atLeastOne: true,
      maxEntries,
      filter: undefined,
      skip,
    });
    const { examined } = part;
    const records = await this.records(part.positions);
    const taken: Delivery[] = [];
    for (let i = 0; i < records.length; i++) {
      const record = records[i];
      const queueOffset = part.offsets[i]!;
      if (record && filter.matches(record)) taken.push({ queue, queueOffset, record });
      if (taken.length >= max) return { taken, examined, nextOffset: queueOffset + 1 };
      if (!effort.due) continue;
      if (effort.spent) return { taken, examined, nextOffset: queueOffset + 1 };
      await effort.pause();
    }
    return { taken, examined, nextOffset: part.nextOffset };
  }

  async #choose(queue: Queue, from: number, options: Omit<ReadOptions, 'effort'>): Promise<Choice> {
    const choice: Choice = { offsets: [], positions: [], nextOffset: from, examined: 0, bytes: 0, full: false };
    const { skip = (offset: number) => offset } = options;
    choice.nextOffset = skip(from);
    const end = Math.min(queue.max, from + options.maxEntries);
    while (choice.nextOffset < end && !choice.full) {
      const each = options.filter ?? options.skip;
      const wanted = each ? end - choice.nextOffset : options.max - choice.offsets.length;
      const memory = this.#index.inMemory(queue, choice.nextOffset);
      const segments = memory ? [memory] : await this.#index.from(queue, choice.nextOffset, wanted);
      if (segments.length === 0) break; // trimmed meanwhile: the caller sees it by the queue's minimum
      for (const segment of segments) {
        const stop = Math.min(segment.end, end);
        while (choice.nextOffset < stop && this.#take(segment, choice, options))
          choice.nextOffset = skip(choice.nextOffset);
        if (choice.full) break;
      }
    }
    return choice;
  }

  /** Takes or leaves one entry; false when a bound was reached before it. */
  #take(
    segment: { tagHash(o: number): number; bytes(o: number): number; position(o: number): number },
    choice: Choice,
    options: Omit<ReadOptions, 'effort'>,
  ): boolean {
    const offset = choice.nextOffset;
    if (options.filter && !options.filter.mayMatch(segment.tagHash(offset))) {
      choice.nextOffset++;
      choice.examined++;
      return true;
    }
    const bytes = segment.bytes(offset);
    const first = choice.offsets.length === 0 && options.atLeastOne;
    if (choice.offsets.length >= options.max || (choice.bytes + bytes > options.maxBytes && !first)) {
      choice.full = true;
      return false;
    }
    choice.offsets.push(offset);
    choice.positions.push(segment.position(offset));
    choice.bytes += bytes;
    choice.nextOffset++;
    choice.examined++;
    return true;
  }

  /** The message at an offset; undefined when it is not kept (any more). */
  async one(queue: Queue, queueOffset: number): Promise<Delivery | undefined> {
    const kept = queueOffset >= queue.min && queueOffset < queue.max;
    const segment = kept ? await this.#index.at(queue, queueOffset) : undefined;
    const [record] = segment ? await this.records([segment.position(queueOffset)]) : [];
    return record && { queue, queueOffset, record };
  }

  /** Records at ascending positions; undefined where data was given up. */
  async records(positions: number[]): Promise<(Buffer | undefined)[]> {
    const records = new Array<Buffer | undefined>(positions.length);
    const missing: number[] = [];
    for (let i = 0; i < positions.length; i++) {
      const record = this.#tail.get(positions[i]!);
      if (record === undefined) missing.push(i);
      else records[i] = record;
    }
    if (missing.length === 0) return records;
    const part = Math.max(SMALLEST_PART, Math.ceil(missing.length / LIMITS.diskReads));
    const reads: Promise<void>[] = [];
    for (let at = 0; at < missing.length; at += part)
      reads.push(this.#read(missing.slice(at, at + part), positions, records));
    await Promise.all(reads);
    return records;
  }

  async #read(places: number[], positions: number[], records: (Buffer | undefined)[]): Promise<void> {
    const read = await this.#gate.run(() => this.#journal.readPositions(places.map((i) => positions[i]!)));
    for (let i = 0; i < places.length; i++) records[places[i]!] = read[i];
  }
}
