/** The Kafka REST face before several brokers and gateways: any of them serves any call. */
import { JSON_V2, kafka, TEXT_V2, type Kafka } from '../support/kafka';
import { TestCluster } from '../support/cluster';

let cluster: TestCluster;
let fronts: Kafka[];
let turn = 0;

const FRONTS = ['gw1', 'broker-a', 'broker-b'];

beforeAll(async () => {
  cluster = await TestCluster.start({ brokers: ['broker-a', 'broker-b'], gateways: 1 });
  fronts = FRONTS.map((name) => kafka(cluster.url(name)));
});
afterAll(async () => {
  await Promise.all(fronts.map((front) => front.close()));
  await cluster.stop();
});

/** Another front each time. */
const next = (): Kafka => fronts[turn++ % fronts.length]!;

interface Result {
  readonly partition: number;
  readonly error: string | null;
}

const create = (name: string, more: object = {}) =>
  cluster.client('gw1').call('createTopic', { body: { name, writeQueues: 2, readQueues: 2, ...more } });

test('every front tells the same of brokers, topics and partitions', async () => {
  await create('same');
  for (const target of ['/brokers', '/topics', '/topics/same', '/topics/same/partitions']) {
    const [first, ...others] = await Promise.all(
      fronts.map(async (front) => (await front.get(target)).body as unknown),
    );
    for (const other of others) expect([target, other]).toEqual([target, first]);
  }
  const { body } = await next().get('/topics/same');
  const { partitions } = body as { partitions: { leader: number }[] };
  expect(partitions.map(({ leader }) => leader).sort()).toEqual([0, 0, 1, 1]);
  for (const front of fronts)
    for (const partition of [0, 1, 2, 3])
      expect((await front.get(`/topics/same/partitions/${partition}/offsets`)).body).toEqual({
        beginning_offset: 0,
        end_offset: 0,
      });
});

test('a key has one partition, wherever it is sent', async () => {
  await create('keyed');
  const seen = new Map<string, Set<number>>();
  for (const front of fronts) {
    const records = Array.from({ length: 20 }, (_, i) => ({ key: `k${i}`, value: i === 0 ? null : `v${i}` }));
    const reply = await front.post('/topics/keyed', { records }, { type: TEXT_V2 });
    const { offsets } = reply.body as { offsets: Result[] };
    offsets.forEach(({ partition, error }, i) => {
      expect(error).toBeNull();
      seen.set(`k${i}`, (seen.get(`k${i}`) ?? new Set()).add(partition));
    });
  }
  expect([...seen.values()].map(({ size }) => size)).toEqual(Array(20).fill(1));
  expect(new Set([...seen.values()].flatMap((set) => [...set])).size).toBe(4);
});

test('a record of a FIFO topic has the partition that it names, also beside a key of any length', async () => {
  await create('ordered', { type: 'FIFO' });
  for (const front of fronts)
    for (const key of ['k', 'long '.repeat(20)]) {
      const records = [0, 1, 2, 3].map((partition) => ({ key, value: 'v', partition }));
      const { body } = await front.post('/topics/ordered', { records }, { type: TEXT_V2 });
      expect((body as { offsets: Result[] }).offsets.map(({ partition }) => partition)).toEqual([0, 1, 2, 3]);
    }
});

test('to each partition from each front, and read there', async () => {
  await create('direct');
  for (const [i, front] of fronts.entries())
    for (const partition of [0, 1, 2, 3])
      expect(
        (await front.post(`/topics/direct/partitions/${partition}`, { records: [{ value: i }] }, { type: JSON_V2 }))
          .body,
      ).toMatchObject({
        offsets: [{ partition, offset: i }],
      });
  for (const front of fronts)
    for (const partition of [0, 1, 2, 3]) {
      const { body } = await front.get(`/topics/direct/partitions/${partition}/records?offset=0`, { accept: JSON_V2 });
      expect((body as { value: number }[]).map(({ value }) => value)).toEqual([0, 1, 2]);
    }
});

