/**
 * One operation behind HTTP: arrival, parameters, body, handler, answer. Whatever a handler throws becomes a problem
 * document; a client that went away meanwhile is counted as 499 and told nothing.
 */
import type { Request as ExpressRequest, Response as ExpressResponse } from 'express';
import type { Clock } from '../src/base/clock';
import { GantryError } from '../src/base/errors';
import type { Log } from '../src/base/log';
import { writeAnswer, writeProblem, type Exchange } from './answer';
import { checkArrival, type RequestIds } from './arrival';
import { bodyLimit, bringsBody, checkContentType, readBody } from './body';
import { checkSecret } from './clusterSecret';
import type { Operation } from './contract';
import { decodeUtf8, parseJson } from './jsonText';
import { acceptsAny, isJsonType, parseMediaType } from './mediaType';
import type { HostPolicy } from './hostPolicy';
import { Call, ClientGone, HOP_HEADER, pathOf, type Answer, type OperationId, type Request } from './operation';
import type { OriginPolicy } from './origin';
import { ParameterReader } from './parameters';
import { coded, PROBLEM_TYPE } from './problem';
import type { Schema } from './schema';
import { SchemaCheck } from './schemaCheck';

/** What all operations share. */
export interface Rim {
  readonly clock: Clock;
  readonly log: Log;
  readonly requestIds: RequestIds;
  readonly hosts: HostPolicy;
  readonly origins: OriginPolicy;
  readonly ready: () => boolean;
  /** See clusterSecret.ts. */
  readonly clusterSecret: string | undefined;
  readonly onFinish: ((operationId: string, status: number, ms: number) => void) | undefined;
}

/** Logged and counted for a client that did not wait for its answer; never sent. */
const CLIENT_CLOSED_REQUEST = 499;
/** For whoever watches the process, from anywhere. */
const HEALTH = new Set(['livez', 'readyz', 'metrics']);
/** They say nothing that others may not know, and probes send any Host. Metrics name topics and groups. */
const PROBES = new Set(['livez', 'readyz']);
/** Answered also while the process is not ready. */
const ALWAYS = new Set([...HEALTH, 'getVersion']);
/** Faults of small bodies are all listed; larger ones name the first. */
const EXPLAINED_BYTES = 64 * 1024;
const NO_BODY = Buffer.alloc(0);
const AT_ALL: readonly string[] = ['application/json', PROBLEM_TYPE];

/** Throws on a request that nothing here may answer; `page`: see OriginPolicy. */
export function arrive(rim: Rim, exchange: Exchange, page = false): void {
  checkArrival(exchange.req);
  rim.hosts.check(exchange.req, rim.origins.names(exchange.req));
  exchange.cors = rim.origins.check(exchange.req, page);
}

/** Opens the exchange of a request. */
export const open = (rim: Rim, req: ExpressRequest, res: ExpressResponse): Exchange => ({
  req,
  res,
  requestId: rim.requestIds.of(req),
});

/** Answers a failure outside of any operation. */
export function refuse(rim: Rim, exchange: Exchange, error: unknown, headers?: Record<string, string>): void {
  if (exchange.res.headersSent) return void exchange.res.destroy();
  const status = writeProblem(exchange, error, rim.clock, headers);
  if (!(error instanceof GantryError)) rim.log.error({ err: error, requestId: exchange.requestId }, 'request failed');
  rim.onFinish?.('none', status, 0);
}

/** One bound operation. */
export class BoundOperation {
  readonly #rim: Rim;
  readonly #operation: Operation;
  readonly #handle: (call: Call<OperationId>) => Promise<Answer> | Answer;
  readonly #parameters: ParameterReader;
  readonly #bodies: ReadonlyMap<string, SchemaCheck>;
  readonly #produces: readonly string[];
  readonly #limit: number;

  constructor(rim: Rim, operation: Operation, handle: (call: never) => Promise<Answer> | Answer) {
    this.#rim = rim;
    this.#operation = operation;
    this.#handle = handle as (call: Call<OperationId>) => Promise<Answer> | Answer;
    this.#parameters = new ParameterReader(operation);
    this.#bodies = new Map(jsonSchemas(operation).map(([type, schema]) => [type, new SchemaCheck(schema)]));
    const produced = new Set([...operation.answers.values()].flatMap((content) => [...content.keys()]));
    this.#produces = produced.size > 0 ? [...produced] : AT_ALL;
    this.#limit = bodyLimit(operation.id);
  }

