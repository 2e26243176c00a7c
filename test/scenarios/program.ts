/**
 * The program as users start it: `node dist/src/main.js …` in processes of their own. A `Stage` holds the processes and
 * folders of one test file; `clear` ends and removes them, and fails when one had to be killed that should have stopped.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { http, type Http } from '../support/http';
import { contract } from '../support/node';
import { eventually } from '../support/patience';

export { eventually };

const ROOT = resolve(__dirname, '../..');
const MAIN = join(ROOT, 'dist/src/main.js');
/** No client has to turn to another process before it stops; a flag overrides this. */
const AT_ONCE = { GANTRY_DRAIN_MS: '0' };
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Stage {
  readonly #programs: Program[] = [];
  readonly #clients: Http[] = [];
  #folder: Promise<string> | undefined;

  /** Starts the program and waits for nothing. */
  spawn(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Program {
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is not there: npm run build`);
    return this.#add(new Program(process.execPath, [MAIN, ...args], environment));
  }

  /** The same by npm, without building again. */
  npmStart(args: readonly string[]): Program {
    return this.#add(new Program('npm', ['start', '--silent', '--ignore-scripts', '--', ...args], AT_ONCE));
  }

  /** `npm run cluster`, without building again. */
  npmRunCluster(args: readonly string[]): Program {
    const npm = ['run', '--silent', '--ignore-scripts', 'cluster', '--', ...args];
    return this.#add(new Program('npm', npm, {}));
  }

  /** Lines of a shell, in the root of the repository. */
  shell(script: string): Program {
    return this.#add(new Program('bash', ['-c', script], {}));
  }

  /** Starts it and waits until it has said where it is. */
  async start(...args: string[]): Promise<Program> {
    const program = this.spawn(args, AT_ONCE);
    await program.places();
    return program;
  }

  /** A client of a place; closed with the stage. */
  client(url: string): Http {
    const client = http(url, contract);
    this.#clients.push(client);
    return client;
  }

  /** A path below a folder of this stage's own. */
  async path(name: string): Promise<string> {
    this.#folder ??= mkdtemp(join(tmpdir(), 'gantry-program-'));
    return join(await this.#folder, name);
  }

  async clear(): Promise<void> {
    for (const program of this.#programs) program.kill('SIGKILL');
    await Promise.all(this.#programs.map((program) => program.exited));
    await Promise.all(this.#clients.map((client) => client.close()));
    if (this.#folder) await rm(await this.#folder, { recursive: true, force: true });
  }

  #add(program: Program): Program {
    this.#programs.push(program);
    return program;
  }
}

/** One process. */
export class Program {
  readonly #child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly exited: Promise<Exit>;

  constructor(command: string, args: readonly string[], environment: Readonly<Record<string, string>>) {
    const { PATH = '', HOME = '' } = process.env;
    this.#child = spawn(command, args, {
      cwd: ROOT,
      env: { PATH, HOME, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    this.exited = new Promise((done) => this.#child.once('close', (code, signal) => done({ code, signal })));
  }

  /** Signals the process and what it started, as a terminal does. */
  kill(signal: NodeJS.Signals): void {
    if (!this.hasEnded) process.kill(-this.#child.pid!, signal);
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** What it prints by name: `API`, `Swagger UI`, `NameServer`, `Routes`, `Data`. Fails when it ends before. */
  async places(): Promise<Readonly<Record<string, string>>> {
    // All of it comes in one piece, these lines last.
    await eventually(() =>
      Promise.resolve(this.hasEnded || /^ {2}(Data|Swagger UI|NameServer) .*\n$/m.test(this.stdout)),
    );
    if (this.hasEnded) throw new Error(`it ended with ${this.#child.exitCode}: ${this.stderr}`);
    const lines = this.stdout.matchAll(/^ {2}(\S+(?: \S+)*) {2,}(\S+)$/gm);
    return Object.fromEntries([...lines].map(([, name, place]): [string, string] => [name!, place!]));
  }

  /** Where it answers: `http://host:port`. */
  async url(): Promise<string> {
    return (await this.places())['Swagger UI']!.replace(/\/docs$/, '');
  }

  /** Asks it to stop and waits until it has. */
  async stop(signal: 'SIGINT' | 'SIGTERM' = 'SIGINT'): Promise<Exit> {
    this.kill(signal);
    return this.exited;
  }
}
