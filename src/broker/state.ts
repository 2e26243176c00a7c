/**
 * The tables, as the state machine sees them: what is small stands whole in memory, what grows (index entries, message
 * ids, remembered answers) keeps its newest part here and the rest in the tables store. `apply` alone changes it, in
 * journal order; every change is also a row in the overlay, so that a flush carries exactly what was decided up to
 * `applied`.
 */
import { numberValue, tableKeys, writeNumber } from '../../storage/keys';
import { LIMITS } from '../base/limits';
import { EVERYTHING_ALLOWED, type BrokerPermission } from './brokerPermission';
import type { Identity, QueueOffset } from './command';
import { retryTopicOf, type Group } from './group';
import { Halves } from './halves';
import { IdRuns } from './idRuns';
import { KeyIndex } from './keyIndex';
import { LeaseQueue, type LeaseEntry } from './leaseQueue';
import { leaseValue } from './leaseRow';
import { numbersValue } from './numbersRow';
import { messageIdOf } from './message';
import type { Note } from './notes';
import { Overlay } from './overlay';
import type { Queue } from './queue';
import type { DeclaredTag, SeenTag } from './tags';
import { SeenTags } from './tags';
import type { Tail } from './tail';
import { buried, type Tombstone } from './tombstone';
import type { Topic } from './topic';

export interface TopicState {
  record: Topic;
  /** By queueId; as many as ever existed here. */
  readonly queues: Queue[];
  readonly declared: Map<string, DeclaredTag>;
  readonly seen: SeenTags;
  /** Messages that wait for their time. */
  scheduled: number;
  /** Since this process started, for the metrics; not part of the state machine. */
  readonly traffic: { messagesIn: number; bytesIn: number; committed: number; rolledBack: number };
}

/** Who reads a queue for a group. It stays recorded when he goes, until somebody else takes the queue. */
export interface Owner {
  readonly consumer: string;
  readonly leaseMs: number;
  /** Index of the command that gave it to him, or moved his positions: what he read before does not count. */
  readonly epoch: number;
}

/** What a receive with an attemptId was given, so that it can be given again. */
export interface Attempt {
  readonly lease: number;
  /** Command time behind which nobody asks any more. */
  readonly until: number;
  /** topic, queueId, offset. */
  readonly items: readonly (readonly [number, number, number])[];
}

/** A consumer of a broadcasting group. */
export interface Listener {
  /** Index of the command by which it joined, or that moved its positions. */
  epoch: number;
  /** Command time of its last sign of life that was recorded. */
  seenAt: number;
  /** By `queueNumber`. */
  readonly offsets: Map<number, number>;
}

/** Failed messages of a group. */
export interface GroupCounts {
  /** Messages that wait for their retry. */
  readonly waiting: number;
  /** Dead letters. */
  readonly dead: number;
  /** Waiting messages written below this position were dropped: they are not delivered when they are due. */
  readonly droppedBelow?: number;
}

export interface GroupState {
  record: Group;
  /** The next offset to read, by `queueNumber`. */
  readonly offsets: Map<number, number>;
  /** By `queueNumber`: index of the last command that moved the position whatever was handed out, by a reset or backwards. */
  readonly resets: Map<number, number>;
  /** By `queueNumber`. */
  readonly owners: Map<number, Owner>;
  readonly leases: Map<number, LeaseQueue>;
  /** By the hash of the attemptId in base64, oldest first. */
  readonly attempts: Map<string, Attempt>;
  readonly listeners: Map<string, Listener>;
  counts: GroupCounts;
  readonly traffic: { messagesOut: number; bytesOut: number };
}

/** Low marks: what is below is gone for every reader, whether or not its bytes are deleted already. */
export interface Marks {
  journalHead: number;
  idHour: number;
  answerBucket: number;
  /** First hour (of the epoch) whose decisions about transactions are kept. */
  decisionHour: number;
  /** Time of the last command, milliseconds: command time never goes back. */
  time: number;
  epoch: number;
  /** Milliseconds that the wall clock, and with it the time of commands, is ahead of what is believed (clockWatch.ts). */
  clockAheadMs?: number;
}

export const queueNumber = (topic: number, queueId: number): number => topic * 0x10000 + queueId;
export const topicOfQueueNumber = (number: number): number => Math.floor(number / 0x10000);
export const queueIdOfNumber = (number: number): number => number % 0x10000;

