/** How full the disk below a folder is. */
import { statfs } from 'node:fs/promises';

export class FolderDiskSpace {
  readonly #path: string;

  /** `path` is a folder that exists. */
  constructor(path: string) {
    this.#path = path;
  }

  /** 0..1, counting what only the administrator may still use as used, as `df` does. */
  async usedRatio(): Promise<number> {
    const { blocks, bfree, bavail } = await statfs(this.#path);
    const used = blocks - bfree;
    return used + bavail === 0 ? 1 : used / (used + bavail);
  }
}
