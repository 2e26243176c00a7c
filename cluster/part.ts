/** One process of the cluster: started, waited for, its lines shown under its name, stopped. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { urlOf, type PlannedPart } from './plan';

/** dist/src/main.js: this file lies compiled in dist/cluster/. */
export const MAIN = join(__dirname, '../src/main.js');
/** Milliseconds between two looks at /readyz, and for how many of them a start may take: a replay has its time. */
const LOOK_MS = 50;
const START_MS = 120_000;
/** Milliseconds that a part which was asked to stop has for it. */
const STOP_MS = 20_000;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Part {
  readonly planned: PlannedPart;
  /** Resolves when the process is gone and its last line was shown. */
  readonly exited: Promise<Exit>;
  readonly #process: ChildProcess;

  /** `show` gets each line that it prints. A process group of its own keeps Ctrl-C from it: parts stop in their order. */
  constructor(planned: PlannedPart, environment: NodeJS.ProcessEnv, show: (line: string) => void) {
    this.planned = planned;
    const child = spawn(process.execPath, [MAIN, ...planned.args], {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr] satisfies Readable[])
      createInterface({ input: stream }).on('line', show);
    this.exited = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
  }

  get pid(): number {
    return this.#process.pid!;
  }

  get ended(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Resolves with true when /readyz says 200, with false when the process ends or is not ready in time. */
  async ready(): Promise<boolean> {
    const deadline = performance.now() + START_MS;
    while (!this.ended && performance.now() < deadline) {
      if (await isReady(urlOf(this.planned))) return true;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return false;
  }

  /** Asks it to stop and waits until it has; one that does not is killed. False for that. */
  async stop(): Promise<boolean> {
    if (this.ended) return true;
    // One that somebody has stopped by SIGSTOP, to see what happens, hears nothing else.
    this.#process.kill('SIGCONT');
    this.#process.kill('SIGINT');
    let inTime = true;
    const timer = setTimeout(() => {
      inTime = false;
      this.killNow();
    }, STOP_MS);
    await this.exited;
    clearTimeout(timer);
    return inTime;
  }

  killNow(): void {
    if (!this.ended) this.#process.kill('SIGKILL');
  }
}

async function isReady(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1000) });
    await answer.body?.cancel();
    return answer.status === 200;
  } catch {
    return false;
  }
}
