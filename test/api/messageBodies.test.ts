/** What a send brings, by content type. */
import { GantryError } from '../../src/base/errors';
import { LIMITS } from '../../src/base/limits';
import { MessageReader, readPrepared, type RawMessageQuery, type WireMessage } from '../../api/messageBodies';
import { tinyContract } from './tiny';

const reader = new MessageReader(tinyContract.operation('sendMessages'));
const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';

/** JSON texts that would be others if they were read and written again. */
const EXACT = [
  ...['0.0', '100.10', '-0', '1E5', '1e-400', '1e400', '3.14159265358979323846', '12345678901234567890'],
  ...['{"b":1,"a":2,"2":"x","1":"y"}', '{"k":1,"k":2}', '{ "a" : [ 1,\t2 ] }', '[]', '{}', 'null', 'true'],
  ...['"\\u0000\\/é😀"', '{"bodyJson":{"bodyJson":"}]\\""}}', '["\\\\","]"]'],
];

const read = (contentType: string | undefined, body: string | Buffer, query: RawMessageQuery = {}) =>
  reader.read(contentType, Buffer.isBuffer(body) ? body : Buffer.from(body), query);
const readJson = (value: unknown) => read(JSON_TYPE, JSON.stringify(value));

function refusal(act: () => unknown): { code: string; errors: unknown } {
  try {
    act();
  } catch (error) {
    if (error instanceof GantryError) return { code: error.code, errors: error.extras.errors };
    throw error;
  }
  throw new Error('it was accepted');
}
const pointers = (act: () => unknown) => (refusal(act).errors as { pointer: string }[]).map(({ pointer }) => pointer);

