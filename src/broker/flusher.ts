/**
 * Carries what was decided into the tables store, in few large synced batches: every 100 ms, or as soon as 8 MiB wait.
 * A batch holds exactly the changes up to one applied index; start-up replays the journal from there. (That the journal
 * holds all of it durably before, `Tables.flush` sees to.)
 */
import type { Tables } from '../../storage/tables';
import { tableKeys } from '../../storage/keys';
import type { Clock, Timer } from '../base/clock';
import type { Operation } from './overlay';
import type { Segment } from './segment';
import type { Queue } from './queue';
import type { BrokerState } from './state';

/** Milliseconds between flushes: bounds the replay, not durability. */
const FLUSH_MS = 100;
/** Bytes that start a flush at once. */
const FLUSH_BYTES = 8 * 1024 * 1024;
const SEGMENT_ROW_BYTES = 40;

export interface FlusherParts {
  clock: Clock;
  state: BrokerState;
  tables: Tables;
  onFatal: (error: unknown) => void;
}

export class Flusher {
  readonly #parts: FlusherParts;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #halted = false;
  #flushedTo: number;
  /** Stored segments that memory still holds, oldest first; they leave with their messages. */
  #stored: { queue: Queue; segment: Segment }[] = [];
  #storedHead = 0;

  constructor(parts: FlusherParts) {
    this.#parts = parts;
    this.#flushedTo = parts.tables.applied;
  }

  /** Called after each turn. */
  notice(): void {
    if (this.#running || this.#halted) return;
    const { overlay, idRuns, keys } = this.#parts.state;
    if (overlay.activeBytes + (idRuns.pending + keys.pending) * SEGMENT_ROW_BYTES > FLUSH_BYTES) this.#start();
    else this.#timer ??= this.#parts.clock.after(FLUSH_MS, () => this.#start());
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #start(): void {
    this.#disarm();
    if (this.#running || this.#halted) return;
    this.#running = this.#flush()
      .catch((error: unknown) => this.#parts.onFatal(error))
      .finally(() => {
        this.#running = undefined;
        if (this.#parts.state.applied > this.#flushedTo) this.notice();
      });
  }

  /** Flushes all that is applied, and waits for it. */
  async flush(): Promise<void> {
    // The end of one may begin the next at once; two at a time would take the rows from each other.
    while (this.#running) await this.#running;
    this.#disarm();
    if (this.#parts.state.applied > this.#flushedTo && !this.#halted) await this.#flush();
  }

  /** A write has failed, here or elsewhere: nothing more is written, and the next start replays the rest. */
  halt(): void {
    this.#halted = true;
    this.#disarm();
  }

  async #flush(): Promise<void> {
    const { state, tables } = this.#parts;
    const applied = state.applied;
    const segments = this.#takeSegments();
    const operations = this.#collect(segments);
    const counts = { ...state.counts };
    await tables.flush(operations, applied, counts);
    this.#flushedTo = applied;
    state.overlay.flushed();
    state.idRuns.flushed();
    state.keys.flushed();
    for (const entry of segments) {
      entry.segment.stored = true;
      this.#stored.push(entry);
    }
    this.#forgetOld();
  }

  #takeSegments(): { queue: Queue; segment: Segment }[] {
    const segments: { queue: Queue; segment: Segment }[] = [];
    for (const queue of this.#parts.state.unflushedQueues) {
      queue.unflushed = false;
      for (let i = queue.segments.length - 1; i >= 0 && !queue.segments[i]!.closed; i--) {
        queue.segments[i]!.closed = true;
        segments.push({ queue, segment: queue.segments[i]! });
      }
    }
    this.#parts.state.unflushedQueues.clear();
    // Oldest message first: in this order memory forgets them.
    return segments.sort((a, b) => a.segment.lastPosition - b.segment.lastPosition);
  }

  #collect(segments: { queue: Queue; segment: Segment }[]): Operation[] {
    const { state } = this.#parts;
    for (const topic of state.topics.values()) {
      if (topic.seen.unflushed.size === 0) continue;
      for (const tag of topic.seen.unflushed) state.putSeenTag(topic.record.no, tag);
      topic.seen.unflushed.clear();
    }
    state.putMarks();
    const operations: Operation[] = [...state.overlay.take(), ...state.idRuns.take(), ...state.keys.take()];
    for (const { queue, segment } of segments) {
      operations.push({ key: tableKeys.segment(queue.topic, queue.queueId, segment.first), value: segment.value() });
    }
    return operations;
  }

  /** Index entries stay in memory as long as their messages do. */
  #forgetOld(): void {
    const { tail } = this.#parts.state;
    const first = tail.firstIndex === Infinity ? Infinity : tail.firstIndex * 1024;
    while (this.#storedHead < this.#stored.length) {
      const { queue, segment } = this.#stored[this.#storedHead]!;
      if (segment.lastPosition >= first) break;
      if (queue.segments[0] === segment) queue.segments.shift();
      this.#storedHead++;
    }
    if (this.#storedHead > 1024 && this.#storedHead * 2 > this.#stored.length) {
      this.#stored = this.#stored.slice(this.#storedHead);
      this.#storedHead = 0;
    }
  }
}
