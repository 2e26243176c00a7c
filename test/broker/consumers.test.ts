/** Who is a member, for how long, and who owns which queue. */
import fc from 'fast-check';
import { LIMITS } from '../../src/base/limits';
import { Consumers } from '../../src/broker/consumers';
import type { GroupState } from '../../src/broker/state';
import { codeOf, NAME, newGroup, setup, stopBrokers, until } from '../support/broker';

afterEach(stopBrokers);

const LEASE = 10_000;

/** A group of a topic with `queues` queues, and its membership alone. */
async function members({ queues = 4 } = {}) {
  const t = await setup();
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  await t.group();
  const group = t.state.groupsByName.get('billing')!;
  const { consumers } = t.rooms;
  const topic = t.state.topicsByName.get('orders')!;
  const join = (id: string, leaseMs = LEASE) => consumers.join(group, id, leaseMs);
  /** Owner of each queue. */
  const owners = () => topic.queues.map((queue) => consumers.owner(group, queue)?.member.id);
  const epochs = () => topic.queues.map((queue) => consumers.owner(group, queue)?.epoch);
  const ids = () => consumers.members(group).map(({ id }) => id);
  return { t, group, topic, consumers, join, owners, epochs, ids };
}

describe('joining', () => {
  test('gives the first consumer everything and shares with those who come', async () => {
    const { join, owners } = await members();
    expect(owners()).toEqual([undefined, undefined, undefined, undefined]);
    join('b');
    expect(owners()).toEqual(['b', 'b', 'b', 'b']);
    join('a');
    expect(owners()).toEqual(['a', 'a', 'b', 'b']);
    join('c');
    expect(owners()).toEqual(['a', 'a', 'b', 'c']);
  });

  test('again changes nothing but the lease', async () => {
    const { join, owners, epochs, consumers, ids } = await members();
    const first = join('a');
    const before = [owners(), epochs(), consumers.generation];
    expect(join('a')).toBe(first);
    expect([owners(), epochs(), consumers.generation]).toEqual(before);
    expect(ids()).toEqual(['a']);
  });

  test('more consumers than queues leaves the last ones idle', async () => {
    const { join } = await members({ queues: 2 });
    expect(['a', 'b', 'c'].map((id) => join(id)).map(({ queues }) => queues.length)).toEqual([1, 1, 0]);
  });

  test('is refused to the one beyond the bound', async () => {
    const { join, ids } = await members();
    for (let i = 0; i < LIMITS.consumersPerGroup; i++) join(`c${i}`);
    expect(() => join('one-more')).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    join('c0');
    expect(ids()).toHaveLength(LIMITS.consumersPerGroup);
  });
});

describe('leaving', () => {
  test('gives the queues to those who stay', async () => {
    const { join, owners, consumers, group } = await members();
    const a = join('a');
    join('b');
    expect(consumers.leave(group, 'a')).toBe(true);
    expect(owners()).toEqual(['b', 'b', 'b', 'b']);
    expect(a.queues).toEqual([]);
    expect(consumers.leave(group, 'a')).toBe(false);
    expect(consumers.member(group, 'a')).toBeUndefined();
  });

  test('of the last one leaves the queues to nobody, and no timer behind', async () => {
    const { t, join, owners, consumers, group } = await members();
    const before = t.clock.pendingTimers;
    join('a');
    consumers.leave(group, 'a');
    expect(owners()).toEqual([undefined, undefined, undefined, undefined]);
    expect(t.clock.pendingTimers).toBe(before);
  });
});

