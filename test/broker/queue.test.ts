/** A queue gives dense offsets, whatever happens to its segments. */
import { Queue } from '../../src/broker/queue';
import { SEGMENT_ENTRIES } from '../../src/broker/segment';

const append = (queue: Queue, time = 1000) => queue.append(queue.max * 1024, 100, 0, 0, time);

test('offsets are given one after the other, from the queue’s end on', () => {
  const queue = new Queue(1, 0, 40, 50);
  expect([append(queue), append(queue), append(queue)]).toEqual([50, 51, 52]);
  expect(queue.max).toBe(53);
  expect(queue.min).toBe(40);
});

test('only what was stored since the start stands in memory', () => {
  const queue = new Queue(1, 0, 0, 50);
  expect(queue.memoryFirst).toBe(50);
  append(queue);
  append(queue);
  expect(queue.memoryFirst).toBe(50);
  expect(queue.segments.map(({ first, end }) => [first, end])).toEqual([[50, 52]]);
});

test('a full segment is followed by the next without a hole', () => {
  const queue = new Queue(1, 0, 0, 0);
  for (let i = 0; i <= SEGMENT_ENTRIES; i++) append(queue);
  expect(queue.segments.map(({ first, end }) => [first, end])).toEqual([
    [0, 512],
    [512, 513],
  ]);
});

test('a segment that the flush has taken is not written to any more', () => {
  const queue = new Queue(1, 0, 0, 0);
  append(queue);
  queue.segments[0]!.closed = true;
  append(queue);
  expect(queue.segments.map(({ first, end }) => [first, end])).toEqual([
    [0, 1],
    [1, 2],
  ]);
});

test('the time of the last message is known', () => {
  const queue = new Queue(1, 0, 0, 0);
  expect(queue.lastStoreTime).toBe(0);
  append(queue, 1234);
  append(queue, 1250);
  expect(queue.lastStoreTime).toBe(1250);
});
