/**
 * One receive over several brokers. They are asked one after the other for what is there; when nobody has anything, it
 * waits at all of them, and takes nothing, until one is ready. What must hold: leases are taken only at a broker whose
 * answer is used, and what the client did not get comes back at once.
 */
import { GantryError } from '../../src/base/errors';
import { rendezvous } from '../../src/cluster/rendezvous';
import type { Answer, BodyOf, Call } from '../operation';
import { RECEIVE_DEFAULTS } from '../handlers/leases';
import { isAway } from '../homes';
import { ifUnread } from '../unread';
import { namely, outcomeOf, type Rounds } from './rounds';
import { Waiting } from './waiting';

interface Leased {
  readonly receiptHandle: string;
}

/** What one broker answers (ReceiveResult of the contract). */
interface Part {
  readonly messages: readonly Leased[];
  readonly reason?: string;
  readonly lag: { readonly ready: number; readonly inFlight: number };
  readonly moved?: readonly object[];
}

export interface WideReceiveParts {
  readonly call: Call<'receiveMessages'>;
  readonly brokers: readonly string[];
  /** Which of them begins, without an attemptId. */
  readonly first: number;
}

/** One broker that was waited for. */
interface Arrival {
  readonly broker: string;
  readonly ready: boolean | GantryError;
}

/** Who has gone ends nothing of this. */
const NEVER = new AbortController().signal;

export class WideReceive {
  readonly #rounds: Rounds;
  readonly #call: Call<'receiveMessages'>;
  readonly #wanted: NonNullable<BodyOf<'receiveMessages'>>;
  readonly #brokers: readonly string[];
  readonly #deadline: number;
  readonly #over = new AbortController();
  readonly #messages: Leased[] = [];
  readonly #moved: object[] = [];
  readonly #last = new Map<string, Part>();
  readonly #failures = new Map<string, GantryError>();

  constructor(rounds: Rounds, { call, brokers, first }: WideReceiveParts) {
    this.#rounds = rounds;
    this.#call = call;
    this.#wanted = { ...RECEIVE_DEFAULTS, ...(call.body as Partial<typeof call.body>) };
    const start = first % brokers.length;
    const { attemptId } = this.#wanted;
    // A repetition asks the same broker first.
    this.#brokers =
      attemptId === undefined ? [...brokers.slice(start), ...brokers.slice(0, start)] : rendezvous(attemptId, brokers);
    this.#deadline = rounds.front.clock.monotonic() + this.#wanted.waitMs;
  }

