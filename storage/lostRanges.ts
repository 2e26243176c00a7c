/**
 * The indexes that were given up with --accept-data-loss. Numbering went on behind them, so an index is never used
 * twice; whoever asks for one of them learns that it is lost, which is not the same as damaged.
 */
import { DamagedError } from './failures';
import { readNumber, writeNumber } from './keys';

export interface LostRange {
  readonly from: number;
  /** Inclusive. */
  readonly to: number;
}

export class LostRanges {
  /** Ascending, disjoint. */
  #ranges: LostRange[];

  constructor(ranges: LostRange[] = []) {
    this.#ranges = [...ranges].sort((a, b) => a.from - b.from);
  }

  /** Reads the stored row; undefined when there is none. */
  static read(row: Buffer | undefined): LostRanges {
    const ranges: LostRange[] = [];
    if (row && row.length % 16 !== 0) throw new DamagedError('the list of lost ranges is damaged');
    for (let at = 0; row && at < row.length; at += 16)
      ranges.push({ from: readNumber(row, at), to: readNumber(row, at + 8) });
    return new LostRanges(ranges);
  }

  /** As it is stored, all in one row: a lookup of it is verified, which a scan would not be. */
  row(): Buffer {
    const row = Buffer.alloc(16 * this.#ranges.length);
    this.#ranges.forEach(({ from, to }, i) => {
      writeNumber(row, from, 16 * i);
      writeNumber(row, to, 16 * i + 8);
    });
    return row;
  }

  get all(): readonly LostRange[] {
    return this.#ranges;
  }

  add(range: LostRange): void {
    this.#ranges = [...this.#ranges, range].sort((a, b) => a.from - b.from);
  }

  has(index: number): boolean {
    return this.#ranges.length > 0 && this.#ranges.some(({ from, to }) => index >= from && index <= to);
  }

  /** The index itself, or the first one behind the lost range that it lies in. */
  skip(index: number): number {
    for (const { from, to } of this.#ranges) if (index >= from && index <= to) index = to + 1;
    return index;
  }
}
