/** Putting a message off: it comes later, and the delivery is not counted as an attempt. */
import { decodeMessage } from '../../src/broker/message';
import { bodies, NAME, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function shop(group: object = {}, type: 'NORMAL' | 'FIFO' = 'NORMAL'): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1, type });
  await t.group('billing', { maxAttempts: 1, retryDelaysMs: [1000], ...group });
  await t.send('orders', type === 'FIFO' ? { body: 'x', messageGroup: 'g' } : 'x');
  return t;
}

const take = async (t: Bench, invisibleMs = 5000) => {
  const [message] = (await t.receive('billing', { max: 1, invisibleMs })).messages;
  return message!;
};
const extend = (t: Bench, receiptHandle: string, invisibleMs: number, countAttempt?: boolean) =>
  t.rooms.leases.extend('billing', [{ receiptHandle, invisibleMs, countAttempt }]);
const nack = async (t: Bench, receiptHandle: string, countAttempt?: boolean) => {
  const [result] = await t.rooms.leases.nack('billing', [{ receiptHandle, delayMs: 1000, countAttempt }]);
  return result!;
};
const later = async (t: Bench, ms = 1100) => {
  await t.clock.advance(ms);
  await t.settled();
};
const deadLetters = (t: Bench) => t.state.groupsByName.get('billing')!.counts.dead;

describe.each(['live', 'crash'] as const)('by an extension (%s)', (how) => {
  const pass = async (t: Bench) => {
    if (how === 'crash') await t.crash();
    await later(t);
  };

  test('that is shorter than the lease, as often as it may be', async () => {
    const t = await shop();
    for (let i = 0; i < 5; i++) {
      const { receiptHandle, attempt } = await take(t);
      expect(attempt).toBe(1);
      await extend(t, receiptHandle, 1000);
      await pass(t);
    }
    expect(deadLetters(t)).toBe(0);
  });

  test('that is longer, when it says so', async () => {
    const t = await shop();
    const { receiptHandle } = await take(t);
    await extend(t, receiptHandle, 8000, false);
    await pass(t);
    await later(t, 8000);
    expect((await take(t)).attempt).toBe(1);
  });
});

test('an extension that asks for more time counts, as does a shorter one that says so', async () => {
  const t = await shop({ maxAttempts: 5 });
  const first = await take(t, 1000);
  await extend(t, first.receiptHandle, 2000);
  await later(t, 2100);
  const second = await take(t);
  expect(second.attempt).toBe(2);
  await extend(t, second.receiptHandle, 1000, true);
  await later(t);
  expect((await take(t)).attempt).toBe(3);
});

test('the last extension counts: what was put off twice, and then needs more time', async () => {
  const t = await shop({ maxAttempts: 5 });
  const { receiptHandle } = await take(t);
  await extend(t, receiptHandle, 3000);
  await extend(t, receiptHandle, 2000);
  await extend(t, receiptHandle, 4000);
  await later(t, 4100);
  expect((await take(t)).attempt).toBe(2);
});

test('a message that was put off can still be acknowledged, or fail, under its receipt', async () => {
  const t = await shop({ maxAttempts: 5 });
  await t.send('orders', 'y');
  const [x, y] = [await take(t), await take(t)];
  for (const { receiptHandle } of [x, y]) await extend(t, receiptHandle, 1000);
  const [acked] = await t.rooms.leases.acknowledge('billing', [x.receiptHandle]);
  expect(acked!.error).toBeUndefined();
  expect(await nack(t, y.receiptHandle)).toMatchObject({ outcome: 'RETRY', attempt: 2 });
  await later(t);
  expect((await take(t)).attempt).toBe(2);
});

test('by a nack, as often as it may be, also when its attempts are used up', async () => {
  const t = await shop();
  await nack(t, (await take(t)).receiptHandle);
  for (let i = 0; i < 3; i++) {
    await later(t);
    const { receiptHandle, attempt } = await take(t);
    expect(attempt).toBe(2);
    expect(await nack(t, receiptHandle, false)).toMatchObject({ outcome: 'RETRY', attempt: 2 });
  }
  expect(deadLetters(t)).toBe(0);
  await later(t);
  expect(await nack(t, (await take(t)).receiptHandle)).toMatchObject({ outcome: 'DEAD_LETTER' });
});

test('in an ordered group it waits in its place, and its messageGroup with it', async () => {
  const t = await shop({ ordered: true }, 'FIFO');
  await t.send('orders', { body: 'next', messageGroup: 'g' });
  for (let i = 0; i < 3; i++) {
    const { receiptHandle, attempt } = await take(t);
    expect(attempt).toBe(1);
    expect(await nack(t, receiptHandle, false)).toMatchObject({ outcome: 'WAITING', attempt: 1 });
    expect(bodies((await t.receive()).messages)).toEqual([]);
    await later(t);
  }
  expect(deadLetters(t)).toBe(0);
});

test('by sending it back to the retries', async () => {
  const t = await shop({ maxAttempts: 0 });
  await t.join();
  for (const topic of ['orders', '%RETRY%billing']) {
    const { messages, cursor } = await t.poll('billing', 'c1', { waitMs: 0 });
    expect(bodies(messages)).toEqual(['x']);
    const failed = { topic, broker: NAME, queueId: 0, queueOffset: 0, delayMs: 1000, countAttempt: false };
    const request = { consumerId: 'c1', messages: [failed], cursor };
    const { results } = await t.rooms.retries.sendBack('billing', request);
    expect(results).toMatchObject([{ outcome: 'RETRY', attempt: 1 }]);
    await later(t);
  }
  expect(deadLetters(t)).toBe(0);
});

test('an answer that nobody got takes back a delivery once, also of a message that was put off', async () => {
  const t = await shop();
  const { receiptHandle } = await take(t);
  await extend(t, receiptHandle, 1000);
  await t.rooms.leases.giveBack('billing', [receiptHandle]);
  expect((await take(t)).attempt).toBe(1);
});

test('a trace shows that it waits, for the delivery that it had', async () => {
  const t = await shop();
  const { receiptHandle, record } = await take(t);
  await extend(t, receiptHandle, 1000);
  const id = decodeMessage(record).messageId.toString('hex').toUpperCase();
  const { entries } = await t.rooms.traces.of('orders', id, 9, undefined);
  expect(entries).toMatchObject([{ status: 'WAITING_RETRY', attempt: 1, dueTimestamp: t.clock.now() + 1000 }]);
});
