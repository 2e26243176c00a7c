/**
 * A broker on stores in memory, whose clock, chance and disk are in the test's hands. `setup()` starts one and answers
 * everything around it; `afterEach(stopBrokers)` ends all of a test's brokers and fails when one of them met a fatal
 * error that the test did not expect.
 */
import pino from 'pino';
import type { Batch, Engine } from '../../storage/engine';
import { openMemoryFolder, type Folder } from '../../storage/folder';
import type { Chance } from '../../src/base/chance';
import type { Clock, Timer } from '../../src/base/clock';
import { GantryError } from '../../src/base/errors';
import type { Log } from '../../src/base/log';
import { Broker, type BrokerOptions } from '../../src/broker/broker';
import { GROUP_DEFAULTS, type Group } from '../../src/broker/group';
import type { ReceiveAnswer, ReceiveOptions } from '../../src/broker/leases';
import type { Joined, JoinOptions, NewGroup } from '../../src/broker/groups';
import { decodeMessage, type OutgoingMessage } from '../../src/broker/message';
import type { PollAnswer, PollOptions } from '../../src/broker/poller';
import type { CommitRequest } from '../../src/broker/positions';
import type { Delivery } from '../../src/broker/reader';
import type { CheckCaller } from '../../src/broker/checkbacks';
import type { ScheduledResult, SendResult, StoredResult } from '../../src/broker/sender';
import type { Topic } from '../../src/broker/topic';
import type { NewTopic } from '../../src/broker/topics';
import { ManualClock } from './clock';
import { patience } from './patience';

export const NAME = 'broker-a';
export const HOUR = 3_600_000;

/** The same seed, the same chance (mulberry32). */
export function seededChance(seed: number): Chance {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  return {
    bytes: (count) => Buffer.from(Array.from({ length: count }, () => next() & 0xff)),
    below: (bound) => Math.floor((next() / 0x1_0000_0000) * bound),
  };
}

/** The clock of one process: once it is killed, nothing of it runs any more. */
class MortalClock implements Clock {
  readonly #clock: Clock;
  dead = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now = () => this.#clock.now();
  monotonic = () => this.#clock.monotonic();
  after = (ms: number, callback: () => void): Timer => this.#clock.after(ms, () => this.#alive(callback));
  soon = (callback: () => void) => this.#clock.soon(() => this.#alive(callback));

  #alive(callback: () => void): void {
    if (!this.dead) callback();
  }
}

const GIB = 1024 ** 3;
/** Of the disk that the test has in its hands. */
const DISK_BYTES = 100 * GIB;

type Store = 'journal' | 'tables';
type Operation = 'read' | 'write';

/** Stops one kind of operation before it begins, until it is released. */
export class Hold {
  readonly reached: Promise<void>;
  readonly released: Promise<void>;
  arrive!: () => void;
  release!: () => void;

  constructor() {
    this.reached = new Promise((resolve) => (this.arrive = resolve));
    this.released = new Promise((resolve) => (this.release = resolve));
  }
}

/** Both engines, seen and slowed down. */
class WatchedDisk {
  readonly #holds = new Map<string, Hold>();
  readonly #counts = new Map<string, number>();
  readonly engines: Partial<Record<Store, Engine>> = {};

  /** The next such operations wait until the answer's `release`. */
  hold(store: Store, operation: Operation): Hold {
    const name = `${store} ${operation}`;
    const hold = new Hold();
    this.#holds.set(name, hold);
    void hold.released.then(() => this.#holds.delete(name));
    return hold;
  }

  release(): void {
    for (const hold of this.#holds.values()) hold.release();
    this.#holds.clear();
  }

  count(store: Store, operation: Operation): number {
    return this.#counts.get(`${store} ${operation}`) ?? 0;
  }

  /** Both kinds of both stores. */
  reads(): number {
    return this.count('journal', 'read') + this.count('tables', 'read');
  }

  /** Keys that lie in a store, as hex, of one family. */
  async keys(store: Store, letter: string): Promise<string[]> {
    const start = Buffer.from(letter);
    const rows = await this.engines[store]!.scan({ gte: start, limit: 1_000_000, keysOnly: true });
    return rows.filter(({ key }) => key[0] === start[0]).map(({ key }) => key.toString('hex'));
  }

  watch(store: Store, engine: Engine): Engine {
    this.engines[store] = engine;
    const read = <T>(work: () => Promise<T>) => this.#pass(store, 'read', work);
    return {
      get: (key) => read(() => engine.get(key)),
      getMany: (keys) => read(() => engine.getMany(keys)),
      scan: (options) => read(() => engine.scan(options)),
      batch: () => this.#watchedBatch(store, engine.batch()),
      compact: (from, to) => engine.compact(from, to),
      close: () => engine.close(),
    };
  }

  #watchedBatch(store: Store, batch: Batch): Batch {
    return {
      put: (key, value) => batch.put(key, value),
      delete: (key) => batch.delete(key),
      get bytes() {
        return batch.bytes;
      },
      write: (options) => this.#pass(store, 'write', () => batch.write(options)),
    };
  }

  async #pass<T>(store: Store, operation: Operation, work: () => Promise<T>): Promise<T> {
    const name = `${store} ${operation}`;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    const hold = this.#holds.get(name);
    hold?.arrive();
    await hold?.released;
    return work();
  }
}

