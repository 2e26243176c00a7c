/** Consumers of a topic on two brokers, served by whichever front they ask: brokers, a gateway, and while a broker stops. */
import { TestCluster } from '../support/cluster';
import type { Http } from '../support/http';

const FRONTS = ['a', 'b', 'gw1'];
const billing = { path: { group: 'billing' } };
const c1 = { path: { group: 'billing', consumerId: 'c1' } };

let cluster: TestCluster;
let calls = 0;

/** Another one for every call. */
const front = (): Http => cluster.client(FRONTS[calls++ % FRONTS.length]!);

const sendTo = (broker: string, ...bodies: string[]) =>
  front().call('sendMessages', {
    path: { topic: 'orders' },
    body: { messages: bodies.map((body) => ({ body, queue: { broker, queueId: 0 } })) },
  });

beforeEach(async () => {
  cluster = await TestCluster.start({ brokers: ['a', 'b'], gateways: 1 });
  calls = 0;
  const topic = { name: 'orders', readQueues: 2, writeQueues: 2 };
  expect((await front().call('createTopic', { body: topic })).status).toBe(201);
});
afterEach(() => cluster.stop());

test('a member joins, polls, gives back and commits at any front', async () => {
  const joined = await front().call('joinGroup', { ...c1, body: { topic: 'orders' } });
  expect(joined.body.queues.map(({ broker, queueId }) => `${broker}${queueId}`).sort()).toEqual([
    'a0',
    'a1',
    'b0',
    'b1',
  ]);
  await sendTo('a', 'a1', 'a2');
  await sendTo('b', 'b1');
  const first = await front().call('pollMessages', { ...c1, query: { waitMs: 0 } });
  expect(first.body.messages.map(({ body }) => body).sort()).toEqual(['a1', 'a2', 'b1']);
  const failed = first.body.messages
    .filter(({ body }) => body === 'b1')
    .map(({ topic, broker, queueId, queueOffset }) => ({ topic, broker, queueId, queueOffset, delayMs: 0 }));
  const { cursor, generation } = first.body;
  const back = await front().call('sendBack', {
    ...billing,
    body: { consumerId: 'c1', generation, cursor, messages: failed },
  });
  expect(back.body.cursorCommitted).toBe(true);
  const offsets = await front().call('getOffsets', billing);
  expect(
    offsets.body.offsets
      .filter(({ committed }) => committed > 0)
      .map(({ broker }) => broker)
      .sort(),
  ).toEqual(['a', 'b']);
  const again = await front().call('pollMessages', { ...c1, query: { waitMs: 10_000, cursor } });
  expect(again.body.messages).toMatchObject([{ body: 'b1', attempt: 2, broker: 'b', topic: '%RETRY%billing' }]);
  const parked = front().call('pollMessages', { ...c1, query: { waitMs: 10_000, cursor: again.body.cursor } });
  await sendTo('a', 'a3');
  expect((await parked).body.messages).toMatchObject([{ body: 'a3' }]);
});

test('workers without membership take each message once, whichever front they ask', async () => {
  await front().call('putGroup', { ...billing, body: { topic: 'orders' } });
  const receive = () => front().call('receiveMessages', { ...billing, body: { waitMs: 10_000 } });
  const waiting = Array.from({ length: 12 }, receive);
  await sendTo('a', 'a1', 'a2', 'a3', 'a4', 'a5', 'a6');
  await sendTo('b', 'b1', 'b2', 'b3', 'b4', 'b5', 'b6');
  const messages = (await Promise.all(waiting)).flatMap((reply) => reply.body.messages);
  expect(new Set(messages.map(({ body }) => body)).size).toBe(12);
  expect(messages.map(({ attempt }) => attempt)).toEqual(messages.map(() => 1));
  const receiptHandles = messages.map(({ receiptHandle }) => receiptHandle);
  const acked = await front().call('ackMessages', { ...billing, body: { receiptHandles } });
  expect([acked.status, acked.body.results.map(({ receiptHandle }) => receiptHandle)]).toEqual([200, receiptHandles]);
  for (const _ of FRONTS) {
    const { body } = await front().call('receiveMessages', { ...billing, body: { waitMs: 0 } });
    expect(body).toMatchObject({ messages: [], reason: 'CAUGHT_UP', lag: { ready: 0, inFlight: 0 } });
  }
});

test('what a broker holds that stops is named as missing, and comes when it is back', async () => {
  await front().call('joinGroup', { ...c1, body: { topic: 'orders' } });
  await sendTo('b', 'b1');
  await cluster.stopBroker('b');
  const alive = () => cluster.client(calls++ % 2 === 0 ? 'a' : 'gw1');
  await alive().call('sendMessages', {
    path: { topic: 'orders' },
    body: { messages: [{ body: 'a1', queue: { broker: 'a', queueId: 0 } }] },
  });
  let cursor = '';
  const seen: (string | undefined)[] = [];
  const poll = async (client: Http) => {
    await client.call('joinGroup', { ...c1, body: { topic: 'orders' } });
    const { body } = await client.call('pollMessages', { ...c1, query: { waitMs: 500, cursor, autoCommit: true } });
    ({ cursor } = body);
    seen.push(...body.messages.map((message) => message.body));
    return body;
  };
  expect(await poll(alive())).toMatchObject({ unavailable: ['b'] });
  expect(await poll(alive())).toMatchObject({ unavailable: ['b'] });
  expect(seen).toEqual(['a1']);
  await cluster.startBroker('b');
  for (let i = 0; i < 20 && seen.length < 2; i++) await poll(front());
  expect(seen).toEqual(['a1', 'b1']);
});
