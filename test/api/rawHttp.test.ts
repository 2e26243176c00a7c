/** HTTP as attackers and broken clients speak it, on a bare connection. */
import { outcome, speak, startTiny, type Tiny } from './tiny';

let tiny: Tiny;
let sends = 0;
beforeAll(async () => {
  tiny = await startTiny({
    handlers: { sendMessages: () => ({ status: 200, body: { sends: ++sends } }) },
    server: { limits: { headersTimeoutMs: 300, requestTimeoutMs: 600, checkEveryMs: 50 } },
  });
});
afterAll(() => tiny.stop());
afterEach(async () => expect((await tiny.http.request('GET', '/v1')).status).toBe(200));

const SEND = 'POST /v1/topics/a/messages HTTP/1.1\r\nContent-Type: application/json\r\n';
const ask = async (bytes: string | string[], waitMs?: number) => outcome(await speak(tiny.port, bytes, waitMs));
/** A GET that asks the server to close, so that the test need not wait. */
const closing = (head: string) => `${head}Connection: close\r\n\r\n`;

test.each([
  ['two Host headers', closing('GET /v1 HTTP/1.1\r\nHost: a\r\nhost: b\r\n')],
  [
    'two Content-Types',
    `${SEND}Host: a\r\ncontent-type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
  ],
  ['two Idempotency-Keys', closing('GET /v1 HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nIdempotency-Key: 1\r\n')],
  ['two Authorizations', closing('GET /v1 HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nAuthorization: y\r\n')],
  ['no Host', closing('GET /v1 HTTP/1.1\r\n')],
  ['two lengths', `${SEND}Host: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
  ['a length and chunks', `${SEND}Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['chunks spelt otherwise', `${SEND}Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
  ['a negative length', `${SEND}Host: a\r\nContent-Length: -1\r\n\r\n`],
  ['a huge length', `${SEND}Host: a\r\nContent-Length: 99999999999999999999999\r\n\r\n`],
  ['a bare line feed', 'GET /v1 HTTP/1.1\nHost: a\n\n'],
  ['a folded header', 'GET /v1 HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n'],
  ['a space before the colon', 'GET /v1 HTTP/1.1\r\nHost : a\r\n\r\n'],
  ['an unknown method', 'BREW /v1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a GET with a body', closing('GET /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n').concat('{}')],
  ['a GET with chunks', closing('GET /v1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n').concat('0\r\n\r\n')],
  ['HTTP/3', 'GET /v1 HTTP/3.0\r\nHost: a\r\n\r\n'],
  ['TLS', '\x16\x03\x01\x02\x00\x01'],
  ['a strange expectation', closing('GET /v1 HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n')],
])('%s: 400', async (_, bytes) => {
  expect(await ask(bytes)).toEqual({ status: 400, code: 'MALFORMED_REQUEST' });
});

test('an oversize header: 431', async () => {
  expect(await ask(`GET /v1 HTTP/1.1\r\nHost: a\r\nX-A: ${'x'.repeat(20_000)}\r\n\r\n`)).toEqual({
    status: 431,
    code: 'HEADERS_TOO_LARGE',
  });
  expect(await ask(`GET /v1 HTTP/1.1\r\nHost: a\r\n${'a:b\r\n'.repeat(9000)}\r\n`)).toEqual({
    status: 431,
    code: 'HEADERS_TOO_LARGE',
  });
});

test('a second Host behind thousands of headers is seen', async () => {
  const bytes = closing(`GET /v1 HTTP/1.1\r\nHost: a\r\n${'a:b\r\n'.repeat(2500)}Host: b\r\n`);
  expect(await ask(bytes)).toEqual({ status: 400, code: 'MALFORMED_REQUEST' });
});

test('a long target: 414', async () => {
  expect(await ask(closing(`GET /v1?${'x'.repeat(9000)} HTTP/1.1\r\nHost: a\r\n`))).toEqual({
    status: 414,
    code: 'URI_TOO_LONG',
  });
});

test('slow headers and slow bodies: 408', async () => {
  expect(await ask('GET /v1 HTTP/1.1\r\nHost: a\r\n')).toEqual({ status: 408, code: 'REQUEST_TIMEOUT' });
  expect(await ask(`${SEND}Host: a\r\nContent-Length: 10\r\n\r\n{`, 3000)).toEqual({
    status: 408,
    code: 'REQUEST_TIMEOUT',
  });
});

test('HTTP/1.0 is answered', async () => {
  expect((await ask('GET /v1 HTTP/1.0\r\n\r\n')).status).toBe(200);
});

test('an absolute target means its path', async () => {
  expect((await ask(closing('GET http://a/v1 HTTP/1.1\r\nHost: a\r\n'))).status).toBe(200);
  expect((await ask(closing('GET http://a HTTP/1.1\r\nHost: a\r\n'))).status).toBe(302);
  expect(await ask(closing('GET http://a/v1/topics/%zz HTTP/1.1\r\nHost: a\r\n'))).toEqual({
    status: 400,
    code: 'INVALID_PATH',
  });
});

test.each([
  ['/v1/topics/..', 400, 'VALIDATION_FAILED'],
  ['/v1/topics/.', 400, 'VALIDATION_FAILED'],
  ['/v1/topics/%zz', 400, 'INVALID_PATH'],
  ['/v1/../etc/passwd', 404, 'PATH_NOT_FOUND'],
  ['/docs/../../package.json', 404, 'PATH_NOT_FOUND'],
  ['/docs/%2e%2e/%2e%2e/package.json', 404, 'PATH_NOT_FOUND'],
])('target %s: %d', async (target, status, code) => {
  expect(await ask(closing(`GET ${target} HTTP/1.1\r\nHost: a\r\n`))).toEqual({ status, code });
});

test('OPTIONS *', async () => {
  const heard = await speak(tiny.port, closing('OPTIONS * HTTP/1.1\r\nHost: a\r\n'));
  expect(outcome(heard).status).toBe(204);
  expect(heard).toMatch(/\r\nAllow: GET/);
});

test('CONNECT is cut, an upgrade is ignored', async () => {
  expect(await speak(tiny.port, 'CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n')).toBe('');
  const heard = await speak(
    tiny.port,
    'GET /v1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n',
  );
  expect(outcome(heard).status).toBe(200);
});

test('a body announced too large is refused unread, and the connection ends', async () => {
  const heard = await speak(tiny.port, `${SEND}Host: a\r\nContent-Length: ${9 * 1024 * 1024}\r\n\r\n`, 3000);
  expect(outcome(heard)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' });
  expect(heard).toMatch(/\r\nConnection: close\r\n/i);
});

test('a body that grows too large is refused, and the client can read it', async () => {
  // With the usual time for a request: 9 MiB take their time on a machine that has other work.
  const patient = await startTiny({ handlers: { sendMessages: () => ({ status: 200, body: {} }) } });
  const chunk = `10000\r\n${'x'.repeat(65536)}\r\n`;
  const heard = await speak(
    patient.port,
    [`${SEND}Host: a\r\nTransfer-Encoding: chunked\r\n\r\n`, ...Array<string>(140).fill(chunk)],
    4000,
  );
  expect(outcome(heard)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' });
  await patient.stop();
});

test('Expect: 100-continue is told to go on, or refused at once', async () => {
  const head = `${SEND}Host: a\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: `;
  const good = await speak(tiny.port, `${head}12\r\n\r\n{"body":"x"}`);
  expect(good).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
  expect(outcome(await speak(tiny.port, `${head}99999999\r\n\r\n`, 3000))).toEqual({
    status: 413,
    code: 'BODY_TOO_LARGE',
  });
});

test('rubbish after a request does not take its answer', async () => {
  const before = sends;
  const heard = await speak(
    tiny.port,
    `${SEND}Host: a\r\nContent-Length: 12\r\n\r\n{"body":"x"}\x00\x01rubbish\r\n\r\n`,
  );
  expect(outcome(heard).status).toBe(200);
  expect(sends).toBe(before + 1);
});

test('pipelined requests are answered in order', async () => {
  const one = `${SEND}Host: a\r\nContent-Length: 12\r\n\r\n{"body":"x"}`;
  const heard = await speak(tiny.port, one + one + closing('GET /v1/nothing HTTP/1.1\r\nHost: a\r\n'));
  expect(heard.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404']);
});

test('every raw refusal is a problem document that is not cached', async () => {
  const heard = await speak(tiny.port, 'nonsense\r\n\r\n');
  const [head, body] = heard.split('\r\n\r\n');
  expect(head).toMatch(/Content-Type: application\/problem\+json\r\n/);
  expect(head).toMatch(/Cache-Control: no-store/);
  expect(JSON.parse(body!)).toMatchObject({
    type: 'urn:gantry:problem:MALFORMED_REQUEST',
    status: 400,
    requestId: /X-Request-Id: (\S+)/.exec(head!)![1],
  });
});
