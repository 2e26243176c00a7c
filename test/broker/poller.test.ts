/** The long poll: what it answers, when, and what may happen while it reads or waits. */
import { readNumber } from '../../storage/keys';
import { LIMITS } from '../../src/base/limits';
import { CursorParts } from '../../src/broker/cursor';
import type { PollAnswer, PollOptions } from '../../src/broker/poller';
import {
  at,
  bodies,
  codeOf,
  HOUR,
  NAME,
  newGroup,
  setup,
  stopBrokers,
  to,
  turn,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** Queues of one topic and epoch that a cursor has room for, and more than that. */
const ROOM = (() => {
  const parts = new CursorParts();
  let queueId = 0;
  while (parts.add({ topic: 1, queueId, epoch: 1, position: 0 })) queueId++;
  return queueId;
})();
const MANY = ROOM + 40;

const texts = (answer: PollAnswer) => bodies(answer.messages);
const numbered = (count: number, queueId = 0, rest: object = {}) =>
  Array.from({ length: count }, (_, i) => to(queueId, `m${i}`, rest));

/** A topic with so many queues, a group on it, and its consumer c1. */
async function consuming({
  queues = 1,
  filter = '*',
  options = {},
}: { queues?: number; filter?: string; options?: object } = {}) {
  const t = await setup({ options });
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  await t.group('billing', { filter: { type: 'TAG', expression: filter } });
  await t.join();
  const poll = (given: Partial<PollOptions> = {}, consumer = 'c1') => t.poll('billing', consumer, given);
  return { t, poll };
}

/** What was stored lies on disk alone. */
async function onDisk(t: Bench): Promise<void> {
  await t.restart();
  await t.join();
  await turn(); // the first look of retention is over
}

async function commit(t: Bench, cursor: string, consumerId = 'c1'): Promise<void> {
  const codes = await t.commit('billing', consumerId, cursor);
  expect(codes).toEqual(codes.map(() => undefined));
}

/** Expires everything stored so far, as retention does. */
async function expire(t: Bench): Promise<void> {
  await t.skip(73 * HOUR);
  await t.rooms.retention.runOnce();
}

describe('where a poll reads', () => {
  test('behind the committed offsets, and again from there until somebody commits', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(3));
    const first = await poll({ max: 2 });
    expect(texts(first)).toEqual(['m0', 'm1']);
    expect(first.messages.map(({ queueOffset }) => queueOffset)).toEqual([0, 1]);
    expect(texts(await poll({ max: 2 }))).toEqual(['m0', 'm1']);
    await commit(t, first.cursor);
    expect(texts(await poll())).toEqual(['m2']);
  });

  test('where the cursor says, which commits nothing', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(4));
    const first = await poll({ max: 2 });
    const second = await poll({ max: 2, cursor: first.cursor });
    expect(texts(second)).toEqual(['m2', 'm3']);
    expect(texts(await poll({ max: 2, cursor: first.cursor }))).toEqual(['m2', 'm3']);
    expect(t.committed()).toEqual([0]);
  });

  test('with autoCommit what the cursor covers is committed, and no more', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(4));
    const first = await poll({ max: 2, autoCommit: true });
    expect(t.committed()).toEqual([0]);
    const second = await poll({ max: 2, autoCommit: true, cursor: first.cursor });
    expect(texts(second)).toEqual(['m2', 'm3']);
    expect(t.committed()).toEqual([2]);
    await poll({ autoCommit: true, cursor: second.cursor });
    expect(t.rooms.positions.offsets('billing').queues[0]!).toMatchObject({ committed: 4, lag: 0 });
  });

  test('an old cursor with autoCommit never moves the position back', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(4));
    const old = await poll({ max: 1 });
    const newer = await poll({ max: 4 });
    await commit(t, newer.cursor);
    await poll({ autoCommit: true, cursor: old.cursor });
    expect(t.committed()).toEqual([4]);
  });

  test('of all its queues, beginning with another one each time', async () => {
    const { t, poll } = await consuming({ queues: 3 });
    for (const queueId of [0, 1, 2]) await t.send('orders', to(queueId, `q${queueId}`));
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) seen.push(...texts(await poll({ max: 1 })));
    expect(seen.sort()).toEqual(['q0', 'q1', 'q2']);
    expect(texts(await poll()).sort()).toEqual(['q0', 'q1', 'q2']);
  });
});

