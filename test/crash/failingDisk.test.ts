/**
 * The disk fails a write, once: the broker writes nothing more, tells everybody what it knows about their messages, and
 * ends. Or the disk is full: the broker takes nothing in, goes on otherwise, and takes messages again when there is room.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FolderDiskSpace } from '../../storage/diskSpace';
import type { Batch, OpenEngine } from '../../storage/engine';
import { WriteFailedError } from '../../storage/failures';
import { openFolder, type Folder } from '../../storage/folder';
import { openRocksdb } from '../../storage/rocksdbEngine';
import { STATUS } from '../../api/problem';
import type { Code } from '../../src/base/errors';
import { silentLog } from '../../src/base/log';
import { Broker } from '../../src/broker/broker';
import { bodies, codeOf, DEFAULTS, NOBODY_ANSWERS, message, newTopic, seededChance, until } from '../support/broker';
import { Children, KilledProcessDisk } from '../support/child';
import { ManualClock } from '../support/clock';
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';

// Starts of processes, on machines that have other things to do, too.
type Store = 'journal' | 'tables';

/** What became of the bytes of the write that failed. */
type Remains = 'nothing of it is stored' | 'all of it is stored';

/** Opens RocksDB, and lets one write of one store fail when it is told to. Later ones would succeed again. */
class FailingDisk {
  readonly writes: Record<Store, number> = { journal: 0, tables: 0 };
  readonly #failing = new Map<Store, { remains: Remains; reached: () => void; released: Promise<void> }>();

  readonly open: OpenEngine = async (location, options) => {
    const store: Store = location.endsWith('journal') ? 'journal' : 'tables';
    const engine = await openRocksdb(location, options);
    return {
      get: (key) => engine.get(key),
      getMany: (keys) => engine.getMany(keys),
      scan: (range) => engine.scan(range),
      batch: () => this.#batch(store, engine.batch()),
      compact: (from, to) => engine.compact(from, to),
      check: (maxBytes) => engine.check!(maxBytes),
      close: () => engine.close(),
    };
  };

  #batch(store: Store, batch: Batch): Batch {
    return {
      put: (key, value) => batch.put(key, value),
      delete: (key) => batch.delete(key),
      get bytes() {
        return batch.bytes;
      },
      write: (options) => this.#write(store, () => batch.write(options)),
    };
  }

  async #write(store: Store, write: () => Promise<void>): Promise<void> {
    this.writes[store]++;
    const failing = this.#failing.get(store);
    if (!failing) return write();
    this.#failing.delete(store);
    failing.reached();
    await failing.released;
    if (failing.remains === 'all of it is stored') await write();
    throw new WriteFailedError('IO error: the disk was told to fail');
  }

  /** The next write of a store hangs until `fail` is called, and fails then. */
  hold(store: Store, remains: Remains): { reached: Promise<void>; fail: () => void } {
    let fail!: () => void;
    let reached!: () => void;
    const [released, arrived] = [
      new Promise<void>((done) => (fail = done)),
      new Promise<void>((done) => (reached = done)),
    ];
    this.#failing.set(store, { remains, reached, released });
    return { reached: arrived, fail };
  }
}

