/**
 * Tells what is certainly in RocksDB's table files and not only in its log.
 *
 * At most two write buffers are in memory at a time (a third write waits), so what lies three write buffers back has
 * been flushed. The bytes counted here are payload only, less than what a buffer really holds, so we err late.
 */
export class Settling {
  readonly #writeBufferBytes: number;
  readonly #candidates: { mark: number; at: number }[] = [];
  #written = 0;
  #candidateAt = 0;
  #settled: number;

  /** `settled` is the mark known to be in table files at the start. */
  constructor(writeBufferBytes: number, settled: number) {
    this.#writeBufferBytes = writeBufferBytes;
    this.#settled = settled;
  }

  /** So many bytes were written, the last of them belonging to `mark`. Marks rise. */
  wrote(bytes: number, mark: number): void {
    this.#written += bytes;
    if (this.#written - this.#candidateAt >= this.#writeBufferBytes) {
      this.#candidateAt = this.#written;
      this.#candidates.push({ mark, at: this.#written });
    }
    const oldest = this.#candidates[0];
    if (oldest && this.#written - oldest.at >= 3 * this.#writeBufferBytes) {
      this.#settled = oldest.mark;
      this.#candidates.shift();
    }
  }

  /** Everything up to this mark is in table files. */
  get mark(): number {
    return this.#settled;
  }
}
