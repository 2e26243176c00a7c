/** Groups: where they begin, what makes two subscriptions conflict, and how positions move. */
import { LIMITS } from '../../src/base/limits';
import type { CommitRequest } from '../../src/broker/groups';
import {
  bodies,
  codeOf,
  HOUR,
  NAME,
  newGroup,
  setup,
  stopBrokers,
  until,
  type Given,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const to = (queueId: number, body: string): Given => ({ body, queue: { broker: NAME, queueId } });
const tagged = (expression: string) => ({ type: 'TAG' as const, expression });
const committed = (t: Bench, group = 'billing') => t.rooms.groups.offsets(group).queues.map((queue) => queue.committed);

async function topicWith(messages: number, { queues = 1 } = {}): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  for (let i = 0; i < messages; i++) await t.send('orders', to(i % queues, `m${i}`));
  return t;
}

describe('a new group begins', () => {
  test('with EARLIEST at what is kept', async () => {
    const t = await topicWith(4, { queues: 2 });
    await t.group();
    expect(committed(t)).toEqual([0, 0]);
    await t.join();
    expect(bodies((await t.poll()).messages).sort()).toEqual(['m0', 'm1', 'm2', 'm3']);
  });

  test('with LATEST behind what is stored, on a young topic, too', async () => {
    const t = await topicWith(2);
    await t.group('billing', { consumeFrom: 'LATEST' });
    expect(committed(t)).toEqual([2]);
    await t.send('orders', 'new');
    await t.join();
    expect(bodies((await t.poll()).messages)).toEqual(['new']);
  });

  test('with LATEST behind a message that is stored in the very same turn before it, before one after it', async () => {
    const t = await topicWith(0);
    const { turns } = t.rooms.turns;
    const before = t.send('orders', 'before');
    const creating = t.group('billing', { consumeFrom: 'LATEST' });
    for (let ticks = 0; ticks < 10; ticks++) await Promise.resolve();
    const after = t.send('orders', 'after');
    await Promise.all([before, creating, after]);
    expect(t.rooms.turns.turns).toBe(turns + 1);
    await t.join();
    expect(bodies((await t.poll()).messages)).toEqual(['after']);
  });

  test('with TIMESTAMP at the first message stored then or later', async () => {
    const t = await topicWith(0);
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      times.push(t.clock.now());
      await t.send('orders', to(0, `m${i}`), to(0, `n${i}`));
      await t.clock.advance(1000);
    }
    const start = async (name: string, consumeTimestamp: number) => {
      await t.group(name, { consumeFrom: 'TIMESTAMP', consumeTimestamp });
      return committed(t, name)[0];
    };
    expect(await start('exactly', times[2]!)).toBe(4);
    expect(await start('between', times[2]! + 1)).toBe(6);
    expect(await start('before-all', 0)).toBe(0);
    expect(await start('after-all', t.clock.now())).toBe(10);
  });

  test('with TIMESTAMP nowhere without a time', async () => {
    const t = await topicWith(0);
    expect(await codeOf(t.group('billing', { consumeFrom: 'TIMESTAMP' }))).toBe('VALIDATION_FAILED');
    expect(t.state.groups.size).toBe(0);
  });

  test('at the beginning of queues that the topic gets later', async () => {
    const t = await topicWith(1);
    await t.group('billing', { consumeFrom: 'LATEST' });
    await t.rooms.topics.update('orders', { readQueues: 2, writeQueues: 2 });
    await t.send('orders', to(1, 'in the new queue'));
    await t.join();
    expect(bodies((await t.poll()).messages)).toEqual(['in the new queue']);
  });

  test('only on a topic that exists, with a filter that can be read', async () => {
    const t = await topicWith(0);
    expect(await codeOf(t.group('billing', { topic: 'mail' }))).toBe('TOPIC_NOT_FOUND');
    expect(await codeOf(t.group('billing', { filter: tagged('||') }))).toBe('FILTER_INVALID');
  });
});

