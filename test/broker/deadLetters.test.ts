/** Dead letters are kept, shown and sent again, each of them once. */
import { Janitor } from '../../src/broker/janitor';
import { decodeMessage } from '../../src/broker/message';
import type { RedriveRequest, RedriveResult } from '../../src/broker/deadLetters';
import {
  bodies,
  codeOf,
  HOUR,
  NAME,
  newGroup,
  newTopic,
  setup,
  stopBrokers,
  type Given,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const RETRIES = '%RETRY%billing';
const DAY = 24 * HOUR;

async function ready(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { type: 'MIXED', readQueues: 1, writeQueues: 1 });
  await t.group('billing', { maxAttempts: 0 });
  await t.join();
  return t;
}

/** Sends messages, which the group gives up. Answers their ids. */
async function die(t: Bench, ...messages: Given[]): Promise<string[]> {
  const sent = [];
  for (let at = 0; at < messages.length; at += 1000)
    sent.push(...(await t.send('orders', ...messages.slice(at, at + 1000))));
  const failed = sent.map(({ queueOffset }) => ({
    topic: 'orders',
    broker: NAME,
    queueId: 0,
    queueOffset,
    reason: 'no',
  }));
  const { results } = await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: failed });
  expect(results.every(({ outcome }) => outcome === 'DEAD_LETTER')).toBe(true);
  return sent.map(({ messageId }) => messageId);
}

const texts = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `m${from + i}`);

/** All that is dead, page by page. */
async function dead(t: Bench, limit = 1000): Promise<string[]> {
  const all: string[] = [];
  for (let after = -1; ;) {
    const { deadLetters, more } = await t.rooms.deadLetters.list('billing', after, limit);
    expect(deadLetters.length).toBeLessThanOrEqual(limit);
    all.push(...bodies(deadLetters.map(({ delivery }) => delivery)));
    if (!more) return all;
    after = deadLetters.at(-1)!.no;
  }
}

const redrive = (t: Bench, request: Partial<RedriveRequest> = {}, key?: string) =>
  t.rooms.deadLetters.redrive('billing', { all: request.messageIds === undefined, dryRun: false, ...request }, key);

const codes = (results: RedriveResult[]) => results.map(({ error }) => error?.code);
const counts = (t: Bench) => t.state.groupsByName.get('billing')!.counts;
const flush = (t: Bench) => t.clock.advance(100);

describe('one dead letter', () => {
  const get = (t: Bench, id: string) => t.rooms.deadLetters.get('billing', id);
  const remove = (t: Bench, id: string) => t.rooms.deadLetters.delete('billing', id);

  test('is found by its id while its topic has it, and after retention has trimmed that', async () => {
    const t = await ready();
    const [one, two] = await die(t, ...texts(2));
    const look = async () => {
      expect(bodies([(await get(t, two!)).delivery])).toEqual(['m1']);
      expect(await get(t, one!.toLowerCase())).toMatchObject({ reason: 'no', no: 0 });
    };
    await look();
    await t.restart();
    await look();
    await t.skip(4 * DAY);
    await t.rooms.retention.runOnce();
    await look();
    expect(await codeOf(get(t, 'F'.repeat(32)))).toBe('MESSAGE_NOT_FOUND');
    expect(await codeOf(t.rooms.deadLetters.get('none', one!))).toBe('GROUP_NOT_FOUND');
  });

  test('is deleted once and for good, the others stay', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(3));
    await remove(t, ids[1]!);
    expect([await dead(t), counts(t).dead]).toEqual([['m0', 'm2'], 2]);
    expect(await codeOf(remove(t, ids[1]!))).toBe('MESSAGE_NOT_FOUND');
    expect(await codeOf(get(t, ids[1]!))).toBe('MESSAGE_NOT_FOUND');
    await t.crash();
    expect(await dead(t)).toEqual(['m0', 'm2']);
  });

  test('is the present one when a message died, was sent again and died again', async () => {
    const t = await ready();
    const [id] = await die(t, 'm0');
    await redrive(t);
    expect(await codeOf(get(t, id!))).toBe('MESSAGE_NOT_FOUND');
    const { results } = await t.rooms.retries.sendBack('billing', {
      consumerId: 'c1',
      messages: [{ topic: RETRIES, broker: NAME, queueId: 0, queueOffset: 0, reason: 'again' }],
    });
    expect(results).toMatchObject([{ outcome: 'DEAD_LETTER' }]);
    expect(await get(t, id!)).toMatchObject({ reason: 'again', no: 1 });
  });
});

