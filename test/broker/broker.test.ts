/**
 * The core as a whole: what it was before it stopped, it is afterwards, however it stopped. The last chapter proves it
 * for random histories: a live broker, one that replays its whole journal, one that lost what its tables had not yet
 * got, and one that only loads its tables are the same in everything. fast-check prints the seed of a failing history.
 */
import fc from 'fast-check';
import { openMemoryFolder } from '../../storage/folder';
import type { Journal } from '../../storage/journal';
import { recordKind } from '../../storage/record';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../../src/base/errors';
import { KIND } from '../../src/broker/command';
import { deletionOf, producerGroupDefinition, type Definition } from '../../src/broker/definition';
import { leaveForGood } from '../../src/broker/removal';
import { Flusher } from '../../src/broker/flusher';
import { keyHash } from '../../src/broker/keyIndex';
import { loadTables, replay } from '../../src/broker/load';
import { growPartitions } from '../../src/broker/partitions';
import { CHECK_DEFAULTS } from '../../src/broker/producerGroup';
import { QueueIndex } from '../../src/broker/queueIndex';
import { ReadGate } from '../../src/broker/readGate';
import type { Delivery } from '../../src/broker/reader';
import { setBrokerPermission } from '../../src/broker/brokerPermission';
import { BrokerState, type GroupState } from '../../src/broker/state';
import type { Topic } from '../../src/broker/topic';
import { Tail } from '../../src/broker/tail';
import {
  bodies,
  codeOf,
  HOUR,
  message,
  NAME,
  newGroup,
  newTopic,
  setup,
  stopBrokers,
  to,
  turn,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** Everything that must be the same on every member, with the index read entry by entry. */
async function contentOf(state: BrokerState, tables: Tables) {
  const index = new QueueIndex(tables, new ReadGate({ atOnce: 1, waiting: 10 }));
  const topics = [];
  for (const topic of [...state.topics.values()].sort((a, b) => a.record.no - b.record.no)) {
    const queues = [];
    for (const queue of topic.queues) {
      const entries = [];
      for (let offset = queue.min; offset < queue.max; offset++) {
        const segment = (await index.at(queue, offset))!;
        entries.push([
          segment.position(offset),
          segment.bytes(offset),
          segment.tagHash(offset),
          segment.storeTime(offset),
        ]);
      }
      queues.push({ min: queue.min, max: queue.max, lastStoreTime: queue.lastStoreTime, entries });
    }
    topics.push({
      record: topic.record,
      queues,
      keyed: await state.keys.find(
        {
          topic: topic.record.no,
          hash: keyHash('even'),
          from: state.marks.idHour * HOUR,
          position: 0,
          to: state.marks.time,
        },
        tables,
        1000,
      ),
      declared: [...topic.declared.values()].sort(byTag),
      seen: topic.seen.list(),
      scheduled: topic.scheduled,
    });
  }
  return {
    applied: state.applied,
    marks: state.marks,
    identity: state.identity,
    permission: state.permission,
    removals: [[...state.removedBrokers], state.leftBy],
    notes: [...state.notes.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    counts: state.counts,
    queueCount: state.queueCount,
    topics,
    groups: [...state.groups.values()].map(groupContent).sort((a, b) => a.record.no - b.record.no),
    names: [sorted(state.topicsByName), sorted(state.groupsByName)].map((entries) => entries.map(([name]) => name)),
    tombstones: [sorted(state.tombstones.TOPIC), sorted(state.tombstones.GROUP)],
    halves: [...state.halves.open], // in order of their preparation
    producerGroups: sorted(state.halves.producerGroups),
  };
}

/** All of a group but its traffic, which counts from the start of the process. */
function groupContent({ record, offsets, resets, owners, leases, attempts, listeners, counts }: GroupState) {
  return {
    record,
    offsets: sorted(offsets),
    resets: sorted(resets),
    owners: sorted(owners),
    leases: sorted(leases).map(([number, { topic, queueId, next, said, entries }]) => {
      return { number, topic, queueId, next, said, entries: [...entries] }; // in order: the first one is the lowest
    }),
    attempts: [...attempts], // in order: the first one ends first
    listeners: sorted(listeners).map(([id, { epoch, seenAt, offsets: own }]) => [id, epoch, seenAt, sorted(own)]),
    counts,
  };
}

const byTag = (a: { tag: string }, b: { tag: string }) => (a.tag < b.tag ? -1 : 1);
const sorted = <K extends string | number, V>(map: ReadonlyMap<K, V>): [K, V][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : 1));

describe('a broker that stops and starts', () => {
  async function busy(): Promise<Bench> {
    const t = await setup();
    await t.topic('orders', { type: 'MIXED', description: 'Orders' });
    await t.topic('mail', { tagPolicy: 'DECLARED' });
    await t.topic('gone');
    await t.rooms.topics.putTag('mail', 'welcome', 'First mail');
    await t.send(
      'orders',
      'a',
      { body: 'b', tag: 'x', keys: ['k'], properties: { p: 'ü' } },
      { body: 'c', messageGroup: 'g' },
    );
    await t.clock.advance(150); // the tables get a part
    await t.rooms.sender.send('mail', [message({ body: 'hi', tag: 'welcome' })], 'key-1');
    await t.group('billing');
    await t.join();
    await t.poll('billing', 'c1', { autoCommit: true, cursor: (await t.poll('billing', 'c1', { max: 2 })).cursor });
    await t.rooms.topics.delete('gone', false);
    await t.rooms.topics.update('orders', { readQueues: 6, writeQueues: 5, allowReorder: true });
    await t.send('orders', 'd');
    const { messages } = await t.poll('billing', 'c1');
    const places = messages.map(({ queue, queueOffset }) => ({ queueId: queue.queueId, queueOffset }));
    const failed = places.map((place) => ({ ...place, topic: 'orders', broker: NAME, delayMs: HOUR }));
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: failed });
    await t.group('radio', { mode: 'BROADCASTING' });
    await t.join('radio', 'c1');
    await t.group('lent', { maxAttempts: 0 });
    const lent = await t.receive('lent', { max: 2, attemptId: 'once' });
    await t.rooms.leases.nack('lent', [{ receiptHandle: lent.messages[0]!.receiptHandle, reason: 'no' }]);
    await t.settled();
    return t;
  }

  test.each(['restart', 'crash'] as const)('is the same after a %s, and after the next one', async (how) => {
    const t = await busy();
    for (let i = 0; i < 2; i++) {
      const before = await contentOf(t.state, t.folder.tables);
      await t[how]();
      await turn();
      const after = await contentOf(t.state, t.folder.tables);
      // A new epoch began; everything else is as it was.
      expect(after.marks.epoch).toBe(before.marks.epoch + 1);
      expect({ ...after, applied: 0, marks: 0 }).toEqual({ ...before, applied: 0, marks: 0 });
    }
    expect((await t.rooms.sender.send('mail', [message({ body: 'hi', tag: 'welcome' })], 'key-1')).replayed).toBe(true);
  });

  test('gives offsets and ids on from where they were', async () => {
    const t = await busy();
    const [before] = await t.send('orders', to(0, 'x'));
    const { identity } = t.rooms;
    await t.crash();
    const [after] = await t.send('orders', to(0, 'y'));
    expect(after!.queueOffset).toBe(before!.queueOffset + 1);
    expect(after!.offsetMessageId.slice(0, 16)).toBe(before!.offsetMessageId.slice(0, 16));
    expect(t.rooms.identity).toEqual(identity);
  });

  test('keeps the label of its first start, whatever it is told later', async () => {
    const t = await setup();
    await t.topic();
    const [first] = await t.send('orders', 'x');
    t.options = { ...t.options, messageIdTag: '9.9.9.9:1' };
    await t.restart();
    expect((await t.rooms.lookup.message('orders', first!.offsetMessageId)).queueOffset).toBe(0);
    expect((await t.send('orders', 'y'))[0]!.offsetMessageId).toMatch(/^0A000007/);
  });

  test('under another name refuses the folder instead of losing sight of its queues', async () => {
    const t = await setup();
    await t.topic();
    t.options = { ...t.options, name: 'broker-z' };
    await expect(t.restart()).rejects.toThrow(/belongs to broker .*--name/);
  });

  test('never takes a time before the last command’s, though the clock was set back', async () => {
    const t = await setup();
    await t.topic();
    const [before] = await t.send('orders', 'x');
    t.clock.jumpTo(t.clock.now() - HOUR);
    await t.restart();
    const [after] = await t.send('orders', 'y');
    expect(after!.storeTimestamp).toBeGreaterThanOrEqual(before!.storeTimestamp);
  });

  test('with a journal of many thousand commands and empty tables replays it', async () => {
    const t = await setup();
    await t.topic();
    for (let i = 0; i < 12; i++) await Promise.all(Array.from({ length: 1000 }, () => t.send('orders', 'x')));
    expect(t.folder.tables.applied).toBe(0);
    await t.crash();
    expect(t.rooms.topics.queues('orders').reduce((sum, { queue }) => sum + queue.max, 0)).toBe(12_000);
    expect(t.state.applied).toBe(t.journal.end);
  });
});

