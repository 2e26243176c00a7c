/**
 * The receives of one group that wait. What comes is for one of them: it wakes whoever has waited longest, and he passes
 * the wake on when he leaves something. What must always hold: no wake is lost, whatever becomes of him; and whoever has
 * looked since the last news is not woken for it again, so that what nobody can take wakes each of them once.
 */
import type { Parking, Waiter, WakeReason } from './parking';
import type { Queue } from './queue';

interface Waiting {
  readonly parking: Parking;
  readonly queues: readonly Queue[];
  /** The news there were when he looked last. */
  readonly looked: number;
}

export class WaitingLine implements Waiter {
  /** Longest first. */
  readonly #waiting = new Set<Waiting>();
  /** By queue: how many stand on it. */
  readonly #stands = new Map<Queue, number>();
  #news = 0;

  /** How often something came. Messages that are stored are counted only while somebody waits for them. */
  get news(): number {
    return this.#news;
  }

  get length(): number {
    return this.#waiting.size;
  }

  /** A receive parks, after it looked and `looked` were the news. */
  join(parking: Parking, queues: readonly Queue[], looked: number): void {
    const waiting = { parking, queues, looked };
    this.#waiting.add(waiting);
    for (const queue of queues) {
      this.#stands.set(queue, (this.#stands.get(queue) ?? 0) + 1);
      queue.waiting.add(this);
    }
    parking.onEnd(() => this.#leave(waiting));
  }

  #leave(waiting: Waiting): void {
    this.#waiting.delete(waiting);
    for (const queue of waiting.queues) {
      const left = this.#stands.get(queue)! - 1;
      if (left > 0) this.#stands.set(queue, left);
      else {
        this.#stands.delete(queue);
        queue.waiting.delete(this);
      }
    }
  }

  /** Data is for one, everything else concerns all. */
  wake(reason: WakeReason): void {
    this.#news++;
    if (reason === 'DATA') this.passOn();
    else for (const { parking } of [...this.#waiting]) parking.wake(reason);
  }

  /** There is something left: it may be for whoever has not looked since the last news. */
  passOn(): void {
    for (const { parking, looked } of this.#waiting) if (looked < this.#news) return parking.wake('DATA');
  }
}
