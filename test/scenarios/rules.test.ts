/** The rules of api.md that a client feels, one scenario each; bad input has a file of its own. */
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { VERSION } from '../../api/version';
import { http, type Http, type RequestParts } from '../support/http';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let client: Http;
let nameserver: Http;
let count = 0;

beforeAll(async () => {
  node = await Standalone.start({ 'cors-origins': 'https://console.example' });
  client = http(node.url, contract);
  nameserver = http(node.nameserverUrl, contract);
  node.closeFirst(() => client.close());
  node.closeFirst(() => nameserver.close());
});
afterAll(() => node.stop());

/** A topic that no other scenario uses. */
async function newTopic(settings: object = {}): Promise<string> {
  const name = `topic-${++count}`;
  await client.call('createTopic', { body: { name, readQueues: 1, writeQueues: 1, ...settings } });
  return name;
}

const send = (topic: string, body: unknown, headers: Record<string, string> = {}) =>
  client.call('sendMessages', { path: { topic }, body, headers });

/** A consumer that has joined a group of its own. */
class Consumer {
  readonly path: { group: string; consumerId: string };
  readonly #topic: string;
  cursor = '';

  constructor(topic: string, consumerId = 'worker-1', group = `group-of-${topic}`) {
    this.#topic = topic;
    this.path = { group, consumerId };
  }

  async join(options: object = {}) {
    return (await client.call('joinGroup', { path: this.path, body: { topic: this.#topic, ...options } })).body;
  }

  leave = () => client.call('leaveGroup', { path: this.path });

  raw = (query: RequestParts['query'], signal?: AbortSignal) =>
    client.call('pollMessages', {
      path: this.path,
      query: { waitMs: 0, cursor: this.cursor, ...query },
      ...(signal && { signal }),
    });

  async poll(query: RequestParts['query'] = {}) {
    const { body } = await this.raw(query);
    this.cursor = body.cursor;
    return body;
  }

  commit = (body: object) => client.call('commitOffsets', { path: { group: this.path.group }, body });
  offsets = async () => (await client.call('getOffsets', { path: { group: this.path.group } })).body;
}

const bodies = (messages: readonly { body: string }[]): string[] => messages.map(({ body }) => body);
const texts = (...of: string[]) => ({ messages: of.map((body) => ({ body })) });

test('a message without a body is stored, polled and found by its id', async () => {
  const topic = await newTopic();
  const consumer = new Consumer(topic);
  await consumer.join();
  const ids: string[] = [];
  for (const [body, type] of [
    ['{"body":"","tag":"ping"}', 'application/json'],
    ['{"body":"","bodyEncoding":"BASE64"}', 'application/x-ndjson'],
    ['', 'text/plain'],
    ['', 'application/octet-stream'],
  ] as const) {
    const sent = await client.call('sendMessages', { path: { topic }, bytes: body, contentType: type });
    expect(sent.status).toBe(200);
    ids.push(sent.body.results[0]!.messageId!);
  }
  const { messages } = await consumer.poll();
  expect(messages.map(({ body, tag }) => [body, tag])).toEqual([
    ['', 'ping'],
    ['', undefined],
    ['', undefined],
    ['', undefined],
  ]);
  for (const messageId of ids) {
    expect((await client.call('getMessage', { path: { topic, messageId } })).body.body).toBe('');
  }
});

describe('rule 5: a dropped answer loses nothing', () => {
  test('a client that goes away while it waits leaves no poll behind and misses no message', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const going = new AbortController();
    const dropped = consumer.raw({ waitMs: 30_000 }, going.signal);
    await node.untilParked(1);
    going.abort();
    await expect(dropped).rejects.toThrow();
    await node.untilParked(0);
    await send(topic, { body: 'a' });
    expect(bodies((await consumer.poll()).messages)).toEqual(['a']);
  });

  test('with autoCommit only what the passed cursor covers is committed', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    await send(topic, texts('a', 'b', 'c'));
    await consumer.poll({ max: 2, autoCommit: true });
    expect((await consumer.offsets()).lag).toBe(3);
    await consumer.poll({ max: 1, autoCommit: true });
    expect((await consumer.offsets()).lag).toBe(1);
    await consumer.poll({ autoCommit: false });
    expect((await consumer.offsets()).lag).toBe(1);
    // Back, and never behind the committed one.
    consumer.cursor = '';
    expect(bodies((await consumer.poll()).messages)).toEqual(['c']);
  });
});

describe('rule 6: cursors and ownership', () => {
  test('a consumer that has not joined is told to', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const stranger = new Consumer(topic, 'stranger');
    const reply = await stranger.raw({});
    expect([reply.status, reply.problem.code]).toEqual([409, 'NOT_JOINED']);
    expect(reply.problem.detail).toContain(`PUT /v1/groups/${stranger.path.group}/consumers/stranger`);
    await stranger.leave();
    await consumer.leave();
    expect((await consumer.raw({})).problem.code).toBe('NOT_JOINED');
  });

  test('a newer poll of the same consumer ends the older one', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const older = consumer.raw({ waitMs: 30_000 });
    await node.untilParked(1);
    const newer = consumer.raw({ waitMs: 30_000 });
    const replaced = await older;
    expect([replaced.status, replaced.problem.code]).toEqual([409, 'CONSUMER_REPLACED']);
    await node.untilParked(1);
    await send(topic, { body: 'a' });
    expect(bodies((await newer).body.messages)).toEqual(['a']);
  });

  test('an empty answer has a cursor too, past what was filtered', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join({ filter: { type: 'TAG', expression: 'wanted' } });
    await send(topic, { messages: [{ body: 'a', tag: 'other' }, { body: 'b' }] });
    expect(await consumer.poll()).toMatchObject({ messages: [], reason: 'FILTERED', lag: 0 });
    expect((await consumer.offsets()).lag).toBe(2);
    await consumer.commit({ consumerId: 'worker-1', cursor: consumer.cursor });
    expect((await consumer.offsets()).lag).toBe(0);
    await send(topic, { body: 'c', tag: 'wanted' });
    expect(bodies((await consumer.poll()).messages)).toEqual(['c']);
  });

