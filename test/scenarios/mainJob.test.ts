/** The main job, as the README tells it: one topic, one group, one consumer, from the first send to the last commit. */
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let broker: Http;
let nameserver: Http;

beforeAll(async () => {
  node = await Standalone.start();
  broker = http(node.url, contract);
  nameserver = http(node.nameserverUrl, contract);
  node.closeFirst(() => broker.close());
  node.closeFirst(() => nameserver.close());
});
afterAll(() => node.stop());

const orders = { topic: 'orders' };
const billing = { group: 'billing' };
const worker = { ...billing, consumerId: 'worker-1' };

/** What a consumer is interested in. */
const seen = (messages: readonly { body: string; tag?: string }[]): string[] => messages.map(({ body }) => body).sort();

describe('a producer', () => {
  test('creates a topic, which can be sent to at once', async () => {
    const created = await broker.call('createTopic', { body: { name: 'orders', readQueues: 2, writeQueues: 2 } });
    expect(created.status).toBe(201);
    expect(created.body).toMatchObject({
      topic: { name: 'orders', type: 'NORMAL', permission: 'RW', readQueues: 2, writeQueues: 2 },
      results: [{ status: 'OK', broker: 'broker-a' }],
    });
    const again = await broker.call('createTopic', { body: { name: 'orders', readQueues: 2, writeQueues: 2 } });
    expect([again.status, again.body.topic.id]).toEqual([200, created.body.topic.id]);
    const other = await broker.call('createTopic', { body: { name: 'orders', readQueues: 4, writeQueues: 2 } });
    expect([other.status, other.problem.code]).toEqual([409, 'TOPIC_EXISTS']);
    const listed = await broker.call('listTopics', { query: { partitions: true } });
    expect(listed.body).toEqual({ topics: [created.body.topic] });
  });

  test('sends a JSON message', async () => {
    const sent = await broker.call('sendMessages', {
      path: orders,
      body: { bodyJson: { orderId: 1001, total: 12.5 }, tag: 'created', keys: ['1001'], properties: { region: 'eu' } },
    });
    expect(sent.status).toBe(200);
    expect(sent.body.results).toEqual([
      {
        status: 'SEND_OK',
        messageId: expect.stringMatching(/^[0-9A-F]{32}$/),
        offsetMessageId: expect.stringMatching(/^[0-9A-F]{32}$/),
        topic: 'orders',
        broker: 'broker-a',
        queueId: expect.any(Number),
        queueOffset: 0,
        storeTimestamp: expect.any(Number),
      },
    ]);
  });

  test('sends a text as it is', async () => {
    const sent = await broker.call('sendMessages', {
      path: orders,
      bytes: 'order 1002 überwiesen',
      contentType: 'text/plain',
      query: { tag: 'paid', key: ['1002', 'x'], property: 'region:eu' },
    });
    expect(sent.body.results).toMatchObject([{ status: 'SEND_OK', queueOffset: 0 }]);
  });

  test('sends a batch, which lies side by side in one queue', async () => {
    const messages = ['1003', '1004', '1005'].map((order) => ({ body: `order ${order}`, tag: 'created' }));
    const { results } = (await broker.call('sendMessages', { path: orders, body: { messages } })).body;
    expect(results.map(({ queueId }) => queueId)).toEqual(Array(3).fill(results[0]!.queueId));
    expect(results.map(({ queueOffset }) => queueOffset! - results[0]!.queueOffset!)).toEqual([0, 1, 2]);
    expect(new Set(results.map(({ messageId }) => messageId)).size).toBe(3);
  });

  test('sends NDJSON', async () => {
    const sent = await broker.call('sendMessages', {
      path: orders,
      bytes: '{"body":"order 1006","tag":"created"}\n{"body":"order 1007","tag":"paid"}\n',
      contentType: 'application/x-ndjson',
    });
    expect(sent.body.results).toMatchObject([{ status: 'SEND_OK' }, { status: 'SEND_OK' }]);
  });
});

