/**
 * Fetching the questions about undecided transactions from several brokers. What is fetched counts as asked, so one
 * broker is asked at a time, each call beginning at another one, and the first that has some answers. Waiting fetches
 * nothing: the call waits at all brokers, and goes to the one that has something.
 */
import { GantryError } from '../../src/base/errors';
import type { Answer, Call } from '../operation';
import type { Front } from './front';
import { partOf } from './oneByOne';
import type { PeerAnswer } from './peer';

/** Waits `waitMs` in all. Throws SERVICE_NOT_AVAILABLE when no broker can be asked. */
export async function pollChecks(front: Front, call: Call<'pollTransactionChecks'>): Promise<Answer> {
  const names = await front.liveBrokers();
  const [only] = names;
  // One broker alone can be waited for and fetched from by one call.
  if (only !== undefined && names.length === 1) return front.forward(call, only);
  const first = front.chance.below(Math.max(1, names.length));
  return new CheckPoll(front, call, [...names.slice(first), ...names.slice(0, first)]).run();
}

class CheckPoll {
  readonly #front: Front;
  readonly #call: Call<'pollTransactionChecks'>;
  readonly #end: number;
  /** Who can be asked, as far as is known; who was found away is left alone for the rest of this call. */
  readonly #brokers: Set<string>;
  #failure = new GantryError('SERVICE_NOT_AVAILABLE', 'no broker lives that could be asked', { retryAfterMs: 1000 });

  constructor(front: Front, call: Call<'pollTransactionChecks'>, brokers: readonly string[]) {
    this.#front = front;
    this.#call = call;
    this.#end = front.clock.monotonic() + call.query.waitMs;
    this.#brokers = new Set(brokers);
  }

  async run(): Promise<Answer> {
    let asked: readonly string[] = [...this.#brokers];
    for (;;) {
      for (const broker of asked) {
        const answer = await this.#fetch(broker);
        if (answer) return answer.asAnswer();
      }
      if (this.#brokers.size === 0) throw this.#failure;
      const left = Math.ceil(this.#end - this.#front.clock.monotonic());
      const ready = left > 0 ? await this.#firstReady(left) : undefined;
      // Somebody else may have fetched what was there: then the call waits on.
      if (ready !== undefined) asked = [ready];
      else if (this.#brokers.size === 0) throw this.#failure;
      else return { status: 200, body: { checks: [] } };
    }
  }

  /** What is due at that broker; undefined: nothing is, or it is away. */
  async #fetch(broker: string): Promise<PeerAnswer | undefined> {
    const { path, query, signal } = this.#call;
    const request = { path, query: { ...query, waitMs: 0 } };
    const answer = await this.#known(
      broker,
      this.#front.peer(broker, this.#call).call('pollTransactionChecks', request, signal),
    );
    return answer && answer.json<{ checks: unknown[] }>().checks.length > 0 ? answer : undefined;
  }

  /** The first broker that has something within the time. */
  async #firstReady(waitMs: number): Promise<string | undefined> {
    const own = new AbortController();
    const signal = AbortSignal.any([this.#call.signal, own.signal]);
    const { producerGroup } = this.#call.path;
    const ask = async (broker: string) => {
      const peer = this.#front.peer(broker, this.#call);
      const request = { path: { producerGroup }, query: { waitMs } };
      const answer = await this.#known(broker, peer.call('awaitTransactionChecks', request, signal));
      return { broker, ready: answer?.json<{ ready: boolean }>().ready === true };
    };
    const waiting = new Map([...this.#brokers].map((broker) => [broker, ask(broker)]));
    while (waiting.size > 0) {
      const { broker, ready } = await Promise.race(waiting.values());
      waiting.delete(broker);
      if (!ready) continue;
      own.abort(new Error('another broker has something'));
      return broker;
    }
    return undefined;
  }

  async #known(broker: string, asked: Promise<PeerAnswer>): Promise<PeerAnswer | undefined> {
    const answer = await partOf(asked);
    if (!(answer instanceof GantryError)) return answer;
    this.#failure = answer;
    this.#brokers.delete(broker);
    return undefined;
  }
}
