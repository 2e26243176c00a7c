/** Taking brokers out of a cluster for good: this one, or one that is dead. */
import type { Core } from './core';
import { deletionOf, type BrokerRemoval } from './definition';
import { brokersIn } from './partitions';
import { isSystemTopic } from './group';
import { homeOf, takesGroups, type Topic } from './topic';

/** This broker leaves; durable when it resolves. Throws IN_USE while it takes messages or holds some, unless forced. */
export async function leaveForGood(core: Core, force: boolean): Promise<BrokerRemoval> {
  const id = core.chance.bytes(8).toString('hex');
  return deletionOf('BROKER', await core.submit({ kind: 'leaveCluster', name: core.brokerName, id, force }));
}

/** The removal of another broker, which cannot be asked. */
export function removalOf({ state, chance, clock }: Core, name: string): BrokerRemoval {
  const version = (state.removedBrokers.get(name)?.version ?? 0) + 1;
  const deletedAt = Math.max(clock.now(), state.marks.time);
  return deletionOf('BROKER', { name, id: chance.bytes(8).toString('hex'), version, deletedAt });
}

/** Part of a topic that is on one broker. */
export interface TopicPart {
  readonly topic: string;
  readonly queues: number;
  /** The broker decides about the topic; when it goes, another one does. */
  readonly isHome: boolean;
  /** With fewer queues its messageGroups may move to others. */
  readonly mayReorder: boolean;
}

/** Topics known here that have queues on a broker. */
export function partsOn({ state }: Core, name: string): TopicPart[] {
  const topics = [...state.topics.values()].map(({ record }) => record);
  const there = topics.filter(
    ({ name: topic, partitions }) => !isSystemTopic(topic) && brokersIn(partitions).includes(name),
  );
  return there.map((topic) => partOn(topic, name)).sort((a, b) => (a.topic < b.topic ? -1 : 1));
}

const partOn = (topic: Topic, name: string): TopicPart => ({
  topic: topic.name,
  queues: topic.partitions.filter(({ broker }) => broker === name).length,
  isHome: homeOf(topic) === name,
  mayReorder: takesGroups(topic) && brokersIn(topic.partitions).length > 1,
});
