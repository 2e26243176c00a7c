/**
 * Messages that are to be visible later. They wait as rows of the tables store, whatever the journal's retention
 * (timers.ts brings them when they are due), can be listed, and taken back until their time has come.
 */
import { after, positionOf, readNumber, tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { Turns } from '../base/turns';
import { topicNamed, type Core } from './core';
import { groupOfRetryTopic } from './group';
import type { Lookup } from './lookup';
import { messageQueueId, messageTopic, releaseMessage } from './message';
import { getRow, scanRows } from './rows';
import type { Sender } from './sender';
import type { TopicState } from './state';
import type { Timers } from './timers';

/** One that waits. */
export interface Scheduled {
  readonly record: Buffer;
  /** When it becomes visible, milliseconds since 1970. */
  readonly due: number;
  readonly position: number;
}

/** Behind which a list goes on. */
export interface SchedulePlace {
  readonly due: number;
  readonly position: number;
}

const DUE_AT = 7;
const POSITION_AT = 15;
const ID_POSITION_AT = 23;
/** Records of one page are read until they have so many bytes. */
const PAGE_BYTES = LIMITS.batchBytes;
/** Messages with one id that a recall takes back: more is no mistake of one sender. */
const SAME_ID = 1000;
const ID = /^[0-9A-F]{32}$/;

export class Schedule {
  readonly #core: Core;
  readonly #tables: Tables;
  readonly #timers: Timers;
  readonly #sender: Sender;
  readonly #lookup: Lookup;
  readonly #turns = new Turns<number>();

  constructor(core: Core, parts: { tables: Tables; timers: Timers; sender: Sender; lookup: Lookup }) {
    this.#core = core;
    this.#tables = parts.tables;
    this.#timers = parts.timers;
    this.#sender = parts.sender;
    this.#lookup = parts.lookup;
  }

  /** Those that wait, the next one first, behind `place`; fewer than `limit` when they are large. */
  async list(
    topicName: string,
    place: SchedulePlace | undefined,
    limit: number,
  ): Promise<{ scheduled: Scheduled[]; more: boolean }> {
    const topic = topicNamed(this.#core.state, topicName);
    const { no } = topic.record;
    const gte = place
      ? tableKeys.scheduled(no, place.due, place.position + 1)
      : tableKeys.scheduled(no, this.#timers.from, 0);
    const range = { gte, lt: after(tableKeys.scheduledOf(no)) };
    const { rows, more } = await scanRows(this.#tables, this.#core.state.overlay, range, { limit, keysOnly: true });
    const scheduled: Scheduled[] = [];
    let bytes = 0;
    for (const { key } of rows) {
      if (bytes >= PAGE_BYTES) return { scheduled, more: true };
      const [due, position] = [readNumber(key, DUE_AT), readNumber(key, POSITION_AT)];
      const record = await getRow(this.#tables, this.#core.state.overlay, tableKeys.timer(due, position));
      if (!record) continue; // its time has come meanwhile
      scheduled.push({ record, due, position });
      bytes += record.length;
    }
    return { scheduled, more };
  }

  /** Takes a message back: it never becomes visible. Throws ALREADY_DELIVERED when its time has come. */
  async recall(topicName: string, messageId: string): Promise<void> {
    const topic = topicNamed(this.#core.state, topicName);
    const taken = ID.test(messageId)
      ? await this.#turns.run(topic.record.no, () => this.#recall(topic, messageId))
      : false;
    if (taken) return;
    await this.#lookup.message(topicName, messageId).catch((error: unknown) => {
      throw error instanceof GantryError && error.code === 'MESSAGE_NOT_FOUND' ? absent(topicName, messageId) : error;
    });
    throw delivered(messageId);
  }

  /** Whether there was one that waited. */
  async #recall(topic: TopicState, messageId: string): Promise<boolean> {
    const { no } = topic.record;
    const id = Buffer.from(messageId, 'hex');
    const gte = tableKeys.scheduledId(no, id, 0);
    const range = { gte, lt: tableKeys.scheduledId(no, id, positionOf(this.#core.state.applied + 1, 0)) };
    const { rows } = await scanRows(this.#tables, this.#core.state.overlay, range, { limit: SAME_ID });
    for (const { key, value } of rows) {
      const [due, position] = [readNumber(value, 0), readNumber(key, ID_POSITION_AT)];
      const taken = await this.#timers.withdraw(due, position, async () => {
        // It may have come while it was looked for; from here on it does not.
        if (!(await getRow(this.#tables, this.#core.state.overlay, key))) return false;
        await this.#core.submit({ kind: 'recall', topic: no, messages: [[due, position, messageId]] });
        return true;
      });
      if (!taken) throw delivered(messageId);
    }
    return rows.length > 0;
  }

  /** A waiting record as it becomes visible, in bytes of its own. */
  release(record: Buffer): Buffer {
    const topic = this.#core.state.topics.get(messageTopic(record));
    if (!topic || groupOfRetryTopic(topic.record.name) !== undefined) return Buffer.from(record);
    const queueId = messageQueueId(record);
    // The topic may have fewer queues by now; nobody would read it there.
    return releaseMessage(
      record,
      queueId < topic.record.readQueues ? queueId : this.#sender.queueFor(topic, undefined),
    );
  }
}

const absent = (topicName: string, messageId: string): GantryError =>
  new GantryError(
    'MESSAGE_NOT_FOUND',
    `no message ${messageId} waits in topic ${topicName}: it never did, or was taken back already`,
  );

const delivered = (messageId: string): GantryError =>
  new GantryError(
    'ALREADY_DELIVERED',
    `message ${messageId} waits no more: its time has come, and consumers may have it`,
  );
