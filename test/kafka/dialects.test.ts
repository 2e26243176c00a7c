/**
 * Every row of the table of differences between the servers of this API (rest-gateways.md, section 1.0), for every
 * dialect, over real HTTP. A row in which all are served alike says so: there the union of what clients send is taken.
 */
import { DIALECTS, readDialect } from '../../api/kafka/dialects';
import { OPTIONS } from '../../src/config/option';
import type { Http } from '../support/http';
import { BINARY_V2, JSON_V2, kafka, startSite, type Kafka, type KafkaParts } from '../support/kafka';
import { alike, Client, codeOf, offsetsOf, row, testRows, type Name, type Row } from '../support/kafkaDialects';
import { Standalone } from '../support/node';
import { patience } from '../support/patience';

let node: Standalone;
let rest: Kafka;
let native: Http;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
});
afterAll(() => node.stop());

const newClient = (dialect: string) => new Client({ rest, native }, dialect);

const HEADERS: Record<Name, object[]> = {
  confluent: [{ key: 'h', value: 'MQ==' }],
  strimzi: [{ key: 'h', value: 'MQ==' }],
  karapace: [{ name: 'h', value: 'MQ==' }],
  redpanda: [{ key: 'h', value: 'MQ==' }],
};
const MISSING_RESULT = 'This server does not host this topic-partition.';

