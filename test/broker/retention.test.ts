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
});

describe('by disk', () => {
  test('above the forcing ratio the oldest go before their time, a part at a look, until the disk has room', async () => {
    const t = await hours(40);
    t.used = 0.86;
    const seen: number[] = [];
    for (let i = 0; i < 5; i++) {
      await look(t);
      await t.clock.advance(1000); // the janitor gives the journal's head back
      seen.push(minima(t)[0]![0]!);
    }
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(new Set(seen).size).toBe(5);
    expect(seen[0]).toBeGreaterThan(0);
    expect(seen[0]).toBeLessThan(5);
    t.used = 0.5;
    await look(t);
    expect(minima(t)[0]![0]).toBe(seen.at(-1));
    expect(await t.readAll('orders', 0)).toEqual(
      Array.from({ length: 40 - seen.at(-1)! }, (_, i) => `a${i + seen.at(-1)!}`),
    );
  });

  test('above it for ever, all messages go and the broker lives on', async () => {
    const t = await hours(4);
    t.used = 0.86;
    for (let i = 0; i < 60; i++) {
      await look(t);
      await t.clock.advance(1000);
    }
    expect(minima(t)[0]).toEqual([4, 4]);
    t.used = 0.1;
    await t.send('orders', to(0, 'new'));
    expect(await t.readAll('orders', 0)).toEqual(['new']);
    await t.restart();
    expect(await t.readAll('orders', 0)).toEqual(['new']);
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
  await t.rooms.retention.trim(t.journal.end + 1, 0, []);
  expect(t.rooms.turns.commands).toBe(commands + 2);
  for (const topic of t.state.topics.values())
    for (const { min, max } of topic.queues) expect([min, max]).toEqual([1, 1]);
  await t.crash();
  for (const topic of t.state.topics.values())
    for (const { min, max } of topic.queues) expect([min, max]).toEqual([1, 1]);
});
