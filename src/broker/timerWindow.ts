/** The next ones of the messages that wait for their time, as keys alone (timers.ts). */
import { Heap } from '../base/heap';

export interface Waiting {
  readonly due: number;
  readonly position: number;
}

/** Waiting messages in order of their time, then of their positions; each of them once. */
export class TimerWindow {
  readonly #heap = new Heap<Waiting>(
    ({ due }) => due,
    ({ position }) => position,
  );
  readonly #positions = new Set<number>();

  get size(): number {
    return this.#positions.size;
  }

  /** When the first one is due. */
  get first(): number {
    return this.#heap.first?.due ?? Infinity;
  }

  add(waiting: Waiting): void {
    if (this.#positions.has(waiting.position)) return;
    this.#positions.add(waiting.position);
    this.#heap.add(waiting);
  }

  take(): Waiting | undefined {
    const waiting = this.#heap.take();
    if (waiting) this.#positions.delete(waiting.position);
    return waiting;
  }

  /** Keeps the first `count`, and all that are due when the first one is; answers up to when it is whole. */
  shrink(count: number): number {
    const { first } = this;
    const kept: Waiting[] = [];
    while (kept.length < count && this.size > 0) kept.push(this.take()!);
    const end = Math.max(this.first, first + 1);
    for (const waiting of kept) this.add(waiting);
    this.cutOff(end);
    return end;
  }

  /** Forgets what is due at `end` or later. */
  cutOff(end: number): void {
    const kept: Waiting[] = [];
    while (this.first < end) kept.push(this.take()!);
    this.#heap.clear();
    this.#positions.clear();
    for (const waiting of kept) this.add(waiting);
  }
}