describe('how much a poll answers', () => {
  test('at most max', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(10));
    expect((await poll({ max: 3 })).messages).toHaveLength(3);
  });

  test('at most maxBytes, counted over all queues', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    const body = 'x'.repeat(1000);
    for (const queueId of [0, 1]) await t.send('orders', to(queueId, body), to(queueId, body), to(queueId, body));
    expect((await poll({ maxBytes: 4500 })).messages).toHaveLength(4);
  });

  test('but always one message, however large', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    for (const queueId of [0, 1]) await t.send('orders', to(queueId, 'x'.repeat(100_000)), to(queueId, 'y'));
    expect((await poll({ maxBytes: 1 })).messages).toHaveLength(1);
  });

  test('the lag is what lies behind the answer', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    await t.send('orders', ...numbered(5, 0));
    await t.send('orders', ...numbered(5, 1));
    const answer = await poll({ max: 3 });
    expect(answer.lag).toBe(7);
    expect((await poll({ cursor: answer.cursor, max: 7 })).lag).toBe(0);
  });

  test('a consumer that keeps up causes no read from disk; one that is behind the tail does', async () => {
    const { t, poll } = await consuming({ options: { tailBytes: 20_000 } });
    let cursor = '';
    for (let i = 0; i < 50; i++) {
      await t.send('orders', to(0, `m${i}`.padEnd(1000, '.')));
      await t.clock.advance(100); // flushed each time
      const before = t.disk.reads();
      const answer = await poll({ cursor });
      expect(texts(answer)).toHaveLength(1);
      expect(t.disk.reads()).toBe(before);
      cursor = answer.cursor;
    }
    const before = t.disk.reads();
    expect((await poll({ max: 100 })).messages).toHaveLength(50);
    expect(t.disk.reads()).toBeGreaterThan(before);
    expect(t.state.topicsByName.get('orders')!.queues[0]!.segments.length).toBeLessThan(25);
  });

  test('a backlog on disk is read in order and whole', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    for (const queueId of [0, 1])
      for (let i = 0; i < 3; i++)
        await t.send('orders', ...Array.from({ length: 700 }, (_, j) => to(queueId, `${queueId}-${i * 700 + j}`)));
    await onDisk(t);
    const seen = new Map<number, string[]>([
      [0, []],
      [1, []],
    ]);
    for (let cursor = '', lag = 1; lag > 0;) {
      const answer: PollAnswer = await poll({ cursor, max: 1000 });
      for (const delivery of answer.messages) seen.get(delivery.queue.queueId)!.push(...bodies([delivery]));
      ({ cursor, lag } = answer);
    }
    for (const queueId of [0, 1])
      expect(seen.get(queueId)).toEqual(Array.from({ length: 2100 }, (_, i) => `${queueId}-${i}`));
  });
});

