/**
 * Writes answers. Every one carries X-Request-Id and is never cached. Whoever answers before a large body was read says
 * so, closes the connection, and for a moment throws away what still comes, so that the client can read the answer.
 */
import { once } from 'node:events';
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Clock } from '../src/base/clock';
import type { Answer } from './operation';
import { pathOf } from './operation';
import { coded, PROBLEM_TYPE, problemOf, retryAfter } from './problem';

/** Name, value, name, value: Node writes a flat list without looking at it twice. */
type Headers = (string | number)[];

/** Characters from which on an answer is encoded before it is sent (measured: a poll of 256 messages then costs 6.3 instead of 8.7 µs each). */
const LONG_ANSWER = 16 * 1024;
/** An unread body up to this many bytes is read to its end and dropped: cheaper than a new connection. */
const DROPPED_BYTES = 64 * 1024;
/** How long, and how much, a connection that is to be closed is still listened to. */
const LINGER_MS = 1000;
const LINGER_BYTES = 16 * 1024 * 1024;

/** One request on its way to its answer. */
export interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  /** Headers that a browser of another origin needs. */
  cors?: Readonly<Record<string, string>> | undefined;
}

/** Writes what a handler answered. Nothing is written before all of it is text. */
export function writeAnswer(exchange: Exchange, answer: Answer, clock: Clock): void {
  const content = compact(contentOf(answer));
  const headers: Headers = [];
  if (content !== undefined) {
    if (answer.headers?.['Content-Type'] === undefined) headers.push('Content-Type', 'application/json');
    headers.push('Content-Length', typeof content === 'string' ? Buffer.byteLength(content) : content.length);
  } else if (answer.status !== 204 && answer.status !== 304) headers.push('Content-Length', 0);
  headers.push('Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff', 'X-Request-Id', exchange.requestId);
  if (exchange.cors) add(headers, exchange.cors);
  if (answer.headers) add(headers, answer.headers);
  send(exchange, answer.status, headers, content, clock);
}

/** Writes an answer part by part as they come, no faster than the client reads. Rejects when the client goes away. */
export async function writeStream(
  { req, res, requestId, cors }: Exchange,
  contentType: string,
  parts: AsyncIterable<string>,
): Promise<void> {
  const headers: Headers = ['Content-Type', contentType, 'Cache-Control', 'no-store'];
  headers.push('X-Content-Type-Options', 'nosniff', 'X-Request-Id', requestId);
  if (cors) add(headers, cors);
  for await (const part of parts) {
    if (!res.headersSent) res.writeHead(200, headers);
    if (!res.write(part)) await once(res, 'drain', { signal: closing(res) });
  }
  // The rest of a request that was given up is not waited for.
  res.end(() => void (req.complete || req.destroy()));
}

function closing(res: ServerResponse): AbortSignal {
  const abort = new AbortController();
  res.once('close', () => abort.abort());
  return abort.signal;
}

function add(headers: Headers, more: Readonly<Record<string, string>>): void {
  for (const name in more) headers.push(name, more[name]!);
}

function contentOf({ body, json, text, bytes }: Answer): string | Buffer | undefined {
  if (json !== undefined) return typeof json === 'string' ? json : json();
  return text ?? bytes ?? (body === undefined ? undefined : JSON.stringify(body));
}

/** Long text is encoded once, here; as a string it would be measured, flattened and encoded again on its way out. */
function compact(content: string | Buffer | undefined): string | Buffer | undefined {
  return typeof content === 'string' && content.length > LONG_ANSWER ? Buffer.from(content, 'utf8') : content;
}

/** Writes the problem document of a failure and returns its status. */
export function writeProblem(
  exchange: Exchange,
  error: unknown,
  clock: Clock,
  extra: Record<string, string> = {},
): number {
  const instance = pathOf(exchange.req.url ?? '/').slice(0, 1024);
  const problem = problemOf(error, exchange.requestId, instance);
  const headers: Record<string, string> = { 'Content-Type': PROBLEM_TYPE, ...extra };
  const wait = retryAfter(error) ?? (problem.status === 503 || problem.status === 429 ? '1' : undefined);
  if (wait !== undefined) headers['Retry-After'] = wait;
  if (problem.status === 401) headers['WWW-Authenticate'] = 'Bearer'; // RFC 9110, 11.6.1
  writeAnswer(exchange, { status: problem.status, body: problem, headers }, clock);
  return problem.status;
}

function send(
  { req, res }: Exchange,
  status: number,
  headers: Headers,
  content: string | Buffer | undefined,
  clock: Clock,
): void {
  if (req.complete || !mustClose(req)) {
    res.writeHead(status, headers);
    res.end(content);
    return;
  }
  headers.push('Connection', 'close');
  res.writeHead(status, headers);
  if (content === undefined || req.method === 'HEAD') res.flushHeaders();
  else res.write(content);
  linger(req, res, clock);
}

/** Whether the rest of the request is too long, or too uncertain, to be read for nothing. */
function mustClose(req: IncomingMessage): boolean {
  if (req.headers.expect !== undefined) return true;
  const length = req.headers['content-length'];
  if (length === undefined) return req.headers['transfer-encoding'] !== undefined;
  return Number(length) > DROPPED_BYTES;
}

function linger(req: IncomingMessage, res: ServerResponse, clock: Clock): void {
  let left = LINGER_BYTES;
  const finish = () => {
    timer.cancel();
    req.off('data', onData).off('end', finish).off('close', finish);
    res.end();
  };
  const onData = (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) finish();
  };
  const timer = clock.after(LINGER_MS, finish);
  req.on('data', onData).once('end', finish).once('close', finish);
  req.resume();
}

/** The bytes of a whole answer for a connection whose request never became one; the connection is closed after it. */
export function rawProblem(error: unknown, requestId: string): string {
  const body = JSON.stringify(problemOf(error, requestId));
  const { status } = problemOf(coded(error), requestId);
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    `X-Request-Id: ${requestId}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
