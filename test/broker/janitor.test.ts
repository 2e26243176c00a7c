/** What is trimmed or deleted goes from the disk, too: all of it, and nothing else. */
import { journalKeys, positionOf, readNumber } from '../../storage/keys';
import { HOUR, NAME, setup, stopBrokers, type Given, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const to = (queueId: number, body = 'x'): Given => ({ body, queue: { broker: NAME, queueId } });
const queueOf = (t: Bench, queueId: number, topic = 'orders') => t.state.topicsByName.get(topic)!.queues[queueId]!;

/** One message to each of two queues, flushed, so often: as many index rows in each. */
async function rows(count: number): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  for (let i = 0; i < count; i++) {
    await t.send('orders', to(0, `a${i}`), to(1, `b${i}`));
    await t.clock.advance(100);
  }
  return t;
}

/** First offsets of the index rows of a queue. */
async function segments(t: Bench, queueId: number, topic = queueOf(t, queueId).topic): Promise<number[]> {
  const keys = (await t.disk.keys('tables', 'q')).map((key) => Buffer.from(key, 'hex'));
  return keys
    .filter((key) => key.readUIntBE(1, 6) === topic && key.readUInt16BE(7) === queueId)
    .map((key) => readNumber(key, 9));
}

const trimTo = (t: Bench, queueId: number, nextOffset: number, head = 1) =>
  t.rooms.core.submit({
    kind: 'trim',
    head,
    minima: [{ topic: queueOf(t, queueId).topic, queueId, nextOffset }],
    idHour: 0,
    answerBucket: 0,
    tombstones: [],
  });

const minimaOf = (t: Bench) => t.state.topicsByName.get('orders')!.queues.map(({ min, max }) => [min, max]);

/** Long enough for a flush and the janitor. */
const clean = (t: Bench) => t.clock.advance(3000);

describe('index rows', () => {
  test('below a queue’s minimum go, those of other queues stay', async () => {
    const t = await rows(10);
    await trimTo(t, 0, 6);
    await clean(t);
    expect(await segments(t, 0)).toEqual([6, 7, 8, 9]);
    expect(await segments(t, 1)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await t.readAll('orders', 0)).toEqual(['a6', 'a7', 'a8', 'a9']);
  });

  test('that hold the minimum stay whole, and go when it has passed them', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    for (let row = 0; row < 4; row++) {
      await t.send('orders', ...Array.from({ length: 10 }, (_, i) => to(0, `m${row * 10 + i}`)));
      await t.clock.advance(100);
    }
    for (const [min, left] of [
      [5, [0, 10, 20, 30]],
      [9, [0, 10, 20, 30]],
      [14, [10, 20, 30]],
      [20, [20, 30]],
      [37, [30]],
    ] as const) {
      await trimTo(t, 0, min);
      await clean(t);
      expect([min, await segments(t, 0)]).toEqual([min, left]);
      expect((await t.readAll('orders', 0))[0]).toBe(`m${min}`);
    }
  });

  test('of a queue that is wholly trimmed: the last one stays, and tells the end after a restart', async () => {
    const t = await rows(5);
    await trimTo(t, 0, 5);
    await clean(t);
    expect(await segments(t, 0)).toEqual([4]);
    await t.restart();
    expect([queueOf(t, 0).min, queueOf(t, 0).max]).toEqual([5, 5]);
    expect((await t.send('orders', to(0)))[0]!.queueOffset).toBe(5);
  });

  test('by the thousands go in bounded steps, in one go', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    for (let i = 0; i < 60; i++) {
      await t.send('orders', ...Array.from({ length: 50 }, () => to(0)));
      await t.clock.advance(100);
    }
    await trimTo(t, 0, 3000);
    const before = t.disk.count('tables', 'write');
    await clean(t);
    expect(await segments(t, 0)).toHaveLength(1);
    expect(t.disk.count('tables', 'write')).toBeGreaterThan(before);
  });
});

describe('the journal', () => {
  test('gives its bodies back below the head', async () => {
    const t = await rows(10);
    const keep = t.journal.end - 3;
    await t.rooms.retention.trim(keep, { reason: 'age' });
    await clean(t);
    expect(t.journal.head).toBe(keep);
    const keys = await t.disk.keys('journal', 'j');
    expect(keys[0]).toBe(journalKeys.record(positionOf(keep, 0)).toString('hex'));
  });

  test('gives back nothing that the tables would need after a crash', async () => {
    const t = await rows(3);
    const hold = t.disk.hold('tables', 'write');
    await t.send('orders', to(0, 'late'));
    const flushed = t.folder.tables.applied;
    await t.rooms.retention.trim(t.journal.end + 1, { reason: 'age' });
    await clean(t);
    expect(t.journal.head).toBeLessThanOrEqual(flushed + 1);
    hold.release();
    await t.crash();
    expect([queueOf(t, 0).min, queueOf(t, 0).max]).toEqual([4, 4]);
  });
});