export interface SetupOptions<C extends Clock> {
  clock?: C;
  /** Of the broker's chance. */
  seed?: number;
  options?: Partial<Omit<BrokerOptions, 'retention'>> & { retention?: Partial<BrokerOptions['retention']> };
  /** Do not start it. */
  stopped?: boolean;
}

export const DEFAULTS: BrokerOptions = {
  name: NAME,
  cluster: 'DefaultCluster',
  messageIdTag: '10.0.0.7:10911',
  address: '10.0.0.7',
  pid: 4711,
  syncEveryTurn: true,
  syncEveryMs: 500,
  retention: { retentionMs: 72 * HOUR, forceTrimRatio: 0.85, refuseRatio: 0.9 },
  retentionCheckMs: 60_000,
  trustClock: false,
  tailBytes: 16 << 20,
  maxParkedPolls: 1000,
};

const running = new Set<TestBroker<Clock>>();

export async function setup(given?: SetupOptions<ManualClock>): Promise<TestBroker<ManualClock>>;
export async function setup<C extends Clock>(given: SetupOptions<C> & { clock: C }): Promise<TestBroker<C>>;
export async function setup(given: SetupOptions<Clock> = {}): Promise<TestBroker<Clock>> {
  const broker = new TestBroker(given.clock ?? new ManualClock(), given);
  running.add(broker);
  await broker.open();
  if (!given.stopped) await broker.broker.start();
  return broker;
}

/** For afterEach. */
export async function stopBrokers(): Promise<void> {
  const all = [...running];
  running.clear();
  const unexpected: unknown[] = [];
  for (const broker of all) {
    await broker.stop();
    unexpected.push(...broker.fatal.splice(0));
  }
  if (unexpected.length > 0) throw unexpected[0];
}

export class TestBroker<C extends Clock> {
  readonly clock: C;
  readonly disk = new WatchedDisk();
  readonly memory = openMemoryFolder();
  /** What `onFatal` was told. A test that expects something takes it out. */
  readonly fatal: unknown[] = [];
  /** The part of the disk that is used, or why nobody can tell. */
  used: number | Error = 0.1;
  /** Bytes of the disk that the journal takes. */
  journalBytes = 40 * GIB;
  /** Lines of the log, with the fields of each. */
  readonly logged: { level: string; msg: string; [field: string]: unknown }[] = [];
  /** How far NameServers have seen the folder. */
  folderSeen: { epoch: number; journalEnd: number } | undefined;
  /** What the webhooks of producer groups answer. */
  checkCaller = NOBODY_ANSWERS;
  broker!: Broker;
  folder!: Folder;
  #life!: MortalClock;
  options: BrokerOptions;
  readonly #chance: Chance;

  constructor(clock: C, given: SetupOptions<Clock>) {
    this.clock = clock;
    this.#chance = seededChance(given.seed ?? 1);
    const { retention, ...options } = given.options ?? {};
    this.options = { ...DEFAULTS, ...options, retention: { ...DEFAULTS.retention, ...retention } };
    const open = this.memory.disk.open;
    const watched: typeof open = async (location, options) =>
      this.disk.watch(location as Store, await open(location, options));
    Object.assign(this.memory.disk, { open: watched });
  }

