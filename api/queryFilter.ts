/** A filter as a query names it (api.md, rule 19): `tag=`, several of them joined by OR, or `sql=`. */
import { GantryError } from '../src/base/errors';
import { checkFilter, tagFilter, type Filter } from '../src/broker/filter';
import { normalTag, tagFault } from '../src/broker/tag';

/** Undefined = everything is wanted. */
export function queryFilter({ tag = [], sql }: { readonly tag?: string[]; readonly sql?: string }): Filter | undefined {
  if (sql === undefined) return tagFilter(tag.map(readTag));
  if (tag.length > 0) {
    throw new GantryError('VALIDATION_FAILED', "tag and sql exclude each other: say TAGS = '…' in the expression", {
      errors: [{ parameter: 'sql', in: 'query', detail: 'stands beside tag' }],
    });
  }
  try {
    return checkFilter({ type: 'SQL92', expression: sql });
  } catch (error) {
    throw error instanceof GantryError ? inQuery(error) : error;
  }
}

/** The tag that a query names. Throws VALIDATION_FAILED for what no message can have as its tag. */
export function readTag(text: string): string {
  const tag = normalTag(text);
  const fault = tagFault(tag);
  if (fault === undefined) return tag;
  throw new GantryError('VALIDATION_FAILED', `Query parameter tag: ${fault}; leave it out for all messages.`, {
    errors: [{ parameter: 'tag', in: 'query', detail: fault }],
  });
}

/** The parser speaks of a body's expression. */
const inQuery = ({ code, message, extras: { errors = [] } }: GantryError): GantryError =>
  new GantryError(code, message, {
    errors: errors.map(({ detail }) => ({ parameter: 'sql', in: 'query', detail })),
  });