  test('a second consumer takes its share; the first one’s cursor counts for what it kept', async () => {
    const topic = await newTopic({ readQueues: 2, writeQueues: 2 });
    const first = new Consumer(topic, 'worker-1');
    const second = new Consumer(topic, 'worker-2');
    expect((await first.join()).queues.map(({ queueId }) => queueId)).toEqual([0, 1]);
    for (const queueId of [0, 1]) await send(topic, { body: `q${queueId}`, queue: { broker: 'broker-a', queueId } });
    expect(bodies((await first.poll()).messages).sort()).toEqual(['q0', 'q1']);
    const waiting = first.raw({ waitMs: 30_000 });
    await node.untilParked(1);

    // What the first one was handed of a queue is his until he commits it; of what comes now he gets nothing.
    expect(await second.join()).toMatchObject({ queues: [], pending: [{ topic, broker: 'broker-a', queueId: 1 }] });
    const told = (await waiting).body;
    expect(told).toMatchObject({ messages: [], reason: 'REBALANCED', revoking: [{ topic, queueId: 1 }] });
    expect(told.revoking![0]!.deadline).toBeGreaterThan(Date.now());
    const next = second.raw({ waitMs: 30_000 });
    await node.untilParked(1);
    await send(topic, { body: 'q1 again', queue: { broker: 'broker-a', queueId: 1 } });
    expect((await first.raw({})).body.messages).toEqual([]);
    const committed = await first.commit({ consumerId: 'worker-1', cursor: first.cursor });
    expect(committed.body.results).toMatchObject([{ status: 'OK' }, { status: 'OK' }]);
    expect(bodies((await next).body.messages)).toEqual(['q1 again']);

    // Commits are judged queue by queue: one is still the first one's, the other is not.
    const late = await first.commit({ consumerId: 'worker-1', cursor: first.cursor });
    expect(late.status).toBe(207);
    const results = [...late.body.results].sort((a, b) => a.queueId - b.queueId);
    expect(results).toMatchObject([
      { status: 'OK', queueId: 0, nextOffset: 1 },
      { status: 'FAILED', queueId: 1, nextOffset: 1, error: { code: 'QUEUE_NOT_OWNED', status: 409 } },
    ]);
    const after = (await first.raw({ cursor: first.cursor })).body;
    expect(after).toMatchObject({ messages: [], dropped: [{ topic, broker: 'broker-a', queueId: 1 }] });
    await second.leave();
    await first.leave();
  });

  test('a generation from before a queue changed hands does not commit it', async () => {
    const topic = await newTopic();
    const first = new Consumer(topic, 'worker-1');
    const { generation } = await first.join();
    await send(topic, texts('a'));
    const offsets = [{ topic, broker: 'broker-a', queueId: 0, nextOffset: 1 }];
    await first.leave();
    const second = new Consumer(topic, 'worker-2', first.path.group);
    await second.join();
    await second.leave();
    const again = await first.join();
    const stale = await first.commit({ consumerId: 'worker-1', generation, offsets });
    expect([stale.status, stale.problem.code]).toEqual([409, 'QUEUE_NOT_OWNED']);
    const fresh = await first.commit({ consumerId: 'worker-1', generation: again.generation, offsets });
    expect(fresh.status).toBe(200);
  });

  test('an operator commits what nobody owns, and no more', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    await send(topic, texts('a', 'b'));
    const offsets = [{ topic, broker: 'broker-a', queueId: 0, nextOffset: 2 }];
    expect((await consumer.commit({ offsets })).problem.code).toBe('QUEUE_NOT_OWNED');
    await consumer.leave();
    expect((await consumer.commit({ offsets })).status).toBe(200);
    const back = [{ ...offsets[0], nextOffset: 1 }];
    expect((await consumer.commit({ offsets: back })).problem.code).toBe('OFFSET_BACKWARDS');
    expect((await consumer.commit({ offsets: back, force: true })).status).toBe(200);
    expect((await consumer.offsets()).lag).toBe(1);
  });

  test('a cursor from before the topic was created again says so', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    await send(topic, texts('old'));
    await consumer.poll();
    await client.call('deleteTopic', { path: { topic }, query: { force: true } });
    await client.call('createTopic', { body: { name: topic, readQueues: 1, writeQueues: 1 } });
    await consumer.join();
    const reply = await consumer.raw({});
    expect([reply.status, reply.problem.code]).toEqual([409, 'TOPIC_RECREATED']);
    consumer.cursor = '';
    expect(await consumer.poll()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });
});

describe('rule 7: waiting', () => {
  test('min waits for so many, max and maxBytes end a page, one message always comes', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const large = 'x'.repeat(2000);
    await send(topic, texts(large, large, 'c'));
    expect((await consumer.poll({ maxBytes: 1 })).messages).toHaveLength(1);
    expect((await consumer.poll({ max: 1 })).messages).toHaveLength(1);
    expect(await consumer.poll({ maxBytes: 1 })).toMatchObject({ messages: [{ body: 'c' }], lag: 0 });

    const two = consumer.raw({ min: 2, waitMs: 30_000 });
    await node.untilParked(1);
    await send(topic, texts('d'));
    // One is not enough: it goes on waiting.
    await node.untilParked(1);
    await send(topic, texts('e'));
    expect(bodies((await two).body.messages)).toEqual(['d', 'e']);
  });

  test('min is no obstacle when the wait is over', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    await send(topic, texts('a'));
    expect(bodies((await consumer.poll({ min: 5, waitMs: 0 })).messages)).toEqual(['a']);
  });

  test('readQueue waits at the end only, and is woken by the next message', async () => {
    const topic = await newTopic();
    const path = { topic, broker: 'broker-a', queueId: 0 };
    const read = (query: RequestParts['query']) =>
      client.call('readQueue', { path, query: { waitMs: 30_000, ...query } });
    const waiting = read({ offset: 0, tag: ['wanted', 'other'] });
    await node.untilParked(1);
    await send(topic, { body: 'a', tag: 'unwanted' });
    await node.untilParked(1);
    await send(topic, { messages: [{ body: 'b', tag: 'wanted' }, { body: 'c' }, { body: 'd', tag: 'other' }] });
    const page = (await waiting).body;
    expect(page).toMatchObject({ nextOffset: 4, minOffset: 0, maxOffset: 4 });
    expect(bodies(page.messages)).toEqual(['b', 'd']);
    expect((await read({ offset: 0 })).body.messages).toHaveLength(4);
  });

  test('who owns no queue waits as well, until it gets one', async () => {
    const topic = await newTopic();
    const owner = new Consumer(topic, 'worker-1');
    const spare = new Consumer(topic, 'worker-2');
    await owner.join();
    await spare.join();
    expect(await spare.poll()).toMatchObject({ messages: [], reason: 'NOT_ASSIGNED', lag: 0 });
    const waiting = spare.raw({ waitMs: 30_000 });
    await node.untilParked(1);
    await send(topic, texts('a'));
    await owner.leave();
    const { body } = await waiting;
    const messages = body.messages.length > 0 ? body.messages : (await spare.poll()).messages;
    expect(bodies(messages)).toEqual(['a']);
  });

  test('a waiting poll reads what its topic grows by, and is told when it may not be read any more', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const change = async (body: object) => {
      const waiting = consumer.raw({ waitMs: 30_000 });
      await node.untilParked(1);
      await client.call('updateTopic', { path: { topic }, body });
      return (await waiting).body;
    };
    const waiting = consumer.raw({ waitMs: 30_000 });
    await node.untilParked(1);
    await client.call('updateTopic', { path: { topic }, body: { readQueues: 3, writeQueues: 3 } });
    await send(topic, { body: 'in a new queue', queue: { broker: 'broker-a', queueId: 2 } });
    const { body } = await waiting;
    expect(bodies(body.messages)).toEqual(['in a new queue']);
    consumer.cursor = body.cursor;
    const { consumers } = (await client.call('listConsumers', { path: { group: consumer.path.group } })).body;
    expect(consumers[0]!.queues.map(({ queueId }) => queueId)).toEqual([0, 1, 2]);
    expect(await change({ permission: 'W' })).toMatchObject({ messages: [], reason: 'REBALANCED' });
    expect((await consumer.raw({})).problem.code).toBe('NO_PERMISSION');
  });

  test('a change of the filter is seen by the next poll', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join({ filter: { type: 'TAG', expression: 'a' } });
    await send(topic, {
      messages: [
        { body: '1', tag: 'a' },
        { body: '2', tag: 'b' },
      ],
    });
    expect(bodies((await consumer.poll()).messages)).toEqual(['1']);
    await client.call('updateGroup', {
      path: { group: consumer.path.group },
      body: { filter: { type: 'TAG', expression: 'b || a' } },
    });
    consumer.cursor = '';
    expect(bodies((await consumer.poll()).messages)).toEqual(['1', '2']);
    // Both ways of writing it are the same subscription.
    await consumer.join({ filter: { type: 'TAG', expression: 'a||b' } });
  });
});

