/** What people do with groups: create, join, leave, commit, look, reset. */
import { GantryError } from '../base/errors';
import type { Precondition, QueueOffset } from './command';
import { Consumers, type Member } from './consumers';
import { groupNamed, topicNamed, type Core } from './core';
import { canonical, parseFilter, type FilterSpec } from './filter';
import type { Allocation, ConsumeFrom, Group, GroupMode } from './group';
import type { GroupChange, OffsetResult } from './groupChanges';
import type { Lookup } from './lookup';
import { ownerOf } from './poller';
import type { Queue } from './queue';
import { queueNumber, type GroupState } from './state';

export interface NewGroup {
  readonly name: string;
  readonly topic: string;
  readonly filter: FilterSpec;
  readonly mode: GroupMode;
  readonly consumeFrom: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly allocation: Allocation;
  readonly description?: string;
}

export interface JoinOptions {
  readonly topic: string;
  readonly filter: FilterSpec | undefined;
  readonly consumeFrom: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly leaseMs: number;
}

export interface Joined {
  readonly member: Member;
  readonly group: Group;
  readonly generation: string;
  readonly queues: { queue: Queue; nextOffset: number }[];
}

export interface QueueProgress {
  readonly queue: Queue;
  readonly committed: number;
  readonly lag: number;
  readonly owner: string | undefined;
}

export type ResetTarget = 'EARLIEST' | 'LATEST' | { readonly timestamp: number } | { readonly offset: number };

export interface ResetStep {
  readonly queue: Queue;
  readonly from: number;
  readonly to: number;
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

export class Groups {
  readonly #core: Core;
  readonly #lookup: Lookup;

  constructor(core: Core, lookup: Lookup) {
    this.#core = core;
    this.#lookup = lookup;
  }

