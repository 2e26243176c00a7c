/** The known name that a mistyped one probably meant. */

/** How many characters must be put in, left out or replaced to get from one text to the other. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= to.length; column += 1) {
      const replaced = (row[column - 1] ?? 0) + (letter === to[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** Writings differ in case and separators: `--flushIntervalMs` means `--flush-interval-ms`. */
function bare(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}

/** The known name nearest to `name`, or undefined when none is near. A name cut short counts as near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const wanted = bare(name).slice(0, 64);
  const far = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  const ranked = known.map((candidate) => {
    const cutShort = wanted.length > 2 && bare(candidate).startsWith(wanted);
    return { candidate, far: Math.min(distance(wanted, bare(candidate)), cutShort ? 1 : far) };
  });
  const best = ranked.reduce((one, other) => (other.far < one.far ? other : one), { candidate: '', far });
  return best.far < far ? best.candidate : undefined;
}

/** ` (did you mean --port?)`, or nothing. */
export function didYouMean(name: string, known: readonly string[]): string {
  const found = nearest(name, known);
  return found === undefined ? '' : ` (did you mean ${found}?)`;
}
