/**
 * Looking messages up, over HTTP as an operator does it: by key or tag within a time range, paged by cursor; by both ids;
 * and the trace, which says where and when a message was stored, and for every group of the topic: consumed, in flight,
 * waiting for retry (when), dead, not yet, filtered.
 */
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';
import { patience } from '../support/patience';

let node: Standalone;
let client: Http;

beforeAll(async () => {
  node = await Standalone.start();
  client = http(node.url, contract);
  node.closeFirst(() => client.close());
});
afterAll(() => node.stop());

const createTopic = (name: string, more: object = {}) => client.call('createTopic', { body: { name, ...more } });
const putGroup = (group: string, body: object) => client.call('putGroup', { path: { group }, body });

async function send(topic: string, ...messages: object[]) {
  const { body } = await client.call('sendMessages', { path: { topic }, body: { messages } });
  return body.results.map(({ messageId, offsetMessageId, storeTimestamp }) => ({
    ...{ messageId: messageId!, offsetMessageId: offsetMessageId!, storeTimestamp: storeTimestamp! },
  }));
}

type Query = Record<string, string | number | undefined>;

async function page(topic: string, query: Query) {
  const { messages, cursor } = (await client.call('queryMessages', { path: { topic }, query })).body;
  return { bodies: messages.map(({ body }) => body), cursor };
}

async function find(topic: string, query: Query): Promise<string[]> {
  const found: string[] = [];
  for (let cursor: string | undefined; ;) {
    const answer = await page(topic, { ...query, cursor });
    found.push(...answer.bodies);
    if (answer.cursor === undefined) return found;
    ({ cursor } = answer);
  }
}

const trace = async (topic: string, messageId: string, query: Query = {}) =>
  (await client.call('getMessageTrace', { path: { topic, messageId }, query })).body;

describe('by key or tag', () => {
  test('within a time range, the oldest first, a page at a time', async () => {
    await createTopic('orders');
    const times: number[] = [];
    for (let i = 1; i <= 7; i++) {
      const tag = i % 2 ? 'created' : 'paid';
      const [sent] = await send('orders', { body: `order ${i}`, tag, keys: [`order-${i}`, 'customer-1'] });
      times.push(sent!.storeTimestamp);
      await send('orders', { body: 'another', tag: 'other', keys: ['customer-2'] });
    }
    const everything = [1, 2, 3, 4, 5, 6, 7].map((i) => `order ${i}`);
    expect(await find('orders', { key: 'order-3' })).toEqual(['order 3']);
    expect(await find('orders', { key: 'customer-1' })).toEqual(everything);
    expect(await find('orders', { tag: 'paid' })).toEqual(['order 2', 'order 4', 'order 6']);
    expect(await find('orders', { key: 'customer-3' })).toEqual([]);

    const first = await page('orders', { key: 'customer-1', limit: 3 });
    expect(first.bodies).toEqual(everything.slice(0, 3));
    const second = await page('orders', { key: 'customer-1', limit: 3, cursor: first.cursor });
    expect(second.bodies).toEqual(everything.slice(3, 6));
    expect(await find('orders', { key: 'customer-1', limit: 2 })).toEqual(everything);

    // Several may be stored within one millisecond.
    const within = (from: number, to: number) => everything.filter((_, i) => times[i]! >= from && times[i]! <= to);
    const range = { from: times[1], to: times[4] };
    expect(await find('orders', { key: 'customer-1', ...range })).toEqual(within(times[1]!, times[4]!));
    expect(await find('orders', { tag: 'paid', from: times[6]! + 1 })).toEqual([]);
  });

  test('keys and tags are what they are, also in a URL', async () => {
    await createTopic('odd');
    for (const key of ['a&b=c', 'größe "7"', '100 %', 'a+b', '😀'])
      await send('odd', { body: key, keys: [key], tag: key });
    for (const key of ['a&b=c', 'größe "7"', '100 %', 'a+b', '😀']) {
      expect(await find('odd', { key })).toEqual([key]);
      expect(await find('odd', { tag: key })).toEqual([key]);
    }
  });
});

