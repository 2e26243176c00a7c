/**
 * A broker with its HTTP front, as one process runs it: opens the folder, listens at once (so that /livez and /readyz
 * answer while data is read), starts the core, registers. Stops in reverse: unready, unregistered, what is not begun
 * refused, parked polls answered, requests finished, what was written flushed, stores closed.
 */
import type { Chance } from '../src/base/chance';
import type { Clock } from '../src/base/clock';
import type { Service } from '../src/base/life';
import type { Log } from '../src/base/log';
import { createRegistry, requestTimes, type Registry } from '../src/base/metrics';
import { Broker, wasRemoved } from '../src/broker/broker';
import { folderIdOf } from '../src/broker/folderId';
import { meterBroker } from '../src/broker/meter';
import type { Tombstone } from '../src/broker/tombstone';
import type { NameserverPeer } from '../src/cluster/nameserverPeer';
import { meterCluster } from '../src/cluster/meter';
import { folderSeen } from '../src/cluster/folderSeen';
import { Reconciler } from '../src/cluster/reconciler';
import { Registrar } from '../src/cluster/registration';
import { forgetEverywhere } from '../src/cluster/forgetting';
import { Fleet } from '../src/cluster/fleet';
import { Routes } from '../src/cluster/routes';
import { Spread } from '../src/cluster/spread';
import type { BrokerOptions } from '../src/config';
import type { TopicRegistration } from '../src/nameserver/route';
import { FolderDiskSpace } from '../storage/diskSpace';
import { openFolder, type Folder } from '../storage/folder';
import { openRocksdb } from '../storage/rocksdbEngine';
import { advertisedAddress, type OwnAddresses } from './advertised';
import { createApp } from './app';
import { BrokerClients } from './client/brokerClient';
import { meterCalls } from './client/callRecord';
import { DefinitionClient } from './client/definitionClient';
import { WebhookCaller } from './client/webhook';
import type { Contract } from './contract';
import { Front } from './front/front';
import { residence } from './front/residence';
import { routed } from './front/routing';
import { wideHandlers } from './front/wide';
import { FRONT_TAGS } from './gatewayNode';
import { clusterHandlers, metaHandlers, nameserverInfo } from './handlers/cluster';
import { consumerHandlers } from './handlers/consumers';
import { deadLetterHandlers } from './handlers/deadLetters';
import { definitionHandlers } from './handlers/definitions';
import { filterTestHandlers } from './handlers/filterTests';
import { groupHandlers } from './handlers/groups';
import { healthHandlers, type HealthCheck } from './handlers/health';
import { leaseHandlers } from './handlers/leases';
import { messageHandlers } from './handlers/messages';
import { noteHandlers } from './handlers/notes';
import { offsetHandlers } from './handlers/offsets';
import { readinessHandlers } from './handlers/readiness';
import { removalHandlers } from './handlers/removal';
import { retryHandlers } from './handlers/retries';
import { purgeHandlers } from './handlers/purge';
import { scheduleHandlers } from './handlers/schedule';
import { tagHandlers } from './handlers/tags';
import { topicHandlers } from './handlers/topics';
import { producerGroupHandlers } from './handlers/producerGroups';
import { transactionHandlers } from './handlers/transactions';
import { KafkaRest } from './kafka/mount';
import { FrontNative, nobodysCall } from './kafka/native';
import { BrokerNotes } from './kafka/brokerNotes';
import { leave } from './leaving';
import { MessageWriter } from './messageJson';
import { registrationCheck } from './registrationCheck';
import type { Handlers } from './operation';
import { HttpServer } from './server';

export const BROKER_TAGS = [...FRONT_TAGS, 'Peers'] as const;

/** The IPv4 address and the process id go into message ids. */
export interface BrokerNodeOptions extends OwnAddresses {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  readonly contract: Contract;
  readonly config: Omit<BrokerOptions, 'role'>;
  readonly nameservers: readonly NameserverPeer[];
  readonly pid: number;
  /** The process must end at once. */
  readonly onFatal: (error: unknown) => void;
}

/** What the broker's own handlers work with. */
interface Locals {
  readonly broker: Broker;
  readonly registrar: Registrar;
  readonly server: HttpServer;
  readonly routes: Routes;
  readonly fleet: Fleet;
  readonly spread: Spread;
}

