/** Who reads which queue, for every size of group and topic up to 20 and 40, under each strategy. */
import { createHash } from 'node:crypto';
import { ALLOCATIONS, allocate, averagely, type Allocation } from '../../src/broker/allocation';

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const consumers = (count: number) => upTo(count).map((i) => `consumer${i}`);
const queuesOf = (topic: string, count: number) => upTo(count).map((i) => `${topic}-${i}`);

const share = (strategy: Allocation, members: number, queues: number) =>
  allocate(strategy, 'billing', consumers(members).sort(), queuesOf('orders', queues));

/**
 * AVG said another way: deal the queues in order to the members in order; everybody takes the whole part of
 * queues / members, and while queues are left over each of the first members takes one more.
 */
function dealt(members: number, queues: number): number[][] {
  const hand = upTo(queues);
  const each = Math.floor(queues / members);
  let over = queues - each * members;
  return Array.from({ length: members }, () => hand.splice(0, over-- > 0 ? each + 1 : each));
}

/** AVG_BY_CIRCLE said another way: each member takes the queue at its rank and every members-th one from there. */
function circled(members: number, queues: number): number[][] {
  return upTo(members).map((rank) => {
    const own: number[] = [];
    for (let queue = rank; queue < queues; queue += members) own.push(queue);
    return own;
  });
}

/** CONSISTENT_HASH as RocketMQ writes it: a map from place to member filled in the members' order, walked upwards. */
function ringed(members: readonly string[], queues: readonly string[]): number[][] {
  const place = (name: string) => createHash('md5').update(name, 'utf8').digest().readUInt32BE(0);
  const ring = new Map<number, number>();
  members.forEach((id, member) => upTo(10).forEach((i) => ring.set(place(`${id}-${i}`), member)));
  const places = [...ring.keys()].sort((a, b) => a - b);
  const owners = queues.map((name) => ring.get(places.find((at) => at >= place(name)) ?? places[0]!));
  return upTo(members.length).map((member) => upTo(queues.length).filter((queue) => owners[queue] === member));
}

const sizes = upTo(20).map((i) => i + 1);

describe.each(ALLOCATIONS)('%s', (strategy) => {
  test.each(sizes)('%i members share 0 to 40 queues: each queue once, each share ascending', (members) => {
    for (let queues = 0; queues <= 40; queues++) {
      const shares = share(strategy, members, queues);
      expect(shares).toHaveLength(members);
      expect(shares.flat().sort((a, b) => a - b)).toEqual(upTo(queues));
      for (const own of shares) expect(own).toEqual([...own].sort((a, b) => a - b));
    }
  });

  test('without members there are no shares, without queues empty ones', () => {
    expect(share(strategy, 0, 8)).toEqual([]);
    expect(share(strategy, 0, 0)).toEqual([]);
    expect(share(strategy, 3, 0)).toEqual([[], [], []]);
  });

  test('the name of the group makes no difference, nor does the call: the same again every time', () => {
    const of = (group: string) => allocate(strategy, group, consumers(5), queuesOf('orders', 16));
    expect(of('billing')).toEqual(of('billing'));
    expect(of('billing')).toEqual(of('shipping'));
  });

  test('takes its lists as they are and leaves them so', () => {
    const [members, queues] = [Object.freeze(consumers(5)), Object.freeze(queuesOf('orders', 16))];
    expect(() => allocate(strategy, 'billing', members, queues)).not.toThrow();
  });
});

describe.each([
  ['AVG', dealt],
  ['AVG_BY_CIRCLE', circled],
] as const)('%s shares evenly', (strategy, rule) => {
  test.each(sizes)('%i members: at most one apart, the first ones have more, as the rule says', (members) => {
    for (let queues = 0; queues <= 40; queues++) {
      const shares = share(strategy, members, queues);
      const counts = shares.map(({ length }) => length);
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      expect(counts).toEqual([...counts].sort((a, b) => b - a));
      expect(counts.filter((count) => count === 0)).toHaveLength(Math.max(0, members - queues)); // the rest idle
      expect(shares).toEqual(rule(members, queues));
    }
  });
});

describe('AVG', () => {
  test('gives contiguous stretches in the members’ order', () => {
    for (const members of sizes)
      for (let queues = 0; queues <= 40; queues++) expect(share('AVG', members, queues).flat()).toEqual(upTo(queues));
  });

  test('is `averagely` of the numbers', () => {
    expect(averagely(4, 10)).toEqual(share('AVG', 4, 10));
    expect(averagely(0, 10)).toEqual([]);
  });
});

