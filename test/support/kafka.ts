/**
 * A client of the Kafka REST API. It checks every answer against kafka-rest.yaml: the operation documents the status,
 * the body fits its schema, an error has a code that fits its status.
 */
import Ajv2020, { type ValidateFunction } from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import { Agent } from 'undici';
import { Contract, findDocument } from '../../api/contract';
import { Paths } from '../../api/kafka/paths';
import { closed, type Node } from '../../api/schema';
import { http, type Http } from './http';
import { contract, Standalone } from './node';

export const kafkaContract = Contract.load(findDocument('kafka-rest.yaml'));

export interface KafkaParts {
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is. */
  readonly text?: string;
  /** Content type of the body; application/vnd.kafka.v2+json unless given. */
  readonly type?: string;
  readonly accept?: string;
  readonly dialect?: string;
  readonly signal?: AbortSignal;
}

export interface KafkaReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly type: string;
  /** The parsed body; undefined without one. Tests read it as the document describes it. */
  readonly body: ReturnType<typeof JSON.parse>;
}

export interface Kafka {
  get(target: string, parts?: KafkaParts): Promise<KafkaReply>;
  post(target: string, body?: unknown, parts?: KafkaParts): Promise<KafkaReply>;
  delete(target: string, parts?: KafkaParts): Promise<KafkaReply>;
  request(method: string, target: string, parts?: KafkaParts): Promise<KafkaReply>;
  close(): Promise<void>;
}

export const JSON_V2 = 'application/vnd.kafka.json.v2+json';
export const BINARY_V2 = 'application/vnd.kafka.binary.v2+json';
export const TEXT_V2 = 'application/vnd.kafka.text.v2+json';
export const V2 = 'application/vnd.kafka.v2+json';

/** `baseUrl` has no slash at its end. */
export function kafka(baseUrl: string): Kafka {
  const agent = new Agent({ keepAliveTimeout: 1000 });
  const paths = new Paths(kafkaContract);
  const request = async (method: string, target: string, parts: KafkaParts = {}): Promise<KafkaReply> => {
    const payload = parts.text ?? (parts.body === undefined ? undefined : JSON.stringify(parts.body));
    const answer = await agent.request({
      origin: baseUrl,
      path: target,
      method: method,
      headers: {
        ...(payload === undefined ? {} : { 'content-type': parts.type ?? V2 }),
        ...(parts.accept === undefined ? {} : { accept: parts.accept }),
        ...(parts.dialect === undefined ? {} : { 'x-gantry-kafka-dialect': parts.dialect }),
        ...parts.headers,
      },
      ...(payload === undefined ? {} : { body: payload }),
      ...(parts.signal ? { signal: parts.signal } : {}),
    });
    const text = await answer.body.text();
    const headers = Object.fromEntries(
      Object.entries(answer.headers).map(([name, value]) => [name, [value].flat().join(', ')]),
    );
    const type = (headers['content-type'] ?? '').split(';')[0]!;
    const body: unknown = text === '' || !type.includes('json') ? undefined : JSON.parse(text);
    const reply = { status: answer.statusCode, headers, text, type, body };
    if (method !== 'HEAD') check(paths, method, target, reply);
    return reply;
  };
  return {
    request,
    get: (target, parts) => request('GET', target, parts),
    post: (target, body, parts) => request('POST', target, { body, ...parts }),
    delete: (target, parts) => request('DELETE', target, parts),
    close: () => agent.close(),
  };
}

/** A standalone, and a client of each of its two APIs; `node.stop()` closes all of them. */
export async function startSite(): Promise<{ node: Standalone; rest: Kafka; native: Http }> {
  // Tests call it by names that a proxy before it would have.
  const node = await Standalone.start({ 'allowed-hosts': '.example' });
  const rest = kafka(node.url);
  const native = http(node.url, contract);
  node.closeFirst(() => rest.close());
  node.closeFirst(() => native.close());
  return { node, rest, native };
}

const ajv = new Ajv2020({ strict: false, allErrors: true, logger: false });
addFormats(ajv);
const compiled = new Map<unknown, ValidateFunction>();

function validator(schema: unknown): ValidateFunction {
  let known = compiled.get(schema);
  if (!known) compiled.set(schema, (known = ajv.compile(closed(schema) as Node)));
  return known;
}

function check(paths: Paths, method: string, target: string, reply: KafkaReply): void {
  const fail = (why: string): never => {
    throw new Error(
      `${method} ${target} → ${reply.status} breaks kafka-rest.yaml: ${why}\n${reply.text.slice(0, 2000)}`,
    );
  };
  if (!reply.headers['x-request-id']) fail('no X-Request-Id');
  if (reply.headers['cache-control'] !== 'no-store') fail('Cache-Control is not no-store');
  const match = paths.match(method, target.split('?')[0]!);
  const operation = match && 'operation' in match ? match.operation : undefined;
  const content =
    operation?.answers.get(String(reply.status)) ?? kafkaContract.operation('getRoot').answers.get('default')!;
  if (reply.text === '') return void (content.size > 0 && fail('the body is missing'));
  const { body } = reply as { body: { error_code?: number } };
  const schema = [...content.values()][0] ?? fail('no body is documented');
  if (!/^application\/(vnd\.kafka[a-z.]*(\.v[12])?\+)?json$/.test(reply.type)) fail(`the type is ${reply.type}`);
  const validate = validator(schema);
  if (!validate(body)) fail(ajv.errorsText(validate.errors, { separator: '\n', dataVar: '' }));
  const code = body.error_code;
  if (reply.status >= 400 && code !== undefined && !String(code).startsWith(String(reply.status)))
    fail(`the code ${code} does not begin with the status`);
}
