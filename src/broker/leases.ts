/**
 * The lease style: any consumer takes any message, has it to himself for a while, and acknowledges each by itself. What
 * is not acknowledged in time is handed out again. What must always hold: a message is out under at most one lease, and
 * a receive whose answer was lost costs no attempt.
 *
 * A receive chooses and filters first, with a reservation in memory (choice.ts), then one command records what it takes.
 */
import { createHash } from 'node:crypto';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../base/errors';
import { givesNothing } from './brokerPermission';
import { Chooser, type Choice, type Chosen } from './choice';
import { inCommands, type Settlement, type SettleAction } from './command';
import { readableQueues } from './consumers';
import { checkReadable, groupNamed, type Core } from './core';
import type { FilterSpec } from './filter';
import { retryTopicOf, retryDelay } from './group';
import { FilterPasses } from './filterPasses';
import { checkSubscription } from './groups';
import { LastDeliveries } from './lastDeliveries';
import type { Desk, LeaseDesks } from './leaseDesks';
import { deliveries } from './leaseQueue';
import { messageAttempt } from './message';
import type { WakeReason } from './parking';
import type { Moved } from './poller';
import type { Queue } from './queue';
import type { Delivery } from './reader';
import { ReceiptFates } from './receiptFates';
import { ABSENT, doneAlready, late } from './receiptRules';
import { ReceiptCodec, type Receipt } from './receipts';
import { isLast, type Failure, type FailureOutcome, type Retries } from './retries';
import { queueNumber, type Attempt, type GroupState } from './state';
import { readable } from './topic';

export interface ReceiveOptions {
  readonly max: number;
  readonly min: number;
  readonly maxBytes: number;
  readonly waitMs: number;
  readonly invisibleMs: number;
  readonly topic?: string | undefined;
  readonly filter?: FilterSpec | undefined;
  readonly attemptId?: string | undefined;
  readonly signal: () => AbortSignal;
}

/** How much is looked for, and for how long. */
type Search = Pick<ReceiveOptions, 'max' | 'min' | 'maxBytes' | 'waitMs' | 'signal'>;

/** What is done with what was found. */
interface Purpose<T> {
  /** The choice is submitted or released; undefined: nothing of it could be had after all. */
  serve(choice: Choice): Promise<T | undefined>;
  nothing(reason: ReceiveReason): T;
  /** Told of what was trimmed; without it that is left for the next one who asks. */
  moved?(moved: Moved): void;
}

export type LeasedDelivery = Delivery & {
  readonly receiptHandle: string;
  readonly attempt: number;
  /** Milliseconds since 1970. */
  readonly invisibleUntil: number;
};

/** BLOCKED: what is there waits for earlier messages of its messageGroup. IN_FLIGHT: others have all that is there. */
export type ReceiveReason = 'CAUGHT_UP' | 'FILTERED' | 'BLOCKED' | 'IN_FLIGHT' | 'SHUTTING_DOWN';

export interface ReceiveAnswer {
  readonly messages: LeasedDelivery[];
  readonly reason: ReceiveReason | undefined;
  readonly lag: { readonly ready: number; readonly inFlight: number };
  /** Queues of which messages were trimmed before the group had them; told once. */
  readonly moved: readonly Moved[];
  /** Nobody got this answer: the messages come back at once, and the attempt does not count. */
  giveBack(): void;
}

export interface ReceiptResult {
  readonly receiptHandle: string;
  readonly error?: GantryError;
}

export interface NackResult extends ReceiptResult {
  readonly attempt?: number;
  readonly outcome?: FailureOutcome | 'WAITING';
  readonly dueTimestamp?: number;
}

/** A message that failed. */
export interface Nack {
  readonly receiptHandle: string;
  readonly delayMs?: number | undefined;
  readonly reason?: string | undefined;
  /** False: it was put off, and this delivery does not count. */
  readonly countAttempt?: boolean | undefined;
}

