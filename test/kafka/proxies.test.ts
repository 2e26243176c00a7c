/** Requests of the own test suites of the four servers of this API: a row each, for every dialect, over real HTTP. */
import type { Http } from '../support/http';
import { BINARY_V2, JSON_V2, startSite, V2, type Kafka } from '../support/kafka';
import { alike, codeOf, row, testRows, type Client, type Row } from '../support/kafkaDialects';
import type { Standalone } from '../support/node';

let node: Standalone;
let rest: Kafka;
let native: Http;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
});
afterAll(() => node.stop());

const all = <T>(value: T) => ({ confluent: value, strimzi: value, karapace: value, redpanda: value });
/** A refusal with one status; `strimzi` names the status alone. */
const refused = (status: number, code: number) => ({ ...all([status, code]), strimzi: [status, status] });

const produceOne = async (client: Client, record: unknown, type = JSON_V2) =>
  codeOf(
    await client.request('POST', `/topics/${await client.newTopic()}`, {
      text: JSON.stringify({ records: [record] }),
      type,
    }),
  );

const AVRO = 'application/vnd.kafka.avro.v2+json';
const withoutRecords = (body: object) => async (client: Client) =>
  codeOf(await client.request('POST', `/topics/${await client.newTopic()}`, { body, type: JSON_V2 }));

const PRODUCING: readonly Row<unknown>[] = [
  row('a record with a misspelt value', { ...all([422, 422]), strimzi: [400, 400] }, (client) =>
    produceOne(client, { valur: { foo: 'bar' } }),
  ),
  row('a value without its envelope', { ...all([422, 422]), strimzi: [400, 400] }, (client) =>
    produceOne(client, { order: 1, total: 2 }),
  ),
  row('an unknown field beside key and value', { ...all([422, 422]), strimzi: [400, 400] }, (client) =>
    produceOne(client, { key: 'a', value: 1, tag: 'x' }),
  ),
  row('an empty record', { ...all([422, 422]), strimzi: [400, 400] }, (client) => produceOne(client, {})),
  row('a key alone', { ...all([200, undefined]), strimzi: [400, 400] }, (client) => produceOne(client, { key: 'a' })),
  alike('no value, said so', [200, undefined], (client) => produceOne(client, { value: null })),
  row('no records', { ...all([422, 422]), strimzi: [400, 400] }, withoutRecords({ foo: 'bar' })),
  row('an empty list of records', { ...all([422, 422]), strimzi: [400, 400] }, withoutRecords({ records: [] })),
  row(
    'records that are no list',
    { ...all([422, 422]), strimzi: [400, 400], karapace: [400, 400] },
    withoutRecords({ records: 'x' }),
  ),
  row('a record that is no object', { ...all([422, 422]), strimzi: [400, 400], karapace: [400, 400] }, (client) =>
    produceOne(client, 'object with value'),
  ),
  row('no base64', { ...refused(422, 42206), karapace: [400, 400] }, (client) =>
    produceOne(client, { value: 'not base64' }, BINARY_V2),
  ),
  alike('records in a format with a schema', 415, async (client) => (await produceOne(client, { value: 1 }, AVRO))[0]),
  alike('what was refused is not stored', [0, 0], async (client) => {
    const topic = await client.newTopic();
    await client.request('POST', `/topics/${topic}`, {
      body: { records: [{ value: 1 }, { valur: 2 }] },
      type: JSON_V2,
    });
    const { body } = await client.request('GET', `/topics/${topic}/partitions/0/offsets`);
    return [body.beginning_offset, body.end_offset] as unknown;
  }),
];

