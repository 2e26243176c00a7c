/** Whatever goes in as a record comes out as it was; and what one API wrote the other reads. */
import * as fc from 'fast-check';
import type { Http } from '../support/http';
import { BINARY_V2, JSON_V2, startSite, TEXT_V2, type Kafka } from '../support/kafka';
import type { Standalone } from '../support/node';

let node: Standalone;
let rest: Kafka;
let native: Http;
let topics = 0;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
});
afterAll(() => node.stop());

interface Header {
  readonly key: string;
  readonly value: string | null;
}

interface Read {
  readonly key: unknown;
  readonly value: unknown;
  readonly headers?: Header[];
  readonly timestamp?: number;
}

async function newTopic(): Promise<string> {
  const name = `t${topics++}`;
  await native.call('createTopic', { body: { name, writeQueues: 1 } });
  return name;
}

async function readText(topic: string, accept: string, dialect?: string): Promise<string> {
  const target = `/topics/${topic}/partitions/0/records?offset=0&max_bytes=60000000`;
  const reply = await rest.get(target, { accept, ...(dialect === undefined ? {} : { dialect }) });
  expect(reply).toMatchObject({ status: 200, type: accept });
  return reply.text;
}

const read = async (topic: string, accept: string, dialect?: string): Promise<Read[]> =>
  JSON.parse(await readText(topic, accept, dialect)) as Read[];

async function send(topic: string, type: string, records: unknown): Promise<void> {
  const text = typeof records === 'string' ? records : JSON.stringify({ records });
  const { status, body } = await rest.request('POST', `/topics/${topic}`, { text, type });
  const { offsets } = body as { offsets: { error: unknown }[] };
  expect({ status, failed: offsets.filter(({ error }) => error !== null) }).toEqual({ status: 200, failed: [] });
}

describe('JSON', () => {
  test('every value, as key and as value', async () => {
    const values = [
      0,
      -0.5,
      false,
      true,
      '',
      'text',
      'ü 😀 \u2028 "',
      [],
      {},
      [null],
      { a: { b: [] } },
      1e21,
      { __proto__x: 1 },
    ];
    const topic = await newTopic();
    await send(
      topic,
      JSON_V2,
      values.map((value) => ({ key: value, value })),
    );
    expect((await read(topic, JSON_V2)).map(({ key, value }) => [key, value])).toEqual(
      values.map((value) => [value, value]),
    );
  });

  test('no value and no key', async () => {
    const topic = await newTopic();
    await send(topic, JSON_V2, [{ value: null }, { key: null }, { key: 'k' }, { key: null, value: 'null' }]);
    const records = await read(topic, JSON_V2);
    expect(records.map(({ key, value }) => [key, value])).toEqual([
      [null, null],
      [null, null],
      ['k', null],
      [null, 'null'],
    ]);
    expect((await read(topic, BINARY_V2)).map(({ value }) => value)).toEqual([null, null, null, 'Im51bGwi']);
  });

  test('numbers that a double cannot hold', async () => {
    const topic = await newTopic();
    const value = '{"id":12345678901234567890,"pi":3.14159265358979323846,"far":1e400,"text":"\\"}1e5{"}';
    await send(
      topic,
      JSON_V2,
      ` { "records" : [ {"value":${value}, "key" : 98765432109876543210 } , {"value":[1E5,-0]}]}`,
    );
    const text = await readText(topic, JSON_V2);
    expect(text).toContain(`"key":98765432109876543210,"value":${value}`);
    expect(text).toContain('"value":[1E5,-0]');
  });

  test('anything (random)', async () => {
    const record = fc.record({ key: fc.json().map((text) => text), value: fc.json() });
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 20 }), async (records) => {
        const topic = await newTopic();
        await send(
          topic,
          JSON_V2,
          `{"records":[${records.map(({ key, value }) => `{"key":${key},"value":${value}}`).join()}]}`,
        );
        const found = await read(topic, JSON_V2);
        expect(found.map(({ key, value }) => ({ key, value }))).toEqual(
          records.map(({ key, value }) => ({ key: JSON.parse(key) as unknown, value: JSON.parse(value) as unknown })),
        );
      }),
      { numRuns: 50 },
    );
  });
});

describe('bytes', () => {
  test('of keys, values and headers (random)', async () => {
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array).toString('base64'));
    const headers = fc.array(
      fc.record({
        key: fc.string({ unit: 'binary', maxLength: 8 }).filter((s) => s.isWellFormed()),
        value: fc.option(bytes),
      }),
      { maxLength: 6 },
    );
    const record = fc.record({ key: fc.option(bytes), value: fc.option(bytes), headers, timestamp: fc.nat() });
    await fc.assert(
      fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 20 }), async (records) => {
        const topic = await newTopic();
        await send(topic, BINARY_V2, records);
        const found = await read(topic, BINARY_V2);
        expect(found.map(({ key, value, headers = [], timestamp }) => ({ key, value, headers, timestamp }))).toEqual(
          records,
        );
      }),
      { numRuns: 50 },
    );
  });

  test('text', async () => {
    const topic = await newTopic();
    await send(topic, TEXT_V2, [
      { key: '', value: '' },
      { key: 'ü', value: 'a\n"b"\u0000' },
    ]);
    expect((await read(topic, TEXT_V2)).map(({ key, value }) => [key, value])).toEqual([
      ['', ''],
      ['ü', 'a\n"b"\u0000'],
    ]);
    expect((await read(topic, BINARY_V2)).map(({ value }) => value)).toEqual([
      '',
      Buffer.from('a\n"b"\u0000').toString('base64'),
    ]);
  });

  test('what is no JSON is shown all the same', async () => {
    const topic = await newTopic();
    await send(topic, BINARY_V2, [{ key: '/w==', value: 'e30=' }, { value: 'bm90IGpzb24=' }, { value: '/w==' }]);
    const mark = (text: string) => ({ key: 'gantry-shown-as', value: Buffer.from(text).toString('base64') });
    expect(await read(topic, JSON_V2)).toMatchObject([
      { key: '/w==', value: {}, headers: [mark('key=base64')] },
      { value: 'not json', headers: [mark('value=text')] },
      { value: '/w==', headers: [mark('value=base64')] },
    ]);
    expect((await read(topic, TEXT_V2)).map(({ value }) => value)).toEqual(['{}', 'not json', '/w==']);
  });
});

