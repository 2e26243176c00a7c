/** Groups that read several topics: each has its filter, its queues and its positions, and consumers say which they read. */
import { retryTopicOf } from '../../src/broker/group';
import type { NewGroup } from '../../src/broker/groups';
import { at, bodies, codeOf, newGroup, setup, stopBrokers, to, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const tagged = (expression: string) => ({ type: 'TAG' as const, expression });

/** Topics with two queues each, and a group that begins with orders and may read others. */
async function reading(given: Partial<NewGroup> = {}, topics = ['orders', 'mail']) {
  const t = await setup();
  for (const name of topics) await t.topic(name, { readQueues: 2, writeQueues: 2 });
  await t.group('billing', { allowMultipleTopics: true, ...given });
  return t;
}

/** Queues a member may read, as topic/queue. */
const share = (t: Bench, id: string) =>
  t.rooms.groups
    .members('billing')
    .members.find((member) => member.id === id)!
    .queues.map(({ topic, queueId }) => `${t.state.topics.get(topic)?.record.name}/${queueId}`);
const subscriptions = (t: Bench) =>
  t.rooms.groups.get('billing').record.subscriptions.map(({ topicName, filter }) => [topicName, filter.expression]);
const polled = async (t: Bench, consumer = 'c1', given: Parameters<Bench['poll']>[2] = {}) =>
  bodies((await t.poll('billing', consumer, given)).messages).sort();

describe('joining for another topic', () => {
  test('is refused by a group that reads one', async () => {
    const t = await reading({ allowMultipleTopics: false });
    await t.join();
    expect(await codeOf(t.join('billing', 'c1', { topic: 'mail' }))).toBe('SUBSCRIPTION_CONFLICT');
    expect(share(t, 'c1')).toEqual(['orders/0', 'orders/1']);
  });

  test('adds it to the group, whose first topic stays what it is called after', async () => {
    const t = await reading();
    await t.join();
    const { group, queues } = await t.join('billing', 'c1', { topic: 'mail', filter: tagged('a') });
    expect(subscriptions(t)).toEqual([
      ['orders', '*'],
      ['mail', 'a'],
    ]);
    expect(group).toMatchObject({ topicName: 'orders', filter: tagged('*'), version: 2 });
    expect(queues).toHaveLength(4);
    expect(share(t, 'c1')).toEqual(['orders/0', 'orders/1', 'mail/0', 'mail/1']);
    expect(t.committed()).toEqual([0, 0, 0, 0]);
  });

  test('again changes nothing; with another filter for it, it is a conflict that shows that topic’s', async () => {
    const t = await reading();
    await t.join('billing', 'c1', { topic: 'mail', filter: tagged('a') });
    const { end } = t.journal;
    await t.join('billing', 'c1', { topic: 'mail', filter: tagged(' a ') });
    expect(t.journal.end).toBe(end);
    await expect(t.join('billing', 'c2', { topic: 'mail', filter: tagged('b') })).rejects.toMatchObject({
      code: 'SUBSCRIPTION_CONFLICT',
      extras: { members: { group: { topic: 'mail', filter: tagged('a') } } },
    });
    expect(await codeOf(t.join('billing', 'c2', { topic: 'orders', filter: tagged('a') }))).toBe(
      'SUBSCRIPTION_CONFLICT',
    );
  });

  test('by many at once adds each topic once', async () => {
    const t = await reading({}, ['orders', 'mail', 'audit']);
    const joins = ['mail', 'audit', 'mail', 'audit', 'mail'].map((topic, i) => t.join('billing', `c${i}`, { topic }));
    await Promise.all(joins);
    expect(
      subscriptions(t)
        .map(([name]) => name)
        .sort(),
    ).toEqual(['audit', 'mail', 'orders']);
    expect(t.rooms.groups.get('billing').record.version).toBe(3);
  });

  test('while the group is deleted finds none', async () => {
    const t = await reading();
    const deleting = t.rooms.groups.delete('billing', true);
    expect(await codeOf(t.join('billing', 'c1', { topic: 'mail' }))).toBe('GROUP_NOT_FOUND');
    await deleting;
  });

  test('that does not exist changes nothing', async () => {
    const t = await reading();
    expect(await codeOf(t.join('billing', 'c1', { topic: 'nowhere' }))).toBe('TOPIC_NOT_FOUND');
    expect(subscriptions(t)).toHaveLength(1);
  });

  test.each([
    ['EARLIEST', 0],
    ['LATEST', 3],
    ['TIMESTAMP', 1],
  ] as const)('begins there with %s as the group began with its first', async (consumeFrom, expected) => {
    const t = await reading({ consumeFrom, consumeTimestamp: Date.UTC(2026, 0, 15, 12, 0, 1) });
    for (let i = 0; i < 3; i++) {
      await t.send('mail', to(0, `m${i}`));
      await t.clock.advance(1000);
    }
    await t.join('billing', 'c1', { topic: 'mail' });
    expect(t.committed().slice(2)).toEqual([expected, 0]);
  });
});

describe('a poll', () => {
  test('reads all topics, each with its filter', async () => {
    const t = await reading({ filter: tagged('a') });
    await t.join();
    await t.join('billing', 'c1', { topic: 'mail', filter: tagged('b') });
    for (const topic of ['orders', 'mail'])
      await t.send(topic, ...['a', 'b', 'c'].map((tag) => to(1, `${topic} ${tag}`, { tag })));
    const answer = await t.poll();
    expect(bodies(answer.messages).sort()).toEqual(['mail b', 'orders a']);
    expect(answer.lag).toBe(0);
  });

  test('and the group’s retries without one', async () => {
    const t = await reading({ filter: tagged('a') });
    const retries = await t.rooms.retries.ensureTopic(retryTopicOf('billing'));
    await t.join();
    await t.send('orders', to(0, 'failed', { tag: 'a' }));
    await t.poll();
    const failed = { topic: 'orders', broker: 'broker-a', queueId: 0, queueOffset: 0, delayMs: 0 };
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: [failed] });
    // Its tag is not asked for any more.
    await t.group('billing', { allowMultipleTopics: true, filter: tagged('b') });
    await t.clock.advance(1000);
    const { messages } = await t.poll();
    expect(messages.map(({ queue }) => queue.topic)).toEqual([retries]);
  });

  test('waits on all topics', async () => {
    const t = await reading();
    await t.join();
    await t.join('billing', 'c1', { topic: 'mail' });
    const polling = polled(t, 'c1', { waitMs: 20_000 });
    await t.parked(1);
    await t.send('mail', 'x');
    expect(await polling).toEqual(['x']);
  });

  test('that waits when its consumer joins for another topic goes on with both', async () => {
    const t = await reading();
    await t.send('mail', 'there already');
    await t.join();
    const polling = polled(t, 'c1', { waitMs: 20_000 });
    await t.parked(1);
    await t.join('billing', 'c1', { topic: 'mail' });
    expect(await polling).toEqual(['there already']);
  });

  test('brings one cursor for all, which a commit takes apart', async () => {
    const t = await reading();
    await t.join();
    await t.join('billing', 'c1', { topic: 'mail' });
    await t.send('orders', to(0, 'a'));
    await t.send('mail', to(0, 'b'), to(0, 'c'));
    const { cursor } = await t.poll();
    expect(await polled(t, 'c1', { cursor })).toEqual([]);
    expect(await t.commit('billing', 'c1', cursor)).toEqual([undefined, undefined]);
    expect(t.committed()).toEqual([1, 0, 2, 0]);
    expect(await t.commit('billing', 'c1', { offsets: [at(0, 1, 'mail'), at(1, 0, 'audit')] })).toEqual([
      'OFFSET_BACKWARDS',
      'QUEUE_NOT_FOUND',
    ]);
  });
});

