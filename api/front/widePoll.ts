/**
 * One poll over several brokers. First all are asked for what is there; when that is too little, it waits at all of them
 * at once, and answers with the first that has something. What must hold: nothing is lost when the others are cancelled.
 * A poll moves no position by itself, so of a broker whose answer is not used the cursor stays what it was, and the next
 * poll gives the same. A broker that is away, or does not know the consumer, is left out and named.
 */
import { GantryError } from '../../src/base/errors';
import { cursorContent } from '../../src/broker/cursor';
import { isAway } from '../homes';
import type { Answer, Call } from '../operation';
import { fits, packCursors, unpackCursors } from './compositeCursor';
import { generationIn, joinGenerations } from './generations';
import { namely, outcomeOf, type Rounds } from './rounds';
import { Waiting } from './waiting';

/** What one broker answers (PollResult of the contract). */
interface Part {
  readonly messages: readonly object[];
  readonly cursor: string;
  readonly generation: string;
  readonly lag: number;
  readonly reason?: string;
  readonly dropped?: readonly object[];
  readonly revoking?: readonly object[];
  readonly moved?: readonly object[];
}

export interface WidePollParts {
  readonly call: Call<'pollMessages'>;
  /** Whose a cursor is that is one broker's own. */
  readonly home: string;
  readonly brokers: readonly string[];
  /** The first topic that the group reads. */
  readonly topic: string;
  /** Which of them begins. */
  readonly first: number;
}

/** What a broker is asked. */
interface Wish {
  readonly max: number;
  readonly waitMs: number;
}

/** One broker that was waited for. */
interface Arrival {
  readonly broker: string;
  readonly outcome: Part | GantryError;
}

/** These say nothing of the consumer's place at the other brokers. */
const NOT_THERE: readonly string[] = [
  'NOT_JOINED',
  'GROUP_NOT_FOUND',
  'TOPIC_NOT_FOUND',
  'NO_PERMISSION',
  'TOO_MANY_REQUESTS',
];

export class WidePoll {
  readonly #rounds: Rounds;
  readonly #call: Call<'pollMessages'>;
  readonly #brokers: readonly string[];
  readonly #deadline: number;
  /** Ends what still waits when the answer is there. */
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  /** Where each broker's next poll goes on. */
  readonly #cursors: Map<string, string>;
  /** Brokers whose part of the given cursor is to be committed. */
  readonly #toCommit: ReadonlySet<string>;
  /** The last answer of each broker, whether it is used or not. */
  readonly #last = new Map<string, Part>();
  readonly #failures = new Map<string, GantryError>();
  readonly #messages: object[] = [];
  readonly #dropped: object[] = [];
  readonly #moved: object[] = [];
  /** Messages of answers that are not used: they are behind this answer. */
  #unused = 0;
  /** Something was left out: there is no sense in waiting for more. */
  #full = false;
  #crowded = false;

  constructor(rounds: Rounds, { call, home, brokers, topic, first }: WidePollParts) {
    this.#rounds = rounds;
    this.#call = call;
    this.#signal = AbortSignal.any([call.signal, this.#over.signal]);
    const start = first % brokers.length;
    this.#brokers = [...brokers.slice(start), ...brokers.slice(0, start)];
    this.#deadline = rounds.front.clock.monotonic() + call.query.waitMs;
    const cursors = unpackCursors(call.query.cursor ?? '', home, 'query');
    this.#cursors = new Map([...cursors].filter(([broker]) => brokers.includes(broker)));
    // A broker that has none of the group's topics any more has taken its queues along.
    for (const [broker, cursor] of cursors)
      if (!brokers.includes(broker)) this.#dropped.push(...goneQueues(broker, cursor, topic));
    this.#toCommit = new Set(call.query.autoCommit ? this.#cursors.keys() : []);
  }

