/** Creating, changing and deleting groups: the decisions, made when applied. */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import { deadLetterTopicOf, retryTopicOf, subscriptionTo, type Group, type Subscription } from './group';
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
  if (!wanted.subscriptions.every(({ topic }) => state.topics.has(topic)))
    return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  if (existing) return changeGroup(state, existing, applied);
  if (state.groups.size >= LIMITS.groups) {
    return {
      refused: new GantryError(
        'LIMIT_EXCEEDED',
        `this broker has ${LIMITS.groups} groups, and no room for more: delete some first`,
      ),
    };
  }
  return { ok: { group: startGroup(state, applied), created: true } };
}

function startGroup(state: BrokerState, applied: Applied<CommandOf<'putGroup'>>): Group {
  const { command, index, time } = applied;
  const record: Group = { ...command.group, no: index, version: 1, createdAt: time, updatedAt: time, startedAt: time };
  const group = state.newGroupState(record);
  state.putGroup(group, true);
  for (const subscription of record.subscriptions) startSubscription(state, group, subscription, command);
  return record;
}

/** The start position of every queue is fixed here, once; LATEST means the messages that are stored after this command. */
function startSubscription(
  state: BrokerState,
  group: GroupState,
  { topic }: Subscription,
  command: CommandOf<'putGroup'>,
): void {
  if (group.record.mode === 'BROADCASTING') return; // each consumer's own, from its join
  const start = new Map(command.start?.map((at) => [queueNumber(at.topic, at.queueId), at.nextOffset]));
  for (const queue of state.topics.get(topic)!.queues) {
    const decided = group.record.consumeFrom === 'LATEST' ? queue.max : queue.min;
    state.putOffset(group, topic, queue.queueId, start.get(queueNumber(topic, queue.queueId)) ?? decided);
  }
}

function changeGroup(
  state: BrokerState,
  group: GroupState,
  applied: Applied<CommandOf<'putGroup'>>,
): Outcome<'putGroup'> {
  const { command, time } = applied;
  const before = group.record;
  const wanted = { ...command.group, subscriptions: withThoseOf(before, command.group.subscriptions) };
  const refused = changeRefusal(before, wanted);
  if (refused) return { refused };
  // The moment it began, and where, were decided when it was created; id likewise.
  const { consumeFrom, consumeTimestamp, id, no, createdAt, startedAt, version, updatedAt } = before;
  const { consumeTimestamp: _, ...changeable } = wanted;
  const after: Group = {
    ...changeable,
    consumeFrom,
    ...(consumeTimestamp === undefined ? {} : { consumeTimestamp }),
    ...{ id, no, createdAt, startedAt, version, updatedAt },
  };
  if (JSON.stringify(sorted(after)) === JSON.stringify(sorted(before)))
    return { ok: { group: before, created: false } };
  group.record = { ...after, version: version + 1, updatedAt: time };
  state.putGroup(group, false);
  for (const subscription of after.subscriptions)
    if (!subscriptionTo(before, subscription.topic)) startSubscription(state, group, subscription, command);
  return { ok: { group: group.record, created: false } };
}

/** A change names what it knew of; topics that were added meanwhile stay. Topics go when they are deleted, and never else. */
const withThoseOf = (before: Group, wanted: readonly Subscription[]): readonly Subscription[] => [
  ...wanted,
  ...before.subscriptions.filter(({ topic }) => !wanted.some((one) => one.topic === topic)),
];

function changeRefusal(before: Group, wanted: CommandOf<'putGroup'>['group']): GantryError | undefined {
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

/** The group, its positions, and its topics of retries and dead letters. */
export function removeGroup(state: BrokerState, group: GroupState, applied: Applied): void {
  const { name } = group.record;
  state.dropGroup(group, applied.index);
  for (const topic of [retryTopicOf(name), deadLetterTopicOf(name)]) dropTopicNamed(state, topic, applied);
}
