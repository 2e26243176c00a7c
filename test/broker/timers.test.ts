/** What waits comes when it is due: never before, each once, however many wait and whatever the clock does. */
import type { Engine } from '../../storage/engine';
import { positionOf, tableKeys } from '../../storage/keys';
import { MemoryDisk } from '../../storage/memoryEngine';
import { Tables } from '../../storage/tables';
import type { CommandOf } from '../../src/broker/apply';
import type { Core } from '../../src/broker/core';
import { BrokerState } from '../../src/broker/state';
import { Tail } from '../../src/broker/tail';
import { Timers } from '../../src/broker/timers';
import { HOUR, NAME, setup, stopBrokers, turn, until, type TestBroker } from '../support/broker';
import { ManualClock } from '../support/clock';

const WINDOW_KEYS = 2000;
/** Milliseconds within which those that are due share a command. */
const APART_MS = 5;

/** The timers alone, over real tables. What they fire is noted with the time of firing. */
class TimerBench {
  readonly clock = new ManualClock();
  readonly state = new BrokerState(new Tail(1 << 20));
  readonly fired: { due: number; position: number; at: number; body: string }[] = [];
  /** Bytes of the largest command, and how many commands there were. */
  largest = 0;
  commands = 0;
  /** What the next submits fail with. */
  failure: Error | undefined;
  failAfter = 0;
  /** Until when the next submits take. */
  held: Promise<void> = Promise.resolve();
  engine!: Engine;
  tables!: Tables;
  timers!: Timers;
  /** Waiting ones that nobody has heard of: notified by the next `add`. */
  #position = 1;

  async open(): Promise<this> {
    this.engine = await new MemoryDisk().open('tables', { writeBufferBytes: 1 << 20, cacheBytes: 0 });
    this.tables = await Tables.open({ engine: this.engine });
    this.timers = this.#newTimers();
    return this;
  }

