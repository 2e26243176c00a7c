/** Records in, and what is told of topics: over real HTTP, against a standalone. */
import { messageGroupHash } from '../../src/broker/hash';
import type { Http } from '../support/http';
import { BINARY_V2, JSON_V2, startSite, TEXT_V2, V2, type Kafka, type KafkaReply } from '../support/kafka';
import type { Standalone } from '../support/node';

let node: Standalone;
let rest: Kafka;
let native: Http;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
  await create('orders');
  await create('fifo', { type: 'FIFO' });
  await create('delayed', { type: 'DELAY' });
  await create('a.b', { writeQueues: 2 });
});
afterAll(() => node.stop());

const create = (name: string, more: object = {}) =>
  native.call('createTopic', { body: { name, writeQueues: 4, ...more } });

interface Result {
  readonly partition: number | null;
  readonly offset: number | null;
  readonly error: string | null;
}

const resultsOf = (reply: KafkaReply): Result[] => (reply.body as { offsets: Result[] }).offsets;
const partitionsIn = (reply: KafkaReply) => resultsOf(reply).map(({ partition }) => partition);

/** All records of a topic by the stateless read, partition after partition. */
async function read(topic: string, format = 'json') {
  const { body: partitions } = await rest.get(`/topics/${topic}/partitions`);
  const records = [];
  for (const { partition } of partitions as { partition: number }[]) {
    const target = `/topics/${topic}/partitions/${partition}/records?offset=0`;
    const reply = await rest.get(target, { accept: `application/vnd.kafka.${format}.v2+json` });
    expect(reply.status).toBe(200);
    records.push(...(reply.body as { value: unknown; key: unknown; partition: number; offset: number }[]));
  }
  return records;
}

describe('metadata', () => {
  test('the root, brokers, topics', async () => {
    expect((await rest.get('/', { accept: V2 })).body).toEqual({});
    expect((await rest.post('/')).body).toEqual({});
    expect((await rest.get('/brokers')).body).toEqual({ brokers: [0] });
    const { body } = await rest.get('/topics');
    expect(body).toEqual(['a.b', 'delayed', 'fifo', 'orders']);
  });

  test('a topic and its partitions', async () => {
    const { body } = await rest.get('/topics/orders');
    expect(body.name).toBe('orders');
    expect(body.configs).toMatchObject({ 'cleanup.policy': 'delete' });
    expect(body.partitions).toHaveLength(4);
    expect((await rest.get('/topics/orders/partitions')).body).toEqual(body.partitions);
    expect((await rest.get('/topics/orders/partitions/3')).body).toEqual({
      partition: 3,
      leader: 0,
      replicas: [{ broker: 0, leader: true, in_sync: true }],
    });
    expect((await rest.get('/topics/orders/partitions/3/offsets')).body).toEqual({
      beginning_offset: 0,
      end_offset: 0,
    });
  });

  test('what does not exist', async () => {
    expect(await rest.get('/topics/none')).toMatchObject({ status: 404, body: { error_code: 40401 } });
    expect(await rest.get('/topics/%25RETRY%25x')).toMatchObject({ status: 404, body: { error_code: 40401 } });
    expect(await rest.get('/topics/none/partitions')).toMatchObject({ status: 404, body: { error_code: 40401 } });
    for (const partition of ['99999999999', 'x'])
      expect(await rest.get(`/topics/orders/partitions/${partition}`)).toMatchObject({
        status: 404,
        body: { error_code: 404 },
      });
    for (const partition of ['4', '-1'])
      expect(await rest.get(`/topics/orders/partitions/${partition}`)).toMatchObject({
        status: 404,
        body: { error_code: 40402 },
      });
    expect(await rest.get('/topics/orders/nothing')).toMatchObject({ status: 404, body: { error_code: 404 } });
    expect(await rest.request('PUT', '/topics/orders')).toMatchObject({
      status: 405,
      headers: { allow: 'GET, POST, OPTIONS' },
    });
    expect(await rest.get('/topics', { accept: 'text/html' })).toMatchObject({
      status: 406,
      body: { error_code: 406 },
    });
  });

  test('a slash at the end makes no difference', async () => {
    expect((await rest.get('/topics/')).body).toContain('orders');
    expect((await rest.get('/topics/orders/')).body.name).toBe('orders');
    expect((await rest.get('/topics/orders/partitions/')).body).toHaveLength(4);
  });

  test('HEAD has the headers of GET', async () => {
    expect(await rest.request('HEAD', '/topics/orders')).toMatchObject({ status: 200, text: '' });
    expect(await rest.request('HEAD', '/topics/orders/partitions/0/records')).toMatchObject({ status: 405 });
  });

  test('the native API stays where it was', async () => {
    expect((await native.request('GET', '/v1/topics/orders')).status).toBe(200);
    expect((await native.request('GET', '/')).status).toBe(302);
  });

  test('topics are created as Strimzi does', async () => {
    expect(await rest.post('/admin/topics', { topic_name: 'made', partitions_count: 3 })).toMatchObject({
      status: 201,
    });
    expect((await rest.get('/topics/made')).body.partitions).toHaveLength(3);
    expect(await rest.post('/admin/topics', { topic_name: 'made' })).toMatchObject({ status: 409 });
    expect(await rest.post('/admin/topics', { topic_name: 'm/ade' })).toMatchObject({ status: 422 });
  });
});

