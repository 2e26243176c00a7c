/** The broker's figures, as Prometheus reads them. */
import { Registry } from '../../src/base/metrics';
import { meterBroker } from '../../src/broker/meter';
import { message, NAME, setup, stopBrokers, until } from '../support/broker';

afterEach(stopBrokers);

async function metered() {
  const t = await setup();
  const registry = new Registry();
  meterBroker(registry, t.broker);
  const value = async (line: string) => {
    const text = await registry.metrics();
    const found = text.split('\n').find((one) => one.startsWith(`${line} `));
    return found === undefined ? undefined : Number(found.slice(line.length + 1));
  };
  return { t, value, registry };
}

test('traffic, lag, and what waits', async () => {
  const { t, value } = await metered();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group();
  await t.join();
  await t.send('orders', 'a', 'b', 'c');
  await t.poll('billing', 'c1', { max: 2 });
  expect(await value('rocketmq_messages_in_total{topic="orders"}')).toBe(3);
  expect(await value('rocketmq_throughput_in_total{topic="orders"}')).toBeGreaterThan(3);
  expect(await value('rocketmq_messages_out_total{topic="orders",consumer_group="billing"}')).toBe(2);
  expect(await value('rocketmq_consumer_lag_messages{topic="orders",consumer_group="billing"}')).toBe(3);
  expect(await value('rocketmq_topic_number')).toBe(1);
  expect(await value('rocketmq_consumer_group_number')).toBe(1);
  expect(await value('gantry_journal_end')).toBe(t.journal.end);
  const polling = t.poll('billing', 'c1', { waitMs: 30_000, min: 9 });
  await t.parked(1);
  expect(await value('gantry_parked_polls')).toBe(1);
  await t.broker.stop();
  await polling;
  expect(await value('gantry_parked_polls')).toBe(0);
});

test('traffic counts from the start of the process, not what is replayed', async () => {
  const { t } = await metered();
  await t.topic();
  await t.send('orders', 'a');
  await t.crash();
  expect(t.broker.traffic()).toEqual({ messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0 });
  await t.send('orders', 'a', 'b');
  expect(t.broker.traffic()).toMatchObject({ messagesIn: 2 });
});

test('before the broker has started nothing is asked of rooms that are not there', async () => {
  const t = await setup({ stopped: true });
  const registry = new Registry();
  meterBroker(registry, t.broker);
  expect(() => t.rooms).toThrow();
  const text = await registry.metrics();
  expect(text).toContain('rocketmq_topic_number 0');
  expect(text).toContain('gantry_pending_bytes 0');
});

describe('of what no consumer sees yet', () => {
  async function figures(value: (line: string) => Promise<number | undefined>, topic = 'transfers') {
    const read = (name: string) => value(`${name}{topic="${topic}"}`);
    return {
      half: await read('rocketmq_half_messages'),
      parked: await read('gantry_parked_transactions'),
      committed: await read('rocketmq_commit_messages_total'),
      rolledBack: await read('rocketmq_rollback_messages_total'),
      timing: await read('rocketmq_timing_messages'),
    };
  }

  const NONE = { half: 0, parked: 0, committed: 0, rolledBack: 0, timing: 0 };

  test('transactions: open, parked, committed, rolled back', async () => {
    const { t, value } = await metered();
    await t.topic('transfers', { type: 'TRANSACTION' });
    await t.topic('others', { type: 'TRANSACTION' });
    const settings = { checkAfterMs: 1000, checkIntervalMs: 1000, maxChecks: 1 };
    await t.rooms.checkbacks.putGroup({ name: 'banks', ...settings });
    const request = { producerGroup: 'banks', message: message('pay') };
    const prepare = async () => (await t.rooms.transactions.prepare('transfers', request)).transactionId;
    const [a, b] = [await prepare(), await prepare(), await prepare()];
    expect(await figures(value)).toEqual({ ...NONE, half: 3 });
    await t.rooms.transactions.end(a, { resolution: 'COMMIT' });
    await t.rooms.transactions.end(b, { resolution: 'ROLLBACK' });
    await t.rooms.transactions.end(b, { resolution: 'ROLLBACK' });
    expect(await figures(value)).toEqual({ ...NONE, half: 1, committed: 1, rolledBack: 1 });
    await t.clock.advance(1000);
    const signal = new AbortController().signal;
    const { checks } = await t.rooms.checkbacks.poll('banks', { max: 9, waitMs: 0, signal: () => signal });
    expect(checks).toHaveLength(1);
    await t.clock.advance(1000);
    await until(() => t.state.halves.open.values().next().value!.parked === true, 'the transaction parked');
    expect(await figures(value)).toEqual({ ...NONE, half: 1, parked: 1, committed: 1, rolledBack: 1 });
    expect(await figures(value, 'others')).toEqual(NONE);
  });

  test('messages that wait for their time', async () => {
    const { t, value } = await metered();
    await t.topic('reminders', { type: 'DELAY' });
    const waiting = [1000, 2000].map((delayMs) => message({ body: `${delayMs}`, delayMs }));
    await t.rooms.sender.send('reminders', waiting);
    expect(await figures(value, 'reminders')).toEqual({ ...NONE, timing: 2 });
    await t.clock.advance(1000);
    await until(() => t.state.topicsByName.get('reminders')!.scheduled === 1, 'the first one came');
    expect(await figures(value, 'reminders')).toEqual({ ...NONE, timing: 1 });
  });
});

