/**
 * The Express application of one process: the operations of its tags, each bound to its handler by operationId, and the
 * documents about them. Routes are matched one after the other, so the busiest come first. Whatever is not served is
 * answered as a problem document, too.
 */
import express, { type Express, type Request, type Response } from 'express';
import type { Chance } from '../src/base/chance';
import type { Clock } from '../src/base/clock';
import { GantryError } from '../src/base/errors';
import type { Log } from '../src/base/log';
import { writeAnswer, type Exchange } from './answer';
import { RequestIds } from './arrival';
import type { Contract, Operation } from './contract';
import { addDocs } from './docs';
import type { KafkaFace } from './kafka/face';
import { HostPolicy, type HostNames } from './hostPolicy';
import { pathOf, type Handlers } from './operation';
import { OriginPolicy } from './origin';
import { arrive, BoundOperation, open, refuse, type Rim } from './rim';

export interface AppOptions {
  readonly contract: Contract;
  /** The process binds and shows the operations that have one of these tags. */
  readonly tags: readonly string[];
  /** Exactly one handler for each of them; anything else does not start. */
  readonly handlers: Handlers;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Origins whose pages may call: `https://console.example`. */
  readonly corsOrigins?: readonly string[];
  /** Names of this process; see HostPolicy. Default: a loopback address alone. */
  readonly names?: HostNames;
  /** What callers of guarded operations must know; without it everybody may call them. */
  readonly clusterSecret?: string | undefined;
  /** While it says no, everything but health and version is 503 STARTING. A draining process is still ready. */
  readonly ready?: () => boolean;
  /** Served at the root, beside the operations. */
  readonly kafka?: KafkaFace | undefined;
  /** Called once for each request when its answer is written; 'none' for what is no operation. */
  readonly onFinish?: (operationId: string, status: number, ms: number) => void;
}

/** The busiest operations, in the order in which routes are tried. */
const HOT = [
  'sendMessages',
  'pollMessages',
  'commitOffsets',
  'receiveMessages',
  'ackMessages',
  'joinGroup',
  'readQueue',
];
/** Reading messages counts as work, even as a heartbeat: HEAD must not do it (api.md, rule 13). */
const NO_HEAD = new Set([
  ...['pollMessages', 'readQueue', 'getMessage', 'queryMessages', 'getMessageTrace', 'listDeadLetters'],
  ...['getDeadLetter', 'exportDeadLetter'],
  ...['listScheduled', 'getTransaction', 'pollTransactionChecks'],
]);

/** Binds everything. Throws when handlers and contract do not fit. */
export function createApp(options: AppOptions): Express {
  const rim: Rim = {
    clock: options.clock,
    log: options.log,
    requestIds: new RequestIds(options.chance),
    hosts: new HostPolicy(options.names ?? { host: '127.0.0.1', allowedHosts: [] }),
    origins: new OriginPolicy(options.corsOrigins ?? []),
    ready: options.ready ?? (() => true),
    clusterSecret: options.clusterSecret,
    onFinish: options.onFinish,
  };
  const app = express();
  app.set('etag', false).set('x-powered-by', false).set('strict routing', true).set('case sensitive routing', true);
  const operations = options.contract.of(options.tags);
  checkHandlers(operations, options.handlers);
  if (options.kafka) app.use(options.kafka.middleware(rim));
  for (const [path, group] of byPath(operations)) bindPath(app, rim, path, group, options.handlers);
  addDocs(app, options.contract, options.tags, options.kafka?.document, {
    admit: (req, res) => admit(rim, req, res),
    json: (req, res, json) => writeAnswer(open(rim, req, res), { status: 200, json }, rim.clock),
  });
  if (options.kafka) app.use(options.kafka.fallback(rim));
  app.use((req: Request, res: Response) => notFound(rim, req, res));
  app.use((error: unknown, req: Request, res: Response, _next: unknown) =>
    refuse(rim, open(rim, req, res), ofRouter(error)),
  );
  return app;
}

function checkHandlers(operations: readonly Operation[], handlers: Handlers): void {
  const wanted = new Set(operations.map((operation) => operation.id));
  const missing = [...wanted].filter((id) => typeof handlers[id] !== 'function');
  const surplus = Object.keys(handlers).filter((id) => !wanted.has(id));
  if (missing.length > 0) throw new Error(`no handler for ${missing.join(', ')}`);
  if (surplus.length > 0) throw new Error(`handlers for no operation of this process: ${surplus.join(', ')}`);
}

