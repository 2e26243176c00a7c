/**
 * One queue of a topic on this broker: dense offsets min..max-1, of which the newest stretch stands in memory. Offsets
 * are given by `append` alone, one after the other, in the order of the journal.
 */
import type { Waiter } from './parking';
import { Segment } from './segment';

export class Queue {
  readonly topic: number;
  readonly queueId: number;
  /** First offset kept. */
  min: number;
  /** The offset that the next message gets. */
  max: number;
  /** Milliseconds; 0 = unknown yet (nothing was stored since the start). */
  lastStoreTime = 0;
  /** Contiguous, ascending, ends at `max`; what lies before the first one is on disk alone. */
  readonly segments: Segment[] = [];
  /** Polls that wait for this queue (parking.ts), and lines of receives (waitingLine.ts). */
  readonly waiting: Set<Waiter> = new Set();
  /** Owed to the next flush. */
  unflushed = false;

  constructor(topic: number, queueId: number, min: number, max: number) {
    this.topic = topic;
    this.queueId = queueId;
    this.min = min;
    this.max = max;
  }

  /** First offset whose entry stands in memory; `max` if none does. */
  get memoryFirst(): number {
    return this.segments.length > 0 ? this.segments[0]!.first : this.max;
  }

  append(position: number, bytes: number, tagHash: number, groupHash: number, storeTime: number): number {
    let open = this.segments.at(-1);
    if (open === undefined || open.closed || open.full) {
      open = new Segment(this.max);
      this.segments.push(open);
    }
    open.append(position, bytes, tagHash, groupHash, storeTime);
    this.lastStoreTime = storeTime;
    return this.max++;
  }
}
