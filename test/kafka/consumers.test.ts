/** Consumer instances over real HTTP, against a standalone. */
import type { Http } from '../support/http';
import { BINARY_V2, JSON_V2, startSite, V2, type Kafka, type KafkaParts } from '../support/kafka';
import type { Standalone } from '../support/node';

let node: Standalone;
let rest: Kafka;
let native: Http;
let names = 0;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
});
afterAll(() => node.stop());

interface Read {
  readonly topic: string;
  readonly value: unknown;
  readonly partition: number;
  readonly offset: number;
}

interface Place {
  readonly topic: string;
  readonly partition: number;
}

async function newTopic(writeQueues = 1, name = `topic-${names++}`): Promise<string> {
  await native.call('createTopic', { body: { name, writeQueues } });
  return name;
}

const send = async (topic: string, ...values: unknown[]) =>
  expect(
    (await rest.post(`/topics/${topic}`, { records: values.map((value) => ({ value })) }, { type: JSON_V2 })).status,
  ).toBe(200);

/** An instance as a client of it sees it. */
class Client {
  readonly group: string;
  readonly name: string;
  readonly #dialect: string | undefined;

  constructor(group: string, name: string, dialect?: string) {
    this.group = group;
    this.name = name;
    this.#dialect = dialect;
  }

  static async create(
    settings: object = {},
    { group = `group-${names++}`, dialect }: { group?: string; dialect?: string } = {},
  ): Promise<Client> {
    const body = { name: `instance-${names++}`, format: 'json', 'auto.offset.reset': 'earliest', ...settings };
    const reply = await rest.post(`/consumers/${group}`, body, dialect === undefined ? {} : { dialect });
    expect(reply.status).toBe(200);
    const { instance_id: name, base_uri: uri } = reply.body as { instance_id: string; base_uri: string };
    expect(uri).toBe(`${node.url}/consumers/${group}/instances/${name}`);
    return new Client(group, name, dialect);
  }

  call(method: string, path: string, parts: KafkaParts = {}) {
    const dialect = this.#dialect === undefined ? {} : { dialect: this.#dialect };
    return rest.request(method, `/consumers/${this.group}/instances/${this.name}${path}`, { ...dialect, ...parts });
  }

  async done(method: string, path: string, body?: unknown): Promise<void> {
    const reply = await this.call(method, path, { body });
    expect({ text: reply.text, status: reply.status }).toEqual({ text: '', status: 204 });
  }

  subscribe = (...topics: string[]) => this.done('POST', '/subscription', { topics });

  async poll(query = 'timeout=1000', accept = JSON_V2): Promise<Read[]> {
    const reply = await this.call('GET', `/records?${query}`, { accept });
    if (reply.status !== 200) throw new Error(`${reply.status} ${reply.text}`);
    return reply.body as Read[];
  }

  async values(query?: string): Promise<unknown[]> {
    return (await this.poll(query)).map(({ value }) => value);
  }

  async offsets(topic: string): Promise<number[]> {
    const { body } = await native.call('getOffsets', { path: { group: this.group } });
    return body.offsets.filter((one) => one.topic === topic).map(({ committed }) => committed);
  }
}

