/**
 * Fetching the questions about undecided transactions from several brokers. What is fetched counts as asked, so one
 * broker is asked at a time, each call beginning at another one, and the first that has some answers. Waiting fetches
 * nothing: the call waits at all brokers, and goes to the one that has something.
 */
import { GantryError } from '../../src/base/errors';
import type { Answer, Call } from '../operation';
import { partOf } from './oneByOne';
import type { PeerAnswer } from './peer';
import { namely, noBroker, type Rounds } from './rounds';
import { Waiting } from './waiting';

/** Waits `waitMs` in all. Throws SERVICE_NOT_AVAILABLE when no broker can be asked. */
export async function pollChecks(rounds: Rounds, call: Call<'pollTransactionChecks'>): Promise<Answer> {
  const { front } = rounds;
  const names = await front.liveBrokers();
  const [only] = names;
  // One broker alone can be waited for and fetched from by one call.
  if (only !== undefined && names.length === 1) return front.forward(call, only);
  const first = front.chance.below(Math.max(1, names.length));
  return new CheckPoll(rounds, call, [...names.slice(first), ...names.slice(0, first)]).run();
}

class CheckPoll {
  readonly #rounds: Rounds;
  readonly #call: Call<'pollTransactionChecks'>;
  readonly #end: number;
  /** Who can be asked, as far as is known; who was found away is left alone for the rest of this call. */
  readonly #brokers: Set<string>;
  /** Brokers that could not be asked, with the last failure. */
  readonly #away = new Set<string>();
  #failure = noBroker();
  /** A broker has transactions that are not due yet. */
  #notDue = false;

  constructor(rounds: Rounds, call: Call<'pollTransactionChecks'>, brokers: readonly string[]) {
    this.#rounds = rounds;
    this.#call = call;
    this.#end = rounds.front.clock.monotonic() + call.query.waitMs;
    this.#brokers = new Set(brokers);
  }

  async run(): Promise<Answer> {
    let asked = this.#rounds.patience.worthy([...this.#brokers]);
    for (;;) {
      for (const broker of asked) {
        const answer = await this.#fetch(broker);
        if (answer) return this.#named(answer);
      }
      if (this.#brokers.size === 0) throw this.#failure;
      const left = Math.ceil(this.#end - this.#rounds.front.clock.monotonic());
      const ready = left > 0 ? await this.#firstReady(left) : undefined;
      // Somebody else may have fetched what was there: then the call waits on.
      if (ready !== undefined) asked = [ready];
      else if (this.#brokers.size === 0) throw this.#failure;
      else return this.#nothing();
    }
  }

  #named(answer: PeerAnswer): Answer {
    if (this.#away.size === 0) return answer.asAnswer();
    return { status: 200, body: { ...answer.json<object>(), ...namely(this.#away) } };
  }

  #nothing(): Answer {
    const reason = this.#notDue ? 'NOT_DUE' : 'CAUGHT_UP';
    return { status: 200, body: { checks: [], reason, ...namely(this.#away) } };
  }

  /** What is due at that broker; undefined: nothing is, or it is away. */
  async #fetch(broker: string): Promise<PeerAnswer | undefined> {
    const { path, query, signal } = this.#call;
    const request = { path, query: { ...query, waitMs: 0 } };
    const asking = this.#rounds.ask(this.#call, broker, 'pollTransactionChecks', request, { signal });
    const answer = await this.#known(broker, asking);
    const { checks, reason } = answer?.json<{ checks: unknown[]; reason?: string }>() ?? { checks: [] };
    if (reason === 'NOT_DUE') this.#notDue = true;
    return checks.length > 0 ? answer : undefined;
  }

  /** The first broker that has something within the time. */
  async #firstReady(waitMs: number): Promise<string | undefined> {
    const own = new AbortController();
    const signal = AbortSignal.any([this.#call.signal, own.signal]);
    const { producerGroup } = this.#call.path;
    const ask = async (broker: string) => {
      const request = { path: { producerGroup }, query: { waitMs } };
      const asking = this.#rounds.ask(this.#call, broker, 'awaitTransactionChecks', request, { signal, waitMs });
      const answer = await this.#known(broker, asking);
      return { broker, ready: answer?.json<{ ready: boolean }>().ready === true };
    };
    const waiting = new Waiting<{ broker: string; ready: boolean }>(this.#rounds.front.clock, waitMs);
    for (const broker of this.#brokers) waiting.add(broker, ask(broker));
    try {
      while (waiting.brokers.length > 0 && !waiting.over) {
        const arrival = await waiting.next();
        if (arrival?.ready) return arrival.broker;
      }
      return undefined;
    } finally {
      waiting.end();
      own.abort(new Error('another broker has something, or the time is over'));
    }
  }

  async #known(broker: string, asked: Promise<PeerAnswer>): Promise<PeerAnswer | undefined> {
    const answer = await partOf(asked);
    if (!(answer instanceof GantryError)) return answer;
    this.#failure = answer;
    this.#brokers.delete(broker);
    this.#away.add(broker);
    return undefined;
  }
}
