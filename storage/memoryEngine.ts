/**
 * The engine's twin in memory, for tests and for a broker that shall forget. Same semantics as RocksDB, including the
 * lock: a place that is open cannot be opened twice, and what was written is there when it is opened again.
 * `powerCut` is what only a twin can do: it takes back everything that was not synced.
 */
import type { Batch, Engine, OpenEngine, Row, ScanOptions } from './engine';
import { FolderInUseError, WriteFailedError } from './failures';

/** An engine opener with a memory of its own; what it opens is found again by its location. */
export function openMemory(): OpenEngine {
  return new MemoryDisk().open;
}

/** All places of one imagined disk. */
export class MemoryDisk {
  readonly #places = new Map<string, Place>();

  readonly open: OpenEngine = async (location) => {
    const place = this.#places.get(location) ?? new Place();
    this.#places.set(location, place);
    if (place.openedBy) {
      throw new FolderInUseError(
        `${location} is in use. Close the other user first, or give this one a place of its own.`,
      );
    }
    place.openedBy = new MemoryEngine(place);
    return place.openedBy;
  };

  /** Everything at this place is gone. It must not be open. */
  wipe(location: string): void {
    if (this.#places.get(location)?.openedBy) throw new Error(`${location} is open`);
    this.#places.delete(location);
  }

  /** Power is cut: engines end without a close, unsynced batches are taken back. */
  powerCut(): void {
    for (const place of this.#places.values()) {
      place.openedBy?.kill();
      place.forgetUnsynced();
    }
  }

  /** From now on every write fails, as on a disk that answers EIO. */
  fail(): void {
    for (const place of this.#places.values()) place.failure = new Error('IO error: the disk was told to fail');
  }
}

interface Change {
  key: Buffer;
  /** undefined: the key is deleted. */
  value: Buffer | undefined;
}

/** Sorted keys beside their values. */
class Place {
  keys: Buffer[] = [];
  values: Buffer[] = [];
  openedBy: MemoryEngine | undefined;
  failure: Error | undefined;
  #undo: Change[] = [];

  /** The first slot whose key is not below `key`. */
  slotOf(key: Buffer): number {
    let low = 0;
    let high = this.keys.length;
    if (high > 0 && Buffer.compare(this.keys[high - 1]!, key) < 0) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (Buffer.compare(this.keys[middle]!, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  find(key: Buffer): Buffer | undefined {
    const slot = this.slotOf(key);
    return this.keys[slot]?.equals(key) ? this.values[slot] : undefined;
  }

  apply(changes: Change[], sync: boolean): void {
    for (const change of changes) {
      this.#undo.push({ key: change.key, value: this.find(change.key) });
      this.#set(change);
    }
    if (sync) this.#undo = [];
  }

  forgetUnsynced(): void {
    for (const change of this.#undo.reverse()) this.#set(change);
    this.#undo = [];
  }

  #set({ key, value }: Change): void {
    const slot = this.slotOf(key);
    const found = this.keys[slot]?.equals(key) === true;
    if (value === undefined) {
      if (!found) return;
      this.keys.splice(slot, 1);
      this.values.splice(slot, 1);
    } else if (found) {
      this.values[slot] = value;
    } else if (slot === this.keys.length) {
      this.keys.push(key);
      this.values.push(value);
    } else {
      this.keys.splice(slot, 0, key);
      this.values.splice(slot, 0, value);
    }
  }
}

class MemoryEngine implements Engine {
  readonly #place: Place;
  #closed = false;

  constructor(place: Place) {
    this.#place = place;
  }

  async get(key: Buffer): Promise<Buffer | undefined> {
    this.#mustBeOpen();
    return copyOf(this.#place.find(key));
  }

  async getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    this.#mustBeOpen();
    return keys.map((key) => copyOf(this.#place.find(key)));
  }

  async scan(options: ScanOptions): Promise<Row[]> {
    this.#mustBeOpen();
    const { keys, values } = this.#place;
    const [first, behind] = this.#slots(options);
    const step = options.reverse ? -1 : 1;
    const rows: Row[] = [];
    let bytes = 0;
    for (let slot = options.reverse ? behind - 1 : first; slot >= first && slot < behind; slot += step) {
      if (rows.length >= options.limit || bytes >= (options.maxBytes ?? Infinity)) break;
      const value = options.keysOnly ? Buffer.alloc(0) : Buffer.from(values[slot]!);
      rows.push({ key: Buffer.from(keys[slot]!), value });
      bytes += keys[slot]!.length + value.length;
    }
    return rows;
  }

  #slots({ gt, gte, lt, lte }: ScanOptions): [number, number] {
    const behind = (key: Buffer) => this.#place.slotOf(key) + (this.#place.find(key) ? 1 : 0);
    const starts = [gte ? this.#place.slotOf(gte) : 0, gt ? behind(gt) : 0];
    const ends = [lt ? this.#place.slotOf(lt) : Infinity, lte ? behind(lte) : Infinity, this.#place.keys.length];
    return [Math.max(...starts), Math.min(...ends)];
  }

  batch(): Batch {
    return new MemoryBatch((changes, sync) => this.#write(changes, sync));
  }

  async #write(changes: Change[], sync: boolean): Promise<void> {
    this.#mustBeOpen();
    const { failure } = this.#place;
    if (failure)
      throw new WriteFailedError(`a write failed, nothing more is written: ${failure.message}`, { cause: failure });
    this.#place.apply(changes, sync);
  }

  async compact(): Promise<void> {
    this.#mustBeOpen();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.kill();
  }

  kill(): void {
    this.#closed = true;
    this.#place.openedBy = undefined;
    this.#place.failure = undefined;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new Error('the store is closed');
  }
}

const copyOf = (value: Buffer | undefined) => value && Buffer.from(value);

class MemoryBatch implements Batch {
  readonly #submit: (changes: Change[], sync: boolean) => Promise<void>;
  readonly #changes: Change[] = [];
  #bytes = 0;

  constructor(submit: (changes: Change[], sync: boolean) => Promise<void>) {
    this.#submit = submit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  put(key: Buffer, value: Buffer): void {
    this.#changes.push({ key: Buffer.from(key), value: Buffer.from(value) });
    this.#bytes += key.length + value.length;
  }

  delete(key: Buffer): void {
    this.#changes.push({ key: Buffer.from(key), value: undefined });
    this.#bytes += key.length;
  }

  write({ sync }: { sync: boolean }): Promise<void> {
    return this.#submit(this.#changes, sync);
  }
}
