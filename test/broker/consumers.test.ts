/** Who is a member, for how long, and who owns which queue. How queues pass from one to another is handover.test.ts. */
import fc from 'fast-check';
import { LIMITS } from '../../src/base/limits';
import { BEAT_MS } from '../../src/base/runningTime';
import { Consumers } from '../../src/broker/consumers';
import { retryTopicOf } from '../../src/broker/group';
import { codeOf, NAME, newGroup, setup, stopBrokers, turn, until } from '../support/broker';
import { ManualClock } from '../support/clock';

afterEach(stopBrokers);

const LEASE = 10_000;

/** Time passes while the process stands still: no timer fires meanwhile. */
class StallingClock extends ManualClock {
  stalled = 0;

  override monotonic(): number {
    return super.monotonic() + this.stalled;
  }
}

/** A group of a topic with `queues` queues, and its membership alone. */
async function members({ queues = 4, group: given = {}, clock = new ManualClock() } = {}) {
  const t = await setup({ clock });
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  await t.group('billing', given);
  /** Of the process that runs now: after a restart others. */
  const now = () => {
    const group = t.state.groupsByName.get('billing')!;
    return { group, topic: t.state.topicsByName.get('orders')!, consumers: t.rooms.consumers };
  };
  const join = (id: string, leaseMs = LEASE) => {
    const { group, topic, consumers } = now();
    return consumers.join(group, id, leaseMs, topic.record.no);
  };
  const leave = async (id: string) => {
    const { group, consumers } = now();
    const left = consumers.leave(group, id);
    await settled();
    return left;
  };
  /** New owners are recorded. */
  const settled = async () => {
    while (t.rooms.pendingBytes > 0) await turn();
    await turn();
  };
  /** Living owner of each queue. */
  const owners = () => {
    const { group, topic, consumers } = now();
    return topic.queues.map((queue) => consumers.owner(group, queue)?.id);
  };
  const epochs = () => {
    const { group, topic, consumers } = now();
    return topic.queues.map((queue) => {
      const owner = consumers.owner(group, queue);
      return owner && consumers.epochOf(group, owner, queue);
    });
  };
  const ids = () =>
    now()
      .consumers.members(now().group)
      .map(({ id }) => id);
  /** What each member may read. */
  const shares = () =>
    Object.fromEntries(
      now()
        .consumers.members(now().group)
        .map(({ id, queues }) => [id, queues.map(({ queueId }) => queueId)]),
    );
  return { t, now, join, leave, settled, owners, epochs, ids, shares };
}

describe('joining', () => {
  test('gives the first consumer everything and shares with those who come', async () => {
    const { join, owners, shares } = await members();
    expect(owners()).toEqual([undefined, undefined, undefined, undefined]);
    expect((await join('b')).queues).toHaveLength(4);
    expect(owners()).toEqual(['b', 'b', 'b', 'b']);
    await join('a');
    expect(owners()).toEqual(['a', 'a', 'b', 'b']);
    await join('c');
    expect(owners()).toEqual(['a', 'a', 'b', 'c']);
    expect(shares()).toEqual({ a: [0, 1], b: [2], c: [3] });
  });

  test('again changes nothing but the lease, and writes nothing', async () => {
    const { t, now, join, owners, epochs, ids } = await members();
    const first = await join('a');
    const generation = () => now().consumers.generation(now().group);
    const before = [owners(), epochs(), generation(), t.journal.end];
    expect(await join('a')).toBe(first);
    expect([owners(), epochs(), generation(), t.journal.end]).toEqual(before);
    expect(ids()).toEqual(['a']);
  });

  test('by many at once leaves each queue with one of them, in two commands', async () => {
    const { t, join, owners, shares, settled } = await members();
    const { end } = t.journal;
    await Promise.all(['d', 'a', 'c', 'b'].map((id) => join(id)));
    await settled();
    expect(owners()).toEqual(['a', 'b', 'c', 'd']);
    expect(shares()).toEqual({ a: [0], b: [1], c: [2], d: [3] });
    expect(t.journal.end).toBe(end + 2); // all to the first one, then everybody his own
  });

  test('more consumers than queues leaves the last ones idle', async () => {
    const { join, shares } = await members({ queues: 2 });
    for (const id of ['a', 'b', 'c']) await join(id);
    expect(shares()).toEqual({ a: [0], b: [1], c: [] });
  });

  test('is refused to the one beyond the bound', async () => {
    const { join, ids } = await members();
    await Promise.all(Array.from({ length: LIMITS.consumersPerGroup }, (_, i) => join(`c${i}`)));
    expect(await codeOf(join('one-more'))).toBe('LIMIT_EXCEEDED');
    await join('c0');
    expect(ids()).toHaveLength(LIMITS.consumersPerGroup);
  });
});

