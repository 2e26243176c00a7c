/**
 * Where a messageGroup lies: murmur2 over the topic's list of partitions on all brokers, never over those that happen to
 * be reachable, so that brokers and fronts find the same queue and nothing jumps when a broker is away.
 */
import { GantryError } from '../base/errors';
import { messageGroupHash } from './hash';
import type { Partition } from './topic';

interface Writable {
  readonly writeQueues: number;
  readonly partitions: readonly Partition[];
}

/** Of lists that are in use; a list that changes is another list. */
const known = new WeakMap<readonly Partition[], Writable>();

/** The queue that a messageGroup goes to, of those that take messages: the first `writeQueues` of each broker. */
export function partitionOf(partitions: readonly Partition[], writeQueues: number, messageGroup: string): Partition {
  let writable = known.get(partitions);
  if (writable?.writeQueues !== writeQueues) {
    writable = { writeQueues, partitions: partitions.filter(({ queueId }) => queueId < writeQueues) };
    known.set(partitions, writable);
  }
  return writable.partitions[messageGroupHash(messageGroup) % writable.partitions.length]!;
}

/** Somebody chose a queue that is none, or takes no messages. */
export const noWritableQueue = (topic: string, { broker, queueId }: Partition): GantryError =>
  new GantryError(
    'QUEUE_NOT_FOUND',
    `topic ${topic} has no writable queue ${queueId} on broker ${broker}: GET /v1/topics/${topic}/queues lists them`,
  );

/** Somebody named a queue that is none. */
export const noQueue = (topic: string, { broker, queueId }: Partition): GantryError =>
  new GantryError(
    'QUEUE_NOT_FOUND',
    `topic ${topic} has no queue ${queueId} on broker ${broker}: GET /v1/topics/${topic}/queues lists them`,
  );
