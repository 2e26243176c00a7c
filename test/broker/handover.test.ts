/** How a queue passes from one consumer to another: never while what was handed out of it is open, never to two at once. */
import { LIMITS } from '../../src/base/limits';
import { at, bodies, codeOf, setup, stopBrokers, to, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const LEASE = 30_000;

/** Two queues with two messages each. The consumer a has them, and was handed everything. */
async function owned() {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  await t.group();
  for (const queueId of [0, 1]) await t.send('orders', to(queueId, `${queueId}x`), to(queueId, `${queueId}y`));
  await t.join('billing', 'a', { leaseMs: LEASE });
  const handed = await t.poll('billing', 'a');
  expect(handed.messages).toHaveLength(4);
  return { t, handed };
}

/** And then b joins, whose share is queue 1. */
async function revoked() {
  const { t, handed } = await owned();
  const joined = await t.join('billing', 'b');
  return { t, handed, joined };
}

const ids = (queues: readonly { queueId: number }[]) => queues.map(({ queueId }) => queueId);
const readers = (t: Bench) =>
  Object.fromEntries(t.rooms.groups.members('billing').members.map(({ id, queues }) => [id, ids(queues)]));
const pending = (t: Bench, id: string) =>
  ids(t.rooms.groups.members('billing').members.find((member) => member.id === id)!.pending);
const body = async (t: Bench, consumer: string, given: object = {}) =>
  bodies((await t.poll('billing', consumer, given)).messages);

describe('a queue of which nothing was handed out', () => {
  test('moves at once', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 2, writeQueues: 2 });
    await t.join('billing', 'a');
    const joined = await t.join('billing', 'b');
    expect([ids(joined.queues.map(({ queue }) => queue)), joined.pending]).toEqual([[1], []]);
    expect(readers(t)).toEqual({ a: [0], b: [1] });
  });

  test('moves at once while its owner waits, who goes on without it', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 2, writeQueues: 2 });
    await t.join('billing', 'a');
    const polling = t.poll('billing', 'a', { waitMs: 20_000 });
    await t.parked(1);
    await t.join('billing', 'b');
    expect(await polling).toMatchObject({ messages: [], reason: 'REBALANCED', revoking: [] });
    await t.send('orders', to(0, 'for a'), to(1, 'for b'));
    expect([await body(t, 'a'), await body(t, 'b')]).toEqual([['for a'], ['for b']]);
  });

  test('and what was handed out of others is committed: it does not wait for them', async () => {
    const { t, handed } = await owned();
    await t.commit('billing', 'a', { offsets: [at(1, 2)] });
    const joined = await t.join('billing', 'b');
    expect([ids(joined.queues.map(({ queue }) => queue)), joined.pending]).toEqual([[1], []]);
    expect(await t.commit('billing', 'a', handed.cursor)).toEqual(
      expect.arrayContaining([undefined, 'QUEUE_NOT_OWNED']),
    );
  });
});

