/** The index of a queue, in memory and on disk: dense, or damage; never a hole that is passed over. */
import { DamagedError } from '../../storage/failures';
import { tableKeys } from '../../storage/keys';
import type { Queue } from '../../src/broker/queue';
import { QueueIndex } from '../../src/broker/queueIndex';
import { ReadGate } from '../../src/broker/readGate';
import { setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** One queue with so many index rows of ten entries; the last one in memory alone. */
async function filled({ rows = 12, restart = true } = {}) {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  for (let row = 0; row < rows; row++) {
    await t.send('orders', ...Array.from({ length: 10 }, (_, i) => `m${row * 10 + i}`));
    await t.clock.advance(100);
  }
  if (restart) await t.restart();
  await t.clock.advance(10); // the first look of retention is over
  const queue = t.state.topicsByName.get('orders')!.queues[0]!;
  const index = new QueueIndex(t.folder.tables, new ReadGate({ atOnce: 3, waiting: 100 }));
  return { t, queue, index };
}

const keyOf = (queue: Queue, first: number) => tableKeys.segment(queue.topic, queue.queueId, first);

async function tamper(t: Bench, key: Buffer, value?: Buffer): Promise<void> {
  const batch = t.disk.engines.tables!.batch();
  if (value) batch.put(key, value);
  else batch.delete(key);
  await batch.write({ sync: true });
}

test('every offset is found in the segment that holds it, from disk', async () => {
  const { queue, index } = await filled();
  for (let offset = 0; offset < 120; offset++) {
    const segment = (await index.at(queue, offset))!;
    expect([segment.first, segment.end]).toEqual([Math.floor(offset / 10) * 10, Math.floor(offset / 10) * 10 + 10]);
  }
});

test('what stands in memory is not read from disk', async () => {
  const { t, queue, index } = await filled({ restart: false });
  const before = t.disk.reads();
  for (let offset = 0; offset < 120; offset++) expect((await index.at(queue, offset))!.end).toBeGreaterThan(offset);
  expect(t.disk.reads()).toBe(before);
});

test('a sequential reader reads each stretch once', async () => {
  const { t, queue, index } = await filled();
  const before = t.disk.reads();
  for (let offset = 0; offset < 120; offset++) await index.at(queue, offset);
  expect(t.disk.reads() - before).toBe(12);
});

test('a range comes in few reads, contiguous, across the border between disk and memory', async () => {
  const { t, queue, index } = await filled();
  await t.send('orders', 'x', 'y', 'z');
  const before = t.disk.reads();
  const segments = await index.from(queue, 7, 1000);
  expect(segments[0]!.first).toBe(0);
  expect(segments.at(-1)!.end).toBe(123);
  for (let i = 1; i < segments.length; i++) expect(segments[i]!.first).toBe(segments[i - 1]!.end);
  expect(t.disk.reads() - before).toBeLessThanOrEqual(3);
});

test('a range of few entries does not bring more than it needs', async () => {
  const { t, queue, index } = await filled();
  const before = t.disk.reads();
  expect((await index.from(queue, 42, 3)).map(({ first }) => first)).toEqual([40]);
  expect(t.disk.reads() - before).toBe(1);
});

describe('a row that is missing is damage', () => {
  test.each([0, 50, 110])('the one of offset %i', async (first) => {
    const { t, queue, index } = await filled();
    await tamper(t, keyOf(queue, first));
    await expect(index.at(queue, first)).rejects.toThrow(DamagedError);
    await expect(index.at(queue, first + 9)).rejects.toThrow(DamagedError);
  });

  test('in the middle of a range, too', async () => {
    const { t, queue, index } = await filled();
    await tamper(t, keyOf(queue, 50));
    await expect(index.from(queue, 0, 1000)).rejects.toThrow(`gap at offset 50`);
  });

  test('unless it was trimmed: then there is none', async () => {
    const { t, queue, index } = await filled();
    await tamper(t, keyOf(queue, 0));
    queue.min = 10;
    expect(await index.at(queue, 3)).toBeUndefined();
    expect(await index.from(queue, 3, 10)).toEqual([]);
  });
});

test('a row that was changed is damage', async () => {
  const { t, queue, index } = await filled();
  const key = keyOf(queue, 20);
  const stored = (await t.disk.engines.tables!.get(key))!;
  stored[40]! ^= 1;
  await tamper(t, key, stored);
  await expect(index.at(queue, 25)).rejects.toThrow(DamagedError);
});

test('a search finds the first offset that fits, wherever it lies', async () => {
  const { queue, index } = await filled();
  for (const wanted of [0, 1, 59, 60, 119]) {
    expect(await index.search(queue, (_, offset) => offset >= wanted)).toBe(wanted);
  }
  expect(await index.search(queue, () => false)).toBe(120);
  queue.min = 30;
  expect(await index.search(queue, () => true)).toBe(30);
});