describe('JSON', () => {
  test('a batch', () => {
    const queue = { broker: 'a', queueId: 0 };
    const [first, second] = readJson({
      messages: [
        {
          body: 'héllo',
          tag: 't',
          keys: ['k'],
          properties: { a: 'b' },
          messageGroup: 'g',
          messageId: 'A'.repeat(32),
          queue,
        },
        { body: '2' },
      ],
    });
    expect(first).toEqual({
      body: 'héllo',
      text: true,
      contentType: undefined,
      tag: 't',
      keys: ['k'],
      properties: { a: 'b' },
      messageGroup: 'g',
      messageId: 'A'.repeat(32),
      queue,
    });
    expect(second!.body.toString()).toBe('2');
  });

  test('one message without the list is wrapped before it is checked', () => {
    expect(readJson({ body: 'x' })).toHaveLength(1);
    expect(pointers(() => readJson({ body: 'x', tags: 'y' }))).toEqual(['/messages/0/tags']);
    expect(pointers(() => readJson({ body: 1, tag: 2 }))).toEqual(['/messages/0/body', '/messages/0/tag']);
    expect(pointers(() => readJson({}))).toEqual(['/messages/0/body']);
    expect(pointers(() => readJson([{ body: 'x' }]))).toEqual(['']);
    expect(pointers(() => readJson(null))).toEqual(['']);
    expect(pointers(() => readJson({ messages: [] }))).toEqual(['/messages']);
    expect(pointers(() => readJson({ messages: [{ body: 'x' }], more: 1 }))).toEqual(['/more']);
    expect(pointers(() => readJson({ messages: [{ body: 'x' }, { body: 1 }] }))).toEqual(['/messages/1/body']);
  });

  test('bodyJson is stored as JSON text', () => {
    const [message] = readJson({ bodyJson: { a: [1, null, 'ü'] } });
    expect(message).toMatchObject({ text: true, contentType: JSON_TYPE });
    expect(message!.body.toString()).toBe('{"a":[1,null,"ü"]}');
    expect(readJson({ bodyJson: null })[0]!.body.toString()).toBe('null');
    expect(pointers(() => readJson({ bodyJson: 1, body: 'x' }))).toEqual(['/messages/0/body']);
    expect(pointers(() => readJson({ bodyJson: 1, bodyEncoding: 'BASE64' }))).toEqual(['/messages/0/bodyEncoding']);
    expect(pointers(() => readJson({ bodyJson: 1, contentType: 'text/plain' }))).toEqual(['/messages/0/contentType']);
  });

  test.each(EXACT)('bodyJson %s is stored as it was written', (json) => {
    const bodyOf = (type: string, text: string) => read(type, text).map(({ body }) => body);
    expect(bodyOf(JSON_TYPE, `{"bodyJson":${json}}`)).toEqual([json]);
    expect(bodyOf(JSON_TYPE, `\ufeff{"tag": "t", "bodyJson" : ${json} , "keys":["bodyJson"]}`)).toEqual([json]);
    const batch = `{"messages" : [{"body":"bodyJson"}, {"bodyJson":0,"bodyJson":${json}},{"bodyJson": ${json}}]}`;
    expect(bodyOf(JSON_TYPE, batch)).toEqual(['bodyJson', json, json]);
    expect(bodyOf(NDJSON, `{"body":"a"}\r\n {"body\\u004ason":${json}}\n{"bodyJson":${json}}`)).toEqual([
      'a',
      json,
      json,
    ]);
    const bytes = Buffer.from(`{"message":{"bodyJson":0},"message":{"bodyJson":${json},"tag":"t"}}`);
    const { message } = JSON.parse(bytes.toString()) as { message: WireMessage };
    expect(readPrepared(message, bytes).body).toBe(json);
  });

  test('base64 is strict', () => {
    const send = (body: string) => readJson({ body, bodyEncoding: 'BASE64' });
    expect(send('AP8=')[0]).toMatchObject({ body: Buffer.from([0, 255]), text: false });
    for (const body of ['AP8', 'AP8=\n', 'AP9=', 'A_8=', '****', 'AP8=='])
      expect(pointers(() => send(body))).toEqual(['/messages/0/body']);
  });

  test('a message may have an empty body, a request may not be empty', () => {
    for (const message of [{ body: '' }, { body: '', bodyEncoding: 'BASE64' }])
      expect(readJson({ messages: [message] })[0]!.body).toHaveLength(0);
    expect(refusal(() => read(JSON_TYPE, '')).code).toBe('BODY_EMPTY');
  });

  test('sizes', () => {
    const over = 'x'.repeat(LIMITS.messageBodyBytes + 1);
    expect(refusal(() => readJson({ body: over })).code).toBe('BODY_TOO_LARGE');
    expect(readJson({ body: over.slice(1) })).toHaveLength(1);
    const half = 'x'.repeat(LIMITS.batchBytes / 2);
    expect(readJson({ messages: [{ body: half }, { body: half }] })).toHaveLength(2);
    expect(refusal(() => readJson({ messages: [{ body: half }, { body: half }, { body: 'x' }] }))).toMatchObject({
      code: 'BODY_TOO_LARGE',
      errors: [{ pointer: '/messages' }],
    });
    const many = (count: number) => ({ messages: Array.from({ length: count }, () => ({ body: 'x' })) });
    expect(readJson(many(1000))).toHaveLength(1000);
    expect(pointers(() => readJson(many(1001)))).toEqual(['/messages']);
  });

  test('attributes', () => {
    const fault = (extra: object) => pointers(() => readJson({ body: 'x', ...extra }));
    const properties = (count: number, value = 'v') =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, value]));
    expect(readJson({ body: 'x', properties: properties(128) })).toHaveLength(1);
    expect(fault({ properties: properties(129) })).toEqual(['/messages/0/properties']);
    expect(fault({ properties: properties(17, 'x'.repeat(1000)) })).toEqual(['/messages/0/properties']);
    expect(fault({ properties: properties(6, '漢'.repeat(1000)) })).toEqual(['/messages/0/properties']);
    expect(readJson({ body: 'x', properties: properties(8, 'x'.repeat(2000)) })).toHaveLength(1);
    for (const name of [
      'TAGS',
      'KEYS',
      'UNIQ_KEY',
      '__transactionId__',
      '__CRC32#',
      '__RMQ.TRANSIENT.x',
      'a\u0001',
      '',
    ]) {
      expect(fault({ properties: { [name]: 'v' } })).toEqual([`/messages/0/properties/${name}`]);
    }
    expect(refusal(() => read(JSON_TYPE, '{"body":"x","properties":{"__proto__":"v"}}'))).toMatchObject({
      code: 'VALIDATION_FAILED',
      errors: [{ pointer: '/properties/__proto__' }],
    });
    expect(readJson({ body: 'x', properties: { constructor: 'v', toString: 'v' } })).toHaveLength(1);
    for (const tag of ['a|b', 'a\nb', '', ' ', '*', ' * ']) expect(fault({ tag })).toEqual(['/messages/0/tag']);
    expect(readJson({ body: 'x', tag: ' e\u0301 b ' })[0]!.tag).toBe('\u00e9 b');
    expect(read('text/plain', 'x', { tag: ' a' })[0]!.tag).toBe('a');
    expect(refusal(() => read('text/plain', 'x', { tag: '*' })).errors).toMatchObject([
      { parameter: 'tag', in: 'query' },
    ]);
    expect(fault({ keys: ['a', 'b\u007f'] })).toEqual(['/messages/0/keys/1']);
    expect(fault({ messageGroup: '' })).toEqual(['/messages/0/messageGroup']);
  });

  test('query parameters of raw bodies are refused', () => {
    for (const query of [{ tag: 't' }, { key: ['k'] }, { property: ['a:b'] }, { messageGroup: 'g' }]) {
      expect(refusal(() => read(JSON_TYPE, '{"body":"x"}', query)).errors).toMatchObject([
        { parameter: Object.keys(query)[0], in: 'query' },
      ]);
      expect(refusal(() => read(NDJSON, '{"body":"x"}', query)).code).toBe('VALIDATION_FAILED');
    }
  });
});

