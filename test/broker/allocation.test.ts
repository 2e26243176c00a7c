/** Who reads which queue, for every size of group and topic up to 20 and 40. */
import { averagely } from '../../src/broker/allocation';

/**
 * The same rule said another way: deal the queues in order to the members in order; everybody takes the whole part of
 * queues / members, and while queues are left over each of the first members takes one more.
 */
function dealt(members: number, queues: number): number[][] {
  const hand = Array.from({ length: queues }, (_, i) => i);
  const each = Math.floor(queues / members);
  let over = queues - each * members;
  return Array.from({ length: members }, () => hand.splice(0, over-- > 0 ? each + 1 : each));
}

const sizes = Array.from({ length: 20 }, (_, i) => i + 1);

test.each(sizes)('%i members share 0 to 40 queues', (members) => {
  for (let queues = 0; queues <= 40; queues++) {
    const shares = averagely(members, queues);
    expect(shares).toHaveLength(members);
    expect(shares.flat()).toEqual(Array.from({ length: queues }, (_, i) => i)); // each once, contiguous, in order
    const counts = shares.map(({ length }) => length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    expect(counts).toEqual([...counts].sort((a, b) => b - a)); // the first ones have the extra
    expect(shares).toEqual(dealt(members, queues));
  }
});

test('RocketMQ’s own example: ten queues for four', () => {
  expect(averagely(4, 10)).toEqual([
    [0, 1, 2],
    [3, 4, 5],
    [6, 7],
    [8, 9],
  ]);
});
