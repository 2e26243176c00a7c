/**
 * SQL filters where they are used: polls, reads by offset, leases, and the comparison of subscriptions. They have to see
 * each message, so what is tested besides is that this has its bounds: bytes held, time spent, others' turns.
 */
import { LIMITS } from '../../src/base/limits';
import type { NewGroup } from '../../src/broker/groups';
import { sqlFilter, type FilterSpec } from '../../src/broker/filter';
import type { ReadQueueOptions } from '../../src/broker/lookup';
import type { PollOptions } from '../../src/broker/poller';
import {
  bodies,
  codeOf,
  HOUR,
  NAME,
  setup,
  stopBrokers,
  to,
  turn,
  type Given,
  type TestBroker,
} from '../support/broker';
import { ManualClock } from '../support/clock';

afterEach(stopBrokers);

/** A clock that goes on by itself, so much with each look: as if everything took its time. */
class BusyClock extends ManualClock {
  /** Milliseconds. */
  perLook = 0;
  #drift = 0;
  turns = 0;

  override monotonic(): number {
    this.#drift += this.perLook;
    return super.monotonic() + this.#drift;
  }

  override soon(callback: () => void): void {
    this.turns++;
    super.soon(callback);
  }
}

type Bench = TestBroker<BusyClock>;

const sql = (expression: string): FilterSpec => ({ type: 'SQL92', expression });
const EU = sql("region = 'eu'");

/** A message of a region, for queue 0. */
const from = (region: string, body: string, rest: object = {}): Given =>
  to(0, body, { properties: { region }, ...rest });
const many = (count: number, region = 'us'): Given[] =>
  Array.from({ length: count }, (_, i) => from(region, `${region}${i}`));

async function shop(group: Partial<NewGroup> = {}, queues = 1, type: 'NORMAL' | 'FIFO' = 'NORMAL'): Promise<Bench> {
  const t = await setup<BusyClock>({ clock: new BusyClock() });
  await t.topic('orders', { readQueues: queues, writeQueues: queues, type });
  await t.group('billing', { filter: EU, ...group });
  return t;
}

async function joined(group: Partial<NewGroup> = {}, queues = 1) {
  const t = await shop(group, queues);
  await t.join();
  const poll = (given: Partial<PollOptions> = {}) => t.poll('billing', 'c1', given);
  return { t, poll };
}

/** What was stored lies on disk alone. */
async function onDisk(t: Bench): Promise<void> {
  await t.restart();
  await turn();
}

const texts = ({ messages }: { messages: Parameters<typeof bodies>[0] }) => bodies(messages);

/** Bytes and records of the largest read from disk since. */
function watchReads(t: Bench) {
  const seen = { bytes: 0, records: 0, reads: 0 };
  const read = t.journal.readPositions.bind(t.journal);
  jest.spyOn(t.journal, 'readPositions').mockImplementation(async (positions) => {
    const records = await read(positions);
    const bytes = records.reduce((sum, record) => sum + (record?.length ?? 0), 0);
    seen.bytes = Math.max(seen.bytes, bytes);
    seen.records += records.length;
    seen.reads++;
    return records;
  });
  return seen;
}