describe('NDJSON', () => {
  test.each([
    ...['application/ndjson', 'application/jsonl', 'application/jsonlines', 'application/x-jsonlines', 'text/x-ndjson'],
    ...['application/json-lines', 'application/x-jsonl', 'text/jsonl', 'Application/X-NDJSON; charset=UTF-8'],
  ])('%s is NDJSON', (type) => {
    const lines = '{"body":"one"}\r\n{"body":"two\\u2028still two"}\n\n{"body":"three"}';
    expect(read(type, lines).map(({ body }) => body)).toEqual(['one', 'two\u2028still two', 'three']);
    expect(refusal(() => read(type, lines, { tag: 't' })).code).toBe('VALIDATION_FAILED');
  });

  test('one message per line, blank lines between', () => {
    const messages = read(NDJSON, '{"body":"1"}\r\n\n  \n{"bodyJson":2}\n{"body":"3"}');
    expect(messages.map(({ body }) => body.toString())).toEqual(['1', '2', '3']);
  });

  test.each([
    ['{"body":"1"}\n\n{"body":2}', 'VALIDATION_FAILED', '/messages/1/body', 'line 3: must be string'],
    ['{"body":"1"}\n{"body":"2"', 'MALFORMED_JSON', '/messages/1', 'line 2: not JSON at character 11: expected , or }'],
    [
      '{"body":"1","x":1}',
      'VALIDATION_FAILED',
      '/messages/0/x',
      expect.stringContaining('line 1: unknown field; allowed are body, '),
    ],
    ['[1]', 'VALIDATION_FAILED', '/messages/0', 'line 1: must be object'],
    [
      '{"body":"1"}\n{"body":"1","tag":"a|b"}',
      'VALIDATION_FAILED',
      '/messages/1/tag',
      'line 2: must have neither control characters nor |',
    ],
    [
      '{"body":"\\udc00"}',
      'ENCODING_INVALID',
      '/messages/0/body',
      'line 1: half of a surrogate pair is not Unicode text',
    ],
    [
      `{"bodyJson":${'['.repeat(40)}${']'.repeat(40)}}`,
      'JSON_TOO_DEEP',
      '/messages/0',
      expect.stringContaining('line 1: nested deeper'),
    ],
    ['\n \n', 'BODY_EMPTY', '', 'is empty'],
  ])('%j', (body, code, pointer, detail) => {
    expect(refusal(() => read(NDJSON, body))).toEqual({ code, errors: [{ pointer, detail }] });
  });

  test('a line may have an empty body', () => {
    expect(read(NDJSON, '{"body":""}')[0]!.body).toBe('');
  });
});

describe('anything else is one message', () => {
  test('text is text, the rest is bytes, and the type is kept', () => {
    const cases: [string | undefined, boolean][] = [
      ['text/plain', true],
      ['text/csv; charset=utf-8', true],
      ['application/cloudevents+json', true],
      ['text/plain; charset=iso-8859-1', false],
      ['application/octet-stream', false],
      [undefined, false],
    ];
    for (const [type, text] of cases) {
      expect(read(type, 'hello', { tag: 't', key: ['a', 'b'], property: ['x:y:z', 'e:'], messageGroup: 'g' })).toEqual([
        {
          body: Buffer.from('hello'),
          text,
          contentType: type,
          tag: 't',
          keys: ['a', 'b'],
          properties: { x: 'y:z', e: '' },
          messageGroup: 'g',
          messageId: undefined,
          queue: undefined,
        },
      ]);
    }
  });

  test('faults', () => {
    expect(refusal(() => read('text/plain', Buffer.from([0xff]))).code).toBe('ENCODING_INVALID');
    expect(read('application/octet-stream', Buffer.from([0xff]))).toHaveLength(1);
    expect(read('text/plain', '')[0]!.body).toHaveLength(0);
    expect(refusal(() => read(undefined, '')).code).toBe('BODY_EMPTY');
    expect(refusal(() => read('text/plain', Buffer.alloc(LIMITS.messageBodyBytes + 1, 97))).code).toBe(
      'BODY_TOO_LARGE',
    );
    for (const query of [
      { property: ['x'] },
      { property: [':x'] },
      { property: ['TAGS:x'] },
      { property: ['__proto__:x'] },
      { property: ['a:1', 'a:2'] },
      { key: ['\n'] },
      { tag: 'a|b' },
    ]) {
      expect(refusal(() => read('text/plain', 'x', query)).errors).toMatchObject([
        { parameter: Object.keys(query)[0], in: 'query' },
      ]);
    }
    expect(refusal(() => read(`a/${'b'.repeat(300)}`, 'x')).errors).toMatchObject([
      { parameter: 'Content-Type', in: 'header' },
    ]);
  });
});
