/**
 * RocksDB behind the engine seam.
 *
 * - `get` and `getMany` check RocksDB's block checksums; iterators do not (the binding switches it off), so what a scan
 *   answers is only as good as the checks of the caller, and a damaged block may come out as *fewer* rows. Scans must
 *   therefore never fill the block cache: an unchecked block in the cache would pass for a checked one in a later get.
 * - After one failed write nothing is written any more: RocksDB itself may accept the next one with a hole before it.
 * - A folder that has anything in it is never created anew: with CURRENT gone RocksDB would start an empty store and
 *   delete the old files.
 * - Compression is off: message bodies are compressed by their senders or small, and the thread that compresses is the
 *   one that flushes.
 */
import { readdirSync } from 'node:fs';
import rocksdb from 'rocksdb';
import type { Batch, Engine, EngineOptions, OpenEngine, Row, ScanOptions } from './engine';
import { DamagedError, FolderInUseError, FolderUnusableError, WriteFailedError } from './failures';
import { makeFolder } from './makeFolder';
import { TableFiles } from './tableFiles';

/** How many bytes one trip through the thread pool may bring back; the binding's own 16 KiB makes scans crawl. */
const TRIP_BYTES = 4 << 20;

type Done<T> = (error: Error | null | undefined, result: T) => void;

/** What we use of the binding; its published types lack getMany and the iterator's cache. */
interface Native {
  open(options: object, done: Done<void>): void;
  close(done: Done<void>): void;
  get(key: Buffer, done: Done<Buffer>): void;
  getMany(keys: Buffer[], done: Done<(Buffer | undefined)[]>): void;
  iterator(options: object): NativeIterator;
  batch(): NativeBatch;
  compactRange(from: Buffer, to: Buffer, done: Done<void>): void;
}

interface NativeIterator {
  next(done: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): void;
  end(done: Done<void>): void;
  /** Rows that came with the last trip, last first: value, key, value, key. */
  cache: Buffer[] | null;
  finished: boolean;
}

interface NativeBatch {
  put(key: Buffer, value: Buffer): void;
  del(key: Buffer): void;
  write(options: { sync: boolean }, done: Done<void>): void;
}

/**
 * Opens or creates the store in a folder.
 * Rejects with `FolderInUseError` when another process has it, with `DamagedError` when RocksDB cannot read it.
 */
export const openRocksdb: OpenEngine = async (location, options) => {
  makeFolder(location);
  const isNew = !readdirSync(location).some((name) => name !== 'LOCK');
  const tableFiles = new TableFiles(location);
  const db = new (rocksdb as unknown as new (location: string) => Native)(location);
  await new Promise<void>((resolve, reject) => {
    db.open(nativeOptions(options, isNew), (error) => (error ? reject(openingFailure(error, location)) : resolve()));
  });
  return new RocksdbEngine(db, tableFiles);
};

function nativeOptions(options: EngineOptions, isNew: boolean): object {
  return {
    createIfMissing: isNew,
    compression: false,
    writeBufferSize: options.writeBufferBytes,
    cacheSize: options.cacheBytes,
  };
}

function openingFailure(error: Error, location: string): Error {
  if (/Permission denied|Read-only file system|No space left|Too many open files|quota exceeded/.test(error.message)) {
    return new FolderUnusableError(
      `${location} cannot be opened: ${error.message}. Mend what it names, or choose another --data`,
      { cause: error },
    );
  }
  if (/\bLOCK: /.test(error.message)) {
    return new FolderInUseError(
      `${location} is in use by another process. Stop that process, or give this one a folder of its own. (${error.message})`,
    );
  }
  if (isDamage(error)) return new DamagedError(`${location} cannot be opened: ${error.message}`, { cause: error });
  return new Error(`${location} cannot be opened: ${error.message}`, { cause: error });
}

function readingFailure(error: Error): Error {
  return isDamage(error) ? new DamagedError(error.message, { cause: error }) : error;
}

/**
 * Whether the stored bytes are to blame, or a file that is named by others and gone; not a lack of rights, of space or
 * of file handles, which pass.
 */
function isDamage(error: Error): boolean {
  return /Corruption|No such file|does not exist|Invalid argument|Not implemented/.test(error.message);
}

class RocksdbEngine implements Engine {
  readonly #db: Native;
  readonly #tableFiles: TableFiles;
  #failure: Error | undefined;
  #closing: Promise<void> | undefined;
  #underWay = 0;
  #idle: (() => void) | undefined;