const MISSING: readonly Row<unknown>[] = [
  row(
    'partitions of a missing topic',
    { confluent: [404, 40401], strimzi: [404, 404], karapace: [404, 40401], redpanda: [404, 40402] },
    async (client) => codeOf(await client.request('GET', '/topics/none/partitions')),
  ),
  row(
    'a partition of a missing topic, and its offsets',
    { confluent: [40401, 40401], strimzi: [404, 404], karapace: [40401, 40401], redpanda: [40402, 40402] },
    async (client) => [
      codeOf(await client.request('GET', '/topics/none/partitions/0'))[1],
      codeOf(await client.request('GET', '/topics/none/partitions/0/offsets'))[1],
    ],
  ),
  row(
    'records of a missing topic',
    { confluent: [404, 40401], strimzi: [404, 404], karapace: [404, 40401], redpanda: [404, 40402] },
    async (client) =>
      codeOf(await client.request('GET', '/topics/none/partitions/0/records?offset=0', { accept: BINARY_V2 })),
  ),
  row('a missing partition', refused(404, 40402), async (client) =>
    codeOf(await client.request('GET', `/topics/${await client.newTopic()}/partitions/10`)),
  ),
  row(
    'a partition that is no number',
    { confluent: [404, 404], strimzi: [400, 400], karapace: [404, 404], redpanda: [400, 40002] },
    async (client) => codeOf(await client.request('GET', `/topics/${await client.newTopic()}/partitions/foo/offsets`)),
  ),
  row(
    'records to a partition that is no number',
    { confluent: [404, 404], strimzi: [400, 400], karapace: [404, 404], redpanda: [400, 40002] },
    async (client) =>
      codeOf(
        await client.request('POST', `/topics/${await client.newTopic()}/partitions/karel`, {
          body: { records: [{ value: 1 }] },
          type: JSON_V2,
        }),
      ),
  ),
  row(
    'a commit for a missing topic',
    { confluent: [404, 40401], strimzi: [404, 404], karapace: [404, 40401], redpanda: [404, 40402] },
    async (client) => {
      await client.subscribed();
      const body = { offsets: [{ topic: 'none', partition: 0, offset: 0 }] };
      return codeOf(await client.call('POST', '/offsets', { body }));
    },
  ),
  row('a seek on a missing topic', { ...refused(409, 40903), strimzi: [404, 404] }, async (client) => {
    await client.subscribed();
    const body = { offsets: [{ topic: 'faulty', partition: 0, offset: 10 }] };
    return codeOf(await client.call('POST', '/positions', { body }));
  }),
];

const COMMITTING: readonly Row<unknown>[] = [
  row('Redpanda’s body', all([0, 1]), async (client) => {
    const topic = await client.subscribed({ 'auto.commit.enable': 'false' }, 'a', 'b', 'c');
    await client.call('GET', '/records');
    const offset = client.dialect === 'confluent' || client.dialect === 'karapace' ? 0 : 1;
    const before = await client.committed(topic);
    await client.call('POST', '/offsets', { body: { partitions: [{ topic, partition: 0, offset }] } });
    return [before, await client.committed(topic)];
  }),
  alike('an empty list commits nothing', 0, async (client) => {
    const topic = await client.subscribed({ 'auto.commit.enable': 'false' }, 'a', 'b');
    await client.call('GET', '/records');
    expect((await client.call('POST', '/offsets', { body: { offsets: [] } })).status).toBeLessThan(300);
    return client.committed(topic);
  }),
  row('unknown fields', { ...refused(422, 422) }, async (client) => {
    const topic = await client.subscribed({ 'auto.commit.enable': 'false' }, 'a');
    await client.call('GET', '/records');
    const place = { topic, partition: 0 };
    const seen = [];
    for (const body of [
      { ofsets: [{ ...place, offset: 0 }] },
      { offsets: null },
      { offsets: { ...place, offset: 0 } },
      { partitions: [place] },
      { offsets: [], partitions: [{ ...place, offset: 0 }] },
    ])
      seen.push(codeOf(await client.call('POST', '/offsets', { body })));
    expect(new Set(seen.map((one) => one.join())).size).toBe(1);
    expect(await client.committed(topic)).toBe(0);
    return seen[0];
  }),
  // Karapace's suite: on an empty topic 0 and 1 are committed, and told with one more.
  row(
    'an offset up to one behind the end',
    { confluent: [1, 2, 422], strimzi: [0, 1, 422], karapace: [1, 2, 422], redpanda: [0, 1, 422] },
    async (client) => {
      const topic = await client.subscribed();
      const told = [];
      for (const offset of [0, 1]) {
        const body = { offsets: [{ topic, partition: 0, offset }] };
        expect((await client.call('POST', '/offsets', { body })).status).toBeLessThan(300);
        const { offsets } = (await client.call('GET', '/offsets', { body: { partitions: [{ topic, partition: 0 }] } }))
          .body as { offsets: { offset: number }[] };
        told.push(offsets[0]!.offset);
      }
      expect(await client.committed(topic)).toBe(0);
      const body = { offsets: [{ topic, partition: 0, offset: 2 }] };
      return [...told, (await client.call('POST', '/offsets', { body })).status];
    },
  ),
  alike('a record that comes where an offset behind the end was committed is not skipped', ['a'], async (client) => {
    const topic = await client.subscribed();
    await client.call('POST', '/offsets', { body: { offsets: [{ topic, partition: 0, offset: 1 }] } });
    await client.produce(topic, ['a']);
    await client.call('DELETE', '');
    await client.create();
    await client.call('POST', '/subscription', { body: { topics: [topic] } });
    return client.values('?timeout=5000');
  }),
];