describe('putting a group again', () => {
  test('as it is changes nothing', async () => {
    const t = await topicWith(1);
    const first = await t.group();
    const again = await t.rooms.groups.put(newGroup('billing'));
    expect(again).toEqual({ group: first, created: false });
  });

  test('with another filter changes it, and neither its start nor its positions', async () => {
    const t = await topicWith(3);
    const first = await t.group('billing', { consumeFrom: 'LATEST' });
    await t.clock.advance(1000);
    const { group, created } = await t.rooms.groups.put({
      ...newGroup('billing'),
      filter: tagged('a'),
      consumeFrom: 'TIMESTAMP',
      consumeTimestamp: 5,
    });
    expect(created).toBe(false);
    expect(group).toEqual({ ...first, filter: tagged('a'), version: 2, updatedAt: t.clock.now() });
    expect(committed(t)).toEqual([3]);
  });

  test('for another topic is a conflict', async () => {
    const t = await topicWith(0);
    await t.topic('mail');
    await t.group();
    expect(await codeOf(t.group('billing', { topic: 'mail' }))).toBe('SUBSCRIPTION_CONFLICT');
  });

  test('honours its preconditions', async () => {
    const t = await topicWith(0);
    const put = (condition: object, filter = 'a') =>
      codeOf(
        t.rooms.groups
          .put({ ...newGroup('billing'), filter: tagged(filter) }, condition)
          .then(({ group }) => group.version),
      );
    expect(await put({ ifMatch: '*' })).toBe('PRECONDITION_FAILED');
    expect(await put({ ifAbsent: true })).toEqual({ resolved: 1 });
    expect(await put({ ifAbsent: true }, 'b')).toBe('PRECONDITION_FAILED');
    expect(await put({ ifMatch: 2 }, 'b')).toBe('PRECONDITION_FAILED');
    expect(await put({ ifMatch: 1 }, 'b')).toEqual({ resolved: 2 });
    expect(await put({ ifMatch: '*' }, 'c')).toEqual({ resolved: 3 });
  });

  test('merges an update against the version it was made from', async () => {
    const t = await topicWith(0);
    await t.group();
    const update = () =>
      t.rooms.groups.update('billing', () => ({ ...newGroup('billing'), description: String(Math.PI) }));
    const [first, second] = await Promise.all([
      codeOf(update()),
      codeOf(t.rooms.groups.update('billing', () => ({ ...newGroup('billing'), description: 'other' }))),
    ]);
    expect(first).toMatchObject({ resolved: { created: false } });
    expect(second).toBe('PRECONDITION_FAILED');
  });
});

describe('joining', () => {
  test('answers the queues with where to go on', async () => {
    const t = await topicWith(4, { queues: 2 });
    await t.group();
    const joined = await t.join();
    expect(joined.queues.map(({ queue, nextOffset }) => [queue.queueId, nextOffset])).toEqual([
      [0, 0],
      [1, 0],
    ]);
    await t.rooms.groups.commit('billing', { ...byHand('c1', joined.generation), offsets: [at(1, 2)] });
    expect((await t.join()).queues.map(({ nextOffset }) => nextOffset)).toEqual([0, 2]);
  });

  test('creates an unknown group as it says', async () => {
    const t = await topicWith(2);
    const { group } = await t.join('mail', 'c1', { filter: tagged('a'), consumeFrom: 'LATEST' });
    expect(group).toMatchObject({
      name: 'mail',
      topicName: 'orders',
      filter: tagged('a'),
      consumeFrom: 'LATEST',
      version: 1,
    });
    expect(committed(t, 'mail')).toEqual([2]);
  });

  test('an unknown group by many at once creates it once, and all have its filter', async () => {
    const t = await topicWith(0);
    const joins = await Promise.all(
      ['a', 'b', 'a'].map((tag, i) =>
        codeOf(t.join('mail', `c${i}`, { filter: tagged(tag) }).then(({ member }) => member.id)),
      ),
    );
    expect(joins).toEqual([{ resolved: 'c0' }, 'SUBSCRIPTION_CONFLICT', { resolved: 'c2' }]);
    expect(t.rooms.groups.get('mail').record).toMatchObject({ filter: tagged('a'), version: 1 });
  });

  test('with another subscription than the group’s is refused, and both are shown', async () => {
    const t = await topicWith(0);
    await t.topic('mail');
    await t.group('billing', { filter: tagged('a||b') });
    await expect(t.join('billing', 'c1', { filter: tagged('a') })).rejects.toMatchObject({
      code: 'SUBSCRIPTION_CONFLICT',
      extras: {
        members: {
          group: { topic: 'orders', filter: tagged('a||b') },
          requested: { topic: 'orders', filter: tagged('a') },
        },
      },
    });
    expect(await codeOf(t.join('billing', 'c1', { topic: 'mail' }))).toBe('SUBSCRIPTION_CONFLICT');
    expect(t.rooms.groups.members('billing').members).toEqual([]);
  });

  test('with the same subscription written otherwise, or with none, is welcome', async () => {
    const t = await topicWith(0);
    await t.group('billing', { filter: tagged('a||b') });
    await t.join('billing', 'c1', { filter: tagged(' b || a ') });
    await t.join('billing', 'c2', { filter: undefined });
    expect(t.rooms.groups.members('billing').members.map(({ id }) => id)).toEqual(['c1', 'c2']);
  });

  test('a topic that does not exist creates nothing', async () => {
    const t = await setup();
    expect(await codeOf(t.join())).toBe('TOPIC_NOT_FOUND');
    expect(t.state.groups.size).toBe(0);
  });
});