describe('starting and stopping', () => {
  test('before it has started every call is refused for a moment', async () => {
    const t = await setup({ stopped: true });
    expect(t.broker.ready).toBe(false);
    expect(() => t.rooms).toThrow(expect.objectContaining({ code: 'STARTING' }));
    await t.broker.start();
    expect(t.broker.ready).toBe(true);
    await t.broker.stop();
    expect(t.broker.ready).toBe(false);
  });

  test('leaves no timer behind, and nothing that waits for the next start', async () => {
    const t = await setup();
    await t.topic();
    await t.join('billing');
    await t.send('orders', 'x');
    const polling = t.poll('billing', 'c1', { waitMs: 30_000, min: 5 });
    await t.parked(1);
    await t.broker.stop();
    expect((await polling).messages).toHaveLength(1);
    expect(t.clock.pendingTimers).toBe(0);
    expect(t.folder.tables.applied).toBe(t.journal.end);
    expect(await codeOf(t.send('orders', 'x'))).toBe('SERVICE_NOT_AVAILABLE');
    await t.broker.stop();
  });

  test('finishes what is being written', async () => {
    const t = await setup();
    await t.topic();
    const hold = t.disk.hold('journal', 'write');
    const sending = t.send('orders', 'x');
    await hold.reached;
    const stopping = t.broker.stop();
    await turn();
    hold.release();
    expect(await sending).toHaveLength(1);
    await stopping;
    expect(t.folder.tables.applied).toBe(t.journal.end);
  });

  test('stopping before or while it starts ends it, too', async () => {
    const never = await setup({ stopped: true });
    await never.broker.stop();
    await never.broker.start();
    expect(never.broker.ready).toBe(false);
    expect(never.clock.pendingTimers).toBe(0);

    const t = await setup();
    await t.topic();
    for (let i = 0; i < 20; i++) await t.send('orders', 'x'.repeat(1000));
    await t.kill();
    const { end } = t.journal;
    const timers = t.clock.pendingTimers;
    await t.open();
    const hold = t.disk.hold('journal', 'read');
    const starting = t.broker.start();
    await hold.reached;
    const stopping = t.broker.stop();
    hold.release();
    await Promise.all([starting, stopping]);
    expect(t.broker.ready).toBe(false);
    expect([t.journal.end, t.clock.pendingTimers]).toEqual([end, timers]);
  });

  test('a write that fails is fatal, and the next start finds what was answered', async () => {
    const t = await setup();
    await t.topic();
    await t.send('orders', to(0, 'kept'));
    t.memory.disk.fail();
    expect(await codeOf(t.send('orders', to(0, 'unsure')))).toBe('OUTCOME_UNKNOWN');
    expect(t.fatal.splice(0)).toHaveLength(1);
    await t.crash();
    expect((await t.readAll('orders', 0))[0]).toBe('kept');
  });

  test('a flush that fails is fatal, too', async () => {
    const t = await setup();
    await t.topic();
    t.memory.disk.fail();
    await t.clock.advance(100);
    expect(t.fatal.splice(0).length).toBeGreaterThan(0);
    await t.crash();
    expect(t.state.topicsByName.has('orders')).toBe(true);
  });
});

