/**
 * A broker's presence at its NameServers: registers with all of them, keeps itself alive there by heartbeats, tells
 * changes at once, and leaves when it stops. Each NameServer is told on its own (NameserverLink); this file knows the
 * state all are told of.
 *
 * What always holds: two different states of the broker never have the same data version, and the counter in it only
 * rises in one life of the process, so "acknowledged up to this change" can be compared by counter alone.
 */
import { delay, type Clock } from '../base/clock';
import type { Service } from '../base/life';
import type { Log } from '../base/log';
import { sameVersion, type DataVersion, type Permission, type Registration } from '../nameserver/route';
import type { Role, TopicRegistration } from '../nameserver/route';
import { NameserverLink, type LinkOptions, type LinkTimes, type NameserverStatus } from './nameserverLink';
import type { NameserverPeer } from './nameserverPeer';

/** RocketMQ's registerNameServerPeriod. */
export const DEFAULT_HEARTBEAT_MS = 30_000;
const DEFAULT_ACKNOWLEDGE_MS = 3_000;
const NO_NAMES: ReadonlySet<string> = new Set();
const DEFAULT_TIMES: LinkTimes = {
  heartbeatMs: DEFAULT_HEARTBEAT_MS,
  callMs: 6_000,
  retryMinMs: 500,
  retryMaxMs: 5_000,
  stopMs: 2_000,
};

/** What a broker tells about itself. */
export interface BrokerDescription {
  /** host:port of the broker's front, as others reach it. */
  readonly address: string;
  readonly role: Role;
  /** The highest epoch this broker knows. A new one makes a new state version. */
  readonly epoch: number;
  readonly messageIdTag: string;
  readonly permission: Permission;
  /** Identity of the data folder. */
  readonly folderId?: string;
  /** The last index of its journal. */
  readonly journalEnd?: number;
  readonly heartbeatTimeoutMs?: number;
  readonly topics: readonly TopicRegistration[];
}

export interface RegistrarOptions {
  clock: Clock;
  log: Log;
  cluster: string;
  broker: string;
  /** The member's id in its broker group, 1 upwards, for ever. */
  brokerId: number;
  nameservers: readonly NameserverPeer[];
  /**
   * The broker's state now. With `names`, only these topics are needed: those that are missing in the answer were
   * deleted. Answering with more is allowed.
   */
  describe: (names?: ReadonlySet<string>) => BrokerDescription;
  /** Milliseconds `acknowledged` and `changed` wait at most. */
  acknowledgeMs?: number;
  times?: Partial<LinkTimes>;
}

export class Registrar implements Service {
  readonly #clock: Clock;
  readonly #describe: RegistrarOptions['describe'];
  readonly #links: readonly NameserverLink[];
  readonly #acknowledgeMs: number;
  #version: DataVersion = { stateVersion: 0, timestamp: 0, counter: 0 };
  #started = false;
  /** Every NameServer that answered has taken this broker, at one time. */
  #established = false;

  constructor(options: RegistrarOptions) {
    const { clock, log, cluster, broker, brokerId } = options;
    this.#clock = clock;
    this.#describe = options.describe;
    this.#acknowledgeMs = options.acknowledgeMs ?? DEFAULT_ACKNOWLEDGE_MS;
    const times: LinkTimes = { ...DEFAULT_TIMES, ...options.times };
    const compose: LinkOptions['compose'] = (acknowledged, names) => this.#compose(acknowledged, names);
    const version = () => this.#version;
    const holdBack: LinkOptions['holdBack'] = (link) => this.#holdBack(link);
    const onConflict: LinkOptions['onConflict'] = (link) => this.#onConflict(link);
    const common = { clock, log, cluster, broker, brokerId, times, compose, version, holdBack, onConflict };
    this.#links = options.nameservers.map((peer) => new NameserverLink({ ...common, peer }));
  }

