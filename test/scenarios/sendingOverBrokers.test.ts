/** Topics over three brokers, used through any front: what is sent here is found there, and what has a place keeps it. */
import { rendezvous } from '../../src/cluster/rendezvous';
import { TestCluster } from '../support/cluster';

const BROKERS = ['a', 'b', 'c'];
const FRONTS = [...BROKERS, 'gw1'];

let cluster: TestCluster;

/** Topics that no test shares with another. */
let made = 0;

beforeAll(async () => {
  cluster = await TestCluster.start({ brokers: BROKERS, gateways: 1 });
});

afterAll(() => cluster.stop());

const front = (name: string) => cluster.client(name);
/** Fronts in turn, so that nothing is asked where it was sent. */
const nth = (i: number) => front(FRONTS[i % FRONTS.length]!);

async function topicOf(type: string, queues = 2): Promise<string> {
  const name = `topic-${++made}`;
  const body = { name, type, readQueues: queues, writeQueues: queues };
  const { status } = await front('gw1').call('createTopic', { body });
  expect(status).toBe(201);
  return name;
}

async function send(name: string, topic: string, messages: readonly object[], key?: string) {
  const headers = key === undefined ? {} : { 'Idempotency-Key': key };
  return front(name).call('sendMessages', { path: { topic }, headers, body: { messages } });
}

/** Bodies in each queue, by `broker queueId`, read through any front. */
async function contents(topic: string, queues = 2): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const [i, broker] of BROKERS.entries()) {
    for (let queueId = 0; queueId < queues; queueId++) {
      const parts = { path: { topic, broker, queueId }, query: { offset: 0, max: 1000 } };
      const { body } = await nth(i + 1).call('readQueue', parts);
      found.set(
        `${broker} ${queueId}`,
        body.messages.map((message) => message.body),
      );
    }
  }
  return found;
}

/** All entries of a list, a few at a time, each page from another front. */
async function pages<Item>(
  ask: (i: number, cursor: object) => Promise<{ items: Item[]; cursor?: string | undefined }>,
) {
  const items: Item[] = [];
  let cursor: string | undefined;
  for (let i = 0; i === 0 || cursor !== undefined; i++) {
    const page = await ask(i, cursor === undefined ? {} : { cursor });
    items.push(...page.items);
    cursor = page.cursor;
  }
  return items;
}

test('messages without a place are spread over all brokers from every front, and found from every front', async () => {
  const topic = await topicOf('NORMAL');
  const sent = [];
  for (let i = 0; i < 24; i++) {
    const { body } = await send(FRONTS[i % 4]!, topic, [{ body: `m${i}`, keys: ['k'], tag: `t${i % 2}` }]);
    sent.push(...body.results);
  }
  expect(new Set(sent.map(({ broker }) => broker))).toEqual(new Set(BROKERS));
  expect([...(await contents(topic)).values()].flat().sort()).toEqual(sent.map((_, i) => `m${i}`).sort());
  for (const [i, { messageId, offsetMessageId }] of sent.entries()) {
    for (const id of [messageId!, offsetMessageId!]) {
      const { body } = await nth(i + 1).call('getMessage', { path: { topic, messageId: id } });
      expect([body.body, body.broker]).toEqual([`m${i}`, sent[i]!.broker]);
    }
    const trace = await nth(i + 2).call('getMessageTrace', { path: { topic, messageId: messageId! } });
    expect(trace.body.queueOffset).toBe(sent[i]!.queueOffset);
  }
  const absent = { path: { topic, messageId: '0'.repeat(32) } };
  expect((await front('gw1').call('getMessage', absent)).problem.code).toBe('MESSAGE_NOT_FOUND');

  const byKey = await pages(async (i, cursor) => {
    const { body } = await nth(i).call('queryMessages', { path: { topic }, query: { key: 'k', limit: 5, ...cursor } });
    return { items: body.messages, cursor: body.cursor };
  });
  expect(byKey.map(({ body }) => body).sort()).toEqual(sent.map((_, i) => `m${i}`).sort());
  const filter = { type: 'TAG', expression: 't1' };
  const tried = await front('gw1').call('testFilter', { path: { topic }, body: { filter, last: 900 } });
  expect(tried.body).toMatchObject({ examined: 24, matched: 12, failed: 0, complete: true });
});