describe('rule 9: many at once', () => {
  test('all stored is 200, some is 207, none for one reason is that reason, for several it is 207', async () => {
    const topic = await newTopic({ tagPolicy: 'DECLARED' });
    const good = { body: 'good' };
    const undeclared = { body: 'bad', tag: 'undeclared' };
    const grouped = { body: 'bad', messageGroup: 'g' };

    expect((await send(topic, { messages: [good, good] })).status).toBe(200);

    const some = await send(topic, { messages: [undeclared, good, grouped] });
    expect(some.status).toBe(207);
    expect(some.body.results).toMatchObject([
      { status: 'FAILED', error: { code: 'TAG_NOT_DECLARED', status: 422, requestId: some.headers['x-request-id'] } },
      { status: 'SEND_OK', queueOffset: 2 },
      { status: 'FAILED', error: { code: 'MESSAGE_TYPE_MISMATCH', status: 422 } },
    ]);

    const none = await send(topic, { messages: [undeclared, undeclared] });
    expect([none.status, none.problem.code]).toEqual([422, 'TAG_NOT_DECLARED']);
    expect(none.problem['results']).toMatchObject([{ status: 'FAILED' }, { status: 'FAILED' }]);

    const mixed = await send(topic, { messages: [undeclared, grouped] });
    expect(mixed.status).toBe(207);
    expect(mixed.body.results.map(({ error }) => error!.code)).toEqual(['TAG_NOT_DECLARED', 'MESSAGE_TYPE_MISMATCH']);

    const { queues } = (await client.call('listQueues', { path: { topic } })).body;
    expect(queues[0]!.maxOffset).toBe(3);
  });
});

describe('rule 10: Idempotency-Key', () => {
  const key = () => ({ 'idempotency-key': `key-${++count}` });

  test('the same again stores nothing and gets the first answer', async () => {
    const topic = await newTopic();
    const headers = key();
    const first = await send(topic, texts('a', 'b'), headers);
    expect(first.headers['idempotency-replayed']).toBeUndefined();
    const again = await send(topic, texts('a', 'b'), headers);
    expect([again.status, again.headers['idempotency-replayed']]).toEqual([200, 'true']);
    expect(again.body).toEqual(first.body);
    expect((await client.call('listQueues', { path: { topic } })).body.queues[0]!.maxOffset).toBe(2);
  });

  test('the key for another content is refused, in another topic it is another key', async () => {
    const [topic, other] = [await newTopic(), await newTopic()];
    const headers = key();
    await send(topic, { body: 'a' }, headers);
    const reused = await send(topic, { body: 'b' }, headers);
    expect([reused.status, reused.problem.code, reused.problem.retryable]).toEqual([
      422,
      'IDEMPOTENCY_KEY_REUSED',
      false,
    ]);
    const elsewhere = await send(other, { body: 'b' }, headers);
    expect([elsewhere.status, elsewhere.headers['idempotency-replayed']]).toEqual([200, undefined]);
  });

  test('what was refused is tried again, what was stored is not', async () => {
    const topic = await newTopic({ tagPolicy: 'DECLARED' });
    const headers = key();
    const content = { messages: [{ body: 'a' }, { body: 'b', tag: 'late' }] };
    const first = await send(topic, content, headers);
    expect(first.body.results.map(({ status }) => status)).toEqual(['SEND_OK', 'FAILED']);
    await client.call('putTag', { path: { topic, tag: 'late' } });
    const again = await send(topic, content, headers);
    expect(again.status).toBe(200);
    expect(again.body.results[0]).toEqual(first.body.results[0]);
    expect(again.body.results[1]).toMatchObject({ status: 'SEND_OK', queueOffset: 1 });
    const third = await send(topic, content, headers);
    expect([third.body, third.headers['idempotency-replayed']]).toEqual([again.body, 'true']);
  });

  test('is the same between quotation marks', async () => {
    const topic = await newTopic();
    const bare = key();
    const quoted = { 'idempotency-key': `"${bare['idempotency-key']}"` };
    const first = await send(topic, { body: 'a' }, quoted);
    const again = await send(topic, { body: 'a' }, bare);
    expect([again.body, again.headers['idempotency-replayed']]).toEqual([first.body, 'true']);
    expect((await send(topic, { body: 'b' }, quoted)).problem.code).toBe('IDEMPOTENCY_KEY_REUSED');
    for (const odd of ['"', '""', '"a', 'a"', '"a\\"b"', '"a"b', "'a'", '"a";b=1'])
      expect((await send(topic, { body: 'a' }, { 'idempotency-key': odd })).problem.code).toBe('VALIDATION_FAILED');
  });

  test('two at the same time store once', async () => {
    const topic = await newTopic();
    const headers = key();
    const replies = await Promise.all([send(topic, { body: 'a' }, headers), send(topic, { body: 'a' }, headers)]);
    const statuses = replies.map(({ status }) => status).sort();
    expect([[200, 200].join(), [200, 409].join()]).toContain(statuses.join());
    for (const reply of replies.filter(({ status }) => status === 409)) {
      expect([reply.problem.code, reply.headers['retry-after']]).toEqual(['IDEMPOTENCY_IN_PROGRESS', '1']);
    }
    expect((await client.call('listQueues', { path: { topic } })).body.queues[0]!.maxOffset).toBe(1);
  });
});

