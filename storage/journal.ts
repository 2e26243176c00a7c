/**
 * The journal: every durable change of a broker as a command with an index, in one order. What must always hold:
 *
 * - Indexes are dense from `head` to `end` but for ranges given up by an operator; an index is never used twice.
 * - `end` moves only when the batch is written, and with `sync` only when it is on stable storage and marked in `acked`.
 * - One `append` at a time; after a failed write every later one is refused (the outcome of the failed one is unknown).
 * - What is read is proven by its CRC and its position. A record that should be there and is not is damage, never "none".
 * - The last command is never trimmed: its epoch and time are where a restart goes on from.
 */
import type { Acked } from './ackedFile';
import type { Batch, Engine } from './engine';
import { DamagedError, WriteFailedError } from './failures';
import { recoverJournal, type Recovered } from './journalRecovery';
import { firstPresent, readCommands } from './journalReader';
import { JournalWalk } from './journalWalk';
import { indexOf, journalKeys, numberValue, ORDINALS, positionOf } from './keys';
import type { LostRange, LostRanges } from './lostRanges';
import { checkRecord, headerOf, placeOf, recordCount, recordTime, sealRecord, type RecordHeader } from './record';
import { Settling } from './settling';

/** Deletions in one batch, and commands looked up for it. */
const DELETE_KEYS = 1000;
const DELETE_COMMANDS = 256;
const SLICE_BYTES = 4 << 20;
const COMPACT_BYTES = 256 << 20;
export const JOURNAL_WRITE_BUFFER_BYTES = 32 << 20;

export interface JournalOptions {
  engine: Engine;
  acked: Acked;
  /** Index up to which the journal was verified before (`settled` of an earlier run); 0 = verify all. */
  checkpoint: number;
  /** The operator accepts that everything behind this index is lost. Ignored when nothing is lost. */
  acceptDataLoss?: number;
  /** The tables hold the effects of commands up to here. */
  lastApplied?: number;
  /** The engine's write buffer, for `settled`. */
  writeBufferBytes?: number;
}

/** A command to be written. Each record has RECORD_HEADER_BYTES free in front of its payload. */
export interface NewCommand {
  kind: number;
  /** 1..1024 */
  records: Buffer[];
}

export interface StoredCommand {
  index: number;
  /** Of the record with ordinal 0. */
  header: RecordHeader;
  records: Buffer[];
}

export class Journal {
  readonly #engine: Engine;
  readonly #acked: Acked;
  readonly #settling: Settling;
  readonly #lost: LostRanges;
  #head: number;
  #storedHead: number;
  #end: number;
  #durableEnd: number;
  /** The last command that has records; differs from #end behind a lost range. */
  #lastIndex: number;
  #lastEpoch: number;
  #lastTime: number;
  #lastCrc: number;
  #writing = false;
  #failure: Error | undefined;
  /** No record is below this index any more; unknown until the first deletion. */
  #low: number | undefined;
  #deletedBytes = 0;
  #compactedTo = 0;
  #giveBackSoon = false;
  #deleting = false;
  #scrub: JournalWalk | undefined;

  private constructor({ engine, acked, writeBufferBytes }: JournalOptions, recovered: Recovered) {
    this.#engine = engine;
    this.#acked = acked;
    this.#settling = new Settling(writeBufferBytes ?? JOURNAL_WRITE_BUFFER_BYTES, recovered.lastIndex);
    this.#lost = recovered.lost;
    this.#head = this.#storedHead = recovered.head;
    this.#end = this.#durableEnd = recovered.end;
    this.#lastIndex = recovered.lastIndex;
    this.#lastEpoch = recovered.lastEpoch;
    this.#lastTime = recovered.lastTime;
    this.#lastCrc = recovered.lastCrc;
  }

  /**
   * Verifies and opens. Rejects with `DataLostError` when acknowledged commands are missing (unless accepted), with
   * `DamagedError` when the store cannot be read.
   */
  static async open(options: JournalOptions): Promise<Journal> {
    return new Journal(options, await recoverJournal({ ...options, lastApplied: options.lastApplied ?? 0 }));
  }

  /** The first index kept; 1 for a new journal. */
  get head(): number {
    return this.#head;
  }

  /** The last index in use; durable when written with `sync`. 0 for a new journal. */
  get end(): number {
    return this.#end;
  }

  /** The last index that is on stable storage; behind `end` only when appending without `sync`. */
  get durableEnd(): number {
    return this.#durableEnd;
  }

