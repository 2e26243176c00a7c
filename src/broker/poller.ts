/**
 * The long poll of a consumer over the queues it owns. It reads behind the committed offsets, or where the cursor says,
 * and changes no position: a dropped answer loses nothing. It answers at the first of: enough messages, the wait is
 * over, a rebalance, the client has gone.
 */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { groupNamed, type Core } from './core';
import type { Member } from './consumers';
import { CURSOR_PARTS, type CursorOwner, type CursorPart } from './cursor';
import { parseFilter, type Filter } from './filter';
import type { WakeReason } from './parking';
import type { Queue } from './queue';
import type { Delivery, ReadResult } from './reader';
import { queueNumber, type GroupState } from './state';
import { readable } from './topic';

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

/** Why an answer is empty. */
export type EmptyReason = 'CAUGHT_UP' | 'NOT_ASSIGNED' | 'FILTERED' | 'REBALANCED' | 'SHUTTING_DOWN';

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
  readonly dropped: number[];
  readonly moved: Moved[];
}

/** One poll: where it stands in each queue. */
interface Round {
  readonly group: GroupState;
  readonly member: Member;
  readonly filter: Filter | undefined;
  readonly options: PollOptions;
  /** Each counts while the queue has the owner epoch it was noted under. */
  readonly positions: Map<Queue, { readonly epoch: number | undefined; readonly offset: number }>;
  readonly moved: Map<Queue, Moved>;
  readonly dropped: number[];
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
}

export class Poller {
  readonly #core: Core;
  readonly #filters = new Map<string, Filter | undefined>();

  constructor(core: Core) {
    this.#core = core;
  }

  async poll(groupName: string, consumerId: string, options: PollOptions): Promise<PollAnswer> {
    const group = groupNamed(this.#core.state, groupName);
    const member = this.#memberOf(group, consumerId);
    this.#checkReadable(group);
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

  #memberOf(group: GroupState, consumerId: string): Member {
    const member = this.#core.consumers.member(group, consumerId);
    if (member) return member;
    const { name } = group.record;
    throw new GantryError(
      'NOT_JOINED',
      `consumer ${consumerId} is not a member of ${name}: PUT /v1/groups/${name}/consumers/${consumerId} first, and again after a restart or a lease that ran out`,
    );
  }

  #checkReadable(group: GroupState): void {
    const topic = this.#core.state.topics.get(group.record.topic);
    if (topic && !readable(topic.record.permission)) {
      throw new GantryError(
        'NO_PERMISSION',
        `topic ${topic.record.name} gives no messages: its permission is ${topic.record.permission}`,
      );
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
    if (options.autoCommit && used.length > 0) await this.#commit(group, used);
    const round: Round = {
      group,
      member,
      filter: this.#filterOf(group),
      options,
      positions: new Map(),
      moved: new Map(),
      dropped,
      examined: 0,
    };
    for (const { queueId, epoch, position } of used) {
      const queue = this.#queue(group, queueId);
      if (queue) round.positions.set(queue, { epoch, offset: position });
    }
    return this.#gatherAndWait(round, poll);
  }

  /** The parts of a cursor that count: the queue is still this consumer's, and was all the time. */
  #usable(group: GroupState, member: Member, parts: readonly CursorPart[]) {
    const used: CursorPart[] = [];
    const dropped: number[] = [];
    for (const part of parts) {
      const queue = this.#queue(group, part.queueId);
      const owner = queue && this.#core.consumers.owner(group, queue);
      if (queue && owner?.member === member && owner.epoch === part.epoch && part.position <= queue.max)
        used.push(part);
      else dropped.push(part.queueId);
    }
    return { used, dropped };
  }

