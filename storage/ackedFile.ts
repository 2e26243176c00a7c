/**
 * What was acknowledged, kept outside RocksDB: after a flipped bit in its log RocksDB opens with less than was synced
 * and says nothing. The journal must reach at least as far as this file says.
 *
 * A ring of 4096 slots of 32 bytes; each mark goes into the slot behind the newest:
 *
 *   index(8) epoch(4) recordCrc(4) zero(12) crc(4)
 *
 * - A mark is written after the journal's sync, so the file never says more than the journal has.
 * - Marks are not synced one by one but every 100 ms. A killed process loses none (the operating system has them); a
 *   power cut can lose the marks of the last 100 ms, and then a loss in the very same moment goes unnoticed.
 * - Torn or garbled slots fail their CRC and are passed over: the newest valid one counts. The claim is then a little
 *   older, which weakens the check by a few commands and refuses nothing that is whole.
 * - A new file begins with a valid slot for index 0. So a file without any valid slot was damaged, and neither it nor a
 *   missing file is ever taken for "nothing acknowledged": `last` is undefined, and the journal refuses to open
 *   unless it is empty or an operator accepts it as it is (journalRecovery.ts).
 */
import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { readNumber, writeNumber } from './keys';

export const ACKED_SLOTS = 4096;
export const ACKED_SLOT_BYTES = 32;
const SYNC_EVERY_MS = 100;
const CRC_AT = ACKED_SLOT_BYTES - 4;

/** Whatever can run something later; the clock of the process, or a test's. */
export interface Timers {
  after(ms: number, callback: () => void): { cancel(): void };
}

/** The last command that was acknowledged as durable. Index 0: none yet. */
export interface AckedMark {
  readonly index: number;
  readonly epoch: number;
  /** The CRC of the last record of that command; 0 when there is no such record (its index was given up). */
  readonly recordCrc: number;
}

/** What the journal needs of it. */
export interface Acked {
  /** undefined when the marks cannot be read: then nobody knows what was acknowledged. */
  readonly last: AckedMark | undefined;
  /** Says that everything up to this index is durable. Throws when it cannot be written. */
  mark(index: number, epoch: number, recordCrc: number): void;
  close(): Promise<void>;
}

export class AckedFile implements Acked {
  readonly #file: number;
  readonly #timers: Timers;
  readonly #slot = Buffer.alloc(ACKED_SLOT_BYTES);
  #last: AckedMark | undefined;
  #next: number;
  #timer: { cancel(): void } | undefined;
  #syncing: Promise<void> | undefined;
  #failure: Error | undefined;
  #dirty = false;
  #closed = false;

  private constructor(file: number, timers: Timers, newest: { slot: number; mark: AckedMark } | undefined) {
    this.#file = file;
    this.#timers = timers;
    this.#last = newest?.mark;
    this.#next = newest ? (newest.slot + 1) % ACKED_SLOTS : 0;
  }

  /** Writes a new file that says "nothing yet"; an old one is overwritten. Synced with its folder. */
  static create(path: string): void {
    const file = openSync(path, 'w');
    try {
      ftruncateSync(file, ACKED_SLOTS * ACKED_SLOT_BYTES);
      const slot = Buffer.alloc(ACKED_SLOT_BYTES);
      writeMark(slot, { index: 0, epoch: 0, recordCrc: 0 });
      writeSync(file, slot, 0, ACKED_SLOT_BYTES, 0);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    syncFolder(dirname(path));
  }

  /** Opens the file. One that is missing or has no valid slot opens with `last` undefined. */
  static open(path: string, timers: Timers): AckedFile {
    const file = openSync(path, existsSync(path) ? 'r+' : 'w+');
    const ring = Buffer.alloc(ACKED_SLOTS * ACKED_SLOT_BYTES);
    readSync(file, ring, 0, ring.length, 0);
    return new AckedFile(file, timers, newestOf(ring));
  }

  get last(): AckedMark | undefined {
    return this.#last;
  }

  mark(index: number, epoch: number, recordCrc: number): void {
    if (this.#closed) throw new Error('the file of marks is closed');
    if (this.#failure) throw this.#failure;
    if (this.#last && index < this.#last.index) return; // an older promise is contained in the newer one
    this.#last = { index, epoch, recordCrc };
    writeMark(this.#slot, this.#last);
    writeSync(this.#file, this.#slot, 0, ACKED_SLOT_BYTES, this.#next * ACKED_SLOT_BYTES);
    this.#next = (this.#next + 1) % ACKED_SLOTS;
    this.#dirty = true;
    if (!this.#timer && !this.#syncing) this.#timer = this.#timers.after(SYNC_EVERY_MS, () => this.#sync());
  }

  #sync(): void {
    this.#timer = undefined;
    this.#dirty = false;
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#file, (error) => {
        // A sync is never tried again: after a failed one the kernel may have dropped what it could not write.
        if (error) this.#failure ??= error;
        this.#syncing = undefined;
        if (this.#dirty && !this.#closed && !error) this.#timer = this.#timers.after(SYNC_EVERY_MS, () => this.#sync());
        resolve();
      });
    });
  }

  /** Syncs and closes. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    await this.#syncing;
    try {
      if (this.#dirty && !this.#failure) fdatasyncSync(this.#file);
    } finally {
      closeSync(this.#file);
    }
  }
}

/** The marks of a journal in memory. */
export class AckedMemory implements Acked {
  last: AckedMark | undefined = { index: 0, epoch: 0, recordCrc: 0 };

  mark(index: number, epoch: number, recordCrc: number): void {
    if (!this.last || index >= this.last.index) this.last = { index, epoch, recordCrc };
  }

  async close(): Promise<void> {}
}

/** Makes new names in a folder durable. */
export function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function writeMark(slot: Buffer, mark: AckedMark): void {
  writeNumber(slot, mark.index, 0);
  slot.writeUInt32BE(mark.epoch, 8);
  slot.writeUInt32BE(mark.recordCrc, 12);
  slot.writeUInt32BE(crc32(slot.subarray(0, CRC_AT)), CRC_AT);
}

function newestOf(ring: Buffer): { slot: number; mark: AckedMark } | undefined {
  let newest: { slot: number; mark: AckedMark } | undefined;
  for (let slot = 0; slot < ACKED_SLOTS; slot++) {
    const bytes = ring.subarray(slot * ACKED_SLOT_BYTES, (slot + 1) * ACKED_SLOT_BYTES);
    if (crc32(bytes.subarray(0, CRC_AT)) !== bytes.readUInt32BE(CRC_AT)) continue;
    const mark = { index: readNumber(bytes, 0), epoch: bytes.readUInt32BE(8), recordCrc: bytes.readUInt32BE(12) };
    if (!newest || mark.index >= newest.mark.index) newest = { slot, mark };
  }
  return newest;
}