const ROWS: readonly Row<unknown>[] = [
  row('explicit commit of offset 0 stores', { confluent: 1, strimzi: 0, karapace: 1, redpanda: 0 }, async (client) => {
    const topic = await client.subscribed({}, 'a', 'b');
    await client.call('GET', '/records');
    await client.call('POST', '/offsets', { body: { offsets: [{ topic, partition: 0, offset: 0 }] } });
    return client.committed(topic);
  }),
  row(
    'commit answer',
    { confluent: [200, '[]'], strimzi: [204, ''], karapace: [204, ''], redpanda: [204, ''] },
    async (client) => {
      const topic = await client.subscribed({}, 'a');
      const body = { offsets: [{ topic, partition: 0, offset: 0 }] };
      const { status, text } = await client.call('POST', '/offsets', { body });
      return [status, text];
    },
  ),
  alike(
    'commit with an empty body, with {}, or with nothing delivered commits what was delivered',
    [0, 2, 2],
    async (client) => {
      const topic = await client.subscribed({ 'auto.commit.enable': 'false' }, 'a', 'b');
      const found = [];
      await client.call('POST', '/offsets');
      found.push(await client.committed(topic));
      await client.call('GET', '/records');
      await client.call('POST', '/offsets');
      found.push(await client.committed(topic));
      await client.call('POST', '/offsets', { body: {} });
      found.push(await client.committed(topic));
      return found;
    },
  ),
  alike('both keys of auto commit, as string and as boolean', [0, 0, 0, 0, 1, 1, 1, 1, 1], async () => {
    const found = [];
    const settings = [false, 'false', true, 'true'].flatMap((value) => [
      { 'auto.commit.enable': value },
      { 'enable.auto.commit': value },
    ]);
    for (const one of [...settings, {}]) {
      const fresh = newClient('confluent');
      const topic = await fresh.subscribed(one, 'a');
      await fresh.call('GET', '/records');
      await fresh.call('GET', '/records?timeout=0');
      found.push(await fresh.committed(topic));
    }
    return found;
  }),
  alike(
    'unknown keys at creation are ignored',
    200,
    async (client) => (await client.create({ 'no.such.key': { a: 1 } })).status,
  ),
  row(
    'auto.offset.reset default',
    { confluent: 'latest', strimzi: 'latest', karapace: 'earliest', redpanda: 'earliest' },
    async (client) => {
      await client.subscribed({ 'auto.offset.reset': undefined }, 'a');
      return ((await client.call('GET', '/records?timeout=0')).body as unknown[]).length > 0 ? 'earliest' : 'latest';
    },
  ),
  alike('fetch.min.bytes or not, a call is answered by the first record', 1, async (client) => {
    await client.subscribed({}, 'a');
    return ((await client.call('GET', '/records?timeout=30000')).body as unknown[]).length;
  }),
  alike('max_bytes too small: one record at a time, none is lost', ['a', 'b', 'c'], async (client) => {
    await client.subscribed({}, 'a', 'b', 'c');
    const found = [];
    for (let i = 0; i < 3; i++) {
      const { body } = await client.call('GET', '/records?max_bytes=1');
      found.push(...(body as { value: string }[]).map(({ value }) => value));
    }
    return found;
  }),
  row(
    'produce to a missing topic',
    {
      confluent: [200, [{ partition: null, offset: null, error_code: 50003, error: MISSING_RESULT }]],
      strimzi: [200, [{ error_code: 404, message: MISSING_RESULT }]],
      karapace: [404, 40401],
      redpanda: [200, [{ partition: -1, error_code: 3, offset: -1 }]],
    },
    async (client) => {
      const reply = await client.produce('none', ['a']);
      return reply.status === 200 ? [200, offsetsOf(reply)] : codeOf(reply);
    },
  ),
  row('any record failed: status', { confluent: 200, strimzi: 200, karapace: 422, redpanda: 200 }, async (client) => {
    const topic = await client.newTopic();
    const records = [{ value: 1 }, { value: 2, partition: 5 }];
    return (await client.request('POST', `/topics/${topic}`, { body: { records }, type: JSON_V2 })).status;
  }),
  row(
    'all records failed because the topic is closed: status',
    { confluent: 403, strimzi: 200, karapace: 422, redpanda: 200 },
    async (client) => {
      const topic = await client.newTopic();
      await native.call('updateTopic', { path: { topic }, body: { permission: 'R' } });
      return (await client.produce(topic, ['a'])).status;
    },
  ),
  row(
    'shape of a failed record',
    {
      confluent: ['partition', 'offset', 'error_code', 'error'],
      strimzi: ['error_code', 'message'],
      karapace: ['error_code', 'error'],
      redpanda: ['partition', 'error_code', 'offset'],
    },
    async (client) => Object.keys(offsetsOf(await client.produce(await client.newTopic('DELAY'), ['a']))[0]!),
  ),
  row(
    'shape of a stored record and of its answer',
    {
      confluent:
        '{"offsets":[{"partition":0,"offset":0,"error_code":null,"error":null}],"key_schema_id":null,"value_schema_id":null}',
      strimzi: '{"offsets":[{"partition":0,"offset":0}]}',
      karapace: '{"offsets":[{"partition":0,"offset":0}],"key_schema_id":null,"value_schema_id":null}',
      redpanda: '{"offsets":[{"partition":0,"offset":0}]}',
    },
    async (client) => (await client.produce(await client.newTopic(), ['a'])).text,
  ),
  row('error body', { confluent: 40403, strimzi: 404, karapace: 40403, redpanda: 40403 }, async (client) => {
    const { body } = await client.call('GET', '/records');
    expect(Object.keys(body as object)).toEqual(['error_code', 'message']);
    return (body as { error_code: number }).error_code;
  }),
  row(
    'seek on an unassigned partition',
    { confluent: [409, 40903], strimzi: [404, 404], karapace: [409, 40903], redpanda: [409, 40903] },
    async (client) => {
      await client.subscribed();
      const body = { partitions: [{ topic: await client.newTopic(), partition: 0 }] };
      return codeOf(await client.call('POST', '/positions/beginning', { body }));
    },
  ),
  row(
    'duplicate instance name',
    { confluent: [409, 40902], strimzi: [409, 409], karapace: [409, 40902], redpanda: [409, 40902] },
    async (client) => {
      await client.create();
      return codeOf(await client.create());
    },
  ),
  row(
    'wrong embedded format',
    { confluent: [406, 40601], strimzi: [406, 406], karapace: [406, 40601], redpanda: [406, 406] },
    async (client) => {
      await client.subscribed();
      return codeOf(await client.call('GET', '/records', { accept: BINARY_V2 }));
    },
  ),
  row(
    'unknown instance',
    { confluent: [404, 40403], strimzi: [404, 404], karapace: [404, 40403], redpanda: [404, 40403] },
    async (client) => codeOf(await client.call('DELETE', '')),
  ),
  row(
    'missing topic on GET /topics/{t}',
    { confluent: [404, 40401], strimzi: [404, 404], karapace: [404, 40403], redpanda: [404, 40402] },
    async (client) => codeOf(await client.request('GET', '/topics/none')),
  ),
  row('headers of records go in and come out', HEADERS, async (client) => {
    const topic = await client.newTopic();
    const records = [{ value: 1, headers: HEADERS[client.dialect as Name] }];
    await client.request('POST', `/topics/${topic}`, { body: { records }, type: JSON_V2 });
    const { body } = await client.request('GET', `/topics/${topic}/partitions/0/records?offset=0`, { accept: JSON_V2 });
    return (body as { headers: unknown }[])[0]!.headers;
  }),
  row(
    'timestamp of a record that was sent without',
    { confluent: false, strimzi: true, karapace: true, redpanda: false },
    async (client) => {
      await client.subscribed({}, 'a');
      return 'timestamp' in (await client.call('GET', '/records')).body[0];
    },
  ),
  alike('application/json and octet-stream as Content-Type are binary', [200, 200, 'hi', 'hi'], async (client) => {
    const topic = await client.newTopic();
    const first = await client.produce(topic, ['aGk='], 'application/json');
    const second = await client.produce(topic, ['aGk='], 'application/octet-stream');
    const { messages } = (
      await native.call('readQueue', { path: { topic, broker: 'broker-a', queueId: 0 }, query: { offset: 0 } })
    ).body;
    return [first.status, second.status, ...messages.map(({ body }) => Buffer.from(body, 'base64').toString())];
  }),
  alike('GET offsets with a body on GET, and without', [1, 1], async (client) => {
    const topic = await client.subscribed({}, 'a');
    const count = async (parts: KafkaParts) => offsetsOf(await client.call('GET', '/offsets', parts)).length;
    return [await count({ body: { partitions: [{ topic, partition: 0 }] } }), await count({})];
  }),
  alike('GET assignments', 1, async (client) => {
    await client.subscribed();
    return ((await client.call('GET', '/assignments')).body as { partitions: unknown[] }).partitions.length;
  }),
  alike('seek by timestamp', ['a'], async (client) => {
    const topic = await client.subscribed({ 'auto.offset.reset': 'latest' }, 'a');
    const body = { timestamps: [{ topic, partition: 0, timestamp: 0 }] };
    expect((await client.call('POST', '/positions', { body })).status).toBe(204);
    return ((await client.call('GET', '/records')).body as { value: string }[]).map(({ value }) => value);
  }),
  alike('regex subscription', 1, async (client) => {
    const topic = await client.newTopic();
    await client.create();
    await client.call('POST', '/subscription', {
      body: { topic_pattern: `${topic.slice(0, -1)}[${topic.slice(-1)}]` },
    });
    return ((await client.call('GET', '/subscription')).body as { topics: string[] }).topics.length;
  }),
  row(
    'base_uri',
    {
      confluent: 'http://gantry.example',
      strimzi: 'http://gantry.example:80',
      karapace: 'http://gantry.example',
      redpanda: 'http://gantry.example',
    },
    async (client) => {
      const headers = { host: 'gantry.example' };
      const { body } = await client.request('POST', `/consumers/${client.group}`, { body: { name: 'i' }, headers });
      return (body as { base_uri: string }).base_uri.replace(`/consumers/${client.group}/instances/i`, '');
    },
  ),
  alike('/brokers', { brokers: [0] }, async (client) => (await client.request('GET', '/brokers')).body as object),
  alike('falsy JSON values', [0, false, '', [], {}, null], async (client) => {
    await client.subscribed({}, 0, false, '', [], {}, null);
    return ((await client.call('GET', '/records')).body as { value: unknown }[]).map(({ value }) => value);
  }),
];