describe('answers that do not wait for the sync', () => {
  const options = { syncEveryTurn: false, syncEveryMs: 500 };

  test('are lost with the power, back to the last sync and in one piece', async () => {
    const t = await setup({ options });
    await t.topic();
    await t.send('orders', to(0, 'synced'));
    await t.clock.advance(500);
    await t.send('orders', to(0, 'not synced'));
    await t.crash();
    expect(await t.readAll('orders', 0)).toEqual(['synced']);
    await t.send('orders', to(0, 'next'));
    expect(await t.readAll('orders', 0)).toEqual(['synced', 'next']);
  });

  test('never bring an epoch, or who the broker is, back: cursors of a lost life do not count', async () => {
    const t = await setup({ options });
    const { epoch, identity } = t.rooms;
    await t.crash();
    expect(t.rooms.epoch).toBe(epoch + 1);
    expect(t.rooms.identity).toEqual(identity);
  });

  test('are kept by an orderly stop', async () => {
    const t = await setup({ options });
    await t.topic();
    await t.send('orders', to(0, 'x'));
    await t.restart();
    expect(await t.readAll('orders', 0)).toEqual(['x']);
  });

  test('the tables never hold what the journal could still lose', async () => {
    const t = await setup({ options: { ...options, syncEveryMs: 10_000 } });
    await t.topic();
    for (let i = 0; i < 5; i++) {
      await t.send('orders', to(0, `m${i}`));
      await t.clock.advance(100);
      expect(t.folder.tables.applied).toBeLessThanOrEqual(t.journal.durableEnd);
    }
    await t.crash();
    expect(await t.readAll('orders', 0)).toHaveLength(5);
  });
});

// --- random histories ---------------------------------------------------------------------------------------------

const TOPICS = ['orders', 'mail', 'audit'];
const GROUPS = ['billing', 'search', 'lent', 'radio'];
const CONSUMERS = ['c1', 'c2', 'c3'];
const TAGS = ['a', 'b', 'Aa', 'BB', 'ü'];

const topic = fc.constantFrom(...TOPICS);
const group = fc.constantFrom(...GROUPS);
/** Groups that consumers join, and such that they receive from; one of them tries both. */
const joined = fc.constantFrom('billing', 'billing', 'search', 'radio');
const lending = fc.constantFrom('lent', 'lent', 'lent', 'search');
const consumer = fc.constantFrom(...CONSUMERS);
/** Mostly short: what waits is looked for a minute ahead, and again only after a second that is lived through. */
const ms = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 2000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 100 * 60_000 }) },
);
const delayMs = fc.constantFrom(undefined, 0, 50, HOUR);
const tag = fc.option(fc.constantFrom(...TAGS), { nil: undefined });
const count = fc.integer({ min: 1, max: 5 });

