/** A broker starts with less than others have seen of its folder: nothing that they know comes to mean something else. */
import { LIMITS } from '../../src/base/limits';
import { bodies, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** Starts again as if commands up to `ahead` behind the end had been seen, and are gone. */
async function restored(t: Bench, ahead = 1000): Promise<void> {
  await t.stop();
  t.folderSeen = { epoch: 7, journalEnd: t.journal.end + ahead };
  await t.open();
  await t.broker.start();
}

async function used(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group();
  for (const body of ['a', 'b', 'c']) await t.send('orders', body);
  return t;
}

test('indexes that were seen are never used again, and it is told', async () => {
  const t = await used();
  const end = t.journal.end;
  await restored(t);
  const first = end + 1000 + LIMITS.restoreGap + 1;
  expect(t.broker.restored).toEqual({ journalEnd: end, seenEnd: end + 1000 });
  expect(t.rooms.epoch).toBe(8);
  expect(t.journal.end).toBeGreaterThanOrEqual(first);
  expect(t.journal.lostRanges).toEqual([{ from: end + 1, to: first - 1 }]);
  expect(t.logged.filter(({ level, msg }) => level === 'warn' && msg.includes('a backup was restored'))).toHaveLength(
    1,
  );
});

test('kept messages are read and acknowledged, and new messages follow them, over restarts and crashes', async () => {
  const t = await used();
  await restored(t);
  await t.send('orders', 'd');
  for (const again of [() => t.restart(), () => t.crash()]) {
    await again();
    expect(await t.readAll('orders', 0)).toEqual(['a', 'b', 'c', 'd']);
  }
  const { messages } = await t.receive('billing', { max: 10, waitMs: 0 });
  expect(bodies(messages)).toEqual(['a', 'b', 'c', 'd']);
  const handles = messages.map(({ receiptHandle }) => receiptHandle);
  expect((await t.rooms.leases.acknowledge('billing', handles)).filter(({ error }) => error)).toEqual([]);
  await t.restart();
  expect((await t.receive('billing', { waitMs: 0 })).messages).toEqual([]);
  expect(t.broker.restored).toBeUndefined();
});

test('a receipt of the lost life is refused', async () => {
  const t = await used();
  const backup = t.journal.end;
  const { messages } = await t.receive('billing', { max: 3, waitMs: 0 });
  const lost = messages.map(({ receiptHandle }) => receiptHandle);
  const all = t.journal.end;
  await t.stop();
  // The same folder without the lease.
  const fresh = await used();
  Object.assign(fresh, { folderSeen: { epoch: 2, journalEnd: all } });
  expect(fresh.journal.end).toBe(backup);
  await fresh.stop();
  await fresh.open();
  await fresh.broker.start();
  await fresh.receive('billing', { max: 3, waitMs: 0 });
  const results = await fresh.rooms.leases.acknowledge('billing', lost).catch((error: unknown) => error);
  const refused = Array.isArray(results)
    ? results.every(({ error }: { error?: Error }) => error !== undefined)
    : results instanceof Error;
  expect(refused).toBe(true);
});

test('nothing is left out when NameServers have seen no more than there is, or nothing at all', async () => {
  const t = await used();
  for (const seen of [undefined, { epoch: 1, journalEnd: 1 }]) {
    await t.stop();
    t.folderSeen = seen;
    await t.open();
    await t.broker.start();
    expect([t.broker.restored, t.journal.lostRanges]).toEqual([undefined, []]);
  }
  expect(await t.readAll('orders', 0)).toEqual(['a', 'b', 'c']);
});

test('retention and a full disk go by the commands that are there, not by the gap', async () => {
  const t = await used();
  await restored(t);
  for (let i = 0; i < 20; i++) await t.send('orders', `n${i}`);
  t.used = 0.9 - 0.0001;
  t.journalBytes = 40 * 1024 ** 3;
  await t.rooms.retention.runOnce();
  const [queue] = t.state.topicsByName.get('orders')!.queues;
  expect(queue!.min).toBeLessThan(6);
  expect(await t.readAll('orders', 0)).toContain('n19');
});
