/**
 * What brokers share: topics with their declared tags, groups, and producer groups, as plain data that one broker tells
 * another. One of them decides (the home of a topic; of a group the home of its first topic) and the others install what
 * it says (definitionChanges.ts). A deletion is a definition, too, and final for the creation it names.
 */
import type { Group, Subscription } from './group';
import type { ProducerGroup } from './producerGroup';
import type { DeclaredTag } from './tags';
import type { Tombstone } from './tombstone';
import type { Topic } from './topic';

/** A topic as all its brokers know it. */
export type SharedTopic = Omit<Topic, 'no'>;

/** A subscription as all brokers know it. */
export type SharedSubscription = Omit<Subscription, 'topic'>;

/** A group as all brokers know it: topics have names only. */
export interface SharedGroup extends Omit<Group, 'no' | 'topic' | 'subscriptions'> {
  readonly subscriptions: readonly SharedSubscription[];
}

interface Creation {
  readonly name: string;
  /** One per creation. */
  readonly id: string;
  readonly version: number;
}

/** It was deleted. */
export type Deletion<Kind extends string> = { readonly kind: Kind; readonly record?: undefined } & Tombstone;

export interface TopicRecord extends Creation {
  readonly kind: 'TOPIC';
  readonly deletedAt?: undefined;
  readonly record: SharedTopic;
  readonly tags: readonly DeclaredTag[];
}

export interface GroupRecord extends Creation {
  readonly kind: 'GROUP';
  readonly deletedAt?: undefined;
  readonly record: SharedGroup;
}

export type TopicDefinition = TopicRecord | Deletion<'TOPIC'>;
export type GroupDefinition = GroupRecord | Deletion<'GROUP'>;

export interface ProducerGroupRecord {
  readonly kind: 'PRODUCER_GROUP';
  readonly name: string;
  readonly version: number;
  /** Among equal versions the later one counts. */
  readonly updatedAt: number;
  readonly record: ProducerGroup;
}

export type ProducerGroupDefinition = ProducerGroupRecord | Deletion<'PRODUCER_GROUP'>;

/** A broker was removed for good: what its folder knows counts no more. */
export type BrokerRemoval = Deletion<'BROKER'>;

export type Definition = BrokerRemoval | TopicDefinition | GroupDefinition | ProducerGroupDefinition;

export function topicDefinition({ no: _, ...record }: Topic, tags: Iterable<DeclaredTag>): TopicRecord {
  const { name, id, version } = record;
  return { kind: 'TOPIC', name, id, version, record, tags: [...tags] };
}

export function groupDefinition({ no: _, topic: _topic, ...group }: Group): GroupRecord {
  const { name, id, version } = group;
  const subscriptions = group.subscriptions.map(({ topicName, filter }) => ({ topicName, filter }));
  return { kind: 'GROUP', name, id, version, record: { ...group, subscriptions } };
}

export function producerGroupDefinition(record: ProducerGroup): ProducerGroupRecord {
  const { name, version, updatedAt } = record;
  return { kind: 'PRODUCER_GROUP', name, version, updatedAt, record };
}

export const deletionOf = <Kind extends Definition['kind']>(kind: Kind, tombstone: Tombstone): Deletion<Kind> => ({
  kind,
  ...tombstone,
});
