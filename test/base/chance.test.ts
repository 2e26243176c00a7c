/** The one door to randomness keeps to its bounds. */
import { systemChance } from '../../src/base/chance';

test('bytes are as many as asked for, and others each time', () => {
  expect(systemChance.bytes(32)).toHaveLength(32);
  expect(systemChance.bytes(32).equals(systemChance.bytes(32))).toBe(false);
});

test('numbers reach every value below the bound and none other', () => {
  const seen = new Set(Array.from({ length: 1000 }, () => systemChance.below(4)));
  expect([...seen].sort()).toEqual([0, 1, 2, 3]);
});
