/**
 * Goes through a queue's index entry by entry, in either direction. Entries that are trimmed meanwhile are passed over;
 * entries that are appended behind the start of a walk backwards are not seen.
 */
import type { Queue } from './queue';
import type { QueueIndex } from './queueIndex';
import type { Segment } from './segment';

/** Walk along a queue, as a search uses it; `segment`, `offset` and `position` are those of the present entry. */
export interface QueueWalk {
  readonly queue: Queue;
  readonly segment: Segment;
  readonly offset: number;
  readonly position: number;
  /** To the next entry; false when it has to be loaded. */
  step(): boolean;
  /** Loads the entry that was stepped to; false at the end of the queue. */
  load(): Promise<boolean>;
}

/** From an offset to the queue's newest entry. */
export class ForwardWalk implements QueueWalk {
  readonly queue: Queue;
  readonly #index: QueueIndex;
  /** Entries that are fetched at once. */
  readonly #share: number;
  #segments: Segment[] = [];
  offset: number;

  constructor(index: QueueIndex, queue: Queue, offset: number, share: number) {
    this.#index = index;
    this.queue = queue;
    this.offset = offset;
    this.#share = Math.ceil(share);
  }

  get segment(): Segment {
    return this.#segments[0]!;
  }

  get position(): number {
    return this.segment.position(this.offset);
  }

  step(): boolean {
    this.offset++;
    if (this.offset >= this.segment.end) this.#segments.shift();
    return this.#segments.length > 0;
  }

  async load(): Promise<boolean> {
    const { queue } = this;
    while (this.offset < queue.max) {
      this.offset = Math.max(this.offset, queue.min);
      this.#segments = await this.#index.from(queue, this.offset, this.#share);
      if (this.#segments.length > 0) return true; // else it was trimmed while it was read
    }
    return false;
  }
}

/** From the entry before `end` to the queue's oldest. */
export class BackwardWalk implements QueueWalk {
  readonly queue: Queue;
  readonly #index: QueueIndex;
  #segment: Segment | undefined;
  offset: number;

  constructor(index: QueueIndex, queue: Queue, end: number) {
    this.#index = index;
    this.queue = queue;
    this.offset = end - 1;
  }

  get segment(): Segment {
    return this.#segment!;
  }

  get position(): number {
    return this.segment.position(this.offset);
  }

  step(): boolean {
    this.offset--;
    return this.offset >= this.segment.first;
  }

  async load(): Promise<boolean> {
    if (this.offset < this.queue.min) return false;
    this.#segment = await this.#index.at(this.queue, this.offset);
    return this.#segment !== undefined;
  }
}
