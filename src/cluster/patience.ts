/**
 * How long each broker is waited for when several are asked at once, so that one that is dead or hangs does not hold up
 * what the others have. Who did not answer in time is left alone for a while, and gets more time when it is asked again:
 * a broker that is only slow is served all the same. Nothing is decided by it but the waiting.
 */
import type { Clock } from '../base/clock';
import { DeadlineOver, GantryError } from '../base/errors';
import { withDeadline } from './deadline';

/** Milliseconds for an answer: at first, and at most. */
const LEAST_MS = 1000;
const MOST_MS = 8000;
/** Who failed at once is asked again after this time: to ask costs nothing, and it may be back. */
const AVOID_MS = 2000;
/** Who let others wait is left alone for so many times as long, but not until consumers lose what they own there. */
const AVOID_TIMES = 10;
const LONGEST_AVOID_MS = 20_000;
/** Who is left alone may still answer what is asked of all: one that is back does so at once. */
const GLANCE_MS = 250;

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
    const ms = this.#known.get(broker)?.ms ?? LEAST_MS;
    return this.#within(broker, { ms, waitMs }, signal, call, (waited) => this.#failed(broker, waited));
  }

  /**
   * The same for what changes nothing and is asked of all: who is left alone is asked, too, but given a moment only, and
   * is not left alone any longer for it.
   */
  async glance<T>(
    broker: string,
    waitMs: number,
    signal: AbortSignal,
    call: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    if ((this.#known.get(broker)?.avoidedUntil ?? 0) <= this.#clock.monotonic())
      return this.wait(broker, waitMs, signal, call);
    return this.#within(broker, { ms: GLANCE_MS, waitMs: 0 }, signal, call, () => undefined);
  }

  /** `failed` is told how long was waited in vain; undefined: the broker failed at once. */
  async #within<T>(
    broker: string,
    { ms, waitMs }: { readonly ms: number; readonly waitMs: number },
    signal: AbortSignal,
    call: (signal: AbortSignal) => Promise<T>,
    failed: (waited: number | undefined) => void,
  ): Promise<T> {
    const started = this.#clock.monotonic();
    try {
      const answer = await withDeadline(this.#clock, ms + waitMs, signal, call);
      this.#answered(broker, this.#clock.monotonic() - started - waitMs);
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      const over = error instanceof DeadlineOver;
      if (!over && !(error instanceof GantryError)) throw error;
      failed(over ? ms : undefined);
      if (!over) throw error;
      throw new GantryError(
        'SERVICE_NOT_AVAILABLE',
        `broker ${broker} did not answer within ${ms + waitMs} ms: ask again, or see to it that it runs`,
        { retryAfterMs: AVOID_MS },
      );
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
