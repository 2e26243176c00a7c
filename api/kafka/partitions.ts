/**
 * Partition numbers. The topic's list of partitions is durable, versioned, and only ever appended to: a queue's place in
 * it is its number here, for ever. Queues that nobody may read any more keep their numbers and are not shown.
 */
import { murmur2 } from '../../src/broker/hash';

export interface QueuePlace {
  readonly broker: string;
  readonly queueId: number;
}

/** What a topic's record says, as far as it matters here. */
export interface TopicFacts {
  readonly name: string;
  readonly type: string;
  readonly readQueues: number;
  readonly writeQueues: number;
  readonly partitions: readonly QueuePlace[];
}

export class Partitions {
  /** Numbers of those that can be read, ascending. */
  readonly numbers: readonly number[];
  readonly #all: readonly QueuePlace[];
  readonly #readable: ReadonlySet<number>;
  readonly #writable: readonly QueuePlace[];
  readonly #byBroker = new Map<string, number[]>();

  constructor({ partitions, readQueues, writeQueues }: TopicFacts) {
    this.#all = partitions;
    this.numbers = partitions.flatMap(({ queueId }, number) => (queueId < readQueues ? [number] : []));
    this.#readable = new Set(this.numbers);
    this.#writable = partitions.filter(({ queueId }) => queueId < writeQueues);
    partitions.forEach(({ broker, queueId }, number) => {
      const numbers = this.#byBroker.get(broker) ?? [];
      numbers[queueId] = number;
      this.#byBroker.set(broker, numbers);
    });
  }

  /** The queue of a number; undefined when there is none that can be read. */
  queueOf(number: number): QueuePlace | undefined {
    return this.#readable.has(number) ? this.#all[number] : undefined;
  }

  /** The number of a queue; -1 for one that is not in the list (yet). */
  numberOf(broker: string, queueId: number): number {
    return this.#byBroker.get(broker)?.[queueId] ?? -1;
  }

  /** Where Kafka's clients would send a record with this key. */
  forKey(key: Buffer): QueuePlace {
    return this.#writable[murmur2(key) % this.#writable.length]!;
  }
}

const known = new WeakMap<TopicFacts, Partitions>();

/** Of one version of a topic's record; worked out once. */
export function partitionsOf(topic: TopicFacts): Partitions {
  let partitions = known.get(topic);
  if (!partitions) known.set(topic, (partitions = new Partitions(topic)));
  return partitions;
}
