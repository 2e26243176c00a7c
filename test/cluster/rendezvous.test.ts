/** Every process orders brokers alike, keys spread evenly, and a broker that is added moves only what it takes over. */
import { rendezvous } from '../../src/cluster/rendezvous';

const KEYS = Array.from({ length: 10_000 }, (_, i) => `order-${i}`);

test('an order is the same whoever works it out, and for ever', () => {
  expect(rendezvous('order-1', ['broker-a', 'broker-b', 'broker-c'])).toEqual([
    ...['broker-b', 'broker-c', 'broker-a'],
  ]);
  expect(rendezvous('order-1', ['broker-c', 'broker-a', 'broker-b', 'broker-a'])).toEqual(
    rendezvous('order-1', ['broker-a', 'broker-b', 'broker-c']),
  );
  expect(rendezvous('order-1', ['broker-a'])).toEqual(['broker-a']);
  expect(rendezvous('order-1', [])).toEqual([]);
});

test.each([2, 3, 5, 8])('keys spread evenly over %i brokers, and so do the second places', (count) => {
  const brokers = Array.from({ length: count }, (_, i) => `broker-${i}`);
  for (const place of [0, 1]) {
    const share = new Map<string, number>();
    for (const key of KEYS) {
      const name = rendezvous(key, brokers)[place]!;
      share.set(name, (share.get(name) ?? 0) + 1);
    }
    const even = KEYS.length / count;
    for (const got of share.values()) expect(Math.abs(got - even)).toBeLessThan(even * 0.1);
    expect(share.size).toBe(count);
  }
});

test('a broker that is added takes its share over, and no key moves between the others', () => {
  const before = ['a', 'b', 'c'];
  let moved = 0;
  for (const key of KEYS) {
    const after = rendezvous(key, [...before, 'd']);
    if (after[0] === 'd') moved++;
    expect(after.filter((name) => name !== 'd')).toEqual(rendezvous(key, before));
  }
  expect(Math.abs(moved - KEYS.length / 4)).toBeLessThan(KEYS.length * 0.025);
});
