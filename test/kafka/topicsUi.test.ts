/** The requests of kafka-topics-ui's view of messages, from a page of another origin, as its browser makes them. */
import { BINARY_V2, JSON_V2, kafka, TEXT_V2, V2, type Kafka, type KafkaParts } from '../support/kafka';
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';

const ORIGIN = 'http://topics-ui.example:8000';

let node: Standalone;
let rest: Kafka;
let native: Http;

beforeAll(async () => {
  node = await Standalone.start({ 'cors-origins': ORIGIN });
  rest = kafka(node.url);
  native = http(node.url, contract);
  node.closeFirst(() => rest.close());
  node.closeFirst(() => native.close());
});
afterAll(() => node.stop());

/** With the preflight that a browser makes before it. */
async function fromBrowser(method: string, path: string, parts: KafkaParts = {}) {
  const preflight = await fetch(node.url + path, {
    method: 'OPTIONS',
    headers: {
      origin: ORIGIN,
      'access-control-request-method': method,
      'access-control-request-headers': 'accept,content-type,x-gantry-kafka-dialect',
    },
  });
  expect(preflight.status).toBe(204);
  const allowed = (name: string) =>
    (preflight.headers.get(`access-control-allow-${name}`) ?? '').toLowerCase().split(/, */);
  expect(allowed('origin')).toEqual([ORIGIN]);
  expect(allowed('methods')).toContain(method.toLowerCase());
  expect(allowed('headers')).toEqual(expect.arrayContaining(['content-type', 'x-gantry-kafka-dialect']));
  const reply = await rest.request(method, path, { ...parts, headers: { origin: ORIGIN, ...parts.headers } });
  expect(reply.headers['access-control-allow-origin']).toBe(ORIGIN);
  return reply;
}

/** A topic as kafka-topics-ui shows it: it tries one format after the other until one of them can be read. */
async function view(topic: string, where: 'beginning' | 'end' = 'beginning') {
  const tried: string[] = [];
  for (const format of ['avro', 'json', 'binary']) {
    tried.push(format);
    const [group, instance] = [`kafka_topics_ui_${format}_${topic}`, `kafka-topics-ui-${format}`];
    const base = `/consumers/${group}/instances/${instance}`;
    const settings = { name: instance, format, 'auto.offset.reset': 'earliest', 'auto.commit.enable': 'false' };
    const made = await fromBrowser('POST', `/consumers/${group}`, { body: settings, type: V2 });
    expect(made.status).toBe(200);
    const { body } = await fromBrowser('GET', `/topics/${topic}/partitions`, {
      accept: 'application/vnd.kafka.v2+json, application/vnd.kafka+json, application/json',
    });
    const partitions = (body as { partition: number }[]).map(({ partition }) => ({ topic, partition }));
    for (const path of ['/assignments', `/positions/${where}`])
      expect((await fromBrowser('POST', `${base}${path}`, { body: { partitions }, type: V2 })).status).toBe(204);
    const accept = `application/vnd.kafka.${format}.v2+json`;
    const headers = { 'content-type': V2 };
    const polled = await fromBrowser('GET', `${base}/records?timeout=2000&max_bytes=50000`, { accept, headers });
    expect((await fromBrowser('DELETE', base, { headers })).status).toBe(204);
    if (polled.status === 200) return { tried, records: polled.body as { value: unknown; partition: number }[] };
  }
  throw new Error('nothing could be read');
}

test('JSON: avro is tried, fails, and JSON is shown of all partitions', async () => {
  await native.call('createTopic', { body: { name: 'shown', writeQueues: 3 } });
  const records = [0, 1, 2].map((partition) => ({ value: { at: partition }, partition }));
  await rest.post('/topics/shown', { records }, { type: JSON_V2 });
  const { tried, records: shown } = await view('shown');
  expect(tried).toEqual(['avro', 'json']);
  expect(shown.map(({ value }) => value)).toEqual(expect.arrayContaining(records.map(({ value }) => value)));
  expect(shown).toHaveLength(3);
});

test('text and bytes are shown, too, and an empty topic is empty', async () => {
  await native.call('createTopic', { body: { name: 'mixed', writeQueues: 1 } });
  expect(await view('mixed')).toEqual({ tried: ['avro'], records: [] });
  await rest.post('/topics/mixed', { records: [{ value: 'plain' }] }, { type: TEXT_V2 });
  await rest.post('/topics/mixed', { records: [{ value: '/w==' }] }, { type: BINARY_V2 });
  const { tried, records } = await view('mixed');
  expect([tried, records.map(({ value }) => value)]).toEqual([
    ['avro', 'json'],
    ['plain', '/w=='],
  ]);
  expect(await view('mixed', 'end')).toEqual({ tried: ['avro'], records: [] });
});
