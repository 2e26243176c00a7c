/**
 * Who consumes. Membership is soft: a consumer that joins or polls is a member for its lease. Ownership is durable: who
 * reads a queue is recorded by a command, whose index is the owner's epoch, and a broker that starts anew gives each
 * recorded owner a full lease. What must always hold: of each queue of a group, at most one consumer is handed messages.
 *
 * From the members follows who shall have which queue. A queue that is to move is given up by its owner at once (he gets
 * nothing more of it) and passes on when everything he was handed is committed, when he leaves or falls silent, or at
 * its deadline.
 */
import type { Clock, Timer } from '../base/clock';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { RunningTime } from '../base/runningTime';
import { allocate } from './allocation';
import { permissionHere } from './brokerPermission';
import type { Command, NewOwner } from './command';
import { retryTopicOf } from './group';
import type { Parking } from './parking';
import type { Queue } from './queue';
import {
  queueIdOfNumber,
  queueNumber,
  topicOfQueueNumber,
  type BrokerState,
  type GroupState,
  type TopicState,
} from './state';
import { readable } from './topic';

export interface Member {
  readonly id: string;
  leaseMs: number;
  readonly joinedAt: number;
  /** Wall clock, for people. */
  lastSeenAt: number;
  /** Running time, for the lease. */
  lastSeen: number;
  /** Numbers of the topics it reads. */
  readonly topics: Set<number>;
  /** The filter it joined with, by topic, in its canonical form: it may go on saying so when the group's has changed since. */
  readonly said: Map<number, string>;
  /** The poll that is under way, if any: it keeps the lease. */
  poll: { parking: Parking | undefined; replaced: boolean } | undefined;
  /** Rotates the queue a poll begins with, so that none starves. */
  nextStart: number;
  /** Queues it is handed messages of. Another list whenever one of them, or its position, changes: by that a poll that reads notices. */
  queues: readonly Queue[];
  /** Queues it is to get, and others still have. */
  pending: readonly Queue[];
  /** Queues it is to give up, and until when (running time, and wall clock for people). */
  readonly revoking: Map<Queue, { readonly deadline: number; readonly deadlineAt: number }>;
  /** The offset behind what it was handed of each queue under the present owner epoch. */
  readonly handedOut: Map<Queue, number>;
  /** Of queues in which it chose where to read: before this offset it reads what is done, too, as long as it polls from there. */
  readonly sought: Map<Queue, number>;
}

/** A queue in the division of a topic. */
interface Place {
  /** The same on every broker. */
  readonly name: string;
  /** Undefined when it is another broker's, or may not be read now. */
  readonly queue: Queue | undefined;
}

interface Membership {
  readonly group: GroupState;
  readonly members: Map<string, Member>;
  timer: Timer | undefined;
  /** The command that is recording new owners, and of which queues. */
  assigning: Promise<void> | undefined;
  readonly moving: Set<Queue>;
  /** Running time at which a recording that failed is tried again. */
  retryAt: number;
}

/** After a failed recording of owners (the disk cannot keep up) it is tried again. */
const RETRY_MS = 1000;

export interface ConsumersParts {
  readonly clock: Clock;
  readonly time: RunningTime;
  readonly state: BrokerState;
  readonly brokerName: string;
  readonly submit: (command: Extract<Command, { kind: 'assignQueues' }>) => Promise<unknown>;
}

export class Consumers {
  readonly #parts: ConsumersParts;
  readonly #time: RunningTime;
  readonly #memberships = new Map<GroupState, Membership>();
  #stopped = false;

  constructor(parts: ConsumersParts) {
    this.#parts = parts;
    this.#time = parts.time;
  }

