/**
 * The long poll of a consumer over the queues it owns. It reads behind the committed offsets, or where the cursor says,
 * and changes no position: a dropped answer loses nothing. It answers at the first of: enough messages, the wait is
 * over, a queue is taken away, the client has gone.
 */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { checkReadable, groupNamed, type Core } from './core';
import type { Member } from './consumers';
import { CursorParts, type CursorOwner, type CursorPart } from './cursor';
import { Effort } from './effort';
import { FilterCache } from './filterCache';
import { subscriptionTo } from './group';
import { messageAttempt } from './message';
import type { WakeReason } from './parking';
import type { Queue } from './queue';
import type { Delivery, ReadResult } from './reader';
import { queueNumber, type GroupState } from './state';

export interface PollOptions {
  readonly max: number;
  readonly maxBytes: number;
  readonly min: number;
  readonly waitMs: number;
  /** Empty = none. */
  readonly cursor: string;
  readonly autoCommit: boolean;
  readonly signal: () => AbortSignal;
}

/** Why an answer is empty. UNCOMMITTED: so many queues have uncommitted messages that the cursor has no room for more. */
export type EmptyReason = 'CAUGHT_UP' | 'NOT_ASSIGNED' | 'FILTERED' | 'REBALANCED' | 'UNCOMMITTED' | 'SHUTTING_DOWN';

export interface Moved {
  readonly queue: Queue;
  readonly from: number;
  readonly to: number;
}

export interface PollAnswer {
  readonly messages: Delivery[];
  readonly cursor: string;
  readonly generation: string;
  readonly reason: EmptyReason | undefined;
  /** Messages behind this answer in the consumer's queues. */
  readonly lag: number;
  /** Queues whose part of the cursor did not count any more. */
  readonly dropped: readonly { readonly topic: number; readonly queueId: number }[];
  readonly moved: Moved[];
  /** Queues that pass on when what they gave is committed, at the latest then (milliseconds since 1970). */
  readonly revoking: readonly { readonly queue: Queue; readonly deadline: number }[];
}

/** One poll: where it stands in each queue. */
interface Round {
  readonly group: GroupState;
  readonly member: Member;
  readonly options: PollOptions;
  /** Each counts while the queue has the owner epoch it was noted under. */
  readonly positions: Map<Queue, { readonly epoch: number | undefined; readonly offset: number }>;
  readonly moved: Map<Queue, Moved>;
  readonly dropped: { topic: number; queueId: number }[];
  examined: number;
}

interface Gathered {
  messages: Delivery[];
  bytes: number;
  /** A bound was reached: there is no sense in waiting for more. */
  full: boolean;
  /** Where each queue would go on behind these messages. */
  next: Map<Queue, number>;
  /** Index entries looked at. */
  examined: number;
  /** The filter took as long as one answer may wait for it. */
  spent: boolean;
  /** What the answer's cursor will hold. */
  readonly cursor: CursorParts;
  /** A queue with messages was left out, because the cursor has no room for it. */
  crowded: boolean;
}

export class Poller {
  readonly #core: Core;
  readonly #filters = new FilterCache();

  constructor(core: Core) {
    this.#core = core;
  }

