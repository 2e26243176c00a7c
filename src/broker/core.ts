/**
 * What the broker's rooms share: the state they read, the one way to change it, and who this broker is. Built once by
 * broker.ts; a room takes what it needs of it.
 */
import type { Clock } from '../base/clock';
import type { Chance } from '../base/chance';
import { GantryError } from '../base/errors';
import type { Outcome, Results } from './apply';
import type { Command, Kind } from './command';
import type { Consumers } from './consumers';
import type { CursorCodec } from './cursor';
import type { ParkingLot } from './parking';
import { noQueue } from './partition';
import type { Queue } from './queue';
import type { QueueIndex } from './queueIndex';
import type { Reader } from './reader';
import { homeOf, readable, type Topic } from './topic';
import { type BrokerState, type GroupState, type TopicState } from './state';

export interface Core {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly state: BrokerState;
  readonly index: QueueIndex;
  readonly reader: Reader;
  readonly lot: ParkingLot;
  readonly consumers: Consumers;
  readonly cursors: CursorCodec;
  /** Name of this broker (group); a queue is addressed as `{broker, queueId}`. */
  readonly brokerName: string;
  /** The 8 bytes of IPv4 and port that begin every offsetMessageId of this broker. */
  readonly idTag: Buffer;
  /** Resolves when the command is durable and applied; throws what it was refused with. */
  submit<C extends Command>(command: C): Promise<Results[C['kind']]>;
  /** Milliseconds since 1970 by which ages are counted: a wall clock that was set does not move it (trustedTime.ts). */
  trustedNow(): number;
  /** Throws when nothing more may be stored (disk, shutdown). */
  checkRoom(): void;
}

export function unwrap<K extends Kind>(outcome: Outcome<K>): Results[K] {
  if ('refused' in outcome) throw outcome.refused;
  return outcome.ok;
}

export function topicNamed(state: BrokerState, name: string): TopicState {
  const topic = state.topicsByName.get(name);
  if (!topic)
    throw new GantryError('TOPIC_NOT_FOUND', `there is no topic ${name} here: create it with POST /v1/topics`);
  return topic;
}

/** Throws NOT_HOME at any broker but the one that decides about a topic, its tags, and the groups that are called after it. */
export function checkHome({ brokerName }: Core, topic: Topic): void {
  const home = homeOf(topic);
  if (home === brokerName) return;
  throw new GantryError(
    'NOT_HOME',
    `topic ${topic.name} is changed at broker ${home}, where it was created, and this is ${brokerName}: ask there`,
    { retryAfterMs: 1000, members: { home } },
  );
}

export function groupNamed(state: BrokerState, name: string): GroupState {
  const group = state.groupsByName.get(name);
  if (!group) {
    throw new GantryError(
      'GROUP_NOT_FOUND',
      `there is no group ${name} here: create it with PUT /v1/groups/${name}, or by joining it`,
    );
  }
  return group;
}

/** Throws NO_PERMISSION when none of the group's topics may be read. A topic that this broker does not have may be readable. */
export function checkReadable({ state }: Core, { record }: GroupState): void {
  const topics = record.subscriptions.map(({ topic }) => state.topics.get(topic));
  if (topics.some((topic) => !topic || readable(topic.record.permission))) return;
  const { name, permission } = topics[0]!.record;
  throw new GantryError('NO_PERMISSION', `topic ${name} gives no messages: its permission is ${permission}`);
}

/** The queue `{broker, queueId}` of a topic; system names of other brokers are other brokers'. */
export function queueAt(core: Core, topic: TopicState, broker: string, queueId: number): Queue {
  const queue = broker === core.brokerName ? topic.queues[queueId] : undefined;
  if (!queue) throw noQueue(topic.record.name, { broker, queueId });
  return queue;
}
