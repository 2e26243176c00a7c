/**
 * The tables: what the broker knows, as rows, built from the journal's commands up to `applied`. What must always hold:
 *
 * - Every value is led by a CRC-32 of key and value. Bytes that fail it are `DamagedError`, never an answer.
 * - A write is one synced batch with a number. Batch rows ('B') are dense above the checkpoint, so a hole that RocksDB
 *   leaves when its log is damaged shows when the tables are opened.
 * - Below the checkpoint one batch row per stretch is kept, a marker: a stretch is an eighth of a write buffer, so a
 *   table file that gets lost with the end of RocksDB's manifest takes a marker with it. Markers are counted ('B' rows
 *   say how many there are up to them), so one that is missing shows, too. At a start the manifest is written anew as
 *   a whole; then only the last batch row, the base, is needed of all the older ones.
 * - The checkpoint only moves to batches that are certainly in table files: when opened (RocksDB flushes its log then),
 *   and later three write buffers behind.
 *
 * A scan verifies the rows it answers but cannot see rows that a damaged block hides (rocksdbEngine.ts). Therefore
 * families that are loaded whole are counted ('n' rows) and read again by key, `open` checks the table files
 * themselves up to a limit, and `scrub` goes around all of them.
 */
import { crc32 } from 'node:zlib';
import type { Engine, Range, Row, ScanOptions } from './engine';
import { DamagedError } from './failures';
import { after, readNumber, tableKeys, writeNumber } from './keys';
import { Settling } from './settling';

/** What a value weighs more in the store than outside of it: its CRC. */
export const SEAL_BYTES = 4;
export const TABLES_WRITE_BUFFER_BYTES = 16 << 20;
/** About what RocksDB's memory table adds to a row. */
const ROW_OVERHEAD = 100;
const PAGE_ROWS = 1000;
/** Rows of batches that one write clears away besides its own work. */
const PRUNE_ROWS = 500;
/** At the start so much is checked at once, a few seconds' work; of larger tables the scrub checks the rest. */
const START_CHECK_BYTES = 1 << 30;

export interface TablesOptions {
  engine: Engine;
  /** The engine's write buffer. */
  writeBufferBytes?: number;
  /** Waits until the journal holds everything up to `applied` durably: tables must never be ahead of it. */
  beforeFlush?: (applied: number) => Promise<void> | undefined;
  /** The journal's `settled`, remembered with the checkpoint. */
  journalSettled?: () => number;
}

export interface TableOperation {
  key: Buffer;
  /** undefined: the row is deleted. */
  value?: Buffer | undefined;
}

interface Checkpoint {
  /** Batch rows above it are dense. */
  batch: number;
  /** Journal index for `Journal.open`. */
  journal: number;
  /** The oldest batch row that must be there; 0 for tables that were never opened again. */
  base: number;
}

interface Opened {
  batch: number;
  applied: number;
  markers: number;
  checkpoint: Checkpoint;
  /** Numbers of old batch rows that are not needed any more. */
  obsolete: number[];
}

export class Tables {
  readonly #engine: Engine;
  readonly #options: TablesOptions;
  readonly #writeBufferBytes: number;
  readonly #settling: Settling;
  readonly #counts = new Map<string, number>();
  #checkpoint: Checkpoint;
  #applied: number;
  #batch: number;
  /** Markers since the base, and the bytes written since the last one; the first batch of a run is one. */
  #markers: number;
  #sinceMarker = Infinity;
  /** Batches of this run above the checkpoint that are no markers. */
  #plain: number[] = [];
  /** Batch rows that may be deleted. */
  #obsolete: number[] = [];
  /** Those that may be once this run has its base. */
  readonly #old: number[];
  /** The end of the queue of writes. */
  #turn: Promise<unknown> = Promise.resolve();
  #failure: Error | undefined;

  private constructor(options: TablesOptions, opened: Opened) {
    this.#engine = options.engine;
    this.#options = options;
    this.#writeBufferBytes = options.writeBufferBytes ?? TABLES_WRITE_BUFFER_BYTES;
    this.#settling = new Settling(this.#writeBufferBytes, opened.batch);
    this.#batch = opened.batch;
    this.#applied = opened.applied;
    this.#checkpoint = opened.checkpoint;
    this.#markers = opened.markers;
    this.#old = opened.obsolete;
  }