test('a messageGroup has one queue whoever sends it, and a request for many is answered in its order', async () => {
  const topic = await topicOf('FIFO');
  const messages = Array.from({ length: 60 }, (_, i) => ({ body: `${i % 12}:${i}`, messageGroup: `group-${i % 12}` }));
  for (let i = 0; i < 4; i++) {
    const { status, body } = await send(FRONTS[i]!, topic, messages.slice(i * 15, i * 15 + 15));
    expect([status, body.results.map((result) => result.status)]).toEqual([200, Array(15).fill('SEND_OK')]);
  }
  const queues = [...(await contents(topic)).values()];
  for (let group = 0; group < 12; group++) {
    const mine = queues
      .map((bodies) => bodies.filter((body) => body.startsWith(`${group}:`)))
      .filter(({ length }) => length > 0);
    expect(mine).toEqual([[0, 1, 2, 3, 4].map((round) => `${group}:${round * 12 + group}`)]);
  }
  const used = queues.filter(({ length }) => length > 0).length;
  expect(used).toBeGreaterThan(2);
  for (const name of FRONTS) {
    const both = { body: 'x', messageGroup: 'group-1', queue: { broker: 'b', queueId: 0 } };
    expect((await send(name, topic, [both])).problem).toMatchObject({ status: 400, code: 'VALIDATION_FAILED' });
  }
});

test('a key leads to its home from every front; while that is away it is refused, and stored once when it is back', async () => {
  const topic = await topicOf('MIXED');
  const key = Array.from({ length: 100 }, (_, i) => `key-${i}`).find((one) => rendezvous(one, BROKERS)[0] === 'b')!;
  const first = await send('a', topic, [{ body: 'first' }], `${key}`);
  expect(first.body.results[0]!.broker).toBe('b');
  for (const name of FRONTS) {
    const again = await send(name, topic, [{ body: 'first' }], key);
    expect([again.body, again.headers['idempotency-replayed']]).toEqual([first.body, 'true']);
  }

  const other = Array.from({ length: 100 }, (_, i) => `other-${i}`).find((one) => rendezvous(one, BROKERS)[0] === 'b')!;
  const group = { body: 'of b', queue: { broker: 'b', queueId: 0 } };
  await cluster.stopBroker('b');
  for (const name of ['a', 'c', 'gw1']) {
    const refused = await send(name, topic, [{ body: 'second' }], other);
    expect(refused.problem).toMatchObject({ status: 503, retryable: true });
    expect(refused.problem.detail).toContain('broker b');
    expect((await send(name, topic, [group])).problem).toMatchObject({ status: 503, retryable: true });
    const mixed = await send(name, topic, [group, { body: 'anywhere' }]);
    expect([mixed.status, mixed.body.results.map(({ status }) => status)]).toEqual([207, ['FAILED', 'SEND_OK']]);
    for (let i = 0; i < 4; i++)
      expect((await send(name, topic, [{ body: 'x' }])).body.results[0]!.broker).not.toBe('b');
  }
  await cluster.startBroker('b');
  for (const [i, name] of FRONTS.entries()) {
    const { headers, body } = await send(name, topic, [{ body: 'second' }], other);
    expect([body.results[0]!.broker, headers['idempotency-replayed']]).toEqual(['b', i === 0 ? undefined : 'true']);
  }
  const stored = [...(await contents(topic)).values()].flat();
  expect(stored.filter((body) => body === 'second')).toHaveLength(1);
  expect(stored.filter((body) => body === 'anywhere')).toHaveLength(3);
});

