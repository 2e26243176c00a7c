/**
 * How long messages are kept: by age, and by what the disk has left. RocketMQ's rules (DefaultMessageStore's clean
 * services): 72 hours; above 75 % of the disk expired messages go at any hour (ours always do); above 85 % the oldest go
 * even if they have not expired; above 90 % nothing more is taken in. Whether they were read does not count.
 */
import { positionOf } from '../../storage/keys';
import type { Journal } from '../../storage/journal';
import { LIMITS } from '../base/limits';
import type { Log } from '../base/log';
import type { CommandOf } from './apply';
import type { QueueOffset } from './command';
import type { Core } from './core';
import { hourOf } from './idRuns';
import type { Queue } from './queue';
import { answerBucketOf } from './sends';
import type { Buried } from './state';
import { TOMBSTONE_MS } from './tombstone';

/** What a disk says of itself; storage/diskSpace.ts asks the real one. */
export interface DiskSpace {
  /** 0..1: the part of the disk that is used. */
  usedRatio(): Promise<number>;
}

export interface RetentionOptions {
  readonly retentionMs: number;
  /** Above it the oldest messages go before their time. */
  readonly forceTrimRatio: number;
  /** Above it new messages are refused. */
  readonly refuseRatio: number;
}

/** Queues whose minimum moves in one trim command. */
const MINIMA_PER_COMMAND = 10_000;
/** Part of the journal that goes at a time while the disk is too full. */
const FORCED_STEP = 0.05;

export class Retention {
  readonly #core: Core;
  readonly #journal: Journal;
  readonly #disk: DiskSpace;
  readonly #options: RetentionOptions;
  readonly #log: Log;
  /** Of the whole disk, when it was last asked. */
  usedRatio = 0;
  /** New messages are refused. */
  full = false;
  /** Where each queue's first kept message lies: asked once, then known. */
  readonly #firstPositions = new WeakMap<Queue, { offset: number; position: number }>();

  constructor(parts: { core: Core; journal: Journal; disk: DiskSpace; options: RetentionOptions; log: Log }) {
    this.#core = parts.core;
    this.#journal = parts.journal;
    this.#disk = parts.disk;
    this.#options = parts.options;
    this.#log = parts.log;
  }

  /** Looks once and trims at most once. */
  async runOnce(): Promise<void> {
    await this.look();
    const { marks, applied } = this.#core.state;
    const now = this.#core.clock.now();
    let head = await this.#journal.firstIndexAtOrAfter(now - this.#options.retentionMs);
    if (this.usedRatio >= this.#options.forceTrimRatio) head = Math.max(head, this.#forcedHead());
    head = Math.min(head, applied + 1);
    const answerBucket = answerBucketOf(now) - 1;
    const decisionHour = hourOf(now - LIMITS.decisionMs);
    const tombstones = this.#oldTombstones('TOPIC', now);
    const groupTombstones = this.#oldTombstones('GROUP', now);
    const due = answerBucket > marks.answerBucket || decisionHour > marks.decisionHour;
    const producerGroupTombstones = this.#oldTombstones('PRODUCER_GROUP', now);
    const old = tombstones.length + groupTombstones.length + producerGroupTombstones.length > 0;
    if (head <= marks.journalHead && !due && !old) return;
    const gone = { decisionHour, groupTombstones, producerGroupTombstones };
    await this.trim(Math.max(head, marks.journalHead), answerBucket, tombstones, gone);
  }

  /** Asks the disk and decides whether anything more is taken in. */
  async look(): Promise<void> {
    this.usedRatio = await this.#disk.usedRatio();
    const full = this.usedRatio >= this.#options.refuseRatio;
    if (full !== this.full)
      this.#log.warn(
        { usedRatio: this.usedRatio, full },
        full ? 'disk full: messages are refused' : 'disk has room again',
      );
    this.full = full;
  }

  #forcedHead(): number {
    const { head, end } = this.#journal;
    return head + Math.max(1, Math.ceil((end - head) * FORCED_STEP));
  }

  #oldTombstones(kind: Buried, now: number): string[] {
    return [...this.#core.state.tombstones[kind].values()]
      .filter(({ deletedAt }) => deletedAt < now - TOMBSTONE_MS)
      .map(({ name }) => name)
      .slice(0, 1000);
  }

  /** Moves the journal's head to `head`, and every queue's minimum to its first message that stays. */
  async trim(
    head: number,
    answerBucket: number,
    tombstones: string[],
    gone: Pick<CommandOf<'trim'>, 'decisionHour' | 'groupTombstones' | 'producerGroupTombstones'> = {},
  ): Promise<void> {
    const minima = await this.#minima(positionOf(head, 0));
    const { marks } = this.#core.state;
    const idHour = head > this.#core.state.applied ? hourOf(marks.time) : await this.#hourOfIndex(head);
    // Minima first, the head last: a crash in between leaves messages that nobody needs, never an index without messages.
    while (minima.length > MINIMA_PER_COMMAND) {
      const some = minima.splice(0, MINIMA_PER_COMMAND);
      await this.#core.submit({
        kind: 'trim',
        head: marks.journalHead,
        minima: some,
        idHour: 0,
        answerBucket: 0,
        tombstones: [],
      });
    }
    await this.#core.submit({ kind: 'trim', head, minima, idHour, answerBucket, tombstones, ...gone });
    if (minima.length > 0) this.#log.info({ head, queues: minima.length }, 'messages trimmed');
  }

  async #hourOfIndex(index: number): Promise<number> {
    const time = await this.#journal.timeOf(index);
    return hourOf(time);
  }

  async #minima(position: number): Promise<QueueOffset[]> {
    const minima: QueueOffset[] = [];
    for (const topic of this.#core.state.topics.values()) {
      for (const queue of topic.queues) {
        if (queue.min === queue.max || (await this.#firstPosition(queue)) >= position) continue;
        const nextOffset = await this.#core.index.search(
          queue,
          (segment, offset) => segment.position(offset) >= position,
        );
        if (nextOffset > queue.min) minima.push({ topic: queue.topic, queueId: queue.queueId, nextOffset });
      }
    }
    return minima;
  }

  async #firstPosition(queue: Queue): Promise<number> {
    const known = this.#firstPositions.get(queue);
    if (known?.offset === queue.min) return known.position;
    const offset = queue.min;
    const segment = await this.#core.index.at(queue, offset);
    if (segment === undefined) return Infinity; // its topic was deleted meanwhile
    const position = segment.position(offset);
    this.#firstPositions.set(queue, { offset, position });
    return position;
  }
}