describe('how long a poll waits', () => {
  test('until a message comes', async () => {
    const { t, poll } = await consuming({ queues: 4 });
    const polling = poll({ waitMs: 30_000 });
    await t.parked(1);
    await t.send('orders', 'x');
    expect(texts(await polling)).toEqual(['x']);
  });

  test('until its time is over, and says that it has caught up; the cursor goes on', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'x');
    const { cursor } = await poll();
    const polling = poll({ waitMs: 5_000, cursor });
    await t.parked(1);
    await t.clock.advance(5_000);
    const answer = await polling;
    expect(answer).toMatchObject({ messages: [], reason: 'CAUGHT_UP', lag: 0 });
    await t.send('orders', 'y');
    expect(texts(await poll({ cursor: answer.cursor }))).toEqual(['y']);
  });

  test('not at all with waitMs 0', async () => {
    const { poll } = await consuming();
    expect(await poll()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });

  test('until min messages are there, or its time is over', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    const polling = poll({ waitMs: 30_000, min: 3 });
    await t.parked(1);
    await t.send('orders', to(0, 'a'));
    await t.parked(1);
    await t.send('orders', to(1, 'b'), to(0, 'c'));
    expect(texts(await polling).sort()).toEqual(['a', 'b', 'c']);

    const late = poll({ waitMs: 1_000, min: 10 });
    await t.parked(1);
    await t.clock.advance(1_000);
    expect((await late).messages).toHaveLength(3);
  });

  test('no longer than until max or maxBytes is reached, whatever min says', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(5, 0));
    expect((await poll({ waitMs: 30_000, min: 10, max: 4 })).messages).toHaveLength(4);
    expect((await poll({ waitMs: 30_000, min: 10, maxBytes: 200 })).messages.length).toBeLessThan(5);
  });

  test('not for a client that has gone', async () => {
    const { t, poll } = await consuming();
    const abort = new AbortController();
    const polling = poll({ waitMs: 30_000, signal: () => abort.signal });
    await t.parked(1);
    abort.abort();
    expect((await polling).messages).toEqual([]);
    expect(t.broker.lot.parked).toBe(0);
  });

  test('not for a process that stops', async () => {
    const { t, poll } = await consuming();
    const polling = poll({ waitMs: 30_000 });
    await t.parked(1);
    await t.broker.stop();
    expect(await polling).toMatchObject({ messages: [], reason: 'SHUTTING_DOWN' });
  });

  test('too many wait: the next one is told to come back', async () => {
    const { t, poll } = await consuming({ options: { maxParkedPolls: 1 } });
    await t.join('billing', 'c2');
    const polling = poll({ waitMs: 30_000 });
    await t.parked(1);
    expect(await codeOf(poll({ waitMs: 30_000 }, 'c2'))).toBe('TOO_MANY_REQUESTS');
    await t.send('orders', 'x');
    await polling;
  });
});

describe('what comes while a poll reads', () => {
  test('in a queue that it has passed already is answered at once, not with the next message', async () => {
    const { t, poll } = await consuming({ queues: 2, filter: 'wanted' });
    await t.send('orders', to(1, 'left', { tag: 'other' }));
    await onDisk(t);
    const hold = t.disk.hold('tables', 'read');
    const polling = poll({ waitMs: 30_000 });
    await hold.reached; // queue 0 was empty, queue 1 is being read
    await t.send('orders', to(0, 'x', { tag: 'wanted' }));
    hold.release();
    expect(texts(await polling)).toEqual(['x']);
  });

  test('while nothing but the event loop is in between', async () => {
    const { t, poll } = await consuming({ queues: 8 });
    for (let i = 0; i < 40; i++) {
      const sending = t.send('orders', to(i % 8, `m${i}`));
      for (let ticks = 0; ticks < i; ticks++) await Promise.resolve();
      const answer = await poll({ waitMs: 30_000, autoCommit: true });
      expect(texts(answer)).toEqual([`m${i}`]);
      await sending;
      await commit(t, answer.cursor);
    }
  });

  test('a flush that takes the index rows away from memory changes nothing', async () => {
    const { t, poll } = await consuming({ options: { tailBytes: 1 } });
    await t.send('orders', ...numbered(10));
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    expect(texts(await poll())).toHaveLength(10);
    await t.send('orders', ...numbered(5));
    expect(texts(await poll())).toHaveLength(15);
    hold.release();
    await flushing;
    await t.clock.advance(100);
    expect(t.state.topicsByName.get('orders')!.queues[0]!.segments).toEqual([]);
    expect(texts(await poll())).toHaveLength(15);
  });
});

describe('a second poll of the same consumer', () => {
  test('ends the one that waits', async () => {
    const { t, poll } = await consuming();
    const older = codeOf(poll({ waitMs: 30_000 }));
    await t.parked(1);
    const newer = poll({ waitMs: 30_000 });
    expect(await older).toBe('CONSUMER_REPLACED');
    await t.send('orders', 'x');
    expect(texts(await newer)).toEqual(['x']);
  });

  test('ends the one that reads', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'x');
    await onDisk(t);
    const hold = t.disk.hold('tables', 'read');
    const older = codeOf(poll());
    await hold.reached;
    const newer = poll();
    hold.release();
    expect(await older).toBe('CONSUMER_REPLACED');
    expect(texts(await newer)).toEqual(['x']);
  });

  test('that is refused for its cursor ends nobody', async () => {
    const { t, poll } = await consuming();
    const older = poll({ waitMs: 30_000 });
    await t.parked(1);
    expect(await codeOf(poll({ cursor: 'forged' }))).toBe('CURSOR_INVALID');
    await t.send('orders', 'x');
    expect(texts(await older)).toEqual(['x']);
  });
});

