/**
 * Which operation of kafka-rest.yaml a request is for. Segment by segment; a slash at the end makes no difference, because
 * one of the servers of this API takes it.
 */
import type { Contract, Operation } from '../contract';
import { KafkaFault } from './faults';

interface Route {
  readonly segments: readonly string[];
  /** By method, upper case. */
  readonly operations: Map<string, Operation>;
}

export interface Match {
  readonly operation: Operation;
  readonly params: Record<string, string>;
}

export class Paths {
  /** By the number of segments, those with more fixed names first. */
  readonly #routes: Route[][] = [];

  constructor(contract: Contract) {
    for (const operation of contract.operations.values()) {
      const segments = operation.path.split('/').slice(1);
      const routes = (this.#routes[segments.length] ??= []);
      let route = routes.find((one) => one.segments.join('/') === segments.join('/'));
      if (!route) routes.push((route = { segments, operations: new Map() }));
      route.operations.set(operation.method.toUpperCase(), operation);
    }
  }

  /** `path`: without its query. Undefined: nothing is there; a list: only these methods are. */
  match(method: string, path: string): Match | readonly string[] | undefined {
    const given = withoutCloudPrefix(path)
      .slice(1, path.length > 1 && path.endsWith('/') ? -1 : undefined)
      .split('/');
    const route = this.#routes[given.length]?.find(({ segments }) =>
      segments.every((segment, i) => segment === given[i] || (isParameter(segment) && given[i] !== '')),
    );
    if (!route) return undefined;
    const operation = route.operations.get(method);
    if (!operation) return [...route.operations.keys()];
    const params: Record<string, string> = {};
    route.segments.forEach((segment, i) => {
      if (isParameter(segment)) params[segment.slice(1, -1)] = decode(given[i]!);
    });
    return { operation, params };
  }
}

/** Confluent's cloud has version 3 below /kafka, its platform at the root. */
function withoutCloudPrefix(path: string): string {
  return path.startsWith('/kafka/v3/') ? path.slice('/kafka'.length) : path;
}

const isParameter = (segment: string): boolean => segment.charCodeAt(0) === 0x7b;

function decode(text: string): string {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new KafkaFault(400, 400, 'The path is not percent-encoded UTF-8.');
  }
}
