/** Single messages by either id, stateless reads of a queue, and places in it by time. */
import { positionOf } from '../../storage/keys';
import { tagFilter } from '../../src/broker/filter';
import type { ReadQueueOptions } from '../../src/broker/lookup';
import { offsetMessageId } from '../../src/broker/offsetMessageId';
import { bodies, codeOf, HOUR, NAME, setup, stopBrokers, type Given, type TestBroker } from '../support/broker';
import { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const to = (queueId: number, body: string, rest: object = {}): Given => ({
  body,
  queue: { broker: NAME, queueId },
  ...rest,
});
const find = async (t: Bench, id: string, topic = 'orders') => {
  const found = await t.rooms.lookup.message(topic, id);
  return [bodies([found])[0], found.queue.queueId, found.queueOffset];
};

describe('a message is found by both its ids', () => {
  async function sent() {
    const t = await setup();
    await t.topic();
    const first = await t.send('orders', to(2, 'a'), to(2, 'b'), to(1, 'c'));
    await t.send('orders', to(2, 'd'));
    const all = async () => {
      for (const [i, expected] of [
        ['a', 2, 0],
        ['b', 2, 1],
        ['c', 1, 0],
      ].entries()) {
        expect(await find(t, first[i]!.messageId)).toEqual(expected);
        expect(await find(t, first[i]!.messageId.toLowerCase())).toEqual(expected);
        expect(await find(t, first[i]!.offsetMessageId)).toEqual(expected);
      }
    };
    return { t, first, all };
  }

  test('as soon as its send is answered', async () => {
    const { all } = await sent();
    await all();
  });

  test('while it is being flushed, and afterwards', async () => {
    const { t, all } = await sent();
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    await all();
    hold.release();
    await flushing;
    await all();
  });

  test('after a restart and after a crash', async () => {
    const { t, all } = await sent();
    await t.restart();
    await all();
    await t.crash();
    await all();
  });

  test('a day later, over the turn of the month', async () => {
    const clock = new ManualClock(Date.UTC(2026, 0, 31, 12));
    const t = await setup({ clock });
    await t.topic();
    const [sent] = await t.send('orders', 'january');
    await t.skip(24 * HOUR);
    await t.restart();
    expect((await find(t, sent!.messageId))[0]).toBe('january');
    await t.skip(24 * HOUR);
    expect((await find(t, sent!.messageId))[0]).toBe('january');
  });
});

describe('a message is not found', () => {
  test.each(['', 'x', 'é', 'A'.repeat(31), 'A'.repeat(33), 'A'.repeat(32), 'Z'.repeat(32), '0'.repeat(32)])(
    'by %j',
    async (id) => {
      const t = await setup();
      await t.topic();
      await t.send('orders', 'a');
      expect(await codeOf(t.rooms.lookup.message('orders', id))).toBe('MESSAGE_NOT_FOUND');
    },
  );

  test('in another topic, or in one that does not exist or may not be read', async () => {
    const t = await setup();
    await t.topic();
    await t.topic('mail');
    const [sent] = await t.send('orders', 'a');
    for (const id of [sent!.messageId, sent!.offsetMessageId]) {
      expect(await codeOf(find(t, id, 'mail'))).toBe('MESSAGE_NOT_FOUND');
      expect(await codeOf(find(t, id, 'none'))).toBe('TOPIC_NOT_FOUND');
    }
    await t.rooms.topics.update('orders', { permission: 'W' });
    expect(await codeOf(find(t, sent!.messageId))).toBe('NO_PERMISSION');
  });

  test('at a position of something else: another command, beyond a batch, beyond the end', async () => {
    const t = await setup();
    await t.topic();
    await t.send('orders', 'a', 'b');
    const { idTag } = t.rooms.core;
    const end = t.journal.end;
    for (const position of [
      positionOf(1, 0),
      positionOf(end, 2),
      positionOf(end, 1023),
      positionOf(end + 1, 0),
      positionOf(2 ** 43 - 1, 0),
      0,
    ]) {
      expect(await codeOf(find(t, offsetMessageId(idTag, position)))).toBe('MESSAGE_NOT_FOUND');
    }
    expect((await find(t, offsetMessageId(idTag, positionOf(end, 1))))[0]).toBe('b');
  });

  test('once it is trimmed, before and after its bytes go', async () => {
    const t = await setup();
    await t.topic();
    const [old] = await t.send('orders', to(0, 'old'));
    await t.send('orders', to(0, 'new'));
    await t.rooms.retention.trim(t.journal.end, { reason: 'age' });
    const gone = async () => {
      expect(await codeOf(find(t, old!.messageId))).toBe('MESSAGE_NOT_FOUND');
      expect(await codeOf(find(t, old!.offsetMessageId))).toBe('MESSAGE_NOT_FOUND');
    };
    await gone();
    await t.clock.advance(3000);
    await gone();
    await t.restart();
    await gone();
  });

  test('after its topic was deleted and created again', async () => {
    const t = await setup();
    await t.topic();
    const [sent] = await t.send('orders', 'a');
    await t.rooms.topics.delete('orders', false);
    await t.topic();
    expect(await codeOf(find(t, sent!.messageId))).toBe('MESSAGE_NOT_FOUND');
    expect(await codeOf(find(t, sent!.offsetMessageId))).toBe('MESSAGE_NOT_FOUND');
  });

  test('after a few reads: hours before the broker existed are not asked', async () => {
    const t = await setup();
    await t.topic();
    await t.restart();
    await t.clock.advance(10);
    const before = t.disk.reads();
    expect(await codeOf(find(t, 'AB'.repeat(16)))).toBe('MESSAGE_NOT_FOUND');
    expect(t.disk.reads() - before).toBeLessThan(5);
  });
});

describe('an id of the sender’s own', () => {
  const own = 'AB'.repeat(16);

  test('in two topics is found in each', async () => {
    const t = await setup();
    await t.topic();
    await t.topic('mail');
    await t.send('orders', { body: 'order', messageId: own });
    await t.skip(2 * HOUR);
    await t.send('mail', { body: 'mail', messageId: own });
    const each = async () =>
      expect([(await find(t, own))[0], (await find(t, own, 'mail'))[0]]).toEqual(['order', 'mail']);
    await each();
    await t.clock.advance(1000);
    await each();
    await t.restart();
    await each();
  });

  test('sent twice is found by each of its two places', async () => {
    const t = await setup();
    await t.topic();
    const [first] = await t.send('orders', { body: 'first', messageId: own });
    await t.skip(2 * HOUR);
    const [second] = await t.send('orders', { body: 'second', messageId: own });
    await t.restart();
    expect((await find(t, first!.offsetMessageId))[0]).toBe('first');
    expect((await find(t, second!.offsetMessageId))[0]).toBe('second');
  });
});

describe('reading a queue without a group', () => {
  const read = (t: Bench, options: Partial<ReadQueueOptions> & { queueId?: number; broker?: string } = {}) => {
    const { queueId = 0, broker = NAME, ...rest } = options;
    const { signal } = new AbortController();
    return t.rooms.lookup.readQueue('orders', broker, queueId, {
      offset: 0,
      max: 32,
      maxBytes: 1 << 20,
      waitMs: 0,
      filter: undefined,
      signal: () => signal,
      ...rest,
    });
  };

  async function filled() {
    const t = await setup();
    await t.topic();
    for (let i = 0; i < 10; i++) await t.send('orders', to(0, `m${i}`, i % 3 === 0 ? { tag: 'third' } : {}));
    return t;
  }

  test('answers from an offset on, with where to go on and the bounds', async () => {
    const t = await filled();
    const page = await read(t, { offset: 3, max: 4 });
    expect(bodies(page.messages)).toEqual(['m3', 'm4', 'm5', 'm6']);
    expect(page).toMatchObject({ nextOffset: 7, minOffset: 0, maxOffset: 10 });
  });

  test('through a filter goes on behind what it left out', async () => {
    const t = await filled();
    const filter = tagFilter(['third']);
    const page = await read(t, { max: 2, filter });
    expect([bodies(page.messages), page.nextOffset]).toEqual([['m0', 'm3'], 6]);
    expect((await read(t, { offset: 6, filter })).nextOffset).toBe(10);
  });

  test('outside the bounds says where to go on', async () => {
    const t = await filled();
    await expect(read(t, { offset: 11 })).rejects.toMatchObject({
      code: 'OFFSET_MOVED',
      extras: { members: { minOffset: 0, maxOffset: 10, nextOffset: 10 } },
    });
    await t.rooms.retention.trim(t.journal.end - 3, { reason: 'age' });
    await expect(read(t, { offset: 2 })).rejects.toMatchObject({
      code: 'OFFSET_MOVED',
      extras: { members: { nextOffset: 6 } },
    });
    expect(bodies((await read(t, { offset: 6 })).messages)).toEqual(['m6', 'm7', 'm8', 'm9']);
  });

  test('at the end is empty at once, or waits for a message', async () => {
    const t = await filled();
    expect(await read(t, { offset: 10 })).toMatchObject({ messages: [], nextOffset: 10 });
    const waiting = read(t, { offset: 10, waitMs: 30_000 });
    await t.parked(1);
    await t.send('orders', to(1, 'elsewhere'));
    expect(t.broker.lot.parked).toBe(1);
    await t.send('orders', to(0, 'x'));
    expect(bodies((await waiting).messages)).toEqual(['x']);
  });

  test('waits on for what its filter takes', async () => {
    const t = await filled();
    const waiting = read(t, { offset: 10, waitMs: 30_000, filter: tagFilter(['third']) });
    await t.parked(1);
    await t.send('orders', to(0, 'other'));
    await t.parked(1);
    await t.send('orders', to(0, 'wanted', { tag: 'third' }));
    const page = await waiting;
    expect([bodies(page.messages), page.nextOffset]).toEqual([['wanted'], 12]);
  });

  test('ends its wait when the time is over, the client gone, the broker stopping', async () => {
    const t = await filled();
    const late = read(t, { offset: 10, waitMs: 1_000 });
    await t.parked(1);
    await t.clock.advance(1_000);
    expect((await late).messages).toEqual([]);
    const abort = new AbortController();
    const gone = read(t, { offset: 10, waitMs: 1_000, signal: () => abort.signal });
    await t.parked(1);
    abort.abort();
    expect((await gone).messages).toEqual([]);
    const stopped = read(t, { offset: 10, waitMs: 1_000 });
    await t.parked(1);
    await t.broker.stop();
    expect((await stopped).messages).toEqual([]);
  });

  test('misses nothing that comes while it reads', async () => {
    const t = await filled();
    for (let ticks = 0; ticks < 30; ticks++) {
      const offset = t.state.topicsByName.get('orders')!.queues[0]!.max;
      const sending = t.send('orders', to(0, `late${ticks}`));
      for (let i = 0; i < ticks; i++) await Promise.resolve();
      expect(bodies((await read(t, { offset, waitMs: 30_000 })).messages)).toEqual([`late${ticks}`]);
      await sending;
    }
  });

  test('nor what comes while it reads from disk what its filter leaves out', async () => {
    const t = await filled();
    await t.restart();
    await t.clock.advance(10); // the first look of retention is over
    const hold = t.disk.hold('tables', 'read');
    const reading = read(t, { offset: 7, max: 10, filter: tagFilter(['wanted']), waitMs: 30_000 });
    await hold.reached;
    await t.send('orders', to(0, 'x', { tag: 'wanted' }));
    hold.release();
    expect(bodies((await reading).messages)).toEqual(['x']);
  });

  test('of a topic that is deleted meanwhile says so', async () => {
    const t = await filled();
    const waiting = codeOf(read(t, { offset: 10, waitMs: 30_000 }));
    await t.parked(1);
    await t.rooms.topics.delete('orders', false);
    expect(await waiting).toBe('TOPIC_NOT_FOUND');
  });

  test('is refused for what does not exist or may not be read', async () => {
    const t = await filled();
    expect(await codeOf(read(t, { queueId: 4 }))).toBe('QUEUE_NOT_FOUND');
    expect(await codeOf(read(t, { broker: 'broker-b' }))).toBe('QUEUE_NOT_FOUND');
    await t.rooms.topics.update('orders', { permission: 'NONE' });
    expect(await codeOf(read(t))).toBe('NO_PERMISSION');
  });
});

describe('searching an offset', () => {
  test('by word and by time', async () => {
    const t = await setup();
    await t.topic();
    const times: number[] = [];
    for (let i = 0; i < 2000; i++) {
      times.push(t.clock.now());
      await t.send('orders', to(0, 'x'), to(0, 'y'));
      t.clock.jumpTo(t.clock.now() + 10);
      if (i % 500 === 0) await t.clock.advance(100);
    }
    const search = (at: string | number) => t.rooms.lookup.searchOffset('orders', NAME, 0, String(at));
    const check = async () => {
      expect([await search('EARLIEST'), await search('LATEST')]).toEqual([0, 4000]);
      expect(await search(times[0]! - 1)).toBe(0);
      for (const i of [0, 1, 499, 500, 501, 1999]) {
        expect(await search(times[i]!)).toBe(2 * i);
        expect(await search(times[i]! + 1)).toBe(2 * i + 2);
      }
      expect(await search(9_999_999_999_999)).toBe(4000);
    };
    await check();
    await t.restart();
    await check();
  });

  test('in an empty queue is 0', async () => {
    const t = await setup();
    await t.topic();
    for (const at of ['EARLIEST', 'LATEST', '0', '9999999999999'])
      expect(await t.rooms.lookup.searchOffset('orders', NAME, 3, at)).toBe(0);
    expect(await codeOf(t.rooms.lookup.searchOffset('orders', NAME, 4, '0'))).toBe('QUEUE_NOT_FOUND');
    expect(await codeOf(t.rooms.lookup.searchOffset('none', NAME, 0, '0'))).toBe('TOPIC_NOT_FOUND');
  });
});