  #queue(group: GroupState, queueId: number): Queue | undefined {
    return this.#core.state.topics.get(group.record.topic)?.queues[queueId];
  }

  async #commit(group: GroupState, parts: readonly CursorPart[]): Promise<void> {
    const topic = group.record.topic;
    const ahead = parts.filter((part) => part.position > (group.offsets.get(queueNumber(topic, part.queueId)) ?? -1));
    if (ahead.length === 0) return;
    const offsets = ahead.map((part) => ({ topic, queueId: part.queueId, nextOffset: part.position }));
    await this.#core.submit({ kind: 'commitOffsets', group: group.record.no, offsets, backwards: false });
  }

  #filterOf(group: GroupState): Filter | undefined {
    const { expression } = group.record.filter;
    if (!this.#filters.has(expression)) {
      if (this.#filters.size >= 1000) this.#filters.clear();
      this.#filters.set(expression, parseFilter(group.record.filter));
    }
    return this.#filters.get(expression);
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
      if (member.queues !== owned) continue;
      const left = deadline - clock.monotonic();
      const enough = gathered.messages.length >= options.min || gathered.full || this.#examinedEnough(round, gathered);
      if (enough || left <= 0 || over !== undefined) return this.#answer(round, gathered, over ?? 'TIMEOUT');
      // Nobody wakes it for what came into a queue that it had already passed.
      if (member.queues.some((queue) => this.#behind(round, gathered, queue) < queue.max)) continue;
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
    return Math.max(round.examined, gathered.examined) >= LIMITS.pollEntries;
  }

  /** One pass over the owned queues, beginning with another one each time. */
  async #gather(round: Round): Promise<Gathered> {
    const { member, options } = round;
    const gathered: Gathered = { messages: [], bytes: 0, full: false, next: new Map(), examined: 0 };
    const queues = member.queues;
    const start = queues.length === 0 ? 0 : member.nextStart++ % queues.length;
    for (let i = 0; i < queues.length && !gathered.full && gathered.examined < LIMITS.pollEntries; i++) {
      if (gathered.next.size >= CURSOR_PARTS) gathered.full = true;
      else await this.#gatherFrom(round, queues[(start + i) % queues.length]!, gathered);
    }
    if (gathered.messages.length >= options.max || gathered.bytes >= options.maxBytes) gathered.full = true;
    return gathered;
  }

  async #gatherFrom(round: Round, queue: Queue, gathered: Gathered): Promise<void> {
    const { options } = round;
    const epoch = this.#epoch(round, queue);
    let from: number;
    let result: ReadResult;
    do {
      from = this.#position(round, queue);
      if (from >= queue.max) return;
      result = await this.#core.reader.read(queue, from, {
        max: options.max - gathered.messages.length,
        maxBytes: options.maxBytes - gathered.bytes,
        atLeastOne: gathered.messages.length === 0,
        maxEntries: LIMITS.pollEntries - gathered.examined,
        filter: round.filter,
      });
    } while (from < queue.min); // trimmed while it was read: the consumer is told, and reads on behind it
    gathered.messages = gathered.messages.length === 0 ? result.messages : gathered.messages.concat(result.messages);
    gathered.bytes += result.bytes;
    gathered.examined += result.examined;
    gathered.full = result.full;
    if (result.nextOffset > from) gathered.next.set(queue, result.nextOffset);
    if (result.messages.length === 0) {
      // What the filter left out need not be looked at again while this poll waits.
      round.positions.set(queue, { epoch, offset: result.nextOffset });
      round.examined += result.examined;
    }
  }

  #epoch(round: Round, queue: Queue): number | undefined {
    return this.#core.consumers.owner(round.group, queue)?.epoch;
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
    const epoch = this.#epoch(round, queue);
    const committed = round.group.offsets.get(queueNumber(queue.topic, queue.queueId)) ?? queue.min;
    const place = round.positions.get(queue);
    const position = place && place.epoch === epoch ? place.offset : committed;
    if (position >= queue.min) return Math.min(position, queue.max);
    const before = round.moved.get(queue);
    round.moved.set(queue, { queue, from: before?.from ?? position, to: queue.min });
    round.positions.set(queue, { epoch, offset: queue.min });
    return queue.min;
  }

  #answer(round: Round, gathered: Gathered, woken: WakeReason): PollAnswer {
    const { group, member } = round;
    const { consumers, cursors } = this.#core;
    const parts: CursorPart[] = [];
    let lag = 0;
    for (const queue of member.queues) {
      const position = this.#behind(round, gathered, queue);
      lag += queue.max - position;
      const committed = group.offsets.get(queueNumber(queue.topic, queue.queueId));
      const owner = consumers.owner(group, queue);
      if (position !== committed && owner?.member === member && parts.length < CURSOR_PARTS) {
        parts.push({ queueId: queue.queueId, epoch: owner.epoch, position });
      }
    }
    group.traffic.messagesOut += gathered.messages.length;
    group.traffic.bytesOut += gathered.bytes;
    return {
      messages: gathered.messages,
      cursor: cursors.encode(ownerOf(group, member.id), parts),
      generation: consumers.generation,
      reason: gathered.messages.length > 0 ? undefined : emptyReason(round, woken),
      lag,
      dropped: round.dropped,
      moved: [...round.moved.values()],
    };
  }
}

function emptyReason(round: Round, woken: WakeReason): EmptyReason {
  if (woken === 'STOPPED') return 'SHUTTING_DOWN';
  if (woken === 'REBALANCED') return 'REBALANCED';
  if (round.member.queues.length === 0) return 'NOT_ASSIGNED';
  return round.examined > 0 ? 'FILTERED' : 'CAUGHT_UP';
}

export function ownerOf(group: GroupState, consumerId: string): CursorOwner {
  return { group: group.record.no, groupName: group.record.name, consumerId, topic: group.record.topic };
}
