/**
 * Any single damage to any file is either refused with a typed error or changes nothing that was acknowledged. Nothing
 * less or different is ever answered in silence.
 */
import { cpSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { damageFile, filesOf, judge, makeFolder, randomFrom, type Damage, type Making, type Truth } from './damage';

const SEED = 20260115;
const FLIPS = 3;

const MAKINGS: [string, Making][] = [
  ['a folder that was closed', { runs: [60, 120, 200], trim: false, unclean: false }],
  ['a trimmed folder whose broker was killed', { runs: [60, 120, 200], trim: true, unclean: true }],
];

describe.each(MAKINGS)(`%s, seed ${SEED}`, (_name, making) => {
  let parent: string;
  let made: { path: string; truth: Truth };

  beforeAll(async () => {
    parent = mkdtempSync(join(tmpdir(), 'gantry-damage-'));
    made = await makeFolder(join(parent, 'made'), making);
  });
  afterAll(() => rmSync(parent, { recursive: true, force: true }));

  async function outcomeOf(file: string, damage: Damage): Promise<string> {
    const copy = join(parent, 'copy');
    cpSync(made.path, copy, { recursive: true });
    try {
      if (!damageFile(join(copy, file), damage)) return 'unchanged';
      return await judge(copy, made.truth).catch(
        (error: Error) => `${error.message} after ${JSON.stringify({ file, damage, seed: SEED })}`,
      );
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  }

  it('is whole without damage', async () => {
    const copy = join(parent, 'sound');
    cpSync(made.path, copy, { recursive: true });
    expect(await judge(copy, made.truth)).toBe('whole');
  });

  it.each(['acked', 'format.json', 'journal', 'tables'])('passes over nothing in %s', async (part) => {
    const random = randomFrom(SEED);
    const outcomes: string[] = [];
    for (const file of filesOf(made.path).filter((name) => name.startsWith(part))) {
      const { size } = statSync(join(made.path, file));
      for (let i = 0; i < FLIPS; i++)
        outcomes.push(await outcomeOf(file, { kind: 'flip', at: random(size), bit: random(8) }));
      outcomes.push(await outcomeOf(file, { kind: 'zero', at: 4096 * random(Math.ceil(size / 4096)) }));
    }
    expect(outcomes.filter((outcome) => !['refused', 'rebuilt', 'whole', 'unchanged'].includes(outcome))).toEqual([]);
    // The damage is real: somewhere it is noticed, but for the marks, where an older slot does.
    if (part !== 'acked')
      expect(outcomes.filter((outcome) => outcome === 'refused' || outcome === 'rebuilt').length).toBeGreaterThan(0);
  });
});
