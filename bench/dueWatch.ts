/** A consumer that watches scheduled messages come, and notes how late each is: as it was stored, and as the consumer saw it. */
import type { Broker } from './broker';
import { Consumer } from './consumer';
import { Histogram } from './histogram';
import { messageText, requestBytes } from './request';

/** Bytes of each body; it begins with the time the message is due, milliseconds since 1970. */
const BODY_BYTES = 100;
const DIGITS = 13;
const STORED = Buffer.from('"storeTimestamp":');
const MAX = 1000;
const WAIT_MS = 1000;

/** The body of a message that is due then. */
export const bodyOf = (due: number): string => messageText(BODY_BYTES, String(due));

/** A send of messages that are due at these times. */
export function scheduleRequest(topic: string, dues: readonly number[]): Buffer {
  const messages = dues.map((deliverAt) => ({ body: bodyOf(deliverAt), deliverAt }));
  return requestBytes('POST', `/v1/topics/${topic}/messages`, JSON.stringify({ messages }));
}

/** Milliseconds between due and there. */
export class Lateness {
  readonly #histogram = new Histogram();
  max = 0;

  record(ms: number): void {
    if (ms < 0) throw new Error(`a message came ${-ms} ms before its time`);
    this.#histogram.record(ms);
    this.max = Math.max(this.max, ms);
  }

  get count(): number {
    return this.#histogram.count;
  }

  percentile(share: number): number {
    return Math.round(this.#histogram.percentile(share));
  }
}

/** Of the messages that are due in one stretch of time. */
export class Stretch {
  readonly stored = new Lateness();
  readonly seen = new Lateness();
  /** Milliseconds since 1970; the end is exclusive. */
  readonly from: number;
  readonly to: number;

  constructor(from: number, to: number) {
    this.from = from;
    this.to = to;
  }
}

export class DueWatch {
  readonly #consumer: Consumer;
  readonly #stretches: readonly Stretch[];

  constructor(broker: Broker, topic: string, stretches: readonly Stretch[]) {
    this.#stretches = stretches;
    const names = { topic, group: 'watchers', id: 'watcher' };
    const onMessage = (answer: Buffer, bodyAt: number) => this.#note(answer, bodyAt);
    const sizes = { max: MAX, waitMs: WAIT_MS, bodyBytes: BODY_BYTES };
    this.#consumer = new Consumer({ port: broker.port, ...names, ...sizes, autoCommit: true, onMessage });
  }

  join(): Promise<void> {
    return this.#consumer.join();
  }

  /** Until so many have come; throws when they are not there by then, milliseconds since 1970. */
  async see(messages: number, by: number): Promise<void> {
    let seen = 0;
    while (seen < messages) {
      seen += (await this.#consumer.poll()).messages;
      if (Date.now() > by) throw new Error(`${messages} messages were due and ${seen} came`);
    }
    if (seen > messages) throw new Error(`${messages} messages were due and ${seen} came`);
  }

  /** Commits what was seen. */
  async close(): Promise<void> {
    await this.#consumer.poll();
    this.#consumer.close();
  }

  #note(answer: Buffer, bodyAt: number): void {
    const now = Date.now();
    const due = numberAt(answer, bodyAt);
    const stored = numberAt(answer, answer.indexOf(STORED, bodyAt + BODY_BYTES) + STORED.length);
    const stretch = this.#stretches.find(({ from, to }) => due >= from && due < to);
    if (!stretch) throw new Error(`nothing is due at ${due}`);
    stretch.stored.record(stored - due);
    stretch.seen.record(now - due);
  }
}

const numberAt = (bytes: Buffer, at: number): number => Number(bytes.toString('latin1', at, at + DIGITS));