describe('tables', () => {
  // prettier-ignore
  const TABLES: [Allocation, members: number, queues: number, shares: number[][]][] = [
    ['AVG', 1, 4, [[0, 1, 2, 3]]],
    ['AVG', 3, 8, [[0, 1, 2], [3, 4, 5], [6, 7]]],
    ['AVG', 4, 10, [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]],
    ['AVG', 4, 4, [[0], [1], [2], [3]]],
    ['AVG', 5, 3, [[0], [1], [2], [], []]],
    ['AVG_BY_CIRCLE', 1, 4, [[0, 1, 2, 3]]],
    ['AVG_BY_CIRCLE', 3, 8, [[0, 3, 6], [1, 4, 7], [2, 5]]],
    ['AVG_BY_CIRCLE', 4, 10, [[0, 4, 8], [1, 5, 9], [2, 6], [3, 7]]],
    ['AVG_BY_CIRCLE', 4, 4, [[0], [1], [2], [3]]],
    ['AVG_BY_CIRCLE', 5, 3, [[0], [1], [2], [], []]],
    // Worked out with Python's hashlib: members consumer0…, queues orders-0….
    ['CONSISTENT_HASH', 1, 4, [[0, 1, 2, 3]]],
    ['CONSISTENT_HASH', 3, 8, [[6, 7], [0], [1, 2, 3, 4, 5]]],
    ['CONSISTENT_HASH', 4, 10, [[7], [0], [1, 2, 3, 4, 5, 8, 9], [6]]],
    ['CONSISTENT_HASH', 5, 3, [[], [0], [1], [], [2]]],
  ];

  test.each(TABLES)('%s: %i members × %i queues', (strategy, members, queues, shares) => {
    expect(share(strategy, members, queues)).toEqual(shares);
  });
});

describe('CONSISTENT_HASH', () => {
  const topics = ['orders', 'payments', 'größen'];

  /** Names of the queues by the id of the member that has them. */
  function owners(members: readonly string[], queues: readonly string[]): Map<string, string> {
    const shares = allocate('CONSISTENT_HASH', 'billing', members, queues);
    return new Map(shares.flatMap((own, i) => own.map((j) => [queues[j]!, members[i]!] as const)));
  }

  test.each(sizes)('%i members: as RocketMQ’s router does it', (members) => {
    for (const topic of topics) {
      const [ids, queues] = [consumers(members).sort(), queuesOf(topic, 40)];
      expect(allocate('CONSISTENT_HASH', 'billing', ids, queues)).toEqual(ringed(ids, queues));
    }
  });

  test.each(sizes)('of %i members one that leaves moves its own queues only', (members) => {
    for (const topic of topics) {
      const [ids, queues] = [consumers(members).sort(), queuesOf(topic, 40)];
      const before = owners(ids, queues);
      for (const leaving of ids) {
        const after = owners(
          ids.filter((id) => id !== leaving),
          queues,
        );
        for (const [queue, owner] of before) {
          if (owner !== leaving) expect(after.get(queue)).toBe(owner);
          else if (members > 1) expect(after.get(queue)).not.toBe(leaving);
        }
      }
    }
  });

  test.each(sizes)('one that joins %i members takes queues for itself only', (members) => {
    let taken = 0;
    for (const topic of topics) {
      const [ids, queues] = [consumers(members).sort(), queuesOf(topic, 40)];
      const before = owners(ids, queues);
      for (const joining of ['a-new-one', 'consumer1a', 'newcomer', 'zulu']) {
        for (const [queue, owner] of owners([...ids, joining].sort(), queues)) {
          if (owner === joining) taken++;
          else expect(owner).toBe(before.get(queue));
        }
      }
    }
    expect(taken).toBeGreaterThan(0);
  });

  test('what a queue’s owner is depends on its name, not on its neighbours', () => {
    const queues = queuesOf('orders', 40);
    const all = owners(consumers(7), queues);
    for (const [queue, owner] of owners(consumers(7), queues.slice(0, 9))) expect(all.get(queue)).toBe(owner);
  });

  // Found by search: the MD5 of both names begins with the same four bytes, and the queue's lies just before them.
  test.each([
    ['consumer12182-1', 'consumer770-7', 'orders-30'],
    ['consumer11516-3', 'consumer14160-5', 'orders-34'],
    ['consumer14197-6', 'consumer8422-8', 'orders-7'],
    ['consumer14282-1', 'consumer8427-0', 'orders-32'],
  ])('where two members meet in one place (%s and %s), the later has it', (one, other, queue) => {
    const places = [one, other].map((name) => createHash('md5').update(name).digest('hex').slice(0, 8));
    expect(places[0]).toBe(places[1]);
    const members = [one, other].map((name) => name.slice(0, -2));
    expect(allocate('CONSISTENT_HASH', 'billing', members, [queue])).toEqual([[], [0]]);
    expect(allocate('CONSISTENT_HASH', 'billing', members.toReversed(), [queue])).toEqual([[], [0]]);
  });

  test('a queue in the very place of a node belongs to that node', () => {
    const [ids, queues] = [consumers(5), consumers(5).map((id, i) => `${id}-${i}`)];
    expect(allocate('CONSISTENT_HASH', 'billing', ids, queues)).toEqual([[0], [1], [2], [3], [4]]);
  });

  test('the largest group on the largest topic: every queue once', () => {
    const ids = consumers(1024).sort();
    const shares = allocate('CONSISTENT_HASH', 'billing', ids, queuesOf('orders', 1024));
    expect(shares).toHaveLength(1024);
    expect(shares.flat().sort((a, b) => a - b)).toEqual(upTo(1024));
  });
});
