/** The YAML file: one flat map from option to value. A key that is no option is refused. */
import { parseDocument } from 'yaml';
import { quoted, type Findings, type Given } from './given';
import type { Raw } from './kinds';
import { didYouMean } from './nearest';
import { isKey, KEYS, type Key } from './option';

type Parsed = { readonly entries: ReadonlyMap<unknown, unknown> } | { readonly problem: string };

/** Parses with the failsafe schema: every scalar stays the text that was written, so `name: 007` is not a number. */
function parse(text: string): Parsed {
  const document = parseDocument(text, { schema: 'failsafe', prettyErrors: true });
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) return { problem: fault.message.split(':\n')[0] ?? fault.message };
  try {
    const content: unknown = document.toJS({ mapAsMap: true });
    if (content === null || content === '') return { entries: new Map() };
    return content instanceof Map
      ? { entries: content }
      : { problem: 'expected one map of options, such as "port: 8080"' };
  } catch (error) {
    return { problem: (error as Error).message };
  }
}

function isRaw(value: unknown): value is Raw {
  return typeof value === 'string' || (Array.isArray(value) && value.every((item) => typeof item === 'string'));
}

function readEntries(path: string, entries: ReadonlyMap<unknown, unknown>): Findings {
  const given = new Map<Key, Given>();
  const problems: string[] = [];
  for (const [name, value] of entries) {
    if (typeof name !== 'string' || !isKey(name)) {
      const text = typeof name === 'string' ? name : JSON.stringify(name);
      problems.push(`${quoted(text)} in ${path}: unknown option${didYouMean(text, KEYS)}`);
    } else if (isRaw(value)) {
      given.set(name, { raw: value, source: { from: 'file', name: path } });
    } else {
      problems.push(`${name} in ${path}: expected a value or a list of values, not something nested`);
    }
  }
  return { given, problems };
}

/** Reads the file at `path`, or finds nothing when there is none to read. */
export function readConfigFile(path: string | undefined, readFile: (path: string) => string): Findings {
  if (path === undefined) return { given: new Map(), problems: [] };
  let text: string;
  try {
    text = readFile(path);
  } catch (error) {
    return {
      given: new Map(),
      problems: [`${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}`],
    };
  }
  const parsed = parse(text);
  if ('problem' in parsed) return { given: new Map(), problems: [`${path}: ${parsed.problem}`] };
  return readEntries(path, parsed.entries);
}
