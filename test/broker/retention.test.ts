/** How long messages are kept: by age and by what the disk has left, with minima that are right afterwards. */
import { bodies, codeOf, HOUR, NAME, setup, stopBrokers, type Given, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const to = (queueId: number, body = 'x'): Given => ({ body, queue: { broker: NAME, queueId } });
const minima = (t: Bench, topic = 'orders') =>
  t.state.topicsByName.get(topic)!.queues.map(({ min, max }) => [min, max]);
const look = (t: Bench) => t.rooms.retention.runOnce();

/** Two queues; every hour one message to the first, every second hour one to the second. */
async function hours(count: number, options: object = {}): Promise<Bench> {
  const t = await setup({ options });
  await t.topic('orders', { readQueues: 3, writeQueues: 3 });
  for (let hour = 0; hour < count; hour++) {
    await t.send('orders', to(0, `a${hour}`));
    if (hour % 2 === 0) await t.send('orders', to(1, `b${hour}`));
    await t.skip(HOUR - 2000);
  }
  return t;
}

describe('by age', () => {
  test('messages go after 72 hours, each queue by its own ages, empty queues never', async () => {
    const t = await hours(80);
    await look(t);
    // 80 hours have passed: what was stored in the first 8 is older than 72.
    expect(minima(t)).toEqual([
      [8, 80],
      [4, 40],
      [0, 0],
    ]);
    expect((await t.readAll('orders', 0))[0]).toBe('a8');
    expect((await t.readAll('orders', 1))[0]).toBe('b8');
  });

  test('everything may go; offsets go on where they were', async () => {
    const t = await hours(4);
    await t.skip(100 * HOUR);
    await look(t);
    expect(minima(t)).toEqual([
      [4, 4],
      [2, 2],
      [0, 0],
    ]);
    expect((await t.send('orders', to(0, 'new')))[0]!.queueOffset).toBe(4);
    expect(await t.readAll('orders', 0)).toEqual(['new']);
  });

  test('nothing goes before its time, read or unread', async () => {
    const t = await hours(4);
    await t.skip(67 * HOUR);
    const end = t.journal.end;
    await look(t);
    expect(minima(t)[0]).toEqual([0, 4]);
    expect(t.journal.end).toBeLessThanOrEqual(end + 1);
  });

  test('a look without anything to do writes nothing', async () => {
    const t = await hours(1);
    await look(t);
    const end = t.journal.end;
    await look(t);
    await look(t);
    expect(t.journal.end).toBe(end);
  });

  test('the minima are kept over a restart, flushed or not', async () => {
    const t = await hours(80);
    await look(t);
    const before = minima(t);
    await t.crash();
    expect(minima(t)).toEqual(before);
    await t.restart();
    expect(minima(t)).toEqual(before);
  });

  test('a search by time answers within what is kept', async () => {
    const t = await hours(80);
    const start = t.clock.now() - 80 * HOUR;
    await look(t);
    const search = (at: string) => t.rooms.lookup.searchOffset('orders', NAME, 0, at);
    expect(await search('EARLIEST')).toBe(8);
    expect(await search('LATEST')).toBe(80);
    expect(await search('0')).toBe(8);
    expect(await search(String(start + 20 * HOUR))).toBe(20);
    expect(await search(String(t.clock.now() + 1))).toBe(80);
  });

  test('is not fooled by a wall clock that was wrong for a moment', async () => {
    const t = await hours(4);
    t.clock.jumpTo(t.clock.now() - 1000 * HOUR);
    await look(t);
    expect(minima(t)[0]).toEqual([0, 4]);
    t.clock.jumpTo(t.clock.now() + 1000 * HOUR);
    await look(t);
    expect(minima(t)[0]).toEqual([0, 4]);
  });

  test.each(['stays', 'starts again', 'crashes'])(
    'a wall clock that is 100 h ahead deletes nothing before it has run steadily for a day, when the broker %s',
    async (what) => {
      const t = await hours(4);
      t.clock.jumpTo(t.clock.now() + 100 * HOUR);
      await look(t);
      await t.send('orders', to(0, 'stamped by it'));
      if (what === 'starts again') await t.restart();
      if (what === 'crashes') await t.crash();
      await look(t);
      await t.skip(22 * HOUR);
      await look(t);
      expect(minima(t)[0]).toEqual([0, 5]);
      await t.skip(3 * HOUR);
      await look(t);
      await look(t);
      expect(minima(t)[0]).toEqual([4, 5]);
      expect(t.logged.some(({ level, msg }) => level === 'warn' && msg.includes('--trust-clock yes'))).toBe(true);
    },
  );

  test('nor does one that jumps while the broker is away, unless an operator vouches for it', async () => {
    const t = await hours(4);
    await t.stop();
    t.clock.pass(100 * HOUR);
    await t.open();
    await t.broker.start();
    await look(t);
    expect(minima(t)[0]).toEqual([0, 4]);
    await t.stop();
    Object.assign(t.options, { trustClock: true });
    await t.open();
    await t.broker.start();
    await look(t);
    expect(minima(t)[0]).toEqual([4, 4]);
  });

  test('messages old by the time that has surely passed are deleted, whatever the wall clock says', async () => {
    const t = await hours(4);
    t.clock.jumpTo(t.clock.now() + 100 * HOUR);
    await look(t);
    for (let day = 0; day < 4; day++) {
      t.clock.jumpTo(t.clock.now() + 100 * HOUR);
      await look(t);
      await t.skip(20 * HOUR);
      await look(t);
    }
    expect(minima(t)[0]).toEqual([4, 4]);
  });
});

describe('by disk', () => {
  /** The disk with the journal's share of it, in hundredths; what is trimmed comes back when the test says so. */
  function disk(t: Bench, others: number, journal: number): void {
    t.used = (others + journal) / 100;
    t.journalBytes = journal * 1024 ** 3;
  }

  test('above the forcing ratio as many of the oldest go as bring the disk below it, and no more before they are gone', async () => {
    const t = await hours(40);
    disk(t, 50, 40);
    await look(t);
    // Five hundredths of forty: an eighth of the journal, which has a command or two for each hour.
    const [min] = minima(t)[0]!;
    expect(min).toBeGreaterThanOrEqual(3);
    expect(min).toBeLessThanOrEqual(6);
    for (let i = 0; i < 5; i++) {
      await t.clock.advance(1000); // the janitor gives the journal's head back
      await look(t);
    }
    expect(minima(t)[0]).toEqual([min, 40]);
    disk(t, 50, 35);
    await look(t);
    expect(minima(t)[0]).toEqual([min, 40]);
    disk(t, 56, 35); // others took more
    await look(t);
    expect(minima(t)[0]![0]).toBeGreaterThan(min!);
    expect(t.rooms.retention.trimmed.disk).toBeGreaterThan(min!);
    expect(
      t.logged.filter(({ level, msg }) => level === 'warn' && msg.includes('trimmed before their age')),
    ).toHaveLength(2);
  });

  test('nothing goes when the journal is too small to help, and that is told once', async () => {
    const t = await hours(4);
    for (const [others, journal] of [
      [89, 0.001],
      [87, 2],
    ] as const) {
      disk(t, others, journal);
      for (let i = 0; i < 60; i++) {
        await look(t);
        await t.skip(60_000);
      }
    }
    expect(minima(t)[0]).toEqual([0, 4]);
    expect(t.rooms.retention.trimmed).toEqual({ age: 0, disk: 0 });
    const told = t.logged.filter(({ msg }) => msg.includes('cannot change that'));
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({
      level: 'warn',
      usedRatio: expect.closeTo(0.89, 3),
      neededBytes: expect.any(Number),
    });
    await t.send('orders', to(0, 'still taken'));
  });

  test('a trim that frees nothing is not followed by another one before the disk has had room', async () => {
    const t = await hours(40);
    disk(t, 50, 40);
    await look(t);
    const [min] = minima(t)[0]!;
    for (let i = 0; i < 30; i++) {
      await t.skip(60_000);
      await look(t);
    }
    expect(minima(t)[0]).toEqual([min, 40]);
    disk(t, 20, 40);
    await look(t);
    disk(t, 50, 40);
    await look(t);
    expect(minima(t)[0]![0]).toBeGreaterThan(min!);
  });

  test('groups of both styles are told what went before they read it', async () => {
    const t = await hours(40);
    await t.group();
    await t.group('mail');
    await t.join();
    disk(t, 50, 40);
    await look(t);
    const gone = minima(t).flatMap(([min], queueId) => (min! > 0 ? [[queueId, 0, min]] : []));
    const told = (moved: readonly { queue: { queueId: number }; from: number; to: number }[]) =>
      moved.map(({ queue, from, to: next }) => [queue.queueId, from, next]).sort();
    expect(told((await t.poll()).moved)).toEqual(gone);
    expect(told((await t.receive('mail', { max: 100, waitMs: 0 })).moved)).toEqual(gone);
    expect(told((await t.receive('mail', { max: 100, waitMs: 0 })).moved)).toEqual([]);
  });

  test('above the refusing ratio nothing more is taken in, until there is room; reading goes on', async () => {
    const t = await hours(4);
    t.used = 0.91;
    await t.rooms.retention.look();
    expect(t.rooms.retention.full).toBe(true);
    expect(await codeOf(t.send('orders', 'x'))).toBe('DISK_FULL');
    expect(await t.readAll('orders', 0)).toHaveLength(4);
    await t.group();
    await t.join();
    expect(bodies((await t.poll()).messages)).toHaveLength(6);
    t.used = 0.89;
    await t.rooms.retention.look();
    await t.send('orders', to(0, 'x'));
  });

  test('the disk is asked before the first message is taken', async () => {
    const t = await setup({ stopped: true });
    t.used = 0.95;
    await t.broker.start();
    await t.topic();
    expect(await codeOf(t.send('orders', 'x'))).toBe('DISK_FULL');
  });

  test('a disk that cannot be asked does not end the broker', async () => {
    const t = await hours(1);
    t.used = new Error('EIO');
    await expect(look(t)).rejects.toThrow('EIO');
    await t.clock.advance(120_000);
    await t.send('orders', 'x');
    expect(t.fatal).toEqual([]);
  });
});

test('many queues move in commands of at most 10,000 minima', async () => {
  const t = await setup();
  for (let i = 0; i < 12; i++) await t.topic(`t${i}`, { readQueues: 1000, writeQueues: 1000 });
  for (let i = 0; i < 12; i++) await t.send(`t${i}`, ...Array.from({ length: 1000 }, (_, queueId) => to(queueId)));
  const { commands } = t.rooms.turns;
  await t.rooms.retention.trim(t.journal.end + 1, { reason: 'age' });
  expect(t.rooms.turns.commands).toBe(commands + 2);
  for (const topic of t.state.topics.values())
    for (const { min, max } of topic.queues) expect([min, max]).toEqual([1, 1]);
  await t.crash();
  for (const topic of t.state.topics.values())
    for (const { min, max } of topic.queues) expect([min, max]).toEqual([1, 1]);
});
