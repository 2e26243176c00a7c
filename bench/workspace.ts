/** The temporary folder of one run, on the disk that is measured. Deleted at the end, whatever the end is. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

export class Workspace {
  readonly path: string;
  readonly #keep: boolean;
  #folders = 0;

  constructor(parent: string, keep: boolean) {
    mkdirSync(parent, { recursive: true });
    this.path = mkdtempSync(join(resolve(parent), 'gantry-bench-'));
    this.#keep = keep;
  }

  newFolder(name: string): string {
    return join(this.path, `${++this.#folders}-${name}`);
  }

  /** What a row no longer needs, so that the disk holds one row's data at a time. */
  drop(folder: string): void {
    if (!this.#keep) remove(folder);
  }

  dropAll(): void {
    if (!this.#keep) remove(this.path);
  }
}

/** A process that is just being killed may still make a file: so more than one try. */
function remove(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}
