/** What brokers share: what is taken over from another broker, and what is not; how a broker tells what it knows. */
import {
  deletionOf,
  groupDefinition,
  producerGroupDefinition,
  topicDefinition,
  type Definition,
  type GroupRecord,
  type TopicRecord,
} from '../../src/broker/definition';
import { LIMITS } from '../../src/base/limits';
import { growPartitions } from '../../src/broker/partitions';
import { CHECK_DEFAULTS } from '../../src/broker/producerGroup';
import { BrokerState } from '../../src/broker/state';
import { Tail } from '../../src/broker/tail';
import type { Topic } from '../../src/broker/topic';
import {
  at,
  bodies,
  codeOf,
  coded,
  HOUR,
  message,
  NAME,
  newTopic,
  setup,
  stopBrokers,
  to,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** The topic orders as broker-b has made it, with two queues on each of the brokers. */
function orders(given: Partial<Topic> & { brokers?: readonly string[]; queues?: number } = {}): TopicRecord {
  const { brokers = ['broker-b', NAME], queues = 2, ...rest } = given;
  // As it grew: queue by queue on all of them.
  let partitions: Topic['partitions'] = [];
  for (let count = 1; count <= queues; count++) partitions = growPartitions(partitions, brokers, count);
  const record = { ...newTopic('orders'), no: 0, id: 'b1', version: 1, createdAt: 1, updatedAt: 1, partitions };
  return topicDefinition({ ...record, readQueues: queues, writeQueues: queues, ...rest }, []);
}

const withTags = (definition: TopicRecord, tagsVersion: number, ...tags: string[]): TopicRecord => ({
  ...definition,
  record: { ...definition.record, tagsVersion },
  tags: tags.map((tag) => ({ tag, version: 1, createdAt: 1, updatedAt: 1 })),
});

const deleted = (id: string, version: number, formerIds?: readonly string[]) =>
  deletionOf('TOPIC', { name: 'orders', id, version, deletedAt: 5, ...(formerIds ? { formerIds } : {}) });

const install = (t: Bench, definition: unknown) => t.rooms.definitions.install(definition);
const known = (t: Bench) => t.state.topicsByName.get('orders');
const queues = (t: Bench) => known(t)!.queues.length;

/** What the groups of another broker look like there. */
async function groupOf(given: Parameters<Bench['group']>[1] = {}, rest: object = {}): Promise<GroupRecord> {
  const other = await setup({ options: { name: 'broker-b' } });
  await other.topic();
  await other.topic('mail');
  const definition = groupDefinition({ ...(await other.group('billing', given)), ...rest });
  return definition;
}

describe('a topic that another broker has made', () => {
  test('is made here as it is there, when this is one of its brokers', async () => {
    const t = await setup();
    const definition = withTags(orders({ version: 7 }), 3, 'a');
    expect(await install(t, definition)).toBe('MAKE');
    expect([topicDefinition(known(t)!.record, known(t)!.declared.values()), queues(t)]).toEqual([definition, 2]);
    await t.send('orders', to(1, 'x'));
    await t.restart();
    expect([await t.readAll('orders', 1), queues(t)]).toEqual([['x'], 2]);
  });

  test('is none of this broker’s affair when it has no queues here', async () => {
    const t = await setup();
    const end = t.journal.end;
    expect(await install(t, orders({ brokers: ['broker-b', 'broker-c'] }))).toBe('NOTHING');
    expect([known(t), t.journal.end]).toEqual([undefined, end]);
  });

  test('changes by its version: the newer state counts, in whatever order they come', async () => {
    const t = await setup();
    await install(t, orders());
    const { no } = known(t)!.record;
    expect(await install(t, orders({ version: 3, queues: 4, permission: 'R' }))).toBe('CHANGE');
    expect([queues(t), known(t)!.record.no, known(t)!.record.permission]).toEqual([4, no, 'R']);
    for (const version of [1, 2, 3]) expect(await install(t, orders({ version, queues: 4 }))).toBe('NOTHING');
    expect(known(t)!.record).toMatchObject({ version: 3, permission: 'R' });
  });

  test('has the tags that were declared last, whether the topic changed or not', async () => {
    const t = await setup();
    const tags = () => [...known(t)!.declared.keys()];
    await install(t, withTags(orders(), 1, 'a', 'b'));
    expect(await install(t, withTags(orders(), 2, 'b', 'c'))).toBe('CHANGE');
    expect(tags()).toEqual(['b', 'c']);
    expect(await install(t, withTags(orders(), 1, 'a', 'b'))).toBe('NOTHING');
    expect(await install(t, withTags(orders({ version: 2 }), 1, 'a'))).toBe('CHANGE');
    expect([tags(), known(t)!.record.version, known(t)!.record.tagsVersion]).toEqual([['b', 'c'], 2, 2]);
    await t.restart();
    expect(tags()).toEqual(['b', 'c']);
  });

  test('never loses queues that it has here', async () => {
    const t = await setup();
    await install(t, orders({ queues: 3 }));
    expect(await codeOf(install(t, orders({ version: 2, brokers: [NAME, 'broker-b'] })))).toBe('TOPIC_EXISTS');
    expect(queues(t)).toBe(3);
  });

  test('is changed where its home is, and nowhere else', async () => {
    const t = await setup();
    await install(t, orders());
    const { topics, groups } = t.rooms;
    const elsewhere = coded('NOT_HOME', {
      extras: expect.objectContaining({ members: { home: 'broker-b' } }) as object,
    });
    await expect(topics.update('orders', { description: 'x' })).rejects.toMatchObject(elsewhere);
    await expect(topics.putTag('orders', 'a', undefined)).rejects.toMatchObject(elsewhere);
    await expect(topics.deleteTag('orders', 'a')).rejects.toMatchObject(elsewhere);
    await expect(t.group()).rejects.toMatchObject(elsewhere);
    await expect(t.join()).rejects.toMatchObject(elsewhere);
    await install(t, await groupOf());
    await expect(
      groups.update('billing', () => ({ ...groups.get('billing').record, topic: 'orders', maxAttempts: 3 })),
    ).rejects.toMatchObject(elsewhere);
    // What is deleted is deleted, wherever it was said.
    await groups.delete('billing', false);
    await topics.delete('orders', false);
  });
});

describe('a topic that was deleted elsewhere', () => {
  test('goes here, too, with the groups that read nothing else, and does not come back', async () => {
    const t = await setup();
    await install(t, orders());
    await install(t, await groupOf());
    await t.send('orders', to(0, 'x'));
    expect(await install(t, deleted('b1', 2))).toBe('DROP');
    expect([known(t), t.state.groupsByName.size]).toEqual([undefined, 0]);
    for (const how of ['restart', 'crash'] as const) {
      await t[how]();
      expect(await install(t, orders({ version: 9 }))).toBe('NOTHING');
      expect(await install(t, deleted('b1', 2))).toBe('NOTHING');
    }
  });

  test('is remembered where it was never heard of, for a broker that would bring it', async () => {
    const t = await setup();
    expect(await install(t, deleted('b1', 2))).toBe('BURY');
    expect(await install(t, orders())).toBe('NOTHING');
    expect(await install(t, orders({ id: 'b2', version: 3 }))).toBe('MAKE');
  });

  test('is told from what was created since under its name, however often', async () => {
    const t = await setup();
    await install(t, orders());
    await t.send('orders', to(0, 'x'));
    // While this broker was away: deleted, created, deleted, created.
    expect(await install(t, deleted('b2', 4, ['b1']))).toBe('DROP');
    expect(await install(t, orders({ id: 'b3', version: 5 }))).toBe('MAKE');
    expect(await install(t, deleted('b1', 2))).toBe('NOTHING');
    expect([known(t)!.record.id, known(t)!.queues[0]!.max]).toEqual(['b3', 0]);
  });

  test('here is one deletion more: those before it are not forgotten', async () => {
    const t = await setup();
    await install(t, deleted('b1', 2));
    const { topic } = await t.rooms.topics.create(newTopic('orders'));
    expect(topic.version).toBe(3);
    await t.rooms.topics.delete('orders', false);
    expect(t.rooms.definitions.topic('orders')).toEqual([
      deletionOf('TOPIC', {
        name: 'orders',
        id: topic.id,
        version: 4,
        deletedAt: expect.any(Number) as number,
        formerIds: ['b1'],
      }),
    ]);
    expect(await install(t, orders())).toBe('NOTHING');
  });
});

test.each(['TOPIC', 'GROUP'] as const)(
  'so many deletions of a %s are remembered, and then the oldest is not',
  (kind) => {
    const state = new BrokerState(new Tail(1000));
    const bury = (i: number) => state.bury(kind, { name: `n${i}`, id: 'x', version: 2, deletedAt: i === 0 ? 9 : i });
    for (let i = 0; i < LIMITS.tombstones; i++) bury(i);
    bury(0);
    expect(state.tombstones[kind].size).toBe(LIMITS.tombstones);
    bury(LIMITS.tombstones);
    expect(state.tombstones[kind].size).toBe(LIMITS.tombstones);
    expect([state.tombstones[kind].has('n0'), state.tombstones[kind].has('n1')]).toEqual([true, false]);
    expect(state.counts[kind === 'TOPIC' ? 'x' : 'G']).toBe(LIMITS.tombstones);
  },
);

describe('two topics under one name', () => {
  test.each([
    ['of the higher version', { id: 'a0', version: 2 }],
    ['of the same version, and the higher id', { id: 'zz', version: 1 }],
  ])('the one %s takes the place of an empty one', async (_, newer) => {
    const t = await setup();
    await t.topic();
    expect(await install(t, orders(newer))).toBe('REPLACE');
    expect([known(t)!.record.id, queues(t)]).toEqual([newer.id, 2]);
    await t.restart();
    expect([known(t)!.record.id, queues(t)]).toEqual([newer.id, 2]);
  });

  test('the older one does not, and none takes the place of one with messages', async () => {
    const t = await setup();
    const { id } = await t.topic();
    expect(await codeOf(install(t, orders({ id: '0', version: 1 })))).toBe('TOPIC_EXISTS');
    await t.send('orders', 'x');
    expect(await codeOf(install(t, orders({ id: 'zz', version: 9 })))).toBe('TOPIC_EXISTS');
    expect(known(t)!.record.id).toBe(id);
  });

  test.each(['a scheduled message', 'a prepared one'])('%s is a message, too', async (what) => {
    const t = await setup();
    await t.topic('orders', { type: 'MIXED' });
    if (what === 'a prepared one')
      await t.rooms.transactions.prepare('orders', { producerGroup: 'banks', message: message('pay') });
    else await t.schedule('orders', { delayMs: HOUR });
    expect(await codeOf(install(t, orders({ id: 'zz', version: 9 })))).toBe('TOPIC_EXISTS');
  });

  test('do not meet when one of them has no queues here', async () => {
    const t = await setup();
    await t.topic();
    expect(await install(t, orders({ id: 'zz', version: 9, brokers: ['broker-b'] }))).toBe('NOTHING');
  });
});

describe('a group that another broker has made', () => {
  test('is made here as it is there, when a topic of it is here', async () => {
    const t = await setup();
    const definition = await groupOf();
    expect(await install(t, definition)).toBe('NOTHING');
    await install(t, orders());
    expect(await install(t, definition)).toBe('MAKE');
    expect(t.rooms.definitions.group('billing')).toEqual([definition]);
    expect(await install(t, definition)).toBe('NOTHING');
    await t.restart();
    expect(t.rooms.definitions.group('billing')).toEqual([definition]);
  });

  test.each([
    ['orders', 'mail'],
    ['mail', 'orders'],
  ])('reads what is here of its topics, and the rest as soon as it comes: %s, then %s', async (first, second) => {
    const t = await setup();
    const named = (name: string) => {
      const definition = orders({ id: `id-of-${name}` });
      return { ...definition, name, record: { ...definition.record, name } };
    };
    await install(t, named(first));
    const definition = await groupOf({ allowMultipleTopics: true });
    const filter = { type: 'TAG', expression: '*' } as const;
    const subscriptions = [...definition.record.subscriptions, { topicName: 'mail', filter }];
    const both = { ...definition, record: { ...definition.record, subscriptions } };
    expect(await install(t, both)).toBe('MAKE');
    // Whoever asks here learns of all of them.
    expect(t.rooms.definitions.group('billing')).toEqual([both]);
    const positions = () => [...t.rooms.groups.get('billing').offsets.keys()].length;
    expect(positions()).toBe(2);
    const reach = t.rooms.definitions.reach;
    await install(t, named(second));
    expect(t.rooms.definitions.reach).toBe(reach + 1);
    expect(await install(t, both)).toBe('CHANGE');
    expect(positions()).toBe(4);
    expect(await install(t, both)).toBe('NOTHING');
  });

  test('outlives a topic that is gone here, and goes when it is deleted', async () => {
    const t = await setup();
    const mail = orders({ id: 'm1' });
    await install(t, { ...mail, name: 'mail', record: { ...mail.record, name: 'mail' } });
    const definition = await groupOf({ allowMultipleTopics: true });
    const filter = { type: 'TAG', expression: '*' } as const;
    const subscriptions = [...definition.record.subscriptions, { topicName: 'mail', filter }];
    await install(t, { ...definition, record: { ...definition.record, subscriptions } });
    await t.rooms.topics.delete('mail', true);
    expect(await install(t, { ...definition, version: 2, record: { ...definition.record, version: 2 } })).toBe(
      'CHANGE',
    );
    const { name, id } = definition;
    expect(await install(t, { kind: 'GROUP', name, id, version: 3, deletedAt: 1 })).toBe('DROP');
  });

  test.each([
    ['EARLIEST', {}, [0, 0]],
    ['LATEST', {}, [2, 0]],
    ['TIMESTAMP', { consumeTimestamp: 2000 }, [1, 0]],
  ] as const)('begins as %s says, at the time of its creation', async (consumeFrom, given, expected) => {
    const t = await setup();
    const began = t.clock.now();
    await install(t, orders());
    // One long before, one shortly before the group, the next one behind it.
    await t.send('orders', to(0, 'x'));
    t.clock.jumpTo(began + 3000);
    await t.send('orders', to(0, 'y'));
    t.clock.jumpTo(began + 30_000);
    await t.send('orders', to(0, 'z'));
    const when = 'consumeTimestamp' in given ? { consumeTimestamp: began + given.consumeTimestamp } : {};
    const definition = await groupOf({ consumeFrom, ...when }, { startedAt: began + 20_000 });
    await install(t, definition);
    expect(t.committed()).toEqual(expected);
  });

  test('changes by its version, and keeps its positions', async () => {
    const t = await setup();
    await install(t, orders());
    const definition = await groupOf();
    await install(t, definition);
    await t.send('orders', to(0, 'x'));
    await t.commit('billing', undefined, { offsets: [at(0, 1)] });
    const record = { ...definition.record, version: 2, maxAttempts: 3 };
    expect(await install(t, { ...definition, version: 2, record })).toBe('CHANGE');
    expect(await install(t, definition)).toBe('NOTHING');
    expect([t.rooms.groups.get('billing').record.maxAttempts, t.committed()]).toEqual([3, [1, 0]]);
  });

  test('has members here, who get the queues that are added, and whose polls end when it goes', async () => {
    const t = await setup();
    await install(t, orders());
    const definition = await groupOf();
    await install(t, definition);
    const { member } = await t.join();
    // Those of broker-b are its members', too: both divide all four among them.
    expect(member.queues).toHaveLength(2);
    await install(t, orders({ version: 2, queues: 4 }));
    await t.settled();
    expect(member.queues).toHaveLength(4);
    const polling = codeOf(t.poll('billing', 'c1', { waitMs: 10_000 }));
    await t.parked(1);
    const { name, id } = definition;
    await install(t, deletionOf('GROUP', { name, id, version: 2, deletedAt: 5 }));
    expect(await polling).toBe('GROUP_NOT_FOUND');
  });

  test('goes when it was deleted elsewhere, and does not come back', async () => {
    const t = await setup();
    await install(t, orders());
    const definition = await groupOf();
    await install(t, definition);
    const { name, id } = definition;
    const deletion = deletionOf('GROUP', { name, id, version: 2, deletedAt: 5 });
    expect(await install(t, deletion)).toBe('DROP');
    for (const how of ['restart', 'crash'] as const) {
      await t[how]();
      expect(await install(t, definition)).toBe('NOTHING');
      expect(t.state.groupsByName.size).toBe(0);
    }
    expect(await install(t, deletionOf('GROUP', { name: 'other', id, version: 1, deletedAt: 5 }))).toBe('BURY');
    await t.skip(31 * 24 * HOUR);
    await t.rooms.retention.runOnce();
    expect(t.state.tombstones.GROUP.size).toBe(0);
  });

  test('takes the place of another one of its name that nobody has read for, if it is newer', async () => {
    const t = await setup();
    await t.topic();
    await t.group();
    const definition = await groupOf();
    const as = (id: string, version: number) => ({
      ...definition,
      ...{ id, version, record: { ...definition.record, id, version } },
    });
    const read = (id: string, version: number) => {
      const other = as(id, version);
      return { ...other, record: { ...other.record, ordered: true } };
    };
    expect(await codeOf(install(t, read('0', 1)))).toBe('SUBSCRIPTION_CONFLICT');
    expect(await install(t, read('0', 2))).toBe('REPLACE');
    expect(await install(t, as('zz', 3))).toBe('REPLACE');
    await t.send('orders', 'x');
    await t.receive();
    expect(await codeOf(install(t, read('zzz', 4)))).toBe('SUBSCRIPTION_CONFLICT');
  });

  describe('of another creation that reads the same', () => {
    async function twoCreations() {
      const t = await setup();
      await t.topic();
      const { id } = await t.group();
      await t.send('orders', 'x', 'y');
      const first = await t.receive('billing', { max: 1 });
      await t.rooms.leases.acknowledge('billing', [first.messages[0]!.receiptHandle]);
      const definition = await groupOf();
      const as = (other: string) => ({ ...definition, id: other, record: { ...definition.record, id: other } });
      return { t, id, as };
    }

    test('becomes one with it and keeps its positions; the later id counts, whichever came first', async () => {
      const { t, id, as } = await twoCreations();
      const before = t.committed();
      expect(await install(t, as('0'))).toBe('NOTHING');
      expect(t.rooms.groups.get('billing').record.id).toBe(id);
      expect(await install(t, as('zz'))).toBe('MERGE');
      expect(await install(t, as('zz'))).toBe('NOTHING');
      await t.crash();
      expect(t.rooms.groups.get('billing').record).toMatchObject({ id: 'zz', mergedIds: [id] });
      expect(t.committed()).toEqual(before);
      expect(bodies((await t.receive()).messages)).toEqual(['y']);
    });

    test('goes with it, and does not come back', async () => {
      const { t, id, as } = await twoCreations();
      await install(t, as('zz'));
      await t.rooms.groups.delete('billing', true);
      expect(await install(t, as(id))).toBe('NOTHING');
      expect(t.state.groupsByName.size).toBe(0);
    });
  });
});

test('of a producer group the higher version counts, then the later change', async () => {
  const t = await setup();
  const banks = (version: number, updatedAt: number, maxChecks: number) =>
    producerGroupDefinition({ name: 'banks', ...CHECK_DEFAULTS, version, createdAt: 1, updatedAt, maxChecks });
  expect(await install(t, banks(1, 10, 1))).toBe('MAKE');
  expect(await install(t, banks(1, 9, 2))).toBe('NOTHING');
  expect(await install(t, banks(1, 11, 3))).toBe('CHANGE');
  expect(await install(t, banks(3, 1, 4))).toBe('CHANGE');
  expect(await install(t, banks(2, 99, 5))).toBe('NOTHING');
  expect(t.rooms.checkbacks.group('banks')).toMatchObject({ version: 3, maxChecks: 4 });
});

test('of a producer group that was deleted no earlier state comes back; a new one of the name does', async () => {
  const t = await setup();
  const other = await setup({ options: { name: 'broker-b' } });
  const put = (maxChecks: number) => t.rooms.checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS, maxChecks });
  const tell = async () => {
    const verdicts = [];
    for (const one of t.rooms.definitions.producerGroup('banks')) verdicts.push(await install(other, one));
    return verdicts;
  };
  await put(1);
  const [before] = t.rooms.definitions.producerGroup('banks');
  expect(await tell()).toEqual(['MAKE']);
  await t.rooms.checkbacks.deleteGroup('banks', false);
  expect(await install(t, before!)).toBe('NOTHING');
  expect(await tell()).toEqual(['DROP']);
  expect(await install(other, before!)).toBe('NOTHING');
  const again = await put(2); // in the same millisecond
  expect(again.group.version).toBe(3);
  expect(await tell()).toEqual(['NOTHING', 'MAKE']);
  expect(other.rooms.checkbacks.group('banks')).toEqual(again.group);
  await other.crash();
  expect(other.rooms.definitions.producerGroup('banks')).toEqual(t.rooms.definitions.producerGroup('banks'));
});