/** A message that is to stay out, or away, for another time. */
export interface Extension {
  readonly receiptHandle: string;
  readonly invisibleMs: number;
  /** Whether the delivery counts if nothing more is heard of it; by default when the lease gets no shorter. */
  readonly countAttempt?: boolean | undefined;
}

/** The same, found: its handle is what a repetition is recognised by. */
type Keyed = Failure & { readonly key: string };
/** And where it stands in the request. */
type FailedLease = Keyed & { readonly at: number; readonly receipt: Receipt };

export interface ExtendResult extends ReceiptResult {
  readonly invisibleUntil?: number;
}

/** A message that is out, by where it lies and the lease it is out under. */
interface Place {
  readonly desk: Desk;
  readonly offset: number;
  readonly lease: number;
}

/** Stands for the answer to an attempt, when nobody got it. */
const GIVEN_BACK = 0;

export class Leases {
  readonly #core: Core;
  readonly #desks: LeaseDesks;
  readonly #retries: Retries;
  readonly #fates: ReceiptFates;
  readonly #last: LastDeliveries;
  readonly #chooser: Chooser;
  readonly #passes: FilterPasses;
  readonly #receipts: ReceiptCodec;
  /** Receives with an attemptId that are under way, by group and attempt. */
  readonly #attempts = new Map<string, Promise<unknown>>();
  /** Of each attempt: which answer told of it last, or none when that was given back. */
  readonly #told = new WeakMap<Attempt, number>();
  #answers = 0;
  #rotation = 0;

  constructor(core: Core, parts: { desks: LeaseDesks; retries: Retries; tables: Tables; secret: Buffer }) {
    const { desks, retries, tables, secret } = parts;
    this.#core = core;
    this.#desks = desks;
    this.#retries = retries;
    this.#fates = new ReceiptFates(core, { tables, retries });
    this.#last = new LastDeliveries(core, { desks, retries });
    this.#chooser = new Chooser(core);
    this.#passes = new FilterPasses(core.clock);
    this.#receipts = new ReceiptCodec(secret, core.brokerName);
  }

  async stop(): Promise<void> {
    await this.#last.stop();
  }