test('rule 21: a time may be text as RFC 3339 writes it, wherever a request takes one', async () => {
  const topic = await newTopic({ type: 'MIXED' });
  const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
  const later = new Date(Math.ceil(Date.now() / 1000 + 3600) * 1000);
  const sent = await send(topic, {
    messages: [
      { body: 'now', tag: 't' },
      { body: 'later', deliverAt: later.toISOString() },
    ],
  });
  expect(sent.body.results[1]).toMatchObject({ deliverTimestamp: later.getTime() });
  const lines = { bytes: `{"body":"x","deliverAt":"${later.toISOString()}"}`, contentType: 'application/x-ndjson' };
  const raw = {
    bytes: 'x',
    contentType: 'text/plain',
    query: { deliverAt: later.toISOString().replace('.000Z', '+00:00') },
  };
  for (const parts of [lines, raw])
    expect((await client.call('sendMessages', { path: { topic }, ...parts })).body.results[0]).toMatchObject({
      deliverTimestamp: later.getTime(),
    });
  const found = async (query: object) =>
    (await client.call('queryMessages', { path: { topic }, query: { tag: 't', ...query } })).body.messages.length;
  expect([await found({ from: ago(60_000) }), await found({ to: ago(60_000) })]).toEqual([1, 0]);
  const path = { topic, broker: 'broker-a', queueId: 0 };
  const offset = async (at: string) => (await client.call('searchOffset', { path, query: { at } })).body.offset;
  expect([await offset(ago(60_000)), await offset(later.toISOString())]).toEqual([0, 1]);
  const group = `${topic}-readers`;
  const settings = { topic, consumeFrom: 'TIMESTAMP', consumeTimestamp: '2026-01-15T12:00:00Z' };
  const made = await client.call('putGroup', { path: { group }, body: settings });
  expect(made.body.consumeTimestamp).toBe(Date.UTC(2026, 0, 15, 12));
  const to = { to: 'TIMESTAMP', timestamp: later.toISOString() };
  const reset = await client.call('resetOffsets', { path: { group }, body: to });
  expect(reset.body.results[0]).toMatchObject({ from: 0, to: 1 });
});

describe('rule 19: a tag and a filter that names it', () => {
  test('meet in whatever form they were written', async () => {
    const topic = await newTopic();
    const [composed, decomposed] = ['r\u00e9clam\u00e9', 're\u0301clame\u0301'];
    await send(topic, { body: '1', tag: ` ${decomposed} ` });
    await send(topic, { body: '2', tag: composed });
    const raw = { bytes: '3', contentType: 'text/plain', query: { tag: `${decomposed}\u00a0` } };
    await client.call('sendMessages', { path: { topic }, ...raw });
    const filters = [`x || ${decomposed}`, composed].map((expression) => ({ type: 'TAG', expression }) as const);
    for (const filter of [...filters, { type: 'SQL92', expression: `TAGS = '${decomposed}'` } as const]) {
      const { body } = await client.call('testFilter', { path: { topic }, body: { filter } });
      expect([filter, body.matched]).toEqual([filter, 3]);
    }
    const path = { topic, broker: 'broker-a', queueId: 0 };
    for (const tag of [composed, ` ${decomposed}`]) {
      const page = (await client.call('readQueue', { path, query: { offset: 0, tag } })).body;
      const found = (await client.call('queryMessages', { path: { topic }, query: { tag } })).body;
      expect([page.messages.length, found.messages.map((message) => message.tag)]).toEqual([
        3,
        Array(3).fill(composed),
      ]);
    }
    const declared = await newTopic({ tagPolicy: 'DECLARED' });
    await client.call('putTag', { path: { topic: declared, tag: 'paid' } });
    expect((await send(declared, { body: 'a', tag: ' paid ' })).status).toBe(200);
  });
});

