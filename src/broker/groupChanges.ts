/** Creating, changing and deleting groups, and moving their positions: the decisions, made when applied. */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import type { QueueOffset } from './command';
import type { Group } from './group';
import { queueNumber, type BrokerState, type GroupState } from './state';
import { preconditionRefusal } from './topicChanges';

export interface GroupChange {
  readonly group: Group;
  readonly created: boolean;
}

/** One queue's part of a commit. */
export type OffsetResult =
  | { readonly topic: number; readonly queueId: number; readonly nextOffset: number; readonly error?: undefined }
  | { readonly topic: number; readonly queueId: number; readonly nextOffset: number; readonly error: GantryError };

export function putGroup(state: BrokerState, applied: Applied<CommandOf<'putGroup'>>): Outcome<'putGroup'> {
  const { command } = applied;
  const wanted = command.group;
  const existing = state.groupsByName.get(wanted.name);
  const failed = preconditionRefusal(command, existing?.record.version, `group ${wanted.name}`);
  if (failed) return { refused: failed };
  if (existing) return changeGroup(state, existing, applied);
  const topic = state.topics.get(wanted.topic);
  if (!topic) return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
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

/** The start position of every queue is fixed here, once; LATEST means the messages that are stored after this command. */
function startGroup(state: BrokerState, { command, index, time }: Applied<CommandOf<'putGroup'>>): Group {
  const wanted = command.group;
  const record: Group = { ...wanted, no: index, version: 1, createdAt: time, updatedAt: time, startedAt: time };
  const group = state.newGroupState(record);
  state.putGroup(group, true);
  const start = new Map(command.start?.map((at) => [at.queueId, at.nextOffset]));
  for (const queue of state.topics.get(wanted.topic)!.queues) {
    const decided = wanted.consumeFrom === 'LATEST' ? queue.max : queue.min;
    state.putOffset(group, queue.topic, queue.queueId, start.get(queue.queueId) ?? decided);
  }
  return record;
}

function changeGroup(
  state: BrokerState,
  group: GroupState,
  { command, time }: Applied<CommandOf<'putGroup'>>,
): Outcome<'putGroup'> {
  const before = group.record;
  const wanted = command.group;
  if (before.topic !== wanted.topic) {
    return {
      refused: new GantryError(
        'SUBSCRIPTION_CONFLICT',
        `group ${before.name} reads topic ${before.topicName}; it cannot be moved to ${wanted.topicName}: use another group, or delete this one`,
        { members: { topic: before.topicName, filter: before.filter } },
      ),
    };
  }
  // The moment it began, and where, were decided when it was created; id likewise.
  const { consumeFrom, consumeTimestamp, id, no, createdAt, startedAt } = before;
  const { consumeTimestamp: _, ...changeable } = wanted;
  const after: Group = {
    ...changeable,
    consumeFrom,
    ...(consumeTimestamp === undefined ? {} : { consumeTimestamp }),
    id,
    no,
    createdAt,
    startedAt,
    version: before.version,
    updatedAt: before.updatedAt,
  };
  if (JSON.stringify(sorted(after)) === JSON.stringify(sorted(before)))
    return { ok: { group: before, created: false } };
  group.record = { ...after, version: before.version + 1, updatedAt: time };
  state.putGroup(group, false);
  return { ok: { group: group.record, created: false } };
}

const sorted = (record: object): unknown => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));

export function deleteGroup(state: BrokerState, applied: Applied<CommandOf<'deleteGroup'>>): Outcome<'deleteGroup'> {
  const group = state.groups.get(applied.command.no);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  const failed = preconditionRefusal(applied.command, group.record.version, `group ${group.record.name}`);
  if (failed) return { refused: failed };
  state.dropGroup(group);
  return { ok: { group: group.record, created: false } };
}

export function commitOffsets(
  state: BrokerState,
  applied: Applied<CommandOf<'commitOffsets'>>,
): Outcome<'commitOffsets'> {
  const { command } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  return { ok: command.offsets.map((at) => commitOne(state, group, at, command.backwards)) };
}

function commitOne(state: BrokerState, group: GroupState, at: QueueOffset, backwards: boolean): OffsetResult {
  const queue = state.topics.get(at.topic)?.queues[at.queueId];
  if (!queue) return { ...at, error: new GantryError('QUEUE_NOT_FOUND', 'the queue does not exist any more') };
  if (at.nextOffset > queue.max) {
    return {
      ...at,
      error: new GantryError(
        'OFFSET_MOVED',
        `nextOffset ${at.nextOffset} lies behind the queue's end ${queue.max}: commit the offset after the last handled message`,
        {
          members: { minOffset: queue.min, maxOffset: queue.max },
        },
      ),
    };
  }
  const committed = group.offsets.get(queueNumber(at.topic, at.queueId));
  if (committed !== undefined && at.nextOffset < committed && !backwards) {
    return {
      ...at,
      error: new GantryError(
        'OFFSET_BACKWARDS',
        `${committed} is committed already, and ${at.nextOffset} is before it: say force to go back`,
        {
          members: { committed },
        },
      ),
    };
  }
  if (committed !== at.nextOffset) state.putOffset(group, at.topic, at.queueId, at.nextOffset);
  return { ...at };
}
