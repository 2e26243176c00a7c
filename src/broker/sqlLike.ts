/**
 * Patterns of LIKE, as in SQL-92 8.5: `%` stands for any run of characters, `_` for exactly one (a Unicode character, not
 * a UTF-16 unit), anything else for itself; case counts. A character named by ESCAPE takes the meaning from a `%`, a `_`
 * or itself behind it.
 *
 * Matching takes at most the length of the text times the length of the pattern: a run of `%` is never tried again once
 * what stands behind it was found.
 */

/** One character of a pattern; ANY_ONE is `_`. */
type Unit = string | typeof ANY_ONE;
const ANY_ONE = Symbol('any one character');

/** The pieces between the `%` of a pattern: one piece means that there is none. */
export type LikePattern = readonly (readonly Unit[])[];

/**
 * @param pattern Text of the pattern.
 * @param escape One character, or undefined: then nothing escapes.
 * @returns The pieces, or undefined when an escape character stands before anything but `%`, `_` and itself.
 */
export function parseLike(pattern: string, escape: string | undefined): LikePattern | undefined {
  const pieces: Unit[][] = [[]];
  const characters = [...pattern];
  for (let i = 0; i < characters.length; i++) {
    const character = characters[i]!;
    if (character === escape) {
      const next = characters[++i];
      if (next === undefined || (next !== '%' && next !== '_' && next !== escape)) return undefined;
      pieces.at(-1)!.push(next);
    } else if (character === '%') {
      pieces.push([]);
    } else {
      pieces.at(-1)!.push(character === '_' ? ANY_ONE : character);
    }
  }
  return pieces;
}

/** Whether the whole text fits the pattern. */
export function isLike(text: string, pieces: LikePattern): boolean {
  const characters = [...text];
  const first = pieces[0]!;
  if (!fits(characters, 0, first)) return false;
  if (pieces.length === 1) return characters.length === first.length;
  const last = pieces.at(-1)!;
  const end = characters.length - last.length;
  let at = first.length;
  for (const piece of pieces.slice(1, -1)) {
    // The leftmost place leaves the most room for what follows.
    while (at + piece.length <= end && !fits(characters, at, piece)) at++;
    at += piece.length;
  }
  return at <= end && fits(characters, end, last);
}

function fits(characters: readonly string[], at: number, piece: readonly Unit[]): boolean {
  if (at + piece.length > characters.length) return false;
  return piece.every((unit, i) => unit === ANY_ONE || unit === characters[at + i]);
}
