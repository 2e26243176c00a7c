/**
 * Bad input, operation by operation: each wrong request gets the problem document that names its fault, by a stable
 * code and a pointer or parameter, and the process serves on as if nothing had been.
 */
import { connect } from 'node:net';
import { STATUS, type Problem } from '../../api/problem';
import type { Operation } from '../../api/contract';
import type { Code } from '../../src/base/errors';
import { http, type Http, type Reply, type RequestParts } from '../support/http';
import { contract, Standalone } from '../support/node';
import { atNameserver, examplesOf, Walk, walkthrough } from './examples';
import { faultsOf, type Fault } from './faults';
import { raw } from './raw';

let node: Standalone;
let broker: Http;
let nameserver: Http;

/**
 * Leaves behind what the document's walk needs: topics orders and payments with messages, group billing with worker-1,
 * group accounting without members.
 */
async function walkTo(last: string): Promise<void> {
  const walk = new Walk(contract, serverOf);
  for (const operation of walkthrough(contract)) {
    for (const example of examplesOf(contract, operation)) await walk.send(example);
    if (operation.id === last) return;
  }
}

const serverOf = (operation: Operation): Http => (atNameserver(operation) ? nameserver : broker);

beforeAll(async () => {
  node = await Standalone.start();
  broker = http(node.url, contract);
  nameserver = http(node.nameserverUrl, contract);
  node.closeFirst(() => broker.close());
  node.closeFirst(() => nameserver.close());
  await walkTo('restoreWritePermission');
});

afterAll(async () => {
  await stillServes();
  await node.stop();
});

/** The process survived: what was there is there, and work goes on. */
async function stillServes(): Promise<void> {
  expect((await broker.call('readyz')).status).toBe(200);
  expect((await nameserver.call('readyz')).status).toBe(200);
  const sent = await broker.call('sendMessages', {
    path: { topic: 'orders' },
    body: { body: 'still here', tag: 'created' },
  });
  const [stored] = sent.body.results;
  const found = await broker.call('getMessage', { path: { topic: 'orders', messageId: stored!.messageId! } });
  expect(found.body.body).toBe('still here');
}

/** `query limit`, `path topic`, `#/messages/0`: each place that a problem names. */
const placesOf = ({ errors = [] }: Problem): string[] =>
  errors.map((error) => ('pointer' in error ? `#${error.pointer}` : `${error.in} ${error.parameter}`));

function outcome(what: string, reply: Reply, at: string | undefined): string {
  if (reply.status < 400) return `${what} → ${reply.status} ${reply.text.slice(0, 100)}`;
  const { problem } = reply;
  const places = placesOf(problem);
  const place = at === undefined ? '' : ` at ${places.includes(at) ? at : places.join(', ') || 'nothing'}`;
  return `${what} → ${reply.status} ${problem.code}${place}`;
}

const expected = ({ what, code, at }: Fault): string =>
  `${what} → ${STATUS[code as Code]} ${code}${at === undefined ? '' : ` at ${at}`}`;

/** The operation's example that has the most in it. */
const fullest = (operation: Operation): RequestParts => examplesOf(contract, operation)[0]!.parts;

const everyOperation = [...contract.operations.values()].map((operation) => [operation.id, operation] as const);

describe('every fault that the contract can tell', () => {
  test.each(everyOperation)('%s', async (_, operation) => {
    const faults = faultsOf(operation, fullest(operation));
    const answers: string[] = [];
    for (const fault of faults) {
      const reply = await serverOf(operation).call(operation.id as 'getVersion', fault.parts);
      answers.push(outcome(fault.what, reply, fault.at));
    }
    expect(answers).toEqual(faults.map(expected));
    expect(faults.length).toBeGreaterThan(3);
  });
});

/** The path of an operation with the names of the examples in it. */
const pathOf = (operation: Operation, change: Readonly<Record<string, string>> = {}): string =>
  operation.path.replaceAll(
    /\{([^}]+)\}/g,
    (_, name: string) => change[name] ?? String(fullest(operation).path![name]),
  );

const urlOf = (operation: Operation): string => (atNameserver(operation) ? node.nameserverUrl : node.url);
const pathNames = (operation: Operation): string[] =>
  operation.parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => name);

const everyPath = [
  ...new Map([...contract.operations.values()].map((operation) => [operation.path, operation])).entries(),
];
const NO_HEAD = [
  ...['pollMessages', 'readQueue', 'getMessage', 'queryMessages', 'getMessageTrace', 'listDeadLetters'],
  ...['getDeadLetter', 'exportDeadLetter', 'listScheduled', 'getTransaction', 'pollTransactionChecks'],
];

describe('methods and paths', () => {
  test.each(everyPath)('%s takes its own methods only, and says which', async (path, one) => {
    const own = [...contract.operations.values()].filter((operation) => operation.path === path);
    const methods = own.map(({ method }) => method.toUpperCase());
    const head = own.some(({ id, method }) => method === 'get' && !NO_HEAD.includes(id));
    for (const method of ['GET', 'PUT', 'POST', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND', 'MKCOL']) {
      if (methods.includes(method)) continue;
      const reply = await raw(urlOf(one), [`${method} ${pathOf(one)} HTTP/1.1`, 'Host: x']);
      expect([method, reply.status, reply.problem.code]).toEqual([method, 405, 'METHOD_NOT_ALLOWED']);
      const allowed = [...methods, ...(head ? ['HEAD'] : []), 'OPTIONS'];
      expect(reply.headers['allow']?.split(', ').sort()).toEqual(allowed.sort());
      expect(reply.headers['x-request-id']).toBe(reply.problem.requestId);
    }
  });

  test.each(NO_HEAD)('HEAD on %s is refused: reading messages is work', async (id) => {
    const operation = contract.operation(id);
    const reply = await broker.request('HEAD', pathOf(operation));
    const others = [...contract.operations.values()].filter(({ path }) => path === operation.path);
    const methods = others.map(({ method }) => method.toUpperCase());
    expect([reply.status, reply.headers['allow']?.split(', ').sort()]).toEqual([405, [...methods, 'OPTIONS'].sort()]);
    expect(reply.text).toBe('');
  });

  test('HEAD on everything else that is read answers its headers', async () => {
    for (const operation of contract.operations.values()) {
      if (operation.method !== 'get' || NO_HEAD.includes(operation.id)) continue;
      const query = operation.id === 'searchOffset' ? '?at=LATEST' : '';
      const reply = await serverOf(operation).request('HEAD', pathOf(operation) + query);
      expect([operation.id, reply.status, reply.text]).toEqual([operation.id, 200, '']);
    }
  });

  test.each(everyOperation)('%s has no slash at its end', async (_, operation) => {
    const reply = await serverOf(operation).request(operation.method.toUpperCase(), `${pathOf(operation)}/`);
    expect([reply.status, reply.problem.code]).toEqual([404, 'PATH_NOT_FOUND']);
    expect(reply.problem.instance).toBe(`${pathOf(operation)}/`);
  });

  test.each(everyOperation.filter(([, operation]) => pathNames(operation).length > 0))(
    '%s with a path that cannot be decoded',
    async (_, operation) => {
      for (const name of pathNames(operation)) {
        for (const broken of ['%', '%zz', '%ff', 'a%c3', '%ed%a0%80']) {
          const line = `${operation.method.toUpperCase()} ${pathOf(operation, { [name]: broken })} HTTP/1.1`;
          const reply = await raw(urlOf(operation), [line, 'Host: x']);
          expect([line, reply.status, reply.problem.code]).toEqual([line, 400, 'INVALID_PATH']);
        }
      }
    },
  );

  test.each(everyOperation.filter(([, operation]) => pathNames(operation).length > 0))(
    '%s with . or .. or nothing for a name',
    async (_, operation) => {
      for (const name of pathNames(operation)) {
        for (const dots of ['.', '..', '%2e', '%2E%2e']) {
          const line = `${operation.method.toUpperCase()} ${pathOf(operation, { [name]: dots })} HTTP/1.1`;
          const reply = await raw(urlOf(operation), [line, 'Host: x']);
          expect([line, reply.status, reply.problem.code]).toEqual([line, 400, 'VALIDATION_FAILED']);
          expect(placesOf(reply.problem)).toEqual([`path ${name}`]);
        }
        const line = `${operation.method.toUpperCase()} ${pathOf(operation, { [name]: '' })} HTTP/1.1`;
        const empty = await raw(urlOf(operation), [line, 'Host: x']);
        expect([line, empty.status]).toEqual([line, 404]);
      }
    },
  );

  test.each([
    '/v2/topics',
    '/v1/topic',
    '/V1/topics',
    '/v1/topics/orders/',
    '//v1/topics',
    '/v1//topics',
    '/favicon.ico',
    '/docs/../v1',
  ])('%s is nowhere', async (path) => {
    const reply = await raw(node.url, [`GET ${path} HTTP/1.1`, 'Host: x']);
    expect([reply.status, reply.problem.code]).toEqual([404, 'PATH_NOT_FOUND']);
  });
});

describe('calls of a browser from another site', () => {
  const health = ['livez', 'readyz', 'metrics'];
  const guarded = everyOperation.filter(([id]) => !health.includes(id));

  test.each(guarded)('%s', async (_, operation) => {
    const { parts } = { parts: fullest(operation) };
    const host = new URL(urlOf(operation)).host;
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `http://${host}.evil.example` },
      { origin: `http://evil.example/${host}` },
      { origin: `http://${host}`, 'sec-fetch-site': 'cross-site' },
    ]) {
      const reply = await serverOf(operation).call(operation.id as 'getVersion', { ...parts, headers });
      expect([headers, reply.status, reply.problem.code]).toEqual([headers, 403, 'ORIGIN_NOT_ALLOWED']);
      expect(reply.headers['access-control-allow-origin']).toBeUndefined();
    }
  });

  test('health is for orchestrators and has no origin', async () => {
    for (const id of health) {
      const reply = await broker.call(id as 'livez', { headers: { origin: 'https://evil.example' } });
      expect(reply.status).toBe(200);
    }
  });

  test('a page of this host may call, and so may everybody who is no browser', async () => {
    const host = new URL(node.url).host;
    for (const headers of [
      { origin: `http://${host}` },
      { 'sec-fetch-site': 'same-origin' },
      { 'sec-fetch-site': 'none' },
      {},
    ]) {
      expect((await broker.call('listTopics', { headers: headers })).status).toBe(200);
    }
  });

  test('a preflight of another site gets no permission', async () => {
    const reply = await broker.request('OPTIONS', '/v1/topics', {
      headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST' },
    });
    expect(reply.headers['access-control-allow-origin']).toBeUndefined();
    expect(reply.status).toBe(403);
  });
});

