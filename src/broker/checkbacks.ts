/**
 * Asking producers what became of their transactions (RocketMQ's check-back): first when a half message is old enough,
 * then again and again, and after the last question it is parked. Any member of the producer group may answer: whoever
 * polls gets a share of what is due, and when nobody polls the group's webhook is called. Only what was asked counts:
 * a producer that is away is not asked.
 */
import type { Clock, Timer } from '../base/clock';
import { GantryError } from '../base/errors';
import { Heap } from '../base/heap';
import { LIMITS } from '../base/limits';
import { failureFields, type Log } from '../base/log';
import type { Precondition } from './command';
import type { Core } from './core';
import type { Half, Resolution } from './halves';
import type { Parking } from './parking';
import {
  CHECK_DEFAULTS,
  producerGroupInUse,
  unknownProducerGroup,
  type CheckSettings,
  type ProducerGroup,
  type Webhook,
} from './producerGroup';
import type { ProducerGroupChange } from './producerGroupChanges';
import { preconditionRefusal } from './topicChanges';
import type { Transactions } from './transactions';

/** One question. */
export interface TransactionCheck {
  readonly transactionId: string;
  readonly half: Half;
  readonly record: Buffer;
}

/** Calls a webhook; rejects when it cannot be reached, or gives no answer that can be read. */
export interface CheckCaller {
  /** Throws WEBHOOK_REFUSED when this address may not be called. */
  check(webhook: Webhook): Promise<void>;
  ask(webhook: Webhook, check: TransactionCheck): Promise<Resolution | 'UNKNOWN'>;
}

/** Why there are no questions. NOT_DUE: there are transactions to ask about, and it is not time yet. */
export type NoChecksReason = 'CAUGHT_UP' | 'NOT_DUE' | 'SHUTTING_DOWN';

export interface ChecksAnswer {
  readonly checks: TransactionCheck[];
  /** Present exactly when there are none. */
  readonly reason?: NoChecksReason;
}

export interface PollChecksOptions {
  readonly max: number;
  readonly waitMs: number;
  readonly signal: () => AbortSignal;
}

/** Calls of webhooks under way at once: of one producer group, and in all. */
const CALLS_PER_GROUP = 8;
const CALLS = 64;
/** After failures in a row a webhook is left alone: a second, doubled each time, at most five minutes. */
const PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** Bytes of messages in one answer to a poll. */
const POLL_BYTES = LIMITS.batchBytes;
/** Half messages parked by one command. */
const PARKED_AT_ONCE = 1000;
/** Looks are at least so far apart, milliseconds: each goes over all producer groups that have something open. */
const LOOKS_APART_MS = 10;
/** Open transactions that a refusal names. */
const SHOWN = 100;
/** Longest sleep: the wall clock may be set, and questions are due by it. */
const LOOK_MS = 1000;

interface Due {
  readonly at: number;
  readonly position: number;
}

/** What is soft about one producer group. */
class Asking {
  readonly due = new Heap<Due>(({ at }) => at);
  /** Polls that wait. */
  readonly waiting = new Set<Parking>();
  calls = 0;
  failures = 0;
  /** Running time before which the webhook is not called again. */
  pausedUntil = 0;
}

