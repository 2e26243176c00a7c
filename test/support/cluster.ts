/**
 * A cluster inside the test's process: NameServers and brokers, each with its own port, that know each other over HTTP
 * alone. A broker that is stopped and started again keeps its data folder and its port. `stop` fails when something was
 * left behind, or when a part has logged an error.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { BrokerNode } from '../../api/brokerNode';
import { NameserverClient } from '../../api/client/nameserverClient';
import { GatewayNode } from '../../api/gatewayNode';
import { NameserverNode } from '../../api/nameserverNode';
import { systemChance } from '../../src/base/chance';
import type { Log } from '../../src/base/log';
import { parseConfig, type BrokerConfig, type GatewayConfig, type NameserverConfig } from '../../src/config';
import { http, type Http } from './http';
import { contract, openSockets, socketsToClose, WatchedClock, type Flags } from './node';

export interface ClusterSpec {
  /** Names, in the order in which they are started. */
  readonly brokers: readonly string[];
  /** How many; 1 if absent. */
  readonly nameservers?: number;
  /** How many, named gw1, gw2 …; none if absent. */
  readonly gateways?: number;
  /** Of every broker, as on the command line, without the dashes; what gateways know of them is theirs, too. */
  readonly flags?: Flags;
}

interface Part {
  readonly folder: string;
  readonly nameservers: readonly NameserverClient[];
  /** The one it got at its first start, and keeps. */
  port: string;
  /** Undefined while it is stopped. */
  node: BrokerNode | undefined;
}

interface Gateway {
  readonly nameservers: readonly NameserverClient[];
  port: string;
  node: GatewayNode | undefined;
}

export class TestCluster {
  readonly nameservers: NameserverNode[] = [];
  /** What any part logged as an error or worse; must be empty when the cluster is stopped. */
  readonly errors: string[] = [];
  readonly #spec: ClusterSpec;
  readonly #clock = new WatchedClock();
  readonly #socketsBefore = openSockets();
  readonly #brokers = new Map<string, Part>();
  readonly #gateways = new Map<string, Gateway>();
  readonly #clients = new Map<string, Http>();
  #stopped: Promise<void> | undefined;

  /** Everything runs and is registered. */
  static async start(spec: ClusterSpec): Promise<TestCluster> {
    const cluster = new TestCluster(spec);
    for (let i = 0; i < (spec.nameservers ?? 1); i++) await cluster.#addNameserver();
    for (const name of spec.brokers) await cluster.addBroker(name);
    for (let i = 1; i <= (spec.gateways ?? 0); i++) await cluster.#addGateway(`gw${i}`);
    for (const { nameserver } of cluster.nameservers) nameserver.started();
    return cluster;
  }

  private constructor(spec: ClusterSpec) {
    this.#spec = spec;
  }

  /** A broker that runs. */
  broker(name: string): BrokerNode {
    const node = this.#part(name).node;
    if (!node) throw new Error(`broker ${name} is stopped`);
    return node;
  }

  /** Where a front listens, a broker's or a gateway's, also while it is stopped: `http://127.0.0.1:…`, without a path. */
  url(name: string): string {
    return `http://127.0.0.1:${(this.#gateways.get(name) ?? this.#part(name)).port}`;
  }

  /** A client for a front, ended with the cluster. */
  client(name: string): Http {
    let client = this.#clients.get(name);
    if (!client) this.#clients.set(name, (client = http(this.url(name), contract)));
    return client;
  }

  /** A broker that was not there before, with an empty folder. */
  async addBroker(name: string): Promise<BrokerNode> {
    const folder = await mkdtemp(join(tmpdir(), `gantry-${name}-`));
    this.#brokers.set(name, { folder, nameservers: this.#nameserverClients(), port: '0', node: undefined });
    return this.startBroker(name);
  }

  /** In an orderly way: it unregisters. */
  async stopBroker(name: string): Promise<void> {
    const part = this.#part(name);
    await part.node?.stop();
    part.node = undefined;
  }

