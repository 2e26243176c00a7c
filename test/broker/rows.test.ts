/** Rows as they are, however far they are on their way to disk: compared with a plain sorted map. */
import fc from 'fast-check';
import type { Row } from '../../storage/engine';
import { MemoryDisk } from '../../storage/memoryEngine';
import { Tables } from '../../storage/tables';
import { Overlay } from '../../src/broker/overlay';
import { behind, getRow, scanRows, type RowLimits } from '../../src/broker/rows';

const openTables = async () =>
  Tables.open({ engine: await new MemoryDisk().open('tables', { writeBufferBytes: 1 << 20, cacheBytes: 0 }) });

const keyOf = (n: number) => Buffer.from([0x54, n >> 4, (n & 15) === 15 ? 0xff : n & 15]);
const RANGE = { gte: Buffer.from([0x54]), lt: Buffer.from([0x55]) };
const text = (rows: readonly Row[]) => rows.map(({ key, value }) => `${key.toString('hex')}=${value.toString()}`);

const KEYS = 30;
const key = fc.integer({ min: 0, max: KEYS });
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('put' as const), key, size: fc.integer({ min: 0, max: 40 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  // Begun, and ended some steps later.
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('take' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flushed' as const) }) },
);
const scan = fc.record({
  from: fc.oneof(key, fc.constant(0)),
  to: fc.oneof(key, fc.constant(KEYS + 1)),
  limit: fc.integer({ min: 1, max: 12 }),
  maxBytes: fc.option(fc.integer({ min: 1, max: 200 }), { nil: undefined }),
  keysOnly: fc.boolean(),
});

type Scan = typeof scan extends fc.Arbitrary<infer T> ? T : never;

/** Everything between decision and disk, and what it should look like. */
class Model {
  readonly rows = new Map<number, string>();
  readonly overlay = new Overlay();
  #flush: Promise<void> | undefined;
  #values = 0;
  #applied = 1;

  constructor(readonly tables: Tables) {}

  async step(step: { kind: string; key?: number; size?: number }): Promise<void> {
    if (step.kind === 'put') {
      const value = `${this.#values++}`.padEnd(step.size!, '.');
      this.rows.set(step.key!, value);
      this.overlay.put(keyOf(step.key!), Buffer.from(value));
    } else if (step.kind === 'delete') {
      this.rows.delete(step.key!);
      this.overlay.delete(keyOf(step.key!));
    } else if (step.kind === 'take') this.#flush ??= this.tables.flush(this.overlay.take(), this.#applied++);
    else if (this.#flush) {
      await this.#flush;
      this.#flush = undefined;
      this.overlay.flushed();
    }
  }

  present(from: number, to: number): string[] {
    const numbers = [...this.rows.keys()].filter((n) => n >= from && n < to).sort((a, b) => a - b);
    return numbers.map((n) => `${keyOf(n).toString('hex')}=${this.rows.get(n)!}`);
  }
}

test('any history: a scan sees what is, in order, up to its limits, and so do its pages together', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.array(scan, { minLength: 1, maxLength: 4 }),
      async (steps, scans) => {
        const model = new Model(await openTables());
        // Most is stored before it begins: what lies between store and overlay is what a scan may get wrong.
        for (let n = 0; n < KEYS; n++) await model.step({ kind: 'put', key: n, size: (n * 7) % 40 });
        for (const kind of ['take', 'flushed']) await model.step({ kind });
        for (const [i, each] of steps.entries()) {
          await model.step(each);
          if (i % 7 === 6) await check(model, scans[i % scans.length]!);
        }
        for (const each of scans) await check(model, each);
      },
    ),
    { numRuns: 150 },
  );
});

async function check(model: Model, { from, to, limit, maxBytes, keysOnly }: Scan) {
  const lt = keyOf(to);
  const limits: RowLimits = { limit, keysOnly, ...(maxBytes === undefined ? {} : { maxBytes }) };
  const wanted = model.present(from, to);
  const bare = (row: string) => (keysOnly ? row.split('=')[0]! : row);
  const all: string[] = [];
  for (let gte: Buffer = keyOf(from); ;) {
    const { rows, more } = await scanRows(model.tables, model.overlay, { gte, lt }, limits);
    expect(rows.length).toBeLessThanOrEqual(limit);
    if (more) expect(rows.length).toBeGreaterThan(0);
    // Whoever gets less than he asked for has all of it, or was out of bytes.
    if (rows.length < limit && maxBytes === undefined) expect(more).toBe(false);
    if (maxBytes !== undefined && !keysOnly) expect(bytesOf(rows.slice(0, -1))).toBeLessThan(maxBytes);
    all.push(...text(rows).map(bare));
    if (!more) break;
    gte = behind(rows.at(-1)!.key);
  }
  expect(all).toEqual(wanted.map(bare));
  for (const n of [from, to]) {
    const row = await getRow(model.tables, model.overlay, keyOf(n));
    expect(row?.toString()).toBe(model.rows.get(n));
  }
}

const bytesOf = (rows: readonly Row[]) => rows.reduce((sum, { key, value }) => sum + key.length + value.length, 0);

describe('a scan', () => {
  const put = (n: number, value = 'v') => ({ key: keyOf(n), value: Buffer.from(value) });

  test('goes on when all that the store brought is deleted', async () => {
    const tables = await openTables();
    await tables.flush([put(1, 'x'.repeat(100)), put(2, 'x'.repeat(100)), put(3)], 1);
    const overlay = new Overlay();
    overlay.delete(keyOf(1));
    overlay.delete(keyOf(2));
    const { rows } = await scanRows(tables, overlay, RANGE, { limit: 5, maxBytes: 10 });
    expect(text(rows)).toEqual(text([put(3)]));
    const rest = await scanRows(tables, overlay, { ...RANGE, gte: behind(rows[0]!.key) }, { limit: 5, maxBytes: 10 });
    expect(rest).toEqual({ rows: [], more: false });
  });

  test('does not take the end of what fits for the end', async () => {
    const tables = await openTables();
    // Outside of the store each weighs 4 bytes less than in it.
    await tables.flush([put(1, 'abc'), put(2, 'abc')], 1);
    const { rows, more } = await scanRows(tables, new Overlay(), RANGE, { limit: 5, maxBytes: 8 });
    expect([text(rows), more]).toEqual([text([put(1, 'abc')]), true]);
  });

  test('reads no value where keys are enough', async () => {
    const tables = await openTables();
    await tables.flush([put(1, 'abc')], 1);
    const { rows } = await scanRows(tables, new Overlay(), RANGE, { limit: 5, keysOnly: true });
    expect(rows.map(({ value }) => value.length)).toEqual([0]);
  });

  test('sees a row once that is flushed while it reads, and one that is changed as it was or is', async () => {
    const tables = await openTables();
    await tables.flush([put(1, 'old')], 1);
    const overlay = new Overlay();
    overlay.put(keyOf(1), Buffer.from('new'));
    overlay.put(keyOf(2), Buffer.from('new'));
    const reading = scanRows(tables, overlay, RANGE, { limit: 5 });
    await tables.flush(overlay.take(), 2);
    overlay.flushed();
    overlay.delete(keyOf(2));
    expect(text((await reading).rows)).toEqual(text([put(1, 'new'), put(2, 'new')]));
    expect(text((await scanRows(tables, overlay, RANGE, { limit: 5 })).rows)).toEqual(text([put(1, 'new')]));
  });
});
