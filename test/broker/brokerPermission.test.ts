/** An operator drains a broker: first nothing more comes in, consumers finish, then it is stopped. */
import type { GantryError } from '../../src/base/errors';
import { setBrokerPermission } from '../../src/broker/brokerPermission';
import type { Permission } from '../../src/broker/topic';
import { bodies, message, setup, stopBrokers, until, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: GantryError) => error.code,
  );
const set = (t: Bench, permission: Permission, condition = {}) =>
  setBrokerPermission(t.rooms.core, permission, condition);
const prepare = (t: Bench) =>
  t.rooms.transactions.prepare('orders', { producerGroup: 'banks', message: message('half') });

async function shop(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { type: 'MIXED', readQueues: 1, writeQueues: 1 });
  await t.group();
  return t;
}

test('a broker that may only be read takes nothing, and says that it is not the sender’s fault', async () => {
  const t = await shop();
  await t.send('orders', 'before');
  await set(t, 'R');
  for (const work of [t.send('orders', 'x'), t.send('orders', { messageGroup: 'g' }), prepare(t)])
    await expect(work).rejects.toMatchObject({ code: 'QUEUE_READ_ONLY', retryable: true });
  expect(t.rooms.topics.queues('orders')).toMatchObject([{ permission: 'R', readable: true, writable: false }]);
  await t.join();
  expect(bodies((await t.poll()).messages)).toEqual(['before']);
  await set(t, 'RW');
  await t.send('orders', 'after');
  expect(bodies((await t.poll()).messages)).toEqual(['before', 'after']);
});

test('what is on its way stays on its way: retries, scheduled and prepared messages come', async () => {
  const t = await shop();
  const { transactionId } = await prepare(t);
  await t.schedule('orders', { body: 'later', delayMs: 1000 });
  await t.send('orders', 'failed');
  await t.join();
  await t.poll();
  await set(t, 'R');
  const failed = { topic: 'orders', broker: t.options.name, queueId: 0, queueOffset: 0 };
  const { results } = await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: [failed] });
  expect(results[0]!.error).toBeUndefined();
  await t.rooms.transactions.end(transactionId, { resolution: 'COMMIT' });
  await t.clock.advance(10_000);
  await until(() => t.state.topicsByName.get('%RETRY%billing')?.queues[0]?.max === 1, 'the retry');
  expect(await t.readAll('orders', 0)).toEqual(['failed', 'half', 'later']);
});

test('a broker that may not be read gives nothing, and goes on when it may', async () => {
  const t = await shop();
  await t.send('orders', 'x');
  await t.join();
  const waiting = t.poll('billing', 'c1', { waitMs: 30_000, min: 2 });
  await t.parked(1);
  await set(t, 'W');
  expect((await waiting).messages).toEqual([]);
  expect((await t.poll()).reason).toBe('NOT_ASSIGNED');
  expect(await refusal(t.readAll('orders', 0))).toBe('SERVICE_NOT_AVAILABLE');
  await t.send('orders', 'y');
  await set(t, 'RW');
  await t.settled();
  expect(bodies((await t.poll()).messages)).toEqual(['x', 'y']);
});

test('a receive from a broker that may not be read is refused', async () => {
  const t = await shop();
  await t.send('orders', 'x');
  await set(t, 'W');
  expect(await refusal(t.receive())).toBe('SERVICE_NOT_AVAILABLE');
  await set(t, 'RW');
  expect(bodies((await t.receive()).messages)).toEqual(['x']);
});

test('it is kept, and guarded by its version', async () => {
  const t = await shop();
  expect(await set(t, 'RW')).toEqual({ permission: 'RW', version: 1 });
  expect(await set(t, 'R', { ifMatch: 1 })).toEqual({ permission: 'R', version: 2 });
  expect(await refusal(set(t, 'RW', { ifMatch: 1 }))).toBe('PRECONDITION_FAILED');
  await t.crash();
  await t.restart();
  expect(t.state.permission).toEqual({ permission: 'R', version: 2 });
  expect(await refusal(t.send('orders', 'x'))).toBe('QUEUE_READ_ONLY');
});

test('those who tell the NameServers are told', async () => {
  const t = await shop();
  const told: string[][] = [];
  t.broker.onTopicsChanged = (names) => told.push([...names]);
  await set(t, 'R');
  await set(t, 'R');
  await t.settled();
  expect(told).toContainEqual([]);
});