  /** Express's handler. Never rejects. */
  readonly serve = async (req: ExpressRequest, res: ExpressResponse): Promise<void> => {
    const { clock, onFinish } = this.#rim;
    const started = clock.monotonic();
    const exchange = open(this.#rim, req, res);
    let status: number;
    try {
      if (!HEALTH.has(this.#operation.id)) arrive(this.#rim, exchange);
      else {
        checkArrival(req);
        if (!PROBES.has(this.#operation.id)) this.#rim.hosts.check(req);
      }
      // What a part of the cluster says of a call is believed only of a part of the cluster.
      if (this.#operation.guarded || req.headers[HOP_HEADER] !== undefined) checkSecret(this.#rim.clusterSecret, req);
      const answer = await this.#run(exchange, req);
      if (isGone(exchange)) throw new ClientGone();
      writeAnswer(exchange, answer, clock);
      status = answer.status;
    } catch (error) {
      status = this.#fail(exchange, error);
    }
    onFinish?.(this.#operation.id, status, clock.monotonic() - started);
  };

  async #run(exchange: Exchange, req: ExpressRequest): Promise<Answer> {
    const { id } = this.#operation;
    if (!ALWAYS.has(id) && !this.#rim.ready()) {
      throw new GantryError('STARTING', 'This process is not ready yet; /readyz says why.', { retryAfterMs: 1000 });
    }
    if (!acceptsAny(req.headers.accept, this.#produces)) {
      throw new GantryError('NOT_ACCEPTABLE', `This operation answers ${this.#produces.join(', ')}.`);
    }
    const path = this.#parameters.path(req.params);
    const target = req.url;
    const mark = target.indexOf('?');
    const query = this.#parameters.query(mark < 0 ? '' : target.slice(mark + 1));
    const headers = this.#parameters.headers(req.headers);
    const bodyBytes = await this.#readBody(exchange);
    const body = this.#parseBody(bodyBytes, req.headers['content-type']);
    // The contract's own check has just made these the types of this operation.
    const request = { path, query, headers, body, bodyBytes } as unknown as Request<OperationId>;
    return this.#handle(new Call(this.#operation, request, exchange.requestId, req, exchange.res));
  }

  async #readBody({ req, res }: Exchange): Promise<Buffer> {
    const { id, method, body } = this.#operation;
    if (!bringsBody(req)) {
      // An empty body is a message there, and a form type (curl -d '') is none.
      if (id === 'sendMessages') checkContentType(this.#operation, req.headers['content-type']);
      return NO_BODY;
    }
    if (method === 'get' || method === 'delete') {
      throw new GantryError('MALFORMED_REQUEST', `${req.method} takes no body.`);
    }
    if (!body) throw new GantryError('MALFORMED_REQUEST', `${id} takes no body.`);
    checkContentType(this.#operation, req.headers['content-type']);
    return readBody(req, res, this.#limit);
  }

  /** The checked JSON of a body; undefined where there is none, or where the handler reads the bytes. */
  #parseBody(bytes: Buffer, contentType: string | undefined): unknown {
    const { id, body } = this.#operation;
    if (!body || id === 'sendMessages') return undefined;
    if (bytes.length === 0) {
      if (!body.required) return undefined;
      throw new GantryError('BODY_EMPTY', 'This operation needs a body.', {
        errors: [{ pointer: '', detail: 'is required' }],
      });
    }
    const check = this.#bodies.get(parseMediaType(contentType ?? '')?.type ?? '');
    if (!check) return undefined;
    const value = parseJson(decodeUtf8(bytes));
    if (check.accepts(value)) return value;
    const errors = check.faults(value, bytes.length <= EXPLAINED_BYTES);
    const [first] = errors;
    throw new GantryError(
      'VALIDATION_FAILED',
      `The body is refused at ${first?.pointer || 'its top'}: ${first?.detail}.`,
      { errors },
    );
  }

  #fail(exchange: Exchange, error: unknown): number {
    const { log, clock } = this.#rim;
    const facts = { operationId: this.#operation.id, requestId: exchange.requestId };
    const gone = isGone(exchange);
    if (!(error instanceof GantryError) && !(gone && isAbort(error)))
      log.error({ err: error, ...facts }, 'handler failed');
    if (gone) {
      log.debug({ ...facts, status: CLIENT_CLOSED_REQUEST, path: pathOf(exchange.req.url ?? '') }, 'client went away');
      return CLIENT_CLOSED_REQUEST;
    }
    if (exchange.res.headersSent) {
      exchange.res.destroy();
      return 500;
    }
    return writeProblem(exchange, coded(error), clock);
  }
}

const isGone = ({ req, res }: Exchange): boolean => res.destroyed || req.socket.destroyed;
const isAbort = (error: unknown): boolean =>
  error instanceof ClientGone || (error as Error | undefined)?.name === 'AbortError';

function jsonSchemas(operation: Operation): [string, Schema][] {
  if (!operation.body || operation.id === 'sendMessages') return [];
  return [...operation.body.content].filter(
    (entry): entry is [string, Schema] => isJsonType(entry[0]) && entry[1] !== undefined,
  );
}
