/** The broker's figures, as Prometheus reads them. */
import { Registry } from '../../src/base/metrics';
import { meterBroker } from '../../src/broker/meter';
import { setup, stopBrokers } from '../support/broker';

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