  async poll(groupName: string, consumerId: string, options: PollOptions): Promise<PollAnswer> {
    const group = groupNamed(this.#core.state, groupName);
    const member = memberOf(this.#core, group, consumerId);
    checkReadable(this.#core, group);
    // Read first: who is refused for his cursor ends nobody else's poll.
    const parts =
      options.cursor === '' ? [] : this.#core.cursors.decode(options.cursor, ownerOf(group, member.id), 'query');
    if (member.poll) {
      member.poll.replaced = true;
      member.poll.parking?.wake('REPLACED');
    }
    const poll = (member.poll = { parking: undefined, replaced: false });
    this.#core.consumers.touch(member);
    try {
      return await this.#pollAs(group, member, options, parts, poll);
    } finally {
      if (member.poll === poll) member.poll = undefined;
      this.#core.consumers.touch(member);
    }
  }

  async #pollAs(
    group: GroupState,
    member: Member,
    options: PollOptions,
    parts: readonly CursorPart[],
    poll: NonNullable<Member['poll']>,
  ): Promise<PollAnswer> {
    const { used, dropped } = this.#usable(group, member, parts);
    const positions: Round['positions'] = new Map();
    for (const { queue, epoch, position } of used) {
      positions.set(queue, { epoch, offset: position });
    }
    for (const queue of [...member.sought.keys()]) if (!positions.has(queue)) member.sought.delete(queue);
    if (options.autoCommit) await this.#commit(group, member, used);
    const round: Round = { group, member, options, positions, moved: new Map(), dropped, examined: 0 };
    return this.#gatherAndWait(round, poll);
  }

  /** The parts of a cursor that count: the queue is still this consumer's, and was all the time. */
  #usable(group: GroupState, member: Member, parts: readonly CursorPart[]) {
    const used: (CursorPart & { readonly queue: Queue })[] = [];
    const dropped: { topic: number; queueId: number }[] = [];
    for (const part of parts) {
      const queue = this.#core.state.topics.get(part.topic)?.queues[part.queueId];
      const epoch = queue && this.#core.consumers.epochOf(group, member, queue);
      if (queue && epoch === part.epoch && part.position <= queue.max) used.push({ ...part, queue });
      else dropped.push({ topic: part.topic, queueId: part.queueId });
    }
    return { used, dropped };
  }

  async #commit(group: GroupState, member: Member, parts: readonly (CursorPart & { queue: Queue })[]): Promise<void> {
    const ahead = parts.filter(({ queue, position }) => position > (committedOf(group, member, queue) ?? -1));
    if (ahead.length === 0) return;
    const offsets = ahead.map(({ topic, queueId, epoch, position }) => ({
      topic,
      queueId,
      epoch,
      nextOffset: position,
    }));
    const by = { consumer: member.id };
    await this.#core.submit({ kind: 'commitOffsets', group: group.record.no, offsets, by, backwards: false });
  }

  async #gatherAndWait(round: Round, poll: NonNullable<Member['poll']>): Promise<PollAnswer> {
    const { clock, lot } = this.#core;
    const { options, member, group } = round;
    const deadline = clock.monotonic() + options.waitMs;
    let over: WakeReason | undefined;
    for (;;) {
      const owned = member.queues;
      const gathered = await this.#gather(round);
      this.#checkStill(group, member, poll);
      // Queues or positions changed hands while it read: what it has may be another's by now.
      if (member.queues !== owned) {
        if (owned.some((queue) => !member.queues.includes(queue))) over = 'REBALANCED';
        continue;
      }
      const left = deadline - clock.monotonic();
      const enough = gathered.messages.length >= options.min || gathered.full || this.#examinedEnough(round, gathered);
      if (enough || left <= 0 || over !== undefined) return this.#answer(round, gathered, over ?? 'TIMEOUT');
      // Nobody wakes it for what came into a queue that it had already passed.
      if (!gathered.crowded && member.queues.some((queue) => this.#behind(round, gathered, queue) < queue.max))
        continue;
      const reason = await lot.wait({
        queues: member.queues,
        group: group.record.name,
        ms: left,
        signal: options.signal(),
        onParked: (parking) => (poll.parking = parking),
      });
      this.#checkStill(group, member, poll);
      if (reason === 'GONE' || reason === 'STOPPED') return this.#answer(round, gathered, reason);
      if (reason === 'REBALANCED') over = reason;
    }
  }

  #checkStill(group: GroupState, member: Member, poll: NonNullable<Member['poll']>): void {
    if (poll.replaced) {
      throw new GantryError(
        'CONSUMER_REPLACED',
        `a newer poll of consumer ${member.id} took over: let each consumer poll once at a time`,
      );
    }
    if (this.#core.state.groups.get(group.record.no) !== group) {
      throw new GantryError('GROUP_NOT_FOUND', `group ${group.record.name} was deleted`);
    }
  }

