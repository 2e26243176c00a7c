/**
 * Finds out, when a journal is opened, what of it is whole, and makes the rest go away.
 *
 * RocksDB may open with less than was written, or with a hole in the middle. So the journal ends before its first gap
 * or damaged record. What is missing below that was acknowledged, or applied to the tables, is lost: the journal is not
 * opened until an operator has accepted just that. What is behind the gap was never acknowledged and is deleted.
 *
 * Records are looked up by their keys (journalReader.ts); the engine is scanned only to find out what lies behind a gap, and
 * then its newest files are checked first.
 *
 * Only records above the checkpoint are all read. Below it 256 records are looked up, evenly spread and denser towards
 * the checkpoint: a table file that RocksDB lost from its manifest takes a whole stretch with it. The rest is the
 * scrub's.
 */
import type { Engine } from './engine';
import { DamagedError, DataLostError } from './failures';
import { indexOf, journalKeys, positionOf, readNumber } from './keys';
import { readCommands } from './journalReader';
import { JournalWalk } from './journalWalk';
import { LostRanges } from './lostRanges';
import { checkRecord, recordCount, recordCrc, recordEpoch } from './record';
import type { Acked, AckedMark } from './ackedFile';

const SLICE_RECORDS = 1024;
const SLICE_BYTES = 4 << 20;
const SAMPLES = 256;
/** So far behind the end a stray record is looked for, command by command, then in doubling steps. */
const PROBED = 2048;
/** More than the write buffers and what a start flushes of them. */
const NEWEST_BYTES = 256 << 20;

export interface RecoveryOptions {
  engine: Engine;
  acked: Acked;
  /** Index up to which the journal was verified before and is in table files; 0 = verify all. */
  checkpoint: number;
  /** The tables were built from commands up to here, so the journal must reach as far. */
  lastApplied: number;
  /** The operator accepts that everything behind this index is lost. */
  acceptDataLoss?: number;
}

export interface Recovered {
  head: number;
  /** The last index in use: of the last whole command, or the end of a lost range behind it. */
  end: number;
  /** The last command that really has records; head - 1 when there is none. */
  lastIndex: number;
  lastEpoch: number;
  lastTime: number;
  lastCrc: number;
  lost: LostRanges;
}

/** The whole commands found, and why there are no more. */
interface Survey {
  walk: JournalWalk;
  /** Why the journal ends before its last record; undefined when nothing follows. */
  gap: string | undefined;
}

/** Rejects with `DataLostError` when acknowledged commands are missing and that was not accepted. */
export async function recoverJournal(options: RecoveryOptions): Promise<Recovered> {
  const { engine, acked } = options;
  const head = await readHead(engine);
  const lost = LostRanges.read(await engine.get(journalKeys.lost));
  const { walk, gap } = await survey(options, head, lost);
  const whole = Math.max(head - 1, lost.skip(walk.lastIndex + 1) - 1);
  const needed = Math.max(acked.last?.index ?? 0, options.lastApplied);
  const recovered = {
    head,
    end: whole,
    lastIndex: walk.lastIndex,
    // An epoch whose records were lost is not given again: owners and NameServers have seen it.
    lastEpoch: Math.max(walk.lastEpoch, acked.last?.epoch ?? 0),
    lastTime: walk.lastTime,
    lastCrc: walk.lastCrc,
    lost,
  };

  if (acked.last === undefined && whole > 0 && options.acceptDataLoss !== whole) throw unreadableMarks(whole);
  if (whole < needed) {
    if (options.acceptDataLoss !== whole) throw dataLost(whole, needed, gap);
    recovered.end = await giveUp(engine, lost, whole, needed);
  } else {
    if (acked.last) await compareWithMark(engine, acked.last, head, lost);
    if (gap !== undefined) await dropUnacknowledged(engine, whole);
  }
  acked.mark(recovered.end, recovered.lastEpoch, recovered.end === walk.lastIndex ? walk.lastCrc : 0);
  return recovered;
}

async function readHead(engine: Engine): Promise<number> {
  const value = await engine.get(journalKeys.head);
  return value ? readNumber(value, 0) : 1;
}

async function survey({ engine, checkpoint }: RecoveryOptions, head: number, lost: LostRanges): Promise<Survey> {
  if (checkpoint > head && (await samplesAreThere(engine, head, checkpoint, lost))) {
    // From the checkpoint itself, so that the last command is seen even when nothing follows.
    const start = lost.has(checkpoint) ? head : checkpoint;
    const found = await walkFrom(engine, new JournalWalk(start, lost));
    if (found.walk.lastIndex >= start) return found;
  }
  return walkFrom(engine, new JournalWalk(head, lost));
}

async function samplesAreThere(engine: Engine, head: number, checkpoint: number, lost: LostRanges): Promise<boolean> {
  const indexes = new Set<number>();
  for (let i = 0; i < SAMPLES; i++) indexes.add(head + Math.floor(((checkpoint - head) * i) / SAMPLES));
  for (let back = 1; back < checkpoint - head; back *= 2) indexes.add(checkpoint - back);
  const positions = [...indexes].filter((index) => !lost.has(index)).map((index) => positionOf(index, 0));
  try {
    const records = await engine.getMany(positions.map((position) => journalKeys.record(position)));
    return records.every((record, i) => {
      if (record) checkRecord(record, positions[i]!);
      return record !== undefined;
    });
  } catch (error) {
    if (error instanceof DamagedError) return false;
    throw error;
  }
}

