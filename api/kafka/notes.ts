/** What all fronts know of instances: which front has one, and what another one needs to go on with it. */
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
