/** Promises of the answers about a group: nothing is left out, and a received value can be given back as it is. */
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let client: Http;
let count = 0;

beforeAll(async () => {
  node = await Standalone.start();
  client = http(node.url, contract);
  node.closeFirst(() => client.close());
});
afterAll(() => node.stop());

const tagged = (expression: string) => ({ type: 'TAG', expression });

/** A topic of one queue and a group that nobody else uses. */
async function stage(group: object = {}) {
  const topic = `answers-${++count}`;
  const path = { group: `answers-${count}` };
  await client.call('createTopic', { body: { name: topic, readQueues: 1, writeQueues: 1, type: 'MIXED' } });
  await client.call('putGroup', { path, body: { topic, ...group } });
  const member = { ...path, consumerId: 'a' };
  return {
    ...{ topic, path, member },
    send: (...messages: object[]) => client.call('sendMessages', { path: { topic }, body: { messages } }),
    join: async (body: object = {}) => client.call('joinGroup', { path: member, body: { topic, ...body } }),
    poll: async () => (await client.call('pollMessages', { path: member, query: { waitMs: 5000 } })).body,
    receive: async (body: object = {}) =>
      (await client.call('receiveMessages', { path, body: { max: 32, waitMs: 0, ...body } })).body,
  };
}

const RICH = {
  ...{ body: 'bill', contentType: 'text/plain', tag: 'paid', keys: ['k1'], properties: { region: 'eu' } },
  messageGroup: 'customer-7',
};

describe('messages are given back as they were received', () => {
  test('a polled message is sent back whole, and so is its retry', async () => {
    const s = await stage({ retryDelaysMs: [0] });
    await s.send(RICH);
    await s.join();
    for (const attempt of [1, 2]) {
      const { messages, cursor } = await s.poll();
      expect(messages).toMatchObject([{ attempt }]);
      const body = { consumerId: 'a', messages, cursor };
      const back = await client.call('sendBack', { path: s.path, body });
      expect(back.status).toBe(200);
      expect(back.body.results).toMatchObject([{ status: 'OK', outcome: 'RETRY', attempt: attempt + 1 }]);
    }
  });

  test('a leased message is extended and nacked whole', async () => {
    const s = await stage();
    await s.send(RICH);
    const [message] = (await s.receive()).messages;
    const receipts = [{ ...message!, invisibleMs: 60_000 }];
    expect((await client.call('extendReceipts', { path: s.path, body: { receipts } })).status).toBe(200);
    const nacked = await client.call('nackMessages', {
      path: s.path,
      body: { receipts: [{ ...message!, delayMs: 0 }] },
    });
    expect(nacked.body.results).toMatchObject([{ status: 'OK', outcome: 'RETRY' }]);
  });

  test('a field that no message has is refused as before', async () => {
    const s = await stage();
    await s.send(RICH);
    const [message] = (await s.receive()).messages;
    const wrong = { receipts: [{ ...message!, dalayMs: 5 }] };
    expect((await client.call('nackMessages', { path: s.path, body: wrong })).problem.code).toBe('VALIDATION_FAILED');
  });
});

test('a member that joins with the filter of before is told the filter that it is served by', async () => {
  const s = await stage({ filter: tagged('tag1') });
  expect((await s.join({ filter: tagged('tag1') })).body.filter).toEqual(tagged('tag1'));
  await client.call('updateGroup', { path: s.path, body: { filter: tagged('tag2') } });
  expect((await s.join({ filter: tagged('tag1') })).body.filter).toEqual(tagged('tag2'));
});

describe('lists', () => {
  test('of groups tell where each stands, name and topic first', async () => {
    const s = await stage({ maxAttempts: 0, retryDelaysMs: [60_000] });
    await s.send({ body: 'dead' }, { body: 'out' }, { body: 'ready' });
    const [dead] = (await s.receive({ max: 2 })).messages;
    await client.call('nackMessages', { path: s.path, body: { receipts: [dead!] } });
    const of = async () => {
      const { groups } = (await client.call('listGroups', { query: { limit: 1000 } })).body;
      return groups.find(({ name }) => name === s.path.group)!;
    };
    const group = await of();
    expect(group).toMatchObject({ members: 0, lag: 2, ready: 1, inFlight: 1, waitingRetry: 0, deadLetters: 1 });
    expect(Object.keys(group).slice(0, 2)).toEqual(['name', 'topic']);
  });

  test('of topics show partitions when they are asked for, and a topic always does', async () => {
    const { topic } = await stage();
    const listed = async (query: object) => {
      const { topics } = (await client.call('listTopics', { query: { limit: 1000, ...query } })).body;
      return topics.find(({ name }) => name === topic)!;
    };
    expect(await listed({})).not.toHaveProperty('partitions');
    expect(Object.keys(await listed({}))[0]).toBe('name');
    const { body } = await client.call('getTopic', { path: { topic } });
    expect(body.partitions).toHaveLength(1);
    expect(await listed({ partitions: true })).toEqual(body);
  });
});
