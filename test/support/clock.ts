import type { Clock, Timer } from '../../src/base/clock';

/** A clock that moves only when told. Timers fire in order of their time, wall and monotonic move together. */
export class ManualClock implements Clock {
  #now: number;
  #elapsed = 0;
  #timers: { at: number; callback: () => void; sequence: number }[] = [];
  #sequence = 0;

  constructor(now = Date.UTC(2026, 0, 15, 12)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#elapsed;
  }

  soon(callback: () => void): void {
    setImmediate(callback);
  }

  after(ms: number, callback: () => void): Timer {
    const entry = { at: this.#elapsed + ms, callback, sequence: this.#sequence++ };
    this.#timers.push(entry);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== entry);
      },
    };
  }

  /** Lets `ms` milliseconds pass; awaits a turn of the event loop after each timer so that its consequences happen. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    for (;;) {
      const next = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.sequence - b.sequence)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.#now += next.at - this.#elapsed;
      this.#elapsed = next.at;
      next.callback();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#now += end - this.#elapsed;
    this.#elapsed = end;
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Lets `ms` milliseconds pass in which no timer runs, as in a process that is stopped: timers are as far away as before. */
  pass(ms: number): void {
    this.#now += ms;
    this.#elapsed += ms;
    for (const timer of this.#timers) timer.at += ms;
  }

  /** Sets the wall clock alone, as an operator or NTP would. */
  jumpTo(now: number): void {
    this.#now = now;
  }

  get pendingTimers(): number {
    return this.#timers.length;
  }
}
