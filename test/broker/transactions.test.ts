/** Half messages: seen by nobody until they are committed, then once; one decision counts, and is known for a day. */
import type { GantryError } from '../../src/base/errors';
import { LIMITS } from '../../src/base/limits';
import { decodeMessage } from '../../src/broker/message';
import type { EndRequest } from '../../src/broker/transactions';
import { bodies, HOUR, message, setup, stopBrokers, until, type Given, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const FOREIGN = '7F0000010000FFFF0000000000000401';

async function bank(given: object = {}): Promise<Bench> {
  const t = await setup();
  await t.topic('transfers', { type: 'TRANSACTION', readQueues: 1, writeQueues: 1, ...given });
  return t;
}

async function prepare(t: Bench, given: Given = 'pay', more: object = {}, key?: string) {
  const request = { producerGroup: 'banks', message: message(given), ...more };
  return t.rooms.transactions.prepare('transfers', request, key);
}

const end = (t: Bench, id: string, resolution: EndRequest['resolution'] = 'COMMIT', producerGroup?: string) =>
  t.rooms.transactions.end(id, { resolution, producerGroup });

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: GantryError) => error.code,
  );

const seen = (t: Bench) => t.readAll('transfers', 0);
const state = async (t: Bench, id: string) => {
  const { half, decision } = await t.rooms.transactions.get(id);
  return decision ? decision.resolution : half.parked ? 'PARKED' : 'PREPARED';
};

/** Rows of half messages. */
async function rows(t: Bench): Promise<number> {
  await t.broker.stop();
  return (await Promise.all(['h', 'H'].map((letter) => t.disk.keys('tables', letter)))).flat().length;
}

describe('a half message', () => {
  test('is seen by nobody, and when it is committed, once, with both times', async () => {
    const t = await bank();
    const now = t.clock.now();
    const { transactionId, messageId, preparedTimestamp } = await prepare(t, {
      ...{ body: 'pay', tag: 'a', keys: ['k'], properties: { p: 'q' } },
    });
    expect([preparedTimestamp, await seen(t), await state(t, transactionId)]).toEqual([now, [], 'PREPARED']);
    expect(await refusal(t.rooms.lookup.message('transfers', messageId))).toBe('MESSAGE_NOT_FOUND');
    expect(await refusal(t.rooms.lookup.message('transfers', transactionId))).toBe('MESSAGE_NOT_FOUND');
    await t.clock.advance(500);
    const { decision } = await end(t, transactionId);
    expect(decision).toMatchObject({
      resolution: 'COMMIT',
      place: { queueId: 0, queueOffset: 0 },
      resolvedAt: now + 500,
    });
    const { record } = await t.rooms.lookup.message('transfers', messageId);
    expect(decodeMessage(record)).toMatchObject({
      ...{ tag: 'a', keys: ['k'], properties: { p: 'q' }, bornTimestamp: now, storeTimestamp: now + 500, attempt: 1 },
      ...{ prepared: { timestamp: now }, origin: undefined },
    });
    expect([await seen(t), await state(t, transactionId)]).toEqual([['pay'], 'COMMIT']);
    expect(await rows(t)).toBe(0);
  });

  test('that is rolled back is never seen', async () => {
    const t = await bank();
    const { transactionId } = await prepare(t);
    await end(t, transactionId, 'ROLLBACK');
    await t.clock.advance(10 * 60_000);
    expect([await seen(t), await state(t, transactionId), await rows(t)]).toEqual([[], 'ROLLBACK', 0]);
  });

  test('about which nobody knows yet stays as it is', async () => {
    const t = await bank();
    const { transactionId } = await prepare(t);
    await end(t, transactionId, 'UNKNOWN', 'banks');
    expect([await seen(t), await state(t, transactionId)]).toEqual([[], 'PREPARED']);
    await end(t, transactionId);
    expect(await refusal(end(t, transactionId, 'UNKNOWN'))).toBe('ALREADY_RESOLVED');
  });

  test.each(['COMMIT', 'ROLLBACK'] as const)(
    'decided again as %s answers the same, otherwise it is refused',
    async (resolution) => {
      const t = await bank();
      const { transactionId } = await prepare(t);
      const first = await end(t, transactionId, resolution);
      const other = resolution === 'COMMIT' ? 'ROLLBACK' : 'COMMIT';
      for (const again of ['', 'restart', 'crash'] as const) {
        if (again !== '') await t[again]();
        expect(await end(t, transactionId, resolution, 'banks')).toEqual(first);
        expect(await refusal(end(t, transactionId, other))).toBe('ALREADY_RESOLVED');
      }
      expect(await seen(t)).toEqual(resolution === 'COMMIT' ? ['pay'] : []);
    },
  );

  test('is decided by whoever comes first, once', async () => {
    const t = await bank();
    for (let i = 0; i < 10; i++) {
      const { transactionId } = await prepare(t, `${i}`);
      const calls = (['COMMIT', 'ROLLBACK', 'COMMIT', 'ROLLBACK'] as const).map((one) =>
        refusal(end(t, transactionId, one)),
      );
      const outcomes = await Promise.all(calls);
      const committed = (await state(t, transactionId)) === 'COMMIT';
      expect(outcomes).toEqual(
        committed
          ? ['done', 'ALREADY_RESOLVED', 'done', 'ALREADY_RESOLVED']
          : ['ALREADY_RESOLVED', 'done', 'ALREADY_RESOLVED', 'done'],
      );
      expect((await seen(t)).filter((body) => body === `${i}`)).toHaveLength(committed ? 1 : 0);
    }
  });

  test('of another producer group is not this one’s to decide; an operator’s call says none', async () => {
    const t = await bank();
    const { transactionId } = await prepare(t);
    for (const one of ['COMMIT', 'UNKNOWN'] as const)
      expect(await refusal(end(t, transactionId, one, 'shops'))).toBe('PRODUCER_GROUP_MISMATCH');
    await end(t, transactionId);
    expect(await refusal(end(t, transactionId, 'COMMIT', 'shops'))).toBe('PRODUCER_GROUP_MISMATCH');
  });

  test('survives restarts, crashes and the journal’s retention', async () => {
    const t = await bank();
    const { transactionId } = await prepare(t);
    await t.restart();
    await t.crash();
    await t.rooms.retention.trim(t.state.applied + 1, { reason: 'age' });
    await t.skip(100 * HOUR);
    await t.restart();
    expect([await seen(t), await state(t, transactionId)]).toEqual([[], 'PREPARED']);
    await end(t, transactionId);
    await t.crash();
    expect(await seen(t)).toEqual(['pay']);
  });

  test('wakes a poll that waits when it is committed', async () => {
    const t = await bank();
    await t.group('billing', { topic: 'transfers' });
    await t.join('billing', 'c1', { topic: 'transfers' });
    const { transactionId } = await prepare(t);
    const poll = t.poll('billing', 'c1', { waitMs: 30_000 });
    await t.parked(1);
    await end(t, transactionId);
    expect(bodies((await poll).messages)).toEqual(['pay']);
  });

  test('takes the id that its sender chose', async () => {
    const t = await bank();
    const id = '7'.repeat(32);
    expect((await prepare(t, { messageId: id })).messageId).toBe(id);
  });
});