const producers = fc.constantFrom('banks', 'shops');

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('createTopic' as const),
      topic,
      type: fc.constantFrom('MIXED' as const, 'MIXED' as const, 'NORMAL' as const, 'FIFO' as const),
      queues: count,
      declared: fc.nat({ max: 3 }).map((n) => n === 0),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('updateTopic' as const),
      topic,
      read: count,
      write: count,
      word: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('deleteTopic' as const, 'leaveTopic' as const),
      topic,
      force: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constantFrom('putTag' as const, 'deleteTag' as const),
      topic,
      tag: fc.constantFrom(...TAGS),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('send' as const),
      topic,
      tags: fc.array(tag, { minLength: 1, maxLength: 6 }),
      fifo: fc.boolean(),
      key: fc.option(fc.constantFrom('k1', 'k2'), { nil: undefined }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('schedule' as const), topic, count, ms }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('setPermission' as const),
      permission: fc.constantFrom('R' as const, 'RW' as const, 'RW' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clock' as const), aheadMs: fc.constantFrom(0, 360_000_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('install' as const),
      what: fc.constantFrom('TOPIC' as const, 'GROUP' as const, 'PRODUCER_GROUP' as const),
      name: fc.nat({ max: 2 }),
      id: fc.constantFrom('0000', 'ffff'),
      version: count,
      deleted: fc.nat({ max: 3 }).map((n) => n === 0),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('note' as const),
      name: fc.constantFrom('one', 'two'),
      value: fc.constantFrom('', 'here', 'there'),
      version: fc.nat({ max: 3 }),
      ms,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('recall' as const), nth: fc.nat({ max: 5 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('prepare' as const),
      topic,
      producerGroup: producers,
      key: fc.option(fc.constantFrom('k1', 'k2'), { nil: undefined }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('end' as const),
      nth: fc.nat({ max: 5 }),
      resolution: fc.constantFrom('COMMIT' as const, 'ROLLBACK' as const, 'UNKNOWN' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('check' as const), producerGroup: producers, max: count }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('putProducerGroup' as const), producerGroup: producers, maxChecks: count }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('deleteProducerGroup' as const), producerGroup: producers }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('putGroup' as const),
      group,
      topic,
      consumeFrom: fc.constantFrom('EARLIEST' as const, 'LATEST' as const, 'TIMESTAMP' as const),
      tag: fc.constantFrom(...TAGS, '*'),
      sql: fc.boolean(),
      ordered: fc.boolean(),
      several: fc.boolean(),
      maxAttempts: fc.nat({ max: 2 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('join' as const), group: joined, consumer, topic }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('leave' as const), group: joined, consumer }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('poll' as const),
      group: joined,
      consumer,
      max: fc.integer({ min: 1, max: 8 }),
      commits: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('sendBack' as const),
      ...{ count, delayMs, commits: fc.boolean() },
      key: fc.option(fc.constantFrom('k1', 'k2'), { nil: undefined }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('receive' as const),
      group: lending,
      max: fc.integer({ min: 1, max: 6 }),
      attemptId: fc.option(fc.constantFrom('t1', 't2'), { nil: undefined }),
      lost: fc.nat({ max: 4 }).map((n) => n === 0),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom('ack' as const, 'nack' as const, 'nack' as const, 'extend' as const),
      count,
      delayMs,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('redrive' as const),
      group,
      topic: fc.option(topic, { nil: undefined }),
      key: fc.option(fc.constantFrom('k1', 'k2'), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('dropDeadLetters' as const), group, count }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forget' as const), consumer }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('deleteGroup' as const), group }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('commit' as const),
      group,
      offsets: fc.array(fc.record({ queueId: fc.nat({ max: 5 }), nextOffset: fc.nat({ max: 12 }) }), {
        minLength: 1,
        maxLength: 3,
      }),
      force: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('reset' as const),
      group,
      target: fc.constantFrom('EARLIEST' as const, 'LATEST' as const),
      dropRetries: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('trim' as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('flush' as const) }) },
);
/** Behind the last one little can happen: it stands in one history alone. */
type Step = (typeof step extends fc.Arbitrary<infer S> ? S : never) | { readonly do: 'leaveCluster' };

/** What consumers hold: what they polled last, by group and consumer, and receipts. */
class Held {
  readonly cursors = new Map<string, string>();
  polled: { group: string; consumer: string; messages: readonly Delivery[]; cursor: string } | undefined;
  receipts: { group: string; receiptHandle: string }[] = [];
  /** Of messages that were scheduled, and of transactions, what names them. */
  readonly scheduled: { topic: string; messageId: string }[] = [];
  readonly prepared: string[] = [];

  /** The first so many receipts of one group. */
  take(count: number): { group: string; handles: string[] } {
    const group = this.receipts[0]?.group ?? 'lent';
    const taken = this.receipts.filter((one) => one.group === group).slice(0, count);
    this.receipts = this.receipts.filter((one) => !taken.includes(one));
    return { group, handles: taken.map(({ receiptHandle }) => receiptHandle) };
  }
}