describe('a poll', () => {
  test('takes what the expression is true for, and goes on behind the rest', async () => {
    const { t, poll } = await joined({ filter: sql("region = 'eu' AND total > 10 AND TAGS IN ('paid')") });
    await t.send(
      'orders',
      to(0, 'yes', { tag: 'paid', properties: { region: 'eu', total: '10.5' } }),
      to(0, 'too little', { tag: 'paid', properties: { region: 'eu', total: '10' } }),
      to(0, 'no number', { tag: 'paid', properties: { region: 'eu', total: 'much' } }),
      to(0, 'no tag', { properties: { region: 'eu', total: '99' } }),
      'nothing',
      to(0, 'yes, too', { tag: 'paid', properties: { region: 'eu', total: '1e3' } }),
      to(0, 'elsewhere', { tag: 'paid', properties: { region: 'us', total: '11' } }),
    );
    const answer = await poll();
    expect([texts(answer), answer.lag]).toEqual([['yes', 'yes, too'], 0]);
    expect(await t.commit('billing', 'c1', answer.cursor)).toEqual([undefined]);
    expect(t.committed()).toEqual([7]);
  });

  test('reads from disk as from memory', async () => {
    const { t } = await joined();
    await t.send('orders', ...many(300), from('eu', 'a'), ...many(300), from('eu', 'b'));
    await onDisk(t);
    await t.join();
    const answer = await t.poll();
    expect([texts(answer), answer.lag]).toEqual([['a', 'b'], 0]);
  });

  test('gives max at most, and the next one goes on behind the last that was given', async () => {
    const { t, poll } = await joined();
    await t.send('orders', ...many(40), ...many(3, 'eu'), ...many(40), ...many(2, 'eu'), ...many(1));
    const first = await poll({ max: 2 });
    expect(texts(first)).toEqual(['eu0', 'eu1']);
    const second = await poll({ max: 2, cursor: first.cursor });
    expect(texts(second)).toEqual(['eu2', 'eu0']);
    const third = await poll({ max: 2, cursor: second.cursor });
    expect([texts(third), third.lag]).toEqual([['eu1'], 0]);
  });

  test('gives maxBytes at most, but one message always', async () => {
    const { t, poll } = await joined();
    await t.send('orders', from('us', 'x'.repeat(900)), from('eu', 'a'.repeat(600)), from('eu', 'b'.repeat(600)));
    const first = await poll({ maxBytes: 1000 });
    expect(texts(first).map((text) => text[0])).toEqual(['a']);
    const second = await poll({ maxBytes: 10, cursor: first.cursor });
    expect([texts(second).map((text) => text[0]), second.lag]).toEqual([['b'], 0]);
  });

  test('that finds nothing says FILTERED with a cursor behind what it saw, waits, and does not look again', async () => {
    const { t, poll } = await joined();
    await t.send('orders', ...many(3));
    const polling = poll({ waitMs: 1000 });
    await t.parked(1);
    await t.clock.advance(1000);
    const answer = await polling;
    expect(answer).toMatchObject({ messages: [], reason: 'FILTERED', lag: 0 });
    await t.commit('billing', 'c1', answer.cursor);
    expect(t.committed()).toEqual([3]);
    const again = poll({ waitMs: 1000, cursor: answer.cursor });
    await t.parked(1);
    await t.send('orders', from('eu', 'a'));
    expect(texts(await again)).toEqual(['a']);
  });

  test('looks at 10,000 messages at most, over all its queues', async () => {
    const { t, poll } = await joined({}, 2);
    for (let i = 0; i < 12; i++)
      await t.send(
        'orders',
        ...many(1000).map((one) => ({ ...(one as object), queue: { broker: NAME, queueId: i % 2 } })),
      );
    expect(await poll({ waitMs: 30_000 })).toMatchObject({ reason: 'FILTERED', lag: 12_000 - LIMITS.pollEntries });
  });

  test('sees a changed filter: the next one reads by it', async () => {
    const { t, poll } = await joined();
    await t.send('orders', from('us', 'a'), from('eu', 'b'));
    expect(texts(await poll())).toEqual(['b']);
    await t.group('billing', { filter: sql("region <> 'eu'") });
    expect(texts(await poll())).toEqual(['a']);
    await t.group('billing', { filter: { type: 'TAG', expression: '*' } });
    expect(texts(await poll())).toEqual(['a', 'b']);
  });

  test('does not filter the group’s retries again', async () => {
    const { t, poll } = await joined();
    await t.send('orders', from('eu', 'failed'));
    await poll();
    const failed = { topic: 'orders', broker: NAME, queueId: 0, queueOffset: 0, delayMs: 0 };
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: [failed] });
    await t.group('billing', { filter: sql("region = 'us'") });
    await t.clock.advance(1000);
    await t.join();
    const again = await poll();
    expect(texts(again)).toEqual(['failed']);
  });

  test('after a restart reads by the same filter', async () => {
    const { t } = await joined();
    await t.send('orders', from('us', 'a'), from('eu', 'b'));
    await t.crash();
    await t.join();
    expect(texts(await t.poll())).toEqual(['b']);
  });

  test('is told where retention moved it while it read', async () => {
    const { t } = await joined();
    await t.send('orders', ...many(100));
    await onDisk(t);
    await t.join();
    const hold = t.disk.hold('journal', 'read');
    const polling = t.poll();
    await hold.reached;
    t.clock.jumpTo(t.clock.now() + 73 * HOUR);
    const trimming = t.rooms.retention.runOnce();
    hold.release();
    await trimming;
    await t.send('orders', from('eu', 'fresh'));
    const answer = await polling;
    const next = answer.messages.length > 0 ? answer : await t.poll('billing', 'c1', { cursor: answer.cursor });
    expect(texts(next)).toEqual(['fresh']);
  });
});

