/** What transactions promise, one scenario each, over HTTP as a producer and its consumers feel it. */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { http, type Http } from '../support/http';
import { contract, Standalone, type Flags } from '../support/node';

interface Site {
  readonly node: Standalone;
  readonly client: Http;
}

async function open(flags: Flags = {}): Promise<Site> {
  const node = await Standalone.start(flags);
  const client = http(node.url, contract);
  node.closeFirst(() => client.close());
  return { node, client };
}

let site: Site;
let count = 0;

beforeAll(async () => {
  site = await open();
});
afterAll(() => site.node.stop());

const S = 1000;

/** A topic of transfers and a producer group that nobody else uses. */
class Bank {
  readonly topic = `transfers-${++count}`;
  readonly group = `banks-${count}`;
  readonly #client: Http;

  private constructor(client: Http) {
    this.#client = client;
  }

  /** Without settings the group has none of its own. */
  static async open(settings?: object, client = site.client, type = 'TRANSACTION'): Promise<Bank> {
    const bank = new Bank(client);
    await client.call('createTopic', { body: { name: bank.topic, type, readQueues: 1, writeQueues: 1 } });
    if (settings) await client.call('putProducerGroup', { path: { producerGroup: bank.group }, body: settings });
    return bank;
  }

  async prepare(body: string, more: object = {}, headers: Record<string, string> = {}) {
    const { topic, group: producerGroup } = this;
    const request = { producerGroup, message: { body }, ...more };
    return (await this.#client.call('prepareTransaction', { path: { topic }, body: request, headers })).body;
  }

  raw = (transactionId: string, body: object) =>
    this.#client.call('endTransaction', { path: { transactionId }, body: { producerGroup: this.group, ...body } });
  end = async (transactionId: string, resolution: string, more: object = {}) =>
    (await this.raw(transactionId, { resolution, ...more })).body;
  commit = (id: string) => this.end(id, 'COMMIT');
  rollBack = (id: string) => this.end(id, 'ROLLBACK');

  view = async (transactionId: string) => (await this.#client.call('getTransaction', { path: { transactionId } })).body;
  list = async (query: Record<string, string> = {}) =>
    (await this.#client.call('listTransactions', { query: { topic: this.topic, ...query } })).body.transactions;

  async checks(waitMs = 0, query: Record<string, number> = {}) {
    const parts = { path: { producerGroup: this.group }, query: { waitMs, ...query } };
    return (await this.#client.call('pollTransactionChecks', parts)).body.checks;
  }

  /** All that consumers see. */
  async messages() {
    const path = { topic: this.topic, broker: 'broker-a', queueId: 0 };
    return (await this.#client.call('readQueue', { path, query: { offset: 0, max: 1000 } })).body.messages;
  }

  seen = async () => (await this.messages()).map(({ body }) => body);
}

const ids = (list: readonly { transactionId: string }[]): string[] => list.map(({ transactionId }) => transactionId);

describe('a half message', () => {
  test('is seen by no consumer, however he looks', async () => {
    const bank = await Bank.open();
    const { transactionId, messageId } = await bank.prepare('100 from A to B');
    const { client } = site;
    expect(await bank.seen()).toEqual([]);
    const path = { group: `readers-of-${bank.topic}` };
    await client.call('putGroup', { path, body: { topic: bank.topic } });
    expect((await client.call('receiveMessages', { path, body: { waitMs: 0 } })).body.messages).toEqual([]);
    expect((await client.call('getOffsets', { path })).body).toMatchObject({ lag: 0 });
    for (const id of [messageId, transactionId]) {
      const found = await client.call('getMessage', { path: { topic: bank.topic, messageId: id } });
      expect(found.problem.code).toBe('MESSAGE_NOT_FOUND');
    }
    // Its producer sees it, and so does the operator.
    expect(await bank.view(transactionId)).toMatchObject({ state: 'PREPARED', message: { body: '100 from A to B' } });
  });

  test('holds the text of its bodyJson as it was sent', async () => {
    const bank = await Bank.open();
    const json = '{"amount":100.10,"n":12345678901234567890,"1":1e-400,"amount":0.0}';
    const prepared = await site.client.call('prepareTransaction', {
      path: { topic: bank.topic },
      contentType: 'application/json',
      bytes: `{"producerGroup":"${bank.group}","message":{"tag":"t","bodyJson":${json}}}`,
    });
    expect(prepared.status).toBe(201);
    await bank.commit(prepared.body.transactionId);
    expect(await bank.seen()).toEqual([json]);
  });

  test('that is committed appears at its queue’s end, once, with the times of preparation and commit', async () => {
    const bank = await Bank.open(undefined, site.client, 'MIXED');
    const { transactionId, messageId, preparedTimestamp } = await bank.prepare('transfer');
    await site.client.call('sendMessages', { path: { topic: bank.topic }, body: { body: 'sent later' } });
    const waiting = site.client.call('readQueue', {
      path: { topic: bank.topic, broker: 'broker-a', queueId: 0 },
      query: { offset: 1, waitMs: 30_000 },
    });
    await site.node.untilParked(1);
    const committed = await bank.commit(transactionId);
    expect(committed).toMatchObject({ state: 'COMMITTED', queueId: 0, queueOffset: 1, messageId, checks: 0 });
    // It wakes who waits, as any message does.
    const [message] = (await waiting).body.messages;
    expect(message).toMatchObject({
      body: 'transfer',
      messageId,
      offsetMessageId: committed.offsetMessageId,
      storeTimestamp: committed.resolvedTimestamp,
      transaction: { transactionId, preparedTimestamp, commitTimestamp: committed.resolvedTimestamp },
    });
    await bank.commit(transactionId);
    expect(await bank.seen()).toEqual(['sent later', 'transfer']);
    const found = await site.client.call('getMessage', { path: { topic: bank.topic, messageId } });
    expect(found.body.queueOffset).toBe(1);
  });

  test('that is rolled back never appears', async () => {
    const bank = await Bank.open();
    const { transactionId } = await bank.prepare('transfer');
    const ended = await bank.rollBack(transactionId);
    expect(ended).toMatchObject({ state: 'ROLLED_BACK', transactionId });
    expect(ended.queueOffset).toBeUndefined();
    expect([await bank.seen(), await bank.list()]).toEqual([[], []]);
    const view = await bank.view(transactionId);
    expect([view.state, view.message]).toEqual(['ROLLED_BACK', undefined]);
  });

  test('is prepared once, however often an answer is lost', async () => {
    const bank = await Bank.open();
    const prepare = () => bank.prepare('transfer', {}, { 'idempotency-key': `${bank.group}-1` });
    const first = await prepare();
    expect([await prepare(), (await bank.list()).length]).toEqual([first, 1]);
    await bank.commit(first.transactionId);
    expect([await prepare(), await bank.seen()]).toEqual([first, ['transfer']]);
  });
});

describe('a decision', () => {
  test('UNKNOWN leaves it to be asked', async () => {
    const bank = await Bank.open();
    const { transactionId, preparedTimestamp } = await bank.prepare('transfer', { checkAfterMs: S });
    const view = await bank.end(transactionId, 'UNKNOWN');
    expect(view).toMatchObject({ state: 'PREPARED', nextCheckTimestamp: preparedTimestamp + S });
    expect(ids(await bank.checks(10 * S))).toEqual([transactionId]);
  });

  test.each([
    ['COMMIT', 'ROLLBACK'],
    ['ROLLBACK', 'COMMIT'],
  ])('%s twice answers the same, %s then is a conflict that says what was decided', async (first, second) => {
    const bank = await Bank.open();
    const { transactionId } = await bank.prepare('transfer');
    const ended = await bank.end(transactionId, first);
    expect(await bank.end(transactionId, first)).toEqual(ended);
    for (const resolution of [second, 'UNKNOWN']) {
      const { status, problem } = await bank.raw(transactionId, { resolution });
      expect([status, problem.code, problem['resolution']]).toEqual([409, 'ALREADY_RESOLVED', first]);
    }
    expect(await bank.seen()).toEqual(first === 'COMMIT' ? ['transfer'] : []);
  });

  test('made by many at once is one', async () => {
    const bank = await Bank.open();
    const { transactionId } = await bank.prepare('transfer');
    const replies = await Promise.all(
      ['COMMIT', 'ROLLBACK', 'COMMIT', 'ROLLBACK'].map((resolution) => bank.raw(transactionId, { resolution })),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 200, 409, 409]);
    const { state } = await bank.view(transactionId);
    expect(await bank.seen()).toEqual(state === 'COMMITTED' ? ['transfer'] : []);
  });

  test('about several has a result for each', async () => {
    const bank = await Bank.open();
    const made: string[] = [];
    for (let i = 0; i < 4; i++) made.push((await bank.prepare(`transfer ${i}`)).transactionId);
    await bank.rollBack(made[3]!);
    const end = (...resolutions: string[]) =>
      site.client.call('endTransactions', {
        body: {
          producerGroup: bank.group,
          resolutions: resolutions.map((resolution, i) => ({ transactionId: made[i], resolution })),
        },
      });
    const { status, body } = await end('COMMIT', 'ROLLBACK', 'UNKNOWN', 'COMMIT');
    expect([status, body.results.map(({ state, error }) => state ?? error?.code)]).toEqual([
      207,
      ['COMMITTED', 'ROLLED_BACK', 'PREPARED', 'ALREADY_RESOLVED'],
    ]);
    expect((await end('COMMIT', 'ROLLBACK', 'COMMIT')).status).toBe(200);
    expect(await bank.seen()).toEqual(['transfer 0', 'transfer 2']);
  });
});

test('a thousand decisions fit into one request, as many as a poll can ask for', async () => {
  const bank = await Bank.open();
  const { transactionId } = await bank.prepare('transfer');
  const resolutions = Array.from({ length: 1000 }, () => ({ transactionId, resolution: 'COMMIT' }));
  const { status, body } = await site.client.call('endTransactions', { body: { resolutions } });
  expect([status, body.results.length, await bank.seen()]).toEqual([200, 1000, ['transfer']]);
});

describe('what nobody has decided', () => {
  test('is asked about after six seconds first, unless the group or the message says otherwise', async () => {
    const plain = await Bank.open();
    const slow = await Bank.open({ checkAfterMs: 60 * S });
    const after = async (bank: Bank, more: object = {}) => {
      const { transactionId, preparedTimestamp } = await bank.prepare('transfer', more);
      return (await bank.view(transactionId)).nextCheckTimestamp! - preparedTimestamp;
    };
    expect([await after(plain), await after(plain, { checkAfterMs: 2 * S })]).toEqual([6 * S, 2 * S]);
    expect([await after(slow), await after(slow, { checkAfterMs: 3600 * S })]).toEqual([60 * S, 3600 * S]);
  });

  test('is asked about again every thirty seconds, by default fifteen times', async () => {
    const bank = await Bank.open({});
    const settings = await site.client.call('getProducerGroup', { path: { producerGroup: bank.group } });
    expect(settings.body).toMatchObject({ checkAfterMs: 6 * S, checkIntervalMs: 30 * S, maxChecks: 15 });
    const { transactionId } = await bank.prepare('transfer', { checkAfterMs: S });
    const [check] = await bank.checks(10 * S);
    expect(check).toMatchObject({ transactionId, checks: 1, message: { body: 'transfer' } });
    const { checks, nextCheckTimestamp } = await bank.view(transactionId);
    expect([checks, Math.round((nextCheckTimestamp! - Date.now()) / (10 * S))]).toEqual([1, 3]);
  });

  test('is parked after the last question; then an operator decides', async () => {
    const bank = await Bank.open({ checkAfterMs: S, checkIntervalMs: S, maxChecks: 2 });
    const { transactionId } = await bank.prepare('transfer');
    for (const n of [1, 2]) expect(await bank.checks(10 * S)).toMatchObject([{ transactionId, checks: n }]);
    let parked: string[] = [];
    while (parked.length === 0) {
      expect(await bank.checks(100)).toEqual([]);
      parked = ids(await bank.list({ state: 'PARKED' }));
    }
    expect([parked, await bank.list({ state: 'PREPARED' }), await bank.seen()]).toEqual([[transactionId], [], []]);
    const byOperator = { path: { transactionId }, body: { resolution: 'COMMIT' } };
    expect((await site.client.call('endTransaction', byOperator)).body.state).toBe('COMMITTED');
    expect([await bank.list(), await bank.seen()]).toEqual([[], ['transfer']]);
  });
});

describe('a question by long poll', () => {
  test('reaches any member of the producer group: several share the work', async () => {
    const bank = await Bank.open({ checkAfterMs: S, checkIntervalMs: 3600 * S });
    const members = [1, 2, 3].map(() => bank.checks(30 * S, { max: 2 }));
    await site.node.untilParked(3);
    const made: string[] = [];
    for (let i = 0; i < 6; i++) made.push((await bank.prepare(`transfer ${i}`)).transactionId);
    const answers = await Promise.all(members);
    const asked = answers.flat();
    // Some of them may have come alone, and what is asked then comes a moment later.
    while (asked.length < made.length) asked.push(...(await bank.checks(10 * S)));
    expect(asked.map(({ transactionId }) => transactionId).sort()).toEqual(made.sort());
    expect(answers.every((checks) => checks.length > 0)).toBe(true);
  });

  test('reaches no other group, which cannot answer it either', async () => {
    const bank = await Bank.open();
    const { transactionId } = await bank.prepare('transfer', { checkAfterMs: S });
    const others = site.client.call('pollTransactionChecks', {
      path: { producerGroup: 'somebody-else' },
      query: { waitMs: 1500 },
    });
    const [mine, theirs] = await Promise.all([bank.checks(10 * S), others]);
    expect([ids(mine), theirs.body.checks]).toEqual([[transactionId], []]);
    const { problem } = await bank.raw(transactionId, { resolution: 'COMMIT', producerGroup: 'somebody-else' });
    expect([problem.status, problem.code]).toEqual([409, 'PRODUCER_GROUP_MISMATCH']);
    expect(await bank.seen()).toEqual([]);
  });
});

describe('a question by webhook', () => {
  let any: Site;
  beforeAll(async () => {
    any = await open({ 'webhook-networks': 'any' });
  });
  afterAll(() => any.node.stop());

  interface Question {
    readonly headers: Record<string, string>;
    readonly body: string;
    readonly at: number;
  }

  /** A producer's server: answers as `answer` says, and hands over what it was asked. */
  async function producer(answer: (question: Question, n: number) => [status: number, body: string]) {
    const asked: Question[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (part: string) => (body += part));
      request.on('end', () => {
        asked.push({ headers: request.headers as Record<string, string>, body, at: Date.now() });
        const [status, text] = answer(asked.at(-1)!, asked.length);
        response.writeHead(status).end(text);
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const stop = async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    };
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, asked, stop };
  }

  /** Waits for a message, as a consumer does. */
  const firstMessage = async (bank: Bank) => {
    const path = { topic: bank.topic, broker: 'broker-a', queueId: 0 };
    const query = { offset: 0, waitMs: 30_000 };
    return (await any.client.call('readQueue', { path, query })).body.messages[0]!;
  };

  test('is a POST with a signature of Standard Webhooks; what it answers is done', async () => {
    const theirs = await producer(() => [200, '{"resolution":"COMMIT"}']);
    try {
      const bank = await Bank.open(undefined, any.client);
      const set = await any.client.call('putProducerGroup', {
        path: { producerGroup: bank.group },
        body: { checkAfterMs: S, webhook: { url: theirs.url } },
      });
      const { secret } = set.body.webhook!;
      const { transactionId } = await bank.prepare('100 from A to B');
      expect(await firstMessage(bank)).toMatchObject({ body: '100 from A to B', transaction: { transactionId } });
      const [{ headers, body }] = theirs.asked as [Question];
      expect(JSON.parse(body)).toMatchObject({
        type: 'transaction.check',
        data: { transactionId, topic: bank.topic, checks: 1, message: { body: '100 from A to B' } },
      });
      const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
      const key = Buffer.from(secret!.slice('whsec_'.length), 'base64');
      expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
    } finally {
      await theirs.stop();
    }
  });

  test('is asked again later, longer each time, while the producer is away', async () => {
    const theirs = await producer((_, n) => (n < 3 ? [503, ''] : [200, '{"resolution":"COMMIT"}']));
    try {
      const settings = { checkAfterMs: S, checkIntervalMs: S, webhook: { url: theirs.url } };
      const bank = await Bank.open(settings, any.client);
      await bank.prepare('transfer');
      await firstMessage(bank);
      const [first, second, third] = theirs.asked.map(({ at }) => at);
      expect(theirs.asked).toHaveLength(3);
      expect(second! - first!).toBeGreaterThanOrEqual(S - 50);
      expect(third! - second!).toBeGreaterThanOrEqual(2 * S - 50);
    } finally {
      await theirs.stop();
    }
  });

  test('is not put while somebody polls', async () => {
    const theirs = await producer(() => [200, '{"resolution":"ROLLBACK"}']);
    try {
      const bank = await Bank.open({ checkAfterMs: S, webhook: { url: theirs.url } }, any.client);
      const polling = bank.checks(30 * S);
      await any.node.untilParked(1);
      const { transactionId } = await bank.prepare('transfer');
      expect([ids(await polling), theirs.asked]).toEqual([[transactionId], []]);
    } finally {
      await theirs.stop();
    }
  });

  test('leads to no private or loopback address unless the operator allows it', async () => {
    for (const url of ['http://127.0.0.1:1/', 'http://10.0.0.1/', 'http://169.254.169.254/', 'http://[::1]/']) {
      const path = { producerGroup: 'inside' };
      const { problem } = await site.client.call('putProducerGroup', { path, body: { webhook: { url } } });
      expect([problem.status, problem.code]).toEqual([422, 'WEBHOOK_REFUSED']);
      expect(problem.detail).toContain('--webhook-networks any');
      expect((await any.client.call('putProducerGroup', { path, body: { webhook: { url } } })).status).toBeLessThan(
        300,
      );
    }
  });
});

describe('the settings of a producer group', () => {
  const path = { producerGroup: 'settled' };
  const url = 'https://example.com/checks';

  test('keep the key of a webhook as long as its URL stays, and tell it once', async () => {
    const put = async (webhook: object) =>
      (await site.client.call('putProducerGroup', { path, body: { webhook } })).body.webhook!;
    const first = await put({ url });
    expect(first.secret).toMatch(/^whsec_/);
    expect(await put({ url })).toEqual({ url });
    // The key is still the first one: to name it changes nothing.
    expect(await put({ url, secret: first.secret })).toEqual({ url });
    const other = await put({ url: `${url}/2` });
    expect(other.secret).not.toBe(first.secret);
  });

  test('are changed field by field, guarded by their version', async () => {
    const set = await site.client.call('putProducerGroup', { path, body: { maxChecks: 3, webhook: { url } } });
    const patch = (body: object, headers: Record<string, string> = {}) =>
      site.client.call('updateProducerGroup', { path, body, headers });
    const changed = await patch({ checkAfterMs: 9000 }, { 'If-Match': set.headers['etag']! });
    expect(changed.body).toMatchObject({ maxChecks: 3, checkAfterMs: 9000, webhook: { url } });
    expect(changed.body.webhook).toEqual({ url });
    expect((await patch({ maxChecks: 4 }, { 'If-Match': set.headers['etag']! })).status).toBe(412);
    const reset = await patch({ maxChecks: null, webhook: null });
    expect(reset.body).toMatchObject({ maxChecks: 15, checkAfterMs: 9000 });
    expect(reset.body).not.toHaveProperty('webhook');
    const nobody = { producerGroup: 'nobody' };
    expect((await site.client.call('updateProducerGroup', { path: nobody, body: {} })).problem.code).toBe(
      'PRODUCER_GROUP_NOT_FOUND',
    );
  });

  test('are listed and deleted; a group with open transactions is kept unless forced', async () => {
    const bank = await Bank.open();
    const banks = { producerGroup: bank.group };
    await site.client.call('putProducerGroup', { path: banks, body: {} });
    const list = await site.client.call('listProducerGroups', { query: { limit: 1000 } });
    expect(list.body.producerGroups.map(({ producerGroup }) => producerGroup)).toContain(bank.group);
    const { transactionId: id } = await bank.prepare('pay');
    const remove = (query: object = {}, headers: Record<string, string> = {}) =>
      site.client.call('deleteProducerGroup', { path: banks, query: query as never, headers });
    const { problem } = await remove();
    expect([problem.code, problem['transactionIds']]).toEqual(['IN_USE', [id]]);
    expect((await remove({ force: true }, { 'If-Match': '"other.1"' })).status).toBe(412);
    expect((await remove({ force: true })).status).toBe(204);
    expect((await remove({ force: true })).status).toBe(404);
    expect((await site.client.call('getTransaction', { path: { transactionId: id } })).body.state).toBe('PREPARED');
  });
});
