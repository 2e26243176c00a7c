/** The journal over the engine in memory, where a test can take single rows away; damage.test.ts does it to real files. */
import { AckedMemory } from '../../storage/ackedFile';
import type { Engine, OpenEngine } from '../../storage/engine';
import { DamagedError, DataLostError, WriteFailedError } from '../../storage/failures';
import { Journal, type JournalOptions } from '../../storage/journal';
import { journalKeys, positionOf } from '../../storage/keys';
import { MemoryDisk } from '../../storage/memoryEngine';
import { openRecord, RECORD_HEADER_BYTES } from '../../storage/record';

const ENGINE = { writeBufferBytes: 1 << 20, cacheBytes: 0 };
const SYNC = { sync: true };

function record(payload: string): Buffer {
  return Buffer.concat([Buffer.alloc(RECORD_HEADER_BYTES), Buffer.from(payload)]);
}

/** A command with one record per payload. */
const command = (...payloads: string[]) => ({ kind: 1, records: payloads.map(record) });
const payload = (bytes: Buffer | undefined) => bytes?.toString('utf8', RECORD_HEADER_BYTES);

describe('the journal', () => {
  let disk: MemoryDisk;
  let engine: Engine;
  let acked: AckedMemory;
  let journal: Journal;

  beforeEach(async () => {
    disk = new MemoryDisk();
    acked = new AckedMemory();
    engine = await disk.open('journal', ENGINE);
    journal = await open();
  });

  const open = (options: Partial<JournalOptions> = {}) => Journal.open({ engine, acked, checkpoint: 0, ...options });

  /** One command per payload, one after another. */
  async function write(...payloads: string[]): Promise<void> {
    for (const text of payloads) await journal.append([command(text)], { time: 1000 + journal.end, epoch: 1 }, SYNC);
  }

  async function remove(...positions: number[]): Promise<void> {
    const batch = engine.batch();
    for (const position of positions) batch.delete(journalKeys.record(position));
    await batch.write(SYNC);
  }

  async function flip(position: number, byte: number): Promise<void> {
    const value = (await engine.get(journalKeys.record(position)))!;
    value[byte]! ^= 1;
    const batch = engine.batch();
    batch.put(journalKeys.record(position), value);
    await batch.write(SYNC);
  }

  const read = async (...indexes: number[]) =>
    (await journal.readPositions(indexes.map((index) => positionOf(index, 0)))).map(payload);
  const indexes = async (from = 0) =>
    (await journal.scanCommands(from, { maxRecords: 1000, maxBytes: 1 << 20 })).map(({ index }) => index);

  describe('appending', () => {
    it('begins empty, with head 1 and end 0', () => {
      expect(journal).toMatchObject({ head: 1, end: 0, durableEnd: 0, lastEpoch: 0, lastTime: 0 });
    });

    it('numbers commands from 1 on and seals every record of them', async () => {
      expect(await journal.append([command('a'), command('b', 'c')], { time: 50, epoch: 2 }, SYNC)).toBe(1);
      expect(await journal.append([command('d')], { time: 60, epoch: 3 }, SYNC)).toBe(3);
      expect(journal).toMatchObject({ end: 3, durableEnd: 3, lastEpoch: 3, lastTime: 60 });
      const [, second] = await journal.readPositions([positionOf(2, 0), positionOf(2, 1)]);
      expect(openRecord(second!, positionOf(2, 1))).toMatchObject({ time: 50, epoch: 2, kind: 1, count: 2 });
      expect(acked.last).toMatchObject({ index: 3, epoch: 3 });
    });

    it('goes on behind the end after a restart', async () => {
      await write('a', 'b');
      journal = await open();
      expect(journal).toMatchObject({ head: 1, end: 2, lastEpoch: 1, lastTime: 1001 });
      await write('c');
      expect(await read(1, 2, 3)).toEqual(['a', 'b', 'c']);
    });

    it('takes 1 to 1024 records in a command and has nobody write beside it', async () => {
      const stamp = { time: 1, epoch: 1 };
      await expect(journal.append([command()], stamp, SYNC)).rejects.toThrow(RangeError);
      await expect(
        journal.append([{ kind: 1, records: Array.from({ length: 1025 }, () => record('')) }], stamp, SYNC),
      ).rejects.toThrow(RangeError);
      const first = journal.append([{ kind: 1, records: Array.from({ length: 1024 }, () => record('')) }], stamp, SYNC);
      await expect(journal.append([command('b')], stamp, SYNC)).rejects.toThrow('one writer');
      expect(await first).toBe(1);
      expect(journal.end).toBe(1);
    });

    it('refuses a time or an epoch that goes down', async () => {
      await journal.append([command('a')], { time: 50, epoch: 2 }, SYNC);
      await expect(journal.append([command('b')], { time: 49, epoch: 2 }, SYNC)).rejects.toThrow('never go down');
      await expect(journal.append([command('b')], { time: 50, epoch: 1 }, SYNC)).rejects.toThrow('never go down');
    });

    it('writes nothing more after a failure, and its end stays where it was', async () => {
      await write('a');
      disk.fail();
      await expect(write('b')).rejects.toThrow(WriteFailedError);
      expect(journal.end).toBe(1);
      await expect(write('c')).rejects.toThrow(WriteFailedError);
      await expect(journal.syncNow()).rejects.toThrow(WriteFailedError);
      await expect(journal.deleteSome(1)).rejects.toThrow(WriteFailedError);
    });

    it('counts a command as not written when its mark cannot be written', async () => {
      acked.mark = () => {
        throw new Error('EIO');
      };
      await expect(write('a')).rejects.toThrow(WriteFailedError);
      expect(journal.end).toBe(0);
    });

    it('without sync, promises only what syncNow made durable', async () => {
      await journal.append([command('a')], { time: 1, epoch: 1 }, { sync: false });
      await journal.syncNow();
      await journal.append([command('b')], { time: 2, epoch: 1 }, { sync: false });
      expect(journal).toMatchObject({ end: 2, durableEnd: 1 });
      disk.powerCut();
      engine = await disk.open('journal', ENGINE);
      journal = await open();
      expect(journal.end).toBe(1);
      expect(acked.last!.index).toBe(1);
    });
  });

  describe('reading', () => {
    it('reads all of them with one lookup, which is verified, and never with a scan', async () => {
      await journal.append(
        [command('a', 'b', 'c', 'd', 'e'), ...Array.from({ length: 20 }, (_, i) => command(`m${i}`))],
        { time: 1, epoch: 1 },
        SYNC,
      );
      const scan = jest.spyOn(engine, 'scan');
      const getMany = jest.spyOn(engine, 'getMany');
      const wanted = [
        positionOf(1, 1),
        positionOf(1, 2),
        positionOf(1, 3),
        positionOf(1, 4),
        positionOf(2, 0),
        positionOf(3, 0),
        positionOf(9, 0),
        positionOf(12, 0),
      ];
      expect((await journal.readPositions(wanted)).map(payload)).toEqual(['b', 'c', 'd', 'e', 'm0', 'm1', 'm7', 'm10']);
      expect([scan.mock.calls.length, getMany.mock.calls.length]).toEqual([0, 1]);
    });

    it('finds what it wants between records that nobody asked for', async () => {
      await journal.append(
        Array.from({ length: 9 }, (_, i) => command(`${i}`, ...Array<string>(50).fill('x'))),
        { time: 1, epoch: 1 },
        SYNC,
      );
      expect(await read(1, 2, 3, 4, 5, 6, 7, 8, 9)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8']);
    });

    it.each([1, 6])('calls a record that is missing among %i neighbours damage', async (count) => {
      await write(...'abcdefgh');
      await remove(positionOf(1, 0));
      await expect(read(...Array.from({ length: count }, (_, i) => i + 1))).rejects.toThrow(DamagedError);
    });

    it.each([1, 6])('calls a changed record among %i neighbours damage', async (count) => {
      await write(...'abcdefgh');
      await flip(positionOf(1, 0), 28);
      await expect(read(...Array.from({ length: count }, (_, i) => i + 1))).rejects.toThrow(DamagedError);
    });

    it('hands out whole commands within limits, but at least one', async () => {
      await journal.append([command('a', 'b'), command('c', 'd', 'e'), command('f')], { time: 1, epoch: 1 }, SYNC);
      const some = async (from: number, maxRecords: number, maxBytes = 1 << 20) =>
        (await journal.scanCommands(from, { maxRecords, maxBytes })).map(({ records }) =>
          records.map(payload).join(''),
        );
      expect(await some(1, 100)).toEqual(['ab', 'cde', 'f']);
      expect(await some(1, 4)).toEqual(['ab']);
      expect(await some(1, 1)).toEqual(['ab']);
      expect(await some(2, 100, 1)).toEqual(['cde']);
      expect(await some(3, 100)).toEqual(['f']);
      expect(await some(4, 100)).toEqual([]);
    });

    it('stops a replay at a missing or changed record', async () => {
      await write(...'abc');
      await flip(positionOf(2, 0), 28);
      await expect(indexes()).rejects.toThrow(DamagedError);
      await remove(positionOf(2, 0));
      await expect(indexes()).rejects.toThrow(DamagedError);
      await expect(indexes(2)).rejects.toThrow(DamagedError);
    });

    it('finds a record by a position that somebody made up', async () => {
      await write('a', 'b');
      expect(payload(await journal.find(positionOf(2, 0)))).toBe('b');
      expect(await journal.find(positionOf(2, 1))).toBeUndefined();
      expect(await journal.find(positionOf(77, 0))).toBeUndefined();
    });

    it('finds the first command of a time', async () => {
      for (const time of [10, 20, 20, 20, 30]) await journal.append([command('x')], { time, epoch: 1 }, SYNC);
      const found = [];
      for (const time of [0, 10, 11, 20, 21, 30, 31]) found.push(await journal.firstIndexAtOrAfter(time));
      expect(found).toEqual([1, 1, 2, 2, 5, 5, 6]);
      expect(await journal.timeOf(5)).toBe(30);
    });
  });

  describe('opened after damage', () => {
    beforeEach(() => write(...'abcdefgh'));

    it.each([
      ['a missing record', () => remove(positionOf(5, 0))],
      ['a changed record', () => flip(positionOf(5, 0), 28)],
      ['the rest missing', () => remove(...[5, 6, 7, 8].map((index) => positionOf(index, 0)))],
    ])('refuses %s below what was acknowledged, and names the flag', async (_what, damage) => {
      await damage();
      const error: unknown = await open().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(DataLostError);
      expect(error).toMatchObject({
        lastGoodIndex: 4,
        message: expect.stringContaining('--accept-data-loss=4') as string,
      });
      await expect(open({ acceptDataLoss: 5 })).rejects.toThrow('--accept-data-loss=4');
    });

    it('cuts off what was never acknowledged behind a gap, for good', async () => {
      acked.last = { index: 4, epoch: 1, recordCrc: 0 };
      await remove(positionOf(6, 0));
      journal = await open();
      expect(journal.end).toBe(5);
      expect(await engine.scan({ ...journalKeys.allRecords, limit: 100 })).toHaveLength(5);
      await write('F', 'G', 'H');
      expect(await read(5, 6, 7, 8)).toEqual(['e', 'F', 'G', 'H']);
    });

    it('cuts off a command of which records are missing', async () => {
      await journal.append([command('x', 'y', 'z')], { time: 5000, epoch: 1 }, { sync: false });
      await remove(positionOf(9, 2));
      expect((await open()).end).toBe(8);
      expect(await engine.get(journalKeys.record(positionOf(9, 0)))).toBeUndefined();
    });

    it('goes on without what an operator gave up, never using its indexes again', async () => {
      await remove(positionOf(5, 0));
      journal = await open({ acceptDataLoss: 4, lastApplied: 8 });
      expect(journal).toMatchObject({ end: 8, lastTime: 1003, lostRanges: [{ from: 5, to: 8 }] });
      await write('i', 'j');
      expect(await read(3, 4, 5, 6, 7, 8, 9, 10)).toEqual([
        'c',
        'd',
        undefined,
        undefined,
        undefined,
        undefined,
        'i',
        'j',
      ]);
      expect(await indexes()).toEqual([1, 2, 3, 4, 9, 10]);
      expect(await indexes(6)).toEqual([9, 10]);
      expect(await journal.timeOf(6)).toBe(1008);
      expect(await journal.firstIndexAtOrAfter(1004)).toBe(9);
      expect(await journal.scrub(100)).toEqual({ checked: 6, wrapped: true });
      // And once more, without the flag: it is remembered.
      journal = await open();
      expect(journal).toMatchObject({ end: 10, lostRanges: [{ from: 5, to: 8 }] });
    });

    it('opens again when everything behind the cut is given up and nothing was written since', async () => {
      await remove(positionOf(5, 0));
      await open({ acceptDataLoss: 4 });
      journal = await open();
      expect(journal.end).toBe(8);
      await write('i');
      expect((await open()).end).toBe(9);
    });

    it('ignores the flag when nothing is lost', async () => {
      expect((await open({ acceptDataLoss: 3 })).end).toBe(8);
    });

    it('is not ahead of itself: tables that applied more than it has are a loss', async () => {
      await expect(open({ lastApplied: 9 })).rejects.toThrow(DataLostError);
      expect((await open({ lastApplied: 9, acceptDataLoss: 8 })).end).toBe(9);
    });

    it('never gives an epoch again whose commands were lost', async () => {
      acked.last = { ...acked.last!, index: 12, epoch: 7 };
      expect(await open({ acceptDataLoss: 8 })).toMatchObject({ end: 12, lastEpoch: 7 });
      expect(acked.last).toMatchObject({ index: 12, epoch: 7 });
    });

    it('refuses another command under the number of the one that was acknowledged', async () => {
      acked.last = { ...acked.last!, recordCrc: acked.last!.recordCrc ^ 1 };
      await expect(open()).rejects.toThrow(/not the one that was acknowledged/);
    });

    it('refuses when nobody can tell what was acknowledged, unless that is accepted', async () => {
      acked.last = undefined;
      await expect(open()).rejects.toThrow('--accept-data-loss=8');
      await expect(open({ acceptDataLoss: 7 })).rejects.toThrow(DataLostError);
      expect((await open({ acceptDataLoss: 8 })).end).toBe(8);
      expect(acked.last).toMatchObject({ index: 8 });
    });

    it('verifies from the checkpoint on, and notices a checkpoint that lies in a hole', async () => {
      await flip(positionOf(2, 0), 28);
      await expect(open({ checkpoint: 6 })).rejects.toThrow('whole up to 1'); // the samples found it
      await remove(positionOf(6, 0));
      await expect(open({ checkpoint: 6 })).rejects.toThrow('whole up to 1');
    });
  });

  describe('with a checkpoint far on', () => {
    it('does not read what was verified before', async () => {
      for (let i = 0; i < 20; i++)
        await journal.append(
          Array.from({ length: 100 }, () => command('x')),
          { time: 1, epoch: 1 },
          SYNC,
        );
      const getMany = jest.spyOn(engine, 'getMany');
      expect(await open({ checkpoint: 1990 })).toMatchObject({ end: 2000, lastEpoch: 1, lastTime: 1 });
      const read = getMany.mock.calls
        .flatMap(([keys]) => keys.map((key) => journalKeys.positionOfKey(key)))
        .filter((position) => position < positionOf(2000, 0));
      expect(read.length).toBeLessThan(300);
    });

    it('misses no stretch that is gone below it', async () => {
      for (let i = 0; i < 20; i++)
        await journal.append(
          Array.from({ length: 100 }, () => command('x')),
          { time: 1, epoch: 1 },
          SYNC,
        );
      await remove(...Array.from({ length: 30 }, (_, i) => positionOf(700 + i, 0)));
      await expect(open({ checkpoint: 1990 })).rejects.toThrow('whole up to 699');
    });
  });

  describe('trimming', () => {
    beforeEach(() => write(...'abcdefgh'));

    it('makes records unreadable at once and deletes them in steps', async () => {
      journal.dropBelow(6);
      expect(journal.head).toBe(6);
      expect(await read(4, 5, 6)).toEqual([undefined, undefined, 'f']);
      expect(await journal.deleteSome(3)).toEqual({ deleted: 3, bytes: 3 * 29 });
      expect(await journal.deleteSome(3)).toMatchObject({ deleted: 2 });
      expect(await journal.deleteSome(3)).toEqual({ deleted: 0, bytes: 0 });
      expect(await indexes()).toEqual([6, 7, 8]);
      expect(await open()).toMatchObject({ head: 6, end: 8 });
    });

    it('takes the head along with the first deletion, so that a crash between finds no gap', async () => {
      journal.dropBelow(6);
      await journal.deleteSome(1);
      journal = await open();
      expect(journal.head).toBe(6);
      await journal.deleteSome(100);
      expect(await engine.scan({ ...journalKeys.allRecords, limit: 100 })).toHaveLength(3);
    });

    it('keeps the last command, whatever is asked', async () => {
      journal.dropBelow(1000);
      await journal.deleteSome(100);
      expect(await open()).toMatchObject({ head: 8, end: 8, lastTime: 1007 });
    });

    it('never looks below what it has deleted, where only tombstones are', async () => {
      journal.dropBelow(4);
      await journal.deleteSome(100);
      const getMany = jest.spyOn(engine, 'getMany');
      const scan = jest.spyOn(engine, 'scan');
      journal.dropBelow(7);
      await journal.deleteSome(100);
      await indexes();
      const lowest = getMany.mock.calls.flatMap(([keys]) => keys.map((key) => journalKeys.positionOfKey(key)));
      expect(Math.min(...lowest)).toBe(positionOf(4, 0));
      expect(scan).not.toHaveBeenCalled();
    });

    it('deletes whole commands, and after a restart goes on where it was', async () => {
      await journal.append([command(...'12345')], { time: 1008, epoch: 1 }, SYNC);
      await write('j');
      journal.dropBelow(10);
      expect(await journal.deleteSome(8)).toMatchObject({ deleted: 8 });
      journal = await open();
      journal.dropBelow(10);
      expect(await journal.deleteSome(1)).toMatchObject({ deleted: 5 });
      expect(await engine.scan({ ...journalKeys.allRecords, limit: 100 })).toHaveLength(1);
    });

    it('deletes what is damaged, too: nobody needs it any more', async () => {
      const real = engine.getMany.bind(engine);
      const bad = journalKeys.record(positionOf(3, 0));
      jest
        .spyOn(engine, 'getMany')
        .mockImplementation((keys) =>
          keys.some((key) => key.equals(bad)) ? Promise.reject(new DamagedError('block')) : real(keys),
        );
      const get = engine.get.bind(engine);
      jest
        .spyOn(engine, 'get')
        .mockImplementation((key) => (key.equals(bad) ? Promise.reject(new DamagedError('block')) : get(key)));
      journal.dropBelow(5);
      await journal.deleteSome(10_000);
      expect(await engine.scan({ ...journalKeys.allRecords, limit: 100 })).toHaveLength(4);
    });

    it('has the space given back after 256 MiB', async () => {
      const compact = jest.spyOn(engine, 'compact');
      const heavy = Buffer.alloc(RECORD_HEADER_BYTES + (16 << 20));
      for (let i = 0; i < 16; i++)
        await journal.append([{ kind: 1, records: [heavy] }], { time: 5000, epoch: 1 }, SYNC);
      journal.dropBelow(24);
      while ((await journal.deleteSome(10)).deleted > 0);
      expect(compact).not.toHaveBeenCalled();
      await journal.append([{ kind: 1, records: [heavy] }], { time: 5000, epoch: 1 }, SYNC);
      journal.dropBelow(25);
      await journal.deleteSome(10);
      expect(compact).toHaveBeenCalledTimes(1);
      expect(compact.mock.calls[0]).toEqual([journalKeys.record(0), journalKeys.record(positionOf(25, 0))]);
    });

    it('finds nothing where another trim was faster', async () => {
      journal.dropBelow(6);
      await journal.deleteSome(100);
      expect(await journal.find(positionOf(2, 0))).toBeUndefined();
      expect(await journal.firstIndexAtOrAfter(0)).toBe(6);
    });
  });

  describe('scrubbing', () => {
    it('goes around in slices', async () => {
      await write(...'abcde');
      expect(await journal.scrub(3)).toEqual({ checked: 3, wrapped: false });
      expect(await journal.scrub(3)).toEqual({ checked: 2, wrapped: true });
      expect(await journal.scrub(3)).toEqual({ checked: 3, wrapped: false });
      journal.dropBelow(5);
      await journal.deleteSome(10);
      expect(await journal.scrub(3)).toEqual({ checked: 1, wrapped: true });
    });

    it.each([
      ['changed', () => flip(positionOf(4, 0), 28)],
      ['missing', () => remove(positionOf(4, 0))],
      ['missing at the end', () => remove(positionOf(5, 0))],
    ])('tells of a record that is %s', async (_what, damage) => {
      await write(...'abcde');
      await damage();
      const all = async () => {
        while (!(await journal.scrub(2)).wrapped);
      };
      await expect(all()).rejects.toThrow(DamagedError);
    });
  });

  it('settles three write buffers behind its end', async () => {
    journal = await open({ writeBufferBytes: 1000 });
    const settled: number[] = [];
    for (let i = 1; i <= 10; i++) {
      await journal.append([command('x'.repeat(463))], { time: 1, epoch: 1 }, SYNC); // 500 bytes with key and header
      settled.push(journal.settled);
    }
    expect(settled).toEqual([0, 0, 0, 0, 0, 0, 0, 2, 2, 4]);
  });

  it('keeps its word to an engine that opens with less', async () => {
    const openEngine: OpenEngine = disk.open;
    await write(...'abc');
    await engine.close();
    disk.wipe('journal');
    engine = await openEngine('journal', ENGINE);
    await expect(open()).rejects.toThrow('--accept-data-loss=0');
    journal = await open({ acceptDataLoss: 0 });
    await write('d');
    expect(await read(1, 4)).toEqual([undefined, 'd']);
  });
});
