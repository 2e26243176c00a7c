/** Broadcasting groups: each consumer is handed everything, and has positions of its own. */
import { Consumers } from '../../src/broker/consumers';
import { FORGOTTEN_MS } from '../../src/broker/groups';
import { at, bodies, codeOf, HOUR, NAME, setup, stopBrokers, to, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const DAY = 24 * HOUR;

/** A topic with two queues and two messages, and a broadcasting group on it. */
async function broadcasting(given: Parameters<Bench['group']>[1] = {}) {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  await t.send('orders', to(0, 'old'));
  await t.send('orders', to(1, 'aged'));
  await t.group('billing', { mode: 'BROADCASTING', ...given });
  const read = async (consumer: string, given: Parameters<Bench['poll']>[2] = {}) => {
    const answer = await t.poll('billing', consumer, given);
    return { ...answer, texts: bodies(answer.messages).sort() };
  };
  return { t, read };
}

const listeners = (t: Bench) => [...t.state.groupsByName.get('billing')!.listeners.keys()].sort();

describe('each consumer', () => {
  test('reads everything, whoever else is there, and waits for everything', async () => {
    const { t, read } = await broadcasting();
    for (const id of ['a', 'b']) {
      const joined = await t.join('billing', id);
      expect(joined.queues.map(({ queue, nextOffset }) => [queue.queueId, nextOffset])).toEqual([
        [0, 0],
        [1, 0],
      ]);
      expect(joined.pending).toEqual([]);
    }
    const polls = await Promise.all(['a', 'b'].map((id) => read(id)));
    expect(polls.map(({ texts }) => texts)).toEqual(Array(2).fill(['aged', 'old']));
    expect(polls.map(({ revoking }) => revoking)).toEqual([[], []]);
    const waiting = polls.map(({ cursor }, i) => read('ab'[i]!, { cursor, waitMs: 20_000 }));
    await t.parked(2);
    await t.send('orders', 'new');
    expect((await Promise.all(waiting)).map(({ texts }) => texts)).toEqual(Array(2).fill(['new']));
  });

  test('commits for itself alone: by cursor, by autoCommit, by offsets', async () => {
    const { t, read } = await broadcasting();
    for (const id of ['a', 'b', 'c']) await t.join('billing', id);
    await t.commit('billing', 'a', (await read('a')).cursor);
    await read('b', { cursor: (await read('b')).cursor, autoCommit: true });
    expect(await t.commit('billing', 'c', { offsets: [at(1, 1)] })).toEqual([undefined]);
    expect([t.committed('billing', 'a'), t.committed('billing', 'b'), t.committed('billing', 'c')]).toEqual([
      [1, 1],
      [1, 1],
      [0, 1],
    ]);
    expect((await read('c')).texts).toEqual(['old']);
  });

  test('is shown with its positions', async () => {
    const { t } = await broadcasting();
    for (const id of ['a', 'b']) await t.join('billing', id);
    await t.commit('billing', 'b', { offsets: [at(0, 1)] });
    const rows = t.rooms.positions.offsets('billing').queues;
    expect(rows.map(({ queue, committed, lag, consumerId }) => [consumerId, queue.queueId, committed, lag])).toEqual([
      ['a', 0, 0, 1],
      ['a', 1, 0, 1],
      ['b', 0, 1, 0],
      ['b', 1, 0, 1],
    ]);
    expect(rows.some((row) => 'owner' in row)).toBe(false);
    expect(t.rooms.positions.offsets('billing', 'b').queues.map(({ consumerId }) => consumerId)).toEqual(['b', 'b']);
    expect(t.rooms.positions.lag(t.state.groupsByName.get('billing')!)).toBe(3);
  });

  test('may commit what the bounds allow, and nobody else may', async () => {
    const { t } = await broadcasting();
    await t.join('billing', 'a');
    await t.commit('billing', 'a', { offsets: [at(0, 1)] });
    expect(await t.commit('billing', 'a', { offsets: [at(0, 0), at(1, 2), at(1, 1)] })).toEqual([
      'OFFSET_BACKWARDS',
      'OFFSET_MOVED',
      undefined,
    ]);
    expect(await t.commit('billing', 'a', { offsets: [at(0, 0)], force: true })).toEqual([undefined]);
    expect(await t.commit('billing', 'stranger', { offsets: [at(0, 1)] })).toEqual(['QUEUE_NOT_OWNED']);
    expect(await t.commit('billing', undefined, { offsets: [at(0, 1)] })).toEqual(['VALIDATION_FAILED']);
    expect(t.committed('billing')).toEqual([0, 1]);
  });

  test('owns nothing: no queue is recorded for it, and a topic that grows is everybody’s', async () => {
    const { t, read } = await broadcasting({ consumeFrom: 'LATEST' });
    for (const id of ['a', 'b']) await t.join('billing', id);
    expect(t.state.groupsByName.get('billing')!.owners.size).toBe(0);
    await t.rooms.topics.update('orders', { readQueues: 3, writeQueues: 3 });
    await t.send('orders', to(2, 'in the new queue'));
    for (const id of ['a', 'b']) expect((await read(id)).texts).toEqual(['in the new queue']);
  });
});

describe('a consumer begins', () => {
  test('with EARLIEST at what is kept', async () => {
    const { t, read } = await broadcasting();
    await t.join('billing', 'a');
    expect((await read('a')).texts).toEqual(['aged', 'old']);
  });

  test('with LATEST behind its own join, not the group’s creation', async () => {
    const { t, read } = await broadcasting({ consumeFrom: 'LATEST' });
    await t.send('orders', to(0, 'after the group'));
    await t.join('billing', 'a');
    await t.send('orders', to(0, 'after a'));
    await t.join('billing', 'b');
    await t.send('orders', to(0, 'after b'));
    expect([(await read('a')).texts, (await read('b')).texts]).toEqual([['after a', 'after b'], ['after b']]);
    await t.join('billing', 'b'); // again: that begins nothing anew
    expect((await read('b')).texts).toEqual(['after b']);
  });

  test('with TIMESTAMP at the first message stored then or later, for each join', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    const times: number[] = [];
    for (let i = 0; i < 4; i++) {
      times.push(t.clock.now());
      await t.send('orders', to(0, `m${i}`));
      await t.clock.advance(1000);
    }
    const group = { mode: 'BROADCASTING', consumeFrom: 'TIMESTAMP', consumeTimestamp: times[2]! } as const;
    await t.group('billing', group);
    await t.join('billing', 'a');
    expect(t.committed('billing', 'a')).toEqual([2]);
    await t.send('orders', 'm4');
    await t.join('billing', 'b');
    expect(bodies((await t.poll('billing', 'b')).messages)).toEqual(['m2', 'm3', 'm4']);
  });

  test('a further topic where consumeFrom says, too, though it is known already', async () => {
    const { t, read } = await broadcasting({ consumeFrom: 'LATEST', allowMultipleTopics: true });
    await t.topic('mail', { readQueues: 1, writeQueues: 1 });
    await t.join('billing', 'a');
    await t.send('mail', 'before');
    await t.join('billing', 'a', { topic: 'mail' });
    await t.send('mail', 'behind');
    expect((await read('a')).texts).toEqual(['behind']);
  });

  test('a further topic at the group’s time, too', async () => {
    const { t, read } = await broadcasting({
      ...{ consumeFrom: 'TIMESTAMP', allowMultipleTopics: true },
      consumeTimestamp: Date.UTC(2026, 0, 15, 12, 0, 1),
    });
    await t.topic('mail', { readQueues: 1, writeQueues: 1 });
    await t.join('billing', 'a');
    await t.send('mail', 'before');
    await t.clock.advance(2000);
    await t.send('mail', 'behind');
    await t.join('billing', 'a', { topic: 'mail' });
    expect((await read('a')).texts).toEqual(['behind']);
  });
});

