/**
 * Polls that wait. A parked poll stands on every queue it reads; whoever stores a message there wakes it by that key,
 * nobody sweeps. Bounded in the whole process and per group; a client that goes away leaves at once.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import type { Queue } from './queue';

/** REBALANCED: something was lost; ASSIGNED: there is more to read. */
export type WakeReason = 'DATA' | 'TIMEOUT' | 'REBALANCED' | 'ASSIGNED' | 'REPLACED' | 'GONE' | 'STOPPED';

export interface ParkingLimits {
  readonly total: number;
  readonly perGroup: number;
}

/** Stands on queues, and is told when something is stored there. */
export interface Waiter {
  wake(reason: WakeReason): void;
}

/** One wait of one poll. */
export class Parking implements Waiter {
  readonly #lot: ParkingLot;
  readonly #queues: readonly Queue[];
  readonly #group: string | undefined;
  readonly #resolve: (reason: WakeReason) => void;
  readonly woken: Promise<WakeReason>;
  #onEnd: (() => void) | undefined;
  #done = false;

  constructor(lot: ParkingLot, queues: readonly Queue[], group: string | undefined) {
    this.#lot = lot;
    this.#queues = queues;
    this.#group = group;
    let resolve!: (reason: WakeReason) => void;
    this.woken = new Promise((fulfil) => (resolve = fulfil));
    this.#resolve = resolve;
    for (const queue of queues) queue.waiting.add(this);
  }

  /** Called at the moment when the wait ends, before anything else happens. */
  onEnd(call: () => void): void {
    this.#onEnd = call;
  }

  /** Ends the wait; later calls do nothing. */
  wake(reason: WakeReason): void {
    if (this.#done) return;
    this.#done = true;
    for (const queue of this.#queues) queue.waiting.delete(this);
    this.#onEnd?.();
    this.#lot.left(this, this.#group);
    this.#resolve(reason);
  }
}

export class ParkingLot {
  readonly #clock: Clock;
  readonly #limits: ParkingLimits;
  readonly #parked = new Set<Parking>();
  readonly #perGroup = new Map<string, number>();
  #closed = false;

  constructor(clock: Clock, limits: ParkingLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** The process is about to stop: no request waits here any more. */
  get closed(): boolean {
    return this.#closed;
  }

  get parked(): number {
    return this.#parked.size;
  }

  /** Waits until something wakes it, at most `ms`. Throws TOO_MANY_REQUESTS when a bound is reached. */
  async wait(options: {
    queues: readonly Queue[];
    group?: string;
    ms: number;
    signal?: AbortSignal;
    onParked?: (parking: Parking) => void;
  }): Promise<WakeReason> {
    if (this.#closed) return 'STOPPED';
    if (options.signal?.aborted) return 'GONE';
    this.#enter(options.group);
    const parking = new Parking(this, options.queues, options.group);
    this.#parked.add(parking);
    options.onParked?.(parking);
    const timer = this.#clock.after(options.ms, () => parking.wake('TIMEOUT'));
    const onAbort = () => parking.wake('GONE');
    options.signal?.addEventListener('abort', onAbort, { once: true });
    try {
      return await parking.woken;
    } finally {
      timer.cancel();
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  #enter(group: string | undefined): void {
    if (this.#parked.size >= this.#limits.total) {
      throw new GantryError(
        'TOO_MANY_REQUESTS',
        `${this.#limits.total} polls wait here already: poll again later, or raise --max-parked-polls`,
        {
          retryAfterMs: 1000,
        },
      );
    }
    if (group === undefined) return;
    const count = this.#perGroup.get(group) ?? 0;
    if (count >= this.#limits.perGroup) {
      throw new GantryError(
        'TOO_MANY_REQUESTS',
        `${count} polls of group ${group} wait here already: it has more consumers than it can use`,
        {
          retryAfterMs: 1000,
        },
      );
    }
    this.#perGroup.set(group, count + 1);
  }

  /** Called by a parking that ended. */
  left(parking: Parking, group: string | undefined): void {
    this.#parked.delete(parking);
    if (group === undefined) return;
    const count = (this.#perGroup.get(group) ?? 1) - 1;
    if (count === 0) this.#perGroup.delete(group);
    else this.#perGroup.set(group, count);
  }

  /** Answers everybody who waits, now and from now on: the process is about to stop. */
  close(): void {
    this.#closed = true;
    for (const parking of [...this.#parked]) parking.wake('STOPPED');
  }
}