describe('a queue of which something was handed out', () => {
  test('stays: who is to get it hears that it is pending, and gets nothing of it', async () => {
    const { t, joined } = await revoked();
    expect([joined.queues, ids(joined.pending)]).toEqual([[], [1]]);
    expect(readers(t)).toEqual({ a: [0], b: [] });
    expect(await t.poll('billing', 'b')).toMatchObject({ messages: [], reason: 'NOT_ASSIGNED' });
    expect(t.rooms.positions.offsets('billing').queues.map(({ owner }) => owner)).toEqual(['a', 'a']);
  });

  test('gives its owner nothing more, and the answer says until when he has it', async () => {
    const { t, handed } = await revoked();
    await t.send('orders', to(0, '0z'), to(1, '1z'));
    const answer = await t.poll('billing', 'a', { cursor: handed.cursor });
    expect(bodies(answer.messages)).toEqual(['0z']);
    expect(answer.revoking.map(({ queue, deadline }) => [queue.queueId, deadline])).toEqual([
      [1, t.clock.now() + LEASE],
    ]);
    expect([answer.lag, answer.dropped]).toEqual([0, []]);
    expect(bodies((await t.poll('billing', 'a')).messages)).toEqual(['0x', '0y', '0z']);
  });

  test('tells an owner who waits at once', async () => {
    const { t, handed } = await owned();
    const polling = t.poll('billing', 'a', { waitMs: 20_000, cursor: handed.cursor });
    await t.parked(1);
    await t.join('billing', 'b');
    const answer = await polling;
    expect([answer.reason, ids(answer.revoking.map(({ queue }) => queue))]).toEqual(['REBALANCED', [1]]);
  });

  test('has one deadline, which nothing puts off', async () => {
    const { t } = await revoked();
    const deadline = t.clock.now() + LEASE;
    await t.clock.advance(10_000);
    await t.join('billing', 'a');
    await t.join('billing', 'c'); // gets nothing, but everybody's share is worked out anew
    const { revoking } = await t.poll('billing', 'a');
    expect(revoking.map((one) => one.deadline)).toEqual([deadline]);
  });

  test('moves to who is to have it then, when others come and go meanwhile', async () => {
    const { t, handed } = await revoked();
    await t.join('billing', 'aa'); // a | aa, and b has none
    expect([pending(t, 'aa'), pending(t, 'b')]).toEqual([[1], []]);
    await t.commit('billing', 'a', handed.cursor);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], aa: [1], b: [] });
  });

  test('stays with its owner for good when the other leaves again', async () => {
    const { t, handed } = await revoked();
    const polling = t.poll('billing', 'a', { cursor: handed.cursor, waitMs: 10_000 });
    await t.parked(1);
    t.rooms.groups.leave('billing', 'b');
    await t.send('orders', to(1, '1z'));
    const answer = await polling;
    expect([bodies(answer.messages), answer.revoking, answer.dropped]).toEqual([['1z'], [], []]);
    await t.clock.advance(LEASE - 1); // no deadline is left over
    expect(readers(t)).toEqual({ a: [0, 1] });
    // And is as little to be had by the next one as before.
    expect((await t.join('billing', 'b')).queues).toEqual([]);
  });

  test('stays so while its topic gives no messages for a while', async () => {
    const { t } = await owned();
    await t.rooms.topics.update('orders', { permission: 'W' });
    expect(readers(t)).toEqual({ a: [] });
    await t.rooms.topics.update('orders', { permission: 'RW' });
    expect((await t.join('billing', 'b')).queues).toEqual([]);
    expect(readers(t)).toEqual({ a: [0], b: [] });
  });
});