describe('the life of an instance', () => {
  test('from creation to deletion', async () => {
    const topic = await newTopic();
    const client = await Client.create();
    expect(await client.call('GET', '/records')).toMatchObject({ status: 409, body: { error_code: 40903 } });
    await client.subscribe(topic);
    expect((await client.call('GET', '/subscription')).body).toEqual({ topics: [topic] });
    expect((await client.call('GET', '/assignments')).body).toEqual({ partitions: [{ topic, partition: 0 }] });
    await send(topic, 'a', 'b');
    expect(await client.poll()).toEqual([
      { topic, key: null, value: 'a', partition: 0, offset: 0 },
      { topic, key: null, value: 'b', partition: 0, offset: 1 },
    ]);
    await client.done('DELETE', '/subscription');
    expect((await client.call('GET', '/subscription')).body).toEqual({ topics: [] });
    expect((await client.call('GET', '/assignments')).body).toEqual({ partitions: [] });
    await client.done('DELETE', '');
    expect(await client.call('DELETE', '')).toMatchObject({ status: 404, body: { error_code: 40403 } });
    expect(await client.call('GET', '/records')).toMatchObject({ status: 404, body: { error_code: 40403 } });
  });

  test('what can be no instance is none', async () => {
    for (const path of ['/consumers/a%2Fb/instances/i', '/consumers/g/instances/%20', '/consumers/../instances/..'])
      expect(await rest.get(`${path}/records`)).toMatchObject({ status: 404 });
  });

  test('a name is used once per group; without one it is made up', async () => {
    const first = await Client.create({ name: 'me' }, { group: 'unique' });
    expect(await rest.post('/consumers/unique', { name: 'me' })).toMatchObject({
      status: 409,
      body: { error_code: 40902 },
    });
    expect((await rest.post('/consumers/other', { name: 'me' })).status).toBe(200);
    expect((await rest.post('/consumers/unique')).body).toMatchObject({
      instance_id: expect.stringMatching(/^rest-consumer-/) as string,
    });
    await first.done('DELETE', '');
    expect((await rest.post('/consumers/unique', { name: 'me' })).status).toBe(200);
  });

  test.each([
    [{ format: 'xml' }, 42204],
    [{ 'auto.offset.reset': 'somewhere' }, 42204],
    [{ 'auto.commit.enable': 'maybe' }, 42204],
    [{ 'fetch.min.bytes': 'many' }, 42204],
    [{ name: 'a/b' }, 422],
  ])('%j is refused', async (settings, code) =>
    expect(await rest.post('/consumers/g', settings)).toMatchObject({ status: 422, body: { error_code: code } }),
  );

  test.each([
    { 'auto.commit.enable': 'true' },
    { 'auto.commit.enable': false },
    { 'enable.auto.commit': true },
    { 'enable.auto.commit': 'false' },
    { 'fetch.min.bytes': 1 },
    { 'fetch.min.bytes': '-1' },
    { 'consumer.request.timeout.ms': '500' },
    { 'isolation.level': 'read_committed', 'no.such.key': [] },
  ])('%j is taken', async (settings) => expect((await rest.post('/consumers/g', settings)).status).toBe(200));
});

