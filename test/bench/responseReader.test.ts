import { ResponseReader } from '../../bench/responseReader';

type Seen = [status: number, body: string, closes: boolean];

function readIn(chunks: readonly Buffer[]): Seen[] {
  const seen: Seen[] = [];
  const reader = new ResponseReader((status, body, closes) => seen.push([status, body.toString(), closes]));
  for (const chunk of chunks) reader.feed(chunk);
  return seen;
}

const answer = (status: string, body: string, headers = ''): string =>
  `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

const THREE = Buffer.from(
  answer('200 OK', '{"a":"ä\r\n\r\nb"}') +
    `HTTP/1.1 204 No Content\r\n\r\n${answer('503 Service Unavailable', '{}', 'Connection: close\r\n')}`,
);
const EXPECTED: Seen[] = [
  [200, '{"a":"ä\r\n\r\nb"}', false],
  [204, '', false],
  [503, '{}', true],
];

describe('answers come out the same', () => {
  test('in one chunk', () => {
    expect(readIn([THREE])).toEqual(EXPECTED);
  });

  test('byte by byte', () => {
    expect(readIn([...THREE].map((byte) => Buffer.of(byte)))).toEqual(EXPECTED);
  });

  test('cut in two anywhere', () => {
    for (let cut = 1; cut < THREE.length; cut++) {
      expect(readIn([THREE.subarray(0, cut), THREE.subarray(cut)])).toEqual(EXPECTED);
    }
  });
});

test('a body longer than any chunk, after one that was gathered before', () => {
  const bytes = Buffer.from(answer('200 OK', 'x'.repeat(10)) + answer('200 OK', 'y'.repeat(100_000)));
  const chunks = Array.from({ length: Math.ceil(bytes.length / 777) }, (_, i) =>
    bytes.subarray(i * 777, (i + 1) * 777),
  );
  expect(readIn(chunks).map(([, body]) => body)).toEqual(['x'.repeat(10), 'y'.repeat(100_000)]);
});

test('a chunk may be overwritten as soon as it is fed', () => {
  const seen: string[] = [];
  const reader = new ResponseReader((_, body) => seen.push(body.toString()));
  const shared = Buffer.alloc(7);
  const bytes = Buffer.from(answer('200 OK', 'hello world'));
  for (let at = 0; at < bytes.length; at += shared.length) {
    const count = bytes.copy(shared, 0, at, at + shared.length);
    reader.feed(shared.subarray(0, count));
    shared.fill(0);
  }
  expect(seen).toEqual(['hello world']);
});

test('an interim answer is passed over', () => {
  expect(readIn([Buffer.from(`HTTP/1.1 100 Continue\r\n\r\n${answer('200 OK', '1')}`)])).toEqual([[200, '1', false]]);
});

test('an empty body is an answer', () => {
  expect(readIn([Buffer.from(answer('200 OK', ''))])).toEqual([[200, '', false]]);
});

test.each([
  ['no Content-Length', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
])('%s is an error, not silence', (_, text) => {
  expect(() => readIn([Buffer.from(text)])).toThrow();
});