async function walkFrom(engine: Engine, walk: JournalWalk): Promise<Survey> {
  let maxRecords = SLICE_RECORDS;
  for (;;) {
    try {
      const { fault } = await readCommands(engine, walk, { end: Infinity, maxRecords, maxBytes: SLICE_BYTES });
      if (fault !== undefined) return { walk, gap: await gapOrEnd(engine, walk, fault) };
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      // The engine tells of damage somewhere in the slice: approach it, down to single commands.
      if (maxRecords === 1) return { walk, gap: error.message };
      maxRecords = 1;
    }
  }
}

/** A journal whose next record is missing has simply ended, unless something lies behind. */
async function gapOrEnd(engine: Engine, walk: JournalWalk, fault: string): Promise<string | undefined> {
  if (walk.insideCommand) return fault;
  const next = walk.expectedIndex;
  const probes = Array.from({ length: PROBED }, (_, i) => next + i);
  for (let step = PROBED; step < 2 ** 40; step *= 2) probes.push(next + step);
  const found = await engine.getMany(probes.map((index) => journalKeys.record(positionOf(index, 0))));
  return found.some((record) => record !== undefined) ? fault : undefined;
}

/** The record that was acknowledged last must be the one that is there, not another of the same number. */
async function compareWithMark(engine: Engine, mark: AckedMark, head: number, lost: LostRanges): Promise<void> {
  if (mark.recordCrc === 0 || mark.index < head || lost.has(mark.index)) return;
  const first = await engine.get(journalKeys.record(positionOf(mark.index, 0)));
  const last = first && (await engine.get(journalKeys.record(positionOf(mark.index, recordCount(first) - 1))));
  if (last && recordCrc(last) === mark.recordCrc && recordEpoch(last) === mark.epoch) return;
  throw new DamagedError(
    `command ${mark.index} in the journal is not the one that was acknowledged; the journal and the file of marks are not of one broker or one time. Restore the whole data folder from one backup, or let this broker copy everything from its group again`,
  );
}

async function dropUnacknowledged(engine: Engine, whole: number): Promise<void> {
  await newestFilesAreWhole(engine);
  await deleteBehind(engine, whole);
}

async function deleteBehind(engine: Engine, whole: number, lostRow?: Buffer): Promise<void> {
  const batch = engine.batch();
  if (lostRow) batch.put(journalKeys.lost, lostRow);
  let gte = journalKeys.record(positionOf(whole + 1, 0));
  for (;;) {
    const rows = await engine.scan({ gte, lt: journalKeys.allRecords.lt, limit: 10_000, keysOnly: true });
    for (const { key } of rows) batch.delete(key);
    if (rows.length < 10_000) break;
    gte = rows.at(-1)!.key;
  }
  // All at once: a part of it, left behind by a crash, could look like a beginning.
  await batch.write({ sync: true });
}

/** Cuts behind `whole` and answers the end of the range that is given up. */
async function giveUp(engine: Engine, lost: LostRanges, whole: number, needed: number): Promise<number> {
  await newestFilesAreWhole(engine);
  // A slave may have copied what was not acknowledged: its numbers are not used again either.
  const [highest] = await engine.scan({ ...journalKeys.allRecords, limit: 1, reverse: true });
  const to = Math.max(needed, highest ? indexOf(journalKeys.positionOfKey(highest.key)) : 0);
  lost.add({ from: whole + 1, to });
  await deleteBehind(engine, whole, lost.row());
  return to;
}

/** A damaged table file stays in the way of every compaction, so a loss in one cannot be cut out and left behind. */
async function newestFilesAreWhole(engine: Engine): Promise<void> {
  try {
    await engine.check?.(NEWEST_BYTES);
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    throw new DamagedError(
      `${error.message}: this cannot be cut out of the journal. Restore the data folder from a backup, or empty it and let this broker ` +
        'copy everything from another member of its group',
      { cause: error },
    );
  }
}

function dataLost(whole: number, needed: number, gap: string | undefined): DataLostError {
  return new DataLostError(
    `the journal is whole up to ${whole}${gap === undefined ? '' : ` (${gap})`}, but commands up to ${needed} were acknowledged or applied: ` +
      `${needed - whole} are lost. Restore the data folder from a backup, or let this broker copy them from another member ` +
      `of its group; to go on without them, start once with --accept-data-loss=${whole}`,
    whole,
  );
}

function unreadableMarks(whole: number): DataLostError {
  return new DataLostError(
    `the file that says what was acknowledged (acked) cannot be read, so nobody can tell whether the journal, which is whole up to ${whole}, ` +
      `is complete. To take it as it is, start once with --accept-data-loss=${whole}`,
    whole,
  );
}
