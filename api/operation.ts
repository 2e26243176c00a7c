/**
 * One call of one operation, as its handler sees it, and the table that binds handlers to operations. The types come
 * from the generated contract, so that a missing or surplus handler does not compile; app.ts checks it again at start.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Operation } from './contract';
import type { operations } from './generated/openapi';

export type OperationId = keyof operations;

type Given<T> = [NonNullable<T>] extends [never] ? Record<never, never> : NonNullable<T>;
type Declared<Op extends OperationId, Place extends 'path' | 'query' | 'header'> = Given<
  operations[Op]['parameters'] extends { [P in Place]?: infer Values } ? Values : never
>;
type JsonOf<Content> = Content extends { 'application/json': infer Json } ? Json : undefined;
type GivenBody<Op extends OperationId> = operations[Op] extends { requestBody: { content: infer Content } }
  ? JsonOf<Content>
  : operations[Op] extends { requestBody?: { content: infer Content } }
    ? unknown extends Content
      ? undefined
      : JsonOf<Content> | undefined
    : undefined;
/** PATCH merges: null resets a field to its default (api.md, rule 15); the contract says so with x-nullable. */
type WithNulls<Body> = Body extends object ? { [Field in keyof Body]: Body[Field] | null } : Body;

/**
 * Query parameters that have a default wherever they occur, so that handlers find a value. The generated types do not
 * say so; parameters.ts refuses to start on a contract in which one of them has none.
 */
export const DEFAULTED = ['limit', 'max', 'maxBytes', 'min', 'waitMs', 'autoCommit', 'force'] as const;
type Defaulted = (typeof DEFAULTED)[number];
type Filled<Query> = {
  [Name in keyof Query as Name extends Defaulted ? Name : never]-?: Exclude<Query[Name], undefined>;
} & {
  [Name in keyof Query as Name extends Defaulted ? never : Name]: Query[Name];
};

/** Path parameters, decoded and checked. */
export type PathOf<Op extends OperationId> = Declared<Op, 'path'>;
/** Query parameters, coerced and checked, defaults filled in. */
export type QueryOf<Op extends OperationId> = Filled<Declared<Op, 'query'>>;
/** The declared headers under their declared names. */
export type HeadersOf<Op extends OperationId> = Declared<Op, 'header'>;
/** The checked JSON body; undefined where there is none. sendMessages reads `bodyBytes` through messageBodies.ts. */
export type BodyOf<Op extends OperationId> = Op extends 'sendMessages'
  ? undefined
  : Op extends `update${string}`
    ? WithNulls<GivenBody<Op>>
    : GivenBody<Op>;

/** What a request brought, read and checked against the contract. */
export interface Request<Op extends OperationId> {
  readonly path: PathOf<Op>;
  readonly query: QueryOf<Op>;
  readonly headers: HeadersOf<Op>;
  readonly body: BodyOf<Op>;
  /** The body as it came, empty when there was none. It is this request's own: Node copies what it has read. */
  readonly bodyBytes: Buffer;
}

/** Marks a call that one part of the cluster makes to another for a client; its value is the caller's name. */
export const HOP_HEADER = 'x-gantry-hop';

/** Why the signal of a call is aborted. */
export class ClientGone extends Error {
  constructor() {
    super('the client went away');
    this.name = 'ClientGone';
  }
}

/** What a call that is made for another one has of its own. */
export interface Derived {
  /** Aborted when the answer is no longer wanted; the client's own, if absent. */
  readonly signal?: AbortSignal;
  readonly contentType?: string | undefined;
}

/** One call. */
export class Call<Op extends OperationId> implements Request<Op> {
  readonly path: PathOf<Op>;
  readonly query: QueryOf<Op>;
  readonly headers: HeadersOf<Op>;
  readonly body: BodyOf<Op>;
  readonly bodyBytes: Buffer;
  /** Stands in every answer and in the log. */
  readonly requestId: string;
  readonly operation: Operation;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly #derived: Derived | undefined;
  #abort: AbortController | undefined;

  constructor(
    operation: Operation,
    request: Request<Op>,
    requestId: string,
    req: IncomingMessage,
    res: ServerResponse,
    derived?: Derived,
  ) {
    this.#derived = derived;
    this.operation = operation;
    this.path = request.path;
    this.query = request.query;
    this.headers = request.headers;
    this.body = request.body;
    this.bodyBytes = request.bodyBytes;
    this.requestId = requestId;
    this.req = req;
    this.res = res;
  }

  /** Node's own objects, for what the contract does not describe. */
  get raw(): { req: IncomingMessage; res: ServerResponse } {
    return { req: this.req, res: this.res };
  }

  /** The same client asks for something else, or for a part of it. */
  derive<Other extends OperationId>(operation: Operation, request: Request<Other>, derived: Derived): Call<Other> {
    return new Call(operation, request, this.requestId, this.req, this.res, derived);
  }

  /** The Content-Type as it was sent. */
  get contentType(): string | undefined {
    return this.#derived ? this.#derived.contentType : this.req.headers['content-type'];
  }

  /** Made by another part of the cluster, for somebody else: answered from here alone and not passed on again. */
  get isHop(): boolean {
    return this.req.headers[HOP_HEADER] !== undefined && this.#derived === undefined;
  }

  /** As a client sent it: no part of the cluster has judged or changed it yet. */
  get isClients(): boolean {
    return this.#derived === undefined && this.req.headers[HOP_HEADER] === undefined;
  }

  /** The path of the request without its query: a problem's `instance`. */
  get instance(): string {
    return pathOf(this.req.url ?? '/');
  }

  /** Aborted when the client goes away before it has its answer. Made when first asked for: most calls never need it. */
  get signal(): AbortSignal {
    if (this.#derived?.signal) return this.#derived.signal;
    if (!this.#abort) {
      const abort = (this.#abort = new AbortController());
      if (this.gone) abort.abort(new ClientGone());
      else this.res.once('close', () => void (this.res.writableFinished || abort.abort(new ClientGone())));
    }
    return this.#abort.signal;
  }

  /** The client went away: nobody reads the answer. */
  get gone(): boolean {
    return this.res.destroyed || this.req.socket.destroyed || this.#derived?.signal?.aborted === true;
  }
}

/** The part of a request's target before the question mark. */
export function pathOf(target: string): string {
  const mark = target.indexOf('?');
  return mark < 0 ? target : target.slice(0, mark);
}

/** What a handler answers. At most one of `body`, `json`, `text` and `bytes`; none of them is an empty answer. */
export interface Answer {
  readonly status: number;
  /** Becomes JSON. */
  readonly body?: unknown;
  /**
   * JSON that is text already, or becomes it when the answer is written: many polls that one send answers then have one
   * text in memory at a time. What it throws is answered like any failure of the handler.
   */
  readonly json?: string | (() => string);
  /** Anything else; `headers` gives its Content-Type. */
  readonly text?: string;
  readonly bytes?: Buffer;
  /** Content-Type here overrides application/json. */
  readonly headers?: Readonly<Record<string, string>>;
}

export type Handler<Op extends OperationId> = (call: Call<Op>) => Promise<Answer> | Answer;

/** One handler for each of `Ops`, no more and no less. */
export type HandlerTable<Ops extends OperationId> = { readonly [Op in Ops]: Handler<Op> };

/** A table of which only the names are known; every HandlerTable is one. */
export type Handlers = Readonly<Record<string, (call: never) => Promise<Answer> | Answer>>;
