/** SQL filters as a client feels them: on polls, receives, reads by offset and groups, and tried before they are used. */
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';
import { patience } from '../support/patience';

let node: Standalone;
let client: Http;
let count = 0;

beforeAll(async () => {
  node = await Standalone.start();
  client = http(node.url, contract);
  node.closeFirst(() => client.close());
});
afterAll(() => node.stop());

const sql = (expression: string) => ({ type: 'SQL92', expression }) as const;
const LARGE_IN_EUROPE = "region = 'eu' AND (total >= 100 OR TAGS = 'express' OR KEYS CONTAINS 'vip')";

const texts = ({ messages }: { messages: readonly { body: string }[] }) => messages.map(({ body }) => body);

const ORDERS = [
  { body: 'large', properties: { region: 'eu', total: '250.50' } },
  { body: 'small', properties: { region: 'eu', total: '9.99' } },
  { body: 'small, express', tag: 'express', properties: { region: 'eu', total: '9.99' } },
  { body: 'large, elsewhere', properties: { region: 'us', total: '250.50' } },
  { body: 'no number', properties: { region: 'eu', total: 'much' } },
  { body: 'small, vip', keys: ['1007', 'vip'], properties: { region: 'eu', total: '1' } },
  { body: 'nothing is known' },
];
const TAKEN = ['large', 'small, express', 'small, vip'];

/** A topic of one queue with all these orders, which nobody else uses. */
class Stage {
  readonly topic = `orders-${++count}`;
  readonly group = `europe-${count}`;
  readonly worker = { group: this.group, consumerId: 'worker-1' };

  static async open(): Promise<Stage> {
    const stage = new Stage();
    await client.call('createTopic', { body: { name: stage.topic, readQueues: 1, writeQueues: 1 } });
    await stage.send(...ORDERS);
    return stage;
  }

  send = (...messages: object[]) => client.call('sendMessages', { path: { topic: this.topic }, body: { messages } });
  put = (group: object) =>
    client.call('putGroup', { path: { group: this.group }, body: { topic: this.topic, ...group } });
  join = (body: object = {}) => client.call('joinGroup', { path: this.worker, body: { topic: this.topic, ...body } });
  poll = async (query: object = {}) =>
    (await client.call('pollMessages', { path: this.worker, query: { waitMs: 0, ...query } })).body;
  receive = async (body: object = {}) =>
    (await client.call('receiveMessages', { path: { group: this.group }, body: { max: 32, waitMs: 0, ...body } })).body;
  offsets = async () => (await client.call('getOffsets', { path: { group: this.group } })).body;
  read = (query: object) =>
    client.call('readQueue', {
      path: { topic: this.topic, broker: 'broker-a', queueId: 0 },
      query: { offset: 0, ...query },
    });
  try = async (filter: object, last?: number) =>
    (await client.call('testFilter', { path: { topic: this.topic }, body: { filter, ...(last ? { last } : {}) } }))
      .body;
}

describe('a group with a SQL filter', () => {
  test('gives its members what the expression is true for, and counts the rest as done', async () => {
    const stage = await Stage.open();
    expect((await stage.put({ filter: sql(LARGE_IN_EUROPE) })).body.filter).toEqual(sql(LARGE_IN_EUROPE));
    await stage.join();
    const page = await stage.poll();
    expect([texts(page), page.lag]).toEqual([TAKEN, 0]);
    const waiting = stage.poll({ waitMs: 10_000, cursor: page.cursor, autoCommit: true });
    await node.untilParked(1);
    await stage.send(
      { body: 'not this', properties: { region: 'us' } },
      { body: 'this', properties: { region: 'eu', total: '100' } },
    );
    expect(texts(await waiting)).toEqual(['this']);
    expect(await stage.offsets()).toMatchObject({ offsets: [{ committed: ORDERS.length }] });
  });

  test('leases the same', async () => {
    const stage = await Stage.open();
    await stage.put({ filter: sql(LARGE_IN_EUROPE) });
    const { messages } = await stage.receive();
    expect(texts({ messages })).toEqual(TAKEN);
    const receiptHandles = messages.map(({ receiptHandle }) => receiptHandle);
    await client.call('ackMessages', { path: { group: stage.group }, body: { receiptHandles } });
    expect(await stage.receive()).toMatchObject({ messages: [], lag: { ready: 0, inFlight: 0 } });
  });

  test('is made by the first who joins with one; others must say the same, in their own words', async () => {
    const stage = await Stage.open();
    await stage.join({ filter: sql("region = 'us' AND total > 200") });
    expect(texts(await stage.poll())).toEqual(['large, elsewhere']);
    expect((await stage.join({ filter: sql("(region='us') and total > 200.0") })).status).toBe(200);
    const other = await stage.join({ filter: sql("region = 'us'") });
    expect(other.problem).toMatchObject({
      ...{ status: 409, code: 'SUBSCRIPTION_CONFLICT' },
      group: { filter: sql("region = 'us' AND total > 200") },
      requested: { filter: sql("region = 'us'") },
    });
  });

  test('gets another filter, which the next poll reads by', async () => {
    const stage = await Stage.open();
    await stage.put({ filter: { type: 'TAG', expression: 'express' } });
    await stage.join();
    expect(texts(await stage.poll())).toEqual(['small, express']);
    await client.call('updateGroup', { path: { group: stage.group }, body: { filter: sql('total IS NULL') } });
    expect(texts(await stage.poll())).toEqual(['nothing is known']);
    await client.call('updateGroup', { path: { group: stage.group }, body: { filter: null } });
    expect((await stage.poll()).messages).toHaveLength(ORDERS.length);
  });

  test('gets its retries whatever the filter says by then', async () => {
    const stage = await Stage.open();
    await stage.put({ filter: sql(LARGE_IN_EUROPE) });
    const { messages } = await stage.receive({ max: 1 });
    const receipts = [{ receiptHandle: messages[0]!.receiptHandle, delayMs: 0 }];
    await client.call('nackMessages', { path: { group: stage.group }, body: { receipts } });
    await stage.put({ filter: sql('FALSE') });
    const again = await stage.receive({ waitMs: 10_000 });
    expect(again.messages.map(({ body, topic, attempt }) => [body, topic, attempt])).toEqual([
      ['large', `%RETRY%${stage.group}`, 2],
    ]);
  });

  test('that takes nothing says so, and its members go on behind what it left out', async () => {
    const stage = await Stage.open();
    await stage.put({ filter: sql("region = 'moon'") });
    await stage.join();
    const page = await stage.poll();
    expect(page).toMatchObject({ messages: [], reason: 'FILTERED', lag: 0 });
    await stage.poll({ cursor: page.cursor, autoCommit: true });
    expect(await stage.offsets()).toMatchObject({ lag: 0 });
  });
});

