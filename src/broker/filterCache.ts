/** Filters by their expression, parsed once. Bounded: groups are few, and their filters change seldom. */
import { parseFilter, type Filter, type FilterSpec } from './filter';

const REMEMBERED = 1000;

export class FilterCache {
  readonly #filters = new Map<string, Filter | undefined>();

  /** undefined = everything is wanted. */
  of(spec: FilterSpec): Filter | undefined {
    const name = `${spec.type} ${spec.expression}`;
    if (!this.#filters.has(name)) {
      if (this.#filters.size >= REMEMBERED) this.#filters.clear();
      this.#filters.set(name, parseFilter(spec));
    }
    return this.#filters.get(name);
  }
}
