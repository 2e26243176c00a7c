/** The processes that are measured. Every one that still runs dies with the bench. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** dist/, where this file lies compiled in dist/bench/. */
const DIST = join(__dirname, '..');
/** How much of what a child complains about is kept. */
const COMPLAINT_CHARACTERS = 2000;
/** USER_HZ: Linux counts processor time in this many ticks per second, whatever the kernel's own tick. */
const TICKS_PER_SECOND = 100;

const running = new Set<Child>();
/** What those said that ended by themselves. */
const deaths: string[] = [];

export class Child {
  readonly #process: ChildProcess;
  readonly #exited: Promise<void>;
  #complaints = '';
  #killed = false;

  /** `script` is relative to dist/; `execArgv` goes to node. */
  constructor(script: string, args: readonly string[], { ipc = false }: { ipc?: boolean } = {}) {
    this.#process = spawn(process.execPath, [join(DIST, script), ...args], {
      stdio: ['ignore', 'ignore', 'pipe', ...(ipc ? (['ipc'] as const) : [])],
    });
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints = (this.#complaints + text).slice(-COMPLAINT_CHARACTERS);
    });
    running.add(this);
    this.#exited = new Promise((resolve) => this.#process.once('exit', () => resolve()));
    void this.#exited.then(() => {
      running.delete(this);
      if (!this.#killed) deaths.push(`${script} ended by itself. ${this.complaints}`);
    });
  }

  get pid(): number {
    return this.#process.pid!;
  }

  get ended(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** The end of what it wrote to standard error. */
  get complaints(): string {
    return this.#complaints.trim();
  }

  /** Sends one message to a child with an IPC channel and answers its next one; without a request just that. */
  ask<T>(request?: object): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onExit = () => reject(new Error(`a baseline process ended: ${this.complaints}`));
      this.#process.once('exit', onExit).once('message', (answer) => {
        this.#process.off('exit', onExit);
        resolve(answer as T);
      });
      if (request) this.#process.send(request);
    });
  }

  /** Resolves when the process is gone. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    this.#killed = true;
    this.#process.kill(signal);
    await this.#exited;
  }

  killNow(): void {
    this.#killed = true;
    this.#process.kill('SIGKILL');
  }

  /** Processor time used so far; undefined where there is no /proc. */
  get cpuSeconds(): number | undefined {
    const stat = readProc(this.pid, 'stat');
    // The command's name stands in brackets and may hold blanks: count from behind it.
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields && (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Memory in RAM; undefined where there is no /proc. */
  get rssBytes(): number | undefined {
    const line = readProc(this.pid, 'status')?.match(/^VmRSS:\s+(\d+) kB$/m);
    return line ? Number(line[1]) * 1024 : undefined;
  }
}

export function killAll(): void {
  for (const child of running) child.killNow();
}

/** What was said by processes that ended by themselves since this was asked last. */
export function takeDeaths(): string[] {
  return deaths.splice(0);
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