describe('produce', () => {
  const produce = (topic: string, records: unknown, type = JSON_V2, more: object = {}) =>
    rest.post(`/topics/${topic}`, { records }, { type, ...more });

  test('the answer is Confluent’s', async () => {
    const { status, type, text } = await produce('orders', [{ value: { name: 'testUser' } }]);
    expect({ status, type }).toEqual({ status: 200, type: V2 });
    expect(text).toMatch(
      /^\{"offsets":\[\{"partition":\d,"offset":0,"error_code":null,"error":null\}\],"key_schema_id":null,"value_schema_id":null\}$/,
    );
  });

  test('one key, one partition, the one that Kafka’s clients choose', async () => {
    for (const key of ['a', 'customer-17', 'ü'.repeat(40)]) {
      const text = await rest.post(
        '/topics/orders',
        { records: [1, 2].map((value) => ({ key, value: String(value) })) },
        { type: TEXT_V2 },
      );
      const wanted = messageGroupHash(key) % 4;
      expect(partitionsIn(text)).toEqual([wanted, wanted]);
    }
  });

  test('without a key requests go to partitions in turn', async () => {
    const seen = new Set<number>();
    for (let i = 0; i < 8; i++) seen.add((await produce('orders', [{ value: i }])).body.offsets[0].partition);
    expect(seen.size).toBe(4);
  });

  test('to a partition', async () => {
    const reply = await rest.post(
      '/topics/orders/partitions/2',
      { records: [{ value: 1 }, { value: 2 }] },
      { type: JSON_V2 },
    );
    expect(partitionsIn(reply)).toEqual([2, 2]);
    const { body } = await produce('orders', [
      { value: 1, partition: 3 },
      { value: 2, partition: 77 },
    ]);
    expect(body.offsets[0]).toMatchObject({ partition: 3, error_code: null });
    expect(body.offsets[1]).toMatchObject({ partition: null, error_code: 40402 });
    expect(
      await rest.post('/topics/orders/partitions/9', { records: [{ value: 1 }] }, { type: JSON_V2 }),
    ).toMatchObject({
      status: 404,
      body: { error_code: 40402 },
    });
    expect(await rest.post('/topics/none/partitions/0', { records: [{ value: 1 }] }, { type: JSON_V2 })).toMatchObject({
      status: 404,
      body: { error_code: 40401 },
    });
  });

  test('more records than one native send takes', async () => {
    await create('large');
    const records = Array.from({ length: 2500 }, (_, i) => ({ value: i }));
    const results = resultsOf(await produce('large', records));
    expect(results).toHaveLength(2500);
    expect(results.every(({ error }) => error === null)).toBe(true);
  });

  test('a FIFO topic takes keys as messageGroups', async () => {
    const { body } = await rest.post(
      '/topics/fifo',
      { records: [{ key: 'k', value: 'v' }, { value: 'v' }] },
      { type: TEXT_V2 },
    );
    expect(body.offsets[0]).toMatchObject({ partition: messageGroupHash('k') % 4, offset: 0 });
    expect(body.offsets[1]).toMatchObject({ partition: null, error_code: 50002 });
    const [message] = (await native.call('queryMessages', { path: { topic: 'fifo' }, query: { key: 'k' } })).body
      .messages;
    expect(message).toMatchObject({ messageGroup: 'k', body: 'v' });
  });

  test('a DELAY topic refuses each record', async () => {
    const { status, body } = await produce('delayed', [{ value: 1 }]);
    expect(status).toBe(200);
    expect(body.offsets[0]).toMatchObject({ partition: null, offset: null, error_code: 50002 });
    expect(body.offsets[0].error).toMatch(/DELAY/);
  });

  test('asynchronously', async () => {
    await create('async', { writeQueues: 1 });
    expect(await rest.post('/topics/async?async=true', { records: [{ value: 7 }] }, { type: JSON_V2 })).toMatchObject({
      status: 204,
    });
    expect(
      (await rest.get('/topics/async/partitions/0/records?offset=0&timeout=5000', { accept: JSON_V2 })).body,
    ).toMatchObject([{ value: 7 }]);
  });

  test.each([
    ['no JSON', '{"records":', 400, 400],
    ['a list', '[]', 422, 422],
    ['no records', '{}', 422, 422],
    ['records that are no list', '{"records":{}}', 422, 422],
    ['an empty list', '{"records":[]}', 422, 422],
    ['a record that is none', '{"records":[1]}', 422, 422],
    ['a partition that is none', '{"records":[{"value":1,"partition":"x"}]}', 422, 422],
    ['a negative partition', '{"records":[{"value":1,"partition":-1}]}', 422, 422],
    ['a timestamp that is none', '{"records":[{"value":1,"timestamp":"now"}]}', 422, 422],
    ['headers that are none', '{"records":[{"value":1,"headers":{}}]}', 422, 422],
    ['a header without a name', '{"records":[{"value":1,"headers":[{"value":"YQ=="}]}]}', 422, 422],
    ['a header that is no base64', '{"records":[{"value":1,"headers":[{"key":"a","value":"%"}]}]}', 422, 42206],
    ['JSON that is too deep', `{"records":[{"value":${'['.repeat(600)}${']'.repeat(600)}}]}`, 422, 422],
  ])('%s is refused', async (_, text, status, code) => {
    expect(await rest.request('POST', '/topics/orders', { text, type: JSON_V2 })).toMatchObject({
      status,
      body: { error_code: code },
    });
  });

  test('binary values must be base64', async () => {
    expect(await produce('orders', [{ value: 'no base64!' }], BINARY_V2)).toMatchObject({
      status: 422,
      body: { error_code: 42206 },
    });
    expect(await produce('orders', [{ value: { a: 1 } }], BINARY_V2)).toMatchObject({
      status: 422,
      body: { error_code: 42206 },
    });
    expect(await produce('orders', [{ value: 1 }], TEXT_V2)).toMatchObject({ status: 422, body: { error_code: 422 } });
    for (const value of ['_-8', '/+8=', '_-8='])
      expect((await produce('orders', [{ value }], BINARY_V2)).status).toBe(200);
  });

  test('a value that is too large fails alone', async () => {
    const { status, body } = await produce('orders', [{ value: 'x'.repeat(4 * 1024 * 1024) }, { value: 1 }]);
    expect(status).toBe(200);
    expect(body.offsets).toMatchObject([{ error_code: 50002 }, { error_code: null }]);
    expect(await produce('orders', [{ value: 'x'.repeat(8 * 1024 * 1024) }])).toMatchObject({
      status: 413,
      body: { error_code: 413 },
    });
  });
});