describe('subscribing', () => {
  test('fixes the start inside the call: latest', async () => {
    const topic = await newTopic(4);
    await send(topic, 'before');
    const client = await Client.create({ 'auto.offset.reset': 'latest' });
    await client.subscribe(topic);
    await send(topic, 'after');
    expect(await client.values()).toEqual(['after']);
  });

  test('earliest, and the default of each dialect', async () => {
    const topic = await newTopic();
    await send(topic, 'before');
    for (const [dialect, found] of Object.entries({
      confluent: [],
      strimzi: [],
      karapace: ['before'],
      redpanda: ['before'],
    })) {
      const client = await Client.create({ 'auto.offset.reset': null }, { dialect });
      await client.subscribe(topic);
      expect(await client.values('timeout=0')).toEqual(found);
    }
  });

  test('to several topics, and then to others', async () => {
    const [a, b, c] = [await newTopic(2), await newTopic(2), await newTopic(2)];
    const client = await Client.create();
    await client.subscribe(a, b);
    await Promise.all([send(a, 'a'), send(b, 'b'), send(c, 'c')]);
    expect([...(await client.values()), ...(await client.values('timeout=0'))].sort()).toEqual(['a', 'b']);
    await client.subscribe(c);
    expect(await client.values()).toEqual(['c']);
    await send(a, 'a2');
    expect(await client.values('timeout=0')).toEqual([]);
  });

  test('a topic that is added begins where its instance says, not where the group began', async () => {
    const [a, b] = [await newTopic(), await newTopic()];
    await send(b, 'old');
    const client = await Client.create({ 'auto.offset.reset': 'latest' });
    await client.subscribe(a);
    const second = await Client.create({}, { group: client.group });
    await second.subscribe(b);
    expect(await second.values()).toEqual(['old']);
  });

  test('by a pattern, also to topics that come', async () => {
    const prefix = `pattern-${names++}`;
    const first = await newTopic(1, `${prefix}.a`);
    await newTopic(1, `x${prefix}.a`);
    const client = await Client.create();
    await client.done('POST', '/subscription', { topic_pattern: `${prefix}\\.[a-z]+` });
    expect((await client.call('GET', '/subscription')).body).toEqual({ topics: [first] });
    await send(first, 1);
    expect(await client.values()).toEqual([1]);
  });

  test.each([
    '(a',
    'a)',
    '[a',
    '(?=a)b',
    '\\1',
    'a**',
    '{2}',
    `a{200}`,
    `${'('.repeat(40)}a${')'.repeat(40)}`,
    'x'.repeat(300),
    '((((a{99}){99}){99}){99}',
  ])('the pattern %s is refused', async (pattern) => {
    const client = await Client.create();
    expect(await client.call('POST', '/subscription', { body: { topic_pattern: pattern } })).toMatchObject({
      status: 422,
    });
  });

  test('to a topic that does not exist yet', async () => {
    const client = await Client.create();
    await client.subscribe('not-yet');
    expect(await client.values('timeout=0')).toEqual([]);
    expect((await client.call('GET', '/subscription')).body).toEqual({ topics: ['not-yet'] });
  });

  test('not to what is nothing', async () => {
    const client = await Client.create();
    for (const body of [{}, { topics: 'a' }, { topics: [1] }, { topic_pattern: ['a'] }])
      expect(await client.call('POST', '/subscription', { body })).toMatchObject({ status: 422 });
    expect(await client.call('POST', '/subscription', { body: { topics: ['a'], topic_pattern: 'a' } })).toMatchObject({
      status: 409,
      body: { error_code: 40903 },
    });
  });

  test('two instances share the partitions, and the one that stays gets all', async () => {
    const topic = await newTopic(4);
    const one = await Client.create();
    const two = await Client.create({}, { group: one.group });
    await one.subscribe(topic);
    await two.subscribe(topic);
    const partitions = async (client: Client) =>
      ((await client.call('GET', '/assignments')).body as { partitions: Place[] }).partitions;
    expect([...(await partitions(one)), ...(await partitions(two))].map(({ partition }) => partition).sort()).toEqual([
      0, 1, 2, 3,
    ]);
    expect(await partitions(one)).toHaveLength(2);
    await one.done('DELETE', '');
    expect(await partitions(two)).toHaveLength(4);
  });

  test('a native group for one topic is not taken for another', async () => {
    const [a, b] = [await newTopic(), await newTopic()];
    await native.call('putGroup', { path: { group: 'single' }, body: { topic: a } });
    const client = await Client.create({}, { group: 'single' });
    await client.subscribe(a);
    expect(await client.call('POST', '/subscription', { body: { topics: [b] } })).toMatchObject({
      status: 409,
      body: { error_code: 40903 },
    });
  });
});

