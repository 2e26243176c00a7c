/**
 * A consumer that polls from cursor to cursor and, unless told otherwise, commits nothing: it measures reading. Every
 * poll's answer is looked at as bytes only, a message in it is recognised by its body.
 */
import { Connection } from './connection';
import { MESSAGE_BYTES, requestBytes } from './request';
import { askOn, checked } from './served';

export interface Page {
  /** Messages in it. */
  readonly messages: number;
  /** Messages behind it. */
  readonly lag: number;
}

export interface ConsumerOptions {
  readonly port: number;
  readonly topic: string;
  readonly group: string;
  readonly id: string;
  readonly max: number;
  readonly waitMs?: number;
  /** Each poll commits what the one before it gave. */
  readonly autoCommit?: boolean;
  /** Bytes of each message's body, when they are known: they need not be searched through. */
  readonly bodyBytes?: number;
  /** Called for each message with the poll's answer and where in it the body begins; the bytes are lent. */
  readonly onMessage?: (answer: Buffer, bodyAt: number) => void;
}

const BODY = Buffer.from('"body":"');
const CURSOR = Buffer.from('"cursor":"');
const LAG = Buffer.from('"lag":');
/** What comes behind the messages in an answer is shorter than this. */
const END_BYTES = 8 * 1024;

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #connection: Connection;
  readonly #path: string;
  /** Path and query of a poll, up to its cursor. */
  readonly #query: string;
  readonly #bodyBytes: number;
  #cursor = '';

  constructor(options: ConsumerOptions) {
    this.#options = options;
    this.#connection = new Connection(options.port);
    this.#path = `/v1/groups/${options.group}/consumers/${options.id}`;
    const { max, waitMs = 0, autoCommit = false } = options;
    this.#query = `${this.#path}/messages?max=${max}&waitMs=${waitMs}&autoCommit=${autoCommit}&cursor=`;
    this.#bodyBytes = options.bodyBytes ?? MESSAGE_BYTES;
  }

  async join(): Promise<void> {
    const reply = await askOn(this.#connection, 'PUT', this.#path, { topic: this.#options.topic });
    checked(reply, 'PUT', this.#path);
  }

  poll(): Promise<Page> {
    const request = requestBytes('GET', `${this.#query}${this.#cursor}`);
    return new Promise((resolve, reject) => {
      this.#connection.send(request, {
        answered: (status, body) => {
          if (status === 200) resolve(this.#read(body));
          else reject(new Error(`a poll was answered ${status}: ${body.toString('utf8', 0, 500)}`));
        },
        failed: reject,
      });
    });
  }

  close(): void {
    this.#connection.close();
  }

  #read(answer: Buffer): Page {
    const end = answer.subarray(Math.max(0, answer.length - END_BYTES));
    const from = end.lastIndexOf(CURSOR) + CURSOR.length;
    this.#cursor = end.toString('latin1', from, end.indexOf('"', from));
    const lagAt = end.indexOf(LAG, from) + LAG.length;
    let messages = 0;
    for (let at = answer.indexOf(BODY); at >= 0; at = answer.indexOf(BODY, at + this.#bodyBytes)) {
      messages++;
      this.#options.onMessage?.(answer, at + BODY.length);
    }
    return { messages, lag: parseInt(end.toString('latin1', lagAt, lagAt + 20), 10) };
  }
}

/** Reads until nothing is left or the time is over; answers messages per second. */
export async function drain(consumer: Consumer, limitMs: number): Promise<{ messages: number; perSecond: number }> {
  const began = performance.now();
  let messages = 0;
  for (;;) {
    const page = await consumer.poll();
    messages += page.messages;
    const ms = performance.now() - began;
    if (page.lag === 0 || ms >= limitMs) return { messages, perSecond: (messages / ms) * 1000 };
  }
}
