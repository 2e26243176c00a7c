/**
 * What another broker has decided about a topic, a group or a producer group is taken over: judged when it is applied.
 * One broker decides, so of one creation the higher version is the newer state, in whatever order they come. A creation
 * that was deleted never comes back. Of two creations of a topic under one name the older one gives way while nothing hangs
 * on it; otherwise it stays, and an operator is told. Two creations of a group become one, which keeps all positions, when
 * they read the same topic in the same way: a home that was away and a broker that stood in for it both may have made it.
 */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import type {
  BrokerRemoval,
  Definition,
  Deletion,
  GroupRecord,
  ProducerGroupDefinition,
  ProducerGroupRecord,
  SharedGroup,
  TopicRecord,
} from './definition';
import { departureRefusal, forgetBroker, withdrawTopic } from './departures';
import { topicsHere, withTopicsHere, type Group } from './group';
import { groupLimitRefusal, removeGroup, startSubscription, type StartAt } from './groupChanges';
import { queuesOf } from './partitions';
import { creationIdOf } from './producerGroup';
import { queueNumber, type BrokerState, type GroupState, type TopicState } from './state';
import { isDead } from './tombstone';
import type { Topic } from './topic';
import { addQueues, removeTopic, topicLimitRefusal } from './topicChanges';

/** What a definition would do here. */
export type Verdict = 'NOTHING' | 'MAKE' | 'REPLACE' | 'MERGE' | 'CHANGE' | 'LEAVE' | 'DROP' | 'BURY';

export interface InstallOutcome {
  readonly verdict: Verdict;
  /** Topics that came, changed or went. */
  readonly topics: readonly Topic[];
}

/** What it would do, or why it is refused; changes nothing. */
export function verdictOn(state: BrokerState, definition: Definition, broker: string): Verdict | GantryError {
  if (definition.kind === 'BROKER') return onRemoval(state, definition);
  if (definition.record === undefined) return onDeletion(state, definition);
  if (definition.kind === 'PRODUCER_GROUP') return onProducerGroup(state, definition);
  const { kind, name, id } = definition;
  if (isDead(state.tombstones[kind].get(name), id)) return 'NOTHING';
  return kind === 'TOPIC' ? onTopic(state, definition, broker) : onGroup(state, definition);
}

function onDeletion(state: BrokerState, deletion: Deletion<Exclude<Definition['kind'], 'BROKER'>>): Verdict {
  const { kind, name, id, formerIds = [] } = deletion;
  const known = creationOf(state, kind, name);
  if (known !== undefined && isDead(deletion, known)) return 'DROP';
  const tombstone = state.tombstones[kind].get(name);
  return [id, ...formerIds].every((one) => isDead(tombstone, one)) ? 'NOTHING' : 'BURY';
}

/** Id of the creation that is known here. */
function creationOf(state: BrokerState, kind: Definition['kind'], name: string): string | undefined {
  if (kind === 'TOPIC') return state.topicsByName.get(name)?.record.id;
  if (kind === 'GROUP') return state.groupsByName.get(name)?.record.id;
  const producers = state.halves.producerGroups.get(name);
  return producers && creationIdOf(producers);
}

function onRemoval({ removedBrokers }: BrokerState, { name, id, formerIds = [] }: BrokerRemoval): Verdict {
  return [id, ...formerIds].every((one) => isDead(removedBrokers.get(name), one)) ? 'NOTHING' : 'BURY';
}

function onTopic(state: BrokerState, definition: TopicRecord, broker: string): Verdict | GantryError {
  const { record, name } = definition;
  const known = state.topicsByName.get(name);
  const own = queuesOf(record.partitions, broker);
  if (known?.record.id === definition.id) return onSameTopic(state, definition, known, own);
  if (own === 0) return 'NOTHING';
  if (!known) return topicLimitRefusal(state, own) ?? 'MAKE';
  if (isNewer(definition, known.record) && isEmpty(state, known)) return 'REPLACE';
  return new GantryError(
    'TOPIC_EXISTS',
    `broker ${broker} has another topic ${name}, with messages, or a newer one: delete one of them, by its id ${known.record.id} or ${definition.id}`,
  );
}

function onSameTopic(
  state: BrokerState,
  { record }: TopicRecord,
  known: TopicState,
  own: number,
): Verdict | GantryError {
  const before = known.record;
  if (record.version <= before.version)
    return (record.tagsVersion ?? 0) > (before.tagsVersion ?? 0) ? 'CHANGE' : 'NOTHING';
  if (own === 0) return departureRefusal(state, known) ?? 'LEAVE';
  if (own < known.queues.length) {
    const detail = `topic ${before.name} has queues here that version ${record.version} does not have: only its home may change it`;
    return new GantryError('TOPIC_EXISTS', detail);
  }
  const added = own - known.queues.length;
  return added > 0 && state.queueCount + added > LIMITS.queues ? topicLimitRefusal(state, added)! : 'CHANGE';
}

