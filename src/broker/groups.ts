/** What people do with groups: create, change, join, leave, delete. Positions are positions.ts. */
import { GantryError } from '../base/errors';
import type { Allocation } from './allocation';
import type { Precondition, QueueOffset } from './command';
import type { Member } from './consumers';
import { checkHome, groupNamed, topicNamed, type Core } from './core';
import { canonical, checkFilter, EVERYTHING, type FilterSpec } from './filter';
import {
  ELSEWHERE,
  GROUP_DEFAULTS,
  subscriptionTo,
  type ConsumeFrom,
  type Group,
  type GroupMode,
  type Subscription,
} from './group';
import { changesNothing, type GroupChange } from './groupChanges';
import type { LeaseDesks } from './leaseDesks';
import type { Lookup } from './lookup';
import { committedOf } from './poller';
import type { Queue } from './queue';
import { queueNumber, type GroupState } from './state';
import { preconditionRefusal } from './topicChanges';

export interface NewGroup {
  readonly name: string;
  readonly topic: string;
  readonly filter: FilterSpec;
  readonly mode: GroupMode;
  readonly consumeFrom: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly allocation: Allocation;
  readonly ordered: boolean;
  readonly maxAttempts: number;
  readonly retryDelaysMs: readonly number[];
  readonly allowMultipleTopics: boolean;
  readonly description?: string;
}

export interface JoinOptions {
  readonly topic: string;
  readonly filter: FilterSpec | undefined;
  readonly consumeFrom: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly leaseMs: number;
  /** The home was asked for in vain: a group that does not exist is created here. */
  readonly homeIsAway?: boolean;
}

export interface Joined {
  readonly member: Member;
  readonly group: Group;
  /** The group's, for the topic that it joined with; it may differ from the one that the member named. */
  readonly filter: FilterSpec;
  readonly generation: string;
  readonly queues: { queue: Queue; nextOffset: number }[];
  /** The consumer's, as soon as their present owners have given them up. */
  readonly pending: readonly Queue[];
  /** This join created the group, or subscribed it to the topic. */
  readonly changed: boolean;
}

const DAY_MS = 24 * 3_600_000;
/** A listener's sign of life is recorded so often. */
const SEEN_EVERY_MS = DAY_MS;
/** It is forgotten after 7 days, by the design, and never before: what is recorded may be older than its last sign by a day, and by the longest time between two looks (a day). */
export const FORGOTTEN_MS = 7 * DAY_MS + SEEN_EVERY_MS + DAY_MS;

export class Groups {
  readonly #core: Core;
  readonly #lookup: Lookup;
  readonly #desks: LeaseDesks;

  constructor(core: Core, lookup: Lookup, desks: LeaseDesks) {
    this.#core = core;
    this.#lookup = lookup;
    this.#desks = desks;
  }

