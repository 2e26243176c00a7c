/**
 * How far one call goes for a SQL filter. Such a filter has to see each message, and what that costs is the client's
 * doing: bodies up to 4 MiB, expressions that take 20 ms for one. So messages are read in bounded parts, others have
 * their turn in between, and the whole has an end; the call then answers how far it came. At least one message is decided
 * about, or clients that come again and again would not get on.
 */
import type { Clock } from '../base/clock';
import { LIMITS } from '../base/limits';

/** The first part: a filter that takes most messages needs no more. */
const FIRST_PART = 32;

export class Effort {
  readonly #clock: Clock;
  readonly #ends: number;
  #turnEnds: number;
  #part = FIRST_PART;

  constructor(clock: Clock) {
    const now = clock.monotonic();
    this.#clock = clock;
    this.#ends = now + LIMITS.filterMs;
    this.#turnEnds = Math.min(now + LIMITS.filterTurnMs, this.#ends);
  }

  get spent(): boolean {
    return this.#clock.monotonic() >= this.#ends;
  }

  /** Messages to read next, when so many are wanted: the longer it takes to find them, the more at once. */
  nextPart(wanted = 0): number {
    const part = this.#part;
    this.#part = Math.min(part * 2, LIMITS.filterMessages);
    return Math.min(Math.max(part, wanted), LIMITS.filterMessages);
  }

  /** Whether to pause before the next message, unless all is spent. */
  get due(): boolean {
    return this.#clock.monotonic() >= this.#turnEnds;
  }

  /** Resolves when others have had their turn. */
  async pause(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.soon(resolve));
    this.#turnEnds = Math.min(this.#clock.monotonic() + LIMITS.filterTurnMs, this.#ends);
  }
}
