/**
 * Reading positions that a consumer chooses: a cursor that stands where it wants to read on. Like any cursor it lives with
 * the consumer, and changes nothing of the group.
 */
import { GantryError } from '../base/errors';
import type { Member } from './consumers';
import { groupNamed, type Core } from './core';
import { CursorParts, type CursorPart } from './cursor';
import { memberOf, ownerOf } from './poller';
import type { Positions } from './positions';
import { queueNumber, type GroupState } from './state';

export interface SeekRequest {
  /** Of the consumer's last poll; undefined: its other queues go on at their committed positions. */
  readonly cursor: string | undefined;
  readonly offsets: readonly SeekOffset[];
}

interface SeekOffset {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly nextOffset: number;
}

export class Seeker {
  readonly #core: Core;
  readonly #positions: Positions;

  constructor(core: Core, positions: Positions) {
    this.#core = core;
    this.#positions = positions;
  }

  /**
   * A cursor for the next poll. Throws NOT_JOINED, QUEUE_NOT_FOUND and QUEUE_NOT_OWNED, OFFSET_MOVED for an offset that the
   * queue does not have, and LIMIT_EXCEEDED when a cursor has no room for so many queues.
   */
  seek(
    groupName: string,
    consumerId: string,
    { cursor, offsets }: SeekRequest,
  ): { cursor: string; generation: string } {
    const { state, consumers, cursors } = this.#core;
    const group = groupNamed(state, groupName);
    const member = memberOf(this.#core, group, consumerId);
    const owner = ownerOf(group, consumerId);
    const before = cursor === undefined ? [] : cursors.decode(cursor, owner, 'body');
    const parts = new CursorParts();
    for (const part of [...before, ...offsets.map((at) => this.#partOf(group, member, at))])
      if (!parts.add(part)) throw tooMany();
    consumers.touch(member);
    return { cursor: cursors.encode(owner, parts.parts), generation: consumers.generation(group, member) };
  }

  #partOf(group: GroupState, member: Member, at: SeekOffset): CursorPart {
    const queue = this.#positions.queueOf(group, at);
    if (queue instanceof GantryError) throw queue;
    const epoch = this.#core.consumers.epochOf(group, member, queue);
    if (epoch === undefined || !member.queues.includes(queue)) {
      throw new GantryError(
        'QUEUE_NOT_OWNED',
        `${member.id} does not own queue ${at.queueId} of topic ${at.topic} on broker ${at.broker}: it reads the queues that join and poll gave it`,
      );
    }
    if (at.nextOffset < queue.min || at.nextOffset > queue.max) {
      throw new GantryError(
        'OFFSET_MOVED',
        `nextOffset ${at.nextOffset} is not in queue ${at.queueId}: it has the offsets from ${queue.min}, and ends at ${queue.max}`,
        { members: { minOffset: queue.min, maxOffset: queue.max } },
      );
    }
    const leases = group.leases.get(queueNumber(queue.topic, queue.queueId));
    if (leases && at.nextOffset < leases.next) member.sought.set(queue, leases.next);
    return { topic: queue.topic, queueId: queue.queueId, epoch, position: at.nextOffset };
  }
}

const tooMany = () =>
  new GantryError(
    'LIMIT_EXCEEDED',
    'a cursor has no room for the positions of so many queues: commit what is handled, and seek in fewer of them',
  );