  async receive(groupName: string, options: ReceiveOptions): Promise<ReceiveAnswer> {
    const group = groupNamed(this.#core.state, groupName);
    this.#checkStyle(group);
    if (options.topic !== undefined || options.filter) {
      const topic = options.topic ?? group.record.topicName;
      const subscription = group.record.subscriptions.find(({ topicName }) => topicName === topic);
      checkSubscription(group.record, subscription, { topic, filter: options.filter });
    }
    if (options.attemptId === undefined) return this.#receive(group, options, undefined);
    return this.#receiveOnce(group, options, options.attemptId);
  }

  #checkStyle(group: GroupState): void {
    const { name, mode } = group.record;
    if (mode === 'BROADCASTING')
      throw new GantryError(
        'STYLE_CONFLICT',
        `group ${name} is broadcasting: each consumer joins and polls for itself`,
      );
    if (this.#core.consumers.members(group).length === 0) return;
    throw new GantryError(
      'STYLE_CONFLICT',
      `consumers have joined group ${name} and own its queues: poll as one of them, let them leave, or use another group`,
    );
  }

  /** The same attempt gets the same messages, as long as they are out under it. */
  async #receiveOnce(group: GroupState, options: ReceiveOptions, attemptId: string): Promise<ReceiveAnswer> {
    const attempt = createHash('sha256').update(attemptId).digest().subarray(0, 16).toString('base64');
    const name = `${group.record.no} ${attempt}`;
    while (this.#attempts.has(name)) await this.#attempts.get(name);
    const work = this.#again(group, attempt).then((again) => again ?? this.#receive(group, options, attempt));
    const settled = work.then(
      () => undefined,
      () => undefined,
    );
    this.#attempts.set(name, settled);
    try {
      return await work;
    } finally {
      this.#attempts.delete(name);
    }
  }

  async #again(group: GroupState, name: string): Promise<ReceiveAnswer | undefined> {
    const attempt = group.attempts.get(name);
    if (!attempt) return undefined;
    const found: { desk: Desk; message: Delivery }[] = [];
    for (const [topic, queueId, offset] of attempt.items) {
      const queue = this.#core.state.topics.get(topic)?.queues[queueId];
      const desk = queue && this.#desks.of(group, queue);
      if (!desk || this.#desks.left(desk, offset, attempt.lease) === undefined) continue;
      const message = await this.#core.reader.one(desk.queue, offset);
      if (message) found.push({ desk, message });
    }
    const messages = found.flatMap(({ desk, message }) => this.#stillLent(group, desk, message, attempt.lease));
    if (messages.length === 0 || this.#told.get(attempt) === GIVEN_BACK) return undefined;
    return this.#answer(group, messages, {}, attempt);
  }

  /** As it is now: while it was read its lease may have ended. */
  #stillLent(group: GroupState, desk: Desk, message: Delivery, lease: number): LeasedDelivery[] {
    const entry = desk.entry(message.queueOffset);
    const left = this.#desks.left(desk, message.queueOffset, lease);
    if (!entry || left === undefined) return [];
    const attempt = messageAttempt(message.record) + deliveries(entry) - 1;
    return [
      this.#lent(group, desk, { ...message, attempt }, { lease, until: Math.round(this.#core.clock.now() + left) }),
    ];
  }

  async #receive(group: GroupState, options: ReceiveOptions, attempt: string | undefined): Promise<ReceiveAnswer> {
    const moved = new Map<Queue, Moved>();
    return this.#search(group, options, {
      serve: async (choice) => {
        const taking = this.#take(group, choice, options.invisibleMs, attempt);
        this.#passOn(group); // before it is decided: others need not wait for that
        const messages = await taking;
        const named = attempt === undefined ? undefined : group.attempts.get(attempt);
        return messages.length > 0 ? this.#answer(group, messages, { moved }, named) : undefined;
      },
      nothing: (reason) => this.#answer(group, [], { reason, moved }),
      moved: (trimmed) => void moved.set(trimmed.queue, trimmed),
    });
  }

  /**
   * Waits until something could be handed out here, at most `waitMs`, and takes nothing: for whoever waits on several
   * brokers and will receive from one. What it saw somebody else may take first.
   */
  async ready(groupName: string, wait: Pick<ReceiveOptions, 'waitMs' | 'signal'>): Promise<boolean> {
    const group = groupNamed(this.#core.state, groupName);
    this.#checkStyle(group);
    return this.#search<boolean>(
      group,
      { max: 1, min: 1, maxBytes: 1, ...wait },
      {
        serve: (choice) => {
          choice.release();
          return Promise.resolve(true);
        },
        nothing: () => false,
      },
    );
  }

  async #search<T>(group: GroupState, options: Search, purpose: Purpose<T>): Promise<T> {
    try {
      return await this.#untilServed(group, options, purpose);
    } finally {
      this.#passOn(group);
    }
  }

  /** Whoever was woken may have left something, or was woken for nothing: that must not be the end of it. */
  #passOn(group: GroupState): void {
    this.#desks.passOn(group, this.#queues(group));
  }

  async #untilServed<T>(group: GroupState, options: Search, purpose: Purpose<T>): Promise<T> {
    const { clock } = this.#core;
    const deadline = clock.monotonic() + options.waitMs;
    const line = this.#desks.line(group);
    let over: WakeReason | undefined;
    let round: Choice[] = [];
    let looked = line.news;
    // Whoever chooses at the same moment may leave something. His queues are looked at one by one, when he is done, and
    // nothing else is held meanwhile: two that find nothing would wait for each other for ever.
    const busy: Desk[] = [];
    let patient = false;
    for (;;) {
      const alone = busy.shift();
      while (alone?.busy) await alone.busy;
      if (!alone) {
        round = [];
        looked = line.news;
      }
      const choice = await this.#choose(group, options, alone ? [alone] : this.#deskList(group, patient), patient);
      round.push(choice);
      for (const trimmed of choice.moved.values()) purpose.moved?.(trimmed);
      const left = deadline - clock.monotonic();
      const enough = choice.messages.length >= options.min || choice.full || choice.more;
      if (choice.exhausted.length > 0) {
        choice.release();
        await this.#last.bury(group, choice.exhausted);
      } else if (choice.messages.length > 0 && (enough || left <= 0 || over !== undefined)) {
        const served = await purpose.serve(choice);
        if (served !== undefined) return served;
      } else {
        const { cleared, dueMs } = await this.#pass(group, choice, left <= 0, purpose.moved !== undefined);
        if (!alone) busy.push(...choice.busy);
        if (busy.length > 0 && over === undefined) continue;
        if (left <= 0 || over !== undefined) return purpose.nothing(emptyReason(round[0]!, over));
        if (cleared || line.news !== looked || round.some((one) => one.more || one.missed())) continue;
        const seen = round.reduce((sum, { messages }) => sum + messages.length, 0);
        patient = seen >= options.min; // enough, but never in one hand
        if (patient) continue;
        if (seen > 0) this.#passOn(group); // too few for him, not for everybody
        over = await this.#wait(group, { ms: Math.min(left, dueMs), looked, signal: options.signal() });
        if (over === 'GONE') return purpose.nothing(emptyReason(round[0]!, over));
      }
    }
  }

  async #choose(group: GroupState, options: Search, desks: readonly Desk[], patient: boolean): Promise<Choice> {
    this.#checkStill(group);
    const choice = await this.#chooser.choose(desks, options, patient);
    try {
      this.#checkStill(group); // consumers may have joined while it was read
      return choice;
    } catch (error) {
      choice.release();
      throw error;
    }
  }

  #checkStill(group: GroupState): void {
    const { state } = this.#core;
    if (state.groups.get(group.record.no) === group) {
      this.#checkStyle(group);
      checkReadable(this.#core, group);
      if (!readable(state.permission.permission)) throw givesNothing(this.#core);
      return;
    }
    throw new GantryError('GROUP_NOT_FOUND', `group ${group.record.name} was deleted`);
  }

  /** Answers why nothing is to be waited for any more, if so. */
  async #wait(
    group: GroupState,
    { ms, looked, signal }: { ms: number; looked: number; signal: AbortSignal },
  ): Promise<WakeReason | undefined> {
    const queues = this.#queues(group);
    const reason = await this.#core.lot.wait({
      queues: [],
      group: group.record.name,
      ms,
      signal,
      onParked: (parking) => this.#desks.line(group).join(parking, queues, looked),
    });
    if (signal.aborted) return 'GONE'; // whatever woke it: nobody is there to take anything
    return reason === 'STOPPED' ? reason : undefined;
  }

  #queues(group: GroupState): Queue[] {
    const { state } = this.#core;
    const queues = group.record.subscriptions.flatMap(({ topic }) => readableQueues(state, topic));
    return [...queues, ...(state.topicsByName.get(retryTopicOf(group.record.name))?.queues ?? [])];
  }

  /** Beginning with another one each time; for the patient always in the same order. */
  #deskList(group: GroupState, patient: boolean): Desk[] {
    const desks = this.#queues(group).map((queue) => this.#desks.of(group, queue));
    if (patient) return desks.sort((a, b) => a.queue.topic - b.queue.topic || a.queue.queueId - b.queue.queueId);
    const start = desks.length === 0 ? 0 : this.#rotation++ % desks.length;
    return [...desks.slice(start), ...desks.slice(0, start)];
  }

  /** Records what was chosen. What was settled or moved meanwhile is not granted; it may be nothing. */
  async #take(group: GroupState, choice: Choice, invisibleMs: number, attempt?: string): Promise<LeasedDelivery[]> {
    const named = attempt === undefined ? {} : { attempt };
    const submitted = choice.submit((takes) =>
      this.#core.submit({ kind: 'lease', group: group.record.no, invisibleMs, takes, ...named }),
    );
    const { lease, time, granted } = await submitted.finally(() => choice.setBack && this.#desks.wake(group));
    // What was left out may have held others up.
    if (group.record.ordered && choice.takes.some(({ dropped }) => dropped.length > 0)) this.#desks.wake(group);
    const until = { lease, until: time + invisibleMs };
    const chosen = new Map(
      choice.messages.map((message) => [
        placeOf(message.queue.topic, message.queue.queueId, message.queueOffset),
        message,
      ]),
    );
    const messages: LeasedDelivery[] = [];
    const lent = new Map<Desk, number[]>();
    for (const at of granted) {
      const message = chosen.get(placeOf(at.topic, at.queueId, at.offset))!;
      const desk = this.#desks.of(group, message.queue);
      const offsets = lent.get(desk);
      if (offsets) offsets.push(at.offset);
      else lent.set(desk, [at.offset]);
      messages.push(this.#lent(group, desk, { ...message, attempt: message.attempt + at.attempt - 1 }, until));
    }
    for (const [desk, offsets] of lent) this.#desks.lend(desk, offsets, invisibleMs);
    return messages;
  }

  #lent(
    group: GroupState,
    { queue }: Desk,
    message: Chosen,
    { lease, until }: { lease: number; until: number },
  ): LeasedDelivery {
    const { record, queueOffset, attempt } = message;
    const receipt = { topic: queue.topic, queueId: queue.queueId, lease, offset: queueOffset };
    const receiptHandle = this.#receipts.encode(group.record, receipt);
    return { queue, queueOffset, record, attempt, receiptHandle, invisibleUntil: until };
  }

  #answer(
    group: GroupState,
    messages: LeasedDelivery[],
    { reason, moved }: { reason?: ReceiveReason; moved?: ReadonlyMap<Queue, Moved> },
    attempt?: Attempt,
  ): ReceiveAnswer {
    group.traffic.messagesOut += messages.length;
    for (const { record } of messages) group.traffic.bytesOut += record.length;
    const lag = this.#lag(group);
    const number = ++this.#answers;
    if (attempt) this.#told.set(attempt, number);
    let given = messages.length === 0;
    const giveBack = () => {
      if (given) return;
      given = true;
      // Told again meanwhile: whoever asked again has the messages.
      if (attempt && this.#told.get(attempt) !== number) return;
      if (attempt) this.#told.set(attempt, GIVEN_BACK);
      const handles = messages.map(({ receiptHandle }) => receiptHandle);
      void this.#return(group, handles).catch(() => undefined); // they come back by themselves when their time is over
    };
    return { messages, reason, lag, moved: [...(moved?.values() ?? [])], giveBack };
  }

  /** Ready messages are in queues that may be read; messages in flight may be in others, too. */
  #lag(group: GroupState): ReceiveAnswer['lag'] {
    const queues = new Set(this.#queues(group));
    const lag = { ready: 0, inFlight: 0 };
    for (const queue of queues) {
      const { ready, inFlight } = this.#desks.lag(group, queue);
      lag.ready += ready;
      lag.inFlight += inFlight;
    }
    for (const { topic, queueId } of group.leases.values()) {
      const queue = this.#core.state.topics.get(topic)?.queues[queueId];
      if (queue && !queues.has(queue)) lag.inFlight += this.#desks.lag(group, queue).inFlight;
    }
    return lag;
  }

  /** Leases whose holders never got them end at once, and the attempts do not count. Foreign handles are passed over. */
  async giveBack(groupName: string, handles: readonly string[]): Promise<void> {
    await this.#return(groupNamed(this.#core.state, groupName), handles);
  }

  async #return(group: GroupState, handles: readonly string[]): Promise<void> {
    const items = handles.map((handle) => this.#receipts.decode(group.record, handle));
    await this.#settle(
      group,
      known(items).map((item) => ({ ...item, action: 'RETURN' })),
    );
  }

  /**
   * Takes none of the chosen messages. Messages that the filter refused are recorded as done, at once when this is the
   * `last` look, else within `dueMs`. `cleared`: something in the way of others is gone. `tells`: so are trimmed ones.
   */
  async #pass(
    group: GroupState,
    choice: Choice,
    last: boolean,
    tells: boolean,
  ): Promise<{ cleared: boolean; dueMs: number }> {
    const trimmed = choice.moved.size > 0;
    const settled = trimmed || choice.takes.some(({ held, dropped }) => held.length + dropped.length > 0);
    const dueMs = choice.messages.length > 0 ? Infinity : this.#passes.dueMs(group, choice, last);
    if (choice.messages.length > 0 || !(settled || dueMs <= 0) || (trimmed && !tells)) {
      choice.release();
      return { cleared: false, dueMs };
    }
    this.#passes.record(group);
    await this.#take(group, choice, 0);
    return { cleared: choice.takes.some(({ dropped }) => dropped.length > 0), dueMs: Infinity };
  }

  /** One result per handle, in order. Repeating it is harmless. */
  async acknowledge(groupName: string, handles: readonly string[]): Promise<ReceiptResult[]> {
    const group = groupNamed(this.#core.state, groupName);
    const items = handles.map((handle) => this.#receipts.decode(group.record, handle));
    const errors = await this.#settle(
      group,
      known(items).map((item) => ({ ...item, action: 'ACK' })),
    );
    if (group.record.ordered) this.#desks.wake(group);
    return merge(handles, items, errors, (receiptHandle, error) => ({ receiptHandle, ...(error ? { error } : {}) }));
  }

  async extend(groupName: string, receipts: readonly Extension[]): Promise<ExtendResult[]> {
    const group = groupNamed(this.#core.state, groupName);
    const items = receipts.map(({ receiptHandle }) => this.#receipts.decode(group.record, receiptHandle));
    const settlements = items.flatMap((item, i) =>
      item instanceof GantryError ? [] : [this.#extension(group, item, receipts[i]!)],
    );
    const errors = await this.#settle(group, settlements);
    const handles = receipts.map(({ receiptHandle }) => receiptHandle);
    return merge(handles, items, errors, (receiptHandle, error, i) =>
      error
        ? { receiptHandle, error }
        : { receiptHandle, invisibleUntil: this.#untilOf(group, items[i] as Receipt, receipts[i]!.invisibleMs) },
    );
  }

  /** A client that shortens its lease gives the message back: it was put off, unless `countAttempt` says otherwise. */
  #extension(group: GroupState, item: Receipt, { invisibleMs, countAttempt }: Extension): Settlement {
    const queue = this.#core.state.topics.get(item.topic)?.queues[item.queueId];
    const left = queue && this.#desks.left(this.#desks.of(group, queue), item.offset, item.lease);
    const counts = countAttempt ?? invisibleMs >= (left ?? 0);
    return { ...item, action: 'EXTEND', ms: invisibleMs, ...(counts ? {} : { putOff: true }) };
  }

  /** When a lease that was extended just now ends: as it is recorded, since a restart goes by that. */
  #untilOf(group: GroupState, { topic, queueId, lease, offset }: Receipt, ms: number): number {
    const entry = group.leases.get(queueNumber(topic, queueId))?.entries.get(offset);
    return entry?.lease === lease && entry.until !== undefined ? entry.until : this.#core.clock.now() + ms;
  }

  async #settle(group: GroupState, items: readonly Settlement[]): Promise<readonly (GantryError | undefined)[]> {
    if (items.length === 0) return [];
    const extending = items.filter(({ action }) => action === 'EXTEND').flatMap((item) => this.#placeOf(group, item));
    // What is being given up at this moment is not extended any more, unless that fails. Between the last look and the
    // claim nothing may happen, not even an await of nothing: it would be claimed by both.
    for (let decision = leaving(extending); decision; decision = leaving(extending)) await decision;
    const extended = extending.filter(({ desk, offset, lease }) => desk.entry(offset)?.lease === lease);
    const owned = items.map((item) => (item.action === 'EXTEND' ? this.#fates.owned(group, item) : undefined));
    this.#desks.extending(group, extended, true);
    try {
      const errors = (
        await this.#decide(
          group,
          items.filter((_, i) => !owned[i]),
        )
      ).values();
      return owned.map((error) => error ?? errors.next().value);
    } finally {
      this.#desks.extending(group, extended, false);
    }
  }

  #placeOf(group: GroupState, { topic, queueId, offset, lease }: Settlement): Place[] {
    const queue = this.#core.state.topics.get(topic)?.queues[queueId];
    return queue ? [{ desk: this.#desks.of(group, queue), offset, lease }] : [];
  }

  async #decide(group: GroupState, items: readonly Settlement[]): Promise<readonly (GantryError | undefined)[]> {
    if (items.length === 0) return [];
    const results = await this.#core.submit({ kind: 'settle', group: group.record.no, items });
    items.forEach((item, i) => {
      const queue = this.#core.state.topics.get(item.topic)?.queues[item.queueId];
      if (queue && !results[i]) this.#done(group, queue, item.offset, item.action, item.ms);
    });
    if (items.some(({ action }) => action === 'RETURN')) this.#desks.wake(group);
    const errors: (GantryError | undefined)[] = [];
    for (const [i, result] of results.entries())
      errors.push(result === ABSENT ? await this.#ofDone(group, items[i]!) : result);
    return errors;
  }

  /** Acknowledging again what is acknowledged is harmless; there is no more to it. */
  async #ofDone(group: GroupState, item: Settlement): Promise<GantryError | undefined> {
    const handle = this.#receipts.encode(group.record, item);
    const wentOn = await this.#fates.ofDone(group, { receipt: item, handle });
    return wentOn ?? (item.action === 'EXTEND' ? doneAlready() : undefined);
  }

  #done(group: GroupState, queue: Queue, offset: number, action: SettleAction, ms?: number): void {
    this.#desks.settled(this.#desks.of(group, queue), offset, action, ms);
  }

  /**
   * Messages that failed: they go to the group's retries, or become dead letters. In an ordered group they stay where
   * they are, and their messageGroup waits with them.
   */
  async nack(groupName: string, receipts: readonly Nack[]): Promise<NackResult[]> {
    const group = groupNamed(this.#core.state, groupName);
    const results: NackResult[] = [];
    for await (const part of inCommands(this.#failed(group, receipts, results)))
      await this.#giveUp(group, part, results);
    if (group.record.ordered) this.#desks.wake(group);
    return results;
  }

  /** Those that are still out, one after another: not all that a request names fits into memory. The others have their results then. */
  async *#failed(group: GroupState, receipts: readonly Nack[], results: NackResult[]): AsyncIterable<FailedLease> {
    const handles = receipts.map(({ receiptHandle }) => receiptHandle);
    const answered = await this.#retries.answered(group, handles);
    for (const [at, { receiptHandle, ...wish }] of receipts.entries()) {
      const receipt = this.#receipts.decode(group.record, receiptHandle);
      const before = answered[at];
      if (receipt instanceof GantryError) results[at] = { receiptHandle, error: receipt };
      else if (before) results[at] = { receiptHandle, ...before };
      else {
        const failure = await this.#failureOf(group, receipt, receiptHandle);
        if (failure instanceof GantryError) results[at] = { receiptHandle, error: failure };
        else yield { ...failure, at, receipt, ...wish };
      }
    }
  }

  /** As many as one command takes. */
  async #giveUp(group: GroupState, part: readonly FailedLease[], results: NackResult[]): Promise<void> {
    const waiting = group.record.ordered ? await this.#holdBack(group, part) : new Map<number, NackResult>();
    const moved = part.filter(({ at }) => !waiting.has(at));
    const outcomes = await this.#retries.fail(group, moved);
    moved.forEach(({ at, key, queue, queueOffset }, i) => {
      const outcome = outcomes[i]!;
      results[at] = { receiptHandle: key, ...outcome };
      if (!outcome.error) this.#done(group, queue, queueOffset, 'ACK');
    });
    for (const [at, result] of waiting) results[at] = result;
  }

  /** The message behind a receipt, if it is still out under it. */
  async #failureOf(group: GroupState, receipt: Receipt, key: string): Promise<Keyed | GantryError> {
    const refused = await this.#fates.refusal(group, { receipt, handle: key });
    if (refused) return refused;
    const queue = this.#core.state.topics.get(receipt.topic)?.queues[receipt.queueId];
    const entry = queue && this.#desks.of(group, queue).entry(receipt.offset);
    if (!queue || !entry) return doneAlready(); // at this very moment
    const found = await this.#core.reader.one(queue, receipt.offset);
    if (!found) return late('retention or a purge has deleted it');
    return { ...found, lease: receipt.lease, attempt: messageAttempt(found.record) + deliveries(entry) - 1, key };
  }

  /** Ordered: it waits in place, unless it failed as often as it may. */
  async #holdBack(group: GroupState, failures: readonly FailedLease[]): Promise<Map<number, NackResult>> {
    const { record } = group;
    const held = failures.filter((failure) => !isLast(record, failure));
    const delays = held.map(({ delayMs, attempt }) => delayMs ?? retryDelay(record, attempt));
    const errors = await this.#settle(
      group,
      held.map(({ receipt, countAttempt = true }, i) => ({
        ...{ ...receipt, action: 'EXTEND', ms: delays[i]! },
        ...(countAttempt ? { failed: true } : { putOff: true }),
      })),
    );
    return new Map(
      held.map(({ at, attempt, countAttempt = true, receipt, key: receiptHandle }, i): [number, NackResult] => {
        const error = errors[i];
        if (error) return [at, { receiptHandle, error }];
        return [
          at,
          {
            receiptHandle,
            attempt: countAttempt ? attempt + 1 : attempt,
            outcome: 'WAITING',
            dueTimestamp: this.#untilOf(group, receipt, delays[i]!),
          },
        ];
      }),
    );
  }
}