describe('headers', () => {
  test.each(
    everyOperation.filter(([, { answers }]) =>
      [...answers.values()].some((content) => content.has('application/json')),
    ),
  )('%s is not answered as what the client does not read', async (_, operation) => {
    for (const accept of ['text/html', 'application/xml, image/*', 'application/json;q=0']) {
      const reply = await serverOf(operation).call(operation.id as 'getVersion', {
        ...fullest(operation),
        headers: { accept },
      });
      expect([accept, reply.status, reply.problem.code]).toEqual([accept, 406, 'NOT_ACCEPTABLE']);
    }
  });

  const send = (...headers: string[]) =>
    raw(node.url, ['POST /v1/topics/orders/messages HTTP/1.1', ...headers], '{"body":"x"}');

  test.each([
    ['Host', ['Host: a', 'Host: b', 'Content-Length: 12']],
    ['Content-Type', ['Host: a', 'Content-Type: text/plain', 'Content-Type: application/json', 'Content-Length: 12']],
    ['Authorization', ['Host: a', 'Authorization: Bearer a', 'authorization: Bearer b', 'Content-Length: 12']],
    ['Idempotency-Key', ['Host: a', 'Idempotency-Key: a', 'Idempotency-Key: b', 'Content-Length: 12']],
    ['Content-Length', ['Host: a', 'Content-Length: 12', 'Content-Length: 11']],
    ['Content-Length and Transfer-Encoding', ['Host: a', 'Content-Length: 12', 'Transfer-Encoding: chunked']],
    ['no Host', ['Content-Length: 12']],
    ['a name with a space', ['Host: a', 'Bad Name: x', 'Content-Length: 12']],
    ['an Expect that is none', ['Host: a', 'Expect: tea', 'Content-Length: 12']],
  ])('%s', async (_, headers) => {
    const reply = await send(...headers);
    expect([reply.status, reply.problem.code]).toEqual([400, 'MALFORMED_REQUEST']);
    expect(reply.headers['content-type']).toBe('application/problem+json');
    expect(reply.headers['x-request-id']).toBe(reply.problem.requestId);
  });

  test('a body that is compressed is not unpacked', async () => {
    const reply = await send(
      'Host: a',
      'Content-Type: application/json',
      'Content-Encoding: gzip',
      'Content-Length: 12',
    );
    expect([reply.status, reply.problem.code]).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE']);
  });

  test('headers of 20 KiB', async () => {
    const reply = await send('Host: a', `X-Long: ${'x'.repeat(20 * 1024)}`, 'Content-Length: 12');
    expect([reply.status, reply.problem.code]).toEqual([431, 'HEADERS_TOO_LARGE']);
  });

  test('a URI of 9,000 characters', async () => {
    const reply = await broker.request('GET', `/v1/topics?cursor=${'x'.repeat(9000)}`);
    expect([reply.status, reply.problem.code]).toEqual([414, 'URI_TOO_LONG']);
  });

  test('300 query parameters', async () => {
    const reply = await broker.request(
      'GET',
      `/v1/topics/orders/queues/broker-a/0/messages?offset=0${'&tag=a'.repeat(300)}`,
    );
    expect([reply.status, reply.problem.code]).toEqual([400, 'VALIDATION_FAILED']);
  });

  test('a query that cannot be decoded', async () => {
    const reply = await broker.request('GET', '/v1/topics?cursor=%ff');
    expect([reply.status, reply.problem.code, placesOf(reply.problem)]).toEqual([
      400,
      'VALIDATION_FAILED',
      ['query cursor'],
    ]);
  });

  test.each(['GARBAGE', 'GET /v1 HTTP/9.9', '\u0016\u0003\u0001 TLS'])('what is no HTTP: %j', async (line) => {
    const reply = await raw(node.url, [line, 'Host: a']);
    expect([reply.status, reply.problem.code]).toEqual([400, 'MALFORMED_REQUEST']);
  });

  test('a request id of the client is kept when it is harmless, else replaced', async () => {
    const kept = await broker.call('getTopic', { path: { topic: 'nowhere' }, headers: { 'x-request-id': 'mine-1' } });
    expect(kept.problem.requestId).toBe('mine-1');
    const replaced = await broker.call('getTopic', {
      path: { topic: 'nowhere' },
      headers: { 'x-request-id': '<script>' },
    });
    expect(replaced.problem.requestId).not.toContain('<');
  });
});

/** What a request must be answered: the code and, where one makes sense, the place. */
async function refused(reply: Promise<Reply>, code: Code, ...places: string[]): Promise<Problem> {
  const { status, problem } = await reply;
  // One place may have several faults: 0.5 is no integer, and too small besides.
  expect([status, problem.code, ...new Set(placesOf(problem))]).toEqual([STATUS[code], code, ...places]);
  return problem;
}

const orders = { topic: 'orders' };
const worker = { group: 'billing', consumerId: 'worker-1' };
const firstQueue = { topic: 'orders', broker: 'broker-a', queueId: 0 };

describe('what does not exist', () => {
  const named = (operation: Operation, name: string) => pathNames(operation).includes(name) && !atNameserver(operation);
  const without = (operation: Operation, name: string, value: string | number): Promise<Reply> => {
    const { path, ...parts } = fullest(operation);
    return serverOf(operation).call(operation.id as 'getVersion', { ...parts, path: { ...path, [name]: value } });
  };

  test.each(everyOperation.filter(([, operation]) => named(operation, 'topic')))(
    '%s of an unknown topic',
    async (_, operation) => {
      await refused(without(operation, 'topic', 'nowhere'), 'TOPIC_NOT_FOUND');
      await refused(without(operation, 'topic', '~RETRY~nobody'), 'TOPIC_NOT_FOUND');
      await refused(without(operation, 'topic', '~DLQ~nobody'), 'TOPIC_NOT_FOUND');
    },
  );

  const CREATES = ['putGroup', 'joinGroup'];
  test.each(everyOperation.filter(([id, operation]) => named(operation, 'group') && !CREATES.includes(id)))(
    '%s of an unknown group',
    async (_, operation) => {
      await refused(without(operation, 'group', 'nobody'), 'GROUP_NOT_FOUND');
    },
  );

  test('a group of an unknown topic', async () => {
    await refused(broker.call('putGroup', { path: { group: 'new' }, body: { topic: 'nowhere' } }), 'TOPIC_NOT_FOUND');
    await refused(
      broker.call('joinGroup', { path: { group: 'new', consumerId: 'c' }, body: { topic: 'nowhere' } }),
      'TOPIC_NOT_FOUND',
    );
    await refused(broker.call('getGroup', { path: { group: 'new' } }), 'GROUP_NOT_FOUND');
  });

  test('an unknown queue, broker, tag, message', async () => {
    for (const id of ['readQueue', 'searchOffset'] as const) {
      const query = id === 'readQueue' ? { offset: 0 } : { at: 'LATEST' };
      await refused(broker.call(id, { path: { ...firstQueue, queueId: 77 }, query }), 'QUEUE_NOT_FOUND');
      await refused(broker.call(id, { path: { ...firstQueue, broker: 'broker-z' }, query }), 'QUEUE_NOT_FOUND');
    }
    await refused(broker.call('deleteTag', { path: { ...orders, tag: 'undeclared' } }), 'TAG_NOT_FOUND');
    for (const messageId of ['0'.repeat(32), 'F'.repeat(32), `7F000001${'0'.repeat(24)}`]) {
      await refused(broker.call('getMessage', { path: { ...orders, messageId } }), 'MESSAGE_NOT_FOUND');
    }
    await refused(
      broker.call('createTopic', { body: { name: 'elsewhere', brokers: ['broker-a', 'broker-z'] } }),
      'BROKER_NOT_FOUND',
      '#/brokers',
    );
    await refused(broker.call('getTopic', { path: { topic: 'elsewhere' } }), 'TOPIC_NOT_FOUND');
  });

  test('an unknown broker at the NameServer', async () => {
    await refused(nameserver.call('getNameserverRoute', { path: { topic: 'nowhere' } }), 'TOPIC_NOT_FOUND');
    for (const id of ['wipeWritePermission', 'restoreWritePermission'] as const) {
      await refused(nameserver.call(id, { path: { broker: 'broker-z' } }), 'BROKER_NOT_FOUND');
    }
    for (const [cluster, name, brokerId] of [
      ['Elsewhere', 'broker-a', 2],
      ['DefaultCluster', 'broker-z', 1],
      ['DefaultCluster', 'broker-a', 77],
    ] as const) {
      await refused(
        nameserver.call('unregisterBroker', { path: { cluster, broker: name, brokerId } }),
        'BROKER_NOT_FOUND',
      );
    }
  });

  test('a message sent to a queue that is none', async () => {
    const problem = await refused(
      broker.call('sendMessages', { path: orders, body: { body: 'x', queue: { broker: 'broker-a', queueId: 77 } } }),
      'QUEUE_NOT_FOUND',
    );
    expect(problem['results']).toHaveLength(1);
  });
});

