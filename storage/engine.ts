/**
 * The seam between our stores and the thing that keeps bytes: an ordered map from byte strings to byte strings,
 * compared as unsigned bytes. Two engines stand behind it (RocksDB on disk, a twin in memory) and one suite passes on
 * both. Nothing of the broker's meaning is known here.
 */
export interface Row {
  key: Buffer;
  value: Buffer;
}

/** A range of keys. Bounds may be combined; without bounds it is everything. */
export interface Range {
  gt?: Buffer;
  gte?: Buffer;
  lt?: Buffer;
  lte?: Buffer;
}

export interface ScanOptions extends Range {
  /** At most so many rows; required, because an unbounded answer would not fit in memory. */
  limit: number;
  /** Stop once the rows handed out weigh this much (keys and values); at least one row is answered. */
  maxBytes?: number;
  /** From the last key to the first. */
  reverse?: boolean;
  /** Values are answered empty: cheaper where only keys matter. */
  keysOnly?: boolean;
}

/** Collects changes; nothing happens until `write`. One batch is written by one call and is atomic. */
export interface Batch {
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
  /** Bytes of keys and values collected so far. */
  readonly bytes: number;
  /**
   * Applies all changes or none. With `sync`, resolves once they are on stable storage. A rejection means the outcome
   * is unknown and the engine must not be written again (RocksDB keeps its background error until it is reopened).
   */
  write(options: { sync: boolean }): Promise<void>;
}

export interface Engine {
  /** The value, or undefined. Rejects with `DamagedError` when the stored bytes fail their checksum. */
  get(key: Buffer): Promise<Buffer | undefined>;
  /** One answer per key, in order; all from one moment. */
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  /** Rows in order, all from one moment. */
  scan(options: ScanOptions): Promise<Row[]>;
  batch(): Batch;
  /** Gives the space of deleted keys between `from` and `to` (inclusive) back. */
  compact(from: Buffer, to: Buffer): Promise<void>;
  /**
   * Checks about `maxBytes` more of the stored bytes against the engine's own checksums, round after round; `wrapped` when
   * a round is complete. Rejects with `DamagedError`. Absent where nothing is on a disk.
   */
  check?(maxBytes: number): Promise<{ checked: number; wrapped: boolean }>;
  /** Waits for what is under way, then closes. Idempotent. */
  close(): Promise<void>;
}

/** Opens or creates an engine at a place: a folder for RocksDB, a name for the twin in memory. */
export type OpenEngine = (location: string, options: EngineOptions) => Promise<Engine>;

export interface EngineOptions {
  /** Bytes of the write buffer. What is not yet in a table file is at most about three times this. */
  writeBufferBytes: number;
  /** Bytes of the block cache. */
  cacheBytes: number;
}
