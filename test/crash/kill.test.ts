/**
 * The broker is killed at any moment while it is sent to, over and over, on one folder. What it had acknowledged is
 * there afterwards: once, in order, under the same offset and ids; positions stand where they were committed.
 */
import { watch } from 'node:fs';
import { join } from 'node:path';
import { Children, KilledProcessDisk, type Disk, type GantryProcess } from '../support/child';
import { History } from '../support/history';
import { checkHistory } from '../support/historyCheck';
import { Dice, SEED, Workload } from './workload';
import { patience } from '../support/patience';

const ROUNDS = 20;

/** The moments that a crash is aimed at. */
const MOMENTS = [
  'while it starts',
  'right after the start',
  'while tables are flushed',
  'any time',
  'while it stops',
] as const;
type Moment = (typeof MOMENTS)[number];

/** Resolves when files of a folder have been written to so many times. */
function written(folder: string, times: number): Promise<void> {
  return new Promise((done) => {
    let left = times;
    const watcher = watch(folder, { persistent: false }, () => {
      if (--left > 0) return;
      watcher.close();
      done();
    });
  });
}

const after = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

async function endedByItself(child: GantryProcess): Promise<never> {
  const { code, stderr } = await child.exited;
  throw new Error(`the broker ended by itself, with ${code}: ${stderr}`);
}

/** One folder, the processes that came and went on it, and all that clients saw. */
class Stage {
  readonly history = new History();
  readonly dice = new Dice(SEED);
  readonly workload = new Workload(this.history, this.dice);
  readonly children = new Children();
  readonly #disk: Disk;
  readonly #flags: readonly string[];
  #data = '';
  /** What a start takes, roughly: crashes while starting are spread over it. */
  #startMs = 700;

  constructor(disk: Disk, flags: readonly string[] = []) {
    this.#disk = disk;
    this.#flags = flags;
  }

  async open(): Promise<void> {
    this.#data = await this.#disk.prepare();
  }

  async close(): Promise<void> {
    await this.children.killAll();
    await this.#disk.remove();
  }

