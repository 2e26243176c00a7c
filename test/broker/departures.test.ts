/** Queues that leave a broker for good: those of one topic, and all that it has. */
import { deletionOf, type Definition } from '../../src/broker/definition';
import { allHeld } from '../../src/broker/holdings';
import { leaveForGood } from '../../src/broker/removal';
import { codeOf, NAME, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** The topic orders here and on broker-b, which a group reads; mail is here alone, and read by nobody. */
async function bench(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1, brokers: ['broker-b'], type: 'MIXED' });
  await t.topic('mail', { readQueues: 1, writeQueues: 1 });
  await t.group('billing', { maxAttempts: 1, retryDelaysMs: [60_000] });
  return t;
}

const kinds = (t: Bench) => allHeld(t.state).map(({ kind, topic, group, messages }) => [kind, topic, group, messages]);
const ALONE = ['ONLY_HERE', 'mail', undefined, 0];

/** Results of `look` in memory, after a crash and after a restart. */
async function everywhere<T>(t: Bench, look: () => T): Promise<T[]> {
  const live = look();
  await t.crash();
  const replayed = look();
  await t.restart();
  return [live, replayed, look()];
}

describe('a message that holds a broker', () => {
  test('is unread, waits, is dead, or is undecided; one that no group has to read does not hold it', async () => {
    const t = await bench();
    await t.send('mail', 'nobody reads this');
    expect(kinds(t)).toEqual([['ONLY_HERE', 'mail', undefined, 1]]);
    await t.send('orders', 'x', 'y');
    await t.schedule('orders', { delayMs: 3_600_000 });
    expect(kinds(t)).toEqual([
      ['UNREAD', 'orders', 'billing', 2],
      ['SCHEDULED', 'orders', undefined, 1],
      ['ONLY_HERE', 'mail', undefined, 1],
    ]);
    const { messages } = await t.receive();
    const receipts = messages.map(({ receiptHandle }) => ({ receiptHandle }));
    await t.rooms.leases.nack('billing', receipts);
    expect(kinds(t)).toContainEqual(['WAITING_RETRIES', 'orders', 'billing', 2]);
    expect(kinds(t)).not.toContainEqual(expect.arrayContaining(['UNREAD']));
  });
});

describe('a topic that leaves a broker', () => {
  test('is kept while it holds messages, and goes by force, with the group that reads nothing else here', async () => {
    const t = await bench();
    await t.send('orders', 'x');
    expect(await codeOf(t.rooms.topics.leave('orders', false))).toBe('IN_USE');
    await t.rooms.topics.leave('orders', true);
    const seen = await everywhere(t, () => [
      [...t.state.topicsByName.keys()],
      [...t.state.groupsByName.keys()],
      t.state.tombstones.TOPIC.size + t.state.tombstones.GROUP.size,
    ]);
    for (const one of seen) expect(one).toEqual([['mail'], [], 0]);
  });

  test('leaves a group that reads another topic here, and comes back empty', async () => {
    const t = await bench();
    await t.rooms.groups.delete('billing', false);
    await t.group('billing', { topic: 'mail', allowMultipleTopics: true });
    await t.join('billing', 'c1', { topic: 'orders' });
    await t.send('orders', 'x');
    const [definition] = t.rooms.definitions.topic('orders');
    const groups = t.rooms.definitions.group('billing').filter(({ record }) => record);
    await t.rooms.topics.leave('orders', true);
    expect(t.rooms.groups.get('billing').record.subscriptions.map(({ topic }) => topic > 0)).toEqual([true, false]);
    await t.rooms.definitions.install(definition!);
    await t.rooms.definitions.install(groups[0]!);
    expect(t.rooms.topics.queues('orders').map(({ queue }) => queue.max)).toEqual([0]);
    expect(t.rooms.groups.get('billing').record.subscriptions.map(({ topic }) => topic > 0)).toEqual([true, true]);
  });

  test('leaves by what its home says, but not with messages that are needed', async () => {
    const t = await bench();
    const [definition] = t.rooms.definitions.topic('orders');
    const record = { ...definition!.record!, version: 2, partitions: [{ broker: 'broker-b', queueId: 0 }] };
    const without = { ...definition!, version: 2, record } as Definition;
    await t.send('orders', 'x');
    expect(await codeOf(t.rooms.definitions.install(without))).toBe('IN_USE');
    expect(t.rooms.topics.get('orders').version).toBe(1);
    await t.rooms.groups.delete('billing', false);
    expect(await t.rooms.definitions.install(without)).toBe('LEAVE');
    expect(t.state.topicsByName.has('orders')).toBe(false);
  });
});

describe('a broker that leaves', () => {
  test('is kept while it takes or holds messages; then everything goes, and it does not start again', async () => {
    const t = await bench();
    const leave = (force: boolean) => codeOf(leaveForGood(t.rooms.core, force).then(({ name }) => name));
    expect(await leave(false)).toBe('IN_USE');
    await t.rooms.core.submit({ kind: 'setPermission', permission: 'R' });
    await t.rooms.topics.delete('mail', false);
    expect(kinds(t)).toEqual([]);
    expect(await leave(false)).toEqual({ resolved: NAME });
    expect([t.state.topics.size, t.state.groups.size]).toEqual([0, 0]);
    await expect(t.crash()).rejects.toThrow(`broker ${NAME} was removed from its cluster`);
    await expect(t.restart()).rejects.toThrow(`broker ${NAME} was removed from its cluster`);
  });

  test('loses by force what it holds', async () => {
    const t = await bench();
    expect(kinds(t)).toEqual([ALONE]);
    await leaveForGood(t.rooms.core, true);
    expect(t.state.topics.size).toBe(0);
  });
});

describe('another broker that was removed', () => {
  const removal = (id: string, name = 'broker-b') =>
    deletionOf('BROKER', { name, id, version: 1, deletedAt: 1_768_478_400_001 });

  test('has no queues in any list of partitions; told twice, or after a start, nothing changes', async () => {
    const t = await bench();
    expect(await t.rooms.definitions.install(removal('r1'))).toBe('BURY');
    expect(await t.rooms.definitions.install(removal('r1'))).toBe('NOTHING');
    const seen = await everywhere(t, () => {
      const { partitions, version, updatedAt } = t.rooms.topics.get('orders');
      return { partitions, version, updatedAt, known: t.rooms.definitions.list('', 10).definitions[0] };
    });
    for (const one of seen)
      expect(one).toEqual({
        partitions: [{ broker: NAME, queueId: 0 }],
        version: 2,
        updatedAt: 1_768_478_400_001,
        known: removal('r1'),
      });
    expect(await t.rooms.definitions.install(removal('r1'))).toBe('NOTHING');
  });

  test('with the name of this one is a former life of it, unless it has topics', async () => {
    const fresh = await setup();
    expect(await fresh.rooms.definitions.install(removal('r1', NAME))).toBe('BURY');
    await fresh.topic();
    await fresh.restart();
    expect(await fresh.rooms.definitions.install(removal('r1', NAME))).toBe('NOTHING');
    const told: string[] = [];
    fresh.rooms.definitions.onRemoved = ({ id }) => void told.push(id);
    expect(await codeOf(fresh.rooms.definitions.install(removal('r2', NAME)))).toBe('REGISTRATION_CONFLICT');
    expect([told, fresh.state.topics.size]).toEqual([['r2'], 1]);
  });
});
