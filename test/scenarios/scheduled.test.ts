/** What messages for later promise, and the types of topics, one scenario each, over HTTP as senders and consumers feel it. */
import { DELAY_LEVELS_MS } from '../../src/broker/delayLevels';
import { Children, KilledProcessDisk } from '../support/child';
import { http, type Http, type RequestParts } from '../support/http';
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

const S = 1000;
const DAY = 24 * 3600 * S;

/** A topic that nobody else uses. */
class Calendar {
  readonly topic = `reminders-${++count}`;
  readonly path = { topic: this.topic };

  static async open(type = 'DELAY'): Promise<Calendar> {
    const calendar = new Calendar();
    await client.call('createTopic', { body: { name: calendar.topic, type, readQueues: 1, writeQueues: 1 } });
    return calendar;
  }

  raw = (parts: RequestParts) => client.call('sendMessages', { path: this.path, ...parts });
  async send(...messages: object[]) {
    return (await this.raw({ body: { messages } })).body.results;
  }

  list = async (query: RequestParts['query'] = {}) =>
    (await client.call('listScheduled', { path: this.path, query })).body;
  recall = (messageId: string) => client.call('recallScheduled', { path: { ...this.path, messageId } });

  /** What consumers see from `offset` on; waits for it. */
  async read(offset = 0, waitMs = 30_000) {
    const path = { ...this.path, broker: 'broker-a', queueId: 0 };
    return (await client.call('readQueue', { path, query: { offset, waitMs } })).body.messages;
  }

  /** The first `wanted` that come, in the order in which they come. */
  async readAll(wanted: number) {
    const all: Awaited<ReturnType<Calendar['read']>> = [];
    while (all.length < wanted) all.push(...(await this.read(all.length)));
    return all;
  }
}

const bodies = (list: readonly { body: string }[]): string[] => list.map(({ body }) => body);

