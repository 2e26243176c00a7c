/**
 * Which messages of a topic somebody wants. RocketMQ's tag expression: empty, blank or `*` takes all; otherwise tags
 * joined by `||`, trimmed, at least one (FilterAPI). The index entry's hash decides first, without reading a body; the
 * strings are compared afterwards, because different tags may share a hash.
 */
import { GantryError } from '../base/errors';
import { tagHash } from './hash';

export interface FilterSpec {
  readonly type: 'TAG';
  readonly expression: string;
}

export const EVERYTHING: FilterSpec = { type: 'TAG', expression: '*' };

export interface Filter {
  /** False = certainly not wanted. */
  mayMatch(hash: number): boolean;
  matches(tag: string | undefined): boolean;
}

/** Undefined = everything is wanted. Throws FILTER_INVALID. */
export function parseFilter(spec: FilterSpec): Filter | undefined {
  const text = spec.expression.trim();
  if (text === '' || text === '*') return undefined;
  const tags = new Set(
    text
      .split('||')
      .map((tag) => tag.trim())
      .filter((tag) => tag !== ''),
  );
  if (tags.size === 0) {
    throw new GantryError(
      'FILTER_INVALID',
      `the tag expression ${JSON.stringify(spec.expression)} names no tag: use 'a || b', or '*' for all`,
      { errors: [{ pointer: '/filter/expression', detail: 'names no tag' }] },
    );
  }
  return tagFilter(tags);
}

/** Takes messages with one of these tags; undefined for an empty list = everything. */
export function tagFilter(tags: Iterable<string>): Filter | undefined {
  const wanted = new Set(tags);
  if (wanted.size === 0) return undefined;
  const hashes = new Set([...wanted].map(tagHash));
  return {
    mayMatch: (hash) => hashes.has(hash),
    matches: (tag) => tag !== undefined && wanted.has(tag),
  };
}

/** Two ways of writing the same filter are the same subscription. A `*` among others is a tag of that name, as it is for parseFilter. */
export function canonical(spec: FilterSpec): string {
  if (spec.expression.trim() === '*') return '*';
  const tags = spec.expression
    .split('||')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '');
  return tags.length === 0 ? '*' : `|| ${[...new Set(tags)].sort().join(' || ')}`;
}
