/** `<data>/<name>.pid`: how somebody at a terminal signals one part, `kill $(cat data/cluster/broker-b.pid)`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function writePid(data: string, name: string, pid: number): void {
  writeFileSync(join(data, `${name}.pid`), `${pid}\n`);
}