  /** Opens the stores and builds a broker that has not started. */
  async open(): Promise<Broker> {
    this.folder = await this.memory.open();
    const life = (this.#life = new MortalClock(this.clock));
    this.broker = new Broker({
      clock: life,
      chance: this.#chance,
      log: this.#log(),
      journal: this.folder.journal,
      tables: this.folder.tables,
      disk: {
        use: async () => {
          if (typeof this.used === 'object') throw this.used;
          const usedBytes = Math.round(this.used * DISK_BYTES);
          return { usedBytes, availableBytes: DISK_BYTES - usedBytes, journalBytes: this.journalBytes };
        },
      },
      checkCaller: this.checkCaller,
      folderSeen: () => Promise.resolve(this.folderSeen),
      onFatal: (error) => void (life.dead || this.fatal.push(error)),
      options: this.options,
    });
    return this.broker;
  }

  get rooms() {
    return this.broker.rooms;
  }

  get state() {
    return this.broker.state;
  }

  get journal() {
    return this.folder.journal;
  }

  /** Stops in an orderly way. Idempotent. */
  async stop(): Promise<void> {
    this.disk.release();
    if (!this.#life.dead) await this.broker.stop();
    this.#life.dead = true;
    await this.folder.close();
  }

  /** Ends it as a failed process ends: nothing is finished any more. */
  async kill(): Promise<void> {
    this.disk.release();
    this.#life.dead = true;
    await this.folder.close();
  }

  /** Lets time go by without living through it: timers do not run, but for those of the last two seconds. */
  #log(): Log {
    const write = (line: string) => void this.logged.push(JSON.parse(line) as (typeof this.logged)[number]);
    return pino({ level: 'info', formatters: { level: (level) => ({ level }) } }, { write });
  }

  async skip(this: TestBroker<ManualClock>, ms: number): Promise<void> {
    this.clock.pass(ms);
    await this.clock.advance(2000);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.open();
    await this.broker.start();
  }

  /** Power is cut: what was not synced is gone, and the tables may be far behind the journal. */
  async crash(): Promise<void> {
    this.#life.dead = true;
    this.disk.release();
    this.memory.disk.powerCut();
    await this.open();
    await this.broker.start();
  }

  async topic(name = 'orders', given: Partial<NewTopic> = {}): Promise<Topic> {
    const { topic } = await this.rooms.topics.create({ ...newTopic(name), ...given });
    return topic;
  }

  async group(name = 'billing', given: Partial<NewGroup> = {}): Promise<Group> {
    const { group } = await this.rooms.groups.put({ ...newGroup(name), ...given });
    return group;
  }

  /** Sends; every message must be stored. */
  async send(topic: string, ...messages: Given[]): Promise<Stored[]> {
    const { results } = await this.rooms.sender.send(topic, messages.map(message));
    return results.map(stored);
  }

  /** Sends; every message must be stored, and wait. */
  async schedule(topic: string, ...messages: Given[]): Promise<ScheduledResult[]> {
    const { results } = await this.rooms.sender.send(topic, messages.map(message));
    return results.map(waiting);
  }

  async join(group = 'billing', consumer = 'c1', given: Partial<JoinOptions> = {}): Promise<Joined> {
    return this.rooms.groups.join(group, consumer, {
      topic: 'orders',
      filter: undefined,
      consumeFrom: 'EARLIEST',
      leaseMs: 30_000,
      ...given,
    });
  }

  async poll(group = 'billing', consumer = 'c1', given: Partial<PollOptions> = {}): Promise<PollAnswer> {
    const signal = new AbortController().signal;
    return this.rooms.poller.poll(group, consumer, {
      max: 32,
      maxBytes: 1 << 20,
      min: 1,
      waitMs: 0,
      cursor: '',
      autoCommit: false,
      signal: () => signal,
      ...given,
    });
  }

  async receive(group = 'billing', given: Partial<ReceiveOptions> = {}): Promise<ReceiveAnswer> {
    const signal = new AbortController().signal;
    return this.rooms.leases.receive(group, {
      ...{ max: 32, min: 1, maxBytes: 1 << 20, waitMs: 0, invisibleMs: 60_000, signal: () => signal },
      ...given,
    });
  }

  /** Commits what a cursor covers, or the next offsets of queues; answers an error code per queue, or undefined. */
  async commit(group: string, consumerId: string | undefined, what: string | Partial<CommitRequest>) {
    const none = { generation: undefined, cursor: undefined, offsets: undefined, force: false };
    const request = { ...none, consumerId, ...(typeof what === 'string' ? { cursor: what } : what) };
    return (await this.rooms.positions.commit(group, request)).map(({ error }) => error?.code);
  }

  /** What each queue that the group reads is committed to. */
  committed(group = 'billing', consumerId?: string): number[] {
    return this.rooms.positions.offsets(group, consumerId).queues.map(({ committed }) => committed);
  }

  /** Everything that was submitted is applied, and what follows from it. */
  async settled(): Promise<void> {
    await turn();
    await until(() => this.rooms.pendingBytes === 0, 'an idle writer');
    await turn();
    await until(() => this.rooms.pendingBytes === 0, 'an idle writer');
  }

  /** Resolves once so many polls wait. */
  async parked(polls: number): Promise<void> {
    await until(() => this.broker.lot.parked === polls, `${polls} parked polls`);
  }

  /** Messages of one queue, from memory or disk: what a reader without a group sees. */
  async readAll(topic: string, queueId: number): Promise<string[]> {
    const queue = this.state.topicsByName.get(topic)!.queues[queueId]!;
    const all: string[] = [];
    for (let offset = queue.min; offset < queue.max;) {
      const page = await this.rooms.lookup.readQueue(topic, NAME, queueId, {
        offset,
        max: 100,
        maxBytes: 8 << 20,
        waitMs: 0,
        filter: undefined,
        signal: () => new AbortController().signal,
      });
      all.push(...bodies(page.messages));
      offset = page.nextOffset;
    }
    return all;
  }
}

export const newTopic = (name: string): NewTopic => ({
  name,
  type: 'NORMAL',
  readQueues: 4,
  writeQueues: 4,
  permission: 'RW',
  tagPolicy: 'OPEN',
});

export const newGroup = (name: string): NewGroup => ({
  name,
  topic: 'orders',
  filter: { type: 'TAG', expression: '*' },
  consumeFrom: 'EARLIEST',
  ...GROUP_DEFAULTS,
});

/** Webhooks that nobody serves. */
export const NOBODY_ANSWERS: CheckCaller = {
  check: () => Promise.resolve(),
  ask: () => Promise.reject(new Error('nobody answers at this webhook')),
};

/** A message as tests write it: its text, or its parts. */
export type Given = string | (Partial<Omit<OutgoingMessage, 'body'>> & { body?: string | Buffer });

export function message(given: Given): OutgoingMessage {
  const { body = 'hello', ...rest } = typeof given === 'string' ? { body: given } : given;
  return { text: true, ...rest, body: typeof body === 'string' ? Buffer.from(body) : body };
}

export type Stored = StoredResult;

export function stored(result: SendResult): Stored {
  if (result.error !== undefined) throw result.error;
  if (result.deliverTimestamp !== undefined) throw new Error('the message waits for its time');
  return result;
}

export function waiting(result: SendResult): ScheduledResult {
  if (result.error !== undefined) throw result.error;
  if (result.deliverTimestamp === undefined) throw new Error('the message does not wait');
  return result;
}

/** A queue and the next offset to read there, as a commit names them. */
export const at = (queueId: number, nextOffset: number, topic = 'orders', broker = NAME) => ({
  ...{ topic, broker, queueId, nextOffset },
});

/** A message for one queue. */
export const to = (queueId: number, body: string, rest: object = {}): Given => ({
  ...{ body, queue: { broker: NAME, queueId } },
  ...rest,
});

export const bodies = (messages: readonly Delivery[]): string[] =>
  messages.map(({ record }) => decodeMessage(record).body.toString());

/** For expect(…).rejects.toMatchObject. */
export const coded = (code: GantryError['code'], extras: object = {}) => ({ code, ...extras });

/** Lets everything happen that is ready to happen. */
export const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Waits, event by event, until the condition holds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + patience(30_000);
  while (performance.now() < deadline) {
    if (condition()) return;
    await turn();
  }
  throw new Error(`never happened: ${what}`);
}

/** The code of an expected failure, or what came instead. */
export async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    (value) => ({ resolved: value }),
    (error: unknown) => (error instanceof GantryError ? error.code : error),
  );
}
