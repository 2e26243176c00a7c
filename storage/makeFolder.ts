/**
 * Makes a data folder and its parents, and says in a sentence why it cannot be used. Node's own `recursive` is not used:
 * it loops for ever where a parent exists and refuses to hold the folder with ENOENT, as /proc does (nodejs/node#27198).
 */
import { accessSync, constants, mkdirSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { FolderUnusableError } from './failures';

/** Makes the folder unless it exists. Throws FolderUnusableError when it cannot be made, read or written. */
export function makeFolder(path: string): void {
  try {
    makeWithParents(resolve(path));
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(path, error);
  }
}

function makeWithParents(path: string): void {
  if (isFolder(path)) return;
  const parent = dirname(path);
  if (parent !== path) makeWithParents(parent);
  try {
    mkdirSync(path);
  } catch (error) {
    if (!isFolder(path)) throw error; // unless another process has just made it
  }
}

/** False where nothing is. Throws ENOTDIR for anything but a folder, a link to nowhere included (mkdir says EEXIST). */
function isFolder(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found && !found.isDirectory())
    throw Object.assign(new Error('not a folder'), { code: 'ENOTDIR', path } satisfies Partial<NodeJS.ErrnoException>);
  return found !== undefined;
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user has no right to it: give the user the right to write there, or choose another --data',
  EPERM: 'this user has no right to it: give the user the right to write there, or choose another --data',
  EROFS: 'that file system is read-only: choose another --data, or mount it writable',
  ENOTDIR: 'a part of the path is a file and no folder: choose another --data',
  EEXIST: 'a file or a link that leads nowhere is in its place: remove it, or choose another --data',
  ENOENT: 'the folder above it takes no folders: choose another --data',
  ELOOP: 'the links on the path lead in a circle: mend them, or choose another --data',
  ENAMETOOLONG: 'the path is too long: choose another --data',
  ENOSPC: 'no space is left there: free some, or choose another --data',
  EDQUOT: 'the quota of this user is used up there: free some space, or choose another --data',
  EMFILE: 'too many files are open: raise the limit (ulimit -n)',
  ENFILE: 'too many files are open on this machine: close some',
};

/** The sentence for what the file system said of a data folder; `error` itself when it is no failure of the file system. */
export function unusable(path: string, error: unknown): unknown {
  const { code, path: where } = error as NodeJS.ErrnoException;
  if (code === undefined || error instanceof FolderUnusableError) return error;
  const reason = REASONS[code] ?? `${(error as Error).message}: choose another --data`;
  const at = where === undefined || where === path ? '' : ` (at ${where})`;
  return new FolderUnusableError(`the data folder ${path} cannot be used, ${reason} (${code})${at}`, { cause: error });
}
