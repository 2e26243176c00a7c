/** Topics and partitions as clients name them, and the queues that they are. */
import { GantryError } from '../../src/base/errors';
import type { Dialect } from './dialects';
import { partitionMissing, topicMissing } from './faults';
import type { Native } from './native';
import { partitionsOf, type TopicFacts } from './partitions';
import type { Place, QueueAt } from './reading';

/** The topic; undefined when there is none. */
export async function topicOf(native: Native, name: string): Promise<TopicFacts | undefined> {
  try {
    return await native.topic(name);
  } catch (error) {
    if (error instanceof GantryError && error.code === 'TOPIC_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The queue of a partition; undefined when there is none, or not yet. */
export async function queueOf(native: Native, { topic, partition }: Place): Promise<QueueAt | undefined> {
  const facts = await topicOf(native, topic);
  const queue = facts && partitionsOf(facts).queueOf(partition);
  return queue && { topic, broker: queue.broker, queueId: queue.queueId };
}

/** The queues of partitions. Throws 404 for what does not exist. */
export async function queuesOf(native: Native, dialect: Dialect, places: readonly Place[]): Promise<QueueAt[]> {
  return Promise.all(
    places.map(async (place) => {
      const queue = await queueOf(native, place);
      if (queue) return queue;
      throw (await topicOf(native, place.topic)) ? partitionMissing() : topicMissing(dialect, place.topic);
    }),
  );
}

/** The number of a queue; undefined for one of the group's own topics. */
export async function placeOf(native: Native, { topic, broker, queueId }: QueueAt): Promise<Place | undefined> {
  const facts = await topicOf(native, topic);
  const partition = facts ? partitionsOf(facts).numberOf(broker, queueId) : -1;
  return partition < 0 ? undefined : { topic, partition };
}
