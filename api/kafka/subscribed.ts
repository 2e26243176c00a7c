/**
 * Reading as a member of the group, which divides the partitions. The native poll reads, waits and keeps the partitions;
 * its cursor is the reading position. What did not fit into an answer is kept here and comes first the next time.
 */
import { delay } from '../../src/base/clock';
import { commit } from './committing';
import { join, leave, setUpGroup, type OwnedQueue } from './groupSetup';
import { topicNames } from './metadata';
import { topicOf } from './produce';
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
import { TopicPattern } from './topicPattern';

/** What is subscribed to. */
export type Wanted = { readonly topics: readonly string[] } | { readonly pattern: string };

interface Page {
  readonly messages: NativeMessage[];
  readonly cursor: string;
  readonly generation: string;
}

/** Messages of one native poll at most. */
const MOST = 1000;
/** Topics that came are looked for so often, milliseconds. */
const LOOK_MS = 10_000;
/** Refusals after which the consumer joins again and goes on; from the committed offsets, if its cursor is of no use. */
const REJOIN = new Set(['NOT_JOINED', 'GROUP_NOT_FOUND', 'CURSOR_INVALID', 'TOPIC_RECREATED']);
const USELESS_CURSOR = new Set(['GROUP_NOT_FOUND', 'CURSOR_INVALID', 'TOPIC_RECREATED']);

export class Subscribed implements Reading {
  readonly wanted: Wanted;
  readonly #parts: ReadingParts;
  readonly #pattern: TopicPattern | undefined;
  readonly #delivered = new Delivered();
  #joined: string[] = [];
  #lookedAt = -Infinity;
  #left: NativeMessage[] = [];
  #cursor = '';
  #generation = '';

  /** Throws 422 for a pattern that is none. */
  constructor(parts: ReadingParts, wanted: Wanted) {
    this.#parts = parts;
    this.wanted = wanted;
    this.#pattern = 'pattern' in wanted ? new TopicPattern(wanted.pattern) : undefined;
  }

  /** Those of the wanted topics that exist, in order. */
  get topics(): readonly string[] {
    return this.#joined;
  }

  /** Joins for all topics that exist. When it resolves, nothing that is sent later is missed. */
  async start(signal: AbortSignal): Promise<void> {
    const { native, clock, group, consumer, reset } = this.#parts;
    this.#lookedAt = clock.monotonic();
    for (const topic of await this.#found(signal)) {
      if (this.#joined.includes(topic)) continue;
      await setUpGroup(native, { group, topic, consumer, reset }, signal);
      this.#generation = (await join(native, { group, topic, consumer }, signal)).generation;
      this.#joined = [...this.#joined, topic].sort();
    }
  }

  /** No topic may come that it would read. */
  get #isComplete(): boolean {
    return 'topics' in this.wanted && this.wanted.topics.length === this.#joined.length;
  }