describe('the strategy', () => {
  test.each([
    ['AVG', { a: [0, 1, 2], b: [3, 4] }],
    ['AVG_BY_CIRCLE', { a: [0, 2, 4], b: [1, 3] }],
  ] as const)('%s is the group’s', async (allocation, expected) => {
    const { join, shares } = await members({ queues: 5, group: { allocation } });
    await join('a');
    await join('b');
    expect(shares()).toEqual(expected);
  });

  test('CONSISTENT_HASH: whoever comes or goes moves no queue between the others', async () => {
    const { join, leave, owners } = await members({ queues: 64, group: { allocation: 'CONSISTENT_HASH' } });
    await join('a');
    await join('b');
    const before = owners();
    expect(new Set(before)).toEqual(new Set(['a', 'b']));
    await join('c');
    expect(owners().filter((owner, i) => owner !== 'c' && owner !== before[i])).toEqual([]);
    expect(owners()).toContain('c');
    await leave('c');
    expect(owners()).toEqual(before);
  });

  test('may be changed while consumers are there', async () => {
    const { t, join, shares, settled } = await members({ queues: 4 });
    await join('a');
    await join('b');
    await t.group('billing', { allocation: 'AVG_BY_CIRCLE' });
    await settled();
    expect(shares()).toEqual({ a: [0, 2], b: [1, 3] });
  });
});

describe('the retries of a group', () => {
  test('are allocated like a topic of their own, to one of all members, as soon as they are there', async () => {
    const { t, now, join, leave } = await members();
    await join('a');
    await join('b');
    const topic = await t.rooms.retries.ensureTopic(retryTopicOf('billing'));
    await turn();
    const readers = () =>
      now()
        .consumers.members(now().group)
        .filter(({ queues }) => queues.some((queue) => queue.topic === topic))
        .map(({ id }) => id);
    await until(() => readers().length > 0, 'retries to be read');
    expect(readers()).toEqual(['a']);
    await leave('a');
    expect(readers()).toEqual(['b']);
    expect((await t.poll('billing', 'b')).reason).toBe('CAUGHT_UP');
  });

  test('of another group, or dead letters, are nobody’s', async () => {
    const { t, now, join } = await members();
    const member = await join('a');
    await t.group('mail');
    for (const name of [retryTopicOf('mail'), '%DLQ%billing']) await t.rooms.retries.ensureTopic(name);
    await turn();
    expect(member.queues.map(({ topic }) => topic)).toEqual(Array(4).fill(now().topic.record.no));
  });

  test('are there for a consumer that joins later, after a restart, too', async () => {
    const { t, join } = await members({ queues: 1 });
    await t.rooms.retries.ensureTopic(retryTopicOf('billing'));
    await t.restart();
    expect((await join('a')).queues).toHaveLength(2);
  });
});

describe('leaving', () => {
  test('gives the queues to those who stay', async () => {
    const { now, join, leave, owners } = await members();
    const a = await join('a');
    await join('b');
    expect(await leave('a')).toBe(true);
    expect(owners()).toEqual(['b', 'b', 'b', 'b']);
    expect(a.queues).toEqual([]);
    expect(await leave('a')).toBe(false);
    expect(now().consumers.member(now().group, 'a')).toBeUndefined();
  });

  test('of the last one leaves the queues to nobody, and no timer behind', async () => {
    const { t, join, leave, owners } = await members();
    await t.clock.advance(100); // flushed
    const before = t.clock.pendingTimers;
    await join('a');
    await leave('a');
    expect(owners()).toEqual([undefined, undefined, undefined, undefined]);
    await t.clock.advance(100);
    expect(t.clock.pendingTimers).toBe(before);
  });
});

