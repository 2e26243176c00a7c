/** Transactions of several brokers through a front: each is where its id says, and questions are fetched once. */
import { producerGroupFront } from '../../../api/front/producerGroupFront';
import { transactionFront } from '../../../api/front/transactionFront';
import type { PeerAnswer } from '../../../api/front/peer';
import type { OperationId } from '../../../api/operation';
import { rendezvous } from '../../../src/cluster/rendezvous';
import { answered, bodyOf, failureOf, FrontBench, refused, type Asked, type BenchSpec } from './frontBench';

const ALL = ['a', 'b', 'c'];

interface Asking {
  readonly query: { readonly limit?: number; readonly cursor?: string; readonly waitMs?: number };
  readonly body: { readonly resolutions?: { transactionId: string }[] };
}
const asking = ({ request }: Asked): Asking => request as unknown as Asking;

class TransactionBench extends FrontBench {
  readonly #table = { ...transactionFront(this), ...producerGroupFront(this.rounds) };

  constructor(spec: BenchSpec = {}) {
    super({ topics: { orders: 2, single: 1 }, ...spec });
  }

  ask(id: OperationId, parts: object = {}) {
    return this.through(this.#table, id, parts);
  }

  /** Every broker answers the same way. */
  all(answer: (asked: Asked) => PeerAnswer | Promise<PeerAnswer>): void {
    for (const broker of this.brokers.values()) broker.answer = answer;
  }
}

describe('preparing', () => {
  const prepare = (t: TransactionBench, key?: string) => {
    const body = { producerGroup: 'banks', message: { body: 'm' } };
    const headers = key === undefined ? {} : { 'Idempotency-Key': key };
    const bytes = Buffer.from(JSON.stringify(body));
    return t.ask('prepareTransaction', { path: { topic: 'orders' }, body, bodyBytes: bytes, headers });
  };

  test('goes to each broker in turn, and elsewhere when it was surely not prepared', async () => {
    const t = new TransactionBench();
    t.all(({ broker }) => answered(201, { transactionId: broker }));
    t.broker('b').network = 'REFUSING';
    for (let i = 0; i < 6; i++) expect((await prepare(t)).result.status).toBe(201);
    expect(new Set(t.askedBrokers)).toEqual(new Set(ALL));
    expect(t.askedBrokers.filter((name) => name === 'b')).toHaveLength(1);
  });

  test('with a key goes to its home, and an unknown outcome may be repeated', async () => {
    const t = new TransactionBench();
    const [home] = rendezvous('k1', ALL);
    t.broker(home!).network = 'HUNG';
    expect(await failureOf(prepare(t, 'k1'))).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: true });
    expect(t.askedBrokers).toEqual([home]);
  });
});

