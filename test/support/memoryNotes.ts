/** Notes about consumer instances that fronts in one process share. */
import type { InstanceNote, InstanceNotes } from '../../api/kafka/notes';
import type { Clock } from '../../src/base/clock';

export class MemoryNotes implements InstanceNotes {
  readonly #clock: Clock;
  readonly #notes = new Map<string, { readonly note: InstanceNote; readonly until: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async get(group: string, name: string): Promise<InstanceNote | undefined> {
    const kept = this.#notes.get(`${group}/${name}`);
    return kept && kept.until > this.#clock.monotonic() ? kept.note : undefined;
  }

  async put(group: string, name: string, note: InstanceNote, ttlMs: number): Promise<void> {
    const now = this.#clock.monotonic();
    for (const [key, { until }] of this.#notes) if (until <= now) this.#notes.delete(key);
    this.#notes.set(`${group}/${name}`, { note, until: now + ttlMs });
  }

  async delete(group: string, name: string): Promise<void> {
    this.#notes.delete(`${group}/${name}`);
  }
}
