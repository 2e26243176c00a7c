/** Topics and queues as the wire names them. The core numbers topics: a name may be given again after a deletion. */
import { GantryError } from '../src/base/errors';
import type { Broker } from '../src/broker/broker';
import type { Moved } from '../src/broker/poller';
import type { Queue } from '../src/broker/queue';

/** The name of the topic with that number. */
export function topicName(broker: Broker, topic: number): string {
  const found = broker.state.topics.get(topic);
  if (found) return found.record.name;
  throw new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted while it was read');
}

/** Queues in which messages were trimmed before they were read. */
export const movedOf = (broker: Broker, moved: readonly Moved[]) =>
  moved.map(({ queue, from, to }) => ({ ...placeOf(broker, queue), from, to }));

/** A queue, or only what names one. */
export const placeOf = (broker: Broker, { topic, queueId }: Pick<Queue, 'topic' | 'queueId'>) => ({
  topic: topicName(broker, topic),
  broker: broker.name,
  queueId,
});
