/** Hashes that others compute, too: a value that changes here breaks filters and messageGroups in the field. */
import { messageGroupHash, tagHash } from '../../src/broker/hash';

describe('the hash of a tag is Java’s String.hashCode', () => {
  test.each([
    ['', 0],
    ['a', 97],
    ['ab', 3105],
    ['hello', 99162322],
    ['Aa', 2112],
    ['BB', 2112],
    ['polygenelubricants', -2147483648],
    ['f5a5a608', 0],
    ['ä', 228],
    ['😀', 1772899],
  ])('%j → %i', (tag, hash) => {
    expect(tagHash(tag)).toBe(hash);
  });
});

describe('the hash of a messageGroup is the one of Kafka’s default partitioner', () => {
  test.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('%j → %i without its sign bit', (group, murmur2) => {
    expect(messageGroupHash(group)).toBe(murmur2 & 0x7fffffff);
  });

  test('counts the bytes of UTF-8, and is never negative', () => {
    const groups = Array.from({ length: 500 }, (_, i) => `gruppe-ä-${i}-😀`.slice(0, i % 17));
    for (const group of groups) expect(messageGroupHash(group)).toBeGreaterThanOrEqual(0);
    expect(messageGroupHash('ä')).not.toBe(messageGroupHash('a'));
  });
});
