/** A filter as a query names it (api.md, rule 19): `tag=`, several of them joined by OR, or `sql=`. */
import { GantryError } from '../src/base/errors';
import { sqlFilter, tagFilter, type Filter } from '../src/broker/filter';

/** Undefined = everything is wanted. */
export function queryFilter({ tag = [], sql }: { readonly tag?: string[]; readonly sql?: string }): Filter | undefined {
  if (sql === undefined) return tagFilter(tag);
  if (tag.length > 0) {
    throw new GantryError('VALIDATION_FAILED', "tag and sql exclude each other: say TAGS = '…' in the expression", {
      errors: [{ parameter: 'sql', in: 'query', detail: 'stands beside tag' }],
    });
  }
  try {
    return sqlFilter(sql);
  } catch (error) {
    throw error instanceof GantryError ? inQuery(error) : error;
  }
}

/** The parser speaks of a body's expression. */
const inQuery = ({ code, message, extras: { errors = [] } }: GantryError): GantryError =>
  new GantryError(code, message, {
    errors: errors.map(({ detail }) => ({ parameter: 'sql', in: 'query', detail })),
  });