test('a producer group that is known nowhere is deleted there, too', async () => {
  const t = await setup();
  const deletion = { kind: 'PRODUCER_GROUP', name: 'banks', id: '17', version: 2, deletedAt: 18 } as const;
  expect(await install(t, deletion)).toBe('BURY');
  expect(await install(t, deletion)).toBe('NOTHING');
});

describe('what cannot be applied', () => {
  const whole = orders();
  test.each<[string, unknown]>([
    ['a topic without partitions', { ...whole, record: { ...whole.record, partitions: [] } }],
    [
      'one with a gap in its queues',
      { ...whole, record: { ...whole.record, partitions: [{ broker: NAME, queueId: 1 }] } },
    ],
    ['one with fewer queues than are read', { ...whole, record: { ...whole.record, readQueues: 3 } }],
    ['one that is not the one it says', { ...whole, id: 'other' }],
    ['one of another version than it says', { ...whole, version: 9 }],
    ['one of a type that nobody knows', { ...whole, record: { ...whole.record, type: 'ODD' } }],
    ['a group’s own topic', { ...whole, name: '%RETRY%x', record: { ...whole.record, name: '%RETRY%x' } }],
    ['a deletion of a producer group that is none', { kind: 'PRODUCER_GROUP', name: 'p', version: 2, deletedAt: 1 }],
    ['a deletion that is none', { kind: 'TOPIC', name: 'orders', id: 'b1', version: 2 }],
    [
      'a group without subscriptions',
      { kind: 'GROUP', name: 'g', id: 'x', version: 1, record: { name: 'g', id: 'x', version: 1 } },
    ],
    [
      'a producer group without settings',
      { kind: 'PRODUCER_GROUP', name: 'p', version: 1, updatedAt: 1, record: { name: 'p', version: 1 } },
    ],
  ])('%s is refused before it is written', async (_, definition) => {
    const t = await setup();
    const { end } = t.journal;
    expect(await codeOf(install(t, definition))).toBe('VALIDATION_FAILED');
    expect(t.journal.end).toBe(end);
  });

  test('a filter that cannot be read is refused as such', async () => {
    const t = await setup();
    const definition = await groupOf();
    const filter = { type: 'SQL92', expression: 'a >' } as const;
    const record = { ...definition.record, filter, subscriptions: [{ topicName: 'orders', filter }] };
    expect(await codeOf(install(t, { ...definition, record }))).toBe('FILTER_INVALID');
  });
});