describe('it is freed', () => {
  /** Until now b has nothing; then it has queue 1, and reads what is not committed of it. */
  async function passesOn(t: Bench, expected: string[], free: () => unknown): Promise<void> {
    const polling = t.poll('billing', 'b', { waitMs: 20_000 });
    await t.parked(1);
    await free();
    await t.settled();
    expect(readers(t).b).toContain(1);
    await t.send('orders', to(1, 'new'));
    expect(bodies((await polling).messages).filter((text) => text !== 'new')).toEqual(expected);
  }

  test('by a commit of the cursor, and whoever waits for it is woken', async () => {
    const { t, handed } = await revoked();
    const polling = t.poll('billing', 'b', { waitMs: 20_000 });
    await t.parked(1);
    await t.send('orders', to(1, '1z'));
    expect(await t.commit('billing', 'a', handed.cursor)).toEqual([undefined, undefined]);
    expect(bodies((await polling).messages)).toEqual(['1z']);
    expect(readers(t)).toEqual({ a: [0], b: [1] });
  });

  test('by a commit of offsets, but not before all is committed', async () => {
    const { t } = await revoked();
    await t.commit('billing', 'a', { offsets: [at(0, 2), at(1, 1)] });
    await t.settled();
    expect(readers(t).b).toEqual([]);
    await passesOn(t, [], () => t.commit('billing', 'a', { offsets: [at(1, 2)] }));
  });

  test('by autoCommit: first it is committed, then it passes on', async () => {
    const { t, handed } = await revoked();
    const answer = await t.poll('billing', 'a', { cursor: handed.cursor, autoCommit: true });
    expect(answer.dropped).toEqual([]);
    await t.settled();
    expect(t.committed()).toEqual([2, 2]);
    expect(readers(t)).toEqual({ a: [0], b: [1] });
  });

  test('by a commit of the cursor of a later poll, which got nothing of it', async () => {
    const { t, handed } = await revoked();
    await t.send('orders', to(0, '0z'));
    const later = await t.poll('billing', 'a', { cursor: handed.cursor });
    expect(bodies(later.messages)).toEqual(['0z']);
    expect(await t.commit('billing', 'a', later.cursor)).toEqual([undefined, undefined]);
    await t.settled();
    expect([t.committed(), readers(t)]).toEqual([[3, 2], { a: [0], b: [1] }]);
  });

  test('at its deadline, and what was not committed is delivered again', async () => {
    const { t } = await revoked();
    await t.clock.advance(LEASE - 5_000);
    await t.join('billing', 'a');
    await t.join('billing', 'b');
    await t.clock.advance(4_999);
    expect(readers(t)).toEqual({ a: [0], b: [] });
    await t.clock.advance(1);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
    expect(await body(t, 'b')).toEqual(['1x', '1y']);
    expect((await t.poll('billing', 'a')).revoking).toEqual([]);
  });

  test('by a commit of what its owner was handed since it has it again: what it had before it lost it does not count', async () => {
    const { t, handed } = await revoked();
    await t.clock.advance(LEASE - 1);
    for (const consumer of ['a', 'b']) await t.join('billing', consumer);
    await t.clock.advance(1);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
    t.rooms.groups.leave('billing', 'b');
    await t.settled();
    const again = await t.poll('billing', 'a', { cursor: handed.cursor, max: 1 });
    expect([bodies(again.messages), ids(again.dropped)]).toEqual([['1x'], [1]]);
    expect((await t.join('billing', 'b')).queues).toEqual([]);
    expect(await t.commit('billing', 'a', again.cursor)).toEqual([undefined, undefined]);
    await t.settled();
    expect([readers(t), await body(t, 'b')]).toEqual([{ a: [0], b: [1] }, ['1y']]);
  });

  test('when its owner leaves', async () => {
    const { t } = await revoked();
    await passesOn(t, ['0x', '0y', '1x', '1y'], () => t.rooms.groups.leave('billing', 'a'));
    expect(readers(t)).toEqual({ b: [0, 1] });
  });

  test('when its owner’s lease is over', async () => {
    const { t, handed } = await owned();
    await t.clock.advance(LEASE - 1_000); // a is silent since it polled
    await t.join('billing', 'b');
    await passesOn(t, ['0x', '0y', '1x', '1y'], () => t.clock.advance(1_000));
    expect(readers(t)).toEqual({ b: [0, 1] });
    expect(await codeOf(t.poll('billing', 'a', { cursor: handed.cursor }))).toBe('NOT_JOINED');
  });

  test('by a reset: what was handed out does not count any more', async () => {
    const { t } = await revoked();
    await t.rooms.positions.reset('billing', 'LATEST', undefined, false);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
  });

  test('not by a reset of another queue', async () => {
    const { t, handed } = await revoked();
    await t.rooms.positions.reset('billing', 'EARLIEST', [{ queueId: 0, broker: 'broker-a' }], false);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [] });
    expect((await t.commit('billing', 'a', handed.cursor)).sort()).toEqual(['QUEUE_NOT_OWNED', undefined]);
    await t.settled();
    expect([t.committed(), readers(t)]).toEqual([[0, 2], { a: [0], b: [1] }]);
  });

  test('by commits of retries, too: sendBack with the cursor', async () => {
    const { t, handed } = await revoked();
    const messages = [{ topic: 'orders', broker: 'broker-a', queueId: 1, queueOffset: 0 }];
    const request = { consumerId: 'a', messages, cursor: handed.cursor };
    const { results } = await t.rooms.retries.sendBack('billing', request);
    expect(results).toMatchObject([{ outcome: 'RETRY', attempt: 2 }]);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0, expect.any(Number)], b: [1] }); // %RETRY%billing is a's
  });
});

