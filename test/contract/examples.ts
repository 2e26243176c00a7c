/** The examples of openapi.yaml as requests: what Swagger UI would send when nobody changes anything. */
import type { Contract, Operation } from '../../api/contract';
import { isNode, resolveReferences, type Node } from '../../api/schema';
import type { Http, Reply, RequestParts } from '../support/http';

/** One example of an operation, ready to be sent. */
export interface Example {
  readonly operation: Operation;
  /** `orders`, or '' where an operation takes no body. */
  readonly name: string;
  readonly parts: RequestParts;
}

/** An example value somewhere in the document, and the schema it must fit. */
export interface Placed {
  readonly where: string;
  readonly value: unknown;
  readonly schema: unknown;
}

type Scalar = string | number | boolean;

const documented = (contract: Contract, operation: Operation): Node =>
  resolveReferences(
    contract.document,
    ((contract.document['paths'] as Node)[operation.path] as Node)[operation.method],
  ) as Node;

/** All parameters of an operation as the document writes them, those of the path included. */
export function parametersOf(contract: Contract, operation: Operation): Node[] {
  const item = (contract.document['paths'] as Node)[operation.path] as Node;
  const own = documented(contract, operation)['parameters'];
  const shared = resolveReferences(contract.document, item['parameters'] ?? []);
  return [shared, own ?? []].flat() as Node[];
}

/** Path, query and header values as the document shows them; what has no example is left out. */
function exampleParameters(contract: Contract, operation: Operation): RequestParts {
  const of = (place: string) =>
    Object.fromEntries(
      parametersOf(contract, operation)
        .filter((parameter) => parameter['in'] === place && parameter['example'] !== undefined)
        .map((parameter) => [parameter['name'] as string, parameter['example'] as Scalar]),
    );
  return { path: of('path'), query: of('query'), headers: of('header') as unknown as Record<string, string> };
}

/** Every example of an operation: one per body that the document shows, or one without a body. */
export function examplesOf(contract: Contract, operation: Operation): Example[] {
  const parameters = exampleParameters(contract, operation);
  const body = documented(contract, operation)['requestBody'];
  if (!isNode(body)) return [{ operation, name: '', parts: parameters }];
  return Object.entries(body['content'] as Node).flatMap(([type, media]) =>
    shownIn(media as Node).map(([name, value, path]) => ({
      operation,
      name,
      parts: {
        ...parameters,
        path: { ...parameters.path, ...path },
        contentType: type,
        ...(typeof value === 'string' ? { bytes: value } : { body: value }),
      },
    })),
  );
}

/** Name, value, and the path parameters that it needs instead of the document's (`x-path`). */
type Shown = [string, unknown, Record<string, Scalar> | undefined];

/** The example values of a media type. */
function shownIn(media: Node): Shown[] {
  const many = Object.entries((media['examples'] ?? {}) as Node).map(([name, entry]): Shown => [
    name,
    (entry as Node)['value'],
    (entry as Node)['x-path'] as Record<string, Scalar> | undefined,
  ]);
  return media['example'] === undefined ? many : [['', media['example'], undefined], ...many];
}

/** All example values of an operation with their schemas: parameters, bodies and answers. */
export function placedExamples(contract: Contract, operation: Operation): Placed[] {
  const found = documented(contract, operation);
  const ofMedia = (where: string, holder: unknown): Placed[] =>
    Object.entries((isNode(holder) ? (holder['content'] ?? {}) : {}) as Node).flatMap(([type, media]) =>
      shownIn(media as Node).map(([name, value]) => ({
        where: `${where} ${type} ${name}`.trim(),
        value,
        schema: (media as Node)['schema'],
      })),
    );
  return [
    ...parametersOf(contract, operation)
      .filter((parameter) => parameter['example'] !== undefined)
      .map((parameter) => ({
        where: `parameter ${parameter['name'] as string}`,
        value: parameter['example'],
        schema: parameter['schema'],
      })),
    ...ofMedia('body', found['requestBody']),
    ...Object.entries(found['responses'] as Node).flatMap(([status, answer]) => ofMedia(`answer ${status}`, answer)),
  ];
}

/** The order in which all operations succeed on a fresh standalone, as the document gives it. */
export function walkthrough(contract: Contract): Operation[] {
  return (contract.document['x-walkthrough'] as string[]).map((id) => contract.operation(id));
}

/** The operations that a NameServer's own port serves. */
export const atNameserver = (operation: Operation): boolean => operation.tags.includes('NameServer');

/** Fields whose values a server makes up. */
const MADE_UP = new Set(['cursor', 'generation', 'receiptHandle', 'transactionId']);

/**
 * Sends examples one after the other. What the server makes up stands in the document as some text, first in the
 * example of the answer that gives it: in later requests that text is replaced by what was answered.
 */
export class Walk {
  readonly #contract: Contract;
  readonly #serverOf: (operation: Operation) => Http;
  /** What was answered, by what the document shows in its place. */
  readonly #answered = new Map<string, string>();

  constructor(contract: Contract, serverOf: (operation: Operation) => Http) {
    this.#contract = contract;
    this.#serverOf = serverOf;
  }

  async send({ operation, parts }: Example): Promise<Reply> {
    const path = this.real(parts.path ?? {}) as Record<string, Scalar>;
    const sent = { ...parts, path, ...(parts.body === undefined ? {} : { body: this.real(parts.body) }) };
    const reply: Reply = await this.#serverOf(operation).call(operation.id as 'getVersion', sent);
    if (reply.status === 200 || reply.status === 201) this.learn(operation, reply.body, reply.status);
    return reply;
  }

  /** A copy of a value of the document with what was answered in its place. */
  real(value: unknown): unknown {
    if (typeof value === 'string') return this.#answered.get(value) ?? value;
    if (Array.isArray(value)) return value.map((item) => this.real(item));
    if (!isNode(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, this.real(part)]));
  }

  /** Compares the answer of an operation with its example. */
  learn(operation: Operation, answer: unknown, status = 200): void {
    const shown = placedExamples(this.#contract, operation).find(({ where }) =>
      where.startsWith(`answer ${status} application/json`),
    );
    this.#compare(shown?.value, answer);
  }

  #compare(shown: unknown, answer: unknown): void {
    if (Array.isArray(shown) && Array.isArray(answer)) shown.forEach((item, i) => this.#compare(item, answer[i]));
    if (!isNode(shown) || !isNode(answer)) return;
    for (const [name, part] of Object.entries(shown)) {
      const real = answer[name];
      if (MADE_UP.has(name) && typeof part === 'string' && typeof real === 'string') this.#answered.set(part, real);
      else this.#compare(part, real);
    }
  }
}
