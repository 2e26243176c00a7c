/** How full the disk below a data folder is, and how much of it the folder's journal takes. */
import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

const BLOCK_BYTES = 512; // of stat, whatever the file system's own block

export class FolderDiskSpace {
  readonly #path: string;

  /** `path` is a data folder that exists. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Counts what only the administrator may still use as used, as `df` does. Rejects with what the file system says. */
  async use(): Promise<{ usedBytes: number; availableBytes: number; journalBytes: number }> {
    const { bsize, blocks, bfree, bavail } = await statfs(this.#path);
    const journalBytes = await bytesBelow(join(this.#path, 'journal'));
    return { usedBytes: (blocks - bfree) * bsize, availableBytes: bavail * bsize, journalBytes };
  }
}

/** Bytes that the files of a folder take on the disk. Files may go while it counts. */
async function bytesBelow(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) {
    const file = await stat(join(folder, name)).catch(() => undefined);
    bytes += (file?.blocks ?? 0) * BLOCK_BYTES;
  }
  return bytes;
}