describe('a lease', () => {
  test('ends on time, not before, and the queues pass on', async () => {
    const { t, join, owners, ids } = await members();
    join('a', 5_000);
    join('b', 60_000);
    await t.clock.advance(4_999);
    expect(ids()).toEqual(['a', 'b']);
    await t.clock.advance(1);
    expect(ids()).toEqual(['b']);
    expect(owners()).toEqual(['b', 'b', 'b', 'b']);
  });

  test('begins anew with each join', async () => {
    const { t, join, ids } = await members();
    join('a');
    await t.clock.advance(LEASE - 1);
    join('a');
    await t.clock.advance(LEASE - 1);
    expect(ids()).toEqual(['a']);
    await t.clock.advance(1);
    expect(ids()).toEqual([]);
  });

  test('may be made shorter or longer by a join', async () => {
    const { t, join, ids } = await members();
    join('a', 60_000);
    join('a', 1_000);
    join('b', 1_000);
    join('b', 60_000);
    await t.clock.advance(1_000);
    expect(ids()).toEqual(['b']);
  });

  test('ends for each of many at its own time', async () => {
    const { t, join, ids } = await members();
    for (const [id, lease] of [
      ['a', 3_000],
      ['b', 1_000],
      ['c', 2_000],
    ] as const)
      join(id, lease);
    await t.clock.advance(1_000);
    expect(ids()).toEqual(['a', 'c']);
    await t.clock.advance(1_000);
    expect(ids()).toEqual(['a']);
    await t.clock.advance(1_000);
    expect(ids()).toEqual([]);
  });

  test('does not end when the wall clock is set forward', async () => {
    const { t, join, ids } = await members();
    join('a');
    t.clock.jumpTo(t.clock.now() + 86_400_000);
    await t.clock.advance(LEASE - 1);
    expect(ids()).toEqual(['a']);
  });

  test('is kept by a poll that waits, and runs from its answer', async () => {
    const { t, join, ids } = await members();
    join('a');
    const polling = t.poll('billing', 'a', { waitMs: 30_000 });
    await t.parked(1);
    await t.clock.advance(29_000);
    expect(ids()).toEqual(['a']);
    await t.send('orders', 'x');
    expect((await polling).messages).toHaveLength(1);
    await t.clock.advance(LEASE - 1);
    expect(ids()).toEqual(['a']);
    await t.clock.advance(1);
    expect(ids()).toEqual([]);
  });

  test('kept by a poll costs no look after look', async () => {
    const { t, join } = await members();
    join('a');
    const polling = t.poll('billing', 'a', { waitMs: 30_000 });
    await t.parked(1);
    const timers = jest.spyOn(t.clock, 'after');
    await t.clock.advance(29_000);
    const ownLooks = timers.mock.calls.filter(([ms]) => ms !== 1000).length; // the janitor looks every second
    expect(ownLooks).toBeLessThan(20);
    await t.clock.advance(1_000);
    await polling;
  });

  test('runs from the moment the waiting client goes away', async () => {
    const { t, join, ids } = await members();
    join('a');
    const abort = new AbortController();
    const polling = t.poll('billing', 'a', { waitMs: 30_000, signal: () => abort.signal });
    await t.parked(1);
    await t.clock.advance(20_000);
    abort.abort();
    await polling;
    await t.clock.advance(LEASE - 1);
    expect(ids()).toEqual(['a']);
    await t.clock.advance(1);
    expect(ids()).toEqual([]);
  });
});

describe('an epoch', () => {
  test('changes with the owner and with nobody else', async () => {
    const { join, epochs, consumers, group } = await members();
    join('b');
    const first = epochs();
    join('c'); // takes queues 2 and 3
    const second = epochs();
    expect(second.slice(0, 2)).toEqual(first.slice(0, 2));
    expect(second[2]).toBeGreaterThan(first[2]!);
    consumers.leave(group, 'c');
    const third = epochs();
    expect(third.slice(0, 2)).toEqual(first.slice(0, 2));
    expect(third[2]).toBeGreaterThan(second[2]!);
  });

  test('changes for a consumer that left and came back', async () => {
    const { join, epochs, consumers, group } = await members();
    join('a');
    const before = epochs()[0]!;
    consumers.leave(group, 'a');
    join('a');
    expect(epochs()[0]).toBeGreaterThan(before);
  });

  test('is higher after a restart than any before it', async () => {
    const { t, join, epochs } = await members();
    join('a');
    const before = Math.max(...(epochs() as number[]));
    await t.restart();
    await t.join('billing', 'a');
    const group = t.state.groupsByName.get('billing')!;
    const queue = t.state.topicsByName.get('orders')!.queues[0]!;
    expect(t.rooms.consumers.owner(group, queue)!.epoch).toBeGreaterThan(before);
  });

  test('of every present owner lies at or below the generation', async () => {
    const { join, epochs, consumers } = await members();
    for (const id of ['a', 'b', 'c']) {
      join(id);
      const generation = Consumers.epochOf(consumers.generation);
      for (const epoch of epochs()) expect(epoch).toBeLessThanOrEqual(generation);
    }
  });

  test('is none for a text that is no generation', () => {
    for (const text of ['', '-1', 'ABC', 'é', '1.5', 'z'.repeat(12)]) expect(Consumers.epochOf(text)).toBe(-1);
  });
});

