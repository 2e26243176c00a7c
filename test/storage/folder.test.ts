import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DamagedError, DataLostError, FolderFormatError, FolderInUseError } from '../../storage/failures';
import { openFolder, openMemoryFolder, type Folder, type OpenFolderOptions } from '../../storage/folder';
import { positionOf } from '../../storage/keys';
import { RECORD_HEADER_BYTES } from '../../storage/record';
import { openRocksdb } from '../../storage/rocksdbEngine';
import { ManualClock } from '../support/clock';

async function append(folder: Folder, count: number, sync = true): Promise<void> {
  const commands = Array.from({ length: count }, () => ({
    kind: 1,
    records: [Buffer.alloc(RECORD_HEADER_BYTES + 100)],
  }));
  await folder.journal.append(commands, { time: 1000, epoch: 1 }, { sync });
}

const row = (name: string) => [{ key: Buffer.from(name), value: Buffer.from('v') }];

describe('a data folder', () => {
  let parent: string;
  let path: string;
  let notices: string[];
  const opened: Folder[] = [];

  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'gantry-folder-'));
    path = join(parent, 'new', 'data');
    notices = [];
  });

  afterEach(async () => {
    for (const folder of opened.splice(0)) await folder.close();
    rmSync(parent, { recursive: true, force: true });
  });

  async function open(options: Partial<OpenFolderOptions> = {}): Promise<Folder> {
    const folder = await openFolder({
      path,
      openEngine: openRocksdb,
      timers: new ManualClock(),
      flush: 'sync',
      onNotice: (text) => notices.push(text),
      ...options,
    });
    opened.push(folder);
    return folder;
  }

  /** A folder with `commands` in the journal, `applied` of them in the tables; closed. */
  async function used(commands: number, applied: number): Promise<void> {
    const folder = await open();
    await append(folder, commands);
    await folder.tables.flush(row('q'), applied);
    await folder.close();
  }

  it('is made at first use, with its format', async () => {
    const folder = await open();
    expect(folder.journal).toMatchObject({ head: 1, end: 0 });
    expect(folder.tables.applied).toBe(0);
    expect(readdirSync(path).sort()).toEqual(['acked', 'format.json', 'journal', 'tables']);
    expect(JSON.parse(readFileSync(join(path, 'format.json'), 'utf8'))).toMatchObject({
      format: 1,
      complete: true,
      created: expect.stringMatching(/^20\d\d-/) as string,
    });
  });

  it('is found again as it was left', async () => {
    await used(5, 3);
    const folder = await open();
    expect([folder.journal.end, folder.tables.applied]).toEqual([5, 3]);
    expect(await folder.tables.get(Buffer.from('q'))).toEqual(Buffer.from('v'));
    expect(notices).toEqual([]);
    await folder.close();
    await folder.close();
  });

  it('is found again after a kill', async () => {
    const folder = await open();
    await append(folder, 5);
    await folder.tables.flush(row('q'), 4);
    cpSync(path, `${path}.copy`, { recursive: true });
    path = `${path}.copy`;
    const copy = await open();
    expect([copy.journal.end, copy.tables.applied]).toEqual([5, 4]);
  });

  it('belongs to one process at a time, and to none after a failed start', async () => {
    const folder = await open();
    await expect(open()).rejects.toThrow(FolderInUseError);
    await folder.close();
    rmSync(join(path, 'acked'));
    await append(await open(), 1);
  });

  it.each([
    ["somebody else's files", (at: string) => writeFileSync(join(at, 'holiday.jpg'), 'x')],
    ['a store without its format file', (at: string) => mkdirSync(join(at, 'journal'))],
  ])('is refused with %s in it', async (_what, fill) => {
    mkdirSync(path, { recursive: true });
    fill(path);
    await expect(open()).rejects.toThrow(FolderFormatError);
    expect(readdirSync(path)).toHaveLength(1);
  });

  it('is refused by a version that does not read its format, which says what to do', async () => {
    await used(1, 1);
    const file = join(path, 'format.json');
    const text = readFileSync(file, 'utf8');
    for (const [from, to] of [
      ['{"format":1', '{"format":2'],
      ['true', 'false'],
      ['created', 'Created'],
      ['}', ''],
    ] as const) {
      writeFileSync(file, text.replace(from, to));
      await expect(open()).rejects.toThrow(FolderFormatError);
      await expect(open()).rejects.toThrow(/give another folder/);
    }
    writeFileSync(file, text);
    expect((await open()).journal.end).toBe(1);
  });

  it('is begun again when its making was interrupted', async () => {
    mkdirSync(path, { recursive: true });
    await expect(open({ openEngine: () => Promise.reject(new Error('killed')) })).rejects.toThrow('killed');
    expect(existsSync(join(path, 'format.json'))).toBe(true);
    mkdirSync(join(path, 'journal'));
    writeFileSync(join(path, 'journal', 'MANIFEST-000001'), 'half');
    await append(await open(), 1);
  });

  it('is refused when its journal is gone, and nothing is begun anew', async () => {
    await used(3, 3);
    rmSync(join(path, 'journal'), { recursive: true });
    await expect(open()).rejects.toThrow(DamagedError);
    expect(existsSync(join(path, 'journal'))).toBe(false);
  });

  it('builds tables that are gone, as a crash amid their rebuilding leaves them, again from a complete journal', async () => {
    await used(3, 3);
    rmSync(join(path, 'tables'), { recursive: true });
    expect((await open()).tables.applied).toBe(0);
  });

  it.each([
    ['gone', () => rmSync(join(path, 'acked'))],
    ['zeroed', () => writeFileSync(join(path, 'acked'), Buffer.alloc(131072))],
  ])('is refused when nobody can tell what was acknowledged: the file is %s', async (_what, damage) => {
    await used(3, 3);
    damage();
    await expect(open()).rejects.toThrow('--accept-data-loss=3');
    expect((await open({ acceptDataLoss: 3 })).journal.end).toBe(3);
  });

  it('is refused when the tables are ahead of the journal, unless that loss is accepted', async () => {
    const folder = await open();
    await append(folder, 3);
    cpSync(join(path, 'journal'), join(parent, 'old'), { recursive: true });
    cpSync(join(path, 'acked'), join(parent, 'oldAcked'));
    await append(folder, 3);
    await folder.tables.flush(row('q'), 6);
    await folder.close();
    rmSync(join(path, 'journal'), { recursive: true });
    cpSync(join(parent, 'old'), join(path, 'journal'), { recursive: true });
    cpSync(join(parent, 'oldAcked'), join(path, 'acked'));
    const error: unknown = await open().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DataLostError);
    expect(error).toMatchObject({ lastGoodIndex: 3 });
    const accepted = await open({ acceptDataLoss: 3 });
    expect([accepted.journal.end, accepted.tables.applied]).toEqual([6, 6]);
    await append(accepted, 1);
    expect(
      (await accepted.journal.readPositions([positionOf(5, 0), positionOf(7, 0)])).map(
        (record) => record !== undefined,
      ),
    ).toEqual([false, true]);
    await accepted.close();
    // From now on no flag is needed.
    expect((await open()).journal.end).toBe(7);
  });

  function damageTables(): void {
    for (const name of readdirSync(join(path, 'tables')).filter((file) => file.startsWith('MANIFEST')))
      writeFileSync(join(path, 'tables', name), 'x');
  }

  it('builds damaged tables again from a complete journal, and says so', async () => {
    await used(5, 5);
    damageTables();
    const folder = await open();
    expect([folder.journal.end, folder.tables.applied]).toEqual([5, 0]);
    expect(notices).toEqual([expect.stringContaining('built again from the journal')]);
    await folder.tables.flush(row('q'), 5);
    await folder.close();
    expect((await open()).tables.applied).toBe(5);
  });

  it('is refused with damaged tables once the journal was trimmed', async () => {
    const folder = await open();
    await append(folder, 5);
    await folder.tables.flush(row('q'), 5);
    folder.journal.dropBelow(3);
    await folder.journal.deleteSome(100);
    await folder.close();
    damageTables();
    await expect(open()).rejects.toThrow(/Restore the data folder from a backup/);
    await expect(open()).rejects.toThrow(DataLostError);
    expect(readdirSync(join(path, 'tables')).length).toBeGreaterThan(1);
  });

  it('is refused when the tables end before the journal begins', async () => {
    const folder = await open();
    await append(folder, 9);
    await folder.tables.flush(row('q'), 2);
    folder.journal.dropBelow(4);
    await folder.journal.deleteSome(100);
    await folder.close();
    await expect(open()).rejects.toThrow(/end at command 2, but the journal begins at 4/);
  });

  it('never lets the tables be ahead of a journal that is synced now and then', async () => {
    const folder = await open({ flush: 'async' });
    await append(folder, 4, false);
    expect(folder.journal.durableEnd).toBe(0);
    await folder.tables.flush(row('q'), 4);
    expect(folder.journal.durableEnd).toBe(4);
  });

  it('makes everything durable when it is closed, also without syncs', async () => {
    const place = openMemoryFolder();
    const folder = await place.open({ flush: 'async' });
    await append(folder, 4, false);
    await folder.close();
    place.disk.powerCut();
    expect((await place.open()).journal.end).toBe(4);
  });
});

describe('a folder in memory', () => {
  it('keeps what was durable over a power cut', async () => {
    const place = openMemoryFolder();
    const folder = await place.open();
    await append(folder, 3);
    await folder.tables.flush(row('q'), 2);
    await append(folder, 3, false);
    place.disk.powerCut();
    const again = await place.open();
    expect([again.journal.end, again.tables.applied]).toEqual([3, 2]);
    await again.close();
    expect((await place.open()).journal.end).toBe(3);
  });
});