  #examinedEnough(round: Round, gathered: Gathered): boolean {
    return gathered.spent || Math.max(round.examined, gathered.examined) >= LIMITS.pollEntries;
  }

  /** One pass over the owned queues, beginning with another one each time. */
  async #gather(round: Round): Promise<Gathered> {
    const { member, options } = round;
    const gathered: Gathered = {
      ...{ messages: [], bytes: 0, full: false, next: new Map<Queue, number>(), examined: 0, spent: false },
      ...{ cursor: this.#carried(round), crowded: false },
    };
    const queues = member.queues;
    const start = queues.length === 0 ? 0 : member.nextStart++ % queues.length;
    const effort = new Effort(this.#core.clock);
    const goesOn = () => !gathered.full && !gathered.spent && gathered.examined < LIMITS.pollEntries;
    for (let i = 0; i < queues.length && goesOn(); i++)
      await this.#gatherFrom(round, queues[(start + i) % queues.length]!, gathered, effort);
    if (gathered.messages.length >= options.max || gathered.bytes >= options.maxBytes) gathered.full = true;
    return gathered;
  }

  /** What the consumer was served before and has not committed comes first: it would be served again otherwise. */
  #carried(round: Round): CursorParts {
    const parts = new CursorParts();
    // Of a queue that is to be given up it may still commit what it has, or go on when it gets it back.
    for (const queue of round.member.revoking.keys()) {
      const place = round.positions.get(queue);
      if (place && place.epoch === this.#core.consumers.epochOf(round.group, round.member, queue))
        this.#note(round, parts, queue, place.offset);
    }
    for (const queue of round.member.queues) {
      const handed = round.member.handedOut.get(queue) ?? 0;
      const position = this.#position(round, queue);
      if (position > (committedOf(round.group, round.member, queue) ?? -1) && position <= handed)
        this.#note(round, parts, queue, position);
    }
    return parts;
  }

  #note({ group, member }: Round, parts: CursorParts, queue: Queue, position: number): boolean {
    const epoch = this.#core.consumers.epochOf(group, member, queue);
    return epoch !== undefined && parts.add({ topic: queue.topic, queueId: queue.queueId, epoch, position });
  }

  async #gatherFrom(round: Round, queue: Queue, gathered: Gathered, effort: Effort): Promise<void> {
    const { options, group, member } = round;
    const epoch = this.#core.consumers.epochOf(group, member, queue);
    if (epoch === undefined) return;
    let from: number;
    let result: ReadResult;
    do {
      from = this.#position(round, queue);
      if (from >= queue.max) return;
      if (!gathered.cursor.fits(queue.topic, queue.queueId, epoch)) return void (gathered.crowded = true);
      const subscription = subscriptionTo(group.record, queue.topic);
      result = await this.#core.reader.read(queue, from, {
        max: options.max - gathered.messages.length,
        maxBytes: options.maxBytes - gathered.bytes,
        atLeastOne: gathered.messages.length === 0,
        maxEntries: LIMITS.pollEntries - gathered.examined,
        // A group's retries are its own already.
        filter: subscription && this.#filters.of(subscription.filter),
        effort,
        skip: this.#skip(round, queue),
      });
    } while (from < queue.min); // trimmed while it was read: the consumer is told, and reads on behind it
    const messages = counted(group, queue, result.messages);
    gathered.messages = gathered.messages.length === 0 ? messages : gathered.messages.concat(messages);
    gathered.bytes += result.bytes;
    gathered.examined += result.examined;
    gathered.full = result.full;
    gathered.spent = result.spent;
    if (result.nextOffset > from) gathered.next.set(queue, result.nextOffset);
    if (result.messages.length > 0) this.#note(round, gathered.cursor, queue, result.nextOffset);
    else {
      // What the filter left out need not be looked at again while this poll waits.
      round.positions.set(queue, { epoch, offset: result.nextOffset });
      round.examined += result.examined;
    }
  }

  /** Messages acknowledged under leases are done, wherever the committed offset is, unless the consumer sought them. */
  #skip({ group, member }: Round, queue: Queue): ((offset: number) => number) | undefined {
    const next = group.leases.get(queueNumber(queue.topic, queue.queueId))?.walk();
    const until = member.sought.get(queue) ?? 0;
    return next && ((offset) => (offset < until ? offset : next(offset)));
  }

  /** Where the next poll would go on in a queue. */
  #behind(round: Round, gathered: Gathered, queue: Queue): number {
    return gathered.next.get(queue) ?? this.#position(round, queue);
  }

  /**
   * Where the consumer stands in a queue: what the cursor said, as long as it has owned the queue ever since; else what
   * is committed. Never before what is kept.
   */
  #position(round: Round, queue: Queue): number {
    const { group, member } = round;
    const epoch = this.#core.consumers.epochOf(group, member, queue);
    const place = round.positions.get(queue);
    const position = place && place.epoch === epoch ? place.offset : (committedOf(group, member, queue) ?? queue.min);
    if (position >= queue.min) return Math.min(position, queue.max);
    const before = round.moved.get(queue);
    round.moved.set(queue, { queue, from: before?.from ?? position, to: queue.min });
    round.positions.set(queue, { epoch, offset: queue.min });
    return queue.min;
  }

  #answer(round: Round, gathered: Gathered, woken: WakeReason): PollAnswer {
    const { group, member } = round;
    const { consumers, cursors } = this.#core;
    let lag = 0;
    for (const queue of member.queues) {
      const position = this.#behind(round, gathered, queue);
      const leases = group.leases.get(queueNumber(queue.topic, queue.queueId));
      lag += leases?.openFrom(position, queue.max) ?? queue.max - position;
      if (position !== committedOf(group, member, queue)) this.#note(round, gathered.cursor, queue, position);
    }
    for (const { queue, queueOffset } of gathered.messages) consumers.handedOut(member, queue, queueOffset + 1);
    group.traffic.messagesOut += gathered.messages.length;
    group.traffic.bytesOut += gathered.bytes;
    return {
      messages: gathered.messages,
      cursor: cursors.encode(ownerOf(group, member.id), gathered.cursor.parts),
      generation: consumers.generation(group, member),
      reason: gathered.messages.length > 0 ? undefined : emptyReason(round, gathered, woken),
      lag,
      dropped: round.dropped,
      moved: [...round.moved.values()],
      revoking: [...member.revoking].map(([queue, { deadlineAt }]) => ({ queue, deadline: deadlineAt })),
    };
  }
}

