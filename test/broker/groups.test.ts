/** Groups: what they are, where they begin, and what makes two subscriptions conflict. Several topics: subscriptions.test.ts. */
import { LIMITS } from '../../src/base/limits';
import { GROUP_DEFAULTS } from '../../src/broker/group';
import { at, bodies, codeOf, newGroup, setup, stopBrokers, to, until, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const tagged = (expression: string) => ({ type: 'TAG' as const, expression });

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
    expect(t.committed()).toEqual([0, 0]);
    await t.join();
    expect(bodies((await t.poll()).messages).sort()).toEqual(['m0', 'm1', 'm2', 'm3']);
  });

  test('with LATEST behind what is stored, on a young topic, too', async () => {
    const t = await topicWith(2);
    await t.group('billing', { consumeFrom: 'LATEST' });
    expect(t.committed()).toEqual([2]);
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
      return t.committed(name)[0];
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

  test('not both ordered and broadcasting', async () => {
    const t = await topicWith(0);
    const both = { mode: 'BROADCASTING', ordered: true } as const;
    expect(await codeOf(t.group('billing', both))).toBe('GROUP_SETTINGS_CONFLICT');
    expect(t.state.groups.size).toBe(0);
    await t.group('line', { ordered: true });
    expect(await codeOf(t.group('line', both))).toBe('GROUP_SETTINGS_CONFLICT');
    await t.group('news', { mode: 'BROADCASTING' });
    expect(await codeOf(t.group('news', both))).toBe('GROUP_SETTINGS_CONFLICT');
  });

  test('only on a topic that exists, with a filter that can be read', async () => {
    const t = await topicWith(0);
    expect(await codeOf(t.group('billing', { topic: 'mail' }))).toBe('TOPIC_NOT_FOUND');
    expect(await codeOf(t.group('billing', { filter: tagged('||') }))).toBe('FILTER_INVALID');
  });
});

describe('a group whose filter an earlier build took', () => {
  const OLD = tagged('a|b || paid');

  test('reads as before, and is joined, leased and changed with that filter; with no other of its kind', async () => {
    const t = await topicWith(0);
    const { no: topic } = t.state.topicsByName.get('orders')!.record;
    const subscriptions = [{ topic, topicName: 'orders', filter: OLD }];
    const group = {
      ...GROUP_DEFAULTS,
      name: 'old',
      id: 'f00d',
      topic,
      topicName: 'orders',
      filter: OLD,
      subscriptions,
    };
    await t.rooms.core.submit({ kind: 'putGroup', group: { ...group, consumeFrom: 'EARLIEST' } });
    await t.send('orders', { body: 'm1', tag: 'paid' }, { body: 'm2' });
    await t.join('old', 'c1', { filter: tagged('paid||a|b') });
    expect(bodies((await t.poll('old', 'c1')).messages)).toEqual(['m1']);
    expect(await t.group('old', { filter: OLD, maxAttempts: 3 })).toMatchObject({ filter: OLD, maxAttempts: 3 });
    expect(await codeOf(t.join('old', 'c2', { filter: tagged('a|b') }))).toBe('FILTER_INVALID');
    expect(await codeOf(t.group('old', { filter: tagged('a|b') }))).toBe('FILTER_INVALID');
    expect(await codeOf(t.group('new', { filter: OLD }))).toBe('FILTER_INVALID');
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
    const subscriptions = [{ ...first.subscriptions[0]!, filter: tagged('a') }];
    expect(group).toEqual({ ...first, filter: tagged('a'), subscriptions, version: 2, updatedAt: t.clock.now() });
    expect(t.committed()).toEqual([3]);
  });

  test('for another topic is a conflict', async () => {
    const t = await topicWith(0);
    await t.topic('mail');
    await t.group();
    expect(await codeOf(t.group('billing', { topic: 'mail' }))).toBe('SUBSCRIPTION_CONFLICT');
  });

  test.each([
    ['mode', 'BROADCASTING'],
    ['ordered', true],
  ] as const)('with another %s is a conflict: it is fixed', async (field, value) => {
    const t = await topicWith(0);
    await t.group();
    expect(await codeOf(t.group('billing', { [field]: value }))).toBe('SUBSCRIPTION_CONFLICT');
    expect(t.rooms.groups.get('billing').record.version).toBe(1);
  });

  test.each([
    ['allocation', 'CONSISTENT_HASH'],
    ['maxAttempts', 3],
    ['retryDelaysMs', [1, 2]],
    ['allowMultipleTopics', true],
    ['description', 'Bills'],
  ] as const)('with another %s changes it, over a restart, too', async (field, value) => {
    const t = await topicWith(0);
    const first = await t.group();
    expect(await t.group('billing', { [field]: value })).toMatchObject({ [field]: value, version: 2 });
    await t.restart();
    expect(t.rooms.groups.get('billing').record).toMatchObject({ id: first.id, [field]: value, version: 2 });
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
    await t.commit('billing', 'c1', { generation: joined.generation, offsets: [at(1, 2)] });
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
      ...GROUP_DEFAULTS,
    });
    expect(t.committed('mail')).toEqual([2]);
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
    await t.commit('billing', undefined, { offsets: [at(0, 3)] });
    await t.rooms.groups.delete('billing', false);
    expect(await codeOf(t.rooms.groups.delete('billing', false))).toBe('GROUP_NOT_FOUND');
    const second = await t.group();
    expect(second.id).not.toBe(first.id);
    expect(t.committed()).toEqual([0]);
    await t.restart();
    expect(t.committed()).toEqual([0]);
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
