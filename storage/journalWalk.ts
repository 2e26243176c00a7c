/**
 * Checks records one after another as they lie in the journal. What must hold: indexes are dense but for the ranges
 * given up, every command has all its records with ordinals 0, 1, 2, …, epochs and times never go down, and every
 * record proves itself. The first record that does not fit ends the walk.
 */
import { indexOf, ORDINALS, ordinalOf, positionOf } from './keys';
import type { LostRanges } from './lostRanges';
import { placeOf, recordCount, recordCrc, recordEpoch, recordFault, recordTime } from './record';

export class JournalWalk {
  readonly #lost: LostRanges;
  #expected: number;
  /** Records of the command under way; meaningful while its ordinal is above 0. */
  #count = 0;
  /** The last command that was seen whole; the one before the start at first. */
  lastIndex: number;
  lastEpoch = 0;
  lastTime = 0;
  lastCrc = 0;

  /** Expects the first record of `index`, or of the first index behind the lost range that it lies in. */
  constructor(index: number, lost: LostRanges) {
    this.#lost = lost;
    this.#expected = positionOf(lost.skip(index), 0);
    this.lastIndex = index - 1;
  }

  /** The position that must come next. */
  get expected(): number {
    return this.#expected;
  }

  get expectedIndex(): number {
    return indexOf(this.#expected);
  }

  /** True between the first and the last record of a command. */
  get insideCommand(): boolean {
    return ordinalOf(this.#expected) > 0;
  }

  /** Up to `count` indexes from the expected one on, none of them given up, none above `end`. */
  indexesAhead(count: number, end: number): number[] {
    const indexes: number[] = [];
    for (let index = this.expectedIndex; indexes.length < count && index <= end; index = this.#lost.skip(index + 1))
      indexes.push(index);
    return indexes;
  }

  /** Takes what is stored at the expected position, or answers why that cannot be. */
  take(record: Buffer | undefined): string | undefined {
    const position = this.#expected;
    if (!record) return `record ${placeOf(position)} is missing`;
    const fault = recordFault(record, position) ?? this.#misfit(record);
    if (fault !== undefined) return `record ${placeOf(position)} ${fault}`;
    this.#advance(record);
    return undefined;
  }

  #misfit(record: Buffer): string | undefined {
    const count = recordCount(record);
    if (count < 1 || count > ORDINALS || (this.insideCommand && count !== this.#count)) {
      return `says that its command has ${count} records`;
    }
    if (recordEpoch(record) < this.lastEpoch) return `is of epoch ${recordEpoch(record)}, behind ${this.lastEpoch}`;
    if (recordTime(record) < this.lastTime) return `is of ${recordTime(record)}, before its predecessor`;
    return undefined;
  }

  #advance(record: Buffer): void {
    this.#count = recordCount(record);
    this.lastEpoch = recordEpoch(record);
    this.lastTime = recordTime(record);
    if (ordinalOf(this.#expected) + 1 < this.#count) {
      this.#expected++;
      return;
    }
    const index = this.expectedIndex;
    this.lastIndex = index;
    this.lastCrc = recordCrc(record);
    this.#expected = positionOf(this.#lost.skip(index + 1), 0);
  }
}
