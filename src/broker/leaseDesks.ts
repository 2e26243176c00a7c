/**
 * What is soft about leases: which messages nobody has right now, and when those that are out come back. The state
 * (leaseQueue.ts) says to which lease a message was given, and for how long; the time since is counted here, in running
 * time. A broker that starts anew goes by the wall clock: a lease ends when it was promised to end. That a lease is over
 * is no command: it takes effect when the message is handed out again.
 */
import type { Clock, Timer } from '../base/clock';
import { GantryError } from '../base/errors';
import { Heap } from '../base/heap';
import type { RunningTime } from '../base/runningTime';
import type { SettleAction } from './command';
import { retryTopicOf } from './group';
import type { LeaseEntry, LeaseQueue } from './leaseQueue';
import type { Queue } from './queue';
import { queueNumber, type BrokerState, type GroupState } from './state';
import { WaitingLine } from './waitingLine';

/** One queue of one group: what can be handed out of it. */
export class Desk {
  readonly group: GroupState;
  readonly queue: Queue;
  /** Offsets of entries that nobody has: their lease is over, or they were held back. */
  readonly ready = new Set<number>();
  /** By offset: when its lease is over, running time. */
  readonly deadlines = new Map<number, number>();
  /** The first offset that was not looked at, by commands under way neither: where the next one must find the state. */
  from: number;
  /** Offsets whose leases are being extended, and by how many commands: nobody else takes them, though their time is over. */
  readonly extending = new Map<number, number>();
  /** Offsets of messages that are being made dead letters; resolves when that is decided. */
  readonly leaving = new Map<number, Promise<void>>();
  /** Somebody is choosing; resolves when he is done. */
  busy: Promise<void> | undefined;
  /** Commands under way. */
  underWay = 0;
  /** How often something came back, or was done, so that others may be taken. */
  changes = 0;

  constructor(group: GroupState, queue: Queue) {
    this.group = group;
    this.queue = queue;
    this.from = this.next;
  }

  get leases(): LeaseQueue | undefined {
    return this.group.leases.get(queueNumber(this.queue.topic, this.queue.queueId));
  }

  /** There is something that nobody has, or that was not looked at; whether it can be taken shows when it is. */
  get open(): boolean {
    return this.ready.size > 0 || Math.max(this.from, this.queue.min) < this.queue.max;
  }

  /** The first offset that was not looked at, as it is recorded. */
  get next(): number {
    const { topic, queueId, min } = this.queue;
    return this.leases?.next ?? this.group.offsets.get(queueNumber(topic, queueId)) ?? min;
  }

  entry(offset: number): LeaseEntry | undefined {
    return this.leases?.entries.get(offset);
  }

  /** Something is being decided about a message that nobody has: it is not to be taken meanwhile. */
  claimed(offset: number): boolean {
    return this.extending.has(offset) || this.leaving.has(offset);
  }

  /** Back to what the state says: a command was refused, or found positions that were moved. */
  resync(): void {
    this.from = this.next;
    this.changes++;
  }
}

/** Messages of one desk whose leases end together. Some may be done long before. */
interface Deadline {
  readonly at: number;
  readonly desk: Desk;
  readonly offsets: readonly number[];
}

/** The heap is built anew when it holds so many more deadlines than messages are out. */
const SURPLUS = 10_000;

export class LeaseDesks {
  readonly #clock: Clock;
  readonly #time: RunningTime;
  readonly #state: BrokerState;
  /** Called with messages whose leases are over, and that nobody has (lastDeliveries.ts). */
  onOver: (desk: Desk, offsets: Iterable<number>) => void = () => undefined;
  readonly #desks = new Map<GroupState, Map<Queue, Desk>>();
  readonly #deadlines = new Heap<Deadline>(({ at }) => at);
  readonly #lines = new Map<GroupState, WaitingLine>();
  #timer: { readonly at: number; readonly timer: Timer } | undefined;
  #surplusAt = SURPLUS;

  constructor(parts: { clock: Clock; time: RunningTime; state: BrokerState }) {
    this.#clock = parts.clock;
    this.#time = parts.time;
    this.#state = parts.state;
  }

  /**
   * Every recorded lease runs until the time that its holder was told, and never longer than it was given for, however
   * the clock was set meanwhile.
   */
  start(): void {
    const now = this.#clock.now();
    for (const group of this.#state.groups.values()) {
      for (const { topic, queueId, entries } of group.leases.values()) {
        const queue = this.#state.topics.get(topic)?.queues[queueId];
        if (!queue) continue;
        const desk = this.of(group, queue);
        for (const [offset, { lease, ms, until = now + ms }] of entries) {
          const left = Math.min(until - now, ms);
          if (lease === 0 || left <= 0) desk.ready.add(offset);
          else this.lend(desk, [offset], left);
        }
        this.onOver(desk, desk.ready);
      }
    }
  }

