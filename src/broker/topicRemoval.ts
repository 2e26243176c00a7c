/** What a topic leaves when it goes: a tombstone, and nothing in the groups that read it. */
import type { Applied } from './apply';
import type { BrokerState, TopicState } from './state';

export function dropTopic(state: BrokerState, topic: TopicState, { index, time }: Applied): void {
  const { record } = topic;
  for (const group of state.groups.values())
    for (const queue of topic.queues) state.forgetQueue(group, record.no, queue.queueId);
  const { name, id, version } = record;
  state.dropTopic(topic, index);
  state.bury('TOPIC', { name, id, version: version + 1, deletedAt: time });
}

export function dropTopicNamed(state: BrokerState, name: string, applied: Applied): void {
  const topic = state.topicsByName.get(name);
  if (topic) dropTopic(state, topic, applied);
}
