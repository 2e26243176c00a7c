/**
 * Makes dead letters of messages whose last delivery ended without an acknowledgement: at that moment, also when no
 * receive comes. The end of a lease is no command, so this looks at the leases that are over, reads the records of
 * those that may have been the last ones, a few at a time, and submits the command that gives them up. A message
 * about which something is being decided at that moment is looked at again.
 */
import type { Timer } from '../base/clock';
import type { Chosen } from './choice';
import type { Core } from './core';
import { exhausted, retryTopicOf } from './group';
import type { Desk, LeaseDesks } from './leaseDesks';
import { messageAttempt } from './message';
import type { Retries } from './retries';
import type { GroupState } from './state';

/** A message that was delivered as often as it may be: `attempt` is how often. */
export interface LastDelivery {
  readonly message: Chosen;
  readonly lease: number;
}

/** Records read at once: each may be as large as a message can be. */
const READ_AT_ONCE = 32;
/** Milliseconds until a look is repeated: something was being decided, or the disk could not keep up. */
const AGAIN_MS = 500;

export class LastDeliveries {
  readonly #core: Core;
  readonly #desks: LeaseDesks;
  readonly #retries: Retries;
  /** Offsets whose leases are over and may have been the last ones. */
  readonly #over = new Map<Desk, Set<number>>();
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(core: Core, parts: { desks: LeaseDesks; retries: Retries }) {
    this.#core = core;
    this.#desks = parts.desks;
    this.#retries = parts.retries;
    this.#desks.onOver = (desk, offsets) => this.#note(desk, offsets);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #note(desk: Desk, offsets: Iterable<number>): void {
    const over = this.#over.get(desk) ?? new Set<number>();
    for (const offset of offsets) if (this.#mayBeLast(desk, offset)) over.add(offset);
    if (over.size === 0) return;
    this.#over.set(desk, over);
    this.#run();
  }

  /** By what is in memory. The deliveries of a retry before its own queue are told by its record alone. */
  #mayBeLast(desk: Desk, offset: number): boolean {
    const { name, maxAttempts } = desk.group.record;
    const attempt = desk.deadlines.has(offset) ? 0 : (desk.entry(offset)?.attempt ?? 0);
    if (attempt > maxAttempts) return true;
    return attempt > 0 && this.#core.state.topics.get(desk.queue.topic)?.record.name === retryTopicOf(name);
  }

  #run(): void {
    if (this.#running || this.#stopped) return;
    this.#timer?.cancel();
    this.#running = this.#look().then(
      () => this.#again(),
      () => this.#again(), // what could not be given up stays noted
    );
  }

  #again(): void {
    this.#running = undefined;
    if (this.#stopped || this.#over.size === 0) return;
    this.#timer = this.#core.clock.after(AGAIN_MS, () => this.#run());
  }

  async #look(): Promise<void> {
    for (const [desk, over] of [...this.#over]) {
      const offsets = [...over].sort((a, b) => a - b);
      for (let at = 0; at < offsets.length && !this.#stopped; at += READ_AT_ONCE)
        await this.#giveUp(desk, over, offsets.slice(at, at + READ_AT_ONCE));
      if (over.size === 0) this.#over.delete(desk);
    }
  }

  async #giveUp(desk: Desk, over: Set<number>, offsets: readonly number[]): Promise<void> {
    const { group, queue } = desk;
    const open = offsets.filter((offset) => this.#mayBeLast(desk, offset) || !over.delete(offset));
    const found = await Promise.all(open.map((offset) => this.#core.reader.one(queue, offset)));
    const last = open.flatMap((offset, i): LastDelivery[] => {
      const message = found[i];
      const entry = desk.entry(offset);
      const attempt = message && entry ? messageAttempt(message.record) + entry.attempt - 1 : 0;
      if (message && entry && exhausted(group.record, attempt))
        return [{ message: { ...message, attempt }, lease: entry.lease }];
      over.delete(offset); // there is another delivery, or retention has deleted it
      return [];
    });
    await this.bury(group, last);
    for (const offset of open) if (!desk.entry(offset)) over.delete(offset);
  }

  /** Makes dead letters of the messages in `last` that no consumer has and about which nothing is being decided. */
  async bury(group: GroupState, last: readonly LastDelivery[]): Promise<void> {
    const failures = last.filter(({ message: { queue, queueOffset } }) => {
      const desk = this.#desks.of(group, queue);
      return desk.ready.has(queueOffset) && !desk.claimed(queueOffset);
    });
    if (failures.length === 0) return;
    const places = failures.map(({ message }) => {
      return { desk: this.#desks.of(group, message.queue), offset: message.queueOffset };
    });
    const decided = this.#desks.leaving(group, places);
    try {
      const reports = await this.#retries.fail(
        group,
        failures.map(({ message, lease }) => ({ ...message, lease, reason: reasonOf(message) })),
      );
      places.forEach(({ desk, offset }, i) => {
        if (!reports[i]!.error) this.#desks.settled(desk, offset, 'ACK');
      });
    } finally {
      decided();
    }
    if (group.record.ordered) this.#desks.wake(group);
  }
}

const reasonOf = ({ attempt }: Chosen): string =>
  `the lease of delivery ${attempt}, the last one, ended without an acknowledgement`;
