/** How long a slow or failing broker is left alone, and that it is used all the same when nobody else is left. */
import { Avoidance, backoffSteps } from '../../src/cluster/avoidance';
import { OPTIONS } from '../../src/config/option';
import { ManualClock } from '../support/clock';

function avoidance(steps: readonly string[] = OPTIONS.sendBackoff.default) {
  const clock = new ManualClock();
  return { clock, table: new Avoidance({ clock, steps: backoffSteps(steps) }) };
}

/** Milliseconds until `a` is as good as the others again. */
async function avoidedFor(note: (table: Avoidance) => void): Promise<number> {
  const { clock, table } = avoidance();
  note(table);
  for (let ms = 0; ; ms += 500) {
    if (table.ordered(['a', 'b'])[0] === 'a') return ms;
    await clock.advance(500);
  }
}

// rocketmq-semantics.md 4.2, the numbers of RocketMQ 5.
test.each([
  [0, 0],
  [50, 0],
  [100, 0],
  [549, 0],
  [550, 2000],
  [1799, 2000],
  [1800, 5000],
  [3000, 6000],
  [5000, 10_000],
  [14_999, 10_000],
  [15_000, 30_000],
  [60_000, 30_000],
])('an answer after %i ms: avoided for %i ms', async (latencyMs, ms) => {
  expect(await avoidedFor((table) => table.answered('a', latencyMs))).toBe(ms);
});

test('a failure counts as 10 s', async () => {
  expect(await avoidedFor((table) => table.failed('a'))).toBe(10_000);
  expect(await avoidedFor((table) => table.unreachable('a'))).toBe(10_000);
});

test('first those that are available, then those that can be reached, then the others; each as it stood', () => {
  const { table } = avoidance();
  table.unreachable('a');
  table.failed('b');
  table.unreachable('d');
  table.answered('e', 600);
  expect(table.ordered(['a', 'b', 'c', 'd', 'e', 'f'])).toEqual(['c', 'f', 'b', 'e', 'a', 'd']);
});

test('a quick answer ends it', () => {
  const { table } = avoidance();
  table.unreachable('a');
  table.answered('a', 20);
  expect(table.ordered(['a', 'b'])).toEqual(['a', 'b']);
});

test('the steps are what was configured, in any order; without any nobody is avoided', () => {
  const { table } = avoidance(['1000:9000', '100:1000']);
  table.answered('a', 150);
  expect(table.ordered(['a', 'b'])).toEqual(['b', 'a']);
  const never = avoidance([]).table;
  never.unreachable('a');
  expect(never.ordered(['a', 'b'])).toEqual(['a', 'b']);
});