/** What an operator, a sender or a consumer would do; what is refused is part of the history, too. */
async function act(t: Bench, s: Step, held: Held): Promise<unknown> {
  const { rooms } = t;
  switch (s.do) {
    case 'join':
      return t.join(s.group, s.consumer, { topic: s.topic });
    case 'leave':
      return rooms.groups.leave(s.group, s.consumer);
    case 'poll': {
      const name = `${s.group} ${s.consumer}`;
      const cursor = held.cursors.get(name) ?? '';
      const answer = await t.poll(s.group, s.consumer, { max: s.max, autoCommit: s.commits, cursor });
      held.cursors.set(name, answer.cursor);
      held.polled = { group: s.group, consumer: s.consumer, messages: answer.messages, cursor: answer.cursor };
      return;
    }
    case 'sendBack': {
      if (!held.polled) return;
      const { group: name, consumer: consumerId, messages, cursor } = held.polled;
      const failed = messages.slice(0, s.count).map(({ queue, queueOffset }) => ({
        topic: t.state.topics.get(queue.topic)?.record.name ?? 'gone',
        ...{ broker: NAME, queueId: queue.queueId, queueOffset, delayMs: s.delayMs },
      }));
      const request = { consumerId, messages: failed, ...(s.commits ? { cursor } : {}) };
      return rooms.retries.sendBack(name, request, s.key);
    }
    case 'receive': {
      const answer = await t.receive(s.group, { max: s.max, attemptId: s.attemptId });
      if (s.lost) return answer.giveBack();
      for (const { receiptHandle } of answer.messages) held.receipts.push({ group: s.group, receiptHandle });
      return;
    }
    case 'ack': {
      const { group: name, handles } = held.take(s.count);
      return rooms.leases.acknowledge(name, handles);
    }
    case 'nack': {
      const { group: name, handles } = held.take(s.count);
      const given = s.delayMs === undefined ? {} : { delayMs: s.delayMs };
      return rooms.leases.nack(
        name,
        handles.map((receiptHandle) => ({ receiptHandle, ...given })),
      );
    }
    case 'extend': {
      const { group: name, handles } = held.take(s.count);
      const receipts = handles.map((receiptHandle) => ({ receiptHandle, invisibleMs: 5000 }));
      for (const { receiptHandle, error } of await rooms.leases.extend(name, receipts))
        if (!error) held.receipts.push({ group: name, receiptHandle });
      return;
    }
    case 'redrive':
      return rooms.deadLetters.redrive(s.group, { all: true, topic: s.topic, dryRun: false }, s.key);
    case 'dropDeadLetters': {
      const { deadLetters } = await rooms.deadLetters.list(s.group, -1, s.count);
      const offsets = deadLetters.map(({ no }) => no);
      return rooms.core.submit({ kind: 'dropDeadLetters', group: rooms.groups.get(s.group).record.no, offsets });
    }
    case 'forget': {
      const { record } = rooms.groups.get('radio');
      return rooms.core.submit({ kind: 'listeners', group: record.no, gone: [s.consumer] });
    }
    case 'createTopic':
      return rooms.topics.create({
        ...newTopic(s.topic),
        type: s.type,
        readQueues: s.queues,
        writeQueues: s.queues,
        tagPolicy: s.declared ? 'DECLARED' : 'OPEN',
      });
    case 'updateTopic':
      return rooms.topics.update(s.topic, {
        readQueues: s.read,
        writeQueues: s.write,
        allowReorder: s.word,
        keepsUnread: !s.word,
      });
    case 'deleteTopic':
      return rooms.topics.delete(s.topic, s.force);
    case 'leaveTopic':
      return rooms.topics.leave(s.topic, s.force);
    case 'leaveCluster':
      return leaveForGood(rooms.core, true);
    case 'putTag':
      return rooms.topics.putTag(s.topic, s.tag, undefined);
    case 'deleteTag':
      return rooms.topics.deleteTag(s.topic, s.tag);
    case 'send':
      return rooms.sender.send(
        s.topic,
        s.tags.map((name, i) =>
          message({
            body: `m${i}`,
            tag: name,
            ...(i % 2 ? { keys: ['even', `k${i}`] } : {}),
            ...(s.fifo ? { messageGroup: `g${i}` } : {}),
          }),
        ),
        s.key,
      );
    case 'schedule': {
      const messages = Array.from({ length: s.count }, (_, i) => message({ body: `m${i}`, delayMs: i * s.ms }));
      const { results } = await rooms.sender.send(s.topic, messages);
      for (const result of results)
        if (!result.error) held.scheduled.push({ topic: s.topic, messageId: result.messageId });
      return;
    }
    case 'install':
      return rooms.definitions.install(elsewhere(s));
    case 'note':
      return rooms.notes.put(s.name, s.value, s.version, s.ms);
    case 'clock':
      return rooms.core.submit({ kind: 'clock', aheadMs: s.aheadMs });
    case 'setPermission':
      return setBrokerPermission(rooms.core, s.permission);
    case 'recall': {
      const { topic, messageId } = held.scheduled[s.nth] ?? { topic: 'orders', messageId: '0'.repeat(32) };
      return rooms.schedule.recall(topic, messageId);
    }
    case 'prepare': {
      const request = { producerGroup: s.producerGroup, message: message('half'), checkAfterMs: 5 };
      held.prepared.push((await rooms.transactions.prepare(s.topic, request, s.key)).transactionId);
      return;
    }
    case 'end':
      return rooms.transactions.end(held.prepared[s.nth] ?? '0'.repeat(32), { resolution: s.resolution });
    case 'check': {
      const { signal } = new AbortController();
      return rooms.checkbacks.poll(s.producerGroup, { max: s.max, waitMs: 0, signal: () => signal });
    }
    case 'putProducerGroup': {
      const settings = { checkAfterMs: 5, checkIntervalMs: 5, maxChecks: s.maxChecks };
      return rooms.checkbacks.putGroup({ name: s.producerGroup, ...settings });
    }
    case 'deleteProducerGroup':
      return rooms.checkbacks.deleteGroup(s.producerGroup, true);
    case 'putGroup':
      return rooms.groups.put({
        ...newGroup(s.group),
        topic: s.topic,
        consumeFrom: s.consumeFrom,
        consumeTimestamp: t.clock.now() - HOUR,
        filter: s.sql ? { type: 'SQL92', expression: `TAGS = '${s.tag}'` } : { type: 'TAG', expression: s.tag },
        mode: s.group === 'radio' ? 'BROADCASTING' : 'CLUSTERING',
        ordered: s.group === 'lent' && s.ordered,
        allowMultipleTopics: s.several,
        maxAttempts: s.maxAttempts,
      });
    case 'deleteGroup':
      return rooms.groups.delete(s.group, true);
    case 'commit': {
      const { topicName } = rooms.groups.get(s.group).record;
      const offsets = s.offsets.map((at) => ({ ...at, topic: topicName, broker: NAME }));
      return rooms.positions.commit(s.group, {
        consumerId: undefined,
        cursor: undefined,
        generation: undefined,
        offsets,
        force: s.force,
      });
    }
    case 'reset':
      return rooms.positions.reset(s.group, s.target, undefined, false, s.dropRetries);
    case 'trim': {
      const { journalHead } = t.state.marks;
      return rooms.retention.trim(journalHead + Math.floor((t.journal.end + 1 - journalHead) * s.part), {
        reason: 'age',
      });
    }
    case 'pass':
      return t.clock.jumpTo(t.clock.now() + s.ms);
    case 'flush':
      return t.clock.advance(100);
  }
}

