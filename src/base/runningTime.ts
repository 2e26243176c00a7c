/**
 * Time in which this process has really been running. Leases are counted in it: a process that was stopped (SIGSTOP, a
 * suspended machine, a long garbage collection, a blocked event loop) heard nobody meanwhile, and must not find all its
 * consumers expired when it goes on.
 *
 * It beats every BEAT_MS. A beat that is more than TOLERANCE_MS late tells of a stall: of the time since the beat before,
 * BEAT_MS count as run and the rest does not. The rule is Gantry's own; RocketMQ's brokers do expire their clients then.
 */
import type { Clock, Timer } from './clock';

/** Milliseconds from one beat to the next. */
export const BEAT_MS = 250;

/** Milliseconds that a beat may be late before that is a stall: a loaded event loop is not one. */
export const TOLERANCE_MS = 250;

export class RunningTime {
  readonly #clock: Clock;
  #timer: Timer | undefined;
  /** The last beat, on the monotonic clock. */
  #lastBeat = 0;
  /** Milliseconds of all stalls that are over. */
  #stalled = 0;
  /** What `now` answered last: never less again. */
  #lastAnswer = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Milliseconds on the monotonic clock less the stalls; only differences mean something. Never goes back. Before `start`
   * and after `stop` no stall is noticed. Stalls of up to BEAT_MS + TOLERANCE_MS between two beats count as run.
   *
   * In a stall it stands still until the next beat: whoever's timer or request comes before that beat asks in vain whether
   * a lease ended meanwhile. A caller with a timer on the clock must therefore look here when it fires, and set it anew
   * for what is left.
   */
  now(): number {
    const monotonic = this.#clock.monotonic();
    // An answer given when the beat was late, but not yet a stall, may be up to TOLERANCE_MS ahead of what it turns out to be.
    this.#lastAnswer = Math.max(this.#lastAnswer, monotonic - this.#stalled - this.#stallAt(monotonic));
    return this.#lastAnswer;
  }

  /** Begins to beat. Does nothing when it beats already. */
  start(): void {
    if (this.#timer) return;
    this.#lastBeat = this.#clock.monotonic();
    this.#arm();
  }

  /** Ends the beat and leaves no timer. The stalls so far remain subtracted. */
  stop(): void {
    if (!this.#timer) return;
    this.#closeBeat();
    this.#timer.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    this.#timer = this.#clock.after(BEAT_MS, () => {
      this.#closeBeat();
      this.#arm();
    });
  }

  #closeBeat(): void {
    const monotonic = this.#clock.monotonic();
    this.#stalled += this.#stallAt(monotonic);
    this.#lastBeat = monotonic;
  }

  /** Milliseconds of the stall under way at `monotonic`, or 0: what has passed since the last beat beyond BEAT_MS. */
  #stallAt(monotonic: number): number {
    const passed = monotonic - this.#lastBeat;
    return this.#timer && passed > BEAT_MS + TOLERANCE_MS ? passed - BEAT_MS : 0;
  }
}
