/**
 * The tables, as the state machine sees them: what is small stands whole in memory, what grows (index entries, message
 * ids, remembered answers) keeps its newest part here and the rest in the tables store. `apply` alone changes it, in
 * journal order; every change is also a row in the overlay, so that a flush carries exactly what was decided up to
 * `applied`.
 */
import { numberValue, tableKeys, writeNumber } from '../../storage/keys';
import type { Identity } from './command';
import type { Group } from './group';
import { IdRuns } from './idRuns';
import { Overlay } from './overlay';
import type { Queue } from './queue';
import type { DeclaredTag, SeenTag } from './tags';
import { SeenTags } from './tags';
import type { Tail } from './tail';
import type { Tombstone, Topic } from './topic';

export interface TopicState {
  record: Topic;
  /** By queueId; as many as ever existed here. */
  readonly queues: Queue[];
  readonly declared: Map<string, DeclaredTag>;
  readonly seen: SeenTags;
  /** Since this process started, for the metrics; not part of the state machine. */
  readonly traffic: { messagesIn: number; bytesIn: number };
}

export interface GroupState {
  record: Group;
  /** The next offset to read, by `queueNumber`. */
  readonly offsets: Map<number, number>;
  readonly traffic: { messagesOut: number; bytesOut: number };
}

/** Low marks: what is below is gone for every reader, whether or not its bytes are deleted already. */
export interface Marks {
  journalHead: number;
  idHour: number;
  answerBucket: number;
  /** Time of the last command, milliseconds: command time never goes back. */
  time: number;
  epoch: number;
}

export const queueNumber = (topic: number, queueId: number): number => topic * 0x10000 + queueId;
export const topicOfQueueNumber = (number: number): number => Math.floor(number / 0x10000);
export const queueIdOfNumber = (number: number): number => number % 0x10000;

/** Families that are loaded whole at start; their rows are counted so that a missing one is noticed. */
export type Family = 't' | 'x' | 'g' | 'o' | 'D' | 'S' | 'Q';

export class BrokerState {
  readonly topics = new Map<number, TopicState>();
  readonly topicsByName = new Map<string, TopicState>();
  readonly groups = new Map<number, GroupState>();
  readonly groupsByName = new Map<string, GroupState>();
  readonly tombstones = new Map<string, Tombstone>();
  readonly overlay = new Overlay();
  readonly idRuns = new IdRuns();
  readonly tail: Tail;
  readonly counts: Record<Family, number> = { t: 0, x: 0, g: 0, o: 0, D: 0, S: 0, Q: 0 };
  readonly marks: Marks = { journalHead: 1, idHour: 0, answerBucket: 0, time: 0, epoch: 0 };
  identity: Identity | undefined;
  /** Index of the last applied command. */
  applied = 0;
  queueCount = 0;
  /** Queues with entries that the tables store does not have yet. */
  readonly unflushedQueues = new Set<Queue>();
  /** Topics whose index rows the janitor has still to delete, and the command that deleted them. */
  readonly deletedTopics = new Map<number, number>();
  readonly #queueMins = new Set<number>();

  constructor(tail: Tail) {
    this.tail = tail;
  }

  putTopic(topic: TopicState, isNew: boolean): void {
    const { record } = topic;
    this.topics.set(record.no, topic);
    this.topicsByName.set(record.name, topic);
    this.overlay.put(tableKeys.topic(record.no), json(record));
    if (isNew) this.counts.t++;
  }

  /** Forgets a topic and all that hangs on it; its index rows are the janitor's. */
  dropTopic(topic: TopicState, tombstone: Tombstone, index: number): void {
    const { record } = topic;
    this.topics.delete(record.no);
    this.topicsByName.delete(record.name);
    this.overlay.delete(tableKeys.topic(record.no));
    this.counts.t--;
    for (const tag of topic.declared.keys()) this.dropDeclaredTag(topic, tag);
    for (const { tag } of topic.seen.list()) this.dropSeenTag(record.no, tag);
    for (const queue of topic.queues) this.#dropQueue(queue);
    this.deletedTopics.set(record.no, index);
    if (!this.tombstones.has(tombstone.name)) this.counts.x++;
    this.tombstones.set(tombstone.name, tombstone);
    this.overlay.put(tableKeys.tombstone(tombstone.name), json(tombstone));
  }

