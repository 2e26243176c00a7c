/**
 * Which messages of a topic somebody wants: RocketMQ's two kinds of filter.
 *
 * TAG: empty, blank or `*` takes all; otherwise tags (tag.ts) joined by `||`, at least one (FilterAPI). The index entry's
 * hash decides first, without reading a body; the strings are compared afterwards, because different tags may share a hash.
 *
 * SQL92: a condition over properties, tag and keys (sqlFilter.ts). The index says nothing about it: each record is read.
 */
import { GantryError } from '../base/errors';
import { tagHash } from './hash';
import { messageTag, RecordAttributes } from './message';
import { canonicalSql, parseSql } from './sqlFilter';
import { parseSqlCondition } from './sqlParser';
import { sqlTagFault } from './sqlTags';
import { normalTag, tagFault } from './tag';

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

/**
 * The filter that an expression is; undefined = everything is wanted. Takes every expression that was ever stored:
 * checkFilter judges what comes in. Throws FILTER_INVALID.
 */
export function parseFilter(spec: FilterSpec): Filter | undefined {
  if (spec.type === 'SQL92') return sqlFilter(spec.expression);
  if (takesAll(spec.expression)) return undefined;
  const tags = tagsOf(spec.expression);
  if (tags.length === 0) throw unmeetable(spec, 'names no tag');
  return tagFilter(tags);
}

/**
 * As parseFilter, for a filter that comes in. Throws FILTER_INVALID also where it names what no message can have as its
 * tag: it would be silent for ever. `inUse`: a filter that may have been taken before this was checked, and may stay.
 */
export function checkFilter(spec: FilterSpec, inUse?: FilterSpec): Filter | undefined {
  const filter = parseFilter(spec);
  if (inUse && canonical(inUse) === canonical(spec)) return filter;
  const { type, expression } = spec;
  if (type === 'SQL92') {
    const fault = sqlTagFault(parseSqlCondition(expression));
    if (fault) throw unmeetable(spec, `compares TAGS with ${JSON.stringify(fault.text)}, but a tag ${fault.detail}`);
  } else if (!takesAll(expression)) {
    for (const tag of expression.split('||').map(normalTag)) {
      const fault = tagFault(tag);
      if (fault === undefined) continue;
      const subject = tag === '' ? 'has nothing beside ||, and a tag' : `names ${JSON.stringify(tag)}, but a tag`;
      throw unmeetable(spec, `${subject} ${fault}`);
    }
  }
  return filter;
}

const HINTS: Readonly<Record<FilterSpec['type'], string>> = {
  TAG: "write 'a || b' for either of two tags, '*' alone for all messages",
  SQL92: "write TAGS IN ('a', 'b') for either of two tags",
};

function unmeetable({ type, expression }: FilterSpec, detail: string): GantryError {
  const shown = JSON.stringify(expression.slice(0, SHOWN_CHARACTERS));
  return new GantryError('FILTER_INVALID', `the expression ${shown} ${detail}; ${HINTS[type]}`, {
    errors: [{ pointer: '/filter/expression', detail }],
  });
}

const SHOWN_CHARACTERS = 200;

function takesAll(expression: string): boolean {
  const text = expression.trim();
  return text === '' || text === '*';
}

const tagsOf = (expression: string): string[] =>
  expression
    .split('||')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '');

/**
 * Takes messages with one of these tags; undefined for an empty list = everything. An earlier build stored tags as they
 * were written, so both the text and the tag that it stands for are taken.
 */
export function tagFilter(tags: readonly string[]): Filter | undefined {
  const wanted = new Set(tags.flatMap((tag) => [tag, normalTag(tag)]));
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
  const tags = tagsOf(spec.expression).map(normalTag);
  return tags.length === 0 ? '*' : `|| ${[...new Set(tags)].sort().join(' || ')}`;
}