describe('cursors', () => {
  const poll = (path: { group: string; consumerId: string }, cursor: string) =>
    broker.call('pollMessages', { path, query: { waitMs: 0, cursor } });

  test('a forged one, of a poll and of a commit', async () => {
    await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } });
    const { cursor } = (await poll(worker, '')).body;
    const last = cursor.at(-1) === 'A' ? 'B' : 'A';
    const forged = [
      'x',
      '????',
      'AAAA',
      cursor.slice(0, -1),
      `${cursor}A`,
      `${cursor}=`,
      cursor.slice(0, -4) + last + cursor.slice(-3),
      `B${cursor.slice(1)}`,
      Buffer.from(JSON.stringify({ after: 'orders' })).toString('base64url'),
      'A'.repeat(4096),
    ];
    for (const text of forged) {
      await refused(poll(worker, text), 'CURSOR_INVALID', 'query cursor');
      await refused(
        broker.call('commitOffsets', { path: { group: 'billing' }, body: { consumerId: 'worker-1', cursor: text } }),
        'CURSOR_INVALID',
        '#/cursor',
      );
    }
    expect((await poll(worker, cursor)).status).toBe(200);
  });

  test('one of another group or consumer', async () => {
    const { cursor } = (await poll(worker, '')).body;
    for (const other of [
      { group: 'billing', consumerId: 'worker-2' },
      { group: 'mailing', consumerId: 'worker-1' },
    ]) {
      await broker.call('joinGroup', { path: other, body: { topic: 'orders' } });
      await refused(poll(other, cursor), 'CURSOR_INVALID', 'query cursor');
      await refused(
        broker.call('commitOffsets', { path: other, body: { consumerId: other.consumerId, cursor } }),
        'CURSOR_INVALID',
        '#/cursor',
      );
      await broker.call('leaveGroup', { path: other });
    }
    await broker.call('deleteGroup', { path: { group: 'mailing' } });
  });

  test('of a list', async () => {
    const cursors = ['x', 'e30', 'bnVsbA', Buffer.from('{"after":1}').toString('base64url'), 'A'.repeat(4096)];
    const page = await broker.call('listTopics', { query: { limit: 1 } });
    for (const cursor of [...cursors, `${page.body.cursor}A`]) {
      for (const id of ['listTopics', 'listGroups'] as const) {
        await refused(broker.call(id, { query: { cursor } }), 'CURSOR_INVALID', 'query cursor');
      }
      await refused(
        broker.call('listDeadLetters', { path: { group: 'billing' }, query: { cursor } }),
        'CURSOR_INVALID',
        'query cursor',
      );
      await refused(nameserver.call('listNameserverRoutes', { query: { cursor } }), 'CURSOR_INVALID', 'query cursor');
    }
  });
});

describe('offsets that are none', () => {
  const commit = (body: object) => broker.call('commitOffsets', { path: { group: 'billing' }, body });

  test('a read outside of the queue is told where to go on', async () => {
    const read = (offset: number) => broker.call('readQueue', { path: firstQueue, query: { offset } });
    const { maxOffset } = (await read(0)).body;
    const problem = await refused(read(maxOffset + 1), 'OFFSET_MOVED');
    expect(problem).toMatchObject({ minOffset: 0, maxOffset, nextOffset: maxOffset });
    await refused(read(Number.MAX_SAFE_INTEGER), 'OFFSET_MOVED');
  });

  test('a commit behind the end, before the committed one, of a foreign queue', async () => {
    await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } });
    const at = (nextOffset: number, queueId = 0) => ({ ...firstQueue, queueId, nextOffset });
    const behind = await refused(commit({ consumerId: 'worker-1', offsets: [at(1_000_000)] }), 'OFFSET_MOVED');
    expect(behind).toMatchObject({
      results: [{ status: 'FAILED', nextOffset: 1_000_000, error: { code: 'OFFSET_MOVED' } }],
    });
    expect((await commit({ consumerId: 'worker-1', offsets: [at(1)] })).status).toBe(200);
    const before = await refused(commit({ consumerId: 'worker-1', offsets: [at(0)] }), 'OFFSET_BACKWARDS');
    expect(before['committed']).toBe(1);
    await refused(commit({ consumerId: 'worker-2', offsets: [at(1)] }), 'QUEUE_NOT_OWNED');
    await refused(commit({ consumerId: 'worker-1', offsets: [at(1, 77)] }), 'QUEUE_NOT_FOUND');
    await refused(commit({ consumerId: 'worker-1', offsets: [{ ...at(1), topic: 'payments' }] }), 'QUEUE_NOT_FOUND');
    await refused(commit({ consumerId: 'worker-1', generation: '????', offsets: [at(1)] }), 'QUEUE_NOT_OWNED');
  });

  test('a commit of neither or both, of a cursor without its consumer', async () => {
    await refused(commit({}), 'VALIDATION_FAILED', '#');
    await refused(commit({ consumerId: 'worker-1' }), 'VALIDATION_FAILED', '#');
    await refused(
      commit({ consumerId: 'worker-1', cursor: 'x', offsets: [{ ...firstQueue, nextOffset: 1 }] }),
      'VALIDATION_FAILED',
      '#',
    );
    await refused(commit({ cursor: 'x' }), 'VALIDATION_FAILED', '#/consumerId');
  });

  test('a reset without its measure, of a queue that is none', async () => {
    const reset = (body: object) => broker.call('resetOffsets', { path: { group: 'billing' }, body });
    await refused(reset({ to: 'TIMESTAMP' }), 'VALIDATION_FAILED', '#/timestamp');
    await refused(reset({ to: 'OFFSET' }), 'VALIDATION_FAILED', '#/offset');
    const queue = { broker: 'broker-a', queueId: 0 };
    await refused(reset({ to: 'LATEST', queues: [{ ...queue, queueId: 77 }] }), 'QUEUE_NOT_FOUND');
    for (const topic of ['payments', 'nowhere', '%RETRY%accounting'])
      await refused(reset({ to: 'LATEST', queues: [{ ...queue, topic }] }), 'QUEUE_NOT_FOUND');
  });

  test('a group that begins at a time without saying which', async () => {
    const body = { topic: 'orders', consumeFrom: 'TIMESTAMP' };
    await refused(
      broker.call('putGroup', { path: { group: 'late' }, body }),
      'VALIDATION_FAILED',
      '#/consumeTimestamp',
    );
    await refused(
      broker.call('joinGroup', { path: { group: 'late', consumerId: 'c' }, body }),
      'VALIDATION_FAILED',
      '#/consumeTimestamp',
    );
  });
});

describe('failed messages', () => {
  const sendBack = (body: object, headers = {}) =>
    broker.call('sendBack', { path: { group: 'billing' }, body, headers });
  const first = { ...firstQueue, queueOffset: 0 };

  beforeAll(() => broker.call('joinGroup', { path: worker, body: { topic: 'orders' } }));

  test('of a queue that is none, or is not this consumer’s', async () => {
    const problem = await refused(
      sendBack({ consumerId: 'worker-1', messages: [{ ...first, queueId: 77 }] }),
      'QUEUE_NOT_FOUND',
    );
    expect(problem).toMatchObject({ results: [{ status: 'FAILED', queueId: 77, error: { code: 'QUEUE_NOT_FOUND' } }] });
    await refused(
      sendBack({ consumerId: 'worker-1', messages: [{ ...first, broker: 'broker-z' }] }),
      'QUEUE_NOT_FOUND',
    );
    await refused(sendBack({ consumerId: 'worker-1', messages: [{ ...first, topic: 'payments' }] }), 'QUEUE_NOT_FOUND');
    await refused(sendBack({ consumerId: 'worker-2', messages: [first] }), 'QUEUE_NOT_OWNED');
  });

  test('with a cursor that is forged', async () => {
    await refused(sendBack({ consumerId: 'worker-1', messages: [first], cursor: 'x' }), 'CURSOR_INVALID', '#/cursor');
  });

  test('told again, with an Idempotency-Key or without, finds the first answer', async () => {
    const queue = { broker: 'broker-a', queueId: 0 };
    const sent = await broker.call('sendMessages', { path: orders, body: { body: 'fails', queue } });
    const failed = { ...first, queueOffset: sent.body.results[0]!.queueOffset! };
    await broker.call('pollMessages', { path: worker, query: { waitMs: 0, max: 1000 } });
    const headers = { 'idempotency-key': 'failed-1' };
    const body = { consumerId: 'worker-1', messages: [{ ...failed, delayMs: 600_000 }] };
    const sentBack = await sendBack(body, headers);
    const { results } = sentBack.body;
    expect(sentBack.headers['idempotency-replayed']).toBeUndefined();
    const again = await sendBack(body, headers);
    expect([again.status, again.headers['idempotency-replayed'], again.body.results]).toEqual([200, 'true', results]);
    const alone = await sendBack(body);
    expect([alone.headers['idempotency-replayed'], alone.body.results]).toEqual([undefined, results]);
    const other = { ...body, messages: [{ ...failed, delayMs: 1 }] };
    await refused(sendBack(other, headers), 'IDEMPOTENCY_KEY_REUSED');
  });

  test('with a cursor commits nothing when one of them is refused, and says so', async () => {
    const { cursor } = (await broker.call('pollMessages', { path: worker, query: { waitMs: 0 } })).body;
    const problem = await refused(
      sendBack({ consumerId: 'worker-1', cursor, messages: [{ ...first, queueId: 77 }] }),
      'QUEUE_NOT_FOUND',
    );
    expect(problem).toMatchObject({ cursorCommitted: false });
  });

  test('a redrive of none, of both, of what is not there', async () => {
    const redrive = (body: object) => broker.call('redriveDeadLetters', { path: { group: 'billing' }, body });
    const messageIds = ['F'.repeat(32)];
    for (const body of [{}, { all: false }, { dryRun: true }, { topic: 'orders' }, { all: true, messageIds }]) {
      await refused(redrive(body), 'VALIDATION_FAILED', '#');
    }
    const problem = await refused(redrive({ messageIds }), 'MESSAGE_NOT_FOUND');
    expect(problem).toMatchObject({ dryRun: false, results: [{ status: 'FAILED', messageId: messageIds[0] }] });
    await refused(redrive({ messageIds, topic: 'nowhere' }), 'TOPIC_NOT_FOUND');
  });
});

