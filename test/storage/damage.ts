/**
 * Makes data folders, damages copies of them and judges what opening such a copy comes to. Deterministic: the same
 * folder is made each time, and the damage follows from a seed.
 */
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openFolder, type Folder } from '../../storage/folder';
import { DamagedError, DataLostError, FolderFormatError, FolderInUseError } from '../../storage/failures';
import { indexOf, positionOf } from '../../storage/keys';
import { RECORD_HEADER_BYTES } from '../../storage/record';
import { openRocksdb } from '../../storage/rocksdbEngine';

/** Small, so that a few hundred commands already fill table files. */
const BUFFERS = { journal: 256 << 10, tables: 64 << 10 };
const timers = { after: () => ({ cancel: () => {} }) };

/** Numbers that only depend on the seed (mulberry32). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000) * below);
  };
}

/** What was acknowledged: every record by position, the rows of the tables by the index they were built up to. */
export interface Truth {
  head: number;
  end: number;
  records: Map<number, Buffer>;
  rows: Map<number, Map<string, string>>;
}

export interface Making {
  /** Commands of the three runs of the broker between which the folder is closed. */
  runs: number[];
  trim: boolean;
  /** True: copied while open, as after a kill. */
  unclean: boolean;
}

/** Makes a folder at `path` and answers what is in it; an unclean one is copied to `${path}.killed`. */
export async function makeFolder(path: string, making: Making): Promise<{ path: string; truth: Truth }> {
  const random = randomFrom(7);
  const truth: Truth = { head: 1, end: 0, records: new Map(), rows: new Map([[0, new Map()]]) };
  const rows = new Map<string, string>();
  for (const [run, commands] of making.runs.entries()) {
    const folder = await open(path);
    for (let i = 0; i < commands; i += 5) {
      await append(folder, truth, random);
      if (i % 10 === 0) await flush(folder, truth, rows, random);
    }
    if (making.trim && run === 1) {
      folder.journal.dropBelow(Math.floor(folder.journal.end / 3));
      while ((await folder.journal.deleteSome(1000)).deleted > 0);
      truth.head = folder.journal.head;
    }
    const last = run === making.runs.length - 1;
    if (last && making.unclean) cpSync(path, `${path}.killed`, { recursive: true });
    await folder.close();
  }
  return { path: making.unclean ? `${path}.killed` : path, truth };
}

const open = (path: string, onNotice?: (text: string) => void) =>
  openFolder({
    path,
    openEngine: openRocksdb,
    timers,
    flush: 'sync',
    writeBufferBytes: BUFFERS,
    cacheBytes: 1 << 20,
    ...(onNotice && { onNotice }),
  });

async function append({ journal }: Folder, truth: Truth, random: (below: number) => number): Promise<void> {
  const commands = Array.from({ length: 5 }, () => ({
    kind: random(20),
    records: Array.from({ length: random(10) === 0 ? 1 + random(60) : 1 }, () => {
      const record = Buffer.alloc(RECORD_HEADER_BYTES + (random(30) === 0 ? random(30_000) : random(900)));
      for (let i = RECORD_HEADER_BYTES; i < record.length; i++) record[i] = random(256);
      return record;
    }),
  }));
  const first = await journal.append(
    commands,
    { time: 1_000_000 + truth.end, epoch: 1 + Math.floor(truth.end / 100) },
    { sync: true },
  );
  commands.forEach(({ records }, i) =>
    records.forEach((record, ordinal) => truth.records.set(positionOf(first + i, ordinal), record)),
  );
  truth.end = journal.end;
}

/** Rows of several families, as a broker has them: some written over and deleted again, some large. */
async function flush(
  { tables, journal }: Folder,
  truth: Truth,
  rows: Map<string, string>,
  random: (below: number) => number,
): Promise<void> {
  const operations: { key: Buffer; value?: Buffer }[] = [];
  for (let i = 0; i < 60; i++) {
    const family = 'giqt'[random(4)]!;
    const key = `${family}${String(random(family === 't' ? 300 : 5000)).padStart(8, '0')}`;
    if (random(10) === 0) {
      operations.push({ key: Buffer.from(key) });
      rows.delete(key);
    } else {
      const value = `${journal.end}:${'x'.repeat(random(40) === 0 ? random(6000) : random(80))}`;
      operations.push({ key: Buffer.from(key), value: Buffer.from(value) });
      rows.set(key, value);
    }
  }
  await tables.flush(operations, journal.end, { t: [...rows.keys()].filter((key) => key.startsWith('t')).length });
  truth.rows.set(journal.end, new Map(rows));
}