test('by both ids', async () => {
  await createTopic('ids');
  const [sent] = await send('ids', { body: 'find me' });
  for (const messageId of [sent!.messageId, sent!.offsetMessageId]) {
    expect((await client.call('getMessage', { path: { topic: 'ids', messageId } })).body.body).toBe('find me');
    expect(await trace('ids', messageId)).toMatchObject({ ...sent, groups: [] });
  }
});

test('the trace says where and when it was stored, and how every group of the topic stands to it', async () => {
  await createTopic('payments');
  const groups = ['early', 'holds', 'nacked', 'buried', 'done', 'picky'] as const;
  for (const group of groups) {
    const filter = group === 'picky' ? { filter: { type: 'TAG', expression: 'refused' } } : {};
    await putGroup(group, { topic: 'payments', maxAttempts: group === 'buried' ? 0 : 5, ...filter });
  }
  await putGroup('prices', { topic: 'payments', mode: 'BROADCASTING' });
  const [sent] = await send('payments', { body: 'payment 1', tag: 'accepted' });

  /** Takes the message and does something with it. */
  const take = async (group: string, then?: 'ackMessages' | 'nackMessages') => {
    const { messages } = (await client.call('receiveMessages', { path: { group }, body: { invisibleMs: 60_000 } }))
      .body;
    const [{ receiptHandle, invisibleUntil }] = messages as [(typeof messages)[number]];
    const body = { receiptHandles: [receiptHandle], receipts: [{ receiptHandle, delayMs: 3_600_000 }] };
    const { receipts, receiptHandles } = body;
    if (then === 'ackMessages') await client.call(then, { path: { group }, body: { receiptHandles } });
    if (then === 'nackMessages') await client.call(then, { path: { group }, body: { receipts } });
    return invisibleUntil;
  };
  const before = Date.now();
  const invisibleUntil = await take('holds');
  await take('nacked', 'nackMessages');
  await take('buried', 'nackMessages');
  await take('done', 'ackMessages');
  for (const consumerId of ['till-1', 'till-2']) {
    const path = { group: 'prices', consumerId };
    await client.call('joinGroup', { path, body: { topic: 'payments' } });
  }
  const till = { group: 'prices', consumerId: 'till-1' };
  const { cursor } = (await client.call('pollMessages', { path: till })).body;
  await client.call('commitOffsets', { path: till, body: { consumerId: 'till-1', cursor } });

  const all = await trace('payments', sent!.messageId);
  expect(all).toMatchObject({ topic: 'payments', broker: 'broker-a', queueOffset: 0, tag: 'accepted', ...sent });
  expect(all.bornTimestamp).toBeLessThanOrEqual(all.storeTimestamp);
  expect(all.groups).toMatchObject([
    { group: 'buried', status: 'DEAD', attempt: 1 },
    { group: 'done', status: 'CONSUMED' },
    { group: 'early', status: 'NOT_CONSUMED' },
    { group: 'holds', status: 'IN_FLIGHT', attempt: 1 },
    { group: 'nacked', status: 'WAITING_RETRY', attempt: 2 },
    { group: 'picky', status: 'FILTERED' },
    { group: 'prices', status: 'CONSUMED', consumerId: 'till-1' },
    { group: 'prices', status: 'NOT_CONSUMED', consumerId: 'till-2' },
  ]);
  const entry = (group: string) => all.groups.find((one) => one.group === group)!;
  expect(entry('buried').deadTimestamp).toBeGreaterThanOrEqual(before);
  expect(Math.abs(entry('holds').invisibleUntil! - invisibleUntil)).toBeLessThan(patience(1000));
  expect(entry('nacked').dueTimestamp! - before).toBeGreaterThanOrEqual(3_600_000);

  const pages: string[] = [];
  for (let next: string | undefined; ;) {
    const page = await trace('payments', sent!.messageId, { limit: 3, cursor: next });
    pages.push(page.groups.map(({ group }) => group).join(' '));
    if (page.cursor === undefined) break;
    next = page.cursor;
  }
  expect(pages).toEqual(['buried done early', 'holds nacked picky', 'prices prices']);
});

