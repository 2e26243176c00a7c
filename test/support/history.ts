/**
 * What clients did to a broker and what they were told, in the order in which it happened: the evidence that
 * historyCheck.ts judges. It lives in the test's own process, so no crash of the broker can touch it.
 *
 * Events are numbered: an operation is invoked at one number and returns at a higher one, so "A was answered before B
 * was asked" is a comparison. Its outcome is `ok` (it happened), `fail` (it surely did not) or `info` (nobody knows:
 * no answer came, or 504). What never returned is `info`, too.
 */
export type Outcome = 'ok' | 'fail' | 'info';

/** A message's place and names. */
export interface Placed {
  readonly queueId: number;
  readonly queueOffset: number;
  readonly messageId: string;
  readonly offsetMessageId: string;
}

/** A message as a reader got it. */
export interface Seen extends Placed {
  readonly value: string;
  readonly tag?: string | undefined;
  readonly messageGroup?: string | undefined;
}

/** A message as a writer gave it; its value is used once, in the order of the writer: `writer-counter`. */
export interface Given {
  readonly value: string;
  readonly tag?: string | undefined;
  readonly messageGroup?: string | undefined;
}

export interface QueueContent {
  readonly queueId: number;
  readonly minOffset: number;
  readonly maxOffset: number;
  readonly messages: readonly Seen[];
}

export interface QueueOffset {
  readonly queueId: number;
  readonly nextOffset: number;
}

/** Everything that is recorded: what was asked for, and what an `ok` brought. */
export interface Vocabulary {
  /**
   * With a key the same messages may be sent again until the outcome is known. `atOnce`: none of them can be refused by
   * itself, so they are stored together or not at all.
   */
  send: {
    args: { topic: string; key?: string | undefined; atOnce: boolean; messages: readonly Given[] };
    /** By message; a string is the code it was refused with. */
    result: readonly (Placed | string)[];
  };
  /** What a group's consumer was handed. */
  poll: { args: { group: string; topic: string }; result: readonly Seen[] };
  /** Positions that a consumer committed, by hand or with its next poll. The result: those that were accepted. */
  commit: { args: { group: string; topic: string; offsets: readonly QueueOffset[] }; result: readonly QueueOffset[] };
  /** Where a group stands. `whole`: it began at the beginning and takes every message. */
  offsets: {
    args: { group: string; topic: string; whole: boolean };
    result: readonly { queueId: number; committed: number; minOffset: number; maxOffset: number }[];
  };
  /** All of a topic while nobody writes, queue by queue. */
  drain: {
    args: { topic: string };
    result: { queues: readonly QueueContent[]; tags: Readonly<Record<string, number>> };
  };
  /** A message by one of its ids; `fail`: there is none. */
  find: { args: { topic: string; id: string }; result: Seen };
  /** Something that has one value at a time (a description, whether a topic exists) is set, by one process alone. */
  change: { args: { register: string; value: string | null }; result: undefined };
  look: { args: { register: string }; result: string | null };
}

export type Kind = keyof Vocabulary;

export type Operation<K extends Kind = Kind> = {
  [J in K]: {
    readonly process: string;
    readonly kind: J;
    readonly args: Vocabulary[J]['args'];
    /** Number of the event. */
    readonly invoked: number;
    /** Milliseconds since the history began, for people. */
    readonly invokedAt: number;
    outcome: Outcome;
    /** Of an `ok`. */
    result?: Vocabulary[J]['result'];
    /** Why it is no `ok`. */
    reason?: string;
    returned?: number;
    returnedAt?: number;
  };
}[K];

/** An operation under way. It is closed once, by one of these. */
export interface Pending<K extends Kind> {
  ok(result: Vocabulary[K]['result']): void;
  fail(reason: string): void;
  info(reason: string): void;
}

export class History {
  readonly operations: Operation[] = [];
  readonly #began = performance.now();
  #events = 0;

  invoke<K extends Kind>(process: string, kind: K, args: Vocabulary[K]['args']): Pending<K> {
    const operation = {
      process,
      kind,
      args,
      invoked: this.#events++,
      invokedAt: this.#now(),
      outcome: 'info',
      reason: 'no answer came',
    } as Operation<K>;
    this.operations.push(operation as Operation);
    const close = (outcome: Outcome, rest: Partial<Operation<K>>) => {
      if (operation.returned !== undefined) throw new Error(`${process} has its answer to ${kind} already`);
      delete operation.reason;
      Object.assign(operation, { outcome, returned: this.#events++, returnedAt: this.#now(), ...rest });
    };
    return {
      ok: (result) => close('ok', { result } as Partial<Operation<K>>),
      fail: (reason) => close('fail', { reason } as Partial<Operation<K>>),
      info: (reason) => close('info', { reason } as Partial<Operation<K>>),
    };
  }

  /** Operations of one kind so far, by outcome: what a test shows to prove that it tested something. */
  count(kind: Kind, outcome: Outcome): number {
    let count = 0;
    for (const operation of this.operations) if (operation.kind === kind && operation.outcome === outcome) count++;
    return count;
  }

  #now(): number {
    return Math.round(performance.now() - this.#began);
  }
}
