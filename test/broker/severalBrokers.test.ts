/** A topic on two brokers: each divides all queues among the members by itself, and both come to the same division. */
import { ALLOCATIONS, type Allocation } from '../../src/broker/allocation';
import { setBrokerPermission } from '../../src/broker/brokerPermission';
import { retryTopicOf } from '../../src/broker/group';
import type { Partition } from '../../src/broker/topic';
import { setup, stopBrokers, until } from '../support/broker';

afterEach(stopBrokers);

const NAMES = ['broker-a', 'broker-b'] as const;

/** Alternating, and then one broker's own: not in the order of names. */
const PARTITIONS: readonly Partition[] = [
  { broker: 'broker-b', queueId: 0 },
  { broker: 'broker-a', queueId: 0 },
  { broker: 'broker-a', queueId: 1 },
  { broker: 'broker-b', queueId: 1 },
  { broker: 'broker-b', queueId: 2 },
  { broker: 'broker-a', queueId: 2 },
];

/** Two brokers that were told of the same topic and group; their numbers for them differ. */
async function two({ allocation = 'AVG', readQueues = 3 }: { allocation?: Allocation; readQueues?: number } = {}) {
  const a = await setup();
  const b = await setup({ options: { name: 'broker-b' }, seed: 2 });
  await b.topic('another', { readQueues: 1, writeQueues: 1 });
  const brokers = [a, b];
  for (const t of brokers) {
    await t.topic('orders', { readQueues: 3, writeQueues: 3 });
    await t.group('billing', { allocation });
    await t.group('news', { mode: 'BROADCASTING' });
    const topic = t.state.topicsByName.get('orders')!;
    topic.record = { ...topic.record, partitions: PARTITIONS, readQueues, writeQueues: readQueues };
  }
  const join = async (...ids: string[]) => {
    for (const id of ids) for (const t of brokers) await t.join('billing', id);
    for (const t of brokers) await t.settled();
  };
  /** Whose each queue is: `broker-a 0` → member. */
  const owners = () =>
    Object.fromEntries(
      brokers.flatMap((t, i) => {
        const group = t.state.groupsByName.get('billing')!;
        return t.rooms.consumers
          .members(group)
          .flatMap(({ id, queues }) =>
            queues.map(({ topic, queueId }) => [
              `${NAMES[i]} ${t.state.topics.get(topic)!.record.name === 'orders' ? queueId : 'retries'}`,
              id,
            ]),
          );
      }),
    );
  return { a, b, join, owners };
}

test('AVG gives stretches of the list of partitions, whatever broker they are on', async () => {
  const { join, owners } = await two();
  await join('y', 'x', 'z');
  expect(owners()).toEqual({
    'broker-b 0': 'x',
    'broker-a 0': 'x',
    'broker-a 1': 'y',
    'broker-b 1': 'y',
    'broker-b 2': 'z',
    'broker-a 2': 'z',
  });
});

test('AVG_BY_CIRCLE deals out the list of partitions', async () => {
  const { join, owners } = await two({ allocation: 'AVG_BY_CIRCLE' });
  await join('x', 'y');
  expect(owners()).toEqual({
    'broker-b 0': 'x',
    'broker-a 0': 'y',
    'broker-a 1': 'x',
    'broker-b 1': 'y',
    'broker-b 2': 'x',
    'broker-a 2': 'y',
  });
});

test('CONSISTENT_HASH names queues alike everywhere: whoever comes takes some, and moves none between the others', async () => {
  const { join, owners } = await two({ allocation: 'CONSISTENT_HASH' });
  await join('x', 'y');
  const before = owners();
  expect(Object.keys(before)).toHaveLength(6);
  await join('z');
  const after = owners();
  expect(Object.keys(after)).toHaveLength(6);
  for (const [queue, owner] of Object.entries(after)) expect([before[queue], 'z']).toContain(owner);
});

test.each(ALLOCATIONS)('%s: every queue has one owner, for any number of members', async (allocation) => {
  const { join, owners } = await two({ allocation });
  for (const id of ['m1', 'm2', 'm3', 'm4', 'm5', 'm6', 'm7']) {
    await join(id);
    expect(Object.keys(owners()).sort()).toEqual(
      PARTITIONS.map(({ broker, queueId }) => `${broker} ${queueId}`).sort(),
    );
  }
});

test('queues that are hidden are nobody’s, and take nobody’s place', async () => {
  const { join, owners } = await two({ readQueues: 2 });
  await join('x', 'y');
  expect(owners()).toEqual({ 'broker-b 0': 'x', 'broker-a 0': 'x', 'broker-a 1': 'y', 'broker-b 1': 'y' });
});

test('a broker that may not be read keeps its queues in the division, and gives them to nobody', async () => {
  const { b, join, owners } = await two();
  await setBrokerPermission(b.rooms.core, 'W');
  b.rooms.consumers.refresh(b.state.topicsByName.get('orders')!.record);
  await join('x', 'y');
  expect(owners()).toEqual({ 'broker-a 0': 'x', 'broker-a 1': 'x', 'broker-a 2': 'y' });
});

test('retries are divided over the brokers, also over those that have none yet', async () => {
  const { a, b, join, owners } = await two();
  await join('x', 'y');
  await a.rooms.retries.ensureTopic(retryTopicOf('billing'));
  await until(() => 'broker-a retries' in owners(), 'retries to be read');
  // The first partition is broker-b's: its retries are the first ones.
  expect(owners()).toMatchObject({ 'broker-a retries': 'y' });
  await b.rooms.retries.ensureTopic(retryTopicOf('billing'));
  await until(() => 'broker-b retries' in owners(), 'retries to be read');
  expect(owners()).toMatchObject({ 'broker-a retries': 'y', 'broker-b retries': 'x' });
});

test('in a broadcasting group every member has all queues of each broker', async () => {
  const { a, b } = await two();
  for (const t of [a, b]) for (const id of ['x', 'y']) expect((await t.join('news', id)).queues).toHaveLength(3);
});
