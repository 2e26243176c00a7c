/** The broker's figures, read from the state when somebody asks. */
import { counter, gauge, single, type Registry, type Sample } from '../base/metrics';
import type { Broker } from './broker';
import { deadLetterTopicOf } from './group';
import { onTheWay } from './groupOverview';
import type { Half } from './halves';
import type { BrokerState, GroupState, TopicState } from './state';

export function meterBroker(registry: Registry, broker: Broker): void {
  const { state } = broker;
  const perTopic = (read: (topic: TopicState) => number) => topicSamples(state, read);
  const perGroup = (read: (group: GroupState) => number) => groupSamples(broker, read);
  const topic = ['topic'];
  const group = LABELS;
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
    read: () => perGroup((g) => broker.rooms.positions.lag(g)),
  });
  counter(registry, {
    name: 'gantry_messages_trimmed_total',
    help: 'Messages deleted, read or not: for their age, or before it because the disk was too full',
    labels: ['reason'],
    read: () =>
      broker.ready
        ? Object.entries(broker.rooms.retention.trimmed).map(([reason, value]) => ({ labels: { reason }, value }))
        : [],
  });
  gauge(registry, { name: 'rocketmq_topic_number', help: 'Topics', read: () => single(state.topics.size) });
  gauge(registry, {
    name: 'rocketmq_consumer_group_number',
    help: 'Consumer groups',
    read: () => single(state.groups.size),
  });
  meterUnseen(registry, state);
  meterConsuming(registry, broker);
  meterProcess(registry, broker);
}

function topicSamples(state: BrokerState, read: (topic: TopicState) => number): Sample[] {
  return [...state.topics.values()].map((topic) => ({ labels: { topic: topic.record.name }, value: read(topic) }));
}

/** Messages that no consumer sees yet: transactions, and what is to come later. */
function meterUnseen(registry: Registry, state: BrokerState): void {
  const labels = ['topic'];
  const halves = (counts: (half: Half) => boolean): Sample[] => {
    const byTopic = new Map<number, number>();
    for (const half of state.halves.open.values())
      if (counts(half)) byTopic.set(half.topic, (byTopic.get(half.topic) ?? 0) + 1);
    return topicSamples(state, ({ record }) => byTopic.get(record.no) ?? 0);
  };
  const gauges: [name: string, help: string, read: () => Sample[]][] = [
    ['rocketmq_half_messages', 'Prepared messages that nobody has decided about', () => halves(() => true)],
    [
      'gantry_parked_transactions',
      'Prepared messages that nobody is asked about any more',
      () => halves(({ parked }) => parked === true),
    ],
    ['rocketmq_timing_messages', 'Messages that wait for their time', () => topicSamples(state, (t) => t.scheduled)],
  ];
  for (const [name, help, read] of gauges) gauge(registry, { name, help, labels, read });
  counter(registry, {
    name: 'rocketmq_commit_messages_total',
    help: 'Prepared messages that were committed',
    labels,
    read: () => topicSamples(state, (t) => t.traffic.committed),
  });
  counter(registry, {
    name: 'rocketmq_rollback_messages_total',
    help: 'Prepared messages that were rolled back',
    labels,
    read: () => topicSamples(state, (t) => t.traffic.rolledBack),
  });
}

const LABELS = ['topic', 'consumer_group'];

/** None before the broker is ready: half a state tells nothing. */
function groupSamples(broker: Broker, read: (group: GroupState) => number): Sample[] {
  if (!broker.ready) return [];
  return [...broker.state.groups.values()].map((group) => ({
    labels: { topic: group.record.topicName, consumer_group: group.record.name },
    value: read(group),
  }));
}

/** What becomes of messages between a queue and their acknowledgement. */
function meterConsuming(registry: Registry, broker: Broker): void {
  const { state } = broker;
  const figures: [name: string, help: string, read: (group: GroupState) => number][] = [
    [
      'rocketmq_consumer_inflight_messages',
      'Messages handed out and not acknowledged',
      (g) => onItsWay(broker, g).inFlight,
    ],
    ['rocketmq_consumer_ready_messages', 'Messages that wait to be handed out', (g) => onItsWay(broker, g).ready],
    [
      'gantry_consumer_stranded_messages',
      'Unread messages in queues beyond the readQueues of their topic',
      (g) => strandedOf(broker, g),
    ],
    ['gantry_consumer_retry_waiting_messages', 'Failed messages that wait for their next try', (g) => g.counts.waiting],
    ['gantry_consumer_dead_letters', 'Messages given up and kept', (g) => g.counts.dead],
  ];
  for (const [name, help, read] of figures)
    gauge(registry, { name, help, labels: LABELS, read: () => groupSamples(broker, read) });
  counter(registry, {
    name: 'rocketmq_send_to_dlq_messages_total',
    help: 'Messages given up since the start',
    labels: LABELS,
    read: () =>
      groupSamples(
        broker,
        ({ record }) => state.topicsByName.get(deadLetterTopicOf(record.name))?.traffic.messagesIn ?? 0,
      ),
  });
}

const onItsWay = (broker: Broker, group: GroupState) =>
  onTheWay(broker, group, broker.rooms.positions.offsets(group.record.name).queues);

const strandedOf = (broker: Broker, group: GroupState): number =>
  broker.rooms.positions.offsets(group.record.name).queues.reduce((sum, { stranded = 0 }) => sum + stranded, 0);

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
