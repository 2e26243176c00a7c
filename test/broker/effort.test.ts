/** How far a call goes for a filter that has to see the messages. */
import { LIMITS } from '../../src/base/limits';
import { Effort } from '../../src/broker/effort';
import { ManualClock } from '../support/clock';

test('is spent after its time, and not before', async () => {
  const clock = new ManualClock();
  const effort = new Effort(clock);
  await clock.advance(LIMITS.filterMs - 1);
  expect(effort.spent).toBe(false);
  await clock.advance(1);
  expect(effort.spent).toBe(true);
});

test('is due for a pause every few milliseconds; a pause ends when others have had their turn', async () => {
  const clock = new ManualClock();
  const effort = new Effort(clock);
  expect(effort.due).toBe(false);
  await clock.advance(LIMITS.filterTurnMs);
  expect(effort.due).toBe(true);
  let others = 0;
  setImmediate(() => others++);
  await effort.pause();
  expect([others, effort.due]).toEqual([1, false]);
  await clock.advance(LIMITS.filterTurnMs);
  expect(effort.due).toBe(true);
});

test('is due when it is spent, though its turn has just begun', async () => {
  const clock = new ManualClock();
  const effort = new Effort(clock);
  await clock.advance(LIMITS.filterMs - 1);
  await effort.pause();
  await clock.advance(1);
  expect([effort.due, effort.spent]).toEqual([true, true]);
});

test('reads more at once the longer it looks, as much as is wanted at least, and never more than its bound', () => {
  const effort = new Effort(new ManualClock());
  expect([1, 1, 100, 1, 1, 1].map((wanted) => effort.nextPart(wanted))).toEqual([32, 64, 128, 256, 256, 256]);
  expect(new Effort(new ManualClock()).nextPart(100)).toBe(100);
  expect(new Effort(new ManualClock()).nextPart(1000)).toBe(LIMITS.filterMessages);
  expect(new Effort(new ManualClock()).nextPart()).toBe(32);
});