describe('records', () => {
  test('a waiting call is answered by the first record', async () => {
    const topic = await newTopic();
    const client = await Client.create({ 'consumer.request.timeout.ms': 30_000 });
    await client.subscribe(topic);
    const polled = client.values('timeout=30000');
    await node.untilParked(1);
    await send(topic, 'now');
    expect(await polled).toEqual(['now']);
  });

  test('fetch.min.bytes waits for more', async () => {
    const topic = await newTopic();
    const client = await Client.create({ 'fetch.min.bytes': 100, 'consumer.request.timeout.ms': 30_000 });
    await client.subscribe(topic);
    await send(topic, 'one');
    const polled = client.values();
    await node.untilParked(1);
    await send(topic, 'x'.repeat(100));
    expect(await polled).toEqual(['one', 'x'.repeat(100)]);
  });

  test('nothing is dropped that did not fit, and one record is always given', async () => {
    const topic = await newTopic();
    const values = Array.from({ length: 20 }, (_, i) => `${i}-${'x'.repeat(i * 20)}`);
    await send(topic, ...values);
    const client = await Client.create();
    await client.subscribe(topic);
    const found: unknown[] = [];
    while (found.length < values.length) {
      const some = await client.values('timeout=1000&max_bytes=300');
      expect(some.length).toBeGreaterThan(0);
      found.push(...some);
    }
    expect(found).toEqual(values);
    expect(await client.values('timeout=0')).toEqual([]);
  });

  test('in the format of the instance, or 406', async () => {
    const topic = await newTopic();
    await send(topic, 1);
    const client = await Client.create({ format: 'binary' });
    await client.subscribe(topic);
    expect(await client.call('GET', '/records', { accept: JSON_V2 })).toMatchObject({
      status: 406,
      body: { error_code: 40601 },
    });
    expect(await client.call('GET', '/records', { accept: 'application/vnd.kafka.avro.v2+json' })).toMatchObject({
      status: 406,
      body: { error_code: 40601 },
    });
    expect(await client.call('GET', '/records', { accept: 'text/html' })).toMatchObject({
      status: 406,
      body: { error_code: 406 },
    });
    expect(await client.call('GET', '/records', { accept: `text/html, ${BINARY_V2};q=0.5` })).toMatchObject({
      status: 200,
      type: BINARY_V2,
      body: [{ value: 'MQ==' }],
    });
    for (const [accept, type] of [
      ['*/*', BINARY_V2],
      [V2, V2],
      ['application/json', 'application/json'],
      ['application/*', BINARY_V2],
    ])
      expect(await client.call('GET', '/records?timeout=0', { accept: accept! })).toMatchObject({ status: 200, type });
  });

  test('a record that nobody waited for comes again', async () => {
    const topic = await newTopic();
    const client = await Client.create({ 'consumer.request.timeout.ms': 30_000 });
    await client.subscribe(topic);
    const gone = new AbortController();
    const polled = client.call('GET', '/records?timeout=30000', { signal: gone.signal });
    await node.untilParked(1);
    gone.abort();
    await expect(polled).rejects.toThrow();
    await send(topic, 'x');
    expect(await client.values()).toEqual(['x']);
  });
});

test('a message that was sent back natively comes again as the record it was', async () => {
  const topic = await newTopic();
  await send(topic, 'a', 'b');
  const client = await Client.create();
  await client.subscribe(topic);
  const [first, second] = await client.poll();
  const message = { topic, broker: 'broker-a', queueId: 0, queueOffset: 1, delayMs: 0 };
  await native.call('sendBack', {
    path: { group: client.group },
    body: { consumerId: client.name, messages: [message] },
  });
  expect(first).toMatchObject({ value: 'a' });
  const again: Read[] = [];
  while (again.length === 0) again.push(...(await client.poll()));
  expect(again).toEqual([second]);
  await client.poll('timeout=0');
  expect((await native.call('getOffsets', { path: { group: client.group } })).body.lag).toBe(0);
});

