/**
 * Which messages of a topic somebody wants: RocketMQ's two kinds of filter.
 *
 * TAG: empty, blank or `*` takes all; otherwise tags joined by `||`, trimmed, at least one (FilterAPI). The index entry's
 * hash decides first, without reading a body; the strings are compared afterwards, because different tags may share a hash.
 *
 * SQL92: a condition over properties, tag and keys (sqlFilter.ts). The index says nothing about it: each record is read.
 */
import { GantryError } from '../base/errors';
import { tagHash } from './hash';
import { messageTag, RecordAttributes } from './message';
import { canonicalSql, parseSql } from './sqlFilter';

export interface FilterSpec {
  readonly type: 'TAG' | 'SQL92';
  readonly expression: string;
}

export const EVERYTHING: FilterSpec = { type: 'TAG', expression: '*' };

export interface Filter {
  /** Only the record tells: it must be read, with all that costs (effort.ts). `mayMatch` is always true. */
  readonly byRecord: boolean;
  /** False = certainly not wanted, by the tag's hash. */
  mayMatch(hash: number): boolean;
  matches(record: Buffer): boolean;
  /** Whether it does not match because the expression fails on it. */
  fails(record: Buffer): boolean;
}

/** Undefined = everything is wanted. Throws FILTER_INVALID. */
export function parseFilter(spec: FilterSpec): Filter | undefined {
  if (spec.type === 'SQL92') return sqlFilter(spec.expression);
  const text = spec.expression.trim();
  if (text === '' || text === '*') return undefined;
  const tags = tagsOf(text);
  if (tags.length === 0) {
    throw new GantryError(
      'FILTER_INVALID',
      `the tag expression ${JSON.stringify(spec.expression)} names no tag: use 'a || b', or '*' for all`,
      { errors: [{ pointer: '/filter/expression', detail: 'names no tag' }] },
    );
  }
  return tagFilter(tags);
}

const tagsOf = (expression: string): string[] =>
  expression
    .split('||')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '');

/** Takes messages with one of these tags; undefined for an empty list = everything. */
export function tagFilter(tags: Iterable<string>): Filter | undefined {
  const wanted = new Set(tags);
  if (wanted.size === 0) return undefined;
  const hashes = new Set([...wanted].map(tagHash));
  return {
    byRecord: false,
    mayMatch: (hash) => hashes.has(hash),
    matches: (record) => {
      const tag = messageTag(record);
      return tag !== undefined && wanted.has(tag);
    },
    fails: () => false,
  };
}

/** Takes messages for which the expression is true. Throws FILTER_INVALID. */
export function sqlFilter(expression: string): Filter {
  const sql = parseSql(expression);
  return {
    byRecord: true,
    mayMatch: () => true,
    matches: (record) => sql.matches(new RecordAttributes(record)),
    fails: (record) => sql.fails(new RecordAttributes(record)),
  };
}

/**
 * Two ways of writing the same filter are the same subscription. A `*` among others is a tag of that name, as it is for
 * parseFilter. Throws FILTER_INVALID.
 */
export function canonical(spec: FilterSpec): string {
  if (spec.type === 'SQL92') return `SQL92 ${canonicalSql(spec.expression)}`;
  if (spec.expression.trim() === '*') return '*';
  const tags = tagsOf(spec.expression);
  return tags.length === 0 ? '*' : `|| ${[...new Set(tags)].sort().join(' || ')}`;
}