describe('what a poll may cost', () => {
  test('bytes: it holds a part of what it reads at a time, however large messages are', async () => {
    const { t } = await joined();
    for (let i = 0; i < 12; i++) await t.send('orders', from('us', 'x'.repeat(400 * 1024)));
    await onDisk(t);
    await t.join();
    const seen = watchReads(t);
    expect(await t.poll()).toMatchObject({ messages: [], reason: 'FILTERED', lag: 0 });
    expect([seen.records, seen.reads]).toEqual([12, 6]);
    expect(seen.bytes).toBeLessThan(LIMITS.filterBytes);
  });

  test('reads: no more than a small answer needs, when most messages are taken', async () => {
    const { t } = await joined();
    await t.send('orders', ...many(1000, 'eu'));
    await onDisk(t);
    await t.join();
    const seen = watchReads(t);
    expect((await t.poll('billing', 'c1', { max: 10 })).messages).toHaveLength(10);
    expect(seen.records).toBeLessThanOrEqual(32);
  });

  test('time: it answers how far it came, and the next one goes on there', async () => {
    const { t, poll } = await joined();
    await t.send('orders', ...many(100), from('eu', 'needle'));
    t.clock.perLook = 10;
    let answer = await poll({ waitMs: 30_000 });
    expect(answer).toMatchObject({ messages: [], reason: 'FILTERED' });
    expect(answer.lag).toBeGreaterThan(50);
    for (let left = answer.lag; answer.messages.length === 0; left = answer.lag) {
      answer = await poll({ waitMs: 30_000, cursor: answer.cursor });
      expect(answer.lag).toBeLessThan(left);
    }
    expect(texts(answer)).toEqual(['needle']);
  });

  test('time: however little there is, each poll gets on by one message', async () => {
    const { t, poll } = await joined();
    await t.send('orders', ...many(3), from('eu', 'needle'));
    t.clock.perLook = LIMITS.filterMs;
    let cursor = '';
    const lags: number[] = [];
    for (;;) {
      const answer = await poll({ cursor });
      lags.push(answer.lag);
      cursor = answer.cursor;
      if (answer.messages.length > 0) break;
    }
    expect(lags).toEqual([3, 2, 1, 0]);
  });

  test('time: what was found until then is given', async () => {
    const { t, poll } = await joined();
    await t.send('orders', from('eu', 'a'), ...many(100), from('eu', 'b'));
    t.clock.perLook = 10;
    const answer = await poll({ min: 2, waitMs: 30_000 });
    expect(texts(answer)).toEqual(['a']);
  });

  test('time: it is one for all queues, and the next poll begins with another one', async () => {
    const { t, poll } = await joined({}, 2);
    await t.send('orders', ...many(100));
    await t.send('orders', to(1, 'b', { properties: { region: 'eu' } }));
    t.clock.perLook = 10;
    const found = [await poll(), await poll()].flatMap(texts);
    expect(found).toEqual(['b']);
  });

  test('others’ turns: they come between two messages', async () => {
    const { t, poll } = await joined();
    await t.send('orders', ...many(10));
    t.clock.turns = 0;
    await poll();
    expect(t.clock.turns).toBe(0);
    t.clock.perLook = LIMITS.filterTurnMs;
    await poll();
    expect(t.clock.turns).toBeGreaterThan(5);
  });
});

describe('reading a queue by offset', () => {
  const read = (t: Bench, offset: number, given: Partial<ReadQueueOptions> = {}) =>
    t.rooms.lookup.readQueue('orders', NAME, 0, {
      ...{ offset, max: 32, maxBytes: 1 << 20, waitMs: 0, filter: sqlFilter(EU.expression) },
      signal: () => new AbortController().signal,
      ...given,
    });

  test('takes what the expression is true for', async () => {
    const t = await shop();
    await t.send('orders', from('us', 'a'), from('eu', 'b'), from('eu', 'c'), from('us', 'd'));
    const page = await read(t, 0);
    expect([texts(page), page.nextOffset]).toEqual([['b', 'c'], 4]);
    const one = await read(t, 0, { max: 1 });
    expect([texts(one), one.nextOffset]).toEqual([['b'], 2]);
  });

  test('waits for one, and is not held up by others', async () => {
    const t = await shop();
    const reading = read(t, 0, { waitMs: 10_000 });
    await t.parked(1);
    await t.send('orders', from('us', 'a'));
    await t.parked(1);
    await t.send('orders', from('eu', 'b'));
    expect(await reading).toMatchObject({ messages: [{ queueOffset: 1 }], nextOffset: 2 });
  });

  test('answers when its time is over, though it was ready to wait', async () => {
    const t = await shop();
    await t.send('orders', ...many(100));
    t.clock.perLook = 10;
    const page = await read(t, 0, { waitMs: 10_000 });
    expect(page.messages).toEqual([]);
    expect(page.nextOffset).toBeGreaterThan(0);
    expect(page.nextOffset).toBeLessThan(100);
  });
});