describe('committing', () => {
  test('automatically with the next call', async () => {
    const topic = await newTopic();
    await send(topic, 1, 2, 3);
    const client = await Client.create();
    await client.subscribe(topic);
    expect(await client.values()).toHaveLength(3);
    expect(await client.offsets(topic)).toEqual([0]);
    await client.poll('timeout=0');
    expect(await client.offsets(topic)).toEqual([3]);
  });

  test('automatically, what did not fit is not committed', async () => {
    const topic = await newTopic();
    await send(topic, 'a'.repeat(100), 'b'.repeat(100), 'c'.repeat(100));
    const client = await Client.create();
    await client.subscribe(topic);
    await client.poll('timeout=0&max_bytes=200');
    await client.poll('timeout=0&max_bytes=200');
    expect(await client.offsets(topic)).toEqual([1]);
    await client.done('DELETE', '');
    expect(await client.offsets(topic)).toEqual([2]);
  });

  test('by hand: everything delivered, or offsets; and read back', async () => {
    const topic = await newTopic();
    await send(topic, 1, 2, 3);
    const client = await Client.create({ 'auto.commit.enable': 'false' });
    await client.subscribe(topic);
    await client.poll();
    await client.poll('timeout=0');
    expect(await client.offsets(topic)).toEqual([0]);
    expect(await client.call('POST', '/offsets')).toMatchObject({ status: 200, body: [] });
    expect(await client.offsets(topic)).toEqual([3]);
    const offsets = [{ topic, partition: 0, offset: 1, metadata: 'm' }];
    expect((await client.call('POST', '/offsets?async=true', { body: { offsets } })).status).toBe(200);
    expect(await client.offsets(topic)).toEqual([2]);
    const expected = { offsets: [{ topic, partition: 0, offset: 2, metadata: '' }] };
    expect((await client.call('GET', '/offsets', { body: { partitions: [{ topic, partition: 0 }] } })).body).toEqual(
      expected,
    );
    expect((await client.call('GET', '/offsets')).body).toEqual(expected);
    expect((await native.call('getOffsets', { path: { group: client.group } })).body.lag).toBe(1);
  });

  test('a new instance of the group goes on behind what was committed', async () => {
    const topic = await newTopic();
    await send(topic, 1, 2, 3);
    const client = await Client.create({ 'auto.commit.enable': 'false' });
    await client.subscribe(topic);
    await client.poll();
    await client.call('POST', '/offsets', { body: { offsets: [{ topic, partition: 0, offset: 0 }] } });
    await client.done('DELETE', '');
    const next = await Client.create({}, { group: client.group });
    await next.subscribe(topic);
    expect(await next.values()).toEqual([2, 3]);
  });

  test('not what does not exist', async () => {
    const topic = await newTopic();
    const client = await Client.create();
    await client.subscribe(topic);
    const commit = (at: object) => client.call('POST', '/offsets', { body: { offsets: [at] } });
    expect(await commit({ topic: 'none', partition: 0, offset: 0 })).toMatchObject({
      status: 404,
      body: { error_code: 40401 },
    });
    expect(await commit({ topic, partition: 7, offset: 0 })).toMatchObject({
      status: 404,
      body: { error_code: 40402 },
    });
    expect(await commit({ topic, partition: 0, offset: 100 })).toMatchObject({ status: 422 });
    expect(await commit({ topic, partition: 0 })).toMatchObject({ status: 422 });
  });
});