test('transactions are prepared anywhere, decided elsewhere, listed and asked about as one', async () => {
  const topic = await topicOf('TRANSACTION');
  const producerGroup = `banks-${topic}`;
  const prepared = [];
  for (let i = 0; i < 12; i++) {
    const body = { producerGroup, message: { body: `t${i}` }, checkAfterMs: 1000 };
    prepared.push((await nth(i).call('prepareTransaction', { path: { topic }, body })).body.transactionId);
  }
  const listed = await pages(async (i, cursor) => {
    const { body } = await nth(i).call('listTransactions', { query: { producerGroup, limit: 5, ...cursor } });
    return { items: body.transactions, cursor: body.cursor };
  });
  expect(listed.map(({ transactionId }) => transactionId).sort()).toEqual([...prepared].sort());
  expect(new Set(listed.map(({ broker }) => broker))).toEqual(new Set(BROKERS));

  const asked: string[] = [];
  for (let i = 0; asked.length < prepared.length; i++) {
    const parts = { path: { producerGroup }, query: { waitMs: 5000 } };
    const { body } = await nth(i).call('pollTransactionChecks', parts);
    expect(body.checks.length).toBeGreaterThan(0);
    asked.push(...body.checks.map(({ transactionId }) => transactionId));
  }
  expect(asked.sort()).toEqual([...prepared].sort());

  const [alone, ...rest] = prepared;
  const path = { transactionId: alone! };
  await front('gw1').call('endTransaction', { path, body: { producerGroup, resolution: 'ROLLBACK' } });
  expect((await front('c').call('getTransaction', { path })).body.state).toBe('ROLLED_BACK');
  const resolutions = rest.map((transactionId) => ({ transactionId, resolution: 'COMMIT' }));
  const ended = await front('gw1').call('endTransactions', { body: { producerGroup, resolutions } });
  expect([ended.status, ended.body.results.map(({ transactionId }) => transactionId)]).toEqual([200, rest]);
  expect([...(await contents(topic)).values()].flat().sort()).toEqual(rest.map((_, i) => `t${i + 1}`).sort());
});

test('messages for later are listed as one, and taken back from any front', async () => {
  const topic = await topicOf('DELAY');
  const sent: string[] = [];
  for (let i = 0; i < 9; i++) {
    const { body } = await send(FRONTS[i % 4]!, topic, [{ body: `later ${i}`, delayMs: 3_600_000 }]);
    sent.push(body.results[0]!.messageId!);
  }
  const list = () =>
    pages(async (i, cursor) => {
      const { body } = await nth(i).call('listScheduled', { path: { topic }, query: { limit: 2, ...cursor } });
      return { items: body.scheduled, cursor: body.cursor };
    });
  expect((await list()).map(({ messageId }) => messageId).sort()).toEqual([...sent].sort());
  for (const [i, messageId] of sent.entries()) {
    expect((await nth(i + 1).call('recallScheduled', { path: { topic, messageId } })).status).toBe(204);
    expect((await nth(i + 2).call('recallScheduled', { path: { topic, messageId } })).status).toBe(404);
  }
  expect(await list()).toEqual([]);
});

test('a queue is asked of its broker; one that is nowhere is none', async () => {
  const topic = await topicOf('NORMAL');
  await send('gw1', topic, [{ body: 'here', queue: { broker: 'b', queueId: 1 } }]);
  for (const name of FRONTS) {
    const path = { topic, broker: 'b', queueId: 1 };
    expect((await front(name).call('searchOffset', { path, query: { at: 'LATEST' } })).body.offset).toBe(1);
    const beyond = await front(name).call('readQueue', { path, query: { offset: 7 } });
    expect(beyond.problem).toMatchObject({ code: 'OFFSET_MOVED', nextOffset: 1 });
    const none = { path: { topic, broker: 'z', queueId: 1 }, query: { offset: 0 } };
    expect((await front(name).call('readQueue', none)).problem.code).toBe('QUEUE_NOT_FOUND');
  }
});