describe('receipt handles', () => {
  const accounting = { group: 'accounting' };
  const HANDLED = ['ackMessages', 'nackMessages', 'extendReceipts'] as const;
  const bodyOf = (id: (typeof HANDLED)[number], handles: readonly string[]): object => {
    if (id === 'ackMessages') return { receiptHandles: handles };
    const more = id === 'extendReceipts' ? { invisibleMs: 60_000 } : {};
    return { receipts: handles.map((receiptHandle) => ({ receiptHandle, ...more })) };
  };
  const handle = (id: (typeof HANDLED)[number], path: { group: string }, handles: readonly string[]) =>
    broker.call(id, { path, body: bodyOf(id, handles) });

  /** The handle of a message that is sent now; what came back of earlier ones, on a slow machine, is out of the way. */
  const lease = async (): Promise<string> => (await leased(60_000)).receiptHandle;

  async function leased(invisibleMs: number) {
    const old = (await broker.call('receiveMessages', { path: accounting, body: { max: 1000, waitMs: 0 } })).body;
    if (old.messages.length > 0)
      await handle(
        'ackMessages',
        accounting,
        old.messages.map(({ receiptHandle }) => receiptHandle),
      );
    const body = { body: 'a payment', messageGroup: 'customer-1' };
    await broker.call('sendMessages', { path: { topic: 'payments' }, body });
    const { messages } = (await broker.call('receiveMessages', { path: accounting, body: { invisibleMs } })).body;
    return messages[0]!;
  }

  test.each(HANDLED)('%s of forged ones', async (id) => {
    const real = await lease();
    const other = real.at(-4) === 'A' ? 'B' : 'A';
    const forged = [
      'x',
      'AAAA',
      real.slice(0, -1),
      `${real}A`,
      real.slice(0, -4) + other + real.slice(-3),
      `${real.startsWith('B') ? 'C' : 'B'}${real.slice(1)}`,
      'A'.repeat(512),
    ];
    const problem = await refused(handle(id, accounting, forged), 'RECEIPT_INVALID');
    expect(problem['results']).toMatchObject(
      forged.map((receiptHandle) => ({ status: 'FAILED', receiptHandle, error: { code: 'RECEIPT_INVALID' } })),
    );
    const mixed = await broker.call('ackMessages', { path: accounting, body: { receiptHandles: [real, 'x'] } });
    expect([mixed.status, mixed.body.results.map(({ status }) => status)]).toEqual([207, ['OK', 'FAILED']]);
  });

  test.each(HANDLED)('%s of one of another group', async (id) => {
    const real = await lease();
    await refused(handle(id, { group: 'billing' }, [real]), 'RECEIPT_INVALID');
    expect((await handle('ackMessages', accounting, [real])).status).toBe(200);
    expect((await handle('ackMessages', accounting, [real])).status).toBe(200); // again is harmless
  });

  test.each(HANDLED)('%s of a message that was handed out again', async (id) => {
    const late = await leased(1000);
    for (;;) {
      const { body } = await broker.call('receiveMessages', { path: accounting, body: { waitMs: 30_000 } });
      const again = body.messages[0]!;
      const isIt = again.messageId === late.messageId;
      if (isIt) {
        expect(again.attempt).toBeGreaterThan(late.attempt);
        await refused(handle(id, accounting, [late.receiptHandle]), 'LATE_ACK');
      }
      await handle('ackMessages', accounting, [again.receiptHandle]);
      if (isIt) return;
    }
  });

  test('a list of over 4 MiB, or of messages of over 8 MiB', async () => {
    for (const id of HANDLED) {
      const megabytes = id === 'ackMessages' ? 4 : 8;
      const bytes = JSON.stringify({ receiptHandles: ['x'.repeat(megabytes * 1024 * 1024)] });
      await refused(broker.call(id, { path: accounting, bytes, contentType: 'application/json' }), 'BODY_TOO_LARGE');
    }
  });
});

describe('styles against each other', () => {
  const receive = (group: string, body: object = {}) =>
    broker.call('receiveMessages', { path: { group }, body: { waitMs: 0, ...body } });
  const put = (group: string, body: object) => broker.call('putGroup', { path: { group }, body });
  const drop = (group: string) => broker.call('deleteGroup', { path: { group }, query: { force: true } });

  test('a lease beside members, a member beside leases', async () => {
    await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } });
    await refused(receive('billing'), 'STYLE_CONFLICT');
    await put('leasing', { topic: 'orders' });
    const { messages } = (await receive('leasing')).body;
    expect(messages).toHaveLength(1);
    const path = { group: 'leasing', consumerId: 'worker-1' };
    await refused(broker.call('joinGroup', { path, body: { topic: 'orders' } }), 'STYLE_CONFLICT');
    await broker.call('ackMessages', { path, body: { receiptHandles: [messages[0]!.receiptHandle] } });
    expect((await broker.call('joinGroup', { path, body: { topic: 'orders' } })).status).toBe(200);
    await drop('leasing');
  });

  test('a lease or a message sent back in a broadcasting group, and a commit of nobody', async () => {
    await put('news', { topic: 'orders', mode: 'BROADCASTING' });
    await refused(receive('news'), 'STYLE_CONFLICT');
    const path = { group: 'news', consumerId: 'worker-1' };
    await broker.call('joinGroup', { path, body: { topic: 'orders' } });
    const messages = [{ ...firstQueue, queueOffset: 0 }];
    await refused(broker.call('sendBack', { path, body: { consumerId: 'worker-1', messages } }), 'STYLE_CONFLICT');
    const offsets = [{ ...firstQueue, nextOffset: 1 }];
    await refused(broker.call('commitOffsets', { path, body: { offsets } }), 'VALIDATION_FAILED', '#/consumerId');
    await drop('news');
  });

  test('a message sent back in an ordered group', async () => {
    await put('ledger', { topic: 'payments', ordered: true });
    const path = { group: 'ledger', consumerId: 'worker-1' };
    await broker.call('joinGroup', { path, body: { topic: 'payments' } });
    const messages = [{ topic: 'payments', broker: 'broker-a', queueId: 0, queueOffset: 0 }];
    await refused(broker.call('sendBack', { path, body: { consumerId: 'worker-1', messages } }), 'STYLE_CONFLICT');
    await drop('ledger');
  });

  test('a lease with another subscription than the group’s', async () => {
    await refused(receive('accounting', { topic: 'orders' }), 'SUBSCRIPTION_CONFLICT');
    const filter = { type: 'TAG', expression: 'refunded' };
    await refused(receive('accounting', { filter }), 'SUBSCRIPTION_CONFLICT');
    expect((await receive('accounting', { topic: 'payments', filter: { type: 'TAG', expression: '*' } })).status).toBe(
      200,
    );
  });

  test('what is fixed when a group is created', async () => {
    const topic = 'payments';
    await refused(put('accounting', { topic, mode: 'BROADCASTING' }), 'SUBSCRIPTION_CONFLICT');
    await refused(put('accounting', { topic, ordered: true }), 'SUBSCRIPTION_CONFLICT');
    await refused(
      broker.call('updateGroup', { path: { group: 'accounting' }, body: { mode: 'BROADCASTING' } }),
      'SUBSCRIPTION_CONFLICT',
    );
  });
});