/** All files of a folder, as paths relative to it; empty ones cannot be damaged. */
export function filesOf(folder: string, below = ''): string[] {
  return readdirSync(join(folder, below), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(below, entry.name);
      return entry.isDirectory() ? filesOf(folder, path) : statSync(join(folder, path)).size > 0 ? [path] : [];
    })
    .sort();
}

export type Damage = { kind: 'flip'; at: number; bit: number } | { kind: 'zero'; at: number };

/** Flips one bit, or zeroes the page of 4096 bytes that begins at `at`. False when that changes nothing. */
export function damageFile(path: string, damage: Damage): boolean {
  const bytes = readFileSync(path);
  const before = Buffer.from(bytes);
  if (damage.kind === 'flip') bytes[damage.at] = bytes[damage.at]! ^ (1 << damage.bit);
  else bytes.fill(0, damage.at, Math.min(damage.at + 4096, bytes.length));
  if (bytes.equals(before)) return false;
  writeFileSync(path, bytes);
  return true;
}

const REFUSALS = [DamagedError, DataLostError, FolderFormatError, FolderInUseError];

/**
 * Opens the folder and reads everything back. 'refused': a typed error said so, at the opening or at a reading;
 * 'rebuilt': the journal is whole and the tables are to be built again; 'whole': all that was acknowledged is there.
 * Throws when anything less or different was answered without a word.
 */
export async function judge(path: string, truth: Truth): Promise<'refused' | 'rebuilt' | 'whole'> {
  let folder: Folder | undefined;
  let rebuilt = false;
  try {
    folder = await open(path, () => (rebuilt = true));
    await readJournal(folder, truth);
    await readTables(folder, truth, rebuilt);
    return rebuilt ? 'rebuilt' : 'whole';
  } catch (error) {
    if (REFUSALS.some((refusal) => error instanceof refusal)) return 'refused';
    throw error;
  } finally {
    await folder?.close();
  }
}

async function readJournal({ journal }: Folder, truth: Truth): Promise<void> {
  must(journal.end === truth.end, `end is ${journal.end} instead of ${truth.end}`);
  must(journal.head === truth.head, `head is ${journal.head} instead of ${truth.head}`);
  const positions = [...truth.records.keys()].filter((position) => indexOf(position) >= truth.head);
  for (let i = 0; i < positions.length; i += 300) {
    const some = positions.slice(i, i + 300);
    const read = await journal.readPositions(some);
    some.forEach((position, k) =>
      must(read[k]?.equals(truth.records.get(position)!) === true, `record ${position} differs`),
    );
  }
  let seen = 0;
  for (let from = 1; ;) {
    const commands = await journal.scanCommands(from, { maxRecords: 100, maxBytes: 50_000 });
    if (commands.length === 0) break;
    for (const { index, records } of commands) {
      records.forEach((record, ordinal) =>
        must(
          record.equals(truth.records.get(positionOf(index, ordinal))!),
          `record ${index}/${ordinal} differs in a scan`,
        ),
      );
      seen += records.length;
    }
    from = commands.at(-1)!.index + 1;
  }
  must(seen === positions.length, `a scan saw ${seen} of ${positions.length} records`);
  while (!(await journal.scrub(100)).wrapped);
}

async function readTables({ tables, journal }: Folder, truth: Truth, rebuilt: boolean): Promise<void> {
  const expected = truth.rows.get(tables.applied);
  must(expected !== undefined, `applied is ${tables.applied}, which never was`);
  // An older state is fine if it is a whole one from which the journal leads on.
  must(tables.applied + 1 >= journal.head, 'the journal does not lead on from the tables');
  if (rebuilt) must(tables.applied === 0, `rebuilt tables begin at 0, not at ${tables.applied}`);
  const wanted = [...expected!.keys()].sort();
  const byKey = await tables.getMany(wanted.map((key) => Buffer.from(key)));
  wanted.forEach((key, i) => must(byKey[i]?.toString() === expected!.get(key), `row ${key} differs`));
  const family = await tables.loadFamily('t');
  must(family.length === wanted.filter((key) => key.startsWith('t')).length, 'a family is not complete');
  while (!(await tables.scrub(64 << 10)).wrapped);
  const scanned = (await tables.scan({ gte: Buffer.from('D'), limit: 1_000_000 })).filter(
    ({ key }) => key[0] !== 'n'.charCodeAt(0),
  );
  must(scanned.length === wanted.length, `a scan of the tables saw ${scanned.length} of ${wanted.length} rows`);
  scanned.forEach(({ key, value }, i) =>
    must(
      key.toString() === wanted[i] && value.toString() === expected!.get(wanted[i]),
      `row ${wanted[i]} differs in a scan`,
    ),
  );
}

function must(holds: boolean, text: string): void {
  if (!holds) throw new Error(`passed over in silence: ${text}`);
}
