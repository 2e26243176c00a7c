/** Topics and their tags: created, changed, deleted, and what stands in the way. */
import { LIMITS } from '../../src/base/limits';
import { bodies, codeOf, NAME, newTopic, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';
import type { TopicPatch } from '../../src/broker/topic';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const create = (t: Bench, given: object = {}, condition = {}) =>
  t.rooms.topics.create({ ...newTopic('orders'), ...given }, condition);
const update = (t: Bench, patch: TopicPatch, condition = {}) => t.rooms.topics.update('orders', patch, condition);

describe('creating a topic', () => {
  test('answers its record', async () => {
    const t = await setup();
    const { topic, changed } = await create(t, { readQueues: 3, writeQueues: 2, description: 'Orders' });
    expect(changed).toBe(true);
    expect(topic).toMatchObject({
      name: 'orders',
      version: 1,
      type: 'NORMAL',
      readQueues: 3,
      writeQueues: 2,
      permission: 'RW',
      tagPolicy: 'OPEN',
      description: 'Orders',
      partitions: [0, 1, 2].map((queueId) => ({ broker: NAME, queueId })),
      createdAt: t.clock.now(),
    });
    expect(topic.id).toMatch(/^[0-9a-f]{16}$/);
    expect(t.rooms.topics.get('orders')).toBe(topic);
  });

  test('the same again changes nothing', async () => {
    const t = await setup();
    const first = await create(t);
    expect(await create(t)).toEqual({ topic: first.topic, changed: false });
  });

  test.each([
    { type: 'FIFO' },
    { readQueues: 8 },
    { writeQueues: 2 },
    { permission: 'R' },
    { tagPolicy: 'DECLARED' },
    { description: 'x' },
  ])('another one of that name is refused, and the difference named: %j', async (different) => {
    const t = await setup();
    await create(t);
    await expect(create(t, different)).rejects.toMatchObject({
      code: 'TOPIC_EXISTS',
      message: expect.stringContaining(Object.keys(different)[0]!),
    });
  });

  test('by two at once creates it once', async () => {
    const t = await setup();
    const [one, two] = await Promise.all([create(t), create(t)]);
    expect([one.changed, two.changed]).toEqual([true, false]);
    expect(two.topic).toEqual(one.topic);
  });

  test('with fewer queues to read than to write is refused', async () => {
    const t = await setup();
    expect(await codeOf(create(t, { readQueues: 2, writeQueues: 3 }))).toBe('VALIDATION_FAILED');
  });

  test('keeps to the bounds', async () => {
    const t = await setup();
    expect(await codeOf(create(t, { readQueues: LIMITS.queuesPerTopic + 1 }))).toBe('LIMIT_EXCEEDED');
    const most = LIMITS.queuesPerTopic;
    const fitting = Math.floor(LIMITS.queues / most);
    for (let i = 0; i < fitting; i++) await t.topic(`t${i}`, { readQueues: most, writeQueues: most });
    expect(await codeOf(create(t, { readQueues: most }))).toBe('LIMIT_EXCEEDED');
    await t.rooms.topics.delete('t0', false);
    await create(t, { readQueues: most });
  });

  test('only if it does not exist, when that is asked for', async () => {
    const t = await setup();
    expect(await codeOf(create(t, {}, { ifMatch: '*' }))).toBe('PRECONDITION_FAILED');
    await create(t, {}, { ifAbsent: true });
    expect(await codeOf(create(t, {}, { ifAbsent: true }))).toBe('PRECONDITION_FAILED');
  });
});

describe('changing a topic', () => {
  test('raises its version, once per change', async () => {
    const t = await setup();
    await create(t);
    await t.clock.advance(1000);
    expect((await update(t, { permission: 'R' })).topic).toMatchObject({
      version: 2,
      permission: 'R',
      updatedAt: t.clock.now(),
    });
    expect(await update(t, { permission: 'R' })).toMatchObject({ changed: false, topic: { version: 2 } });
    expect((await update(t, { description: 'x' })).topic).toMatchObject({
      version: 3,
      permission: 'R',
      description: 'x',
    });
    expect((await update(t, { description: null })).topic).not.toHaveProperty('description');
  });

  test('grows it: new queues are empty, old ones keep theirs', async () => {
    const t = await setup();
    await create(t, { readQueues: 2, writeQueues: 2 });
    for (let i = 0; i < 2; i++) await t.send('orders', 'x');
    const { topic } = await update(t, { readQueues: 4, writeQueues: 4 });
    expect(topic.partitions).toHaveLength(4);
    for (let i = 0; i < 4; i++) await t.send('orders', 'y');
    expect(t.rooms.topics.queues('orders').map(({ queue }) => queue.max)).toEqual([2, 2, 1, 1]);
  });

  test('shrinks it: hidden queues keep what they have, and come back with it', async () => {
    const t = await setup();
    await create(t, { readQueues: 2, writeQueues: 2 });
    for (let i = 0; i < 2; i++) await t.send('orders', `m${i}`);
    expect(await codeOf(update(t, { readQueues: 1 }))).toBe('VALIDATION_FAILED');
    await update(t, { writeQueues: 1 });
    const { topic } = await update(t, { readQueues: 1 });
    expect(topic.partitions).toHaveLength(2);
    expect(t.rooms.topics.queues('orders').map(({ readable, writable }) => [readable, writable])).toEqual([
      [true, true],
      [false, false],
    ]);
    await t.restart();
    await update(t, { readQueues: 2 });
    expect((await t.readAll('orders', 1)).length).toBe(1);
    expect(t.rooms.topics.get('orders').partitions).toHaveLength(2);
  });

  describe('to fewer queues, of which some are unread', () => {
    const shrunk = { readQueues: 1, writeQueues: 1, keepsUnread: true };

    async function withUnread(mode: 'CLUSTERING' | 'BROADCASTING' = 'CLUSTERING') {
      const t = await setup();
      await create(t, { readQueues: 2, writeQueues: 2 });
      await t.group('billing', { mode });
      await t.send('orders', { body: 'm0', queue: { broker: NAME, queueId: 1 } });
      return t;
    }

    test('is refused, and says which group has how many to read', async () => {
      const t = await withUnread();
      await expect(update(t, shrunk)).rejects.toMatchObject({
        code: 'IN_USE',
        message: expect.stringContaining('1 unread messages of topic orders for group billing'),
        extras: {
          members: { holdings: [{ kind: 'UNREAD', broker: NAME, topic: 'orders', group: 'billing', messages: 1 }] },
        },
      });
      expect(t.rooms.topics.get('orders').readQueues).toBe(2);
    });

    test('is refused while messages are leased, and done when they are acknowledged', async () => {
      const t = await withUnread();
      const { messages } = await t.receive();
      expect(await codeOf(update(t, shrunk))).toBe('IN_USE');
      const handles = messages.map(({ receiptHandle }) => receiptHandle);
      await t.rooms.leases.acknowledge('billing', handles);
      expect((await update(t, shrunk)).topic.readQueues).toBe(1);
    });

    test('is refused while a listener has messages to read', async () => {
      const t = await withUnread('BROADCASTING');
      await t.join();
      expect(await codeOf(update(t, shrunk))).toBe('IN_USE');
    });

    test('is done when no group is left to read them', async () => {
      const t = await withUnread();
      await t.rooms.groups.delete('billing', false);
      expect((await update(t, shrunk)).topic.readQueues).toBe(1);
      await update(t, { description: 'still so', keepsUnread: true });
    });

    test('by force strands them: no lag, told in the offsets, readable again when the queues are', async () => {
      const t = await withUnread();
      const { keepsUnread: _, ...forced } = shrunk;
      await update(t, forced);
      const shown = () =>
        t.rooms.positions
          .offsets('billing')
          .queues.map(({ lag, stranded }) => ({ lag, ...(stranded && { stranded }) }));
      expect(shown()).toEqual([{ lag: 0 }, { lag: 0, stranded: 1 }]);
      expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
      expect(shown()).toEqual([{ lag: 0 }, { lag: 0, stranded: 1 }]);
      // Queues that are hidden already do not prevent an update.
      await update(t, { description: 'smaller', keepsUnread: true });
      await t.restart();
      await update(t, { readQueues: 2, writeQueues: 2 });
      expect(shown()).toEqual([{ lag: 0 }, { lag: 1 }]);
      expect(bodies((await t.receive()).messages)).toEqual(['m0']);
    });
  });

  test('that is FIFO to another number of writable queues needs a word', async () => {
    const t = await setup();
    await create(t, { type: 'FIFO' });
    expect(await codeOf(update(t, { readQueues: 8, writeQueues: 8 }))).toBe('REORDER_NOT_ALLOWED');
    expect(await codeOf(update(t, { writeQueues: 2 }))).toBe('REORDER_NOT_ALLOWED');
    await update(t, { readQueues: 8 });
    expect((await update(t, { writeQueues: 8, allowReorder: true })).topic).not.toHaveProperty('allowReorder');
  });

  test('honours If-Match', async () => {
    const t = await setup();
    await create(t);
    expect(await codeOf(update(t, { permission: 'R' }, { ifMatch: 2 }))).toBe('PRECONDITION_FAILED');
    await update(t, { permission: 'R' }, { ifMatch: 1 });
    const both = await Promise.all([
      codeOf(update(t, { permission: 'W' }, { ifMatch: 2 })),
      codeOf(update(t, { permission: 'NONE' }, { ifMatch: 2 })),
    ]);
    expect(both[0]).toMatchObject({ resolved: { changed: true } });
    expect(both[1]).toBe('PRECONDITION_FAILED');
  });

  test('that is not there is refused', async () => {
    const t = await setup();
    expect(await codeOf(update(t, {}))).toBe('TOPIC_NOT_FOUND');
    await create(t);
    const deleting = t.rooms.topics.delete('orders', false);
    const updating = codeOf(update(t, { permission: 'R' }));
    await deleting;
    expect(await updating).toBe('TOPIC_NOT_FOUND');
  });
});

describe('deleting a topic', () => {
  test('is refused while groups read it, unless forced; then they go, too', async () => {
    const t = await setup();
    await create(t);
    await t.group();
    await expect(t.rooms.topics.delete('orders', false)).rejects.toMatchObject({
      code: 'IN_USE',
      extras: { members: { groups: ['billing'] } },
    });
    await t.rooms.topics.delete('orders', true);
    expect([t.state.topics.size, t.state.groups.size, t.state.queueCount]).toEqual([0, 0, 0]);
    expect(await codeOf(t.rooms.topics.delete('orders', true))).toBe('TOPIC_NOT_FOUND');
    await t.restart();
    expect([t.state.topics.size, t.state.groups.size]).toEqual([0, 0]);
  });

  test('honours If-Match', async () => {
    const t = await setup();
    await create(t);
    expect(await codeOf(t.rooms.topics.delete('orders', false, { ifMatch: 9 }))).toBe('PRECONDITION_FAILED');
    await t.rooms.topics.delete('orders', false, { ifMatch: 1 });
  });

  test.each(['restart', 'crash'] as const)(
    'and creating it again gives another id, a higher version, empty queues and no tags, also after a %s',
    async (how) => {
      const t = await setup();
      const first = (await create(t)).topic;
      await t.send('orders', { tag: 'a' });
      await t.rooms.topics.putTag('orders', 'a', undefined);
      await t.rooms.topics.delete('orders', false);
      await t[how]();
      const second = (await create(t)).topic;
      expect(second.id).not.toBe(first.id);
      expect(second.no).toBeGreaterThan(first.no);
      expect(second.version).toBeGreaterThan(first.version);
      const empty = () => {
        expect(t.rooms.topics.queues('orders').map(({ queue }) => [queue.min, queue.max])).toEqual(
          [0, 1, 2, 3].map(() => [0, 0]),
        );
        expect(t.rooms.topics.tags('orders')).toMatchObject({ declared: [], seen: [] });
        // Of the first one it is remembered that it was deleted: a broker that was away may know it still.
        expect([...t.state.tombstones.TOPIC.values()].map(({ id }) => id)).toEqual([first.id]);
      };
      empty();
      await t[how]();
      empty();
    },
  );
});

describe('tags', () => {
  test('are declared, described again, and taken back', async () => {
    const t = await setup();
    await create(t);
    expect(await t.rooms.topics.putTag('orders', 'b', 'B')).toMatchObject({
      created: true,
      tag: { tag: 'b', description: 'B', version: 1 },
    });
    expect(await t.rooms.topics.putTag('orders', 'b', undefined)).toMatchObject({
      created: false,
      tag: { version: 2 },
    });
    await t.rooms.topics.putTag('orders', 'a', undefined);
    expect(t.rooms.topics.tags('orders').declared.map(({ tag }) => tag)).toEqual(['a', 'b']);
    await t.rooms.topics.deleteTag('orders', 'b');
    expect(await codeOf(t.rooms.topics.deleteTag('orders', 'b'))).toBe('TAG_NOT_FOUND');
    expect(await codeOf(t.rooms.topics.putTag('none', 'b', undefined))).toBe('TOPIC_NOT_FOUND');
    await t.restart();
    expect(t.rooms.topics.tags('orders').declared.map(({ tag }) => tag)).toEqual(['a']);
  });

  test('honour their preconditions', async () => {
    const t = await setup();
    await create(t);
    const put = (condition: object, description?: string) =>
      codeOf(t.rooms.topics.putTag('orders', 'a', description, condition).then(({ tag }) => tag.version));
    expect(await put({ ifMatch: '*' })).toBe('PRECONDITION_FAILED');
    expect(await put({ ifAbsent: true })).toEqual({ resolved: 1 });
    expect(await put({ ifAbsent: true })).toBe('PRECONDITION_FAILED');
    // The same again is no change.
    expect(await put({ ifMatch: 1 })).toEqual({ resolved: 1 });
    expect(await put({ ifMatch: 1 }, 'another')).toEqual({ resolved: 2 });
    expect(await codeOf(t.rooms.topics.deleteTag('orders', 'a', { ifMatch: 1 }))).toBe('PRECONDITION_FAILED');
    await t.rooms.topics.deleteTag('orders', 'a', { ifMatch: 2 });
  });

  test('are at most a thousand declared', async () => {
    const t = await setup();
    await create(t);
    await Promise.all(
      Array.from({ length: LIMITS.declaredTags }, (_, i) => t.rooms.topics.putTag('orders', `t${i}`, undefined)),
    );
    expect(await codeOf(t.rooms.topics.putTag('orders', 'one-more', undefined))).toBe('LIMIT_EXCEEDED');
    expect(await t.rooms.topics.putTag('orders', 't0', 'again')).toMatchObject({ created: false });
  });

  test('that were sent are counted, with their last time, kept over restart and crash', async () => {
    const t = await setup();
    await create(t);
    await t.send('orders', { tag: 'a' }, { tag: 'b' }, 'none', { tag: 'a' });
    await t.clock.advance(1000);
    const time = t.clock.now();
    await t.send('orders', { tag: 'b' }, { tag: 'a' });
    const expected = [
      { tag: 'a', count: 3, lastTime: time },
      { tag: 'b', count: 2, lastTime: time },
    ];
    expect(t.rooms.topics.tags('orders').seen).toEqual(expected);
    await t.crash();
    expect(t.rooms.topics.tags('orders').seen).toEqual(expected);
    await t.restart();
    expect(t.rooms.topics.tags('orders').seen).toEqual(expected);
  });

  test('by the thousands stay a thousand, and the broker starts again', async () => {
    const t = await setup();
    await create(t);
    for (let round = 0; round < 4; round++) {
      await t.send('orders', ...Array.from({ length: 1000 }, (_, i) => ({ tag: `t${round * 600 + i}` })));
      await t.clock.advance(100);
    }
    const before = t.rooms.topics.tags('orders').seen;
    expect(before).toHaveLength(LIMITS.countedTags);
    await t.restart();
    expect(t.rooms.topics.tags('orders').seen).toEqual(before);
    expect(await t.disk.keys('tables', 'S')).toHaveLength(LIMITS.countedTags);
  });
});

test('topics are listed by name, page by page', async () => {
  const t = await setup();
  for (const name of ['c', 'a', 'b']) await t.topic(name);
  const page = (after: string, limit: number) => {
    const { topics, more } = t.rooms.topics.list(after, limit);
    return [topics.map(({ name }) => name), more];
  };
  expect(page('', 2)).toEqual([['a', 'b'], true]);
  expect(page('b', 2)).toEqual([['c'], false]);
});

test('whoever registers topics hears of each change by name', async () => {
  const t = await setup();
  const heard: string[][] = [];
  t.broker.onTopicsChanged = (names) => heard.push([...names].sort());
  await Promise.all([t.topic('a'), t.topic('b')]);
  await t.rooms.topics.update('a', { permission: 'R' });
  await t.send('b', 'x');
  await t.rooms.topics.delete('b', false);
  expect(heard).toEqual([['a', 'b'], ['a'], ['b']]);
});