test('topics are created with as many partitions as are asked for', async () => {
  for (const count of [1, 2, 3, 4]) {
    expect((await next().post('/admin/topics', { topic_name: `made-${count}`, partitions_count: count })).status).toBe(
      201,
    );
    expect((await next().get(`/topics/made-${count}/partitions`)).body).toHaveLength(count);
  }
});

test('one instance at one front reads all brokers, commits and seeks', async () => {
  await create('read');
  const front = fronts[0]!;
  const base = '/consumers/readers/instances/i';
  expect(
    (
      await front.post('/consumers/readers', {
        name: 'i',
        format: 'json',
        'auto.offset.reset': 'earliest',
        'auto.commit.enable': 'false',
      })
    ).status,
  ).toBe(200);
  expect((await front.post(`${base}/subscription`, { topics: ['read'] })).status).toBe(204);
  for (let value = 0; value < 12; value++)
    await next().post('/topics/read', { records: [{ value }] }, { type: JSON_V2 });
  const read = async () => {
    const found: number[] = [];
    while (found.length < 12) {
      const { body, status } = await front.get(`${base}/records?timeout=1000`, { accept: JSON_V2 });
      expect(status).toBe(200);
      found.push(...(body as { value: number }[]).map(({ value }) => value));
    }
    return found.sort((a, b) => a - b);
  };
  const all = Array.from({ length: 12 }, (_, i) => i);
  expect(await read()).toEqual(all);
  const partitions = [0, 1, 2, 3].map((partition) => ({ topic: 'read', partition }));
  expect((await front.get(`${base}/assignments`)).body).toEqual({ partitions });
  expect((await front.post(`${base}/positions/beginning`, { partitions })).status).toBe(204);
  expect(await read()).toEqual(all);
  expect(await front.post(`${base}/offsets`)).toMatchObject({ status: 200 });
  expect((await cluster.client('broker-b').call('getOffsets', { path: { group: 'readers' } })).body.lag).toBe(0);
  expect((await front.delete(base)).status).toBe(204);
});

test('partitions of any broker can be assigned', async () => {
  await create('assigned');
  const front = fronts[2]!;
  const base = '/consumers/manual/instances/i';
  await front.post('/consumers/manual', { name: 'i', format: 'json', 'auto.offset.reset': 'earliest' });
  const partitions = [0, 1, 2, 3].map((partition) => ({ topic: 'assigned', partition }));
  expect((await front.post(`${base}/assignments`, { partitions })).status).toBe(204);
  for (const partition of [0, 1, 2, 3])
    await next().post(
      `/topics/assigned/partitions/${partition}`,
      { records: [{ value: partition }] },
      { type: JSON_V2 },
    );
  const found: number[] = [];
  while (found.length < 4) {
    const { body } = await front.get(`${base}/records?timeout=1000`, { accept: JSON_V2 });
    found.push(...(body as { value: number }[]).map(({ value }) => value));
  }
  expect(found.sort()).toEqual([0, 1, 2, 3]);
  expect((await front.delete(base)).status).toBe(204);
  expect((await cluster.client('gw1').call('getOffsets', { path: { group: 'manual' } })).body.lag).toBe(0);
});

test('a seek over several brokers moves what it names and commits nothing', async () => {
  await create('sought');
  for (const value of [0, 1, 2])
    for (const partition of [0, 1, 2, 3])
      await next().post(`/topics/sought/partitions/${partition}`, { records: [{ value }] }, { type: JSON_V2 });
  const body = { name: 'i', format: 'json', 'auto.offset.reset': 'earliest', 'auto.commit.enable': 'false' };
  expect((await next().post('/consumers/seekers', body)).status).toBe(200);
  const base = '/consumers/seekers/instances/i';
  expect((await next().post(`${base}/subscription`, { topics: ['sought'] })).status).toBe(204);
  const poll = async (count: number) => {
    const found: string[] = [];
    while (found.length < count) {
      const { body: records } = await next().get(`${base}/records?timeout=5000`, { accept: JSON_V2 });
      for (const { partition, value } of records as { partition: number; value: number }[])
        found.push(`${partition}-${value}`);
    }
    return found.sort();
  };
  expect(await poll(12)).toHaveLength(12);
  const offsets = [0, 1, 2, 3].map((partition) => ({ topic: 'sought', partition, offset: partition }));
  expect((await next().post(`${base}/positions`, { offsets })).status).toBe(204);
  expect(await poll(6)).toEqual(['0-0', '0-1', '0-2', '1-1', '1-2', '2-2']);
  const { body: progress } = await cluster.client('gw1').call('getOffsets', { path: { group: 'seekers' } });
  expect(progress.lag).toBe(12);
  expect((await next().delete(base)).status).toBe(204);
});

