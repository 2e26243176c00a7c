/**
 * Gantry as a child process: started, waited for, asked over HTTP, killed, started again on the same folder. What is
 * under the folder, and what a crash takes away, is the business of a `Disk`.
 *
 * The children of a test file belong to one `Children`; its `killAll` in an afterAll or afterEach leaves none behind,
 * and should the test process itself end, it takes them along.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Agent, request } from 'undici';
import { patience } from './patience';

const ROOT = resolve(__dirname, '../..');
const MAIN = join(ROOT, 'dist/src/main.js');
/** A start that takes longer than this hangs. */
const START_MS = patience(60_000);
/** An answer that takes longer than this does not come. */
const ANSWER_MS = patience(30_000);

/**
 * What lies under a data folder, and how it is taken away. Workload and checker know nothing of it: a power cut (an
 * nbdkit image whose cache is thrown away) is another implementation, whose `cut` ends the disk
 * before the child, and whose `repair` mounts what the image still holds.
 */
export interface Disk {
  /** What a crash is here, for the names of tests. */
  readonly crash: string;
  /** Makes an empty place and answers the path of the data folder in it. Called once, first. */
  prepare(): Promise<string>;
  /** The crash. When it resolves the child is dead, and lost is what a crash of this kind loses. */
  cut(child: GantryProcess): Promise<void>;
  /** After a cut: makes the folder usable again, under the same path. */
  repair(): Promise<void>;
  /** Takes everything away. Idempotent, also in the middle of anything. */
  remove(): Promise<void>;
}

/** A folder of the machine's own file system; a crash ends the process alone, so what was written stays. */
export class KilledProcessDisk implements Disk {
  readonly crash = 'SIGKILL';
  #place: string | undefined;

  async prepare(): Promise<string> {
    this.#place = await mkdtemp(join(tmpdir(), 'gantry-crash-'));
    return join(this.#place, 'data');
  }

  async cut(child: GantryProcess): Promise<void> {
    await child.kill();
  }

  async repair(): Promise<void> {
    // The operating system has everything that was written.
  }

  async remove(): Promise<void> {
    if (this.#place !== undefined) await rm(this.#place, { recursive: true, force: true });
  }
}

export interface ChildOptions {
  /** The data folder. */
  readonly data: string;
  readonly role?: 'standalone' | 'broker';
  /** Further flags of Gantry. */
  readonly flags?: readonly string[];
  /** Flags of Node itself. */
  readonly nodeFlags?: readonly string[];
}

/** How a process ended and what it said. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Whatever JSON.parse makes of an answer: tests read it as the contract describes it. */
type Json = ReturnType<typeof JSON.parse>;

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** JSON where it was JSON, else text. */
  readonly body: Json;
}

export interface Call {
  /** Sent as JSON. */
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** All children of a test file. */
export class Children {
  readonly #alive = new Set<GantryProcess>();
  readonly #lastResort = () => {
    for (const child of this.#alive) child.signal('SIGKILL');
  };

  constructor() {
    process.once('exit', this.#lastResort);
  }

  /** Starts a process and does not wait for it. */
  spawn(options: ChildOptions): GantryProcess {
    const child = new GantryProcess(options);
    this.#alive.add(child);
    void child.exited.then(() => this.#alive.delete(child));
    return child;
  }

  /** Starts a process and waits until it is ready. */
  async start(options: ChildOptions): Promise<GantryProcess> {
    const child = this.spawn(options);
    await child.ready();
    return child;
  }

  /** Starts a process that is expected not to come up, and answers how it ended. */
  async startRefused(options: ChildOptions): Promise<Exit> {
    const child = this.spawn(options);
    const up = child.ready().then(
      () => true,
      () => false,
    );
    if (await up) throw new Error('the process started, but should have refused to');
    return child.exited;
  }

  /** Ends whatever still runs; nothing is left when it resolves. */
  async killAll(): Promise<void> {
    await Promise.all([...this.#alive].map((child) => child.kill()));
  }
}

export class GantryProcess {
  readonly #process: ChildProcess;
  readonly #agent = new Agent({ headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS, connections: 64 });
  #stdout = '';
  #stderr = '';
  #onSaid: (() => void) | undefined;
  #url: string | undefined;
  /** Resolves when the process is gone, however it ended. */
  readonly exited: Promise<Exit>;

  constructor({ data, role = 'standalone', flags = [], nodeFlags = [] }: ChildOptions) {
    if (!existsSync(MAIN)) throw new Error(`${MAIN} is not there: run npm run build first`);
    const ports = ['--port', '0', ...(role === 'standalone' ? ['--nameserver-port', '0'] : [])];
    const defaults = ['--data', data, '--log-level', 'warn', '--drain-ms', '0'];
    this.#process = spawn(process.execPath, [...nodeFlags, MAIN, role, ...ports, ...defaults, ...flags], {
      cwd: ROOT,
      env: { PATH: process.env['PATH'] },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process.stdout!.on('data', (chunk: Buffer) => {
      this.#stdout += chunk.toString();
      this.#onSaid?.();
    });
    this.#process.stderr!.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
    this.exited = new Promise((done) =>
      this.#process.once('close', (code, signal) => {
        void this.#agent.destroy();
        done({ code, signal, stdout: this.#stdout, stderr: this.#stderr });
      }),
    );
  }

  /** `http://host:port`, once it has said so. */
  get url(): string {
    if (this.#url === undefined) throw new Error('the process has not said where it listens yet');
    return this.#url;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Waits until it has printed its addresses and /readyz says 200. Rejects with what it said when it ends before that. */
  async ready(): Promise<void> {
    const gone = this.exited.then(({ code, signal, stderr }) => {
      throw new Error(`the process ended with ${signal ?? code} before it was ready: ${stderr}`);
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, fail) => {
      timer = setTimeout(() => fail(new Error(`not ready within ${START_MS} ms: ${this.#stderr}`)), START_MS);
    });
    try {
      await Promise.race([this.#comeUp(), gone, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #comeUp(): Promise<void> {
    // The addresses are printed when everything has started, the folder as the last line.
    await new Promise<void>((done) => {
      this.#onSaid = () => {
        if (/^ {2}Data {2}/m.test(this.#stdout)) done();
      };
      this.#onSaid();
    });
    this.#url = /^ {2}API +(http:\/\/\S+)\/v1$/m.exec(this.#stdout)?.[1];
    while ((await this.call('GET', '/readyz')).status !== 200) await new Promise((next) => setTimeout(next, 10));
  }

  /** One HTTP exchange, without retries; rejects when there is no answer. */
  async call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, call: Call = {}): Promise<Answer> {
    const { json, headers } = call;
    const response = await request(`${this.url}${path}`, {
      method,
      dispatcher: this.#agent,
      headers: { ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    });
    const text = await response.body.text();
    const isJson = /\bjson\b/.test(String(response.headers['content-type']));
    return { status: response.statusCode, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** As `call`, for what must succeed: throws what was answered instead. */
  async ask(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, json?: unknown): Promise<Json> {
    const { status, body } = await this.call(method, path, { json });
    if (status < 200 || status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  /** Sends a signal and waits for nothing. */
  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<Exit> {
    this.signal('SIGKILL');
    return this.exited;
  }

  /** SIGTERM; resolves when the process has stopped by itself. */
  async stop(): Promise<Exit> {
    this.signal('SIGTERM');
    return this.exited;
  }
}