const READING: readonly Row<unknown>[] = [
  ...['avro', 'jsonschema', 'protobuf'].map((format) =>
    row<unknown>(
      `format ${format}: created, and a record that cannot be decoded`,
      {
        confluent: [200, [], [500, 50002], [500, 50002]],
        strimzi: [200, [], [406, 406], [406, 406]],
        karapace: [200, [], [422, 422], [422, 422]],
        redpanda: [200, [], [422, 422], [422, 422]],
      },
      async (client) => {
        const { status } = await client.create({ format });
        const topic = await client.newTopic();
        await client.call('POST', '/subscription', { body: { topics: [topic] } });
        const accept = `application/vnd.kafka.${format}.v2+json`;
        const empty = await client.call('GET', '/records?timeout=0', { accept });
        expect(empty.type).toBe(accept);
        await client.produce(topic, [1]);
        // A second call does not pass over it.
        const first = await client.call('GET', '/records', { accept });
        const second = await client.call('GET', '/records', { accept });
        expect(await client.committed(topic)).toBe(0);
        return [status, empty.body as unknown, codeOf(first), codeOf(second)];
      },
    ),
  ),
  row(
    'records without subscription',
    { confluent: [409, 40903], strimzi: [500, 500], karapace: [409, 40903], redpanda: [409, 40903] },
    async (client) => {
      await client.create();
      return codeOf(await client.call('GET', '/records'));
    },
  ),
  row('an empty subscription', { ...all([204, undefined]), karapace: [409, 40903] }, async (client) => {
    await client.create();
    return codeOf(await client.call('POST', '/subscription', { body: { topics: [] } }));
  }),
  row('a subscription to nothing', { ...refused(422, 422), karapace: [409, 40903] }, async (client) => {
    await client.create();
    return codeOf(await client.call('POST', '/subscription', { body: {} }));
  }),
  alike('an empty assignment', [204, []], async (client) => {
    await client.create();
    const { status } = await client.call('POST', '/assignments', { body: { partitions: [] } });
    return [status, ((await client.call('GET', '/assignments')).body as { partitions: object[] }).partitions];
  }),
  alike('an assignment of a missing topic: read when it comes', [204, 1, ['a', 'b']], async (client) => {
    const topic = `late-${client.group}`;
    await client.create({ 'auto.offset.reset': 'latest' });
    const body = { partitions: [{ topic, partition: 0 }] };
    const { status } = await client.call('POST', '/assignments', { body });
    const { partitions } = (await client.call('GET', '/assignments')).body as { partitions: object[] };
    expect(await client.values('?timeout=0')).toEqual([]);
    await native.call('createTopic', { body: { name: topic, writeQueues: 1 } });
    await client.produce(topic, ['a', 'b']);
    return [status, partitions.length, await untilSome(client)];
  }),
  alike('a subscription to a missing topic: read when it comes', [204, ['a', 'b']], async (client) => {
    const topic = `late-too-${client.group}`;
    await client.create({ 'auto.offset.reset': 'latest' });
    const { status } = await client.call('POST', '/subscription', { body: { topics: [topic] } });
    expect(await client.values('?timeout=0')).toEqual([]);
    await native.call('createTopic', { body: { name: topic, writeQueues: 1 } });
    await client.produce(topic, ['a', 'b']);
    return [status, await untilSome(client)];
  }),
  row<unknown>(
    'GET subscription has partitions',
    { confluent: undefined, strimzi: [{ b: [0, 1, 2, 3] }, { a: [0] }], karapace: undefined, redpanda: undefined },
    async (client) => {
      const topics = [await client.newTopic(), await client.newTopic('NORMAL', 4)].sort();
      await client.create();
      await client.call('POST', '/subscription', { body: { topics } });
      const { body } = await client.call('GET', '/subscription');
      expect((body as { topics: string[] }).topics).toEqual(topics);
      const { partitions } = body as { partitions?: Record<string, number[]>[] };
      return partitions?.map((one) =>
        Object.fromEntries(Object.entries(one).map(([, list]) => [list.length === 4 ? 'b' : 'a', list])),
      );
    },
  ),
  alike('all partitions of an assignment in one call', [0, 1, 2, 3], async (client) => {
    const topic = await client.newTopic('NORMAL', 4);
    const partitions = [0, 1, 2, 3].map((partition) => ({ topic, partition }));
    await client.request('POST', `/topics/${topic}`, {
      body: { records: partitions.map(({ partition }) => ({ value: partition, partition })) },
      type: JSON_V2,
    });
    await client.create();
    await client.call('POST', '/assignments', { body: { partitions } });
    return (await client.values()).sort();
  }),
  // Values of 3,000 bytes are 4,000 characters of base64.
  alike('max_bytes counts bytes of values, not of their JSON', [3, 3], async (client) => {
    const values = Array.from({ length: 4 }, () => Buffer.alloc(3000, 1).toString('base64'));
    const topic = await client.newTopic();
    await client.produce(topic, values, BINARY_V2);
    await client.create({ format: 'binary' });
    await client.call('POST', '/subscription', { body: { topics: [topic] } });
    const polled = await client.values('?max_bytes=9000');
    const target = `/topics/${topic}/partitions/0/records?offset=0&max_bytes=9000`;
    const read = await client.request('GET', target, { accept: BINARY_V2 });
    return [polled.length, (read.body as unknown[]).length];
  }),
  alike('fetch.min.bytes and its other name are waited for', [2, 2], async (client) => {
    const found = [];
    for (const name of ['fetch.min.bytes', 'responseMinBytes']) {
      client.instance = `${client.instance}-${name}`;
      const topic = await client.newTopic();
      await client.create({ [name]: 5, requestWaitMs: 10_000 });
      await client.call('POST', '/subscription', { body: { topics: [topic] } });
      await client.produce(topic, ['a']);
      const polled = client.values('?timeout=10000');
      await client.produce(topic, ['b']);
      found.push((await polled).length);
    }
    return found;
  }),
  alike('requestWaitMs is how long a call waits', true, async (client) => {
    await client.subscribed({ requestWaitMs: 300 });
    const before = performance.now();
    await client.call('GET', '/records');
    const took = performance.now() - before;
    return took >= 298 && took < 2000;
  }),
];

