/** One call of this API as its handlers see it, and what they answer. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { LIMITS } from '../../src/base/limits';
import { bringsBody, readBody } from '../body';
import { ClientGone, HOP_HEADER } from '../operation';
import type { Dialect } from './dialects';

const NO_BYTES = Buffer.alloc(0);

export class KafkaCall {
  /** From the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly dialect: Dialect;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly requestId: string;
  #query: URLSearchParams | undefined;
  #body: Promise<Buffer> | undefined;
  #abort: AbortController | undefined;

  constructor(
    params: Readonly<Record<string, string>>,
    dialect: Dialect,
    exchange: { readonly req: IncomingMessage; readonly res: ServerResponse; readonly requestId: string },
  ) {
    this.params = params;
    this.dialect = dialect;
    this.req = exchange.req;
    this.res = exchange.res;
    this.requestId = exchange.requestId;
  }

  get headers(): IncomingHttpHeaders {
    return this.req.headers;
  }

  /** Parameters that nobody knows are ignored, as by the servers of this API. */
  get query(): URLSearchParams {
    if (!this.#query) {
      const url = this.req.url ?? '';
      const mark = url.indexOf('?');
      this.#query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1));
    }
    return this.#query;
  }

  /** Passed on by another front, and not to be passed on again. */
  get isHop(): boolean {
    return this.headers[HOP_HEADER] !== undefined;
  }

  /** Also of a GET or a DELETE: this API has them. Empty when there is none. */
  body(): Promise<Buffer> {
    return (this.#body ??= bringsBody(this.req)
      ? readBody(this.req, this.res, LIMITS.sendRequestBytes)
      : Promise.resolve(NO_BYTES));
  }

  /** Aborted when the client goes away before it has its answer. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      const abort = (this.#abort = new AbortController());
      if (this.res.destroyed) abort.abort(new ClientGone());
      else this.res.once('close', () => void (this.res.writableFinished || abort.abort(new ClientGone())));
    }
    return this.#abort.signal;
  }
}

/** At most one of `body`, `json` and `stream`; none of them is an empty answer. */
export interface KafkaAnswer {
  readonly status: number;
  /** Becomes JSON. */
  readonly body?: unknown;
  /** JSON already. */
  readonly json?: string;
  /** JSON in parts, with status 200. */
  readonly stream?: AsyncIterable<string>;
  /** Content type; what the client accepts of the general ones, if absent. */
  readonly type?: string;
}

export type KafkaHandler = (call: KafkaCall) => Promise<KafkaAnswer> | KafkaAnswer;
/** A handler for each of these operations of kafka-rest.yaml. */
export type KafkaHandlers<Id extends string = string> = Readonly<Record<Id, KafkaHandler>>;