describe('a rebalance', () => {
  test('wakes the parked polls that gain or lose a queue, and only these', async () => {
    const { t, join } = await members({ queues: 3 });
    for (const id of ['a', 'b', 'c']) join(id);
    const answers = new Map<string, unknown>();
    const polling = ['a', 'b', 'c'].map((id) =>
      t.poll('billing', id, { waitMs: 30_000 }).then(({ reason }) => answers.set(id, reason)),
    );
    await t.parked(3);
    join('bb'); // takes b's place in the row: a b | bb, and c loses its queue
    await until(() => answers.size === 1, 'one poll to be woken');
    expect([...answers]).toEqual([['c', 'REBALANCED']]);
    expect(t.broker.lot.parked).toBe(2);
    await t.send('orders', { queue: { broker: NAME, queueId: 0 } }, { queue: { broker: NAME, queueId: 1 } });
    await Promise.all(polling);
    expect(answers.get('a')).toBeUndefined();
  });

  test('follows a topic that grows, shrinks, and stops being readable', async () => {
    const { t, join, owners } = await members({ queues: 2 });
    join('a');
    await t.rooms.topics.update('orders', { readQueues: 4 });
    expect(owners()).toEqual(['a', 'a', 'a', 'a']);
    await t.rooms.topics.update('orders', { readQueues: 3 });
    expect(owners()).toEqual(['a', 'a', 'a', undefined]);
    await t.rooms.topics.update('orders', { permission: 'W' });
    expect(owners()).toEqual([undefined, undefined, undefined, undefined]);
    await t.rooms.topics.update('orders', { permission: 'R' });
    expect(owners()).toEqual(['a', 'a', 'a', undefined]);
  });

  test('ends with the group: its polls are answered, its timer is gone', async () => {
    const { t, join } = await members();
    await t.clock.advance(100); // flushed
    const before = t.clock.pendingTimers;
    join('a');
    const polling = codeOf(t.poll('billing', 'a', { waitMs: 30_000 }));
    await t.parked(1);
    await t.rooms.groups.delete('billing', true);
    expect(await polling).toBe('GROUP_NOT_FOUND');
    expect(t.clock.pendingTimers).toBe(before + 1); // the next flush alone
  });
});

test('whoever comes and goes: each queue has one owner, members have their even share, epochs only rise', async () => {
  const { t, consumers, topic } = await members({ queues: 7 });
  const steps = fc.array(fc.record({ id: fc.integer({ min: 0, max: 9 }).map((n) => `c${n}`), joins: fc.boolean() }), {
    maxLength: 40,
  });
  let round = 0;
  await fc.assert(
    fc.asyncProperty(steps, async (plan) => {
      const { group: record } = await t.rooms.groups.put(newGroup(`g${round++}`));
      const group: GroupState = t.state.groups.get(record.no)!;
      const highest = new Map<number, number>();
      const present = new Set<string>();
      for (const { id, joins } of plan) {
        if (joins) consumers.join(group, id, LEASE);
        else consumers.leave(group, id);
        if (joins) present.add(id);
        else present.delete(id);
        const sizes = consumers.members(group).map((member) => member.queues.length);
        expect(consumers.members(group).map((member) => member.id)).toEqual([...present].sort());
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(present.size === 0 ? 0 : 7);
        if (sizes.length > 0) expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        for (const queue of topic.queues) {
          const owner = consumers.owner(group, queue);
          expect(owner?.member.queues.includes(queue)).toBe(present.size === 0 ? undefined : true);
          if (!owner) continue;
          expect(owner.epoch).toBeGreaterThanOrEqual(highest.get(queue.queueId) ?? 0);
          highest.set(queue.queueId, owner.epoch);
        }
      }
    }),
    { numRuns: 30 },
  );
});
