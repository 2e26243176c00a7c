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
/** A silent broker shows within this time that it is back, or nothing is sent to it. */
const PROBE_MS = 500;

interface Known {
  /** Milliseconds that it is given for an answer. */
  readonly ms: number;
  /** Monotonic time before which others are not made to wait for it. */
  readonly avoidedUntil: number;
  /** It let a call wait in vain, and has answered no change since. */
  readonly silent: boolean;
}

/** Asks a broker for any answer. */
type Probe = (signal: AbortSignal) => Promise<unknown>;

const UNKNOWN: Known = { ms: LEAST_MS, avoidedUntil: 0, silent: false };

/** How a call is waited for. */
export interface Waits {
  /** Milliseconds that the broker itself is asked to wait, or needs beyond a plain answer. */
  readonly waitMs?: number;
  readonly signal: AbortSignal;
  /** The failure of a call whose time is over, by the milliseconds waited; by default SERVICE_NOT_AVAILABLE. */
  readonly overdue?: (ms: number) => GantryError;
}

export class Patience {
  readonly #clock: Clock;
  /** Those that failed lately, or are slow. */
  readonly #known = new Map<string, Known>();
  /** The changes that show whether silent brokers answer again. */
  readonly #trials = new Map<string, Promise<unknown>>();

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

  /** Whether it let a call wait in vain, and has answered no change since. */
  isSilent(broker: string): boolean {
    return this.#known.get(broker)?.silent === true;
  }

  /** It answered a change. */
  heard(broker: string): void {
    const known = this.#known.get(broker);
    if (known) this.#known.set(broker, { ...known, avoidedUntil: 0, silent: false });
  }

  /** It let a call wait in vain. */
  unheard(broker: string): void {
    this.#known.set(broker, { ...(this.#known.get(broker) ?? UNKNOWN), silent: true });
  }

  /**
   * Sends a change to a broker. A silent one gets one change at a time, and only after it has answered the probe; other
   * changes wait a moment for what comes of that one. Rejects with SERVICE_NOT_AVAILABLE when the change was not sent.
   */
  async send<T>(broker: string, signal: AbortSignal, probe: Probe, change: () => Promise<T>): Promise<T> {
    if (!this.isSilent(broker)) return change();
    const trial = this.#trials.get(broker);
    if (trial) {
      const ended = trial.catch(() => undefined);
      if ((await this.#inTime(signal, () => ended)) && !this.isSilent(broker)) return change();
      throw notSent(broker);
    }
    const own = this.#try(broker, signal, probe, change).finally(() => this.#trials.delete(broker));
    this.#trials.set(broker, own);
    return own;
  }

  async #try<T>(broker: string, signal: AbortSignal, probe: Probe, change: () => Promise<T>): Promise<T> {
    await this.reach(broker, signal, probe);
    return change();
  }

  /** Rejects with SERVICE_NOT_AVAILABLE when the broker is silent and does not answer the probe. */
  async reach(broker: string, signal: AbortSignal, probe: Probe): Promise<void> {
    if (!this.isSilent(broker)) return;
    if (!(await this.#inTime(signal, (own) => this.#probe(broker, own, probe)))) throw notSent(broker);
  }

  /** A broker that refuses the probe at once, as one does that has ended, makes nobody wait any more. */
  async #probe(broker: string, signal: AbortSignal, probe: Probe): Promise<void> {
    try {
      await probe(signal);
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      this.heard(broker);
    }
  }

  /** False when the moment is over before. */
  async #inTime(signal: AbortSignal, call: (signal: AbortSignal) => Promise<unknown>): Promise<boolean> {
    try {
      await withDeadline(this.#clock, PROBE_MS, signal, call);
      return true;
    } catch (error) {
      if (error instanceof DeadlineOver) return false;
      throw error;
    }
  }

  /**
   * Result of the call. Rejects with `overdue` when the time is over (whatever the broker does then), and with the
   * error of the call.
   */
  async wait<T>(broker: string, waits: Waits, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const ms = this.#known.get(broker)?.ms ?? LEAST_MS;
    return this.#within(broker, ms, waits, call, (waited) => this.#failed(broker, waited));
  }

  /**
   * The same for what changes nothing and is asked of all: who is left alone is asked, too, but given a moment only, and
   * is not left alone any longer for it.
   */
  async glance<T>(broker: string, waits: Waits, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if ((this.#known.get(broker)?.avoidedUntil ?? 0) <= this.#clock.monotonic()) return this.wait(broker, waits, call);
    return this.#within(broker, GLANCE_MS, { ...waits, waitMs: 0 }, call, () => undefined);
  }

  /** `failed` is told how long was waited in vain; undefined: the broker failed at once. */
  async #within<T>(
    broker: string,
    ms: number,
    { waitMs = 0, signal, overdue = (waited) => unanswered(broker, waited) }: Waits,
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
      throw over ? overdue(ms + waitMs) : error;
    }
  }

  #answered(broker: string, took: number): void {
    const silent = this.isSilent(broker);
    if (took * 2 <= LEAST_MS && !silent) this.#known.delete(broker);
    else this.#known.set(broker, { ms: Math.max(LEAST_MS, Math.min(took * 2, MOST_MS)), avoidedUntil: 0, silent });
  }

  /** `waited`: so many milliseconds in vain. */
  #failed(broker: string, waited: number | undefined): void {
    const { ms, avoidedUntil, silent } = this.#known.get(broker) ?? UNKNOWN;
    const now = this.#clock.monotonic();
    if (waited === undefined) {
      this.#known.set(broker, { ms, avoidedUntil: Math.max(avoidedUntil, now + AVOID_MS), silent });
      return;
    }
    const avoided = Math.min(waited * AVOID_TIMES, LONGEST_AVOID_MS);
    this.#known.set(broker, { ms: Math.min(waited * 2, MOST_MS), avoidedUntil: now + avoided, silent: true });
  }
}

const unanswered = (broker: string, ms: number): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `broker ${broker} did not answer within ${ms} ms: ask again, or see to it that it runs`,
    { retryAfterMs: AVOID_MS },
  );

const notSent = (broker: string): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `broker ${broker} does not answer, and this needs it; nothing was sent to it: call again later, or see to it that it runs`,
    { retryAfterMs: 1000 },
  );
