/** Creating, changing and deleting topics and their declared tags: the decisions, made when the command is applied. */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import type { Precondition } from './command';
import { departureRefusal, withdrawTopic } from './departures';
import { queuesBehind, stillHeld, unreadIn, type Holding } from './holdings';
import { Queue } from './queue';
import { groupOfOwnTopic, isSystemTopic, subscriptionTo } from './group';
import { removeGroup } from './groupChanges';
import type { BrokerState, GroupState, TopicState } from './state';
import type { DeclaredTag } from './tags';
import { brokersIn, growPartitions, withoutBrokers, writablePartitions } from './partitions';
import { checkQueueCounts, homeOf, takesGroups, type Topic, type TopicPatch } from './topic';
import { dropTopic } from './topicRemoval';

export interface TopicChange {
  readonly topic: Topic;
  /** False when nothing had to change. */
  readonly changed: boolean;
}

export interface TagChange {
  readonly tag: DeclaredTag;
  readonly created: boolean;
}

/** Refuses when If-Match or If-None-Match does not hold (RFC 9110, 13.1); `version` undefined = it does not exist. */
export function preconditionRefusal(
  condition: Precondition,
  version: number | undefined,
  what: string,
): GantryError | undefined {
  if (condition.ifAbsent && version !== undefined) {
    return new GantryError('PRECONDITION_FAILED', `${what} exists already (If-None-Match: *)`);
  }
  if (condition.ifMatch === undefined) return undefined;
  if (version === undefined) return new GantryError('PRECONDITION_FAILED', `${what} does not exist (If-Match)`);
  if (condition.ifMatch !== '*' && condition.ifMatch !== version) {
    return new GantryError(
      'PRECONDITION_FAILED',
      `${what} has changed since it was read: get it again and repeat with its new ETag`,
    );
  }
  return undefined;
}

export function createTopic(state: BrokerState, applied: Applied<CommandOf<'createTopic'>>): Outcome<'createTopic'> {
  const { command, index, time } = applied;
  const wanted = command.topic;
  const existing = state.topicsByName.get(wanted.name);
  const failed = preconditionRefusal(command, existing?.record.version, `topic ${wanted.name}`);
  if (failed) return { refused: failed };
  if (existing) return sameAgain(existing.record, wanted);
  // Nobody would ever take it away again.
  const owner = groupOfOwnTopic(wanted.name);
  if (owner !== undefined && !state.groupsByName.has(owner))
    return { refused: new GantryError('GROUP_NOT_FOUND', `group ${owner} was deleted meanwhile`) };
  const full = topicLimitRefusal(state, wanted.readQueues, isSystemTopic(wanted.name));
  if (full) return { refused: full };
  // Versions go on rising across a deletion: a NameServer takes the higher one for the newer. The tombstone stays: a
  // broker that was away has yet to learn that the topic it knows is not this one.
  const version = (state.tombstones.TOPIC.get(wanted.name)?.version ?? 0) + 1;
  const record: Topic = { ...wanted, no: index, version, createdAt: time, updatedAt: time };
  const topic = state.newTopicState(record);
  addQueues(state, topic, record.readQueues);
  state.putTopic(topic, true);
  return { ok: { topic: record, changed: true } };
}

/** A group's own topics are bounded by the number of groups. */
export function topicLimitRefusal(state: BrokerState, queues: number, ofGroup = false): GantryError | undefined {
  if ((state.topics.size < LIMITS.topics || ofGroup) && state.queueCount + queues <= LIMITS.queues) return undefined;
  return new GantryError(
    'LIMIT_EXCEEDED',
    `this broker has ${state.topics.size} topics with ${state.queueCount} queues, and no room for more: delete some first`,
  );
}

const COMPARED = ['type', 'readQueues', 'writeQueues', 'permission', 'tagPolicy', 'description'] as const;

function sameAgain(
  existing: Topic,
  wanted: Omit<Topic, 'no' | 'version' | 'createdAt' | 'updatedAt'>,
): Outcome<'createTopic'> {
  const different = COMPARED.filter((field) => existing[field] !== wanted[field]);
  if (different.length === 0) return { ok: { topic: existing, changed: false } };
  const list = different
    .map((field) => `${field} is ${JSON.stringify(existing[field])}, not ${JSON.stringify(wanted[field])}`)
    .join('; ');
  return {
    refused: new GantryError(
      'TOPIC_EXISTS',
      `topic ${existing.name} exists: ${list}. Change it with PATCH /v1/topics/${existing.name}`,
    ),
  };
}

