/** Chores: when they run, that one run ends before the next begins, and that they end when told. */
import { Chore } from '../../src/base/life';
import { turn } from '../support/broker';
import { ManualClock } from '../support/clock';

function setup({ immediately = false } = {}) {
  const clock = new ManualClock();
  const runs: { end: (error?: Error) => void; signal: AbortSignal }[] = [];
  const errors: unknown[] = [];
  const chore = new Chore({
    clock,
    everyMs: 100,
    immediately,
    runOnce: (signal) =>
      new Promise<void>((resolve, reject) =>
        runs.push({ end: (error) => (error ? reject(error) : resolve()), signal }),
      ),
    onError: (error) => errors.push(error),
  });
  return { clock, runs, errors, chore };
}

describe('a chore', () => {
  test('runs after its interval, and again an interval after the end of a run', async () => {
    const { clock, runs, chore } = setup();
    await chore.start();
    await clock.advance(99);
    expect(runs).toHaveLength(0);
    await clock.advance(1);
    expect(runs).toHaveLength(1);
    await clock.advance(1000);
    expect(runs).toHaveLength(1);
    runs[0]!.end();
    await turn();
    await clock.advance(99);
    expect(runs).toHaveLength(1);
    await clock.advance(1);
    expect(runs).toHaveLength(2);
    runs[1]!.end();
    await chore.stop();
  });

  test('runs at once when asked to', async () => {
    const { runs, chore } = setup({ immediately: true });
    await chore.start();
    expect(runs).toHaveLength(1);
    runs[0]!.end();
    await chore.stop();
  });

  test('goes on after a run that failed, and says so', async () => {
    const { clock, runs, errors, chore } = setup({ immediately: true });
    await chore.start();
    runs[0]!.end(new Error('disk'));
    await turn();
    expect(errors).toEqual([new Error('disk')]);
    await clock.advance(100);
    expect(runs).toHaveLength(2);
    runs[1]!.end();
    await chore.stop();
  });

  test('hurries: at once when it rests, and once more right after a run that is under way', async () => {
    const { clock, runs, chore } = setup();
    await chore.start();
    chore.hurry();
    expect(runs).toHaveLength(1);
    chore.hurry();
    chore.hurry();
    expect(runs).toHaveLength(1);
    runs[0]!.end();
    await turn();
    expect(runs).toHaveLength(2);
    runs[1]!.end();
    await turn();
    expect(runs).toHaveLength(2);
    expect(clock.pendingTimers).toBe(1);
    await chore.stop();
  });
});

describe('a chore that is stopped', () => {
  test('tells the run under way, waits for it, and runs no more', async () => {
    const { clock, runs, errors, chore } = setup({ immediately: true });
    await chore.start();
    let stopped = false;
    const stopping = chore.stop().then(() => (stopped = true));
    await turn();
    expect(runs[0]!.signal.aborted).toBe(true);
    expect(stopped).toBe(false);
    runs[0]!.end(new Error('aborted'));
    await stopping;
    expect(errors).toEqual([]);
    await clock.advance(1000);
    expect(runs).toHaveLength(1);
    expect(clock.pendingTimers).toBe(0);
  });

  test('before it started never starts', async () => {
    const { clock, runs, chore } = setup({ immediately: true });
    await chore.stop();
    await chore.start();
    chore.hurry();
    await clock.advance(1000);
    expect(runs).toHaveLength(0);
  });

  test('twice is stopped once', async () => {
    const { chore, clock } = setup();
    await chore.start();
    await chore.start();
    await chore.stop();
    await chore.stop();
    expect(clock.pendingTimers).toBe(0);
  });
});
