/** Index entries of one stretch of a queue: appended, grown, stored, read back. */
import fc from 'fast-check';
import { ENTRY_BYTES, Segment, SEGMENT_ENTRIES } from '../../src/broker/segment';

const entry = fc.record({
  position: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
  bytes: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  tagHash: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  groupHash: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  storeTime: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
});

test('every entry is found under its offset, in memory and after it was stored', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 50 }),
      fc.array(entry, { minLength: 1, maxLength: 200 }),
      (first, entries) => {
        const grown = new Segment(first);
        for (const e of entries) grown.append(e.position, e.bytes, e.tagHash, e.groupHash, e.storeTime);
        for (const segment of [grown, Segment.read(first, Buffer.from(grown.value()))]) {
          expect(segment).toMatchObject({
            first,
            count: entries.length,
            end: first + entries.length,
            lastPosition: entries.at(-1)!.position,
          });
          entries.forEach((e, i) => {
            const offset = first + i;
            expect([
              segment.position(offset),
              segment.bytes(offset),
              segment.tagHash(offset),
              segment.storeTime(offset),
            ]).toEqual([e.position, e.bytes, e.tagHash, e.storeTime]);
          });
        }
      },
    ),
  );
});

test('a stretch is full with 512 entries and stores 26 bytes for each', () => {
  const segment = new Segment(1000);
  for (let i = 0; i < SEGMENT_ENTRIES; i++) {
    expect(segment.full).toBe(false);
    segment.append(i, i, 0, 0, i);
  }
  expect(SEGMENT_ENTRIES).toBe(512);
  expect(segment.full).toBe(true);
  expect(segment.end).toBe(1512);
  expect(segment.value()).toHaveLength(512 * ENTRY_BYTES);
  expect(segment.position(1511)).toBe(511);
});

test('what was read from disk is closed and stored', () => {
  const segment = new Segment(0);
  segment.append(1, 1, 0, 0, 1);
  expect([segment.closed, segment.stored]).toEqual([false, false]);
  const read = Segment.read(0, segment.value());
  expect([read.closed, read.stored]).toEqual([true, true]);
});