  /** Every recorded owner is presumed to live, for a full lease. */
  start(): void {
    for (const group of this.#parts.state.groups.values()) {
      if (group.owners.size === 0) continue;
      const membership = this.#of(group);
      for (const [number, { consumer, leaseMs }] of group.owners) {
        const member = membership.members.get(consumer) ?? this.#add(membership, consumer, leaseMs);
        // What it was handed before this process began nobody knows: all that was there, perhaps.
        const queue = queueOfNumber(this.#parts.state, number);
        if (queue) member.handedOut.set(queue, queue.max);
        const topic = topicOfQueueNumber(number);
        if (group.record.subscriptions.some((subscription) => subscription.topic === topic)) member.topics.add(topic);
      }
      for (const member of membership.members.values())
        if (member.topics.size === 0) member.topics.add(group.record.topic);
      this.#changed(membership);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const membership of this.#memberships.values()) membership.timer?.cancel();
    this.#memberships.clear();
  }

  /** Makes the consumer a member or renews its lease. Idempotent. Resolves when it has what is free for it. */
  async join(group: GroupState, id: string, leaseMs: number, topic: number): Promise<Member> {
    const membership = this.#of(group);
    let member = membership.members.get(id);
    const reads = member?.topics.has(topic) === true;
    if (member) {
      member.leaseMs = leaseMs;
      this.touch(member);
    } else {
      this.#checkRoom(membership);
      member = this.#add(membership, id, leaseMs);
    }
    member.topics.add(topic);
    if (reads) this.#arm(membership);
    else this.#changed(membership);
    while (membership.assigning) await membership.assigning;
    return member;
  }

  #checkRoom({ group, members }: Membership): void {
    if (members.size < LIMITS.consumersPerGroup) return;
    throw new GantryError(
      'LIMIT_EXCEEDED',
      `group ${group.record.name} has ${LIMITS.consumersPerGroup} consumers already`,
    );
  }

  #add(membership: Membership, id: string, leaseMs: number): Member {
    const now = this.#parts.clock.now();
    const member: Member = {
      id,
      leaseMs,
      joinedAt: now,
      lastSeenAt: now,
      lastSeen: this.#time.now(),
      topics: new Set(),
      said: new Map(),
      poll: undefined,
      nextStart: 0,
      queues: [],
      pending: [],
      revoking: new Map(),
      handedOut: new Map(),
      sought: new Map(),
    };
    membership.members.set(id, member);
    return member;
  }

  /** True when it was a member. Its queues pass on at once. */
  leave(group: GroupState, id: string): boolean {
    const membership = this.#memberships.get(group);
    const member = membership?.members.get(id);
    if (!membership || !member) return false;
    this.#remove(membership, member);
    this.#changed(membership);
    return true;
  }