describe('messages', () => {
  const send = (parts: RequestParts, topic = 'orders') => broker.call('sendMessages', { path: { topic }, ...parts });
  const json = (body: unknown, topic?: string) => send({ body }, topic);
  const MIB = 1024 * 1024;

  /** In all topics that people send to: what failed before comes back to the groups' own meanwhile. */
  async function count(): Promise<number> {
    let messages = 0;
    for (const { name } of (await broker.call('listTopics')).body.topics)
      for (const queue of (await broker.call('listQueues', { path: { topic: name } })).body.queues)
        messages += queue.maxOffset;
    return messages;
  }
  let before: number;
  beforeAll(async () => void (before = await count()));
  afterAll(async () => expect(await count()).toBe(before)); // nothing of all this was stored

  test('without a body, with two, with none of the three', async () => {
    await refused(json({}), 'VALIDATION_FAILED', '#/messages/0/body');
    await refused(json({ messages: [{ body: 'a' }, {}] }), 'VALIDATION_FAILED', '#/messages/1/body');
    await refused(json({ body: 'a', bodyJson: 1 }), 'VALIDATION_FAILED', '#/messages/0/body');
    await refused(json([{ body: 'a' }]), 'VALIDATION_FAILED', '#');
    await refused(json({ bodyJson: 1, bodyEncoding: 'BASE64' }), 'VALIDATION_FAILED', '#/messages/0/bodyEncoding');
    await refused(json({ bodyJson: 1, contentType: 'text/plain' }), 'VALIDATION_FAILED', '#/messages/0/contentType');
    await refused(send({ bytes: '', contentType: 'application/x-www-form-urlencoded' }), 'UNSUPPORTED_MEDIA_TYPE');
    for (const contentType of [undefined, 'application/json', 'application/x-ndjson']) {
      await refused(send({ bytes: '', ...(contentType && { contentType }) }), 'BODY_EMPTY', '#');
    }
  });

  test.each(['a', 'ab=', 'YQ', 'YQ==\n', 'Y Q==', 'YR==', 'YQ==YQ==', '_-8=', '='])(
    'base64 that is none: %j',
    async (body) => {
      await refused(json({ body, bodyEncoding: 'BASE64' }), 'VALIDATION_FAILED', '#/messages/0/body');
    },
  );

  test('a queue beside a messageGroup, which has its queue already', async () => {
    const both = { body: 'a', messageGroup: 'g', queue: { broker: 'broker-a', queueId: 0 } };
    await refused(json(both, 'payments'), 'VALIDATION_FAILED', '#/messages/0/queue');
    await refused(json({ messages: [{ body: 'a' }, both] }), 'VALIDATION_FAILED', '#/messages/1/queue');
    const lines = { bytes: JSON.stringify(both), contentType: 'application/x-ndjson' };
    await refused(send(lines, 'payments'), 'VALIDATION_FAILED', '#/messages/0/queue');
  });

  test('text that is no Unicode', async () => {
    const bytes = Buffer.from([0x61, 0xc3, 0x28]);
    for (const contentType of [
      'text/plain',
      'text/csv; charset=utf-8',
      'application/json',
      'application/vnd.x+json',
      'application/x-ndjson',
    ]) {
      await refused(send({ bytes, contentType }), 'ENCODING_INVALID');
    }
    await refused(json({ body: 'a\ud800' }), 'ENCODING_INVALID', '#/body');
    await refused(
      json({ messages: [{ body: 'a' }, { body: 'b', keys: ['\udfff'] }] }),
      'ENCODING_INVALID',
      '#/messages/1/keys/0',
    );
    await refused(json({ body: 'a', properties: { ['\ud800']: 'x' } }), 'ENCODING_INVALID', '#/properties');
    await refused(json({ bodyJson: { deep: ['\ud800'] } }), 'ENCODING_INVALID', '#/bodyJson/deep/0');
  });

  test('over 1,000 in one request', async () => {
    const messages = Array.from({ length: 1001 }, () => ({ body: 'x' }));
    await refused(json({ messages }), 'VALIDATION_FAILED', '#/messages');
    const bytes = messages.map((message) => JSON.stringify(message)).join('\n');
    await refused(send({ bytes, contentType: 'application/x-ndjson' }), 'VALIDATION_FAILED', '#/messages');
    await refused(json({ messages: [] }), 'VALIDATION_FAILED', '#/messages');
  });

  test('a body over 4 MiB, and bodies over 4 MiB together', async () => {
    const large = 'x'.repeat(4 * MIB + 1);
    for (const contentType of ['text/plain', 'application/octet-stream', undefined]) {
      await refused(send({ bytes: large, ...(contentType && { contentType }) }), 'BODY_TOO_LARGE', '#');
    }
    await refused(json({ body: large }), 'BODY_TOO_LARGE', '#/messages/0/body');
    await refused(
      json({ messages: Array.from({ length: 5 }, () => ({ body: 'x'.repeat(MIB) })) }),
      'BODY_TOO_LARGE',
      '#/messages',
    );
    const lines = Array.from({ length: 5 }, () => JSON.stringify({ body: 'x'.repeat(MIB) })).join('\n');
    await refused(send({ bytes: lines, contentType: 'application/x-ndjson' }), 'BODY_TOO_LARGE', '#/messages');
  });

  test('a request over 8 MiB is not even read, announced or not', async () => {
    await refused(send({ bytes: Buffer.alloc(8 * MIB + 1, 'x') }), 'BODY_TOO_LARGE');
    const head = ['POST /v1/topics/orders/messages HTTP/1.1', 'Host: a'];
    const announced = await raw(node.url, [...head, 'Content-Length: 999999999999']);
    expect([announced.status, announced.problem.code]).toEqual([413, 'BODY_TOO_LARGE']);
    const chunk = `${MIB.toString(16)}\r\n${'x'.repeat(MIB)}\r\n`;
    const chunked = await raw(node.url, [...head, 'Transfer-Encoding: chunked'], `${chunk.repeat(9)}0\r\n\r\n`);
    expect([chunked.status, chunked.problem.code]).toEqual([413, 'BODY_TOO_LARGE']);
  });

  test('properties: too many, too large, with names that are not theirs', async () => {
    const properties = (entries: [string, string][]) => json({ body: 'x', properties: Object.fromEntries(entries) });
    const many = Array.from({ length: 129 }, (_, i): [string, string] => [`p${i}`, 'v']);
    await refused(properties(many), 'VALIDATION_FAILED', '#/messages/0/properties');
    await refused(properties([['p', 'x'.repeat(16 * 1024)]]), 'VALIDATION_FAILED', '#/messages/0/properties');
    await refused(properties([['p', 'ä'.repeat(8 * 1024)]]), 'VALIDATION_FAILED', '#/messages/0/properties');
    await refused(
      json({ body: 'x', tag: 't', keys: Array.from({ length: 128 }, () => 'k'.repeat(129)) }),
      'VALIDATION_FAILED',
      '#/messages/0/properties',
    );
    for (const name of ['KEYS', 'TAGS', 'UNIQ_KEY', 'DELAY', '__SHARDINGKEY', '__RMQ.TRANSIENT.x', '']) {
      await refused(properties([[name, 'v']]), 'VALIDATION_FAILED', `#/messages/0/properties/${name}`);
    }
    await refused(properties([['a/b~c\n', 'v']]), 'VALIDATION_FAILED', '#/messages/0/properties/a~1b~0c\n');
    await refused(
      send({ bytes: '{"body":"x","properties":{"__proto__":"v"}}', contentType: 'application/json' }),
      'VALIDATION_FAILED',
      '#/properties/__proto__',
    );
  });

  test('properties of raw bodies', async () => {
    const text = (query: RequestParts['query']) => send({ bytes: 'x', contentType: 'text/plain', query: query! });
    for (const property of ['noColon', ':noName', 'TAGS:x', '__proto__:x']) {
      await refused(text({ property }), 'VALIDATION_FAILED', 'query property');
    }
    await refused(text({ property: ['a:1', 'a:2'] }), 'VALIDATION_FAILED', 'query property');
    await refused(text({ tag: 'a', messageGroup: 'x'.repeat(64) }), 'VALIDATION_FAILED', 'query messageGroup');
    await refused(text({ key: '' }), 'VALIDATION_FAILED', 'query key');
    await refused(
      send({ bytes: 'x', contentType: `text/plain; x=${'y'.repeat(250)}` }),
      'VALIDATION_FAILED',
      'header Content-Type',
    );
  });

  test('parameters of raw bodies beside JSON', async () => {
    for (const [name, value] of Object.entries({ tag: 'a', key: 'a', property: 'a:b', messageGroup: 'a' })) {
      await refused(send({ body: { body: 'x' }, query: { [name]: value } }), 'VALIDATION_FAILED', `query ${name}`);
      const bytes = '{"body":"x"}';
      await refused(
        send({ bytes, contentType: 'application/x-ndjson', query: { [name]: value } }),
        'VALIDATION_FAILED',
        `query ${name}`,
      );
    }
  });

  test('forms are refused with the header to add', async () => {
    for (const contentType of ['application/x-www-form-urlencoded', 'multipart/form-data; boundary=a']) {
      const problem = await refused(send({ bytes: 'body=x', contentType }), 'UNSUPPORTED_MEDIA_TYPE');
      expect(problem.detail).toContain("-H 'content-type: application/json'");
      expect(problem.detail).toContain("-H 'content-type: text/plain'");
      const other = await refused(
        broker.call('createTopic', { bytes: 'name=x', contentType }),
        'UNSUPPORTED_MEDIA_TYPE',
      );
      expect(other.detail).toContain("-H 'content-type: application/json'");
    }
  });

  test('one bad line of NDJSON is named, and nothing of the others is stored', async () => {
    const lines = (...parts: string[]) => send({ bytes: parts.join('\n'), contentType: 'application/x-ndjson' });
    const good = '{"body":"a"}';
    const cases: [string[], Code, string][] = [
      [[good, '', 'nonsense', good], 'MALFORMED_JSON', '#/messages/1'],
      [[good, good, '{"body":5}'], 'VALIDATION_FAILED', '#/messages/2/body'],
      [[good, '{"body":"a","nonsense":1}'], 'VALIDATION_FAILED', '#/messages/1/nonsense'],
      [[good, '{"messages":[]}'], 'VALIDATION_FAILED', '#/messages/1/messages'],
      [[good, '"text"'], 'VALIDATION_FAILED', '#/messages/1'],
      [[good, '['.repeat(40_000)], 'JSON_TOO_DEEP', '#/messages/1'],
      [[good, '{"__proto__":{}}'], 'VALIDATION_FAILED', '#/messages/1/__proto__'],
      [[good, '{"body":"\\ud800"}'], 'ENCODING_INVALID', '#/messages/1/body'],
    ];
    for (const [parts, code, place] of cases) {
      const problem = await refused(lines(...parts), code, place);
      const line = parts.length - (parts.includes('') ? 1 : 0);
      expect(problem.detail).toContain(`line ${parts.includes('nonsense') ? 3 : line}`);
    }
    await refused(lines('', '  ', ''), 'BODY_EMPTY', '#');
  });

  test('against what the topic is for', async () => {
    await refused(json({ body: 'x', messageGroup: 'g' }), 'MESSAGE_TYPE_MISMATCH');
    await refused(json({ body: 'x' }, 'payments'), 'MESSAGE_TYPE_MISMATCH');
    await broker.call('createTopic', { body: { name: 'strict', tagPolicy: 'DECLARED', permission: 'RW' } });
    await refused(json({ body: 'x', tag: 'undeclared' }, 'strict'), 'TAG_NOT_DECLARED');
    for (const permission of ['R', 'NONE']) {
      await broker.call('updateTopic', { path: { topic: 'strict' }, body: { permission } });
      await refused(json({ body: 'x' }, 'strict'), 'NO_PERMISSION');
    }
    await broker.call('deleteTopic', { path: { topic: 'strict' } });
  });
});

