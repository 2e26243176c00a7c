/** A cluster that is measured: a NameServer, brokers and a gateway, each a process of its own. */
import { freePorts, Served } from './served';
import type { Workspace } from './workspace';

export class Cluster {
  readonly gateway: Served;
  readonly brokers: readonly Served[];
  readonly #nameserver: Served;
  readonly #folders: readonly string[];
  readonly #workspace: Workspace;

  private constructor(workspace: Workspace, ports: readonly number[], brokers: number) {
    const [nameserver, gateway, ...others] = ports.map(String);
    const known = ['--nameservers', `http://127.0.0.1:${nameserver}`];
    this.#workspace = workspace;
    this.#folders = Array.from({ length: brokers }, (_, i) => workspace.newFolder(`cluster-${i}`));
    // Nobody asks for a topic before its brokers have registered.
    this.#nameserver = new Served(Number(nameserver), [
      ...['nameserver', '--port', nameserver!, '--nameserver-starting-ms', '0'],
    ]);
    this.brokers = this.#folders.map((folder, i) => {
      const own = ['--name', brokerName(i), '--data', folder, '--port', others[i]!];
      return new Served(Number(others[i]), ['broker', ...own, ...known]);
    });
    this.gateway = new Served(Number(gateway), ['gateway', '--port', gateway!, ...known]);
  }

  /** Resolves when all parts are ready, the gateway last: it knows all brokers then. */
  static async start(workspace: Workspace, brokers: number): Promise<Cluster> {
    const cluster = new Cluster(workspace, await freePorts(brokers + 2), brokers);
    await cluster.#nameserver.ready();
    await Promise.all(cluster.brokers.map((broker) => broker.ready()));
    await cluster.gateway.ready();
    return cluster;
  }

  /** A topic with eight queues on each of its brokers: on the first so many. */
  async createTopic(name: string, onBrokers: number): Promise<void> {
    const brokers = Array.from({ length: onBrokers }, (_, i) => brokerName(i));
    await this.gateway.tell('POST', '/v1/topics', { name, writeQueues: 8, readQueues: 8, brokers });
  }

  /** Ends all of it and deletes its data. */
  async discard(): Promise<void> {
    for (const part of [this.gateway, ...this.brokers, this.#nameserver]) await part.kill();
    for (const folder of this.#folders) this.#workspace.drop(folder);
  }
}

const brokerName = (i: number): string => `broker-${String.fromCharCode('a'.charCodeAt(0) + i)}`;
