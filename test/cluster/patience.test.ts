/** How long each of several brokers is waited for: a dead one holds up nobody, and a slow one is heard all the same. */
import { GantryError } from '../../src/base/errors';
import { Patience } from '../../src/cluster/patience';
import { codeOf, turn } from '../support/broker';
import { ManualClock } from '../support/clock';

const { signal } = new AbortController();
const ALL = ['a', 'b'];

function patient() {
  const clock = new ManualClock();
  const patience = new Patience(clock);
  /** A call that takes so long; Infinity: for ever. */
  const call = (ms: number) => () =>
    new Promise<string>((resolve) => void (ms < Infinity && clock.after(ms, () => resolve('answer'))));
  /** What comes of it, and after how many milliseconds. */
  const ask = async (broker: string, ms: number, waitMs = 0) => {
    const started = clock.monotonic();
    let took: number | undefined;
    const work = codeOf(patience.wait(broker, { waitMs, signal }, call(ms))).finally(
      () => (took = clock.monotonic() - started),
    );
    for (let i = 0; i < 1000 && took === undefined; i++) await clock.advance(100).then(turn);
    return [await work, took];
  };
  const refused = (broker: string) =>
    codeOf(
      patience.wait(broker, { signal }, () => Promise.reject(new GantryError('SERVICE_NOT_AVAILABLE', 'refused'))),
    );
  return { clock, patience, ask, refused };
}

const ANSWER = { resolved: 'answer' };

test('a second at first; one that hangs is left alone for ten, and given twice as long then', async () => {
  const { clock, patience, ask } = patient();
  expect(await ask('a', 900)).toEqual([ANSWER, 900]);
  expect(await ask('a', Infinity)).toEqual(['SERVICE_NOT_AVAILABLE', 1800]); // it took 900 ms before
  expect(patience.worthy(ALL)).toEqual(['b']);
  await clock.advance(17_900);
  expect(patience.worthy(ALL)).toEqual(['b']);
  await clock.advance(200);
  expect(patience.worthy(ALL)).toEqual(ALL);
  expect(await ask('a', 3000)).toEqual([ANSWER, 3000]);
  expect(patience.worthy(ALL)).toEqual(ALL);
});

test('what is asked of all is asked of one that is left alone, too, which has but a moment', async () => {
  const { clock, patience, ask } = patient();
  const glance = async (ms: number) => {
    const started = clock.monotonic();
    let took: number | undefined;
    const call = () =>
      new Promise<string>((resolve) => void (ms < Infinity && clock.after(ms, () => resolve('answer'))));
    const work = codeOf(patience.glance('a', { signal }, call)).finally(() => (took = clock.monotonic() - started));
    for (let i = 0; i < 100 && took === undefined; i++) await clock.advance(50).then(turn);
    return [await work, took];
  };
  expect(await glance(Infinity)).toEqual(['SERVICE_NOT_AVAILABLE', 1000]);
  expect(await glance(Infinity)).toEqual(['SERVICE_NOT_AVAILABLE', 250]);
  await clock.advance(9800); // ten seconds after the first, whatever came between
  expect(patience.worthy(ALL)).toEqual(ALL);
  expect(await ask('a', Infinity)).toEqual(['SERVICE_NOT_AVAILABLE', 2000]);
  expect(await glance(200)).toEqual([ANSWER, 200]);
  expect(patience.worthy(ALL)).toEqual(ALL);
});

test('never longer than eight seconds, and never left alone for longer than twenty', async () => {
  const { clock, patience, ask } = patient();
  const times: unknown[] = [];
  for (let i = 0; i < 6; i++) {
    times.push((await ask('a', Infinity))[1]);
    await clock.advance(20_000);
    expect(patience.worthy(ALL)).toEqual(ALL);
  }
  expect(times).toEqual([1000, 2000, 4000, 8000, 8000, 8000]);
});

test('what it is asked to wait is no fault of its own', async () => {
  const { patience, ask } = patient();
  expect(await ask('a', 5500, 5000)).toEqual([ANSWER, 5500]);
  expect(await ask('a', Infinity, 5000)).toEqual(['SERVICE_NOT_AVAILABLE', 6000]);
  expect(patience.worthy(ALL)).toEqual(['b']);
});

test('one that refuses is asked again after two seconds: that costs nobody any time', async () => {
  const { clock, patience, ask, refused } = patient();
  expect(await refused('a')).toBe('SERVICE_NOT_AVAILABLE');
  expect(patience.worthy(ALL)).toEqual(['b']);
  await clock.advance(2000);
  expect(patience.worthy(ALL)).toEqual(ALL);
  expect(await ask('a', 100)).toEqual([ANSWER, 100]);
});

test('when none is worth waiting for, all are', async () => {
  const { patience, refused } = patient();
  for (const broker of ALL) await refused(broker);
  expect(patience.worthy(ALL)).toEqual(ALL);
});

test('who goes away is told so, and no broker is blamed', async () => {
  const { patience } = patient();
  const gone = new AbortController();
  const work = patience.wait('a', { signal: gone.signal }, () => new Promise(() => undefined));
  gone.abort(new Error('gone'));
  await expect(work).rejects.toThrow('gone');
  expect(patience.worthy(ALL)).toEqual(ALL);
});

test('what is no broker’s failure is nobody’s', async () => {
  const { patience } = patient();
  await expect(patience.wait('a', { signal }, () => Promise.reject(new TypeError('a mistake')))).rejects.toThrow(
    'a mistake',
  );
  expect(patience.worthy(ALL)).toEqual(ALL);
});
