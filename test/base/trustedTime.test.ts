import { TrustedTime } from '../../src/base/trustedTime';
import { ManualClock } from '../support/clock';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

test('is the wall clock as long as that goes with the monotonic one', async () => {
  const clock = new ManualClock();
  const time = new TrustedTime(clock, undefined);
  for (let i = 0; i < 200; i++) {
    await clock.advance(HOUR);
    expect([time.look(), time.now()]).toEqual([0, clock.now()]);
  }
});

test('believes a step of an hour, forth and back', () => {
  const clock = new ManualClock();
  const time = new TrustedTime(clock, undefined);
  for (const step of [HOUR, -HOUR]) {
    clock.jumpTo(clock.now() + step);
    expect([time.look(), time.now()]).toEqual([0, clock.now()]);
  }
});

test('does not believe +100 h, counts on, and believes it after a day', async () => {
  const clock = new ManualClock();
  const time = new TrustedTime(clock, undefined);
  const start = clock.now();
  clock.jumpTo(start + 100 * HOUR);
  expect([time.look(), time.now()]).toEqual([100 * HOUR, start]);
  await clock.advance(23 * HOUR);
  expect([time.look(), time.now()]).toEqual([100 * HOUR, start + 23 * HOUR]);
  await clock.advance(HOUR);
  expect([time.look(), time.now()]).toEqual([0, clock.now()]);
});

test('every further step begins the day anew', async () => {
  const clock = new ManualClock();
  const time = new TrustedTime(clock, undefined);
  for (let i = 0; i < 5; i++) {
    clock.jumpTo(clock.now() + 100 * HOUR);
    expect(time.look()).toBe(100 * HOUR * (i + 1));
    await clock.advance(20 * HOUR);
    expect(time.look()).toBe(100 * HOUR * (i + 1));
  }
});

test('a clock that is set right again is believed at once', async () => {
  const clock = new ManualClock();
  const time = new TrustedTime(clock, undefined);
  clock.jumpTo(clock.now() + 100 * HOUR);
  time.look();
  await clock.advance(HOUR);
  clock.jumpTo(clock.now() - 100 * HOUR);
  expect([time.look(), time.now()]).toEqual([0, clock.now()]);
});

test('is never ahead of a wall clock that was set back', () => {
  const clock = new ManualClock();
  const time = new TrustedTime(clock, undefined);
  clock.jumpTo(clock.now() - 100 * HOUR);
  expect([time.look(), time.now()]).toEqual([-100 * HOUR, clock.now()]);
});

test('a downtime of two days counts after a day, until then from the last known time', async () => {
  const clock = new ManualClock();
  const last = clock.now() - 2 * DAY;
  const time = new TrustedTime(clock, last);
  expect([time.look(), time.now()]).toEqual([2 * DAY, last]);
  await clock.advance(DAY);
  expect([time.look(), time.now()]).toEqual([0, clock.now()]);
});
