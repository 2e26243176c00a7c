/**
 * One broker as a front sees it: the operations of the contract, here or one hop away. What a broker answers, a refusal
 * too, is an answer; only when there is none does a call fail, and then it says whether the broker may have done it.
 */
import { CODES, GantryError, type Code, type ErrorLocation } from '../../src/base/errors';
import type { Answer, BodyOf, Call, HeadersOf, OperationId, PathOf, QueryOf } from '../operation';
import { STATUS } from '../problem';

/** What of a call stays the same when something else is asked for its sake. */
export type Asking = Pick<Call<OperationId>, 'derive' | 'requestId' | 'instance'>;

/** What is asked of a broker. `body` becomes JSON, unless there are `bytes`: then these are the body as it came. */
export interface PeerRequest<Op extends OperationId> {
  readonly path: PathOf<Op>;
  readonly query: QueryOf<Op>;
  readonly headers?: HeadersOf<Op>;
  readonly body?: BodyOf<Op>;
  readonly bytes?: Buffer;
  /** Of `bytes`. */
  readonly contentType?: string | undefined;
}

export interface Peer {
  /** Name of the broker. */
  readonly name: string;
  /** Rejects with SERVICE_NOT_AVAILABLE, soon, when the broker let a call wait in vain and still does not answer. */
  reach(signal: AbortSignal): Promise<void>;
  /**
   * Its answer, whatever its status. Rejects with SERVICE_NOT_AVAILABLE when the broker surely did nothing (it cannot
   * be reached) or when repeating is harmless; with OUTCOME_UNKNOWN when it may have done what was asked; with the
   * signal's reason once that is aborted.
   */
  call<Op extends OperationId>(operationId: Op, request: PeerRequest<Op>, signal: AbortSignal): Promise<PeerAnswer>;
}

/** Headers of an answer that are the broker's word, not the connection's. */
const KEPT = ['content-type', 'etag', 'retry-after', 'idempotency-replayed', 'location', 'allow'] as const;

export class PeerAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  #json: unknown;

  constructor(status: number, headers: Readonly<Record<string, string>>, text: string) {
    this.status = status;
    this.headers = headers;
    this.text = text;
  }

  get ok(): boolean {
    return this.status < 300;
  }

  /** The parsed body. */
  json<T = Record<string, unknown>>(): T {
    return (this.#json ??= this.text === '' ? undefined : JSON.parse(this.text)) as T;
  }

  /** Throws the broker's refusal, if it is one. */
  orThrow(): this {
    if (!this.ok) throw this.failure();
    return this;
  }

  /** The refusal as it was coded. Results of single items are not among its members. */
  failure(): GantryError {
    const { code, detail, errors, retryAfterMs, retryable, ...rest } = this.#problem();
    if (code === undefined || !(code in CODES))
      return new GantryError('SERVICE_NOT_AVAILABLE', `a broker answered ${this.status}`, { retryAfterMs: 1000 });
    const known = new Set(['type', 'title', 'status', 'instance', 'requestId', 'results']);
    const members = Object.fromEntries(Object.entries(rest).filter(([name]) => !known.has(name)));
    return new GantryError(code as Code, detail ?? '', {
      ...(errors ? { errors } : {}),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(retryable === undefined ? {} : { retryable }),
      ...(Object.keys(members).length > 0 ? { members } : {}),
    });
  }

  /** The code of a refusal, also of one that this process does not know; undefined for any other answer. */
  get code(): string | undefined {
    return this.ok ? undefined : this.#problem().code;
  }

  /** What HTTP itself refuses, or somebody between, may be no JSON. */
  #problem(): Partial<ProblemJson> {
    try {
      return this.json<Partial<ProblemJson> | undefined>() ?? {};
    } catch {
      return {};
    }
  }

  /** To be passed on as it is. */
  asAnswer(): Answer {
    const headers: Record<string, string> = {};
    for (const name of KEPT) {
      const value = this.headers[name];
      if (value !== undefined && (name !== 'content-type' || this.text !== '')) headers[SHOWN[name]] = value;
    }
    if (this.status === 503 || this.status === 429) headers[SHOWN['retry-after']] ??= '1';
    return { status: this.status, headers, ...(this.text === '' ? {} : { text: this.text }) };
  }
}

const SHOWN: Readonly<Record<(typeof KEPT)[number], string>> = {
  'content-type': 'Content-Type',
  etag: 'ETag',
  'retry-after': 'Retry-After',
  'idempotency-replayed': 'Idempotency-Replayed',
  location: 'Location',
  allow: 'Allow',
};

interface ProblemJson {
  code: string;
  detail: string;
  errors: ErrorLocation[];
  retryAfterMs: number;
  retryable: boolean;
}

/** True for a refusal that says: nothing was done here, somebody else may do it. */
export const refusedBeforeWriting = (answer: PeerAnswer): boolean => answer.status === STATUS.SERVICE_NOT_AVAILABLE;
