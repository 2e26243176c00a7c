/** Requests through the whole rim: parameters, bodies, methods, origins, answers. */
import { GantryError } from '../../src/base/errors';
import { createApp } from '../../api/app';
import { bulkAnswer, failed } from '../../api/bulk';
import type { Call } from '../../api/operation';
import { systemChance } from '../../src/base/chance';
import { systemClock } from '../../src/base/clock';
import { silentLog } from '../../src/base/log';
import { startTiny, TAGS, tinyContract, tinyHandlers, type Tiny } from './tiny';

type AnyCall = Call<'listTopics'> & { readonly path: Record<string, string>; readonly body: unknown };

let tiny: Tiny;
let seen: AnyCall | undefined;
let act: (call: AnyCall) => unknown = () => ({ status: 200, body: {} });
const finished: [string, number][] = [];
const note = (call: never) => {
  seen = call;
  return act(call) as { status: number };
};

beforeAll(async () => {
  tiny = await startTiny({
    handlers: Object.fromEntries(
      [
        'listTopics',
        'createTopic',
        'getTopic',
        'updateTopic',
        'deleteTopic',
        'receiveMessages',
        'pollMessages',
        'sendMessages',
        'pullJournal',
      ].map((id) => [id, note]),
    ),
    app: { corsOrigins: ['https://console.example'], onFinish: (id, status) => finished.push([id, status]) },
  });
});
afterAll(() => tiny.stop());
beforeEach(() => {
  seen = undefined;
  finished.length = 0;
  act = () => ({ status: 200, body: {} });
});

const get = (target: string, headers: Record<string, string> = {}) => tiny.http.request('GET', target, { headers });
const raise = (error: Error): never => {
  throw error;
};
const post = (body: unknown) => tiny.http.request('POST', '/v1/topics', { body });

describe('binding', () => {
  const options = { contract: tinyContract, tags: TAGS, clock: systemClock, chance: systemChance, log: silentLog };

  test('a missing handler does not start', () => {
    const { getTopic: _, ...handlers } = tinyHandlers();
    expect(() => createApp({ ...options, handlers })).toThrow('no handler for getTopic');
  });

  test('a surplus handler does not start', () => {
    const handlers = tinyHandlers({ elsewhere: () => ({ status: 200 }) });
    expect(() => createApp({ ...options, handlers })).toThrow('elsewhere');
  });

  test('operations of other tags are not there', async () => {
    expect((await get('/v1/elsewhere')).problem.code).toBe('PATH_NOT_FOUND');
  });
});

describe('query', () => {
  test('defaults are filled in, values are coerced, arrays are repeated', async () => {
    await get('/v1/topics');
    expect(seen?.query).toEqual({ limit: 100, force: false });
    await get('/v1/topics?limit=7&force=true&tag=a&tag=b+c%20d&cursor=');
    expect(seen?.query).toEqual({ limit: 7, force: true, tag: ['a', 'b c d'], cursor: '' });
  });

  test.each([
    ['limit=0', 'limit', 'must be >= 1'],
    ['limit=1.0', 'limit', 'must be an integer'],
    ['limit=1e2', 'limit', 'must be an integer'],
    ['limit=+1', 'limit', 'must be an integer'],
    ['limit=%201', 'limit', 'must be an integer'],
    ['limit=', 'limit', 'must be an integer'],
    ['limit=99999999999999999999', 'limit', 'must be an integer'],
    ['limit=1&limit=1', 'limit', 'must not be given more than once'],
    ['force=1', 'force', 'must be true or false'],
    ['force=TRUE', 'force', 'must be true or false'],
    ['force', 'force', 'must be true or false'],
    ['what=1', 'what', 'unknown; known are limit, cursor, force, tag'],
    ['__proto__=1', '__proto__', 'unknown; known are limit, cursor, force, tag'],
    ['cursor=%ff', 'cursor', 'is not percent-encoded UTF-8'],
    ['cursor=%', 'cursor', 'is not percent-encoded UTF-8'],
  ])('%s is refused', async (query, parameter, detail) => {
    const { status, problem } = await get(`/v1/topics?${query}`);
    expect([status, problem.code, problem.errors]).toEqual([
      400,
      'VALIDATION_FAILED',
      [{ parameter, in: 'query', detail }],
    ]);
    expect(seen).toBeUndefined();
  });

  test('an operation without parameters takes none, and too many are refused', async () => {
    expect((await get('/v1?x=1')).problem.errors).toEqual([
      { parameter: 'x', in: 'query', detail: 'unknown; this operation takes none' },
    ]);
    expect((await get(`/v1/topics?${'tag=a&'.repeat(300)}`)).status).toBe(400);
  });

  test('declared headers are checked', async () => {
    await get('/v1/topics', { 'Idempotency-Key': 'k-1' });
    expect(seen?.headers).toEqual({ 'Idempotency-Key': 'k-1' });
    const { problem } = await get('/v1/topics', { 'Idempotency-Key': 'no spaces' });
    expect(problem.errors).toMatchObject([{ parameter: 'Idempotency-Key', in: 'header' }]);
  });
});

