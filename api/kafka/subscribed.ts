/**
 * Reading as a member of the group, which divides the partitions. The native poll reads, waits and keeps the partitions;
 * its cursor is the reading position. What did not fit into an answer is kept here and comes first the next time.
 */
import { delay } from '../../src/base/clock';
import { commit } from './committing';
import { join, leave, setUpGroup, type OwnedQueue } from './groupSetup';
import { topicNames } from './metadata';
import { topicOf } from './places';
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
import { storedBytes, type NativeMessage } from './records';
import { offsetsOf } from './seeking';
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
/** Topics that came are looked for so often, milliseconds: one by name, or all for a pattern. */
const LOOK_MS = 2000;
const LOOK_AT_ALL_MS = 10_000;
/** Refusals after which the consumer joins again and goes on; from the committed offsets, if its cursor is of no use. */
const REJOIN = new Set(['NOT_JOINED', 'GROUP_NOT_FOUND', 'CURSOR_INVALID', 'TOPIC_RECREATED']);
const USELESS_CURSOR = new Set(['GROUP_NOT_FOUND', 'CURSOR_INVALID', 'TOPIC_RECREATED']);

export class Subscribed implements Reading {
  readonly wanted: Wanted;
  readonly #parts: ReadingParts;
  readonly #pattern: TopicPattern | undefined;
  readonly #consumed = new Consumed();
  readonly #lookMs: number;
  /** Topics that were there when it subscribed. */
  #old: ReadonlySet<string> | undefined;
  #joined: string[] = [];
  #lookedAt = -Infinity;
  #left: NativeMessage[] = [];
  #cursor = '';
  #generation = '';
  /** It was moved since the last commit: maybe back, which a poll's own commit does not do. */
  #sought = false;
  readonly missing: readonly Place[] = [];

  /** Throws 422 for a pattern that is none. */
  constructor(parts: ReadingParts, wanted: Wanted) {
    this.#parts = parts;
    this.wanted = wanted;
    this.#pattern = 'pattern' in wanted ? new TopicPattern(wanted.pattern) : undefined;
    this.#lookMs = this.#pattern ? LOOK_AT_ALL_MS : LOOK_MS;
  }

  /** Those of the wanted topics that exist, in order. */
  get topics(): readonly string[] {
    return this.#joined;
  }

  /** Joins for all topics that exist. When it resolves, nothing that is sent later is missed. */
  async start(signal: AbortSignal): Promise<void> {
    const { native, clock, group, consumer } = this.#parts;
    this.#lookedAt = clock.monotonic();
    const found = await this.#found(signal);
    this.#old ??= new Set(found);
    for (const topic of found) {
      if (this.#joined.includes(topic)) continue;
      // All of a topic that was not there came after the subscription.
      const reset = this.#old.has(topic) ? this.#parts.reset : 'earliest';
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
    const bounded = this.#isComplete ? waitMs : Math.min(waitMs, this.#lookMs);
    if (!this.#isComplete && clock.monotonic() - this.#lookedAt >= this.#lookMs) await this.start(signal);
    if (this.#joined.length === 0) {
      await delay(clock, bounded, signal);
      return [];
    }
    const commits = first && autoCommit;
    if (commits && this.#sought) await this.#commitQuietly(signal);
    const { messages, cursor, generation } = await this.#poll(maxBytes, bounded, commits, signal);
    if (commits) this.#consumed.clear();
    this.#cursor = cursor;
    this.#generation = generation;
    return messages;
  }

  async #poll(maxBytes: number, waitMs: number, autoCommit: boolean, signal: AbortSignal): Promise<Page> {
    const { native, group, consumer } = this.#parts;
    for (let again = false; ; again = true) {
      const query = { max: MOST, min: 1, maxBytes: storedBytes(maxBytes), waitMs, cursor: this.#cursor, autoCommit };
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
    this.#consumed.note(message);
  }

  /** Partitions that were lost meanwhile are read again by whoever has them now. */
  async #commitQuietly(signal: AbortSignal): Promise<void> {
    const { native, group, consumer } = this.#parts;
    await commit(native, { group, consumer, generation: this.#generation }, this.#consumed.offsets, signal);
    this.#committed();
  }

  async commitDelivered(signal: AbortSignal): Promise<void> {
    const { native, group, consumer } = this.#parts;
    const by = { group, consumer, generation: this.#generation };
    const { refused } = await commit(native, by, this.#consumed.offsets, signal);
    if (refused[0]) throw refused[0].error;
    this.#committed();
  }

  #committed(): void {
    this.#consumed.clear();
    this.#sought = false;
  }

  async commit(offsets: readonly QueueOffset[], beyond: number, signal: AbortSignal): Promise<readonly Shortened[]> {
    const { native, group, consumer } = this.#parts;
    const own = await commit(native, { group, consumer }, offsets, signal, beyond);
    const other = own.refused.find(({ error }) => error.code !== 'QUEUE_NOT_OWNED');
    if (other) throw other.error;
    // A partition that nobody has may be committed by anybody.
    const rest = own.refused.map(({ at }) => at);
    const free = await commit(native, { group }, rest, signal, beyond);
    if (free.refused[0]) throw free.refused[0].error;
    return [...own.shortened, ...free.shortened];
  }

  async seek(
    to: readonly (QueueAt & { readonly to: SeekTarget })[],
    unassigned: () => Error,
    signal: AbortSignal,
  ): Promise<void> {
    const { native, reset } = this.#parts;
    const owned = new Set((await this.queues(signal)).map(nameOfQueue));
    if (to.some((at) => !owned.has(nameOfQueue(at)))) throw unassigned();
    const offsets = await offsetsOf(native, reset, to, signal);
    this.#cursor = await this.#cursorAt(offsets, signal);
    this.#sought = true;
    for (const at of offsets) this.#consumed.move(at);
    const moved = new Set(offsets.map(nameOfQueue));
    this.#left = this.#left.filter((message) => !moved.has(nameOfQueue(message)));
  }

  async #cursorAt(offsets: readonly QueueOffset[], signal: AbortSignal): Promise<string> {
    const { native, group, consumer } = this.#parts;
    for (let cursor = this.#cursor; ; cursor = '') {
      const body = { ...(cursor === '' ? {} : { cursor }), offsets: offsets.map((at) => ({ ...at })) };
      const asked = { path: { group, consumerId: consumer }, query: {} as never, body };
      const answer = await native.call('seekConsumer', asked, signal);
      if (answer.ok) return answer.json<{ cursor: string }>().cursor;
      const failure = answer.failure();
      if (cursor === '' || !USELESS_CURSOR.has(failure.code)) throw failure;
    }
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
