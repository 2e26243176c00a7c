/** Finds single messages and places in a queue: by either id, by offset, by time. */
import { ordinalOf, indexOf } from '../../storage/keys';
import type { Journal } from '../../storage/journal';
import { recordKind, recordTime } from '../../storage/record';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { givesNothing } from './brokerPermission';
import { isMessage } from './command';
import { queueAt, topicNamed, type Core } from './core';
import { Effort } from './effort';
import type { Filter } from './filter';
import { hourOf, type FoundId, type Hours } from './idRuns';
import { messageIdOf, messageTopic } from './message';
import { positionOfId } from './offsetMessageId';
import type { Queue } from './queue';
import type { Delivery } from './reader';
import type { ReadGate } from './readGate';
import type { TopicState } from './state';
import { readable } from './topic';

export interface QueuePage {
  readonly messages: Delivery[];
  readonly nextOffset: number;
  readonly minOffset: number;
  readonly maxOffset: number;
}

export interface ReadQueueOptions {
  readonly offset: number;
  readonly max: number;
  readonly maxBytes: number;
  readonly waitMs: number;
  readonly filter: Filter | undefined;
  readonly signal: () => AbortSignal;
}

const ID = /^[0-9A-Fa-f]{32}$/;

export class Lookup {
  readonly #core: Core;
  readonly #journal: Journal;
  readonly #tables: Tables;
  readonly #gate: ReadGate;

  constructor(core: Core, parts: { journal: Journal; tables: Tables; gate: ReadGate }) {
    this.#core = core;
    this.#journal = parts.journal;
    this.#tables = parts.tables;
    this.#gate = parts.gate;
  }

  /** By offsetMessageId or by messageId: whichever of the two it turns out to be. */
  async message(topicName: string, idText: string): Promise<Delivery> {
    const topic = readableTopic(this.#core, topicName);
    const id = ID.test(idText) ? Buffer.from(idText, 'hex') : undefined;
    const found = id && ((await this.#byPosition(topic, id)) ?? (await this.#byMessageId(topic, id)));
    if (!found) {
      throw new GantryError(
        'MESSAGE_NOT_FOUND',
        `topic ${topicName} has no message ${idText}: it was never stored here, is not visible yet (scheduled, or prepared in a transaction), or retention has deleted it`,
      );
    }
    return found;
  }

  async #byPosition(topic: TopicState, id: Buffer): Promise<Delivery | undefined> {
    const position = positionOfId(this.#core.idTag, id);
    if (position === undefined || !this.#kept(position) || ordinalOf(position) >= 1024) return undefined;
    const record = await this.#messageAt(topic, position);
    if (!record) return undefined;
    // The queue offset is not in the record: the id's run knows it, and the record says in which hour that stands.
    const hour = hourOf(recordTime(record));
    for await (const run of this.#runsOf(messageIdOf(record), { from: hour, to: hour, hint: hour })) {
      if (run.position === position) return this.#deliver(topic, run, record);
    }
    return undefined;
  }

  async #byMessageId(topic: TopicState, id: Buffer): Promise<Delivery | undefined> {
    const { state, clock } = this.#core;
    const to = hourOf(Math.max(state.marks.time, clock.now()));
    for await (const run of this.#runsOf(id, { from: state.marks.idHour, to, hint: this.#hourNamedBy(id, to) })) {
      if (!this.#kept(run.position)) continue;
      const record = await this.#messageAt(topic, run.position);
      const found = record && messageIdOf(record).equals(id) ? this.#deliver(topic, run, record) : undefined;
      if (found) return found;
    }
    return undefined;
  }

  #runsOf(id: Buffer, hours: Hours): AsyncIterable<FoundId> {
    const scan: Tables['scan'] = (options) => this.#gate.run(() => this.#tables.scan(options));
    return this.#core.state.idRuns.find(id, { scan }, hours);
  }

  #deliver(topic: TopicState, at: { queueId: number; queueOffset: number }, record: Buffer): Delivery | undefined {
    const queue = topic.queues[at.queueId];
    return queue && at.queueOffset >= queue.min ? { queue, queueOffset: at.queueOffset, record } : undefined;
  }

  #kept(position: number): boolean {
    const index = indexOf(position);
    return index >= this.#core.state.marks.journalHead && index <= this.#core.state.applied;
  }

  async #messageAt(topic: TopicState, position: number): Promise<Buffer | undefined> {
    const known = this.#core.state.tail.get(position);
    const record = known ?? (await this.#gate.run(() => this.#journal.find(position)));
    return record !== undefined &&
      isMessage(recordKind(record), ordinalOf(position)) &&
      messageTopic(record) === topic.record.no
      ? record
      : undefined;
  }

  /** Ids made here say when, counted from the month's beginning: this month, or the one before. */
  #hourNamedBy(id: Buffer, latest: number): number {
    const now = new Date(this.#core.clock.now());
    const sinceMonth = id.readUInt32BE(10);
    const month = hourOf(Date.UTC(now.getUTCFullYear(), now.getUTCMonth()) + sinceMonth);
    return month <= latest ? month : hourOf(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 1) + sinceMonth);
  }