  #dropQueue(queue: Queue): void {
    queue.min = queue.max; // for whoever is reading it: nothing is left
    this.unflushedQueues.delete(queue);
    this.queueCount--;
    if (this.#queueMins.delete(queueNumber(queue.topic, queue.queueId))) {
      this.overlay.delete(tableKeys.queueMin(queue.topic, queue.queueId));
      this.counts.Q--;
    }
    for (const parking of [...queue.waiting]) parking.wake('REBALANCED');
  }

  dropTombstone(name: string): void {
    if (!this.tombstones.delete(name)) return;
    this.overlay.delete(tableKeys.tombstone(name));
    this.counts.x--;
  }

  putGroup(group: GroupState, isNew: boolean): void {
    const { record } = group;
    this.groups.set(record.no, group);
    this.groupsByName.set(record.name, group);
    this.overlay.put(tableKeys.group(record.no), json(record));
    if (isNew) this.counts.g++;
  }

  dropGroup(group: GroupState): void {
    const { record } = group;
    this.groups.delete(record.no);
    this.groupsByName.delete(record.name);
    this.overlay.delete(tableKeys.group(record.no));
    this.counts.g--;
    for (const number of group.offsets.keys()) {
      this.overlay.delete(tableKeys.offset(record.no, topicOfQueueNumber(number), queueIdOfNumber(number)));
      this.counts.o--;
    }
    group.offsets.clear();
  }

  putOffset(group: GroupState, topic: number, queueId: number, offset: number): void {
    const number = queueNumber(topic, queueId);
    if (!group.offsets.has(number)) this.counts.o++;
    group.offsets.set(number, offset);
    this.overlay.put(tableKeys.offset(group.record.no, topic, queueId), numberValue(offset));
  }

  putDeclaredTag(topic: TopicState, tag: DeclaredTag): void {
    if (!topic.declared.has(tag.tag)) this.counts.D++;
    topic.declared.set(tag.tag, tag);
    this.overlay.put(tableKeys.declaredTag(topic.record.no, tag.tag), json(tag));
  }

  dropDeclaredTag(topic: TopicState, tag: string): void {
    if (!topic.declared.delete(tag)) return;
    this.overlay.delete(tableKeys.declaredTag(topic.record.no, tag));
    this.counts.D--;
  }

  putSeenTag(topic: number, tag: SeenTag): void {
    const value = Buffer.allocUnsafe(16);
    writeNumber(value, tag.count, 0);
    writeNumber(value, tag.lastTime, 8);
    this.overlay.put(tableKeys.seenTag(topic, tag.tag), value);
  }

  dropSeenTag(topic: number, tag: string): void {
    this.overlay.delete(tableKeys.seenTag(topic, tag));
    this.counts.S--;
  }

  putQueueMin(queue: Queue, min: number): void {
    const number = queueNumber(queue.topic, queue.queueId);
    if (!this.#queueMins.has(number)) this.counts.Q++;
    this.#queueMins.add(number);
    queue.min = min;
    this.overlay.put(tableKeys.queueMin(queue.topic, queue.queueId), numberValue(min));
  }

  /** A minimum read from the tables store at start. */
  restoreQueueMin(topic: number, queueId: number): void {
    this.#queueMins.add(queueNumber(topic, queueId));
  }

  /** Facts that change with every command and are stored once per flush. */
  putMarks(): void {
    this.overlay.put(tableKeys.fact('marks'), json(this.marks));
  }

  putIdentity(identity: Identity): void {
    this.identity = identity;
    this.overlay.put(tableKeys.fact('identity'), json(identity));
  }

  newTopicState(record: Topic): TopicState {
    return { record, queues: [], declared: new Map(), seen: new SeenTags(), traffic: { messagesIn: 0, bytesIn: 0 } };
  }

  newGroupState(record: Group): GroupState {
    return { record, offsets: new Map(), traffic: { messagesOut: 0, bytesOut: 0 } };
  }
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value), 'utf8');
export const parseJson = <T>(value: Buffer): T => JSON.parse(value.toString('utf8')) as T;