describe('the list', () => {
  test('is empty for a group that gave nothing up, and refused for one that there is not', async () => {
    const t = await ready();
    expect(await t.rooms.deadLetters.list('billing', -1, 10)).toEqual({ deadLetters: [], more: false });
    expect(await codeOf(t.rooms.deadLetters.list('none', -1, 10))).toBe('GROUP_NOT_FOUND');
  });

  test.each([1, 2, 3, 7, 8, 1000])('pages oldest first, wherever they are stored, %i at a time', async (limit) => {
    const t = await ready();
    await die(t, ...texts(3));
    await flush(t);
    const ids = await die(t, ...texts(3, 3));
    expect(await dead(t, limit)).toEqual(texts(6));
    await redrive(t, { messageIds: [ids[0]!] });
    expect(await dead(t, limit)).toEqual(['m0', 'm1', 'm2', 'm4', 'm5']);
    await flush(t);
    await die(t, 'm6');
    expect(await dead(t, limit)).toEqual(['m0', 'm1', 'm2', 'm4', 'm5', 'm6']);
    await t.restart();
    expect(await dead(t, limit)).toEqual(['m0', 'm1', 'm2', 'm4', 'm5', 'm6']);
  });

  test('is right while rows are being flushed', async () => {
    const t = await ready();
    await die(t, ...texts(3));
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    const [gone] = await die(t, ...texts(2, 3));
    await redrive(t, { messageIds: [gone!] });
    expect(await dead(t, 2)).toEqual(['m0', 'm1', 'm2', 'm4']);
    hold.release();
    await flushing;
    expect(await dead(t, 2)).toEqual(['m0', 'm1', 'm2', 'm4']);
  });

  test('says of each when and why, what it was, and where it came from', async () => {
    const t = await ready();
    await t.clock.advance(5000);
    const [id] = await die(t, { body: 'x', tag: 'red', keys: ['k'], messageGroup: 'g' });
    const { deadLetters } = await t.rooms.deadLetters.list('billing', -1, 10);
    expect(deadLetters).toMatchObject([{ no: 0, deadTimestamp: t.clock.now(), reason: 'no' }]);
    const { queue, queueOffset, record } = deadLetters[0]!.delivery;
    expect([t.state.topics.get(queue.topic)!.record.name, queueOffset]).toEqual(['%DLQ%billing', 0]);
    expect(decodeMessage(record)).toMatchObject({
      ...{ messageId: Buffer.from(id!, 'hex'), tag: 'red', keys: ['k'], messageGroup: 'g', attempt: 1 },
      origin: { topic: 'orders', queueId: 0, queueOffset: 0 },
    });
  });

  test('brings as many at once as fit into memory', async () => {
    const t = await ready();
    for (const text of ['a', 'b', 'c', 'd']) await die(t, text.repeat(3 << 20));
    const page = await t.rooms.deadLetters.list('billing', -1, 1000);
    expect(page).toMatchObject({ deadLetters: [{ no: 0 }, { no: 1 }], more: true });
    expect((await dead(t)).map((body) => body[0])).toEqual(['a', 'b', 'c', 'd']);
    await flush(t);
    expect((await dead(t)).map((body) => body[0])).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('sent again', () => {
  test('one: to the group’s retries at once, as if for the first time, with its origin', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(3));
    const results = await redrive(t, { messageIds: [ids[1]!] });
    expect(results).toEqual({
      results: [{ messageId: ids[1], topic: RETRIES, broker: NAME, queueId: 0, queueOffset: 0 }],
      ...{ remaining: 0, replayed: false },
    });
    expect(counts(t)).toEqual({ waiting: 0, dead: 2 });
    expect(await dead(t)).toEqual(['m0', 'm2']);
    const [again] = (await t.poll()).messages.filter(
      ({ queue }) => t.state.topics.get(queue.topic)!.record.name === RETRIES,
    );
    expect(decodeMessage(again!.record)).toMatchObject({
      ...{ messageId: Buffer.from(ids[1]!, 'hex'), attempt: 1, reason: undefined },
      origin: { topic: 'orders', queueId: 0, queueOffset: 1 },
    });
    await t.crash();
    expect(counts(t)).toEqual({ waiting: 0, dead: 2 });
    expect(await t.readAll(RETRIES, 0)).toEqual(['m1']);
  });

  test('some, by ids in either case and any order; unknown ones are told, each by itself', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(4));
    const none = '0'.repeat(32);
    await redrive(t, { messageIds: [ids[0]!] });
    const { results, remaining } = await redrive(t, { messageIds: [ids[3]!.toLowerCase(), none, ids[2]!, ids[0]!] });
    expect(codes(results)).toEqual([undefined, undefined, 'MESSAGE_NOT_FOUND', 'MESSAGE_NOT_FOUND']);
    expect(results.map(({ messageId }) => messageId)).toEqual([ids[2], ids[3], none, ids[0]]);
    expect(remaining).toBe(0);
    expect(await dead(t)).toEqual(['m1']);
    expect(await t.readAll(RETRIES, 0)).toEqual(['m0', 'm2', 'm3']);
  });

  test('all, wherever they are stored', async () => {
    const t = await ready();
    await die(t, ...texts(3));
    await flush(t);
    await die(t, ...texts(3, 3));
    expect(await redrive(t)).toMatchObject({ remaining: 0 });
    expect(await dead(t)).toEqual([]);
    expect(await t.readAll(RETRIES, 0)).toEqual(texts(6));
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
    expect(await redrive(t)).toEqual({ results: [], remaining: 0, replayed: false });
  });

  test('more than a thousand: call by call', async () => {
    const t = await ready();
    await die(t, ...texts(2300));
    for (const [sent, remaining] of [
      [1000, 1300],
      [1000, 300],
      [300, 0],
    ]) {
      const answer = await redrive(t);
      expect([answer.results.length, answer.remaining]).toEqual([sent, remaining]);
      expect(counts(t).dead).toBe(remaining);
    }
    expect(await t.readAll(RETRIES, 0)).toEqual(texts(2300));
  });

  test('large ones: as much as a call may bring, in commands that fit', async () => {
    const t = await ready();
    const ids: string[] = [];
    for (let i = 0; i < 12; i++) ids.push(...(await die(t, String.fromCharCode(97 + i).repeat(3 << 20))));
    const submit = jest.spyOn(t.rooms.core, 'submit');
    const first = await redrive(t, { messageIds: ids });
    expect(codes(first.results)).toEqual(Array(first.results.length).fill(undefined));
    expect(first.results).toHaveLength(11); // 32 MiB
    expect(first.remaining).toBe(12 - first.results.length);
    expect(submit.mock.calls.filter(([{ kind }]) => kind === 'redrive').length).toBe(first.results.length);
    const second = await redrive(t);
    expect([second.results.length, second.remaining]).toEqual([first.remaining, 0]);
    expect((await t.readAll(RETRIES, 0)).map((body) => body[0]).join('')).toBe('abcdefghijkl');
  });

  test('to another topic: round robin, a messageGroup to its queue', async () => {
    const t = await ready();
    await t.topic('mail', { type: 'MIXED', readQueues: 4, writeQueues: 4 });
    await die(t, ...texts(8), ...['x', 'y'].map((body) => ({ body, messageGroup: 'kunde-7' })));
    const { results } = await redrive(t, { topic: 'mail' });
    expect(new Set(results.map(({ topic }) => topic))).toEqual(new Set(['mail']));
    const queueIds = results.map(({ queueId }) => queueId!);
    expect(queueIds.slice(0, 8).sort()).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    const [stored] = await t.send('mail', { body: 'z', messageGroup: 'kunde-7' });
    expect(queueIds.slice(8)).toEqual([stored!.queueId, stored!.queueId]);
    expect((await t.readAll('mail', stored!.queueId)).slice(-3)).toEqual(['x', 'y', 'z']);
    expect(await dead(t)).toEqual([]);
    expect(t.state.topicsByName.has(RETRIES)).toBe(false);
  });

  test('to a topic that does not take them: they stay dead letters', async () => {
    const t = await ready();
    await t.topic('fifo', { type: 'FIFO' });
    await t.topic('closed', { permission: 'R' });
    const [plain, grouped] = await die(t, 'a', { body: 'b', messageGroup: 'g' });
    const { results } = await redrive(t, { topic: 'fifo' });
    expect(results).toMatchObject([{ messageId: plain }, { messageId: grouped, topic: 'fifo' }]);
    expect(codes(results)).toEqual(['MESSAGE_TYPE_MISMATCH', undefined]);
    expect(await codeOf(redrive(t, { topic: 'closed' }))).toBe('NO_PERMISSION');
    expect(await codeOf(redrive(t, { topic: '%DLQ%billing' }))).toBe('NO_PERMISSION');
    expect(await codeOf(redrive(t, { topic: 'none' }))).toBe('TOPIC_NOT_FOUND');
    expect(await codeOf(t.rooms.deadLetters.redrive('none', { all: true, dryRun: false }))).toBe('GROUP_NOT_FOUND');
    expect(await dead(t)).toEqual(['a']);
    expect(counts(t).dead).toBe(1);
  });

  test('to a topic that goes meanwhile: they stay dead letters', async () => {
    const t = await ready();
    await t.topic('mail');
    const [id] = await die(t, 'a');
    const hold = t.disk.hold('journal', 'write');
    const deleting = t.rooms.topics.delete('mail', false);
    const sending = redrive(t, { topic: 'mail' });
    const late = codeOf(redrive(t, { topic: 'mail' }));
    await hold.reached;
    hold.release();
    await deleting;
    expect(await sending).toMatchObject({ results: [{ messageId: id, error: { code: 'TOPIC_NOT_FOUND' } }] });
    expect(await late).toBe('TOPIC_NOT_FOUND');
    expect(await dead(t)).toEqual(['a']);
    expect(counts(t).dead).toBe(1);
    expect(t.state.topicsByName.has(RETRIES)).toBe(false);
  });

  test('not while the disk is full', async () => {
    const t = await ready();
    await die(t, 'a');
    t.used = 0.95;
    await t.rooms.retention.look();
    expect(await codeOf(redrive(t))).toBe('DISK_FULL');
    expect(await redrive(t, { dryRun: true })).toMatchObject({ results: [{ topic: RETRIES }] });
    expect(counts(t).dead).toBe(1);
  });

  test('a dry run tells what would be done, and changes nothing', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(3));
    await t.topic('mail', { readQueues: 1, writeQueues: 1 });
    const { end } = t.journal;
    const none = 'F'.repeat(32);
    const place = (messageId: string) => ({ messageId, topic: RETRIES, broker: NAME, queueId: 0 });
    expect(await redrive(t, { dryRun: true }, 'k')).toEqual({ results: ids.map(place), remaining: 0, replayed: false });
    const some = await redrive(t, { dryRun: true, messageIds: [ids[1]!, none], topic: 'mail' }, 'k2');
    expect(some.results).toMatchObject([{ ...place(ids[1]!), topic: 'mail' }, { messageId: none }]);
    expect(codes(some.results)).toEqual([undefined, 'MESSAGE_NOT_FOUND']);
    expect(t.journal.end).toBe(end);
    expect(await dead(t)).toEqual(texts(3));
    expect(t.state.topicsByName.has(RETRIES)).toBe(false);
    // The key is free for the call that it was tried for.
    expect((await redrive(t, {}, 'k')).results.map(({ queueOffset }) => queueOffset)).toEqual([0, 1, 2]);
  });

  test('by calls at the same time: each is sent once', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(50));
    const calls = await Promise.all([
      redrive(t),
      redrive(t, { messageIds: ids.slice(0, 10) }),
      redrive(t, { messageIds: ids.slice(5, 20) }),
      redrive(t),
    ]);
    const sent = calls.flatMap(({ results }) => results.filter(({ error }) => !error));
    expect(sent.map(({ messageId }) => messageId).sort()).toEqual([...ids].sort());
    expect(await t.readAll(RETRIES, 0)).toEqual(texts(50));
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
  });

  test('one that fails anew is a dead letter anew', async () => {
    const t = await ready();
    const [id] = await die(t, 'a');
    await redrive(t);
    await t.poll();
    const {
      results: [result],
    } = await t.rooms.retries.sendBack('billing', {
      consumerId: 'c1',
      messages: [{ topic: RETRIES, broker: NAME, queueId: 0, queueOffset: 0 }],
    });
    expect(result).toMatchObject({ outcome: 'DEAD_LETTER' });
    const { deadLetters } = await t.rooms.deadLetters.list('billing', -1, 10);
    expect(deadLetters).toMatchObject([{ no: 1 }]);
    const message = decodeMessage(deadLetters[0]!.delivery.record);
    expect(message).toMatchObject({ messageId: Buffer.from(id!, 'hex'), origin: { topic: 'orders' } });
  });
});