describe('a reset', () => {
  test('moves all consumers, says what it does for each, and voids what they read before', async () => {
    const { t, read } = await broadcasting();
    const cursors = new Map<string, string>();
    for (const id of ['a', 'b']) {
      await t.join('billing', id);
      cursors.set(id, (await read(id)).cursor);
    }
    await t.commit('billing', 'a', cursors.get('a')!);
    const { steps } = await t.rooms.positions.reset('billing', 'LATEST', undefined, false);
    expect(
      steps.map(({ queue, from, to: next, consumerId }) => [consumerId, queue.queueId, from, next]).sort(),
    ).toEqual([
      ['a', 0, 1, 1],
      ['a', 1, 1, 1],
      ['b', 0, 0, 1],
      ['b', 1, 0, 1],
    ]);
    expect(t.committed('billing')).toEqual([1, 1, 1, 1]);
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect(t.committed('billing')).toEqual([0, 0, 0, 0]);
    expect(await t.commit('billing', 'b', cursors.get('b')!)).toEqual(['QUEUE_NOT_OWNED', 'QUEUE_NOT_OWNED']);
    const answer = await read('b', { cursor: cursors.get('b')! });
    expect([answer.dropped.length, answer.texts]).toEqual([2, ['aged', 'old']]);
  });

  test('reaches consumers that wait', async () => {
    const { t, read } = await broadcasting({ consumeFrom: 'LATEST' });
    await t.join('billing', 'a');
    const polling = read('a', { waitMs: 20_000 });
    await t.parked(1);
    await t.rooms.positions.reset('billing', 'EARLIEST', [{ broker: NAME, queueId: 1 }], false);
    expect((await polling).texts).toEqual(['aged']);
  });

  test('before and after, a commit is judged by its generation', async () => {
    const { t, read } = await broadcasting();
    await t.join('billing', 'a');
    const { generation } = await read('a');
    expect(await t.commit('billing', 'a', { generation, offsets: [at(0, 1)] })).toEqual([undefined]);
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect(await t.commit('billing', 'a', { generation, offsets: [at(0, 1)] })).toEqual(['QUEUE_NOT_OWNED']);
    const next = (await read('a')).generation;
    expect(Consumers.epochOf(next)).toBeGreaterThan(Consumers.epochOf(generation));
    expect(await t.commit('billing', 'a', { generation: next, offsets: [at(0, 1)] })).toEqual([undefined]);
  });
});

