/** How what was decided gets into the tables: soon, in few batches, never half, and out of memory afterwards. */
import { tableKeys } from '../../storage/keys';
import { codeOf, NAME, setup, stopBrokers, type Given } from '../support/broker';

afterEach(stopBrokers);

const to = (queueId: number, body = 'x'): Given => ({ body, queue: { broker: NAME, queueId } });

test('100 ms after a change the tables have it, and rest until the next one', async () => {
  const t = await setup();
  await t.topic();
  const { end } = t.journal;
  await t.clock.advance(99);
  expect(t.folder.tables.applied).toBeLessThan(end);
  await t.clock.advance(1);
  expect(t.folder.tables.applied).toBe(end);
  const writes = t.disk.count('tables', 'write');
  await t.clock.advance(900);
  expect(t.disk.count('tables', 'write')).toBe(writes);
});

test('8 MiB of changes do not wait for the time', async () => {
  const t = await setup();
  await t.topic();
  for (let i = 0; t.folder.tables.applied === 0; i++) {
    expect(i).toBeLessThan(200);
    // Remembered answers are the rows that weigh most.
    await t.rooms.sender.send(
      'orders',
      Array.from({ length: 1000 }, () => ({ body: Buffer.from('x'), text: true })),
      `k${i}`,
    );
  }
  expect(t.folder.tables.applied).toBeGreaterThan(0);
});

test('a queue costs one row per flush, however many messages came', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  for (let i = 0; i < 50; i++) await t.send('orders', to(0), to(1));
  await t.clock.advance(100);
  expect(await t.disk.keys('tables', 'q')).toHaveLength(2);
});

test('what comes while a flush runs is in the next one, once', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.send('orders', to(0, 'first'));
  const hold = t.disk.hold('tables', 'write');
  const flushing = t.clock.advance(100);
  await hold.reached;
  const { applied } = t.state;
  await t.send('orders', to(0, 'second'));
  hold.release();
  await flushing;
  expect(t.folder.tables.applied).toBe(applied);
  await t.clock.advance(100);
  expect(t.folder.tables.applied).toBe(t.state.applied);
  await t.restart();
  expect(await t.readAll('orders', 0)).toEqual(['first', 'second']);
});

test('index entries leave memory with their messages', async () => {
  const t = await setup({ options: { tailBytes: 10_000 } });
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  const segmentsOf = (queueId: number) => t.state.topicsByName.get('orders')!.queues[queueId]!.segments;
  await t.send('orders', to(1, 'rare'));
  for (let i = 0; i < 200; i++) {
    await t.send('orders', to(0, 'x'.repeat(500)));
    await t.clock.advance(100);
  }
  expect(segmentsOf(0).length).toBeLessThan(30);
  expect(segmentsOf(1)).toEqual([]);
  expect(await t.readAll('orders', 0)).toHaveLength(200);
  expect(await t.readAll('orders', 1)).toEqual(['rare']);
});

test('what is flushed is let go of by memory', async () => {
  const t = await setup();
  const { no } = await t.topic();
  const [sent] = await t.send('orders', 'x');
  const inMemory = async () => {
    const found = [];
    const nothing = { scan: async () => [] };
    const id = Buffer.from(sent!.messageId, 'hex');
    for await (const at of t.state.idRuns.find(id, nothing, { from: 0, to: 0, hint: 0 })) found.push(at);
    return [t.state.overlay.get(tableKeys.topic(no)) !== undefined, found.length];
  };
  expect(await inMemory()).toEqual([true, 1]);
  await t.clock.advance(100);
  expect(await inMemory()).toEqual([false, 0]);
});

test('a stop that meets a running flush leaves nothing out', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  const hold = t.disk.hold('tables', 'write');
  const flushing = t.clock.advance(100);
  await hold.reached;
  await t.send('orders', to(0, 'late'));
  const stopping = t.broker.stop();
  hold.release();
  await Promise.all([flushing, stopping]);
  expect(t.folder.tables.applied).toBe(t.journal.end);
  expect(await codeOf(t.send('orders', 'x'))).toBe('SERVICE_NOT_AVAILABLE');
  await t.restart();
  expect(await t.readAll('orders', 0)).toEqual(['late']);
});