describe('messages for later', () => {
  const HOUR = 3_600_000;
  const DAY = 24 * HOUR;
  const send = (parts: RequestParts, topic = 'reminders') => broker.call('sendMessages', { path: { topic }, ...parts });
  const json = (body: object, topic?: string) => send({ body: { body: 'x', ...body } }, topic);
  const waiting = async () =>
    (await broker.call('listScheduled', { path: { topic: 'reminders' }, query: { limit: 1000 } })).body.scheduled
      .length;
  let before: number;
  beforeAll(async () => void (before = await waiting()));
  afterAll(async () => expect(await waiting()).toBe(before)); // nothing of all this waits

  test('a time that is past is now, and no fault', async () => {
    for (const body of [{ deliverAt: 0 }, { deliverAt: Date.now() - 1 }, { delayMs: 0 }]) {
      const [result] = (await json(body)).body.results;
      expect([body, result]).toMatchObject([body, { status: 'SEND_OK', queueOffset: expect.any(Number) as number }]);
      expect(result!.deliverTimestamp).toBeUndefined();
    }
  });

  test('a delay of more than 40 days', async () => {
    const faults = [{ delayMs: 40 * DAY + 1 }, { deliverAt: Date.now() + 40 * DAY + HOUR }];
    for (const body of [...faults, { delayMs: Number.MAX_SAFE_INTEGER }, { deliverAt: Number.MAX_SAFE_INTEGER }]) {
      const problem = await refused(json(body), 'DELAY_TOO_LONG');
      expect(problem['results']).toMatchObject([{ status: 'FAILED', error: { code: 'DELAY_TOO_LONG' } }]);
      expect(problem.detail).toMatch(/at most 40 days, and this one would wait \d+/);
      await refused(send({ bytes: 'x', contentType: 'text/plain', query: body }), 'DELAY_TOO_LONG');
    }
  });

  type Query = Record<string, number | string>;
  const TABLE: [what: string, attributes: Query, field: string][] = [
    ['both delayMs and deliverAt', { delayMs: 1, deliverAt: 1 }, 'deliverAt'],
    ['both delayMs and delayLevel', { delayMs: 1, delayLevel: 1 }, 'delayLevel'],
    ['both deliverAt and delayLevel', { deliverAt: 1, delayLevel: 1 }, 'delayLevel'],
    ['all three', { delayMs: 1, deliverAt: 1, delayLevel: 1 }, 'deliverAt'],
    ['a delay in a messageGroup', { delayMs: 1, messageGroup: 'g' }, 'delayMs'],
    ['a time in a messageGroup', { deliverAt: 1, messageGroup: 'g' }, 'deliverAt'],
    ['a level in a messageGroup', { delayLevel: 1, messageGroup: 'g' }, 'delayLevel'],
    ['level 0', { delayLevel: 0 }, 'delayLevel'],
    ['level 19', { delayLevel: 19 }, 'delayLevel'],
    ['a delay before now', { delayMs: -1 }, 'delayMs'],
    ['half a millisecond', { delayMs: 0.5 }, 'delayMs'],
    ['a time before 1970', { deliverAt: -1 }, 'deliverAt'],
    ['seconds for milliseconds', { deliverAt: Math.floor(Date.now() / 1000) + 3600 }, 'deliverAt'],
    ['a date without a time', { deliverAt: '2026-12-24' }, 'deliverAt'],
    ['a duration', { delayMs: '5m' }, 'delayMs'],
  ];

  test.each(TABLE)('%s', async (_, attributes, field) => {
    await refused(json(attributes), 'VALIDATION_FAILED', `#/messages/0/${field}`);
    const messages = [{ body: 'a' }, { body: 'b', ...attributes }];
    await refused(send({ body: { messages } }), 'VALIDATION_FAILED', `#/messages/1/${field}`);
    const lines = messages.map((message) => JSON.stringify(message)).join('\n');
    const ndjson = send({ bytes: lines, contentType: 'application/x-ndjson' });
    expect((await refused(ndjson, 'VALIDATION_FAILED', `#/messages/1/${field}`)).detail).toContain('line 2');
    const raw = send({ bytes: 'x', contentType: 'text/plain', query: attributes });
    await refused(raw, 'VALIDATION_FAILED', `query ${field}`);
  });

  test('parameters of raw bodies beside JSON', async () => {
    for (const [name, value] of Object.entries({ delayMs: 1, deliverAt: 1, delayLevel: 1 })) {
      await refused(send({ body: { body: 'x' }, query: { [name]: value } }), 'VALIDATION_FAILED', `query ${name}`);
    }
  });

  test('against what the topic is for', async () => {
    for (const topic of ['orders', 'payments', 'transfers']) {
      await refused(json({ delayMs: HOUR }, topic), 'MESSAGE_TYPE_MISMATCH');
      // Also when its time is past: what a topic takes does not depend on the clock.
      await refused(json({ deliverAt: 1 }, topic), 'MESSAGE_TYPE_MISMATCH');
    }
    expect((await refused(json({}), 'MESSAGE_TYPE_MISMATCH')).detail).toContain('delayMs, deliverAt or delayLevel');
  });

  test('a recall of what never waited, was taken back, or has come', async () => {
    const recall = (messageId: string, topic = 'reminders') =>
      broker.call('recallScheduled', { path: { topic, messageId } });
    for (const messageId of ['0'.repeat(32), 'F'.repeat(32)]) await refused(recall(messageId), 'MESSAGE_NOT_FOUND');
    for (const messageId of ['x', 'f'.repeat(32), 'F'.repeat(31)])
      await refused(recall(messageId), 'VALIDATION_FAILED', 'path messageId');
    const [later, now] = (
      await send({
        body: {
          messages: [
            { body: 'x', delayMs: HOUR },
            { body: 'x', delayMs: 0 },
          ],
        },
      })
    ).body.results;
    const look = broker.call('getMessage', { path: { topic: 'reminders', messageId: later!.messageId! } });
    expect((await refused(look, 'MESSAGE_NOT_FOUND')).detail).toContain('not visible yet (scheduled');
    await refused(recall(later!.messageId!, 'orders'), 'MESSAGE_NOT_FOUND');
    expect((await recall(later!.messageId!)).status).toBe(204);
    const again = await refused(recall(later!.messageId!), 'MESSAGE_NOT_FOUND');
    expect(again.detail).toContain('was taken back already');
    await refused(recall(now!.messageId!), 'ALREADY_DELIVERED');
  });

  test('a cursor that is none', async () => {
    const position = (text: string) => Buffer.from(JSON.stringify({ after: text })).toString('base64url');
    for (const cursor of ['x', 'e30', position('orders'), position('1'), position('-1.1'), position('1.2.3')]) {
      const list = broker.call('listScheduled', { path: { topic: 'reminders' }, query: { cursor } });
      await refused(list, 'CURSOR_INVALID', 'query cursor');
    }
  });
});

