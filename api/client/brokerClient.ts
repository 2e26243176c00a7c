/**
 * One broker over HTTP, as fronts and other brokers call it: the operations of the contract, typed by what is generated
 * from it. Nothing is repeated here. Each call says how far it came: what never left this process was surely not done.
 */
import { request } from 'undici';
import type { Clock } from '../../src/base/clock';
import { DeadlineOver, GantryError } from '../../src/base/errors';
import type { Log } from '../../src/base/log';
import { withDeadline } from '../../src/cluster/deadline';
import { authorization } from '../clusterSecret';
import type { Contract, Operation } from '../contract';
import { PeerAnswer, type PeerRequest } from '../front/peer';
import { STATUS } from '../problem';
import { RECEIVE_DEFAULTS } from '../handlers/leases';
import { pathNameOf } from '../names';
import { HOP_HEADER, type OperationId } from '../operation';
import { STOPPING_HEADER } from '../server';
import { CallRecord, secretRefused } from './callRecord';
import { newConnections, wasNeverSent } from './connections';
import { unanswered } from './unanswered';

/** Longest time for an answer, beyond what the call itself asks to wait. */
const ANSWER_MS = 10_000;

export interface BrokerClientOptions {
  readonly clock: Clock;
  readonly contract: Contract;
  readonly secret: string | undefined;
  /** Name of the caller, for the log of the called. */
  readonly from: string;
  /** Told when an answer says that its broker is about to stop. */
  readonly onStopping?: () => void;
  readonly log: Log;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly requestId?: string;
}

/** Connections to all brokers, each made when first needed. */
export class BrokerClients {
  readonly #options: BrokerClientOptions;
  readonly record: CallRecord;
  readonly #connections = newConnections();

  constructor(options: BrokerClientOptions) {
    this.#options = options;
    this.record = new CallRecord(options.log);
  }

  /** Calls an operation at `address` (host:port). See Peer.call for how it fails. */
  async call<Op extends OperationId>(
    address: string,
    operationId: Op,
    asked: PeerRequest<Op>,
    { signal, requestId }: CallOptions,
  ): Promise<PeerAnswer> {
    const { clock, contract } = this.#options;
    const operation = contract.operation(operationId);
    const ms = ANSWER_MS + waitOf(operation, asked);
    let answer: PeerAnswer;
    try {
      answer = await withDeadline(clock, ms, signal, (own) => this.#send(address, operation, asked, own, requestId));
    } catch (error) {
      // A client that goes away says nothing about the broker; somebody's patience that ends does.
      if (!signal.aborted || signal.reason instanceof DeadlineOver)
        this.record.failed(address, wasNeverSent(error) ? 'unreachable' : 'silent');
      signal.throwIfAborted();
      throw failureOf(error, operation, asked, address);
    }
    if (answer.status === STATUS.UNAUTHENTICATED) {
      this.record.failed(address, 'secret_refused');
      throw secretRefused(address);
    }
    this.record.answered(address);
    return answer;
  }

  /** Whether a broker takes the cluster secret of this process: asks it, unless it has answered before. Never rejects. */
  async accepts(address: string, signal: AbortSignal): Promise<boolean> {
    if (this.record.last(address) === 'answered') return true;
    await this.call(address, 'livez', { path: {} as never, query: {} as never }, { signal }).catch(() => undefined);
    return this.record.last(address) !== 'secret_refused';
  }

  /** Ends all connections; calls under way fail. */
  async close(): Promise<void> {
    await this.#connections.destroy();
  }

  async #send<Op extends OperationId>(
    address: string,
    operation: Operation,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
    requestId: string | undefined,
  ): Promise<PeerAnswer> {
    const { body, type } = payloadOf(asked);
    const answer = await request(`http://${address}${targetOf(operation, asked)}`, {
      method: operation.method.toUpperCase(),
      signal,
      dispatcher: this.#connections,
      headers: {
        ...authorization(this.#options.secret),
        [HOP_HEADER]: this.#options.from,
        ...(requestId === undefined ? {} : { 'x-request-id': requestId }),
        ...(type === undefined ? {} : { 'content-type': type }),
        ...given(asked.headers),
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await answer.body.text();
    if (answer.headers[STOPPING_HEADER.toLowerCase()] !== undefined) this.#options.onStopping?.();
    return new PeerAnswer(answer.statusCode, given(answer.headers), text);
  }
}

/** The body to be sent, with its type; bytes go as they came, and what they say is not written again. */
function payloadOf({ body, bytes, contentType }: Pick<PeerRequest<OperationId>, 'body' | 'bytes' | 'contentType'>) {
  if (bytes) return { body: bytes, type: contentType };
  return body === undefined ? {} : { body: JSON.stringify(body), type: 'application/json' };
}

/** Path and query of an operation with these parameters. */
export function targetOf<Op extends OperationId>(operation: Operation, { path, query }: PeerRequest<Op>): string {
  const values = path as Readonly<Record<string, unknown>>;
  const place = operation.path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(pathNameOf(String(values[name]))),
  );
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) parameters.append(name, String(one));
  }
  const text = parameters.toString();
  return text === '' ? place : `${place}?${text}`;
}

/** Milliseconds that the call itself asks to wait. A query's defaults are filled in, a body's are not. */
function waitOf({ id }: Operation, { query, body }: { readonly query: unknown; readonly body?: unknown }): number {
  const wait = (query as { waitMs?: number }).waitMs ?? (body as { waitMs?: number } | undefined)?.waitMs;
  return wait ?? (id === 'receiveMessages' ? RECEIVE_DEFAULTS.waitMs : 0);
}

const given = (headers: object | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(headers ?? {}).filter(([, value]) => typeof value === 'string'));

function failureOf(error: unknown, operation: Operation, { headers }: { headers?: unknown }, address: string) {
  if (wasNeverSent(error))
    return new GantryError(
      'SERVICE_NOT_AVAILABLE',
      `the broker at ${address} cannot be reached; nothing was done there: see to it that it runs, and call again`,
      { retryAfterMs: 1000 },
    );
  return unanswered({ operation, keyed: isKeyed(headers), broker: `the broker at ${address}` });
}

export const isKeyed = (headers: unknown): boolean =>
  (headers as Record<string, string> | undefined)?.['Idempotency-Key'] !== undefined;
