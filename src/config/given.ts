/** What somebody set, and where: the common form of flags, environment variables and lines of a file. */
import type { Raw } from './kinds';
import type { Key } from './option';

/** Where a value came from. `name` is the flag, the variable or the path of the file. */
export type Source =
  { readonly from: 'default' } | { readonly from: 'file' | 'environment' | 'flag'; readonly name: string };

export interface Given {
  readonly raw: Raw;
  readonly source: Source;
}

/** Everything one place sets, and what is wrong with it, one sentence per problem. */
export interface Findings {
  readonly given: ReadonlyMap<Key, Given>;
  readonly problems: readonly string[];
}

/** Outside text made ready to be shown: quoted, shortened, control characters escaped. */
export function quoted(raw: Raw): string {
  const text = typeof raw === 'string' ? raw : raw.join(',');
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}...` : text);
}

/** Fit for one line of ours: no control characters. */
export function oneLine(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}

/** `flag --port`, `file gantry.yaml`, `default`: for a comment behind the value. */
export function describeSource(source: Source): string {
  return source.from === 'default' ? 'default' : `${source.from} ${oneLine(source.name)}`;
}

/** The place as its reader would look for it: `--port`, `GANTRY_PORT`, `port in gantry.yaml`. */
export function placeOf(source: Source, key: Key): string {
  if (source.from === 'default') return key;
  return source.from === 'file' ? `${key} in ${source.name}` : source.name;
}
