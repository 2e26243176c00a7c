/**
 * Finds the messages of a topic that have a key, or a tag, or all of them, in the order of storing or from the newest
 * back. An answer looks at a bounded part of the topic: it may be short, or empty, and says from where to go on. Messages
 * that are stored meanwhile are left to a later answer, so that none is passed over.
 */
import { indexOf, positionOf } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../base/errors';
import { Heap } from '../base/heap';
import { LIMITS } from '../base/limits';
import type { Core } from './core';
import { isSystemTopic } from './group';
import { tagHash } from './hash';
import { HOUR_MS } from './idRuns';
import { keyHash, type KeyedPlace } from './keyIndex';
import { readableTopic } from './lookup';
import { decodeMessage, messageTag } from './message';
import type { Queue } from './queue';
import { BackwardWalk, ForwardWalk, type QueueWalk } from './queueWalk';
import type { Delivery } from './reader';
import type { ReadGate } from './readGate';
import type { Segment } from './segment';
import type { TopicState } from './state';

/** Selects the messages; without both, all of them. */
export type Wanted = { readonly key: string } | { readonly tag?: string };

export interface SearchOptions {
  /** Store times, milliseconds, both inclusive as RocketMQ's are; undefined = all that is kept. */
  readonly from: number | undefined;
  readonly to: number | undefined;
  readonly limit: number;
  /** From the newest back; not by key, whose index has one direction. */
  readonly newestFirst?: boolean;
  /** Where the answer before ended. */
  readonly behind: SearchPlace | undefined;
}

/** A place in all that a topic has stored. */
export interface SearchPlace {
  readonly topic: string;
  /** Of the topic: one that was deleted and created again is another one. */
  readonly no: number;
  readonly time: number;
  readonly position: number;
}

export interface SearchAnswer {
  readonly messages: Delivery[];
  /** Where to go on; undefined at the end. */
  readonly behind: SearchPlace | undefined;
}

/** One search: the stretch of time and of positions that it may look at. */
interface Span {
  readonly from: number;
  readonly to: number;
  /** Positions up to this one were looked at before; 0 = none was. */
  readonly position: number;
  /** First position that is not to be looked at. */
  readonly end: number;
}

/** Collects what is to be read, within the bounds of one answer. */
class Page {
  readonly places: { queue: Queue; queueOffset: number; position: number }[] = [];
  readonly #limit: number;
  #bytes = 0;
  /** The last place that was looked at. */
  behind: { time: number; position: number } | undefined;
  examined = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether one of so many bytes has room beside the others; the first one always has. */
  hasRoom(bytes: number): boolean {
    return this.places.length === 0 || (this.places.length < this.#limit && this.#bytes + bytes <= LIMITS.batchBytes);
  }

  get over(): boolean {
    return this.places.length >= this.#limit || this.examined >= LIMITS.pollEntries;
  }

  looked(time: number, position: number): void {
    this.examined++;
    this.behind = { time, position };
  }

  add(queue: Queue, queueOffset: number, position: number, bytes: number): void {
    this.places.push({ queue, queueOffset, position });
    this.#bytes += bytes;
  }
}

export class Search {
  readonly #core: Core;
  readonly #tables: Pick<Tables, 'scan'>;

  constructor(core: Core, { tables, gate }: { tables: Tables; gate: ReadGate }) {
    this.#core = core;
    this.#tables = { scan: (options) => gate.run(() => tables.scan(options)) };
  }

  async messages(topicName: string, wanted: Wanted, options: SearchOptions): Promise<SearchAnswer> {
    const topic = readableTopic(this.#core, topicName);
    if ('key' in wanted && isSystemTopic(topicName)) throw notByKey();
    if ('key' in wanted && options.newestFirst) throw notNewestByKey();
    const span = this.#span(topic, options);
    const page = new Page(options.limit);
    const ended =
      'key' in wanted
        ? await this.#byKey(topic, wanted.key, span, page)
        : await (options.newestFirst ? this.#backward : this.#forward).call(this, topic, wanted.tag, span, page);
    const has =
      'key' in wanted
        ? (record: Buffer) => decodeMessage(record).keys?.includes(wanted.key)
        : (record: Buffer) => wanted.tag === undefined || messageTag(record) === wanted.tag;
    const records = await this.#core.reader.records(page.places.map(({ position }) => position));
    const messages = page.places.flatMap(({ queue, queueOffset }, i): Delivery[] => {
      const record = records[i];
      return record && has(record) ? [{ queue, queueOffset, record }] : [];
    });
    const { name, no } = topic.record;
    return { messages, behind: ended || !page.behind ? undefined : { topic: name, no, ...page.behind } };
  }

  #span({ record }: TopicState, { from = 0, to = Infinity, newestFirst, behind }: SearchOptions): Span {
    const { state, clock } = this.#core;
    const { marks, applied } = state;
    if (behind && behind.topic !== record.name) throw foreign();
    if (behind && behind.no !== record.no) {
      throw new GantryError(
        'TOPIC_RECREATED',
        `topic ${record.name} was deleted and created again since this cursor was made: begin again without it`,
      );
    }
    // What was stored before the mark is gone: there is no need to look for it.
    const first = Math.max(from, marks.idHour * HOUR_MS);
    const span = { from: first, to: Math.min(to, Math.max(marks.time, clock.now())) };
    if (newestFirst) return { ...span, position: 0, end: behind?.position ?? positionOf(applied + 1, 0) };
    return {
      ...span,
      from: Math.max(first, behind?.time ?? 0),
      position: behind?.position ?? 0,
      end: positionOf(applied + 1, 0),
    };
  }

  /** Answers whether all was looked at. */
  async #byKey(topic: TopicState, key: string, span: Span, page: Page): Promise<boolean> {
    const hash = keyHash(key);
    for (let { from, position } = span; from <= span.to;) {
      const query = { topic: topic.record.no, hash, from, position, to: span.to };
      const { places, more } = await this.#core.state.keys.find(query, this.#tables, PLACES_AT_ONCE);
      for (const place of places) {
        if (place.position >= span.end) return true;
        if (page.over || !this.#takeKeyed(topic, place, page)) return false;
      }
      if (!more) return true;
      ({ time: from, position } = places.at(-1)!);
    }
    return true;
  }

  /** False when the answer has no room for it. */
  #takeKeyed(topic: TopicState, { time, position, queueId, queueOffset, bytes }: KeyedPlace, page: Page): boolean {
    const queue = topic.queues[queueId];
    const kept = queue && queueOffset >= queue.min && indexOf(position) >= this.#core.state.marks.journalHead;
    if (kept && !page.hasRoom(bytes)) return false;
    page.looked(time, position);
    if (kept) page.add(queue, queueOffset, position, bytes);
    return true;
  }

