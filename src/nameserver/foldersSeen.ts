/**
 * How far each data folder had come when a broker registered with it last. It outlives the registration, so that a broker
 * whose folder was replaced by an older backup learns at its start which journal indexes are used up.
 */
import { LIMITS } from '../base/limits';
import type { FolderSeen, Registration } from './route';

export class FoldersSeen {
  /** By identity; who was heard of last is last. */
  readonly #folders = new Map<string, FolderSeen>();

  note({ folderId, epoch, journalEnd }: Registration): void {
    if (folderId === undefined || journalEnd === undefined) return;
    const before = this.#folders.get(folderId);
    this.#folders.delete(folderId);
    this.#folders.set(folderId, {
      folderId,
      epoch: Math.max(epoch, before?.epoch ?? 0),
      journalEnd: Math.max(journalEnd, before?.journalEnd ?? 0),
    });
    if (this.#folders.size > LIMITS.foldersSeen) this.#folders.delete(this.#folders.keys().next().value!);
  }

  all(): FolderSeen[] {
    return [...this.#folders.values()];
  }
}