  stop(): void {
    this.#timer?.timer.cancel();
    this.#timer = undefined;
    this.#deadlines.clear();
  }

  of(group: GroupState, queue: Queue): Desk {
    let desks = this.#desks.get(group);
    if (!desks) this.#desks.set(group, (desks = new Map<Queue, Desk>()));
    let desk = desks.get(queue);
    if (!desk) desks.set(queue, (desk = new Desk(group, queue)));
    return desk;
  }

  /** Throws while messages are out under leases: consumers that own queues would get them, too. */
  checkFree(group: GroupState): void {
    for (const { deadlines, underWay, extending } of this.#desks.get(group)?.values() ?? []) {
      if (deadlines.size === 0 && underWay === 0 && extending.size === 0) continue;
      throw new GantryError(
        'STYLE_CONFLICT',
        `messages of group ${group.record.name} are out under leases: let them be acknowledged or come back before consumers join it, or use another group`,
        { retryAfterMs: 1000 },
      );
    }
  }

  lag(group: GroupState, queue: Queue): { ready: number; inFlight: number } {
    const desk = this.of(group, queue);
    const { leases, ready } = desk;
    const next = Math.max(desk.next, queue.min);
    let there = Math.max(0, queue.max - next) + ready.size;
    let inFlight = Math.max(0, (leases?.entries.size ?? 0) - ready.size);
    for (const offset of leases?.entries.keys() ?? []) {
      if (offset >= queue.min) break; // the others are kept still
      if (ready.has(offset)) there--;
      else if (inFlight > 0) inFlight--;
    }
    return { ready: there, inFlight };
  }

  /** Messages were handed out, or their leases extended. Positions may have been moved since that was decided. */
  lend(desk: Desk, lent: readonly number[], ms: number): void {
    const offsets = lent.filter((offset) => desk.entry(offset));
    if (offsets.length === 0) return;
    const at = this.#time.now() + ms;
    for (const offset of offsets) {
      desk.ready.delete(offset);
      desk.deadlines.set(offset, at);
    }
    this.#deadlines.add({ at, desk, offsets });
    if (this.#deadlines.size > this.#surplusAt) this.#rebuild();
    this.#arm();
  }

  /** What is acknowledged leaves its deadline behind; hours of them would fill the memory. */
  #rebuild(): void {
    const live: Deadline[] = [];
    for (const desks of this.#desks.values()) {
      for (const desk of desks.values()) {
        const byTime = new Map<number, number[]>();
        for (const [offset, at] of desk.deadlines) {
          const together = byTime.get(at);
          if (together) together.push(offset);
          else byTime.set(at, [offset]);
        }
        for (const [at, offsets] of byTime) live.push({ at, desk, offsets });
      }
    }
    this.#deadlines.clear();
    for (const deadline of live) this.#deadlines.add(deadline);
    this.#surplusAt = live.length * 2 + SURPLUS;
  }

  /** What was decided about a message that was out. */
  settled(desk: Desk, offset: number, action: SettleAction, ms = 0): void {
    if (action === 'EXTEND') return this.lend(desk, [offset], ms);
    desk.changes++;
    desk.deadlines.delete(offset);
    desk.ready.delete(offset);
    if (action === 'RETURN' && desk.entry(offset)) desk.ready.add(offset);
  }

  /** Milliseconds until the lease of a message ends; undefined when it is over, or the message is out under another one. */
  left(desk: Desk, offset: number, lease: number): number | undefined {
    const at = desk.entry(offset)?.lease === lease ? desk.deadlines.get(offset) : undefined;
    return at === undefined ? undefined : Math.max(0, at - this.#time.now());
  }

  /** A command that extends these leases begins, or was decided. */
  extending(group: GroupState, items: readonly { desk: Desk; offset: number }[], begins: boolean): void {
    for (const { desk, offset } of items) {
      const commands = (desk.extending.get(offset) ?? 0) + (begins ? 1 : -1);
      if (commands > 0) desk.extending.set(offset, commands);
      else desk.extending.delete(offset);
    }
    if (!begins) this.#back(group, items);
  }

  /** A command that makes these messages dead letters begins; the answer is to be called when it was decided. */
  leaving(group: GroupState, items: readonly { desk: Desk; offset: number }[]): () => void {
    let decided!: () => void;
    const decision = new Promise<void>((resolve) => (decided = resolve));
    for (const { desk, offset } of items) desk.leaving.set(offset, decision);
    return () => {
      for (const { desk, offset } of items) desk.leaving.delete(offset);
      decided();
      this.#back(group, items);
    };
  }

  /** Those that nobody has after all are there again. */
  #back(group: GroupState, items: readonly { desk: Desk; offset: number }[]): void {
    const back = items.filter(({ desk, offset }) => desk.ready.has(offset));
    for (const { desk, offset } of back) {
      desk.changes++;
      this.onOver(desk, [offset]);
    }
    if (back.length > 0) this.wake(group);
  }

