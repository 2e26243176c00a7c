/**
 * Reads commands in order by their keys, without an iterator: RocksDB's iterators check nothing, and on a damaged block
 * they may answer less or end the process, while lookups verify every block. The keys are known: indexes are dense,
 * and the first record of a command says how many there are.
 */
import type { Engine } from './engine';
import { DamagedError } from './failures';
import type { JournalWalk } from './journalWalk';
import { journalKeys, ORDINALS, positionOf } from './keys';
import { RECORD_HEADER_BYTES, recordCount } from './record';

/** Commands looked up at first, before it is known how heavy they are. */
const FIRST_STEP = 16;
/** Keys in one lookup. */
const STEP = 1024;

export interface ReadLimits {
  /** Do not go beyond this index. */
  end: number;
  /** At most so many records, or bytes of them; but whole commands, and at least one. */
  maxRecords: number;
  maxBytes: number;
}

export interface ReadCommand {
  index: number;
  records: Buffer[];
}

export interface Reading {
  commands: ReadCommand[];
  /** Why the walk cannot go on; undefined when a limit or the end was reached. */
  fault: string | undefined;
}

/** Reads on from where the walk stands. Rejects with `DamagedError` when the engine finds damage itself. */
export async function readCommands(engine: Engine, walk: JournalWalk, limits: ReadLimits): Promise<Reading> {
  const commands: ReadCommand[] = [];
  let records = 0;
  let bytes = 0;
  for (;;) {
    const indexes = walk.indexesAhead(nextStep(limits, records, bytes), limits.end);
    if (indexes.length === 0) return { commands, fault: undefined };
    const firsts = await engine.getMany(indexes.map((index) => journalKeys.record(positionOf(index, 0))));
    const counts = firsts.map(countOf);
    for (let i = 0; i < indexes.length;) {
      const behind = groupEnd(counts, i, Math.max(1, limits.maxRecords - records));
      const rests = await readRests(engine, indexes, counts, i, behind);
      for (let rest = 0; i < behind; i++) {
        const count = counts[i]!;
        const all = [firsts[i], ...rests.slice(rest, rest + count - 1)];
        const weight = all.reduce((sum, record) => sum + (record?.length ?? 0), 0);
        if (commands.length > 0 && (records + count > limits.maxRecords || bytes + weight > limits.maxBytes)) {
          return { commands, fault: undefined };
        }
        const fault = takeAll(walk, all);
        if (fault !== undefined) return { commands, fault };
        commands.push({ index: indexes[i]!, records: all as Buffer[] });
        rest += count - 1;
        records += count;
        bytes += weight;
      }
    }
  }
}

function takeAll(walk: JournalWalk, records: (Buffer | undefined)[]): string | undefined {
  for (const record of records) {
    const fault = walk.take(record);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** How many commands to look up next: as many as fit by what the ones before weighed. */
function nextStep({ maxRecords, maxBytes }: ReadLimits, records: number, bytes: number): number {
  const fitting = records === 0 ? FIRST_STEP : Math.ceil((maxBytes - bytes) / (bytes / records));
  return Math.max(1, Math.min(fitting, STEP, maxRecords - records)); // at the limit one more is looked at, and left
}

/** What this first record says; 1 when it cannot be one. Not verified yet: the walk does that, and a wrong count fails there. */
function countOf(first: Buffer | undefined): number {
  const count = first && first.length >= RECORD_HEADER_BYTES ? recordCount(first) : 1;
  return count >= 1 && count <= ORDINALS ? count : 1;
}

/** Commands from `start` on whose records are fetched together. */
function groupEnd(counts: number[], start: number, maxRecords: number): number {
  let behind = start;
  for (let records = 0; behind < counts.length && records < Math.min(STEP, maxRecords); behind++)
    records += counts[behind]!;
  return behind;
}

async function readRests(
  engine: Engine,
  indexes: number[],
  counts: number[],
  start: number,
  behind: number,
): Promise<(Buffer | undefined)[]> {
  const keys: Buffer[] = [];
  for (let i = start; i < behind; i++) {
    for (let ordinal = 1; ordinal < counts[i]!; ordinal++)
      keys.push(journalKeys.record(positionOf(indexes[i]!, ordinal)));
  }
  return keys.length > 0 ? engine.getMany(keys) : [];
}

/** The first index in [low, high) that has a record, or high, if all present ones lie together at the upper end. */
export async function firstPresent(
  engine: Engine,
  low: number,
  high: number,
  skip: (index: number) => number,
): Promise<number> {
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const probe = skip(middle);
    if (probe >= high || (await isPresent(engine, probe))) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** A damaged record is present. */
async function isPresent(engine: Engine, index: number): Promise<boolean> {
  try {
    return (await engine.get(journalKeys.record(positionOf(index, 0)))) !== undefined;
  } catch (error) {
    if (error instanceof DamagedError) return true;
    throw error;
  }
}
