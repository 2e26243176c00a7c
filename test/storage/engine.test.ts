/** One suite for both engines: whatever one of them does, the other does. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine, OpenEngine } from '../../storage/engine';
import { DamagedError, FolderInUseError, WriteFailedError } from '../../storage/failures';
import { MemoryDisk, openMemory } from '../../storage/memoryEngine';
import { openRocksdb } from '../../storage/rocksdbEngine';

const OPTIONS = { writeBufferBytes: 1 << 20, cacheBytes: 1 << 20 };
const key = (n: number) => Buffer.from(`k${String(n).padStart(5, '0')}`);
const names = (rows: { key: Buffer }[]) => rows.map((row) => row.key.toString());

async function put(engine: Engine, from: number, behind: number, value: Buffer = Buffer.from('v')): Promise<void> {
  const batch = engine.batch();
  for (let n = from; n < behind; n++) batch.put(key(n), value);
  await batch.write({ sync: true });
}

describe.each<[string, () => OpenEngine]>([
  ['RocksDB', () => openRocksdb],
  ['memory', openMemory],
])('the engine in %s', (_name, makeOpen) => {
  let location: string;
  let open: OpenEngine;
  let engine: Engine;

  beforeEach(async () => {
    location = mkdtempSync(join(tmpdir(), 'gantry-engine-'));
    open = makeOpen();
    engine = await open(location, OPTIONS);
  });

  afterEach(async () => {
    await engine.close();
    rmSync(location, { recursive: true, force: true });
  });

  it('answers undefined for a key that is not there, and the bytes of one that is', async () => {
    const value = Buffer.from([0, 255, 0, 1]);
    await put(engine, 1, 2, value);
    expect(await engine.get(key(1))).toEqual(value);
    expect(await engine.get(key(2))).toBeUndefined();
    expect(await engine.getMany([key(2), key(1), key(1)])).toEqual([undefined, value, value]);
    expect(await engine.getMany([])).toEqual([]);
  });

  it('keeps its own copy of what it is given and of what it answers', async () => {
    const value = Buffer.from('before');
    const batch = engine.batch();
    batch.put(key(1), value);
    value.fill('x');
    await batch.write({ sync: true });
    (await engine.get(key(1)))!.fill('y');
    expect((await engine.get(key(1)))!.toString()).toBe('before');
  });

  it('applies a batch as a whole, later changes over earlier ones', async () => {
    await put(engine, 1, 3);
    const batch = engine.batch();
    batch.put(key(1), Buffer.from('new'));
    batch.delete(key(2));
    batch.put(key(3), Buffer.from('one'));
    batch.put(key(3), Buffer.from('two'));
    batch.delete(key(9));
    expect(batch.bytes).toBe(5 * 6 + 3 + 3 + 3);
    expect((await engine.get(key(1)))!.toString()).toBe('v');
    await batch.write({ sync: false });
    expect((await engine.getMany([key(1), key(2), key(3)])).map(String)).toEqual(['new', 'undefined', 'two']);
  });

  it('scans in byte order', async () => {
    const batch = engine.batch();
    for (const bytes of [[0xff], [0], [0, 0], [0x7f], [0x80, 1]]) batch.put(Buffer.from(bytes), Buffer.from('v'));
    await batch.write({ sync: true });
    expect((await engine.scan({ limit: 10 })).map((row) => row.key.toString('hex'))).toEqual([
      '00',
      '0000',
      '7f',
      '8001',
      'ff',
    ]);
  });

  it.each([
    [{}, [1, 2, 3, 4, 5]],
    [{ gte: key(2), lte: key(4) }, [2, 3, 4]],
    [{ gt: key(2), lt: key(4) }, [3]],
    [{ gt: key(5) }, []],
    [{ lt: key(1) }, []],
    [{ gte: key(3), lt: key(3) }, []],
    [{ gte: key(0), lt: key(9), limit: 2 }, [1, 2]],
    [{ reverse: true }, [5, 4, 3, 2, 1]],
    [{ reverse: true, lt: key(4) }, [3, 2, 1]],
    [{ reverse: true, lte: key(4), gt: key(1), limit: 2 }, [4, 3]],
    [{ reverse: true, lte: key(9), limit: 1 }, [5]],
    [{ limit: 0 }, []],
  ])('scans the range %o', async (options, expected) => {
    await put(engine, 1, 6);
    expect(names(await engine.scan({ limit: 100, ...options }))).toEqual(expected.map((n) => key(n).toString()));
  });

  it('scans many rows at once, more than one trip of the binding brings', async () => {
    await put(engine, 0, 5000, Buffer.alloc(100, 'z'));
    const rows = await engine.scan({ gte: key(10), limit: 4321 });
    expect(rows).toHaveLength(4321);
    expect(names([rows[0]!, rows.at(-1)!])).toEqual(['k00010', 'k04330']);
    expect(rows.every(({ value }) => value.length === 100)).toBe(true);
  });

  it('stops a scan at its limit of bytes, but never before the first row', async () => {
    await put(engine, 0, 100, Buffer.alloc(94));
    expect(await engine.scan({ limit: 50, maxBytes: 1000 })).toHaveLength(10);
    expect(await engine.scan({ limit: 50, maxBytes: 1 })).toHaveLength(1);
    expect(await engine.scan({ limit: 5, maxBytes: 1000 })).toHaveLength(5);
  });

  it('leaves values out when only keys are asked for', async () => {
    await put(engine, 1, 2);
    expect(await engine.scan({ limit: 5, keysOnly: true })).toEqual([{ key: key(1), value: Buffer.alloc(0) }]);
  });

  it('keeps everything over a close, and can compact', async () => {
    await put(engine, 1, 100);
    await engine.compact(key(1), key(50));
    await engine.close();
    engine = await open(location, OPTIONS);
    expect(await engine.scan({ limit: 1000 })).toHaveLength(99);
  });

  it('refuses a second user of the same place, and says what to do', async () => {
    await expect(open(location, OPTIONS)).rejects.toThrow(FolderInUseError);
    await expect(open(location, OPTIONS)).rejects.toThrow(/in use.*(Stop|Close)/);
  });

  it('finishes what is under way before it closes, and rejects everything after that', async () => {
    await put(engine, 0, 2000, Buffer.alloc(1000));
    const scan = engine.scan({ limit: 2000 });
    const late = engine.batch();
    late.put(key(1), Buffer.alloc(1));
    const closing = engine.close();
    await expect(engine.get(key(1))).rejects.toThrow('closed');
    await expect(engine.getMany([key(1)])).rejects.toThrow('closed');
    await expect(engine.scan({ limit: 1 })).rejects.toThrow('closed');
    await expect(late.write({ sync: true })).rejects.toThrow('closed');
    expect(await scan).toHaveLength(2000);
    await closing;
    await engine.close();
  });
});

describe('RocksDB alone', () => {
  let location: string;
  beforeEach(() => (location = mkdtempSync(join(tmpdir(), 'gantry-engine-'))));
  afterEach(() => rmSync(location, { recursive: true, force: true }));

  it('does not begin a new store where an old one lost its CURRENT', async () => {
    const engine = await openRocksdb(location, OPTIONS);
    await put(engine, 1, 10);
    await engine.close();
    rmSync(join(location, 'CURRENT'));
    await expect(openRocksdb(location, OPTIONS)).rejects.toThrow(DamagedError);
  });

  it('calls a folder that it cannot read damaged', async () => {
    const engine = await openRocksdb(location, OPTIONS);
    await engine.close();
    writeFileSync(join(location, 'CURRENT'), 'MANIFEST-999999\n');
    await expect(openRocksdb(location, OPTIONS)).rejects.toThrow(DamagedError);
  });

  it('writes nothing more once a write has failed', async () => {
    const engine = await openRocksdb(location, OPTIONS);
    await put(engine, 1, 2);
    // Nothing can be flushed into a folder that is gone; the log alone would go on.
    rmSync(location, { recursive: true });
    let failure: unknown;
    for (let i = 0; i < 20 && !failure; i++)
      await put(engine, i * 1000, (i + 1) * 1000, Buffer.alloc(1024)).catch((error: unknown) => (failure = error));
    expect(failure).toBeInstanceOf(WriteFailedError);
    await expect(put(engine, 1, 2)).rejects.toThrow(WriteFailedError);
    await engine.close();
  });
});

describe('the disk in memory', () => {
  it('loses in a power cut what was not synced, and nothing else', async () => {
    const disk = new MemoryDisk();
    const engine = await disk.open('a', OPTIONS);
    await put(engine, 1, 3);
    const batch = engine.batch();
    batch.delete(key(1));
    batch.put(key(7), Buffer.from('v'));
    await batch.write({ sync: false });
    disk.powerCut();
    await expect(engine.get(key(1))).rejects.toThrow('closed');
    expect(names(await (await disk.open('a', OPTIONS)).scan({ limit: 9 }))).toEqual(['k00001', 'k00002']);
  });

  it('fails every write once it is told to', async () => {
    const disk = new MemoryDisk();
    const engine = await disk.open('a', OPTIONS);
    disk.fail();
    await expect(put(engine, 1, 2)).rejects.toThrow(WriteFailedError);
  });
});