describe('path', () => {
  test('is decoded, and system names are put together', async () => {
    await get('/v1/topics/a%2Eb');
    expect(seen?.path).toEqual({ topic: 'a.b' });
    await get('/v1/topics/~RETRY~billing');
    expect(seen?.path).toEqual({ topic: '%RETRY%billing' });
  });

  test.each(['a%20b', '%2e%2e', '..', '.', 'a%2Fb', 'a%00', 'a'.repeat(200), '%7E'])('%s is refused', async (name) => {
    const { status, problem } = await get(`/v1/topics/${name}`);
    expect([status, problem.code]).toEqual([400, 'VALIDATION_FAILED']);
    expect(problem.errors).toMatchObject([{ parameter: 'topic', in: 'path' }]);
  });

  test.each(['/v1/topics/%', '/v1/topics/%ff', '/nothing/%zz', '/v1/topics/%C0%AE'])(
    '%s cannot be decoded',
    async (target) => {
      const { status, problem } = await get(target);
      expect([status, problem.code]).toEqual([400, 'INVALID_PATH']);
    },
  );

  test.each([
    '/v1/topics/',
    '/v1/Topics',
    '/v2',
    '/v1/topics//messages',
    '/v1/topics/a/b/c',
    '//v1/topics',
    '/openapi.yaml',
    '/docs/../package.json',
  ])('%s is not there', async (target) => {
    const { status, problem } = await get(target);
    expect([status, problem.code]).toEqual([404, 'PATH_NOT_FOUND']);
  });
});

describe('methods', () => {
  test('a wrong one is 405 with Allow, also where the body is wrong', async () => {
    const reply = await tiny.http.request('PUT', '/v1/topics/orders', { bytes: '{' });
    expect([reply.status, reply.problem.code, reply.headers['allow']]).toEqual([
      405,
      'METHOD_NOT_ALLOWED',
      expect.any(String),
    ]);
    expect(new Set(reply.headers['allow']!.split(', '))).toEqual(
      new Set(['GET', 'HEAD', 'PATCH', 'DELETE', 'OPTIONS']),
    );
    expect((await tiny.http.request('POST', '/openapi.json')).status).toBe(405);
    expect((await tiny.http.request('DELETE', '/docs/')).status).toBe(405);
    expect((await tiny.http.request('TRACE', '/v1')).status).toBe(405);
  });

  test('HEAD works on what has no effect, and is refused where reading counts', async () => {
    act = () => ({ status: 200, body: { a: 1 } });
    const reply = await tiny.http.request('HEAD', '/v1/topics/orders');
    expect([reply.status, reply.text, reply.headers['content-length']]).toEqual([200, '', '7']);
    const poll = '/v1/groups/g/consumers/c/messages';
    seen = undefined;
    const refused = await tiny.http.request('HEAD', poll);
    expect([refused.status, refused.headers['allow'], seen]).toEqual([405, 'GET, OPTIONS', undefined]);
    expect((await get(poll)).status).toBe(200);
  });

  test('OPTIONS answers Allow', async () => {
    const reply = await tiny.http.request('OPTIONS', '/v1/topics');
    expect([reply.status, reply.headers['allow']]).toEqual([204, 'GET, HEAD, POST, OPTIONS']);
  });
});

