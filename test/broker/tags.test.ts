/** Which tags are used, and how often: exact while they are few, bounded and never too low when they are many. */
import fc from 'fast-check';
import { LIMITS } from '../../src/base/limits';
import { SeenTags } from '../../src/broker/tags';

const ROOM = LIMITS.countedTags;

function countAll(stream: readonly string[]) {
  const seen = new SeenTags();
  const exact = new Map<string, number>();
  const gone: string[] = [];
  stream.forEach((tag, i) => {
    const left = seen.count(tag, 1000 + i);
    if (left !== undefined) gone.push(left);
    exact.set(tag, (exact.get(tag) ?? 0) + 1);
  });
  return { seen, exact, gone };
}

test('few tags are counted exactly, with their last time, the most used first', () => {
  const { seen } = countAll(['a', 'b', 'a', 'c', 'a', 'b']);
  expect(seen.list()).toEqual([
    { tag: 'a', count: 3, lastTime: 1004 },
    { tag: 'b', count: 2, lastTime: 1005 },
    { tag: 'c', count: 1, lastTime: 1003 },
  ]);
});

test('a tag beyond the thousand takes the place and the count of the rarest', () => {
  const full = Array.from({ length: ROOM }, (_, i) => [`t${i}`, `t${i}`]).flat();
  const { seen, gone } = countAll([...full.slice(0, -1), 'new']);
  expect(gone).toEqual([`t${ROOM - 1}`]);
  expect(seen.size).toBe(ROOM);
  expect(seen.list().find(({ tag }) => tag === 'new')).toMatchObject({ count: 2 });
});

test('what lost its place is not written by the next flush', () => {
  const full = Array.from({ length: ROOM }, (_, i) => `t${i}`);
  const { seen, gone } = countAll([...full, 'new']);
  const unflushed = [...seen.unflushed].map(({ tag }) => tag);
  expect(unflushed).toHaveLength(ROOM);
  expect(unflushed).not.toContain(gone[0]);
});

test('whatever comes: no count is too low, none too high by more than its share, and no heavy tag is missing', () => {
  // A few heavy tags among many rare ones, in any order.
  const stream = fc.array(
    fc.oneof(
      { weight: 2, arbitrary: fc.integer({ min: 0, max: 9 }) },
      { weight: 3, arbitrary: fc.integer({ min: 10, max: 5000 }) },
    ),
    {
      minLength: 4000,
      maxLength: 4000,
    },
  );
  fc.assert(
    fc.property(stream, (numbers) => {
      const { seen, exact } = countAll(numbers.map((n) => `t${n}`));
      const share = numbers.length / ROOM;
      const counted = new Map(seen.list().map(({ tag, count }) => [tag, count]));
      expect(counted.size).toBeLessThanOrEqual(ROOM);
      for (const [tag, count] of counted) {
        expect(count).toBeGreaterThanOrEqual(exact.get(tag)!);
        expect(count).toBeLessThanOrEqual(exact.get(tag)! + share);
      }
      for (const [tag, count] of exact) if (count > share) expect(counted.has(tag)).toBe(true);
    }),
    { numRuns: 5 },
  );
});

test('which of many rare tags goes does not depend on the order in which they were restored', () => {
  const tags = Array.from({ length: ROOM }, (_, i) => ({
    tag: `t${(i * 7) % ROOM}`,
    count: 1 + (i % 2),
    lastTime: 1000 + (i % 3),
  }));
  const goneFrom = (order: typeof tags) => {
    const seen = new SeenTags();
    for (const tag of order) seen.restore({ ...tag });
    return ['x', 'y', 'z'].map((tag, i) => seen.count(tag, 2000 + i));
  };
  expect(goneFrom([...tags].reverse())).toEqual(goneFrom(tags));
});
