/**
 * Queues that leave for good: of one topic from one broker, or of a whole broker. Leaving is no deletion: the topic and
 * its groups live on other brokers, so no tombstone is left but that of a removed broker.
 */
import { GantryError } from '../base/errors';
import type { Applied, CommandOf, Outcome } from './apply';
import { deadLetterTopicOf, retryTopicOf, subscriptionTo, topicsHere, withTopicsHere } from './group';
import { allHeld, heldOf, stillHeld } from './holdings';
import { withoutBrokers } from './partitions';
import type { BrokerState, TopicState } from './state';
import { buried, type Tombstone } from './tombstone';
import { writable, type Topic } from './topic';

/** A topic has no queues here any more. Groups that read nothing else here go, too; positions of its queues are forgotten. */
export function withdrawTopic(state: BrokerState, topic: TopicState, index: number): void {
  const { no } = topic.record;
  const readers = [...state.groups.values()].filter(({ record }) => subscriptionTo(record, no));
  for (const group of readers) for (const queue of topic.queues) state.forgetQueue(group, no, queue.queueId);
  state.dropTopic(topic, index);
  for (const group of readers) {
    group.record = withTopicsHere(group.record, (name) => state.topicsByName.get(name)?.record.no);
    if (topicsHere(group.record).length > 0) {
      state.putGroup(group, false);
      continue;
    }
    const { name } = group.record;
    state.dropGroup(group, index);
    for (const own of [retryTopicOf(name), deadLetterTopicOf(name)]) {
      const found = state.topicsByName.get(own);
      if (found) state.dropTopic(found, index);
    }
  }
}

export function leaveTopic(state: BrokerState, applied: Applied<CommandOf<'leaveTopic'>>): Outcome<'leaveTopic'> {
  const { command, index } = applied;
  const topic = state.topics.get(command.no);
  if (!topic) return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  const refused = command.force ? undefined : departureRefusal(state, topic);
  if (refused) return { refused };
  withdrawTopic(state, topic, index);
  return { ok: { topic: topic.record, changed: true } };
}

/** Why a topic cannot leave this broker; undefined: it can. */
export function departureRefusal(state: BrokerState, topic: TopicState): GantryError | undefined {
  const held = heldOf(state, topic);
  if (held.length === 0) return undefined;
  const { name } = topic.record;
  return stillHeld(
    `topic ${name} cannot leave a broker that still holds messages of it`,
    held,
    'say force=true, which loses them',
  );
}

/** This broker leaves its cluster: everything goes, and nothing of this folder ever registers again. */
export function leaveCluster(state: BrokerState, applied: Applied<CommandOf<'leaveCluster'>>): Outcome<'leaveCluster'> {
  const { command, index, time } = applied;
  const { name, id, force } = command;
  const refused = force ? undefined : removalRefusal(state, name);
  if (refused) return { refused };
  for (const group of [...state.groups.values()]) state.dropGroup(group, index);
  for (const topic of [...state.topics.values()]) state.dropTopic(topic, index);
  const removal = { name, id, version: (state.removedBrokers.get(name)?.version ?? 0) + 1, deletedAt: time };
  state.removeBroker(removal, true);
  return { ok: state.removedBrokers.get(name)! };
}

function removalRefusal(state: BrokerState, name: string): GantryError | undefined {
  if (writable(state.permission.permission))
    return new GantryError(
      'IN_USE',
      `broker ${name} still takes messages: take its write permission first, with PUT /v1/brokers/${name}/permission and {"permission":"R"}, and let consumers finish`,
    );
  const held = allHeld(state);
  const way = 'say force=true, which loses them. DELETE with dryRun=true lists all of them';
  return held.length === 0 ? undefined : stillHeld(`broker ${name} still holds messages`, held, way);
}

/**
 * Another broker was removed: its queues leave the lists of all topics. Every broker comes to the same lists and versions
 * by itself, and the first broker that is left becomes the home. Answers the topics that changed.
 */
export function forgetBroker(state: BrokerState, removal: Tombstone): Topic[] {
  state.removeBroker(buried(state.removedBrokers.get(removal.name), removal), false);
  if (removal.name === state.identity?.name) return []; // a former life of this broker, which had another folder
  const changed: Topic[] = [];
  for (const topic of state.topics.values()) {
    const { record } = topic;
    const partitions = withoutBrokers(record.partitions, [removal.name]);
    if (partitions.length === record.partitions.length || partitions.length === 0) continue;
    topic.record = { ...record, partitions, version: record.version + 1, updatedAt: removal.deletedAt };
    state.putTopic(topic, false);
    changed.push(topic.record);
  }
  return changed;
}
