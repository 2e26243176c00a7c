/**
 * The client all tests use. It checks every answer against the contract, errors included: the status is documented for
 * the operation, so is the content type, the body fits the schema with no field the schema does not name, a problem's
 * code is one the operation lists. An answer that breaks the contract fails the test that asked for it.
 */
import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { Agent } from 'undici';
import type { Contract, Operation } from '../../api/contract';
import type { operations } from '../../api/generated/openapi';
import type { OperationId } from '../../api/operation';
import type { Problem } from '../../api/problem';
import { closed, isNode, resolveReferences, withNulls, type Node } from '../../api/schema';

type Scalar = string | number | boolean;

export interface RequestParts {
  /** Path parameters by name; they are percent-encoded here. */
  readonly path?: Readonly<Record<string, Scalar>>;
  /** An array is a repeated parameter; undefined is left out. */
  readonly query?: Readonly<Record<string, Scalar | readonly Scalar[] | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, with `contentType`. */
  readonly bytes?: Buffer | string;
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

type JsonIn<Answer> = Answer extends { content: { 'application/json': infer Json } } ? Json : never;
type Answers<Op extends OperationId> = operations[Op]['responses'];
/** The body of an operation's answers below 300, as the contract's types say it. */
export type SuccessOf<Op extends OperationId> = {
  [Status in keyof Answers<Op>]: Status extends 200 | 201 | 202 | 207 ? JsonIn<Answers<Op>[Status]> : never;
}[keyof Answers<Op>];

/** An answer that fits the contract. */
export interface Reply<Body = unknown> {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly bytes: Buffer;
  /** The JSON of a good answer; fails the test when the answer is a problem. */
  readonly body: Body;
  /** The problem document; fails the test when the answer is none. */
  readonly problem: Problem;
}

export interface Http {
  /** Calls an operation. */
  call<Op extends OperationId>(operation: Op, parts?: RequestParts): Promise<Reply<SuccessOf<Op>>>;
  /** Any method on any target. What matches an operation is checked as its answer, the rest as a plain problem or page. */
  request(method: string, target: string, parts?: RequestParts): Promise<Reply>;
  /** Ends the connections. */
  close(): Promise<void>;
}

/** A client for one server. `baseUrl` has no slash at its end. */
export function http(baseUrl: string, contract: Contract): Http {
  const agent = new Agent({ keepAliveTimeout: 1000 });
  const checker = checkerOf(contract);
  const exchange = async (method: string, target: string, parts: RequestParts, operation: Operation | undefined) => {
    const reply = await perform(agent, baseUrl, method, target, parts);
    checker(reply, operation, `${method} ${target}`, method === 'HEAD');
    return reply;
  };
  return {
    async call<Op extends OperationId>(id: Op, parts: RequestParts = {}) {
      const operation = contract.operation(id);
      const reply = await exchange(operation.method.toUpperCase(), targetOf(operation, parts), parts, operation);
      return reply as Reply<SuccessOf<Op>>;
    },
    request: (method, target, parts = {}) =>
      exchange(method, withQuery(target, parts.query), parts, matching(contract, method, target)),
    close: () => agent.close(),
  };
}

function targetOf(operation: Operation, parts: RequestParts): string {
  const path = operation.path.replaceAll(/\{([^}]+)\}/g, (_, name: string) => {
    const value = parts.path?.[name];
    if (value === undefined) throw new Error(`${operation.id} needs the path parameter ${name}`);
    return encodeURIComponent(String(value));
  });
  return withQuery(path, parts.query);
}

function withQuery(target: string, query: RequestParts['query']): string {
  const pairs = Object.entries(query ?? {}).flatMap(([name, value]) =>
    value === undefined
      ? []
      : [value].flat().map((item) => `${encodeURIComponent(name)}=${encodeURIComponent(String(item))}`),
  );
  return pairs.length === 0 ? target : `${target}${target.includes('?') ? '&' : '?'}${pairs.join('&')}`;
}

async function perform(
  agent: Agent,
  baseUrl: string,
  method: string,
  target: string,
  parts: RequestParts,
): Promise<Reply> {
  const headers: Record<string, string> = {};
  const payload = parts.bytes ?? (parts.body === undefined ? undefined : JSON.stringify(parts.body));
  if (payload !== undefined && parts.bytes === undefined) headers['content-type'] = 'application/json';
  if (parts.contentType !== undefined) headers['content-type'] = parts.contentType;
  for (const [name, value] of Object.entries(parts.headers ?? {})) headers[name.toLowerCase()] = value;
  // Not through URL: it would tidy up the very targets some tests want to send.
  const answer = await agent.request({
    origin: baseUrl,
    path: target,
    method: method,
    headers,
    ...(payload === undefined ? {} : { body: payload }),
    ...(parts.signal ? { signal: parts.signal } : {}),
  });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  const flat = Object.entries(answer.headers).map(([name, value]): [string, string] => [
    name,
    [value].flat().join(', '),
  ]);
  return replyOf(answer.statusCode, Object.fromEntries(flat), bytes);
}

