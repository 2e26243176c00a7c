/**
 * Deletes, in bounded steps, what lies below the low marks or belongs to deleted topics. The marks were moved by trim
 * commands; when the bytes go is each member's own affair, so that a trim is small, applies alike everywhere, and never
 * stops the writer. Every range remembers how far it was cleaned: no scan begins among deleted keys (measured: the
 * first key behind 200,000 of them takes 152 ms).
 */
import { after, readNumber, tableKeys } from '../../storage/keys';
import type { Journal } from '../../storage/journal';
import type { Range } from '../../storage/engine';
import type { Tables } from '../../storage/tables';
import type { Queue } from './queue';
import { dayOfHour } from './keyIndex';
import { messageTopic } from './message';
import { behind } from './rows';
import type { BrokerState } from './state';
import { ALL_TIMERS } from './timers';

/** Keys deleted per batch: a batch takes a few milliseconds, between which the writer gets its turn. */
const STEP_KEYS = 1000;
/** Bytes looked at per step. */
const STEP_BYTES = 4 * 1024 * 1024;
/** Batches per run. */
const RUN_STEPS = 200;

/** Topics looked at per run while looking for orphans. */
const ORPHAN_HOPS = 200;
/** Families that belong to topics, and all a deleted one may leave in them. */
const OF_TOPICS = {
  q: (topic: number) => tableKeys.segmentsOf(topic, 0).subarray(0, 7),
  W: tableKeys.scheduledOf,
  V: tableKeys.scheduledIdsOf,
  H: tableKeys.halfRecordsOf,
} as const;
const OF_GROUPS = { K: tableKeys.deadLettersOf } as const;