export class BrokerNode implements Service {
  readonly #options: BrokerNodeOptions;
  readonly #registry: Registry = createRegistry();
  #folder: Folder | undefined;
  #broker: Broker | undefined;
  #server: HttpServer | undefined;
  #registrar: Registrar | undefined;
  #webhooks: WebhookCaller | undefined;
  #clients: BrokerClients | undefined;
  #kafka: KafkaRest | undefined;
  #spread: Spread | undefined;
  #reconciler: Reconciler | undefined;
  #fleet: Fleet | undefined;
  #draining = false;
  #hasRegistered = false;
  #removal: Tombstone | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: BrokerNodeOptions) {
    this.#options = options;
  }

  /** host:port that others use, once it listens. */
  get address(): string {
    return this.#broker?.address ?? '';
  }

  get registrar(): Registrar {
    return this.#registrar!;
  }

  get reconciler(): Reconciler {
    return this.#reconciler!;
  }

  get broker(): Broker {
    return this.#broker!;
  }

  /** Opens the folder and builds all that serves, which takes a second or two of computing: nobody is let in before. */
  async prepare(): Promise<void> {
    if (this.#server) return;
    const { config, clock, log } = this.#options;
    this.#folder = await openFolder({
      path: config.data,
      openEngine: openRocksdb,
      timers: clock,
      flush: config.flush,
      onNotice: (text) => log.warn(text),
      ...(config.acceptDataLoss === undefined ? {} : { acceptDataLoss: config.acceptDataLoss }),
    });
    this.#broker = this.#newBroker(this.#folder);
    meterBroker(this.#registry, this.#broker);
    this.#registrar = this.#newRegistrar(this.#broker);
    this.#server = this.#newServer();
    this.#server.serve(this.#newApp(this.#broker, this.#registrar, this.#server));
  }

  async start(): Promise<void> {
    await this.prepare();
    const { config } = this.#options;
    const server = this.#server!;
    const broker = this.#broker!;
    await server.start();
    broker.address = config.advertise ?? advertisedAddress(config.host, server.address().port, this.#options);
    await broker.start();
    broker.rooms.definitions.onRemoved = (removal) => this.#onRemoved(removal);
    // Nobody is to be sent to what was deleted or changed while this broker was away.
    await this.#reconciler!.start();
    if (this.#removal) throw wasRemoved(this.#removal);
    await this.#kafka?.start();
    this.#hasRegistered = true;
    await this.registrar.start();
    await this.registrar.acknowledged();
    // Who lives was asked before this broker was one of them.
    this.#fleet!.doubt();
  }

  /** This broker was removed while it was away: before it registers it does not start, afterwards it ends. */
  #onRemoved(removal: Tombstone): void {
    this.#removal = removal;
    if (this.#hasRegistered) this.#options.onFatal(wasRemoved(removal));
  }

  #newServer(): HttpServer {
    const { config, clock, log } = this.#options;
    return new HttpServer({ host: config.host, port: config.port, clock, log, maxConnections: config.maxConnections });
  }

  #newBroker(folder: Folder): Broker {
    const { config, clock, chance, log, hostAddress, pid, onFatal } = this.#options;
    const webhooks: WebhookCaller = (this.#webhooks = new WebhookCaller({
      clock,
      networks: config.webhookNetworks,
      describe: (check): string => new MessageWriter(broker).check(check),
    }));
    const broker = new Broker({
      clock,
      chance,
      log,
      journal: folder.journal,
      tables: folder.tables,
      disk: new FolderDiskSpace(config.data),
      checkCaller: webhooks,
      folderSeen: (folderId) => folderSeen(clock, this.#options.nameservers, folderId),
      onFatal,
      options: {
        name: config.name,
        cluster: config.cluster,
        // The address is known once the server listens, before the broker starts.
        get messageIdTag(): string {
          return messageIdTag(broker.address, hostAddress);
        },
        address: hostAddress,
        pid,
        syncEveryTurn: config.flush === 'sync',
        syncEveryMs: config.flushIntervalMs,
        retention: {
          retentionMs: config.retentionMs,
          forceTrimRatio: config.diskForceTrimRatio,
          refuseRatio: config.diskRefuseRatio,
        },
        retentionCheckMs: config.retentionCheckMs,
        trustClock: config.trustClock === 'yes',
        tailBytes: config.tailBytes,
        maxParkedPolls: config.maxParkedPolls,
      },
    });
    return broker;
  }

  #newRegistrar(broker: Broker): Registrar {
    const { config, clock, log, nameservers } = this.#options;
    const registrar = new Registrar({
      clock,
      log,
      cluster: config.cluster,
      broker: config.name,
      brokerId: config.brokerId,
      nameservers,
      describe: (names) => {
        broker.rates.note();
        return {
          address: broker.address,
          role: 'MASTER',
          epoch: broker.rooms.epoch,
          messageIdTag: broker.rooms.identity.messageIdTag,
          permission: broker.state.permission.permission,
          folderId: folderIdOf(broker.rooms.identity),
          journalEnd: broker.journal.end,
          topics: registrations(broker, names),
        };
      },
      times: { heartbeatMs: config.heartbeatMs },
    });
    broker.onTopicsChanged = (names) => void registrar.changed([...names]);
    return registrar;
  }

  #newApp(broker: Broker, registrar: Registrar, server: HttpServer) {
    const { config, clock, chance, log, contract } = this.#options;
    const routes = new Routes({ clock, nameservers: this.#options.nameservers });
    const fleet = (this.#fleet = new Fleet({ clock, routes, freshMs: config.routeRefreshMs, log }));
    const clients = (this.#clients = new BrokerClients({
      clock,
      contract,
      secret: config.clusterSecret,
      from: config.name,
      onStopping: () => void fleet.doubt(),
      log,
    }));
    meterCluster(this.#registry, { fleet, nameservers: () => registrar.status() });
    meterCalls(this.#registry, clients.record);
    const peers = new DefinitionClient(fleet, clients);
    const definitions = () => broker.rooms.definitions;
    const spread = (this.#spread = new Spread({ clock, peers, definitions }));
    this.#reconciler = new Reconciler({ clock, log, name: broker.name, fleet, peers, definitions });
    const local = this.#localHandlers({ broker, registrar, server, routes, fleet, spread });
    const here = { name: broker.name, handlers: local };
    const nameservers = () => registrar.status().map(nameserverInfo);
    const front = new Front({ clock, chance, contract, fleet, clients, here, nameservers });
    const resident = { ...here, ...residence(broker) };
    const handlers = { ...metaHandlers, ...local, ...routed(wideHandlers(front, config), fleet, resident) };
    const kafka = (this.#kafka = this.#newKafka(broker, front, handlers, resident.hasAllOf));
    return createApp({
      contract,
      tags: BROKER_TAGS,
      clusterSecret: config.clusterSecret,
      handlers: {
        ...handlers,
        ...healthHandlers({ checks: () => this.#checks(broker, registrar), registry: this.#registry }),
      },
      kafka: kafka.face,
      clock,
      chance,
      log,
      corsOrigins: config.corsOrigins,
      names: config,
      ready: () => broker.ready && registrar.refused === undefined,
      onFinish: requestTimes(this.#registry),
    });
  }

  #newKafka(broker: Broker, front: Front, handlers: Handlers, hasAllOf: (topic: string) => boolean): KafkaRest {
    const { config, clock, chance, log, contract } = this.#options;
    return new KafkaRest({
      native: new FrontNative({ clock, contract, handlers, resident: { broker, hasAllOf } }),
      notes: new BrokerNotes({ clock, fleet: front.fleet, peer: (name) => front.peer(name, nobodysCall(contract)) }),
      ...{ clock, chance, log },
      dialect: config.kafkaDialect,
      clusterSecret: config.clusterSecret,
      address: () => broker.address,
    });
  }

  /** The operations as this broker alone answers them. */
  #localHandlers({ broker, registrar, server, routes, fleet, spread }: Locals): Handlers {
    const { config, chance, clock, log, nameservers } = this.#options;
    const registered = () => registrar.acknowledged();
    return {
      ...topicHandlers({ broker, defaultQueues: config.defaultQueues, registered, routes, fleet, spread }),
      ...tagHandlers({ broker, spread }),
      ...messageHandlers({ broker }),
      ...purgeHandlers({ broker }),
      ...scheduleHandlers({ broker }),
      ...transactionHandlers({ broker }),
      ...producerGroupHandlers({ broker, chance, fleet, spread }),
      ...groupHandlers({ broker, spread }),
      ...consumerHandlers({ broker, spread }),
      ...offsetHandlers({ broker }),
      ...leaseHandlers({ broker }),
      ...retryHandlers({ broker }),
      ...deadLetterHandlers({ broker }),
      ...filterTestHandlers({ broker }),
      ...readinessHandlers({ broker }),
      ...noteHandlers({ broker }),
      ...definitionHandlers({ broker, registered }),
      ...removalHandlers({
        broker,
        fleet,
        spread,
        unregister: () => registrar.stop(),
        forget: (name) => forgetEverywhere({ clock, log, nameservers }, name),
      }),
      ...clusterHandlers({
        broker,
        brokerId: config.brokerId,
        connections: () => server.connections,
        registered,
        nameservers: () => registrar.status(),
      }),
    };
  }

  #checks(broker: Broker, registrar: Registrar): HealthCheck[] {
    const { ready } = broker;
    const full = ready && broker.rooms.retention.full;
    return [
      {
        name: 'replay',
        ok: ready,
        detail: ready ? 'the journal is applied' : `applied ${broker.state.applied} of ${broker.journal.end} commands`,
      },
      registrationCheck(registrar),
      {
        name: 'disk',
        ok: !full,
        detail: full ? 'above --disk-refuse-ratio: sends are refused, everything else is served' : 'has room',
        only: 'writes',
      },
      ...restoredCheck(broker),
      { name: 'draining', ok: !this.#draining, detail: this.#draining ? 'the process is stopping' : 'serves' },
      ...(broker.state.leftBy === undefined ? [] : [REMOVED]),
    ];
  }

  /**
   * From now on /readyz says 503 and no NameServer lists the broker; it serves on for `drainMs`, or until `hurry` aborts,
   * so that load balancers and fronts have looked away when it stops.
   */
  async drain(drainMs: number, hurry?: AbortSignal): Promise<void> {
    this.#draining = true;
    await leave({
      clock: this.#options.clock,
      server: this.#server,
      drainMs,
      hurry,
      unregister: async () => this.#registrar?.stop(),
      wakeAll: () => this.#broker?.lot.close(),
    });
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#draining = true;
    await this.#registrar?.stop();
    this.#spread?.stop();
    await this.#reconciler?.stop();
    this.#broker?.lot.close();
    await this.#server?.stop();
    await this.#kafka?.stop();
    await this.#clients?.close();
    await this.#webhooks?.close();
    await this.#broker?.stop();
    await this.#folder?.close();
  }
}

/** It was removed while it ran: it holds nothing any more, and no NameServer knows it. */
const REMOVED: HealthCheck = {
  name: 'removed',
  ok: false,
  detail: 'removed from the cluster for good: stop this process',
};

/** The label for offset ids wants an IPv4 address; a host name is replaced by this host's own. */
function messageIdTag(address: string, hostAddress: string): string {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon);
  return `${/^\d+\.\d+\.\d+\.\d+$/.test(host) ? host : hostAddress}${address.slice(colon)}`;
}

function registrations(broker: Broker, names: ReadonlySet<string> | undefined): TopicRegistration[] {
  const { topicsByName } = broker.state;
  const records = names
    ? [...names].flatMap((name) => topicsByName.get(name)?.record ?? [])
    : [...topicsByName.values()].map((topic) => topic.record);
  return records.map(({ name, id, version, type, readQueues, writeQueues, permission, partitions }) => ({
    name,
    id,
    version,
    type,
    readQueues,
    writeQueues,
    permission,
    partitions,
  }));
}

/** Told as long as the process runs; it keeps nobody away. */
function restoredCheck({ restored }: Broker): HealthCheck[] {
  if (!restored) return [];
  const detail = `a backup that ended at command ${restored.journalEnd} was restored; NameServers had seen ${restored.seenEnd}, and what lay between is gone`;
  return [{ name: 'restored', ok: true, detail }];
}
