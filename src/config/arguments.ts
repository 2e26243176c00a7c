/**
 * The command line, taken apart: words, flags and what is wrong with them. Whether a flag fits the role and whether its
 * value is allowed is decided later (settings.ts). It is read by hand because a refusal names all problems at once.
 */
import { quoted, type Findings, type Given } from './given';
import { didYouMean } from './nearest';
import { flagOf, KEYS, optionOf, type Key } from './option';

/** A command line: `gantry <words> <flags>`. */
export interface Arguments extends Findings {
  /** What is no flag: command and role. */
  readonly words: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
  /** `--config`: the path of the YAML file. */
  readonly file: string | undefined;
}

const KEY_OF_FLAG: ReadonlyMap<string, Key> = new Map(KEYS.map((key) => [flagOf(key), key]));
const SWITCHES: ReadonlyMap<string, 'help' | 'version'> = new Map([
  ['--help', 'help'],
  ['-h', 'help'],
  ['--version', 'version'],
  ['-V', 'version'],
]);
const KNOWN_FLAGS = [...KEY_OF_FLAG.keys(), '--config', '--help', '--version'];

interface Flag {
  readonly name: string;
  readonly value: string | undefined;
}

/** Splits into words and flags. A flag takes `=value` or the next argument, unless that is a flag or a word of ours. */
function split(argv: readonly string[], ownWords: readonly string[]): { words: string[]; flags: Flag[] } {
  const words: string[] = [];
  const flags: Flag[] = [];
  const waiting = [...argv];
  for (let argument = waiting.shift(); argument !== undefined; argument = waiting.shift()) {
    const [, name, inline] = /^(-[^=]+)(?:=([^]*))?$/.exec(argument) ?? [];
    if (name === undefined) {
      words.push(argument);
      continue;
    }
    const next = waiting[0];
    const known = KEY_OF_FLAG.has(name) || name === '--config';
    const takesNext = inline === undefined && !SWITCHES.has(name) && next !== undefined && !/^-\D/.test(next);
    // An unknown flag probably had a value; but `--quiet broker` must not swallow the role.
    const value = takesNext && (known || !ownWords.includes(next)) ? waiting.shift() : inline;
    flags.push({ name, value });
  }
  return { words, flags };
}

/** Puts a flag beside what was given before, or says why it cannot. */
function add(given: Map<Key, Given>, key: Key, { name, value }: Flag): string | undefined {
  if (value === undefined) return `${name}: needs a value, expected ${optionOf(key).kind.allowed}`;
  const before = given.get(key)?.raw;
  if (before !== undefined && !optionOf(key).kind.many)
    return `${name}: given twice, ${quoted(before)} and ${quoted(value)}`;
  const raw = optionOf(key).kind.many ? [...(before ?? []), value] : value;
  given.set(key, { raw, source: { from: 'flag', name } });
  return undefined;
}

/** Takes the command line apart. `ownWords` are the commands and roles. */
export function readArguments(argv: readonly string[], ownWords: readonly string[]): Arguments {
  const { words, flags } = split(argv, ownWords);
  const given = new Map<Key, Given>();
  const problems: string[] = [];
  const seen = new Set<string>();
  let file: string | undefined;
  for (const flag of flags) {
    const switched = SWITCHES.get(flag.name);
    const key = KEY_OF_FLAG.get(flag.name);
    if (switched !== undefined) {
      seen.add(switched);
      if (flag.value !== undefined) problems.push(`${flag.name}: takes no value, but ${quoted(flag.value)} was given`);
    } else if (flag.name === '--config') {
      if (!flag.value) problems.push('--config: needs a value, expected the path of a YAML file');
      else if (file !== undefined) problems.push(`--config: given twice, ${quoted(file)} and ${quoted(flag.value)}`);
      file ??= flag.value || undefined;
    } else if (key !== undefined) {
      const problem = add(given, key, flag);
      if (problem !== undefined) problems.push(problem);
    } else {
      problems.push(`${quoted(flag.name).slice(1, -1)}: unknown flag${didYouMean(flag.name, KNOWN_FLAGS)}`);
    }
  }
  return { words, given, problems, help: seen.has('help'), version: seen.has('version'), file };
}