describe('by its id', () => {
  test.each(['endTransaction', 'getTransaction'] as const)('%s is asked of its broker', async (id) => {
    const t = new TransactionBench();
    t.all(({ broker }) => answered(200, { broker }));
    for (const broker of ALL) {
      const transactionId = t.broker(broker).idOf(7);
      const { result } = await t.ask(id, { path: { transactionId }, body: { resolution: 'COMMIT' } });
      expect(bodyOf(result)).toEqual({ broker });
    }
    expect(t.askedBrokers).toEqual(ALL);
  });

  test('an id of no broker is unknown', async () => {
    const t = new TransactionBench();
    const path = { transactionId: '0'.repeat(32) };
    expect(await failureOf(t.ask('getTransaction', { path }))).toMatchObject({ code: 'TRANSACTION_NOT_FOUND' });
    expect(t.asked).toEqual([]);
  });

  test('a broker that is away is not taken for one that has none', async () => {
    const t = new TransactionBench();
    const path = { transactionId: t.broker('b').idOf(7) };
    await t.fleet.brokers();
    t.broker('b').listed = false;
    for (const ms of [0, 30_000, 30_000]) {
      await t.clock.advance(ms);
      t.broker('b').network = 'REFUSING';
      const failure = await failureOf(t.ask('getTransaction', { path }));
      expect(failure).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
    }
  });

  test('a decision whose answer is lost is unknown', async () => {
    const t = new TransactionBench();
    t.broker('b').network = 'LOSING';
    const parts = { path: { transactionId: t.broker('b').idOf(7) }, body: { resolution: 'COMMIT' } };
    t.broker('b').answer = () => answered(200, {});
    expect(await failureOf(t.ask('endTransaction', parts))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });
});

test('a request for a broker that hangs is refused soon once one call hung there, a query, too', async () => {
  const t = new TransactionBench();
  const path = { transactionId: t.broker('b').idOf(7) };
  t.broker('b').network = 'HUNG';
  await t.timed(failureOf(t.front.change(t.call('leaveGroup'), 'b', 'leaveGroup', { path: {} as never, query: {} })));
  for (const id of ['getTransaction', 'endTransaction'] as const) {
    const started = t.clock.monotonic();
    expect(await failureOf(t.ask(id, { path, body: {} }))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
    expect(t.clock.monotonic() - started).toBeLessThanOrEqual(1000);
  }
  t.broker('b').network = 'UP';
  t.broker('b').answer = () => answered(200, { state: 'COMMITTED' });
  expect((await t.ask('getTransaction', { path })).result.status).toBe(200);
});

describe('several decisions', () => {
  const decide = (t: TransactionBench, ids: readonly string[]) => {
    const resolutions = ids.map((transactionId) => ({ transactionId, resolution: 'COMMIT' }));
    return t.ask('endTransactions', { body: { producerGroup: 'banks', resolutions } });
  };
  const each = (asked: Asked) =>
    answered(200, {
      results: asking(asked).body.resolutions!.map((one) => ({ status: 'OK', ...one, broker: asked.broker })),
    });

  test('are split by broker and put together in the order of the request', async () => {
    const t = new TransactionBench();
    t.all(each);
    const ids = ['c', 'a', 'b', 'a', 'c'].map((name, i) => t.broker(name).idOf(i));
    const { result } = await decide(t, ids);
    const { results } = bodyOf<{ results: { transactionId: string; broker: string }[] }>(result);
    expect(result.status).toBe(200);
    expect(results.map(({ transactionId }) => transactionId)).toEqual(ids);
    expect(results.map(({ broker }) => broker)).toEqual(['c', 'a', 'b', 'a', 'c']);
    expect([...t.askedBrokers].sort()).toEqual(ALL);
  });

  test('of one broker are passed on', async () => {
    const t = new TransactionBench();
    t.all(each);
    expect(
      (
        await decide(
          t,
          [1, 2, 3].map((i) => t.broker('b').idOf(i)),
        )
      ).result.status,
    ).toBe(200);
    expect(t.askedBrokers).toEqual(['b']);
  });

  test('fail one by one: unknown, away, refused', async () => {
    const t = new TransactionBench();
    t.all(each);
    t.broker('b').network = 'REFUSING';
    t.broker('c').answer = () => refused('NOT_MASTER');
    const ids = [t.broker('a').idOf(1), '0'.repeat(32), t.broker('b').idOf(1), t.broker('c').idOf(1)];
    const { result } = await decide(t, ids);
    const { results } = bodyOf<{ results: { transactionId: string; error?: { code: string } }[] }>(result);
    expect(result.status).toBe(207);
    expect(results.map(({ transactionId, error }) => [transactionId, error?.code])).toEqual([
      [ids[0], undefined],
      [ids[1], 'TRANSACTION_NOT_FOUND'],
      [ids[2], 'SERVICE_NOT_AVAILABLE'],
      [ids[3], 'NOT_MASTER'],
    ]);
  });

  test('none of which anybody knows', async () => {
    const t = new TransactionBench();
    const { result } = await decide(t, ['0'.repeat(32), '1'.repeat(32)]);
    expect(result.status).toBe(404);
    expect(bodyOf(result)).toMatchObject({ code: 'TRANSACTION_NOT_FOUND' });
  });
});

describe('listing', () => {
  /** Each broker has so many; its own cursor is the number it goes on with. */
  const holding = (counts: Record<string, number>) => (asked: Asked) => {
    const { limit = 100, cursor = '0' } = asking(asked).query;
    const from = Number(cursor);
    const to = Math.min(from + limit, counts[asked.broker]!);
    const transactions = Array.from({ length: to - from }, (_, i) => `${asked.broker}${from + i}`);
    return answered(200, { transactions, ...(to < counts[asked.broker]! ? { cursor: String(to) } : {}) });
  };

  test.each([1, 2, 3, 4, 100])('goes through all brokers, %i at a time', async (limit) => {
    const t = new TransactionBench();
    t.all(holding({ a: 3, b: 0, c: 2 }));
    const found: string[] = [];
    for (let cursor: string | undefined, pages = 0; pages === 0 || cursor !== undefined; pages++) {
      expect(pages).toBeLessThan(20);
      const { result } = await t.ask('listTransactions', { query: { limit, ...(cursor && { cursor }) } });
      const body = bodyOf<{ transactions: string[]; cursor?: string }>(result);
      expect(body.transactions.length).toBeLessThanOrEqual(limit);
      found.push(...body.transactions);
      cursor = body.cursor;
    }
    expect(found).toEqual(['a0', 'a1', 'a2', 'c0', 'c1']);
  });

  test('names who is away', async () => {
    const t = new TransactionBench();
    t.all(holding({ a: 1, b: 1, c: 1 }));
    t.broker('b').network = 'REFUSING';
    const { result } = await t.ask('listTransactions', { query: { limit: 10 } });
    expect(bodyOf(result)).toEqual({ transactions: ['a0', 'c0'], unavailable: ['b'] });
  });

  test('names a broker whose part was not finished and that has gone', async () => {
    const t = new TransactionBench();
    t.all(holding({ a: 1, b: 3, c: 1 }));
    const first = bodyOf<{ cursor: string }>((await t.ask('listTransactions', { query: { limit: 2 } })).result);
    t.broker('b').listed = false;
    await t.clock.advance(30_000);
    const query = { limit: 10, cursor: first.cursor };
    expect(bodyOf((await t.ask('listTransactions', { query })).result)).toEqual({
      transactions: ['c0'],
      unavailable: ['b'],
    });
  });

  test('leaves nobody out who has just come back', async () => {
    const t = new TransactionBench();
    t.all(holding({ a: 1, b: 1, c: 1 }));
    t.broker('b').listed = false;
    const listed = async () => bodyOf((await t.ask('listTransactions', { query: { limit: 10 } })).result);
    expect(await listed()).toEqual({ transactions: ['a0', 'c0'] });
    t.broker('b').listed = true;
    expect(await listed()).toEqual({ transactions: ['a0', 'b0', 'c0'] });
  });

  test('of a topic asks its brokers alone', async () => {
    const t = new TransactionBench();
    t.partitions.set('single', [{ broker: 'b', queueId: 0 }]);
    t.all(holding({ a: 1, b: 1, c: 1 }));
    await t.ask('listTransactions', { query: { limit: 10, topic: 'single' } });
    expect(t.askedBrokers).toEqual(['b']);
  });

  test('refuses a cursor of another list', async () => {
    const t = new TransactionBench();
    const query = { limit: 10, cursor: 'eyJhZnRlciI6IjcifQ' };
    expect(await failureOf(t.ask('listTransactions', { query }))).toMatchObject({ code: 'CURSOR_INVALID' });
  });

  test('fails when nobody can be asked', async () => {
    const t = new TransactionBench();
    for (const name of ALL) t.broker(name).network = 'REFUSING';
    const failure = await failureOf(t.ask('listTransactions', { query: { limit: 10 } }));
    expect(failure).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
  });
});

describe('the settings of a producer group', () => {
  const order = rendezvous('banks', ALL);
  const path = { producerGroup: 'banks' };

  test('are set at the first live broker in the order of its name', async () => {
    const t = new TransactionBench();
    t.all(({ broker }) => answered(200, { broker }, { etag: '"1"' }));
    t.broker(order[0]!).network = 'REFUSING';
    const { result } = await t.ask('putProducerGroup', { path, body: {} });
    expect(bodyOf(result)).toEqual({ broker: order[1] });
    expect(result.headers).toMatchObject({ ETag: '"1"' });
    expect(t.askedBrokers).toEqual(order.slice(0, 2));
  });

  test('are set at no other one when nobody knows whether they were', async () => {
    const t = new TransactionBench();
    t.broker(order[0]!).answer = () => answered(200, {});
    t.broker(order[0]!).network = 'LOSING';
    expect(await failureOf(t.ask('putProducerGroup', { path, body: {} }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(t.askedBrokers).toEqual([order[0]]);
  });

  test('a precondition that fails there has failed', async () => {
    const t = new TransactionBench();
    t.all(() => refused('PRECONDITION_FAILED'));
    expect((await t.ask('putProducerGroup', { path, body: {} })).result.status).toBe(412);
    expect(t.asked).toHaveLength(1);
  });

  test('are looked for until somebody has them; none has', async () => {
    const t = new TransactionBench();
    t.all(() => refused('PRODUCER_GROUP_NOT_FOUND'));
    expect(await failureOf(t.ask('getProducerGroup', { path }))).toMatchObject({ code: 'PRODUCER_GROUP_NOT_FOUND' });
    expect(t.askedBrokers).toEqual(order);
    t.broker(order[2]!).answer = () => answered(200, { found: true });
    expect(bodyOf((await t.ask('getProducerGroup', { path })).result)).toEqual({ found: true });
  });
});

describe('producer groups', () => {
  const path = { producerGroup: 'banks' };
  const NONE = { transactions: [] };
  const remove = (t: TransactionBench, force = false) => t.ask('deleteProducerGroup', { path, query: { force } });

  test('are listed once, in their newest state, by name; a broker that is away is named', async () => {
    const t = new TransactionBench();
    const lists: Readonly<Record<string, object[]>> = {
      a: [{ producerGroup: 'banks', version: 1 }],
      b: [
        { producerGroup: 'banks', version: 2 },
        { producerGroup: 'shops', version: 1 },
      ],
    };
    t.all(({ broker }) => answered(200, { producerGroups: lists[broker] }));
    t.broker('c').network = 'REFUSING';
    expect(bodyOf((await t.ask('listProducerGroups', { query: { limit: 10 } })).result)).toEqual({
      producerGroups: lists['b'],
      unavailable: ['c'],
    });
  });

  test('are kept while a transaction is open anywhere', async () => {
    const t = new TransactionBench();
    t.all(({ broker }) => answered(200, broker === 'c' ? { transactions: [{ transactionId: 'T1' }] } : NONE));
    expect(await failureOf(remove(t))).toMatchObject({
      code: 'IN_USE',
      extras: { members: { transactionIds: ['T1'] } },
    });
    expect(new Set(t.asked.map(({ operation }) => operation))).toEqual(new Set(['listTransactions']));
  });

  test('are kept while a broker cannot be asked, unless forced', async () => {
    const t = new TransactionBench();
    t.all(({ operation }) => (operation === 'listTransactions' ? answered(200, NONE) : answered(204, {})));
    t.broker('b').network = 'REFUSING';
    expect(await failureOf(remove(t))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
    expect((await remove(t, true)).result.status).toBe(204);
    expect(t.asked.filter(({ operation }) => operation === 'deleteProducerGroup')).not.toEqual([]);
  });

  test('are deleted at one broker', async () => {
    const t = new TransactionBench();
    t.all(({ operation }) => (operation === 'listTransactions' ? answered(200, NONE) : answered(204, {})));
    expect((await remove(t)).result.status).toBe(204);
    expect(t.asked.map(({ operation }) => operation).sort()).toEqual([
      ...['deleteProducerGroup', 'listTransactions', 'listTransactions', 'listTransactions'],
    ]);
  });
});

describe('questions', () => {
  const path = { producerGroup: 'banks' };
  const poll = (t: TransactionBench, waitMs: number) =>
    t.ask('pollTransactionChecks', { path, query: { max: 32, waitMs } });
  /** Has nothing: a wait ends after its time. */
  const nothing =
    (t: TransactionBench) =>
    async ({ operation, request }: Asked) => {
      if (operation === 'pollTransactionChecks') return answered(200, { checks: [] });
      await new Promise<void>((resolve) => void t.clock.after(asking({ request } as Asked).query.waitMs!, resolve));
      return answered(200, { ready: false });
    };
  const operations = (t: TransactionBench) => t.asked.map(({ broker, operation }) => `${broker} ${operation}`);

  test('are fetched from the first broker that has some, without waiting', async () => {
    for (const has of ALL) {
      const t = new TransactionBench();
      t.all(nothing(t));
      t.broker(has).answer = () => answered(200, { checks: [has] });
      const { result, ms } = await poll(t, 5000);
      expect([bodyOf(result), ms]).toEqual([{ checks: [has] }, 0]);
      expect(t.asked.every(({ operation }) => operation === 'pollTransactionChecks')).toBe(true);
      expect(t.asked.every((asked) => asking(asked).query.waitMs === 0)).toBe(true);
    }
  });

  test('calls begin at any broker', async () => {
    const firsts = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const t = new TransactionBench({ seed });
      t.all(({ broker }) => answered(200, { checks: [broker] }));
      await poll(t, 0);
      firsts.add(t.askedBrokers[0]!);
    }
    expect([...firsts].sort()).toEqual(ALL);
  });

  test('none within the time', async () => {
    const t = new TransactionBench();
    t.all(nothing(t));
    const { result, ms } = await poll(t, 5000);
    expect(bodyOf(result)).toEqual({ checks: [], reason: 'CAUGHT_UP' });
    expect(ms).toBe(5000);
  });

  test('none, because they are not due: one broker that says so is enough', async () => {
    const t = new TransactionBench();
    t.all(() => answered(200, { checks: [], reason: 'CAUGHT_UP' }));
    t.broker('b').answer = () => answered(200, { checks: [], reason: 'NOT_DUE' });
    expect(bodyOf((await poll(t, 0)).result)).toEqual({ checks: [], reason: 'NOT_DUE' });
  });

  test('one broker alone is asked once', async () => {
    const t = new TransactionBench({ brokers: ['a'] });
    t.all(() => answered(200, { checks: [] }));
    expect(bodyOf((await poll(t, 5000)).result)).toEqual({ checks: [] });
    expect(t.asked.map(({ request }) => request.query)).toEqual([{ max: 32, waitMs: 5000 }]);
  });

  test.each(ALL)('a wait takes nothing; when %s has something first, it alone is asked', async (has) => {
    const t = new TransactionBench();
    t.all(nothing(t));
    let due = false;
    t.broker(has).answer = async ({ operation }) => {
      if (operation === 'pollTransactionChecks') return answered(200, { checks: due ? [has] : [] });
      await new Promise<void>((resolve) => void t.clock.after(1000, resolve));
      due = true;
      return answered(200, { ready: true });
    };
    const { result, ms } = await poll(t, 5000);
    expect([bodyOf(result), ms]).toEqual([{ checks: [has] }, 1000]);
    expect(operations(t).slice(6)).toEqual([`${has} pollTransactionChecks`]);
  });

  test('when somebody else was faster the wait goes on', async () => {
    const t = new TransactionBench();
    t.all(nothing(t));
    let waits = 0;
    t.broker('b').answer = async (asked) => {
      if (asked.operation === 'pollTransactionChecks') return answered(200, { checks: waits > 1 ? ['b'] : [] });
      await new Promise<void>((resolve) => void t.clock.after(1000, resolve));
      waits += 1;
      return answered(200, { ready: true });
    };
    const { result, ms } = await poll(t, 5000);
    expect([bodyOf(result), ms]).toEqual([{ checks: ['b'] }, 2000]);
  });

  test('a broker that hangs makes no wait longer', async () => {
    const t = new TransactionBench();
    t.all(nothing(t));
    t.broker('a').network = 'HUNG';
    expect((await poll(t, 5000)).ms).toBe(5000);
    t.broker('b').answer = () => answered(200, { checks: ['b'] });
    const { result, ms } = await poll(t, 5000);
    expect([bodyOf(result), ms]).toEqual([{ checks: ['b'] }, 0]);
  });

  test('brokers that are away are left alone; when all are, it is told', async () => {
    const t = new TransactionBench();
    t.all(nothing(t));
    t.broker('a').network = 'REFUSING';
    const { result, ms } = await poll(t, 2000);
    expect([bodyOf(result), ms]).toEqual([{ checks: [], reason: 'CAUGHT_UP', unavailable: ['a'] }, 2000]);
    expect(t.askedBrokers.filter((name) => name === 'a')).toHaveLength(1);
    for (const name of ['b', 'c']) t.broker(name).answer = () => answered(200, { checks: [name] });
    const answers = [];
    for (let i = 0; i < 10; i++) answers.push(bodyOf((await poll(t, 0)).result));
    // Named by those that asked it first.
    expect(answers).toContainEqual({ checks: ['b'], unavailable: ['a'] });
    for (const name of ALL) t.broker(name).network = 'REFUSING';
    expect(await failureOf(poll(t, 2000))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
  });
});
