/**
 * The home of a topic is away. The topic's other brokers confirm definitions that exist and create new ones without it,
 * and a change says which broker it waits for. When the home is back it knows what was created meanwhile.
 */
import { HOP_HEADER } from '../../api/operation';
import { TestCluster } from '../support/cluster';

let cluster: TestCluster;

const orders = { path: { topic: 'orders' } };
const billing = { path: { group: 'billing' } };
const paid = { path: { topic: 'orders', tag: 'paid' }, body: { description: 'Money came' } };
const topic = { name: 'orders', readQueues: 2, writeQueues: 2 };
/** Asks one broker for what it knows itself. */
const hop = { headers: { [HOP_HEADER]: 'test' } };

const front = () => cluster.client('gw1');
/** The topic's home, and the other two brokers. */
let home: string;
let others: string[];

beforeEach(async () => {
  cluster = await TestCluster.start({ brokers: ['a', 'b', 'c'], gateways: 1 });
  const created = await front().call('createTopic', { body: topic });
  home = created.body.topic.partitions[0]!.broker;
  others = ['a', 'b', 'c'].filter((name) => name !== home);
  await front().call('putTag', paid);
  await front().call('putGroup', { ...billing, body: { topic: 'orders' } });
  await cluster.stopBroker(home);
});
afterEach(() => cluster.stop());

test('creating what exists is 200 when it is the same, and refused when it is not', async () => {
  for (const name of ['gw1', ...others]) {
    const client = cluster.client(name);
    expect((await client.call('createTopic', { body: topic })).status).toBe(200);
    expect((await client.call('createTopic', { body: { ...topic, brokers: ['a', 'b', 'c'] } })).status).toBe(200);
    expect((await client.call('createTopic', { body: { ...topic, type: 'FIFO' } })).problem.code).toBe('TOPIC_EXISTS');
    expect((await client.call('putTag', paid)).status).toBe(200);
    expect((await client.call('putGroup', { ...billing, body: { topic: 'orders' } })).status).toBe(200);
  }
});

test('a new topic of whatever name has a home that lives', async () => {
  for (let i = 0; i < 8; i++) {
    const created = await front().call('createTopic', { body: { name: `new-${i}` } });
    expect(created.status).toBe(201);
    expect(others).toContain(created.body.topic.partitions[0]!.broker);
  }
});

test('a change of what exists is 503 and names the broker that it waits for', async () => {
  const waits = {
    status: 503,
    code: 'SERVICE_NOT_AVAILABLE',
    detail: expect.stringContaining(`is changed at its home, broker ${home}, which is away: nothing was done`),
  };
  for (const name of ['gw1', ...others]) {
    const client = cluster.client(name);
    expect((await client.call('updateTopic', { ...orders, body: { description: 'x' } })).problem).toMatchObject(waits);
    expect((await client.call('putTag', { ...paid, body: { description: 'x' } })).problem).toMatchObject(waits);
    expect((await client.call('deleteTag', { path: paid.path })).problem).toMatchObject(waits);
    expect((await client.call('updateGroup', { ...billing, body: { maxAttempts: 3 } })).problem).toMatchObject(waits);
    const changed = { topic: 'orders', maxAttempts: 3 };
    expect((await client.call('putGroup', { ...billing, body: changed })).problem).toMatchObject(waits);
  }
});

test('new groups are created and read, and the home has them when it is back', async () => {
  const member = { path: { group: 'joined', consumerId: 'c1' }, body: { topic: 'orders' } };
  const joined = await front().call('joinGroup', member);
  expect([joined.status, joined.body.queues.length, joined.body.unavailable]).toEqual([200, 4, [home]]);
  const put = { path: { group: 'put' }, body: { topic: 'orders', maxAttempts: 5 } };
  const created = await cluster.client(others[0]!).call('putGroup', put);
  expect([created.status, created.body.unavailable]).toEqual([201, [home]]);
  await front().call('sendMessages', { ...orders, body: { messages: [{ body: 'm' }] } });
  const received = await front().call('receiveMessages', { path: put.path, body: { max: 5, waitMs: 5000 } });
  expect(received.body.messages.map(({ body }) => body)).toEqual(['m']);
  await cluster.startBroker(home);
  for (const group of ['joined', 'put']) {
    const seen = await Promise.all(
      ['a', 'b', 'c'].map(
        async (name) => (await cluster.client(name).call('getGroup', { path: { group }, ...hop })).body,
      ),
    );
    expect(new Set(seen.map(({ id }) => id)).size).toBe(1);
  }
  const changed = await front().call('updateGroup', { path: put.path, body: { maxAttempts: 6 } });
  expect([changed.status, changed.body.maxAttempts]).toEqual([200, 6]);
  expect((await front().call('joinGroup', member)).body.queues).toHaveLength(6);
});
