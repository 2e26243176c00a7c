/**
 * Chooses what a receive takes, before a command records it: first what came back, then what was never looked at,
 * filtered by the index alone and then by the tag, or shown to a filter that has to see it. What is chosen is reserved,
 * so that receives at the same time never choose the same; one at a time chooses from a queue. In an ordered group a
 * message waits as long as an earlier one of its messageGroup is not done; it is noted as held, and others are taken
 * before it.
 */
import { LIMITS } from '../base/limits';
import type { LeaseTake } from './command';
import type { Core } from './core';
import { Effort } from './effort';
import type { Filter } from './filter';
import { FilterCache } from './filterCache';
import { exhausted, subscriptionTo } from './group';
import type { LeaseOutcome } from './leaseChanges';
import type { Desk } from './leaseDesks';
import { messageAttempt } from './message';
import type { Moved } from './poller';
import type { Queue } from './queue';
import type { Delivery } from './reader';

/** A message, and which delivery of it the first one from its queue is. */
export type Chosen = Delivery & { readonly attempt: number };

export interface Wanted {
  readonly max: number;
  readonly maxBytes: number;
}

/** Bytes that a message that is read counts at least: reading it at all costs as much as so many more. */
const LEAST_READ = 4096;

/** What one desk gives: offsets and positions in order, how they are to be taken, and what becomes of the others. */
interface Draft {
  readonly desk: Desk;
  readonly filter: Filter | undefined;
  /** Of a filter that has to see the records: which it takes of those before `seenTo`. */
  readonly taken: Set<number>;
  seenTo: number;
  readonly offsets: number[];
  readonly positions: number[];
  /** messageGroup's hash of those that were never looked at before. */
  readonly fresh: Map<number, number>;
  readonly held: [number, number][];
  readonly dropped: [number, number][];
  /** Where the choice began: if positions are moved meanwhile, it is found out by it when it is applied. */
  readonly from: number;
  next: number;
}

/** A desk that is being chosen from, and what it was like when that began. */
interface Seat {
  readonly desk: Desk;
  readonly max: number;
  readonly changes: number;
}

interface Reserved {
  readonly desk: Desk;
  readonly offset: number;
  /** The lease that it had then. */
  readonly lease: number;
}

/** What was chosen of several queues; it must be submitted or released. */
export class Choice {
  readonly messages: Chosen[] = [];
  readonly takes: LeaseTake[] = [];
  /** Delivered as often as they may be: `attempt` is how often. */
  readonly exhausted: { readonly message: Chosen; readonly lease: number }[] = [];
  bytes = 0;
  /** A bound was reached: there is no sense in waiting for more. */
  full = false;
  /** A bound on what is looked at was reached: there may be more. */
  more = false;
  /** What was chosen is there again, for whoever waits: it was refused, or positions were moved. */
  setBack = false;
  /** Something is there that waits for earlier messages of its messageGroup. */
  blocked = false;
  /** Messages that the filter left out, and such that others have. */
  filtered = 0;
  /** Bytes of those of them that had to be read. */
  readInVain = 0;
  /** For filters that have to see the records. */
  readonly effort: Effort;
  inFlight = 0;
  /** Messages that were trimmed before the group had them, by queue. */
  readonly moved = new Map<Queue, Moved>();
  /** Queues that others were choosing from. */
  readonly busy: Desk[] = [];
  readonly #seats: Seat[] = [];
  readonly #unlocks: (() => void)[] = [];
  readonly #reserved: Reserved[] = [];

  constructor(effort: Effort) {
    this.effort = effort;
  }

