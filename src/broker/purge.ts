/**
 * Deletes the messages of a topic at once, all of them or those stored before a time, whether or not they were read.
 * Positions behind them move with the next read (`moved`), as after retention. Scheduled messages that are not due, half
 * messages and the retries of groups are no messages of the topic yet, or any more, and stay.
 */
import { GantryError } from '../base/errors';
import { topicNamed, type Core } from './core';
import { isSystemTopic } from './group';
import type { Lookup } from './lookup';
import type { Queue } from './queue';

export interface PurgeRequest {
  /** Store time in milliseconds since 1970; messages stored then or later stay. Undefined = all go. */
  readonly before: number | undefined;
  /** Only says what would go. */
  readonly dryRun: boolean;
}

/** One queue: the messages with offsets from..to-1 go. */
export interface PurgedQueue {
  readonly queue: Queue;
  readonly from: number;
  readonly to: number;
}

export class Purge {
  readonly #core: Core;
  readonly #lookup: Lookup;

  constructor(core: Core, { lookup }: { readonly lookup: Lookup }) {
    this.#core = core;
    this.#lookup = lookup;
  }

  /** Answers one entry for each queue of the topic here. Throws TOPIC_NOT_FOUND, VALIDATION_FAILED. */
  async run(topicName: string, { before, dryRun }: PurgeRequest): Promise<PurgedQueue[]> {
    if (isSystemTopic(topicName)) throw ofGroup(topicName);
    const topic = topicNamed(this.#core.state, topicName);
    const purged: PurgedQueue[] = [];
    for (const queue of topic.queues) {
      const to = await this.#lookup.offsetAt(queue, before ?? 'LATEST');
      purged.push({ queue, from: queue.min, to });
    }
    const minima = purged
      .filter(({ queue, to }) => to > queue.min)
      .map(({ queue, to }) => ({ topic: queue.topic, queueId: queue.queueId, nextOffset: to }));
    if (!dryRun && minima.length > 0) {
      const { journalHead: head } = this.#core.state.marks;
      await this.#core.submit({ kind: 'trim', head, minima, idHour: 0, answerBucket: 0, tombstones: [] });
    }
    return purged;
  }
}

const ofGroup = (topic: string): GantryError =>
  new GantryError(
    'VALIDATION_FAILED',
    `topic ${topic} belongs to a group: reset the group's offsets with dropRetries, or delete its dead letters`,
    { errors: [{ parameter: 'topic', in: 'path', detail: 'is the topic of a group' }] },
  );