describe('positions', () => {
  test.each(['restart', 'crash'] as const)('are kept over a %s; who polls joins again', async (how) => {
    const { t, read } = await broadcasting();
    for (const id of ['a', 'b']) await t.join('billing', id);
    const { cursor } = await read('a');
    await t.commit('billing', 'a', { offsets: [at(1, 1)] });
    await t[how]();
    expect([t.committed('billing', 'a'), t.committed('billing', 'b')]).toEqual([
      [0, 1],
      [0, 0],
    ]);
    expect(await codeOf(read('a'))).toBe('NOT_JOINED');
    const { end } = t.journal;
    await t.join('billing', 'a');
    expect(t.journal.end).toBe(end); // it is known, and was seen today
    expect((await read('a')).texts).toEqual(['old']);
    expect((await read('a', { cursor })).dropped).toEqual([]);
  });

  test('outlive leaving and the lease', async () => {
    const { t, read } = await broadcasting({ consumeFrom: 'LATEST' });
    await t.join('billing', 'a');
    t.rooms.groups.leave('billing', 'a');
    await t.send('orders', to(0, 'one'));
    await t.join('billing', 'a', { leaseMs: 5_000 });
    await t.clock.advance(5_000);
    expect(await codeOf(read('a'))).toBe('NOT_JOINED');
    await t.send('orders', to(0, 'two'));
    await t.join('billing', 'a');
    expect((await read('a')).texts).toEqual(['one', 'two']);
  });

  test('go with the group', async () => {
    const { t } = await broadcasting();
    await t.join('billing', 'a');
    await t.rooms.groups.delete('billing', true);
    await t.restart();
    expect([await t.disk.keys('tables', 'b'), await t.disk.keys('tables', 'P')]).toEqual([[], []]);
  });
});