/** Deliveries under leases count on. */
function counted(group: GroupState, queue: Queue, messages: Delivery[]): Delivery[] {
  const leases = group.leases.get(queueNumber(queue.topic, queue.queueId));
  if (!leases) return messages;
  return messages.map((message) => {
    const before = leases.entries.get(message.queueOffset)?.attempt ?? 0;
    return before === 0 ? message : { ...message, attempt: messageAttempt(message.record) + before };
  });
}

function emptyReason(round: Round, gathered: Gathered, woken: WakeReason): EmptyReason {
  if (woken === 'STOPPED') return 'SHUTTING_DOWN';
  if (woken === 'REBALANCED') return 'REBALANCED';
  if (round.member.queues.length === 0) return 'NOT_ASSIGNED';
  if (gathered.crowded) return 'UNCOMMITTED';
  return round.examined > 0 ? 'FILTERED' : 'CAUGHT_UP';
}

/** The position committed for a consumer's queue: the group's, or in a broadcasting group its own. */
export function committedOf(group: GroupState, member: { readonly id: string }, queue: Queue): number | undefined {
  const number = queueNumber(queue.topic, queue.queueId);
  if (group.record.mode === 'BROADCASTING') return group.listeners.get(member.id)?.offsets.get(number);
  return group.offsets.get(number);
}

/** Throws NOT_JOINED for a consumer that is no member (any more). */
export function memberOf({ consumers }: Core, group: GroupState, consumerId: string): Member {
  const member = consumers.member(group, consumerId);
  if (member) return member;
  const { name } = group.record;
  throw new GantryError(
    'NOT_JOINED',
    `consumer ${consumerId} is not a member of ${name}: PUT /v1/groups/${name}/consumers/${consumerId} first, and again after a lease that ran out`,
  );
}

export function ownerOf(group: GroupState, consumerId: string): CursorOwner {
  return { group: group.record.no, groupName: group.record.name, consumerId, topic: group.record.topic };
}
