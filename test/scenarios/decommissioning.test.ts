/**
 * Brokers leave for good: one topic leaves a broker, a drained broker is removed, and so is one that is dead. Its queues are
 * in no list of partitions any more, its topics have another home, and it does not come back with its old folder.
 */
import { HOP_HEADER } from '../../api/operation';
import { TestCluster } from '../support/cluster';

let cluster: TestCluster;

const orders = { path: { topic: 'orders' } };
const billing = { path: { group: 'billing' } };
const worker = { path: { group: 'billing', consumerId: 'w1' } };
const hop = { headers: { [HOP_HEADER]: 'test' } };
const front = () => cluster.client('gw1');

/** The topic orders with a queue on each of a, b and c, whose home is a; one unread message on each of `on`. */
async function ordersWith(on: readonly string[], type = 'NORMAL') {
  const body = { name: 'orders', readQueues: 1, writeQueues: 1, brokers: ['a', 'b', 'c'], type };
  await cluster.client('a').call('createTopic', { body, ...hop });
  await front().call('putGroup', { ...billing, body: { topic: 'orders' } });
  for (const broker of on) await send(broker);
}

const send = (broker: string) =>
  front().call('sendMessages', {
    ...orders,
    body: { messages: [{ body: `m-${broker}`, queue: { broker, queueId: 0 } }] },
  });

async function partitions(name = 'gw1'): Promise<string[]> {
  const { body } = await cluster.client(name).call('getTopic', { ...orders, ...(name === 'gw1' ? {} : hop) });
  return body.partitions.map(({ broker }) => broker);
}

const removal = (broker: string, query: Readonly<Record<string, boolean>> = {}) => ({ path: { broker }, query });

async function consumeAll(): Promise<void> {
  for (let left = 1; left > 0;) {
    const { messages } = (await front().call('receiveMessages', { ...billing, body: { max: 32, waitMs: 200 } })).body;
    left = messages.length;
    const receiptHandles = messages.map(({ receiptHandle }) => receiptHandle);
    if (left > 0) await front().call('ackMessages', { ...billing, body: { receiptHandles } });
  }
}

beforeEach(async () => {
  cluster = await TestCluster.start({ brokers: ['a', 'b', 'c'], gateways: 1 });
});
afterEach(() => cluster.stop());

test('a topic leaves a broker once it is drained there, its home too', async () => {
  await ordersWith(['a', 'b']);
  const without = (broker: string) => ({
    ...orders,
    body: { brokers: ['a', 'b', 'c'].filter((name) => name !== broker) },
  });
  const both = await front().call('updateTopic', { ...orders, body: { brokers: ['a', 'd'] } });
  expect(both.problem.code).toBe('VALIDATION_FAILED');
  expect((await front().call('updateTopic', without('b'))).problem).toMatchObject({
    code: 'IN_USE',
    holdings: [{ kind: 'UNREAD', broker: 'b', topic: 'orders', group: 'billing', messages: 1 }],
  });
  expect((await front().call('updateTopic', without('a'))).problem.code).toBe('IN_USE');
  await consumeAll();
  expect((await front().call('updateTopic', without('a'))).body.partitions.map(({ broker }) => broker)).toEqual([
    'b',
    'c',
  ]);
  for (const name of ['gw1', 'b', 'c']) expect(await partitions(name)).toEqual(['b', 'c']);
  expect((await cluster.client('a').call('getTopic', { ...orders, ...hop })).problem.code).toBe('TOPIC_NOT_FOUND');
  // The next broker decides now, and what left can be added again.
  const again = await front().call('updateTopic', { ...orders, body: { brokers: ['a', 'b', 'c'] } });
  expect(again.body.partitions.map(({ broker }) => broker)).toEqual(['b', 'c', 'a']);
  const messages = [{ body: 'm-a', queue: { broker: 'a', queueId: 0 } }];
  await cluster.client('a').call('sendMessages', { ...orders, body: { messages }, ...hop });
  const received = await cluster.client('a').call('receiveMessages', { ...billing, body: { max: 5, waitMs: 5000 } });
  expect(received.body.messages.map(({ body }) => body)).toEqual(['m-a']);
});

