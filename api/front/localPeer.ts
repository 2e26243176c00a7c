/** Handlers of this process, asked like a broker that is one hop away. */
import { GantryError } from '../../src/base/errors';
import type { Contract } from '../contract';
import type { Answer, Call, Handlers, OperationId, Request } from '../operation';
import { problemOf, PROBLEM_TYPE, STATUS } from '../problem';
import { PeerAnswer, type Asking, type Peer, type PeerRequest } from './peer';

/** The broker in this process. */
export interface Here {
  readonly name: string;
  readonly handlers: Handlers;
}

type AnyHandler = (call: Call<OperationId>) => Promise<Answer> | Answer;

export const handlerOf = ({ handlers }: Here, operationId: string): AnyHandler => handlers[operationId] as AnyHandler;

const NO_BYTES = Buffer.alloc(0);

export class LocalPeer implements Peer {
  readonly name: string;
  readonly #contract: Contract;
  readonly #here: Here;
  readonly #call: Asking;

  constructor(contract: Contract, here: Here, call: Asking) {
    this.name = here.name;
    this.#contract = contract;
    this.#here = here;
    this.#call = call;
  }

  reach(): Promise<void> {
    return Promise.resolve();
  }

  async call<Op extends OperationId>(
    operationId: Op,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    const request = {
      path: asked.path,
      query: asked.query,
      headers: asked.headers ?? {},
      body: asked.body,
      bodyBytes: asked.bytes ?? NO_BYTES,
    } as unknown as Request<Op>;
    const operation = this.#contract.operation(operationId);
    const call = this.#call.derive(operation, request, { signal, contentType: asked.contentType });
    try {
      const answer = await handlerOf(this.#here, operationId)(call as unknown as Call<OperationId>);
      return new PeerAnswer(answer.status, lowerCase(answer.headers), textOf(answer));
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      const problem = problemOf(error, call.requestId, call.instance);
      return new PeerAnswer(STATUS[error.code], { 'content-type': PROBLEM_TYPE }, JSON.stringify(problem));
    }
  }
}

const lowerCase = (headers: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

function textOf({ body, json, text }: Answer): string {
  if (json !== undefined) return typeof json === 'string' ? json : json();
  return text ?? (body === undefined ? '' : JSON.stringify(body));
}