const at = (queueId: number, nextOffset: number, topic = 'orders', broker = NAME) => ({
  topic,
  broker,
  queueId,
  nextOffset,
});
const byHand = (consumerId: string | undefined, generation?: string): CommitRequest => ({
  consumerId,
  generation,
  cursor: undefined,
  offsets: undefined,
  force: false,
});

describe('a commit', () => {
  async function consuming() {
    const t = await topicWith(8, { queues: 2 });
    await t.group();
    const { generation } = await t.join();
    const commit = async (request: Partial<CommitRequest>) => {
      const items = await t.rooms.groups.commit('billing', { ...byHand('c1', generation), ...request });
      return items.map(({ queueId, nextOffset, error }) => [queueId, nextOffset, error?.code]);
    };
    return { t, commit, generation };
  }

  test('answers per queue, in the order of the request, and takes what it can', async () => {
    const { t, commit } = await consuming();
    expect(
      await commit({
        offsets: [at(1, 3), at(7, 1), at(0, 99), at(0, 2), at(0, 1, 'mail'), at(0, 1, 'orders', 'broker-b')],
      }),
    ).toEqual([
      [1, 3, undefined],
      [7, 1, 'QUEUE_NOT_FOUND'],
      [0, 99, 'OFFSET_MOVED'],
      [0, 2, undefined],
      [0, 1, 'QUEUE_NOT_FOUND'],
      [0, 1, 'QUEUE_NOT_FOUND'],
    ]);
    expect(committed(t)).toEqual([2, 3]);
  });

  test('to the end is taken, beyond it refused with the bounds', async () => {
    const { t, commit } = await consuming();
    expect(await commit({ offsets: [at(0, 4)] })).toEqual([[0, 4, undefined]]);
    const [item] = await t.rooms.groups.commit('billing', { ...byHand('c1'), offsets: [at(0, 5)] });
    expect(item!.error).toMatchObject({ code: 'OFFSET_MOVED', extras: { members: { minOffset: 0, maxOffset: 4 } } });
  });

  test('backwards is refused unless it is forced', async () => {
    const { t, commit } = await consuming();
    await commit({ offsets: [at(0, 3)] });
    expect(await commit({ offsets: [at(0, 3)] })).toEqual([[0, 3, undefined]]);
    expect(await commit({ offsets: [at(0, 1)] })).toEqual([[0, 1, 'OFFSET_BACKWARDS']]);
    expect(committed(t)).toEqual([3, 0]);
    expect(await commit({ offsets: [at(0, 1)], force: true })).toEqual([[0, 1, undefined]]);
    expect(committed(t)).toEqual([1, 0]);
  });

  test('is refused for a queue that somebody else owns, or nobody', async () => {
    const { t, commit } = await consuming();
    await t.join('billing', 'c2'); // takes queue 1
    expect(await commit({ offsets: [at(0, 1), at(1, 1)] })).toEqual([
      [0, 1, undefined],
      [1, 1, 'QUEUE_NOT_OWNED'],
    ]);
    expect(await commit({ consumerId: 'stranger', offsets: [at(0, 2)] })).toEqual([[0, 2, 'QUEUE_NOT_OWNED']]);
    t.rooms.groups.leave('billing', 'c1');
    expect(await commit({ offsets: [at(0, 2)] })).toEqual([[0, 2, 'QUEUE_NOT_OWNED']]);
  });

  test('is refused with a generation from before an interruption', async () => {
    const { t, commit, generation } = await consuming();
    await t.join('billing', 'c2');
    t.rooms.groups.leave('billing', 'c2');
    expect(await commit({ generation, offsets: [at(0, 1), at(1, 1)] })).toEqual([
      [0, 1, undefined],
      [1, 1, 'QUEUE_NOT_OWNED'],
    ]);
    const now = t.rooms.groups.members('billing').generation;
    expect(await commit({ generation: now, offsets: [at(1, 1)] })).toEqual([[1, 1, undefined]]);
    expect(await commit({ generation: 'nonsense!', offsets: [at(1, 1)] })).toEqual([[1, 1, 'QUEUE_NOT_OWNED']]);
  });

  test('of an operator moves queues that nobody owns, and no others', async () => {
    const { t, commit } = await consuming();
    expect(await commit({ consumerId: undefined, generation: undefined, offsets: [at(0, 1)] })).toEqual([
      [0, 1, 'QUEUE_NOT_OWNED'],
    ]);
    t.rooms.groups.leave('billing', 'c1');
    expect(await commit({ consumerId: undefined, generation: undefined, offsets: [at(0, 1)] })).toEqual([
      [0, 1, undefined],
    ]);
    expect(committed(t)).toEqual([1, 0]);
  });

  test('by cursor covers what the poll answered', async () => {
    const { t, commit } = await consuming();
    const { cursor } = await t.poll('billing', 'c1', { max: 6 });
    const items = await commit({ cursor, generation: undefined });
    expect(items.reduce((sum, [, nextOffset]) => sum + (nextOffset as number), 0)).toBe(6);
    expect(committed(t).reduce((sum, offset) => sum + offset, 0)).toBe(6);
  });

  test('by cursor is judged queue by queue', async () => {
    const { t, commit } = await consuming();
    const { cursor } = await t.poll('billing', 'c1', { max: 8 });
    await t.join('billing', 'c2');
    const items = await commit({ cursor, generation: undefined });
    expect(items.sort()).toEqual([
      [0, 4, undefined],
      [1, 4, 'QUEUE_NOT_OWNED'],
    ]);
  });

  test('by cursor needs its consumer, and its own cursor', async () => {
    const { t, commit } = await consuming();
    const { cursor } = await t.poll('billing', 'c1');
    expect(await codeOf(commit({ cursor, consumerId: undefined }))).toBe('VALIDATION_FAILED');
    expect(await codeOf(commit({ cursor, consumerId: 'c2' }))).toBe('CURSOR_INVALID');
    expect(await codeOf(commit({ cursor: `${cursor}A` }))).toBe('CURSOR_INVALID');
    expect(committed(t)).toEqual([0, 0]);
  });

  test('that changes nothing writes nothing new to the tables, and is kept over a restart', async () => {
    const { t, commit } = await consuming();
    await commit({ offsets: [at(0, 2), at(1, 3)] });
    await t.restart();
    expect(committed(t)).toEqual([2, 3]);
    await t.crash();
    expect(committed(t)).toEqual([2, 3]);
  });
});