describe('transactions', () => {
  const message = { body: 'transfer' };
  const prepare = (body: object, topic = 'transfers', headers = {}) =>
    broker.call('prepareTransaction', { path: { topic }, body: { producerGroup: 'banks', message, ...body }, headers });
  const prepared = async () => (await prepare({ checkAfterMs: 3_600_000 })).body.transactionId;
  const end = (transactionId: string, body: object) =>
    broker.call('endTransaction', { path: { transactionId }, body: { resolution: 'COMMIT', ...body } });
  const endAll = (body: object) => broker.call('endTransactions', { body });

  test('of a message that cannot be one', async () => {
    const at = (field: string) => `#/message${field}`;
    await refused(prepare({ message: {} }), 'VALIDATION_FAILED', at('/body'));
    await refused(prepare({ message: { body: 'a', bodyJson: 1 } }), 'VALIDATION_FAILED', at('/body'));
    await refused(prepare({ message: { body: 'YQ', bodyEncoding: 'BASE64' } }), 'VALIDATION_FAILED', at('/body'));
    await refused(prepare({ message: { body: 'a', tag: 'a|b' } }), 'VALIDATION_FAILED', at('/tag'));
    await refused(
      prepare({ message: { body: 'a', properties: { TAGS: 'x' } } }),
      'VALIDATION_FAILED',
      at('/properties/TAGS'),
    );
    const large = 'x'.repeat(4 * 1024 * 1024 + 1);
    await refused(prepare({ message: { body: large } }), 'BODY_TOO_LARGE', at('/body'));
    // Its place and time are the decision's.
    const elsewhere = {
      delayMs: 1,
      deliverAt: 1,
      delayLevel: 1,
      messageGroup: 'g',
      queue: { broker: 'b', queueId: 0 },
    };
    for (const [name, value] of Object.entries(elsewhere))
      await refused(prepare({ message: { ...message, [name]: value } }), 'VALIDATION_FAILED', at(`/${name}`));
  });

  test('without a producer group, with one that is none, with an odd time to ask', async () => {
    await refused(prepare({ producerGroup: undefined }), 'VALIDATION_FAILED', '#/producerGroup');
    for (const producerGroup of ['', 'a b', 'a'.repeat(121), '%RETRY%billing', 5])
      await refused(prepare({ producerGroup }), 'VALIDATION_FAILED', '#/producerGroup');
    for (const checkAfterMs of [-1, 0, 999, 3_600_001, 1.5, '6000'])
      await refused(prepare({ checkAfterMs }), 'VALIDATION_FAILED', '#/checkAfterMs');
  });

  test('in a topic that is not for them, and a plain message in one that is', async () => {
    for (const topic of ['orders', 'payments', 'reminders']) {
      const { detail } = await refused(prepare({}, topic), 'MESSAGE_TYPE_MISMATCH');
      expect(detail).toContain('this message is TRANSACTION');
    }
    const plain = broker.call('sendMessages', { path: { topic: 'transfers' }, body: { body: 'x' } });
    expect((await refused(plain, 'MESSAGE_TYPE_MISMATCH')).detail).toContain('POST /v1/topics/transfers/transactions');
  });

  test('with a key that was used for another one', async () => {
    const headers = { 'idempotency-key': 'transfer-1' };
    const { transactionId } = (await prepare({}, 'transfers', headers)).body;
    for (const other of [{ message: { body: 'another' } }, { producerGroup: 'shops' }, { checkAfterMs: 1000 }])
      await refused(prepare(other, 'transfers', headers), 'IDEMPOTENCY_KEY_REUSED');
    await end(transactionId, { resolution: 'ROLLBACK' });
  });

  test('that are unknown, or whose id is forged', async () => {
    const real = await prepared();
    const flipped = (at: number) => real.slice(0, at) + (real[at] === '0' ? '1' : '0') + real.slice(at + 1);
    const [sent] = (await broker.call('sendMessages', { path: orders, body: { body: 'x' } })).body.results;
    const forged = ['0'.repeat(32), 'F'.repeat(32), flipped(0), flipped(15), flipped(31), sent!.offsetMessageId!];
    for (const transactionId of forged) {
      await refused(broker.call('getTransaction', { path: { transactionId } }), 'TRANSACTION_NOT_FOUND');
      for (const resolution of ['COMMIT', 'ROLLBACK', 'UNKNOWN'])
        await refused(end(transactionId, { resolution }), 'TRANSACTION_NOT_FOUND');
      await refused(endAll({ resolutions: [{ transactionId, resolution: 'COMMIT' }] }), 'TRANSACTION_NOT_FOUND');
    }
    for (const transactionId of ['x', real.toLowerCase(), `${real}0`, real.slice(1)]) {
      await refused(end(transactionId, {}), 'VALIDATION_FAILED', 'path transactionId');
      await refused(
        endAll({ resolutions: [{ transactionId, resolution: 'COMMIT' }] }),
        'VALIDATION_FAILED',
        '#/resolutions/0/transactionId',
      );
    }
    expect((await end(real, { resolution: 'ROLLBACK' })).status).toBe(200);
  });

  test('ended by another producer group, or a second time otherwise', async () => {
    const id = await prepared();
    for (const resolution of ['COMMIT', 'ROLLBACK', 'UNKNOWN'])
      await refused(end(id, { resolution, producerGroup: 'shops' }), 'PRODUCER_GROUP_MISMATCH');
    const several = { producerGroup: 'shops', resolutions: [{ transactionId: id, resolution: 'COMMIT' }] };
    const problem = await refused(endAll(several), 'PRODUCER_GROUP_MISMATCH');
    expect(problem['results']).toMatchObject([{ transactionId: id, error: { code: 'PRODUCER_GROUP_MISMATCH' } }]);
    expect((await end(id, { resolution: 'ROLLBACK', producerGroup: 'banks' })).status).toBe(200);
    for (const resolution of ['COMMIT', 'UNKNOWN']) {
      const second = await refused(end(id, { resolution }), 'ALREADY_RESOLVED');
      expect(second).toMatchObject({ resolution: 'ROLLBACK' });
    }
    // Who it is not of is not told how it ended.
    await refused(end(id, { resolution: 'ROLLBACK', producerGroup: 'shops' }), 'PRODUCER_GROUP_MISMATCH');
  });

  test('ended as what is none', async () => {
    const id = await prepared();
    for (const resolution of [undefined, 'commit', 'COMMITTED', '', 1, null])
      await refused(end(id, { resolution }), 'VALIDATION_FAILED', '#/resolution');
    await refused(endAll({ resolutions: [] }), 'VALIDATION_FAILED', '#/resolutions');
    const one = { transactionId: id, resolution: 'ROLLBACK' };
    await refused(
      endAll({ resolutions: Array.from({ length: 1001 }, () => one) }),
      'VALIDATION_FAILED',
      '#/resolutions',
    );
    expect((await endAll({ resolutions: [one] })).status).toBe(200);
  });

  test('listed by what is none', async () => {
    const list = (query: Record<string, string>) => broker.call('listTransactions', { query });
    await refused(list({ state: 'COMMITTED' }), 'VALIDATION_FAILED', 'query state');
    await refused(list({ topic: 'nowhere' }), 'TOPIC_NOT_FOUND');
    await refused(list({ producerGroup: 'a b' }), 'VALIDATION_FAILED', 'query producerGroup');
    const number = (text: string) => Buffer.from(JSON.stringify({ after: text })).toString('base64url');
    for (const cursor of ['x', 'e30', number('orders'), number('-1'), number('1.5'), number('9'.repeat(20))])
      await refused(list({ cursor }), 'CURSOR_INVALID', 'query cursor');
  });

  describe('of a producer group', () => {
    const put = (body: object) => broker.call('putProducerGroup', { path: { producerGroup: 'odd' }, body });

    test('that has no settings', async () => {
      const path = { producerGroup: 'nobody' };
      await refused(broker.call('getProducerGroup', { path }), 'PRODUCER_GROUP_NOT_FOUND');
      expect((await broker.call('pollTransactionChecks', { path, query: { waitMs: 0 } })).body.checks).toEqual([]);
    });

    test.each([
      ['http://127.0.0.1:8080/', 'is not a public address'],
      ['http://10.0.0.1/', 'is not a public address'],
      ['http://169.254.169.254/latest/meta-data/', 'is not a public address'],
      ['http://[::1]/', 'is not a public address'],
      ['http://[::ffff:127.0.0.1]/', 'is not a public address'],
      ['http://[fd00::1]/', 'is not a public address'],
      ['http://2130706433/', 'is not a public address'],
      ['http://0x7f.0.0.1/', 'is not a public address'],
      ['http://localhost/', 'is not a public address'],
      ['https://user:secret@example.com/', 'no user name'],
      ['ftp://example.com/', 'http: and https:'],
      ['file:///etc/passwd', 'http: and https:'],
      ['https://example.com:99999/', 'cannot be read'],
      ['https://256.1.1.1/', 'cannot be read'],
    ])('whose webhook is %s', async (url, words) => {
      const { detail } = await refused(put({ webhook: { url } }), 'WEBHOOK_REFUSED', '#/webhook/url');
      expect(detail).toContain(words);
    });

    test('whose webhook is no URL, or has a key that is none', async () => {
      for (const url of ['', 'bank', '/checks', 'https://exa mple.com/', `https://example.com/${'x'.repeat(2000)}`])
        await refused(put({ webhook: { url } }), 'VALIDATION_FAILED', '#/webhook/url');
      await refused(put({ webhook: {} }), 'VALIDATION_FAILED', '#/webhook/url');
      const url = 'https://8.8.8.8/';
      const base64 = (bytes: number) => Buffer.alloc(bytes, 'k').toString('base64');
      for (const secret of [
        '',
        'secret',
        base64(24),
        `whsec_${base64(23)}`,
        `whsec_${base64(66)}`,
        'whsec_',
        `whsec_${base64(24)}A`,
      ])
        await refused(put({ webhook: { url, secret } }), 'VALIDATION_FAILED', '#/webhook/secret');
    });

    test('with settings that are out of range', async () => {
      for (const [name, values] of Object.entries({
        checkAfterMs: [0, 999, 3_600_001],
        checkIntervalMs: [0, 999, 3_600_001],
        maxChecks: [0, 1001],
      }))
        for (const value of values) await refused(put({ [name]: value }), 'VALIDATION_FAILED', `#/${name}`);
      await refused(broker.call('getProducerGroup', { path: { producerGroup: 'odd' } }), 'PRODUCER_GROUP_NOT_FOUND');
    });
  });
});