describe('each topic is divided by itself', () => {
  test('among those who joined for it', async () => {
    const t = await reading();
    await t.join('billing', 'a');
    await t.join('billing', 'b', { topic: 'mail' });
    await t.join('billing', 'c', { topic: 'mail' });
    expect(['a', 'b', 'c'].map((id) => share(t, id))).toEqual([['orders/0', 'orders/1'], ['mail/0'], ['mail/1']]);
    await t.join('billing', 'c', { topic: 'orders' });
    expect(['a', 'b', 'c'].map((id) => share(t, id))).toEqual([['orders/0'], ['mail/0'], ['orders/1', 'mail/1']]);
    await t.join('billing', 'b', { topic: 'orders' });
    expect(['a', 'b', 'c'].map((id) => share(t, id))).toEqual([['orders/0'], ['orders/1', 'mail/0'], ['mail/1']]);
  });

  test('still after a restart: recorded owners read what they read before', async () => {
    const t = await reading();
    await t.join('billing', 'a');
    await t.join('billing', 'b', { topic: 'mail' });
    await t.crash();
    expect(subscriptions(t).map(([name]) => name)).toEqual(['orders', 'mail']);
    await t.join('billing', 'b', { topic: 'mail' });
    expect(['a', 'b'].map((id) => share(t, id))).toEqual([
      ['orders/0', 'orders/1'],
      ['mail/0', 'mail/1'],
    ]);
    await t.send('mail', 'x');
    expect([await polled(t, 'a'), await polled(t, 'b')]).toEqual([[], ['x']]);
  });
});