describe('a broker tells what it knows', () => {
  const all = (t: Bench, limit: number): Definition[] => {
    const found: Definition[] = [];
    for (let after = ''; ;) {
      const { definitions, next } = t.rooms.definitions.list(after, limit);
      found.push(...definitions);
      if (next === undefined) return found;
      after = next;
    }
  };

  test('topics, then groups, then producer groups, by name, page by page, without what is its own affair', async () => {
    const t = await setup();
    for (const name of ['z', 'orders', 'b']) await t.topic(name);
    await t.rooms.topics.delete('z', false);
    await t.topic('z');
    await t.group('a');
    await t.rooms.checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS });
    await t.rooms.retries.ensureTopic('%RETRY%a');
    for (const limit of [1, 2, 100]) {
      expect(all(t, limit).map(({ kind, name, record }) => [kind, name, record !== undefined])).toEqual([
        ['TOPIC', 'b', true],
        ['TOPIC', 'orders', true],
        ['TOPIC', 'z', false],
        ['TOPIC', 'z', true],
        ['GROUP', 'a', true],
        ['PRODUCER_GROUP', 'banks', true],
      ]);
    }
  });

  test('another one learns all of it: both know the same then', async () => {
    const t = await setup();
    await t.topic('orders', { brokers: ['broker-b'] });
    await t.rooms.topics.putTag('orders', 'a', 'A');
    await t.group('billing', { consumeFrom: 'LATEST' });
    await t.topic('gone', { brokers: ['broker-b'] });
    await t.rooms.topics.delete('gone', false);
    const other = await setup({ options: { name: 'broker-b' } });
    const told = JSON.parse(JSON.stringify(all(t, 10))) as unknown[];
    for (const definition of told) await install(other, definition);
    expect(all(other, 10)).toEqual(all(t, 10));
  });

  test('its digest is another one after each change and each start, and after nothing else', async () => {
    const t = await setup();
    const seen = new Set<string>();
    const isNew = () => {
      const { digest } = t.rooms.definitions;
      const fresh = !seen.has(digest);
      seen.add(digest);
      return fresh;
    };
    expect(isNew()).toBe(true);
    const changes = [
      () => t.topic(),
      () => t.rooms.topics.update('orders', { description: 'x' }),
      () => t.rooms.topics.putTag('orders', 'a', undefined),
      () => t.rooms.topics.deleteTag('orders', 'a'),
      () => t.group(),
      () => t.rooms.groups.delete('billing', false),
      () => t.rooms.checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS }),
      () => install(t, deleted('other', 9)),
      () => t.rooms.topics.delete('orders', false),
      () => t.restart(),
    ];
    for (const change of changes) {
      await change();
      expect([change.toString(), isNew()]).toEqual([change.toString(), true]);
    }
    await t.topic();
    isNew();
    await t.topic();
    await t.send('orders', 'x');
    expect(isNew()).toBe(false);
  });
});

