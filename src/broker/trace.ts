/**
 * Tells where a message is: where and when it was stored, and for each group of its topic what it did with it so far.
 * Where a group stands follows from its positions and leases; what became of a message that failed from its copy
 * (copies.ts). Who has been handed what by a poll is soft: after a restart an owner has, perhaps, all that there was.
 */
import type { Tables } from '../../storage/tables';
import { copiesOf, type Copy } from './copies';
import type { Core } from './core';
import { FilterCache } from './filterCache';
import { retryTopicOf, subscriptionTo } from './group';
import type { LeaseDesks } from './leaseDesks';
import { deliveries } from './leaseQueue';
import type { Lookup } from './lookup';
import { decodeMessage, messageAttempt } from './message';
import { committedOf } from './poller';
import type { Queue } from './queue';
import type { Delivery } from './reader';
import type { ReadGate } from './readGate';
import { queueNumber, type GroupState } from './state';

/**
 * NOT_CONSUMED: not handed out yet. IN_FLIGHT: somebody has it. WAITING_RETRY: it failed, or its lease ended, and it comes
 * again. DEAD: it is, or was until its 14 days were over, a dead letter. FILTERED: the group's filter leaves it out.
 * CONSUMED: the group is done with it.
 */
export type TraceStatus = 'NOT_CONSUMED' | 'IN_FLIGHT' | 'WAITING_RETRY' | 'DEAD' | 'FILTERED' | 'CONSUMED';

export interface TraceEntry {
  readonly group: string;
  readonly status: TraceStatus;
  /** Who has it; in a broadcasting group, of whom this is said. */
  readonly consumerId?: string;
  /** The delivery under way, or the next one; of a dead letter the last one. */
  readonly attempt?: number;
  /** When its lease ends. */
  readonly invisibleUntil?: number;
  /** Since or from when it is there again; absent = it can be handed out at once. */
  readonly dueTimestamp?: number;
  readonly deadTimestamp?: number;
}

type Standing = Omit<TraceEntry, 'group'>;

export interface Trace {
  readonly message: Delivery;
  readonly entries: TraceEntry[];
  /** Behind which group, and which of its consumers, to go on; undefined at the end. */
  readonly behind: TracePlace | undefined;
}

export interface TracePlace {
  readonly group: string;
  readonly consumerId: string;
}

interface Parts {
  readonly tables: Tables;
  readonly gate: ReadGate;
  readonly lookup: Lookup;
  readonly desks: LeaseDesks;
}

export class Traces {
  readonly #core: Core;
  readonly #parts: Parts;
  readonly #filters = new FilterCache();

  constructor(core: Core, parts: Parts) {
    this.#core = core;
    this.#parts = parts;
  }

  /** By either id; groups by name, consumers of a broadcasting group by id. */
  async of(topicName: string, id: string, limit: number, behind: TracePlace | undefined): Promise<Trace> {
    const { state } = this.#core;
    const message = await this.#parts.lookup.message(topicName, id);
    const { origin, position, storeTimestamp } = decodeMessage(message.record);
    const { tables, gate } = this.#parts;
    const copies = await gate.run(() => copiesOf(state, tables, origin ?? { position, storeTimestamp }));
    const entries: TraceEntry[] = [];
    for (const group of this.#groupsOf(message.queue.topic)) {
      if (behind && group.record.name < behind.group) continue;
      for (const entry of this.#entriesOf(group, message, copies.get(group.record.no))) {
        if (behind && entry.group === behind.group && (entry.consumerId ?? '') <= behind.consumerId) continue;
        if (entries.length < limit) entries.push(entry);
        else return { message, entries, behind: placeOf(entries.at(-1)!) };
      }
    }
    return { message, entries, behind: undefined };
  }

