/**
 * Checks RocksDB's table files (*.sst) block by block.
 *
 * Why: iterators verify nothing. A damaged block can come out of a scan as rows that are simply not there (one bit turns
 * a row into a deletion), and it can end the process (RocksDB asserts while it compares keys). The journal knows its keys
 * and looks them up; the tables must scan. The binding does not export RocksDB's own VerifyChecksum, so this walks the
 * files itself: footer → index block → every data block against its CRC-32C.
 *
 * A file without a valid footer may be one that is being written; it is damage when it was there before the store was
 * opened, or when it is found with the same size in two rounds.
 */
import { readdirSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from './crc32c';
import { DamagedError } from './failures';

const FOOTER_BYTES = 53;
const TRAILER_BYTES = 5;
const MAGIC = 'f7cff485b741e288';
const CRC32C = 1;
/** From this format on an index entry does not say how long its value is. */
const FORMAT_WITHOUT_VALUE_LENGTH = 4;

interface Block {
  offset: number;
  size: number;
}

export class TableFiles {
  readonly #folder: string;
  readonly #before: Set<string>;
  /** Size of files whose footer was not readable in the last round. */
  #unfinished = new Map<string, number>();
  /** What is left of this round; undefined between two rounds. */
  #names: string[] | undefined;
  #blocks: Block[] = [];
  #next = 0;

  /** Made before the store is opened: what is there by then is complete. */
  constructor(folder: string) {
    this.#folder = folder;
    this.#before = new Set(tableFileNames(folder));
  }

  /** Checks about `maxBytes` more; `wrapped` at the end of a round. Throws `DamagedError` naming the file. */
  async check(maxBytes: number): Promise<{ checked: number; wrapped: boolean }> {
    this.#names ??= tableFileNames(this.#folder);
    let checked = 0;
    while (checked < maxBytes) {
      const name = this.#names[0];
      if (name === undefined) {
        this.#names = undefined;
        return { checked, wrapped: true };
      }
      checked += await this.#checkFile(name, maxBytes - checked);
    }
    return { checked, wrapped: false };
  }

  async #checkFile(name: string, maxBytes: number): Promise<number> {
    let file: FileHandle;
    try {
      file = await open(join(this.#folder, name), 'r');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      this.#fileDone(); // compacted away meanwhile
      return 0;
    }
    try {
      if (this.#blocks.length === 0 && !(await this.#begin(file, name))) {
        this.#fileDone();
        return FOOTER_BYTES;
      }
      return await this.#checkBlocks(file, name, maxBytes);
    } finally {
      await file.close();
    }
  }

  #fileDone(): void {
    this.#names?.shift();
    this.#blocks = [];
    this.#next = 0;
  }

  /** Reads the list of blocks; false when the file is not complete yet. */
  async #begin(file: FileHandle, name: string): Promise<boolean> {
    const { size } = await file.stat();
    const footer = await readExactly(file, size - FOOTER_BYTES, FOOTER_BYTES);
    if (footer?.toString('hex', FOOTER_BYTES - 8) !== MAGIC) {
      if (this.#before.has(name) || this.#unfinished.get(name) === size) throw damaged(name, 'has no valid end');
      this.#unfinished.set(name, size);
      return false;
    }
    this.#unfinished.delete(name);
    if (footer[0] !== CRC32C) throw damaged(name, `has checksums of an unknown kind (${footer[0]})`);
    const cursor = { at: 1 };
    readVarint(footer, cursor); // metaindex block: RocksDB checks it whenever it opens the file
    readVarint(footer, cursor);
    const index = { offset: readVarint(footer, cursor), size: readVarint(footer, cursor) };
    const bytes = await readExactly(file, index.offset, index.size + TRAILER_BYTES);
    if (!bytes || !blockIsWhole(bytes, 0, index.size)) throw damaged(name, 'has a damaged index');
    if (bytes[index.size] !== 0) throw damaged(name, 'has a compressed index, which this version never writes');
    this.#blocks = indexEntries(bytes.subarray(0, index.size), footer.readUInt32LE(41));
    this.#next = 0;
    return true;
  }

  async #checkBlocks(file: FileHandle, name: string, maxBytes: number): Promise<number> {
    let checked = 0;
    while (this.#next < this.#blocks.length && checked < maxBytes) {
      const first = this.#blocks[this.#next]!;
      const last = this.#lastOfRead();
      const length = last.offset + last.size + TRAILER_BYTES - first.offset;
      const bytes = await readExactly(file, first.offset, length);
      if (!bytes) throw damaged(name, 'is too short');
      for (; this.#blocks[this.#next] && this.#blocks[this.#next]!.offset <= last.offset; this.#next++) {
        const { offset, size } = this.#blocks[this.#next]!;
        if (!blockIsWhole(bytes, offset - first.offset, size)) throw damaged(name, `is damaged at byte ${offset}`);
      }
      checked += length;
    }
    if (this.#next >= this.#blocks.length) this.#fileDone();
    return checked;
  }

  /** The last block of one read of about 256 KiB: about a millisecond of checking between two turns of the event loop. */
  #lastOfRead(): Block {
    let i = this.#next;
    const start = this.#blocks[i]!.offset;
    while (i + 1 < this.#blocks.length && this.#blocks[i + 1]!.offset - start < 256 << 10) i++;
    return this.#blocks[i]!;
  }
}

/** Newest first: what was just written is what the next scan meets. */
function tableFileNames(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.sst'))
    .sort()
    .reverse();
}

const damaged = (name: string, how: string) => new DamagedError(`the table file ${name} ${how}`);

async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer | undefined> {
  if (position < 0) return undefined;
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) return undefined;
    filled += bytesRead;
  }
  return bytes;
}

/** Behind a block: its compression type, then the masked CRC-32C of block and type. */
function blockIsWhole(bytes: Buffer, offset: number, size: number): boolean {
  const crc = crc32c(bytes, offset, offset + size + 1);
  const masked = ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) >>> 0;
  return bytes.readUInt32LE(offset + size + 1) === masked;
}

/** The handles of all data blocks. The index was checked before, so it is taken at its word. */
function indexEntries(index: Buffer, format: number): Block[] {
  const restarts = index.readUInt32LE(index.length - 4);
  const end = index.length - 4 - 4 * restarts;
  const blocks: Block[] = [];
  const cursor = { at: 0 };
  while (cursor.at < end) {
    const shared = readVarint(index, cursor);
    const unshared = readVarint(index, cursor);
    if (format < FORMAT_WITHOUT_VALUE_LENGTH) readVarint(index, cursor);
    cursor.at += unshared;
    const before = blocks.at(-1);
    if (shared === 0 || format < FORMAT_WITHOUT_VALUE_LENGTH || !before) {
      blocks.push({ offset: readVarint(index, cursor), size: readVarint(index, cursor) });
    } else {
      const zigzag = readVarint(index, cursor);
      const delta = zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
      blocks.push({ offset: before.offset + before.size + TRAILER_BYTES, size: before.size + delta });
    }
  }
  return blocks;
}

function readVarint(bytes: Buffer, cursor: { at: number }): number {
  let value = 0;
  for (let factor = 1; ; factor *= 128) {
    const byte = bytes[cursor.at++];
    if (byte === undefined) throw new DamagedError('a number in a table file runs over the end');
    value += (byte & 0x7f) * factor;
    if (byte < 0x80) return value;
  }
}
