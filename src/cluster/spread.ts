/**
 * Tells other brokers what this one has decided about something that they share. It was decided when this begins: a
 * broker that cannot be told learns it by asking (reconciler.ts), and the answer to whoever asked for the change names it.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import type { Definition } from '../broker/definition';
import type { Holding } from '../broker/holdings';
import type { Definitions } from '../broker/definitions';
import type { DefinitionPeers } from './definitionPeers';
import { Patience } from './patience';

/** How it went at one broker. */
export interface Told {
  readonly broker: string;
  /** Why it does not have it yet, or will not take it. */
  readonly error?: GantryError;
}

/** Milliseconds that a broker gets beyond a plain answer: it writes, and tells its NameServers. One that hangs is named, and learns it later. */
const TELL_MS = 3000;
/** The same for what was told before, so that nobody waits for it again. */
export const REMIND_MS = 0;
/** The same for what a home knows of a group: a client waits for it, and another broker may stand in. */
const LEARN_MS = 1000;

export interface SpreadParts {
  readonly clock: Clock;
  readonly peers: DefinitionPeers;
  /** Asked for when needed: a broker that starts has none yet. */
  readonly definitions: () => Definitions;
}

export class Spread {
  readonly #parts: SpreadParts;
  readonly #patience: Patience;
  readonly #stopped = new AbortController();

  constructor(parts: SpreadParts) {
    this.#parts = parts;
    this.#patience = new Patience(parts.clock);
  }

  /** Tells all of them at once; one entry for each, in their order. Never rejects because of a broker. */
  tell(brokers: readonly string[], definitions: readonly Definition[], waitMs = TELL_MS): Promise<Told[]> {
    return Promise.all(brokers.map((broker) => this.#tell(broker, definitions, waitMs)));
  }

  /** Learns what a broker knows of a group. Rejects with a GantryError when it cannot be asked. */
  async learnGroup(group: string, broker: string): Promise<void> {
    const { peers, definitions } = this.#parts;
    const answer = await this.#within(broker, (signal) => peers.list(broker, { group }, signal), LEARN_MS);
    for (const definition of answer.definitions) await definitions().install(definition);
  }

  /**
   * Messages that other brokers hold of a topic in queues from number `fromQueue` on. A broker that does not know the topic
   * holds none. Rejects with SERVICE_NOT_AVAILABLE when one of them cannot be asked.
   */
  async holdings(brokers: readonly string[], topic: string, fromQueue: number): Promise<Holding[]> {
    const lists = await Promise.all(brokers.map((broker) => this.#holdingsAt(broker, topic, fromQueue)));
    return lists.flat();
  }

  /**
   * Has other brokers give up their queues of a topic. Rejects with IN_USE while one holds messages, and with
   * SERVICE_NOT_AVAILABLE when one cannot be asked; with `force` that one is passed by, and learns it later.
   */
  async leave(brokers: readonly string[], topic: string, force: boolean): Promise<void> {
    for (const broker of brokers) {
      try {
        await this.#within(broker, (signal) => this.#parts.peers.leave(broker, topic, force, signal));
      } catch (error) {
        if (!(error instanceof GantryError)) throw error;
        if (error.code === 'IN_USE') throw error;
        if (error.code !== 'TOPIC_NOT_FOUND' && !force) throw cannotTell(broker, topic);
      }
    }
  }

  async #holdingsAt(broker: string, topic: string, fromQueue: number): Promise<readonly Holding[]> {
    try {
      return await this.#within(broker, (signal) => this.#parts.peers.holdings(broker, topic, fromQueue, signal));
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      if (error.code === 'TOPIC_NOT_FOUND') return [];
      throw cannotTell(broker, topic);
    }
  }

  /** Calls under way end. */
  stop(): void {
    this.#stopped.abort(new GantryError('SERVICE_NOT_AVAILABLE', 'this broker is stopping', { retryAfterMs: 1000 }));
  }

  async #tell(broker: string, definitions: readonly Definition[], waitMs: number): Promise<Told> {
    try {
      const install = (signal: AbortSignal) => this.#parts.peers.install(broker, definitions, signal);
      const refusals = await this.#within(broker, install, waitMs);
      const error = refusals.find((refusal) => refusal !== undefined);
      return { broker, ...(error ? { error } : {}) };
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      return { broker, error };
    }
  }

  #within<T>(broker: string, call: (signal: AbortSignal) => Promise<T>, waitMs = TELL_MS): Promise<T> {
    const waits = { waitMs, signal: this.#stopped.signal, overdue: () => silent(broker) };
    return this.#patience.glance(broker, waits, call);
  }
}

const cannotTell = (broker: string, topic: string): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `broker ${broker} is away and may have unread messages of topic ${topic}: nothing was changed. Repeat this when it is back, or say force=true`,
    { retryAfterMs: 1000 },
  );

const silent = (broker: string): GantryError =>
  new GantryError('SERVICE_NOT_AVAILABLE', `broker ${broker} did not answer; it follows when it can be reached`, {
    retryAfterMs: 1000,
  });