  #newTimers(): Timers {
    const submit = async (command: CommandOf<'fireTimers'>) => this.#fire(command);
    const release = (record: Buffer) => Buffer.from(record);
    const core = { state: this.state, clock: this.clock, submit } as unknown as Core;
    return new Timers(core, { tables: this.tables, release, windowKeys: WINDOW_KEYS });
  }

  async #fire({ timers, records }: CommandOf<'fireTimers'>): Promise<void> {
    await this.held;
    if (this.failure && this.failAfter-- <= 0) throw this.failure;
    this.commands++;
    this.largest = Math.max(
      this.largest,
      records.reduce((sum, record) => sum + record.length, 0),
    );
    timers.forEach(([due, position], i) => {
      this.state.dropTimer(due, position);
      this.fired.push({ due, position, at: this.clock.now(), body: records[i]!.toString('latin1', 0, 20) });
    });
  }

  /** As a turn does that brings waiting messages. */
  add(...dues: number[]): void {
    for (const due of dues) this.put(due);
    this.timers.notice();
  }

  put(due: number, record = Buffer.from(`r${this.#position}`)): void {
    this.state.putTimer(due, positionOf(this.#position++, 1), record);
  }

  async flush(): Promise<void> {
    await this.tables.flush(this.state.overlay.take(), this.tables.applied + 1);
    this.state.overlay.flushed();
  }

  /** The process ends, and another begins. */
  async restart(): Promise<void> {
    await this.timers.stop();
    await this.flush();
    this.state.newTimers = [];
    this.timers = this.#newTimers();
    this.timers.start();
    await this.pass(0);
  }

  /** Lets time pass, and all that is fired in it be written. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    let before: number;
    do {
      before = this.fired.length;
      for (let i = 0; i < 20; i++) await turn();
    } while (this.fired.length > before);
  }

  get dues(): number[] {
    return this.fired.map(({ due }) => due);
  }
}

describe('timers', () => {
  let t: TimerBench;
  let now: number;

  beforeEach(async () => {
    t = await new TimerBench().open();
    now = t.clock.now();
  });

  afterEach(() => t.timers.stop());

  const ascending = (dues: readonly number[]) => dues.every((due, i) => i === 0 || due >= dues[i - 1]!);

  const expectInTime = () => {
    for (const { due, at } of t.fired) expect(at - due).toBeGreaterThanOrEqual(0);
    for (const { due, at } of t.fired) expect(at - due).toBeLessThan(APART_MS);
  };

  test('fire at their millisecond, in the order of their time, with their message', async () => {
    t.timers.start();
    await t.pass(0);
    t.add(now + 5000, now + 70, now + 3000, now + 65_000, now + 70);
    await t.pass(70_000);
    expect(t.fired.map(({ due, at, body }) => [due - now, at - now, body])).toEqual([
      [70, 70, 'r2'],
      [70, 70, 'r5'],
      [3000, 3000, 'r3'],
      [5000, 5000, 'r1'],
      [65_000, 65_000, 'r4'],
    ]);
  });

  test('due while nothing ran are delivered at the start, oldest first, the others in their time', async () => {
    for (const ms of [-5 * HOUR, 2000, -1, -80 * HOUR, 40 * 60_000]) t.put(now + ms);
    await t.restart();
    await t.pass(0);
    expect(t.dues.map((due) => due - now)).toEqual([-80 * HOUR, -5 * HOUR, -1]);
    await t.pass(2000);
    expect(t.dues.at(-1)).toBe(now + 2000);
    await t.pass(41 * 60_000);
    expect(t.fired.at(-1)).toMatchObject({ due: now + 40 * 60_000, at: now + 40 * 60_000 });
    expect(t.fired).toHaveLength(5);
  });

  test('that were added earlier than all others fire in time', async () => {
    t.timers.start();
    await t.pass(0);
    t.add(now + 50_000);
    await t.flush();
    await t.pass(100);
    t.add(now + 2000);
    t.add(now + 500);
    await t.pass(400);
    expect(t.fired.map(({ due, at }) => [due - now, at - now])).toEqual([[500, 500]]);
    await t.pass(1500);
    expect(t.fired).toHaveLength(2);
    await t.pass(APART_MS);
    t.add(now); // at once
    await t.pass(1);
    expect(t.fired.at(-1)!.due).toBe(now);
    await t.pass(60_000);
    expect(t.fired).toHaveLength(4);
  });

  test('far away stay on disk until their window comes', async () => {
    t.timers.start();
    await t.pass(0);
    t.add(...Array.from({ length: 1000 }, (_, i) => now + HOUR + i));
    expect(t.timers.inMemory).toBe(0);
    await t.flush();
    await t.pass(HOUR - 1);
    expect(t.fired).toEqual([]);
    expect(t.timers.inMemory).toBe(1000);
    await t.pass(1001);
    expectInTime();
    expect(t.fired).toHaveLength(1000);
  });

  test('within a few milliseconds share a command, one that is alone comes at its millisecond', async () => {
    t.timers.start();
    await t.pass(0);
    t.add(...Array.from({ length: 1000 }, (_, i) => now + 1000 + i), now + 5000);
    await t.pass(2000);
    expect(t.fired).toHaveLength(1000);
    expectInTime();
    expect(t.commands).toBeLessThanOrEqual(1000 / APART_MS + 1);
    await t.pass(3000);
    expect(t.fired.at(-1)).toMatchObject({ due: now + 5000, at: now + 5000 });
  });

  test('are not passed over by who asks from when on they wait, while they are being read', async () => {
    t.put(now + 5000);
    const from: number[] = [];
    const scan = t.tables.scan.bind(t.tables);
    jest.spyOn(t.tables, 'scan').mockImplementation((options) => {
      from.push(t.timers.from);
      return scan(options);
    });
    await t.restart();
    expect(from.length).toBeGreaterThan(0);
    expect(Math.max(...from)).toBeLessThanOrEqual(now + 5000);
    expect(t.timers.from).toBe(now + 5000);
  });

  describe('by the tens of thousands', () => {
    const COUNT = 10 * WINDOW_KEYS;

    function valuesRead(): () => number {
      let bytes = 0;
      const scan = t.tables.scan.bind(t.tables);
      jest.spyOn(t.tables, 'scan').mockImplementation(async (options) => {
        const rows = await scan(options);
        for (const { value } of rows) bytes += value.length;
        return rows;
      });
      return () => bytes;
    }

    function expectAllOnce(count: number): void {
      expect(t.fired).toHaveLength(count);
      expect(new Set(t.fired.map(({ position }) => position)).size).toBe(count);
      expect(ascending(t.dues)).toBe(true);
    }

    test('cost the window’s memory, and no body is read before its time', async () => {
      for (let i = 0; i < COUNT; i++) t.put(now + 1000 + Math.floor((i * 20) / COUNT));
      const read = valuesRead();
      await t.restart();
      await t.pass(999);
      expect(t.fired).toEqual([]);
      expect(t.timers.inMemory).toBeGreaterThan(0);
      expect(t.timers.inMemory).toBeLessThanOrEqual(WINDOW_KEYS);
      expect(read()).toBe(0);
      await t.pass(100);
      expectAllOnce(COUNT);
    });

    test('are read many at once, and what such a reading leaves out is found by its key', async () => {
      for (let i = 0; i < COUNT; i++) t.put(now + 1000);
      const getMany = jest.spyOn(t.tables, 'getMany');
      await t.restart();
      await t.pass(1000);
      expectAllOnce(COUNT);
      expect(t.fired.every(({ position }, i) => i === 0 || position > t.fired[i - 1]!.position)).toBe(true);
      expect(getMany.mock.calls.length).toBeLessThanOrEqual(1);
      t.fired.length = 0;
      for (let i = 0; i < COUNT; i++) t.put(now + 2000);
      const scan = t.tables.scan.bind(t.tables);
      // As behind a damaged block.
      jest.spyOn(t.tables, 'scan').mockImplementation(async (options) => {
        const rows = await scan(options);
        return options.keysOnly ? rows : rows.filter((_, i) => i % 10 > 0);
      });
      await t.restart();
      await t.pass(1000);
      expectAllOnce(COUNT);
      expect(getMany).toHaveBeenCalled();
    });

    test('at one and the same millisecond, more than the window takes, all come', async () => {
      t.put(now + 990);
      for (let i = 0; i < COUNT; i++) t.put(now + 1000);
      t.put(now + 1010);
      await t.restart();
      await t.pass(999);
      expect(t.dues).toEqual([now + 990]);
      await t.pass(1);
      expect(t.fired).toHaveLength(COUNT + 1);
      await t.pass(10);
      expectAllOnce(COUNT + 2);
    });

    test('that come in while it runs do not pile up in memory', async () => {
      t.timers.start();
      await t.pass(0);
      for (let i = 0; i < COUNT; i++) t.put(now + 30_000 + Math.floor(i / 100));
      t.timers.notice();
      await t.pass(1000);
      expect(t.timers.inMemory).toBeLessThanOrEqual(WINDOW_KEYS);
      t.add(now + 1500);
      await t.flush();
      await t.pass(40_000);
      expectAllOnce(COUNT + 1);
    });

    test('are read before they are needed, and a slow reading holds up none that is known', async () => {
      for (let i = 0; i < COUNT; i++) t.put(now + 1000 + i);
      await t.restart();
      const scan = t.tables.scan.bind(t.tables);
      let release = () => undefined as void;
      const held = new Promise<void>((resolve) => (release = resolve));
      const slow = jest.spyOn(t.tables, 'scan').mockImplementation((options) => held.then(() => scan(options)));
      await t.pass(1000 + WINDOW_KEYS / 2 - 10);
      expect(slow).not.toHaveBeenCalled();
      await t.pass(WINDOW_KEYS / 2 - 10);
      expect(slow).toHaveBeenCalledTimes(1);
      expectInTime();
      expect(t.timers.inMemory).toBeLessThan(20 + APART_MS);
      const known = t.fired.length;
      // None overtakes those that are being read.
      t.add(t.clock.now() + 30);
      await t.pass(100);
      expect(t.fired.length).toBeLessThan(known + 20 + APART_MS);
      release();
      await t.pass(0);
      expect(t.dues.at(-1)).toBe(t.clock.now());
      await t.pass(COUNT);
      expectAllOnce(COUNT + 1);
      expect(t.fired.filter(({ due, at }) => at >= due + APART_MS).length).toBeLessThan(150);
    });

    test('that are added while the window is read are neither lost nor doubled', async () => {
      for (let i = 0; i <= WINDOW_KEYS; i++) t.put(now + 5000);
      await t.timers.stop();
      await t.flush();
      const scan = t.tables.scan.bind(t.tables);
      jest.spyOn(t.tables, 'scan').mockImplementation(async (options) => {
        const rows = await scan(options);
        // Before, at, and behind the millisecond that is being read.
        if (t.clock.now() === now) t.add(now + 4000, now + 5000, now + 6000);
        return rows;
      });
      await t.restart();
      await t.pass(6001);
      const added = t.fired.length - WINDOW_KEYS - 1;
      expect(added).toBeGreaterThanOrEqual(6);
      expectAllOnce(WINDOW_KEYS + 1 + added);
      expect(t.dues.filter((due) => due !== now + 5000)).toHaveLength((added / 3) * 2);
      expect(t.fired.every(({ due, at }) => at === due)).toBe(true);
    });
  });

  test('are read while those before them are written; until that is done none of these can be taken back', async () => {
    for (let i = 0; i < 2000; i++) t.put(now + 1000);
    await t.restart();
    let release = () => undefined as void;
    t.held = new Promise<void>((resolve) => (release = resolve));
    const scan = t.tables.scan.bind(t.tables);
    let scans = 0;
    jest.spyOn(t.tables, 'scan').mockImplementation((options) => {
      if (scans++ > 0) throw new Error('cannot be read');
      return scan(options);
    });
    await t.pass(1000);
    expect(scans).toBe(2);
    const work = jest.fn(() => Promise.resolve(true));
    expect(await t.timers.withdraw(now + 1000, positionOf(1, 1), work)).toBe(false);
    expect(work).not.toHaveBeenCalled();
    release();
    jest.restoreAllMocks();
    await t.pass(0);
    await t.pass(1000);
    expect(t.fired).toHaveLength(2000);
    expect(new Set(t.fired.map(({ position }) => position)).size).toBe(2000);
  });

  test('with large messages come in commands that fit, read in part', async () => {
    const getMany = jest.spyOn(t.tables, 'getMany');
    for (let i = 0; i < 70; i++) t.put(now + 1000, Buffer.alloc(600_000, `${i} `));
    await t.restart();
    await t.pass(1000);
    expect(t.fired).toHaveLength(70);
    expect(t.largest).toBeLessThan(5 << 20);
    expect(Math.max(...getMany.mock.calls.map(([keys]) => keys.length))).toBeLessThanOrEqual(32);
  });

  describe('when the wall clock is set', () => {
    test('forward, what is due by it comes within a second', async () => {
      t.timers.start();
      await t.pass(0);
      t.add(now + HOUR, now + 3 * HOUR);
      t.clock.jumpTo(now + 2 * HOUR);
      await t.pass(1000);
      expect(t.dues).toEqual([now + HOUR]);
      t.clock.jumpTo(now + 30 * HOUR);
      await t.pass(1000);
      expect(t.dues).toEqual([now + HOUR, now + 3 * HOUR]);
    });

    test('back, nothing comes before its time, and nothing is forgotten', async () => {
      t.timers.start();
      await t.pass(0);
      t.add(now + 2000, now + 50_000);
      t.clock.jumpTo(now - HOUR);
      await t.pass(HOUR);
      expect(t.fired).toEqual([]);
      t.add(now + 70_000);
      await t.pass(2000);
      expect(t.fired.map(({ due, at }) => [due, at])).toEqual([[now + 2000, now + 2000]]);
      await t.pass(70_000);
      expect(t.fired.every(({ due, at }) => due === at)).toBe(true);
      expect(t.fired).toHaveLength(3);
    });
  });

  describe('that cannot be written', () => {
    test('are tried again, and come once', async () => {
      t.timers.start();
      await t.pass(0);
      t.failure = new Error('the disk cannot keep up');
      t.add(now + 100, now + 200, now + 3000);
      await t.pass(1000);
      expect(t.fired).toEqual([]);
      t.failure = undefined;
      await t.pass(500);
      expect(t.dues).toEqual([now + 100, now + 200]);
      await t.pass(5000);
      expect(t.dues).toEqual([now + 100, now + 200, now + 3000]);
    });

    test('in part: what was written is not written again', async () => {
      for (let i = 0; i < 30; i++) t.put(now + 100, Buffer.alloc(1 << 20, `${i}`));
      Object.assign(t, { failure: new Error('no room'), failAfter: 2 });
      await t.restart();
      await t.pass(100);
      expect(t.fired).toHaveLength(8);
      t.failure = undefined;
      await t.flush();
      await t.pass(500);
      expect(t.fired).toHaveLength(30);
      expect(new Set(t.fired.map(({ position }) => position)).size).toBe(30);
    });

    test('or read: the stretch is read again', async () => {
      for (const ms of [100, 20_000]) t.put(now + ms);
      await t.timers.stop();
      await t.flush();
      const scan = t.tables.scan.bind(t.tables);
      const broken = jest.spyOn(t.tables, 'scan').mockImplementation(async () => {
        t.add(now + 10_000);
        throw new Error('cannot be read');
      });
      await t.restart();
      await t.pass(10);
      expect(broken).toHaveBeenCalledTimes(1);
      broken.mockImplementation(scan);
      await t.pass(30_000);
      expect(t.fired.map(({ due }) => due - now)).toEqual([100, 10_000, 20_000]);
    });
  });

  test('are left alone after a stop', async () => {
    t.timers.start();
    await t.pass(0);
    t.add(now + 100);
    await t.timers.stop();
    t.add(now + 50);
    await t.pass(1000);
    expect(t.fired).toEqual([]);
    expect(t.clock.pendingTimers).toBe(0);
  });
});

describe('of a broker', () => {
  afterEach(stopBrokers);

  type Bench = TestBroker<ManualClock>;
  const counts = (t: Bench) => t.state.groupsByName.get('billing')!.counts;

  /** As many waiting messages, for a minute and an hour. */
  async function waiting(count = 3): Promise<Bench> {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group();
    await t.join();
    await t.clock.advance(2500); // the janitor has done what a start leaves it
    await t.send('orders', ...Array.from({ length: count }, (_, i) => `m${i}`));
    const { messages, cursor } = await t.poll('billing', 'c1', { max: 1000 });
    await t.rooms.retries.sendBack('billing', {
      consumerId: 'c1',
      messages: messages.map(({ queueOffset }, i) => ({
        ...{ topic: 'orders', broker: NAME, queueId: 0, queueOffset },
        delayMs: i % 2 === 0 ? 60_000 : HOUR,
      })),
      cursor,
    });
    return t;
  }

  test('that was down when they were due: they are there at once, and are stored now', async () => {
    const t = await waiting();
    await t.stop();
    t.clock.jumpTo(t.clock.now() + 20 * 60_000);
    await t.open();
    await t.broker.start();
    await until(() => counts(t).waiting === 1, 'the two that were due');
    expect(await t.readAll('%RETRY%billing', 0)).toEqual(['m0', 'm2']);
    const queue = t.state.topicsByName.get('%RETRY%billing')!.queues[0]!;
    expect(queue.lastStoreTime).toBe(t.clock.now());
  });

  test('that cannot take more for a while: they come later, once', async () => {
    const t = await waiting();
    const submit = t.rooms.core.submit.bind(t.rooms.core);
    let refused = 0;
    const spy = jest.spyOn(t.rooms.core, 'submit').mockImplementation((command) => {
      if (command.kind !== 'fireTimers') return submit(command);
      refused++;
      return Promise.reject(new Error('more is being sent than the disk can take'));
    });
    await t.clock.advance(61_000);
    expect(refused).toBeGreaterThan(1);
    expect(counts(t)).toEqual({ waiting: 3, dead: 0 });
    spy.mockRestore();
    await t.clock.advance(1000);
    expect(await t.readAll('%RETRY%billing', 0)).toEqual(['m0', 'm2']);
    expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
  });

  test('a deleted group’s are deleted by the janitor, others stay', async () => {
    const t = await waiting(1000);
    await t.group('audit');
    await t.join('audit', 'a1');
    const { messages } = await t.poll('audit', 'a1', { max: 1 });
    const { queueOffset } = messages[0]!;
    await t.rooms.retries.sendBack('audit', {
      consumerId: 'a1',
      messages: [{ topic: 'orders', broker: NAME, queueId: 0, queueOffset, delayMs: 10 * HOUR }],
    });
    await t.clock.advance(200);
    expect(await t.disk.keys('tables', 'T')).toHaveLength(1001);
    await t.rooms.groups.delete('billing', true);
    await t.clock.advance(3000);
    expect(await t.disk.keys('tables', 'T')).toHaveLength(1);
    // One that is made anew under the name gets nothing of it.
    await t.group();
    await t.skip(2 * HOUR);
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
    expect(t.state.topicsByName.has('%RETRY%billing')).toBe(false);
    await t.skip(10 * HOUR);
    expect(await t.readAll('%RETRY%audit', 0)).toEqual(['m0']);
  });

  test('a group that is deleted while its waiting messages are being flushed leaves none', async () => {
    const t = await waiting();
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    await t.rooms.groups.delete('billing', true);
    await t.clock.advance(1500); // the janitor looks, and must not take it for done
    hold.release();
    await flushing;
    await t.clock.advance(3000);
    expect(await t.disk.keys('tables', 'T')).toEqual([]);
  });

  test('a deleted group’s that are left after a crash fall away when they are due', async () => {
    const t = await waiting();
    await t.clock.advance(200);
    await t.rooms.groups.delete('billing', true);
    await t.restart();
    expect((await t.disk.keys('tables', 'T')).length).toBeLessThanOrEqual(3);
    await t.skip(2 * HOUR);
    await t.clock.advance(200);
    expect(await t.disk.keys('tables', 'T')).toEqual([]);
    expect(t.state.overlay.within(tableKeys.family('T'))).toEqual([]);
  });
});
