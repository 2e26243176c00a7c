/**
 * Load in a closed loop: each connection sends its next request as soon as it has its answer. Anything but 200 and 201
 * ends the run: a refusal is cheaper than an answer, so a figure with refusals in it says nothing.
 */
import { Connection, type AnswerListener } from './connection';
import type { Histogram } from './histogram';

export interface Load {
  readonly port: number;
  readonly connections: number;
  /** The bytes of the n-th request. */
  readonly request: (n: number) => Buffer;
  /** What follows on the answer to each of them, on the same connection; both count as one. The answer is lent. */
  readonly second?: (answer: Buffer) => Buffer;
}

export interface Pace {
  readonly requests: number;
  readonly ms: number;
}

/** Runs for a time; what is answered within the first `warmMs` does not count. */
export async function runFor(
  load: Load,
  { warmMs, ms, latencies }: { warmMs: number; ms: number; latencies?: Histogram | undefined },
): Promise<Pace> {
  const begin = performance.now() + warmMs;
  const end = begin + ms;
  let requests = 0;
  await new Loop(
    load,
    () => performance.now() < end,
    (sentAt, now) => {
      if (now < begin || now > end) return;
      requests++;
      latencies?.record(now - sentAt);
    },
  ).run();
  return { requests, ms };
}

/** Sends exactly so many requests. */
export async function runTimes(load: Load, times: number): Promise<Pace> {
  const began = performance.now();
  await new Loop(
    load,
    (started) => started < times,
    () => undefined,
  ).run();
  return { requests: times, ms: performance.now() - began };
}

class Loop {
  readonly load: Load;
  readonly #more: (started: number) => boolean;
  readonly onAnswer: (sentAt: number, now: number) => void;
  #started = 0;
  #running = 0;
  #settle!: (error?: Error) => void;

  constructor(load: Load, more: (started: number) => boolean, onAnswer: (sentAt: number, now: number) => void) {
    this.load = load;
    this.#more = more;
    this.onAnswer = onAnswer;
  }

  async run(): Promise<void> {
    const workers = Array.from({ length: this.load.connections }, () => new Worker(this));
    this.#running = workers.length;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settle = (error) => (error ? reject(error) : resolve());
        for (const worker of workers) worker.next();
      });
    } finally {
      for (const worker of workers) worker.close();
    }
  }

  /** The next request, or undefined when the worker is done. */
  take(): Buffer | undefined {
    if (this.#more(this.#started)) return this.load.request(this.#started++);
    if (--this.#running === 0) this.#settle();
    return undefined;
  }

  fail(error: Error): void {
    this.#settle(error);
  }
}

class Worker implements AnswerListener {
  readonly #loop: Loop;
  readonly #connection: Connection;
  #sentAt = 0;
  #second = false;

  constructor(loop: Loop) {
    this.#loop = loop;
    this.#connection = new Connection(loop.load.port);
  }

  next(): void {
    const request = this.#loop.take();
    if (!request) return;
    this.#sentAt = performance.now();
    this.#connection.send(request, this);
  }

  answered(status: number, body: Buffer): void {
    if (status !== 200 && status !== 201)
      return this.#loop.fail(new Error(`answered ${status}: ${body.toString('utf8', 0, 500)}`));
    const { second } = this.#loop.load;
    this.#second = second !== undefined && !this.#second;
    if (second && this.#second) return this.#connection.send(second(body), this);
    this.#loop.onAnswer(this.#sentAt, performance.now());
    this.next();
  }

  failed(error: Error): void {
    this.#loop.fail(error);
  }

  close(): void {
    this.#connection.close();
  }
}
