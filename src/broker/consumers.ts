/**
 * Who consumes. Membership is soft: a consumer that joins or polls is a member for its lease, and a broker that starts
 * anew knows none. From the members follows who owns which queue, and every change of owner gets a higher epoch, by
 * which a cursor or a commit of an earlier owner is told apart. At any moment a queue has at most one owner.
 */
import type { Clock, Timer } from '../base/clock';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { averagely } from './allocation';
import type { Parking } from './parking';
import type { Queue } from './queue';
import type { BrokerState, GroupState } from './state';
import { readable } from './topic';

export interface Member {
  readonly id: string;
  leaseMs: number;
  readonly joinedAt: number;
  /** Wall clock, for people. */
  lastSeenAt: number;
  /** Monotonic, for the lease. */
  lastSeen: number;
  /** The poll that is under way, if any: it keeps the lease. */
  poll: { parking: Parking | undefined; replaced: boolean } | undefined;
  /** Rotates the queue a poll begins with, so that none starves. */
  nextStart: number;
  /** Another list whenever ownership of one of them changes: by that a poll that reads notices. */
  queues: readonly Queue[];
}

interface Ownership {
  readonly member: Member;
  readonly epoch: number;
}

interface Membership {
  readonly group: GroupState;
  readonly members: Map<string, Member>;
  readonly owners: Map<Queue, Ownership>;
  timer: Timer | undefined;
}

export class Consumers {
  readonly #clock: Clock;
  readonly #state: BrokerState;
  readonly #memberships = new Map<GroupState, Membership>();
  readonly #epochPrefix: number;
  /** Owner epochs of this process; unique across restarts together with the broker's epoch. */
  #lastEpoch = 0;

  constructor(clock: Clock, state: BrokerState, brokerEpoch: number) {
    this.#clock = clock;
    this.#state = state;
    this.#epochPrefix = brokerEpoch * 0x1_0000_0000;
  }

  /** Makes the consumer a member or renews its lease. Idempotent. */
  join(group: GroupState, id: string, leaseMs: number): Member {
    const membership = this.#of(group);
    let member = membership.members.get(id);
    if (member) {
      member.leaseMs = leaseMs;
      this.touch(member);
      this.#arm(membership);
      return member;
    }
    if (membership.members.size >= LIMITS.consumersPerGroup) {
      throw new GantryError(
        'LIMIT_EXCEEDED',
        `group ${group.record.name} has ${LIMITS.consumersPerGroup} consumers already`,
      );
    }
    const now = this.#clock.now();
    member = {
      id,
      leaseMs,
      joinedAt: now,
      lastSeenAt: now,
      lastSeen: this.#clock.monotonic(),
      poll: undefined,
      nextStart: 0,
      queues: [],
    };
    membership.members.set(id, member);
    this.#rebalance(membership);
    this.#arm(membership);
    return member;
  }

  /** True when it was a member. */
  leave(group: GroupState, id: string): boolean {
    const membership = this.#memberships.get(group);
    const member = membership?.members.get(id);
    if (!membership || !member) return false;
    this.#remove(membership, member);
    return true;
  }

  /** The member, or undefined when it never joined or its lease ran out. */
  member(group: GroupState, id: string): Member | undefined {
    return this.#memberships.get(group)?.members.get(id);
  }

