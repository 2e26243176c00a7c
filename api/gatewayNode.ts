/**
 * A front without a broker: serves every call by asking the brokers that the NameServers name. It keeps nothing, so any
 * number of them may stand side by side, and come and go.
 */
import type { Chance } from '../src/base/chance';
import type { Clock } from '../src/base/clock';
import type { Service } from '../src/base/life';
import type { Log } from '../src/base/log';
import { createRegistry, requestTimes } from '../src/base/metrics';
import { Fleet } from '../src/cluster/fleet';
import { meterCluster } from '../src/cluster/meter';
import type { NameserverPeer } from '../src/cluster/nameserverPeer';
import { Routes } from '../src/cluster/routes';
import type { GatewayConfig } from '../src/config';
import { advertisedAddress, type OwnAddresses } from './advertised';
import { createApp } from './app';
import { BrokerClients } from './client/brokerClient';
import { meterCalls } from './client/callRecord';
import type { Contract } from './contract';
import { Front } from './front/front';
import { routed } from './front/routing';
import { wideHandlers } from './front/wide';
import { metaHandlers } from './handlers/cluster';
import { healthHandlers, type HealthCheck } from './handlers/health';
import { KafkaRest } from './kafka/mount';
import { leave } from './leaving';
import { FrontNative, nobodysCall } from './kafka/native';
import { BrokerNotes } from './kafka/brokerNotes';
import { GatewayWatch } from './gatewayWatch';
import { HttpServer } from './server';

/** What fronts serve; brokers besides answer each other. */
export const FRONT_TAGS = [
  'Meta',
  'Topics',
  'Messages',
  'Transactions',
  'Groups',
  'Leases',
  'Offsets',
  'Cluster',
  'Health',
] as const;

export interface GatewayNodeOptions extends OwnAddresses {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  readonly contract: Contract;
  readonly config: Omit<GatewayConfig, 'role'>;
  readonly nameservers: readonly NameserverPeer[];
}

export class GatewayNode implements Service {
  readonly #options: GatewayNodeOptions;
  readonly #fleet: Fleet;
  readonly #routes: Routes;
  readonly #clients: BrokerClients;
  readonly #watch: GatewayWatch;
  readonly #server: HttpServer;
  #kafka: KafkaRest | undefined;
  #draining = false;
  #stopped: Promise<void> | undefined;

  constructor(options: GatewayNodeOptions) {
    const { clock, log, config, contract, nameservers } = options;
    this.#options = options;
    this.#routes = new Routes({ clock, nameservers, log });
    this.#fleet = new Fleet({ clock, routes: this.#routes, freshMs: config.routeRefreshMs, log });
    this.#clients = new BrokerClients({
      clock,
      contract,
      secret: config.clusterSecret,
      from: 'gateway',
      onStopping: () => void this.#fleet.doubt(),
      log,
    });
    this.#watch = new GatewayWatch({ clock, log, fleet: this.#fleet, routes: this.#routes, clients: this.#clients });
    this.#server = new HttpServer({
      host: config.host,
      port: config.port,
      clock,
      log,
      maxConnections: config.maxConnections,
    });
    this.#server.serve(this.#newApp());
  }

  get port(): number {
    return this.#server.address().port;
  }

  /** host:port that other fronts use. */
  get #address(): string {
    const { config } = this.#options;
    return config.advertise ?? advertisedAddress(config.host, this.port, this.#options);
  }

  /** Listens at once: brokers and NameServers may come later. */
  async start(): Promise<void> {
    await this.#server.start();
    await this.#watch.start();
    await this.#kafka?.start();
  }

  /** As a broker's: unready first, closed later. */
  async drain(drainMs: number, hurry?: AbortSignal): Promise<void> {
    this.#draining = true;
    await leave({ clock: this.#options.clock, server: this.#server, drainMs, hurry });
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#draining = true;
    await this.#server.stop();
    await this.#kafka?.stop();
    await this.#watch.stop();
    await this.#clients.close();
  }

  #newApp() {
    const { clock, chance, log, contract, config } = this.#options;
    const front = new Front({
      clock,
      chance,
      contract,
      fleet: this.#fleet,
      clients: this.#clients,
      here: undefined,
      nameservers: () => this.#routes.nameservers(),
    });
    const registry = createRegistry();
    meterCluster(registry, { fleet: this.#fleet, nameservers: () => this.#routes.nameservers() });
    meterCalls(registry, this.#clients.record);
    const handlers = { ...metaHandlers, ...routed(wideHandlers(front, config), this.#fleet, undefined) };
    const kafka = (this.#kafka = new KafkaRest({
      native: new FrontNative({ clock, contract, handlers, resident: undefined }),
      notes: new BrokerNotes({ clock, fleet: this.#fleet, peer: (name) => front.peer(name, nobodysCall(contract)) }),
      ...{ clock, chance, log },
      dialect: config.kafkaDialect,
      clusterSecret: config.clusterSecret,
      address: () => this.#address,
    }));
    return createApp({
      contract,
      tags: FRONT_TAGS,
      clusterSecret: config.clusterSecret,
      handlers: {
        ...handlers,
        ...healthHandlers({ checks: () => this.#checks(), registry }),
      },
      kafka: kafka.face,
      clock,
      chance,
      log,
      corsOrigins: config.corsOrigins,
      names: config,
      ready: () => true,
      onFinish: requestTimes(registry),
    });
  }

  async #checks(): Promise<HealthCheck[]> {
    return [
      ...(await this.#watch.checks()),
      { name: 'draining', ok: !this.#draining, detail: this.#draining ? 'the process is stopping' : 'serves' },
    ];
  }
}
