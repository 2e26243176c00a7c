/** Creating, changing and deleting groups: the decisions, made when applied. */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import {
  deadLetterTopicOf,
  ELSEWHERE,
  retryTopicOf,
  subscriptionTo,
  type ConsumeFrom,
  type Group,
  type Subscription,
} from './group';
import type { Queue } from './queue';
import { queueNumber, type BrokerState, type GroupState } from './state';
import { preconditionRefusal } from './topicChanges';
import { dropTopicNamed } from './topicRemoval';

export interface GroupChange {
  readonly group: Group;
  readonly created: boolean;
}

export function putGroup(state: BrokerState, applied: Applied<CommandOf<'putGroup'>>): Outcome<'putGroup'> {
  const { command } = applied;
  const wanted = command.group;
  const existing = state.groupsByName.get(wanted.name);
  const failed = preconditionRefusal(command, existing?.record.version, `group ${wanted.name}`);
  if (failed) return { refused: failed };
  if (!wanted.subscriptions.every(({ topic }) => topic === ELSEWHERE || state.topics.has(topic)))
    return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  if (existing) return changeGroup(state, existing, applied);
  const full = groupLimitRefusal(state);
  if (full) return { refused: full };
  return { ok: { group: startGroup(state, applied), created: true } };
}

export function groupLimitRefusal(state: BrokerState): GantryError | undefined {
  if (state.groups.size < LIMITS.groups) return undefined;
  return new GantryError(
    'LIMIT_EXCEEDED',
    `this broker has ${LIMITS.groups} groups, and no room for more: delete some first`,
  );
}

function startGroup(state: BrokerState, applied: Applied<CommandOf<'putGroup'>>): Group {
  const { command, index, time } = applied;
  // As topics' versions do, they go on rising: of two creations under one name everybody can tell the newer one.
  const version = (state.tombstones.GROUP.get(command.group.name)?.version ?? 0) + 1;
  const record: Group = { ...command.group, no: index, version, createdAt: time, updatedAt: time, startedAt: time };
  const group = state.newGroupState(record);
  state.putGroup(group, true);
  const start = startOf(command, record.consumeFrom);
  for (const { topic } of record.subscriptions) startSubscription(state, group, topic, start);
  return record;
}

/** The offset at which a group begins to read a queue. */
export type StartAt = (queue: Queue) => number;

/** LATEST means the messages that are stored after this command. */
function startOf(command: CommandOf<'putGroup'>, consumeFrom: ConsumeFrom): StartAt {
  const known = new Map(command.start?.map((at) => [queueNumber(at.topic, at.queueId), at.nextOffset]));
  return (queue) =>
    known.get(queueNumber(queue.topic, queue.queueId)) ?? (consumeFrom === 'LATEST' ? queue.max : queue.min);
}

/** The start position of every queue of a topic is fixed here, once. */
export function startSubscription(state: BrokerState, group: GroupState, topic: number, start: StartAt): void {
  if (group.record.mode === 'BROADCASTING') return; // each consumer's own, from its join
  for (const queue of state.topics.get(topic)!.queues) state.putOffset(group, topic, queue.queueId, start(queue));
}

/** A group as a request describes it. */
type WantedGroup = CommandOf<'putGroup'>['group'];

function changeGroup(
  state: BrokerState,
  group: GroupState,
  applied: Applied<CommandOf<'putGroup'>>,
): Outcome<'putGroup'> {
  const { command, time } = applied;
  const before = group.record;
  const after = changed(before, command.group);
  const refused = changeRefusal(before, after);
  if (refused) return { refused };
  if (isSame(after, before)) return { ok: { group: before, created: false } };
  group.record = { ...after, version: before.version + 1, updatedAt: time };
  state.putGroup(group, false);
  const start = startOf(command, before.consumeFrom);
  for (const { topic } of after.subscriptions)
    if (!subscriptionTo(before, topic)) startSubscription(state, group, topic, start);
  return { ok: { group: group.record, created: false } };
}

/** The group with what may change of it. The moment it began, and where, were decided when it was created; id likewise. */
function changed(before: Group, wanted: WantedGroup): Group {
  const { consumeFrom, consumeTimestamp, id, no, createdAt, startedAt, version, updatedAt, mergedIds } = before;
  const { consumeTimestamp: _, mergedIds: _merged, ...changeable } = wanted;
  return {
    ...changeable,
    subscriptions: withThoseOf(before, wanted.subscriptions),
    consumeFrom,
    ...(consumeTimestamp === undefined ? {} : { consumeTimestamp }),
    ...(mergedIds === undefined ? {} : { mergedIds }),
    ...{ id, no, createdAt, startedAt, version, updatedAt },
  };
}

const isSame = (one: Group, other: Group): boolean => JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));

/** Whether the group is what the request says already. */
export const changesNothing = (before: Group, wanted: WantedGroup): boolean =>
  changeRefusal(before, wanted) === undefined && isSame(changed(before, wanted), before);

/** A change names what it knew of; topics that were added meanwhile stay. Topics go when they are deleted, and never else. */
const withThoseOf = (before: Group, wanted: readonly Subscription[]): readonly Subscription[] => [
  ...wanted,
  ...before.subscriptions.filter(({ topic }) => !wanted.some((one) => one.topic === topic)),
];

function changeRefusal(before: Group, wanted: WantedGroup): GantryError | undefined {
  const conflict = (what: string) =>
    new GantryError('SUBSCRIPTION_CONFLICT', `group ${before.name} ${what}: use another group, or delete this one`, {
      members: { topic: before.topicName, filter: before.filter },
    });
  if (before.topic !== wanted.topic)
    return conflict(`reads topic ${before.topicName}; it cannot be moved to ${wanted.topicName}`);
  if (before.mode !== wanted.mode) return conflict(`is ${before.mode}, and stays it`);
  if (before.ordered !== wanted.ordered)
    return conflict(`is ${before.ordered ? 'ordered' : 'not ordered'}, and stays so`);
  if (wanted.subscriptions.length > 1 && !wanted.allowMultipleTopics)
    return conflict('reads several topics and needs allowMultipleTopics');
  return undefined;
}

const sorted = (record: object): unknown => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));

export function deleteGroup(state: BrokerState, applied: Applied<CommandOf<'deleteGroup'>>): Outcome<'deleteGroup'> {
  const group = state.groups.get(applied.command.no);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  const failed = preconditionRefusal(applied.command, group.record.version, `group ${group.record.name}`);
  if (failed) return { refused: failed };
  removeGroup(state, group, applied);
  return { ok: { group: group.record, created: false } };
}

/** The group, its positions, and its topics of retries and dead letters; a tombstone stays. */
export function removeGroup(state: BrokerState, group: GroupState, applied: Applied): void {
  const { name, id, version, mergedIds } = group.record;
  state.dropGroup(group, applied.index);
  const formerIds = mergedIds === undefined ? {} : { formerIds: mergedIds };
  state.bury('GROUP', { name, id, version: version + 1, deletedAt: applied.time, ...formerIds });
  for (const topic of [retryTopicOf(name), deadLetterTopicOf(name)]) dropTopicNamed(state, topic, applied);
}
