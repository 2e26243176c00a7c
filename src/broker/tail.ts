/**
 * The newest messages, in memory, as the very bytes that went to the journal. Consumers that keep up are served from
 * here and cause no read from disk. Bounded in bytes; the oldest leave first, a slab at a time.
 *
 * Bytes are copied into slabs, and their places into flat arrays: a hundred thousand buffers kept alive one by one would
 * be moved and traced by every garbage collection (measured: a tenth of what the event loop does for single sends).
 */
import { indexOf, ordinalOf } from '../../storage/keys';

/** One slab at most, and the share of the tail it is otherwise: so much leaves at once. */
const SLAB_BYTES = 1024 * 1024;
const SLABS = 16;
/** A slab notes commands by their distance from its first one; behind a longer stretch of other commands a new one begins. */
const SLAB_COMMANDS = 64 * 1024;
const FIRST_PLACES = 256;

/** Whole commands, one behind the other. */
class Slab {
  readonly firstIndex: number;
  readonly #bytes: Buffer;
  #filled = 0;
  /** By distance from `firstIndex`: the number of the command's first record. */
  #commands = new Uint32Array(FIRST_PLACES);
  #commandCount = 0;
  /** By number of record: where it ends. */
  #ends = new Uint32Array(FIRST_PLACES);
  #recordCount = 0;

  constructor(firstIndex: number, capacity: number) {
    this.firstIndex = firstIndex;
    this.#bytes = Buffer.allocUnsafeSlow(capacity);
  }

  /** What it costs. */
  get weight(): number {
    return this.#bytes.length + this.#commands.byteLength + this.#ends.byteLength;
  }

  hasRoom(index: number, bytes: number): boolean {
    return this.#filled + bytes <= this.#bytes.length && index - this.firstIndex < SLAB_COMMANDS;
  }

  put(index: number, records: readonly Buffer[]): void {
    const distance = index - this.firstIndex;
    this.#commands = grown(this.#commands, distance + 1);
    // Commands between that have no messages have no records either.
    while (this.#commandCount <= distance) this.#commands[this.#commandCount++] = this.#recordCount;
    this.#ends = grown(this.#ends, this.#recordCount + records.length);
    for (const record of records) {
      this.#bytes.set(record, this.#filled);
      this.#filled += record.length;
      this.#ends[this.#recordCount++] = this.#filled;
    }
  }

  get(index: number, ordinal: number): Buffer | undefined {
    const distance = index - this.firstIndex;
    if (distance >= this.#commandCount) return undefined;
    const behind = distance + 1 < this.#commandCount ? this.#commands[distance + 1]! : this.#recordCount;
    const number = this.#commands[distance]! + ordinal;
    if (number >= behind) return undefined;
    return this.#bytes.subarray(number === 0 ? 0 : this.#ends[number - 1]!, this.#ends[number]);
  }
}

function grown(places: Uint32Array<ArrayBuffer>, wanted: number): Uint32Array<ArrayBuffer> {
  if (wanted <= places.length) return places;
  const larger = new Uint32Array(Math.max(wanted, places.length * 2));
  larger.set(places);
  return larger;
}

export class Tail {
  readonly #maxBytes: number;
  readonly #slabBytes: number;
  /** Ascending; the last one is being filled. */
  readonly #slabs: Slab[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#slabBytes = Math.min(SLAB_BYTES, Math.ceil(maxBytes / SLABS));
  }

  /** Copies the records of a command; indexes ascend. One that is larger than the whole tail is left out. */
  put(index: number, records: readonly Buffer[]): void {
    let bytes = 0;
    for (const record of records) bytes += record.length;
    if (bytes > this.#maxBytes) return;
    let slab = this.#slabs.at(-1);
    if (slab?.hasRoom(index, bytes)) this.#bytes -= slab.weight;
    else this.#slabs.push((slab = new Slab(index, Math.max(this.#slabBytes, bytes))));
    slab.put(index, records);
    this.#bytes += slab.weight;
    while (this.#bytes > this.#maxBytes && this.#slabs.length > 1) this.#bytes -= this.#slabs.shift()!.weight;
  }

  /** The record at a position, or undefined if it has left. A view: whoever keeps it keeps its slab. */
  get(position: number): Buffer | undefined {
    const index = indexOf(position);
    let low = 0;
    let high = this.#slabs.length - 1;
    if (high < 0 || index < this.#slabs[0]!.firstIndex) return undefined;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#slabs[middle]!.firstIndex <= index) low = middle;
      else high = middle - 1;
    }
    return this.#slabs[low]!.get(index, ordinalOf(position));
  }

  /** The oldest command still here; Infinity when empty. */
  get firstIndex(): number {
    return this.#slabs[0]?.firstIndex ?? Infinity;
  }

  get bytes(): number {
    return this.#bytes;
  }
}
