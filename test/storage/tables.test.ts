/** The tables over the engine in memory, where a test can take rows away; damage.test.ts does it to real files. */
import type { Engine, Row } from '../../storage/engine';
import { DamagedError, WriteFailedError } from '../../storage/failures';
import { numberValue, tableKeys } from '../../storage/keys';
import { MemoryDisk } from '../../storage/memoryEngine';
import { Tables, type TablesOptions } from '../../storage/tables';

const ENGINE = { writeBufferBytes: 1 << 20, cacheBytes: 0 };
const key = (text: string) => Buffer.from(text);
const put = (text: string, value = 'v') => ({ key: key(text), value: Buffer.from(value) });
const texts = (rows: Row[]) => rows.map((row) => `${row.key.toString()}=${row.value.toString()}`);

describe('the tables', () => {
  let disk: MemoryDisk;
  let engine: Engine;
  let tables: Tables;

  beforeEach(async () => {
    disk = new MemoryDisk();
    engine = await disk.open('tables', ENGINE);
    tables = await open();
  });

  const open = (options: Partial<TablesOptions> = {}) => Tables.open({ engine, ...options });

  async function remove(...keys: Buffer[]): Promise<void> {
    const batch = engine.batch();
    for (const each of keys) batch.delete(each);
    await batch.write({ sync: true });
  }

  async function flip(at: Buffer, byte: number): Promise<void> {
    const value = (await engine.get(at))!;
    value[byte]! ^= 1;
    const batch = engine.batch();
    batch.put(at, value);
    await batch.write({ sync: true });
  }

  const batchNumbers = async () =>
    (await engine.scan({ ...tableKeys.allBatches, limit: 10_000 })).map((row) => Number(row.key.readBigUInt64BE(1)));

  it('begin empty with nothing applied', () => {
    expect(tables).toMatchObject({ applied: 0, journalCheckpoint: 0 });
  });

  it('keep rows and what was applied over a restart', async () => {
    await tables.flush([put('ta', '1'), put('tb', '2'), put('tc', '')], 7);
    await tables.flush([{ key: key('ta') }, put('tb', '3')], 9);
    tables = await open();
    expect(tables.applied).toBe(9);
    expect((await tables.getMany([key('ta'), key('tb'), key('tc')])).map((value) => value?.toString())).toEqual([
      undefined,
      '3',
      '',
    ]);
    expect(texts(await tables.scan({ ...tableKeys.family('t'), limit: 9 }))).toEqual(['tb=3', 'tc=']);
    expect((await tables.get(key('tb')))!.toString()).toBe('3');
  });

  it('lose nothing that was flushed when power is cut', async () => {
    await tables.flush([put('ta')], 3);
    disk.powerCut();
    engine = await disk.open('tables', ENGINE);
    expect((await open()).applied).toBe(3);
  });

  it('wait for the journal before they write', async () => {
    const order: string[] = [];
    tables = await open({ beforeFlush: async (applied) => void order.push(`journal ${applied}`) });
    const batch = engine.batch.bind(engine);
    jest.spyOn(engine, 'batch').mockImplementation(() => {
      order.push('tables');
      return batch();
    });
    await tables.flush([put('ta')], 5);
    expect(order).toEqual(['journal 5', 'tables']);
  });

  it('refuse to apply backwards, and write nothing more after a failure', async () => {
    await tables.flush([], 5);
    await expect(tables.flush([], 4)).rejects.toThrow('never goes down');
    disk.fail();
    await expect(tables.flush([], 6)).rejects.toThrow(WriteFailedError);
    await expect(tables.deleteRange({}, 1)).rejects.toThrow(WriteFailedError);
    expect(tables.applied).toBe(5);
  });

  it('tell a changed row from the right one, however it is read', async () => {
    await tables.flush([put('ta', 'value')], 1);
    for (let byte = 0; byte < 9; byte++) {
      await flip(key('ta'), byte);
      await expect(tables.get(key('ta'))).rejects.toThrow(DamagedError);
      await expect(tables.getMany([key('ta')])).rejects.toThrow(DamagedError);
      await expect(tables.scan({ limit: 1, gte: key('t') })).rejects.toThrow(DamagedError);
      await flip(key('ta'), byte);
    }
    await tables.get(key('ta'));
  });

  it('tell a row that is stored under another key', async () => {
    await tables.flush([put('ta')], 1);
    const batch = engine.batch();
    batch.put(key('tb'), (await engine.get(key('ta')))!);
    await batch.write({ sync: true });
    await expect(tables.get(key('tb'))).rejects.toThrow(DamagedError);
  });

  describe('opened after damage', () => {
    beforeEach(async () => {
      for (let i = 1; i <= 10; i++) await tables.flush([put(`q${i}`)], i * 10);
    });

    it.each([1, 2, 5, 9])('miss batch %i', async (number) => {
      await remove(tableKeys.batch(number));
      await expect(open()).rejects.toThrow(DamagedError);
    });

    it('notice a batch row that changed', async () => {
      await flip(tableKeys.batch(10), 6);
      await expect(open()).rejects.toThrow(DamagedError);
    });

    it('take an older whole state for what it is, the journal leads on from there', async () => {
      await remove(tableKeys.batch(10));
      expect((await open()).applied).toBe(90);
    });

    it('notice that the end of the batches is hidden from a scan', async () => {
      const scan = engine.scan.bind(engine);
      jest
        .spyOn(engine, 'scan')
        .mockImplementation(async (options) =>
          (await scan(options)).filter((row) => Buffer.compare(row.key, tableKeys.batch(8)) < 0 || row.key[0] !== 0x42),
        );
      await expect(open()).rejects.toThrow(/behind batch 7/);
    });

    it('notice rows without any batch', async () => {
      await remove(...Array.from({ length: 10 }, (_, i) => tableKeys.batch(i + 1)));
      await expect(open()).rejects.toThrow(DamagedError);
    });

    it('notice batches below the checkpoint that are gone', async () => {
      tables = await open();
      await tables.checkpointAfterOpen(77);
      await tables.flush([put('q')], 120);
      expect((await open()).journalCheckpoint).toBe(77);
      // The base, of which the checkpoint says that it must be there.
      await remove(tableKeys.batch(10));
      await expect(open()).rejects.toThrow(DamagedError);
    });
  });

  it('clear away the batches of earlier runs, but for the last', async () => {
    for (let i = 1; i <= 40; i++) await tables.flush([], i);
    tables = await open();
    await tables.checkpointAfterOpen(0);
    expect(await batchNumbers()).toEqual([40, 41]);
    for (let restart = 0; restart < 3; restart++) {
      await (tables = await open()).checkpointAfterOpen(0);
      await tables.flush([], 50 + restart);
    }
    expect((await batchNumbers()).length).toBeLessThan(5);
    expect((await open()).applied).toBe(52);
  });

  it('keep one batch row per stretch below the checkpoint, and miss any of them', async () => {
    const writeBufferBytes = 8000; // a stretch of 1000 bytes
    const value = 'x'.repeat(300);
    let settled = 0;
    tables = await open({ writeBufferBytes, journalSettled: () => settled });
    for (let i = 1; i <= 300; i++) {
      settled = i - 1;
      await tables.flush([put('q1', value)], i);
    }
    const kept = await batchNumbers();
    expect(kept.length).toBeLessThan(250);
    expect(kept.slice(0, 3)).toEqual([1, 3, 5]);
    expect((await open({ writeBufferBytes })).journalCheckpoint).toBeGreaterThan(250);
    for (const number of [1, 5, 101, 299]) {
      const row = (await engine.get(tableKeys.batch(number)))!;
      await remove(tableKeys.batch(number));
      await expect(open({ writeBufferBytes })).rejects.toThrow(DamagedError);
      const batch = engine.batch();
      batch.put(tableKeys.batch(number), row);
      await batch.write({ sync: true });
    }
    expect((await open({ writeBufferBytes })).applied).toBe(300);
  });

  describe('a family that is loaded whole', () => {
    beforeEach(() => tables.flush([put('t1', 'a'), put('t2', 'b'), put('t3', 'c'), put('u', 'x')], 1, { t: 3 }));

    it('is loaded with all its rows and no others', async () => {
      expect(texts(await tables.loadFamily('t'))).toEqual(['t1=a', 't2=b', 't3=c']);
      expect(await tables.loadFamily('g')).toEqual([]);
    });

    it('is loaded in pages', async () => {
      const many = Array.from({ length: 2500 }, (_, i) => put(`g${String(i).padStart(5, '0')}`));
      await tables.flush(many, 2, { g: 2500 });
      expect(await tables.loadFamily('g')).toHaveLength(2500);
    });

    it('is damaged when a row is missing or one too many', async () => {
      await remove(key('t2'));
      await expect((await open()).loadFamily('t')).rejects.toThrow('2 rows of family t instead of 3');
      await tables.flush([put('t2'), put('t4')], 2);
      await expect(tables.loadFamily('t')).rejects.toThrow('4 rows of family t instead of 3');
    });

    it('is damaged when the scan and the lookup do not agree', async () => {
      const getMany = engine.getMany.bind(engine);
      jest
        .spyOn(engine, 'getMany')
        .mockImplementation(async (keys) => (await getMany(keys)).map((value, i) => (i === 1 ? undefined : value)));
      await expect(tables.loadFamily('t')).rejects.toThrow(DamagedError);
    });

    it('writes its count only when it changes', async () => {
      await remove(tableKeys.familyCount('t'));
      await tables.flush([], 2, { t: 3 });
      expect(await tables.get(tableKeys.familyCount('t'))).toBeUndefined();
      await tables.flush([put('t4')], 3, { t: 4 });
      expect(await tables.get(tableKeys.familyCount('t'))).toEqual(numberValue(4));
    });
  });

  it('delete ranges in bounded steps, in turn with other writes', async () => {
    await tables.flush(
      Array.from({ length: 10 }, (_, i) => put(`i${i}`)),
      1,
    );
    const range = { gte: key('i2'), lt: key('i9') };
    const [first] = await Promise.all([tables.deleteRange(range, 4), tables.flush([put('i9', 'new')], 2)]);
    expect(first).toEqual({ deleted: 4, lastKey: key('i5') });
    expect(await tables.deleteRange({ ...range, gte: first.lastKey! }, 4)).toEqual({ deleted: 3, lastKey: key('i8') });
    expect(await tables.deleteRange(range, 4)).toEqual({ deleted: 0 });
    tables = await open();
    expect(texts(await tables.scan({ ...tableKeys.family('i'), limit: 99 }))).toEqual(['i0=v', 'i1=v', 'i9=new']);
    expect(tables.applied).toBe(2);
  });

  it('delete single rows, whatever lies between, in turn with other writes', async () => {
    await tables.flush(
      Array.from({ length: 6 }, (_, i) => put(`i${i}`)),
      1,
    );
    const [deleted] = await Promise.all([
      tables.deleteKeys([key('i4'), key('i1'), key('missing')]),
      tables.flush([put('i1', 'new')], 2),
    ]);
    expect(deleted).toBe(3);
    disk.powerCut(); // they went durably
    engine = await disk.open('tables', ENGINE);
    tables = await open();
    expect(texts(await tables.scan({ ...tableKeys.family('i'), limit: 99 }))).toEqual([
      ...['i0=v', 'i1=new', 'i2=v', 'i3=v', 'i5=v'],
    ]);
    expect(tables.applied).toBe(2);
  });

  it('write nothing to delete nothing', async () => {
    await tables.flush([put('ia')], 1);
    const before = await batchNumbers();
    expect(await tables.deleteKeys([])).toBe(0);
    expect(await batchNumbers()).toEqual(before);
    disk.fail();
    await expect(tables.deleteKeys([key('ia')])).rejects.toThrow(WriteFailedError);
  });

  it('have nothing to scrub where there are no files', async () => {
    expect(await tables.scrub(1000)).toEqual({ checked: 0, wrapped: true });
  });
});
