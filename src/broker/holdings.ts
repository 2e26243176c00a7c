/** Messages on this broker that somebody still needs: they stand in the way when queues, or all of it, are to go. */
import { GantryError } from '../base/errors';
import { isSystemTopic, retryTopicOf, subscriptionTo, topicsHere } from './group';
import { brokersIn } from './partitions';
import type { Queue } from './queue';
import { queueNumber, type BrokerState, type GroupState, type TopicState } from './state';

/**
 * UNREAD: a group has not finished reading them. WAITING_RETRIES: they failed and come again. DEAD_LETTERS: they were given
 * up and kept. SCHEDULED: they wait for their time. HALF_MESSAGES: nobody has decided about their transaction. ONLY_HERE:
 * the topic has queues on no other broker.
 */
export type HoldingKind = 'UNREAD' | 'WAITING_RETRIES' | 'DEAD_LETTERS' | 'SCHEDULED' | 'HALF_MESSAGES' | 'ONLY_HERE';

export interface Holding {
  readonly kind: HoldingKind;
  readonly broker: string;
  /** Topic that the messages were sent to; of what failed, the first one that the group reads. */
  readonly topic: string;
  /** Group that they are kept for. */
  readonly group?: string;
  /** How many; 0 only for an empty topic that is ONLY_HERE. */
  readonly messages: number;
}

/** Holdings that a refusal lists. */
const LISTED = 100;

/**
 * Messages that the groups of a topic have not finished in some of its queues on this broker: never looked at, fetched
 * and uncommitted, or leased and not acknowledged. Messages that no group has to read any more do not count.
 */
export function unreadIn(state: BrokerState, { record }: TopicState, asked: readonly Queue[]): Holding[] {
  const holdings = [...state.groups.values()].flatMap((group): Holding[] => {
    if (!subscriptionTo(group.record, record.no)) return [];
    const messages = asked.reduce((sum, queue) => sum + unreadBy(group, queue), 0);
    return [{ ...holding(state, 'UNREAD', record.name, messages), group: group.record.name }];
  });
  return holdings.filter(isSome);
}

/** The queues that a topic's groups do not read any more with that many `readQueues`. */
export const queuesBehind = ({ record, queues }: TopicState, readQueues: number): readonly Queue[] =>
  queues.slice(readQueues, record.readQueues);

/** Data lost if a topic had no queues here any more, including the retries of groups that read nothing else here. */
export function heldOf(state: BrokerState, topic: TopicState): Holding[] {
  const { no } = topic.record;
  const ending = [...state.groups.values()].filter(({ record }) => {
    const here = topicsHere(record);
    return here.length === 1 && here[0] === no;
  });
  return [...messagesOf(state, topic), ...ending.flatMap((group) => failedOf(state, group))];
}

/** Data lost if this broker went. */
export function allHeld(state: BrokerState): Holding[] {
  const topics = [...state.topics.values()].filter(({ record }) => !isSystemTopic(record.name));
  const alone = topics.filter(({ record }) => brokersIn(record.partitions).length === 1);
  return [
    ...topics.flatMap((topic) => messagesOf(state, topic)),
    ...[...state.groups.values()].flatMap((group) => failedOf(state, group)),
    ...alone.map(({ record, queues }) =>
      holding(
        state,
        'ONLY_HERE',
        record.name,
        queues.reduce((sum, { min, max }) => sum + max - min, 0),
      ),
    ),
  ];
}

function messagesOf(state: BrokerState, topic: TopicState): Holding[] {
  const { name, no } = topic.record;
  let halves = 0;
  for (const half of state.halves.open.values()) if (half.topic === no) halves++;
  return [
    ...unreadIn(state, topic, topic.queues),
    holding(state, 'SCHEDULED', name, topic.scheduled),
    holding(state, 'HALF_MESSAGES', name, halves),
  ].filter(isSome);
}

function failedOf(state: BrokerState, group: GroupState): Holding[] {
  const { name, topicName } = group.record;
  const retries = state.topicsByName.get(retryTopicOf(name))?.queues ?? [];
  const waiting = retries.reduce((sum, queue) => sum + unreadBy(group, queue), group.counts.waiting);
  return [
    { ...holding(state, 'WAITING_RETRIES', topicName, waiting), group: name },
    { ...holding(state, 'DEAD_LETTERS', topicName, group.counts.dead), group: name },
  ].filter(isSome);
}

const holding = (state: BrokerState, kind: HoldingKind, topic: string, messages: number): Holding => ({
  kind,
  broker: state.identity?.name ?? '',
  topic,
  messages,
});

const isSome = ({ messages }: Holding): boolean => messages > 0;

/** In a broadcasting group by the listener that has the most before it. */
function unreadBy(group: GroupState, queue: Queue): number {
  const positions = group.record.mode === 'BROADCASTING' ? [...group.listeners.values()] : [group];
  const number = queueNumber(queue.topic, queue.queueId);
  const behind = (position = 0): number => {
    const from = Math.max(position, queue.min);
    return group.leases.get(number)?.openFrom(from, queue.max) ?? queue.max - from;
  };
  return Math.max(0, ...positions.map(({ offsets }) => behind(offsets.get(number))));
}

/** 409: these messages would have no reader. `way`: what to do instead of waiting. */
export function stillHeld(what: string, holdings: readonly Holding[], way: string): GantryError {
  const named = holdings.slice(0, 3).map(inWords).join(', ');
  const rest = holdings.length > 3 ? ` and ${holdings.length - 3} more` : '';
  return new GantryError('IN_USE', `${what}: ${named}${rest}. Let them be consumed, or ${way}`, {
    members: { holdings: holdings.slice(0, LISTED) },
  });
}

const WORDS: Readonly<Record<HoldingKind, string>> = {
  UNREAD: 'unread messages',
  WAITING_RETRIES: 'waiting retries',
  DEAD_LETTERS: 'dead letters',
  SCHEDULED: 'scheduled messages',
  HALF_MESSAGES: 'undecided transactions',
  ONLY_HERE: 'messages in the only queues',
};

const inWords = ({ kind, broker, topic, group, messages }: Holding): string =>
  `${messages} ${WORDS[kind]} of topic ${topic}${group === undefined ? '' : ` for group ${group}`} on broker ${broker}`;
