/** The newest messages in memory, within a bound of bytes. */
import { positionOf } from '../../storage/keys';
import { Tail } from '../../src/broker/tail';

const records = (count: number, bytes: number) => Array.from({ length: count }, (_, i) => Buffer.alloc(bytes, i + 1));

test('a record is found by its position as long as it is here', () => {
  const tail = new Tail(100_000);
  const three = records(3, 10);
  tail.put(7, three);
  tail.put(9, records(1, 20));
  expect(tail.get(positionOf(7, 0))).toEqual(three[0]);
  expect(tail.get(positionOf(7, 2))).toEqual(three[2]);
  expect(tail.get(positionOf(7, 3))).toBeUndefined();
  expect(tail.get(positionOf(6, 0))).toBeUndefined();
  expect(tail.get(positionOf(8, 0))).toBeUndefined();
  expect(tail.get(positionOf(9, 0))).toHaveLength(20);
  expect(tail.get(positionOf(9, 1))).toBeUndefined();
  expect(tail.get(positionOf(10, 0))).toBeUndefined();
  expect(tail.firstIndex).toBe(7);
});

test('it holds a copy: what the sender does with his buffer afterwards is no matter', () => {
  const tail = new Tail(100_000);
  const [record] = records(1, 10);
  tail.put(1, [record!]);
  record!.fill(0);
  expect(tail.get(positionOf(1, 0))).toEqual(Buffer.alloc(10, 1));
});

test('the oldest commands leave first, whole, when the bytes are too many', () => {
  const tail = new Tail(1 << 20);
  for (let index = 1; index <= 2000; index++) {
    tail.put(index, records(2, 1000));
    expect(tail.bytes).toBeLessThanOrEqual(1 << 20);
  }
  const first = tail.firstIndex;
  expect(first).toBeGreaterThan(1400);
  expect(first).toBeLessThan(1650);
  for (let index = 1; index <= 2000; index++) {
    expect(tail.get(positionOf(index, 1))?.length).toBe(index < first ? undefined : 1000);
  }
});

test('many small records count with what they cost beside their bytes', () => {
  const tail = new Tail(1 << 20);
  for (let index = 1; index <= 500_000; index++) tail.put(index, records(1, 1));
  expect(tail.bytes).toBeLessThanOrEqual(1 << 20);
  expect(tail.get(positionOf(500_000, 0))).toHaveLength(1);
  expect(tail.firstIndex).toBeGreaterThan(300_000);
});

test('sends far apart among other commands are found', () => {
  const tail = new Tail(1 << 20);
  for (const index of [1, 1_000, 1_000_000, 1_000_001]) tail.put(index, records(1, 10));
  for (const index of [1, 1_000, 1_000_000, 1_000_001]) expect(tail.get(positionOf(index, 0))).toHaveLength(10);
  for (const index of [2, 999, 1_001, 999_999, 1_000_002]) expect(tail.get(positionOf(index, 0))).toBeUndefined();
});

test('an empty tail begins nowhere; a command over the bound does not stay', () => {
  const tail = new Tail(1000);
  expect(tail.firstIndex).toBe(Infinity);
  tail.put(1, records(1, 5000));
  expect(tail.firstIndex).toBe(Infinity);
  expect(tail.bytes).toBe(0);
  tail.put(2, records(1, 100));
  expect(tail.get(positionOf(2, 0))).toHaveLength(100);
});

test('large commands beside small ones stay within the bound', () => {
  const tail = new Tail(1 << 20);
  for (let index = 1; index <= 200; index++) {
    tail.put(index, records(1, index % 3 === 0 ? 300_000 : 50));
    expect(tail.bytes).toBeLessThanOrEqual(1 << 20);
  }
  expect(tail.get(positionOf(198, 0))).toHaveLength(300_000);
  expect(tail.get(positionOf(200, 0))).toHaveLength(50);
});