  get(name: string): GroupState {
    return groupNamed(this.#core.state, name);
  }

  list(after: string, limit: number): { groups: Group[]; more: boolean } {
    const names = [...this.#core.state.groupsByName.keys()].filter((name) => name > after).sort();
    return { groups: names.slice(0, limit).map((name) => this.get(name).record), more: names.length > limit };
  }

  /**
   * Creates the group or replaces what may change of it; further topics that it reads stay. Throws NOT_HOME at another
   * broker than the home for what would change something; with `homeIsAway` a group that does not exist is created.
   */
  async put(wanted: NewGroup, condition: Precondition = {}, homeIsAway = false): Promise<GroupChange> {
    const topic = topicNamed(this.#core.state, wanted.topic);
    const before = this.#core.state.groupsByName.get(wanted.name)?.record;
    checkFilter(wanted.filter, before?.filter);
    checkSettings(wanted, before);
    const first = { topic: topic.record.no, topicName: wanted.topic, filter: wanted.filter };
    return this.#submit(wanted, [first, ...(before?.subscriptions.slice(1) ?? [])], condition, homeIsAway);
  }

  async #submit(
    wanted: Omit<NewGroup, 'topic' | 'filter'>,
    subscriptions: readonly Subscription[],
    condition: Precondition,
    homeIsAway = false,
  ): Promise<GroupChange> {
    const { state, chance } = this.#core;
    const { topic, topicName, filter } = subscriptions[0]!;
    const known = state.groupsByName.get(wanted.name)?.record;
    const group = { ...wanted, id: chance.bytes(8).toString('hex'), topic, topicName, filter, subscriptions };
    if (known && isSettled(known, group, condition)) return { group: known, created: false };
    const standsIn = homeIsAway && !known;
    if (!standsIn) checkHome(this.#core, topicNamed(state, topicName).record);
    const added = subscriptions.filter((one) => !known?.subscriptions.some((other) => other.topic === one.topic));
    const start = await this.#startOf(wanted, added);
    return this.#core.submit({
      kind: 'putGroup',
      group,
      ...(start ? { start } : {}),
      // A broker that stands in for the home creates, and changes nothing.
      ...(standsIn ? { ifAbsent: true } : {}),
      ...condition,
    });
  }

  /** TIMESTAMP needs the index, so it is worked out before the command; EARLIEST and LATEST are decided by it. */
  async #startOf(
    wanted: { consumeFrom: ConsumeFrom; consumeTimestamp?: number },
    added: readonly Subscription[],
  ): Promise<QueueOffset[] | undefined> {
    if (wanted.consumeFrom !== 'TIMESTAMP' || added.length === 0) return undefined;
    const { consumeTimestamp } = wanted;
    if (consumeTimestamp === undefined) {
      throw new GantryError(
        'VALIDATION_FAILED',
        'consumeFrom TIMESTAMP needs consumeTimestamp, in milliseconds since 1970',
        { errors: [{ pointer: '/consumeTimestamp', detail: 'is missing' }] },
      );
    }
    const queues = added.flatMap(({ topic }) => this.#core.state.topics.get(topic)?.queues ?? []);
    return Promise.all(
      queues.map(async ({ topic, queueId }, i) => ({
        topic,
        queueId,
        nextOffset: await this.#lookup.offsetAt(queues[i]!, consumeTimestamp),
      })),
    );
  }

  async update(name: string, wanted: (before: Group) => NewGroup, condition: Precondition = {}): Promise<GroupChange> {
    const { record } = this.get(name);
    return this.put(wanted(record), { ifMatch: record.version, ...condition });
  }

  async delete(name: string, force: boolean, condition: Precondition = {}): Promise<Group> {
    const group = this.get(name);
    const refused = preconditionRefusal(condition, group.record.version, `group ${name}`);
    if (refused) throw refused;
    const members = this.#core.consumers.members(group);
    if (members.length > 0 && !force) {
      throw new GantryError(
        'IN_USE',
        `group ${name} has ${members.length} live consumers: let them leave, or say force=true`,
        { members: { consumers: members.slice(0, 100).map((member) => member.id) } },
      );
    }
    return (await this.#core.submit({ kind: 'deleteGroup', no: group.record.no, ...condition })).group;
  }

  /** Join is heartbeat: repeating it renews the lease. An unknown group is created with what the caller brings. */
  async join(name: string, consumerId: string, options: JoinOptions): Promise<Joined> {
    const created = !this.#core.state.groupsByName.has(name);
    if (created) await this.#createFor(name, options);
    const known = this.get(name);
    const before = known.record.version;
    const topic = topicNamed(this.#core.state, options.topic).record.no;
    if (!this.#saidBefore(known, consumerId, topic, options)) await this.#subscribe(known, topic, options);
    const group = this.get(name);
    this.#desks.checkFree(group);
    if (group.record.mode === 'BROADCASTING') await this.#listen(group, consumerId);
    const { consumers } = this.#core;
    const member = await consumers.join(group, consumerId, options.leaseMs, topic);
    if (options.filter) member.said.set(topic, canonical(options.filter));
    return {
      member,
      group: group.record,
      filter: (subscriptionTo(group.record, topic) ?? group.record).filter,
      generation: consumers.generation(group, member),
      queues: member.queues.map((queue) => ({ queue, nextOffset: committedOf(group, member, queue) ?? queue.min })),
      pending: member.pending,
      changed: created || group.record.version !== before,
    };
  }

  /** In a rolling deployment members of before join again with the filter that the group had: they are served by the new one. */
  #saidBefore(group: GroupState, consumerId: string, topic: number, { filter }: JoinOptions): boolean {
    const member = this.#core.consumers.member(group, consumerId);
    return filter !== undefined && member?.said.get(topic) === canonical(filter);
  }

  /** Of several first joins one creates the group; the others are judged by what it is then. */
  async #createFor(name: string, options: JoinOptions): Promise<void> {
    const wanted: NewGroup = {
      ...GROUP_DEFAULTS,
      name,
      topic: options.topic,
      filter: options.filter ?? EVERYTHING,
      consumeFrom: options.consumeFrom,
      ...(options.consumeTimestamp === undefined ? {} : { consumeTimestamp: options.consumeTimestamp }),
    };
    try {
      await this.put(wanted, { ifAbsent: true }, options.homeIsAway);
    } catch (error) {
      if (!(error instanceof GantryError && error.code === 'PRECONDITION_FAILED')) throw error;
    }
  }

  /** All members of a group subscribe alike; a topic that a group may read besides is added by the first who joins for it. */
  async #subscribe(group: GroupState, topic: number, options: JoinOptions): Promise<void> {
    const { record } = group;
    const subscription = record.subscriptions.find((one) => one.topic === topic);
    if (subscription || !record.allowMultipleTopics) return checkSubscription(record, subscription, options);
    checkFilter(options.filter ?? EVERYTHING);
    const { no: _, id: _id, version, createdAt: _c, updatedAt: _u, startedAt: _s, ...wanted } = record;
    const added = { topic, topicName: options.topic, filter: options.filter ?? EVERYTHING };
    try {
      await this.#submit(wanted, [...record.subscriptions, added], { ifMatch: version });
    } catch (error) {
      if (!(error instanceof GantryError && error.code === 'PRECONDITION_FAILED')) throw error;
      await this.#subscribe(this.get(record.name), topic, options); // somebody changed or deleted it meanwhile: look again
    }
  }

  /** A consumer of a broadcasting group begins where consumeFrom says at its first join; later ones show that it lives. */
  async #listen(group: GroupState, consumer: string): Promise<void> {
    const listener = group.listeners.get(consumer);
    const { no, subscriptions, mode: _, ...record } = group.record;
    const fresh = subscriptions.filter(
      ({ topic }) => topic !== ELSEWHERE && !listener?.offsets.has(queueNumber(topic, 0)),
    );
    if (listener && fresh.length === 0) {
      if (listener.seenAt > this.#core.clock.now() - SEEN_EVERY_MS) return;
      await this.#core.submit({ kind: 'listeners', group: no, seen: [consumer] });
      return;
    }
    const offsets = await this.#startOf(record, fresh);
    await this.#core.submit({ kind: 'listeners', group: no, joined: { consumer, ...(offsets ? { offsets } : {}) } });
  }

  /** Listeners that have been silent for more than a week are forgotten. Those that are members live, though they only poll: that is recorded. */
  async forgetListeners(): Promise<void> {
    const now = this.#core.clock.now();
    const trusted = this.#core.trustedNow();
    for (const group of [...this.#core.state.groups.values()]) {
      const seen: string[] = [];
      const gone: string[] = [];
      for (const [id, { seenAt }] of group.listeners) {
        const lives = this.#core.consumers.member(group, id) !== undefined;
        if (lives && seenAt <= now - SEEN_EVERY_MS) seen.push(id);
        if (!lives && seenAt < trusted - FORGOTTEN_MS) gone.push(id);
      }
      if (seen.length + gone.length > 0)
        await this.#core.submit({ kind: 'listeners', group: group.record.no, seen, gone });
    }
  }

  leave(name: string, consumerId: string): void {
    this.#core.consumers.leave(this.get(name), consumerId);
  }

  members(name: string): { members: Member[]; generation: string } {
    const group = this.get(name);
    return { members: this.#core.consumers.members(group), generation: this.#core.consumers.generation(group) };
  }
}

/**
 * Throws GROUP_SETTINGS_CONFLICT for settings that exclude each other: order is kept by leases, and a broadcasting group
 * has none. A group that was created with both before this was checked keeps them.
 */
function checkSettings({ name, mode, ordered }: NewGroup, before: Group | undefined): void {
  const excluded = (one: { readonly mode: GroupMode; readonly ordered: boolean }) =>
    one.mode === 'BROADCASTING' && one.ordered;
  if (!excluded({ mode, ordered }) || (before && excluded(before))) return;
  throw new GantryError(
    'GROUP_SETTINGS_CONFLICT',
    `group ${name} cannot be both ordered and BROADCASTING: order is kept by leases, and in a broadcasting group each ` +
      'consumer polls for itself. Leave out ordered (a queue is polled in order anyway), or use mode CLUSTERING',
    { errors: [{ pointer: '/ordered', detail: 'must be false with mode BROADCASTING' }] },
  );
}

/** It is what is wanted already, and as the caller saw it: any of its brokers can say so. */
const isSettled = (known: Group, wanted: Parameters<typeof changesNothing>[1], condition: Precondition): boolean =>
  preconditionRefusal(condition, known.version, '') === undefined && changesNothing(known, wanted);

/** Otherwise messages would pass consumers that never saw them. Throws FILTER_INVALID, too. */
export function checkSubscription(
  group: Group,
  subscription: Subscription | undefined,
  wanted: { readonly topic: string; readonly filter: FilterSpec | undefined },
): void {
  const inUse = subscription?.filter ?? group.filter;
  if (wanted.filter) checkFilter(wanted.filter, inUse);
  const sameFilter = wanted.filter === undefined || canonical(wanted.filter) === canonical(inUse);
  if (subscription && sameFilter) return;
  const { topicName, filter } = subscription ?? group;
  throw new GantryError(
    'SUBSCRIPTION_CONFLICT',
    `group ${group.name} reads topic ${topicName} with ${inWords(filter)}, not ${wanted.topic} with ` +
      `${inWords(wanted.filter ?? EVERYTHING)}: use another group, or change this one's filter with PUT /v1/groups/${group.name}`,
    {
      members: {
        group: { topic: topicName, filter },
        requested: { topic: wanted.topic, filter: wanted.filter ?? EVERYTHING },
      },
    },
  );
}

const inWords = ({ type, expression }: FilterSpec): string =>
  `${type === 'TAG' ? '' : `${type} `}${JSON.stringify(expression)}`;
