/**
 * A network of the machine's own: each part of a cluster in a network namespace with an address of its own, all on one
 * switch, with cuts between any two of them, in one direction or both. A cut is silent, as a broken cable is: what is
 * sent is lost, and nobody is told. The test itself has an address there, too, and is never cut off.
 *
 * Needs Linux, the right to make namespaces (root) and `ip`; `Network.impossible` says why not.
 */
import { execFileSync } from 'node:child_process';

/** Leads to no port of the switch: whatever is sent there is lost. */
const NOWHERE = '02:00:00:00:00:fe';

export class Network {
  readonly #mark: string;
  readonly #subnet: string;
  readonly #parts = new Map<string, string>();

  /** Why this machine cannot have one; undefined when it can. */
  static impossible(): string | undefined {
    try {
      const name = `gantry-probe-${process.pid}`;
      run('netns', 'add', name);
      run('netns', 'del', name);
      return undefined;
    } catch (error) {
      return `no network namespaces here: ${(error as Error).message.split('\n')[0]}`;
    }
  }

  constructor() {
    this.#mark = `g${process.pid}`;
    this.#subnet = `10.93.${process.pid % 250}`;
    process.once('exit', () => this.remove());
    run('netns', 'add', `${this.#mark}-switch`);
    run('-n', `${this.#mark}-switch`, 'link', 'add', 'br0', 'type', 'bridge');
    run('-n', `${this.#mark}-switch`, 'link', 'set', 'br0', 'up');
    run('link', 'add', this.#mark, 'type', 'veth', 'peer', 'name', 'tests', 'netns', `${this.#mark}-switch`);
    this.#plugIn('tests');
    run('addr', 'add', `${this.#subnet}.254/24`, 'dev', this.#mark);
    run('link', 'set', this.#mark, 'up');
  }

  /** A new place in the network; answers its address. */
  add(part: string): string {
    const address = `${this.#subnet}.${this.#parts.size + 1}`;
    const space = this.#space(part);
    const port = `port${this.#parts.size + 1}`;
    run('netns', 'add', space);
    run('link', 'add', port, 'netns', `${this.#mark}-switch`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space);
    this.#plugIn(port);
    run('-n', space, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    run('-n', space, 'link', 'set', 'eth0', 'up');
    run('-n', space, 'link', 'set', 'lo', 'up');
    this.#parts.set(part, address);
    return address;
  }

  /** The command that starts a program at a part's place. */
  command(part: string, ...program: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.#space(part), ...program];
  }

  /** From now on nothing that `from` sends reaches `to`. */
  cut(from: string, to: string): void {
    run(
      '-n',
      this.#space(from),
      'neigh',
      'replace',
      this.#of(to),
      'lladdr',
      NOWHERE,
      'dev',
      'eth0',
      'nud',
      'permanent',
    );
  }

  /** Undoes `cut`. */
  heal(from: string, to: string): void {
    run('-n', this.#space(from), 'neigh', 'del', this.#of(to), 'dev', 'eth0');
  }

  /** Takes everything away; what runs in it must have ended. */
  remove(): void {
    for (const name of [...this.#parts.keys(), 'switch']) attempt('netns', 'del', this.#space(name));
    this.#parts.clear();
    attempt('link', 'del', this.#mark);
  }

  #plugIn(port: string): void {
    run('-n', `${this.#mark}-switch`, 'link', 'set', port, 'master', 'br0', 'up');
  }

  #space(part: string): string {
    return `${this.#mark}-${part}`;
  }

  #of(part: string): string {
    const address = this.#parts.get(part);
    if (address === undefined) throw new Error(`there is no part ${part}`);
    return address;
  }
}

function run(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function attempt(...args: readonly string[]): void {
  try {
    run(...args);
  } catch {
    // It is gone already.
  }
}
