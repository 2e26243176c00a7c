/** A binary heap: the smallest by `key` comes out first, of equal ones the smallest by `tie`. Adding and taking cost the logarithm of its size. */
export class Heap<T> {
  readonly #key: (item: T) => number;
  readonly #tie: (item: T) => number;
  readonly #items: T[] = [];

  constructor(key: (item: T) => number, tie: (item: T) => number = () => 0) {
    this.#key = key;
    this.#tie = tie;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The smallest, left in place; undefined when it is empty. */
  get first(): T | undefined {
    return this.#items[0];
  }

  add(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(item, items[parent]!)) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  /** Takes the smallest out. */
  take(): T | undefined {
    const first = this.#items[0];
    const last = this.#items.pop();
    if (this.#items.length > 0) this.#sink(last!);
    return first;
  }

  #sink(item: T): void {
    const items = this.#items;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#isBefore(items[child + 1]!, items[child]!)) child++;
      if (!this.#isBefore(items[child]!, item)) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = item;
  }

  #isBefore(one: T, other: T): boolean {
    const difference = this.#key(one) - this.#key(other);
    return difference < 0 || (difference === 0 && this.#tie(one) < this.#tie(other));
  }

  clear(): void {
    this.#items.length = 0;
  }
}