  /** Positions were moved, or consumers own queues now. */
  reset(group: GroupState): void {
    for (const desk of this.#desks.get(group)?.values() ?? []) {
      forgetDone(desk);
      if (!desk.leases) desk.resync();
    }
    this.#lines.get(group)?.wake('REBALANCED');
  }

  /** Positions were committed: the next receive goes on behind them. */
  committed(group: GroupState): void {
    let moved = false;
    for (const desk of this.#desks.get(group)?.values() ?? []) {
      forgetDone(desk);
      // With a command under way it is found out when that is decided.
      if (desk.underWay > 0 || desk.from === desk.next) continue;
      desk.resync();
      moved = true;
    }
    if (moved) this.wake(group);
  }

  /** The rule for the last delivery may have changed: looks at all ready messages of the group again. */
  regroup(group: GroupState): void {
    for (const desk of this.#desks.get(group)?.values() ?? []) this.onOver(desk, desk.ready);
  }

  /** Desks of groups that do not exist any more. */
  forgetDeleted(): void {
    for (const group of this.#desks.keys())
      if (this.#state.groups.get(group.record.no) !== group) this.#desks.delete(group);
    for (const [group, line] of this.#lines) {
      if (this.#state.groups.get(group.record.no) === group) continue;
      this.#lines.delete(group);
      line.wake('REBALANCED');
    }
  }

  /** The receives of a group that wait. */
  line(group: GroupState): WaitingLine {
    let line = this.#lines.get(group);
    if (!line) this.#lines.set(group, (line = new WaitingLine()));
    return line;
  }

  /** The topic's queues or permission changed, or it is new: whoever waits has others to wait on. */
  refresh(topic: { readonly no: number; readonly name: string }): void {
    for (const [group, line] of this.#lines) {
      const { name, subscriptions } = group.record;
      if (topic.name === retryTopicOf(name) || subscriptions.some((one) => one.topic === topic.no))
        line.wake('REBALANCED');
    }
  }

  /** Somebody leaves: what he did not take may be for whoever waits. */
  passOn(group: GroupState, queues: readonly Queue[]): void {
    const line = this.#lines.get(group);
    if (line && line.length > 0 && queues.some((queue) => this.of(group, queue).open)) line.passOn();
  }

  /** Something came back, or is held up no more. */
  wake(group: GroupState): void {
    this.line(group).wake('DATA');
  }

  #arm(): void {
    const next = this.#deadlines.first;
    if (!next) return;
    if (this.#timer && this.#timer.at <= next.at) return;
    this.#timer?.timer.cancel();
    const timer = this.#clock.after(Math.max(1, Math.ceil(next.at - this.#time.now())), () => this.#expire());
    this.#timer = { at: next.at, timer };
  }

  #expire(): void {
    this.#timer = undefined;
    const now = this.#time.now();
    const groups = new Set<GroupState>();
    for (let next = this.#deadlines.first; next && next.at <= now; next = this.#deadlines.first) {
      this.#deadlines.take();
      const { desk, offsets, at } = next;
      desk.changes++;
      for (const offset of offsets) {
        if (desk.deadlines.get(offset) !== at) continue; // acknowledged or extended meanwhile
        desk.deadlines.delete(offset);
        if (!desk.entry(offset)) continue;
        desk.ready.add(offset);
        groups.add(desk.group);
      }
      this.onOver(desk, offsets);
    }
    for (const group of groups) this.wake(group);
    this.#arm();
  }
}

/** Messages that a commit or a reset passed are neither out nor there. */
function forgetDone(desk: Desk): void {
  for (const offset of desk.ready) if (!desk.entry(offset)) desk.ready.delete(offset);
  for (const offset of desk.deadlines.keys()) if (!desk.entry(offset)) desk.deadlines.delete(offset);
}
