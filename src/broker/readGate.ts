/**
 * Few reads from disk at once, in the whole process. Cold reads starve the writer (measured: sixteen readers with one
 * getMany each let synced batches fall to a twelfth), and more threads change nothing; so readers queue here, first come
 * first served, each with one bounded read at a time.
 */
import { GantryError } from '../base/errors';

export interface ReadGateLimits {
  /** Reads under way at once. */
  readonly atOnce: number;
  /** Reads that may wait; over it a reader is refused. */
  readonly waiting: number;
}

export class ReadGate {
  readonly #limits: ReadGateLimits;
  readonly #waiting: (() => void)[] = [];
  #head = 0;
  #running = 0;

  constructor(limits: ReadGateLimits) {
    this.#limits = limits;
  }

  async run<T>(read: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limits.atOnce) await this.#turn();
    else this.#running++;
    try {
      return await read();
    } finally {
      this.#pass();
    }
  }

  #turn(): Promise<void> {
    if (this.#waiting.length - this.#head >= this.#limits.waiting) {
      throw new GantryError('TOO_MANY_REQUESTS', 'too many reads from disk wait already: try again later', {
        retryAfterMs: 1000,
      });
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Hands the place on, or frees it. */
  #pass(): void {
    const next = this.#waiting[this.#head];
    if (next === undefined) {
      this.#running--;
      this.#waiting.length = 0;
      this.#head = 0;
      return;
    }
    this.#head++;
    if (this.#head > 1024) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    next();
  }
}