  lock(desk: Desk): void {
    let done!: () => void;
    desk.busy = new Promise((resolve) => (done = resolve));
    this.#seats.push({ desk, max: desk.queue.max, changes: desk.changes });
    this.#unlocks.push(() => {
      desk.busy = undefined;
      done();
    });
  }

  /** Notes that the messages from `from` to the queue's first one are gone and were not handed out. */
  noteMoved(queue: Queue, from: number): void {
    if (from >= queue.min) return;
    this.moved.set(queue, { queue, from: Math.min(from, this.moved.get(queue)?.from ?? from), to: queue.min });
  }

  reserve(desk: Desk, offset: number, lease: number): void {
    desk.ready.delete(offset);
    this.#reserved.push({ desk, offset, lease });
  }

  #unlock(): void {
    for (const unlock of this.#unlocks.splice(0)) unlock();
  }

  /** Something came or came back since it was chosen. */
  missed(): boolean {
    return this.#seats.some(({ desk, max, changes }) => desk.queue.max !== max || desk.changes !== changes);
  }

  /** Nothing is taken: everything is as it was. */
  release(): void {
    this.#giveBack(this.#reserved.splice(0));
    this.#unlock();
  }

  #giveBack(reserved: readonly Reserved[]): void {
    for (const { desk, offset, lease } of reserved)
      if (desk.entry(offset)?.lease === lease && !desk.deadlines.has(offset)) desk.ready.add(offset);
  }

  /**
   * `send` hands the command to the writer; the next choice goes on behind it before it is decided. In an ordered group
   * it does not: which messageGroups wait is known only when these are recorded.
   */
  async submit(send: (takes: readonly LeaseTake[]) => Promise<LeaseOutcome>): Promise<LeaseOutcome> {
    const seats = this.#seats.slice(0, this.takes.length);
    const outcome = send(this.takes.map((take, i) => this.#withoutExtended(seats[i]!.desk, take)));
    seats.forEach(({ desk }, i) => {
      const { from, next } = this.takes[i]!;
      if (desk.from === from) desk.from = next;
      desk.underWay++;
    });
    if (seats[0]?.desk.group.record.ordered !== true) this.#unlock();
    try {
      const result = await outcome;
      this.#reserved.length = 0;
      this.#free();
      return result;
    } catch (error) {
      this.setBack = true;
      this.#giveBack(this.#reserved.splice(0));
      throw error;
    } finally {
      for (const { desk } of seats) {
        if (--desk.underWay > 0 || desk.from === desk.next) continue;
        desk.resync();
        this.setBack = true;
      }
      this.#unlock();
    }
  }

  /** Leases that were over and are extended after all, since they were chosen: these messages stay where they are. */
  #withoutExtended(desk: Desk, take: LeaseTake): LeaseTake {
    const again = take.again.filter(([offset]) => !desk.extending.has(offset) && !desk.deadlines.has(offset));
    if (again.length === take.again.length) return take;
    const kept = new Set(again.map(([offset]) => offset));
    const left = new Set(take.again.map(([offset]) => offset).filter((offset) => !kept.has(offset)));
    this.#giveBack(this.#reserved.filter((one) => one.desk === desk && left.has(one.offset)));
    return { ...take, again };
  }

  /** What was recorded as held back is nobody's. */
  #free(): void {
    this.takes.forEach(({ held }, i) => {
      const { desk } = this.#seats[i]!;
      for (const [offset] of held) if (desk.entry(offset)?.lease === 0) desk.ready.add(offset);
    });
  }
}

export class Chooser {
  readonly #core: Core;
  readonly #filters = new FilterCache();

  constructor(core: Core) {
    this.#core = core;
  }