describe('a receive', () => {
  const ack = (t: Bench, { messages }: { messages: readonly { receiptHandle: string }[] }) =>
    t.rooms.leases.acknowledge(
      'billing',
      messages.map(({ receiptHandle }) => receiptHandle),
    );

  test('takes what the expression is true for; the rest is done with', async () => {
    const t = await shop();
    await t.send('orders', ...many(40), from('eu', 'a'), ...many(2), from('eu', 'b'), ...many(60));
    const first = await t.receive('billing', { max: 1 });
    expect(texts(first)).toEqual(['a']);
    const second = await t.receive('billing', { max: 10 });
    expect(texts(second)).toEqual(['b']);
    await ack(t, first);
    await ack(t, second);
    expect(await t.receive()).toMatchObject({ messages: [], lag: { ready: 0, inFlight: 0 } });
    expect(t.committed()).toEqual([104]);
  });

  test('records what it passed with one command, and nothing when it passed nothing', async () => {
    const t = await shop();
    await t.send('orders', ...many(3));
    const { end } = t.journal;
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'FILTERED' });
    expect([t.journal.end - end, t.committed()]).toEqual([1, [3]]);
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
    expect(t.journal.end - end).toBe(1);
    await t.send('orders', ...many(997));
    const before = t.journal.end;
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'FILTERED', lag: { ready: 0 } });
    expect([t.journal.end - before, t.committed()]).toEqual([1, [1000]]);
  });

  test('that waits is woken by what it wants, over what it does not', async () => {
    const t = await shop();
    const receiving = t.receive('billing', { waitMs: 10_000 });
    await t.parked(1);
    await t.send('orders', from('us', 'a'));
    await t.parked(1);
    await t.send('orders', from('eu', 'b'));
    expect(texts(await receiving)).toEqual(['b']);
  });

  test('reads and holds a part at a time', async () => {
    const t = await shop();
    for (let i = 0; i < 12; i++) await t.send('orders', from('us', 'x'.repeat(400 * 1024)));
    await onDisk(t);
    const seen = watchReads(t);
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'FILTERED', lag: { ready: 0 } });
    expect(seen.records).toBe(12);
    expect(seen.bytes).toBeLessThan(LIMITS.filterBytes);
  });

  test('that does not wait gets on with every call, however long the filter takes', async () => {
    const t = await shop();
    await t.send('orders', ...many(100), from('eu', 'needle'));
    t.clock.perLook = 10;
    let answer = await t.receive();
    expect(answer).toMatchObject({ messages: [], reason: 'FILTERED' });
    for (let calls = 0; answer.messages.length === 0; calls++) {
      expect(calls).toBeLessThan(100);
      answer = await t.receive();
    }
    expect(texts(answer)).toEqual(['needle']);
  });

  test('that waits looks on until its wait is over, and others have their turns', async () => {
    const t = await shop();
    await t.send('orders', ...many(100), from('eu', 'needle'));
    t.clock.perLook = 10;
    t.clock.turns = 0;
    expect(texts(await t.receive('billing', { waitMs: 30_000 }))).toEqual(['needle']);
    expect(t.clock.turns).toBeGreaterThan(10);
  });

  test('a message that came back is handed out again, wanted or not: it was delivered once', async () => {
    const t = await shop();
    await t.send('orders', from('eu', 'a'), from('us', 'b'), from('eu', 'c'));
    await t.receive('billing', { invisibleMs: 1000 });
    await t.group('billing', { filter: sql("region = 'us'") });
    await t.clock.advance(1001);
    expect(texts(await t.receive())).toEqual(['a', 'c']);
  });

  test('what came back is handed out again', async () => {
    const t = await shop();
    await t.send('orders', from('us', 'x'), from('eu', 'a'), from('eu', 'b'));
    await t.receive('billing', { invisibleMs: 1000 });
    await t.clock.advance(1001);
    const again = await t.receive();
    expect([texts(again), again.messages.map(({ attempt }) => attempt)]).toEqual([
      ['a', 'b'],
      [2, 2],
    ]);
  });

  test('in an ordered group what the filter leaves out holds nobody up', async () => {
    const t = await shop({ ordered: true }, 1, 'FIFO');
    const grouped = (region: string, body: string): Given => ({ body, properties: { region }, messageGroup: body[0]! });
    await t.send(
      'orders',
      ...[grouped('us', 'a0'), grouped('eu', 'a1'), grouped('us', 'a2'), grouped('eu', 'a3')],
      ...[grouped('us', 'b0'), grouped('eu', 'b1')],
    );
    const first = await t.receive();
    expect(texts(first)).toEqual(['a1', 'b1']);
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'BLOCKED', lag: { ready: 1, inFlight: 2 } });
    await ack(t, first);
    const second = await t.receive();
    expect(texts(second)).toEqual(['a3']);
    await ack(t, second);
    expect(t.committed()).toEqual([6]);
  });
});

