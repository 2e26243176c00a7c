/**
 * What a group that uses leases knows of one queue: which messages are handed out or passed over and not acknowledged.
 * Everything before `next` that has no entry is done, so the lowest entry, or `next`, is the committed offset. It
 * outlives the style: while a consumer owns the queue, the entries are what earlier leases left undone.
 */
export interface LeaseEntry {
  /** Deliveries so far that count; 0 = looked at and held back, or put off, and never handed out otherwise. */
  readonly attempt: number;
  /** Index of the command that handed it out last; 0 = nobody has it. */
  readonly lease: number;
  /** How long it stays invisible from that moment, milliseconds: a duration, counted by whoever is the master. */
  readonly ms: number;
  /** Until when, in command time: what counts at the next start. Absent in rows of earlier versions, and when nobody has it. */
  readonly until?: number;
  /** It failed, and waits in its place for its next delivery: nobody has it meanwhile. */
  readonly failed?: boolean;
  /** Its present delivery does not count unless it fails: whoever had the message put it off. */
  readonly putOff?: boolean;
  /** Of its messageGroup; 0 = none. */
  readonly groupHash: number;
}

/** Deliveries from this queue, the present one included. */
export const deliveries = ({ attempt, putOff }: LeaseEntry): number => attempt + (putOff ? 1 : 0);

export class LeaseQueue {
  readonly topic: number;
  readonly queueId: number;
  /** The first offset that was never looked at. */
  next: number;
  /**
   * Offset that consumers that own the queue have committed. It may lie before the committed offset, which passes over
   * messages that are done. It tells a repeated commit from one backwards.
   */
  said: number | undefined;
  /** By offset, ascending: entries are only ever added behind the last one. */
  readonly entries = new Map<number, LeaseEntry>();

  constructor(topic: number, queueId: number, next: number) {
    this.topic = topic;
    this.queueId = queueId;
    this.next = next;
  }

  /** The lowest offset that is not done. */
  get committed(): number {
    for (const offset of this.entries.keys()) return offset;
    return this.next;
  }

  /** Messages from `from` up to the queue's end `max` that are not done. */
  openFrom(from: number, max: number): number {
    let open = Math.max(0, max - Math.max(from, this.next));
    for (const offset of this.entries.keys()) if (offset >= from) open++;
    return open;
  }

  /**
   * Finds the first offset at or behind a given one that is not done. The answer holds for the entries of this moment
   * and expects ascending offsets: a reader walks the queue once.
   */
  walk(): (offset: number) => number {
    const open = [...this.entries.keys()];
    const { next } = this;
    let at = 0;
    return (offset) => {
      while (at < open.length && open[at]! < offset) at++;
      return offset >= next ? offset : (open[at] ?? next);
    };
  }
}