describe('an Idempotency-Key', () => {
  test('prepares once', async () => {
    const t = await bank();
    const calls = [prepare(t, 'pay', {}, 'key'), prepare(t, 'pay', {}, 'key')] as const;
    expect(await refusal(calls[1])).toBe('IDEMPOTENCY_IN_PROGRESS');
    const first = await calls[0];
    const third = await prepare(t, 'pay', {}, 'key');
    expect([first.replayed, third]).toEqual([false, { ...first, replayed: true }]);
    expect(t.state.halves.open.size).toBe(1);
    for (const more of [{ producerGroup: 'shops' }, { checkAfterMs: 7000 }])
      expect(await refusal(prepare(t, 'pay', more, 'key'))).toBe('IDEMPOTENCY_KEY_REUSED');
    expect(await refusal(prepare(t, 'pay more', {}, 'key'))).toBe('IDEMPOTENCY_KEY_REUSED');
    await t.crash();
    expect(await prepare(t, 'pay', {}, 'key')).toEqual(third);
    await t.clock.advance(LIMITS.idempotencyMs + 1000);
    expect((await prepare(t, 'pay', {}, 'key')).replayed).toBe(false);
  });
});

describe('what is refused', () => {
  test.each(['NORMAL', 'FIFO', 'DELAY'] as const)('preparing in a %s topic', async (type) => {
    const t = await bank({ type });
    expect(await refusal(prepare(t))).toBe('MESSAGE_TYPE_MISMATCH');
  });

  test('sending to a TRANSACTION topic without one; MIXED takes both', async () => {
    const t = await bank();
    for (const given of [{}, { messageGroup: 'g' }, { delayMs: 5 }]) {
      const { results } = await t.rooms.sender.send('transfers', [message(given)]);
      expect(results[0]!.error?.code).toBe('MESSAGE_TYPE_MISMATCH');
    }
    const mixed = await setup();
    await mixed.topic('transfers', { type: 'MIXED', readQueues: 1, writeQueues: 1 });
    await mixed.send('transfers', 'plain');
    await end(mixed, (await prepare(mixed)).transactionId);
    expect(await seen(mixed)).toEqual(['plain', 'pay']);
  });

  test('a topic that takes nothing, an undeclared tag, a disk without room', async () => {
    const t = await bank({ tagPolicy: 'DECLARED' });
    expect(await refusal(prepare(t, { tag: 'undeclared' }))).toBe('TAG_NOT_DECLARED');
    const { transactionId } = await prepare(t);
    await t.rooms.topics.update('transfers', { permission: 'R' });
    expect(await refusal(prepare(t))).toBe('NO_PERMISSION');
    await end(t, transactionId); // it was taken in before
    expect(await seen(t)).toEqual(['pay']);
    await t.rooms.topics.update('transfers', { permission: 'RW' });
    t.used = 0.95;
    await t.rooms.retention.look();
    expect(await refusal(prepare(t))).toBe('DISK_FULL');
  });

  test.each([FOREIGN, '0'.repeat(32), 'F'.repeat(32), 'AB', ''])('the id %p', async (id) => {
    const t = await bank();
    await prepare(t);
    expect(await refusal(end(t, id))).toBe('TRANSACTION_NOT_FOUND');
    expect(await refusal(t.rooms.transactions.get(id))).toBe('TRANSACTION_NOT_FOUND');
  });

  test('the id of a message that was never prepared', async () => {
    const t = await bank();
    await t.topic('orders');
    const [sent] = await t.send('orders', 'x');
    expect(await refusal(end(t, sent!.offsetMessageId))).toBe('TRANSACTION_NOT_FOUND');
  });
});