const placeOf = (topic: number, queueId: number, offset: number): string => `${topic} ${queueId} ${offset}`;

/** The decision about one of these that is being given up, if there is any. */
function leaving(places: readonly Place[]): Promise<void> | undefined {
  for (const { desk, offset } of places) {
    const decision = desk.leaving.get(offset);
    if (decision) return decision;
  }
  return undefined;
}

const known = (items: readonly (Receipt | GantryError)[]): Receipt[] =>
  items.filter((item): item is Receipt => !(item instanceof GantryError));

/** One result per handle: those that are none of ours are refused, the others have theirs, in order. */
function merge<R>(
  handles: readonly string[],
  items: readonly (Receipt | GantryError)[],
  errors: readonly (GantryError | undefined)[],
  result: (handle: string, error: GantryError | undefined, i: number) => R,
): R[] {
  let next = 0;
  return handles.map((handle, i) => {
    const item = items[i]!;
    return result(handle, item instanceof GantryError ? item : errors[next++], i);
  });
}

function emptyReason(choice: Choice, over: WakeReason | undefined): ReceiveReason {
  if (over === 'STOPPED') return 'SHUTTING_DOWN';
  if (choice.blocked) return 'BLOCKED';
  if (choice.filtered > 0) return 'FILTERED';
  return choice.inFlight > 0 ? 'IN_FLIGHT' : 'CAUGHT_UP';
}