  /** Begins to register everywhere and does not wait for it: an absent NameServer keeps no broker from starting. */
  async start(): Promise<void> {
    if (this.#started) return;
    this.#started = true;
    this.#version = { stateVersion: this.#describe(NO_NAMES).epoch, timestamp: this.#clock.now(), counter: 0 };
    for (const link of this.#links) link.start();
  }

  /** Unregisters everywhere, within `times.stopMs`. A NameServer that cannot be reached drops the broker by itself. */
  async stop(): Promise<void> {
    this.#started = true;
    await Promise.all(this.#links.map((link) => link.stop()));
  }

  /**
   * Tells all NameServers of changed, new or deleted topics; with no names, of changed attributes (role, permission).
   * To be called after `describe` shows the change. Resolves as `acknowledged` does.
   */
  changed(names: readonly string[]): Promise<readonly string[]> {
    const { stateVersion, counter } = this.#version;
    this.#version = { stateVersion, timestamp: this.#clock.now(), counter: counter + 1 };
    for (const link of this.#links) link.changed(names);
    return this.acknowledged();
  }

  /**
   * Resolves once every reachable NameServer has the state as it is now, or after `acknowledgeMs`; with the addresses
   * of those that do not have it, which will be told when they can be.
   */
  async acknowledged(): Promise<readonly string[]> {
    const { counter } = this.#version;
    const missing = new Set(this.#links.map((link) => link.status.address));
    const answers = this.#links.map(async (link) => {
      if (await link.acknowledgement(counter)) missing.delete(link.status.address);
    });
    await this.#atMost(this.#acknowledgeMs, Promise.all(answers));
    return [...missing];
  }

  /** True once any NameServer has acknowledged a registration, and without NameServers at once (readyz). */
  get registered(): boolean {
    return this.#links.length === 0 || this.#links.some((link) => link.registeredEver);
  }

  /**
   * Why this broker may serve nobody: another one of its name was there before it. Undefined once every NameServer that
   * answers has taken it. A broker that was taken once serves on, whatever a NameServer says later.
   */
  get refused(): string | undefined {
    if (this.#isEstablished()) return undefined;
    return this.#links.map((link) => link.conflict).find((conflict) => conflict !== undefined);
  }

  /** True while a NameServer has this broker among those that live, and without NameServers always. */
  get registeredNow(): boolean {
    return this.#links.length === 0 || this.#links.some((link) => link.isRegistered);
  }

  /** How it stands with each NameServer, in the order they were given (getCluster, readyz). */
  status(): readonly NameserverStatus[] {
    return this.#links.map((link) => link.status);
  }

  #compose(acknowledged: DataVersion | undefined, names: ReadonlySet<string>): Registration {
    const { topics, ...attributes } = this.#describe(acknowledged === undefined ? undefined : names);
    this.#noticeEpoch(attributes.epoch);
    const dataVersion = this.#version;
    if (acknowledged === undefined) return { mode: 'FULL', ...attributes, dataVersion, topics };
    if (sameVersion(acknowledged, dataVersion)) return { mode: 'HEARTBEAT', ...attributes, dataVersion };
    const present = topics.filter((topic) => names.has(topic.name));
    const presentNames = new Set(present.map((topic) => topic.name));
    return {
      mode: 'CHANGES',
      ...attributes,
      dataVersion,
      baseVersion: acknowledged,
      topics: present,
      removedTopics: [...names].filter((name) => !presentNames.has(name)),
    };
  }

  #isEstablished(): boolean {
    this.#established ||=
      this.#links.every((link) => link.hasVerdict && link.conflict === undefined) &&
      this.#links.some((link) => link.registeredEver);
    return this.#established;
  }

  /** A newcomer that one NameServer refuses leaves its name alone at the others, too: they may have just started. */
  #holdBack(link: NameserverLink): string | undefined {
    if (this.#isEstablished()) return undefined;
    return this.#links
      .filter((other) => other !== link)
      .map((other) => other.conflict)
      .find((words) => words !== undefined);
  }

  #onConflict(link: NameserverLink): void {
    if (this.#isEstablished()) return;
    for (const other of this.#links) if (other !== link) other.hurry();
  }

  #noticeEpoch(epoch: number): void {
    const { stateVersion, counter } = this.#version;
    if (epoch === stateVersion) return;
    this.#version = { stateVersion: epoch, timestamp: this.#clock.now(), counter: counter + 1 };
  }

  async #atMost(ms: number, work: Promise<unknown>): Promise<void> {
    const done = new AbortController();
    const late = delay(this.#clock, ms, done.signal).catch(() => undefined);
    await Promise.race([work, late]);
    done.abort();
  }
}
