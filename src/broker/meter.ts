/** The broker's figures, read from the state when somebody asks. */
import { counter, gauge, single, type Registry, type Sample } from '../base/metrics';
import type { Broker } from './broker';
import { queueNumber, type GroupState, type TopicState } from './state';

export function meterBroker(registry: Registry, broker: Broker): void {
  const { state } = broker;
  const perTopic = (read: (topic: TopicState) => number) =>
    [...state.topics.values()].map((topic): Sample => ({ labels: { topic: topic.record.name }, value: read(topic) }));
  const perGroup = (read: (group: GroupState) => number) =>
    [...state.groups.values()].map((group): Sample => ({
      labels: { topic: group.record.topicName, consumer_group: group.record.name },
      value: read(group),
    }));
  const topic = ['topic'];
  const group = ['topic', 'consumer_group'];
  counter(registry, {
    name: 'rocketmq_messages_in_total',
    help: 'Messages stored',
    labels: topic,
    read: () => perTopic((t) => t.traffic.messagesIn),
  });
  counter(registry, {
    name: 'rocketmq_throughput_in_total',
    help: 'Bytes of messages stored',
    labels: topic,
    read: () => perTopic((t) => t.traffic.bytesIn),
  });
  counter(registry, {
    name: 'rocketmq_messages_out_total',
    help: 'Messages handed out',
    labels: group,
    read: () => perGroup((g) => g.traffic.messagesOut),
  });
  counter(registry, {
    name: 'rocketmq_throughput_out_total',
    help: 'Bytes of messages handed out',
    labels: group,
    read: () => perGroup((g) => g.traffic.bytesOut),
  });
  gauge(registry, {
    name: 'rocketmq_consumer_lag_messages',
    help: 'Messages behind the committed offsets',
    labels: group,
    read: () => perGroup((g) => lagOf(broker, g)),
  });
  gauge(registry, { name: 'rocketmq_topic_number', help: 'Topics', read: () => single(state.topics.size) });
  gauge(registry, {
    name: 'rocketmq_consumer_group_number',
    help: 'Consumer groups',
    read: () => single(state.groups.size),
  });
  meterProcess(registry, broker);
}

function meterProcess(registry: Registry, broker: Broker): void {
  const { state, journal, lot } = broker;
  gauge(registry, { name: 'gantry_parked_polls', help: 'Polls that wait', read: () => single(lot.parked) });
  gauge(registry, {
    name: 'gantry_journal_end',
    help: 'Index of the last durable command',
    read: () => single(journal.end),
  });
  gauge(registry, {
    name: 'gantry_journal_head',
    help: 'Index of the first command kept',
    read: () => single(state.marks.journalHead),
  });
  gauge(registry, {
    name: 'gantry_tail_bytes',
    help: 'Bytes of recent messages in memory',
    read: () => single(state.tail.bytes),
  });
  const whenReady = (read: () => number) => () => (broker.ready ? single(read()) : []);
  gauge(registry, {
    name: 'gantry_disk_used_ratio',
    help: 'Used part of the data disk',
    read: whenReady(() => broker.rooms.retention.usedRatio),
  });
  gauge(registry, {
    name: 'gantry_pending_bytes',
    help: 'Bytes of commands that wait to be durable',
    read: whenReady(() => broker.rooms.pendingBytes),
  });
  counter(registry, {
    name: 'gantry_journal_turns_total',
    help: 'Batches written and synced',
    read: whenReady(() => broker.rooms.turns.turns),
  });
  counter(registry, {
    name: 'gantry_journal_commands_total',
    help: 'Commands written',
    read: whenReady(() => broker.rooms.turns.commands),
  });
  counter(registry, {
    name: 'gantry_damage_found_total',
    help: 'Times the background check met damaged data',
    read: whenReady(() => broker.rooms.damageFound),
  });
}

function lagOf(broker: Broker, group: GroupState): number {
  let lag = 0;
  for (const queue of broker.state.topics.get(group.record.topic)?.queues ?? []) {
    lag += queue.max - Math.max(group.offsets.get(queueNumber(queue.topic, queue.queueId)) ?? queue.min, queue.min);
  }
  return lag;
}