/** What another broker has decided. */
function elsewhere({ what, name, id, version, deleted }: Extract<Step, { do: 'install' }>): Definition {
  const times = { createdAt: 1, updatedAt: version };
  if (what === 'PRODUCER_GROUP')
    return producerGroupDefinition({ name: 'shops', ...CHECK_DEFAULTS, version, ...times });
  const creation = { name: (what === 'TOPIC' ? TOPICS : GROUPS)[name]!, id, version };
  if (deleted) return deletionOf(what, { ...creation, deletedAt: version });
  const filter = { type: 'TAG', expression: '*' } as const;
  if (what === 'GROUP') {
    const subscriptions = [...new Set(['orders', TOPICS[name]!])].map((topicName) => ({ topicName, filter }));
    const { topic: _, ...rest } = newGroup(creation.name);
    const record = { ...rest, ...creation, ...times, topicName: 'orders', subscriptions, startedAt: 1 };
    return { kind: what, ...creation, record: { ...record, consumeFrom: 'LATEST', allowMultipleTopics: true } };
  }
  let partitions: Topic['partitions'] = [];
  for (let queues = 1; queues <= version; queues++) partitions = growPartitions(partitions, ['broker-b', NAME], queues);
  const record = { ...newTopic(creation.name), ...creation, ...times, partitions, tagsVersion: version };
  const tags = [{ tag: 'a', version, ...times }];
  return { kind: what, ...creation, record: { ...record, readQueues: version, writeQueues: 1, type: 'MIXED' }, tags };
}

/** Runs the steps in twos, so that turns hold more than one command. */
async function live(t: Bench, steps: Step[]): Promise<void> {
  const held = new Held();
  const flushes = { left: 8 }; // the janitor looks every second: it must not take the journal's beginning away
  const allowed = steps.filter((s) => s.do !== 'flush' || flushes.left-- > 0);
  for (let i = 0; i < allowed.length; i += 2) {
    await Promise.all(
      allowed.slice(i, i + 2).map((s) =>
        act(t, s, held).catch((error: unknown) => {
          if (!(error instanceof GantryError)) throw error;
        }),
      ),
    );
  }
}

/** Nothing is under way any more: neither what was asked for nor what follows from it by itself. */
async function quiet(t: Bench): Promise<void> {
  for (let calm = 0, end = 0; calm < 10; calm++) {
    await turn();
    if (t.journal.end !== end || t.rooms.pendingBytes > 0) calm = 0;
    ({ end } = t.journal);
  }
}

/** Kinds of the commands that a journal holds. */
async function kindsOf(journal: Journal): Promise<number[]> {
  const kinds: number[] = [];
  for (let from = journal.head; from <= journal.end;) {
    const commands = await journal.scanCommands(from, { maxRecords: 4096, maxBytes: 8 << 20 });
    kinds.push(...commands.map(({ records }) => recordKind(records[0]!)));
    from += commands.length;
  }
  return kinds;
}