  /**
   * Passes by queues that others are choosing from; `patient`: waits for each in turn. Whoever is patient names his
   * queues in one order with all others, so that no two wait for each other.
   */
  async choose(desks: readonly Desk[], want: Wanted, patient = false): Promise<Choice> {
    const choice = new Choice(new Effort(this.#core.clock));
    try {
      for (const desk of desks) {
        if (choice.full || choice.messages.length >= want.max) break;
        while (patient && desk.busy) await desk.busy;
        if (desk.busy) choice.busy.push(desk);
        else await this.#from(desk, want, choice);
      }
    } catch (error) {
      choice.release();
      throw error;
    }
    if (choice.messages.length >= want.max) choice.full = true;
    return choice;
  }

  async #from(desk: Desk, want: Wanted, choice: Choice): Promise<void> {
    choice.lock(desk);
    const { group, queue } = desk;
    const subscription = subscriptionTo(group.record, queue.topic);
    const draft: Draft = {
      desk,
      // A group's retries are its own already.
      filter: subscription && this.#filters.of(subscription.filter),
      ...{ taken: new Set(), seenTo: 0, offsets: [], positions: [], fresh: new Map(), held: [], dropped: [] },
      from: desk.from,
      next: Math.max(desk.from, queue.min),
    };
    choice.noteMoved(queue, desk.from);
    choice.inFlight += (desk.leases?.entries.size ?? 0) - desk.ready.size;
    const groups = new Set<number>();
    await this.#comeBack(draft, want, choice, groups);
    await this.#new(draft, want, choice, groups);
    const records = await this.#core.reader.records(draft.positions);
    const wanted = await this.#wanted(draft, records, choice.effort);
    this.#settle(draft, records, wanted, choice);
  }

  /** What nobody has any more, lowest first. `groups`: messageGroups of which something is not done. */
  async #comeBack(draft: Draft, want: Wanted, choice: Choice, groups: Set<number>): Promise<void> {
    const { desk } = draft;
    const offsets = desk.group.record.ordered ? inOrder(desk, choice, groups) : [...desk.ready].sort((a, b) => a - b);
    for (const offset of offsets) {
      if (choice.full || choice.messages.length + draft.offsets.length >= want.max) return void (choice.more = true);
      const gone = offset < desk.queue.min;
      const segment = gone ? undefined : await this.#core.index.at(desk.queue, offset);
      const entry = desk.entry(offset);
      if (!entry) desk.ready.delete(offset);
      if (!entry || !desk.ready.has(offset) || desk.claimed(offset)) continue; // somebody had to do with it meanwhile
      if (!segment) {
        if (gone) choice.noteMoved(desk.queue, offset);
        choice.reserve(desk, offset, entry.lease);
        draft.dropped.push([offset, entry.lease]);
      } else if (this.#fits(segment.bytes(offset), draft, want, choice)) {
        choice.reserve(desk, offset, entry.lease);
        draft.offsets.push(offset);
        draft.positions.push(segment.position(offset));
      }
    }
  }

