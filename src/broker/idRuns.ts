/**
 * Finds a message by its messageId. Ids made together differ only in their counter and their messages lie side by side,
 * so one row stands for the whole run: first id → (count, queue, first offset), keyed by the hour it was stored in, so
 * that old hours can be dropped together (as RocketMQ's RocksDB index does). A lookup asks one hour after the other,
 * the one that the id itself names first.
 */
import { readNumber, tableKeys, writeNumber } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { MESSAGE_ID_BYTES } from '../base/messageId';
import { messageIdOf } from './message';
import type { Operation } from './overlay';

export interface IdRun {
  readonly hour: number;
  readonly firstId: Buffer;
  readonly position: number;
  count: number;
  readonly queueId: number;
  readonly firstOffset: number;
}

export interface FoundId {
  readonly position: number;
  readonly queueId: number;
  readonly queueOffset: number;
}

/** Hours to look at, and the one to begin with. */
export interface Hours {
  readonly from: number;
  readonly to: number;
  readonly hint: number;
}

/** A message of a run lies at most this far behind its first one: a command has no more records. */
const RUN_MAX = 1023;
export const HOUR_MS = 3_600_000;
const COUNTER = 14;

export const hourOf = (time: number): number => Math.floor(time / HOUR_MS);

export class IdRuns {
  #active: IdRun[] = [];
  #flushing: IdRun[] = [];
  #open: IdRun | undefined;

  /** Notes a stored message; those of one command come in order, between `begin` calls. */
  add(record: Buffer, time: number, position: number, queueId: number, offset: number): void {
    const id = messageIdOf(record);
    const open = this.#open;
    if (open !== undefined && continues(open, id, position, queueId, offset)) {
      open.count++;
      return;
    }
    this.#open = { hour: hourOf(time), firstId: Buffer.from(id), position, count: 1, queueId, firstOffset: offset };
    this.#active.push(this.#open);
  }

  /** A run never spans two commands. */
  begin(): void {
    this.#open = undefined;
  }

  get pending(): number {
    return this.#active.length;
  }

  *take(): Iterable<Operation> {
    this.#flushing = this.#active;
    this.#active = [];
    this.#open = undefined;
    for (const run of this.#flushing) {
      const value = Buffer.allocUnsafe(12);
      value.writeUInt16BE(run.count, 0);
      value.writeUInt16BE(run.queueId, 2);
      writeNumber(value, run.firstOffset, 4);
      yield { key: tableKeys.idRun(run.hour, run.firstId, run.position), value };
    }
  }

  flushed(): void {
    this.#flushing = [];
  }

  /**
   * Messages with this id: the newest ones first, then hour by hour. There may be several, because a sender may choose
   * its ids, and use one again in another topic; the caller stops at the one it wants. `from` and `to` are hours.
   */
  async *find(id: Buffer, tables: Pick<Tables, 'scan'>, hours: Hours): AsyncIterable<FoundId> {
    const recent = [...this.#flushing, ...this.#active].map((run) => hit(run, id));
    for (const found of recent) if (found !== undefined) yield found;
    for (const hour of order(hours)) yield* await findInHour(id, tables, hour);
  }
}

function continues(run: IdRun, id: Buffer, position: number, queueId: number, offset: number): boolean {
  return (
    position === run.position + run.count &&
    queueId === run.queueId &&
    offset === run.firstOffset + run.count &&
    id.readUInt16BE(COUNTER) === run.firstId.readUInt16BE(COUNTER) + run.count &&
    id.compare(run.firstId, 0, COUNTER, 0, COUNTER) === 0
  );
}

function hit(run: IdRun, id: Buffer): FoundId | undefined {
  const step = id.readUInt16BE(COUNTER) - run.firstId.readUInt16BE(COUNTER);
  if (step < 0 || step >= run.count || id.compare(run.firstId, 0, COUNTER, 0, COUNTER) !== 0) return undefined;
  return { position: run.position + step, queueId: run.queueId, queueOffset: run.firstOffset + step };
}

/** The hour that the id names, its neighbour (it may have been stored a moment later), then the rest, newest first. */
function* order(hours: Hours): Iterable<number> {
  const first = [hours.hint, hours.hint + 1].filter((hour) => hour >= hours.from && hour <= hours.to);
  yield* first;
  for (let hour = hours.to; hour >= hours.from; hour--) if (!first.includes(hour)) yield hour;
}

async function findInHour(id: Buffer, tables: Pick<Tables, 'scan'>, hour: number): Promise<FoundId[]> {
  const lowest = Buffer.from(id);
  lowest.writeUInt16BE(Math.max(0, id.readUInt16BE(COUNTER) - RUN_MAX), COUNTER);
  const rows = await tables.scan({
    gte: tableKeys.idRun(hour, lowest, 0),
    lte: tableKeys.idRun(hour, id, Number.MAX_SAFE_INTEGER),
    limit: 4096,
  });
  const found: FoundId[] = [];
  for (const { key, value } of rows) {
    const run: IdRun = {
      hour,
      firstId: key.subarray(5, 5 + MESSAGE_ID_BYTES),
      position: readNumber(key, 5 + MESSAGE_ID_BYTES),
      count: value.readUInt16BE(0),
      queueId: value.readUInt16BE(2),
      firstOffset: readNumber(value, 4),
    };
    const at = hit(run, id);
    if (at !== undefined) found.push(at);
  }
  return found;
}