test('a receive of an ordered group reads what it passes over once', async () => {
  const t = await shop({ ordered: true }, 1, 'FIFO');
  await t.send(
    'orders',
    ...many(300, 'eu').map((one) => ({ ...(one as object), queue: undefined, messageGroup: 'a' })),
  );
  expect(texts(await t.receive('billing', { max: 1 }))).toEqual(['eu0']);
  await onDisk(t);
  const seen = watchReads(t);
  expect(await t.receive('billing', { max: 1 })).toMatchObject({ messages: [], reason: 'BLOCKED' });
  expect(seen.records).toBe(299);
});

describe('subscriptions', () => {
  test('are the same however the expression is written', async () => {
    const t = await shop({ filter: sql("region = 'eu' AND total > 10") });
    await t.join('billing', 'c1', { filter: sql("(region='eu') and (total > 10.0)") });
    await t.join('billing', 'c1', { filter: undefined });
    t.rooms.groups.leave('billing', 'c1');
    expect((await t.receive('billing', { filter: sql("region = 'eu' AND total>10 -- ours") })).reason).toBe(
      'CAUGHT_UP',
    );
  });

  test.each([
    ['another expression', sql("region = 'us'")],
    ['the same words as tags', { type: 'TAG', expression: EU.expression }],
    ['everything', { type: 'TAG', expression: '*' }],
  ] as const)('differ with %s: a conflict that shows both', async (_, filter) => {
    const t = await shop();
    const conflict = {
      code: 'SUBSCRIPTION_CONFLICT',
      extras: { members: { group: { topic: 'orders', filter: EU }, requested: { topic: 'orders', filter } } },
    };
    await expect(t.join('billing', 'c1', { filter })).rejects.toMatchObject(conflict);
    await expect(t.receive('billing', { filter })).rejects.toMatchObject(conflict);
  });

  test('that cannot be read are refused everywhere, and change nothing', async () => {
    const t = await shop();
    const { end } = t.journal;
    const bad = sql("region = 'eu");
    expect(await codeOf(t.join('billing', 'c1', { filter: bad }))).toBe('FILTER_INVALID');
    expect(await codeOf(t.join('fresh', 'c1', { filter: bad }))).toBe('FILTER_INVALID');
    expect(await codeOf(t.receive('billing', { filter: bad }))).toBe('FILTER_INVALID');
    expect(await codeOf(t.group('billing', { filter: bad }))).toBe('FILTER_INVALID');
    expect(await codeOf(t.join('billing', 'c1', { filter: { type: 'TAG', expression: '||' } }))).toBe('FILTER_INVALID');
    expect(t.journal.end).toBe(end);
  });

  test('of a member of before stay as it said them, when the group’s filter changed', async () => {
    const t = await shop();
    await t.join('billing', 'c1', { filter: EU });
    await t.group('billing', { filter: sql("region = 'us'") });
    await t.join('billing', 'c1', { filter: sql("region='eu'") });
    expect(await codeOf(t.join('billing', 'c2', { filter: EU }))).toBe('SUBSCRIPTION_CONFLICT');
    await t.send('orders', from('us', 'a'), from('eu', 'b'));
    expect(texts(await t.poll())).toEqual(['a']);
  });

  test('of broadcasting groups filter for each member', async () => {
    const t = await shop({ mode: 'BROADCASTING' });
    await t.join('billing', 'c1');
    await t.join('billing', 'c2');
    await t.send('orders', from('us', 'a'), from('eu', 'b'));
    expect([texts(await t.poll()), texts(await t.poll('billing', 'c2'))]).toEqual([['b'], ['b']]);
  });
});