describe('rules 11 and 12: bodies', () => {
  let topic: string;
  beforeAll(async () => void (topic = await newTopic()));

  /** What a consumer gets for what was sent. */
  async function delivered(parts: RequestParts) {
    const sent = await client.call('sendMessages', { path: { topic }, ...parts });
    expect([sent.status, sent.text.slice(0, 300)]).toEqual([200, sent.text.slice(0, 300)]);
    const { messageId } = sent.body.results[0]!;
    const message = (await client.call('getMessage', { path: { topic, messageId: messageId! } })).body;
    return { body: message.body, bodyEncoding: message.bodyEncoding, contentType: message.contentType };
  }

  const BYTES = Buffer.from([0xde, 0xad, 0xbe, 0xef]);
  const json = (body: unknown): RequestParts => ({ body });
  const raw = (bytes: Buffer | string, contentType?: string): RequestParts => ({
    bytes,
    ...(contentType && { contentType }),
  });

  type Shown = [body: string, bodyEncoding?: string | undefined, contentType?: string];
  const BASE64 = 'BASE64';
  const DEAD = '3q2+7w==';

  test.each<[string, RequestParts, Shown]>([
    ['text', json({ body: 'a' }), ['a']],
    ['text that looks like JSON stays text', json({ body: '{"a":1}' }), ['{"a":1}']],
    ['text with a content type', json({ body: '<a/>', contentType: 'text/xml' }), ['<a/>', undefined, 'text/xml']],
    ['text, said so', json({ body: 'YQ==', bodyEncoding: 'TEXT' }), ['YQ==']],
    ['text beyond the first plane', json({ body: 'ä€😀\u0000' }), ['ä€😀\u0000']],
    ['JSON', json({ bodyJson: { a: [1, null, 'ä'] } }), ['{"a":[1,null,"ä"]}', undefined, 'application/json']],
    ['JSON that is null', json({ bodyJson: null }), ['null', undefined, 'application/json']],
    ['JSON that is false', json({ bodyJson: false }), ['false', undefined, 'application/json']],
    [
      'JSON with numbers and names that JavaScript would write otherwise',
      raw('{"bodyJson":{"b":0.0,"1":1e-400,"b":12345678901234567890}}', 'application/json'),
      ['{"b":0.0,"1":1e-400,"b":12345678901234567890}', undefined, 'application/json'],
    ],
    ['bytes', json({ body: DEAD, bodyEncoding: 'BASE64' }), [DEAD, BASE64]],
    ['bytes that are text stay bytes', json({ body: 'YQ==', bodyEncoding: 'BASE64' }), ['YQ==', BASE64]],
    ['raw text', raw('ä 1', 'text/plain'), ['ä 1', undefined, 'text/plain']],
    ['raw text with a charset', raw('ä', 'text/plain; charset=UTF-8'), ['ä', undefined, 'text/plain; charset=UTF-8']],
    [
      'raw text in another charset is bytes',
      raw(Buffer.from([0xe4]), 'text/plain; charset=latin1'),
      ['5A==', BASE64, 'text/plain; charset=latin1'],
    ],
    ['raw bytes that are no UTF-8', raw(BYTES, 'application/octet-stream'), [DEAD, BASE64, 'application/octet-stream']],
    ['a raw picture', raw(BYTES, 'image/png'), [DEAD, BASE64, 'image/png']],
    ['raw bytes of no type', raw('hello'), ['aGVsbG8=', BASE64]],
    [
      'a JSON document of another type is a text',
      raw('{"a": 1}', 'application/cloudevents+json'),
      ['{"a": 1}', undefined, 'application/cloudevents+json'],
    ],
    ['XML', raw('<a>ä</a>', 'application/xml'), ['<a>ä</a>', undefined, 'application/xml']],
    ['a picture that is XML', raw('<svg/>', 'image/svg+xml'), ['<svg/>', undefined, 'image/svg+xml']],
    ['YAML', raw('a: ä', 'application/yaml; x=y'), ['a: ä', undefined, 'application/yaml; x=y']],
    ['a script', raw('a()', 'application/javascript'), ['a()', undefined, 'application/javascript']],
    ['XML that names another encoding', raw(BYTES, 'application/soap+xml'), [DEAD, BASE64, 'application/soap+xml']],
    [
      'XML in another charset',
      raw('<a/>', 'application/xml; charset=utf-16'),
      ['PGEvPg==', BASE64, 'application/xml; charset=utf-16'],
    ],
    ['a line of NDJSON', raw('\n {"body":"a"} \r\n\n', 'application/x-ndjson'), ['a']],
    [
      'NDJSON with JSON in it',
      raw('{"bodyJson":{"a":1}}', 'application/x-ndjson'),
      ['{"a":1}', undefined, 'application/json'],
    ],
    ['JSON with a byte order mark', raw('\ufeff{"body":"a"}', 'application/json'), ['a']],
    ['JSON under its full name', raw('{"body":"a"}', 'Application/JSON; charset="UTF-8"'), ['a']],
  ])('%s', async (_, parts, [body, bodyEncoding, contentType]) => {
    expect(await delivered(parts)).toEqual({ body, bodyEncoding, contentType });
  });

  test('a body of exactly 4 MiB', async () => {
    const large = 'x'.repeat(4 * 1024 * 1024);
    for (const parts of [json({ body: large }), raw(large, 'text/plain'), raw(Buffer.from(large))]) {
      const sent = await client.call('sendMessages', { path: { topic }, ...parts });
      expect(sent.status).toBe(200);
    }
  });

  test('a thousand messages in one request', async () => {
    const other = await newTopic();
    const sent = await send(other, { messages: Array.from({ length: 1000 }, (_, i) => ({ body: `${i}` })) });
    expect(sent.body.results.map(({ queueOffset }) => queueOffset)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    const path = { topic: other, broker: 'broker-a', queueId: 0 };
    const page = (await client.call('readQueue', { path, query: { offset: 0, max: 1000 } })).body;
    expect(bodies(page.messages)).toEqual(Array.from({ length: 1000 }, (_, i) => `${i}`));
  });

  test('what a raw body cannot say stands in the query', async () => {
    const fifo = await newTopic({ type: 'FIFO' });
    const sent = await client.call('sendMessages', {
      path: { topic: fifo },
      ...raw('x', 'text/plain'),
      query: { tag: 'created', key: ['1', '2'], property: ['a:b:c', 'empty:'], messageGroup: 'customer-7' },
    });
    const { messageId } = sent.body.results[0]!;
    const message = (await client.call('getMessage', { path: { topic: fifo, messageId: messageId! } })).body;
    expect(message).toMatchObject({
      tag: 'created',
      keys: ['1', '2'],
      properties: { a: 'b:c', empty: '' },
      messageGroup: 'customer-7',
    });
  });

  test('one messageGroup, one queue, in order', async () => {
    const fifo = await newTopic({ type: 'FIFO', readQueues: 4, writeQueues: 4 });
    const results = [];
    for (let i = 0; i < 4; i += 1)
      results.push(...(await send(fifo, { body: `${i}`, messageGroup: 'customer-7' })).body.results);
    expect(new Set(results.map(({ queueId }) => queueId)).size).toBe(1);
    expect(results.map(({ queueOffset }) => queueOffset)).toEqual([0, 1, 2, 3]);
  });

  test('properties named like members of every object are only names', async () => {
    const properties = { constructor: 'a', toString: 'b', hasOwnProperty: 'c' };
    const { messageId } = (await send(topic, { body: 'x', properties })).body.results[0]!;
    expect((await client.call('getMessage', { path: { topic, messageId: messageId! } })).body.properties).toEqual(
      properties,
    );
  });
});

describe('rule 13: browsers', () => {
  const origin = 'https://console.example';

  test('a configured origin may call, and read the headers it needs', async () => {
    const topic = await newTopic();
    for (const headers of [{ origin }, { origin, 'sec-fetch-site': 'cross-site' }]) {
      const reply = await client.call('getTopic', { path: { topic }, headers: headers });
      expect(reply.headers).toMatchObject({ 'access-control-allow-origin': origin, vary: 'Origin' });
      expect(reply.headers['access-control-expose-headers']).toContain('ETag');
    }
    const problem = await client.call('getTopic', { path: { topic: 'nowhere' }, headers: { origin } });
    expect(problem.headers['access-control-allow-origin']).toBe(origin);
  });

  test('its preflight is answered', async () => {
    const reply = await client.request('OPTIONS', '/v1/topics/any', {
      headers: { origin, 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'if-match' },
    });
    expect(reply.status).toBe(204);
    expect(reply.headers['access-control-allow-origin']).toBe(origin);
    expect(reply.headers['access-control-allow-methods']).toContain('PATCH');
    expect(reply.headers['access-control-allow-headers']).toContain('If-Match');
  });

  test('nothing is kept by caches without being asked for again', async () => {
    const topic = await newTopic();
    for (const reply of [
      await client.call('listTopics'),
      await client.call('readQueue', { path: { topic, broker: 'broker-a', queueId: 0 }, query: { offset: 0 } }),
      await client.request('GET', '/openapi.json'),
      await client.request('GET', '/nowhere'),
    ]) {
      expect(reply.headers['cache-control']).toBe('no-store');
      expect(reply.headers['etag']).toBeUndefined();
      expect(reply.headers['x-powered-by']).toBeUndefined();
    }
  });
});

describe('rule 14: lists', () => {
  /** All pages of a list, one entry each. */
  async function pages<Page extends { cursor?: string }>(
    next: (query: NonNullable<RequestParts['query']>) => Promise<Page>,
  ): Promise<Page[]> {
    const all = [await next({ limit: 1 })];
    for (let page = all[0]!; page.cursor !== undefined; all.push(page))
      page = await next({ limit: 1, cursor: page.cursor });
    return all;
  }

  test('topics and groups come by name, page by page, each once', async () => {
    const made = ['list-b', 'list-a', 'list-A', 'list.c'];
    for (const name of made) {
      await client.call('createTopic', { body: { name } });
      await client.call('putGroup', { path: { group: name }, body: { topic: name } });
    }
    const topics = await pages(async (query) => (await client.call('listTopics', { query })).body);
    const names = topics.flatMap((page) => page.topics.map(({ name }) => name));
    expect(names).toEqual([...new Set(names)].sort());
    expect(names).toEqual(expect.arrayContaining(made));
    expect(topics.at(-1)!.topics).toHaveLength(1);
    const groups = await pages(async (query) => (await client.call('listGroups', { query })).body);
    expect(groups.flatMap((page) => page.groups.map(({ name }) => name))).toEqual(
      expect.arrayContaining(['list-A', 'list-a']),
    );
    const routes = await pages(async (query) => (await nameserver.call('listNameserverRoutes', { query })).body);
    expect(routes.flatMap((page) => page.routes.map(({ topic }) => topic)).sort()).toEqual(names);
  });

  test('a page goes on where it ended, though its last entry is gone', async () => {
    const { cursor } = (await client.call('listTopics', { query: { limit: 1 } })).body;
    const [first, second] = (await client.call('listTopics')).body.topics;
    await client.call('deleteTopic', { path: { topic: first!.name }, query: { force: true } });
    const page = (await client.call('listTopics', { query: { limit: 1, cursor: cursor! } })).body;
    expect(page.topics[0]!.name).toBe(second!.name);
    await client.call('createTopic', { body: { name: first!.name, readQueues: 1, writeQueues: 1 } });
  });

  test('an empty list is a page', async () => {
    const fresh = await Standalone.start();
    const other = http(fresh.url, contract);
    fresh.closeFirst(() => other.close());
    try {
      expect((await other.call('listTopics')).body).toEqual({ topics: [] });
      expect((await other.call('listGroups', { query: { system: true } })).body).toEqual({ groups: [] });
    } finally {
      await fresh.stop();
    }
  });
});

describe('rule 15: updates', () => {
  test('a topic changes only for who has seen its present state', async () => {
    const topic = await newTopic({ description: 'first' });
    const read = await client.call('getTopic', { path: { topic } });
    const etag = read.headers['etag']!;
    expect(etag).toMatch(/^"[^"]+"$/);
    const update = (body: object, headers: Record<string, string>) =>
      client.call('updateTopic', { path: { topic }, body, headers });
    const changed = await update({ description: 'second' }, { 'if-match': etag });
    expect(changed.body).toMatchObject({ description: 'second', version: 2 });
    expect(changed.headers['etag']).not.toBe(etag);
    const late = await update({ description: 'third' }, { 'if-match': etag });
    expect([late.status, late.problem.code]).toEqual([412, 'PRECONDITION_FAILED']);
    const either = await update({ description: 'third' }, { 'if-match': `"x", ${changed.headers['etag']}` });
    expect(either.status).toBe(200);
    expect((await client.call('deleteTopic', { path: { topic }, headers: { 'if-match': etag } })).status).toBe(412);
    expect((await client.call('deleteTopic', { path: { topic }, headers: { 'if-match': '*' } })).status).toBe(204);
  });

  test('a change that changes nothing keeps the version', async () => {
    const topic = await newTopic();
    const before = await client.call('getTopic', { path: { topic } });
    const after = await client.call('updateTopic', { path: { topic }, body: { permission: 'RW' } });
    expect([after.body, after.headers['etag']]).toEqual([before.body, before.headers['etag']]);
  });

  test('PATCH merges, null resets', async () => {
    const topic = await newTopic({ description: 'gone soon', permission: 'R', tagPolicy: 'DECLARED' });
    const update = async (body: object) => (await client.call('updateTopic', { path: { topic }, body })).body;
    expect(await update({ description: 'kept' })).toMatchObject({
      description: 'kept',
      permission: 'R',
      tagPolicy: 'DECLARED',
    });
    const reset = await update({ description: null, permission: null, tagPolicy: null });
    expect(reset).toMatchObject({ permission: 'RW', tagPolicy: 'OPEN' });
    expect(reset.description).toBeUndefined();
    const wide = await update({ readQueues: null, writeQueues: null });
    expect([wide.readQueues, wide.writeQueues, wide.partitions.length]).toEqual([8, 8, 8]);
  });

  test('PUT replaces a group; what is absent gets its default; where it began stays', async () => {
    const topic = await newTopic();
    const path = { group: `group-of-${topic}` };
    const put = (body: object, headers = {}) => client.call('putGroup', { path, body: { topic, ...body }, headers });
    const filter = { type: 'TAG', expression: 'a' };
    const created = await put({ filter, description: 'x', consumeFrom: 'LATEST' }, { 'if-none-match': '*' });
    expect(created.status).toBe(201);
    expect((await put({}, { 'if-none-match': '*' })).status).toBe(412);
    const replaced = await put({}, { 'if-match': created.headers['etag']! });
    expect(replaced.body).toMatchObject({
      filter: { expression: '*' },
      consumeFrom: 'LATEST',
      version: 2,
      id: created.body.id,
    });
    expect(replaced.body.description).toBeUndefined();
    const patched = await client.call('updateGroup', { path, body: { description: 'y' } });
    expect(patched.body).toMatchObject({ description: 'y', filter: { expression: '*' }, version: 3 });
    const reset = await client.call('updateGroup', { path, body: { description: null, mode: null, allocation: null } });
    expect(reset.body.description).toBeUndefined();
    expect((await client.call('getGroup', { path })).headers['etag']).toBe(reset.headers['etag']);
  });

  test('a tag is declared, described, withdrawn, and declared again as another one', async () => {
    const topic = await newTopic();
    const path = { topic, tag: 'created' };
    const put = (body: object | undefined, headers = {}) =>
      client.call('putTag', { path, ...(body && { body }), headers });
    const first = await put(undefined, { 'if-none-match': '*' });
    expect([first.status, first.body.description]).toEqual([201, undefined]);
    const etag = { 'if-match': first.headers['etag']! };
    const second = await put({ description: 'placed' }, etag);
    expect([second.status, second.body.description]).toEqual([200, 'placed']);
    expect((await put({}, etag)).status).toBe(412);
    expect((await client.call('deleteTag', { path, headers: etag })).status).toBe(412);
    expect((await client.call('deleteTag', { path, headers: { 'if-match': second.headers['etag']! } })).status).toBe(
      204,
    );
    expect((await client.call('deleteTag', { path })).problem.code).toBe('TAG_NOT_FOUND');
    const again = await put({});
    expect(again.status).toBe(201);
    expect((await put({ description: 'x' }, etag)).status).toBe(412);
  });
});

describe('rule 16: what destroys says what it means', () => {
  test('a topic that groups read goes with force only, and takes them along', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const refused = await client.call('deleteTopic', { path: { topic } });
    expect(refused.problem).toMatchObject({ status: 409, code: 'IN_USE', groups: [consumer.path.group] });
    const waiting = consumer.raw({ waitMs: 30_000 });
    const path = { topic, broker: 'broker-a', queueId: 0 };
    const reading = client.call('readQueue', { path, query: { offset: 0, waitMs: 30_000 } });
    await node.untilParked(2);
    expect((await client.call('deleteTopic', { path: { topic }, query: { force: true } })).status).toBe(204);
    expect((await waiting).problem.code).toBe('GROUP_NOT_FOUND');
    expect((await reading).problem.code).toBe('TOPIC_NOT_FOUND');
    expect((await consumer.raw({})).problem.code).toBe('GROUP_NOT_FOUND');
    expect((await nameserver.call('getNameserverRoute', { path: { topic } })).problem.code).toBe('TOPIC_NOT_FOUND');
    expect((await client.call('deleteTopic', { path: { topic } })).problem.code).toBe('TOPIC_NOT_FOUND');
  });

  test('a group with live members goes with force only', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const path = { group: consumer.path.group };
    expect((await client.call('deleteGroup', { path })).problem).toMatchObject({
      code: 'IN_USE',
      consumers: ['worker-1'],
    });
    expect((await client.call('deleteGroup', { path, query: { force: true } })).status).toBe(204);
    expect((await client.call('deleteGroup', { path })).problem.code).toBe('GROUP_NOT_FOUND');
  });

  test('leaving twice is harmless', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    expect((await client.call('listConsumers', { path: { group: consumer.path.group } })).body.consumers).toMatchObject(
      [{ consumerId: 'worker-1', queues: [{ topic, broker: 'broker-a', queueId: 0 }] }],
    );
    for (let i = 0; i < 2; i += 1) expect((await consumer.leave()).status).toBe(204);
    expect((await client.call('listConsumers', { path: { group: consumer.path.group } })).body.consumers).toEqual([]);
  });

  test('a reset moves everybody, a dry run nobody', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    const path = { group: consumer.path.group };
    const reset = async (body: object) => (await client.call('resetOffsets', { path, body })).body;
    await send(topic, texts('a', 'b', 'c'));
    await consumer.poll();
    await consumer.commit({ consumerId: 'worker-1', cursor: consumer.cursor });
    const place = { topic, broker: 'broker-a', queueId: 0, maxOffset: 3 };
    const moved = { results: [{ ...place, from: 3, to: 0 }], retriesToCome: 0, retriesDropped: 0 };
    expect(await reset({ to: 'EARLIEST', dryRun: true })).toEqual({ dryRun: true, ...moved });
    expect((await consumer.offsets()).lag).toBe(0);
    expect(await reset({ to: 'EARLIEST' })).toEqual({ dryRun: false, ...moved });
    // The cursor from before does not lead past the reset.
    const after = await consumer.poll();
    expect(bodies(after.messages)).toEqual(['a', 'b', 'c']);
    expect(after.dropped).toEqual([{ topic, broker: 'broker-a', queueId: 0 }]);
    expect(
      (await reset({ to: 'OFFSET', offset: 2, queues: [{ broker: 'broker-a', queueId: 0 }] })).results[0]!.to,
    ).toBe(2);
    expect((await reset({ to: 'OFFSET', offset: 99 })).results[0]!.to).toBe(3);
    expect((await reset({ to: 'TIMESTAMP', timestamp: 0 })).results[0]!.to).toBe(0);
    expect((await reset({ to: 'LATEST' })).results[0]!.to).toBe(3);
    expect((await consumer.offsets()).lag).toBe(0);
  });
});

