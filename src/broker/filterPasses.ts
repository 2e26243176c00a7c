/**
 * When a receive that found nothing records what the filter refused. It counts as done, so that positions and lag follow;
 * recording it at each look would make a command of every refused message, and never recording it would leave a group
 * behind for ever on a topic that has only messages for others.
 */
import type { Clock } from '../base/clock';
import type { Choice } from './choice';
import type { GroupState } from './state';

/** Refused messages that a look passes at most without recording them. */
const UNRECORDED = 1000;
/** Bytes read for them at most: each further look would read them again. */
const UNRECORDED_BYTES = 256 * 1024;
/** Milliseconds between two commands of a group that record nothing else, while receives wait. */
const APART_MS = 500;

export class FilterPasses {
  readonly #clock: Clock;
  /** Monotonic time of the last command. */
  readonly #recordedAt = new WeakMap<GroupState, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Milliseconds until what this look passed is to be recorded: 0 is now, Infinity when there is nothing. `last`: the
   * receive does not look again.
   */
  dueMs(group: GroupState, choice: Choice, last: boolean): number {
    if (choice.filtered === 0) return Infinity;
    if (last || choice.more || choice.filtered >= UNRECORDED || choice.readInVain >= UNRECORDED_BYTES) return 0;
    const recordedAt = this.#recordedAt.get(group) ?? -Infinity;
    return Math.max(0, recordedAt + APART_MS - this.#clock.monotonic());
  }

  /** A command is on its way. */
  record(group: GroupState): void {
    this.#recordedAt.set(group, this.#clock.monotonic());
  }
}