  /** A stateless read. Outside min..max: OFFSET_MOVED, which says where to go on; at max it waits. */
  async readQueue(topicName: string, broker: string, queueId: number, options: ReadQueueOptions): Promise<QueuePage> {
    const { clock, lot, reader } = this.#core;
    const topic = readableTopic(this.#core, topicName);
    const queue = queueAt(this.#core, topic, broker, queueId);
    const deadline = clock.monotonic() + options.waitMs;
    let from = options.offset;
    for (;;) {
      checkBounds(queue, from);
      const bounds = { atLeastOne: true, maxEntries: LIMITS.pollEntries, effort: new Effort(clock) };
      const read = await reader.read(queue, from, { ...options, ...bounds });
      this.#checkStill(topic);
      if (from < queue.min) continue; // trimmed while it was read: the bounds say so
      const left = deadline - clock.monotonic();
      from = read.nextOffset;
      const page = () => ({ messages: read.messages, nextOffset: from, minOffset: queue.min, maxOffset: queue.max });
      const enough = read.messages.length > 0 || read.examined >= LIMITS.pollEntries || read.spent;
      if (enough || left <= 0) return page();
      // What was stored while it read wakes nobody any more.
      if (queue.max > from) continue;
      const reason = await lot.wait({ queues: [queue], ms: left, signal: options.signal() });
      this.#checkStill(topic);
      if (reason !== 'DATA') return page();
    }
  }

  #checkStill({ record }: TopicState): void {
    if (this.#core.state.topics.has(record.no)) return;
    throw new GantryError('TOPIC_NOT_FOUND', `topic ${record.name} was deleted`);
  }

  /** EARLIEST, LATEST, or the first offset whose message was stored at or after a time (milliseconds). */
  async searchOffset(topicName: string, broker: string, queueId: number, at: string): Promise<number> {
    const queue = queueAt(this.#core, topicNamed(this.#core.state, topicName), broker, queueId);
    return this.offsetAt(queue, at === 'EARLIEST' || at === 'LATEST' ? at : Number(at));
  }

  /** When the message at an offset was stored; undefined when there is none. */
  async storeTimeAt(topicName: string, broker: string, queueId: number, offset: number): Promise<number | undefined> {
    const queue = queueAt(this.#core, topicNamed(this.#core.state, topicName), broker, queueId);
    if (offset < queue.min || offset >= queue.max) return undefined;
    return (await this.#core.index.at(queue, offset))?.storeTime(offset);
  }

  async offsetAt(queue: Queue, at: 'EARLIEST' | 'LATEST' | number): Promise<number> {
    if (at === 'EARLIEST') return queue.min;
    if (at === 'LATEST') return queue.max;
    return this.#core.index.search(queue, (segment, offset) => segment.storeTime(offset) >= at);
  }
}

/** The topic, if it exists and may be read. */
export function readableTopic(core: Core, name: string): TopicState {
  const topic = topicNamed(core.state, name);
  if (!readable(topic.record.permission)) {
    throw new GantryError(
      'NO_PERMISSION',
      `topic ${name} gives no messages: its permission is ${topic.record.permission}`,
    );
  }
  if (!readable(core.state.permission.permission)) throw givesNothing(core);
  return topic;
}

function checkBounds(queue: Queue, offset: number): void {
  if (offset >= queue.min && offset <= queue.max) return;
  const nextOffset = offset < queue.min ? queue.min : queue.max;
  throw new GantryError(
    'OFFSET_MOVED',
    `offset ${offset} lies outside ${queue.min}..${queue.max}: go on at ${nextOffset}`,
    {
      members: { minOffset: queue.min, maxOffset: queue.max, nextOffset },
    },
  );
}