  #remove(membership: Membership, member: Member): void {
    membership.members.delete(member.id);
    member.queues = member.pending = [];
    member.poll?.parking?.wake('REBALANCED');
  }

  /** The member, or undefined when it never joined or its lease ran out. */
  member(group: GroupState, id: string): Member | undefined {
    return this.#memberships.get(group)?.members.get(id);
  }

  members(group: GroupState): Member[] {
    return [...(this.#memberships.get(group)?.members.values() ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** The member that owns the queue, also while it is to give it up. */
  owner(group: GroupState, queue: Queue): Member | undefined {
    const owner = group.owners.get(queueNumber(queue.topic, queue.queueId));
    return owner && this.member(group, owner.consumer);
  }

  /** The epoch by which this member's cursors and commits for the queue are judged; undefined when it does not own it. */
  epochOf(group: GroupState, member: Member, queue: Queue): number | undefined {
    if (group.record.mode === 'BROADCASTING') return group.listeners.get(member.id)?.epoch;
    const owner = group.owners.get(queueNumber(queue.topic, queue.queueId));
    return owner?.consumer === member.id ? owner.epoch : undefined;
  }

  touch(member: Member): void {
    member.lastSeen = this.#time.now();
    member.lastSeenAt = this.#parts.clock.now();
  }

  /** Opaque to clients: every ownership that the member has now began at or before it. Without a member: of the whole group. */
  generation(group: GroupState, member?: Member): string {
    let last = 0;
    for (const { consumer, epoch } of group.owners.values())
      if (member === undefined || consumer === member.id) last = Math.max(last, epoch);
    for (const [consumer, { epoch }] of group.listeners)
      if (member === undefined || consumer === member.id) last = Math.max(last, epoch);
    return last.toString(36);
  }

  /** The owner epoch that a generation stands for; -1 for what is none. */
  static epochOf(generation: string): number {
    return /^[0-9a-z]{1,11}$/.test(generation) ? parseInt(generation, 36) : -1;
  }

  /** It was handed messages of the queue up to `next`. */
  handedOut(member: Member, queue: Queue, next: number): void {
    member.handedOut.set(queue, Math.max(next, member.handedOut.get(queue) ?? 0));
  }

  /** Positions of the group were committed: what is given up may be free now. */
  committed(group: GroupState): void {
    const membership = this.#memberships.get(group);
    if (!membership) return;
    for (const { revoking } of membership.members.values()) if (revoking.size > 0) return this.#changed(membership);
  }

  /** Positions were moved under their owners: whatever they were handed before does not count. */
  reset(group: GroupState): void {
    const membership = this.#memberships.get(group);
    if (!membership) return;
    for (const member of membership.members.values()) {
      for (const queue of [...member.queues, ...member.revoking.keys()])
        // Of those alone that were moved, by the command that was applied just now: what is out of the others stays out.
        if (this.epochOf(group, member, queue) === this.#parts.state.applied) member.handedOut.set(queue, 0);
      member.queues = [...member.queues];
      member.poll?.parking?.wake('REBALANCED');
    }
    this.#changed(membership);
  }

  /** The topic's queues or permission changed, or it is new, or gone: then only its readers still know of it. */
  refresh(topic: { readonly no: number; readonly name: string }): void {
    for (const membership of this.#memberships.values()) {
      const { group, members } = membership;
      const reads = [...members.values()].some((member) => member.topics.has(topic.no));
      if (reads || topic.name === retryTopicOf(group.record.name)) this.#changed(membership);
    }
  }

  /** The group's strategy or subscriptions changed. */
  regroup(group: GroupState): void {
    const membership = this.#memberships.get(group);
    if (membership) this.#changed(membership);
  }

  /** Memberships of groups that do not exist any more end, and their polls with them. */
  forgetDeleted(): void {
    for (const [group, membership] of this.#memberships) {
      if (this.#parts.state.groups.get(group.record.no) === group) continue;
      this.#memberships.delete(group);
      membership.timer?.cancel();
      for (const member of membership.members.values()) member.poll?.parking?.wake('REBALANCED');
    }
  }

  #of(group: GroupState): Membership {
    let membership = this.#memberships.get(group);
    if (!membership) {
      membership = {
        group,
        members: new Map(),
        timer: undefined,
        assigning: undefined,
        moving: new Set(),
        retryAt: Infinity,
      };
      this.#memberships.set(group, membership);
    }
    return membership;
  }

  /** Works out anew who has what, records new owners, and wakes those whom it concerns. */
  #changed(membership: Membership): void {
    if (membership.assigning) {
      // It is gone through again when the new owners are recorded; what must be given up takes effect at once.
      this.#plan(membership);
    } else this.#record(membership, this.#plan(membership));
    this.#arm(membership);
  }

  #record(membership: Membership, owners: readonly NewOwner[]): void {
    if (owners.length === 0 || this.#stopped) return;
    membership.retryAt = Infinity;
    const group = membership.group.record.no;
    for (const at of owners) membership.moving.add(this.#parts.state.topics.get(at.topic)!.queues[at.queueId]!);
    const recording = this.#parts.submit({ kind: 'assignQueues', group, owners }).then(
      () => true,
      () => false,
    );
    membership.assigning = recording.then((done) => {
      membership.assigning = undefined;
      if (this.#memberships.get(membership.group) !== membership) return;
      for (const queue of membership.moving) if (done) this.owner(membership.group, queue)?.handedOut.set(queue, 0);
      membership.moving.clear();
      if (done) return this.#changed(membership);
      membership.retryAt = this.#time.now() + RETRY_MS;
      this.#arm(membership);
    });
  }

  /** Lists of all members as they follow from who lives and who is recorded; answers the owners to be recorded. */
  #plan({ group, members, moving }: Membership): NewOwner[] {
    const lists = new Map(
      [...members.values()].map((member) => [member, { queues: [] as Queue[], pending: [] as Queue[] }]),
    );
    const owners: NewOwner[] = [];
    const revoked = new Map<Member, Queue[]>();
    for (const [queue, target] of this.#targets(group, members)) {
      const holder = this.owner(group, queue);
      if (moving.has(queue)) lists.get(target)!.pending.push(queue);
      else if (holder === target) lists.get(target)!.queues.push(queue);
      else if (!holder || this.#isFree(group, holder, queue)) {
        owners.push({ topic: queue.topic, queueId: queue.queueId, consumer: target.id, leaseMs: target.leaseMs });
        lists.get(target)!.pending.push(queue);
      } else {
        revoked.set(holder, [...(revoked.get(holder) ?? []), queue]);
        lists.get(target)!.pending.push(queue);
      }
    }
    if (group.record.mode === 'BROADCASTING') this.#giveAll(group, lists);
    for (const [member, list] of lists) this.#update(group, member, list, revoked.get(member) ?? []);
    return owners;
  }

  #update(
    group: GroupState,
    member: Member,
    list: Pick<Member, 'queues' | 'pending'>,
    revoked: readonly Queue[],
  ): void {
    const { queues } = list;
    member.pending = list.pending;
    for (const queue of [...member.revoking.keys()]) if (!revoked.includes(queue)) member.revoking.delete(queue);
    let fewer = false;
    for (const queue of revoked) {
      if (member.revoking.has(queue)) continue;
      const { leaseMs } = member;
      member.revoking.set(queue, {
        deadline: this.#time.now() + leaseMs,
        deadlineAt: this.#parts.clock.now() + leaseMs,
      });
      fewer = true;
    }
    const before = member.queues;
    if (before.length === queues.length && before.every((queue, i) => queue === queues[i]) && !fewer) return;
    const has = new Set(queues);
    for (const queue of before) if (!has.has(queue)) fewer = true;
    // A topic that cannot be read for a while leaves it the owner of what it was handed.
    for (const queue of member.handedOut.keys())
      if (this.owner(group, queue) !== member) member.handedOut.delete(queue);
    member.queues = queues;
    member.poll?.parking?.wake(fewer ? 'REBALANCED' : 'ASSIGNED');
  }

  /**
   * For each queue here that the group reads, the member that shall have it. Each topic is divided by itself, over its
   * queues on all brokers, in the order of its partitions: every broker comes to the same division, without asking.
   */
  *#targets(group: GroupState, members: ReadonlyMap<string, Member>): Iterable<[Queue, Member]> {
    if (group.record.mode === 'BROADCASTING') return;
    const sorted = [...members.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const { places, topic } of this.#topicsOf(group)) {
      const readers = topic === undefined ? sorted : sorted.filter((member) => member.topics.has(topic));
      if (readers.length === 0) continue;
      const ids = readers.map(({ id }) => id);
      const names = places.map(({ name }) => name);
      const shares = allocate(group.record.allocation, group.record.name, ids, names);
      for (const [i, share] of shares.entries())
        for (const { queue } of share.map((j) => places[j]!)) if (queue) yield [queue, readers[i]!];
    }
  }

  #giveAll(group: GroupState, lists: ReadonlyMap<Member, { queues: Queue[] }>): void {
    for (const { places, topic } of this.#topicsOf(group))
      for (const [member, list] of lists)
        if (topic === undefined || member.topics.has(topic))
          list.queues.push(...places.flatMap(({ queue }) => queue ?? []));
  }

  /** What is to be divided, by topic; the group's retries are everybody's (topic undefined). */
  *#topicsOf(group: GroupState): Iterable<{ topic: number | undefined; places: Place[] }> {
    const { state } = this.#parts;
    for (const { topic } of group.record.subscriptions) yield { topic, places: this.#placesOf(topic) };
    const retries = state.topicsByName.get(retryTopicOf(group.record.name));
    if (retries) yield { topic: undefined, places: this.#retryPlaces(group, retries) };
  }

  /** A queue that may not be read for a while keeps its place: the others stay where they are. */
  #placesOf(no: number): Place[] {
    const { state, brokerName } = this.#parts;
    const record = state.topics.get(no)?.record;
    if (!record) return [];
    const here = readableQueues(state, no);
    return record.partitions
      .filter(({ queueId }) => queueId < record.readQueues)
      .map(({ broker, queueId }) => ({
        name: `${record.name}-${broker}-${queueId}`,
        queue: broker === brokerName ? here[queueId] : undefined,
      }));
  }

  /** One queue on each broker of the group's topics, in the order of their partitions, whether it was needed there yet or not. */
  #retryPlaces(group: GroupState, { record, queues }: TopicState): Place[] {
    const { state, brokerName } = this.#parts;
    const partitions = group.record.subscriptions.flatMap(
      ({ topic }) => state.topics.get(topic)?.record.partitions ?? [],
    );
    const brokers = new Set(partitions.map(({ broker }) => broker)).add(brokerName);
    return [...brokers].map((broker) => ({
      name: `${record.name}-${broker}-0`,
      queue: broker === brokerName ? queues[0] : undefined,
    }));
  }

  /** Whether a queue may pass on from a living owner. */
  #isFree(group: GroupState, holder: Member, queue: Queue): boolean {
    const revoking = holder.revoking.get(queue);
    if (revoking && revoking.deadline <= this.#time.now()) return true;
    const handed = holder.handedOut.get(queue);
    if (handed === undefined) return true;
    return (group.offsets.get(queueNumber(queue.topic, queue.queueId)) ?? queue.min) >= handed;
  }

  /** One timer per group, set to what comes first: the end of a lease, the time to give a queue up or to try again. A poll keeps its consumer's lease. */
  #arm(membership: Membership): void {
    membership.timer?.cancel();
    membership.timer = undefined;
    const now = this.#time.now();
    let next = membership.retryAt - now;
    for (const member of membership.members.values()) {
      next = Math.min(next, member.poll ? member.leaseMs : member.lastSeen + member.leaseMs - now);
      for (const { deadline } of member.revoking.values()) next = Math.min(next, deadline - now);
    }
    if (next === Infinity || this.#stopped) return;
    membership.timer = this.#parts.clock.after(Math.max(next, 1), () => this.#expire(membership));
  }

  #expire(membership: Membership): void {
    membership.timer = undefined;
    const now = this.#time.now();
    for (const member of [...membership.members.values()])
      if (!member.poll && member.lastSeen + member.leaseMs <= now) this.#remove(membership, member);
    this.#changed(membership);
  }
}

/** The queues of a topic that consumers may read. */
export function readableQueues(state: BrokerState, no: number): Queue[] {
  const topic = state.topics.get(no);
  if (!topic || !readable(permissionHere(state, topic.record))) return [];
  return topic.queues.slice(0, topic.record.readQueues);
}

/** The queue of a number, if it exists. */
const queueOfNumber = (state: BrokerState, number: number): Queue | undefined =>
  state.topics.get(topicOfQueueNumber(number))?.queues[queueIdOfNumber(number)];
