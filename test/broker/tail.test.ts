/** The newest messages in memory, within a bound of bytes. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { positionOf } from '../../storage/keys';
import { Tail } from '../../src/broker/tail';

/** Bytes that a command of one record costs beside the record. */
const OVERHEAD = 400;

const records = (count: number, bytes: number) => Array.from({ length: count }, (_, i) => Buffer.alloc(bytes, i));

test('a record is found by its position as long as it is here', () => {
  const tail = new Tail(10_000);
  const three = records(3, 10);
  tail.put(7, three);
  expect(tail.get(positionOf(7, 2))).toBe(three[2]);
  expect(tail.get(positionOf(7, 3))).toBeUndefined();
  expect(tail.get(positionOf(6, 0))).toBeUndefined();
  expect(tail.firstIndex).toBe(7);
});

test('the oldest command leaves first, whole, when the bytes are too many', () => {
  const tail = new Tail(3 * (1000 + OVERHEAD));
  for (let index = 1; index <= 4; index++) tail.put(index, records(1, 1000));
  expect(tail.firstIndex).toBe(2);
  expect(tail.get(positionOf(1, 0))).toBeUndefined();
  expect(tail.get(positionOf(2, 0))).toHaveLength(1000);
  tail.put(5, records(2, 1000));
  expect(tail.firstIndex).toBe(4);
  expect(tail.bytes).toBeLessThanOrEqual(3 * (1000 + OVERHEAD));
});

test('many small records count with what they cost beside their bytes', () => {
  const tail = new Tail(100_000);
  for (let index = 1; index <= 1000; index++) tail.put(index, records(1, 1));
  expect(tail.bytes).toBeLessThanOrEqual(100_000);
  expect(tail.firstIndex).toBeGreaterThan(700);
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

/** Lets V8 throw away what nobody holds. */
function collectGarbage(): void {
  setFlagsFromString('--expose_gc');
  (runInNewContext('gc') as () => void)();
}

test('what has left is held by nobody', async () => {
  const tail = new Tail(1 << 20);
  const left: WeakRef<Buffer>[] = [];
  for (let index = 1; index <= 200; index++) {
    const big = Buffer.allocUnsafeSlow(100_000);
    left.push(new WeakRef(big));
    tail.put(index, [big]);
  }
  await new Promise((resolve) => setImmediate(resolve));
  collectGarbage();
  const alive = left.filter((reference) => reference.deref() !== undefined).length;
  expect(alive).toBeLessThan(20);
});
