/** What is kept of a deleted topic or group, so that a broker that was away does not bring it back. */

export interface Tombstone {
  readonly name: string;
  /** Of the creation that was deleted last. */
  readonly id: string;
  readonly version: number;
  /** Milliseconds since 1970. */
  readonly deletedAt: number;
  /** Creations of that name that were deleted before it, the last ones. */
  readonly formerIds?: readonly string[];
}

/** Tombstones are kept for 30 days: a broker that was away longer is emptied before it comes back. */
export const TOMBSTONE_MS = 30 * 24 * 3_600_000;

/** A broker that was away knows one creation of a name; who makes more of them meanwhile makes a queue of his topic. */
const FORMER_IDS = 16;

/** Whether this creation was deleted; that is final, whatever else is called so by now. */
export const isDead = (tombstone: Tombstone | undefined, id: string): boolean =>
  tombstone !== undefined && (tombstone.id === id || tombstone.formerIds?.includes(id) === true);

/** Both, as one: the newer deletion, and of the older one that it happened. */
export function buried(one: Tombstone | undefined, other: Tombstone): Tombstone {
  if (one === undefined) return other;
  const [older, newer] = one.version > other.version ? [other, one] : [one, other];
  const ids = [...(older.formerIds ?? []), older.id, ...(newer.formerIds ?? [])].filter((id) => id !== newer.id);
  const formerIds = [...new Set(ids)].slice(-FORMER_IDS);
  return { ...newer, ...(formerIds.length > 0 ? { formerIds } : {}) };
}
