/** Two things measured in turn, A B A B: the machine drifts, so only neighbours are compared. */

export interface Compared {
  /** Medians. */
  readonly a: number;
  readonly b: number;
  /** Median of the ratios b / a of neighbouring runs. */
  readonly ratio: number;
}

/** Each of the two answers a figure; more is better. */
export async function alternate(
  rounds: number,
  measureA: () => Promise<number>,
  measureB: () => Promise<number>,
): Promise<Compared> {
  const a: number[] = [];
  const b: number[] = [];
  for (let round = 0; round < rounds; round++) {
    a.push(await measureA());
    b.push(await measureB());
  }
  return { a: median(a), b: median(b), ratio: median(b.map((value, i) => value / a[i]!)) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