  /** Those that read the topic, or whose own it is. */
  #groupsOf(topic: number): GroupState[] {
    const { state } = this.#core;
    const name = state.topics.get(topic)?.record.name;
    return [...state.groups.values()]
      .filter(({ record }) => subscriptionTo(record, topic) !== undefined || retryTopicOf(record.name) === name)
      .sort((a, b) => (a.record.name < b.record.name ? -1 : 1));
  }

  *#entriesOf(group: GroupState, message: Delivery, copy: Copy | undefined): Iterable<TraceEntry> {
    const { name, mode } = group.record;
    if (mode === 'CLUSTERING') {
      yield { group: name, ...this.#standing(group, message, copy) };
      return;
    }
    const listeners = [...group.listeners.keys()].sort();
    if (listeners.length === 0) yield { group: name, status: this.#wanted(group, message, 'NOT_CONSUMED') };
    for (const consumerId of listeners) yield { group: name, consumerId, ...this.#heard(group, message, consumerId) };
  }

  #heard(group: GroupState, message: Delivery, consumerId: string): Standing {
    const { queue, queueOffset } = message;
    if (queueOffset < (committedOf(group, { id: consumerId }, queue) ?? queue.min))
      return { status: this.#wanted(group, message, 'CONSUMED') };
    const handed = this.#core.consumers.member(group, consumerId)?.handedOut.get(queue) ?? 0;
    return { status: this.#wanted(group, message, queueOffset < handed ? 'IN_FLIGHT' : 'NOT_CONSUMED') };
  }

  /** A copy says what comes next, as long as something does; else the message itself does; then how the copy ended. */
  #standing(group: GroupState, message: Delivery, copy: Copy | undefined): Standing {
    const next = copy && this.#copyStanding(group, copy);
    if (next) return next;
    const own = this.#ownStanding(group, message);
    if (copy?.is === 'DEAD' && own?.status !== 'NOT_CONSUMED')
      return { status: 'DEAD', attempt: copy.attempt, deadTimestamp: copy.time };
    return own ?? { status: this.#wanted(group, message, 'CONSUMED') };
  }

  /** Undefined when nothing comes of it any more. */
  #copyStanding(group: GroupState, copy: Copy): Standing | undefined {
    const { attempt } = copy;
    if (copy.is === 'WAITING' && (copy.position ?? Infinity) < (group.counts.droppedBelow ?? 0)) return undefined;
    if (copy.is === 'WAITING') return { status: 'WAITING_RETRY', attempt, dueTimestamp: copy.due };
    const queue = this.#core.state.topicsByName.get(retryTopicOf(group.record.name))?.queues[0];
    const there = copy.is === 'BACK' && queue ? this.#at(group, queue, copy.queueOffset, attempt) : undefined;
    if (there?.status !== 'NOT_CONSUMED') return there;
    return { status: 'WAITING_RETRY', attempt, ...(copy.is === 'BACK' ? { dueTimestamp: copy.due } : {}) };
  }

  /** Undefined when the group is done with it in this queue. */
  #ownStanding(group: GroupState, message: Delivery): Standing | undefined {
    const { queue, queueOffset, record } = message;
    const standing = this.#at(group, queue, queueOffset, messageAttempt(record));
    // A poll passes over what the filter leaves out; what is out under a lease was wanted.
    const passed = standing?.status === 'NOT_CONSUMED' || standing?.consumerId !== undefined;
    return passed && this.#wanted(group, message, 'CONSUMED') === 'FILTERED' ? { status: 'FILTERED' } : standing;
  }

  /** How a group stands to a message in a queue that it reads; `attempt` = the message's first delivery there. */
  #at(group: GroupState, queue: Queue, offset: number, attempt: number): Standing | undefined {
    if (offset < queue.min) return undefined;
    const number = queueNumber(queue.topic, queue.queueId);
    const leases = group.leases.get(number);
    const left = leases ? this.#leased(group, queue, offset, attempt) : { status: 'NOT_CONSUMED' as const };
    if (!left || offset < (group.offsets.get(number) ?? queue.min)) return undefined;
    const owner = this.#core.consumers.owner(group, queue);
    if (!owner || offset >= (owner.handedOut.get(queue) ?? 0)) return left;
    const before = leases?.entries.get(offset)?.attempt ?? 0;
    return { status: 'IN_FLIGHT', consumerId: owner.id, attempt: attempt + before };
  }

  #leased(group: GroupState, queue: Queue, offset: number, attempt: number): Standing | undefined {
    const { desks } = this.#parts;
    const desk = desks.of(group, queue);
    const entry = desk.entry(offset);
    if (!entry) return offset < desk.next ? undefined : { status: 'NOT_CONSUMED' };
    if (deliveries(entry) === 0) return { status: 'NOT_CONSUMED' };
    const left = desks.left(desk, offset, entry.lease);
    const until = left === undefined ? undefined : Math.round(this.#core.clock.now() + left);
    const last = attempt + entry.attempt - 1;
    const waits = entry.failed || entry.putOff;
    if (until !== undefined && !waits) return { status: 'IN_FLIGHT', attempt: last, invisibleUntil: until };
    return { status: 'WAITING_RETRY', attempt: last + 1, ...(until === undefined ? {} : { dueTimestamp: until }) };
  }

  /** The status, unless the group's filter leaves the message out. Its retries are not filtered again. */
  #wanted(group: GroupState, { queue, record }: Delivery, status: TraceStatus): TraceStatus {
    const subscription = subscriptionTo(group.record, queue.topic);
    const filter = subscription && this.#filters.of(subscription.filter);
    return filter && !filter.matches(record) ? 'FILTERED' : status;
  }
}

const placeOf = ({ group, consumerId = '' }: TraceEntry): TracePlace => ({ group, consumerId });