  async run(): Promise<Answer> {
    try {
      await this.#look();
      if (!this.#enough()) await this.#wait();
      return { status: 200, body: this.#answer() };
    } finally {
      this.#over.abort();
    }
  }

  /** What is there now, of all that are worth waiting for, alike from each. */
  async #look(): Promise<void> {
    const brokers = this.#rounds.patience.worthy(this.#brokers);
    const { max } = this.#call.query;
    const asked = brokers.map((broker, i) => {
      // With more brokers than messages the last ones are asked for one, too: it commits what the cursor covers.
      const share = Math.floor(max / brokers.length) + (i < max % brokers.length ? 1 : 0);
      return this.#ask(broker, { max: Math.max(share, 1), waitMs: 0 });
    });
    for (const arrival of await Promise.all(asked)) this.#arrived(arrival);
    if (this.#last.size > 0) return;
    // Those that were left alone are waited for, unless nobody would be left to tell what is wrong.
    if (this.#failures.size > 0) throw this.#refusal();
  }

  async #wait(): Promise<void> {
    const waiting = new Waiting<Arrival>(this.#rounds.front.clock, this.#left);
    const park = (broker: string) => waiting.add(broker, this.#ask(broker, { max: this.#room, waitMs: this.#left }));
    // When the time is over, nobody is waited for any longer who did not answer before.
    const lively = new Set(this.#last.keys());
    const isLively = (broker: string) => lively.has(broker);
    for (const broker of this.#brokers) if (isLively(broker) || !this.#failures.has(broker)) park(broker);
    try {
      while (waiting.brokers.some(isLively) || (waiting.brokers.length > 0 && !waiting.over)) {
        const arrival = await waiting.next();
        if (!arrival) continue;
        const before = this.#cursors.get(arrival.broker);
        const part = this.#arrived(arrival);
        if (this.#enough()) return;
        const filtered = part?.reason === 'FILTERED' && part.cursor !== before;
        if (part && (part.messages.length > 0 || filtered)) park(arrival.broker);
      }
    } finally {
      waiting.end();
    }
  }

  /** Milliseconds that are left to wait. */
  get #left(): number {
    return Math.max(0, Math.floor(this.#deadline - this.#rounds.front.clock.monotonic()));
  }

  /** Messages that may still come. */
  get #room(): number {
    return this.#call.query.max - this.#messages.length;
  }

  async #ask(broker: string, { max, waitMs }: Wish): Promise<Arrival> {
    const { path, query } = this.#call;
    const cursor = this.#cursors.get(broker);
    const asked = {
      path,
      query: {
        ...(cursor === undefined ? {} : { cursor }),
        ...{ max, waitMs, min: 1, maxBytes: Math.max(1, Math.floor(query.maxBytes / this.#brokers.length)) },
        // What the client's cursor covers is committed once; what this poll found itself nobody has handled.
        autoCommit: query.autoCommit && !this.#last.has(broker),
      },
    };
    const waits = { signal: this.#signal, waitMs };
    const outcome = await outcomeOf(this.#rounds.ask(this.#call, broker, 'pollMessages', asked, waits));
    return { broker, outcome: outcome instanceof GantryError ? outcome : outcome.json<Part>() };
  }

  /** Answers what of it is used. Throws what ends the whole poll: a newer one, or a cursor that is none. */
  #arrived({ broker, outcome }: Arrival): Part | undefined {
    if (outcome instanceof GantryError) {
      if (!isAway(outcome) && !NOT_THERE.includes(outcome.code)) throw outcome;
      this.#failures.set(broker, outcome);
      return undefined;
    }
    this.#failures.delete(broker);
    this.#last.set(broker, outcome);
    const { messages, cursor, dropped = [], moved = [] } = outcome;
    if (!this.#hasRoomFor(broker, outcome)) {
      this.#unused += messages.length;
      return undefined;
    }
    this.#cursors.set(broker, cursor);
    this.#messages.push(...messages);
    this.#dropped.push(...dropped);
    this.#moved.push(...moved);
    return outcome;
  }

  #hasRoomFor(broker: string, { messages, cursor }: Part): boolean {
    const crowded = !fits(new Map(this.#cursors).set(broker, cursor));
    const tooMany = this.#messages.length > 0 && messages.length > this.#room;
    this.#crowded ||= crowded;
    this.#full ||= crowded || tooMany;
    return !crowded && !tooMany;
  }

  #enough(): boolean {
    const { min, max } = this.#call.query;
    const count = this.#messages.length;
    const rebalanced = [...this.#last.values()].some(({ reason }) => reason === 'REBALANCED');
    return count >= Math.min(min, max) || (count > 0 && this.#full) || rebalanced || this.#left <= 0;
  }

  /** Why nobody gave anything: what the consumer can mend, before what it cannot. */
  #refusal(): GantryError {
    const all = [...this.#failures.values()];
    const of = (code: string) => all.find((error) => error.code === code);
    const said = all.filter((error) => error.code !== 'GROUP_NOT_FOUND' && !isAway(error));
    return of('NOT_JOINED') ?? said[0] ?? all.find(isAway) ?? all[0]!;
  }

  #answer() {
    if (this.#last.size === 0) throw this.#refusal();
    const parts = [...this.#last];
    const lag = parts.reduce((sum, [, part]) => sum + part.lag, this.#unused);
    const revoking = parts.flatMap(([, part]) => part.revoking ?? []);
    const reason = this.#messages.length > 0 ? undefined : this.#reason();
    const uncommitted = [...this.#toCommit].filter((broker) => !this.#last.has(broker));
    return {
      messages: this.#messages,
      cursor: packCursors(this.#cursors),
      generation: joinGenerations(this.#generations()),
      lag,
      ...(reason === undefined ? {} : { reason }),
      ...(this.#dropped.length > 0 ? { dropped: this.#dropped } : {}),
      ...(revoking.length > 0 ? { revoking } : {}),
      ...(this.#moved.length > 0 ? { moved: this.#moved } : {}),
      ...(uncommitted.length > 0 ? { uncommitted } : {}),
      ...namely(this.#brokers.filter((broker) => !this.#last.has(broker) || this.#failures.has(broker))),
    };
  }

  /** Who did not answer now goes on being judged by what the client has of it: the epochs in its cursor. */
  #generations(): Map<string, string> {
    const silent = [...this.#cursors].filter(([broker]) => !this.#last.has(broker));
    return new Map([
      ...silent.map(([broker, cursor]) => [broker, generationIn(cursor)] as const),
      ...[...this.#last].map(([broker, { generation }]) => [broker, generation] as const),
    ]);
  }

  #reason(): string {
    const reasons = new Set([...this.#last.values()].map(({ reason }) => reason));
    return this.#crowded ? 'UNCOMMITTED' : (REASONS.find((reason) => reasons.has(reason)) ?? 'CAUGHT_UP');
  }
}

/** The first one that a broker gives is that of all: NOT_ASSIGNED and SHUTTING_DOWN are so only if all say so. */
const REASONS = ['REBALANCED', 'UNCOMMITTED', 'FILTERED', 'CAUGHT_UP', 'NOT_ASSIGNED', 'SHUTTING_DOWN'];

/** The queues that a broker's part of a cursor stands for, as far as it tells their topic. */
const goneQueues = (broker: string, cursor: string, topic: string): object[] =>
  (cursorContent(cursor) ?? []).flatMap(({ ofFirstTopic, queueId }) =>
    ofFirstTopic ? [{ topic, broker, queueId }] : [],
  );
