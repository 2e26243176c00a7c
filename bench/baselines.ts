/** The two processes everything is compared with. */
import { Child } from './child';
import type { Workspace } from './workspace';

/** (a) A plain node:http server. */
export class PlainServer {
  readonly child: Child;
  readonly port: number;

  private constructor(child: Child, port: number) {
    this.child = child;
    this.port = port;
  }

  /** `answer` is the JSON it is to answer. */
  static async start(answer: string): Promise<PlainServer> {
    const child = new Child('bench/plainServer.js', [answer], { ipc: true });
    return new PlainServer(child, (await child.ask<{ port: number }>()).port);
  }

  stop(): Promise<void> {
    return this.child.kill('SIGKILL');
  }
}

/** (b) The rocksdb package in synced batches of 256. */
export class RocksdbWriter {
  readonly #child: Child;
  readonly #workspace: Workspace;
  readonly #folder: string;

  private constructor(child: Child, workspace: Workspace, folder: string) {
    this.#child = child;
    this.#workspace = workspace;
    this.#folder = folder;
  }

  static async start(workspace: Workspace): Promise<RocksdbWriter> {
    const folder = workspace.newFolder('rocksdb');
    const child = new Child('bench/rocksdbWriter.js', [folder], { ipc: true });
    await child.ask();
    return new RocksdbWriter(child, workspace, folder);
  }

  /** Messages per second over so many milliseconds. */
  async pace(ms: number): Promise<number> {
    const written = await this.#child.ask<{ messages: number; ms: number }>({ ms });
    return (written.messages / written.ms) * 1000;
  }

  async stop(): Promise<void> {
    await this.#child.kill('SIGKILL');
    this.#workspace.drop(this.#folder);
  }
}
