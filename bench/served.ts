/** A process of Gantry that is measured: on free ports, ready when its /readyz says so. */
import { createServer, type AddressInfo } from 'node:net';
import { Child } from './child';
import { Connection } from './connection';
import { requestBytes } from './request';

export interface Reply {
  readonly status: number;
  readonly text: string;
}

/** Milliseconds between two looks at /readyz. */
const LOOK_MS = 5;

export class Served {
  readonly port: number;
  readonly child: Child;
  readonly startedAt: number;
  readonly #admin: Connection;

  /** Starts it and waits for nothing. `port` is the one that its `args` say. */
  constructor(port: number, args: readonly string[]) {
    this.port = port;
    this.child = new Child('src/main.js', [...args, '--log-level', 'error']);
    this.startedAt = performance.now();
    this.#admin = new Connection(port);
  }

  /** Resolves when /readyz says 200; with the milliseconds from its start to there. */
  async ready(withinMs = 60_000): Promise<number> {
    for (;;) {
      const reply = await this.ask('GET', '/readyz').catch(() => undefined);
      if (reply?.status === 200) return performance.now() - this.startedAt;
      if (this.child.ended) throw new Error(`a process of Gantry ended: ${this.child.complaints}`);
      if (performance.now() - this.startedAt > withinMs) {
        throw new Error(`not ready after ${withinMs} ms: ${reply?.text ?? this.child.complaints}`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** One request, answered whatever the status; one at a time. */
  ask(method: string, path: string, body?: object): Promise<Reply> {
    return askOn(this.#admin, method, path, body);
  }

  /** The same, but anything from 400 on throws. */
  async tell(method: string, path: string, body?: object): Promise<string> {
    return checked(await this.ask(method, path, body), method, path);
  }

  /** As a machine that loses its power, as far as one can: nothing is finished. */
  async kill(): Promise<void> {
    this.#admin.close();
    await this.child.kill('SIGKILL');
  }

  /** Cleanly. */
  async stop(): Promise<void> {
    this.#admin.close();
    await this.child.kill('SIGINT');
  }
}

export function askOn(connection: Connection, method: string, path: string, body?: object): Promise<Reply> {
  const request = requestBytes(method, path, body && JSON.stringify(body));
  return new Promise((resolve, reject) => {
    connection.send(request, {
      answered: (status, bytes) => resolve({ status, text: bytes.toString() }),
      failed: reject,
    });
  });
}

export function checked({ status, text }: Reply, method: string, path: string): string {
  if (status >= 400) throw new Error(`${method} ${path} answered ${status}: ${text.slice(0, 500)}`);
  return text;
}

/** Ports that are free now; all are held until all are known, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
