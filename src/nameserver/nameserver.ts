/**
 * A NameServer: a route table that lives. It knows no other NameServer and never calls a broker; brokers register with
 * every NameServer and tell everything again to one that restarted.
 *
 * While it starts it cannot tell a topic that does not exist from one whose broker has not registered yet, so a miss is
 * STARTING, not TOPIC_NOT_FOUND (RocketMQ's needWaitForService, there off by default). A broker's heartbeat comes every
 * 30 s, hence 35 s.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { Chore, type Service } from '../base/life';
import type { Log } from '../base/log';
import type { ClusterView, Registration, RegistrationAnswer, RoutePage, TopicRoute } from './route';
import { RouteTable, type TableChange } from './routeTable';

export const DEFAULT_SCAN_MS = 10_000;
export const DEFAULT_STARTING_MS = 35_000;
/** A broker that has been silent for longer was taken away for good, milliseconds: one day. */
const MISSED_MS = 24 * 3_600_000;
/** A registration may come at any moment: ask again soon, not after the whole starting time. */
const RETRY_AFTER_MS = 1_000;
const NAMES_LOGGED = 10;

export interface NameserverOptions {
  clock: Clock;
  log: Log;
  /** Milliseconds between two scans for silent brokers. */
  scanMs?: number;
  /** Milliseconds of silence after which a broker that names no time-out of its own is gone; default 120 s. */
  heartbeatTimeoutMs?: number;
  /** Milliseconds after `start` in which a miss is STARTING. */
  startingMs?: number;
}

export class Nameserver implements Service {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #table: RouteTable;
  readonly #scan: Chore;
  readonly #startingMs: number;
  /** Brokers that fell silent, and when (monotonic). One that has unregistered is not missed. */
  readonly #silent = new Map<string, number>();
  /** Monotonic; undefined before `start`. */
  #startedAt: number | undefined;
  #complete = false;

  constructor(options: NameserverOptions) {
    const { clock, log, heartbeatTimeoutMs } = options;
    this.#clock = clock;
    this.#log = log;
    this.#startingMs = options.startingMs ?? DEFAULT_STARTING_MS;
    this.#table = new RouteTable(clock, {
      ...(heartbeatTimeoutMs !== undefined && { heartbeatTimeoutMs }),
      report: (change) => this.#logChange(change),
    });
    this.#scan = new Chore({
      clock,
      everyMs: options.scanMs ?? DEFAULT_SCAN_MS,
      runOnce: async () => this.#table.dropSilent(),
      onError: (error) => log.error({ err: error }, 'scan for silent brokers failed'),
    });
  }

  async start(): Promise<void> {
    this.#startedAt ??= this.#clock.monotonic();
    await this.#scan.start();
  }

  async stop(): Promise<void> {
    await this.#scan.stop();
  }

  /** Ends the starting time early: standalone calls it once its only broker has registered. */
  started(): void {
    this.#complete = true;
  }

  /** True while a topic that is not found may only not be registered yet. */
  get starting(): boolean {
    if (this.#complete) return false;
    return this.#startedAt === undefined || this.#clock.monotonic() - this.#startedAt < this.#startingMs;
  }

  /** See RouteTable.register. */
  register(cluster: string, broker: string, brokerId: number, registration: Registration): RegistrationAnswer {
    return this.#table.register(cluster, broker, brokerId, registration);
  }

  /** See RouteTable.unregister. */
  unregister(cluster: string, broker: string, brokerId: number, address?: string): void {
    this.#table.unregister(cluster, broker, brokerId, address);
  }

  /** The route of a topic. Throws TOPIC_NOT_FOUND, or STARTING while this NameServer cannot know that yet. */
  route(topic: string): TopicRoute {
    const route = this.#table.route(topic);
    if (route !== undefined) return route;
    if (this.starting) {
      const detail = `This NameServer has just started; brokers may not have registered ${topic} yet.`;
      throw new GantryError('STARTING', detail, { retryAfterMs: RETRY_AFTER_MS });
    }
    throw new GantryError('TOPIC_NOT_FOUND', `No live broker has a topic ${topic}.`);
  }

  /** See RouteTable.routes. */
  routes(after: string | undefined, limit: number): RoutePage {
    return this.#table.routes(after, limit);
  }

  /** See RouteTable.clusterView. */
  clusterView(): ClusterView {
    return { started: !this.starting, ...this.#table.clusterView() };
  }

  /** Names of the brokers that are registered with a master, and of those that fell silent within a day and are not back. */
  standing(): { readonly live: readonly string[]; readonly missing: readonly string[] } {
    const live = this.#table.brokersWithMaster();
    const since = this.#clock.monotonic() - MISSED_MS;
    const missing = [...this.#silent].filter(([name, at]) => at > since && !live.includes(name));
    return { live, missing: missing.map(([name]) => name) };
  }

  /** See RouteTable.wipeWritePermission. */
  wipeWritePermission(broker: string): number {
    return this.#table.wipeWritePermission(broker);
  }

  /** See RouteTable.restoreWritePermission. */
  restoreWritePermission(broker: string): number {
    return this.#table.restoreWritePermission(broker);
  }

  #logRemoval(change: Extract<TableChange, { kind: 'REMOVED' }>): void {
    if (change.reason === 'UNREGISTERED') this.#silent.delete(change.broker);
    if (change.reason !== 'SILENT') return this.#log.info(change, 'broker removed');
    this.#silent.set(change.broker, this.#clock.monotonic());
    this.#log.warn(change, 'broker removed');
  }

  #logChange(change: TableChange): void {
    switch (change.kind) {
      case 'REGISTERED':
        this.#silent.delete(change.broker);
        return this.#log.info(change, 'broker registered');
      case 'TOPICS_CHANGED':
        return this.#log.info(
          { ...change, changed: some(change.changed), removed: some(change.removed) },
          'topics changed',
        );
      case 'REMOVED':
        return this.#logRemoval(change);
      case 'REFUSED':
        return this.#log.warn(change, 'registration refused');
      case 'WRITE_PERMISSION':
        return this.#log.info(change, 'write permission set');
      default:
        return change satisfies never;
    }
  }
}

/** The first names of a list and how many there are more: a log line stays a line. */
function some(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_LOGGED).join(' ');
  return names.length > NAMES_LOGGED ? `${shown} and ${names.length - NAMES_LOGGED} more` : shown;
}
