/** Rows of a range as they are now: what the tables store has, and what waits for the next flush. */
import type { Row } from '../../storage/engine';
import { SEAL_BYTES, type Tables } from '../../storage/tables';
import type { Overlay } from './overlay';

export interface RowRange {
  readonly gte: Buffer;
  readonly lt: Buffer;
}

export interface RowLimits {
  readonly limit: number;
  /** Of keys and values together; one row is answered whatever it weighs. */
  readonly maxBytes?: number;
  /** Only keys count: what is stored is answered without its values. */
  readonly keysOnly?: boolean;
}

export interface Rows {
  readonly rows: Row[];
  /** A limit was reached: there may be more behind the last one. Never without any row. */
  readonly more: boolean;
}

/** The first rows, in order. */
export async function scanRows(tables: Tables, overlay: Overlay, range: RowRange, limits: RowLimits): Promise<Rows> {
  for (let { gte } = range; ;) {
    const { rows, last } = await scanOnce(tables, overlay, { gte, lt: range.lt }, limits);
    const chosen = cut(rows, limits);
    const more = last !== undefined || chosen.length < rows.length;
    if (chosen.length > 0 || last === undefined) return { rows: chosen, more };
    gte = behind(last); // all that the store brought is deleted
  }
}

/** What one read of the store brings, and its last key if the store has more. */
async function scanOnce(tables: Tables, overlay: Overlay, range: RowRange, limits: RowLimits) {
  const fresh = overlay.within(range);
  const limit = limits.limit + fresh.filter(({ value }) => value === undefined).length;
  const { maxBytes = Infinity, keysOnly = false } = limits;
  const stored = await tables.scan({ ...range, limit, maxBytes, keysOnly });
  // What was flushed while the store was read stands in both; what changed since is newer in the overlay.
  const rows = new Map<string, Row | undefined>();
  for (const row of stored) rows.set(row.key.toString('latin1'), row);
  const last = stored.length < limit && weight(stored) < maxBytes ? undefined : stored.at(-1)!.key;
  for (const { key, value } of fresh) {
    if (last && key.compare(last) > 0) continue;
    rows.set(key.toString('latin1'), value && { key, value });
  }
  const present = [...rows.values()].filter((row): row is Row => row !== undefined);
  return { rows: present.sort((a, b) => a.key.compare(b.key)), last };
}

function cut(rows: Row[], { limit, maxBytes = Infinity }: RowLimits): Row[] {
  let bytes = 0;
  let count = 0;
  while (count < rows.length && count < limit && bytes < maxBytes) bytes += weight([rows[count++]!]);
  return rows.slice(0, count);
}

/** As the store weighs them, or a little more: what it left out must never be taken for the end. */
function weight(rows: readonly Row[]): number {
  let bytes = 0;
  for (const { key, value } of rows) bytes += key.length + value.length + SEAL_BYTES;
  return bytes;
}

/** The first key behind this one. */
export const behind = (key: Buffer): Buffer => Buffer.concat([key, Buffer.alloc(1)]);

/** One row. */
export async function getRow(tables: Tables, overlay: Overlay, key: Buffer): Promise<Buffer | undefined> {
  const fresh = overlay.get(key);
  return fresh === undefined ? tables.get(key) : (fresh ?? undefined);
}