  #fits(bytes: number, draft: Draft, want: Wanted, choice: Choice): boolean {
    const first = choice.messages.length + draft.offsets.length === 0;
    if (!first && choice.bytes + bytes > want.maxBytes) choice.full = true;
    else choice.bytes += bytes;
    return !choice.full;
  }

  /** What was never looked at, as far as it is wanted and the bounds go. */
  async #new(draft: Draft, want: Wanted, choice: Choice, groups: Set<number>): Promise<void> {
    const { max } = draft.desk.queue;
    const end = Math.min(max, draft.next + LIMITS.pollEntries);
    const lookedAhead = await this.#lookAt(draft, want, choice, groups, end);
    if (!lookedAhead) this.#passRefused(draft, end);
    if (draft.next < max && !lookedAhead) choice.more = true;
  }

  /**
   * Passes over messages that the filter refuses right behind the last message taken, as far as the index is in memory:
   * a receive of exactly the messages that match leaves no lag.
   */
  #passRefused(draft: Draft, end: number): void {
    const { desk, filter } = draft;
    if (!filter || filter.byRecord) return;
    while (draft.next < end) {
      const segment = this.#core.index.inMemory(desk.queue, draft.next);
      if (!segment) return;
      for (const stop = Math.min(segment.end, end); draft.next < stop; draft.next++)
        if (filter.mayMatch(segment.tagHash(draft.next))) return;
    }
  }

  /** Answers whether the bound on what may be held back ended it. */
  async #lookAt(draft: Draft, want: Wanted, choice: Choice, groups: Set<number>, end: number): Promise<boolean> {
    const { desk, filter } = draft;
    const { ordered } = desk.group.record;
    const held = desk.leases?.entries.size ?? 0;
    while (draft.next < end && !choice.full && choice.messages.length + draft.offsets.length < want.max) {
      const decided = filter?.byRecord ? await this.#show(draft, filter, want, choice, end) : end;
      const inMemory = this.#core.index.inMemory(desk.queue, draft.next);
      const segments = inMemory ? [inMemory] : await this.#core.index.from(desk.queue, draft.next, end - draft.next);
      if (segments.length === 0 || decided === draft.next) return false;
      for (const segment of segments) {
        for (const stop = Math.min(segment.end, decided); draft.next < stop; draft.next++) {
          if (choice.messages.length + draft.offsets.length >= want.max) return false;
          const offset = draft.next;
          if (filter && !(filter.byRecord ? draft.taken.has(offset) : filter.mayMatch(segment.tagHash(offset)))) {
            choice.filtered++;
            if (filter.byRecord) choice.readInVain += Math.max(segment.bytes(offset), LEAST_READ);
            continue;
          }
          const hash = segment.groupHash(offset);
          if (ordered && hash !== 0 && groups.has(hash)) {
            choice.blocked = true;
            if (held + draft.held.length >= LIMITS.leaseLookAhead) return true;
            draft.held.push([offset, hash]);
            continue;
          }
          if (!this.#fits(segment.bytes(offset), draft, want, choice)) return false;
          if (ordered) groups.add(hash);
          draft.fresh.set(offset, hash);
          draft.offsets.push(offset);
          draft.positions.push(segment.position(offset));
        }
      }
    }
    return false;
  }

  /** Up to where the filter has seen the records: one part more than before, unless that is used up or no effort is left. */
  async #show(draft: Draft, filter: Filter, want: Wanted, { messages, effort }: Choice, end: number): Promise<number> {
    if (draft.next >= draft.seenTo && !effort.spent) {
      const maxEntries = end - draft.next;
      // In an ordered group most of what it takes may have to wait.
      const { ordered } = draft.desk.group.record;
      const enough = ordered ? {} : { max: want.max - messages.length - draft.offsets.length };
      const bounds = { filter, effort, maxEntries, ...enough };
      const { taken, nextOffset } = await this.#core.reader.examine(draft.desk.queue, draft.next, bounds);
      draft.taken.clear();
      for (const { queueOffset } of taken) draft.taken.add(queueOffset);
      draft.seenTo = nextOffset;
    }
    return Math.max(draft.next, draft.seenTo);
  }

  /** Whether the group wants each record: by its filter, or because it was handed out before. */
  async #wanted(draft: Draft, records: readonly (Buffer | undefined)[], effort: Effort): Promise<boolean[]> {
    const { desk, filter, offsets, fresh } = draft;
    const wanted: boolean[] = [];
    for (let i = 0; i < records.length; i++) {
      const record = records[i];
      const offset = offsets[i]!;
      // A message that was delivered once is delivered again, or is dead: a filter that changed since does not lose it.
      const delivered = (desk.entry(offset)?.attempt ?? 0) > 0;
      const decided = !filter || delivered || (filter.byRecord && (fresh.has(offset) || effort.spent));
      wanted.push(record !== undefined && (decided || filter.matches(record)));
      if (filter?.byRecord && !decided && effort.due) await effort.pause();
    }
    return wanted;
  }

  /** The records decide the rest: the filter, and how often a message was delivered. */
  #settle(draft: Draft, records: readonly (Buffer | undefined)[], wanted: readonly boolean[], choice: Choice): void {
    const { desk } = draft;
    const { queue, group } = desk;
    const fresh: [number, number][] = [];
    const again: [number, number][] = [];
    for (let i = 0; i < draft.offsets.length; i++) {
      const queueOffset = draft.offsets[i]!;
      const record = records[i];
      const hash = draft.fresh.get(queueOffset);
      const entry = desk.entry(queueOffset);
      if (record === undefined || !wanted[i]) {
        if (hash === undefined && entry) draft.dropped.push([queueOffset, entry.lease]);
        else choice.filtered++;
        choice.more = true; // it took a place, or others of its messageGroup were held back behind it
        continue;
      }
      const message = { queue, queueOffset, record, attempt: messageAttempt(record) };
      if (hash !== undefined) fresh.push([queueOffset, hash]);
      else if (!entry)
        continue; // settled while it was read
      else if (entry.attempt > 0 && exhausted(group.record, message.attempt + entry.attempt - 1)) {
        const attempt = message.attempt + entry.attempt - 1;
        choice.exhausted.push({ message: { ...message, attempt }, lease: entry.lease });
        continue;
      } else again.push([queueOffset, entry.lease]);
      choice.messages.push(message);
    }
    const { from, held, dropped, next } = draft;
    choice.takes.push({ topic: queue.topic, queueId: queue.queueId, from, next, fresh, again, held, dropped });
  }
}

/** Of an ordered group: the first of each messageGroup, if nobody has it. */
function inOrder(desk: Desk, choice: Choice, groups: Set<number>): number[] {
  const offsets: number[] = [];
  for (const [offset, { groupHash }] of desk.leases?.entries ?? []) {
    if (groupHash !== 0 && groups.has(groupHash)) {
      if (desk.ready.has(offset)) choice.blocked = true;
      continue;
    }
    if (groupHash !== 0) groups.add(groupHash);
    if (desk.ready.has(offset)) offsets.push(offset);
  }
  return offsets;
}