function replyOf(status: number, headers: Record<string, string>, bytes: Buffer): Reply {
  const text = bytes.toString('utf8');
  const isProblem = typeOf(headers) === 'application/problem+json';
  return {
    status,
    headers,
    text,
    bytes,
    get body(): unknown {
      if (isProblem) throw new Error(`expected a good answer, got ${status}: ${text}`);
      return typeOf(headers) === 'application/json' && text !== '' ? (JSON.parse(text) as unknown) : undefined;
    },
    get problem(): Problem {
      if (!isProblem) throw new Error(`expected a problem, got ${status}: ${text.slice(0, 500)}`);
      return JSON.parse(text) as Problem;
    },
  };
}

const typeOf = (headers: Readonly<Record<string, string>>): string =>
  (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();

function matching(contract: Contract, method: string, target: string): Operation | undefined {
  const path = target.split('?')[0]!;
  const wanted = method === 'HEAD' ? 'get' : method.toLowerCase();
  return [...contract.operations.values()].find((operation) => {
    const pattern = new RegExp(`^${operation.path.replaceAll('.', '\\.').replaceAll(/\{[^}]+\}/g, '[^/]+')}$`);
    return operation.method === wanted && pattern.test(path);
  });
}

/** The members RFC 9457 and api.md ask of every problem, for answers of no operation. */
const PROBLEM_MEMBERS = ['type', 'title', 'status', 'detail', 'code', 'retryable', 'requestId'];

type Checker = (reply: Reply, operation: Operation | undefined, what: string, head: boolean) => void;

function checkerOf(contract: Contract): Checker {
  const ajv = new Ajv2020({ strict: false, allErrors: true, logger: false });
  addFormats(ajv);
  const compiled = new Map<string, ValidateFunction>();
  const validator = (operation: Operation, status: string, type: string, schema: unknown): ValidateFunction => {
    const key = `${operation.id} ${status} ${type}`;
    const known = compiled.get(key) ?? ajv.compile(withNulls(closed(schema)) as Node);
    compiled.set(key, known);
    return known;
  };
  return (reply, operation, what, head) => {
    const fail = (why: string): never => {
      throw new Error(`${what} → ${reply.status} breaks the contract: ${why}\n${reply.text.slice(0, 2000)}`);
    };
    checkCommon(reply, fail, head);
    if (!operation) return;
    const status = operation.answers.has(String(reply.status)) ? String(reply.status) : 'default';
    const content = operation.answers.get(status);
    if (!content) return fail(`${operation.id} documents ${[...operation.answers.keys()].join(', ')}`);
    if (head) return;
    if (reply.bytes.length === 0) return void (content.size > 0 && fail('the body is missing'));
    const type = typeOf(reply.headers);
    if (!content.has(type))
      fail(`${type || 'no content type'} is not documented, but ${[...content.keys()].join(', ') || 'no body'}`);
    if (!type.includes('json')) return;
    const schema = content.get(type);
    const value: unknown = JSON.parse(reply.text);
    const validate = validator(operation, status, type, schema ?? {});
    if (!validate(value)) fail(ajv.errorsText(validate.errors, { separator: '\n', dataVar: '' }) + named(validate));
    if (type === 'application/problem+json') checkCode(contract, operation, value as Problem, fail);
  };
}

const named = (validate: ValidateFunction): string =>
  (validate.errors ?? [])
    .flatMap((e) =>
      e.keyword === 'additionalProperties' ? `\n(${String((e.params as Node)['additionalProperty'])})` : [],
    )
    .join('');

function checkCommon(reply: Reply, fail: (why: string) => never, head: boolean): void {
  if (!reply.headers['x-request-id']) fail('no X-Request-Id');
  if (reply.headers['cache-control'] !== 'no-store') fail('Cache-Control is not no-store');
  if (reply.status < 400 || head) return;
  if (typeOf(reply.headers) !== 'application/problem+json')
    return void (reply.status === 503 || fail('an error that is no problem+json'));
  const { problem } = reply;
  for (const member of PROBLEM_MEMBERS) if (problem[member] === undefined) fail(`the problem has no ${member}`);
  if (problem.status !== reply.status) fail(`the problem says status ${problem.status}`);
  if (problem.requestId !== reply.headers['x-request-id']) fail('requestId differs from X-Request-Id');
  if ((reply.status === 503 || reply.status === 429) && !reply.headers['retry-after']) fail('no Retry-After');
  if (reply.status === 405 && !reply.headers['allow']) fail('no Allow');
  if (/\n\s+at /.test(reply.text)) fail('a stack trace');
}

function checkCode(contract: Contract, operation: Operation, problem: Problem, fail: (why: string) => never): void {
  const item = (contract.document['paths'] as Node)[operation.path] as Node;
  const codes = (resolveReferences(contract.document, item[operation.method]) as Node)['x-codes'];
  if (Array.isArray(codes) && !codes.includes(problem.code))
    fail(`${operation.id} does not list the code ${problem.code}`);
  const results: unknown = problem['results'];
  if (Array.isArray(results) && !results.every((item) => isNode(item) && isNode(item['error'])))
    fail('results without error');
}
