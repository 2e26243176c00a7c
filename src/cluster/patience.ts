/**
 * How long each broker is waited for when several are asked at once, so that one that is dead or hangs does not hold up
 * what the others have. Who did not answer in time is left alone for a while, and gets more time when it is asked again:
 * a broker that is only slow is served all the same. Nothing is decided by it but the waiting.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { DeadlineOver, withDeadline } from './deadline';

/** Milliseconds for an answer: at first, and at most. */
const LEAST_MS = 1000;
const MOST_MS = 8000;
/** Who failed at once is asked again after this time: to ask costs nothing, and it may be back. */
const AVOID_MS = 2000;
/** Who let others wait is left alone for so many times as long, but not until consumers lose what they own there. */
const AVOID_TIMES = 10;
const LONGEST_AVOID_MS = 20_000;

interface Known {
  /** Milliseconds that it is given for an answer. */
  readonly ms: number;
  /** Monotonic time before which others are not made to wait for it. */
  readonly avoidedUntil: number;
}

export class Patience {
  readonly #clock: Clock;
  /** Those that failed lately, or are slow. */
  readonly #known = new Map<string, Known>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Those that are worth waiting for; all of them when none is. */
  worthy(brokers: readonly string[]): readonly string[] {
    if (this.#known.size === 0) return brokers;
    const now = this.#clock.monotonic();
    const left = brokers.filter((broker) => (this.#known.get(broker)?.avoidedUntil ?? 0) <= now);
    return left.length > 0 ? left : brokers;
  }

  /** All of them, those first that are worth waiting for. */
  ordered(brokers: readonly string[]): readonly string[] {
    const worthy = this.worthy(brokers);
    return worthy.length === brokers.length ? brokers : [...new Set([...worthy, ...brokers])];
  }

  /**
   * What the call brings. `waitMs`: what the broker itself is asked to wait. Rejects with SERVICE_NOT_AVAILABLE when the
   * time is over (whatever the broker does then), and with what the call rejects with.
   */
  async wait<T>(
    broker: string,
    waitMs: number,
    signal: AbortSignal,
    call: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const started = this.#clock.monotonic();
    const ms = this.#known.get(broker)?.ms ?? LEAST_MS;
    try {
      const answer = await withDeadline(this.#clock, ms + waitMs, signal, call);
      this.#answered(broker, this.#clock.monotonic() - started - waitMs);
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      const over = error instanceof DeadlineOver;
      if (!over && !(error instanceof GantryError)) throw error;
      this.#failed(broker, over ? ms : undefined);
      if (!over) throw error;
      throw new GantryError('SERVICE_NOT_AVAILABLE', `broker ${broker} did not answer within ${ms} ms`, {
        retryAfterMs: AVOID_MS,
      });
    }
  }

  #answered(broker: string, took: number): void {
    if (took * 2 <= LEAST_MS) this.#known.delete(broker);
    else this.#known.set(broker, { ms: Math.min(took * 2, MOST_MS), avoidedUntil: 0 });
  }

  /** `waited`: so many milliseconds in vain. */
  #failed(broker: string, waited: number | undefined): void {
    const ms = waited === undefined ? (this.#known.get(broker)?.ms ?? LEAST_MS) : Math.min(waited * 2, MOST_MS);
    const avoided = waited === undefined ? AVOID_MS : Math.min(waited * AVOID_TIMES, LONGEST_AVOID_MS);
    this.#known.set(broker, { ms, avoidedUntil: this.#clock.monotonic() + avoided });
  }
}