describe('a lease', () => {
  test('ends on time, not before, and the queues pass on', async () => {
    const { t, join, owners, ids, settled } = await members();
    await join('a', 5_000);
    await join('b', 60_000);
    await t.clock.advance(4_999);
    expect(ids()).toEqual(['a', 'b']);
    await t.clock.advance(1);
    expect(ids()).toEqual(['b']);
    await settled();
    expect(owners()).toEqual(['b', 'b', 'b', 'b']);
  });

  test('begins anew with each join', async () => {
    const { t, join, ids } = await members();
    await join('a');
    await t.clock.advance(LEASE - 1);
    await join('a');
    await t.clock.advance(LEASE - 1);
    expect(ids()).toEqual(['a']);
    await t.clock.advance(1);
    expect(ids()).toEqual([]);
  });

  test('may be made shorter or longer by a join', async () => {
    const { t, join, ids } = await members();
    await join('a', 60_000);
    await join('a', 1_000);
    await join('b', 1_000);
    await join('b', 60_000);
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
      await join(id, lease);
    await t.clock.advance(1_000);
    expect(ids()).toEqual(['a', 'c']);
    await t.clock.advance(1_000);
    expect(ids()).toEqual(['a']);
    await t.clock.advance(1_000);
    expect(ids()).toEqual([]);
  });

  test('does not end when the wall clock is set forward', async () => {
    const { t, join, ids } = await members();
    await join('a');
    t.clock.jumpTo(t.clock.now() + 86_400_000);
    await t.clock.advance(LEASE - 1);
    expect(ids()).toEqual(['a']);
  });

  test('does not end because the process stood still', async () => {
    const clock = new StallingClock();
    const { t, join, ids } = await members({ clock });
    await join('a');
    await join('b', LEASE / 2);
    clock.stalled = 10 * LEASE;
    await t.clock.advance(LEASE / 2); // for b's end everybody's lease is looked at
    expect(ids()).toEqual(['a']);
    await t.clock.advance(LEASE / 2 + BEAT_MS);
    expect(ids()).toEqual([]);
  });

  test('is kept by a poll that waits, and runs from its answer', async () => {
    const { t, join, ids } = await members();
    await join('a');
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
    await join('a');
    const polling = t.poll('billing', 'a', { waitMs: 30_000 });
    await t.parked(1);
    const timers = jest.spyOn(t.clock, 'after');
    await t.clock.advance(29_000);
    const others = [1000, BEAT_MS]; // the janitor and the timers look every second, the running time beats
    const ownLooks = timers.mock.calls.filter(([ms]) => !others.includes(ms)).length;
    expect(ownLooks).toBeLessThan(20);
    await t.clock.advance(1_000);
    await polling;
  });

  test('runs from the moment the waiting client goes away', async () => {
    const { t, join, ids } = await members();
    await join('a');
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
    const { join, leave, epochs } = await members();
    await join('b');
    const first = epochs();
    await join('c'); // takes queues 2 and 3
    const second = epochs();
    expect(second.slice(0, 2)).toEqual(first.slice(0, 2));
    expect(second[2]).toBeGreaterThan(first[2]!);
    await leave('c');
    const third = epochs();
    expect(third.slice(0, 2)).toEqual(first.slice(0, 2));
    expect(third[2]).toBeGreaterThan(second[2]!);
  });

  test('is the index of the command that recorded the owner', async () => {
    const { t, join, epochs } = await members({ queues: 1 });
    await join('a');
    expect(epochs()).toEqual([t.journal.end]);
  });

  test('stays for a consumer that left and came back before anybody took its queues', async () => {
    const { join, leave, epochs } = await members();
    await join('a');
    const before = epochs();
    await leave('a');
    await join('a');
    expect(epochs()).toEqual(before);
    await leave('a');
    await join('b');
    await leave('b');
    await join('a');
    expect(epochs()[0]).toBeGreaterThan(before[0]!);
  });

  test.each(['restart', 'crash'] as const)('stays over a %s', async (how) => {
    const { t, join, epochs } = await members();
    await join('a');
    const before = epochs();
    await t[how]();
    expect(epochs()).toEqual(before);
    await join('a');
    expect(epochs()).toEqual(before);
  });

  test('of every present owner lies at or below the generation: the group’s, and the member’s own', async () => {
    const { now, join, epochs, owners } = await members();
    for (const id of ['a', 'b', 'c']) {
      await join(id);
      const { consumers, group } = now();
      const generation = Consumers.epochOf(consumers.generation(group));
      expect(Math.max(...(epochs() as number[]))).toBe(generation);
      for (const member of consumers.members(group)) {
        const own = epochs().filter((_, i) => owners()[i] === member.id) as number[];
        expect(Consumers.epochOf(consumers.generation(group, member))).toBe(Math.max(...own));
      }
    }
  });

  test('is none for a text that is no generation', () => {
    for (const text of ['', '-1', 'ABC', 'é', '1.5', 'z'.repeat(12)]) expect(Consumers.epochOf(text)).toBe(-1);
  });
});