describe('a write that fails', () => {
  let place: string;
  let disk: FailingDisk;
  let clock: ManualClock;
  let folder: Folder;
  let broker: Broker;
  const fatal: unknown[] = [];

  beforeEach(async () => {
    place = await mkdtemp(join(tmpdir(), 'gantry-failing-'));
    disk = new FailingDisk();
    clock = new ManualClock();
    await open();
    await broker.rooms.topics.create({ ...newTopic('orders'), readQueues: 1, writeQueues: 1 });
  });
  afterEach(async () => {
    try {
      await close();
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  });

  async function open(flush: 'sync' | 'async' = 'sync') {
    fatal.length = 0;
    const buffers = { writeBufferBytes: { journal: 1 << 20, tables: 1 << 20 }, cacheBytes: 1 << 20 };
    folder = await openFolder({ path: join(place, 'data'), openEngine: disk.open, timers: clock, flush, ...buffers });
    broker = new Broker({
      clock,
      chance: seededChance(1),
      log: silentLog,
      journal: folder.journal,
      tables: folder.tables,
      disk: { use: () => Promise.resolve({ usedBytes: 1, availableBytes: 9, journalBytes: 1 }) },
      checkCaller: NOBODY_ANSWERS,
      onFatal: (error) => void fatal.push(error),
      options: { ...DEFAULTS, syncEveryTurn: flush === 'sync' },
    });
    await broker.start();
  }

  async function close() {
    await broker.stop();
    await folder.close().catch(() => undefined); // says again that the last sync failed
  }

  /** The process has ended, and is started again on a disk that works. */
  async function restart() {
    await close();
    await open();
  }

  const send = (body: string, key?: string) => broker.rooms.sender.send('orders', [message(body)], key);
  const sent = async (body: string) => expect(await codeOf(send(body))).toMatchObject({ resolved: {} });
  const statusOf = async (work: Promise<unknown>) => {
    const code = await codeOf(work);
    return typeof code === 'string' ? `${STATUS[code as Code]} ${code}` : code;
  };

  const stored = () => readFrom(0);

  async function readFrom(offset: number): Promise<string[]> {
    const options = { offset, max: 100, maxBytes: 1 << 20, waitMs: 0, filter: undefined };
    const page = await broker.rooms.lookup.readQueue('orders', 'broker-a', 0, {
      ...options,
      signal: () => new AbortController().signal,
    });
    expect(page.messages.map(({ queueOffset }) => queueOffset)).toEqual(page.messages.map((_, i) => offset + i));
    expect(page.nextOffset).toBe(page.maxOffset);
    return bodies(page.messages);
  }

  /** Lets everything run that could still want to write: timers, chores, a stop. */
  async function nothingMoreIsWritten(since: Record<Store, number>) {
    for (let seconds = 0; seconds < 30; seconds++) await clock.advance(1000);
    await broker.stop();
    expect(disk.writes).toEqual(since);
    expect(fatal).toHaveLength(1);
  }

  const REMAINS: Remains[] = ['nothing of it is stored', 'all of it is stored'];

  test.each(REMAINS)('of the journal: senders are told the truth, and it was the last one (%s)', async (remains) => {
    await sent('before-1');
    await sent('before-2');
    const { reached, fail } = disk.hold('journal', remains);
    const underWay = ['unsure-1', 'unsure-2'].map((body) => statusOf(send(body)));
    await reached;
    const waiting = ['never-1', 'never-2'].map((body) => statusOf(send(body)));
    const writes = { ...disk.writes };
    fail();
    expect(await Promise.all(underWay)).toEqual(['504 OUTCOME_UNKNOWN', '504 OUTCOME_UNKNOWN']);
    expect(await Promise.all(waiting)).toEqual(['503 SERVICE_NOT_AVAILABLE', '503 SERVICE_NOT_AVAILABLE']);
    expect(await statusOf(send('never-3'))).toBe('503 SERVICE_NOT_AVAILABLE');
    await nothingMoreIsWritten(writes);

    await restart();
    const unsure = remains === 'all of it is stored' ? ['unsure-1', 'unsure-2'] : [];
    expect(await stored()).toEqual(['before-1', 'before-2', ...unsure]);
    await sent('after');
    expect(await stored()).toEqual(['before-1', 'before-2', ...unsure, 'after']);
  });

  test.each(REMAINS)(
    'of the journal: the same Idempotency-Key stores it once after the restart (%s)',
    async (remains) => {
      const { reached, fail } = disk.hold('journal', remains);
      const first = codeOf(send('unsure', 'k'));
      await reached;
      fail();
      expect(await first).toBe('OUTCOME_UNKNOWN');
      await restart();
      expect((await send('unsure', 'k')).replayed).toBe(remains === 'all of it is stored');
      expect((await send('unsure', 'k')).replayed).toBe(true);
      expect(await stored()).toEqual(['unsure']);
    },
  );

  test('of the tables: what was trimmed is not cleared away any more either', async () => {
    for (const body of ['1', '2', '3']) await sent(body);
    await clock.advance(100);
    await until(() => folder.tables.applied === folder.journal.end, 'all is flushed');
    await broker.rooms.retention.trim(folder.journal.end, { reason: 'age' });
    const { reached, fail } = disk.hold('tables', 'nothing of it is stored');
    await clock.advance(100);
    await reached;
    const writes = { ...disk.writes };
    fail();
    await until(() => fatal.length > 0, 'the fatal error is told');
    await nothingMoreIsWritten(writes);
    await restart();
    expect(await readFrom(2)).toEqual(['3']);
  });

  test.each(REMAINS)(
    'of the tables: it is the last one of the journal, too, and loses nothing (%s)',
    async (remains) => {
      const { reached, fail } = disk.hold('tables', remains);
      await sent('before-1');
      await clock.advance(100); // a flush begins
      await reached;
      await sent('before-2'); // the journal goes on meanwhile
      const writes = { ...disk.writes };
      fail();
      await until(() => fatal.length > 0, 'the fatal error is told');
      expect(await statusOf(send('never'))).toBe('503 SERVICE_NOT_AVAILABLE');
      await nothingMoreIsWritten(writes);

      await restart();
      expect(await stored()).toEqual(['before-1', 'before-2']);
      await sent('after');
      await clock.advance(1000);
      await restart();
      expect(await stored()).toEqual(['before-1', 'before-2', 'after']);
    },
  );

  test('of the tables, while the journal is being written: nobody is told that it is stored', async () => {
    await sent('before');
    const tables = disk.hold('tables', 'nothing of it is stored');
    await clock.advance(100);
    await tables.reached;
    const journal = disk.hold('journal', 'all of it is stored');
    const underWay = statusOf(send('unsure'));
    await journal.reached;
    const waiting = statusOf(send('never'));
    tables.fail();
    expect(await underWay).toBe('504 OUTCOME_UNKNOWN'); // at once: a disk that fails may also hang
    expect(await waiting).toBe('503 SERVICE_NOT_AVAILABLE');
    expect(fatal).toHaveLength(1);
    journal.fail();
    await restart();
    expect(await stored()).toEqual(['before', 'unsure']);
    expect(fatal).toEqual([]);
  });

  test('of a sync with flush async: it ends as well, and what was synced is there', async () => {
    await close();
    await open('async');
    await sent('before');
    await clock.advance(DEFAULTS.syncEveryMs);
    await until(() => folder.journal.durableEnd === folder.journal.end, 'it is synced');
    await sent('unsynced');
    const { reached, fail } = disk.hold('journal', 'nothing of it is stored');
    await clock.advance(DEFAULTS.syncEveryMs);
    await reached;
    const writes = { ...disk.writes };
    fail();
    await until(() => fatal.length > 0, 'the fatal error is told');
    expect(await statusOf(send('never'))).toBe('503 SERVICE_NOT_AVAILABLE');
    await nothingMoreIsWritten(writes);
    await restart();
    expect((await stored())[0]).toBe('before');
  });
});

describe('a process whose disk fails a write', () => {
  const disk = new KilledProcessDisk();
  const children = new Children();
  let data: string;
  beforeEach(async () => {
    data = await disk.prepare();
  });
  afterEach(async () => {
    await children.killAll();
    await disk.remove();
  });

  /** Loaded before Gantry: the next batch of a store fails as soon as a file beside the data folder says which store. */
  const preload = (order: string) => `
    const { existsSync, readFileSync, rmSync } = require('node:fs');
    const { prototype } = require(${JSON.stringify(require.resolve('rocksdb/chained-batch'))});
    const write = prototype._write;
    prototype._write = function (options, done) {
      const order = ${JSON.stringify(order)};
      if (!existsSync(order) || !this.db.location.endsWith(readFileSync(order, 'utf8'))) return write.call(this, options, done);
      rmSync(order);
      setImmediate(done, new Error('IO error: While fdatasync: Input/output error'));
    };`;

  async function startWithFailingDisk() {
    const order = join(data, '../fail');
    const script = join(data, '../preload.cjs');
    await writeFile(script, preload(order));
    const child = await children.start({ data, nodeFlags: ['--require', script] });
    await child.ask('POST', '/v1/topics', { name: 'orders', writeQueues: 1 });
    return { child, fail: (store: Store) => writeFile(order, store) };
  }

  const MESSAGES = '/v1/topics/orders/messages';
  const read = '/v1/topics/orders/queues/broker-a/0/messages?offset=0';

  test('answers who waits that nobody knows, ends with exit code 70, and can be started again', async () => {
    const { child, fail } = await startWithFailingDisk();
    const first = await child.call('POST', MESSAGES, { json: { body: 'before' } });
    expect(first.status).toBe(200);
    await fail('journal');
    const keyed = { json: { body: 'unsure' }, headers: { 'idempotency-key': 'k' } };
    const unsure = await child.call('POST', MESSAGES, keyed);
    expect(unsure).toMatchObject({ status: 504, body: { code: 'OUTCOME_UNKNOWN', retryable: true } });
    const exit = await child.exited;
    expect(exit.code).toBe(70);
    expect(exit.stderr).toContain('Input/output error');

    const again = await children.start({ data });
    expect((await again.call('POST', MESSAGES, keyed)).status).toBe(200);
    const { messages } = (await again.ask('GET', read)) as { messages: { body: string }[] };
    expect(messages.map(({ body }) => body)).toEqual(['before', 'unsure']);
  });

  test('ends with exit code 70 when it is the tables that cannot be written, and has lost nothing', async () => {
    const { child, fail } = await startWithFailingDisk();
    await fail('tables');
    const acknowledged: string[] = [];
    const statuses = new Set<number>();
    // One after the other, until the next flush.
    for (let i = 1; ; i++) {
      const answer = await child.call('POST', MESSAGES, { json: { body: `order-${i}` } }).catch(() => undefined);
      if (!answer) break;
      statuses.add(answer.status);
      if (answer.status === 200) acknowledged.push(`order-${i}`);
    }
    expect([200, 503, 504]).toEqual(expect.arrayContaining([...statuses]));
    expect(await child.exited).toMatchObject({ code: 70 });
    const again = await children.start({ data });
    const { messages } = (await again.ask('GET', `${read}&max=1000`)) as { messages: { body: string }[] };
    // One may be there that was not answered: nobody knew.
    expect(messages.map(({ body }) => body).slice(0, acknowledged.length)).toEqual(acknowledged);
    expect(messages.length - acknowledged.length).toBeLessThanOrEqual(1);
  });
});

describe('a disk that is full', () => {
  let used: number;
  let node: Standalone;
  let client: Http;
  const topic = { topic: 'orders' };
  const worker = { group: 'billing', consumerId: 'w' };

  beforeEach(async () => {
    used = 0.1;
    jest
      .spyOn(FolderDiskSpace.prototype, 'use')
      .mockImplementation(() => Promise.resolve({ usedBytes: used, availableBytes: 1 - used, journalBytes: 0 }));
    // Looked at when the test says so, not by the clock.
    node = await Standalone.start({
      'retention-check-ms': '3600000',
      'disk-force-trim-ratio': '0.98',
      'disk-refuse-ratio': '0.99',
    });
    client = http(node.url, contract);
    node.closeFirst(() => client.close());
    await client.call('createTopic', { body: { name: 'orders', writeQueues: 1 } });
  });
  afterEach(async () => {
    await node.stop();
    jest.restoreAllMocks();
  });

  async function becomes(ratio: number) {
    used = ratio;
    await node.brokerNode.broker.rooms.retention.look();
  }

  const send = (body: string, key?: string) =>
    client.call('sendMessages', {
      path: topic,
      body: { messages: [{ body }] },
      ...(key === undefined ? {} : { headers: { 'Idempotency-Key': key } }),
    });
  const ready = async () => (await client.request('GET', '/readyz')).status;

  test('takes no messages, tells so, and takes them again when there is room', async () => {
    expect((await send('before')).status).toBe(200);
    expect(await ready()).toBe(200);

    await becomes(0.995);
    for (const refused of [await send('never'), await send('later', 'k')]) {
      expect(refused.problem).toMatchObject({ status: 503, code: 'DISK_FULL', retryable: true });
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    }
    const readyz = await client.request('GET', '/readyz');
    // A load balancer that cut it off would cut off consumers, too.
    expect(readyz.status).toBe(200);
    expect(JSON.parse(readyz.text)).toMatchObject({
      status: 'READ_ONLY',
      accepts: { reads: true, writes: false },
      checks: expect.arrayContaining([expect.objectContaining({ name: 'disk', ok: false })]),
    });
    expect((await client.request('GET', '/livez')).status).toBe(200);

    await becomes(0.5);
    expect((await send('after')).status).toBe(200);
    const later = await send('later', 'k');
    expect(later.status).toBe(200);
    expect(later.headers['idempotency-replayed']).toBeUndefined(); // the refusal has left nothing behind
    expect(await ready()).toBe(200);
    const { messages } = (
      await client.call('readQueue', { path: { ...topic, broker: 'broker-a', queueId: 0 }, query: { offset: 0 } })
    ).body;
    expect(messages.map(({ body }) => body)).toEqual(['before', 'after', 'later']);
  });

  test('goes on to be read and committed', async () => {
    for (const body of ['1', '2', '3']) await send(body);
    await client.call('joinGroup', { path: worker, body: topic });
    await becomes(0.995);
    const poll = (await client.call('pollMessages', { path: worker, query: { waitMs: 0, max: 2 } })).body;
    expect(poll.messages.map(({ body }) => body)).toEqual(['1', '2']);
    const commit = await client.call('commitOffsets', {
      path: { group: 'billing' },
      body: { consumerId: 'w', cursor: poll.cursor },
    });
    expect(commit.status).toBe(200);
    const rest = (
      await client.call('pollMessages', { path: worker, query: { waitMs: 0, cursor: poll.cursor, autoCommit: true } })
    ).body;
    expect(rest.messages.map(({ body }) => body)).toEqual(['3']);
    const { offsets } = (await client.call('getOffsets', { path: { group: 'billing' } })).body;
    expect(offsets).toEqual([expect.objectContaining({ committed: 2 })]);
  });
});