describe('with an Idempotency-Key', () => {
  test('the same call answers the same, also after a crash, for ten minutes', async () => {
    const t = await ready();
    await die(t, ...texts(3));
    const first = await redrive(t, {}, 'k');
    await die(t, 'm3');
    expect(await redrive(t, {}, 'k')).toEqual({ ...first, remaining: 1, replayed: true });
    expect(await redrive(t, { dryRun: true }, 'k')).toMatchObject({ replayed: true });
    await t.crash();
    expect(await redrive(t, {}, 'k')).toEqual({ ...first, remaining: 1, replayed: true });
    expect(await dead(t)).toEqual(['m3']);
    await t.skip(10 * 60_000);
    expect((await redrive(t, {}, 'k')).results).toHaveLength(1);
    expect(await dead(t)).toEqual([]);
  });

  test('by ids: what was unknown stays an error, what is sent is not sent again', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(2));
    const messageIds = [ids[1]!, '0'.repeat(32)];
    const first = await redrive(t, { messageIds }, 'k');
    expect(codes(first.results)).toEqual([undefined, 'MESSAGE_NOT_FOUND']);
    const again = await redrive(t, { messageIds }, 'k');
    expect(again.results.map(({ error, ...rest }) => [rest, error?.code])).toEqual(
      first.results.map(({ error, ...rest }) => [rest, error?.code]),
    );
    expect([first.replayed, again.replayed]).toEqual([false, true]);
    expect(await t.readAll(RETRIES, 0)).toEqual(['m1']);
  });

  test('another content is refused, another group is another key', async () => {
    const t = await ready();
    const ids = await die(t, ...texts(2));
    await redrive(t, { messageIds: [ids[0]!] }, 'k');
    expect(await codeOf(redrive(t, {}, 'k'))).toBe('IDEMPOTENCY_KEY_REUSED');
    expect(await codeOf(redrive(t, { messageIds: [ids[1]!] }, 'k'))).toBe('IDEMPOTENCY_KEY_REUSED');
    await t.group('audit');
    expect(await t.rooms.deadLetters.redrive('audit', { all: true, dryRun: false }, 'k')).toMatchObject({
      results: [],
    });
    expect((await redrive(t, {}, 'k2')).results).toHaveLength(1);
  });

  test('two at the same time: one sends, the other is told to wait, and then answers the same', async () => {
    const t = await ready();
    await die(t, ...texts(3));
    const [first, code] = await Promise.all([redrive(t, {}, 'k'), codeOf(redrive(t, {}, 'k'))]);
    expect(code).toBe('IDEMPOTENCY_IN_PROGRESS');
    expect(await redrive(t, {}, 'k')).toEqual({ ...first, replayed: true });
    expect(await t.readAll(RETRIES, 0)).toEqual(texts(3));
  });

  test('of several commands all are answered again, and what was not done is done', async () => {
    const t = await ready();
    const messageIds: string[] = [];
    for (const text of ['a', 'b', 'c']) messageIds.push(...(await die(t, text.repeat(3 << 20))));
    const submit = t.rooms.core.submit.bind(t.rooms.core);
    let commands = 0;
    const spy = jest
      .spyOn(t.rooms.core, 'submit')
      .mockImplementation((command) =>
        command.kind === 'redrive' && ++commands === 3 ? Promise.reject(new Error('no room')) : submit(command),
      );
    await expect(redrive(t, { messageIds }, 'k')).rejects.toThrow('no room');
    spy.mockRestore();
    const second = await redrive(t, { messageIds }, 'k');
    expect(second.results.map(({ messageId, queueOffset }) => [messageId, queueOffset])).toEqual(
      messageIds.map((id, i) => [id, i]),
    );
    expect(second.replayed).toBe(false);
    expect(await redrive(t, { messageIds }, 'k')).toEqual({ ...second, replayed: true });
    expect((await t.readAll(RETRIES, 0)).map((body) => body[0])).toEqual(['a', 'b', 'c']);
  });
});

