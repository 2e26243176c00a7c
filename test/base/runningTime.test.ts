/** Time without the stalls: what counts as run, what does not, and that it never goes back. */
import fc from 'fast-check';
import type { Clock, Timer } from '../../src/base/clock';
import { BEAT_MS, RunningTime, TOLERANCE_MS } from '../../src/base/runningTime';
import { ManualClock } from '../support/clock';

/**
 * A clock that can also stall, which `ManualClock` cannot: time passes and no timer fires. What became due meanwhile fires
 * late, at the next `advance`, in order of its time, as in an event loop that goes on.
 */
class StallingClock implements Clock {
  #elapsed = 1000;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    throw new Error('the wall clock measures nothing');
  }

  soon(): void {
    throw new Error('not used');
  }

  monotonic(): number {
    return this.#elapsed;
  }

  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.#elapsed + ms, callback };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  stall(ms: number): void {
    this.#elapsed += ms;
  }

  advance(ms: number): void {
    const end = this.#elapsed + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.callback();
    }
    this.#elapsed = end;
  }

  get pendingTimers(): number {
    return this.#timers.length;
  }
}

function started() {
  const clock = new StallingClock();
  const time = new RunningTime(clock);
  time.start();
  const begin = time.now();
  return { clock, time, ran: () => time.now() - begin };
}

describe('without a stall', () => {
  test('it is the monotonic clock, whatever the wall clock does', async () => {
    const clock = new ManualClock();
    const time = new RunningTime(clock);
    time.start();
    for (const ms of [1, 249, 250, 251, 3600_000, 7]) {
      await clock.advance(ms);
      clock.jumpTo(clock.now() - 86_400_000);
      expect(time.now()).toBe(clock.monotonic());
    }
  });

  test('a beat that is late within the tolerance counts as run', () => {
    const { clock, ran } = started();
    clock.stall(BEAT_MS + TOLERANCE_MS);
    expect(ran()).toBe(500);
    clock.advance(0);
    expect(ran()).toBe(500);
    clock.advance(10_000);
    expect(ran()).toBe(10_500);
  });
});

describe('a stall', () => {
  test('counts as one beat, however long it was', () => {
    for (const ms of [501, 60_000, 8 * 3600_000]) {
      const { clock, ran } = started();
      clock.stall(ms);
      clock.advance(0);
      expect(ran()).toBe(BEAT_MS);
      clock.advance(1000);
      expect(ran()).toBe(BEAT_MS + 1000);
    }
  });

  test('counts as what was left of the beat when it came in the middle of one', () => {
    const { clock, ran } = started();
    clock.advance(1100); // beats at 250, 500, 750 and 1000
    clock.stall(60_000);
    clock.advance(0);
    expect(ran()).toBe(1000 + BEAT_MS);
  });

  test('is seen by a timer of the caller that fires before the beat, and by every later one', () => {
    const { clock, time, ran } = started();
    const seen: number[] = [];
    clock.after(10, () => seen.push(ran()));
    clock.after(240, () => seen.push(ran()));
    clock.after(260, () => seen.push(ran()));
    clock.stall(60_000);
    clock.advance(0);
    expect(seen).toEqual([BEAT_MS, BEAT_MS, BEAT_MS]);
    expect(time.now()).toBe(clock.monotonic() - 60_000 + BEAT_MS);
  });

  test('is subtracted once, whether asked about or not', () => {
    const [asked, silent] = [started(), started()];
    for (const { clock, ran } of [asked, silent]) {
      for (let i = 0; i < 5; i++) {
        clock.stall(10_000);
        if (clock === asked.clock) expect(ran()).toBe(ran());
        clock.advance(0);
        clock.advance(1000);
      }
    }
    expect(asked.ran()).toBe(5 * (BEAT_MS + 1000));
    expect(silent.ran()).toBe(asked.ran());
  });

  test('stands still while the event loop is blocked, though asked all the time', () => {
    const { clock, ran } = started();
    clock.stall(BEAT_MS + TOLERANCE_MS + 1);
    const seen = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      clock.stall(10);
      seen.add(ran());
    }
    expect([...seen]).toEqual([BEAT_MS]);
  });

  test('does not take back what was answered when it was only a late beat', () => {
    const { clock, ran } = started();
    clock.stall(400);
    expect(ran()).toBe(400);
    clock.stall(200); // 600 in all: a stall, of which 250 ran
    expect(ran()).toBe(400);
    clock.advance(0);
    expect(ran()).toBe(400);
    clock.advance(150); // caught up
    expect(ran()).toBe(400);
    clock.advance(100);
    expect(ran()).toBe(500);
  });

  test('leaves a lease what it had left, less at most one beat', () => {
    const { clock, time } = started();
    const ends = time.now() + 30_000;
    clock.advance(10_000);
    clock.stall(3600_000);
    clock.advance(0);
    expect(ends - time.now()).toBe(20_000 - BEAT_MS);
  });
});

describe('start and stop', () => {
  test('before start it is the monotonic clock, and sets no timer', () => {
    const clock = new StallingClock();
    const time = new RunningTime(clock);
    for (const ms of [0, 100, 60_000]) {
      clock.stall(ms);
      expect(time.now()).toBe(clock.monotonic());
    }
    expect(clock.pendingTimers).toBe(0);
    time.start();
    expect(time.now()).toBe(clock.monotonic());
  });

  test('there is one timer while it beats, none after stop, and both may be said twice', () => {
    const { clock, time } = started();
    time.start();
    expect(clock.pendingTimers).toBe(1);
    clock.advance(10_000);
    expect(clock.pendingTimers).toBe(1);
    time.stop();
    time.stop();
    expect(clock.pendingTimers).toBe(0);
  });

  test('a stall that stop meets is kept; afterwards none is noticed; start goes on', () => {
    const { clock, time, ran } = started();
    clock.stall(60_000);
    time.stop();
    expect(ran()).toBe(BEAT_MS);
    clock.stall(2000);
    expect(ran()).toBe(BEAT_MS + 2000);
    time.start();
    clock.stall(60_000);
    clock.advance(0);
    expect(ran()).toBe(2 * BEAT_MS + 2000);
  });
});

test('whatever happens: never back; all that ran counts, and of a stall no more than the tolerance lets pass', () => {
  const step = fc.record({
    what: fc.constantFrom('advance' as const, 'stall' as const),
    ms: fc.oneof(fc.nat(600), fc.nat(100_000)),
    ask: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { clock, ran } = started();
      let [least, most, last] = [0, 0, 0];
      for (const { what, ms, ask } of [...steps, { what: 'advance' as const, ms: 0, ask: true }]) {
        clock[what](ms);
        least += what === 'advance' ? ms : 0;
        most += what === 'advance' ? ms : Math.min(ms, BEAT_MS + TOLERANCE_MS);
        if (!ask) continue;
        const now = ran();
        expect(now).toBeGreaterThanOrEqual(Math.max(last, least));
        expect(now).toBeLessThanOrEqual(most);
        last = now;
      }
    }),
    { numRuns: 1000 },
  );
});