describe('offsets', () => {
  test('show committed, end, lag and owner', async () => {
    const t = await topicWith(6, { queues: 2 });
    await t.group();
    await t.join();
    await t.rooms.groups.commit('billing', { ...byHand('c1'), offsets: [at(0, 1)] });
    expect(t.rooms.groups.offsets('billing').queues.map(({ queue, ...rest }) => ({ max: queue.max, ...rest }))).toEqual(
      [
        { max: 3, committed: 1, lag: 2, owner: 'c1' },
        { max: 3, committed: 0, lag: 3, owner: 'c1' },
      ],
    );
  });

  test('count as lag only what is still kept', async () => {
    const t = await topicWith(3);
    await t.group();
    await t.skip(73 * HOUR);
    await t.rooms.retention.runOnce();
    await t.send('orders', 'new');
    expect(t.rooms.groups.offsets('billing').queues[0]).toMatchObject({ committed: 0, lag: 1 });
  });
});

describe('a reset', () => {
  async function consumed() {
    const t = await topicWith(0, { queues: 2 });
    const times: number[] = [];
    for (let i = 0; i < 4; i++) {
      times.push(t.clock.now());
      await t.send('orders', to(0, `a${i}`), to(1, `b${i}`));
      await t.clock.advance(1000);
    }
    await t.group();
    await t.rooms.groups.commit('billing', { ...byHand(undefined), offsets: [at(0, 4), at(1, 3)] });
    const steps = async (...args: Parameters<typeof t.rooms.groups.reset> extends [string, ...infer R] ? R : never) =>
      (await t.rooms.groups.reset('billing', ...args)).map(({ queue, from, to: next }) => [queue.queueId, from, next]);
    return { t, times, steps };
  }

  test.each([
    ['EARLIEST' as const, [0, 0]],
    ['LATEST' as const, [4, 4]],
    [{ offset: 2 }, [2, 2]],
    [{ offset: 99 }, [4, 4]],
  ])('to %j', async (target, expected) => {
    const { t, steps } = await consumed();
    expect(await steps(target, undefined, false)).toEqual([
      [0, 4, expected[0]],
      [1, 3, expected[1]],
    ]);
    expect(committed(t)).toEqual(expected);
  });

  test('to a time', async () => {
    const { t, times, steps } = await consumed();
    await steps({ timestamp: times[1]! }, undefined, false);
    expect(committed(t)).toEqual([1, 1]);
    await steps({ timestamp: times[3]! + 1 }, undefined, false);
    expect(committed(t)).toEqual([4, 4]);
  });

  test('tried first says what it would do and does nothing', async () => {
    const { t, steps } = await consumed();
    expect(await steps('EARLIEST', undefined, true)).toEqual([
      [0, 4, 0],
      [1, 3, 0],
    ]);
    expect(committed(t)).toEqual([4, 3]);
  });

  test('of some queues leaves the others', async () => {
    const { t, steps } = await consumed();
    await steps('EARLIEST', [{ broker: NAME, queueId: 1 }], false);
    expect(committed(t)).toEqual([4, 0]);
    expect(await codeOf(steps('EARLIEST', [{ broker: NAME, queueId: 9 }], false))).toBe('QUEUE_NOT_FOUND');
    expect(await codeOf(steps('EARLIEST', [{ broker: 'broker-b', queueId: 0 }], false))).toBe('QUEUE_NOT_FOUND');
  });

  test('reaches consumers that are online: they read from there, and older cursors commit nothing', async () => {
    const { t, steps } = await consumed();
    await t.join();
    const { cursor } = await t.poll();
    const polling = t.poll('billing', 'c1', { waitMs: 30_000, min: 5, cursor });
    await t.parked(1);
    await steps('EARLIEST', undefined, false);
    expect(bodies((await polling).messages).sort()).toEqual(['a0', 'a1', 'a2', 'a3', 'b0', 'b1', 'b2', 'b3']);
    const items = await t.rooms.groups.commit('billing', { ...byHand('c1'), cursor });
    expect(items.map(({ error }) => error?.code)).toEqual(items.map(() => 'QUEUE_NOT_OWNED'));
    expect(committed(t)).toEqual([0, 0]);
  });

  test('never goes below what is kept', async () => {
    const { t, steps } = await consumed();
    await t.skip(73 * HOUR);
    await t.rooms.retention.runOnce();
    await steps({ offset: 0 }, undefined, false);
    expect(committed(t)).toEqual([4, 4]);
  });
});

