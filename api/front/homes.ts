/**
 * Where changes are decided. The home of a topic decides about it and about the groups that are called after it. While it
 * is away its topic's other brokers say what is so already, and create groups in its stead; everything else waits for it.
 */
import { GantryError } from '../../src/base/errors';
import { homeAway, isAway } from '../homes';
import type { Answer, Call, OperationId } from '../operation';
import { outcomeOf, type AskingNow, type Rounds } from './rounds';

export class Homes {
  readonly #rounds: Rounds;

  constructor(rounds: Rounds) {
    this.#rounds = rounds;
  }

  /** Brokers of a topic that answer now, in their order. Throws SERVICE_NOT_AVAILABLE when none does. */
  async living(call: AskingNow, topic: string, brokers: readonly string[]): Promise<readonly string[]> {
    if (brokers.length === 1 || brokers[0] === this.#rounds.front.here) return brokers;
    const { away } = await this.#rounds.everybody(call, brokers, 'getTopic', { path: { topic }, query: {} });
    if (away.size === brokers.length) throw [...away.values()][0]!;
    return brokers.filter((broker) => !away.has(broker));
  }

  /** A creation, decided by the home or by the first broker that can stand in for it. `brokers`: the home first. */
  async create<Op extends OperationId>(call: Call<Op>, topic: string, brokers: readonly string[]): Promise<Answer> {
    const [first] = await this.living(call, topic, brokers);
    return this.#rounds.front.forward(call, first!);
  }

  /** A change of `what`, decided by the home; while it is away another broker answers what would change nothing. */
  async change<Op extends OperationId>(
    call: Call<Op>,
    { topic, brokers, what }: { readonly topic: string; readonly brokers: readonly string[]; readonly what: string },
  ): Promise<Answer> {
    const { front } = this.#rounds;
    const [home] = brokers;
    const living = await this.living(call, topic, brokers);
    if (living[0] === home) return front.forward(call, home!);
    for (const broker of living) {
      const outcome = await outcomeOf(front.ask(call, broker, call.signal));
      if (!(outcome instanceof GantryError)) return outcome.asAnswer();
      if (!isAway(outcome)) throw outcome;
    }
    throw homeAway(what, home!);
  }
}