test('with a cluster secret calls are passed on, and strangers cannot pretend to', async () => {
  const guarded = await TestCluster.start({ brokers: ['a', 'b'], flags: { 'cluster-secret': 'x'.repeat(32) } });
  const [a, b] = [kafka(guarded.url('a')), kafka(guarded.url('b'))];
  await guarded.client('a').call('createTopic', { body: { name: 't' } });
  expect((await a.post('/consumers/g', { name: 'i', format: 'json' })).status).toBe(200);
  expect((await b.post('/consumers/g/instances/i/subscription', { topics: ['t'] })).status).toBe(204);
  expect((await a.get('/consumers/g/instances/i/subscription')).body).toEqual({ topics: ['t'] });
  expect(await a.get('/topics', { headers: { 'x-gantry-hop': 'me' } })).toMatchObject({
    status: 401,
    body: { error_code: 40101 },
  });
  await Promise.all([a.close(), b.close()]);
  await guarded.stop();
});

describe('an instance is nobody’s', () => {
  const base = '/consumers/any/instances/i';
  const call = (method: string, path: string, body?: unknown) =>
    next().request(method, path, { body, accept: JSON_V2 });

  test('a session through a round robin over gateway and brokers, while the front that has it is stopped', async () => {
    await create('any');
    // Made at the gateway, which is stopped half-way.
    turn = 0;
    const settings = { name: 'i', format: 'json', 'auto.offset.reset': 'earliest' };
    expect((await call('POST', '/consumers/any', settings)).status).toBe(200);
    for (const _ of fronts)
      expect(await call('POST', '/consumers/any', settings)).toMatchObject({
        status: 409,
        body: { error_code: 40902 },
      });
    expect((await call('POST', `${base}/subscription`, { topics: ['any'] })).status).toBe(204);
    const seen: number[] = [];
    for (let value = 0; value < 40; value++) {
      await fronts[1]!.post('/topics/any', { records: [{ value }] }, { type: JSON_V2 });
      if (value === 20) {
        await fronts[0]!.close();
        fronts[0] = fronts[1]!;
        await cluster.stopGateway('gw1');
      }
      const { body, status } = await call('GET', `${base}/records?timeout=1000`);
      expect(status).toBe(200);
      seen.push(...(body as { value: number }[]).map((record) => record.value));
    }
    const all = Array.from({ length: 40 }, (_, i) => i);
    while (new Set(seen).size < all.length)
      seen.push(...((await call('GET', `${base}/records`)).body as { value: number }[]).map((record) => record.value));
    expect([...new Set(seen)].sort((a, b) => a - b)).toEqual(all);
    expect(seen.length - all.length).toBeLessThanOrEqual(1);
    expect((await call('POST', `${base}/offsets`)).status).toBe(200);
    expect((await cluster.client('broker-b').call('getOffsets', { path: { group: 'any' } })).body.lag).toBe(0);
  });

  test('it outlives a restart of a broker that keeps its note', async () => {
    await cluster.stopBroker('broker-b');
    await cluster.startBroker('broker-b');
    expect((await call('GET', `${base}/subscription`)).body).toEqual({ topics: ['any'] });
    expect((await call('DELETE', base)).status).toBe(204);
    for (const _ of fronts)
      expect(await call('GET', `${base}/subscription`)).toMatchObject({ status: 404, body: { error_code: 40403 } });
    expect((await call('POST', '/consumers/any', { name: 'i' })).status).toBe(200);
  });
});
