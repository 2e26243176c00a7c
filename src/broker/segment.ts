/**
 * A stretch of one queue's index: entries for the offsets first, first + 1, … without a hole, 26 bytes each. It grows
 * in memory while its messages arrive; once written it never changes. One row holds a stretch, not one entry, so that
 * a fast queue costs a row per flush instead of a row per message.
 *
 * entry: position 8 · bytes of the record 4 · tagHash 4 · messageGroupHash 4 · storeTime 6
 */
import { readNumber, writeNumber } from '../../storage/keys';

export const ENTRY_BYTES = 26;
/** Entries of one segment: a reader that needs one of them loads no more than 13 KiB. */
export const SEGMENT_ENTRIES = 512;

export class Segment {
  readonly first: number;
  #count: number;
  #data: Buffer;
  /** No entry may follow any more: the flush has taken it. */
  closed = false;
  /** It lies in the tables store, so memory may forget it. */
  stored = false;

  constructor(first: number, data: Buffer = Buffer.allocUnsafe(4 * ENTRY_BYTES), count = 0) {
    this.first = first;
    this.#data = data;
    this.#count = count;
  }

  /** A segment as it was stored under its first offset. */
  static read(first: number, value: Buffer): Segment {
    const segment = new Segment(first, value, value.length / ENTRY_BYTES);
    segment.closed = true;
    segment.stored = true;
    return segment;
  }

  get count(): number {
    return this.#count;
  }

  /** The offset behind the last entry. */
  get end(): number {
    return this.first + this.#count;
  }

  get full(): boolean {
    return this.#count >= SEGMENT_ENTRIES;
  }

  append(position: number, bytes: number, tagHash: number, groupHash: number, storeTime: number): void {
    const at = this.#count * ENTRY_BYTES;
    if (at === this.#data.length) this.#grow();
    const data = this.#data;
    writeNumber(data, position, at);
    data.writeUInt32BE(bytes, at + 8);
    data.writeInt32BE(tagHash, at + 12);
    data.writeUInt32BE(groupHash, at + 16);
    data.writeUIntBE(storeTime, at + 20, 6);
    this.#count++;
  }

  #grow(): void {
    const larger = Buffer.allocUnsafe(Math.min(this.#data.length * 4, SEGMENT_ENTRIES * ENTRY_BYTES));
    this.#data.copy(larger, 0, 0, this.#count * ENTRY_BYTES);
    this.#data = larger;
  }

  /** Where the message of `offset` lies in the journal. */
  position(offset: number): number {
    return readNumber(this.#data, (offset - this.first) * ENTRY_BYTES);
  }

  bytes(offset: number): number {
    return this.#data.readUInt32BE((offset - this.first) * ENTRY_BYTES + 8);
  }

  tagHash(offset: number): number {
    return this.#data.readInt32BE((offset - this.first) * ENTRY_BYTES + 12);
  }

  groupHash(offset: number): number {
    return this.#data.readUInt32BE((offset - this.first) * ENTRY_BYTES + 16);
  }

  storeTime(offset: number): number {
    return this.#data.readUIntBE((offset - this.first) * ENTRY_BYTES + 20, 6);
  }

  get lastPosition(): number {
    return this.position(this.end - 1);
  }

  /** What is stored. */
  value(): Buffer {
    return this.#data.subarray(0, this.#count * ENTRY_BYTES);
  }
}
