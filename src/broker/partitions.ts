/** The queues of a topic on all its brokers, as one list: what messageGroups and allocation count on. */
import type { Partition } from './topic';

/** Names of the brokers in it, each once, in the order in which they came. */
export const brokersIn = (partitions: readonly Partition[]): string[] => [
  ...new Set(partitions.map(({ broker }) => broker)),
];

/** Queues that a broker has in it. */
export const queuesOf = (partitions: readonly Partition[], broker: string): number =>
  partitions.reduce((count, partition) => count + (partition.broker === broker ? 1 : 0), 0);

/** Grows the list until each of the brokers, one after the other, has that many queues in it; never removes one. */
export function growPartitions(
  partitions: readonly Partition[],
  brokers: readonly string[],
  queues: number,
): readonly Partition[] {
  const grown = [...partitions];
  for (const broker of brokers)
    for (let queueId = queuesOf(partitions, broker); queueId < queues; queueId++) grown.push({ broker, queueId });
  return grown.length === partitions.length ? partitions : grown;
}

/** The list without the queues of these brokers; the others keep their order. */
export const withoutBrokers = (partitions: readonly Partition[], leaving: readonly string[]): readonly Partition[] =>
  partitions.filter(({ broker }) => !leaving.includes(broker));

/** Those that take messages, in their order. */
export const writablePartitions = (partitions: readonly Partition[], writeQueues: number): readonly Partition[] =>
  partitions.filter(({ queueId }) => queueId < writeQueues);