describe('headers and times', () => {
  test('names may stand twice, values may be missing', async () => {
    const topic = await newTopic();
    const headers = [
      { key: 'a', value: 'MQ==' },
      { key: 'b', value: null },
      { key: 'a', value: 'Mg==' },
    ];
    await send(topic, JSON_V2, [{ value: 1, headers }]);
    expect((await read(topic, JSON_V2))[0]!.headers).toEqual(headers);
  });

  test('a record without any has none, and tells its time where the dialect says so', async () => {
    const topic = await newTopic();
    await send(topic, JSON_V2, [{ value: 1 }, { value: 2, timestamp: 1234 }]);
    const [plain, timed] = await read(topic, JSON_V2);
    expect(Object.keys(plain!)).toEqual(['topic', 'key', 'value', 'partition', 'offset']);
    expect(timed!.timestamp).toBe(1234);
    for (const dialect of ['strimzi', 'karapace'])
      expect((await read(topic, JSON_V2, dialect)).map(({ timestamp }) => typeof timestamp)).toEqual([
        'number',
        'number',
      ]);
  });

  test('too many of them fail the record, not the request', async () => {
    const topic = await newTopic();
    const headers = [{ key: 'a', value: Buffer.alloc(20_000).toString('base64') }];
    const { status, body } = await rest.post(
      `/topics/${topic}`,
      { records: [{ value: 1, headers }, { value: 2 }] },
      { type: JSON_V2 },
    );
    expect({ status, body }).toMatchObject({
      status: 200,
      body: { offsets: [{ error_code: 50002 }, { error_code: null }] },
    });
  });
});

describe('one truth', () => {
  test('a native message is a record with headers', async () => {
    const topic = await newTopic();
    const message = { body: 'hello', tag: 'paid', keys: ['k1', 'k2'], properties: { region: 'eu' } };
    await native.call('sendMessages', { path: { topic }, body: { messages: [message, { bodyJson: { a: 1 } }] } });
    const [first, second] = await read(topic, JSON_V2);
    expect(first!.value).toBe('hello');
    expect(first!.headers!.map(({ key, value }) => [key, Buffer.from(value!, 'base64').toString()])).toEqual([
      ['gantry-tag', 'paid'],
      ['gantry-key', 'k1'],
      ['gantry-key', 'k2'],
      ['gantry-property-region', 'eu'],
      ['gantry-shown-as', 'value=text'],
    ]);
    expect(second).toEqual({ topic, key: null, value: { a: 1 }, partition: 0, offset: 1 });
  });

  test('a record is a native message with its key, plain headers as properties, and its content type', async () => {
    const topic = await newTopic();
    const headers = [
      { key: 'region', value: 'ZXU=' },
      { key: 'raw', value: '/w==' },
    ];
    await send(topic, JSON_V2, [
      { key: 'order-7', value: { a: 1 }, headers },
      { key: 'k', value: null },
    ]);
    const path = { topic, broker: 'broker-a', queueId: 0 };
    const { messages } = (await native.call('readQueue', { path, query: { offset: 0 } })).body;
    expect(messages[0]).toMatchObject({ body: '{"a":1}', contentType: 'application/json', keys: ['"order-7"'] });
    expect(messages[0]!.properties).toMatchObject({
      region: 'eu',
      'gantry-kafka-key': Buffer.from('"order-7"').toString('base64'),
    });
    expect(messages[1]).toMatchObject({ body: '', properties: { 'gantry-kafka-value': 'null' } });
    expect(
      (await native.call('queryMessages', { path: { topic }, query: { key: '"order-7"' } })).body.messages,
    ).toHaveLength(1);
  });

  test('a record can be written natively', async () => {
    const topic = await newTopic();
    const properties = { 'gantry-kafka-value': 'null', 'gantry-kafka-key': 'aw==', 'gantry-kafka-timestamp': '5' };
    await native.call('sendMessages', {
      path: { topic },
      body: {
        messages: [
          { body: '', properties },
          { body: 'x', properties: { 'gantry-kafka-headers': 'nonsense' } },
        ],
      },
    });
    expect(await read(topic, TEXT_V2)).toMatchObject([
      { key: 'k', value: null, timestamp: 5 },
      { key: null, value: 'x' },
    ]);
  });
});
