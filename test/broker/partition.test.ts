/** Brokers and fronts find the same queue of a messageGroup, whoever of the brokers lives. */
import { messageGroupHash } from '../../src/broker/hash';
import { partitionOf } from '../../src/broker/partition';

const partitions = ['a', 'b', 'c'].flatMap((broker) => [0, 1, 2, 3].map((queueId) => ({ broker, queueId })));
const GROUPS = Array.from({ length: 1000 }, (_, i) => `customer-${i}`);

test('it is the hash over the list of all brokers', () => {
  for (const group of GROUPS)
    expect(partitionOf(partitions, 4, group)).toBe(partitions[messageGroupHash(group) % partitions.length]);
});

test('queues that take nothing are left out, and a changed number is heard', () => {
  const open = partitions.filter(({ queueId }) => queueId < 2);
  for (const writeQueues of [4, 2, 4]) {
    const list = writeQueues === 4 ? partitions : open;
    for (const group of GROUPS)
      expect(partitionOf(partitions, writeQueues, group)).toBe(list[messageGroupHash(group) % list.length]);
  }
});