/** Families that are loaded whole at start; their rows are counted so that a missing one is noticed. */
export type Family =
  't' | 'x' | 'G' | 'u' | 'g' | 'o' | 'D' | 'S' | 'Q' | 'O' | 'N' | 'L' | 'A' | 'b' | 'P' | 'c' | 'w' | 'h' | 'p' | 'e';

/** As one row. */
export interface StoredRemovals {
  readonly brokers: readonly Tombstone[];
  readonly leftBy?: string | undefined;
}

/** What leaves a tombstone. */
export type Buried = 'TOPIC' | 'GROUP' | 'PRODUCER_GROUP';

/** Where tombstones are kept: the family of their rows, and their keys. */
const GRAVEYARDS = {
  TOPIC: { letter: 'x', keyOf: tableKeys.tombstone },
  GROUP: { letter: 'G', keyOf: tableKeys.groupTombstone },
  PRODUCER_GROUP: { letter: 'u', keyOf: tableKeys.producerGroupTombstone },
} as const;

export class BrokerState {
  readonly topics = new Map<number, TopicState>();
  readonly topicsByName = new Map<string, TopicState>();
  readonly groups = new Map<number, GroupState>();
  readonly groupsByName = new Map<string, GroupState>();
  /** Of deleted topics, groups and producer groups, by name. */
  readonly tombstones = {
    TOPIC: new Map<string, Tombstone>(),
    GROUP: new Map<string, Tombstone>(),
    PRODUCER_GROUP: new Map<string, Tombstone>(),
  };
  /** Of fronts, by name. */
  readonly notes = new Map<string, Note>();
  readonly overlay = new Overlay();
  readonly idRuns = new IdRuns();
  readonly keys = new KeyIndex();
  readonly tail: Tail;
  readonly counts: Record<Family, number> = {
    ...{ t: 0, x: 0, G: 0, u: 0, g: 0, o: 0, D: 0, S: 0, Q: 0 },
    ...{ O: 0, N: 0, L: 0, A: 0, b: 0, P: 0, c: 0, w: 0, h: 0, p: 0, e: 0 },
  };
  readonly halves = new Halves(this.overlay, this.counts);
  readonly marks: Marks = { journalHead: 1, idHour: 0, answerBucket: 0, decisionHour: 0, time: 0, epoch: 0 };
  identity: Identity | undefined;
  permission: BrokerPermission = EVERYTHING_ALLOWED;
  /** Brokers that were removed from the cluster, by name. */
  readonly removedBrokers = new Map<string, Tombstone>();
  /** Id of the removal by which this broker itself has left. */
  leftBy: string | undefined;
  /** Index of the last applied command. */
  applied = 0;
  queueCount = 0;
  /** Queues with entries that the tables store does not have yet. */
  readonly unflushedQueues = new Set<Queue>();
  /** Topics whose index rows the janitor has still to delete, and the command that deleted them. */
  readonly deletedTopics = new Map<number, number>();
  /** Waiting messages that were added since somebody looked: due time and position (timers.ts). */
  newTimers: [number, number][] = [];
  /** Changes, since this process started, of what brokers share (definition.ts). */
  definitionChanges = 0;
  /** Names of topics that went since somebody looked: the NameServers are to hear of it. */
  goneTopics: string[] = [];
  /** Topics that went while messages waited for them: the janitor deletes these. */
  readonly orphanedTimers = new Set<number>();
  /** Groups whose dead letters the janitor has still to delete, and the command that deleted them. */
  readonly deletedGroups = new Map<number, number>();
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
    this.definitionChanges++;
  }

  /** Forgets a topic and all that hangs on it but its tombstone; its index rows are the janitor's. */
  dropTopic(topic: TopicState, index: number): void {
    const { record } = topic;
    this.topics.delete(record.no);
    this.topicsByName.delete(record.name);
    this.goneTopics.push(record.name);
    this.overlay.delete(tableKeys.topic(record.no));
    this.counts.t--;
    for (const tag of topic.declared.keys()) this.dropDeclaredTag(topic, tag);
    for (const { tag } of topic.seen.list()) this.dropSeenTag(record.no, tag);
    for (const queue of topic.queues) this.#dropQueue(queue);
    if (topic.scheduled > 0) {
      this.orphanedTimers.add(record.no);
      this.#countScheduled(topic, -topic.scheduled);
    }
    this.halves.dropTopic(record.no);
    this.deletedTopics.set(record.no, index);
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

  /** Remembers a deletion beside those of the same name. */
  bury(kind: Buried, deletion: Tombstone): void {
    const { tombstones, letter, keyOf } = this.#graveyard(kind);
    const { name } = deletion;
    const before = tombstones.get(name);
    if (!before && tombstones.size >= LIMITS.tombstones) this.dropTombstone(kind, oldestOf(tombstones));
    if (!before) this.counts[letter]++;
    const tombstone = buried(before, deletion);
    tombstones.set(name, tombstone);
    this.overlay.put(keyOf(name), json(tombstone));
    this.definitionChanges++;
  }

  dropTombstone(kind: Buried, name: string): void {
    const { tombstones, letter, keyOf } = this.#graveyard(kind);
    if (!tombstones.delete(name)) return;
    this.overlay.delete(keyOf(name));
    this.counts[letter]--;
  }

  #graveyard(kind: Buried) {
    return { tombstones: this.tombstones[kind], ...GRAVEYARDS[kind] };
  }

  putGroup(group: GroupState, isNew: boolean): void {
    const { record } = group;
    this.groups.set(record.no, group);
    this.groupsByName.set(record.name, group);
    this.overlay.put(tableKeys.group(record.no), json(record));
    if (isNew) this.counts.g++;
    this.definitionChanges++;
  }

  /** Forgets a group and all that hangs on it but its tombstone; its dead letters and waiting messages are the janitor's. */
  dropGroup(group: GroupState, index: number): void {
    const { no } = group.record;
    this.groups.delete(no);
    this.groupsByName.delete(group.record.name);
    this.overlay.delete(tableKeys.group(no));
    this.counts.g--;
    for (const number of group.offsets.keys()) {
      this.overlay.delete(tableKeys.offset(no, topicOfQueueNumber(number), queueIdOfNumber(number)));
      this.counts.o--;
    }
    group.offsets.clear();
    group.resets.clear();
    for (const number of [...group.owners.keys()]) this.dropOwner(group, number);
    for (const number of [...group.leases.keys()]) this.dropLeases(group, number);
    for (const name of [...group.attempts.keys()]) this.dropAttempt(group, name);
    for (const consumer of [...group.listeners.keys()]) this.dropListener(group, consumer);
    const { waiting, dead, droppedBelow } = group.counts;
    this.#putCounts(group, { waiting: 0, dead: 0 });
    if (dead > 0) this.deletedGroups.set(no, index);
    const retries = this.topicsByName.get(retryTopicOf(group.record.name))?.record.no;
    if ((waiting > 0 || droppedBelow !== undefined) && retries !== undefined) this.orphanedTimers.add(retries);
  }

  /** Everything that a group knows of a queue that does not exist any more. */
  forgetQueue(group: GroupState, topic: number, queueId: number): void {
    const number = queueNumber(topic, queueId);
    if (group.offsets.delete(number)) {
      this.overlay.delete(tableKeys.offset(group.record.no, topic, queueId));
      this.counts.o--;
    }
    group.resets.delete(number);
    this.dropOwner(group, number);
    this.dropLeases(group, number);
    for (const [consumer, listener] of group.listeners) this.#dropListenerPosition(group, consumer, listener, number);
  }

  putOffset(group: GroupState, topic: number, queueId: number, offset: number): void {
    const number = queueNumber(topic, queueId);
    if (!group.offsets.has(number)) this.counts.o++;
    group.offsets.set(number, offset);
    const value = numbersValue(offset, group.resets.get(number));
    this.overlay.put(tableKeys.offset(group.record.no, topic, queueId), value);
  }

  /** The position moves by command `index`, and what was handed out before does not count: all leases end. */
  rewind(group: GroupState, { topic, queueId, nextOffset }: QueueOffset, index: number): void {
    const number = queueNumber(topic, queueId);
    this.dropLeases(group, number);
    group.resets.set(number, index);
    this.putOffset(group, topic, queueId, nextOffset);
  }

  putOwner(group: GroupState, topic: number, queueId: number, owner: Owner): void {
    const number = queueNumber(topic, queueId);
    if (!group.owners.has(number)) this.counts.O++;
    group.owners.set(number, owner);
    this.overlay.put(tableKeys.owner(group.record.no, topic, queueId), json(owner));
  }

  dropOwner(group: GroupState, number: number): void {
    if (!group.owners.delete(number)) return;
    this.overlay.delete(tableKeys.owner(group.record.no, topicOfQueueNumber(number), queueIdOfNumber(number)));
    this.counts.O--;
  }

  /** The lease state of a queue, which begins where the group stands in it. */
  leaseQueue(group: GroupState, topic: number, queueId: number, next: number): LeaseQueue {
    const number = queueNumber(topic, queueId);
    let queue = group.leases.get(number);
    if (!queue) {
      group.leases.set(number, (queue = new LeaseQueue(topic, queueId, next)));
      this.counts.N++;
      this.putLeaseNext(group, queue, next);
    }
    return queue;
  }

  putLeaseNext(group: GroupState, queue: LeaseQueue, next: number): void {
    queue.next = next;
    const value = numbersValue(next, queue.said);
    this.overlay.put(tableKeys.leaseNext(group.record.no, queue.topic, queue.queueId), value);
  }

  putLeaseSaid(group: GroupState, queue: LeaseQueue, said: number | undefined): void {
    queue.said = said;
    this.putLeaseNext(group, queue, queue.next);
  }

  putLease(group: GroupState, queue: LeaseQueue, offset: number, entry: LeaseEntry): void {
    if (!queue.entries.has(offset)) this.counts.L++;
    queue.entries.set(offset, entry);
    this.overlay.put(tableKeys.lease(group.record.no, queue.topic, queue.queueId, offset), leaseValue(entry));
  }

  dropLease(group: GroupState, queue: LeaseQueue, offset: number): void {
    if (!queue.entries.delete(offset)) return;
    this.overlay.delete(tableKeys.lease(group.record.no, queue.topic, queue.queueId, offset));
    this.counts.L--;
  }

  /** The group's leases of a queue end; what they leave is its committed offset. */
  dropLeases(group: GroupState, number: number): void {
    const queue = group.leases.get(number);
    if (!queue) return;
    for (const offset of [...queue.entries.keys()]) this.dropLease(group, queue, offset);
    group.leases.delete(number);
    this.overlay.delete(tableKeys.leaseNext(group.record.no, queue.topic, queue.queueId));
    this.counts.N--;
  }

  putAttempt(group: GroupState, name: string, attempt: Attempt): void {
    if (group.attempts.delete(name)) this.counts.A--; // behind the others again: they are in order of time
    group.attempts.set(name, attempt);
    this.counts.A++;
    this.overlay.put(tableKeys.attempt(group.record.no, Buffer.from(name, 'base64')), json(attempt));
  }

  dropAttempt(group: GroupState, name: string): void {
    if (!group.attempts.delete(name)) return;
    this.overlay.delete(tableKeys.attempt(group.record.no, Buffer.from(name, 'base64')));
    this.counts.A--;
  }

  putListener(group: GroupState, consumer: string, listener: Listener): void {
    if (!group.listeners.has(consumer)) this.counts.b++;
    group.listeners.set(consumer, listener);
    const { epoch, seenAt } = listener;
    this.overlay.put(tableKeys.listener(group.record.no, consumer), json({ epoch, seenAt }));
  }

  putListenerPosition(group: GroupState, consumer: string, listener: Listener, at: QueueOffset): void {
    const number = queueNumber(at.topic, at.queueId);
    if (!listener.offsets.has(number)) this.counts.P++;
    listener.offsets.set(number, at.nextOffset);
    const key = tableKeys.listenerPosition(group.record.no, at.topic, at.queueId, consumer);
    this.overlay.put(key, numberValue(at.nextOffset));
  }

  #dropListenerPosition(group: GroupState, consumer: string, listener: Listener, number: number): void {
    if (!listener.offsets.delete(number)) return;
    const [topic, queueId] = [topicOfQueueNumber(number), queueIdOfNumber(number)];
    this.overlay.delete(tableKeys.listenerPosition(group.record.no, topic, queueId, consumer));
    this.counts.P--;
  }

  dropListener(group: GroupState, consumer: string): void {
    const listener = group.listeners.get(consumer);
    if (!listener) return;
    for (const number of [...listener.offsets.keys()]) this.#dropListenerPosition(group, consumer, listener, number);
    group.listeners.delete(consumer);
    this.overlay.delete(tableKeys.listener(group.record.no, consumer));
    this.counts.b--;
  }

  /** A message that waits: its record, under the time it is due and the position it was written at. */
  putTimer(due: number, position: number, record: Buffer): void {
    this.overlay.put(tableKeys.timer(due, position), record);
    this.newTimers.push([due, position]);
  }

  dropTimer(due: number, position: number): void {
    this.overlay.delete(tableKeys.timer(due, position));
  }

  /** A message that a sender wants to be visible later. */
  schedule(topic: TopicState, due: number, position: number, record: Buffer): void {
    const { no } = topic.record;
    this.putTimer(due, position, record);
    this.overlay.put(tableKeys.scheduled(no, due, position), Buffer.alloc(0));
    this.overlay.put(tableKeys.scheduledId(no, messageIdOf(record), position), numberValue(due));
    this.#countScheduled(topic, 1);
  }

  /** It waits no more; its timer goes, too. */
  unschedule(topic: TopicState, due: number, position: number, messageId: Buffer): void {
    const { no } = topic.record;
    this.dropTimer(due, position);
    this.overlay.delete(tableKeys.scheduled(no, due, position));
    this.overlay.delete(tableKeys.scheduledId(no, messageId, position));
    this.#countScheduled(topic, -1);
  }

  #countScheduled(topic: TopicState, change: number): void {
    const key = tableKeys.scheduledCount(topic.record.no);
    if (topic.scheduled === 0) this.counts.w++;
    topic.scheduled += change;
    if (topic.scheduled > 0) return this.overlay.put(key, numberValue(topic.scheduled));
    this.counts.w--;
    this.overlay.delete(key);
  }

  putDeadLetter(group: GroupState, offset: number, record: Buffer): void {
    this.overlay.put(tableKeys.deadLetter(group.record.no, offset), record);
  }

  dropDeadLetter(group: GroupState, offset: number): void {
    this.overlay.delete(tableKeys.deadLetter(group.record.no, offset));
  }

  /** Changes how many messages wait or are dead. */
  count(group: GroupState, change: { waiting?: number; dead?: number }): void {
    const { counts } = group;
    this.#putCounts(group, {
      ...counts,
      waiting: Math.max(0, counts.waiting + (change.waiting ?? 0)),
      dead: Math.max(0, counts.dead + (change.dead ?? 0)),
    });
  }

  /** Drops messages that wait for their retry and were written below this position. */
  dropWaiting(group: GroupState, droppedBelow: number): void {
    this.#putCounts(group, { ...group.counts, waiting: 0, droppedBelow });
  }

  /** Counts that are those of a new group have no row. */
  #putCounts(group: GroupState, counts: GroupCounts): void {
    const isStored = ({ waiting, dead, droppedBelow }: GroupCounts) =>
      waiting > 0 || dead > 0 || droppedBelow !== undefined;
    const was = isStored(group.counts);
    group.counts = counts;
    const key = tableKeys.groupCounts(group.record.no);
    if (isStored(counts)) {
      if (!was) this.counts.c++;
      this.overlay.put(key, json(counts));
    } else if (was) {
      this.counts.c--;
      this.overlay.delete(key);
    }
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

  putPermission(permission: BrokerPermission): void {
    this.permission = permission;
    this.overlay.put(tableKeys.fact('permission'), json(permission));
  }

  /** Remembers that a broker was removed; `isThis`: this one. */
  removeBroker(removal: Tombstone, isThis: boolean): void {
    if (!this.removedBrokers.has(removal.name) && this.removedBrokers.size >= LIMITS.removedBrokers)
      this.removedBrokers.delete(oldestOf(this.removedBrokers));
    this.removedBrokers.set(removal.name, removal);
    if (isThis) this.leftBy = removal.id;
    const removals: StoredRemovals = { brokers: [...this.removedBrokers.values()], leftBy: this.leftBy };
    this.overlay.put(tableKeys.fact('removals'), json(removals));
    this.definitionChanges++;
  }

  newTopicState(record: Topic): TopicState {
    return {
      record,
      queues: [],
      declared: new Map(),
      seen: new SeenTags(),
      scheduled: 0,
      traffic: { messagesIn: 0, bytesIn: 0, committed: 0, rolledBack: 0 },
    };
  }

  newGroupState(record: Group): GroupState {
    return {
      record,
      offsets: new Map(),
      resets: new Map(),
      owners: new Map(),
      leases: new Map(),
      attempts: new Map(),
      listeners: new Map(),
      counts: { waiting: 0, dead: 0 },
      traffic: { messagesOut: 0, bytesOut: 0 },
    };
  }
}

/** A full order: a restart restores them in another one than they came in. */
function oldestOf(tombstones: ReadonlyMap<string, Tombstone>): string {
  const isOlder = (a: Tombstone, b: Tombstone) =>
    a.deletedAt !== b.deletedAt ? a.deletedAt < b.deletedAt : a.name < b.name;
  return [...tombstones.values()].reduce((oldest, one) => (isOlder(one, oldest) ? one : oldest)).name;
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value), 'utf8');
export const parseJson = <T>(value: Buffer): T => JSON.parse(value.toString('utf8')) as T;
