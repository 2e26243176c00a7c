/** The system's clock in its few promises, and the delay made of any clock. */
import { delay, systemClock } from '../../src/base/clock';
import { ManualClock } from '../support/clock';

describe('a delay', () => {
  test('ends when its time is over, not before', async () => {
    const clock = new ManualClock();
    let over = false;
    const waiting = delay(clock, 100).then(() => (over = true));
    await clock.advance(99);
    expect(over).toBe(false);
    await clock.advance(1);
    await waiting;
    expect(over).toBe(true);
  });

  test('ends with the reason of its signal as soon as that aborts, and leaves no timer', async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const waiting = delay(clock, 100, abort.signal);
    abort.abort(new Error('stopped'));
    await expect(waiting).rejects.toThrow('stopped');
    expect(clock.pendingTimers).toBe(0);
  });

  test('does not begin when the signal has aborted already', async () => {
    const clock = new ManualClock();
    await expect(delay(clock, 100, AbortSignal.abort(new Error('stopped')))).rejects.toThrow('stopped');
    expect(clock.pendingTimers).toBe(0);
  });

  test('that ended no longer listens to its signal', async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const removed = jest.spyOn(abort.signal, 'removeEventListener');
    const waiting = delay(clock, 1, abort.signal);
    await clock.advance(1);
    await waiting;
    expect(removed).toHaveBeenCalledWith('abort', expect.any(Function));
  });
});

describe('the clock of the system', () => {
  test('tells the time of day and measures time that passes', async () => {
    const [wall, elapsed] = [systemClock.now(), systemClock.monotonic()];
    await delay(systemClock, 5);
    expect(systemClock.now()).toBeGreaterThanOrEqual(wall + 4);
    expect(systemClock.monotonic()).toBeGreaterThan(elapsed + 3);
  });

  test('does not call back what was cancelled', async () => {
    const called: string[] = [];
    systemClock.after(1, () => called.push('cancelled')).cancel();
    systemClock.after(1, () => called.push('kept'));
    await delay(systemClock, 10);
    expect(called).toEqual(['kept']);
  });

  test('calls back soon, but not at once', async () => {
    const order: string[] = [];
    const called = new Promise<void>((resolve) =>
      systemClock.soon(() => {
        order.push('soon');
        resolve();
      }),
    );
    await Promise.resolve();
    order.push('first');
    await called;
    expect(order).toEqual(['first', 'soon']);
  });
});
