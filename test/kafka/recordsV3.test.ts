/** Producing by version 3 of the API, over real HTTP, as Confluent's clients and Grafana do. */
import { request as open } from 'node:http';
import type { Http } from '../support/http';
import { JSON_V2, startSite, type Kafka } from '../support/kafka';
import type { Standalone } from '../support/node';

let node: Standalone;
let rest: Kafka;
let native: Http;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
  await native.call('createTopic', { body: { name: 'orders', writeQueues: 4 } });
});
afterAll(() => node.stop());

const JSON_TYPE = 'application/json';
const RECORDS = '/v3/clusters/any/topics/orders/records';

type Report = Readonly<Record<string, unknown>>;

const reportsIn = (text: string): Report[] =>
  text
    .split('\r\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Report);

/** Sends a text in one piece; answers the status and the reports. */
async function produce(text: string, { target = RECORDS, type = JSON_TYPE }: { target?: string; type?: string } = {}) {
  const answer = await fetch(node.url + target, { method: 'POST', headers: { 'content-type': type }, body: text });
  expect(answer.headers.get('content-type')).toBe(JSON_TYPE);
  return { status: answer.status, reports: reportsIn(await answer.text()) };
}

/** The record at a place that a report tells, as version 2 shows it. */
async function recordAt({ partition_id: partition, offset }: Report, format = 'json') {
  const target = `/topics/orders/partitions/${String(partition)}/records?offset=${String(offset)}&count=1`;
  const accept = `application/vnd.kafka.${format}.v2+json`;
  return ((await rest.get(target, { accept })).body as Report[])[0]!;
}

describe('one record', () => {
  test.each([
    ['JSON', '{"total": 12.50, "b": 1, "a": 2}', 32],
    ['STRING', '"text"', 4],
    ['BINARY', '"AAEC"', 3],
  ])('%s data is stored as it was written, and the report tells its place', async (type, data, size) => {
    const { status, reports } = await produce(`{"value": {"type": "${type}", "data": ${data}}}`);
    expect([status, reports]).toEqual([
      200,
      [
        {
          error_code: 200,
          cluster_id: 'any',
          topic_name: 'orders',
          partition_id: expect.any(Number),
          offset: expect.any(Number),
          timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
          value: { type, size },
        },
      ],
    ]);
    const path = { topic: 'orders', broker: 'broker-a', queueId: reports[0]!['partition_id'] as number };
    const query = { offset: reports[0]!['offset'] as number };
    const [message] = (await native.call('readQueue', { path, query })).body.messages;
    expect(message!.body).toBe(type === 'JSON' ? data : (JSON.parse(data) as string));
  });

  test('key, headers, partition and timestamp are those of the record', async () => {
    const record = {
      partition_id: 2,
      headers: [{ name: 'h', value: 'AQ==' }, { name: 'none' }],
      key: { type: 'STRING', data: 'order-7' },
      value: { type: 'JSON', data: { a: 1 } },
      timestamp: '2026-01-02T03:04:05.678Z',
    };
    const { reports } = await produce(JSON.stringify(record));
    expect(reports[0]).toMatchObject({
      error_code: 200,
      partition_id: 2,
      timestamp: record.timestamp,
      key: { type: 'STRING', size: 7 },
    });
    expect(await recordAt(reports[0]!, 'binary')).toMatchObject({ key: Buffer.from('order-7').toString('base64') });
    const { body } = await native.call('queryMessages', { path: { topic: 'orders' }, query: { key: 'order-7' } });
    expect(body.messages[0]!.properties).toMatchObject({
      'gantry-kafka-timestamp': String(Date.parse(record.timestamp)),
      'gantry-kafka-headers': '[["h","AQ=="],["none",null]]',
    });
  });

  test('a key chooses the partition that it has in version 2', async () => {
    const v3 = await produce('{"key": {"type": "JSON", "data": "k-1"}, "value": {"type": "JSON", "data": 1}}');
    const v2 = await rest.post('/topics/orders', { records: [{ key: 'k-1', value: 1 }] }, { type: JSON_V2 });
    const [{ partition }] = (v2.body as { offsets: [{ partition: number }] }).offsets;
    expect(v3.reports[0]!['partition_id']).toBe(partition);
  });

  test.each([
    ['no record', '', 400],
    ['no JSON', '{"value": nonsense}', 400],
    ['no object', '[1]', 400],
    ['no end', '{"value": {"type": "JSON"', 400],
    ['an unknown field', '{"valur": {"type": "JSON", "data": 1}}', 400],
    ['data without its envelope', '{"value": "text"}', 400],
    ['data without a type', '{"value": {"data": 1}}', 400],
    ['a string that is none', '{"value": {"type": "STRING", "data": 1}}', 400],
    ['base64 that is none', '{"value": {"type": "BINARY", "data": "*"}}', 400],
    ['a time that is none', '{"value": {"type": "JSON", "data": 1}, "timestamp": "soon"}', 400],
    ['a schema', '{"value": {"type": "AVRO", "data": 1}}', 42207],
    ['a schema by its id', '{"value": {"schema_id": 1, "data": 1}}', 42207],
    ['no such partition', '{"partition_id": 9, "value": {"type": "JSON", "data": 1}}', 40402],
    ['a negative partition', '{"partition_id": -1, "value": {"type": "JSON", "data": 1}}', 40402],
  ])('%s: status 200, and the code in the report', async (_, text, code) => {
    const { status, reports } = await produce(text);
    expect([status, reports]).toEqual([200, [{ error_code: code, message: expect.any(String) }]]);
  });

  test('of a topic that does not exist, or in another content type', async () => {
    const record = '{"value": {"type": "JSON", "data": 1}}';
    const missing = await produce(record, { target: '/v3/clusters/any/topics/none/records' });
    expect(missing).toMatchObject({ status: 200, reports: [{ error_code: 40403 }] });
    expect(await produce(record, { type: 'text/plain' })).toMatchObject({
      status: 415,
      reports: [{ error_code: 415 }],
    });
  });
});

describe('several records', () => {
  test('each has its report, in order, the failed ones too', async () => {
    const record = (n: number) => `{"value": {"type": "JSON", "data": ${n}}}`;
    const { reports } = await produce(`${record(1)}${record(2)}\n {"value": 5} \r\n${record(3)}`);
    expect(reports.map((report) => report['error_code'])).toEqual([200, 200, 400, 200]);
    for (const [i, n] of [1, 2, undefined, 3].entries())
      if (n !== undefined) expect(await recordAt(reports[i]!)).toMatchObject({ value: n });
  });

  test('the records before broken JSON are stored, and a report ends the answer', async () => {
    const { reports } = await produce('{"value": {"type": "STRING", "data": "} {\\""}} what {"value": null}');
    expect(reports.map((report) => report['error_code'])).toEqual([200, 400]);
  });

  test('a report comes while the request is still open', async () => {
    const { hostname, port } = new URL(node.url);
    const req = open({ hostname, port, path: RECORDS, method: 'POST', headers: { 'content-type': JSON_TYPE } });
    const chunks: string[] = [];
    let more: () => void = () => undefined;
    req.on('response', (res) =>
      res.setEncoding('utf8').on('data', (chunk: string) => void (chunks.push(chunk), more())),
    );
    for (let n = 1; n <= 3; n++) {
      const told = new Promise<void>((resolve) => (more = resolve));
      // Cut in the middle of a character and of an escape.
      const bytes = Buffer.from(`{"value": {"type": "STRING", "data": "ü\\"${n}"}}`);
      for (const [from, to] of [
        [0, 39],
        [39, 41],
        [41, bytes.length],
      ] as const)
        req.write(bytes.subarray(from, to));
      await told;
      const reports = reportsIn(chunks.join(''));
      expect(reports).toHaveLength(n);
      expect(await recordAt(reports.at(-1)!, 'text')).toMatchObject({ value: `ü"${n}` });
    }
    const ended = new Promise((resolve) => req.on('close', resolve));
    req.end();
    await ended;
  });
});

describe('a batch', () => {
  const batch = (entries: unknown) => rest.post(`${RECORDS}:batch`, { entries }, { type: JSON_TYPE });

  test('tells by id which records are stored and which are not', async () => {
    const { status, body } = await batch([
      { id: 'a', value: { type: 'JSON', data: 1 } },
      { id: 'b', value: 1 },
      { id: 'c', key: { type: 'STRING', data: 'k' }, value: { type: 'JSON', data: null } },
    ]);
    expect([status, body]).toMatchObject([
      207,
      { successes: [{ id: 'a', topic_name: 'orders' }, { id: 'c' }], failures: [{ id: 'b', error_code: 400 }] },
    ]);
  });

  test.each([
    ['none', []],
    ['no list', { a: 1 }],
    ['no id', [{ value: null }]],
    ['an id twice', ['a', 'a'].map((id) => ({ id, value: null }))],
    ['eleven', Array.from({ length: 11 }, (_, i) => ({ id: String(i), value: null }))],
  ])('is refused with %s', async (_, entries) => {
    expect(await batch(entries)).toMatchObject({ status: 422, body: { error_code: 42208 } });
  });
});

describe('resources', () => {
  test('clusters, topics and partitions, with links behind the prefix of a proxy', async () => {
    const headers = { 'x-forwarded-prefix': '/rest', 'x-forwarded-host': 'kafka.example' };
    const { body } = await rest.get('/v3/clusters', { headers });
    expect(body).toMatchObject({
      kind: 'KafkaClusterList',
      data: [
        {
          cluster_id: 'DefaultCluster',
          topics: { related: expect.stringMatching(/\/v3\/clusters\/DefaultCluster\/topics$/) },
        },
      ],
    });
    expect((body as { metadata: { self: string } }).metadata.self).toBe('http://kafka.example/rest/v3/clusters');
    const topics = await rest.get('/v3/clusters/any/topics');
    expect(topics.body).toMatchObject({ data: [{ topic_name: 'orders', partitions_count: 4 }] });
    expect((await rest.get('/v3/clusters/any/topics/orders/partitions')).body).toMatchObject({
      data: [0, 1, 2, 3].map((partition_id) => ({ partition_id })),
    });
    expect((await rest.get('/v3/clusters/any/topics/orders/partitions/3')).status).toBe(200);
    expect((await rest.get('/v3/clusters/any')).body).toMatchObject({ cluster_id: 'any' });
  });

  test('a missing resource has its code, and other methods are named', async () => {
    expect((await rest.get('/v3/clusters/any/topics/none')).body).toMatchObject({ error_code: 40403 });
    expect((await rest.get('/v3/clusters/any/topics/orders/partitions/9')).body).toMatchObject({ error_code: 40402 });
    expect(await rest.get('/v3/nothing')).toMatchObject({ status: 404, type: JSON_TYPE });
    expect(await rest.get(RECORDS)).toMatchObject({ status: 405, headers: { allow: 'POST, OPTIONS' } });
  });

  test('a topic is created once', async () => {
    const create = () =>
      rest.post('/v3/clusters/any/topics', { topic_name: 'made', partitions_count: 3 }, { type: JSON_TYPE });
    expect(await create()).toMatchObject({ status: 201, body: { topic_name: 'made', partitions_count: 3 } });
    expect(await create()).toMatchObject({ status: 400, body: { error_code: 40002 } });
  });
});

/** The requests of Grafana's Kafka contact point with API version v3. */
test.each(['', '/kafka'])('Grafana notifies below %j', async (prefix) => {
  const clusters = (await rest.get(`${prefix}/v3/clusters`, { accept: JSON_TYPE })).body as {
    data: [{ cluster_id: string }];
  };
  const target = `${prefix}/v3/clusters/${clusters.data[0].cluster_id}/topics/orders/records`;
  const alert = { alert_state: 'alerting', client: 'Grafana', description: '[FIRING:1]', incident_key: 'abc' };
  const body = { value: { type: 'JSON', data: alert } };
  const answer = await rest.post(target, body, { type: JSON_TYPE, accept: JSON_TYPE });
  expect(answer).toMatchObject({ status: 200, body: { error_code: 200 } });
  expect(await recordAt(answer.body as Report)).toMatchObject({ value: alert });
});
