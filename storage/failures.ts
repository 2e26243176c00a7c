/** What can go wrong below the broker. Each one names what an operator can do. */

/** Stored bytes are not what was written. Never passed over: the caller stops. */
export class DamagedError extends Error {
  override readonly name = 'DamagedError';
}

/** Acknowledged data is missing. The broker refuses to start without `--accept-data-loss=<index>`. */
export class DataLostError extends Error {
  override readonly name = 'DataLostError';
  /** The last journal index that is whole. */
  readonly lastGoodIndex: number;

  constructor(message: string, lastGoodIndex: number) {
    super(message);
    this.lastGoodIndex = lastGoodIndex;
  }
}

/** Another process has this folder open. */
export class FolderInUseError extends Error {
  override readonly name = 'FolderInUseError';
}

/** The folder cannot be made, read or written: a lack of rights or of space, or a path that cannot hold it. */
export class FolderUnusableError extends Error {
  override readonly name = 'FolderUnusableError';
}

/** The folder was written by a version that this one does not read, or is no data folder at all. */
export class FolderFormatError extends Error {
  override readonly name = 'FolderFormatError';
}

/** A batch failed: its outcome is unknown and nothing may be written any more. */
export class WriteFailedError extends Error {
  override readonly name = 'WriteFailedError';
}