  async start(): Promise<GantryProcess> {
    const began = performance.now();
    const child = await this.children.start({ data: this.#data, flags: this.#flags });
    this.#startMs = performance.now() - began;
    return child;
  }

  /** The first start that is let live: it gets the topics, which every later one has to know. */
  async begin(): Promise<GantryProcess> {
    const child = await this.start();
    await this.workload.setUp(child);
    return child;
  }

  /** Starts a process that is gone before anybody can ask it anything, at a moment between nothing and ready. */
  async crashWhileStarting(): Promise<void> {
    const child = this.children.spawn({ data: this.#data, flags: this.#flags });
    await after(this.dice.below(this.#startMs));
    await this.#crash(child);
  }

  async crashUnderLoad(child: GantryProcess, moment: Exclude<Moment, 'while it starts'>): Promise<void> {
    const load = this.workload.start(child);
    await load.begun;
    await Promise.race([this.#reached(moment), endedByItself(child)]);
    if (moment === 'while it stops') {
      child.signal('SIGTERM');
      await after(this.dice.below(40));
    }
    await this.#crash(child);
    await load.end();
  }

  #reached(moment: Moment): Promise<void> {
    if (moment === 'while tables are flushed') return written(join(this.#data, 'tables'), 1 + this.dice.below(6));
    return after(this.dice.below(moment === 'right after the start' ? 30 : 600));
  }

  async stopUnderLoad(child: GantryProcess): Promise<void> {
    const load = this.workload.start(child);
    await load.begun;
    await after(200 + this.dice.below(300));
    expect(await child.stop()).toMatchObject({ code: 0 });
    await load.end();
  }

  async #crash(child: GantryProcess): Promise<void> {
    await this.#disk.cut(child);
    await this.#disk.repair();
  }

  /** Reads everything and judges everything that ever happened on this folder. */
  async expectEveryPromiseKept(child: GantryProcess): Promise<void> {
    await this.workload.settle(child);
    await this.workload.readAll(child);
    expect(checkHistory(this.history.operations).slice(0, 10)).toEqual([]);
    expect(this.workload.surprises).toEqual([]);
  }

  /** After clean stops: who was not answered was not heard. */
  async expectAllThatIsStoredWasAnswered(child: GantryProcess): Promise<void> {
    await this.workload.readAll(child);
    const doubtful = new Set<string>();
    for (const { kind, args, outcome } of this.history.operations) {
      if (kind !== 'send') continue;
      for (const { value } of args.messages) {
        if (outcome === 'info') doubtful.add(value);
        if (outcome === 'ok') doubtful.delete(value); // sent again with its key
      }
    }
    const stored: string[] = [];
    for (const { kind, result } of this.history.operations) {
      if (kind !== 'drain' || !result) continue;
      for (const { messages } of result.queues) for (const { value } of messages) stored.push(value);
    }
    expect(stored.filter((value) => doubtful.has(value))).toEqual([]);
  }

  async expectNoConsumerMissedAnything(child: GantryProcess): Promise<void> {
    await this.workload.consumeAll(child);
    await this.expectEveryPromiseKept(child);
  }

  get epochOf() {
    return async (child: GantryProcess): Promise<number> => {
      const { brokers } = (await child.ask('GET', '/v1/brokers')) as { brokers: { epoch: number }[] };
      return brokers[0]!.epoch;
    };
  }
}

let stage: Stage;
afterEach(() => stage.close());

test(
  `a broker that is killed ${ROUNDS} times keeps every promise (CRASH_SEED=${SEED})`,
  async () => {
    stage = new Stage(new KilledProcessDisk());
    await stage.open();
    const { history } = stage;
    // The very first starts, too: a folder that was being made is begun again.
    for (let i = 0; i < 3; i++) await stage.crashWhileStarting();
    let child = await stage.begin();
    let epoch = await stage.epochOf(child);
    for (let round = 3; round < ROUNDS; round++) {
      const moment = MOMENTS[round % MOMENTS.length]!;
      await stage.crashUnderLoad(child, moment === 'while it starts' ? 'any time' : moment);
      // Again, while it replays what the first one has left.
      if (moment === 'while it starts') await stage.crashWhileStarting();
      child = await stage.start();
      await stage.expectEveryPromiseKept(child);
      const before = epoch;
      epoch = await stage.epochOf(child);
      expect(epoch).toBeGreaterThan(before);
    }
    await stage.expectNoConsumerMissedAnything(child);
    // All this proves nothing unless there was something to lose in each round, and something in doubt. A machine that
    // has other work gets less done between two kills.
    expect(history.count('send', 'ok')).toBeGreaterThan(10 * ROUNDS);
    expect(history.count('send', 'info')).toBeGreaterThan(ROUNDS / 2);
    expect(history.count('commit', 'ok')).toBeGreaterThan(ROUNDS);
    expect(history.count('change', 'ok')).toBeGreaterThan(ROUNDS / 4);
    expect(history.count('find', 'ok')).toBeGreaterThan(10 * ROUNDS);
  },
  patience(300_000),
);

test(`with --flush async a killed process loses nothing either, nor does a clean stop (CRASH_SEED=${SEED})`, async () => {
  stage = new Stage(new KilledProcessDisk(), ['--flush', 'async', '--flush-interval-ms', '60000']);
  await stage.open();
  let child = await stage.begin();
  for (const moment of ['any time', 'while tables are flushed', 'right after the start'] as const) {
    await stage.crashUnderLoad(child, moment);
    child = await stage.start();
    await stage.expectEveryPromiseKept(child);
  }
  await stage.stopUnderLoad(child);
  child = await stage.start();
  await stage.expectNoConsumerMissedAnything(child);
  expect(stage.history.count('send', 'ok')).toBeGreaterThan(40);
});

test(`a broker that is told to stop under load answers what it took and loses nothing (CRASH_SEED=${SEED})`, async () => {
  stage = new Stage(new KilledProcessDisk());
  await stage.open();
  let child = await stage.begin();
  for (let round = 0; round < 3; round++) {
    await stage.stopUnderLoad(child);
    child = await stage.start();
    await stage.expectAllThatIsStoredWasAnswered(child);
  }
  await stage.expectNoConsumerMissedAnything(child);
});
