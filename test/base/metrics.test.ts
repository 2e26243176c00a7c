/** Figures are read when somebody asks, from wherever they are kept. */
import { counter, createRegistry, gauge, Registry, requestTimes, single } from '../../src/base/metrics';

test('a gauge and a counter show what is true when they are read, labels that are gone included', async () => {
  const registry = new Registry();
  let topics = ['orders', 'mail'];
  gauge(registry, { name: 'parked', help: 'Parked', read: () => single(topics.length) });
  counter(registry, {
    name: 'messages_total',
    help: 'Messages',
    labels: ['topic'],
    read: () => topics.map((topic, i) => ({ labels: { topic }, value: i + 1 })),
  });
  expect(await registry.metrics()).toContain('messages_total{topic="mail"} 2');
  topics = ['orders'];
  const text = await registry.metrics();
  expect(text).toContain('parked 1');
  expect(text).toContain('messages_total{topic="orders"} 1');
  expect(text).not.toContain('mail');
});

test('times of requests go into buckets by operation and status', async () => {
  const registry = new Registry();
  const note = requestTimes(registry);
  note('sendMessages', 200, 3);
  note('sendMessages', 200, 40);
  const text = await registry.metrics();
  expect(text).toContain(
    'gantry_http_request_duration_seconds_bucket{le="0.005",operation="sendMessages",status="200"} 1',
  );
  expect(text).toContain('gantry_http_request_duration_seconds_count{operation="sendMessages",status="200"} 2');
});

test('a registry begins with the figures of the process', async () => {
  expect(await createRegistry().metrics()).toContain('process_resident_memory_bytes');
});