async function untilSome(client: Client): Promise<unknown[]> {
  for (;;) {
    const values = await client.values('?timeout=3000');
    if (values.length > 0) return values;
  }
}

const SEEKING: readonly Row<unknown>[] = (
  [
    ['the beginning', '/positions/beginning', (place: object) => ({ partitions: [place] })],
    ['the end', '/positions/end', (place: object) => ({ partitions: [place] })],
    ['an offset', '/positions', (place: object) => ({ offsets: [{ ...place, offset: 5 }] })],
    ['a time', '/positions', (place: object) => ({ timestamps: [{ ...place, timestamp: 0 }] })],
  ] as const
).map(([where, path, bodyOf]) =>
  alike(`a seek to ${where} commits nothing`, 'c', async (client) => {
    const topic = await client.subscribed({ 'auto.commit.enable': 'false' }, ...'abcdefgh');
    await client.values();
    await client.call('POST', '/offsets', {
      body: { offsets: [{ topic, partition: 0, offset: client.dialect.match(/confluent|karapace/) ? 1 : 2 }] },
    });
    expect((await client.call('POST', path, { body: bodyOf({ topic, partition: 0 }) })).status).toBe(204);
    expect(await client.committed(topic)).toBe(2);
    await client.call('DELETE', '');
    await client.create();
    await client.call('POST', '/subscription', { body: { topics: [topic] } });
    return (await client.values('?timeout=5000'))[0];
  }),
);