describe('kept', () => {
  test('for 14 days, whatever retention did to the journal', async () => {
    const t = await ready();
    await die(t, ...texts(2));
    await t.skip(2 * DAY);
    await die(t, 'm2');
    await t.rooms.retention.trim(t.journal.end + 1, { reason: 'age' });
    await t.clock.advance(3000);
    expect(await t.disk.keys('journal', 'j')).toHaveLength(1); // the trim itself
    await t.restart();
    expect(await dead(t)).toEqual(texts(3));
    await t.skip(12 * DAY - 10_000);
    await t.rooms.deadLetters.expire();
    expect(await dead(t)).toEqual(texts(3));
    await t.skip(10_000);
    await t.rooms.deadLetters.expire();
    expect(await dead(t)).toEqual(['m2']);
    expect(counts(t)).toEqual({ waiting: 0, dead: 1 });
    await t.skip(DAY);
    await redrive(t);
    expect(await t.readAll(RETRIES, 0)).toEqual(['m2']);
  });

  test('no longer: the broker looks by itself, and the thousands go', async () => {
    const t = await ready();
    await die(t, ...texts(1500));
    await flush(t);
    await t.skip(15 * DAY);
    await t.clock.advance(200_000);
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
    expect(await t.disk.keys('tables', 'K')).toEqual([]);
  });

  test('looking for old ones costs one row when there are none', async () => {
    const t = await ready();
    await die(t, ...texts(100));
    await flush(t);
    const scan = jest.spyOn(t.folder.tables, 'scan');
    await t.rooms.deadLetters.expire();
    expect(scan.mock.calls.map(([{ limit }]) => limit)).toEqual([1]);
  });
});