  async startBroker(name: string): Promise<BrokerNode> {
    const part = this.#part(name);
    const given = {
      port: part.port,
      name,
      data: part.folder,
      nameservers: this.#nameserverUrls().join(','),
      'drain-ms': '0',
    };
    const node = new BrokerNode({
      ...this.#shared(),
      config: configOf('broker', { ...given, ...this.#spec.flags }),
      nameservers: part.nameservers,
      hostAddress: '127.0.0.1',
      pid: process.pid,
      onFatal: (error) => void this.errors.push(`fatal: ${(error as Error).stack}`),
    });
    part.node = node;
    await node.start();
    part.port = node.address.slice(node.address.lastIndexOf(':') + 1);
    return node;
  }

  async stopGateway(name: string): Promise<void> {
    const gateway = this.#gateways.get(name)!;
    await gateway.node?.stop();
    gateway.node = undefined;
  }

  async startGateway(name: string): Promise<void> {
    const gateway = this.#gateways.get(name)!;
    const { port, nameservers } = gateway;
    const config = configOf('gateway', { port, nameservers: this.#nameserverUrls().join(','), ...this.#frontFlags() });
    const node = new GatewayNode({ ...this.#shared(), config, nameservers, hostAddress: '127.0.0.1' });
    gateway.node = node;
    await node.start();
    gateway.port = String(node.port);
  }

  async #addGateway(name: string): Promise<void> {
    this.#gateways.set(name, { nameservers: this.#nameserverClients(), port: '0', node: undefined });
    await this.startGateway(name);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #addNameserver(): Promise<void> {
    const config = configOf('nameserver', { port: '0' });
    const node = new NameserverNode({
      ...this.#shared(),
      host: config.host,
      port: config.port,
      scanMs: config.nameserverScanMs,
      expiryMs: config.brokerExpiryMs,
      startingMs: config.nameserverStartingMs,
      maxConnections: config.maxConnections,
      corsOrigins: config.corsOrigins,
      allowedHosts: config.allowedHosts,
      clusterSecret: this.#spec.flags?.['cluster-secret'],
    });
    await node.start();
    this.nameservers.push(node);
  }

  async #stop(): Promise<void> {
    for (const client of this.#clients.values()) await client.close();
    for (const [name, { nameservers }] of this.#gateways) {
      await this.stopGateway(name);
      for (const client of nameservers) await client.close();
    }
    for (const name of this.#brokers.keys()) await this.stopBroker(name);
    for (const { nameservers, folder } of this.#brokers.values()) {
      for (const client of nameservers) await client.close();
      await rm(folder, { recursive: true, force: true });
    }
    for (const node of this.nameservers) await node.stop();
    await socketsToClose(this.#socketsBefore);
    const left = [...this.#clock.running, ...this.errors];
    if (left.length > 0) throw new Error(`the cluster left behind:\n${left.join('\n')}`);
  }

  #part(name: string): Part {
    const part = this.#brokers.get(name);
    if (!part) throw new Error(`there is no broker ${name}`);
    return part;
  }

  /** Those that are for gateways, too. */
  #frontFlags(): Flags {
    const given = Object.entries(this.#spec.flags ?? {});
    return Object.fromEntries(given.filter(([name]) => ['cluster-secret', 'route-refresh-ms'].includes(name)));
  }

  #nameserverClients(): NameserverClient[] {
    return this.#nameserverUrls().map((url) => new NameserverClient(url, this.#frontFlags()['cluster-secret']));
  }

  #nameserverUrls(): string[] {
    return this.nameservers.map(({ port }) => `http://127.0.0.1:${port}`);
  }

  #shared() {
    return { clock: this.#clock, chance: systemChance, log: this.#log(), contract };
  }

  #log(): Log {
    return pino({ level: 'error', base: null }, { write: (line: string) => void this.errors.push(line) });
  }
}

function configOf(role: 'broker', flags: Flags): BrokerConfig;
function configOf(role: 'nameserver', flags: Flags): NameserverConfig;
function configOf(role: 'gateway', flags: Flags): GatewayConfig;
function configOf(role: string, flags: Flags): BrokerConfig | NameserverConfig | GatewayConfig {
  const argv = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
  const parsed = parseConfig([role, ...argv], {}, () => '');
  if (parsed.command === 'run' && parsed.role === role)
    return parsed.config as BrokerConfig | NameserverConfig | GatewayConfig;
  throw new Error('text' in parsed ? parsed.text : `not a ${role}: ${parsed.command}`);
}