  get(name: string): GroupState {
    return groupNamed(this.#core.state, name);
  }

  list(after: string, limit: number): { groups: Group[]; more: boolean } {
    const names = [...this.#core.state.groupsByName.keys()].filter((name) => name > after).sort();
    return { groups: names.slice(0, limit).map((name) => this.get(name).record), more: names.length > limit };
  }

  /** Creates the group or replaces what may change of it. */
  async put(wanted: NewGroup, condition: Precondition = {}): Promise<GroupChange> {
    const topic = topicNamed(this.#core.state, wanted.topic);
    parseFilter(wanted.filter);
    const exists = this.#core.state.groupsByName.has(wanted.name);
    const start = exists ? undefined : await this.#startOf(topic.queues, wanted);
    const { topic: topicName, ...rest } = wanted;
    return this.#core.submit({
      kind: 'putGroup',
      group: { ...rest, id: this.#core.chance.bytes(8).toString('hex'), topic: topic.record.no, topicName },
      ...(start ? { start } : {}),
      ...condition,
    });
  }

  /** TIMESTAMP needs the index, so it is worked out before the command; EARLIEST and LATEST are decided by it. */
  async #startOf(queues: readonly Queue[], wanted: NewGroup): Promise<QueueOffset[] | undefined> {
    if (wanted.consumeFrom !== 'TIMESTAMP') return undefined;
    const { consumeTimestamp } = wanted;
    if (consumeTimestamp === undefined) {
      throw new GantryError(
        'VALIDATION_FAILED',
        'consumeFrom TIMESTAMP needs consumeTimestamp, in milliseconds since 1970',
        {
          errors: [{ pointer: '/consumeTimestamp', detail: 'is missing' }],
        },
      );
    }
    return Promise.all(
      queues.map(async (queue) => ({
        topic: queue.topic,
        queueId: queue.queueId,
        nextOffset: await this.#lookup.offsetAt(queue, consumeTimestamp),
      })),
    );
  }

  async update(name: string, wanted: (before: Group) => NewGroup, condition: Precondition = {}): Promise<GroupChange> {
    const { record } = this.get(name);
    return this.put(wanted(record), { ifMatch: record.version, ...condition });
  }

  async delete(name: string, force: boolean, condition: Precondition = {}): Promise<void> {
    const group = this.get(name);
    const members = this.#core.consumers.members(group);
    if (members.length > 0 && !force) {
      throw new GantryError(
        'IN_USE',
        `group ${name} has ${members.length} live consumers: let them leave, or say force=true`,
        {
          members: { consumers: members.slice(0, 100).map((member) => member.id) },
        },
      );
    }
    await this.#core.submit({ kind: 'deleteGroup', no: group.record.no, ...condition });
  }

  /** Join is heartbeat: repeating it renews the lease. An unknown group is created with what the caller brings. */
  async join(name: string, consumerId: string, options: JoinOptions): Promise<Joined> {
    if (!this.#core.state.groupsByName.has(name)) await this.#createFor(name, options);
    const group = this.get(name);
    checkSubscription(group.record, options);
    const member = this.#core.consumers.join(group, consumerId, options.leaseMs);
    return {
      member,
      group: group.record,
      generation: this.#core.consumers.generation,
      queues: member.queues.map((queue) => ({ queue, nextOffset: this.#committed(group, queue) })),
    };
  }

  /** Of several first joins one creates the group; the others are judged by what it is then. */
  async #createFor(name: string, options: JoinOptions): Promise<void> {
    const wanted: NewGroup = {
      name,
      topic: options.topic,
      filter: options.filter ?? { type: 'TAG', expression: '*' },
      mode: 'CLUSTERING',
      consumeFrom: options.consumeFrom,
      ...(options.consumeTimestamp === undefined ? {} : { consumeTimestamp: options.consumeTimestamp }),
      allocation: 'AVG',
    };
    try {
      await this.put(wanted, { ifAbsent: true });
    } catch (error) {
      if (!(error instanceof GantryError && error.code === 'PRECONDITION_FAILED')) throw error;
    }
  }

  leave(name: string, consumerId: string): void {
    this.#core.consumers.leave(this.get(name), consumerId);
  }

  members(name: string): { members: Member[]; generation: string } {
    return { members: this.#core.consumers.members(this.get(name)), generation: this.#core.consumers.generation };
  }

  #committed(group: GroupState, queue: Queue): number {
    return group.offsets.get(queueNumber(queue.topic, queue.queueId)) ?? queue.min;
  }

  offsets(name: string): { group: Group; queues: QueueProgress[] } {
    const group = this.get(name);
    const topic = this.#core.state.topics.get(group.record.topic);
    const queues = (topic?.queues ?? []).map((queue) => {
      const committed = this.#committed(group, queue);
      return {
        queue,
        committed,
        lag: queue.max - Math.max(committed, queue.min),
        owner: this.#core.consumers.owner(group, queue)?.member.id,
      };
    });
    return { group: group.record, queues };
  }

  /** One result per queue, in the order of the request (or of the cursor). */
  async commit(name: string, request: CommitRequest): Promise<CommitItem[]> {
    const group = this.get(name);
    const items = request.cursor === undefined ? this.#named(group, request) : this.#covered(group, request);
    const open = items.flatMap((item, i) => (item.error ? [] : [i]));
    if (open.length === 0) return items;
    const topic = group.record.topic;
    const results = await this.#core.submit({
      kind: 'commitOffsets',
      group: group.record.no,
      offsets: open.map((i) => ({ topic, queueId: items[i]!.queueId, nextOffset: items[i]!.nextOffset })),
      backwards: request.force,
    });
    open.forEach((i, j) => (items[i] = { ...items[i]!, error: (results[j] as OffsetResult).error }));
    return items;
  }

  #covered(group: GroupState, { cursor, consumerId }: CommitRequest): CommitItem[] {
    if (consumerId === undefined) {
      throw new GantryError(
        'VALIDATION_FAILED',
        'a cursor is committed by the consumer it was given to: say consumerId',
        {
          errors: [{ pointer: '/consumerId', detail: 'is missing' }],
        },
      );
    }
    const parts = this.#core.cursors.decode(cursor!, ownerOf(group, consumerId), 'body');
    return parts.map(({ queueId, epoch, position }) => {
      const queue = this.#core.state.topics.get(group.record.topic)?.queues[queueId];
      const owner = queue && this.#core.consumers.owner(group, queue);
      const owned = owner?.member.id === consumerId && owner.epoch === epoch;
      return this.#item(group, queueId, position, owned ? undefined : notOwned(consumerId, owner?.member.id));
    });
  }

  #named(group: GroupState, request: CommitRequest): CommitItem[] {
    const generation = request.generation === undefined ? undefined : Consumers.epochOf(request.generation);
    return request.offsets!.map((at) => ({ ...at, error: this.#refusal(group, at, request.consumerId, generation) }));
  }

  #refusal(
    group: GroupState,
    at: { topic: string; broker: string; queueId: number },
    consumerId: string | undefined,
    generation: number | undefined,
  ) {
    const topic = this.#core.state.topics.get(group.record.topic);
    const queue =
      at.broker === this.#core.brokerName && at.topic === group.record.topicName
        ? topic?.queues[at.queueId]
        : undefined;
    if (!queue)
      return new GantryError(
        'QUEUE_NOT_FOUND',
        `group ${group.record.name} reads no queue ${at.queueId} of topic ${at.topic} on broker ${at.broker}`,
      );
    const owner = this.#core.consumers.owner(group, queue);
    // Without a consumer it is an operator's commit, which must not move a queue under somebody who reads it.
    if (consumerId === undefined) return owner ? notOwned('nobody', owner.member.id) : undefined;
    const current = owner?.member.id === consumerId && (generation === undefined || owner.epoch <= generation);
    return current ? undefined : notOwned(consumerId, owner?.member.id);
  }

  #item(group: GroupState, queueId: number, nextOffset: number, error: GantryError | undefined): CommitItem {
    return { topic: group.record.topicName, broker: this.#core.brokerName, queueId, nextOffset, error };
  }

  /** Moves positions, whoever reads meanwhile: cursors given out before do not count any more. */
  async reset(
    name: string,
    target: ResetTarget,
    only: readonly { broker: string; queueId: number }[] | undefined,
    dryRun: boolean,
  ): Promise<ResetStep[]> {
    const group = this.get(name);
    const topic = this.#core.state.topics.get(group.record.topic)!;
    const queues = only ? only.map((at) => this.#only(topic.queues, at)) : topic.queues;
    const steps = await Promise.all(
      queues.map(async (queue) => ({
        queue,
        from: this.#committed(group, queue),
        to: await this.#resolve(queue, target),
      })),
    );
    if (dryRun) return steps;
    const moved = steps.map(({ queue }) => queue);
    // Before: no commit by an older cursor comes behind the reset. After: none by a cursor handed out while it was written.
    this.#core.consumers.renew(group, moved);
    await this.#core.submit({
      kind: 'commitOffsets',
      group: group.record.no,
      offsets: steps.map(({ queue, to }) => ({ topic: queue.topic, queueId: queue.queueId, nextOffset: to })),
      backwards: true,
    });
    this.#core.consumers.renew(group, moved);
    this.#core.consumers.wake(group, moved);
    return steps;
  }

  #only(queues: readonly Queue[], at: { broker: string; queueId: number }): Queue {
    const queue = at.broker === this.#core.brokerName ? queues[at.queueId] : undefined;
    if (!queue)
      throw new GantryError('QUEUE_NOT_FOUND', `the group's topic has no queue ${at.queueId} on broker ${at.broker}`);
    return queue;
  }