function onGroup(state: BrokerState, definition: GroupRecord): Verdict | GantryError {
  const { name, id, version } = definition;
  const wanted = localRecord(state, definition.record, 0);
  const known = state.groupsByName.get(name);
  // It reads nothing that is here. What it read here once, and still has here, is changed and deleted with it.
  if (topicsHere(wanted).length === 0 && known?.record.id !== id) return 'NOTHING';
  if (!known) return groupLimitRefusal(state) ?? 'MAKE';
  if (known.record.id === id) {
    if (version !== known.record.version) return version > known.record.version ? 'CHANGE' : 'NOTHING';
    // The same state, but meanwhile a topic that it reads has come to this broker.
    return topicsHere(wanted).length > topicsHere(known.record).length ? 'CHANGE' : 'NOTHING';
  }
  if (canMerge(known.record, definition.record)) return isNewer(definition, known.record) ? 'MERGE' : 'NOTHING';
  if (isNewer(definition, known.record) && isUnused(known)) return 'REPLACE';
  return new GantryError(
    'SUBSCRIPTION_CONFLICT',
    `there is another group ${name} here, which reads ${known.record.topicName} and is in use, or newer: delete one of them`,
  );
}

function onProducerGroup(state: BrokerState, definition: ProducerGroupRecord): Verdict | GantryError {
  const { producerGroups } = state.halves;
  const { name, version, updatedAt, record } = definition;
  if (isDead(state.tombstones.PRODUCER_GROUP.get(name), creationIdOf(record))) return 'NOTHING';
  const known = producerGroups.get(name);
  if (!known) return producerGroups.size < LIMITS.producerGroups ? 'MAKE' : noRoomForProducers();
  if (version !== known.version) return version > known.version ? 'CHANGE' : 'NOTHING';
  return updatedAt > known.updatedAt ? 'CHANGE' : 'NOTHING';
}

const noRoomForProducers = (): GantryError =>
  new GantryError('LIMIT_EXCEEDED', `this broker has ${LIMITS.producerGroups} producer groups`);

/** A full order of creations under one name: every broker comes to the same. */
const isNewer = (a: { id: string; version: number }, b: { id: string; version: number }): boolean =>
  a.version !== b.version ? a.version > b.version : a.id > b.id;

/** Positions of the one mean the same for the other. */
const canMerge = (one: Group, other: SharedGroup): boolean =>
  one.topicName === other.topicName && one.mode === other.mode && one.ordered === other.ordered;

/** No message was ever stored in it, or waits to be. */
function isEmpty({ halves }: BrokerState, { record, queues, scheduled }: TopicState): boolean {
  if (scheduled > 0 || queues.some(({ max }) => max > 0)) return false;
  for (const half of halves.open.values()) if (half.topic === record.no) return false;
  return true;
}

/** Nobody ever read for it. */
const isUnused = ({ owners, leases, attempts, listeners }: GroupState): boolean =>
  owners.size + leases.size + attempts.size + listeners.size === 0;

/** The group as this broker knows it: with all its topics, so that whoever asks here finds the others, too. */
function localRecord(state: BrokerState, shared: SharedGroup, no: number): Group {
  return { ...withTopicsHere(shared, (name) => state.topicsByName.get(name)?.record.no), no };
}

export function install(state: BrokerState, applied: Applied<CommandOf<'install'>>): Outcome<'install'> {
  const { definition, broker } = applied.command;
  const verdict = verdictOn(state, definition, broker);
  if (verdict instanceof GantryError) return { refused: verdict };
  if (verdict === 'NOTHING') return { ok: { verdict, topics: [] } };
  if (definition.kind === 'PRODUCER_GROUP') {
    installProducerGroup(state, definition, verdict);
    return { ok: { verdict, topics: [] } };
  }
  if (definition.kind === 'BROKER') {
    const { kind: _, record: _none, ...removal } = definition;
    return { ok: { verdict, topics: forgetBroker(state, removal) } };
  }
  if (definition.kind === 'TOPIC')
    return { ok: { verdict, topics: installTopic(state, applied, definition, verdict) } };
  installGroup(state, applied, definition, verdict);
  return { ok: { verdict, topics: [] } };
}

