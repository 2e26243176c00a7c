/** A topic: its record, as stored and as agreed between brokers, and the rules on what may be sent to it. */
import { GantryError } from '../base/errors';
import type { OutgoingMessage } from './message';

export type TopicType = 'NORMAL' | 'FIFO' | 'DELAY' | 'TRANSACTION' | 'MIXED';
export type Permission = 'RW' | 'R' | 'W' | 'NONE';
export type TagPolicy = 'OPEN' | 'DECLARED';

/** `partitions` grows at its end and loses queues only with their whole broker: messageGroups and allocation count on the order of this list, never on the live route. */
export interface Partition {
  readonly broker: string;
  readonly queueId: number;
}

export interface Topic {
  /** Journal index of the command that created it here: the key of all its rows. */
  readonly no: number;
  readonly name: string;
  /** One per creation, the same on all its brokers. */
  readonly id: string;
  readonly version: number;
  /** Changes of its declared tags; absent before the first one. */
  readonly tagsVersion?: number;
  readonly type: TopicType;
  /** On each of its brokers. */
  readonly readQueues: number;
  readonly writeQueues: number;
  readonly permission: Permission;
  readonly tagPolicy: TagPolicy;
  readonly description?: string;
  /** On all its brokers. */
  readonly partitions: readonly Partition[];
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** What an update changes; what is absent stays. */
export interface TopicPatch {
  readonly readQueues?: number;
  readonly writeQueues?: number;
  readonly permission?: Permission;
  readonly tagPolicy?: TagPolicy;
  readonly description?: string | null;
  /** It gets queues on these, too. */
  readonly brokers?: readonly string[];
  readonly allowReorder?: boolean;
  /** These lose their queues of it. */
  readonly leaving?: readonly string[];
  /** It is refused while a group has unread messages in queues that it takes away. Absent in commands of old journals. */
  readonly keepsUnread?: boolean;
}

/** Its messages may have messageGroups, whose order is kept. */
export const takesGroups = ({ type }: Pick<Topic, 'type'>): boolean => type === 'FIFO' || type === 'MIXED';

/** Its home: the one broker that changes it, and tells the others. It moves only when this broker's queues leave the topic. */
export const homeOf = ({ partitions }: Pick<Topic, 'partitions'>): string => partitions[0]!.broker;

export const readable = (permission: Permission): boolean => permission === 'RW' || permission === 'R';
export const writable = (permission: Permission): boolean => permission === 'RW' || permission === 'W';

/** Throws what is wrong with this pair of counts: messages in a queue that nobody reads would be lost to consumers. */
export function checkQueueCounts(readQueues: number, writeQueues: number): void {
  if (readQueues < writeQueues) {
    throw new GantryError(
      'VALIDATION_FAILED',
      `readQueues (${readQueues}) must be at least writeQueues (${writeQueues}): messages in the other queues would never be read. ` +
        'To shrink a topic, lower writeQueues first, let consumers finish, then lower readQueues.',
      { errors: [{ pointer: '/readQueues', detail: `must be >= writeQueues (${writeQueues})` }] },
    );
  }
}

export type MessageType = Exclude<TopicType, 'MIXED'>;

/** What kind of message it is; one that is prepared in a transaction is TRANSACTION, whatever it says itself. */
export function typeOf({ messageGroup, delayMs, deliverAt }: Partial<OutgoingMessage>): MessageType {
  if (delayMs !== undefined || deliverAt !== undefined) return 'DELAY';
  return messageGroup === undefined ? 'NORMAL' : 'FIFO';
}

/**
 * What speaks against storing this message in this topic, or undefined (RocketMQ's DefaultTopicMessageTypeValidator,
 * enforced for every sender here).
 */
export function refusalOf(
  topic: Topic,
  message: Pick<OutgoingMessage, 'tag' | 'messageGroup' | 'delayMs' | 'deliverAt'>,
  declared: ReadonlyMap<string, unknown>,
  type = typeOf(message),
): GantryError | undefined {
  if (topic.type !== 'MIXED' && topic.type !== type) {
    return new GantryError('MESSAGE_TYPE_MISMATCH', `${typeAdvice(topic, type)} Or create the topic with type MIXED.`);
  }
  if (topic.tagPolicy === 'DECLARED' && message.tag !== undefined && !declared.has(message.tag)) {
    return new GantryError(
      'TAG_NOT_DECLARED',
      `topic ${topic.name} takes declared tags only, and ${JSON.stringify(message.tag)} is not one: declare it with PUT /v1/topics/${topic.name}/tags/{tag}`,
    );
  }
  return undefined;
}

/** What the messages of a topic have, and those of another type have not. */
const ADVICE: Readonly<Record<MessageType, string>> = {
  NORMAL: 'its messages have neither messageGroup nor delay, and need no transaction',
  FIFO: 'every message needs a messageGroup, and has neither delay nor transaction',
  DELAY: 'every message needs delayMs, deliverAt or delayLevel',
  TRANSACTION: 'its messages are prepared with POST /v1/topics/{topic}/transactions',
};

const typeAdvice = ({ name, type }: Topic, given: MessageType): string =>
  `topic ${name} is ${type}, and this message is ${given}: ${type === 'MIXED' ? '' : ADVICE[type].replace('{topic}', name)}.`;
