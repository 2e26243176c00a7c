/** A consumer group: what it reads, how, and where it began. Who its members are is soft state (consumers.ts). */
import type { Allocation } from './allocation';
import { DELAY_LEVELS_MS } from './delayLevels';
import type { FilterSpec } from './filter';

export type GroupMode = 'CLUSTERING' | 'BROADCASTING';
export type ConsumeFrom = 'EARLIEST' | 'LATEST' | 'TIMESTAMP';

/** Stands for the number of a topic that has no queues on this broker. */
export const ELSEWHERE = 0;

/** One topic that a group reads. */
export interface Subscription {
  /** ELSEWHERE: other brokers have it, and this one has not. */
  readonly topic: number;
  readonly topicName: string;
  readonly filter: FilterSpec;
}

export interface Group {
  /** Journal index of the command that created it here. */
  readonly no: number;
  readonly name: string;
  readonly id: string;
  readonly version: number;
  /** The first subscription's topic (see there) and filter. */
  readonly topic: number;
  readonly topicName: string;
  readonly filter: FilterSpec;
  /** At least one; more only with `allowMultipleTopics`. */
  readonly subscriptions: readonly Subscription[];
  readonly allowMultipleTopics: boolean;
  readonly mode: GroupMode;
  /** Evaluated once, when the group is created. */
  readonly consumeFrom: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly allocation: Allocation;
  /** Lease style only: within a messageGroup the next message waits for the one before it. */
  readonly ordered: boolean;
  /** Deliveries after the first one; then a message is a dead letter. */
  readonly maxAttempts: number;
  /** Before the second, third … delivery; the last one stands for all later ones. */
  readonly retryDelaysMs: readonly number[];
  readonly description?: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Ids of creations under this name that were made where nobody could hear of this one, and became one with it. */
  readonly mergedIds?: readonly string[];
  /** A queue made after this moment is read from its beginning. */
  readonly startedAt: number;
}

/** RocketMQ's: 16 retries, after 10 s, 30 s, 1 … 10 min, 20 min, 30 min, 1 h, 2 h (DefaultMQPushConsumer, MessageStoreConfig). */
export const GROUP_DEFAULTS = {
  mode: 'CLUSTERING',
  allocation: 'AVG',
  ordered: false,
  maxAttempts: 16,
  retryDelaysMs: DELAY_LEVELS_MS.slice(2),
  allowMultipleTopics: false,
} as const;

/** Milliseconds before the delivery that follows the `attempt`-th one (1 = the first). */
export function retryDelay(group: Group, attempt: number): number {
  const { retryDelaysMs } = group;
  return retryDelaysMs[Math.min(attempt, retryDelaysMs.length) - 1]!;
}

/** Whether a message that was delivered `attempt` times and failed is given up. */
export const exhausted = (group: Group, attempt: number): boolean => attempt > group.maxAttempts;

/** Its filter for a topic; undefined for a topic that it does not subscribe. */
export const subscriptionTo = (group: Group, topic: number): Subscription | undefined =>
  group.subscriptions.find((subscription) => subscription.topic === topic);

/** Numbers of the topics that it reads and that have queues on this broker. */
export const topicsHere = (group: Group): number[] =>
  group.subscriptions.map(({ topic }) => topic).filter((topic) => topic !== ELSEWHERE);

/** The group as a broker knows it on which its topics have these numbers. */
export function withTopicsHere<
  G extends { readonly subscriptions: readonly { readonly topicName: string; readonly filter: FilterSpec }[] },
>(group: G, numberOf: (topicName: string) => number | undefined): G & Pick<Group, 'topic' | 'subscriptions'> {
  const subscriptions = group.subscriptions.map(({ topicName, filter }) => ({
    topic: numberOf(topicName) ?? ELSEWHERE,
    topicName,
    filter,
  }));
  return { ...group, topic: subscriptions[0]!.topic, subscriptions };
}

/** Names of a group's own topics; RocketMQ's (MixAll). */
const RETRY = '%RETRY%';
export const retryTopicOf = (group: string): string => RETRY + group;
/** The group whose retries a topic holds; undefined for every other topic. */
export const groupOfRetryTopic = (topic: string): string | undefined =>
  topic.startsWith(RETRY) ? topic.slice(RETRY.length) : undefined;
const DEAD_LETTERS = '%DLQ%';
export const deadLetterTopicOf = (group: string): string => DEAD_LETTERS + group;
/** The group that a topic comes and goes with; undefined for every other topic. */
export const groupOfOwnTopic = (topic: string): string | undefined =>
  groupOfRetryTopic(topic) ?? (topic.startsWith(DEAD_LETTERS) ? topic.slice(DEAD_LETTERS.length) : undefined);
export const isSystemTopic = (name: string): boolean => name.includes('%');