describe('a consumer', () => {
  let cursor: string;
  const poll = (query: Record<string, string | number | boolean>) =>
    broker.call('pollMessages', { path: worker, query });
  const everything = ['1003', '1004', '1005', '1006', '1007'].map((order) => `order ${order}`);

  test('joins a group, which begins at the first message', async () => {
    const joined = await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } });
    expect(joined.body).toMatchObject({
      group: 'billing',
      consumerId: 'worker-1',
      queues: [
        { ...orders, broker: 'broker-a', queueId: 0, nextOffset: 0 },
        { ...orders, broker: 'broker-a', queueId: 1, nextOffset: 0 },
      ],
      pending: [],
    });
    // Joining again is the heartbeat.
    expect((await broker.call('joinGroup', { path: worker, body: { topic: 'orders' } })).body).toEqual(joined.body);
  });

  test('polls and gets all that was sent, in the order of each queue', async () => {
    const polled = await poll({ waitMs: 0 });
    const { messages, lag } = polled.body;
    expect(seen(messages)).toEqual([...everything, 'order 1002 überwiesen', '{"orderId":1001,"total":12.5}'].sort());
    for (const queueId of [0, 1]) {
      const offsets = messages.filter((message) => message.queueId === queueId).map(({ queueOffset }) => queueOffset);
      expect(offsets).toEqual(offsets.map((_, i) => i));
    }
    expect(lag).toBe(0);
    expect(messages.find(({ tag, keys }) => tag === 'created' && keys[0] === '1001')).toMatchObject({
      contentType: 'application/json',
      properties: { region: 'eu' },
      attempt: 1,
    });
    expect(messages.find(({ keys }) => keys.includes('1002'))).toMatchObject({
      tag: 'paid',
      keys: ['1002', 'x'],
      properties: { region: 'eu' },
      contentType: 'text/plain',
    });
    cursor = polled.body.cursor;
  });

  test('whose answer got lost polls again and gets the same: a poll moves nothing', async () => {
    expect((await poll({ waitMs: 0 })).body.messages).toHaveLength(7);
    const offsets = (await broker.call('getOffsets', { path: billing })).body;
    expect([offsets.lag, offsets.offsets.map(({ committed }) => committed)]).toEqual([7, [0, 0]]);
  });

  test('waits for the next message, and is woken by it', async () => {
    // Two wait: ours for up to 30 s, another, of a group whose topic stays silent, for much less.
    const silent = { group: 'silence', consumerId: 'listener' };
    await broker.call('createTopic', { body: { name: 'silence' } });
    await broker.call('joinGroup', { path: silent, body: { topic: 'silence' } });
    const shorter = broker.call('pollMessages', { path: silent, query: { waitMs: 20_000 } });
    await node.untilParked(1);
    const waiting = poll({ waitMs: 30_000, cursor });
    await node.untilParked(2);

    await broker.call('sendMessages', { path: orders, body: { body: 'order 1008', tag: 'created' } });
    const first = await Promise.race([waiting, shorter]);
    expect(first).toBe(await waiting);
    const { messages, reason, lag } = (await waiting).body;
    expect([seen(messages), reason, lag]).toEqual([['order 1008'], undefined, 0]);
    cursor = (await waiting).body.cursor;

    // The shorter wait had not even ended: no time-out answered ours.
    expect(node.brokerNode.broker.lot.parked).toBe(1);
    await broker.call('leaveGroup', { path: silent });
    expect((await shorter).body).toMatchObject({ messages: [], reason: 'REBALANCED' });
    await broker.call('deleteTopic', { path: { topic: 'silence' }, query: { force: true } });
  });

  test('commits what it has handled', async () => {
    const committed = await broker.call('commitOffsets', { path: billing, body: { consumerId: 'worker-1', cursor } });
    expect(committed.status).toBe(200);
    const { offsets, lag } = (await broker.call('getOffsets', { path: billing })).body;
    expect(lag).toBe(0);
    for (const { committed, maxOffset, owner } of offsets) expect([committed, owner]).toEqual([maxOffset, 'worker-1']);
  });

  test('polls again, and there is nothing new', async () => {
    expect((await poll({ waitMs: 0, cursor })).body).toMatchObject({ messages: [], reason: 'CAUGHT_UP', lag: 0 });
    expect((await poll({ waitMs: 0 })).body).toMatchObject({ messages: [], reason: 'CAUGHT_UP', lag: 0 });
  });

  test('falls behind, which shows as lag', async () => {
    const messages = [{ body: 'order 1009', tag: 'created' }, { body: 'order 1010' }, { body: 'order 1011' }];
    await broker.call('sendMessages', { path: orders, body: { messages } });
    expect((await broker.call('getOffsets', { path: billing })).body.lag).toBe(3);
    const one = (await poll({ waitMs: 0, max: 1 })).body;
    expect([seen(one.messages), one.lag]).toEqual([['order 1009'], 2]);
    // The next poll commits what this one handed out.
    await poll({ waitMs: 0, max: 1, cursor: one.cursor, autoCommit: true });
    expect((await broker.call('getOffsets', { path: billing })).body.lag).toBe(2);
  });
});

