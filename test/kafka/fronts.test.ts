/** Instances are served by any front, outlive the front that made them, and end when nobody uses them. */
import { MemoryNotes } from '../support/memoryNotes';
import { systemClock } from '../../src/base/clock';
import { ManualClock } from '../support/clock';
import { http, type Http } from '../support/http';
import { JSON_V2, kafka, type Kafka, type KafkaParts } from '../support/kafka';
import { KafkaFront } from '../support/kafkaFronts';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let native: Http;
let producer: Kafka;

beforeAll(async () => {
  node = await Standalone.start();
  native = http(node.url, contract);
  producer = kafka(node.url);
  node.closeFirst(() => native.close());
  node.closeFirst(() => producer.close());
});
afterAll(() => node.stop());

const create = (name: string, writeQueues = 1) => native.call('createTopic', { body: { name, writeQueues } });
const send = (topic: string, ...values: unknown[]) =>
  producer.post(`/topics/${topic}`, { records: values.map((value) => ({ value })) }, { type: JSON_V2 });

test('a whole session through a round robin over three fronts, one of which is killed half-way', async () => {
  await create('session', 3);
  const notes = new MemoryNotes(systemClock);
  const fronts = await Promise.all([0, 1, 2].map(() => KafkaFront.start(node.url, notes)));
  const clients = fronts.map((front) => kafka(front.url));
  let turn = 0;
  const call = (method: string, path: string, parts: KafkaParts = {}) =>
    clients[turn++ % clients.length]!.request(method, path, { accept: JSON_V2, ...parts });
  const made = await call('POST', '/consumers/g', {
    body: { name: 'i', format: 'json', 'auto.offset.reset': 'earliest' },
  });
  expect(made.status).toBe(200);
  const base = '/consumers/g/instances/i';
  for (let i = 0; i < 3; i++)
    expect(await call('POST', '/consumers/g', { body: { name: 'i' } })).toMatchObject({
      status: 409,
      body: { error_code: 40902 },
    });
  expect((await call('POST', `${base}/subscription`, { body: { topics: ['session'] } })).status).toBe(204);

  const values = Array.from({ length: 60 }, (_, i) => i);
  const seen: number[] = [];
  for (const value of values) {
    await send('session', value);
    if (value === 30) {
      // The one that has the instance: what it gave last was not committed, and is given again.
      const owner = new URL(`http://${(await notes.get('g', 'i'))!.front}`).host;
      const at = fronts.findIndex((front) => new URL(front.url).host === owner);
      await clients[at]!.close();
      await fronts[at]!.kill();
      fronts.splice(at, 1);
      clients.splice(at, 1);
    }
    const reply = await call('GET', `${base}/records?timeout=1000`);
    expect(reply).toMatchObject({ status: 200, type: JSON_V2 });
    seen.push(...(reply.body as { value: number }[]).map((record) => record.value));
  }
  while (new Set(seen).size < values.length)
    seen.push(
      ...((await call('GET', `${base}/records?timeout=1000`)).body as { value: number }[]).map(
        (record) => record.value,
      ),
    );
  expect([...new Set(seen)].sort((a, b) => a - b)).toEqual(values);
  expect(seen.length - values.length).toBeLessThanOrEqual(1);
  expect((await call('POST', `${base}/offsets`)).status).toBe(200);
  expect((await native.call('getOffsets', { path: { group: 'g' } })).body.lag).toBe(0);
  expect((await call('DELETE', base)).status).toBe(204);
  for (const _ of clients)
    expect(await call('GET', `${base}/records`)).toMatchObject({ status: 404, body: { error_code: 40403 } });
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all(fronts.map((front) => front.kill()));
});

test('a call that waits goes on elsewhere when its front is killed', async () => {
  await create('waiting');
  const notes = new MemoryNotes(systemClock);
  const [owner, other] = await Promise.all([KafkaFront.start(node.url, notes), KafkaFront.start(node.url, notes)]);
  const [first, client] = [kafka(owner.url), kafka(other.url)];
  const settings = { name: 'i', format: 'json', 'consumer.request.timeout.ms': 30_000 };
  await first.post('/consumers/w', settings);
  await first.post('/consumers/w/instances/i/subscription', { topics: ['waiting'] });
  const polled = client.get('/consumers/w/instances/i/records?timeout=30000', { accept: JSON_V2 });
  await node.untilParked(1);
  await first.close();
  await owner.kill();
  await node.untilParked(1);
  await send('waiting', 'here');
  expect((await polled).body).toMatchObject([{ value: 'here' }]);
  expect((await notes.get('w', 'i'))!.front).toBe(new URL(other.url).host);
  await client.close();
  await other.kill();
});

describe('time', () => {
  const clock = new ManualClock();
  let front: KafkaFront;
  let client: Kafka;

  beforeAll(async () => {
    front = await KafkaFront.start(node.url, new MemoryNotes(clock), clock);
    client = kafka(front.url);
  });
  afterAll(async () => {
    await client.close();
    await front.kill();
  });

  /** In steps of the care for instances, so that each is done before the next. */
  const pass = async (ms: number, until: () => Promise<boolean>) => {
    for (let left = ms; left > 0; left -= 10_000) await clock.advance(Math.min(left, 10_000));
    for (let i = 0; i < 1000 && !(await until()); i++) await clock.advance(10_000);
  };
  const members = async (group: string) =>
    (await native.call('listConsumers', { path: { group } })).body.consumers.length;

  test('an instance ends after five minutes without a call', async () => {
    await create('idle');
    await client.post('/consumers/idle', { name: 'i', format: 'json' });
    await client.post('/consumers/idle/instances/i/subscription', { topics: ['idle'] });
    expect(await members('idle')).toBe(1);
    await clock.advance(4 * 60_000);
    expect((await client.get('/consumers/idle/instances/i/subscription')).status).toBe(200);
    await clock.advance(4 * 60_000);
    expect((await client.get('/consumers/idle/instances/i/subscription')).status).toBe(200);
    await pass(5 * 60_000, async () => (await members('idle')) === 0);
    expect(await client.get('/consumers/idle/instances/i/subscription')).toMatchObject({
      status: 404,
      body: { error_code: 40403 },
    });
  });

  test('topics that come are subscribed to', async () => {
    await client.post('/consumers/comes', { name: 'i', format: 'json', 'auto.offset.reset': 'earliest' });
    const topics = async () =>
      ((await client.get('/consumers/comes/instances/i/subscription')).body as { topics: string[] }).topics;
    await client.post('/consumers/comes/instances/i/subscription', { topic_pattern: 'comes-\\d+' });
    expect(await topics()).toEqual([]);
    await create('comes-1');
    await create('goes-1');
    await send('comes-1', 'first');
    await pass(10_000, async () => (await topics()).length === 1);
    expect(await topics()).toEqual(['comes-1']);
    const records = await client.get('/consumers/comes/instances/i/records', { accept: JSON_V2 });
    expect(records.body).toMatchObject([{ topic: 'comes-1', value: 'first' }]);
  });
});
