/**
 * Reading partitions that the client chose, without the group dividing them: by offset, with positions kept here. The
 * group only remembers what is committed.
 */
import { delay } from '../../src/base/clock';
import { commit } from './committing';
import { leave, setUpGroup, type Reset } from './groupSetup';
import { queueInfo } from './metadata';
import type { Native } from './native';
import { queueOf } from './places';
import {
  Consumed,
  nameOfQueue,
  type Bounds,
  type Place,
  type QueueAt,
  type QueueOffset,
  type Reading,
  type ReadingParts,
  type SeekTarget,
  type Shortened,
} from './reading';
import { bytesOf, storedBytes, type NativeMessage } from './records';
import { offsetsOf } from './seeking';

interface Position extends QueueAt {
  /** The next offset to read. */
  next: number;
}

interface Page {
  readonly messages: NativeMessage[];
  readonly nextOffset: number;
}

const MOST = 1000;
/** Partitions that are missing are looked for so often, milliseconds. */
const LOOK_MS = 2000;

export class Assigned implements Reading {
  readonly #parts: ReadingParts;
  readonly #positions = new Map<string, Position>();
  readonly #consumed = new Consumed();
  #missing: readonly Place[];
  #lookedAt = -Infinity;
  /** Another one is read first each time. */
  #turn = 0;

  constructor(parts: ReadingParts, places: readonly Place[]) {
    this.#parts = parts;
    this.#missing = places;
  }

  get missing(): readonly Place[] {
    return this.#missing;
  }

  /** Partitions that exist are read from where the group stands; a group that is new begins as the instance says. */
  start(signal: AbortSignal): Promise<void> {
    return this.#find(this.#parts.reset, signal);
  }

  async #find(reset: Reset, signal: AbortSignal): Promise<void> {
    const { native, group, consumer, clock } = this.#parts;
    this.#lookedAt = clock.monotonic();
    const found = await Promise.all(this.#missing.map((place) => queueOf(native, place)));
    const queues = found.flatMap((queue) => queue ?? []);
    if (queues.length === 0) return;
    for (const topic of new Set(queues.map((at) => at.topic))) {
      await setUpGroup(native, { group, topic, consumer, reset }, signal);
      // A topic that was added made it a member for a moment.
      await leave(native, group, consumer, signal);
    }
    const committed = new Map((await committedOffsets(native, group, signal)).map((at) => [nameOfQueue(at), at]));
    for (const at of queues)
      this.#positions.set(nameOfQueue(at), { ...at, next: committed.get(nameOfQueue(at))?.nextOffset ?? 0 });
    this.#missing = this.#missing.filter((_, i) => !found[i]);
  }

  async next({ maxBytes, waitMs, first }: Bounds, signal: AbortSignal): Promise<NativeMessage[]> {
    const { clock, autoCommit } = this.#parts;
    if (first && autoCommit) await this.#commitQuietly(signal);
    const isWhole = this.#missing.length === 0;
    // All of a partition that was not there came after the assignment.
    if (!isWhole && clock.monotonic() - this.#lookedAt >= LOOK_MS) await this.#find('earliest', signal);
    const bounded = isWhole ? waitMs : Math.min(waitMs, LOOK_MS);
    const positions = [...this.#positions.values()];
    if (positions.length === 0) {
      await delay(clock, bounded, signal);
      return [];
    }
    const there = await this.#gather(positions, [], maxBytes, signal);
    if (there.length > 0 || bounded <= 0) return there;
    const woken = await this.#wait(positions, maxBytes, bounded, signal);
    return woken.length === 0 ? woken : this.#gather(positions, woken, maxBytes, signal);
  }

  /** Adds the messages that all partitions have now to `already`, as many as there is room for. */
  async #gather(
    positions: readonly Position[],
    already: readonly NativeMessage[],
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<NativeMessage[]> {
    const messages = [...already];
    const start = this.#turn++ % positions.length;
    let left = maxBytes - bytesIn(messages);
    for (let i = 0; i < positions.length && left > 0 && messages.length < MOST; i++) {
      const bounds = { max: MOST - messages.length, maxBytes: left, waitMs: 0 };
      const page = await this.#page(positions[(start + i) % positions.length]!, bounds, signal);
      this.#advance(page.messages);
      messages.push(...page.messages);
      left -= bytesIn(page.messages);
    }
    return messages;
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
        const bounds = { max: MOST, maxBytes, waitMs };
        for (const position of positions) this.#page(position, bounds, own).then(done, reject);
      });
      this.#advance(messages);
      return messages;
    } finally {
      over.abort();
    }
  }

  #advance(messages: readonly NativeMessage[]): void {
    const last = messages.at(-1);
    const position = last && this.#positions.get(nameOfQueue(last));
    if (position) position.next = last.queueOffset + 1;
  }

  async #page(
    position: Position,
    bounds: { readonly max: number; readonly maxBytes: number; readonly waitMs: number },
    signal: AbortSignal,
  ): Promise<Page> {
    const { native, reset } = this.#parts;
    const { topic, broker, queueId } = position;
    for (let again = false; ; again = true) {
      const query = { ...bounds, maxBytes: storedBytes(bounds.maxBytes), offset: position.next };
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
    this.#consumed.note(message);
  }

  async #commitQuietly(signal: AbortSignal): Promise<void> {
    const { native, group } = this.#parts;
    await commit(native, { group }, this.#consumed.offsets, signal);
    this.#consumed.clear();
  }

  async commitDelivered(signal: AbortSignal): Promise<void> {
    await this.commit(this.#consumed.offsets, 0, signal);
    this.#consumed.clear();
  }

  async commit(offsets: readonly QueueOffset[], beyond: number, signal: AbortSignal): Promise<readonly Shortened[]> {
    const { native, group } = this.#parts;
    const { refused, shortened } = await commit(native, { group }, offsets, signal, beyond);
    if (refused[0]) throw refused[0].error;
    return shortened;
  }

  async seek(
    to: readonly (QueueAt & { readonly to: SeekTarget })[],
    unassigned: () => Error,
    signal: AbortSignal,
  ): Promise<void> {
    const { native, reset } = this.#parts;
    if (to.some((at) => !this.#positions.has(nameOfQueue(at)))) throw unassigned();
    for (const at of await offsetsOf(native, reset, to, signal)) {
      this.#positions.get(nameOfQueue(at))!.next = at.nextOffset;
      this.#consumed.move(at);
    }
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

const bytesIn = (messages: readonly NativeMessage[]): number =>
  messages.reduce((sum, message) => sum + bytesOf(message), 0);

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