const freshState = () => new BrokerState(new Tail(1 << 20));

async function flushed(state: BrokerState, tables: Tables, t: Bench): Promise<void> {
  const fatal: unknown[] = [];
  await new Flusher({ clock: t.clock, state, tables, onFatal: (error) => fatal.push(error) }).flush();
  expect(fatal).toEqual([]);
}

/** The rows of all families that are decided by commands alone; index segments are cut by the flushes. */
async function rowsOf(tables: Tables): Promise<string[]> {
  const rows: string[] = [];
  for (const letter of [...'mtxGgoDSQikdONLAbPTKfcWVwhHYp']) {
    const found = await tables.scan({
      gte: Buffer.from(letter),
      lt: Buffer.from([letter.charCodeAt(0) + 1]),
      limit: 100_000,
    });
    rows.push(...found.map(({ key, value }) => `${letter} ${key.toString('hex')} ${value.toString('hex')}`));
  }
  return rows;
}

/** One in which everything happens. */
const EVERYTHING_ONCE: Step[] = [
  { do: 'putTag', topic: 'orders', tag: 'a' },
  { do: 'putTag', topic: 'orders', tag: 'b' },
  { do: 'send', topic: 'orders', tags: ['a', 'b', undefined, 'a', 'b', 'a'], fifo: false, key: 'k1' },
  { do: 'deleteTag', topic: 'orders', tag: 'b' },
  ...(['billing', 'lent', 'radio'] as const).map((name): Step => {
    const rest = {
      consumeFrom: 'EARLIEST',
      tag: '*',
      sql: false,
      ordered: false,
      several: true,
      maxAttempts: 0,
    } as const;
    return { do: 'putGroup', group: name, topic: 'orders', ...rest };
  }),
  { do: 'updateTopic', topic: 'orders', read: 5, write: 5, word: true },
  { do: 'flush' },
  { do: 'join', group: 'billing', consumer: 'c1', topic: 'orders' },
  { do: 'join', group: 'radio', consumer: 'c1', topic: 'orders' },
  { do: 'poll', group: 'radio', consumer: 'c1', max: 8, commits: false },
  { do: 'poll', group: 'radio', consumer: 'c1', max: 8, commits: true },
  { do: 'poll', group: 'billing', consumer: 'c1', max: 3, commits: false },
  { do: 'commit', group: 'billing', offsets: [{ queueId: 4, nextOffset: 0 }], force: true },
  { do: 'join', group: 'billing', consumer: 'c2', topic: 'orders' },
  { do: 'sendBack', count: 3, delayMs: 0, commits: true, key: 'k1' },
  { do: 'receive', group: 'lent', max: 4, attemptId: 't1', lost: false },
  { do: 'flush' },
  { do: 'extend', count: 1, delayMs: 0 },
  { do: 'ack', count: 1, delayMs: 0 },
  { do: 'nack', count: 2, delayMs: 0 },
  { do: 'flush' },
  { do: 'dropDeadLetters', group: 'lent', count: 1 },
  { do: 'pass', ms: 1000 },
  { do: 'redrive', group: 'lent', topic: undefined, key: 'k1' },
  { do: 'flush' },
  { do: 'putProducerGroup', producerGroup: 'banks', maxChecks: 1 },
  { do: 'deleteProducerGroup', producerGroup: 'banks' },
  { do: 'flush' },
  { do: 'putProducerGroup', producerGroup: 'banks', maxChecks: 1 },
  { do: 'note', name: 'one', value: 'here', version: 1, ms: 500 },
  { do: 'setPermission', permission: 'R' },
  { do: 'setPermission', permission: 'RW' },
  { do: 'clock', aheadMs: 360_000_000 },
  { do: 'schedule', topic: 'orders', count: 3, ms: 500 },
  { do: 'prepare', topic: 'orders', producerGroup: 'banks', key: 'k1' },
  { do: 'prepare', topic: 'orders', producerGroup: 'banks', key: undefined },
  { do: 'prepare', topic: 'orders', producerGroup: 'shops', key: undefined },
  { do: 'recall', nth: 2 },
  { do: 'pass', ms: 600 },
  { do: 'check', producerGroup: 'banks', max: 1 },
  { do: 'flush' },
  { do: 'end', nth: 1, resolution: 'COMMIT' },
  { do: 'end', nth: 2, resolution: 'ROLLBACK' },
  { do: 'receive', group: 'lent', max: 2, attemptId: 't2', lost: true },
  { do: 'leave', group: 'billing', consumer: 'c1' },
  { do: 'reset', group: 'billing', target: 'EARLIEST', dropRetries: true },
  { do: 'pass', ms: 1000 },
  { do: 'forget', consumer: 'c1' },
  { do: 'trim', part: 0.3 },
  { do: 'deleteGroup', group: 'radio' },
  { do: 'install', what: 'GROUP', name: 2, id: 'ffff', version: 1, deleted: true },
  { do: 'deleteTopic', topic: 'mail', force: true },
];