test('a queue is read by offset with sql=', async () => {
  const stage = await Stage.open();
  const { body } = await stage.read({ sql: LARGE_IN_EUROPE, max: 2 });
  expect([texts(body), body.nextOffset]).toEqual([TAKEN.slice(0, 2), 3]);
  const rest = await stage.read({ sql: LARGE_IN_EUROPE, offset: 3 });
  expect([texts(rest.body), rest.body.nextOffset]).toEqual([TAKEN.slice(2), ORDERS.length]);
});

test('an expression that cannot be read is refused with the place of the fault and what was expected there', async () => {
  const stage = await Stage.open();
  const detail = expect.stringMatching(/^character 16: expected a property or a value, found the end$/) as string;
  const bad = 'total > 5 AND (';
  const put = await stage.put({ filter: sql(bad) });
  expect(put.problem).toMatchObject({ status: 400, code: 'FILTER_INVALID', retryable: false });
  expect(put.problem.errors).toEqual([{ pointer: '/filter/expression', detail }]);
  const read = await stage.read({ sql: bad });
  expect(read.problem).toMatchObject({ status: 400, code: 'FILTER_INVALID' });
  expect(read.problem.errors).toEqual([{ parameter: 'sql', in: 'query', detail }]);
  const join = await stage.join({ filter: sql(bad) });
  expect(join.problem.errors).toEqual([{ pointer: '/filter/expression', detail }]);
  expect((await client.call('getGroup', { path: { group: stage.group } })).status).toBe(404);
});

test('a filter is tried on the newest messages before anybody uses it', async () => {
  const stage = await Stage.open();
  const trial = await stage.try(sql("region = 'eu' AND total >= 100"));
  expect(trial).toMatchObject({ examined: ORDERS.length, matched: 1, failed: 1, complete: true });
  expect(trial.results.map(({ queueOffset, outcome }) => `${queueOffset} ${outcome}`)).toEqual([
    ...['6 NOT_MATCHED', '5 NOT_MATCHED', '4 FAILED', '3 NOT_MATCHED', '2 NOT_MATCHED', '1 NOT_MATCHED', '0 MATCHED'],
  ]);
  const found = trial.results.at(-1)!;
  expect(found).toMatchObject({ topic: stage.topic, broker: 'broker-a', queueId: 0, properties: { total: '250.50' } });
  const message = await client.call('getMessage', { path: { topic: stage.topic, messageId: found.messageId } });
  expect(message.body).toMatchObject({ body: 'large', offsetMessageId: found.offsetMessageId });
  expect(await stage.try({ type: 'TAG', expression: 'express' }, 5)).toMatchObject({
    examined: 5,
    matched: 1,
    failed: 0,
  });
});

test('a contrived expression over long properties holds up nobody else, and its members get on', async () => {
  const stage = await Stage.open();
  const value = 'ab'.repeat(7_500);
  const expression = Array.from({ length: 150 }, () => "p CONTAINS 'ababababac'").join(' OR ');
  await stage.send(...Array.from({ length: 100 }, () => ({ body: 'x', properties: { p: value } })));
  await stage.put({ filter: sql(expression) });
  await stage.join();
  let slowest = 0;
  let left = Infinity;
  let cursor = '';
  const polling = (async () => {
    while (left > 0) {
      const page = await stage.poll({ cursor });
      expect(page).toMatchObject({ messages: [], reason: 'FILTERED' });
      expect(page.lag).toBeLessThan(left);
      [left, cursor] = [page.lag, page.cursor];
    }
  })();
  while (left > 0) {
    const began = performance.now();
    await client.call('livez');
    slowest = Math.max(slowest, performance.now() - began);
  }
  await polling;
  expect(slowest).toBeLessThan(patience(1000));
});