describe('of a group', () => {
  /** The figures of a group, by their short names. */
  async function figures(value: (line: string) => Promise<number | undefined>, group = 'billing') {
    const read = (name: string) => value(`${name}{topic="orders",consumer_group="${group}"}`);
    return {
      lag: await read('rocketmq_consumer_lag_messages'),
      ready: await read('rocketmq_consumer_ready_messages'),
      inFlight: await read('rocketmq_consumer_inflight_messages'),
      waiting: await read('gantry_consumer_retry_waiting_messages'),
      dead: await read('gantry_consumer_dead_letters'),
      given: await read('rocketmq_send_to_dlq_messages_total'),
    };
  }

  const NONE = { lag: 0, ready: 0, inFlight: 0, waiting: 0, dead: 0, given: 0 };

  test('that polls: ready, in flight, waiting for a retry, dead', async () => {
    const { t, value } = await metered();
    await t.topic('orders', { readQueues: 2, writeQueues: 2 });
    await t.group('billing', { maxAttempts: 1 });
    expect(await figures(value)).toEqual(NONE);
    await t.join();
    for (const body of ['a', 'b', 'c', 'd', 'e']) await t.send('orders', { body, queue: { broker: NAME, queueId: 0 } });
    await t.send('orders', { body: 'f', queue: { broker: NAME, queueId: 1 } });
    expect(await figures(value)).toEqual({ ...NONE, lag: 6, ready: 6 });
    const { cursor } = await t.poll('billing', 'c1', { max: 3 });
    expect(await figures(value)).toEqual({ ...NONE, lag: 6, ready: 3, inFlight: 3 });
    const failed = { topic: 'orders', broker: NAME, queueId: 0, queueOffset: 0, delayMs: 50 };
    const request = { consumerId: 'c1', messages: [failed] };
    await t.rooms.retries.sendBack('billing', { ...request, cursor });
    expect(await figures(value)).toEqual({ ...NONE, lag: 3, ready: 3, waiting: 1 });
    await t.clock.advance(50);
    // The retry is there: it can be handed out like any other.
    expect(await figures(value)).toEqual({ ...NONE, lag: 4, ready: 4 });
    await t.poll('billing', 'c1', { max: 10 });
    expect(await figures(value)).toEqual({ ...NONE, lag: 4, inFlight: 4 });
    await t.rooms.retries.sendBack('billing', {
      consumerId: 'c1',
      messages: [{ topic: '%RETRY%billing', broker: NAME, queueId: 0, queueOffset: 0 }],
    });
    expect(await figures(value)).toMatchObject({ waiting: 0, dead: 1, given: 1 });
    await t.rooms.deadLetters.redrive('billing', { all: true, dryRun: false });
    expect(await figures(value)).toMatchObject({ dead: 0, given: 1 });
    await t.rooms.retention.trim(t.journal.end + 1, { reason: 'age' });
    expect(await figures(value)).toEqual({ ...NONE, given: 1 });
  });

  test('that uses leases', async () => {
    const { t, value } = await metered();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group('billing', { maxAttempts: 0 });
    await t.send('orders', 'a', 'b', 'c', 'd');
    expect(await figures(value)).toEqual({ ...NONE, lag: 4, ready: 4 });
    const { messages } = await t.receive('billing', { max: 3 });
    expect(await figures(value)).toEqual({ ...NONE, lag: 4, ready: 1, inFlight: 3 });
    const [a, b, c] = messages.map(({ receiptHandle }) => receiptHandle);
    await t.rooms.leases.acknowledge('billing', [b!]);
    expect(await figures(value)).toMatchObject({ ready: 1, inFlight: 2 });
    await t.rooms.leases.nack('billing', [{ receiptHandle: a! }]);
    // The committed offset is the lowest that is not done: behind a and b.
    expect(await figures(value)).toEqual({ lag: 2, ready: 1, inFlight: 1, waiting: 0, dead: 1, given: 1 });
    await t.rooms.leases.acknowledge('billing', [c!]);
    expect(await figures(value)).toEqual({ lag: 1, ready: 1, inFlight: 0, waiting: 0, dead: 1, given: 1 });
  });

  test('that broadcasts: over all its consumers', async () => {
    const { t, value } = await metered();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group('billing', { mode: 'BROADCASTING' });
    await t.join('billing', 'a');
    await t.join('billing', 'b');
    await t.send('orders', 'x', 'y', 'z');
    expect(await figures(value)).toEqual({ ...NONE, lag: 6, ready: 6 });
    const { cursor } = await t.poll('billing', 'a', { max: 2 });
    expect(await figures(value)).toEqual({ ...NONE, lag: 6, ready: 4, inFlight: 2 });
    await t.poll('billing', 'a', { cursor, autoCommit: true, max: 1 });
    expect(await figures(value)).toEqual({ ...NONE, lag: 4, ready: 3, inFlight: 1 });
  });

  test('is not asked for before the broker is ready, nor when it is not any more', async () => {
    const t = await setup();
    await t.topic();
    await t.group();
    await t.stop();
    await t.open();
    const registry = new Registry();
    meterBroker(registry, t.broker);
    const sample = /^\w+\{.*consumer_group="billing"/m;
    const hold = t.disk.hold('journal', 'write');
    const starting = t.broker.start();
    await hold.reached;
    // The groups are loaded, but nobody is served yet.
    expect(t.state.groups.size).toBe(1);
    expect(await registry.metrics()).not.toMatch(sample);
    hold.release();
    await starting;
    expect(await registry.metrics()).toMatch(sample);
    await t.broker.stop();
    expect(await registry.metrics()).not.toMatch(sample);
  });
});