describe('a message for later', () => {
  test('waits for milliseconds, until a time, or for one of RocketMQ’s 18 levels', async () => {
    const calendar = await Calendar.open();
    const deliverAt = Date.now() + 40 * DAY - 60 * S;
    const levels = DELAY_LEVELS_MS.map((_, i) => ({ body: `level ${i + 1}`, delayLevel: i + 1 }));
    const results = await calendar.send({ body: 'ms', delayMs: 90 * S }, { body: 'at', deliverAt }, ...levels);
    const [ms, at, ...rest] = results;
    expect(at).toMatchObject({ status: 'SEND_OK', deliverTimestamp: deliverAt });
    expect(at!.queueOffset).toBeUndefined(); // it has no place in a queue yet
    // All of one request are born at one time.
    const born = ms!.deliverTimestamp! - 90 * S;
    expect(rest.map(({ deliverTimestamp }) => deliverTimestamp! - born)).toEqual(DELAY_LEVELS_MS);
    expect(DELAY_LEVELS_MS.map((wait) => wait / S)).toEqual([
      ...[1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200],
    ]);
  });

  test('comes when its time has come, never before, and soon', async () => {
    const calendar = await Calendar.open();
    const waits = Array.from({ length: 100 }, (_, i) => 200 + ((i * 37) % 100) * 8);
    const sent = await calendar.send(...waits.map((delayMs, i) => ({ body: `${i}`, delayMs })));
    expect(await calendar.read(0, 0)).toEqual([]);
    const messages = await calendar.readAll(waits.length);
    const now = Date.now();
    const due = new Map(sent.map(({ messageId, deliverTimestamp }) => [messageId, deliverTimestamp!]));
    for (const { messageId, storeTimestamp, deliverTimestamp } of messages) {
      expect(deliverTimestamp).toBe(due.get(messageId));
      expect(storeTimestamp).toBeGreaterThanOrEqual(deliverTimestamp!);
    }
    expect(new Set(bodies(messages)).size).toBe(waits.length);
    expect(now - Math.max(...due.values())).toBeLessThan(patience(5 * S));
    const times = messages.map(({ deliverTimestamp }) => deliverTimestamp!);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  test('whose time is past is there at once', async () => {
    const calendar = await Calendar.open();
    const results = await calendar.send({ body: 'past', deliverAt: 1 }, { body: 'now', delayMs: 0 });
    expect(results).toMatchObject([{ queueOffset: 0 }, { queueOffset: 1 }]);
    expect(bodies(await calendar.read())).toEqual(['past', 'now']);
  });

  test('may be a raw body, with its delay in the query', async () => {
    const calendar = await Calendar.open();
    const raw = (query: Record<string, number>) => calendar.raw({ bytes: 'wake up', contentType: 'text/plain', query });
    for (const query of [{ delayMs: 60 * S }, { deliverAt: Date.now() + DAY }, { delayLevel: 18 }])
      expect((await raw(query)).body.results[0]!.deliverTimestamp).toBeGreaterThan(Date.now());
    expect((await raw({ delayMs: 0 })).body.results[0]!.queueOffset).toBe(0);
  });

  test('is known by its Idempotency-Key while it waits, and when it has come', async () => {
    const calendar = await Calendar.open();
    const send = () =>
      calendar.raw({ body: { body: 'once', delayMs: 300 }, headers: { 'idempotency-key': calendar.topic } });
    const first = await send();
    expect([(await send()).body, (await calendar.list()).scheduled.length]).toEqual([first.body, 1]);
    await calendar.read();
    const again = await send();
    expect([again.body, again.headers['idempotency-replayed']]).toEqual([first.body, 'true']);
    expect(await calendar.list()).toEqual({ scheduled: [] });
  });

  test('outlives the retention of messages', async () => {
    const forgetful = await Standalone.start({ 'retention-ms': '1000', 'retention-check-ms': '100' });
    const calls = http(forgetful.url, contract);
    forgetful.closeFirst(() => calls.close());
    try {
      const path = { topic: 'reminders', broker: 'broker-a', queueId: 0 };
      await calls.call('createTopic', { body: { name: path.topic, type: 'MIXED', readQueues: 1, writeQueues: 1 } });
      const send = (body: object) => calls.call('sendMessages', { path, body });
      await send({ messages: [{ body: 'gone' }, { body: 'kept', delayMs: 3 * S }] });
      const minOffset = async () => (await calls.call('listQueues', { path })).body.queues[0]!.minOffset;
      while ((await minOffset()) === 0) await send({ body: 'more' });
      expect(bodies((await calls.call('listScheduled', { path })).body.scheduled)).toEqual(['kept']);
      // All that was sent beside it goes, too: what is read is what is left.
      for (let offset = await minOffset(), found = false; !found;) {
        const reply = await calls.call('readQueue', { path, query: { offset, waitMs: 1000 } });
        if (reply.status !== 200) offset = reply.problem['nextOffset'] as number;
        else {
          found = bodies(reply.body.messages).includes('kept');
          offset = reply.body.nextOffset;
        }
      }
    } finally {
      await forgetful.stop();
    }
  });
});

describe('what waits', () => {
  test('is listed, the next one first, page by page', async () => {
    const calendar = await Calendar.open();
    const waits = [5, 3, 9, 1, 7, 2, 8, 4, 6].map((minutes) => ({ body: `${minutes}`, delayMs: minutes * 60 * S }));
    await calendar.send(...waits);
    const pages: string[][] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined;) {
      const page: Awaited<ReturnType<Calendar['list']>> = await calendar.list({
        limit: 4,
        cursor: cursor || undefined,
      });
      pages.push(bodies(page.scheduled));
      ({ cursor } = page);
    }
    expect(pages).toEqual([['1', '2', '3', '4'], ['5', '6', '7', '8'], ['9']]);
  });

  test('can be taken back before its time, and never comes', async () => {
    const calendar = await Calendar.open();
    const [gone] = await calendar.send({ body: 'gone', delayMs: 400 }, { body: 'kept', delayMs: 800 });
    expect((await calendar.recall(gone!.messageId!)).status).toBe(204);
    expect(bodies((await calendar.list()).scheduled)).toEqual(['kept']);
    const again = await calendar.recall(gone!.messageId!);
    expect([again.status, again.problem.code]).toEqual([404, 'MESSAGE_NOT_FOUND']);
    expect(bodies(await calendar.read())).toEqual(['kept']);
  });

  test('cannot be taken back when its time has come', async () => {
    const calendar = await Calendar.open();
    const [sent] = await calendar.send({ body: 'come', delayMs: 100 });
    await calendar.read();
    const { status, problem } = await calendar.recall(sent!.messageId!);
    expect([status, problem.code]).toEqual([409, 'ALREADY_DELIVERED']);
    expect(bodies(await calendar.read())).toEqual(['come']);
  });

  test('survives a restart; what was due meanwhile comes at the start', async () => {
    const disk = new KilledProcessDisk();
    const children = new Children();
    try {
      const data = await disk.prepare();
      const before = await children.start({ data });
      await before.ask('POST', '/v1/topics', { name: 'reminders', type: 'DELAY', readQueues: 1, writeQueues: 1 });
      const messages = [
        { body: 'due while it was down', delayMs: 300 },
        { body: 'later', delayMs: 3600 * S },
      ];
      const { results } = await before.ask('POST', '/v1/topics/reminders/messages', { messages });
      await before.kill();
      const { deliverTimestamp } = results[0] as { deliverTimestamp: number };
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, deliverTimestamp - Date.now())));
      const after = await children.start({ data });
      const read = '/v1/topics/reminders/queues/broker-a/0/messages?offset=0&waitMs=30000';
      expect((await after.ask('GET', read)).messages).toMatchObject([{ body: 'due while it was down' }]);
      const { scheduled } = await after.ask('GET', '/v1/topics/reminders/scheduled');
      expect(scheduled).toMatchObject([{ body: 'later' }]);
    } finally {
      await children.killAll();
      await disk.remove();
    }
  });
});