  constructor(db: Native, tableFiles: TableFiles) {
    this.#db = db;
    this.#tableFiles = tableFiles;
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.#work((done) =>
      this.#db.get(key, (error, value) => {
        if (error && error.message.startsWith('NotFound')) done(null, undefined);
        else done(error && readingFailure(error), value);
      }),
    );
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#work((done) =>
      this.#db.getMany(keys, (error, values) => done(error && readingFailure(error), values)),
    );
  }

  scan(options: ScanOptions): Promise<Row[]> {
    if (options.limit <= 0) return Promise.resolve([]);
    return this.#work((done) => this.#drain(this.#db.iterator(iteratorOptions(options)), options.maxBytes, done));
  }

  /** Takes the rows of each trip at once instead of one per turn of the event loop. */
  #drain(iterator: NativeIterator, maxBytes = Infinity, done: Done<Row[]>): void {
    const rows: Row[] = [];
    let bytes = 0;
    const finish = (error: Error | null) => {
      this.#begin();
      iterator.end(() => this.#end());
      done(error && readingFailure(error), rows);
    };
    const onRow = (error: Error | null | undefined, key?: Buffer, value?: Buffer): void => {
      if (error) return finish(error);
      while (key !== undefined && value !== undefined) {
        rows.push({ key, value });
        bytes += key.length + value.length;
        if (bytes >= maxBytes) return finish(null);
        key = iterator.cache?.pop();
        value = iterator.cache?.pop();
      }
      if (iterator.finished) finish(null);
      else iterator.next(onRow);
    };
    iterator.next(onRow);
  }

  batch(): Batch {
    return new RocksdbBatch(this.#db.batch(), (write) => this.#write(write));
  }

  #write(write: (done: Done<void>) => void): Promise<void> {
    if (this.#failure) return Promise.reject(writingFailure(this.#failure));
    return this.#work((done) =>
      write((error) => {
        if (error) this.#failure ??= error;
        done(this.#failure && writingFailure(this.#failure), undefined);
      }),
    );
  }

  compact(from: Buffer, to: Buffer): Promise<void> {
    return this.#work((done) => this.#db.compactRange(from, to, done));
  }

  async check(maxBytes: number): Promise<{ checked: number; wrapped: boolean }> {
    if (this.#closing) throw new Error('the store is closed');
    this.#begin();
    try {
      return await this.#tableFiles.check(maxBytes);
    } finally {
      this.#end();
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeOnceIdle();
    return this.#closing;
  }

  async #closeOnceIdle(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await new Promise<void>((resolve, reject) => this.#db.close((error) => (error ? reject(error) : resolve())));
  }

  /** Runs one call into the binding. The binding crashes the process when it is called after close. */
  #work<T>(call: (done: Done<T>) => void): Promise<T> {
    if (this.#closing) return Promise.reject(new Error('the store is closed'));
    this.#begin();
    return new Promise<T>((resolve, reject) => {
      call((error, result) => {
        if (error) reject(error);
        else resolve(result);
        this.#end();
      });
    });
  }

  #begin(): void {
    this.#underWay++;
  }

  #end(): void {
    if (--this.#underWay === 0) this.#idle?.();
  }
}

function iteratorOptions(options: ScanOptions): object {
  const { gt, gte, lt, lte, limit, maxBytes, reverse, keysOnly } = options;
  return {
    ...(gt && { gt }),
    ...(gte && { gte }),
    ...(lt && { lt }),
    ...(lte && { lte }),
    limit,
    reverse: reverse === true,
    values: keysOnly !== true,
    fillCache: false,
    highWaterMark: Math.min(maxBytes ?? TRIP_BYTES, TRIP_BYTES),
  };
}

function writingFailure(cause: Error): WriteFailedError {
  return new WriteFailedError(`a write failed, its outcome is unknown and nothing more is written: ${cause.message}`, {
    cause,
  });
}

class RocksdbBatch implements Batch {
  readonly #native: NativeBatch;
  readonly #submit: (write: (done: Done<void>) => void) => Promise<void>;
  #bytes = 0;

  constructor(native: NativeBatch, submit: (write: (done: Done<void>) => void) => Promise<void>) {
    this.#native = native;
    this.#submit = submit;
  }

  get bytes(): number {
    return this.#bytes;
  }

  put(key: Buffer, value: Buffer): void {
    this.#native.put(key, value);
    this.#bytes += key.length + value.length;
  }

  delete(key: Buffer): void {
    this.#native.del(key);
    this.#bytes += key.length;
  }

  write(options: { sync: boolean }): Promise<void> {
    return this.#submit((done) => this.#native.write(options, done));
  }
}
