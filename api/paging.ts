/** Cursors of lists: they say behind which name or number to go on, mean the same on any node, and hold no state on a server. */
import { GantryError } from '../src/base/errors';

export function listCursor(after: string): string {
  return Buffer.from(JSON.stringify({ after }), 'utf8').toString('base64url');
}

/** The name to go on behind; '' for none. Throws CURSOR_INVALID. */
export function afterOf(cursor: string | undefined): string {
  if (cursor === undefined || cursor === '') return '';
  try {
    const content = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as { after?: unknown } | null;
    if (typeof content?.after === 'string' && listCursor(content.after) === cursor) return content.after;
  } catch {
    // not one of ours: refused below
  }
  throw foreign();
}

/** What is named one after another in a cursor, to go on behind; undefined for none. Throws CURSOR_INVALID. */
export function afterPartsOf(cursor: string | undefined, parts: RegExp): string[] | undefined {
  const after = afterOf(cursor);
  if (after === '') return undefined;
  const match = parts.exec(after);
  if (match) return match.slice(1);
  throw foreign();
}

/** The number to go on behind; -1 for none. Throws CURSOR_INVALID. */
export function afterNumberOf(cursor: string | undefined): number {
  const after = afterOf(cursor);
  if (after === '') return -1;
  const number = Number(after);
  if (/^[0-9]{1,16}$/.test(after) && Number.isSafeInteger(number)) return number;
  throw foreign();
}

function foreign(): GantryError {
  return new GantryError('CURSOR_INVALID', 'the cursor is not one that this list answered: begin again without it', {
    errors: [{ parameter: 'cursor', in: 'query', detail: 'is not a cursor of this list' }],
  });
}