describe('bodies', () => {
  test('are checked and given defaults', async () => {
    act = () => ({ status: 201, body: { name: 'orders' } });
    expect((await post({ name: 'orders' })).status).toBe(201);
    expect(seen?.body).toEqual({ name: 'orders', writeQueues: 8 });
  });

  test('name every fault with a pointer', async () => {
    const { problem, status } = await post({ writeQueues: '8', nested: { 'c/d~': 1 }, more: 1 });
    expect(status).toBe(400);
    expect(problem.errors).toEqual(
      expect.arrayContaining([
        { pointer: '/name', detail: 'is required' },
        { pointer: '/writeQueues', detail: 'must be integer' },
        { pointer: '/more', detail: 'unknown field; allowed are name, writeQueues, nested, free' },
        { pointer: '/nested/c~1d~0', detail: 'unknown field; allowed are a/b' },
      ]),
    );
    expect((await post([])).problem.errors).toEqual([{ pointer: '', detail: 'must be object' }]);
  });

  test('x-nullable takes null, others do not', async () => {
    const patch = (body: unknown) => tiny.http.request('PATCH', '/v1/topics/orders', { body });
    expect((await patch({ description: null })).status).toBe(200);
    expect(seen?.body).toEqual({ description: null });
    expect((await patch({ type: null })).status).toBe(400);
  });

  test.each([
    ['{"name":"a",}', 'MALFORMED_JSON', 'character 12: expected a field name'],
    ['{"name" "a"}', 'MALFORMED_JSON', 'character 8: expected :'],
    ['{"name":\n tru}', 'MALFORMED_JSON', 'line 2, character 10: expected a value'],
    ['{"name":"a"', 'MALFORMED_JSON', 'expected , or }'],
    ['{"name":"a\u0001"}', 'MALFORMED_JSON', 'control character'],
    ['{"name":"\\x"}', 'MALFORMED_JSON', 'escape'],
    ['nothing', 'MALFORMED_JSON', 'expected a value'],
    ['{} {}', 'MALFORMED_JSON', 'the end of the text'],
    ['{"name":"\\ud800"}', 'ENCODING_INVALID', 'surrogate'],
    ['{"name":"\\uD83D x"}', 'ENCODING_INVALID', 'surrogate'],
    [Buffer.from('{"name":"\xff"}', 'latin1'), 'ENCODING_INVALID', 'UTF-8'],
    [`{"name":"a","free":${'['.repeat(50_000)}1${']'.repeat(20_000)}}`, 'BODY_TOO_LARGE', '65536'],
    [`{"name":"a","free":${'['.repeat(30_000)}${']'.repeat(30_000)}}`, 'JSON_TOO_DEEP', '32 levels'],
    [`{"free":${'['.repeat(40_000)}`, 'JSON_TOO_DEEP', '32 levels'],
    [`{"name":"a","free":${'{"a":'.repeat(32)}1${'}'.repeat(32)}}`, 'JSON_TOO_DEEP', '32 levels'],
  ])('%.40s is refused', async (bytes, code, words) => {
    const { problem } = await tiny.http.request('POST', '/v1/topics', { bytes, contentType: 'application/json' });
    expect(problem.code).toBe(code);
    expect(problem.detail).toContain(words);
    expect(seen).toBeUndefined();
  });

  test('31 levels below the top are allowed, surrogate pairs too', async () => {
    act = () => ({ status: 201, body: { name: 'a' } });
    const bytes = `{"name":"a","free":${'['.repeat(31)}"\\ud83d\\ude00 [[[["${']'.repeat(31)}}`;
    expect((await tiny.http.request('POST', '/v1/topics', { bytes, contentType: 'application/json' })).status).toBe(
      201,
    );
  });

  test.each([
    ['{"name":"a","free":{"__proto__":{"x":1}}}', '/free/__proto__'],
    ['{"name":"a","free":[{"__pr\\u006fto__":1}]}', '/free/0/__proto__'],
    ['{"name":"a","free":{"constructor":{"prototype":{}}}}', '/free/constructor'],
  ])('%s is refused', async (bytes, pointer) => {
    const { problem } = await tiny.http.request('POST', '/v1/topics', { bytes, contentType: 'application/json' });
    expect([problem.code, problem.errors]).toEqual([
      'VALIDATION_FAILED',
      [{ pointer, detail: 'this field name is not allowed' }],
    ]);
  });

  test.each([
    [undefined, "add -H 'content-type: application/json'"],
    ['application/x-www-form-urlencoded', "add -H 'content-type: application/json'"],
    ['multipart/form-data; boundary=x', "add -H 'content-type: application/json'"],
    ['text/plain', "add -H 'content-type: application/json'"],
    ['json', 'is no media type'],
    ['application/json; charset=latin1', 'send UTF-8'],
  ])('content type %s is refused', async (contentType, words) => {
    const { status, problem } = await tiny.http.request('POST', '/v1/topics', {
      bytes: '{"name":"a"}',
      ...(contentType === undefined ? {} : { contentType }),
    });
    expect([status, problem.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE']);
    expect(problem.detail).toContain(words);
  });

  test('a charset of UTF-8 and capitals are fine', async () => {
    act = () => ({ status: 201, body: { name: 'a' } });
    const sent = { bytes: '{"name":"a"}', contentType: 'Application/JSON; charset="UTF-8"' };
    expect((await tiny.http.request('POST', '/v1/topics', sent)).status).toBe(201);
  });

  test('encoded bodies are refused', async () => {
    const sent = { body: { name: 'a' }, headers: { 'content-encoding': 'gzip' } };
    expect((await tiny.http.request('POST', '/v1/topics', sent)).problem.code).toBe('UNSUPPORTED_MEDIA_TYPE');
  });

  test('a missing body: refused where one is required, undefined where not', async () => {
    expect((await tiny.http.request('POST', '/v1/topics')).problem.code).toBe('BODY_EMPTY');
    expect((await tiny.http.request('POST', '/v1/groups/g/receipts')).status).toBe(200);
    expect(seen?.body).toBeUndefined();
    await tiny.http.request('POST', '/v1/groups/g/receipts', { body: { max: 1 } });
    expect(seen?.body).toEqual({ max: 1 });
  });

  test('no body where the operation takes none', async () => {
    expect((await tiny.http.request('DELETE', '/v1/topics/a', { body: {} })).problem.code).toBe('MALFORMED_REQUEST');
    expect((await tiny.http.request('PUT', '/v1/peer/journal', { body: {} })).problem.code).toBe('MALFORMED_REQUEST');
    expect((await tiny.http.request('PUT', '/v1/peer/journal')).status).toBe(200);
  });

  test('form types are refused for sends, too', async () => {
    const sent = { bytes: 'a=b', contentType: 'application/x-www-form-urlencoded' };
    const { status, problem } = await tiny.http.request('POST', '/v1/topics/a/messages', sent);
    expect([status, problem.detail]).toEqual([415, expect.stringContaining("-H 'content-type: text/plain'")]);
  });
});

describe('who may call', () => {
  test.each([
    [{ 'sec-fetch-site': 'cross-site' }],
    [{ origin: 'https://evil.example' }],
    [{ origin: 'null' }],
    [{ origin: 'https://console.example.evil' }],
  ])('%j is refused', async (headers) => {
    const reply = await get('/v1/topics', headers);
    expect([reply.status, reply.problem.code]).toEqual([403, 'ORIGIN_NOT_ALLOWED']);
    expect(reply.headers['access-control-allow-origin']).toBeUndefined();
    expect(seen).toBeUndefined();
  });

  test('pages of this host and configured ones are allowed', async () => {
    expect((await get('/v1/topics', { origin: tiny.url, 'sec-fetch-site': 'same-origin' })).status).toBe(200);
    const reply = await get('/v1/topics', { origin: 'https://console.example', 'sec-fetch-site': 'cross-site' });
    expect([reply.status, reply.headers['access-control-allow-origin'], reply.headers['vary']]).toEqual([
      200,
      'https://console.example',
      'Origin',
    ]);
    const refused = await get('/v1/topics?x=1', { origin: 'https://console.example' });
    expect([refused.status, refused.headers['access-control-allow-origin']]).toEqual([400, 'https://console.example']);
  });

  test('preflight', async () => {
    const headers = {
      origin: 'https://console.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'content-type',
    };
    const reply = await tiny.http.request('OPTIONS', '/v1/topics', { headers });
    expect([reply.status, reply.headers['access-control-allow-methods']]).toEqual([204, 'GET, HEAD, POST, OPTIONS']);
    expect(reply.headers['access-control-allow-headers']).toContain('Idempotency-Key');
    const evil = await tiny.http.request('OPTIONS', '/v1/topics', {
      headers: { ...headers, origin: 'https://evil.example' },
    });
    expect(evil.status).toBe(403);
  });
});

describe('answers', () => {
  test('Accept that excludes what there is', async () => {
    for (const accept of ['text/html', 'application/json;q=0', 'image/*, text/*;q=0.5']) {
      expect((await get('/v1/topics', { accept })).problem.code).toBe('NOT_ACCEPTABLE');
    }
    for (const accept of ['*/*', 'application/*', 'text/html, */*;q=0.1', 'application/problem+json']) {
      expect((await get('/v1/topics', { accept })).status).toBe(200);
    }
    expect((await get('/metrics', { accept: 'text/plain;version=0.0.4' })).text).toBe('up 1\n');
    expect((await get('/metrics', { accept: 'application/json' })).status).toBe(406);
  });

  test('requestId: the sane one of the client, else our own', async () => {
    expect((await get('/v1/topics', { 'x-request-id': 'trace-1' })).headers['x-request-id']).toBe('trace-1');
    expect(seen?.requestId).toBe('trace-1');
    const own = await get('/v1/topics', { 'x-request-id': 'a b' });
    expect(own.headers['x-request-id']).toMatch(/^[0-9a-f]{12}-[0-9a-z]+$/);
  });

  test('none has ETag, X-Powered-By or a cache', async () => {
    const { headers } = await get('/v1/topics');
    expect(Object.keys(headers).sort()).toEqual([
      'cache-control',
      'connection',
      'content-length',
      'content-type',
      'date',
      'keep-alive',
      'x-content-type-options',
      'x-request-id',
    ]);
  });

  test('a coded failure', async () => {
    act = () => {
      throw new GantryError('OFFSET_MOVED', 'gone', { retryAfterMs: 1200, members: { minOffset: 5, code: 'x' } });
    };
    const { status, problem, headers } = await get('/v1/topics/a');
    expect([status, headers['retry-after']]).toEqual([409, '2']);
    expect(problem).toEqual({
      type: 'urn:gantry:problem:OFFSET_MOVED',
      title: 'The offset is outside the queue',
      status: 409,
      detail: 'gone',
      instance: '/v1/topics/a',
      code: 'OFFSET_MOVED',
      retryable: false,
      requestId: headers['x-request-id'],
      retryAfterMs: 1200,
      minOffset: 5,
    });
    expect(finished).toEqual([['getTopic', 409]]);
  });

  test('an unexpected failure says nothing', async () => {
    act = () => Promise.reject(new Error('secret'));
    const { status, problem, text } = await get('/v1/topics');
    expect([status, problem.code]).toEqual([500, 'INTERNAL_ERROR']);
    expect(text).not.toContain('secret');
  });

  test('an answer that cannot be written is a failure, too', async () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    act = () => ({ status: 200, body: circle });
    expect((await get('/v1/topics')).status).toBe(500);
  });

  test('text that is made when it is written: one at a time, however many answers came together', async () => {
    const order: string[] = [];
    let answerAll!: () => void;
    const together = new Promise<void>((resolve) => (answerAll = resolve));
    let waiting = 0;
    act = async ({ res, requestId }) => {
      const end = res.end.bind(res);
      res.end = (...args: never[]) => {
        order.push(`${requestId} is written`);
        return end(...args);
      };
      if (++waiting === 3) answerAll();
      await together;
      return {
        status: 200,
        json: () => {
          order.push(`${requestId} is made`);
          return `{"id":"${requestId}"}`;
        },
      };
    };
    const ids = ['a', 'b', 'c'];
    const replies = await Promise.all(
      ids.map((id) => tiny.http.request('GET', '/v1/topics', { headers: { 'x-request-id': id } })),
    );
    expect(replies.map(({ body }) => body)).toEqual(ids.map((id) => ({ id })));
    const written = order.filter((_, i) => i % 2 === 0).map((line) => line[0]);
    expect(order).toEqual(written.flatMap((id) => [`${id} is made`, `${id} is written`]));
    expect(written.sort()).toEqual(ids);
  });

  test('text that cannot be made is a failure, coded or not', async () => {
    act = () => ({ status: 200, json: () => raise(new Error('secret')), headers: { ETag: '"1"' } });
    const broken = await get('/v1/topics');
    expect([broken.status, broken.problem.code, broken.headers['etag']]).toEqual([500, 'INTERNAL_ERROR', undefined]);
    expect(broken.text).not.toContain('secret');
    act = () => ({ status: 200, json: () => raise(new GantryError('TOPIC_NOT_FOUND', 'deleted meanwhile')) });
    const coded = await get('/v1/topics');
    expect([coded.status, coded.problem.code]).toEqual([404, 'TOPIC_NOT_FOUND']);
    expect(finished).toEqual([
      ['listTopics', 500],
      ['listTopics', 404],
    ]);
  });

  test('empty, text and preserialised answers', async () => {
    act = () => ({ status: 204 });
    const empty = await tiny.http.request('DELETE', '/v1/topics/a');
    expect([empty.status, empty.text, empty.headers['content-type']]).toEqual([204, '', undefined]);
    act = () => ({ status: 200, json: '{"é":1}', headers: { ETag: '"1"' } });
    const made = await get('/v1/topics');
    expect([made.body, made.headers['etag']]).toEqual([{ é: 1 }, '"1"']);
  });

  test('bulk: 200, 207, or the code all items share', async () => {
    const bad = () => failed(new GantryError('QUEUE_NOT_OWNED', 'not yours'), 'r');
    const cases: [object[], number][] = [
      [[{ status: 'OK' }], 200],
      [[], 200],
      [[{ status: 'OK' }, bad()], 207],
      [[bad(), bad()], 409],
      [[bad(), failed(new GantryError('NOT_JOINED', 'no'), 'r')], 207],
    ];
    for (const [results, status] of cases) {
      act = (call) => bulkAnswer(call, results as never);
      const reply = await get('/v1/topics');
      expect(reply.status).toBe(status);
      expect((JSON.parse(reply.text) as { results: unknown }).results).toEqual(results);
    }
    act = (call) => bulkAnswer(call, [bad()]);
    expect((await get('/v1/topics')).problem).toMatchObject({
      code: 'QUEUE_NOT_OWNED',
      detail: 'not yours',
      instance: '/v1/topics',
    });
  });
});

describe('readiness', () => {
  test('until ready everything but health is 503', async () => {
    const starting = await startTiny({ app: { ready: () => false } });
    const { problem, headers } = await starting.http.request('GET', '/v1/topics');
    expect([problem.code, headers['retry-after']]).toEqual(['STARTING', '1']);
    for (const target of ['/livez', '/v1', '/openapi.json']) {
      expect((await starting.http.request('GET', target)).status).toBe(200);
    }
    await starting.stop();
  });
});

describe('documents', () => {
  test('openapi.json is the served part, without the internal operations', async () => {
    const { body } = await get('/openapi.json');
    const { paths, servers, tags } = body as { paths: Record<string, object>; servers: unknown; tags: unknown };
    expect(Object.keys(paths)).not.toContain('/v1/peer/journal');
    expect(Object.keys(paths)).not.toContain('/v1/elsewhere');
    expect(Object.keys(paths)).toContain('/livez');
    expect(Object.keys(paths['/v1/topics/{topic}']!)).toEqual(['parameters', 'get', 'patch', 'delete']);
    expect([servers, tags]).toEqual([[{ url: './' }], [{ name: 'Topics' }, { name: 'Health' }]]);
    expect((await tiny.http.request('HEAD', '/openapi.json')).status).toBe(200);
  });

  test('/ leads browsers to the docs and programs to /v1', async () => {
    const browser = await get('/', { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' });
    expect([browser.status, browser.headers['location']]).toEqual([302, './docs/']);
    expect((await get('/')).headers['location']).toBe('./v1');
    expect((await get('/docs')).headers['location']).toBe('./docs/');
  });

  test('Swagger UI is served whole, from here alone', async () => {
    const page = await get('/docs/', { accept: 'text/html' });
    expect([page.status, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    const files = [...page.text.matchAll(/(?:src|href)="(\.\/[^"]+)"/g)].map((match) => match[1]!);
    expect(files.length).toBeGreaterThan(3);
    for (const file of files) expect((await get(`/docs/${file.slice(2)}`)).status).toBe(200);
    expect((await get('/docs/swagger-ui-init.js')).text).toContain('../openapi.json');
    expect(page.text).not.toMatch(/https?:\/\/(?!www\.w3\.org)/);
    expect((await get('/docs/package.json')).status).toBe(404);
    expect((await get('/docs/%2e%2e/package.json')).status).toBe(404);
  });

  test('a link from elsewhere leads to the docs', async () => {
    expect((await get('/docs/', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' })).status).toBe(200);
  });
});