  async run(): Promise<Answer> {
    const [only, ...others] = this.#brokers;
    if (others.length === 0) return this.#fromOne(only!);
    await this.#look();
    if (this.#last.size === 0) throw this.#refusal();
    if (this.#messages.length === 0 && this.#left > 0) await this.#wait();
    const refused = [...this.#failures.values()].filter((error) => !isAway(error));
    // Refused everywhere while it waited: a topic that may not be read any more, or a group that is gone.
    if (this.#messages.length === 0 && refused.length === this.#brokers.length) throw this.#refusal();
    return { status: 200, body: this.#answer() };
  }

  /** It waits itself. */
  async #fromOne(broker: string): Promise<Answer> {
    const asked = { path: this.#call.path, query: {}, body: this.#wanted };
    const peer = this.#rounds.front.peer(broker, this.#call);
    const answer = await peer.call('receiveMessages', asked, this.#call.signal);
    if (answer.ok) this.#giveBackUnread(broker, () => answer.json<Part>());
    return answer.asAnswer();
  }

  /** One after the other, until there is enough: of what lies there nothing is leased beyond that. */
  async #look(): Promise<void> {
    for (const broker of this.#rounds.patience.worthy(this.#brokers)) {
      if (this.#messages.length >= Math.min(this.#wanted.min, this.#wanted.max)) return;
      await this.#receive(broker);
    }
  }

  /** Takes what is there now. Throws a refusal that would be every broker's. */
  async #receive(broker: string): Promise<void> {
    const call = this.#call;
    call.signal.throwIfAborted();
    const body = { ...this.#wanted, max: this.#wanted.max - this.#messages.length, waitMs: 0 };
    const asked = { path: call.path, query: {}, body };
    // Not cancelled when the client goes: what is on its way already would be lost to everybody until its lease ends.
    const outcome = await outcomeOf(this.#rounds.ask(call, broker, 'receiveMessages', asked, { signal: NEVER }));
    if (outcome instanceof GantryError) return this.#failed(broker, outcome);
    this.#failures.delete(broker);
    const part = outcome.json<Part>();
    this.#last.set(broker, part);
    this.#messages.push(...part.messages);
    this.#moved.push(...(part.moved ?? []));
    if (part.messages.length > 0) this.#giveBackUnread(broker, () => part);
  }

  #failed(broker: string, error: GantryError): void {
    if (!isAway(error) && !NOT_THERE.includes(error.code) && this.#messages.length === 0) throw error;
    this.#failures.set(broker, error);
  }

  /** The broker here does it by itself. With an attemptId a repetition gets them, perhaps at this moment. */
  #giveBackUnread(broker: string, part: () => Part): void {
    const { front } = this.#rounds;
    if (this.#wanted.attemptId !== undefined || front.here === broker) return;
    ifUnread(this.#call, () => {
      const receiptHandles = part().messages.map(({ receiptHandle }) => receiptHandle);
      if (receiptHandles.length === 0) return;
      const asked = { path: this.#call.path, query: {}, body: { receiptHandles } };
      const giving = front.peer(broker, this.#call).call('giveBackReceipts', asked, NEVER);
      giving.catch(() => undefined); // they come back by themselves, when their time is over
    });
  }

  /** Whoever is ready is asked; somebody else may have been faster. */
  async #wait(): Promise<void> {
    const waiting = new Waiting<Arrival>(this.#rounds.front.clock, this.#left);
    const park = (broker: string) => waiting.add(broker, this.#await(broker));
    for (const broker of this.#brokers) if (!this.#failures.has(broker)) park(broker);
    try {
      while (waiting.brokers.length > 0 && !waiting.over) {
        const arrival = await waiting.next();
        if (!arrival) return;
        const { broker, ready } = arrival;
        if (ready instanceof GantryError) this.#failed(broker, ready);
        else if (ready) await this.#receive(broker);
        if (this.#messages.length > 0) return;
        if (ready === true && !this.#failures.has(broker) && this.#left > 0) park(broker);
      }
    } finally {
      waiting.end();
      this.#over.abort();
    }
  }

  async #await(broker: string): Promise<Arrival> {
    const signal = AbortSignal.any([this.#call.signal, this.#over.signal]);
    const waitMs = this.#left;
    const asked = { path: this.#call.path, query: { waitMs } };
    const outcome = await outcomeOf(this.#rounds.ask(this.#call, broker, 'awaitMessages', asked, { signal, waitMs }));
    return { broker, ready: outcome instanceof GantryError ? outcome : outcome.json<{ ready: boolean }>().ready };
  }

  get #left(): number {
    return Math.max(0, Math.floor(this.#deadline - this.#rounds.front.clock.monotonic()));
  }

  #refusal(): GantryError {
    const all = [...this.#failures.values()];
    return all.find((error) => !isAway(error) && !NOT_THERE.includes(error.code)) ?? all.find(isAway) ?? all[0]!;
  }

  #answer() {
    const parts = [...this.#last.values()];
    const sum = (field: keyof Part['lag']) => parts.reduce((total, { lag }) => total + lag[field], 0);
    const reasons = new Set(parts.map(({ reason }) => reason));
    const reason = REASONS.find((one) => reasons.has(one)) ?? 'CAUGHT_UP';
    return {
      messages: this.#messages,
      lag: { ready: sum('ready'), inFlight: sum('inFlight') },
      ...(this.#messages.length > 0 ? {} : { reason }),
      ...(this.#moved.length > 0 ? { moved: this.#moved } : {}),
      ...namely(this.#brokers.filter((broker) => this.#failures.has(broker))),
    };
  }
}

/** These say nothing of the other brokers. */
const NOT_THERE: readonly string[] = ['GROUP_NOT_FOUND', 'TOPIC_NOT_FOUND', 'NO_PERMISSION', 'TOO_MANY_REQUESTS'];

/** The first one that a broker gives is that of all, in the order in which a broker itself chooses. */
const REASONS = ['BLOCKED', 'FILTERED', 'IN_FLIGHT', 'CAUGHT_UP', 'SHUTTING_DOWN'];