describe('anybody', () => {
  test('reads a queue by offset, without a group', async () => {
    const { queues } = (await broker.call('listQueues', { path: orders })).body;
    expect(queues.reduce((sum, { minOffset, maxOffset }) => sum + maxOffset - minOffset, 0)).toBe(11);
    const bodies: string[] = [];
    for (const { queueId, maxOffset } of queues) {
      const path = { ...orders, broker: 'broker-a', queueId };
      let offset = 0;
      while (offset < maxOffset) {
        const page = (await broker.call('readQueue', { path, query: { offset, max: 2 } })).body;
        expect(page.messages.map(({ queueOffset }) => queueOffset)[0]).toBe(offset);
        bodies.push(...page.messages.map(({ body }) => body));
        offset = page.nextOffset;
      }
      const tagged = (await broker.call('readQueue', { path, query: { offset: 0, tag: ['paid'] } })).body;
      expect(tagged.messages.every(({ tag }) => tag === 'paid')).toBe(true);
    }
    expect(bodies).toHaveLength(11);
    expect(bodies).toEqual(expect.arrayContaining([...['1003', '1011'].map((order) => `order ${order}`)]));
    // Nothing of it was remembered.
    expect((await broker.call('getOffsets', { path: billing })).body.lag).toBe(2);
  });

  test('finds an offset by time', async () => {
    const path = { ...orders, broker: 'broker-a', queueId: 0 };
    const at = async (time: string | number) =>
      (await broker.call('searchOffset', { path, query: { at: time } })).body.offset;
    const { messages, maxOffset } = (await broker.call('readQueue', { path, query: { offset: 0 } })).body;
    expect(await at('EARLIEST')).toBe(0);
    expect(await at('LATEST')).toBe(maxOffset);
    expect(await at(0)).toBe(0);
    expect(await at(messages.at(-1)!.storeTimestamp + 1)).toBe(maxOffset);
    for (const { storeTimestamp } of messages) {
      const first = messages.find((message) => message.storeTimestamp >= storeTimestamp)!;
      expect(await at(storeTimestamp)).toBe(first.queueOffset);
    }
    // The answer says when that message was stored, where there is one.
    const found = async (time: string) =>
      (await broker.call('searchOffset', { path, query: { at: time } })).body.timestamp;
    expect(await found('EARLIEST')).toBe(messages[0]!.storeTimestamp);
    expect(await found('LATEST')).toBeUndefined();
  });

  test('finds a message by both of its ids', async () => {
    const path = { ...orders, broker: 'broker-a', queueId: 1 };
    const { messages } = (await broker.call('readQueue', { path, query: { offset: 0 } })).body;
    for (const message of messages) {
      for (const messageId of [message.messageId, message.offsetMessageId, message.messageId.toLowerCase()]) {
        expect((await broker.call('getMessage', { path: { ...orders, messageId } })).body).toEqual(message);
      }
    }
  });

  test('lists the tags with their counts', async () => {
    await broker.call('putTag', { path: { ...orders, tag: 'paid' }, body: { description: 'Money is here' } });
    const { policy, declared, seen } = (await broker.call('listTags', { path: orders })).body;
    expect(policy).toBe('OPEN');
    expect(declared).toMatchObject([{ tag: 'paid', description: 'Money is here' }]);
    expect(seen.map(({ tag, count }) => [tag, count])).toEqual([
      ['created', 7],
      ['paid', 2],
    ]);
  });

  test('reads the route, which the NameServer knows alike', async () => {
    const route = (await broker.call('getTopicRoute', { path: orders })).body;
    expect(route).toMatchObject({
      ...orders,
      partitions: [
        { broker: 'broker-a', queueId: 0 },
        { broker: 'broker-a', queueId: 1 },
      ],
      brokers: [{ cluster: 'DefaultCluster', broker: 'broker-a', addresses: { '0': new URL(node.url).host } }],
      queues: [{ broker: 'broker-a', readQueues: 2, writeQueues: 2, permission: 'RW' }],
    });
    expect((await nameserver.call('getNameserverRoute', { path: orders })).body).toEqual(route);
  });
});