describe('a late commit', () => {
  test('with an old epoch is refused once somebody else has the queue', async () => {
    const { t, handed } = await revoked();
    await t.clock.advance(10_000);
    await t.join('billing', 'a');
    await t.join('billing', 'b');
    await t.clock.advance(LEASE - 10_000);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
    const items = await t.rooms.positions.commit('billing', {
      ...{ consumerId: 'a', cursor: handed.cursor, generation: undefined, offsets: undefined, force: false },
    });
    const codes = new Map(items.map(({ queueId, error }) => [queueId, error?.code]));
    expect([codes.get(0), codes.get(1)]).toEqual([undefined, 'QUEUE_NOT_OWNED']);
    expect(t.committed()).toEqual([2, 0]);
    // Though it comes back to him: what he read before is not what he reads now.
    t.rooms.groups.leave('billing', 'b');
    await t.settled();
    expect(readers(t)).toEqual({ a: [0, 1] });
    expect((await t.commit('billing', 'a', handed.cursor)).sort()).toEqual(['QUEUE_NOT_OWNED', undefined]);
    const { generation } = handed;
    expect(await t.commit('billing', 'a', { generation, offsets: [at(1, 2)] })).toEqual(['QUEUE_NOT_OWNED']);
    expect(await t.commit('billing', 'a', { offsets: [at(1, 2)] })).toEqual([undefined]);
  });

  test('is accepted while nobody took the queue: after leaving, and after the lease', async () => {
    const { t, handed } = await owned();
    t.rooms.groups.leave('billing', 'a');
    expect(await t.commit('billing', 'a', { offsets: [at(0, 1)] })).toEqual([undefined]);
    expect(await t.commit('billing', 'a', handed.cursor)).toEqual([undefined, undefined]);
    expect(t.committed()).toEqual([2, 2]);

    await t.send('orders', to(0, 'more'));
    await t.join('billing', 'a');
    const more = await t.poll('billing', 'a');
    await t.clock.advance(LEASE);
    expect(readers(t)).toEqual({});
    expect(await t.commit('billing', 'a', more.cursor)).toEqual([undefined]);
    expect(t.committed()).toEqual([3, 2]);
  });

  test('of a restart before is accepted, too', async () => {
    const { t, handed } = await owned();
    await t.crash();
    expect(await t.commit('billing', 'a', handed.cursor)).toEqual([undefined, undefined]);
    expect(t.committed()).toEqual([2, 2]);
  });
});

describe('after a restart', () => {
  test.each(['restart', 'crash'] as const)(
    '(%s) a recorded owner polls on without joining, with its cursor',
    async (how) => {
      const { t, handed } = await owned();
      await t[how]();
      expect(readers(t)).toEqual({ a: [0, 1] });
      await t.send('orders', to(0, '0z'), to(1, '1z'));
      const answer = await t.poll('billing', 'a', { cursor: handed.cursor, autoCommit: true });
      expect([bodies(answer.messages).sort(), answer.dropped, answer.moved]).toEqual([['0z', '1z'], [], []]);
      expect(answer.generation).toBe(handed.generation);
      expect(t.committed()).toEqual([2, 2]);
    },
  );

  test('nobody else does', async () => {
    const { t } = await revoked();
    await t.restart();
    expect(await codeOf(t.poll('billing', 'b'))).toBe('NOT_JOINED');
  });

  test('presumed owners have a full lease, their own, before their queues pass on', async () => {
    const { t } = await owned();
    t.rooms.groups.leave('billing', 'a');
    await t.join('billing', 'a', { leaseMs: 60_000 }); // recorded with 30 s: that counts
    await t.restart();
    const joined = await t.join('billing', 'b', { leaseMs: 600_000 });
    expect([joined.queues, ids(joined.pending)]).toEqual([[], [1]]);
    await t.clock.advance(LEASE - 1);
    expect(readers(t)).toEqual({ a: [0], b: [] });
    await t.clock.advance(1);
    await t.settled();
    expect(readers(t)).toEqual({ b: [0, 1] });
    expect(await body(t, 'b')).toEqual(['0x', '0y', '1x', '1y']);
  });

  test('a presumed owner may hold all that was there: its queue passes on when that is committed, or never was anything open', async () => {
    const { t } = await owned();
    await t.commit('billing', 'a', { offsets: [at(1, 1)] });
    await t.crash();
    expect((await t.join('billing', 'b')).queues).toEqual([]);
    await t.send('orders', to(1, '1z')); // that it cannot hold
    await t.commit('billing', 'a', { offsets: [at(1, 2)] });
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
    await t.crash();
    expect(await body(t, 'b')).toEqual(['1z']);

    const idle = await setup();
    await idle.topic();
    await idle.join('billing', 'a');
    await idle.crash();
    expect((await idle.join('billing', 'b')).queues).toHaveLength(2);
  });

  test('nobody knows what a presumed owner holds: its queue passes on when its cursor is committed', async () => {
    const { t, handed } = await owned();
    await t.restart();
    expect((await t.join('billing', 'b')).queues).toEqual([]);
    const answer = await t.poll('billing', 'a', { cursor: handed.cursor });
    expect(ids(answer.revoking.map(({ queue }) => queue))).toEqual([1]);
    await t.settled();
    expect(readers(t).b).toEqual([]);
    await t.commit('billing', 'a', handed.cursor);
    await t.settled();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
  });

  test('one who came and went before the restart, and whose queues nobody took, is presumed to live, too', async () => {
    const { t } = await owned();
    t.rooms.groups.leave('billing', 'a');
    await t.restart();
    expect(readers(t)).toEqual({ a: [0, 1] });
    t.rooms.groups.leave('billing', 'a');
    expect((await t.join('billing', 'b')).queues).toHaveLength(2);
  });

  test('an owner that was recorded in the last moment before a power cut is the owner', async () => {
    const { t, handed } = await revoked();
    await t.commit('billing', 'a', handed.cursor);
    await t.settled();
    await t.crash();
    expect(readers(t)).toEqual({ a: [0], b: [1] });
    expect(await t.commit('billing', 'a', { offsets: [at(1, 2)] })).toEqual(['QUEUE_NOT_OWNED']);
  });
});

