/**
 * How long messages are kept: by age, and by what the disk has left. RocketMQ's rules (DefaultMessageStore's clean
 * services): 72 hours; above 75 % of the disk expired messages go at any hour (ours always do); above 85 % the oldest go
 * even if they have not expired, but here only if that frees the space (diskPressure.ts); above 90 % nothing more is
 * taken in. Whether they were read does not count. Ages are counted by a time that no set clock moves (trustedTime.ts).
 */
import { positionOf } from '../../storage/keys';
import type { Journal } from '../../storage/journal';
import { LIMITS } from '../base/limits';
import type { Log } from '../base/log';
import type { TrustedTime } from '../base/trustedTime';
import { ClockWatch } from './clockWatch';
import type { QueueOffset } from './command';
import type { Core } from './core';
import { DiskPressure, usedRatioOf, type DiskUse, type Pressure } from './diskPressure';
import { hourOf } from './idRuns';
import type { Queue } from './queue';
import { answerBucketOf } from './sends';
import type { Buried } from './state';
import { TOMBSTONE_MS } from './tombstone';

/** Asks the disk that the data folder is on. */
export interface DiskSpace {
  use(): Promise<DiskUse>;
}

export interface RetentionOptions {
  readonly retentionMs: number;
  /** Above it the oldest messages go before their time. */
  readonly forceTrimRatio: number;
  /** Above it new messages are refused. */
  readonly refuseRatio: number;
}

/** Why messages were trimmed. */
export type TrimReason = 'age' | 'disk';

/** Expired records other than messages. */
interface LowMarks {
  readonly answerBucket: number;
  readonly decisionHour: number;
  readonly tombstones: string[];
  readonly groupTombstones: string[];
  readonly producerGroupTombstones: string[];
}

const NO_MARKS: LowMarks = {
  ...{ answerBucket: 0, decisionHour: 0 },
  ...{ tombstones: [], groupTombstones: [], producerGroupTombstones: [] },
};

/** Queues whose minimum moves in one trim command. */
const MINIMA_PER_COMMAND = 10_000;

export class Retention {
  readonly #core: Core;
  readonly #journal: Journal;
  readonly #disk: DiskSpace;
  readonly #options: RetentionOptions;
  readonly #log: Log;
  readonly #pressure: DiskPressure;
  readonly #clockWatch: ClockWatch;
  /** Pressure that the last look at the disk found, so that a change is logged once. */
  #pressed: Pressure['kind'] = 'NONE';
  /** Messages trimmed since the process started, by reason. */
  readonly trimmed: Record<TrimReason, number> = { age: 0, disk: 0 };
  /** Of the whole disk, when it was last asked. */
  usedRatio = 0;
  /** New messages are refused. */
  full = false;
  /** Where each queue's first kept message lies: asked once, then known. */
  readonly #firstPositions = new WeakMap<Queue, { offset: number; position: number }>();

  constructor(parts: {
    core: Core;
    journal: Journal;
    disk: DiskSpace;
    time: TrustedTime;
    options: RetentionOptions;
    log: Log;
  }) {
    this.#core = parts.core;
    this.#journal = parts.journal;
    this.#disk = parts.disk;
    this.#options = parts.options;
    this.#log = parts.log;
    const { core, time, options, log } = parts;
    this.#pressure = new DiskPressure({ clock: core.clock, ratio: options.forceTrimRatio });
    this.#clockWatch = new ClockWatch({ core, time, log });
  }

  /** Looks once and trims at most once. */
  async runOnce(): Promise<void> {
    const use = await this.look();
    await this.#clockWatch.look();
    const { marks, applied } = this.#core.state;
    const now = this.#core.trustedNow();
    const byAge = await this.#journal.firstIndexAtOrAfter(now - this.#options.retentionMs);
    if (byAge <= marks.journalHead && (await this.#trimForDisk(use))) return;
    const head = Math.min(byAge, applied + 1);
    const answerBucket = answerBucketOf(now) - 1;
    const decisionHour = hourOf(now - LIMITS.decisionMs);
    const tombstones = this.#oldTombstones('TOPIC', now);
    const groupTombstones = this.#oldTombstones('GROUP', now);
    const due = answerBucket > marks.answerBucket || decisionHour > marks.decisionHour;
    const producerGroupTombstones = this.#oldTombstones('PRODUCER_GROUP', now);
    const old = tombstones.length + groupTombstones.length + producerGroupTombstones.length > 0;
    if (head <= marks.journalHead && !due && !old) return;
    const low = { answerBucket, decisionHour, tombstones, groupTombstones, producerGroupTombstones };
    await this.trim(Math.max(head, marks.journalHead), { reason: 'age', low });
  }

  /** Before anything is served: whether there is room, and whether the clock can be believed. */
  async firstLook(): Promise<void> {
    await this.look();
    await this.#clockWatch.look();
  }

  /** Asks the disk and decides whether anything more is taken in. */
  async look(): Promise<DiskUse> {
    const use = await this.#disk.use();
    this.usedRatio = usedRatioOf(use);
    const full = this.usedRatio >= this.#options.refuseRatio;
    if (full !== this.full)
      this.#log.warn(
        { usedRatio: this.usedRatio, ...use, full },
        full ? 'disk full: messages are refused, reading goes on' : 'disk has room again',
      );
    this.full = full;
    return use;
  }

  /** True if messages were trimmed before their time. */
  async #trimForDisk(use: DiskUse): Promise<boolean> {
    const pressure = this.#pressure.judge(use);
    const isNew = pressure.kind !== this.#pressed;
    this.#pressed = pressure.kind;
    const facts = { usedRatio: this.usedRatio, forceTrimRatio: this.#options.forceTrimRatio, ...use };
    if (pressure.kind === 'HELPLESS' && isNew)
      this.#log.warn(
        { ...facts, neededBytes: pressure.neededBytes },
        "the disk is above --disk-force-trim-ratio, and trimming this broker's journal cannot change that: nothing is trimmed; " +
          'free space, or sends are refused above --disk-refuse-ratio',
      );
    if (pressure.kind !== 'TRIM') return false;
    const part = Math.min(1, pressure.bytes / use.journalBytes);
    const to = Math.min(this.#journal.indexAfter(part), this.#core.state.applied + 1);
    const before = this.trimmed.disk;
    await this.trim(to, { reason: 'disk' });
    this.#journal.giveBackSoon();
    this.#log.warn(
      { ...facts, neededBytes: pressure.bytes, head: to, messages: this.trimmed.disk - before },
      'the disk is above --disk-force-trim-ratio: the oldest messages were trimmed before their age, read or not',
    );
    return true;
  }

  #oldTombstones(kind: Buried, now: number): string[] {
    return [...this.#core.state.tombstones[kind].values()]
      .filter(({ deletedAt }) => deletedAt < now - TOMBSTONE_MS)
      .map(({ name }) => name)
      .slice(0, 1000);
  }

  /** Moves the journal's head to `head`, every queue's minimum to its first message that stays, and the other low marks. */
  async trim(head: number, { reason, low = NO_MARKS }: { reason: TrimReason; low?: LowMarks }): Promise<void> {
    const minima = await this.#minima(positionOf(head, 0));
    const { marks, topics } = this.#core.state;
    for (const { topic, queueId, nextOffset } of minima)
      this.trimmed[reason] += nextOffset - (topics.get(topic)?.queues[queueId]?.min ?? nextOffset);
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
    await this.#core.submit({ kind: 'trim', head, minima, idHour, ...low });
    if (minima.length > 0) this.#log.info({ head, queues: minima.length, reason }, 'messages trimmed');
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
