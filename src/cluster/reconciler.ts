/**
 * Learns from the other brokers what was decided while this one could not be told. It asks each of them before this
 * broker registers for the first time, so that nobody is sent to a topic that was deleted, and then time and again. A
 * broker whose digest is what it was has nothing new; an absent one keeps nobody from starting.
 */
import { delay, type Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { Chore, type Service } from '../base/life';
import { failureFields, type Log } from '../base/log';
import type { Definitions } from '../broker/definitions';
import type { DefinitionPeers } from './definitionPeers';
import type { Fleet } from './fleet';

export const RECONCILE_MS = 30_000;
const FIRST_MS = 3000;
/** First pause after a round in which somebody could not be asked, or nobody was there to ask; doubles up to the usual one. */
const RETRY_MS = 500;

export interface ReconcilerParts {
  readonly clock: Clock;
  readonly log: Log;
  /** This broker. */
  readonly name: string;
  readonly fleet: Pick<Fleet, 'brokersNow'>;
  readonly peers: DefinitionPeers;
  readonly definitions: () => Definitions;
  /** Milliseconds between two rounds. */
  readonly everyMs?: number;
  /** Milliseconds that the first round may hold up the start. */
  readonly firstMs?: number;
}

/** What a broker's digest was when all it knew was taken over, and how far this broker reached then. */
interface Seen {
  readonly digest: string;
  readonly reach: number;
}

export class Reconciler implements Service {
  readonly #parts: ReconcilerParts;
  readonly #chore: Chore;
  readonly #seen = new Map<string, Seen>();
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;
  /** Brokers that could not be asked in the last round. */
  readonly #away = new Set<string>();
  /** Rounds in a row in which not everybody was asked, or nobody. */
  #incomplete = 0;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#chore = new Chore({
      clock: parts.clock,
      everyMs: () => this.#pauseMs(),
      runOnce: () => this.runOnce(),
      onError: (error) => parts.log.error({ err: error }, 'learning from other brokers failed'),
    });
  }

  /** Resolves when this broker knows what the others know, or has tried for long enough; it goes on trying. */
  async start(): Promise<void> {
    const enough = new AbortController();
    const late = delay(this.#parts.clock, this.#parts.firstMs ?? FIRST_MS, enough.signal).catch(() => undefined);
    await Promise.race([this.runOnce(), late]);
    enough.abort();
    await this.#chore.start();
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new Error('stopped'));
    await this.#chore.stop();
    await this.#running;
  }

  /** One round: asks every live broker. One that is under way already counts. */
  runOnce(): Promise<void> {
    this.#running ??= this.#round().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #round(): Promise<void> {
    const others = await this.#others();
    const asked = await Promise.all(others.map((broker) => this.#ask(broker)));
    // A NameServer that has just started lists nobody, or not everybody who is about to register.
    if (asked.length > 0 && asked.every((answered) => answered)) this.#incomplete = 0;
    else this.#incomplete++;
  }

  #pauseMs(): number {
    const { everyMs = RECONCILE_MS } = this.#parts;
    return this.#incomplete === 0 ? everyMs : Math.min(RETRY_MS * 2 ** (this.#incomplete - 1), everyMs);
  }

  async #others(): Promise<string[]> {
    try {
      const live = await this.#parts.fleet.brokersNow();
      return live
        .filter(({ name, address }) => name !== this.#parts.name && address !== undefined)
        .map(({ name }) => name);
    } catch (error) {
      if (error instanceof GantryError) return []; // no NameServer answers
      throw error;
    }
  }

  /** Answers whether the broker gave an answer. */
  async #ask(broker: string): Promise<boolean> {
    const { log, definitions } = this.#parts;
    const { reach } = definitions();
    const before = this.#seen.get(broker);
    try {
      const digest = await this.#learn(broker, before?.reach === reach ? before.digest : undefined);
      if (digest === undefined) this.#seen.delete(broker);
      else this.#seen.set(broker, { digest, reach });
      this.#away.delete(broker);
      return true;
    } catch (error) {
      if (this.#stopped.signal.aborted) return false;
      if (!(error instanceof GantryError)) throw error;
      if (!this.#away.has(broker))
        log.info({ broker, ...failureFields(error) }, 'a broker could not be asked what it knows');
      this.#away.add(broker);
      return false;
    }
  }

  /** Takes over what is new. Answers the broker's digest, by which it need not be asked again, or undefined if something was refused. */
  async #learn(broker: string, known: string | undefined): Promise<string | undefined> {
    const { peers, definitions, log } = this.#parts;
    const { signal } = this.#stopped;
    let first: string | undefined;
    let refused = false;
    for (let cursor: string | undefined; ;) {
      const question = {
        ...(cursor === undefined ? {} : { cursor }),
        ...(known === undefined ? {} : { digest: known }),
      };
      const page = await peers.list(broker, question, signal);
      // What changes while it is read is seen in the next round.
      first ??= page.digest;
      for (const definition of page.definitions) {
        signal.throwIfAborted();
        try {
          await definitions().install(definition);
        } catch (error) {
          if (!(error instanceof GantryError)) throw error;
          refused = true;
          log.warn({ broker, ...failureFields(error) }, 'what another broker has decided cannot be taken over');
        }
      }
      if (page.cursor === undefined) return refused ? undefined : first;
      cursor = page.cursor;
    }
  }
}
