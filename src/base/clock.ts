/**
 * Time, as a parameter. Wall clock stamps and schedules; the monotonic clock measures every time-out, so a clock that
 * is set back or forth never ends a lease or holds a poll. This file is the one door to `Date.now` and `setTimeout`.
 */
export interface Timer {
  /** Idempotent. After it returns the callback does not run. */
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since 1970 (UTC). May jump. */
  now(): number;
  /** Milliseconds since an arbitrary start. Never goes back. */
  monotonic(): number;
  /** Runs `callback` once, `ms` milliseconds from now on the monotonic clock. */
  after(ms: number, callback: () => void): Timer;
  /** Runs `callback` once the events that wait now have been handled. */
  soon(callback: () => void): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    const handle = setTimeout(callback, ms);
    return { cancel: () => clearTimeout(handle) };
  },
  soon: (callback) => void setImmediate(callback),
};

/** Resolves after `ms` milliseconds, or rejects with the signal's reason as soon as `signal` aborts. */
export function delay(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    const onAbort = () => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