/** Queues exist from 0 up to the most that the topic ever had here; shrinking only hides them. */
export function addQueues(state: BrokerState, topic: TopicState, queues: number): void {
  for (let queueId = topic.queues.length; queueId < queues; queueId++) {
    topic.queues.push(new Queue(topic.record.no, queueId, 0, 0));
    state.queueCount++;
  }
}

type UpdateCommand = CommandOf<'updateTopic'>;

export function updateTopic(state: BrokerState, applied: Applied<UpdateCommand>): Outcome<'updateTopic'> {
  const { command, index, time } = applied;
  const topic = state.topics.get(command.no);
  if (!topic) return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  const refused = updateRefusal(state, topic, command);
  if (refused) return { refused };
  const before = topic.record;
  const merged = merge(before, command.patch);
  const moved = merged.partitions !== before.partitions;
  if (!moved && COMPARED.every((field) => before[field] === merged[field]))
    return { ok: { topic: before, changed: false } };
  topic.record = { ...merged, version: before.version + 1, updatedAt: time };
  if (leaves(command)) withdrawTopic(state, topic, index);
  else {
    addQueues(state, topic, merged.readQueues);
    state.putTopic(topic, false);
  }
  return { ok: { topic: topic.record, changed: true } };
}

/** Why an update is refused now; undefined: it is not. It is judged again when it is applied. */
export function updateRefusal(
  state: BrokerState,
  topic: TopicState,
  command: Omit<UpdateCommand, 'kind'>,
): GantryError | undefined {
  const failed = preconditionRefusal(command, topic.record.version, `topic ${topic.record.name}`);
  if (failed) return failed;
  const { allowReorder, keepsUnread } = command.patch;
  const merged = merge(topic.record, command.patch);
  const refused = refuseUpdate(state, topic, merged, allowReorder === true);
  if (refused || !keepsUnread) return refused;
  if (leaves(command)) return departureRefusal(state, topic);
  const unread = unreadIn(state, topic, queuesBehind(topic, merged.readQueues));
  return unread.length > 0 ? queuesInUse(merged, unread) : undefined;
}

/** Its queues leave the broker that decides. */
const leaves = ({ patch, broker }: Pick<UpdateCommand, 'patch' | 'broker'>): boolean =>
  patch.leaving?.includes(broker) === true;

/** Fewer queues would leave unread messages without a reader. */
export const queuesInUse = ({ name, readQueues }: Pick<Topic, 'name' | 'readQueues'>, unread: readonly Holding[]) =>
  stillHeld(
    `queues ${readQueues} and up of topic ${name} have unread messages`,
    unread,
    'say force=true, which leaves them stranded until readQueues grows back. Lowering writeQueues first lets no more come',
  );

function merge(before: Topic, patch: TopicPatch): Topic {
  const { description, brokers = [], leaving = [], allowReorder: _allow, keepsUnread: _keeps, ...rest } = patch;
  const staying = leaving.length === 0 ? before.partitions : withoutBrokers(before.partitions, leaving);
  const all = [...new Set([...brokersIn(staying), ...[...brokers].sort()])];
  const partitions = growPartitions(staying, all, rest.readQueues ?? before.readQueues);
  const merged: Topic = { ...before, ...rest, partitions };
  if (description === undefined) return merged;
  if (description !== null) return { ...merged, description };
  const { description: _, ...without } = merged;
  return without;
}

function refuseUpdate(
  state: BrokerState,
  { record: before, queues }: TopicState,
  after: Topic,
  allowReorder: boolean,
): GantryError | undefined {
  try {
    checkQueueCounts(after.readQueues, after.writeQueues);
  } catch (error) {
    return error as GantryError;
  }
  if (takesGroups(before) && movesGroups(before, after) && !allowReorder) {
    return new GantryError(
      'REORDER_NOT_ALLOWED',
      `topic ${before.name} is ${before.type}: with other writable queues than now a messageGroup may move to another queue and overtake itself. ` +
        'Let consumers finish first and send allowReorder: true.',
    );
  }
  const known = queues.length;
  if (after.readQueues > known && state.queueCount + after.readQueues - known > LIMITS.queues) {
    return new GantryError(
      'LIMIT_EXCEEDED',
      `this broker has ${state.queueCount} queues already, of at most ${LIMITS.queues}`,
    );
  }
  return undefined;
}