describe('rule 18: names', () => {
  test('the longest and oddest that are allowed', async () => {
    const topic = `${'t'.repeat(124)}._-`;
    const group = `${'g'.repeat(117)}._-`;
    const consumerId = `${'c'.repeat(123)}.:@_-`;
    const tag = `${'x'.repeat(123)}.:@_-`;
    await client.call('createTopic', { body: { name: topic, readQueues: 1, writeQueues: 1 } });
    const consumer = new Consumer(topic, consumerId, group);
    await consumer.join();
    await client.call('putTag', { path: { topic, tag } });
    await send(topic, { body: 'a', tag });
    const { messages } = await consumer.poll();
    expect(messages).toMatchObject([{ topic, tag, body: 'a' }]);
    await consumer.commit({ consumerId, cursor: consumer.cursor });
    expect((await consumer.offsets()).lag).toBe(0);
    await client.call('deleteTopic', { path: { topic }, query: { force: true } });
  });

  test('names that JavaScript knows are names', async () => {
    for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
      expect((await client.call('getTopic', { path: { topic: name } })).problem.code).toBe('TOPIC_NOT_FOUND');
      expect((await client.call('createTopic', { body: { name, readQueues: 1, writeQueues: 1 } })).status).toBe(201);
      const consumer = new Consumer(name, name, name);
      await consumer.join();
      await client.call('putTag', { path: { topic: name, tag: name } });
      await send(name, { body: 'a', tag: name });
      expect(bodies((await consumer.poll()).messages)).toEqual(['a']);
      const { declared, seen } = (await client.call('listTags', { path: { topic: name } })).body;
      expect([declared.map(({ tag }) => tag), seen.map(({ tag }) => tag)]).toEqual([[name], [name]]);
      expect((await nameserver.call('getNameserverRoute', { path: { topic: name } })).body.topic).toBe(name);
      await client.call('deleteTopic', { path: { topic: name }, query: { force: true } });
    }
  });

  test('the retry and dead-letter topics of a group have names, and do not exist before they are needed', async () => {
    for (const topic of ['~RETRY~billing', '~DLQ~billing', '%RETRY%billing', '%DLQ%billing']) {
      const reply = await client.call('getTopic', { path: { topic } });
      expect([reply.status, reply.problem.code]).toEqual([404, 'TOPIC_NOT_FOUND']);
      expect(reply.problem.detail).toContain(topic.replaceAll('~', '%'));
    }
  });
});

