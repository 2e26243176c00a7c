/** Work that must not overlap: what is asked for under one name runs one after another, in the order it was asked for. */
export class Turns<K> {
  readonly #last = new Map<K, Promise<unknown>>();

  /** Runs `work` when all that was asked for before under this name is done, well or not; answers what it answers. */
  async run<T>(name: K, work: () => Promise<T>): Promise<T> {
    const mine = (this.#last.get(name) ?? Promise.resolve()).then(work, work);
    this.#last.set(name, mine);
    try {
      return await mine;
    } finally {
      if (this.#last.get(name) === mine) this.#last.delete(name);
    }
  }
}
