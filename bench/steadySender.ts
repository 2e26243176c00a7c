/** Sends at a steady rate, whatever the answers take; every message carries its number, and when it went is known. */
import { Connection } from './connection';
import { MESSAGE_BYTES, messageText, requestBytes } from './request';

/** Digits of the number at the beginning of each body. */
const DIGITS = 8;
/** More than can be under way at once: at 1,000 messages/s for answers that take up to 64 ms. */
const CONNECTIONS = 64;

/** How the body of the message with this number begins. */
export const markOf = (number: number): string => String(number).padStart(DIGITS, '0');

/** The number of the message whose body begins there. */
export function markAt(bytes: Buffer, bodyAt: number): number {
  return Number(bytes.toString('latin1', bodyAt, bodyAt + DIGITS));
}

interface Lane {
  readonly connection: Connection;
  /** Bytes of this lane's requests; the number inside is changed while no request is under way. */
  readonly request: Buffer;
}

export class SteadySender {
  readonly #perSecond: number;
  readonly #numberAt: number;
  readonly #idle: Lane[];
  readonly #sentAt: number[] = [];
  #answered = 0;
  #failure: Error | undefined;

  constructor(port: number, topic: string, perSecond: number) {
    this.#perSecond = perSecond;
    const body = messageText(MESSAGE_BYTES, markOf(0));
    const json = JSON.stringify({ messages: [{ body }] });
    const template = requestBytes('POST', `/v1/topics/${topic}/messages`, json);
    this.#numberAt = template.indexOf(body);
    this.#idle = Array.from({ length: CONNECTIONS }, () => ({
      connection: new Connection(port),
      request: Buffer.from(template),
    }));
  }

  /** When message `number` was handed to its socket, in milliseconds of performance.now(). */
  sentAt(number: number): number {
    return this.#sentAt[number]!;
  }

  /** Answers how many were sent, once all are answered. */
  async run(ms: number): Promise<number> {
    const lanes = [...this.#idle];
    const began = performance.now();
    const total = Math.floor((ms / 1000) * this.#perSecond);
    while (this.#answered < total && !this.#failure) {
      const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * this.#perSecond));
      while (this.#sentAt.length < due && this.#idle.length > 0) this.#send(this.#idle.pop()!);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    for (const { connection } of lanes) connection.close();
    if (this.#failure) throw this.#failure;
    return total;
  }

  #send(lane: Lane): void {
    const number = this.#sentAt.length;
    lane.request.write(markOf(number), this.#numberAt, 'latin1');
    this.#sentAt.push(performance.now());
    lane.connection.send(lane.request, {
      answered: (status, body) => {
        if (status !== 200) this.#failure ??= new Error(`a send was answered ${status}: ${body.toString()}`);
        this.#answered++;
        this.#idle.push(lane);
      },
      failed: (error) => (this.#failure ??= error),
    });
  }
}