describe('topics, groups and brokers against each other', () => {
  test('a topic of fewer read than write queues', async () => {
    await refused(
      broker.call('createTopic', { body: { name: 'odd', readQueues: 1, writeQueues: 2 } }),
      'VALIDATION_FAILED',
      '#/readQueues',
    );
    await refused(
      broker.call('updateTopic', { path: orders, body: { readQueues: 1 } }),
      'VALIDATION_FAILED',
      '#/readQueues',
    );
    await refused(broker.call('getTopic', { path: { topic: 'odd' } }), 'TOPIC_NOT_FOUND');
  });

  test('names that mean a place, in bodies', async () => {
    for (const name of ['.', '..']) {
      await refused(broker.call('createTopic', { body: { name } }), 'VALIDATION_FAILED', '#/name');
      await refused(broker.call('putGroup', { path: { group: 'dots' }, body: { topic: name } }), 'TOPIC_NOT_FOUND');
    }
  });

  test('a topic that exists otherwise', async () => {
    const problem = await refused(broker.call('createTopic', { body: { name: 'payments' } }), 'TOPIC_EXISTS');
    expect(problem.detail).toContain('type is "FIFO", not "NORMAL"');
  });

  test('a FIFO topic that would lose its order', async () => {
    await refused(
      broker.call('updateTopic', { path: { topic: 'payments' }, body: { readQueues: 9, writeQueues: 9 } }),
      'REORDER_NOT_ALLOWED',
    );
  });

  test('a group that is ordered and broadcasting', async () => {
    const body = { topic: 'orders', ordered: true, mode: 'BROADCASTING' };
    await refused(broker.call('putGroup', { path: { group: 'odd' }, body }), 'GROUP_SETTINGS_CONFLICT', '#/ordered');
    await refused(broker.call('getGroup', { path: { group: 'odd' } }), 'GROUP_NOT_FOUND');
    const path = { group: 'in-a-line' };
    await broker.call('putGroup', { path, body: { topic: 'payments', ordered: true } });
    await refused(
      broker.call('updateGroup', { path, body: { mode: 'BROADCASTING' } }),
      'GROUP_SETTINGS_CONFLICT',
      '#/ordered',
    );
  });

  test('a group under a name that is none for a new one', async () => {
    for (const group of ['x'.repeat(121), '~RETRY~billing', 'a~b']) {
      await refused(
        broker.call('putGroup', { path: { group }, body: { topic: 'orders' } }),
        'VALIDATION_FAILED',
        'path group',
      );
      await refused(
        broker.call('joinGroup', { path: { group, consumerId: 'c' }, body: { topic: 'orders' } }),
        'VALIDATION_FAILED',
        'path group',
      );
    }
  });

  const UNREADABLE = [
    ...['||', ' || ', '||||', ' ||  || ', 'a|b', 'a | b', 'a || *', 'a ||', 'a\nb'].map((expression) => ({
      type: 'TAG',
      expression,
    })),
    ...[
      '',
      '  ',
      "region = 'eu",
      'total > ',
      'region = NULL',
      "total > 'a'",
      'name LIKE a',
      `${'('.repeat(65)}a`,
      "TAGS = 'a|b'",
      "TAGS IN ('a', '*')",
    ].map((expression) => ({ type: 'SQL92', expression })),
    { type: 'SQL92', expression: Array.from({ length: 257 }, () => 'a=1').join(' OR ') },
  ];

  test('a filter that cannot be read', async () => {
    for (const filter of UNREADABLE) {
      await refused(
        broker.call('putGroup', { path: { group: 'odd' }, body: { topic: 'orders', filter } }),
        'FILTER_INVALID',
        '#/filter/expression',
      );
      await refused(
        broker.call('updateGroup', { path: { group: 'billing' }, body: { filter } }),
        'FILTER_INVALID',
        '#/filter/expression',
      );
      await refused(
        broker.call('joinGroup', { path: { group: 'odd', consumerId: 'c' }, body: { topic: 'orders', filter } }),
        'FILTER_INVALID',
        '#/filter/expression',
      );
      await refused(
        broker.call('joinGroup', { path: worker, body: { topic: 'orders', filter } }),
        'FILTER_INVALID',
        '#/filter/expression',
      );
      await refused(
        broker.call('receiveMessages', { path: { group: 'accounting' }, body: { filter } }),
        'FILTER_INVALID',
        '#/filter/expression',
      );
      await refused(
        broker.call('testFilter', { path: { topic: 'orders' }, body: { filter } }),
        'FILTER_INVALID',
        '#/filter/expression',
      );
    }
  });

  test('a filter in a query that cannot be read, or is one too many', async () => {
    const path = { topic: 'orders', broker: 'broker-a', queueId: 0 };
    const read = (query: object) => broker.call('readQueue', { path, query: { offset: 0, ...query } });
    for (const { type, expression } of UNREADABLE)
      if (type === 'SQL92' && expression !== '')
        await refused(read({ sql: expression }), 'FILTER_INVALID', 'query sql');
    await refused(read({ sql: '' }), 'VALIDATION_FAILED', 'query sql');
    const search = (tag: string) => broker.call('queryMessages', { path: { topic: 'orders' }, query: { tag } });
    for (const tag of ['*', ' ']) {
      await refused(read({ tag }), 'VALIDATION_FAILED', 'query tag');
      await refused(read({ tag: ['created', tag] }), 'VALIDATION_FAILED', 'query tag');
      await refused(search(tag), 'VALIDATION_FAILED', 'query tag');
    }
    for (const tag of ['a|b', 'a\nb']) {
      await refused(read({ tag }), 'VALIDATION_FAILED', 'query tag');
      await refused(search(tag), 'VALIDATION_FAILED', 'query tag');
    }
    await refused(read({ sql: 'TRUE', tag: 'created' }), 'VALIDATION_FAILED', 'query sql');
    await refused(read({ sql: ['TRUE', 'TRUE'] }), 'VALIDATION_FAILED', 'query sql');
  });

  test('seconds for milliseconds, and what is no time', async () => {
    const queue = { topic: 'orders', broker: 'broker-a', queueId: 0 };
    for (const time of [Math.floor(Date.now() / 1000), 1e9, '2026-02-30T00:00:00Z', '2026-01-15']) {
      const search = (query: object) =>
        broker.call('queryMessages', { path: { topic: 'orders' }, query: { tag: 'x', ...query } });
      await refused(search({ from: time }), 'VALIDATION_FAILED', 'query from');
      await refused(search({ to: time }), 'VALIDATION_FAILED', 'query to');
      await refused(broker.call('searchOffset', { path: queue, query: { at: time } }), 'VALIDATION_FAILED', 'query at');
      const reset = { to: 'TIMESTAMP', timestamp: time };
      await refused(
        broker.call('resetOffsets', { path: { group: 'billing' }, body: reset }),
        'VALIDATION_FAILED',
        '#/timestamp',
      );
      const start = { topic: 'orders', consumeFrom: 'TIMESTAMP', consumeTimestamp: time };
      await refused(
        broker.call('putGroup', { path: { group: 'odd' }, body: start }),
        'VALIDATION_FAILED',
        '#/consumeTimestamp',
      );
      const path = { group: 'odd', consumerId: 'c' };
      await refused(broker.call('joinGroup', { path, body: start }), 'VALIDATION_FAILED', '#/consumeTimestamp');
    }
  });

  test('a subscription that is not the group’s shows both', async () => {
    const filter = { type: 'TAG', expression: 'refunded' };
    const problem = await refused(
      broker.call('joinGroup', { path: worker, body: { topic: 'orders', filter } }),
      'SUBSCRIPTION_CONFLICT',
    );
    expect(problem).toMatchObject({ group: { topic: 'orders' }, requested: { topic: 'orders', filter } });
    await refused(broker.call('joinGroup', { path: worker, body: { topic: 'payments' } }), 'SUBSCRIPTION_CONFLICT');
    await refused(
      broker.call('putGroup', { path: { group: 'billing' }, body: { topic: 'payments' } }),
      'SUBSCRIPTION_CONFLICT',
    );
  });

  test('what is in use is kept', async () => {
    await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } });
    expect((await refused(broker.call('deleteTopic', { path: orders }), 'IN_USE'))['groups']).toEqual(['billing']);
    expect((await refused(broker.call('deleteGroup', { path: { group: 'billing' } }), 'IN_USE'))['consumers']).toEqual([
      'worker-1',
    ]);
  });

  test('a registration that contradicts another or itself', async () => {
    const { parts } = examplesOf(contract, contract.operation('registerBroker'))[0]!;
    const register = (path: object, change: object) =>
      nameserver.call('registerBroker', {
        path: { ...parts.path, ...path },
        body: { ...(parts.body as object), ...change },
      });
    await refused(register({ cluster: 'Elsewhere' }, {}), 'REGISTRATION_CONFLICT');
    await refused(register({}, { topics: undefined }), 'VALIDATION_FAILED', '#/topics');
    await refused(register({}, { mode: 'CHANGES', baseVersion: undefined }), 'VALIDATION_FAILED', '#/baseVersion');
  });
});

describe('conditional requests', () => {
  // A group with members is IN_USE before any condition is looked at (RFC 9110, 13.2.1).
  beforeAll(() => broker.call('leaveGroup', { path: worker }));

  const conditional = (header: string) =>
    everyOperation.filter(([, { parameters }]) => parameters.some(({ name }) => name === header));

  test.each(conditional('If-Match'))('%s If-Match another state', async (_, operation) => {
    for (const tag of ['"nonsense"', '"nonsense.1"', 'W/"x"', 'x', '', '"a", "b"']) {
      const call = broker.call(operation.id as 'getTopic', { ...fullest(operation), headers: { 'if-match': tag } });
      await refused(call, 'PRECONDITION_FAILED');
    }
  });

  test.each(conditional('If-None-Match'))('%s If-None-Match *, although it exists', async (_, operation) => {
    const call = broker.call(operation.id as 'getTopic', { ...fullest(operation), headers: { 'if-none-match': '*' } });
    await refused(call, 'PRECONDITION_FAILED');
  });

  test('If-Match * on what does not exist', async () => {
    const headers = { 'if-match': '*' };
    await refused(
      broker.call('putGroup', { path: { group: 'new' }, body: { topic: 'orders' }, headers }),
      'PRECONDITION_FAILED',
    );
    await refused(broker.call('putTag', { path: { ...orders, tag: 'new' }, body: {}, headers }), 'PRECONDITION_FAILED');
    await refused(broker.call('getGroup', { path: { group: 'new' } }), 'GROUP_NOT_FOUND');
  });
});

describe('connections', () => {
  const HEAD = ['POST /v1/topics/orders/messages HTTP/1.1', 'Host: a', 'Content-Type: application/json'];

  /** Sends the beginning of a request and hangs up. */
  const hangUp = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(node.url);
      const socket = connect(Number(port), hostname, () => socket.write(text, () => socket.destroy()));
      socket.once('error', reject).once('close', () => resolve());
    });

  test('clients that hang up in the middle harm nobody', async () => {
    const poll = `/v1/groups/billing/consumers/worker-1/messages?waitMs=30000`;
    await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } });
    const beginnings = [
      'POST',
      'POST /v1/topics/orders/messages HTTP/1.1\r\nHost: a',
      `${HEAD.join('\r\n')}\r\nContent-Length: 100\r\n\r\n{"body":`,
      `${HEAD.join('\r\n')}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"bod`,
      `GET ${poll} HTTP/1.1\r\nHost: a\r\n\r\n`,
      'GET /v1/topics HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/top',
    ];
    await Promise.all([...beginnings, ...beginnings, ...beginnings].map(hangUp));
    await node.untilParked(0);
    await stillServes();
  });

  test('a chunk that is none', async () => {
    for (const chunks of ['zz\r\n{}\r\n0\r\n\r\n', '5\r\n{"body":"x"}\r\n0\r\n\r\n', '-1\r\n\r\n']) {
      const reply = await raw(node.url, [...HEAD, 'Transfer-Encoding: chunked'], chunks);
      expect([reply.status, reply.problem.code]).toEqual([400, 'MALFORMED_REQUEST']);
    }
  });

  test('who asks whether to go on is told before the body is sent', async () => {
    const refusal = await raw(node.url, [...HEAD, 'Expect: 100-continue', 'Content-Length: 99999999']);
    expect([refusal.status, refusal.problem.code]).toEqual([413, 'BODY_TOO_LARGE']);
    const goOn = await raw(node.url, [...HEAD, 'Expect: 100-continue', 'Content-Length: 12'], '{"body":"x"}');
    expect([goOn.status, goOn.text]).toEqual([100, expect.stringContaining('SEND_OK')]);
  });

  test('requests that follow each other without waiting are answered in their order', async () => {
    const one = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const { text } = await raw(node.url, [
      'GET /v1/topics/orders HTTP/1.1',
      'Host: a',
      '',
      one('/v1/topics/nowhere') + one('/livez').slice(0, -4),
    ]);
    expect([...text.matchAll(/HTTP\/1.1 (\d+) /g)].map(([, status]) => status)).toEqual(['404', '200']);
  });
});

describe('too many parked polls', () => {
  test('are refused with a time to come back, and there is room again when one leaves', async () => {
    const small = await Standalone.start({ 'max-parked-polls': '2' });
    const client = http(small.url, contract);
    small.closeFirst(() => client.close());
    try {
      await client.call('createTopic', { body: { name: 'orders', readQueues: 1, writeQueues: 1 } });
      const read = (waitMs: number) => client.call('readQueue', { path: firstQueue, query: { offset: 0, waitMs } });
      const parked = [read(30_000), read(30_000)];
      while ((await client.call('listBrokers')).body.brokers[0]!.parkedPolls < 2);
      const reply = await read(30_000);
      expect([reply.status, reply.problem.code, reply.headers['retry-after']]).toEqual([429, 'TOO_MANY_REQUESTS', '1']);
      expect(reply.problem).toMatchObject({ retryable: true, retryAfterMs: 1000 });
      // Whoever does not wait needs no room.
      expect((await read(0)).status).toBe(200);
      await client.call('sendMessages', { path: orders, body: { body: 'x' } });
      for (const reply of await Promise.all(parked)) expect(reply.body.messages).toHaveLength(1);
      expect((await client.call('listBrokers')).body.brokers[0]!.parkedPolls).toBe(0);
    } finally {
      await small.stop();
    }
  });
});