describe('permissions of a topic', () => {
  test('W gives no messages, R takes none', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    await send(topic, texts('a'));
    const permit = (permission: string) => client.call('updateTopic', { path: { topic }, body: { permission } });
    const path = { topic, broker: 'broker-a', queueId: 0 };
    await permit('W');
    expect((await consumer.raw({})).problem.code).toBe('NO_PERMISSION');
    expect((await client.call('readQueue', { path, query: { offset: 0 } })).problem.code).toBe('NO_PERMISSION');
    expect((await send(topic, texts('b'))).status).toBe(200);
    await permit('R');
    expect((await send(topic, texts('c'))).problem.code).toBe('NO_PERMISSION');
    expect(bodies((await consumer.poll()).messages)).toEqual(['a', 'b']);
    const { queues } = (await client.call('listQueues', { path: { topic } })).body;
    expect(queues).toMatchObject([{ readable: true, writable: false, permission: 'R' }]);
    expect((await nameserver.call('getNameserverRoute', { path: { topic } })).body.queues).toMatchObject([
      { permission: 'R' },
    ]);
  });
});

describe('rule 20 and the root of every port', () => {
  const ports: [string, () => Http][] = [
    ['the broker', () => client],
    ['the NameServer', () => nameserver],
  ];

  test.each(ports)('%s is alive, ready and measured', async (_, of) => {
    expect((await of().call('livez')).body).toEqual({ status: 'OK' });
    const ready = (await of().call('readyz')).body;
    expect([ready.status, ready.checks.every(({ ok }) => ok)]).toEqual(['OK', true]);
    const metrics = await of().call('metrics');
    expect(metrics.headers['content-type']).toMatch(/^text\/plain/);
    expect(metrics.text).toContain('process_cpu_seconds_total');
    expect(metrics.text).toMatch(/gantry_http_request_duration_seconds_count\{operation="livez",status="200"\} \d/);
  });

  test.each(ports)('%s says what it is', async (_, of) => {
    expect((await of().call('getVersion')).body).toEqual({ name: 'gantry', version: VERSION, features: [] });
    const page = await of().request('GET', '/', { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } });
    expect([page.status, page.headers['location']]).toEqual([302, './docs/']);
    const program = await of().request('GET', '/', { headers: { accept: 'application/json' } });
    expect([program.status, program.headers['location']]).toEqual([302, './v1']);
    const docs = await of().request('GET', '/docs/');
    expect(docs.headers['content-type']).toMatch(/^text\/html/);
    expect(docs.text).toContain('Gantry API');
  });

  test('the checks of a broker are named', async () => {
    const { checks } = (await client.call('readyz')).body;
    expect(checks.map(({ name }) => name)).toEqual(['replay', 'registration', 'disk', 'draining']);
  });

  test('the metrics count what goes through', async () => {
    const topic = await newTopic();
    const consumer = new Consumer(topic);
    await consumer.join();
    await send(topic, texts('abc', 'def'));
    await consumer.poll({ max: 1 });
    const { text } = await client.call('metrics');
    const value = (name: string) =>
      text
        .split('\n')
        .find((line) => line.startsWith(`${name}{`) && line.includes(`"${topic}"`))
        ?.split(' ')
        .at(-1);
    expect(value('rocketmq_messages_in_total')).toBe('2');
    expect(value('rocketmq_messages_out_total')).toBe('1');
    expect(value('rocketmq_consumer_lag_messages')).toBe('2');
  });

  test('a broker that is draining is alive but not ready', async () => {
    const fresh = await Standalone.start();
    const other = http(fresh.url, contract);
    fresh.closeFirst(() => other.close());
    try {
      const hurry = new AbortController();
      const drained = fresh.brokerNode.drain(600_000, hurry.signal);
      const reply = await other.call('readyz');
      expect([reply.status, reply.headers['retry-after']]).toEqual([503, '1']);
      expect(reply.body).toMatchObject({
        status: 'UNAVAILABLE',
        checks: expect.arrayContaining([expect.objectContaining({ name: 'draining', ok: false })]),
      });
      expect((await other.call('livez')).status).toBe(200);
      // Draining means: send elsewhere. A request that still comes is served, and its client told to send no more.
      const served = await other.call('listTopics');
      expect([served.status, served.headers['connection'], served.headers['gantry-stopping']]).toEqual([
        ...[200, 'close', 'true'],
      ]);
      expect(fresh.nameserver.nameserver.clusterView().clusters).toEqual([]);
      hurry.abort();
      await drained;
      const refused = await other.call('createTopic', { body: { name: 'too-late' } });
      expect([refused.status, refused.problem.code, refused.problem.retryable]).toEqual([
        ...[503, 'SERVICE_NOT_AVAILABLE', true],
      ]);
      expect((await other.call('livez')).status).toBe(200);
    } finally {
      await fresh.stop();
    }
  });

  test('the cluster shows the broker and its NameServer', async () => {
    const { cluster, brokers, nameservers } = (await client.call('getCluster')).body;
    expect([cluster, brokers.length]).toEqual(['DefaultCluster', 1]);
    expect(brokers[0]).toMatchObject({ broker: 'broker-a', role: 'MASTER', address: new URL(node.url).host });
    expect(brokers).toMatchObject(
      (await client.call('listBrokers')).body.brokers.map(({ broker, epoch }) => ({ broker, epoch })),
    );
    expect(nameservers).toMatchObject([{ reachable: true, lastRegistrationTimestamp: expect.any(Number) }]);
    const seen = (await nameserver.call('getNameserverCluster')).body;
    expect(seen.clusters).toMatchObject([
      { cluster: 'DefaultCluster', brokers: [{ broker: 'broker-a', writePermission: true }] },
    ]);
  });
});

