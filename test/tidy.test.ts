/** The house rules that a machine can check: who may import whom, and which doors to the outside exist once. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const ROOT = resolve(__dirname, '..');

function filesBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Text without comments and string contents, for looking for calls. */
  readonly code: string;
  readonly imports: string[];
}

function read(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const imports = [...text.matchAll(/^\s*(?:import|export)[^;]*?from\s+'([^']+)'/gms)].map((match) => match[1]!);
  const code = text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .replace(/'(?:[^'\\\n]|\\.)*'/g, "''");
  return { path, text, code, imports };
}

const sources = ['api', 'src', 'storage'].flatMap(filesBelow).map(read);

const floorOf = (path: string): string => path.split('/')[0]!;

/** Where a relative import of a file leads, as a path from the root; undefined for packages. */
function target(file: SourceFile, name: string): string | undefined {
  return name.startsWith('.') ? relative(ROOT, resolve(ROOT, dirname(file.path), name)) : undefined;
}

describe('the law of the floors: api → src → storage', () => {
  const BELOW: Record<string, string[]> = {
    api: ['api', 'src', 'storage'],
    src: ['src', 'storage'],
    storage: ['storage'],
  };

  test('imports go downwards only; main.ts alone sees everything', () => {
    const wrong = sources
      .filter(({ path }) => path !== 'src/main.ts')
      .flatMap((file) =>
        file.imports
          .map((name) => target(file, name))
          .filter((to): to is string => to !== undefined && !BELOW[floorOf(file.path)]!.includes(floorOf(to)))
          .map((to) => `${file.path} imports ${to}`),
      );
    expect(wrong).toEqual([]);
  });

  test('the decisions know no HTTP, no RocksDB and no file system', () => {
    const forbidden =
      /^(node:)?(http|https|net|fs|fs\/promises|child_process|os)$|^(express|undici|rocksdb|swagger-ui-express)$/;
    const wrong = sources
      .filter(({ path }) => /^src\/(broker|nameserver|cluster)\//.test(path))
      .flatMap(({ path, imports }) =>
        imports.filter((name) => forbidden.test(name)).map((name) => `${path} imports ${name}`),
      );
    expect(wrong).toEqual([]);
  });

  test('RocksDB is known to one file', () => {
    expect(sources.filter(({ imports }) => imports.includes('rocksdb')).map(({ path }) => path)).toEqual([
      'storage/rocksdbEngine.ts',
    ]);
  });
});

describe('one door each', () => {
  const DOORS: [what: string, pattern: RegExp, doors: string[]][] = [
    ['the wall clock', /\bDate\.now\b|\bnew Date\(\)/, ['src/base/clock.ts']],
    ['the monotonic clock', /\bperformance\.now\b|\bprocess\.hrtime\b/, ['src/base/clock.ts']],
    ['timers', /\bset(Timeout|Interval|Immediate)\(/, ['src/base/clock.ts']],
    ['chance', /\bMath\.random\b|\brandomBytes\b|\brandomInt\b|\brandomUUID\b/, ['src/base/chance.ts']],
    ['the environment', /\bprocess\.env\b/, ['src/main.ts']],
    ['the end of the process', /\bprocess\.exit\b/, ['src/main.ts']],
    ['fetch', /(?<![.#\w])fetch\(/, []],
  ];

  test.each(DOORS)('%s', (_, pattern, doors) => {
    const found = sources.filter(({ code }) => pattern.test(code)).map(({ path }) => path);
    expect(found.filter((path) => !doors.includes(path))).toEqual([]);
  });
});

describe('files', () => {
  test('none is called utils, helpers, manager or common', () => {
    expect(
      sources.map(({ path }) => path).filter((path) => /(utils?|helpers?|manager|common|misc)\.ts$/i.test(path)),
    ).toEqual([]);
  });

  test('each begins with what it is for', () => {
    const silent = sources
      .filter(({ path, text }) => !path.startsWith('api/generated/') && !/^(#!.*\n)?\/\*\*/.test(text))
      .map(({ path }) => path);
    expect(silent).toEqual([]);
  });

  test('none switches types or lint rules off', () => {
    const pattern = /@ts-(ignore|nocheck|expect-error)|eslint-disable|: any\b|as any\b|<any>/;
    expect(
      sources
        .filter(
          ({ path, code, text }) =>
            !path.startsWith('api/generated/') &&
            (pattern.test(code) || /@ts-(ignore|nocheck)|eslint-disable/.test(text)),
        )
        .map(({ path }) => path),
    ).toEqual([]);
  });

  test('every file is used by another one', () => {
    const used = new Set(sources.flatMap((file) => file.imports.map((name) => target(file, name))));
    const entries = ['src/main.ts'];
    const unused = sources
      .map(({ path }) => path)
      .filter((path) => !entries.includes(path) && !used.has(path.replace(/\.ts$/, '')));
    expect(unused).toEqual([]);
  });
});