  members(group: GroupState): Member[] {
    return [...(this.#memberships.get(group)?.members.values() ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  owner(group: GroupState, queue: Queue): Ownership | undefined {
    return this.#memberships.get(group)?.owners.get(queue);
  }

  touch(member: Member): void {
    member.lastSeen = this.#clock.monotonic();
    member.lastSeenAt = this.#clock.now();
  }

  /** Opaque to clients: every ownership that stands now began at or before it. */
  get generation(): string {
    return (this.#epochPrefix + this.#lastEpoch).toString(36);
  }

  /** The owner epoch that a generation stands for; -1 for what is none. */
  static epochOf(generation: string): number {
    return /^[0-9a-z]{1,11}$/.test(generation) ? parseInt(generation, 36) : -1;
  }

  /** Positions of these queues are moved under their owners: whatever cursors they hold is void. */
  renew(group: GroupState, queues: readonly Queue[]): void {
    const membership = this.#memberships.get(group);
    if (!membership) return;
    for (const queue of queues) {
      const member = membership.owners.get(queue)?.member;
      if (!member) continue;
      membership.owners.set(queue, { member, epoch: this.#nextEpoch() });
      member.queues = [...member.queues];
    }
  }

  /** Lets the polls of these queues' owners look again. */
  wake(group: GroupState, queues: readonly Queue[]): void {
    for (const queue of queues) this.owner(group, queue)?.member.poll?.parking?.wake('REBALANCED');
  }

  /** The topic's queues or permission changed. */
  refresh(topic: number): void {
    for (const membership of this.#memberships.values()) {
      if (membership.group.record.topic === topic) this.#rebalance(membership);
    }
  }

  /** Memberships of groups that do not exist any more end, and their polls with them. */
  forgetDeleted(): void {
    for (const [group, membership] of this.#memberships) {
      if (this.#state.groups.get(group.record.no) === group) continue;
      this.#memberships.delete(group);
      membership.timer?.cancel();
      for (const member of membership.members.values()) member.poll?.parking?.wake('REBALANCED');
    }
  }

  stop(): void {
    for (const membership of this.#memberships.values()) membership.timer?.cancel();
    this.#memberships.clear();
  }

  #of(group: GroupState): Membership {
    let membership = this.#memberships.get(group);
    if (!membership) {
      membership = { group, members: new Map(), owners: new Map(), timer: undefined };
      this.#memberships.set(group, membership);
    }
    return membership;
  }

  #remove(membership: Membership, member: Member): void {
    membership.members.delete(member.id);
    member.queues = [];
    member.poll?.parking?.wake('REBALANCED');
    this.#rebalance(membership);
    this.#arm(membership);
  }

  #nextEpoch(): number {
    return this.#epochPrefix + ++this.#lastEpoch;
  }

  #rebalance(membership: Membership): void {
    const members = [...membership.members.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
    const queues = this.#queuesOf(membership.group);
    const shares = members.length === 0 ? [] : averagely(members.length, queues.length);
    const owners = new Map<Queue, Ownership>();
    const changed = new Set<Member>();
    members.forEach((member, i) => {
      member.queues = shares[i]!.map((j) => queues[j]!);
      for (const queue of member.queues) {
        const before = membership.owners.get(queue);
        if (before?.member === member) owners.set(queue, before);
        else {
          owners.set(queue, { member, epoch: this.#nextEpoch() });
          changed.add(member);
          if (before) changed.add(before.member);
        }
      }
    });
    for (const [queue, { member }] of membership.owners) if (!owners.has(queue)) changed.add(member);
    membership.owners.clear();
    for (const [queue, ownership] of owners) membership.owners.set(queue, ownership);
    for (const member of changed) member.poll?.parking?.wake('REBALANCED');
  }

  #queuesOf(group: GroupState): Queue[] {
    const topic = this.#state.topics.get(group.record.topic);
    if (!topic || !readable(topic.record.permission)) return [];
    return topic.queues.slice(0, topic.record.readQueues);
  }

  /** One timer per group, set to the lease that ends first. A poll under way keeps its consumer's lease. */
  #arm(membership: Membership): void {
    membership.timer?.cancel();
    membership.timer = undefined;
    const now = this.#clock.monotonic();
    let next = Infinity;
    for (const member of membership.members.values()) {
      const left = member.poll ? member.leaseMs : member.lastSeen + member.leaseMs - now;
      next = Math.min(next, left);
    }
    if (next === Infinity) return;
    membership.timer = this.#clock.after(Math.max(next, 1), () => this.#expire(membership));
  }

  #expire(membership: Membership): void {
    const now = this.#clock.monotonic();
    const gone = [...membership.members.values()].filter(
      (member) => !member.poll && member.lastSeen + member.leaseMs <= now,
    );
    for (const member of gone) membership.members.delete(member.id);
    if (gone.length > 0) {
      for (const member of gone) member.queues = [];
      this.#rebalance(membership);
    }
    this.#arm(membership);
  }
}