describe('a rebalance', () => {
  test('wakes the parked polls that lose a queue, lets those that gain one go on, and leaves the others alone', async () => {
    const { t, join, settled } = await members({ queues: 3 });
    for (const id of ['a', 'b', 'c']) await join(id);
    const answers = new Map<string, unknown>();
    const polling = ['a', 'b', 'c'].map((id) =>
      t.poll('billing', id, { waitMs: 30_000 }).then(({ reason }) => answers.set(id, reason)),
    );
    await t.parked(3);
    const bb = await join('bb'); // takes c's place in the row: a b bb, and c has none
    expect(bb.queues.map(({ queueId }) => queueId)).toEqual([2]);
    await until(() => answers.size === 1, 'one poll to be woken');
    await settled();
    expect([...answers]).toEqual([['c', 'REBALANCED']]);
    expect(t.broker.lot.parked).toBe(2);
    await t.send('orders', { queue: { broker: NAME, queueId: 0 } }, { queue: { broker: NAME, queueId: 1 } });
    await Promise.all(polling);
    expect([answers.get('a'), answers.get('b')]).toEqual([undefined, undefined]);
  });

  test('follows a topic that grows, shrinks, and stops being readable', async () => {
    const { t, join, shares, settled } = await members({ queues: 2 });
    await join('a');
    const change = async (patch: Parameters<typeof t.rooms.topics.update>[1]) => {
      await t.rooms.topics.update('orders', patch);
      await settled();
      return shares().a;
    };
    expect(await change({ readQueues: 4 })).toEqual([0, 1, 2, 3]);
    expect(await change({ readQueues: 3 })).toEqual([0, 1, 2]);
    expect(await change({ permission: 'W' })).toEqual([]);
    expect(await change({ permission: 'R' })).toEqual([0, 1, 2]);
  });

  test('ends with the group: its polls are answered, its timer is gone', async () => {
    const { t, join } = await members();
    await t.clock.advance(100); // flushed
    const before = t.clock.pendingTimers;
    await join('a');
    const polling = codeOf(t.poll('billing', 'a', { waitMs: 30_000 }));
    await t.parked(1);
    await t.rooms.groups.delete('billing', true);
    expect(await polling).toBe('GROUP_NOT_FOUND');
    expect(t.clock.pendingTimers).toBe(before + 1); // the next flush alone
  });
});

test('new owners that could not be recorded, because the disk cannot keep up, are recorded a second later', async () => {
  const { t, now, join, owners, settled } = await members();
  const hold = t.disk.hold('journal', 'write');
  const sending = [t.send('orders', 'x')];
  await hold.reached;
  const large = 'x'.repeat(4 << 20);
  while (t.rooms.pendingBytes + large.length + 1000 < LIMITS.pendingBytes) sending.push(t.send('orders', large));
  sending.push(t.send('orders', 'x'.repeat(LIMITS.pendingBytes - t.rooms.pendingBytes - 300)));
  const member = await join('a');
  expect([member.queues, member.pending.length]).toEqual([[], 4]);
  hold.release();
  await Promise.all(sending);
  await t.clock.advance(999);
  await settled();
  expect(owners()).toEqual([undefined, undefined, undefined, undefined]);
  await t.clock.advance(1);
  await settled();
  expect(owners()).toEqual(['a', 'a', 'a', 'a']);
  expect(now().consumers.member(now().group, 'a')!.queues).toHaveLength(4);
});

test('whoever comes and goes: each queue has one owner, members have their even share, epochs only rise', async () => {
  const { t, settled } = await members({ queues: 7 });
  const { consumers, topic } = { consumers: t.rooms.consumers, topic: t.state.topicsByName.get('orders')! };
  const steps = fc.array(
    fc.record({ id: fc.integer({ min: 0, max: 9 }).map((n) => `c${n}`), joins: fc.boolean(), waits: fc.boolean() }),
    { maxLength: 40 },
  );
  let round = 0;
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom('AVG' as const, 'AVG_BY_CIRCLE' as const), async (plan, allocation) => {
      const { group: record } = await t.rooms.groups.put({ ...newGroup(`g${round++}`), allocation });
      const group = t.state.groups.get(record.no)!;
      const highest = new Map<number, number>();
      const present = new Set<string>();
      const joins: Promise<unknown>[] = [];
      for (const { id, joins: comes, waits } of plan) {
        if (comes) joins.push(consumers.join(group, id, LEASE, topic.record.no));
        else consumers.leave(group, id);
        if (comes) present.add(id);
        else present.delete(id);
        // At any moment no queue is in the hands of two.
        const read = consumers.members(group).flatMap((member) => member.queues);
        expect(new Set(read).size).toBe(read.length);
        if (!waits) continue;
        await settled();
        const sizes = consumers.members(group).map((member) => member.queues.length);
        expect(consumers.members(group).map((member) => member.id)).toEqual([...present].sort());
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(present.size === 0 ? 0 : 7);
        if (sizes.length > 0) expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        for (const queue of topic.queues) {
          const owner = consumers.owner(group, queue);
          expect(owner?.queues.includes(queue)).toBe(present.size === 0 ? undefined : true);
          if (!owner) continue;
          const epoch = consumers.epochOf(group, owner, queue)!;
          expect(epoch).toBeGreaterThanOrEqual(highest.get(queue.queueId) ?? 0);
          highest.set(queue.queueId, epoch);
        }
      }
      await Promise.all(joins);
      await settled();
    }),
    { numRuns: 30 },
  );
});