testRows(ROWS, () => ({ rest, native }));

describe('waiting', () => {
  // Default wait of a records call, and its upper bound: as milliseconds that a call without records took.
  test.each([
    ['confluent', '', 1000],
    ['confluent', '?timeout=20000', 1000],
    ['confluent', '?timeout=50', 50],
    ['strimzi', '', 100],
    ['strimzi', '?timeout=1500', 1500],
    ['redpanda', '', 100],
    ['karapace,waitMs=300', '', 300],
    ['karapace,waitMs=300', '?timeout=700', 700],
  ])('%s%s: %s ms', async (dialect, query, ms) => {
    const client = newClient(dialect);
    await client.subscribed();
    const before = performance.now();
    expect((await client.call('GET', `/records${query}`)).body).toEqual([]);
    const took = performance.now() - before;
    expect(took).toBeGreaterThanOrEqual(ms - 2);
    expect(took).toBeLessThan(ms + patience(900));
  });
});

describe('switches', () => {
  test('each by itself', async () => {
    const client = newClient(
      'commitOffset=next, missingTopic=404 ,partialFailure=422,unassignedSeek=404,commitAnswer=204',
    );
    expect(codeOf(await client.produce('none', ['a']))).toEqual([404, 40401]);
    const topic = await client.subscribed({}, 'a', 'b');
    const records = [{ value: 1 }, { value: 2, partition: 5 }];
    expect((await client.request('POST', `/topics/${topic}`, { body: { records }, type: JSON_V2 })).status).toBe(422);
    expect(
      (await client.call('POST', '/offsets', { body: { offsets: [{ topic, partition: 0, offset: 1 }] } })).status,
    ).toBe(204);
    expect(await client.committed(topic)).toBe(1);
    const body = { partitions: [{ topic: await client.newTopic(), partition: 0 }] };
    expect((await client.call('POST', '/positions/end', { body })).status).toBe(404);
  });

  test.each(['nobody', 'commitOffset=first', 'waitMs=99999', 'toString', '__proto__', 'commitOffset=constructor'])(
    '%s is refused',
    async (dialect) =>
      expect(await rest.get('/topics', { dialect })).toMatchObject({ status: 400, body: { error_code: 400 } }),
  );
});