describe('a topic over several brokers', () => {
  const places = (topic: Topic) =>
    topic.partitions.map(({ broker, queueId }) => `${broker.at(-1)}${queueId}`).join(' ');

  test('has its home first, then the others by name, and grows behind what it has', async () => {
    const t = await setup();
    const topic = await t.topic('orders', { readQueues: 2, writeQueues: 1, brokers: ['broker-c', NAME, 'broker-b'] });
    expect(places(topic)).toBe('a0 a1 b0 b1 c0 c1');
    const grown = await t.rooms.topics.update('orders', { readQueues: 3 });
    expect(places(grown.topic)).toBe('a0 a1 b0 b1 c0 c1 a2 b2 c2');
    const spread = await t.rooms.topics.update('orders', { brokers: ['broker-e', 'broker-d', 'broker-b'] });
    expect(places(spread.topic)).toBe('a0 a1 b0 b1 c0 c1 a2 b2 c2 d0 d1 d2 e0 e1 e2');
    expect((await t.rooms.topics.update('orders', { brokers: ['broker-e'] })).changed).toBe(false);
    expect([queues(t), t.state.queueCount]).toEqual([3, 3]);
  });

  test.each(['FIFO', 'MIXED'] as const)('of type %s moves messageGroups only when told to', async (type) => {
    const t = await setup();
    await t.topic('orders', { type, readQueues: 4, writeQueues: 2 });
    const { topics } = t.rooms;
    for (const patch of [{ writeQueues: 3 }, { brokers: ['broker-b'] }]) {
      expect(await codeOf(topics.update('orders', patch))).toBe('REORDER_NOT_ALLOWED');
      expect((await topics.update('orders', { ...patch, allowReorder: true })).changed).toBe(true);
    }
    // Queues that nobody writes to move nothing.
    expect((await topics.update('orders', { readQueues: 6 })).changed).toBe(true);
  });

  test('takes a messageGroup where its queue is, and sends its sender there otherwise', async () => {
    const t = await setup();
    await t.topic('orders', { type: 'MIXED', readQueues: 2, writeQueues: 2, brokers: ['broker-b'] });
    const messages = Array.from({ length: 40 }, (_, i) => message({ messageGroup: `g${i}` }));
    const { results } = await t.rooms.sender.send('orders', messages);
    const codes = results.map(({ error }) => error?.code);
    expect(new Set(codes)).toEqual(new Set([undefined, 'QUEUE_ELSEWHERE']));
    expect(results.find(({ error }) => error)?.error?.message).toContain('broker-b');
  });
});