describe('of a deleted group', () => {
  const left = (t: Bench) => t.disk.keys('tables', 'K');

  test('the janitor deletes them, and a group of the same name has none', async () => {
    const t = await ready();
    await die(t, ...texts(3));
    await flush(t);
    await t.rooms.groups.put({ ...newGroup('audit'), maxAttempts: 0 });
    await t.join('audit', 'a1');
    await t.poll('audit', 'a1');
    await t.rooms.retries.sendBack('audit', {
      consumerId: 'a1',
      messages: [{ topic: 'orders', broker: NAME, queueId: 0, queueOffset: 0 }],
    });
    await flush(t);
    expect(await left(t)).toHaveLength(4);
    await t.rooms.groups.delete('billing', true);
    await t.group('billing', { maxAttempts: 0 });
    expect(await dead(t)).toEqual([]);
    await t.clock.advance(3000);
    expect(await left(t)).toHaveLength(1);
    expect((await t.rooms.deadLetters.list('audit', -1, 10)).deadLetters).toHaveLength(1);
    await t.join();
    expect(await die(t, 'new')).toHaveLength(1);
    expect(await dead(t)).toEqual(['new']);
  });

  test('also those that are being flushed', async () => {
    const t = await ready();
    await t.clock.advance(2500); // the janitor has done what a start leaves it
    await die(t, 'a');
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    await t.rooms.groups.delete('billing', true);
    await t.clock.advance(1500);
    hold.release();
    await flushing;
    await t.clock.advance(3000);
    expect(await left(t)).toEqual([]);
  });

  test.each(['restart', 'crash'] as const)('also after a %s', async (how) => {
    const t = await ready();
    await die(t, ...texts(3));
    await flush(t);
    await t.rooms.groups.delete('billing', true);
    if (how === 'restart') await t.clock.advance(150); // the deletion is flushed, and the janitor has not looked
    await t[how]();
    expect(await left(t)).toHaveLength(3);
    await t.clock.advance(3000);
    expect(await left(t)).toEqual([]);
  });

  test('those that the next flush brings are not forgotten over those that are there', async () => {
    const t = await ready();
    await die(t, 'a');
    await flush(t);
    await die(t, 'b');
    const { no } = t.state.groupsByName.get('billing')!.record;
    await t.rooms.groups.delete('billing', true);
    // A janitor that begins, and looks for what earlier lives have left.
    const janitor = new Janitor({ state: t.state, journal: t.journal, tables: t.folder.tables });
    await janitor.runOnce();
    expect([...t.state.deletedGroups.keys()]).toEqual([no]);
    await t.clock.advance(3000);
    expect(await left(t)).toEqual([]);
    expect(t.state.deletedGroups.size).toBe(0);
  });

  test('a topic that goes takes its groups’ dead letters along', async () => {
    const t = await ready();
    await die(t, ...texts(2));
    await t.rooms.topics.delete('orders', true);
    await t.rooms.topics.create(newTopic('orders'));
    await t.clock.advance(3000);
    expect(await left(t)).toEqual([]);
    expect(await codeOf(redrive(t))).toBe('GROUP_NOT_FOUND');
  });
});
