/**
 * openapi.yaml, read once: the only source of paths, parameters and shapes. Every process reads the whole document and
 * serves the part with its tags; operations between brokers (`x-internal`) are bound but never shown.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { isNode, resolveReferences, type Node, type Schema } from './schema';

export type Method = 'get' | 'put' | 'post' | 'delete' | 'patch';
const METHODS: readonly Method[] = ['get', 'put', 'post', 'delete', 'patch'];

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required: boolean;
  /** Its references are resolved. */
  readonly schema: Schema;
}

/** A body by media type; `undefined` where the contract gives no schema. */
export type Content = ReadonlyMap<string, Schema | undefined>;

export interface Operation {
  readonly id: string;
  readonly method: Method;
  /** As in the contract: `/v1/topics/{topic}`. */
  readonly path: string;
  readonly tags: readonly string[];
  /** Between brokers: bound, but neither shown nor in SDKs. */
  readonly internal: boolean;
  /** Only for parts of the cluster, when it has a secret. */
  readonly guarded: boolean;
  readonly parameters: readonly Parameter[];
  readonly body: { readonly required: boolean; readonly content: Content } | undefined;
  /** What it may answer: by status ('200', 'default'), by media type. */
  readonly answers: ReadonlyMap<string, Content>;
}

/** The document and its operations. Immutable. */
export class Contract {
  readonly document: Node;
  readonly operations: ReadonlyMap<string, Operation>;

  constructor(document: Node) {
    this.document = document;
    this.operations = readOperations(document);
  }

  /** Reads openapi.yaml: the given file, or the nearest one above this program. */
  static load(file: string = findDocument('openapi.yaml')): Contract {
    const document: unknown = parse(readFileSync(file, 'utf8'));
    if (!isNode(document)) throw new Error(`${file} is not an OpenAPI document`);
    return new Contract(document);
  }

  /** The operation of that id; a name that does not exist is a mistake in the program. */
  operation(id: string): Operation {
    const operation = this.operations.get(id);
    if (!operation) throw new Error(`openapi.yaml has no operation ${id}`);
    return operation;
  }

  /** The operations a process with these tags binds, in the order of the document. */
  of(tags: readonly string[]): Operation[] {
    return [...this.operations.values()].filter((operation) => operation.tags.some((tag) => tags.includes(tag)));
  }

  /** The document such a process shows: its operations without the internal ones, and their tags; components are left whole, but for security that none of them has. */
  served(tags: readonly string[]): Node {
    const operations = this.of(tags).filter((operation) => !operation.internal);
    const shown = new Set(operations.map((operation) => operation.id));
    const used = new Set(operations.flatMap((operation) => operation.tags));
    const paths: Record<string, Node> = {};
    for (const [path, item] of Object.entries(this.document['paths'] as Node)) {
      const kept = Object.entries(item as Node).filter(
        ([key, value]) => !METHODS.includes(key as Method) || shown.has((value as Node)['operationId'] as string),
      );
      if (kept.some(([key]) => METHODS.includes(key as Method))) paths[path] = Object.fromEntries(kept);
    }
    const named = this.document['tags'];
    const { securitySchemes, ...components } = (this.document['components'] ?? {}) as Node;
    const secured = operations.some((operation) => operation.guarded);
    return {
      ...this.document,
      ...(Array.isArray(named) && { tags: (named as Node[]).filter((tag) => used.has(tag['name'] as string)) }),
      ...(securitySchemes !== undefined && !secured && { components }),
      paths,
    };
  }
}

/** The nearest file of that name above this program. */
export function findDocument(name: string): string {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    const file = join(folder, name);
    if (existsSync(file)) return file;
    if (dirname(folder) === folder) throw new Error(`${name} was not found above ${__dirname}`);
  }
}

function readOperations(document: Node): Map<string, Operation> {
  const operations = new Map<string, Operation>();
  for (const [path, item] of Object.entries((document['paths'] ?? {}) as Node)) {
    for (const method of METHODS) {
      const found = (item as Node)[method];
      if (!isNode(found)) continue;
      const operation = readOperation(document, path, method, item as Node, found);
      if (operations.has(operation.id)) throw new Error(`openapi.yaml: operationId ${operation.id} stands twice`);
      operations.set(operation.id, operation);
    }
  }
  return operations;
}

function readOperation(document: Node, path: string, method: Method, item: Node, found: Node): Operation {
  const id = found['operationId'];
  if (typeof id !== 'string') throw new Error(`openapi.yaml: ${method} ${path} has no operationId`);
  const body = resolveReferences(document, found['requestBody']);
  const answers = resolveReferences(document, found['responses'] ?? {}) as Node;
  return {
    id,
    method,
    path,
    tags: (found['tags'] as string[] | undefined) ?? [],
    internal: found['x-internal'] === true || item['x-internal'] === true,
    guarded: found['x-cluster-secret'] === true,
    parameters: readParameters(document, item, found),
    body: isNode(body) ? { required: body['required'] === true, content: readContent(body) } : undefined,
    answers: new Map(Object.entries(answers).map(([status, answer]) => [status, readContent(answer as Node)])),
  };
}

function readContent(holder: Node): Content {
  return new Map(
    Object.entries((holder['content'] ?? {}) as Node).map(([type, media]) => [
      type.toLowerCase(),
      (media as Node)['schema'] as Schema | undefined,
    ]),
  );
}

function readParameters(document: Node, item: Node, operation: Node): Parameter[] {
  const byPlace = new Map<string, Parameter>();
  const listed = [item['parameters'], operation['parameters']].flatMap((list) => (list ?? []) as unknown[]);
  for (const entry of resolveReferences(document, listed) as Node[]) {
    const parameter = {
      name: entry['name'] as string,
      in: entry['in'] as Parameter['in'],
      required: entry['required'] === true,
      schema: (entry['schema'] ?? {}) as Schema,
    };
    byPlace.set(`${parameter.in} ${parameter.name}`, parameter);
  }
  return [...byPlace.values()];
}