describe('a filter', () => {
  test('leaves others out; the cursor lies behind them, and they are not looked at again', async () => {
    const { t, poll } = await consuming({ filter: 'a || b' });
    await t.send(
      'orders',
      to(0, '1', { tag: 'a' }),
      to(0, '2', { tag: 'c' }),
      to(0, '3'),
      to(0, '4', { tag: 'b' }),
      to(0, '5', { tag: 'c' }),
    );
    const answer = await poll();
    expect(texts(answer)).toEqual(['1', '4']);
    expect(answer.lag).toBe(0);
    await commit(t, answer.cursor);
    expect(t.rooms.positions.offsets('billing').queues[0]).toMatchObject({ committed: 5, lag: 0 });
  });

  test('that takes nothing of what is there says so, and waits', async () => {
    const { t, poll } = await consuming({ filter: 'a' });
    await t.send('orders', to(0, '1', { tag: 'c' }));
    const polling = poll({ waitMs: 1_000 });
    await t.parked(1);
    await t.send('orders', to(0, '2', { tag: 'c' }));
    await t.parked(1);
    await t.clock.advance(1_000);
    const answer = await polling;
    expect(answer).toMatchObject({ messages: [], reason: 'FILTERED', lag: 0 });
    await commit(t, answer.cursor);
    expect(t.committed()).toEqual([2]);
  });

  test('compares strings where hashes are equal', async () => {
    const { t, poll } = await consuming({ filter: 'Aa' });
    await t.send('orders', to(0, '1', { tag: 'BB' }), to(0, '2', { tag: 'Aa' }));
    expect(texts(await poll())).toEqual(['2']);
  });

  test('reads no body of what it leaves out', async () => {
    const { t, poll } = await consuming({ filter: 'a' });
    await t.send('orders', ...numbered(500, 0, { tag: 'c' }));
    await onDisk(t);
    const before = t.disk.count('journal', 'read');
    expect(await poll()).toMatchObject({ messages: [], reason: 'FILTERED', lag: 0 });
    expect(t.disk.count('journal', 'read')).toBe(before);
  });

  test('makes one poll look at 10,000 entries at most, over all its queues, and go on from there', async () => {
    const { t, poll } = await consuming({ queues: 4, filter: 'a' });
    for (let queueId = 0; queueId < 4; queueId++)
      for (let i = 0; i < 4; i++) await t.send('orders', ...numbered(1000, queueId, { tag: 'c' }));
    const polling = await poll({ waitMs: 30_000 });
    expect(polling).toMatchObject({ messages: [], reason: 'FILTERED', lag: 16_000 - LIMITS.pollEntries });
    const next = poll({ waitMs: 1_000, cursor: polling.cursor });
    await t.parked(1);
    await t.clock.advance(1_000);
    expect(await next).toMatchObject({ reason: 'FILTERED', lag: 0 });
  });
});

describe('behind retention', () => {
  test('a poll is told where it was moved, and reads on from there', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(3));
    await expire(t);
    await t.send('orders', 'fresh');
    const answer = await poll();
    expect(texts(answer)).toEqual(['fresh']);
    expect(answer.moved.map(({ from, to: next, queue }) => [queue.queueId, from, next])).toEqual([[0, 0, 3]]);
    await commit(t, answer.cursor);
    expect((await poll()).moved).toEqual([]);
  });

  test('a cursor is moved, too', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(3));
    const { cursor } = await poll({ max: 1 });
    await expire(t);
    const answer = await poll({ cursor });
    expect(answer.dropped).toEqual([]);
    expect(answer.moved.map(({ from, to: next }) => [from, next])).toEqual([[1, 3]]);
    expect(answer.lag).toBe(0);
  });

  test('a poll that reads from disk what is trimmed and deleted meanwhile goes on behind it', async () => {
    const { t, poll } = await consuming();
    for (let i = 0; i < 3; i++) {
      await t.send('orders', ...numbered(600));
      await t.clock.advance(100);
    }
    await t.send('orders', 'fresh');
    await onDisk(t);
    const queue = t.state.topicsByName.get('orders')!.queues[0]!;
    const hold = t.disk.hold('tables', 'read');
    const polling = poll();
    await hold.reached;
    const minima = [{ topic: queue.topic, queueId: 0, nextOffset: 1800 }];
    await t.rooms.core.submit({ kind: 'trim', head: 1, minima, idHour: 0, answerBucket: 0, tombstones: [] });
    await deleteSegments(t, 1800);
    hold.release();
    const answer = await polling;
    expect(texts(answer)).toEqual(['fresh']);
    expect(answer.moved.map(({ from, to: next }) => [from, next])).toEqual([[0, 1800]]);
  });
});