test('a decision is forgotten after 24 hours, and its row goes', async () => {
  const t = await bank();
  const { transactionId } = await prepare(t);
  await end(t, transactionId);
  await t.skip(LIMITS.decisionMs - HOUR);
  expect(await state(t, transactionId)).toBe('COMMIT');
  await t.skip(2 * HOUR);
  await t.rooms.retention.runOnce();
  expect(await refusal(end(t, transactionId))).toBe('TRANSACTION_NOT_FOUND');
  await t.clock.advance(5000);
  await until(() => true, 'a turn');
  await t.clock.advance(5000);
  expect(await t.disk.keys('tables', 'Y')).toEqual([]);
});

test('a deleted topic takes its half messages with it', async () => {
  const t = await bank();
  const { transactionId } = await prepare(t);
  await prepare(t);
  await t.settled();
  await t.rooms.topics.delete('transfers', false);
  expect(await refusal(end(t, transactionId))).toBe('TRANSACTION_NOT_FOUND');
  await t.restart();
  expect(t.state.halves.open.size).toBe(0);
  for (let i = 0; i < 50 && (await t.disk.keys('tables', 'H')).length > 0; i++) await t.clock.advance(1000);
  expect(await t.disk.keys('tables', 'H')).toEqual([]);
});

test('open transactions are listed in the order of their preparation, in pages, by state, group and topic', async () => {
  const t = await bank();
  await t.topic('others', { type: 'TRANSACTION' });
  const ids: string[] = [];
  for (let i = 0; i < 5; i++)
    ids.push((await prepare(t, `${i}`, { producerGroup: i % 2 ? 'shops' : 'banks' })).transactionId);
  const other = await t.rooms.transactions.prepare('others', { producerGroup: 'banks', message: message('x') });
  await end(t, ids[2]!);
  const list = (wanted: object, after = -1, limit = 100) =>
    t.rooms.transactions.list({ parked: undefined, ...wanted }, after, limit);
  const named = (wanted: object) => list(wanted).transactions.map(({ transactionId }) => transactionId);
  const rest = [0, 1, 3, 4].map((i) => ids[i]!);
  expect(named({})).toEqual([...rest, other.transactionId]);
  expect(named({ producerGroup: 'shops' })).toEqual([ids[1], ids[3]]);
  expect(named({ topic: t.state.topicsByName.get('others')!.record.no })).toEqual([other.transactionId]);
  expect([named({ parked: true }), named({ parked: false }).length]).toEqual([[], 5]);
  const first = list({}, -1, 2);
  await t.restart();
  const second = list({}, first.next, 2);
  const third = list({}, second.next, 2);
  expect(
    [first, second, third].flatMap(({ transactions }) => transactions).map(({ transactionId }) => transactionId),
  ).toEqual(named({}));
  expect(third.next).toBeUndefined();
});

test('too many undecided ones are refused, and later taken again', async () => {
  const t = await bank();
  const { transactionId } = await prepare(t);
  const size = jest.spyOn(t.state.halves.open, 'size', 'get').mockReturnValue(LIMITS.halfMessages);
  expect(await refusal(prepare(t))).toBe('TOO_MANY_REQUESTS');
  size.mockRestore();
  await end(t, transactionId);
  await prepare(t);
});
