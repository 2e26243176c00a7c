/** How far a group came in each queue: commit, look, reset. */
import { GantryError } from '../base/errors';
import type { ReadOffset } from './command';
import { Consumers, readableQueues } from './consumers';
import { groupNamed, type Core } from './core';
import { retryTopicOf, type Group } from './group';
import type { LeaseDesks } from './leaseDesks';
import type { Lookup } from './lookup';
import { ownerOf } from './poller';
import type { OffsetResult } from './positionChanges';
import type { Queue } from './queue';
import { queueNumber, type GroupCounts, type GroupState } from './state';

export interface QueueProgress {
  readonly queue: Queue;
  readonly committed: number;
  readonly lag: number;
  readonly owner?: string;
  /** In a broadcasting group: whose position it is. */
  readonly consumerId?: string;
  /** In a group that uses leases: messages nobody has, and those that somebody has. */
  readonly ready?: number;
  readonly inFlight?: number;
  /** Of a queue that is not read now, because its topic has fewer `readQueues`: messages behind the position. */
  readonly stranded?: number;
}

export type ResetTarget = 'EARLIEST' | 'LATEST' | { readonly timestamp: number } | { readonly offset: number };

export interface Reset {
  readonly steps: ResetStep[];
  /** Failed messages that still come after it, whether they wait or lie in the group's own queue. */
  readonly retriesToCome: number;
  readonly retriesDropped: number;
}

export interface ResetStep {
  readonly queue: Queue;
  readonly from: number;
  readonly to: number;
  readonly consumerId?: string;
}

export interface CommitRequest {
  readonly consumerId: string | undefined;
  readonly cursor: string | undefined;
  readonly generation: string | undefined;
  readonly offsets: readonly { topic: string; broker: string; queueId: number; nextOffset: number }[] | undefined;
  readonly force: boolean;
}

export interface CommitItem {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly nextOffset: number;
  readonly error: GantryError | undefined;
}

export class Positions {
  readonly #core: Core;
  readonly #lookup: Lookup;
  readonly #desks: LeaseDesks;

  constructor(core: Core, lookup: Lookup, desks: LeaseDesks) {
    this.#core = core;
    this.#lookup = lookup;
    this.#desks = desks;
  }

  #group(name: string): GroupState {
    return groupNamed(this.#core.state, name);
  }

  /** The queues that a group reads: of its topics, and of its retries. */
  #queuesOf(group: GroupState): Queue[] {
    const { state } = this.#core;
    const queues = group.record.subscriptions.flatMap(({ topic }) => state.topics.get(topic)?.queues ?? []);
    return [...queues, ...this.#retriesOf(group)];
  }