/** What the janitor does, past the held reads: index rows that begin below `min` go. */
async function deleteSegments(t: Bench, min: number): Promise<void> {
  const keys = (await t.disk.keys('tables', 'q')).map((key) => Buffer.from(key, 'hex'));
  const batch = t.disk.engines.tables!.batch();
  for (const key of keys) if (readNumber(key, 9) < min) batch.delete(key);
  await batch.write({ sync: true });
}

describe('who may poll', () => {
  test('only members: there is no implicit join', async () => {
    const { t, poll } = await consuming();
    expect(await codeOf(poll({}, 'stranger'))).toBe('NOT_JOINED');
    t.rooms.groups.leave('billing', 'c1');
    expect(await codeOf(poll())).toBe('NOT_JOINED');
    await t.join();
    await t.clock.advance(30_000); // its lease
    expect(await codeOf(poll())).toBe('NOT_JOINED');
  });

  test('of a group that exists', async () => {
    const { t } = await consuming();
    expect(await codeOf(t.poll('mail'))).toBe('GROUP_NOT_FOUND');
  });

  test.each([
    ['RW', undefined],
    ['R', undefined],
    ['W', 'NO_PERMISSION'],
    ['NONE', 'NO_PERMISSION'],
  ] as const)('when the topic’s permission is %s → %s', async (permission, refused) => {
    const { t, poll } = await consuming();
    await t.send('orders', 'x');
    await t.rooms.topics.update('orders', { permission });
    if (refused) expect(await codeOf(poll())).toBe(refused);
    else expect(texts(await poll())).toEqual(['x']);
  });

  test('a member without queues waits for some', async () => {
    const { t, poll } = await consuming();
    await t.join('billing', 'c2');
    expect(await poll({}, 'c2')).toMatchObject({ messages: [], reason: 'NOT_ASSIGNED', lag: 0 });
    const polling = poll({ waitMs: 30_000 }, 'c2');
    await t.parked(1);
    await t.send('orders', 'x');
    await turn();
    expect(t.broker.lot.parked).toBe(1);
    t.rooms.groups.leave('billing', 'c1');
    expect(texts(await polling)).toEqual(['x']);
  });
});