describe('media types', () => {
  const send = (type: string | undefined, value: unknown = 'aGk=') =>
    rest.request('POST', '/topics/orders', {
      text: JSON.stringify({ records: [{ value }] }),
      ...(type === undefined ? {} : { type }),
    });

  test.each([
    BINARY_V2,
    JSON_V2,
    TEXT_V2,
    V2,
    'application/vnd.kafka+json',
    'application/vnd.kafka.v1+json',
    'application/json',
    'application/octet-stream',
    'application/vnd.kafka.binary.v1+json',
    'application/vnd.kafka.json.v1+json',
    'application/json; charset=utf-8',
    'Application/Vnd.Kafka.JSON.v2+json',
  ])('%s is taken', async (type) => expect((await send(type)).status).toBe(200));

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/vnd.kafka.avro.v2+json',
    'application/vnd.kafka.json.v3+json',
    'nonsense',
    'application/json; charset=latin1',
  ])('%s is refused', async (type) =>
    expect(await send(type)).toMatchObject({ status: 415, body: { error_code: 415 } }),
  );

  test.each([
    [undefined, V2],
    ['*/*', V2],
    ['application/*', V2],
    ['application/json', 'application/json'],
    ['application/vnd.kafka.v1+json', 'application/vnd.kafka.v1+json'],
    ['application/vnd.kafka.v2+json, application/vnd.kafka+json, application/json', V2],
    ['application/json;q=0.5, application/vnd.kafka+json;q=0.7', 'application/vnd.kafka+json'],
    ['application/json, */*;q=0.1', 'application/json'],
    ['application/vnd.kafka.v2+json;q=0, application/*', 'application/vnd.kafka.v1+json'],
    ['application/vnd.kafka.json.v2+json', JSON_V2],
  ])('Accept %s is answered as %s', async (accept, type) =>
    expect(await rest.get('/topics', accept === undefined ? {} : { accept })).toMatchObject({ status: 200, type }),
  );

  test.each(['text/html', 'application/xml', 'application/vnd.kafka.v3+json', '*/*;q=0'])(
    'Accept %s is 406',
    async (accept) =>
      expect(await rest.get('/topics', { accept })).toMatchObject({ status: 406, body: { error_code: 406 } }),
  );
});

test('nobody calls from a page of another site', async () => {
  const headers = { origin: 'https://evil.example' };
  expect(await rest.get('/topics', { headers })).toMatchObject({ status: 403, body: { error_code: 403 } });
});

test('what was produced is read', async () => {
  await create('plain', { writeQueues: 2 });
  await rest.post('/topics/plain', { records: [{ key: { id: 1 }, value: { a: [1, null] } }] }, { type: JSON_V2 });
  expect(await read('plain')).toMatchObject([{ topic: 'plain', key: { id: 1 }, value: { a: [1, null] }, offset: 0 }]);
  expect(await read('plain', 'binary')).toMatchObject([{ key: Buffer.from('{"id":1}').toString('base64') }]);
  expect(await read('plain', 'text')).toMatchObject([{ key: '{"id":1}', value: '{"a":[1,null]}' }]);
});
