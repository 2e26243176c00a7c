/** What all fronts know of instances: which front has one, and what another one needs to go on with it. */
import type { Clock } from '../../src/base/clock';
import type { Settings } from './settings';
import type { Wanted } from './subscribed';

export interface InstanceNote {
  /** host:port of the front that has it. */
  readonly front: string;
  readonly settings: Settings;
  readonly reads?: Wanted | { readonly assigned: readonly { readonly topic: string; readonly partition: number }[] };
}

/** Shared by the fronts of a cluster. The newest note wins. */
export interface InstanceNotes {
  get(group: string, name: string, signal: AbortSignal): Promise<InstanceNote | undefined>;
  put(group: string, name: string, note: InstanceNote, ttlMs: number, signal: AbortSignal): Promise<void>;
  delete(group: string, name: string, signal: AbortSignal): Promise<void>;
}

/** For a front that is alone, or fronts in one process. */
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
