/**
 * The time by which ages are counted. The wall clock may be set, and what is deleted for its age does not come back; so a
 * step of more than STEP_MS is not believed: time goes on as the monotonic clock counts it, from the last time that was
 * believed, and across a restart from the time of the newest stored command. A real downtime looks the same; it counts
 * once the wall clock has agreed with the monotonic one for AGREEMENT_MS, or at once when an operator vouches for it.
 */
import type { Clock } from './clock';

/** A step of the wall clock of up to an hour is believed: daylight saving set by hand, a slow drift, a short downtime. */
const STEP_MS = 3_600_000;
/** So long the wall clock must agree with the monotonic one behind a step: a day, in which somebody reads the warning. */
const AGREEMENT_MS = 24 * 3_600_000;

export class TrustedTime {
  readonly #clock: Clock;
  /** The last time that was believed, and when that was. */
  #base: { readonly wall: number; readonly monotonic: number };
  /** The step that is not believed, milliseconds, and since when it is there. */
  #step: { readonly ms: number; readonly since: number } | undefined;

  /** `since`: a wall clock time that is known to have been right, such as the newest command's; undefined: none is known. */
  constructor(clock: Clock, since: number | undefined) {
    this.#clock = clock;
    this.#base = { wall: since ?? clock.now(), monotonic: clock.monotonic() };
  }

  /** Milliseconds since 1970, never ahead of the wall clock nor of the time that is known to have passed. */
  now(): number {
    const wall = this.#clock.now();
    return Math.abs(this.#ahead(wall)) <= STEP_MS ? wall : Math.min(wall, this.#expected());
  }

  /**
   * Milliseconds that the wall clock is ahead (or, negative, behind) and not believed; 0 when it is believed. To be called
   * now and then: a step that stays for AGREEMENT_MS is believed from then on.
   */
  look(): number {
    const wall = this.#clock.now();
    const monotonic = this.#clock.monotonic();
    const ahead = this.#ahead(wall);
    if (Math.abs(ahead) <= STEP_MS) return this.#believe(wall);
    if (this.#step === undefined || Math.abs(ahead - this.#step.ms) > STEP_MS)
      this.#step = { ms: ahead, since: monotonic };
    return monotonic - this.#step.since >= AGREEMENT_MS ? this.#believe(wall) : ahead;
  }

  #believe(wall: number): 0 {
    this.#base = { wall, monotonic: this.#clock.monotonic() };
    this.#step = undefined;
    return 0;
  }

  #expected(): number {
    return this.#base.wall + (this.#clock.monotonic() - this.#base.monotonic);
  }

  #ahead(wall: number): number {
    return Math.round(wall - this.#expected());
  }
}
