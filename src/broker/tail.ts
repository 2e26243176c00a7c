/**
 * The newest messages, in memory, as the very bytes that went to the journal. Consumers that keep up are served from
 * here and cause no read from disk. Bounded in bytes; the oldest command leaves first.
 */
import { indexOf, ordinalOf } from '../../storage/keys';

interface Entry {
  readonly index: number;
  readonly records: readonly Buffer[];
  readonly bytes: number;
}

/** Bytes a record costs beside its own: the buffer object and the places that point to it. */
const OVERHEAD_BYTES = 200;

export class Tail {
  readonly #maxBytes: number;
  readonly #byIndex = new Map<number, Entry>();
  /** In order of arrival from #head on; what is before #head has left. */
  #entries: (Entry | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  put(index: number, records: readonly Buffer[]): void {
    let bytes = OVERHEAD_BYTES;
    for (const record of records) bytes += record.length + OVERHEAD_BYTES;
    const entry = { index, records, bytes };
    this.#byIndex.set(index, entry);
    this.#entries.push(entry);
    this.#bytes += bytes;
    while (this.#bytes > this.#maxBytes && this.#head < this.#entries.length) this.#evict();
  }

  #evict(): void {
    const oldest = this.#entries[this.#head]!;
    this.#byIndex.delete(oldest.index);
    this.#bytes -= oldest.bytes;
    // Not held until the list is cut: with large messages that would be gigabytes.
    this.#entries[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The record at a position, or undefined if it has left. */
  get(position: number): Buffer | undefined {
    return this.#byIndex.get(indexOf(position))?.records[ordinalOf(position)];
  }

  /** The oldest command still here; Infinity when empty. */
  get firstIndex(): number {
    return this.#entries[this.#head]?.index ?? Infinity;
  }

  get bytes(): number {
    return this.#bytes;
  }
}