export class Janitor {
  readonly #state: BrokerState;
  readonly #journal: Journal;
  readonly #tables: Tables;
  /** Up to which minimum a queue is clean, and its first segment that is left. */
  readonly #cleaned = new WeakMap<Queue, { readonly min: number; readonly from: number }>();
  /** By family: how far it was gone through for rows of topics and groups that were deleted in an earlier life. */
  readonly #orphansFrom = new Map(
    [...Object.keys(OF_TOPICS), ...Object.keys(OF_GROUPS)].map((letter) => [letter, tableKeys.family(letter)]),
  );
  /** How far the waiting messages were gone through for those whose topic went, once all these are in the tables. */
  #orphanedTimers: { readonly from: Buffer; readonly applied: number } | undefined;
  #idHour = 0;
  #copyHour = 0;
  /** Up to which day keys are gone, and where the others begin. */
  #keys = { day: 0, from: tableKeys.messageKeysOfDay(0) };
  #answerBucket = 0;
  #decisionHour = 0;
  #steps = 0;

  constructor(parts: { state: BrokerState; journal: Journal; tables: Tables }) {
    this.#state = parts.state;
    this.#journal = parts.journal;
    this.#tables = parts.tables;
  }

  /** One bounded piece of work; answers how many keys went. */
  async runOnce(): Promise<number> {
    this.#steps = RUN_STEPS;
    let deleted = await this.#journalRecords();
    deleted += await this.#segments();
    deleted += await this.#idRuns();
    deleted += await this.#messageKeys();
    deleted += await this.#failedCopies();
    deleted += await this.#answers();
    deleted += await this.#decisions();
    await this.#findOrphans();
    deleted += await this.#deletedTopics();
    deleted += await this.#deletedGroups();
    deleted += await this.#lostTimers();
    return deleted;
  }

  async #journalRecords(): Promise<number> {
    // What the tables store has not got yet would have to be replayed after a crash: it stays, whatever the mark says.
    this.#journal.dropBelow(Math.min(this.#state.marks.journalHead, this.#tables.applied + 1));
    let deleted = 0;
    while (this.#steps-- > 0) {
      const step = await this.#journal.deleteSome(STEP_KEYS);
      deleted += step.deleted;
      if (step.deleted === 0) break;
    }
    return deleted;
  }

  /** Segments that end at or below a queue's minimum. The one that holds the minimum stays. */
  async #segments(): Promise<number> {
    let deleted = 0;
    for (const topic of this.#state.topics.values()) {
      for (const queue of topic.queues) {
        if (queue.min <= (this.#cleaned.get(queue)?.min ?? 0) || this.#steps <= 0) continue;
        deleted += await this.#segmentsBelow(queue, queue.min);
      }
    }
    return deleted;
  }

  async #segmentsBelow(queue: Queue, min: number): Promise<number> {
    const first = tableKeys.segment(queue.topic, queue.queueId, this.#cleaned.get(queue)?.from ?? 0);
    const [holder] = await this.#tables.scan({
      gte: first,
      lte: tableKeys.segment(queue.topic, queue.queueId, min),
      limit: 1,
      reverse: true,
      keysOnly: true,
    });
    if (holder === undefined) return 0;
    const { deleted, done } = await this.#deleteAll({ gte: first, lt: holder.key });
    if (done) this.#cleaned.set(queue, { min, from: readNumber(holder.key, 9) });
    return deleted;
  }

  async #idRuns(): Promise<number> {
    const { idHour } = this.#state.marks;
    if (idHour <= this.#idHour) return 0;
    const { deleted, done } = await this.#deleteAll({
      gte: tableKeys.idRunsOfHour(this.#idHour),
      lt: tableKeys.idRunsOfHour(idHour),
    });
    if (done) this.#idHour = idHour;
    return deleted;
  }

  /** A day goes when all its hours are over. */
  async #messageKeys(): Promise<number> {
    const day = dayOfHour(this.#state.marks.idHour);
    if (day <= this.#keys.day) return 0;
    const { deleted, done, from } = await this.#deleteAll({
      gte: this.#keys.from,
      lt: tableKeys.messageKeysOfDay(day),
    });
    // They may be more than one run deletes: the next one goes on where this one ended.
    this.#keys = done ? { day, from: tableKeys.messageKeysOfDay(day) } : { ...this.#keys, from };
    return deleted;
  }

  /** Of messages whose own hour is over: nobody asks what became of what is gone. */
  async #failedCopies(): Promise<number> {
    const { idHour } = this.#state.marks;
    if (idHour <= this.#copyHour) return 0;
    const { deleted, done } = await this.#deleteAll({
      gte: tableKeys.failedCopiesOfHour(this.#copyHour),
      lt: tableKeys.failedCopiesOfHour(idHour),
    });
    if (done) this.#copyHour = idHour;
    return deleted;
  }

  async #answers(): Promise<number> {
    const { answerBucket } = this.#state.marks;
    if (answerBucket <= this.#answerBucket) return 0;
    const { deleted, done } = await this.#deleteAll({
      gte: tableKeys.answersOfBucket(this.#answerBucket),
      lt: tableKeys.answersOfBucket(answerBucket),
    });
    if (done) this.#answerBucket = answerBucket;
    return deleted;
  }

  async #decisions(): Promise<number> {
    const { decisionHour } = this.#state.marks;
    if (decisionHour <= this.#decisionHour) return 0;
    const { deleted, done } = await this.#deleteAll({
      gte: tableKeys.decisionsOfHour(this.#decisionHour),
      lt: tableKeys.decisionsOfHour(decisionHour),
    });
    if (done) this.#decisionHour = decisionHour;
    return deleted;
  }

  async #deletedTopics(): Promise<number> {
    let deleted = 0;
    for (const [topic, deletedAt] of [...this.#state.deletedTopics]) {
      // A flush that began before the deletion may still bring rows of the topic.
      if (this.#steps <= 0 || this.#tables.applied < deletedAt) continue;
      const step = await this.#deleteEach(Object.values(OF_TOPICS).map((start) => start(topic)));
      deleted += step.deleted;
      if (step.done) this.#state.deletedTopics.delete(topic);
    }
    return deleted;
  }

  /** Once after a start: rows of topics and groups that were deleted in an earlier life, found by hopping from one to the next. */
  async #findOrphans(): Promise<void> {
    const { topics, groups, deletedTopics, deletedGroups } = this.#state;
    for (const [letter, range] of [...this.#orphansFrom]) {
      for (let hops = 0; this.#orphansFrom.has(letter) && hops < ORPHAN_HOPS; hops++) {
        const [row] = await this.#tables.scan({ ...range, limit: 1, keysOnly: true });
        if (!row) {
          this.#orphansFrom.delete(letter);
          continue;
        }
        const no = row.key.readUIntBE(1, 6);
        if (letter in OF_GROUPS) this.#noteOrphan(groups, deletedGroups, no);
        else this.#noteOrphan(topics, deletedTopics, no);
        range.gte = after(row.key.subarray(0, 7));
      }
    }
  }

  /** Of those that were deleted in this life more is known: from when on all their rows are in the tables. */
  #noteOrphan(alive: ReadonlyMap<number, unknown>, deleted: Map<number, number>, no: number): void {
    if (!alive.has(no) && !deleted.has(no)) deleted.set(no, 0);
  }

  /** Dead letters of deleted groups. */
  async #deletedGroups(): Promise<number> {
    let deleted = 0;
    for (const [group, deletedAt] of [...this.#state.deletedGroups]) {
      if (this.#steps <= 0 || this.#tables.applied < deletedAt) continue;
      const step = await this.#deleteEach(Object.values(OF_GROUPS).map((start) => start(group)));
      deleted += step.deleted;
      if (step.done) this.#state.deletedGroups.delete(group);
    }
    return deleted;
  }

  /** Messages that wait for a group or topic that was deleted: all that wait are gone through once. */
  async #lostTimers(): Promise<number> {
    const { orphanedTimers, applied, topics } = this.#state;
    if (!this.#orphanedTimers && orphanedTimers.size > 0) {
      this.#orphanedTimers = { from: ALL_TIMERS.gte, applied };
      orphanedTimers.clear();
    }
    let deleted = 0;
    while (this.#orphanedTimers && this.#steps-- > 0) {
      // A flush that began before the deletion may still bring some.
      if (this.#tables.applied < this.#orphanedTimers.applied) return deleted;
      const range = { gte: this.#orphanedTimers.from, lt: ALL_TIMERS.lt };
      const page = await this.#tables.scan({ ...range, limit: STEP_KEYS, maxBytes: STEP_BYTES });
      const orphans = page.filter(({ value }) => !topics.has(messageTopic(value)));
      deleted += await this.#tables.deleteKeys(orphans.map(({ key }) => key));
      const last = page.at(-1);
      this.#orphanedTimers = last && { ...this.#orphanedTimers, from: behind(last.key) };
    }
    return deleted;
  }

  /** All rows whose keys begin with one of these. */
  async #deleteEach(starts: readonly Buffer[]): Promise<{ deleted: number; done: boolean }> {
    let deleted = 0;
    for (const start of starts) {
      const step = await this.#deleteAll({ gte: start, lt: after(start) });
      deleted += step.deleted;
      if (!step.done) return { deleted, done: false };
    }
    return { deleted, done: true };
  }

  /** `from`: what lies before it is deleted. */
  async #deleteAll(range: Range & { gte: Buffer }): Promise<{ deleted: number; done: boolean; from: Buffer }> {
    let deleted = 0;
    let rest = range;
    while (this.#steps-- > 0) {
      const step = await this.#tables.deleteRange(rest, STEP_KEYS);
      deleted += step.deleted;
      if (step.lastKey === undefined || step.deleted < STEP_KEYS) return { deleted, done: true, from: rest.gte };
      rest = { ...rest, gte: step.lastKey };
    }
    return { deleted, done: false, from: rest.gte };
  }
}