describe('seeking', () => {
  test('to the beginning, the end, an offset and a time', async () => {
    const topic = await newTopic();
    await send(topic, 1, 2, 3);
    const client = await Client.create();
    await client.subscribe(topic);
    expect(await client.values()).toEqual([1, 2, 3]);
    const partitions = [{ topic, partition: 0 }];
    await client.done('POST', '/positions/beginning', { partitions });
    expect(await client.values()).toEqual([1, 2, 3]);
    await client.done('POST', '/positions', { offsets: [{ topic, partition: 0, offset: 1 }] });
    expect(await client.values()).toEqual([2, 3]);
    await client.done('POST', '/positions/end', { partitions });
    expect(await client.values('timeout=0')).toEqual([]);
    await send(topic, 4);
    expect(await client.values()).toEqual([4]);
    await client.done('POST', '/positions', {
      timestamps: [{ topic, partition: 0, timestamp: '1999-01-01T00:00:00Z' }],
    });
    expect(await client.values()).toEqual([1, 2, 3, 4]);
    expect((await client.call('POST', '/offsets')).status).toBe(200);
    expect(await client.offsets(topic)).toEqual([4]);
  });

  test('with auto commit the position is committed by the next call, also backwards, and at the end', async () => {
    const topic = await newTopic();
    await send(topic, 1, 2, 3, 4);
    const one = await Client.create();
    await one.subscribe(topic);
    expect(await one.values()).toEqual([1, 2, 3, 4]);
    expect(await one.values('timeout=0')).toEqual([]);
    expect(await one.offsets(topic)).toEqual([4]);
    await one.done('POST', '/positions', { offsets: [{ topic, partition: 0, offset: 1 }] });
    expect(await one.offsets(topic)).toEqual([4]);
    expect(await one.values('timeout=0&max_bytes=1')).toEqual([2]);
    expect(await one.offsets(topic)).toEqual([1]);
    expect(await one.values('timeout=0&max_bytes=1')).toEqual([3]);
    expect(await one.offsets(topic)).toEqual([2]);
    await one.done('POST', '/positions/beginning', { partitions: [{ topic, partition: 0 }] });
    await one.done('DELETE', '');
    expect(await one.offsets(topic)).toEqual([0]);
  });

  test('a commit of everything commits where it reads', async () => {
    const topic = await newTopic(2);
    await send(topic, 1);
    await send(topic, 2);
    const one = await Client.create({ 'auto.commit.enable': 'false' });
    await one.subscribe(topic);
    const [first] = await one.poll('timeout=1000&max_bytes=1');
    await one.done('POST', '/positions', { offsets: [{ topic, partition: first!.partition, offset: 0 }] });
    const again = [...(await one.poll('timeout=0&max_bytes=1')), ...(await one.poll('timeout=0&max_bytes=1'))];
    expect(again.map(({ value }) => value).sort()).toEqual([1, 2]);
    await one.done('POST', '/positions/beginning', { partitions: [{ topic, partition: first!.partition }] });
    expect((await one.call('POST', '/offsets')).status).toBe(200);
    const offsets = await one.offsets(topic);
    expect([offsets[first!.partition], offsets[1 - first!.partition]]).toEqual([0, 1]);
  });

  test('an offset that it does not have is what auto.offset.reset says', async () => {
    const topic = await newTopic();
    await send(topic, 1, 2);
    for (const [reset, values] of [
      ['earliest', [1, 2]],
      ['latest', []],
    ] as const)
      for (const how of ['subscription', 'assignments']) {
        const client = await Client.create({ 'auto.offset.reset': reset });
        const body = how === 'subscription' ? { topics: [topic] } : { partitions: [{ topic, partition: 0 }] };
        await client.done('POST', `/${how}`, body);
        await client.done('POST', '/positions', { offsets: [{ topic, partition: 0, offset: 10 }] });
        expect([reset, how, await client.values('timeout=0')]).toEqual([reset, how, values]);
      }
  });

  test('only what it has', async () => {
    const topic = await newTopic();
    const client = await Client.create();
    const body = { partitions: [{ topic, partition: 0 }] };
    expect(await client.call('POST', '/positions/beginning', { body })).toMatchObject({
      status: 409,
      body: { error_code: 40903 },
    });
    await client.subscribe(await newTopic());
    expect(await client.call('POST', '/positions/end', { body })).toMatchObject({
      status: 409,
      body: { error_code: 40903 },
    });
    expect(await client.call('POST', '/positions', { body: {} })).toMatchObject({ status: 422 });
  });
});

describe('assigning', () => {
  test('partitions, with positions of their own', async () => {
    const topic = await newTopic(2);
    for (const partition of [0, 1])
      await rest.post(
        `/topics/${topic}/partitions/${partition}`,
        { records: [1, 2].map((i) => ({ value: `${partition}-${i}` })) },
        { type: JSON_V2 },
      );
    const client = await Client.create({ 'auto.commit.enable': 'false' });
    await client.done('POST', '/assignments', { partitions: [{ topic, partition: 1 }] });
    expect((await client.call('GET', '/assignments')).body).toEqual({ partitions: [{ topic, partition: 1 }] });
    expect(await client.values()).toEqual(['1-1', '1-2']);
    expect(await client.values('timeout=0')).toEqual([]);
    await client.done('POST', '/positions', { offsets: [{ topic, partition: 1, offset: 1 }] });
    expect(await client.values()).toEqual(['1-2']);
    await client.done('POST', '/positions/beginning', { partitions: [{ topic, partition: 1 }] });
    expect(await client.values('timeout=0&max_bytes=9')).toEqual(['1-1']);
    expect((await client.call('POST', '/offsets')).status).toBe(200);
    expect(await client.offsets(topic)).toEqual([0, 1]);
    expect(
      await client.call('POST', '/positions/end', { body: { partitions: [{ topic, partition: 0 }] } }),
    ).toMatchObject({ status: 409, body: { error_code: 40903 } });
  });

  test('a waiting call is answered by the first record of any', async () => {
    const topic = await newTopic(3);
    const client = await Client.create({ 'consumer.request.timeout.ms': 30_000 });
    await client.done('POST', '/assignments', { partitions: [0, 1, 2].map((partition) => ({ topic, partition })) });
    const polled = client.values('timeout=30000');
    await node.untilParked(3);
    await rest.post(`/topics/${topic}/partitions/2`, { records: [{ value: 'x' }] }, { type: JSON_V2 });
    expect(await polled).toEqual(['x']);
    expect(await client.values('timeout=0')).toEqual([]);
  });

  test('does not go with subscribing', async () => {
    const topic = await newTopic();
    const one = await Client.create();
    await one.subscribe(topic);
    expect(await one.call('POST', '/assignments', { body: { partitions: [{ topic, partition: 0 }] } })).toMatchObject({
      status: 409,
      body: { error_code: 40903 },
    });
    const two = await Client.create();
    await two.done('POST', '/assignments', { partitions: [{ topic, partition: 0 }] });
    expect(await two.call('POST', '/subscription', { body: { topics: [topic] } })).toMatchObject({
      status: 409,
      body: { error_code: 40903 },
    });
  });
});

