/**
 * A worker of the lease style in a closed loop: it receives a batch, acknowledges all of it, and receives the next one.
 * Answers are looked at as bytes only.
 */
import { Connection, type AnswerListener } from './connection';
import { requestBytes } from './request';

export interface WorkerOptions {
  readonly port: number;
  readonly group: string;
  readonly max: number;
  /** Bytes of each message's body at least: they need not be searched through. */
  readonly bodyBytes: number;
  /** So many were acknowledged; `ms` is how long they took from being asked for. Answers whether to go on. */
  readonly onDone: (messages: number, ms: number) => boolean;
}

const HANDLE = Buffer.from('"receiptHandle":"');
const QUOTE = '"'.charCodeAt(0);

/** The handles in a receive's answer. Between two of them lies a message's body. */
export function handlesIn(answer: Buffer, bodyBytes: number): string[] {
  const handles: string[] = [];
  for (let at = answer.indexOf(HANDLE, bodyBytes); at >= 0; at = answer.indexOf(HANDLE, at + bodyBytes)) {
    at += HANDLE.length;
    handles.push(answer.toString('latin1', at, answer.indexOf(QUOTE, at)));
  }
  return handles;
}

export class LeaseWorker implements AnswerListener {
  readonly #options: WorkerOptions;
  readonly #connection: Connection;
  readonly #receive: Buffer;
  #began = 0;
  /** Messages that are being acknowledged; 0 while it receives. */
  #held = 0;
  #resolve: () => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#connection = new Connection(options.port);
    const wanted = JSON.stringify({ max: options.max, waitMs: 0 });
    this.#receive = requestBytes('POST', `/v1/groups/${options.group}/receipts`, wanted);
  }

  /** Resolves when it is told not to go on. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#next();
    });
  }

  #next(): void {
    this.#began = performance.now();
    this.#connection.send(this.#receive, this);
  }

  /** 207 is a failure as well: some handles were refused. */
  answered(status: number, body: Buffer): void {
    const call = this.#held > 0 ? 'an acknowledgement' : 'a receive';
    if (status !== 200)
      return this.failed(new Error(`${call} was answered ${status}: ${body.toString('utf8', 0, 500)}`));
    if (this.#held === 0 && this.#acknowledge(handlesIn(body, this.#options.bodyBytes))) return;
    const done = this.#held;
    this.#held = 0;
    if (this.#options.onDone(done, performance.now() - this.#began)) this.#next();
    else this.#resolve();
  }

  #acknowledge(receiptHandles: readonly string[]): boolean {
    if (receiptHandles.length === 0) return false;
    this.#held = receiptHandles.length;
    const json = JSON.stringify({ receiptHandles });
    this.#connection.send(requestBytes('POST', `/v1/groups/${this.#options.group}/acks`, json), this);
    return true;
  }

  failed(error: Error): void {
    this.#reject(error);
  }

  close(): void {
    this.#connection.close();
  }
}