test('a drained broker is removed: readers are told, its topics have another home, and its folder does not start again', async () => {
  await ordersWith([]);
  await front().call('joinGroup', { ...worker, body: { topic: 'orders' } });
  await send('a');
  const before = (await front().call('removeBroker', removal('a', { dryRun: true }))).body;
  expect(before).toMatchObject({
    safe: false,
    removed: false,
    permission: 'RW',
    holdings: [{ kind: 'UNREAD', broker: 'a', group: 'billing', messages: 1 }],
    topics: [{ topic: 'orders', queues: 1, isHome: true }],
    members: 1,
  });
  expect((await front().call('removeBroker', removal('a'))).problem.detail).toContain(
    'take its write permission first',
  );
  await front().call('setBrokerPermission', { path: { broker: 'a' }, body: { permission: 'R' } });
  expect((await cluster.client('b').call('removeBroker', removal('a'))).problem).toMatchObject({
    code: 'IN_USE',
    holdings: before.holdings,
  });
  const polled = (await front().call('pollMessages', { ...worker, query: { waitMs: 5000 } })).body;
  expect(polled.messages.map(({ body }) => body)).toEqual(['m-a']);
  await front().call('commitOffsets', { ...billing, body: { consumerId: 'w1', cursor: polled.cursor } });
  expect((await front().call('removeBroker', removal('a', { dryRun: true }))).body).toMatchObject({
    safe: true,
    holdings: [],
  });
  const gone = await front().call('removeBroker', removal('a'));
  expect([gone.status, gone.body]).toMatchObject([200, { removed: true, safe: true, holdings: [] }]);
  for (const name of ['gw1', 'b', 'c']) expect(await partitions(name)).toEqual(['b', 'c']);
  expect((await front().call('listBrokers')).body.brokers.map(({ broker }) => broker)).toEqual(['b', 'c']);
  const polledAgain = await front().call('pollMessages', { ...worker, query: { waitMs: 0, cursor: polled.cursor } });
  expect(polledAgain.body.dropped).toEqual([{ topic: 'orders', broker: 'a', queueId: 0 }]);
  expect((await front().call('updateTopic', { ...orders, body: { description: 'x' } })).body.description).toBe('x');
  expect((await cluster.client('a').call('readyz')).status).toBe(503);
  await cluster.stopBroker('a');
  await expect(cluster.startBroker('a')).rejects.toThrow('broker a was removed from its cluster');
});

test('a broker with a topic of its own, retries or dead letters is kept, unless by force; what is lost is told', async () => {
  await ordersWith([], 'FIFO');
  await cluster.client('c').call('createTopic', { body: { name: 'alone', brokers: ['c'] }, ...hop });
  await front().call('setBrokerPermission', { path: { broker: 'c' }, body: { permission: 'R' } });
  const holdings = [{ kind: 'ONLY_HERE', broker: 'c', topic: 'alone', messages: 0 }];
  expect((await front().call('removeBroker', removal('c', { allowReorder: true }))).problem).toMatchObject({
    code: 'IN_USE',
    holdings,
  });
  expect((await front().call('removeBroker', removal('c', { force: true }))).problem.code).toBe('REORDER_NOT_ALLOWED');
  const gone = await front().call('removeBroker', removal('c', { force: true, allowReorder: true }));
  expect(gone.body).toMatchObject({ removed: true, safe: false, holdings });
  expect(await partitions()).toEqual(['a', 'b']);
});

test('a dead broker is removed by force, and does not come back with its folder; with an empty one it is new', async () => {
  await ordersWith(['a']);
  await cluster.stopBroker('a');
  expect((await front().call('removeBroker', removal('nobody', { force: true }))).problem.code).toBe(
    'BROKER_NOT_FOUND',
  );
  expect((await front().call('removeBroker', removal('a', { dryRun: true }))).body).toMatchObject({
    reachable: false,
    safe: false,
    topics: [{ topic: 'orders', isHome: true }],
  });
  expect((await front().call('removeBroker', removal('a'))).problem.code).toBe('IN_USE');
  const gone = await front().call('removeBroker', removal('a', { force: true }));
  expect([gone.status, gone.body.removed]).toEqual([200, true]);
  for (const name of ['gw1', 'b', 'c']) expect(await partitions(name)).toEqual(['b', 'c']);
  expect((await front().call('updateTopic', { ...orders, body: { description: 'x' } })).status).toBe(200);
  await expect(cluster.startBroker('a')).rejects.toThrow('broker a was removed from its cluster');
  await cluster.stopBroker('a');
  await cluster.addBroker('a');
  const grown = await front().call('updateTopic', { ...orders, body: { brokers: ['a', 'b', 'c'] } });
  expect(grown.body.partitions.map(({ broker }) => broker)).toEqual(['b', 'c', 'a']);
});