describe('v1', () => {
  test('the consume path subscribes, and records have no topic', async () => {
    const topic = await newTopic();
    await send(topic, { a: 1 });
    const client = await Client.create();
    const reply = await client.call('GET', `/topics/${topic}`, { accept: 'application/vnd.kafka.json.v1+json' });
    expect(reply).toMatchObject({ status: 200, type: 'application/vnd.kafka.json.v1+json' });
    expect(reply.body).toEqual([{ key: null, value: { a: 1 }, partition: 0, offset: 0 }]);
    const messages = await rest.get(`/topics/${topic}/partitions/0/messages?offset=0&count=1`, {
      accept: 'application/vnd.kafka.binary.v1+json',
    });
    expect(messages.body).toEqual([{ key: null, value: 'eyJhIjoxfQ==', partition: 0, offset: 0 }]);
    expect(await client.call('GET', '/topics/none')).toMatchObject({ status: 404, body: { error_code: 40401 } });
  });
});

describe('base_uri', () => {
  const create = async (headers: Record<string, string>, dialect = 'confluent') => {
    const reply = await rest.post('/consumers/uris', { name: `u${names++}` }, { headers, dialect });
    return (reply.body as { base_uri: string }).base_uri.replace(/\/consumers\/uris\/instances\/u\d+$/, '');
  };

  test.each([
    [{ host: 'gantry.example' }, 'http://gantry.example'],
    [{ host: 'gantry.example:81' }, 'http://gantry.example:81'],
    [{ 'x-forwarded-proto': 'https', 'x-forwarded-host': 'api.example' }, 'https://api.example'],
    [
      { 'x-forwarded-host': 'api.example, inner', 'x-forwarded-port': '8443', 'x-forwarded-proto': 'https' },
      'https://api.example:8443',
    ],
    [{ 'x-forwarded-host': 'api.example', 'x-forwarded-prefix': '/kafka/' }, 'http://api.example/kafka'],
    [{ 'x-forwarded-host': 'api.example', 'x-forwarded-path': '/bridge' }, 'http://api.example/bridge'],
    [
      { forwarded: 'for=1.2.3.4;proto=https;host="api.example:444", for=5.6.7.8', 'x-forwarded-host': 'other' },
      'https://api.example:444',
    ],
    [{ host: '[::1]:8080' }, 'http://[::1]:8080'],
    [{ 'x-forwarded-host': 'evil/../"', 'x-forwarded-prefix': '//x' }, /^http:\/\/127\.0\.0\.1:\d+$/],
  ])('%j', async (headers, uri) => expect(await create(headers as unknown as Record<string, string>)).toMatch(uri));

  test('Strimzi’s has its port', async () => {
    expect(await create({ host: 'api.example' }, 'strimzi')).toBe('http://api.example:80');
    expect(await create({ host: 'api.example', 'x-forwarded-proto': 'https' }, 'strimzi')).toBe(
      'https://api.example:443',
    );
  });
});