export class Checkbacks {
  readonly #core: Core;
  readonly #transactions: Transactions;
  readonly #caller: CheckCaller;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #groups = new Map<string, Asking>();
  /** Those that were asked about for the last time: when they are parked. */
  readonly #last = new Heap<Due>(({ at }) => at);
  #calls = 0;
  #timer: Timer | undefined;
  /** When the timer looks, milliseconds since 1970. */
  #lookAt = Infinity;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(core: Core, parts: { transactions: Transactions; caller: CheckCaller; log: Log }) {
    this.#core = core;
    this.#transactions = parts.transactions;
    this.#caller = parts.caller;
    this.#clock = core.clock;
    this.#log = parts.log;
  }

  start(): void {
    const { halves } = this.#core.state;
    halves.changed = [...halves.open.keys()];
    this.notice();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  /** Called after each turn. */
  notice(): void {
    const { halves } = this.#core.state;
    if (halves.changed.length === 0) return;
    let next = Infinity;
    for (const position of halves.changed) {
      const half = halves.open.get(position);
      if (!half || half.parked) continue;
      const { producerGroup, checks, nextCheck } = half;
      const due = { at: nextCheck, position };
      if (checks >= this.settings(producerGroup).maxChecks) this.#last.add(due);
      else this.#of(producerGroup).due.add(due);
      next = Math.min(next, nextCheck);
    }
    halves.changed = [];
    this.#arm(next);
  }

  #of(group: string): Asking {
    let asking = this.#groups.get(group);
    if (!asking) this.#groups.set(group, (asking = new Asking()));
    return asking;
  }

  settings(group: string): CheckSettings & { readonly webhook?: Webhook } {
    return this.#core.state.halves.producerGroups.get(group) ?? CHECK_DEFAULTS;
  }

  /** The first of these that still stands. */
  #first(heap: Heap<Due>): (Due & { readonly half: Half }) | undefined {
    for (;;) {
      const due = heap.first;
      if (!due) return undefined;
      const half = this.#core.state.halves.open.get(due.position);
      if (half && !half.parked && half.nextCheck === due.at) return { ...due, half };
      heap.take(); // decided meanwhile, or asked
    }
  }

  /** Looks at this time, unless it looks before. */
  #arm(at: number): void {
    if (this.#stopped || at >= this.#lookAt) return;
    this.#timer?.cancel();
    this.#lookAt = at;
    const ms = Math.min(Math.max(LOOKS_APART_MS, at - this.#clock.now()), LOOK_MS);
    this.#timer = this.#clock.after(ms, () => this.#look());
  }

  #look(): void {
    this.#timer?.cancel();
    this.#lookAt = Infinity;
    if (this.#stopped) return;
    this.#running = this.#running
      .then(() => this.#serve())
      .catch((error: unknown) => {
        this.#log.error({ err: error }, 'asking about transactions failed');
        return this.#clock.now() + LOOK_MS;
      })
      .then((next) => this.#arm(next));
  }

  /** Does what is due; answers when the next look makes sense. */
  async #serve(): Promise<number> {
    await this.#park();
    let next = this.#first(this.#last)?.at ?? Infinity;
    for (const [group, asking] of [...this.#groups]) {
      if (this.#isDue(asking)) {
        if (asking.waiting.size > 0) this.#wakeOne(asking);
        else next = Math.min(next, this.#call(group, asking));
      } else if (asking.due.size > 0) next = Math.min(next, this.#first(asking.due)!.at);
      // How long its webhook is left alone is remembered until that answers, or its settings change.
      else if (asking.waiting.size === 0 && asking.calls === 0 && asking.failures === 0) this.#groups.delete(group);
    }
    return next;
  }

  #isDue(asking: Asking): boolean {
    return (this.#first(asking.due)?.at ?? Infinity) <= this.#clock.now();
  }

  #wakeOne(asking: Asking): void {
    if (!this.#isDue(asking)) return;
    for (const parking of asking.waiting) return parking.wake('DATA');
  }

  /** Those whose last question was not answered. */
  async #park(): Promise<void> {
    const taken = this.#takeDue(this.#last, PARKED_AT_ONCE);
    if (taken.length === 0) return;
    // More questions may be allowed since.
    const over = taken.filter(({ half }) => half.checks >= this.settings(half.producerGroup).maxChecks);
    await this.#orBack(this.#last, taken, async () => {
      await this.#core.submit({ kind: 'checkHalves', asked: [], intervalMs: 0, parked: positionsOf(over) });
    });
    return this.#park();
  }

  #takeDue(heap: Heap<Due>, max: number): { position: number; at: number; half: Half }[] {
    const taken = [];
    for (
      let first = this.#first(heap);
      first && first.at <= this.#clock.now() && taken.length < max;
      first = this.#first(heap)
    ) {
      heap.take();
      taken.push(first);
    }
    return taken;
  }

  /** If the work fails, what was taken is due as before. */
  async #orBack<T>(heap: Heap<Due>, taken: readonly Due[], work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      for (const { at, position } of taken) heap.add({ at, position });
      throw error;
    }
  }

  /** What is due, as much as one answer holds; from now on it was asked about. */
  async #ask(group: string, asking: Asking, max: number): Promise<TransactionCheck[]> {
    const taken = this.#takeDue(asking.due, max);
    if (taken.length === 0) return [];
    return this.#orBack(asking.due, taken, async () => {
      const checks = await this.#questions(taken);
      for (const { at, position } of taken.splice(checks.examined)) asking.due.add({ at, position });
      if (checks.found.length === 0) return [];
      const intervalMs = this.settings(group).checkIntervalMs;
      await this.#core.submit({ kind: 'checkHalves', asked: positionsOf(taken), intervalMs, parked: [] });
      return checks.found;
    });
  }

  /** With their messages, up to the bytes of one answer. */
  async #questions(due: readonly (Due & { half: Half })[]): Promise<{ found: TransactionCheck[]; examined: number }> {
    const found: TransactionCheck[] = [];
    let bytes = 0;
    let examined = 0;
    for (const { position, half } of due) {
      if (bytes >= POLL_BYTES) break;
      examined++;
      const record = await this.#transactions.recordOf(position, half);
      if (!record) continue; // decided while it was read
      bytes += record.length;
      const transactionId = this.#transactions.idOf(position);
      found.push({ transactionId, half: { ...half, checks: half.checks + 1 }, record });
    }
    return { found, examined };
  }

  /** Long poll of one member of a producer group; answers as soon as anything is due. */
  async poll(group: string, { max, waitMs, signal }: PollChecksOptions): Promise<ChecksAnswer> {
    const deadline = this.#clock.monotonic() + waitMs;
    for (;;) {
      const asking = this.#of(group);
      const checks = signal().aborted ? [] : await this.#ask(group, asking, max);
      this.#wakeOne(asking);
      if (checks.length > 0) return { checks };
      if (!(await this.#wait(group, deadline, signal))) return { checks, reason: this.#noChecksReason(group) };
    }
  }

  #noChecksReason(group: string): NoChecksReason {
    if (this.#core.lot.closed) return 'SHUTTING_DOWN';
    return this.#first(this.#of(group).due) ? 'NOT_DUE' : 'CAUGHT_UP';
  }

  /**
   * Waits until there is a question to ask, at most `waitMs`, and asks none: for whoever waits on several brokers and
   * will poll one. It is passed on to whoever waits besides.
   */
  async ready(group: string, { waitMs, signal }: Omit<PollChecksOptions, 'max'>): Promise<boolean> {
    const deadline = this.#clock.monotonic() + waitMs;
    for (;;) {
      const asking = this.#of(group);
      this.#wakeOne(asking);
      if (this.#isDue(asking)) {
        this.#arm(this.#clock.now() + LOOK_MS); // for the case that nobody comes to ask
        return true;
      }
      if (!(await this.#wait(group, deadline, signal))) return false;
    }
  }

  /** Answers whether it makes sense to look again. */
  async #wait(group: string, deadline: number, signal: () => AbortSignal): Promise<boolean> {
    const left = deadline - this.#clock.monotonic();
    if (left <= 0 || signal().aborted) return false;
    const reason = await this.#core.lot.wait({
      queues: [],
      group: `producers of ${group}`,
      ms: left,
      signal: signal(),
      onParked: (parking) => this.#onParked(this.#of(group), parking),
    });
    return reason !== 'STOPPED';
  }

  #onParked(asking: Asking, parking: Parking): void {
    asking.waiting.add(parking);
    void parking.woken.then(() => asking.waiting.delete(parking));
    if (this.#isDue(asking)) parking.wake('DATA'); // it came due while this poll looked
  }

  /** Starts as many calls of the group's webhook as may be under way; answers when it may be called again. */
  #call(group: string, asking: Asking): number {
    const { webhook } = this.settings(group);
    const paused = asking.pausedUntil - this.#clock.monotonic();
    if (!webhook) return Infinity; // whoever polls takes what is due
    if (paused > 0) return this.#clock.now() + paused;
    // After a failure one is enough to see whether it is back.
    const atOnce = asking.failures > 0 ? 1 : CALLS_PER_GROUP;
    for (let due = asking.due.size; due > 0 && asking.calls < atOnce && this.#calls < CALLS; due--) {
      asking.calls++;
      this.#calls++;
      void this.#callOnce(group, asking, webhook).finally(() => {
        asking.calls--;
        this.#calls--;
        this.#arm(this.#clock.now());
      });
    }
    return Infinity; // when one of them ends
  }

  async #callOnce(group: string, asking: Asking, webhook: Webhook): Promise<void> {
    const { failures } = asking;
    let check: TransactionCheck | undefined;
    try {
      [check] = await this.#ask(group, asking, 1);
      if (!check) return;
      const resolution = await this.#caller.ask(webhook, check);
      asking.failures = 0;
      await this.#transactions.end(check.transactionId, { producerGroup: group, resolution });
    } catch (error) {
      if (error instanceof GantryError && (error.code === 'ALREADY_RESOLVED' || error.code === 'TRANSACTION_NOT_FOUND'))
        return; // somebody else was faster
      if (asking.failures > failures) return; // the calls that were under way together failed together: once
      const pause = Math.min(PAUSE_MS * 2 ** asking.failures++, LONGEST_PAUSE_MS);
      asking.pausedUntil = this.#clock.monotonic() + pause;
      const asked = { group, url: webhook.url, ...(check ? { transactionId: check.transactionId } : {}) };
      this.#log.warn({ ...failureFields(error), ...asked, pauseMs: pause }, 'the webhook of a producer group failed');
    }
  }

  /** Producer groups that have settings of their own, by name, behind `after`. */
  list(after: string, limit: number): { groups: ProducerGroup[]; more: boolean } {
    const { producerGroups } = this.#core.state.halves;
    const names = [...producerGroups.keys()].filter((name) => name > after).sort();
    return { groups: names.slice(0, limit).map((name) => producerGroups.get(name)!), more: names.length > limit };
  }

  /** Creates or replaces the settings of a producer group. Throws WEBHOOK_REFUSED. */
  async putGroup(
    group: Omit<ProducerGroup, 'version' | 'createdAt' | 'updatedAt'>,
    condition: Precondition = {},
  ): Promise<ProducerGroupChange> {
    if (group.webhook) await this.#caller.check(group.webhook);
    const change = await this.#core.submit({ kind: 'putProducerGroup', group, ...condition });
    this.renewed(group.name);
    return change;
  }

  /** Its settings are others now: what was to be asked is asked by these. */
  renewed(name: string): void {
    const asking = this.#of(name);
    asking.failures = asking.pausedUntil = 0;
    asking.due.clear();
    const { halves } = this.#core.state;
    for (const [position, half] of halves.open) if (half.producerGroup === name) halves.changed.push(position);
    this.notice();
  }

  /** Forgets its settings: what is open is asked about by the defaults, and by no webhook. Throws IN_USE unless forced. */
  async deleteGroup(name: string, force: boolean, condition: Precondition = {}): Promise<ProducerGroup> {
    const group = this.group(name);
    const refused = preconditionRefusal(condition, group.version, `producer group ${name}`);
    if (refused) throw refused;
    const open = this.#transactions.list({ parked: undefined, producerGroup: name }, 0, SHOWN).transactions;
    if (open.length > 0 && !force)
      throw producerGroupInUse(
        name,
        open.map(({ transactionId }) => transactionId),
      );
    const { group: deleted } = await this.#core.submit({ kind: 'deleteProducerGroup', name, ...condition });
    this.renewed(name);
    return deleted;
  }

  group(name: string): ProducerGroup {
    const group = this.#core.state.halves.producerGroups.get(name);
    if (group) return group;
    throw unknownProducerGroup(name);
  }
}

const positionsOf = (due: readonly Due[]): number[] => due.map(({ position }) => position);