describe('a cursor', () => {
  test('of another consumer or group is refused', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'x');
    await t.group('mail');
    await t.join('mail', 'c1');
    await t.join('billing', 'c2');
    const { cursor } = await poll();
    expect(await codeOf(poll({ cursor }, 'c2'))).toBe('CURSOR_INVALID');
    expect(await codeOf(t.poll('mail', 'c1', { cursor }))).toBe('CURSOR_INVALID');
  });

  test('of a group that was created anew is told so', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'x');
    const { cursor } = await poll();
    await t.rooms.groups.delete('billing', true);
    await t.group();
    await t.join();
    expect(await codeOf(poll({ cursor }))).toBe('TOPIC_RECREATED');
  });

  test('from before an interruption loses the parts of queues that somebody else had, and names them', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    await t.send('orders', to(0, 'a'));
    await t.send('orders', to(1, 'b'));
    const { cursor } = await poll();
    await t.commit('billing', 'c1', { offsets: [at(1, 1)] });
    await t.join('billing', 'c2'); // takes queue 1
    await t.send('orders', to(1, 'c'));
    t.rooms.groups.leave('billing', 'c2');
    await t.settled();
    const answer = await poll({ cursor, autoCommit: true });
    expect(answer.dropped).toEqual([{ topic: expect.any(Number), queueId: 1 }]);
    expect(texts(answer)).toEqual(['c']);
    expect(t.committed()).toEqual([1, 1]);
  });

  test('survives a restart of the broker: nothing comes twice', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'x');
    const { cursor } = await poll();
    await onDisk(t);
    await t.send('orders', 'y');
    const answer = await poll({ cursor });
    expect([answer.dropped, texts(answer)]).toEqual([[], ['y']]);
  });

  test('has room for the queues it served, however many there are: what is committed never comes again', async () => {
    const { t, poll } = await consuming({ queues: MANY });
    for (let queueId = 0; queueId < MANY; queueId++) await t.send('orders', to(queueId, `q${queueId}`));
    const seen: string[] = [];
    let cursor = '';
    for (let polls = 0; polls < 4; polls++) {
      const answer: PollAnswer = await poll({ cursor, max: 1000, autoCommit: true });
      seen.push(...texts(answer));
      ({ cursor } = answer);
    }
    expect(seen.sort()).toEqual(Array.from({ length: MANY }, (_, queueId) => `q${queueId}`).sort());
  });

  test('stays within its bound for a consumer that commits nothing, which is told to, and then gets the rest', async () => {
    const { t, poll } = await consuming({ queues: MANY });
    for (let queueId = 0; queueId < MANY; queueId++) await t.send('orders', to(queueId, `q${queueId}`));
    const first = await poll({ max: 1000 });
    expect(first.messages).toHaveLength(ROOM);
    expect(first.cursor.length).toBeLessThanOrEqual(LIMITS.cursorCharacters);
    const polling = poll({ max: 1000, cursor: first.cursor, waitMs: 1_000 });
    await t.parked(1); // it does not ask again and again
    await t.clock.advance(1_000);
    const second = await polling;
    expect(second).toMatchObject({ messages: [], reason: 'UNCOMMITTED', lag: MANY - ROOM });
    await commit(t, second.cursor);
    expect((await poll({ max: 1000, cursor: second.cursor })).messages).toHaveLength(MANY - ROOM);
  });
});

describe('a rebalance', () => {
  test('ends the wait of those whom it concerns, with their new queues in effect', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    const polling = poll({ waitMs: 30_000 });
    await t.parked(1);
    await t.join('billing', 'c2');
    expect(await polling).toMatchObject({ messages: [], reason: 'REBALANCED' });
    await t.send('orders', to(0, 'a'), to(1, 'b'));
    expect(texts(await poll())).toEqual(['a']);
    expect(texts(await poll({}, 'c2'))).toEqual(['b']);
  });

  test('while a poll reads: nothing of a queue that moved away is handed out', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    await t.send('orders', to(0, 'a'));
    await t.send('orders', to(1, 'b'));
    await onDisk(t);
    const hold = t.disk.hold('tables', 'read');
    const polling = poll();
    await hold.reached;
    await t.join('billing', 'c2');
    hold.release();
    expect(texts(await polling)).toEqual(['a']);
  });

  test('while a poll reads, that finds nothing, ends it as one that waits: it hears at once what it is to give up', async () => {
    const { t, poll } = await consuming({ queues: 2, filter: 'wanted' });
    await t.send('orders', to(1, 'a', { tag: 'wanted' }));
    const { cursor } = await poll();
    await t.send('orders', to(0, 'x', { tag: 'other' }));
    await onDisk(t);
    const hold = t.disk.hold('tables', 'read');
    const polling = poll({ waitMs: 30_000, cursor });
    await hold.reached;
    await t.join('billing', 'c2');
    hold.release();
    const answer = await polling;
    expect([answer.reason, answer.revoking.map(({ queue }) => queue.queueId)]).toEqual(['REBALANCED', [1]]);
  });

  test('while a poll reads from disk: a consumer that left is not kept waiting', async () => {
    const { t, poll } = await consuming({ queues: 2, filter: 'wanted' });
    await t.send('orders', to(0, 'x', { tag: 'other' }));
    await onDisk(t);
    const hold = t.disk.hold('tables', 'read');
    const polling = poll({ waitMs: 30_000 });
    await hold.reached;
    t.rooms.groups.leave('billing', 'c1');
    hold.release();
    expect(await polling).toMatchObject({ messages: [], reason: 'REBALANCED' });
  });
});

