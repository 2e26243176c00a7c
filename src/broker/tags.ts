/**
 * Tags of one topic: those declared, and those seen with how often and when last. The seen ones are bounded to the most
 * used by the space-saving rule: a new tag takes the place and the count of the rarest one, so that a heavy tag is never
 * pushed out and a count is at most too high, never too low. Part of the state machine: the same on every member.
 */
import { LIMITS } from '../base/limits';

export interface DeclaredTag {
  readonly tag: string;
  readonly description?: string;
  readonly version: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface SeenTag {
  readonly tag: string;
  count: number;
  /** Milliseconds since 1970. */
  lastTime: number;
}

export class SeenTags {
  readonly #tags = new Map<string, SeenTag>();
  /** Changed since the last flush. */
  readonly unflushed = new Set<SeenTag>();

  get size(): number {
    return this.#tags.size;
  }

  restore(tag: SeenTag): void {
    this.#tags.set(tag.tag, tag);
  }

  /** Counts one message. Answers the tag that lost its place, if any. */
  count(name: string, time: number): string | undefined {
    let tag = this.#tags.get(name);
    let gone: SeenTag | undefined;
    if (tag === undefined) {
      if (this.#tags.size >= LIMITS.countedTags) gone = this.#rarest();
      tag = { tag: name, count: gone?.count ?? 0, lastTime: time };
      this.#tags.set(name, tag);
    }
    tag.count++;
    tag.lastTime = time;
    this.unflushed.add(tag);
    return gone?.tag;
  }

  #rarest(): SeenTag {
    let rarest: SeenTag | undefined;
    for (const tag of this.#tags.values()) if (rarest === undefined || isRarer(tag, rarest)) rarest = tag;
    this.#tags.delete(rarest!.tag);
    this.unflushed.delete(rarest!);
    return rarest!;
  }

  /** Most used first. */
  list(): SeenTag[] {
    return [...this.#tags.values()].sort((a, b) => b.count - a.count || (a.tag < b.tag ? -1 : 1));
  }
}

/** Among equals the one unused longest; a full order, because a restart restores the tags in another one than they came. */
function isRarer(a: SeenTag, b: SeenTag): boolean {
  if (a.count !== b.count) return a.count < b.count;
  return a.lastTime !== b.lastTime ? a.lastTime < b.lastTime : a.tag < b.tag;
}