  /** Verifies and opens. Rejects with `DamagedError` when a batch is missing or anything that is read is damaged. */
  static async open(options: TablesOptions): Promise<Tables> {
    // First, because a scan over a damaged block may end the process (RocksDB asserts) instead of telling.
    await options.engine.check?.(START_CHECK_BYTES);
    return new Tables(options, await readBatches(options.engine));
  }

  /** Index of the last command whose effects are in the tables. */
  get applied(): number {
    return this.#applied;
  }

  /** Index up to which the journal was verified and in table files when the tables last said so; 0 = unknown. */
  get journalCheckpoint(): number {
    return this.#checkpoint.journal;
  }

  /** Applies all operations or none; durable when it resolves. `counts`: rows of families that are loaded whole. */
  flush(
    operations: Iterable<TableOperation>,
    applied: number,
    counts: Readonly<Record<string, number>> = {},
  ): Promise<void> {
    return this.#inTurn(async () => {
      if (applied < this.#applied) throw new Error(`applied never goes down: ${applied} behind ${this.#applied}`);
      await this.#options.beforeFlush?.(applied);
      await this.#write(operations, applied, counts);
    });
  }

  /** Moves the checkpoint to here; only right after an open, when all that was read is in table files. */
  checkpointAfterOpen(journal: number): Promise<void> {
    return this.#inTurn(async () => {
      this.#checkpoint = { batch: this.#batch, journal, base: this.#batch };
      this.#markers = 0;
      this.#obsolete = this.#old;
      await this.#write([], this.#applied, {}, true);
    });
  }

  /** The value, or undefined. Rejects with `DamagedError`. */
  async get(key: Buffer): Promise<Buffer | undefined> {
    const value = await this.#engine.get(key);
    return value && unseal(key, value);
  }

  /** One answer per key, in order; all from one moment. */
  async getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    const values = await this.#engine.getMany(keys);
    for (let i = 0; i < keys.length; i++) {
      const value = values[i];
      if (value) values[i] = unseal(keys[i]!, value);
    }
    return values;
  }

  /** Rows in order; each is verified. That no row is missing must be seen otherwise (head of this file). */
  async scan(options: ScanOptions): Promise<Row[]> {
    const rows = await this.#engine.scan(options);
    if (!options.keysOnly) for (const row of rows) row.value = unseal(row.key, row.value);
    return rows;
  }

  /**
   * Deletes up to `maxKeys` rows of a range, from its beginning; durable. Answers the last key deleted, behind which the
   * caller goes on: what lies before it is slow to pass.
   */
  deleteRange(range: Range, maxKeys: number): Promise<{ deleted: number; lastKey?: Buffer }> {
    return this.#inTurn(async () => {
      const rows = await this.#engine.scan({ ...range, limit: maxKeys, keysOnly: true });
      const lastKey = rows.at(-1)?.key;
      if (!lastKey) return { deleted: 0 };
      await this.#write(
        rows.map(({ key }) => ({ key })),
        this.#applied,
        {},
      );
      return { deleted: rows.length, lastKey };
    });
  }

  /** Deletes these rows; durable. Answers how many they were. */
  deleteKeys(keys: readonly Buffer[]): Promise<number> {
    return this.#inTurn(async () => {
      const operations = keys.map((key) => ({ key }));
      if (operations.length > 0) await this.#write(operations, this.#applied, {});
      return operations.length;
    });
  }

  /**
   * All rows of a family whose number is kept with `counts`. Reads them twice: by a scan, which finds them, and by key,
   * which makes RocksDB verify what it has stored. Rejects with `DamagedError` when anything differs or is missing.
   */
  async loadFamily(letter: string): Promise<Row[]> {
    const { gte, lt } = tableKeys.family(letter);
    const family: Row[] = [];
    let page: Row[];
    let from = gte;
    do {
      page = await this.scan({ gte: from, lt, limit: PAGE_ROWS });
      const again = await this.getMany(page.map(({ key }) => key));
      for (let i = 0; i < page.length; i++) {
        if (!again[i]?.equals(page[i]!.value))
          throw new DamagedError(`row ${page[i]!.key.toString('hex')} of the tables is damaged`);
        family.push(page[i]!);
      }
      if (page.length > 0) from = Buffer.concat([page.at(-1)!.key, Buffer.alloc(1)]);
    } while (page.length === PAGE_ROWS);
    const stored = await this.get(tableKeys.familyCount(letter));
    const count = stored ? readNumber(stored, 0) : 0;
    if (count !== family.length)
      throw new DamagedError(`the tables have ${family.length} rows of family ${letter} instead of ${count}`);
    this.#counts.set(letter, count);
    return family;
  }

  /** Checks about `maxBytes` more of the table files, around and around. Rejects with `DamagedError`. */
  async scrub(maxBytes: number): Promise<{ checked: number; wrapped: boolean }> {
    return (await this.#engine.check?.(maxBytes)) ?? { checked: 0, wrapped: true };
  }

  /** Writes go one after another: batch numbers must reach the engine in order. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(() => {
      if (this.#failure) throw this.#failure;
      return work();
    });
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #write(
    operations: Iterable<TableOperation>,
    applied: number,
    counts: Readonly<Record<string, number>>,
    withCheckpoint = false,
  ): Promise<void> {
    const batch = this.#engine.batch();
    const number = this.#batch + 1;
    let rows = 0;
    for (const { key, value } of operations) {
      rows++;
      if (value === undefined) batch.delete(key);
      else batch.put(key, seal(key, value));
    }
    for (const letter of Object.keys(counts)) this.#putCount(batch, letter, counts[letter]!);
    if (withCheckpoint || this.#moveCheckpoint()) this.#putCheckpoint(batch);
    const pruned = this.#obsolete.slice(0, PRUNE_ROWS);
    for (const old of pruned) batch.delete(tableKeys.batch(old));
    this.#sinceMarker += batch.bytes + (rows + pruned.length + 4) * ROW_OVERHEAD;
    const isMarker = this.#sinceMarker >= this.#writeBufferBytes / 8;
    if (isMarker) this.#markers++;
    putSealed(batch, tableKeys.batch(number), batchValue(applied, this.#markers, isMarker));
    try {
      await batch.write({ sync: true });
    } catch (error) {
      this.#failure = error as Error;
      throw error;
    }
    this.#settling.wrote(batch.bytes, number);
    if (isMarker) this.#sinceMarker = 0;
    else this.#plain.push(number);
    this.#obsolete.splice(0, pruned.length);
    this.#batch = number;
    this.#applied = applied;
    for (const letter of Object.keys(counts)) this.#counts.set(letter, counts[letter]!);
  }

  #putCount(batch: Sink, letter: string, count: number): void {
    if (this.#counts.get(letter) === count) return;
    const value = Buffer.alloc(8);
    writeNumber(value, count, 0);
    putSealed(batch, tableKeys.familyCount(letter), value);
  }

  #putCheckpoint(batch: Sink): void {
    const { batch: number, journal, base } = this.#checkpoint;
    const value = Buffer.alloc(24);
    writeNumber(value, number, 0);
    writeNumber(value, journal, 8);
    writeNumber(value, base, 16);
    putSealed(batch, tableKeys.checkpoint, value);
  }

  /** Moves the checkpoint to what has settled since; false when nothing has. */
  #moveCheckpoint(): boolean {
    const batch = this.#settling.mark;
    const journal = Math.max(this.#options.journalSettled?.() ?? 0, this.#checkpoint.journal);
    if (batch <= this.#checkpoint.batch && journal === this.#checkpoint.journal) return false;
    this.#checkpoint = { ...this.#checkpoint, batch: Math.max(batch, this.#checkpoint.batch), journal };
    let settled = 0;
    while (settled < this.#plain.length && this.#plain[settled]! <= this.#checkpoint.batch) settled++;
    this.#obsolete.push(...this.#plain.splice(0, settled));
    return true;
  }
}

type Sink = { put(key: Buffer, value: Buffer): void };

const putSealed = (batch: Sink, key: Buffer, value: Buffer) => batch.put(key, seal(key, value));

function seal(key: Buffer, value: Buffer): Buffer {
  const sealed = Buffer.allocUnsafe(SEAL_BYTES + value.length);
  sealed.writeUInt32BE(crc32(value, crc32(key)), 0);
  value.copy(sealed, SEAL_BYTES);
  return sealed;
}

function unseal(key: Buffer, sealed: Buffer): Buffer {
  const value = sealed.subarray(SEAL_BYTES);
  if (sealed.length < SEAL_BYTES || crc32(value, crc32(key)) !== sealed.readUInt32BE(0)) {
    throw new DamagedError(`row ${key.toString('hex')} of the tables fails its checksum`);
  }
  return value;
}

function batchValue(applied: number, markers: number, isMarker: boolean): Buffer {
  const value = Buffer.allocUnsafe(17);
  writeNumber(value, applied, 0);
  writeNumber(value, markers, 8);
  value[16] = isMarker ? 1 : 0;
  return value;
}

/** Reads all batch rows and proves that none is missing between the base and the last. */
async function readBatches(engine: Engine): Promise<Opened> {
  const checkpoint = await readCheckpoint(engine);
  const chain = new BatchChain(checkpoint);
  let from: Buffer = tableKeys.allBatches.gte;
  for (;;) {
    const rows = await engine.scan({ gte: from, lt: tableKeys.allBatches.lt, limit: 10 * PAGE_ROWS });
    for (const row of rows) chain.take(row);
    if (rows.length === 0) break;
    from = tableKeys.batch(chain.last + 1);
  }
  chain.end();
  await nothingIsHidden(engine, chain.last);
  const { last, applied, markers, obsolete } = chain;
  return { batch: last, applied, markers, checkpoint, obsolete };
}

async function readCheckpoint(engine: Engine): Promise<Checkpoint> {
  const stored = await engine.get(tableKeys.checkpoint);
  if (!stored) return { batch: 0, journal: 0, base: 0 };
  const value = unseal(tableKeys.checkpoint, stored);
  return { batch: readNumber(value, 0), journal: readNumber(value, 8), base: readNumber(value, 16) };
}

/** A scan cannot be trusted to have seen the last rows: a lookup of the next one verifies the block it would be in. */
async function nothingIsHidden(engine: Engine, last: number): Promise<void> {
  const next = await engine.get(tableKeys.batch(last + 1));
  const others = last === 0 ? await engine.scan({ gte: after(tableKeys.checkpoint), limit: 1 }) : [];
  if (next || others.length > 0)
    throw new DamagedError(`the tables have rows behind batch ${last}, which seems to be the last`);
}

/** Follows batch rows upwards. */
class BatchChain {
  readonly #checkpoint: Checkpoint;
  readonly obsolete: number[] = [];
  last = 0;
  applied = 0;
  markers = 0;

  constructor(checkpoint: Checkpoint) {
    this.#checkpoint = checkpoint;
  }

  take({ key, value }: Row): void {
    const content = unseal(key, value);
    const number = readNumber(key, 1);
    const applied = readNumber(content, 0);
    if (number > this.#checkpoint.base) this.#follow(number, readNumber(content, 8), content[16] === 1);
    if (applied < this.applied) throw hole(this.last, number);
    this.obsolete.push(number);
    this.last = number;
    this.applied = applied;
  }

  /** Above the checkpoint every row is there; below it every marker, and plain rows not cleared away yet. */
  #follow(number: number, markers: number, isMarker: boolean): void {
    const { base, batch } = this.#checkpoint;
    const first = this.last === base && number === base + 1;
    const dense = this.last === number - 1 || number <= batch || (number === batch + 1 && this.last > base);
    const begun = first || this.last > base;
    if (!begun || !dense || markers !== this.markers + (isMarker ? 1 : 0)) throw hole(this.last, number);
    this.markers = markers;
  }

  /** All rows are seen: the newest stays, all others can go. */
  end(): void {
    if (this.last < this.#checkpoint.batch || this.last < this.#checkpoint.base)
      throw hole(this.last, this.#checkpoint.batch);
    this.obsolete.pop();
  }
}

const hole = (from: number, to: number) => new DamagedError(`the tables miss a batch between ${from} and ${to}`);
