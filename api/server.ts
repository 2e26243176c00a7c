/**
 * The listening socket of one process and its defences: Node's strict parser, bounded headers, slow clients dropped,
 * connections counted. Node constructs requests and responses with Express's prototypes, because Express would
 * otherwise swap them on every request, which costs more than half of the throughput (ARCHITECTURE.md, Measured facts).
 */
import {
  createServer,
  IncomingMessage,
  ServerResponse,
  type RequestListener,
  type Server,
  type ServerOptions,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Express } from 'express';
import { systemChance, type Chance } from '../src/base/chance';
import type { Clock, Timer } from '../src/base/clock';
import { GantryError } from '../src/base/errors';
import type { Service } from '../src/base/life';
import { LIMITS } from '../src/base/limits';
import type { Log } from '../src/base/log';
import { joinHostPort } from '../src/config/kinds';
import { rawProblem, writeProblem } from './answer';
import { RequestIds } from './arrival';
import { ListenError } from './listenError';
import { pathOf } from './operation';

export interface HttpServerOptions {
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  /** The option that sets the port, for the refusal to listen; `--port` unless given. */
  readonly portOption?: string;
  readonly clock: Clock;
  readonly log: Log;
  /** For the ids of requests that never reached the application. */
  readonly chance?: Chance;
  /** Open connections; LIMITS.connections unless given. */
  readonly maxConnections?: number;
  /** How long `stop` waits for requests under way, milliseconds; 5,000 unless given. */
  readonly drainMs?: number;
  /** For tests; the defaults are what the system promises. */
  readonly limits?: Partial<ServerLimits>;
}

export interface ServerLimits {
  /** Milliseconds until all headers must be there. */
  headersTimeoutMs: number;
  /** Milliseconds until the whole request must be there; how long the answer takes is no matter. */
  requestTimeoutMs: number;
  /** Milliseconds between two looks for slow clients. */
  checkEveryMs: number;
  keepAliveMs: number;
  headerBytes: number;
}

const DEFAULTS: ServerLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  checkEveryMs: 2_000,
  keepAliveMs: 75_000,
  headerBytes: LIMITS.headerBytes,
};

/** Says in an answer that the process is about to stop: a front then asks the NameServers where else to go. */
export const STOPPING_HEADER = 'Gantry-Stopping';

const DRAIN_MS = 5_000;
/** Milliseconds between two sweeps for connections that became idle while stopping. */
const SWEEP_MS = 25;