  /** Epoch of the last command, 0 if there is none. */
  get lastEpoch(): number {
    return this.#lastEpoch;
  }

  /** Time of the last command in milliseconds, 0 if there is none. */
  get lastTime(): number {
    return this.#lastTime;
  }

  /** Indexes that an operator gave up. */
  get lostRanges(): readonly LostRange[] {
    return this.#lost.all;
  }

  /** Verified and certainly in table files up to this index: the checkpoint for the next start. */
  get settled(): number {
    return this.#settling.mark;
  }

  /**
   * Writes commands behind the end in one batch and answers the index of the first. With `sync` they are durable and
   * marked as acknowledged when it resolves. Their buffers are sealed in place and must not be changed afterwards.
   * Rejects with `WriteFailedError` when the outcome is unknown; everything after that is rejected alike.
   */
  async append(
    commands: NewCommand[],
    stamp: { time: number; epoch: number },
    { sync }: { sync: boolean },
  ): Promise<number> {
    this.#mayWrite(commands, stamp);
    const first = this.#end + 1;
    if (commands.length === 0) return first;
    const batch = this.#engine.batch();
    const last = first + commands.length - 1;
    let crc = 0;
    for (let i = 0; i < commands.length; i++) {
      const { kind, records } = commands[i]!;
      const count = records.length;
      let position = positionOf(first + i, 0);
      for (let ordinal = 0; ordinal < count; ordinal++, position++) {
        const record = records[ordinal]!;
        crc = sealRecord(record, { position, time: stamp.time, epoch: stamp.epoch, kind, count });
        batch.put(journalKeys.record(position), record);
      }
    }
    this.#writing = true;
    try {
      await batch.write({ sync });
      if (sync) this.#acked.mark(last, stamp.epoch, crc);
    } catch (error) {
      throw this.#fail(error);
    } finally {
      this.#writing = false;
    }
    this.#settling.wrote(batch.bytes, last);
    this.#end = this.#lastIndex = last;
    if (sync) this.#durableEnd = last;
    this.#lastEpoch = stamp.epoch;
    this.#lastTime = stamp.time;
    this.#lastCrc = crc;
    return first;
  }

  #mayWrite(commands: NewCommand[], { time, epoch }: { time: number; epoch: number }): void {
    if (this.#failure) throw this.#failure;
    if (this.#writing) throw new Error('the journal has one writer: append again once the last one has ended');
    if (time < this.#lastTime || epoch < this.#lastEpoch) {
      throw new Error(`time and epoch never go down: ${time}/${epoch} behind ${this.#lastTime}/${this.#lastEpoch}`);
    }
    for (const { records } of commands) {
      if (records.length < 1 || records.length > ORDINALS)
        throw new RangeError(`a command of ${records.length} records`);
    }
  }

  #fail(error: unknown): Error {
    this.#failure ??=
      error instanceof WriteFailedError
        ? error
        : new WriteFailedError(`the journal could not be written: ${String(error)}`, { cause: error });
    return this.#failure;
  }