test('the option takes what the header takes', () => {
  const read = (text: string) => OPTIONS.kafkaDialect.kind.read(text);
  for (const text of [
    ...Object.keys(DIALECTS),
    'waitMs=0',
    'waitMs=30000',
    'strimzi,commitOffset=last,missingTopic=404',
  ]) {
    expect(read(text)).toBe(text);
    readDialect(text);
  }
  for (const text of ['', 'nobody', 'commitOffset=first', 'waitMs=30001', 'waitMs=99999'])
    expect(read(text)).toBeUndefined();
});

test('the server’s own dialect, and a request’s on top of it', async () => {
  const other = await Standalone.start({ 'kafka-dialect': 'strimzi,missingTopic=404' });
  const client = kafka(other.url);
  other.closeFirst(() => client.close());
  expect(await client.get('/topics/none')).toMatchObject({ status: 404, body: { error_code: 404 } });
  expect(await client.get('/topics/none', { dialect: 'karapace' })).toMatchObject({
    status: 404,
    body: { error_code: 40403 },
  });
  const produce = (dialect?: string) =>
    client.post('/topics/none', { records: [{ value: 1 }] }, { type: JSON_V2, ...(dialect ? { dialect } : {}) });
  expect((await produce()).status).toBe(404);
  expect((await produce('missingTopic=perRecord')).body).toMatchObject({ offsets: [{ error_code: 404 }] });
  await other.stop();
});
