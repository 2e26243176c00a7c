/** What the figures were measured on. */
import { execFileSync } from 'node:child_process';
import { closeSync, fdatasyncSync, openSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { median } from './alternation';

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryGiB: number;
  readonly node: string;
  readonly platform: string;
  /** Median of appending 4 KiB and fdatasync, in the folder that is measured. */
  readonly syncMs: number;
  /** A disk in memory: its syncs cost nothing and say nothing. */
  readonly tmpfs: boolean;
}

const SYNCS = 100;
const TMPFS_MAGIC = 0x01021994;

export function describeMachine(folder: string): Machine {
  const processors = cpus();
  return {
    cores: processors.length,
    processor: processors[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    syncMs: syncMs(folder),
    tmpfs: process.platform === 'linux' && statfsSync(folder).type === TMPFS_MAGIC,
  };
}

function syncMs(folder: string): number {
  const file = openSync(join(folder, 'sync'), 'w');
  const page = Buffer.alloc(4096, 1);
  const times = Array.from({ length: SYNCS }, () => {
    const began = performance.now();
    writeSync(file, page);
    fdatasyncSync(file);
    return performance.now() - began;
  });
  closeSync(file);
  return median(times);
}

/** Empties the page cache so that reads come from the disk; false when we may not (it takes root on Linux). */
export function dropPageCache(): boolean {
  try {
    execFileSync('sync');
    writeFileSync('/proc/sys/vm/drop_caches', '1');
    return true;
  } catch {
    return false;
  }
}