describe('behind a proxy that adds a prefix', () => {
  let proxy: Server;
  let url: string;

  beforeAll(async () => {
    proxy = createServer((req, res) => {
      if (!req.url!.startsWith('/mq/')) return void res.writeHead(404).end();
      const { hostname, port } = new URL(node.url);
      const options = {
        hostname,
        port,
        method: req.method,
        path: req.url!.slice(3),
        headers: req.headers,
        agent: false,
      };
      const onward = request(options as object, (answer) => {
        res.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(res);
      });
      req.pipe(onward);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/mq/`;
  });
  afterAll(() => new Promise((resolve) => proxy.close(resolve)));

  const get = (target: string, accept = '*/*') =>
    new Promise<{ status: number; location: string | undefined; text: string }>((resolve, reject) => {
      request(target, { agent: false, headers: { accept } }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        answer.once('end', () => resolve({ status: answer.statusCode!, location: answer.headers.location, text }));
      })
        .once('error', reject)
        .end();
    });

  test('every link leads below the prefix', async () => {
    const root = await get(url, 'text/html');
    const docs = new URL(root.location!, url).href;
    expect(docs).toBe(`${url}docs/`);
    const bare = await get(`${url}docs`);
    expect(new URL(bare.location!, `${url}docs`).href).toBe(docs);
    const page = await get(docs);
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => new URL(link!, docs).href);
    expect(assets.length).toBeGreaterThan(3);
    for (const asset of assets) {
      expect(asset.startsWith(`${url}docs/`)).toBe(true);
      expect([asset, (await get(asset)).status]).toEqual([asset, 200]);
    }
    const script = await get(`${docs}swagger-ui-init.js`);
    const links = [...script.text.matchAll(/"url": "([^"]+)"/g)].map(([, link]) => new URL(link!, docs).href);
    expect(links).toEqual([`${url}openapi.json`, `${url}kafka-rest.json`]);
    for (const link of links) expect((await get(link)).status).toBe(200);
    const documentUrl = links[0]!;
    const document = JSON.parse((await get(documentUrl)).text) as { servers: { url: string }[] };
    const server = new URL(document.servers[0]!.url, documentUrl).href;
    expect(server).toBe(url);
    expect(JSON.parse((await get(`${server}v1`)).text)).toMatchObject({ name: 'gantry' });
  });
});