/** Listens, and stops without cutting an answer short. Until it is given an application it answers 503 STARTING. */
export class HttpServer implements Service {
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  readonly #requestIds: RequestIds;
  readonly #constructors = expressConstructors();
  #app: Express | undefined;
  /** The process is about to stop: no connection is kept, and callers are told. */
  #leaving = false;
  /** Requests are not begun any more. */
  #refusing = false;
  readonly #sockets = new Set<Socket>();
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#requestIds = new RequestIds(options.chance ?? systemChance);
    const limits = { ...DEFAULTS, ...options.limits };
    const listener = this.#listener();
    const { IncomingMessage, ServerResponse } = this.#constructors;
    this.#server = createServer({ IncomingMessage, ServerResponse, ...serverOptions(limits) }, listener);
    this.#server.maxConnections = options.maxConnections ?? LIMITS.connections;
    this.#server.maxRequestsPerSocket = LIMITS.requestsPerConnection;
    this.#server.maxHeadersCount = 0; // bounded by their bytes; a count would drop the rest in silence
    this.#server.on('checkContinue', listener);
    this.#server.on('checkExpectation', (_req, res) => this.#refuse(res.socket, expectation()));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => this.#clientError(error, socket));
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => void this.#sockets.delete(socket));
    });
  }

  /** The application that answers from now on. */
  serve(app: Express): void {
    this.#constructors.adopt(app);
    this.#app = app;
  }

  /** Open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  start(): Promise<void> {
    return (this.#starting ??= this.#stopping ? Promise.resolve() : this.#listen());
  }

  /** From now on every answer ends its connection, and tells by STOPPING_HEADER that the process is about to stop. */
  leave(): void {
    this.#leaving = true;
  }

  /**
   * From now on every new request is refused as not begun (503), except for those about health. It comes before `stop`:
   * a caller whose connection is closed under a request cannot know whether the request was begun.
   */
  refuse(): void {
    this.#leaving = this.#refusing = true;
  }

  /** Idle connections end at once, busy ones with their answer, what is left after drainMs is cut. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#drain());
  }

  /** Where it listens; only between start and stop. */
  address(): { host: string; port: number; url: string } {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port, url: `http://${joinHostPort(address, port)}` };
  }

  #listen(): Promise<void> {
    const { host, port, portOption = '--port' } = this.#options;
    return new Promise((resolve, reject) => {
      const onRefused = (error: Error) => reject(new ListenError({ host, port, portOption }, error));
      this.#server.once('error', onRefused);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off('error', onRefused);
        this.#server.on('error', (error) => this.#options.log.error({ err: error }, 'listener failed'));
        resolve();
      });
    });
  }

  async #drain(): Promise<void> {
    const { clock, drainMs = DRAIN_MS } = this.#options;
    await this.#starting?.catch(() => undefined);
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    let sweep: Timer;
    const sweepAgain = () => {
      this.#server.closeIdleConnections();
      this.#closeUnused();
      sweep = clock.after(SWEEP_MS, sweepAgain);
    };
    sweep = clock.after(SWEEP_MS, sweepAgain);
    const cut = clock.after(drainMs, () => this.#server.closeAllConnections());
    await closed;
    sweep.cancel();
    cut.cancel();
  }

  /** Node does not count as idle what never carried a request, such as a browser's spare connection. */
  #closeUnused(): void {
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
  }

  #listener(): RequestListener {
    const { clock, log } = this.#options;
    // The last resort: the application answers everything itself.
    const unanswered = (res: ServerResponse) => (error?: unknown) => {
      log.error({ err: error }, 'request left the application');
      res.destroy();
    };
    return (req, res) => {
      if (this.#leaving || this.#stopping) res.setHeader('Connection', 'close').setHeader(STOPPING_HEADER, 'true');
      const target = req.url!;
      if (target.charCodeAt(0) !== SLASH) req.url = originForm(target);
      if (this.#refusing && !HEALTH_PATHS.has(pathOf(req.url!)))
        writeProblem({ req, res, requestId: this.#requestIds.of(req) }, stopping(), clock);
      else if (this.#app) this.#app(req as never, res as never, unanswered(res));
      else writeProblem({ req, res, requestId: this.#requestIds.of(req) }, notYet(), clock);
    };
  }

  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    if (error.code === 'ECONNRESET' || error.code === 'EPIPE' || !socket.writable) return void socket.destroy();
    this.#options.log.debug({ code: error.code, remote: socket.remoteAddress }, 'client error');
    this.#refuse(socket, problemOfParser(error));
  }

  /** Answers on the bare socket, unless that would look like the answer to an earlier request that still runs. */
  #refuse(socket: Socket | null, error: GantryError): void {
    if (!socket) return;
    // Node's own name for the response that owns the socket; its documentation of 'clientError' uses it, too.
    const current = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage;
    if (current && !current.writableEnded && current.req.complete) {
      current.shouldKeepAlive = false;
      current.once('finish', () => socket.destroySoon());
    } else if (current?.headersSent) socket.destroy();
    else {
      socket.write(rawProblem(error, this.#requestIds.next()));
      socket.destroySoon();
    }
  }
}

const SLASH = 0x2f;

/** `GET http://host/path` means `/path` (RFC 9112, 3.2.2). */
function originForm(target: string): string {
  const host = target.indexOf('://');
  if (host < 0) return target;
  const path = target.slice(host + 3).search(/[/?]/);
  if (path < 0) return '/';
  const rest = target.slice(host + 3 + path);
  return rest.startsWith('?') ? `/${rest}` : rest;
}

const HEALTH_PATHS = new Set(['/livez', '/readyz', '/metrics']);

const stopping = (): GantryError =>
  new GantryError('SERVICE_NOT_AVAILABLE', 'This process is stopping; nothing was done: ask another one.', {
    retryAfterMs: 1000,
  });
const notYet = (): GantryError =>
  new GantryError('STARTING', 'This process is still starting.', { retryAfterMs: 1000 });
const expectation = (): GantryError => new GantryError('MALFORMED_REQUEST', 'Expect can only be 100-continue.');

function problemOfParser(error: NodeJS.ErrnoException): GantryError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new GantryError(
        'HEADERS_TOO_LARGE',
        `Request line and headers have at most ${LIMITS.headerBytes} bytes together.`,
      );
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new GantryError('BODY_TOO_LARGE', 'The chunk extensions of the body are too large.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new GantryError('REQUEST_TIMEOUT', 'The request did not arrive in time.');
    default: {
      const reason = (error as { reason?: unknown }).reason;
      return new GantryError(
        'MALFORMED_REQUEST',
        `This is not HTTP/1.1: ${typeof reason === 'string' ? reason : 'the parser gave up'}.`,
      );
    }
  }
}

function serverOptions(limits: ServerLimits): ServerOptions {
  return {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    keepAliveTimeout: limits.keepAliveMs,
    insecureHTTPParser: false,
    requireHostHeader: false, // arrival.ts asks for it, and says so in a problem document
    noDelay: true,
  };
}

/** Fields that are never there. */
type Room = Partial<Record<`${'a' | 'b' | 'c'}${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9}`, number>>;

interface Constructors {
  readonly IncomingMessage: typeof IncomingMessage;
  readonly ServerResponse: typeof ServerResponse;
  adopt(app: Express): void;
}

/** Never true, and nothing that V8 could know. */
const NEVER = DEFAULTS.keepAliveMs < 0;

/**
 * Constructors that do what Node's do, with Express's prototypes once there is an application: it finds nothing to swap.
 *
 * V8 gives an object the room that the assignments in its constructor's own text ask for. Node's OutgoingMessage makes
 * its thirty fields elsewhere; without the room V8 turns each response into a hash table (measured: 4 µs a request).
 */
function expressConstructors(): Constructors {
  const nodeIncoming = IncomingMessage as unknown as (this: object, socket: Socket) => void;
  const nodeOutgoing = ServerResponse as unknown as (this: object, req: IncomingMessage, options: unknown) => void;
  function Incoming(this: Room, socket: Socket): void {
    if (NEVER) {
      this.a0 = this.a1 = this.a2 = this.a3 = this.a4 = this.a5 = this.a6 = this.a7 = this.a8 = this.a9 = 0;
      this.b0 = this.b1 = this.b2 = this.b3 = this.b4 = this.b5 = this.b6 = this.b7 = this.b8 = this.b9 = 0;
    }
    nodeIncoming.call(this, socket);
  }
  function Outgoing(this: Room, req: IncomingMessage, options: unknown): void {
    if (NEVER) {
      this.a0 = this.a1 = this.a2 = this.a3 = this.a4 = this.a5 = this.a6 = this.a7 = this.a8 = this.a9 = 0;
      this.b0 = this.b1 = this.b2 = this.b3 = this.b4 = this.b5 = this.b6 = this.b7 = this.b8 = this.b9 = 0;
      this.c0 = this.c1 = this.c2 = this.c3 = this.c4 = this.c5 = this.c6 = this.c7 = this.c8 = this.c9 = 0;
    }
    nodeOutgoing.call(this, req, options);
  }
  Incoming.prototype = IncomingMessage.prototype;
  Outgoing.prototype = ServerResponse.prototype;
  return {
    IncomingMessage: Incoming as unknown as typeof IncomingMessage,
    ServerResponse: Outgoing as unknown as typeof ServerResponse,
    adopt(app) {
      Incoming.prototype = app.request;
      Outgoing.prototype = app.response;
    },
  };
}
