/** A list by name that every broker has a part of, or all of it, perhaps of different age. */

export interface Named {
  readonly name: string;
  readonly version: number;
}

/** One page out of one page of each broker: by name, of the same name the newest version. */
export function mergedByName<Item extends Named>(
  pages: readonly (readonly [readonly Item[], string | undefined])[],
  limit: number,
): { items: Item[]; more: boolean } {
  const newest = new Map<string, Item>();
  for (const item of pages.flatMap(([items]) => items)) {
    const before = newest.get(item.name);
    if (!before || before.version < item.version) newest.set(item.name, item);
  }
  const items = [...newest.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  // Behind the end of a page that goes on there may be names that stand in no other page.
  const ends = pages.filter(([, cursor]) => cursor !== undefined).map(([of]) => of.at(-1)!.name);
  const known = ends.length === 0 ? items : items.filter(({ name }) => ends.every((end) => name <= end));
  return { items: known.slice(0, limit), more: known.length > limit || known.length < items.length || ends.length > 0 };
}