function installProducerGroup(state: BrokerState, definition: ProducerGroupDefinition, verdict: Verdict): void {
  if (definition.record !== undefined) return state.halves.putProducerGroup(definition.record);
  if (verdict === 'DROP') state.halves.dropProducerGroup(definition.name);
  const { kind, record: _, ...tombstone } = definition;
  state.bury(kind, tombstone);
}

function installTopic(
  state: BrokerState,
  applied: Applied<CommandOf<'install'>>,
  definition: TopicRecord | Deletion<'TOPIC'>,
  verdict: Verdict,
): Topic[] {
  const known = state.topicsByName.get(definition.name);
  if (definition.record !== undefined) {
    if (known && verdict === 'LEAVE') {
      withdrawTopic(state, known, applied.index);
      return [known.record];
    }
    if (known && verdict === 'CHANGE') return [changeTopic(state, known, definition, applied.command.broker)];
    if (known) removeTopic(state, known, applied);
    return [...(known ? [known.record] : []), makeTopic(state, definition, applied)];
  }
  if (known && verdict === 'DROP') removeTopic(state, known, applied);
  const { kind, record: _, ...tombstone } = definition;
  state.bury(kind, tombstone);
  return known && verdict === 'DROP' ? [known.record] : [];
}

function makeTopic(state: BrokerState, definition: TopicRecord, applied: Applied<CommandOf<'install'>>): Topic {
  const record: Topic = { ...definition.record, no: applied.index };
  const topic = state.newTopicState(record);
  addQueues(state, topic, queuesOf(record.partitions, applied.command.broker));
  state.putTopic(topic, true);
  for (const tag of definition.tags) state.putDeclaredTag(topic, tag);
  return record;
}

function changeTopic(state: BrokerState, topic: TopicState, definition: TopicRecord, broker: string): Topic {
  const before = topic.record;
  const { tagsVersion = 0 } = definition.record;
  const newer = definition.version > before.version ? { ...definition.record, no: before.no } : before;
  const { tagsVersion: known = 0 } = before;
  topic.record = tagsVersion > known ? { ...newer, tagsVersion } : withTagsVersion(newer, before.tagsVersion);
  addQueues(state, topic, queuesOf(topic.record.partitions, broker));
  state.putTopic(topic, false);
  if (tagsVersion <= known) return topic.record;
  for (const tag of [...topic.declared.keys()]) state.dropDeclaredTag(topic, tag);
  for (const tag of definition.tags) state.putDeclaredTag(topic, tag);
  return topic.record;
}

function withTagsVersion({ tagsVersion: _, ...topic }: Topic, tagsVersion: number | undefined): Topic {
  return tagsVersion === undefined ? topic : { ...topic, tagsVersion };
}

function installGroup(
  state: BrokerState,
  applied: Applied<CommandOf<'install'>>,
  definition: GroupRecord | Deletion<'GROUP'>,
  verdict: Verdict,
): void {
  const known = state.groupsByName.get(definition.name);
  if (definition.record === undefined) {
    if (known && verdict === 'DROP') removeGroup(state, known, applied);
    const { kind, record: _, ...tombstone } = definition;
    return state.bury(kind, tombstone);
  }
  if (known && verdict === 'REPLACE') removeGroup(state, known, applied);
  const kept = verdict === 'CHANGE' || verdict === 'MERGE' ? known : undefined;
  const shared = kept ? withMerged(definition.record, kept.record) : definition.record;
  const record = localRecord(state, shared, kept?.record.no ?? applied.index);
  const before = kept ? topicsHere(kept.record) : [];
  const group = kept ?? state.newGroupState(record);
  group.record = record;
  state.putGroup(group, !kept);
  const start = startOf(applied.command);
  for (const topic of topicsHere(record)) if (!before.includes(topic)) startSubscription(state, group, topic, start);
}

/** Creations that a group is kept for, so that its deletion is theirs, too. */
const MERGED_IDS = 16;

function withMerged(shared: SharedGroup, kept: Group): SharedGroup {
  const all = new Set([...(kept.mergedIds ?? []), ...(shared.mergedIds ?? []), kept.id]);
  all.delete(shared.id);
  return all.size === 0 ? shared : { ...shared, mergedIds: [...all].slice(-MERGED_IDS) };
}

/** What is not known in advance is a queue that has come since, and holds what came since. */
function startOf({ start }: CommandOf<'install'>): StartAt {
  const known = new Map(start?.map((at) => [queueNumber(at.topic, at.queueId), at.nextOffset]));
  return (queue) => known.get(queueNumber(queue.topic, queue.queueId)) ?? queue.min;
}