  /** All queues together, in the order in which their messages were stored. Answers whether all was looked at. */
  async #forward(topic: TopicState, tag: string | undefined, span: Span, page: Page): Promise<boolean> {
    const walks = new Heap<QueueWalk>(({ position }) => position);
    const share = LIMITS.pollEntries / topic.queues.length;
    for (const queue of topic.queues) {
      const walk = new ForwardWalk(this.#core.index, queue, await this.#start(queue, span), share);
      if (await walk.load()) walks.add(walk);
    }
    const isBehind = (time: number, position: number) => position >= span.end || time > span.to;
    return this.#merge(walks, tag, page, isBehind);
  }

  /** The same from the newest back. */
  async #backward(topic: TopicState, tag: string | undefined, span: Span, page: Page): Promise<boolean> {
    const walks = new Heap<QueueWalk>(({ position }) => -position);
    for (const queue of topic.queues) {
      const walk = new BackwardWalk(this.#core.index, queue, await this.#end(queue, span));
      if (await walk.load()) walks.add(walk);
    }
    return this.#merge(walks, tag, page, (time) => time < span.from);
  }

  /** Takes from the walk whose entry is next until one lies behind the span: then all that are left do. */
  async #merge(
    walks: Heap<QueueWalk>,
    tag: string | undefined,
    page: Page,
    isBehind: (time: number, position: number) => boolean,
  ): Promise<boolean> {
    const hash = tag === undefined ? undefined : tagHash(tag);
    for (let walk = walks.take(); walk; walk = walks.take()) {
      const { segment, offset, position } = walk;
      const time = segment.storeTime(offset);
      if (isBehind(time, position)) return true;
      const matches = (hash === undefined || segment.tagHash(offset) === hash) && offset >= walk.queue.min;
      if (page.over || (matches && !page.hasRoom(segment.bytes(offset)))) return false;
      page.looked(time, position);
      if (matches) page.add(walk.queue, offset, position, segment.bytes(offset));
      if (walk.step() || (await walk.load())) walks.add(walk);
    }
    return true;
  }

  /** The first offset of a queue that is to be looked at. */
  async #start(queue: Queue, { from, position }: Span): Promise<number> {
    if (position === 0 && from <= this.#core.state.marks.idHour * HOUR_MS) return queue.min;
    if (queue.min === queue.max || (queue.lastStoreTime > 0 && queue.lastStoreTime < from)) return queue.max;
    return this.#core.index.search(
      queue,
      (segment, offset) => segment.storeTime(offset) >= from && segment.position(offset) > position,
    );
  }

  /** The first offset of a queue that is not to be looked at. */
  async #end(queue: Queue, { to, end }: Span): Promise<number> {
    const { index } = this.#core;
    const isBehind = (segment: Segment, offset: number) =>
      segment.storeTime(offset) > to || segment.position(offset) >= end;
    const newest = queue.min < queue.max ? index.inMemory(queue, queue.max - 1) : undefined;
    if (newest && !isBehind(newest, queue.max - 1)) return queue.max;
    return index.search(queue, isBehind);
  }
}

/** Places of a key that are fetched at once. */
const PLACES_AT_ONCE = 256;

const notByKey = (): GantryError =>
  new GantryError(
    'VALIDATION_FAILED',
    'the copies in a group’s own topics are not found by key: look for the message in the topic that it was sent to, or list the group’s dead letters',
    { errors: [{ parameter: 'key', in: 'query', detail: 'does not go with a topic of a group' }] },
  );

const notNewestByKey = (): GantryError =>
  new GantryError('VALIDATION_FAILED', 'messages that have a key are listed oldest first: leave order out', {
    errors: [{ parameter: 'order', in: 'query', detail: 'does not go with key' }],
  });

const foreign = (): GantryError =>
  new GantryError('CURSOR_INVALID', 'the cursor was made for another topic: begin again without it', {
    errors: [{ parameter: 'cursor', in: 'query', detail: 'belongs to another topic' }],
  });
