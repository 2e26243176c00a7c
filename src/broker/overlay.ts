/**
 * Rows that are decided but not yet in the tables store. Reads look here first. A flush takes all that is active; until
 * it has succeeded the rows stay readable, and what changes meanwhile is active again.
 */
export interface Operation {
  readonly key: Buffer;
  /** Absent = delete. */
  readonly value?: Buffer;
}

export class Overlay {
  #active = new Map<string, Operation>();
  #flushing = new Map<string, Operation>();
  #activeBytes = 0;

  put(key: Buffer, value: Buffer): void {
    this.#set(key, { key, value });
  }

  delete(key: Buffer): void {
    this.#set(key, { key });
  }

  #set(key: Buffer, operation: Operation): void {
    this.#active.set(key.toString('latin1'), operation);
    this.#activeBytes += key.length + (operation.value?.length ?? 0);
  }

  /** The value; null = deleted; undefined = nothing known here, ask the tables store. */
  get(key: Buffer): Buffer | null | undefined {
    const name = key.toString('latin1');
    const found = this.#active.get(name) ?? this.#flushing.get(name);
    return found === undefined ? undefined : (found.value ?? null);
  }

  /** The newest word on every key of a range, in no order. */
  within({ gte, lt }: { readonly gte: Buffer; readonly lt: Buffer }): Operation[] {
    const from = gte.toString('latin1');
    const to = lt.toString('latin1');
    const found = new Map<string, Operation>();
    for (const operations of [this.#flushing, this.#active])
      for (const [name, operation] of operations) if (name >= from && name < to) found.set(name, operation);
    return [...found.values()];
  }

  /** Bytes that wait for the next flush, counting rows that were overwritten, too. */
  get activeBytes(): number {
    return this.#activeBytes;
  }

  take(): Iterable<Operation> {
    this.#flushing = this.#active;
    this.#active = new Map();
    this.#activeBytes = 0;
    return this.#flushing.values();
  }

  flushed(): void {
    this.#flushing = new Map();
  }
}