describe('the type of a topic', () => {
  const KINDS = {
    NORMAL: {},
    FIFO: { messageGroup: 'customer-7' },
    DELAY: { delayMs: 3600 * S },
  };

  test.each(['NORMAL', 'FIFO', 'DELAY', 'TRANSACTION', 'MIXED'])('%s is enforced', async (type) => {
    const { path } = await Calendar.open(type);
    const outcomes: string[] = [];
    for (const [kind, attributes] of Object.entries(KINDS)) {
      const reply = await client.call('sendMessages', { path, body: { body: 'x', ...attributes } });
      if (reply.status === 200) outcomes.push(kind);
      else expect([reply.status, reply.problem.code]).toEqual([422, 'MESSAGE_TYPE_MISMATCH']);
    }
    const body = { producerGroup: 'banks', message: { body: 'x' } };
    const prepared = await client.call('prepareTransaction', { path, body });
    if (prepared.status === 201) outcomes.push('TRANSACTION');
    else expect([prepared.status, prepared.problem.code]).toEqual([422, 'MESSAGE_TYPE_MISMATCH']);
    expect(outcomes).toEqual(type === 'MIXED' ? ['NORMAL', 'FIFO', 'DELAY', 'TRANSACTION'] : [type]);
  });
});

describe('a batch', () => {
  test('may have messages for now, for later, and ones that are refused: each has its result', async () => {
    const calendar = await Calendar.open('MIXED');
    const { status, body } = await calendar.raw({
      body: {
        messages: [
          { body: 'now' },
          { body: 'later', delayMs: 60 * S },
          { body: 'too late', delayMs: 41 * DAY },
          { body: 'in order', messageGroup: 'customer-7' },
        ],
      },
    });
    expect(status).toBe(207);
    expect(body.results).toMatchObject([
      { status: 'SEND_OK', queueOffset: 0 },
      { status: 'SEND_OK', deliverTimestamp: expect.any(Number) as number },
      { status: 'FAILED', error: { code: 'DELAY_TOO_LONG' } },
      { status: 'SEND_OK', queueOffset: 1 },
    ]);
    expect(bodies(await calendar.read())).toEqual(['now', 'in order']);
    expect(bodies((await calendar.list()).scheduled)).toEqual(['later']);
  });

  test('of lines may have delays, too', async () => {
    const calendar = await Calendar.open('MIXED');
    const bytes = '{"body":"later","delayLevel":5}\n{"body":"now"}\n';
    const { body } = await calendar.raw({ bytes, contentType: 'application/x-ndjson' });
    expect(body.results).toMatchObject([{ deliverTimestamp: expect.any(Number) as number }, { queueOffset: 0 }]);
  });

  test('with a key stores nothing twice, whatever waits in it', async () => {
    const calendar = await Calendar.open('MIXED');
    const messages = [{ body: 'now' }, { body: 'later', delayMs: 60 * S }];
    const send = () => calendar.raw({ body: { messages }, headers: { 'idempotency-key': calendar.topic } });
    const first = await send();
    expect((await send()).body).toEqual(first.body);
    expect([(await calendar.read()).length, (await calendar.list()).scheduled.length]).toEqual([1, 1]);
  });
});