/** A messageGroup's place follows from the list of writable queues: it is the same for all while that is. */
function movesGroups(before: Topic, after: Topic): boolean {
  const [old, now] = [before, after].map((topic) => writablePartitions(topic.partitions, topic.writeQueues));
  return (
    old!.length !== now!.length ||
    old!.some((one, i) => one.broker !== now![i]!.broker || one.queueId !== now![i]!.queueId)
  );
}

export function deleteTopic(state: BrokerState, applied: Applied<CommandOf<'deleteTopic'>>): Outcome<'deleteTopic'> {
  const { command } = applied;
  const topic = state.topics.get(command.no);
  if (!topic) return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  const { record } = topic;
  const failed = preconditionRefusal(command, record.version, `topic ${record.name}`);
  if (failed) return { refused: failed };
  const groups = readersOf(state, record.no);
  if (groups.length > 0 && !command.force) {
    const names = groups.map((group) => group.record.name);
    return {
      refused: new GantryError(
        'IN_USE',
        `topic ${record.name} is read by ${names.slice(0, 10).join(', ')}: delete these groups first, or say force=true, which deletes them, too`,
        {
          members: { groups: names },
        },
      ),
    };
  }
  removeTopic(state, topic, applied);
  return { ok: { topic: record, changed: true } };
}

export const readersOf = (state: BrokerState, topic: number): GroupState[] =>
  [...state.groups.values()].filter((group) => subscriptionTo(group.record, topic));

/** The topic, and the groups that read nothing else. */
export function removeTopic(state: BrokerState, topic: TopicState, applied: Applied): void {
  for (const group of readersOf(state, topic.record.no)) unsubscribe(state, group, topic.record.no, applied);
  dropTopic(state, topic, applied);
}

/** A group goes with its only topic, and with the first of several: what it is called after. */
function unsubscribe(state: BrokerState, group: GroupState, topic: number, applied: Applied): void {
  const { record } = group;
  if (record.topic === topic) return removeGroup(state, group, applied);
  const subscriptions = record.subscriptions.filter((subscription) => subscription.topic !== topic);
  // Only its home raises the version, for all of its brokers.
  const first = state.topics.get(record.topic)?.record;
  const isHome = first !== undefined && homeOf(first) === state.identity?.name;
  const raised = isHome ? { version: record.version + 1, updatedAt: applied.time } : {};
  group.record = { ...record, subscriptions, ...raised };
  state.putGroup(group, false);
}

export function putTag(state: BrokerState, applied: Applied<CommandOf<'putTag'>>): Outcome<'putTag'> {
  const { command, time } = applied;
  const topic = state.topics.get(command.topic);
  if (!topic) return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  const before = topic.declared.get(command.tag);
  const failed = preconditionRefusal(command, before?.version, `tag ${command.tag}`);
  if (failed) return { refused: failed };
  if (!before && topic.declared.size >= LIMITS.declaredTags) {
    return { refused: new GantryError('LIMIT_EXCEEDED', `a topic has at most ${LIMITS.declaredTags} declared tags`) };
  }
  const tag: DeclaredTag = {
    tag: command.tag,
    ...(command.description === undefined ? {} : { description: command.description }),
    version: (before?.version ?? 0) + 1,
    createdAt: before?.createdAt ?? time,
    updatedAt: time,
  };
  state.putDeclaredTag(topic, tag);
  noteTags(state, topic);
  return { ok: { tag, created: !before } };
}

/** The topic's own version, and its ETag, are another matter. */
function noteTags(state: BrokerState, topic: TopicState): void {
  topic.record = { ...topic.record, tagsVersion: (topic.record.tagsVersion ?? 0) + 1 };
  state.putTopic(topic, false);
}

export function deleteTag(state: BrokerState, applied: Applied<CommandOf<'deleteTag'>>): Outcome<'deleteTag'> {
  const { command } = applied;
  const topic = state.topics.get(command.topic);
  const tag = topic?.declared.get(command.tag);
  if (!topic || !tag) return { refused: new GantryError('TAG_NOT_FOUND', `tag ${command.tag} is not declared`) };
  const failed = preconditionRefusal(command, tag.version, `tag ${command.tag}`);
  if (failed) return { refused: failed };
  state.dropDeclaredTag(topic, command.tag);
  noteTags(state, topic);
  return { ok: { tag, created: false } };
}