/** Operations of one path together; the busiest paths first, then those with a fixed name before those with a parameter. */
function byPath(operations: readonly Operation[]): [string, Operation[]][] {
  const rank = (operation: Operation) => (HOT.indexOf(operation.id) + HOT.length + 1) % (HOT.length + 1);
  const shape = (operation: Operation) => operation.path.replaceAll('{', '\uffff');
  const ordered = [...operations].sort(
    (a, b) => rank(a) - rank(b) || (shape(a) < shape(b) ? -1 : shape(a) > shape(b) ? 1 : 0),
  );
  const paths = new Map<string, Operation[]>();
  for (const operation of ordered) paths.set(operation.path, [...(paths.get(operation.path) ?? []), operation]);
  return [...paths];
}

function bindPath(app: Express, rim: Rim, path: string, operations: readonly Operation[], handlers: Handlers): void {
  const route = app.route(path.replaceAll('{', ':').replaceAll('}', ''));
  const allowed = new Set<string>();
  for (const operation of operations) {
    allowed.add(operation.method.toUpperCase());
    if (operation.method === 'get' && !NO_HEAD.has(operation.id)) allowed.add('HEAD');
  }
  const allow = [...allowed, 'OPTIONS'].join(', ');
  const other = (req: Request, res: Response) => otherMethod(rim, req, res, allow);
  if (!allowed.has('HEAD')) route.head(other);
  for (const operation of operations) {
    route[operation.method](new BoundOperation(rim, operation, handlers[operation.id]!).serve);
  }
  route.all(other);
}

/** OPTIONS, or a method the path does not have. */
function otherMethod(rim: Rim, req: Request, res: Response, allow: string): void {
  const exchange = open(rim, req, res);
  attempt(rim, exchange, () => {
    arrive(rim, exchange);
    if (req.method !== 'OPTIONS') {
      return refuse(
        rim,
        exchange,
        new GantryError('METHOD_NOT_ALLOWED', `${req.method} is not allowed here; allowed are ${allow}.`),
        { Allow: allow },
      );
    }
    const preflight = exchange.cors && req.headers['access-control-request-method'] !== undefined;
    const headers = { Allow: allow, ...(preflight && rim.origins.preflight(allow)) };
    writeAnswer(exchange, { status: 204, headers }, rim.clock);
  });
}

const READ_ONLY = 'GET, HEAD, OPTIONS';

/** The checks of a page or document, and the headers it shares with every answer. */
function admit(rim: Rim, req: Request, res: Response): boolean {
  if (req.method !== 'GET' && req.method !== 'HEAD') {
    otherMethod(rim, req, res, READ_ONLY);
    return false;
  }
  const exchange = open(rim, req, res);
  return attempt(rim, exchange, () => {
    arrive(rim, exchange, true);
    res.setHeader('Cache-Control', 'no-store');
    res.setHeader('X-Content-Type-Options', 'nosniff');
    res.setHeader('X-Request-Id', exchange.requestId);
  });
}

function notFound(rim: Rim, req: Request, res: Response): void {
  const exchange = open(rim, req, res);
  attempt(rim, exchange, () => {
    arrive(rim, exchange);
    const path = pathOf(req.originalUrl);
    if (req.method === 'OPTIONS' && path === '*') {
      return writeAnswer(
        exchange,
        { status: 204, headers: { Allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS' } },
        rim.clock,
      );
    }
    if (!isDecodable(path)) throw invalidPath();
    const hint =
      path.length > 1 && path.endsWith('/') ? ' Paths have no trailing slash.' : ' /openapi.json lists what there is.';
    throw new GantryError('PATH_NOT_FOUND', `There is nothing at this path.${hint}`);
  });
}

function attempt(rim: Rim, exchange: Exchange, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    refuse(rim, exchange, error);
    return false;
  }
}

function isDecodable(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

const invalidPath = (): GantryError =>
  new GantryError('INVALID_PATH', 'The path is not percent-encoded UTF-8: write % itself as %25.');

/** The router itself only fails on what it cannot decode. */
const ofRouter = (error: unknown): unknown => (error instanceof URIError ? invalidPath() : error);