describe('a group that was received from', () => {
  test('is joined when nothing is out any more, goes on with what was not acknowledged, and leaves the leases nothing', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group();
    await t.send('orders', '0', '1', '2', '3');
    const { messages } = await t.receive('billing', { max: 3, invisibleMs: 10_000 });
    const [first, , third] = messages.map(({ receiptHandle }) => receiptHandle);
    await t.rooms.leases.acknowledge('billing', [first!, third!]);
    expect(await codeOf(t.join('billing', 'a'))).toBe('STYLE_CONFLICT');
    expect(t.rooms.groups.members('billing').members).toEqual([]);
    await t.clock.advance(10_000);
    await t.join('billing', 'a');
    const polled = await t.poll('billing', 'a');
    expect(bodies(polled.messages)).toEqual(['1', '3']);
    expect(await codeOf(t.receive())).toBe('STYLE_CONFLICT');
    await t.commit('billing', 'a', { offsets: [at(0, 3)] });
    t.rooms.groups.leave('billing', 'a');
    const again = await t.receive();
    expect(again.messages.map(({ attempt }, i) => [bodies(again.messages)[i], attempt])).toEqual([['3', 1]]);
    // Whoever owned the queue does not any more.
    expect(await t.commit('billing', 'a', polled.cursor)).toEqual(['QUEUE_NOT_OWNED']);
  });
});

test('while owners are being recorded nobody reads what moves', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  await t.join('billing', 'a');
  await t.send('orders', to(0, 'x'), to(1, 'y'));
  const hold = t.disk.hold('journal', 'write');
  const joining = t.join('billing', 'b');
  await hold.reached;
  expect(await body(t, 'a')).toEqual(['x']);
  expect(await body(t, 'b')).toEqual([]);
  t.rooms.groups.leave('billing', 'b');
  expect(await body(t, 'a')).toEqual(['x']);
  hold.release();
  await joining;
  await t.settled();
  expect((await body(t, 'a')).sort()).toEqual(['x', 'y']);
});

test('a queue whose messages the filter leaves out is handed over as if nothing was handed out', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  await t.group('billing', { filter: { type: 'TAG', expression: 'wanted' } });
  await t.join('billing', 'a');
  for (const queueId of [0, 1]) await t.send('orders', ...Array(100).fill(to(queueId, 'left', { tag: 'other' })));
  expect(await t.poll('billing', 'a', { max: LIMITS.pollMessages })).toMatchObject({
    messages: [],
    reason: 'FILTERED',
  });
  expect((await t.join('billing', 'b')).queues).toHaveLength(1);
});
