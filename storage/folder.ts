/**
 * The data folder of one broker:
 *
 *   format.json   which layout this is; written first as incomplete, completed last
 *   journal/      the journal's store        tables/   the tables' store
 *   acked         what was acknowledged (ackedFile.ts)
 *
 * What must hold when it is open: the journal reaches at least as far as what was acknowledged and as what the tables
 * have applied, and the tables at least to the journal's head, so that replaying the rest gives the whole state.
 * The tables hold nothing that a complete journal does not: when they are damaged and the journal still begins at 1,
 * they are thrown away and built again. Otherwise nothing is ever repaired by guessing.
 */
import {
  existsSync,
  openSync,
  closeSync,
  fsyncSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { AckedFile, AckedMemory, syncFolder, type Acked, type Timers } from './ackedFile';
import type { Engine, OpenEngine } from './engine';
import { DamagedError, DataLostError, FolderFormatError } from './failures';
import { Journal, JOURNAL_WRITE_BUFFER_BYTES } from './journal';
import { makeFolder, unusable } from './makeFolder';
import { MemoryDisk } from './memoryEngine';
import { Tables, TABLES_WRITE_BUFFER_BYTES } from './tables';

export const FOLDER_FORMAT = 1;
const CACHE_BYTES = 32 << 20;

export interface OpenFolderOptions {
  path: string;
  openEngine: OpenEngine;
  timers: Timers;
  /** Journal index behind which the operator accepts that all is lost. */
  acceptDataLoss?: number;
  /** 'async': the caller appends without sync and calls `journal.syncNow()` now and then; closing does it once more. */
  flush: 'sync' | 'async';
  /** Told what was done that nobody asked for. */
  onNotice?: (text: string) => void;
  /** Block cache of each store; 32 MiB. */
  cacheBytes?: number;
  /** Write buffers; 32 MiB for the journal, 16 MiB for the tables. */
  writeBufferBytes?: { journal: number; tables: number };
}

export interface Folder {
  readonly journal: Journal;
  readonly tables: Tables;
  /** Idempotent; waits for what is under way. */
  close(): Promise<void>;
}

/**
 * Opens or creates a data folder. Rejects with `FolderUnusableError`, `FolderInUseError`, `FolderFormatError`,
 * `DamagedError` or `DataLostError`, each saying what an operator can do.
 */
export async function openFolder(options: OpenFolderOptions): Promise<Folder> {
  try {
    return await openOnDisk(options);
  } catch (error) {
    throw unusable(options.path, error);
  }
}

async function openOnDisk(options: OpenFolderOptions): Promise<Folder> {
  const { path, timers, openEngine, cacheBytes = CACHE_BYTES } = options;
  const creating = prepareFolder(path);
  const place: Place = {
    openJournal: () => openEngine(join(path, 'journal'), { writeBufferBytes: buffersOf(options).journal, cacheBytes }),
    openTables: () => openEngine(join(path, 'tables'), { writeBufferBytes: buffersOf(options).tables, cacheBytes }),
    openAcked: () => AckedFile.open(join(path, 'acked'), timers),
    wipeTables: () => rmSync(join(path, 'tables'), { recursive: true, force: true }),
  };
  const folder = await openPlace(place, options);
  if (creating) completeFolder(path);
  return folder;
}

/** A folder in memory for tests: `open` again after `close` or `powerCut` finds what was kept. */
export function openMemoryFolder(): {
  readonly disk: MemoryDisk;
  open(options?: Partial<Pick<OpenFolderOptions, 'acceptDataLoss' | 'flush' | 'onNotice'>>): Promise<Folder>;
} {
  const disk = new MemoryDisk();
  const acked = new AckedMemory();
  const place: Place = {
    openJournal: () => disk.open('journal', NO_BUFFERS),
    openTables: () => disk.open('tables', NO_BUFFERS),
    openAcked: () => acked,
    wipeTables: () => disk.wipe('tables'),
  };
  return { disk, open: (options = {}) => openPlace(place, options) };
}

const NO_BUFFERS = { writeBufferBytes: 0, cacheBytes: 0 };

const buffersOf = ({ writeBufferBytes }: PlaceOptions) =>
  writeBufferBytes ?? { journal: JOURNAL_WRITE_BUFFER_BYTES, tables: TABLES_WRITE_BUFFER_BYTES };

/** Where the parts of a folder come from. */
interface Place {
  openJournal(): Promise<Engine>;
  openTables(): Promise<Engine>;
  openAcked(): Acked;
  wipeTables(): void;
}

type PlaceOptions = Pick<OpenFolderOptions, 'acceptDataLoss' | 'onNotice' | 'writeBufferBytes'> & {
  flush?: OpenFolderOptions['flush'];
};

async function openPlace(place: Place, options: PlaceOptions): Promise<Folder> {
  const open: { close(): Promise<void> }[] = [];
  const keep = <T extends { close(): Promise<void> }>(part: T): T => {
    open.push(part);
    return part;
  };
  const closeAll = async () => {
    for (let part = open.pop(); part; part = open.pop()) await part.close();
  };
  try {
    const { journal, tables } = await openStores(place, options, keep);
    const close = async () => {
      try {
        if (options.flush === 'async') await journal.syncNow();
      } finally {
        await closeAll();
      }
    };
    let closing: Promise<void> | undefined;
    return { journal, tables, close: () => (closing ??= close()) };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function openStores(
  place: Place,
  options: PlaceOptions,
  keep: <T extends { close(): Promise<void> }>(part: T) => T,
): Promise<{ journal: Journal; tables: Tables }> {
  const { acceptDataLoss, onNotice = () => {} } = options;
  const journalEngine = keep(await place.openJournal());
  const acked = keep(place.openAcked());
  let journal: Journal | undefined;
  const openTables = (engine: Engine) =>
    Tables.open({
      engine,
      writeBufferBytes: buffersOf(options).tables,
      beforeFlush: (applied) => (journal && applied > journal.durableEnd ? journal.syncNow() : undefined),
      journalSettled: () => journal?.settled ?? 0,
    });
  let { engine, tables, fault } = await tryTables(place, openTables);
  try {
    journal = await Journal.open({
      engine: journalEngine,
      acked,
      writeBufferBytes: buffersOf(options).journal,
      checkpoint: tables?.journalCheckpoint ?? 0,
      lastApplied: tables?.applied ?? 0,
      ...(acceptDataLoss !== undefined && { acceptDataLoss }),
    });
    fault ??= missingCommands(tables, journal);
    if (fault !== undefined && (journal.head > 1 || journal.lostRanges.length > 0))
      throw tablesLost(fault, journal.end);
    if (fault !== undefined) {
      onNotice(`the tables are thrown away and built again from the journal: ${fault}`);
      await engine?.close();
      place.wipeTables();
      engine = await place.openTables();
      tables = await openTables(engine);
    }
    await tables!.checkpointAfterOpen(journal.settled);
  } catch (error) {
    await engine?.close();
    throw error;
  }
  keep(engine!);
  return { journal, tables: tables! };
}

interface TablesAttempt {
  engine?: Engine;
  tables?: Tables;
  /** Why the tables cannot be used. */
  fault?: string;
}

async function tryTables(place: Place, openTables: (engine: Engine) => Promise<Tables>): Promise<TablesAttempt> {
  let engine: Engine | undefined;
  try {
    engine = await place.openTables();
    return { engine, tables: await openTables(engine) };
  } catch (error) {
    await engine?.close();
    if (error instanceof DamagedError) return { fault: error.message };
    throw error;
  }
}

function missingCommands(tables: Tables | undefined, journal: Journal): string | undefined {
  if (!tables || tables.applied + 1 >= journal.head) return undefined;
  return `they end at command ${tables.applied}, but the journal begins at ${journal.head}`;
}

function tablesLost(fault: string, lastGoodIndex: number): DataLostError {
  return new DataLostError(
    `the tables are damaged (${fault}) and the journal no longer holds all commands to build them again. ` +
      'Restore the data folder from a backup, or empty it and let this broker copy everything from another member of its group',
    lastGoodIndex,
  );
}

/** Checks or begins a folder; true when it still has to be completed. */
function prepareFolder(path: string): boolean {
  makeFolder(path);
  const names = readdirSync(path).filter((name) => name !== 'lost+found');
  if (!names.includes('format.json')) {
    if (names.some((name) => name !== 'format.json.new')) throw foreign(path);
    writeFormat(path, false);
  } else if (readFormat(path)) {
    // Tables that are gone are built again if the journal is complete (openStores); a journal that is gone is lost data.
    if (!existsSync(join(path, 'journal', 'CURRENT'))) {
      throw new DamagedError(`${join(path, 'journal')} is not there any more. Restore the data folder from a backup`);
    }
    return false;
  }
  // Nothing was ever acknowledged from an incomplete folder: what a crash has left in it is begun again.
  for (const name of ['journal', 'tables', 'acked']) rmSync(join(path, name), { recursive: true, force: true });
  AckedFile.create(join(path, 'acked'));
  return true;
}

function completeFolder(path: string): void {
  writeFormat(path, true);
}

const formatFile = (path: string) => join(path, 'format.json');

/** Replaced as a whole, so that it is never half written. */
function writeFormat(path: string, complete: boolean): void {
  const created = statSync(path).mtime.toISOString();
  const content = { format: FOLDER_FORMAT, created, complete };
  const file = openSync(`${formatFile(path)}.new`, 'w');
  try {
    writeSync(file, `${JSON.stringify({ ...content, crc: crc32(JSON.stringify(content)) })}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${formatFile(path)}.new`, formatFile(path));
  syncFolder(path);
}

/** True for a complete folder, false for one whose creation was interrupted. */
function readFormat(path: string): boolean {
  const unreadable = new FolderFormatError(
    `${formatFile(path)} cannot be read, so it is unknown which version wrote this folder. Restore the file from a backup, or give another folder`,
  );
  let content: Record<string, unknown>;
  try {
    content = JSON.parse(readFileSync(formatFile(path), 'utf8')) as Record<string, unknown>;
  } catch {
    throw unreadable;
  }
  const { crc, ...rest } = content;
  if (typeof content !== 'object' || crc32(JSON.stringify(rest)) !== crc) throw unreadable;
  if (rest['format'] !== FOLDER_FORMAT) {
    throw new FolderFormatError(
      `${path} has format ${String(rest['format'])}, this version reads format ${FOLDER_FORMAT}. Start the version that wrote it, or give another folder`,
    );
  }
  return rest['complete'] === true;
}

function foreign(path: string): FolderFormatError {
  return new FolderFormatError(
    `${path} is not empty and not a data folder (it has no format.json). Give an empty folder or one that does not exist yet; ` +
      'if it was a data folder, restore it from a backup',
  );
}