  /** Makes everything appended so far durable and marks it as acknowledged; for appending without `sync`. */
  async syncNow(): Promise<void> {
    if (this.#failure) throw this.#failure;
    const [end, epoch, crc] = [this.#end, this.#lastEpoch, this.#end === this.#lastIndex ? this.#lastCrc : 0];
    if (end === this.#durableEnd) return;
    const batch = this.#engine.batch();
    // Any synced write takes all earlier ones with it; this one changes nothing.
    batch.put(journalKeys.head, numberValue(this.#storedHead));
    try {
      await batch.write({ sync: true });
      this.#acked.mark(end, epoch, crc);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#durableEnd = Math.max(this.#durableEnd, end);
  }

  /**
   * The records at these positions in order. undefined for what was trimmed or given up; rejects with `DamagedError` when a
   * record that must be there is missing or damaged. Looks all of them up at once: a scan over neighbours would be a
   * quarter cheaper, but unverified (journalReader.ts).
   */
  async readPositions(positions: number[]): Promise<(Buffer | undefined)[]> {
    const wanted = positions.every((position) => this.#has(position))
      ? positions
      : positions.filter((position) => this.#has(position));
    const found =
      wanted.length === 0 ? [] : await this.#engine.getMany(wanted.map((position) => journalKeys.record(position)));
    for (let i = 0; i < wanted.length; i++) {
      const record = found[i];
      if (record) checkRecord(record, wanted[i]!);
      else if (this.#has(wanted[i]!)) throw missing(wanted[i]!); // asked again: it may have been trimmed meanwhile
    }
    if (wanted === positions) return found;
    let next = 0;
    return positions.map((position) => (position === wanted[next] ? found[next++] : undefined));
  }

  #has(position: number): boolean {
    const index = indexOf(position);
    return index >= this.#head && !this.#lost.has(index);
  }

  /** The record at a position that may never have existed (somebody guessed it); undefined then. */
  async find(position: number): Promise<Buffer | undefined> {
    if (!this.#has(position) || indexOf(position) > this.#end) return undefined;
    const record = await this.#engine.get(journalKeys.record(position));
    if (record) checkRecord(record, position);
    return record;
  }

  /**
   * Whole commands from an index on, in order, verified; at least one if there is one. Begins at the head when that is
   * higher, leaves out what was given up. Rejects with `DamagedError`.
   */
  async scanCommands(fromIndex: number, limits: { maxRecords: number; maxBytes: number }): Promise<StoredCommand[]> {
    const walk = new JournalWalk(Math.max(fromIndex, this.#head), this.#lost);
    const { commands, fault } = await readCommands(this.#engine, walk, { ...limits, end: this.#end });
    if (fault !== undefined) {
      if (walk.expectedIndex < this.#head) return this.scanCommands(this.#head, limits); // trimmed meanwhile
      throw new DamagedError(`the journal is damaged: ${fault}`);
    }
    return commands.map(({ index, records }) => ({ index, header: headerOf(records[0]!), records }));
  }

  /** Time of a command in milliseconds; for an index that was given up, of the next one that is there. */
  async timeOf(index: number): Promise<number> {
    const present = this.#lost.skip(Math.max(index, this.#head));
    if (present > this.#lastIndex) return this.#lastTime;
    const position = positionOf(present, 0);
    const record = await this.#engine.get(journalKeys.record(position));
    if (record) {
      checkRecord(record, position);
      return recordTime(record);
    }
    if (present < this.#head) return this.timeOf(this.#head); // trimmed meanwhile
    throw missing(position);
  }

  /** The first index whose time is `time` or later; end + 1 when there is none. */
  async firstIndexAtOrAfter(time: number): Promise<number> {
    if (time > this.#lastTime) return this.#end + 1;
    let low = this.#head;
    let high = this.#lastIndex;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((await this.timeOf(middle)) >= time) high = middle;
      else low = middle + 1;
    }
    return this.#lost.skip(low);
  }

  /** Everything below this index is not needed any more. It is unreadable at once and deleted by `deleteSome`. */
  dropBelow(index: number): void {
    this.#head = Math.max(this.#head, Math.min(index, this.#lastIndex));
  }

  /** Once everything below the head is deleted its space is given back, however little that is. */
  giveBackSoon(): void {
    this.#giveBackSoon = true;
  }

  /**
   * Gives up all indexes up to `end`, which were used in a life that this journal knows nothing of: none is used twice.
   * Durable when it resolves. Does nothing when `end` is not ahead.
   */
  async skipTo(end: number): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.#writing) throw new Error('the journal has one writer');
    if (end <= this.#end) return;
    this.#lost.add({ from: this.#end + 1, to: end });
    const batch = this.#engine.batch();
    batch.put(journalKeys.lost, this.#lost.row());
    try {
      await batch.write({ sync: true });
      this.#acked.mark(end, this.#lastEpoch, 0);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#end = this.#durableEnd = end;
  }

  /** The index below which this part of the commands that are kept lies, one command at least; `part` is 0..1. */
  indexAfter(part: number): number {
    const given = this.#lost.all.filter(({ to }) => to >= this.#head);
    const lengthOf = ({ from, to }: LostRange) => to - Math.max(from, this.#head) + 1;
    const kept = this.#end - this.#head + 1 - given.reduce((sum, range) => sum + lengthOf(range), 0);
    let index = this.#head + Math.max(1, Math.ceil(kept * part));
    for (const range of given) if (range.from < index) index += lengthOf(range);
    return Math.min(index, this.#end + 1);
  }

  /**
   * Deletes about `maxKeys` records below the head, whole commands, and answers what it did (bytes are estimated from first
   * records); nothing deleted = nothing left to do. Now and then (every 256 MiB) it has the space given back, which
   * takes seconds. Calls must not overlap.
   */
  async deleteSome(maxKeys: number): Promise<{ deleted: number; bytes: number }> {
    if (this.#failure) throw this.#failure;
    if (this.#deleting) throw new Error('deleteSome is under way');
    this.#deleting = true;
    try {
      const done = await this.#deleteSome(maxKeys);
      this.#deletedBytes += done.bytes;
      const isLast = this.#giveBackSoon && done.deleted === 0;
      if (this.#deletedBytes >= (isLast ? 1 : COMPACT_BYTES)) await this.#compact();
      if (isLast) this.#giveBackSoon = false;
      return done;
    } finally {
      this.#deleting = false;
    }
  }

  async #deleteSome(maxKeys: number): Promise<{ deleted: number; bytes: number }> {
    const done = { deleted: 0, bytes: 0 };
    const head = this.#head;
    this.#low ??= await firstPresent(this.#engine, 1, head, (index) => this.#lost.skip(index));
    while (done.deleted < maxKeys && this.#low < head) {
      const indexes = new JournalWalk(this.#low, this.#lost).indexesAhead(DELETE_COMMANDS, head - 1);
      const firsts = await this.#firstRecords(indexes);
      const batch = this.#engine.batch();
      if (head > this.#storedHead) batch.put(journalKeys.head, numberValue(head));
      let keys = 0;
      let i = 0;
      for (; i < indexes.length && keys < Math.min(DELETE_KEYS, maxKeys - done.deleted); i++) {
        const first = firsts[i];
        // Of a damaged command nobody knows the number of records: all there can be.
        const count = first === 'damaged' ? ORDINALS : first ? recordCount(first) : 0;
        for (let ordinal = 0; ordinal < count; ordinal++)
          batch.delete(journalKeys.record(positionOf(indexes[i]!, ordinal)));
        keys += count;
        if (first instanceof Buffer) done.bytes += first.length * count;
      }
      await this.#writeDeletion(batch, head);
      this.#low = i < indexes.length ? indexes[i]! : (indexes.at(-1) ?? head - 1) + 1;
      done.deleted += keys;
    }
    return done;
  }

  async #firstRecords(indexes: number[]): Promise<(Buffer | 'damaged' | undefined)[]> {
    const keys = indexes.map((index) => journalKeys.record(positionOf(index, 0)));
    try {
      return await this.#engine.getMany(keys);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
    }
    // Nobody needs these records any more: damage among them is no reason to keep them.
    const firsts: (Buffer | 'damaged' | undefined)[] = [];
    for (const key of keys) {
      firsts.push(
        await this.#engine.get(key).catch((error: unknown) => {
          if (error instanceof DamagedError) return 'damaged' as const;
          throw error;
        }),
      );
    }
    return firsts;
  }

  /** Not synced: a deletion that a power cut takes back is done again, and the head goes with the first of them. */
  async #writeDeletion(batch: Batch, head: number): Promise<void> {
    try {
      await batch.write({ sync: false });
    } catch (error) {
      throw this.#fail(error);
    }
    this.#storedHead = Math.max(this.#storedHead, head);
  }

  async #compact(): Promise<void> {
    this.#deletedBytes = 0;
    const [from, to] = [this.#compactedTo, positionOf(this.#low ?? 0, 0)];
    this.#compactedTo = to;
    await this.#engine.compact(journalKeys.record(from), journalKeys.record(to));
  }

  /**
   * Checks about `maxRecords` more records, around and around. Answers how many it checked and whether it came to the
   * end. Rejects with `DamagedError`.
   */
  async scrub(maxRecords: number): Promise<{ checked: number; wrapped: boolean }> {
    const before = this.#scrub;
    const walk = before && before.expectedIndex >= this.#head ? before : new JournalWalk(this.#head, this.#lost);
    this.#scrub = walk;
    const end = this.#end;
    const { commands, fault } = await readCommands(this.#engine, walk, { end, maxRecords, maxBytes: SLICE_BYTES });
    const trimmed = walk.expectedIndex < this.#head;
    if (fault !== undefined && !trimmed) throw new DamagedError(`the journal is damaged: ${fault}`);
    const wrapped = trimmed || walk.expectedIndex > end;
    if (wrapped) this.#scrub = undefined;
    return { checked: commands.reduce((sum, { records }) => sum + records.length, 0), wrapped };
  }
}

const missing = (position: number) => new DamagedError(`journal record ${placeOf(position)} is missing`);