describe('a reset of positions', () => {
  const toStart = (t: Bench) => t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);

  test('moves a consumer that waits, though it came with a cursor', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'a', 'b');
    const { cursor } = await poll();
    const polling = poll({ waitMs: 30_000, cursor });
    await t.parked(1);
    await toStart(t);
    expect(texts(await polling)).toEqual(['a', 'b']);
  });

  test('moves a consumer that reads', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'a', 'b', 'c');
    await onDisk(t);
    const first = await poll({ max: 1 });
    expect(texts(first)).toEqual(['a']);
    const hold = t.disk.hold('journal', 'read');
    const polling = poll({ max: 1, cursor: first.cursor });
    await hold.reached;
    await toStart(t);
    hold.release();
    const answer = await polling;
    expect(texts(answer)).toEqual(['a']);
    expect(texts(await poll({ max: 1, cursor: answer.cursor }))).toEqual(['b']);
  });

  test('voids every cursor from before it', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'a', 'b');
    const { cursor } = await poll();
    await commit(t, cursor);
    await toStart(t);
    const answer = await poll({ cursor, autoCommit: true });
    expect([answer.dropped, texts(answer)]).toEqual([[{ topic: expect.any(Number), queueId: 0 }], ['a', 'b']]);
    expect(t.committed()).toEqual([0]);
  });

  test('is not undone by a commit that is under way', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'a', 'b');
    const { cursor } = await poll();
    const hold = t.disk.hold('journal', 'write');
    const other = t.send('orders', 'c');
    await hold.reached;
    const resetting = toStart(t);
    await turn();
    const committing = poll({ cursor, autoCommit: true });
    hold.release();
    await Promise.all([other, resetting, committing]);
    expect(t.committed()).toEqual([0]);
  });

  test('voids a cursor that was handed out while the reset was written, too', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', 'a', 'b');
    const first = await poll();
    await commit(t, first.cursor);
    await t.send('orders', 'c');
    const hold = t.disk.hold('journal', 'write');
    const resetting = toStart(t);
    await hold.reached;
    const between = await poll();
    expect(texts(between)).toEqual(['c']);
    hold.release();
    await resetting;
    const answer = await poll({ cursor: between.cursor, autoCommit: true });
    expect(texts(answer)).toEqual(['a', 'b', 'c']);
    expect(t.committed()).toEqual([0]);
  });

  test('of one queue leaves the cursors of the others alone', async () => {
    const { t, poll } = await consuming({ queues: 2 });
    await t.send('orders', to(0, 'a'));
    await t.send('orders', to(1, 'b'));
    const { cursor } = await poll();
    await t.rooms.positions.reset('billing', 'EARLIEST', [{ broker: NAME, queueId: 0 }], false);
    const answer = await poll({ cursor });
    expect([answer.dropped, texts(answer)]).toEqual([[{ topic: expect.any(Number), queueId: 0 }], ['a']]);
  });
});

describe('a topic that is deleted', () => {
  test('ends the polls of its groups', async () => {
    const { t, poll } = await consuming();
    const polling = codeOf(poll({ waitMs: 30_000 }));
    await t.parked(1);
    await t.rooms.topics.delete('orders', true);
    expect(await polling).toBe('GROUP_NOT_FOUND');
  });

  test('while a poll reads it from disk is no damage', async () => {
    const { t, poll } = await consuming();
    await t.send('orders', ...numbered(10));
    await onDisk(t);
    const hold = t.disk.hold('tables', 'read');
    const polling = codeOf(poll());
    await hold.reached;
    await t.rooms.topics.delete('orders', true);
    await deleteSegments(t, Number.MAX_SAFE_INTEGER);
    hold.release();
    expect(await polling).toBe('GROUP_NOT_FOUND');
  });
});

test('a thousand groups on one queue are all woken by one message', async () => {
  const { t } = await consuming({ options: { maxParkedPolls: 2000 } });
  const polls: Promise<PollAnswer>[] = [];
  for (let i = 0; i < 1000; i++) {
    await t.rooms.groups.put(newGroup(`g${i}`));
    await t.join(`g${i}`);
    polls.push(t.poll(`g${i}`, 'c1', { waitMs: 30_000 }));
  }
  await t.parked(1000);
  await t.send('orders', 'x');
  const answers = await Promise.all(polls);
  expect(answers.every((answer) => texts(answer)[0] === 'x')).toBe(true);
});
