/** How a SQL expression is refused: the place of the fault, counted in characters from 1, and what was expected there. */
import { GantryError } from '../base/errors';

/** `at` counts UTF-16 units from 0, as strings do; what is shown counts characters, as people do. */
export function sqlRefusal(expression: string, at: number, what: string): GantryError {
  const detail = `character ${characters(expression.slice(0, at)) + 1}: ${what}`;
  return new GantryError('FILTER_INVALID', `the SQL expression cannot be read at ${detail}`, {
    errors: [{ pointer: '/filter/expression', detail }],
  });
}

/** Code points: what JSON Schema's maxLength counts, too. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