/** Another one, at whose end nothing is left. */
const LEAVING: Step[] = [
  ...EVERYTHING_ONCE,
  { do: 'leaveTopic', topic: 'orders', force: true },
  { do: 'leaveCluster' },
];

test('any history: live, replayed whole, replayed behind lagging tables, and loaded are the same', async () => {
  const kinds = new Set<number>();
  await fc.assert(
    fc.asyncProperty(fc.array<Step>(step, { minLength: 20, maxLength: 120, size: 'max' }), async (steps) => {
      const t = await setup({ seed: 7 });
      for (const name of TOPICS.slice(0, 2)) await t.topic(name, { type: 'MIXED' });
      await t.group('billing', { retryDelaysMs: [0], maxAttempts: 1 });
      await t.group('lent', { retryDelaysMs: [0], maxAttempts: steps.length % 2 });
      await t.group('radio', { mode: 'BROADCASTING' });
      await t.send('orders', 'a', 'b', 'c');
      await live(t, steps);
      await quiet(t);
      for (const kind of await kindsOf(t.journal)) kinds.add(kind);
      const expected = await contentOf(t.state, t.folder.tables);
      expect(t.journal.head).toBe(1);

      // The power fails: the tables are behind.
      await t.kill();
      t.memory.disk.powerCut();
      const folder = await t.memory.open();
      const behind = freshState();
      await loadTables(behind, folder.tables, NAME);
      await replay(behind, folder.journal, () => true);
      expect(await contentOf(behind, folder.tables)).toEqual(expected);

      // Another member has nothing but the journal.
      const other = await openMemoryFolder().open();
      const whole = freshState();
      await replay(whole, folder.journal, () => true);
      expect(await contentOf(whole, other.tables)).toEqual(expected);

      // Both write their tables: the same rows, from which a third one starts.
      await flushed(behind, folder.tables, t);
      await flushed(whole, other.tables, t);
      expect(await rowsOf(other.tables)).toEqual(await rowsOf(folder.tables));
      const loaded = freshState();
      await loadTables(loaded, folder.tables, NAME);
      expect(await contentOf(loaded, folder.tables)).toEqual(expected);
      await folder.close();
      await other.close();
    }),
    { numRuns: 80, examples: [[EVERYTHING_ONCE], [LEAVING]] },
  );
  // A command that no history holds is one whose rule nothing here has compared.
  expect([...kinds].sort((a, b) => a - b)).toEqual(Object.values(KIND));
});

test('many senders, consumers and operators at once: every message that was answered is there once, in the order of its queue', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat({ max: 9 }), { minLength: 30, maxLength: 120, size: 'max' }),
      fc.nat(),
      async (plan, seed) => {
        const t = await setup({ seed, options: { tailBytes: 20_000 } });
        await t.topic('orders', { readQueues: 3, writeQueues: 3 });
        const answered: { queueId: number; queueOffset: number; body: string }[] = [];
        const received = new Map<string, string>();
        await t.join('billing', 'c0');
        let cursor = '';
        const work: Promise<unknown>[] = [];
        for (const [i, kind] of plan.entries()) {
          if (kind < 5) {
            const names = Array.from({ length: kind + 1 }, (_, j) => `m${i}-${j}-${'x'.repeat(100)}`);
            work.push(
              t
                .send('orders', ...names)
                .then((results) => results.forEach((at, j) => answered.push({ ...at, body: names[j]! }))),
            );
          } else if (kind < 8) {
            const answer = await t.poll('billing', 'c0', { cursor, autoCommit: true, max: 7 });
            for (const delivery of answer.messages) {
              const place = `${delivery.queue.queueId}/${delivery.queueOffset}`;
              expect(received.has(place)).toBe(false);
              received.set(place, bodies([delivery])[0]!);
            }
            cursor = answer.cursor;
          } else if (kind === 8) await t.clock.advance(100);
          else {
            await Promise.all(work.splice(0));
            await t.crash();
            await t.join('billing', 'c0');
            if (i % 2 === 0) continue; // with its cursor it goes on where it was
            // Without it what was not committed comes again, and only that.
            for (const { queue, committed } of t.rooms.positions.offsets('billing').queues) {
              for (const place of received.keys()) {
                const [queueId, offset] = place.split('/').map(Number) as [number, number];
                if (queueId === queue.queueId && offset >= committed) received.delete(place);
              }
            }
            cursor = '';
          }
        }
        await Promise.all(work);
        for (let lag = 1; lag > 0;) {
          const answer = await t.poll('billing', 'c0', { cursor, max: 50 });
          for (const delivery of answer.messages)
            received.set(`${delivery.queue.queueId}/${delivery.queueOffset}`, bodies([delivery])[0]!);
          ({ cursor, lag } = answer);
        }
        expect(received.size).toBe(answered.length);
        for (const { queueId, queueOffset, body } of answered)
          expect(received.get(`${queueId}/${queueOffset}`)).toBe(body);
        await t.stop();
      },
    ),
    { numRuns: 25 },
  );
});
