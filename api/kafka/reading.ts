/** What an instance reads, and how far it is: the seam between instances and the two ways of reading. */
import type { Clock } from '../../src/base/clock';
import type { Reset } from './groupSetup';
import type { Native } from './native';
import type { NativeMessage } from './records';

/** A partition as clients name it. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
}

/** A partition by its queue. */
export interface QueueAt {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
}

export interface QueueOffset extends QueueAt {
  /** The next offset to read. */
  readonly nextOffset: number;
}

export type SeekTarget = 'EARLIEST' | 'LATEST' | number;

export interface Bounds {
  /** Of keys and values, about: what is over it is given back. */
  readonly maxBytes: number;
  /** Milliseconds. */
  readonly waitMs: number;
  /** The first of a call: what the call before delivered may be committed. */
  readonly first: boolean;
}

/** What both ways of reading need. */
export interface ReadingParts {
  readonly native: Native;
  readonly clock: Clock;
  readonly group: string;
  readonly consumer: string;
  readonly reset: Reset;
  readonly autoCommit: boolean;
}

/** Where an instance reads. Its calls come one after the other. */
export interface Reading {
  /** The next messages; the reading position moves behind them. None: the wait is over. */
  next(bounds: Bounds, signal: AbortSignal): Promise<NativeMessage[]>;
  /** These were not handed on: they come first the next time. */
  giveBack(messages: readonly NativeMessage[]): void;
  /** This one was handed on. */
  delivered(message: NativeMessage): void;
  /** Commits all that was delivered. */
  commitDelivered(signal: AbortSignal): Promise<void>;
  /** Answers those that were stored as the end of their queue, because they lie behind it, by `beyond` at most. */
  commit(offsets: readonly QueueOffset[], beyond: number, signal: AbortSignal): Promise<readonly Shortened[]>;
  /** Moves the reading position and commits nothing. Throws what `unassigned` makes for a partition that it does not read. */
  seek(
    to: readonly (QueueAt & { readonly to: SeekTarget })[],
    unassigned: () => Error,
    signal: AbortSignal,
  ): Promise<void>;
  /** What it reads now. */
  queues(signal: AbortSignal): Promise<readonly QueueAt[]>;
  /** Assigned partitions that do not exist yet: they are read as soon as they do. */
  readonly missing: readonly Place[];
  /** Sign of life; also looks for topics that came. */
  refresh(signal: AbortSignal): Promise<void>;
  /** It reads no more. `commits`: with auto commit, what was delivered counts as handled. */
  stop(commits: boolean, signal: AbortSignal): Promise<void>;
}

export const nameOfQueue = ({ topic, broker, queueId }: QueueAt): string => `${topic} ${broker} ${queueId}`;

/** A commit behind the end of a queue: `stored` is that end. */
export interface Shortened {
  readonly at: QueueOffset;
  readonly stored: number;
}

/** The next offset of each queue that was read, or sought, since the last commit: what a commit of everything means. */
export class Consumed {
  readonly #next = new Map<string, QueueOffset>();

  note({ topic, broker, queueId, queueOffset }: NativeMessage): void {
    this.move({ topic, broker, queueId, nextOffset: queueOffset + 1 });
  }

  move(at: QueueOffset): void {
    this.#next.set(nameOfQueue(at), at);
  }

  clear(): void {
    this.#next.clear();
  }

  get offsets(): QueueOffset[] {
    return [...this.#next.values()];
  }
}