describe('what is asked wrongly is refused by name', () => {
  const refusal = async (query: Query, topic = 'refused') => {
    const { status, problem } = await client.call('queryMessages', { path: { topic }, query });
    return [
      status,
      problem.code,
      ...(problem.errors ?? []).map((error) => ('parameter' in error ? error.parameter : '')),
    ];
  };
  let cursor: string | undefined;

  beforeAll(async () => {
    await createTopic('refused');
    await createTopic('silent', { permission: 'W' });
    await send('refused', { body: '1', keys: ['k'] }, { body: '2', keys: ['k'] });
    ({ cursor } = await page('refused', { key: 'k', limit: 1 }));
  });

  test.each<[string, Query, (string | number)[]]>([
    ['newest first by key', { key: 'k', order: 'NEWEST_FIRST' }, [400, 'VALIDATION_FAILED', 'order']],
    ['both', { key: 'k', tag: 't' }, [400, 'VALIDATION_FAILED', 'tag']],
    ['an empty key', { key: '' }, [400, 'VALIDATION_FAILED', 'key']],
    ['a tag of two', { tag: 'a||b' }, [400, 'VALIDATION_FAILED', 'tag']],
    ['a time before 1970', { key: 'k', from: -1 }, [400, 'VALIDATION_FAILED', 'from']],
    ['a time in words', { key: 'k', to: 'now' }, [400, 'VALIDATION_FAILED', 'to']],
    ['an end before the beginning', { key: 'k', from: 2, to: 1 }, [400, 'VALIDATION_FAILED', 'to']],
    ['no place on a page', { key: 'k', limit: 0 }, [400, 'VALIDATION_FAILED', 'limit']],
    ['a cursor that is none', { key: 'k', cursor: 'bm9uZQ' }, [400, 'CURSOR_INVALID', 'cursor']],
    [
      'a cursor of another list',
      { key: 'k', cursor: Buffer.from('{"after":"orders"}').toString('base64url') },
      [400, 'CURSOR_INVALID', 'cursor'],
    ],
  ])('%s', async (_, query, expected) => {
    expect(await refusal(query)).toEqual(expected);
  });

  test('a topic that gives nothing, and one that does not exist', async () => {
    expect(await refusal({ key: 'k' }, 'silent')).toEqual([403, 'NO_PERMISSION']);
    expect(await refusal({ key: 'k' }, 'nowhere')).toEqual([404, 'TOPIC_NOT_FOUND']);
  });

  test('a key among a group’s own copies', async () => {
    await putGroup('sorter', { topic: 'refused', maxAttempts: 0 });
    const path = { group: 'sorter' };
    const { messages } = (await client.call('receiveMessages', { path })).body;
    await client.call('nackMessages', { path, body: { receipts: [{ receiptHandle: messages[0]!.receiptHandle }] } });
    expect(await refusal({ key: 'k' }, '~DLQ~sorter')).toEqual([400, 'VALIDATION_FAILED', 'key']);
  });

  test('a cursor of another topic, and of the topic’s former self', async () => {
    await createTopic('refused-2');
    expect(await refusal({ key: 'k', cursor }, 'refused-2')).toEqual([400, 'CURSOR_INVALID', 'cursor']);
    await client.call('deleteTopic', { path: { topic: 'refused' }, query: { force: true } });
    await createTopic('refused');
    expect(await refusal({ key: 'k', cursor })).toEqual([409, 'TOPIC_RECREATED']);
  });

  test('a trace of what is not there, and with a cursor that is none', async () => {
    const path = { topic: 'refused', messageId: '0'.repeat(32) };
    expect((await client.call('getMessageTrace', { path })).problem.code).toBe('MESSAGE_NOT_FOUND');
    const [sent] = await send('refused', { body: 'x' });
    const query = { cursor: Buffer.from('{"after":"x"}').toString('base64url') };
    const reply = await client.call('getMessageTrace', { path: { ...path, messageId: sent!.messageId }, query });
    expect(reply.problem).toMatchObject({ status: 400, code: 'CURSOR_INVALID' });
  });
});
