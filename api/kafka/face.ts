/**
 * The Kafka REST v2 face at the root of a front: its own paths, errors and media types, beside /v1 and with the same
 * checks of who may call. It is a translation; everything is done by the native operations.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { NextFunction, Request, Response } from 'express';
import { GantryError } from '../../src/base/errors';
import { writeAnswer, writeStream, type Exchange } from '../answer';
import type { Contract } from '../contract';
import { checkSecret } from '../clusterSecret';
import { ClientGone, HOP_HEADER, pathOf } from '../operation';
import { arrive, open, type Rim } from '../rim';
import { DIALECT_HEADER, DIALECTS, dialectOf, type Dialect } from './dialects';
import { KafkaCall, type KafkaAnswer, type KafkaHandlers } from './exchange';
import { faultOf, KafkaFault } from './faults';
import { answerType } from './mediaTypes';
import { Paths, type Match } from './paths';

export interface FaceOptions {
  /** kafka-rest.yaml. */
  readonly contract: Contract;
  /** Exactly one for each of its operations. */
  readonly handlers: KafkaHandlers;
  /** Of the server. */
  readonly dialect: Dialect;
}

const V2 = 'application/vnd.kafka.v2+json';
const FIRST = /^\/(topics|consumers|brokers|admin|v3|kafka\/v3)(?=[/?]|$)/;
const V3 = /^(\/kafka)?\/v3(?=[/?]|$)/;
const V3_TYPE = 'application/json';
const CLIENT_CLOSED_REQUEST = 499;
const NO_HEAD = /\/(records|messages)\/?$|\/instances\/[^/]+\/topics\//;

export class KafkaFace {
  readonly #contract: Contract;
  readonly #handlers: KafkaHandlers;
  readonly #dialect: Dialect;
  readonly #paths: Paths;

  constructor({ contract, handlers, dialect }: FaceOptions) {
    this.#contract = contract;
    this.#handlers = handlers;
    this.#dialect = dialect;
    this.#paths = new Paths(contract);
    const wanted = [...contract.operations.keys()].sort();
    if (wanted.join() !== Object.keys(handlers).sort().join())
      throw new Error(`kafka-rest.yaml has the operations ${wanted.join(', ')}, and the handlers are others`);
  }

  /** As text, for whoever reads what there is. */
  get document(): string {
    return JSON.stringify(this.#contract.document);
  }

  /** Express's handler: answers what is this face's, and passes on the rest. */
  middleware(rim: Rim): (req: Request, res: Response, next: NextFunction) => void {
    return (req, res, next) => {
      const { url } = req;
      if (url.startsWith('/v1') || !(FIRST.test(url) || isRoot(req))) return next();
      void this.#serve(rim, open(rim, req, res));
    };
  }

  /** Behind everything that is served: what its clients look for in vain, they are told in the form of this API. */
  fallback(rim: Rim): (req: Request, res: Response, next: NextFunction) => void {
    return (req, res, next) => (isClient(req) ? void this.#serve(rim, open(rim, req, res)) : next());
  }

  async #serve(rim: Rim, exchange: Exchange): Promise<void> {
    const { req, res } = exchange;
    const started = rim.clock.monotonic();
    let id = 'none';
    let dialect = this.#dialect;
    let answer: KafkaAnswer;
    try {
      arrive(rim, exchange);
      if (req.headers[HOP_HEADER] !== undefined) checkSecret(rim.clusterSecret, req);
      // Version 3 is one server's alone.
      dialect = isV3(req) ? DIALECTS.confluent : dialectOf(req.headers[DIALECT_HEADER], this.#dialect);
      const match = this.#match(rim, exchange);
      if (!match) return;
      id = `kafka_${match.operation.id}`;
      if (!rim.ready()) throw new GantryError('STARTING', 'This process is not ready yet; /readyz says why.');
      answer = await this.#handlers[match.operation.id]!(new KafkaCall(match.params, dialect, exchange));
      if (res.destroyed) throw new ClientGone();
    } catch (error) {
      if (res.destroyed) return rim.onFinish?.(id, CLIENT_CLOSED_REQUEST, rim.clock.monotonic() - started);
      const fault = faultOf(error);
      if (fault.status === 500 && !(error instanceof GantryError || error instanceof KafkaFault))
        rim.log.error({ err: error, operationId: id, requestId: exchange.requestId }, 'handler failed');
      answer = this.#failure(fault, dialect, isV3(req) ? V3_TYPE : V2);
    }
    if (answer.stream) await writeStream(exchange, answer.type!, answer.stream).catch(() => res.destroy());
    else this.#write(rim, exchange, answer);
    rim.onFinish?.(id, answer.status, rim.clock.monotonic() - started);
  }

  /** The operation; undefined when there is none and the request has been answered. */
  #match(rim: Rim, exchange: Exchange): Match | undefined {
    const { method } = exchange.req;
    const path = pathOf(exchange.req.url ?? '/');
    const headless = method === 'HEAD' && !NO_HEAD.test(path);
    const match = this.#paths.match(headless ? 'GET' : method!, path);
    if (match === undefined) throw new KafkaFault(404, 404, 'HTTP 404 Not Found');
    if ('operation' in match) return match;
    const allow = [...match, 'OPTIONS'].join(', ');
    if (method === 'OPTIONS') {
      const preflight = exchange.cors && exchange.req.headers['access-control-request-method'] !== undefined;
      const headers = { Allow: allow, ...(preflight && rim.origins.preflight(allow)) };
      writeAnswer(exchange, { status: 204, headers }, rim.clock);
      return undefined;
    }
    const body = errorBody(new KafkaFault(405, 405, 'HTTP 405 Method Not Allowed'), this.#dialect);
    writeAnswer(exchange, { status: 405, headers: { Allow: allow, 'Content-Type': V2 }, body }, rim.clock);
    return undefined;
  }

  #failure(fault: KafkaFault, dialect: Dialect, type: string): KafkaAnswer {
    return { status: fault.status, body: errorBody(fault, dialect), type };
  }

  #write(rim: Rim, exchange: Exchange, { status, body, json, type }: KafkaAnswer): void {
    const headers: Record<string, string> = {};
    if (body !== undefined || json !== undefined)
      headers['Content-Type'] = type ?? acceptable(exchange.req.headers.accept);
    if (status === 503 || status === 429) headers['Retry-After'] = '1';
    writeAnswer(exchange, { status, headers, ...(json === undefined ? { body } : { json }) }, rim.clock);
  }
}

const isV3 = ({ url }: IncomingMessage): boolean => V3.test(url ?? '');

/** Whether the request names a media type of this API, or a dialect; never below /v1. */
const isClient = ({ url, headers }: Request): boolean => !url.startsWith('/v1') && namesThisApi(headers);

const namesThisApi = (headers: IncomingHttpHeaders): boolean =>
  [headers.accept, headers['content-type']].some((type) => type?.includes('application/vnd.kafka')) ||
  headers[DIALECT_HEADER] !== undefined;

/** The root is the browser's and the native clients', unless somebody asks for it in this API's type. */
const isRoot = ({ url, headers, method }: Request): boolean =>
  url === '/' && (method === 'POST' || (headers.accept ?? '').includes('application/vnd.kafka'));

const errorBody = ({ status, code, message }: KafkaFault, { errorCode }: Dialect): object => ({
  error_code: errorCode === 'status' ? status : code,
  message,
});

/** What was done is told in any case. */
function acceptable(accept: string | undefined): string {
  try {
    return answerType(accept);
  } catch {
    return V2;
  }
}
