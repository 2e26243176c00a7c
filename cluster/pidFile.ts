/** `<data>/<name>.pid`: how somebody at a terminal signals one part, `kill $(cat data/cluster/broker-b.pid)`. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function writePid(data: string, name: string, pid: number): void {
  writeFileSync(pathOf(data, name), `${pid}\n`);
}

/** For a part that has ended: its number may soon be that of somebody else's process. */
export function removePid(data: string, name: string): void {
  rmSync(pathOf(data, name), { force: true });
}

const pathOf = (data: string, name: string): string => join(data, `${name}.pid`);