describe('a silent consumer', () => {
  /** Nobody lives through it: leases of members that poll would end meanwhile. */
  const sleep = (t: Bench, ms: number) => t.clock.pass(ms);

  test('is forgotten in its second week, its rows too, and begins anew', async () => {
    const { t, read } = await broadcasting({ consumeFrom: 'LATEST' });
    await t.join('billing', 'a');
    t.rooms.groups.leave('billing', 'a');
    sleep(t, FORGOTTEN_MS);
    await t.rooms.groups.forgetListeners();
    expect(listeners(t)).toEqual(['a']);
    sleep(t, 1);
    await t.rooms.groups.forgetListeners();
    expect([listeners(t), t.rooms.positions.offsets('billing').queues]).toEqual([[], []]);
    await t.send('orders', 'missed');
    await t.join('billing', 'a');
    await t.send('orders', 'new');
    expect((await read('a')).texts).toEqual(['new']);
    await t.restart();
    expect([await t.disk.keys('tables', 'b'), await t.disk.keys('tables', 'P')]).toMatchObject([
      { length: 1 },
      { length: 2 },
    ]);
  });

  test('that joins now and then is kept: its sign of life is recorded once a day at most', async () => {
    const { t } = await broadcasting();
    await t.join('billing', 'a');
    const { end } = t.journal;
    sleep(t, DAY - 1);
    await t.join('billing', 'a');
    expect(t.journal.end).toBe(end);
    sleep(t, 1);
    await t.join('billing', 'a');
    expect(t.journal.end).toBe(end + 1);
    t.rooms.groups.leave('billing', 'a');
    sleep(t, FORGOTTEN_MS);
    await t.rooms.groups.forgetListeners();
    expect(listeners(t)).toEqual(['a']);
  });

  test('that is a member is never forgotten, and counts as seen while it is one', async () => {
    const { t } = await broadcasting();
    for (const id of ['a', 'b']) await t.join('billing', id);
    t.rooms.groups.leave('billing', 'b');
    sleep(t, FORGOTTEN_MS + 1);
    await t.rooms.groups.forgetListeners();
    expect(listeners(t)).toEqual(['a']);
    t.rooms.groups.leave('billing', 'a');
    sleep(t, FORGOTTEN_MS - DAY);
    await t.rooms.groups.forgetListeners();
    expect(listeners(t)).toEqual(['a']);
  });

  test.each([0, DAY - 1])(
    'that was last recorded %d ms before its last sign is not forgotten within 7 days of that',
    async (ms) => {
      const { t } = await broadcasting();
      await t.join('billing', 'a');
      sleep(t, ms);
      await t.join('billing', 'a');
      t.rooms.groups.leave('billing', 'a');
      sleep(t, 7 * DAY);
      await t.rooms.groups.forgetListeners();
      expect(listeners(t)).toEqual(['a']);
      sleep(t, 3 * DAY);
      await t.rooms.groups.forgetListeners();
      expect(listeners(t)).toEqual([]);
    },
  );

  test('that polled to the end without joining again counts from its end, not from its join', async () => {
    const { t } = await broadcasting();
    await t.join('billing', 'a');
    for (let day = 0; day < 6; day++) {
      sleep(t, DAY);
      await t.rooms.groups.forgetListeners();
    }
    t.rooms.groups.leave('billing', 'a');
    sleep(t, 2 * DAY);
    await t.rooms.groups.forgetListeners();
    expect(listeners(t)).toEqual(['a']);
  });
});

test('a topic of a broadcasting group that is deleted leaves nothing of its positions', async () => {
  const { t, read } = await broadcasting({ allowMultipleTopics: true });
  await t.topic('mail', { readQueues: 1, writeQueues: 1 });
  await t.join('billing', 'a');
  await t.join('billing', 'a', { topic: 'mail' });
  expect(t.committed('billing', 'a')).toHaveLength(3);
  await t.rooms.topics.delete('mail', true);
  expect(t.committed('billing', 'a')).toEqual([0, 0]);
  expect((await read('a')).texts).toEqual(['aged', 'old']);
  await t.restart();
  expect(await t.disk.keys('tables', 'P')).toHaveLength(2);
});
