/** Finding a message by its id: runs of neighbours, whatever lies in between, before, during and after a flush. */
import { positionOf } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { hourOf, IdRuns, type FoundId } from '../../src/broker/idRuns';
import { encodeMessage } from '../../src/broker/message';
import { HOUR, message, setup, stopBrokers } from '../support/broker';

afterEach(stopBrokers);

const NOW = 490_000 * HOUR;
const HOURS = { from: 489_998, to: 490_000, hint: 490_000 };

/** An id made here: the same millisecond, counted. */
const made = (counter: number, ms = 1) => Buffer.from(`0A0000071267DEADBEEF${hex(ms, 8)}${hex(counter, 4)}`, 'hex');
const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
const record = (id: Buffer) => encodeMessage(message('x'), { topic: 2, queueId: 0, messageId: id, bornTimestamp: NOW });

/** Ids in a tables store of their own. */
async function store() {
  const { folder } = await setup({ stopped: true });
  const runs = new IdRuns();
  let index = 10;
  /** One command; its messages lie side by side in queue 3. */
  const command = (ids: Buffer[], { time = NOW, queueIds = ids.map(() => 3), offset = 100 } = {}) => {
    index++;
    runs.begin();
    ids.forEach((id, i) => runs.add(record(id), time, positionOf(index, i), queueIds[i]!, offset + i));
    return index;
  };
  const flush = async () => {
    await folder.tables.flush([...runs.take()], index);
    runs.flushed();
  };
  const found = async (id: Buffer, hours = HOURS) => collect(runs, id, folder.tables, hours);
  return { runs, command, flush, found, tables: folder.tables };
}

async function collect(runs: IdRuns, id: Buffer, tables: Tables, hours: typeof HOURS): Promise<FoundId[]> {
  const all: FoundId[] = [];
  for await (const at of runs.find(id, tables, hours)) all.push(at);
  return all;
}

const at = (index: number, ordinal: number, offset = 100 + ordinal) => ({
  position: positionOf(index, ordinal),
  queueId: 3,
  queueOffset: offset,
});

describe('messages made together', () => {
  test('are one run, of which each message is found', async () => {
    const { runs, command, found } = await store();
    const index = command([made(7), made(8), made(9)]);
    expect(runs.pending).toBe(1);
    expect(await found(made(7))).toEqual([at(index, 0)]);
    expect(await found(made(9))).toEqual([at(index, 2)]);
    expect(await found(made(10))).toEqual([]);
    expect(await found(made(6))).toEqual([]);
    expect(await found(made(8, 2))).toEqual([]);
  });

  test('cost one row after a flush, and are found alike', async () => {
    const { runs, command, found, flush } = await store();
    const index = command(Array.from({ length: 1000 }, (_, i) => made(i)));
    expect([...runs.take()]).toHaveLength(1);
    await flush(); // what was taken is gone with this IdRuns; the next one is written
    const again = command(Array.from({ length: 1000 }, (_, i) => made(i, 5)));
    await flush();
    expect(await found(made(0, 5))).toEqual([at(again, 0)]);
    expect(await found(made(999, 5))).toEqual([at(again, 999)]);
    expect(await found(made(1000, 5))).toEqual([]);
    expect(index).toBeLessThan(again);
  });

  test('whose counter wraps are two runs', async () => {
    const { runs, command, found, flush } = await store();
    const index = command([made(0xfffe), made(0xffff), made(0), made(1)]);
    expect(runs.pending).toBe(2);
    await flush();
    for (const [ordinal, counter] of [0xfffe, 0xffff, 0, 1].entries())
      expect(await found(made(counter))).toEqual([at(index, ordinal)]);
  });

  test('between which the sender’s own ids lie are found like these', async () => {
    const { command, found, flush } = await store();
    const own = Buffer.from('FF'.repeat(16), 'hex');
    const index = command([made(1), own, made(3), made(4)]);
    for (const flushed of [false, true]) {
      if (flushed) await flush();
      expect(await found(made(1))).toEqual([at(index, 0)]);
      expect(await found(own)).toEqual([at(index, 1)]);
      expect(await found(made(2))).toEqual([]);
      expect(await found(made(4))).toEqual([at(index, 3)]);
    }
  });

  test('that went to different queues are found in theirs', async () => {
    const { command, found, flush } = await store();
    const index = command([made(1), made(2), made(3)], { queueIds: [0, 5, 0] });
    await flush();
    expect(await found(made(2))).toEqual([{ position: positionOf(index, 1), queueId: 5, queueOffset: 101 }]);
    expect(await found(made(3))).toEqual([{ position: positionOf(index, 2), queueId: 0, queueOffset: 102 }]);
  });
});

test('a run never spans two commands, however well they fit', async () => {
  const { runs, command, found } = await store();
  const first = command([made(1)]);
  const second = command([made(2)], { offset: 101 });
  expect(runs.pending).toBe(2);
  expect(await found(made(2))).toEqual([at(second, 0, 101)]);
  expect(await found(made(1))).toEqual([at(first, 0)]);
});

describe('an id that was stored more than once', () => {
  const own = Buffer.from('AB'.repeat(16), 'hex');

  test('is found each time: in memory, under way to disk, and in every hour on disk', async () => {
    const { command, found, flush, runs } = await store();
    const oldest = command([own], { time: NOW - 2 * HOUR });
    await flush();
    const older = command([own], { time: NOW - HOUR });
    await flush();
    const flushing = command([own]);
    Array.from(runs.take());
    const newest = command([own]);
    const positions = (await found(own)).map(({ position }) => position);
    expect(positions.sort()).toEqual([oldest, older, flushing, newest].map((index) => positionOf(index, 0)));
  });
});

describe('while a flush runs', () => {
  test('what it writes is still found, and what comes meanwhile, too', async () => {
    const { runs, command, found } = await store();
    const before = command([made(1)]);
    Array.from(runs.take());
    const meanwhile = command([made(50)]);
    expect(await found(made(1))).toEqual([at(before, 0)]);
    expect(await found(made(50))).toEqual([at(meanwhile, 0)]);
    runs.flushed();
    expect(await found(made(1))).toEqual([]); // it was never written here
  });
});

describe('hours', () => {
  test('outside the ones kept are not looked at', async () => {
    const { command, found, flush } = await store();
    command([made(1)], { time: NOW - 5 * HOUR });
    await flush();
    expect(await found(made(1))).toEqual([]);
    expect(await found(made(1), { ...HOURS, from: 489_995 })).toHaveLength(1);
  });

  test('are found whichever the hint is, a wrong or impossible one included', async () => {
    const { command, found, flush } = await store();
    const index = command([made(1)], { time: NOW - HOUR });
    await flush();
    for (const hint of [489_999, 489_998, 490_000, 0, 999_999])
      expect(await found(made(1), { ...HOURS, hint })).toEqual([at(index, 0)]);
  });

  test('begin on the hour', () => {
    expect([hourOf(NOW - 1), hourOf(NOW), hourOf(NOW + HOUR - 1)]).toEqual([489_999, 490_000, 490_000]);
  });

  test('the one that the id names is asked first: one read finds it', async () => {
    const t = await setup();
    await t.topic();
    const [sent] = await t.send('orders', 'x');
    await t.skip(3 * HOUR);
    await t.restart();
    await t.clock.advance(10); // the first look of retention is over
    const before = t.disk.count('tables', 'read');
    const found = await t.rooms.lookup.message('orders', sent!.messageId);
    expect(found.queue.queueId).toBe(sent!.queueId);
    expect(found.queueOffset).toBe(0);
    expect(t.disk.count('tables', 'read') - before).toBe(1);
  });
});