testRows([...PRODUCING, ...MISSING, ...COMMITTING, ...READING, ...SEEKING], () => ({ rest, native }));

describe('X-Forwarded-Path', () => {
  const create = async (headers: Record<string, string>, dialect = 'confluent', group = 'forwarded') => {
    const body = { name: `i${Math.random()}` };
    const reply = await rest.post(`/consumers/${group}`, body, { headers, dialect });
    return (reply.body as { base_uri: string }).base_uri.replace(/\/instances\/i[\d.]+$/, '');
  };
  const by = { forwarded: 'host=my-api-gateway-host:443;proto=https' };
  const HOST = 'https://my-api-gateway-host:443';

  test.each(['confluent', 'strimzi', 'karapace', 'redpanda'])('the whole path: %s', async (dialect) =>
    expect(await create({ ...by, 'x-forwarded-path': '/my-bridge/consumers/forwarded' }, dialect)).toBe(
      `${HOST}/my-bridge/consumers/forwarded`,
    ),
  );

  test('a prefix, where it is no whole path', async () => {
    expect(await create({ ...by, 'x-forwarded-path': '/api/?a=b' })).toBe(`${HOST}/api/consumers/forwarded`);
    expect(await create({ ...by, 'x-forwarded-prefix': '/api' }, 'strimzi')).toBe(`${HOST}/api/consumers/forwarded`);
    expect(await create({ ...by, 'x-forwarded-path': '/mapped' }, 'strimzi')).toBe(`${HOST}/mapped`);
    expect(await create({ ...by, 'x-forwarded-path': '/a/consumers/app:x' }, 'confluent', 'app%3Ax')).toBe(
      `${HOST}/a/consumers/app:x`,
    );
  });
});

describe('clients of this API at other paths', () => {
  test.each([
    ['/nothing', { accept: V2 }],
    ['/subjects', { 'content-type': V2 }],
    ['/a/b/c', { 'x-gantry-kafka-dialect': 'strimzi' }],
    ['/kafka', { accept: 'application/vnd.kafka.avro.v2+json, */*;q=0.1' }],
  ] as const)('%s with %j', async (path, headers) => {
    const reply = await fetch(node.url + path, { headers: { ...headers } });
    expect([reply.status, reply.headers.get('content-type')]).toEqual([404, V2]);
    expect(await reply.json()).toEqual({ error_code: 404, message: 'HTTP 404 Not Found' });
  });

  test('others get a problem document', async () => {
    for (const path of ['/nothing', '/v1/nothing']) {
      const reply = await fetch(node.url + path, { headers: path === '/nothing' ? {} : { accept: V2 } });
      expect(await reply.json()).toMatchObject({ code: 'PATH_NOT_FOUND' });
    }
  });
});