  async #found(signal: AbortSignal): Promise<string[]> {
    const { native } = this.#parts;
    const pattern = this.#pattern;
    if (pattern) return (await topicNames(native, signal)).filter((name) => pattern.matches(name));
    const { topics } = this.wanted as { topics: readonly string[] };
    const found = await Promise.all(topics.map((name) => topicOf(native, name)));
    return found.flatMap((topic) => topic?.name ?? []);
  }

  async next({ maxBytes, waitMs, first }: Bounds, signal: AbortSignal): Promise<NativeMessage[]> {
    const { clock, autoCommit } = this.#parts;
    if (this.#left.length > 0) {
      if (first && autoCommit) await this.#commitQuietly(signal);
      return this.#left.splice(0);
    }
    const bounded = this.#isComplete ? waitMs : Math.min(waitMs, LOOK_MS);
    if (!this.#isComplete && clock.monotonic() - this.#lookedAt >= LOOK_MS) await this.start(signal);
    if (this.#joined.length === 0) {
      await delay(clock, bounded, signal);
      return [];
    }
    const commits = first && autoCommit;
    const { messages, cursor, generation } = await this.#poll(maxBytes, bounded, commits, signal);
    if (commits) this.#delivered.clear();
    this.#cursor = cursor;
    this.#generation = generation;
    return messages;
  }

  async #poll(maxBytes: number, waitMs: number, autoCommit: boolean, signal: AbortSignal): Promise<Page> {
    const { native, group, consumer } = this.#parts;
    for (let again = false; ; again = true) {
      const query = { max: MOST, min: 1, maxBytes, waitMs, cursor: this.#cursor, autoCommit };
      const answer = await native.call('pollMessages', { path: { group, consumerId: consumer }, query }, signal);
      if (answer.ok) return answer.json<Page>();
      const failure = answer.failure();
      if (again || !REJOIN.has(failure.code)) throw failure;
      if (USELESS_CURSOR.has(failure.code)) this.#cursor = '';
      await this.#rejoin(signal);
    }
  }

  async #rejoin(signal: AbortSignal): Promise<void> {
    this.#joined = [];
    await this.start(signal);
  }

  giveBack(messages: readonly NativeMessage[]): void {
    this.#left = [...messages, ...this.#left];
  }

  delivered(message: NativeMessage): void {
    this.#delivered.note(message);
  }

  /** Partitions that were lost meanwhile are read again by whoever has them now. */
  async #commitQuietly(signal: AbortSignal): Promise<void> {
    const { native, group, consumer } = this.#parts;
    await commit(native, { group, consumer, generation: this.#generation }, this.#delivered.offsets, signal);
    this.#delivered.clear();
  }

  async commitDelivered(signal: AbortSignal): Promise<void> {
    const { native, group, consumer } = this.#parts;
    const by = { group, consumer, generation: this.#generation };
    const [refused] = await commit(native, by, this.#delivered.offsets, signal);
    if (refused) throw refused.error;
    this.#delivered.clear();
  }

  async commit(offsets: readonly QueueOffset[], signal: AbortSignal): Promise<void> {
    const { native, group, consumer } = this.#parts;
    const refused = await commit(native, { group, consumer }, offsets, signal);
    const other = refused.find(({ error }) => error.code !== 'QUEUE_NOT_OWNED');
    if (other) throw other.error;
    // A partition that nobody has may be committed by anybody.
    const [still] = await commit(
      native,
      { group },
      refused.map(({ at }) => at),
      signal,
    );
    if (still) throw still.error;
  }

  async seek(
    to: readonly (QueueAt & { readonly to: SeekTarget })[],
    unassigned: () => Error,
    signal: AbortSignal,
  ): Promise<void> {
    const { native, group } = this.#parts;
    const owned = new Set((await this.queues(signal)).map(nameOfQueue));
    if (to.some((at) => !owned.has(nameOfQueue(at)))) throw unassigned();
    for (const { to: target, ...at } of to) {
      const where = typeof target === 'number' ? { to: 'OFFSET', offset: target } : { to: target };
      const body = { ...where, queues: [at], dryRun: false };
      (await native.call('resetOffsets', { path: { group }, query: {} as never, body } as never, signal)).orThrow();
      this.#delivered.forget(at);
      this.#left = this.#left.filter((message) => nameOfQueue(message) !== nameOfQueue(at));
    }
    // The positions were moved under it: only what it knows from now on counts for commits.
    await this.refresh(signal);
  }

  async queues(signal: AbortSignal): Promise<readonly OwnedQueue[]> {
    const [topic] = this.#joined;
    if (topic === undefined) return [];
    const { queues, generation } = await this.#heartbeat(topic, signal);
    this.#generation = generation;
    return queues.filter((queue) => this.#joined.includes(queue.topic));
  }

  #heartbeat(topic: string, signal: AbortSignal) {
    const { native, group, consumer } = this.#parts;
    return join(native, { group, topic, consumer }, signal);
  }

  async refresh(signal: AbortSignal): Promise<void> {
    for (const topic of [...this.#joined]) {
      if (await topicOf(this.#parts.native, topic))
        this.#generation = (await this.#heartbeat(topic, signal)).generation;
      else this.#joined = this.#joined.filter((name) => name !== topic);
    }
    await this.start(signal);
  }

  async stop(commits: boolean, signal: AbortSignal): Promise<void> {
    const { native, group, consumer, autoCommit } = this.#parts;
    if (commits && autoCommit) await this.#commitQuietly(signal);
    if (this.#joined.length > 0) await leave(native, group, consumer, signal);
    this.#joined = [];
  }
}