describe('message ids and remembered answers', () => {
  test('of hours and buckets that are over go, younger ones stay', async () => {
    const t = await setup();
    await t.topic();
    const [old] = await t.send('orders', 'old');
    await t.rooms.sender.send('orders', [{ body: Buffer.from('k'), text: true }], 'k1');
    await t.skip(60 * HOUR);
    const [young] = await t.send('orders', 'young');
    await t.rooms.sender.send('orders', [{ body: Buffer.from('k'), text: true }], 'k2');
    await t.skip(13 * HOUR);
    await t.rooms.retention.runOnce();
    await clean(t);
    const runs = await t.disk.keys('tables', 'i');
    expect(runs.some((key) => key.includes(old!.messageId.toLowerCase()))).toBe(false);
    expect(runs.some((key) => key.includes(young!.messageId.toLowerCase()))).toBe(true);
    expect(await t.disk.keys('tables', 'd')).toEqual([]);
    expect((await t.rooms.lookup.message('orders', young!.messageId)).queueOffset).toBeGreaterThanOrEqual(0);
  });
});

test('when everything is over no message id is left', async () => {
  const t = await rows(2);
  for (let look = 0; look < 2; look++) {
    await t.skip(200 * HOUR);
    await t.rooms.retention.runOnce();
    await clean(t);
  }
  expect(minimaOf(t)).toEqual([
    [2, 2],
    [2, 2],
  ]);
  expect(await t.disk.keys('tables', 'i')).toEqual([]);
});

test('low marks never go back, whichever trim is applied last', async () => {
  const t = await rows(10);
  const trim = (nextOffset: number, rest: { head: number; idHour: number; answerBucket: number }) =>
    t.rooms.core.submit({
      kind: 'trim',
      minima: [{ topic: queueOf(t, 0).topic, queueId: 0, nextOffset }],
      tombstones: [],
      ...rest,
    });
  await trim(6, { head: 5, idHour: 600_000, answerBucket: 9_000_000 });
  await trim(3, { head: 2, idHour: 500_000, answerBucket: 8_000_000 });
  expect(queueOf(t, 0).min).toBe(6);
  expect(t.state.marks).toMatchObject({ journalHead: 5, idHour: 600_000, answerBucket: 9_000_000 });
});

describe('a deleted topic', () => {
  test('leaves no index row, and takes none of its neighbours', async () => {
    const t = await rows(5);
    await t.topic('mail', { readQueues: 1, writeQueues: 1 });
    await t.send('mail', 'x');
    await t.clock.advance(100);
    const { topic } = queueOf(t, 0);
    await t.rooms.topics.delete('orders', false);
    await clean(t);
    expect(await segments(t, 0, topic)).toEqual([]);
    expect(await segments(t, 1, topic)).toEqual([]);
    expect(await t.readAll('mail', 0)).toEqual(['x']);
    expect(t.state.deletedTopics.size).toBe(0);
  });

  test('and created again at once, then a crash: the old rows go all the same', async () => {
    const t = await rows(5);
    const { topic } = queueOf(t, 0);
    await t.rooms.topics.delete('orders', false);
    await t.topic('orders', { readQueues: 2, writeQueues: 2 });
    await t.send('orders', to(0, 'fresh'));
    await t.clock.advance(100);
    await t.crash();
    await clean(t);
    expect(await segments(t, 0, topic)).toEqual([]);
    expect(await t.readAll('orders', 0)).toEqual(['fresh']);
  });

  test('while its rows are being written: they go afterwards', async () => {
    const t = await rows(1);
    const { topic } = queueOf(t, 0);
    await t.send('orders', to(0));
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    await t.rooms.topics.delete('orders', false);
    hold.release();
    await flushing;
    await clean(t);
    expect(await segments(t, 0, topic)).toEqual([]);
  });

  test('is remembered by name for 30 days', async () => {
    const t = await rows(1);
    await t.rooms.topics.delete('orders', false);
    await t.skip(30 * 24 * HOUR - 60_000);
    await t.rooms.retention.runOnce();
    expect([...t.state.tombstones.TOPIC.keys()]).toEqual(['orders']);
    await t.skip(120_000);
    await t.rooms.retention.runOnce();
    expect(t.state.tombstones.TOPIC.size).toBe(0);
    await t.restart();
    expect(t.state.tombstones.TOPIC.size).toBe(0);
  });
});

test('nothing to do costs nothing', async () => {
  const t = await rows(3);
  await clean(t);
  const before = t.disk.count('tables', 'write');
  await t.clock.advance(10_000);
  expect(t.disk.count('tables', 'write')).toBe(before);
});