  async #resolve(queue: Queue, target: ResetTarget): Promise<number> {
    if (typeof target === 'string') return this.#lookup.offsetAt(queue, target);
    if ('timestamp' in target) return this.#lookup.offsetAt(queue, target.timestamp);
    return Math.min(Math.max(target.offset, queue.min), queue.max);
  }
}

function notOwned(consumerId: string, owner: string | undefined): GantryError {
  const now = owner === undefined ? 'nobody owns it now' : `${owner} owns it now`;
  return new GantryError(
    'QUEUE_NOT_OWNED',
    `${consumerId} does not own this queue, or has not all the time since: ${now}. Join and poll again; what was not committed is delivered again`,
  );
}

/** All members of a group subscribe alike: otherwise messages would pass consumers that never saw them. */
function checkSubscription(group: Group, options: JoinOptions): void {
  const sameTopic = group.topicName === options.topic;
  const sameFilter = options.filter === undefined || canonical(options.filter) === canonical(group.filter);
  if (sameTopic && sameFilter) return;
  throw new GantryError(
    'SUBSCRIPTION_CONFLICT',
    `group ${group.name} reads topic ${group.topicName} with ${JSON.stringify(group.filter.expression)}, not ${options.topic} with ` +
      `${JSON.stringify(options.filter?.expression ?? '*')}: use another group, or change this one's filter with PUT /v1/groups/${group.name}`,
    {
      members: {
        group: { topic: group.topicName, filter: group.filter },
        requested: { topic: options.topic, filter: options.filter ?? { type: 'TAG', expression: '*' } },
      },
    },
  );
}