describe('deleting a group', () => {
  test('is refused while consumers live, unless forced', async () => {
    const t = await topicWith(1);
    await t.group();
    await t.join();
    await expect(t.rooms.groups.delete('billing', false)).rejects.toMatchObject({
      code: 'IN_USE',
      extras: { members: { consumers: ['c1'] } },
    });
    await t.rooms.groups.delete('billing', true);
    expect(await codeOf(t.poll())).toBe('GROUP_NOT_FOUND');
  });

  test('forgets its positions: created again it begins anew', async () => {
    const t = await topicWith(3);
    const first = await t.group();
    await t.rooms.groups.commit('billing', { ...byHand(undefined), offsets: [at(0, 3)] });
    await t.rooms.groups.delete('billing', false);
    expect(await codeOf(t.rooms.groups.delete('billing', false))).toBe('GROUP_NOT_FOUND');
    const second = await t.group();
    expect(second.id).not.toBe(first.id);
    expect(committed(t)).toEqual([0]);
    await t.restart();
    expect(committed(t)).toEqual([0]);
    expect(t.state.groups.size).toBe(1);
    expect(await t.disk.keys('tables', 'o')).toHaveLength(1);
  });

  test('honours If-Match', async () => {
    const t = await topicWith(0);
    await t.group();
    expect(await codeOf(t.rooms.groups.delete('billing', false, { ifMatch: 2 }))).toBe('PRECONDITION_FAILED');
    await t.rooms.groups.delete('billing', false, { ifMatch: 1 });
    expect(t.state.groups.size).toBe(0);
  });
});

test('groups are listed by name, page by page', async () => {
  const t = await topicWith(0);
  for (const name of ['c', 'a', 'b']) await t.group(name);
  const page = (after: string, limit: number) => {
    const { groups, more } = t.rooms.groups.list(after, limit);
    return [groups.map(({ name }) => name), more];
  };
  expect(page('', 2)).toEqual([['a', 'b'], true]);
  expect(page('b', 2)).toEqual([['c'], false]);
  expect(page('c', 2)).toEqual([[], false]);
});

test('a broker has at most so many groups', async () => {
  const t = await topicWith(0);
  const all: Promise<unknown>[] = [];
  for (let i = 0; i < LIMITS.groups; i++) all.push(t.group(`g${i}`));
  await Promise.all(all);
  await until(() => t.state.groups.size === LIMITS.groups, 'all groups');
  expect(await codeOf(t.group('one-more'))).toBe('LIMIT_EXCEEDED');
});
