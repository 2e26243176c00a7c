/** Messages for later: never early, there in their time whatever happened meanwhile, listed and taken back until then. */
import type { GantryError } from '../../src/base/errors';
import { DELAY_LEVELS_MS } from '../../src/broker/delayLevels';
import { decodeMessage } from '../../src/broker/message';
import type { Scheduled, SchedulePlace } from '../../src/broker/schedule';
import { hexOf } from '../../src/base/messageId';
import {
  bodies,
  codeOf,
  HOUR,
  message,
  NAME,
  setup,
  stopBrokers,
  until,
  type Given,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const DAY = 24 * HOUR;
const id = (n: number): string => n.toString(16).toUpperCase().padStart(32, '0');

async function reminders(given: object = {}): Promise<Bench> {
  const t = await setup();
  await t.topic('reminders', { type: 'DELAY', readQueues: 1, writeQueues: 1, ...given });
  return t;
}

const queue = (t: Bench, queueId = 0) => t.state.topicsByName.get('reminders')!.queues[queueId]!;
const visible = (t: Bench): Promise<string[]> => t.readAll('reminders', 0);
const waiting = (t: Bench): number => t.state.topicsByName.get('reminders')!.scheduled;
const list = (t: Bench, limit = 100, place?: SchedulePlace) => t.rooms.schedule.list('reminders', place, limit);
const texts = (scheduled: readonly Scheduled[]) => scheduled.map(({ record }) => decodeMessage(record).body.toString());
const listed = async (t: Bench) => texts((await list(t)).scheduled);
const recall = (t: Bench, messageId: string) =>
  t.rooms.schedule.recall('reminders', messageId).then(
    () => undefined,
    (error: GantryError) => error.code,
  );

const keys = async (t: Bench, letters: readonly string[]) =>
  (await Promise.all(letters.map((letter) => t.disk.keys('tables', letter)))).flat();

/** All rows of messages that wait. */
async function rows(t: Bench): Promise<number> {
  await t.broker.stop();
  return (await keys(t, ['T', 'W', 'V', 'w'])).length;
}

/** Lets the janitor work until nothing of these families is left. */
async function cleared(t: Bench, letters: readonly string[]): Promise<void> {
  for (let i = 0; i < 100 && (await keys(t, letters)).length > 0; i++) await t.clock.advance(1000);
  expect(await keys(t, letters)).toEqual([]);
}

async function sendOne(t: Bench, given: Given) {
  const { results } = await t.rooms.sender.send('reminders', [message(given)]);
  return results[0]!;
}

describe('a message for later', () => {
  test('is not there a millisecond early, and is there in its time, with what it came with', async () => {
    const t = await reminders();
    const now = t.clock.now();
    const [sent] = await t.schedule('reminders', {
      ...{ body: 'pay', delayMs: 5000, tag: 'a', keys: ['k'], properties: { p: 'q' }, messageId: id(7) },
    });
    expect(sent).toEqual({ messageId: id(7), storeTimestamp: now, deliverTimestamp: now + 5000 });
    await t.clock.advance(4999);
    expect(await visible(t)).toEqual([]);
    await t.clock.advance(1);
    await until(() => queue(t).max === 1, 'the message');
    const found = decodeMessage((await t.rooms.lookup.message('reminders', id(7))).record);
    expect(found).toMatchObject({
      ...{ tag: 'a', keys: ['k'], properties: { p: 'q' }, deliverTimestamp: now + 5000, bornTimestamp: now },
      ...{ storeTimestamp: now + 5000, attempt: 1, origin: undefined, prepared: undefined },
    });
    expect([waiting(t), await rows(t)]).toEqual([0, 0]);
  });

  test('comes at the time that is named, and at once when that is past', async () => {
    const t = await reminders();
    const now = t.clock.now();
    await t.schedule('reminders', { body: 'noon', deliverAt: now + 60_000 });
    expect(await sendOne(t, { body: 'past', deliverAt: now - 1 })).toMatchObject({ queueOffset: 0 });
    expect(await sendOne(t, { body: 'now', deliverAt: now })).toMatchObject({ queueOffset: 1 });
    expect(await sendOne(t, { body: 'no delay', delayMs: 0 })).toMatchObject({ queueOffset: 2 });
    expect(await visible(t)).toEqual(['past', 'now', 'no delay']);
    await t.clock.advance(60_000);
    await until(() => queue(t).max === 4, 'the message');
    expect(await visible(t)).toEqual(['past', 'now', 'no delay', 'noon']);
  });

  test('of a batch waits for itself: each has a time of its own', async () => {
    const t = await reminders();
    const { results } = await t.rooms.sender.send(
      'reminders',
      [
        { body: 'c', delayMs: 300 },
        { body: 'now', delayMs: 0 },
        { body: 'a', delayMs: 100 },
        { body: 'b', delayMs: 200 },
      ].map(message),
    );
    expect(results.map((result) => ('queueOffset' in result ? result.queueOffset : 'waits'))).toEqual([
      'waits',
      0,
      'waits',
      'waits',
    ]);
    await t.clock.advance(300);
    await until(() => queue(t).max === 4, 'all of them');
    expect(await visible(t)).toEqual(['now', 'a', 'b', 'c']);
  });

  test('wakes a poll that waits', async () => {
    const t = await reminders();
    await t.group('billing', { topic: 'reminders' });
    await t.join('billing', 'c1', { topic: 'reminders' });
    await t.schedule('reminders', { body: 'pay', delayMs: 1000 });
    const poll = t.poll('billing', 'c1', { waitMs: 30_000 });
    await t.parked(1);
    await t.clock.advance(1000);
    expect(bodies((await poll).messages)).toEqual(['pay']);
  });

  test('goes to the queue it names, or to another one if the topic has fewer by then', async () => {
    const t = await reminders({ readQueues: 4, writeQueues: 4 });
    for (const queueId of [1, 3])
      await t.schedule('reminders', { body: `${queueId}`, delayMs: 1000, queue: { broker: NAME, queueId } });
    await t.rooms.topics.update('reminders', { writeQueues: 2 });
    await t.rooms.topics.update('reminders', { readQueues: 2 });
    await t.clock.advance(1000);
    await until(() => queue(t, 0).max + queue(t, 1).max === 2, 'both');
    expect(queue(t, 3).max).toBe(0);
  });

  test.each([1, 100])('is there in its time after a restart; %i of them', async (count) => {
    const t = await reminders();
    for (let i = 0; i < count; i++) await t.schedule('reminders', { body: `${i}`, delayMs: HOUR + i });
    for (const again of ['restart', 'crash'] as const) await t[again]();
    expect([waiting(t), (await list(t, 1000)).scheduled.length]).toEqual([count, count]);
    await t.skip(HOUR - 2001);
    expect(await visible(t)).toEqual([]);
    await t.clock.advance(1 + count);
    await until(() => queue(t).max === count, 'all of them');
    expect(await visible(t)).toEqual(Array.from({ length: count }, (_, i) => `${i}`));
    expect(waiting(t)).toBe(0);
  });

  test('that was due while nothing ran is delivered at the start', async () => {
    const t = await reminders();
    await t.schedule('reminders', { body: 'second', delayMs: 2 * HOUR }, { body: 'first', delayMs: HOUR });
    await t.stop();
    t.clock.jumpTo(t.clock.now() + DAY);
    await t.open();
    await t.broker.start();
    await until(() => queue(t).max === 2, 'both');
    expect(await visible(t)).toEqual(['first', 'second']);
  });

  test('waits longer than the journal keeps anything', async () => {
    const t = await reminders();
    await t.schedule('reminders', { body: 'in forty days', delayMs: 40 * DAY });
    await t.rooms.retention.trim(t.state.applied + 1, { reason: 'age' });
    await t.restart();
    await t.skip(40 * DAY - 2000);
    await until(() => queue(t).max === 1, 'the message');
    expect(await visible(t)).toEqual(['in forty days']);
  });

  test('with an Idempotency-Key is scheduled once, and the answer of the first call stands', async () => {
    const t = await reminders();
    const twice = [
      { body: 'a', delayMs: 1000 },
      { body: 'b', delayMs: 0 },
    ].map(message);
    const first = await t.rooms.sender.send('reminders', twice, 'key');
    await t.clock.advance(400);
    const second = await t.rooms.sender.send('reminders', twice, 'key');
    expect(second).toEqual({ ...first, replayed: true });
    expect(waiting(t)).toBe(1);
    await t.clock.advance(600);
    await until(() => queue(t).max === 2, 'both');
    expect(await visible(t)).toEqual(['b', 'a']);
    const other = [message({ body: 'a', delayMs: 999 }), twice[1]!];
    expect(await codeOf(t.rooms.sender.send('reminders', other, 'key'))).toBe('IDEMPOTENCY_KEY_REUSED');
  });

  test('that its consumer cannot handle is retried like any other', async () => {
    const t = await reminders();
    await t.group('billing', { topic: 'reminders' });
    await t.schedule('reminders', { body: 'pay', delayMs: 1000 });
    await t.clock.advance(1000);
    await until(() => queue(t).max === 1, 'the message');
    const { receiptHandle } = (await t.receive()).messages[0]!;
    await t.rooms.leases.nack('billing', [{ receiptHandle }]);
    await t.clock.advance(10_000);
    await until(() => t.state.topicsByName.get('%RETRY%billing')?.queues[0]?.max === 1, 'the retry');
    expect((await t.receive()).messages).toMatchObject([{ attempt: 2 }]);
    expect(waiting(t)).toBe(0);
  });
});

describe('what is refused', () => {
  test.each([
    ['more than forty days', { delayMs: 40 * DAY + 1 }, 'DELAY_TOO_LONG'],
    ['a time more than forty days away', { deliverAt: Date.UTC(2026, 0, 15, 12) + 40 * DAY + 1 }, 'DELAY_TOO_LONG'],
    ['no delay at all', {}, 'MESSAGE_TYPE_MISMATCH'],
    ['a messageGroup', { messageGroup: 'g' }, 'MESSAGE_TYPE_MISMATCH'],
    ['a queue that is none', { delayMs: 1, queue: { broker: NAME, queueId: 9 } }, 'QUEUE_NOT_FOUND'],
  ])('%s in a DELAY topic', async (_, given, code) => {
    const t = await reminders();
    expect((await sendOne(t, given)).error?.code).toBe(code);
    expect(waiting(t)).toBe(0);
  });

  test.each(['NORMAL', 'FIFO', 'TRANSACTION'] as const)('a delay in a %s topic', async (type) => {
    const t = await reminders({ type });
    expect((await sendOne(t, { delayMs: 1 })).error?.code).toBe('MESSAGE_TYPE_MISMATCH');
  });

  test('nothing of it in a MIXED topic', async () => {
    const t = await reminders({ type: 'MIXED' });
    for (const given of [{}, { messageGroup: 'g' }, { delayMs: 40 * DAY }])
      expect((await sendOne(t, given)).error).toBeUndefined();
  });
});

test('delay levels are RocketMQ’s eighteen', () => {
  expect(DELAY_LEVELS_MS.map((ms) => ms / 1000)).toEqual([
    ...[1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200],
  ]);
});

describe('the list', () => {
  test('shows those that wait, the next one first, in pages', async () => {
    const t = await reminders();
    for (const ms of [5000, 1000, 3000, 1000, 4000]) await t.schedule('reminders', { body: `${ms}`, delayMs: ms });
    await t.topic('others', { type: 'DELAY' });
    await t.schedule('others', { body: 'of another topic', delayMs: 2000 });
    expect(await listed(t)).toEqual(['1000', '1000', '3000', '4000', '5000']);
    const pages: string[][] = [];
    for (let place: SchedulePlace | undefined, more = true; more;) {
      const page = await list(t, 2, place);
      pages.push(texts(page.scheduled));
      ({ more } = page);
      place = page.scheduled.at(-1);
      if (pages.length === 1) await t.restart();
    }
    expect(pages).toEqual([['1000', '1000'], ['3000', '4000'], ['5000']]);
    await t.clock.advance(3500);
    await until(() => queue(t).max === 3, 'the first three');
    expect(await listed(t)).toEqual(['4000', '5000']);
  });

  test('answers fewer large ones at a time, and all in the end', async () => {
    const t = await reminders();
    const large = 'x'.repeat(1 << 20);
    for (let i = 0; i < 10; i++) await t.schedule('reminders', { body: `${i}${large}`, delayMs: 1000 + i });
    const seen: string[] = [];
    let pages = 0;
    for (let place: SchedulePlace | undefined, more = true; more; pages++) {
      const page = await list(t, 100, place);
      seen.push(...texts(page.scheduled).map((body) => body[0]!));
      ({ more } = page);
      place = page.scheduled.at(-1);
    }
    expect([seen.join(''), pages > 1]).toEqual(['0123456789', true]);
  });
});

describe('a recall', () => {
  test('takes a message back before its time: it never comes', async () => {
    const t = await reminders();
    const [a] = await t.schedule('reminders', { body: 'a', delayMs: 1000 }, { body: 'b', delayMs: 1000 });
    expect(await recall(t, a!.messageId)).toBeUndefined();
    expect(await listed(t)).toEqual(['b']);
    await t.crash();
    expect([await listed(t), waiting(t)]).toEqual([['b'], 1]);
    await t.clock.advance(2000);
    await until(() => queue(t).max === 1, 'the other');
    expect(await visible(t)).toEqual(['b']);
    expect(await rows(t)).toBe(0);
  });

  test('is too late when the time has come, and of nothing when there never was one', async () => {
    const t = await reminders();
    const [sent] = await t.schedule('reminders', { delayMs: 1000 });
    await t.clock.advance(1000);
    await until(() => queue(t).max === 1, 'the message');
    expect(await recall(t, sent!.messageId)).toBe('ALREADY_DELIVERED');
    expect(await recall(t, id(5))).toBe('MESSAGE_NOT_FOUND');
    const [other] = await t.schedule('reminders', { delayMs: 1000 });
    expect(await recall(t, other!.messageId)).toBeUndefined();
    expect(await recall(t, other!.messageId)).toBe('MESSAGE_NOT_FOUND');
    expect(await codeOf(t.rooms.schedule.recall('nowhere', id(5)))).toBe('TOPIC_NOT_FOUND');
  });

  test('of an id that was given twice takes both', async () => {
    const t = await reminders();
    for (const ms of [1000, 2000]) await t.schedule('reminders', { messageId: id(3), delayMs: ms });
    expect(await recall(t, id(3))).toBeUndefined();
    expect([await listed(t), waiting(t)]).toEqual([[], 0]);
  });

  test('at the very moment either takes it back or is too late, never both', async () => {
    for (let ms = 995; ms <= 1005; ms++) {
      const t = await reminders();
      const [sent] = await t.schedule('reminders', { body: 'x', delayMs: 1000 });
      await t.clock.advance(ms);
      const [code, again] = await Promise.all([recall(t, sent!.messageId), recall(t, sent!.messageId)]);
      await t.clock.advance(2000);
      await t.settled();
      const came = queue(t).max;
      expect([ms, code, again, came]).toEqual(
        code === undefined
          ? [ms, undefined, 'MESSAGE_NOT_FOUND', 0]
          : [ms, 'ALREADY_DELIVERED', 'ALREADY_DELIVERED', 1],
      );
      expect(await rows(t)).toBe(0);
      await stopBrokers();
    }
  });

  test('whose message comes while it is looked for is too late', async () => {
    const t = await reminders();
    const [sent] = await t.schedule('reminders', { body: 'x', delayMs: 50 });
    const hold = t.disk.hold('tables', 'read');
    const recalling = recall(t, sent!.messageId);
    await hold.reached;
    await t.clock.advance(50);
    await until(() => queue(t).max === 1, 'the message');
    hold.release();
    expect(await recalling).toBe('ALREADY_DELIVERED');
    expect([await visible(t), waiting(t)]).toEqual([['x'], 0]);
    await t.restart();
    expect([await visible(t), waiting(t)]).toEqual([['x'], 0]);
  });

  test('that the disk refuses leaves the message where it was', async () => {
    const t = await reminders();
    const [sent] = await t.schedule('reminders', { body: 'x', delayMs: 1000 });
    const { core } = t.rooms;
    const submit = core.submit.bind(core);
    const refuse = jest.spyOn(core, 'submit').mockImplementation(async (command) => {
      if (command.kind === 'recall') await t.clock.advance(1500).then(() => Promise.reject(new Error('no room')));
      return submit(command);
    });
    await expect(t.rooms.schedule.recall('reminders', sent!.messageId)).rejects.toThrow('no room');
    refuse.mockRestore();
    await t.clock.advance(1);
    await until(() => queue(t).max === 1, 'the message');
    expect(await visible(t)).toEqual(['x']);
  });
});

test('a deleted topic takes its waiting messages with it, and one made anew has none', async () => {
  const t = await reminders();
  for (let i = 0; i < 50; i++) await t.schedule('reminders', { delayMs: HOUR });
  await t.settled();
  await t.rooms.topics.delete('reminders', false);
  await t.topic('reminders', { type: 'DELAY', readQueues: 1, writeQueues: 1 });
  expect([await listed(t), waiting(t)]).toEqual([[], 0]);
  await cleared(t, ['T', 'W', 'V', 'w']);
  await t.skip(2 * HOUR);
  expect(await visible(t)).toEqual([]);
});

test('rows that a stop left of a deleted topic go after the next start', async () => {
  const t = await reminders();
  await t.schedule('reminders', { delayMs: HOUR });
  await t.settled();
  await t.rooms.topics.delete('reminders', false);
  await t.restart();
  expect(await keys(t, ['W', 'V'])).toHaveLength(2);
  await cleared(t, ['W', 'V']);
});

test('ids in the list are those that were answered', async () => {
  const t = await reminders();
  const sent = await t.schedule('reminders', { delayMs: 5 }, { delayMs: 5 });
  const { scheduled } = await list(t);
  expect(scheduled.map(({ record }) => hexOf(decodeMessage(record).messageId))).toEqual(
    sent.map(({ messageId }) => messageId),
  );
});