  /** Those of them that it may read. */
  #readable(group: GroupState): Queue[] {
    const queues = group.record.subscriptions.flatMap(({ topic }) => readableQueues(this.#core.state, topic));
    return [...queues, ...this.#retriesOf(group)];
  }

  #retriesOf({ record }: GroupState): readonly Queue[] {
    return this.#core.state.topicsByName.get(retryTopicOf(record.name))?.queues ?? [];
  }

  /** In a broadcasting group: of one consumer, or of all. */
  offsets(name: string, consumerId?: string): { group: Group; counts: GroupCounts; queues: QueueProgress[] } {
    const group = this.#group(name);
    const { record, counts } = group;
    if (record.mode === 'BROADCASTING') return { group: record, counts, queues: this.#heard(group, consumerId) };
    // Also of queues that nothing was received from yet: what lies there is ready like the rest.
    const leased = new Set(group.leases.size > 0 ? this.#readable(group) : []);
    const queues = this.#queuesOf(group).map((queue): QueueProgress => {
      const number = queueNumber(queue.topic, queue.queueId);
      const owner = this.#core.consumers.owner(group, queue)?.id;
      const leases = leased.has(queue) || group.leases.has(number) ? this.#desks.lag(group, queue) : {};
      return { ...this.#progress(queue, group.offsets.get(number), leases), ...(owner === undefined ? {} : { owner }) };
    });
    return { group: record, counts, queues };
  }

  /** A queue beyond the topic's `readQueues` has no lag that anybody could work off: what lies there is stranded. */
  #progress(queue: Queue, position: number | undefined, leases: Partial<QueueProgress> = {}): QueueProgress {
    const shown = progress(queue, position);
    const readQueues = this.#core.state.topics.get(queue.topic)?.record.readQueues ?? 0;
    if (queue.queueId < readQueues) return { ...shown, ...leases };
    const stranded = shown.lag > 0 ? { stranded: shown.lag } : {};
    return { ...shown, lag: 0, ...leases, ...(leases.ready === undefined ? {} : { ready: 0 }), ...stranded };
  }

  #heard(group: GroupState, consumerId: string | undefined): QueueProgress[] {
    const listeners = [...group.listeners].filter(([id]) => consumerId === undefined || id === consumerId);
    return listeners.flatMap(([id, { offsets }]) =>
      this.#queuesOf(group).map((queue) => ({
        ...this.#progress(queue, offsets.get(queueNumber(queue.topic, queue.queueId))),
        consumerId: id,
      })),
    );
  }

  /** One result per queue, in the order of the request (or of the cursor). */
  async commit(name: string, request: CommitRequest): Promise<CommitItem[]> {
    const group = this.#group(name);
    const { consumerId, force } = request;
    const offsets = request.cursor === undefined ? this.#named(group, request) : this.covered(group, request);
    const open = offsets.filter((item): item is ReadOffset => !('error' in item));
    if (open.length === 0) return offsets.map((item) => this.#item(item as OffsetResult & { name: string }));
    const generation = request.generation === undefined ? undefined : Consumers.epochOf(request.generation);
    const by =
      consumerId === undefined
        ? {}
        : { by: { consumer: consumerId, ...(generation === undefined ? {} : { generation }) } };
    const results = await this.#core.submit({
      kind: 'commitOffsets',
      group: group.record.no,
      offsets: open,
      ...by,
      backwards: force,
    });
    let next = 0;
    return offsets.map((item) => this.#item('error' in item ? item : results[next++]!));
  }

  /** What a cursor covers, to be judged when it is applied. */
  covered(
    group: GroupState,
    { cursor, consumerId }: { cursor?: string | undefined; consumerId?: string | undefined },
  ): ReadOffset[] {
    if (consumerId === undefined) {
      throw new GantryError(
        'VALIDATION_FAILED',
        'a cursor is committed by the consumer it was given to: say consumerId',
        { errors: [{ pointer: '/consumerId', detail: 'is missing' }] },
      );
    }
    const parts = this.#core.cursors.decode(cursor!, ownerOf(group, consumerId), 'body');
    return parts.map(({ topic, queueId, epoch, position }) => ({ topic, queueId, epoch, nextOffset: position }));
  }

  #named(group: GroupState, request: CommitRequest): (ReadOffset | NamedError)[] {
    return request.offsets!.map((at) => {
      const queue = this.queueOf(group, at);
      if (queue instanceof GantryError) return { ...at, error: queue };
      const refused = request.consumerId === undefined ? this.#operatorRefusal(group, queue) : undefined;
      return refused
        ? { ...at, error: refused }
        : { topic: queue.topic, queueId: at.queueId, nextOffset: at.nextOffset };
    });
  }

  /** The queue that a request names, if the group reads it. */
  queueOf(group: GroupState, at: { topic: string; broker: string; queueId: number }): Queue | GantryError {
    const topic = this.#core.state.topicsByName.get(at.topic);
    const queue = at.broker === this.#core.brokerName ? topic?.queues[at.queueId] : undefined;
    if (queue && this.#queuesOf(group).includes(queue)) return queue;
    return new GantryError(
      'QUEUE_NOT_FOUND',
      `group ${group.record.name} reads no queue ${at.queueId} of topic ${at.topic} on broker ${at.broker}`,
    );
  }

  /** An operator must not move a queue under somebody who reads it. */
  #operatorRefusal(group: GroupState, queue: Queue): GantryError | undefined {
    if (group.record.mode === 'BROADCASTING') {
      return new GantryError(
        'VALIDATION_FAILED',
        'in a broadcasting group each consumer has its own positions: say consumerId',
        {
          errors: [{ pointer: '/consumerId', detail: 'is missing' }],
        },
      );
    }
    const owner = this.#core.consumers.owner(group, queue);
    if (!owner) return undefined;
    return new GantryError(
      'QUEUE_NOT_OWNED',
      `${owner.id} reads this queue: commit as this consumer, let it leave, or move the position with POST /v1/groups/${group.record.name}/offset-resets`,
    );
  }

  #item(item: OffsetResult | NamedError): CommitItem {
    const { queueId, nextOffset, error, topic } = item;
    if (typeof topic === 'string') return { topic, broker: (item as NamedError).broker, queueId, nextOffset, error };
    const name = this.#core.state.topics.get(topic)?.record.name ?? '';
    return { topic: name, broker: this.#core.brokerName, queueId, nextOffset, error };
  }

  /**
   * Moves positions, whoever reads meanwhile: cursors and receipts given out before do not count any more. `only`: these
   * queues instead of all of the group's topics. `dropRetries`: the group's retries on this broker do not come any more;
   * by default so when its own queue is named and goes to LATEST.
   */
  async reset(
    name: string,
    target: ResetTarget,
    only: readonly { broker: string; queueId: number; topic?: string }[] | undefined,
    dryRun: boolean,
    dropRetries?: boolean,
  ): Promise<Reset> {
    const group = this.#group(name);
    const retries = this.#retriesOf(group);
    const named = only ? only.map((at) => this.#only(group, at)) : this.#subscribed(group);
    const skipsRetries = target === 'LATEST' && named.some((queue) => retries.includes(queue));
    const drops = dropRetries ?? skipsRetries;
    const queues = drops ? [...named.filter((queue) => !retries.includes(queue)), ...retries] : named;
    const targets = await Promise.all(
      queues.map((queue) => this.#resolve(queue, drops && retries.includes(queue) ? 'LATEST' : target)),
    );
    const steps = queues.flatMap((queue, i) => stepsOf(group, queue, targets[i]!));
    const open = group.counts.waiting + retries.reduce((sum, queue) => sum + this.#open(group, queue), 0);
    const moved = retries.reduce((sum, queue) => {
      const at = queues.indexOf(queue);
      return sum + (at < 0 ? this.#open(group, queue) : queue.max - targets[at]!);
    }, group.counts.waiting);
    const reset = drops
      ? { steps, retriesToCome: 0, retriesDropped: open }
      : { steps, retriesToCome: moved, retriesDropped: 0 };
    if (dryRun) return reset;
    await this.#core.submit({
      kind: 'resetOffsets',
      group: group.record.no,
      offsets: queues.map(({ topic, queueId }, i) => ({ topic, queueId, nextOffset: targets[i]! })),
      ...(drops ? { dropRetries: true } : {}),
    });
    return reset;
  }

  /** Messages of a queue that the group is not done with. */
  #open(group: GroupState, queue: Queue): number {
    const number = queueNumber(queue.topic, queue.queueId);
    if (!group.leases.has(number)) return progress(queue, group.offsets.get(number)).lag;
    const { ready, inFlight } = this.#desks.lag(group, queue);
    return ready + inFlight;
  }

  #subscribed(group: GroupState): Queue[] {
    const topics = group.record.subscriptions.map(({ topic }) => this.#core.state.topics.get(topic));
    return topics.flatMap((topic) => topic?.queues ?? []);
  }

  #only(group: GroupState, at: { broker: string; queueId: number; topic?: string }): Queue {
    const queue = this.queueOf(group, { ...at, topic: at.topic ?? group.record.topicName });
    if (queue instanceof GantryError) throw queue;
    return queue;
  }

  async #resolve(queue: Queue, target: ResetTarget): Promise<number> {
    if (typeof target === 'string') return this.#lookup.offsetAt(queue, target);
    if ('timestamp' in target) return this.#lookup.offsetAt(queue, target.timestamp);
    return Math.min(Math.max(target.offset, queue.min), queue.max);
  }

  /** Messages behind the committed positions of what the group may read, over all its queues, its retries too. */
  lag(group: GroupState): number {
    const positions = group.record.mode === 'BROADCASTING' ? [...group.listeners.values()] : [group];
    let lag = 0;
    for (const queue of this.#readable(group))
      for (const { offsets } of positions)
        lag += progress(queue, offsets.get(queueNumber(queue.topic, queue.queueId))).lag;
    return lag;
  }
}

interface NamedError {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly nextOffset: number;
  readonly error: GantryError;
}

function progress(queue: Queue, position: number | undefined): { queue: Queue; committed: number; lag: number } {
  const committed = position ?? queue.min;
  return { queue, committed, lag: queue.max - Math.max(committed, queue.min) };
}

function stepsOf(group: GroupState, queue: Queue, to: number): ResetStep[] {
  const number = queueNumber(queue.topic, queue.queueId);
  if (group.record.mode !== 'BROADCASTING') return [{ queue, from: group.offsets.get(number) ?? queue.min, to }];
  return [...group.listeners].map(([consumerId, { offsets }]) => ({
    queue,
    from: offsets.get(number) ?? queue.min,
    to,
    consumerId,
  }));
}
