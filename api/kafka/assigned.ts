/**
 * Reading partitions that the client chose, without the group dividing them: by offset, with positions kept here. The
 * group only remembers what is committed.
 */
import { delay } from '../../src/base/clock';
import { commit } from './committing';
import { leave, setUpGroup } from './groupSetup';
import { queueInfo } from './metadata';
import type { Native } from './native';
import {
  Delivered,
  nameOfQueue,
  type Bounds,
  type QueueAt,
  type QueueOffset,
  type Reading,
  type ReadingParts,
  type SeekTarget,
} from './reading';
import type { NativeMessage } from './records';

interface Position extends QueueAt {
  /** The next offset to read. */
  next: number;
}

interface Page {
  readonly messages: NativeMessage[];
  readonly nextOffset: number;
}

const MOST = 1000;

export class Assigned implements Reading {
  readonly #parts: ReadingParts;
  readonly #positions = new Map<string, Position>();
  readonly #delivered = new Delivered();
  /** Another one is read first each time. */
  #turn = 0;

  constructor(parts: ReadingParts) {
    this.#parts = parts;
  }

  /** Begins where the group stands; a group that is new begins as the instance says. */
  async start(queues: readonly QueueAt[], signal: AbortSignal): Promise<void> {
    const { native, group, consumer, reset } = this.#parts;
    for (const topic of new Set(queues.map((at) => at.topic))) {
      await setUpGroup(native, { group, topic, consumer, reset }, signal);
      // A topic that was added made it a member for a moment.
      await leave(native, group, consumer, signal);
    }
    const committed = new Map((await committedOffsets(native, group, signal)).map((at) => [nameOfQueue(at), at]));
    for (const at of queues)
      this.#positions.set(nameOfQueue(at), { ...at, next: committed.get(nameOfQueue(at))?.nextOffset ?? 0 });
  }

  async next({ maxBytes, waitMs, first }: Bounds, signal: AbortSignal): Promise<NativeMessage[]> {
    if (first && this.#parts.autoCommit) await this.#commitQuietly(signal);
    const positions = [...this.#positions.values()];
    if (positions.length === 0) {
      await delay(this.#parts.clock, waitMs, signal);
      return [];
    }
    const start = this.#turn++ % positions.length;
    for (let i = 0; i < positions.length; i++) {
      const messages = await this.#read(positions[(start + i) % positions.length]!, maxBytes, 0, signal);
      if (messages.length > 0) return messages;
    }
    return waitMs > 0 ? this.#wait(positions, maxBytes, waitMs, signal) : [];
  }

  /** Waits on all of them. Reading changes nothing, so those that are not used are dropped. */
  async #wait(positions: readonly Position[], maxBytes: number, waitMs: number, signal: AbortSignal) {
    const over = new AbortController();
    const own = AbortSignal.any([signal, over.signal]);
    try {
      const messages = await new Promise<NativeMessage[]>((resolve, reject) => {
        let waiting = positions.length;
        const done = ({ messages: found }: Page) => {
          if (--waiting === 0 || found.length > 0) resolve(found);
        };
        for (const position of positions) this.#page(position, maxBytes, waitMs, own).then(done, reject);
      });
      this.#advance(messages);
      return messages;
    } finally {
      over.abort();
    }
  }

  async #read(position: Position, maxBytes: number, waitMs: number, signal: AbortSignal): Promise<NativeMessage[]> {
    const { messages } = await this.#page(position, maxBytes, waitMs, signal);
    this.#advance(messages);
    return messages;
  }

  #advance(messages: readonly NativeMessage[]): void {
    const last = messages.at(-1);
    const position = last && this.#positions.get(nameOfQueue(last));
    if (position) position.next = last.queueOffset + 1;
  }

  async #page(position: Position, maxBytes: number, waitMs: number, signal: AbortSignal): Promise<Page> {
    const { native, reset } = this.#parts;
    const { topic, broker, queueId } = position;
    for (let again = false; ; again = true) {
      const query = { offset: position.next, max: MOST, maxBytes, waitMs };
      const answer = await native.call('readQueue', { path: { topic, broker, queueId }, query }, signal);
      if (answer.ok) return answer.json<Page>();
      const failure = answer.failure();
      if (failure.code !== 'OFFSET_MOVED' || again) throw failure;
      // As auto.offset.reset says for positions that do not exist (any more).
      const { minOffset, maxOffset } = await queueInfo(native, topic, position, signal);
      position.next = reset === 'earliest' ? minOffset : maxOffset;
    }
  }

  giveBack(messages: readonly NativeMessage[]): void {
    for (const message of [...messages].reverse()) {
      const position = this.#positions.get(nameOfQueue(message));
      if (position) position.next = message.queueOffset;
    }
  }

  delivered(message: NativeMessage): void {
    this.#delivered.note(message);
  }

  async #commitQuietly(signal: AbortSignal): Promise<void> {
    const { native, group } = this.#parts;
    await commit(native, { group }, this.#delivered.offsets, signal);
    this.#delivered.clear();
  }

  async commitDelivered(signal: AbortSignal): Promise<void> {
    await this.commit(this.#delivered.offsets, signal);
    this.#delivered.clear();
  }

  async commit(offsets: readonly QueueOffset[], signal: AbortSignal): Promise<void> {
    const { native, group } = this.#parts;
    const [refused] = await commit(native, { group }, offsets, signal);
    if (refused) throw refused.error;
  }

  async seek(
    to: readonly (QueueAt & { readonly to: SeekTarget })[],
    unassigned: () => Error,
    signal: AbortSignal,
  ): Promise<void> {
    if (to.some((at) => !this.#positions.has(nameOfQueue(at)))) throw unassigned();
    for (const at of to) {
      const position = this.#positions.get(nameOfQueue(at))!;
      position.next = typeof at.to === 'number' ? at.to : await this.#edge(at, at.to, signal);
      this.#delivered.forget(at);
    }
  }

  async #edge(at: QueueAt, edge: 'EARLIEST' | 'LATEST', signal: AbortSignal): Promise<number> {
    const { minOffset, maxOffset } = await queueInfo(this.#parts.native, at.topic, at, signal);
    return edge === 'EARLIEST' ? minOffset : maxOffset;
  }

  async queues(): Promise<readonly QueueAt[]> {
    return [...this.#positions.values()];
  }

  /** Nobody else waits for its partitions: there is nothing to renew. */
  async refresh(): Promise<void> {}

  async stop(commits: boolean, signal: AbortSignal): Promise<void> {
    if (commits && this.#parts.autoCommit) await this.#commitQuietly(signal);
  }
}

/** Where a group stands in all its queues; a group that does not exist stands nowhere. */
export async function committedOffsets(native: Native, group: string, signal: AbortSignal): Promise<QueueOffset[]> {
  const answer = await native.call('getOffsets', { path: { group }, query: {} }, signal);
  if (!answer.ok) {
    const failure = answer.failure();
    if (failure.code === 'GROUP_NOT_FOUND') return [];
    throw failure;
  }
  const { offsets } = answer.json<{ offsets: readonly (QueueAt & { committed: number })[] }>();
  return offsets.map(({ topic, broker, queueId, committed }) => ({ topic, broker, queueId, nextOffset: committed }));
}