describe('changing the group', () => {
  test('keeps its further topics and their filters', async () => {
    const t = await reading();
    await t.join('billing', 'c1', { topic: 'mail', filter: tagged('a') });
    await t.group('billing', { allowMultipleTopics: true, filter: tagged('b') });
    expect(subscriptions(t)).toEqual([
      ['orders', 'b'],
      ['mail', 'a'],
    ]);
  });

  test('keeps a topic that is added at the same time', async () => {
    const t = await reading();
    const hold = t.disk.hold('journal', 'write');
    const joining = t.join('billing', 'c1', { topic: 'mail' });
    await hold.reached;
    const changing = t.group('billing', { allowMultipleTopics: true, description: 'Bills' });
    hold.release();
    await Promise.all([joining, changing]);
    expect(subscriptions(t).map(([name]) => name)).toEqual(['orders', 'mail']);
    expect(t.rooms.groups.get('billing').record.description).toBe('Bills');
    expect(share(t, 'c1')).toEqual(['mail/0', 'mail/1']);
  });

  test('to one topic alone is refused while it reads several', async () => {
    const t = await reading();
    await t.join('billing', 'c1', { topic: 'mail' });
    expect(await codeOf(t.rooms.groups.put(newGroup('billing')))).toBe('SUBSCRIPTION_CONFLICT');
  });
});

describe('deleting one of the topics', () => {
  async function both() {
    const t = await reading();
    await t.join();
    await t.join('billing', 'c1', { topic: 'mail' });
    await t.send('orders', to(0, 'a'));
    await t.send('mail', to(0, 'b'));
    return t;
  }

  test('is refused while the group reads it, unless forced', async () => {
    const t = await both();
    expect(await codeOf(t.rooms.topics.delete('mail', false))).toBe('IN_USE');
  });

  test('takes it from the group and from its members, and leaves the rest', async () => {
    const t = await both();
    const { cursor } = await t.poll();
    await t.rooms.topics.delete('mail', true);
    expect(subscriptions(t)).toEqual([['orders', '*']]);
    expect(share(t, 'c1')).toEqual(['orders/0', 'orders/1']);
    const answer = await t.poll('billing', 'c1', { cursor });
    expect([answer.dropped.length, bodies(answer.messages), answer.lag]).toEqual([1, [], 0]);
    expect((await t.join()).queues).toHaveLength(2);
    await t.restart();
    expect(t.committed()).toEqual([0, 0]);
    expect([await t.disk.keys('tables', 'o'), await t.disk.keys('tables', 'O')]).toMatchObject([
      { length: 2 },
      { length: 2 },
    ]);
  });

  test('wakes a poll that waits, which goes on with the rest', async () => {
    const t = await both();
    const { cursor } = await t.poll();
    const polling = t.poll('billing', 'c1', { cursor, waitMs: 20_000 });
    await t.parked(1);
    await t.rooms.topics.delete('mail', true);
    expect(await polling).toMatchObject({ messages: [], reason: 'REBALANCED', lag: 0 });
    await t.send('orders', to(1, 'c'));
    expect(await polled(t, 'c1', { cursor })).toEqual(['c']);
  });

  test('while its queue is to be given up ends that', async () => {
    const t = await both();
    await t.poll();
    await t.join('billing', 'c2', { topic: 'mail' }); // is to get mail/1, of which nothing is out
    await t.join('billing', 'b', { topic: 'mail' }); // and mail/0 is to be b's
    expect((await t.poll()).revoking).toHaveLength(1);
    await t.rooms.topics.delete('mail', true);
    const { members } = t.rooms.groups.members('billing');
    expect(members.map(({ queues, pending, revoking }) => [queues.length, pending.length, revoking.size])).toEqual([
      [0, 0, 0],
      [2, 0, 0],
      [0, 0, 0],
    ]);
    expect((await t.poll()).revoking).toEqual([]);
  });

  test('and creating it again leaves the new one alone until somebody joins for it', async () => {
    const t = await both();
    await t.rooms.topics.delete('mail', true);
    await t.topic('mail', { readQueues: 1, writeQueues: 1 });
    await t.send('mail', 'new');
    expect(share(t, 'c1')).toEqual(['orders/0', 'orders/1']);
    await t.join('billing', 'c1', { topic: 'mail' });
    expect(await polled(t)).toEqual(['a', 'new']);
  });

  test('the first of them ends the group', async () => {
    const t = await both();
    await t.rooms.topics.delete('orders', true);
    expect(await codeOf(t.poll())).toBe('GROUP_NOT_FOUND');
    expect(await t.join('billing', 'c1', { topic: 'mail' })).toMatchObject({ group: { topicName: 'mail' } });
  });
});

test('a reset moves the queues of all topics, or those that are named with theirs', async () => {
  const t = await reading();
  await t.join();
  await t.join('billing', 'c1', { topic: 'mail' });
  await t.send('orders', to(0, 'a'));
  await t.send('mail', to(0, 'b'));
  await t.rooms.positions.reset('billing', 'LATEST', undefined, false);
  expect(t.committed()).toEqual([1, 0, 1, 0]);
  await t.rooms.positions.reset('billing', 'EARLIEST', [{ broker: 'broker-a', queueId: 0, topic: 'mail' }], false);
  expect(t.committed()).toEqual([1, 0, 0, 0]);
  await t.rooms.positions.reset('billing', 'EARLIEST', [{ broker: 'broker-a', queueId: 0 }], false);
  expect(t.committed()).toEqual([0, 0, 0, 0]);
});
