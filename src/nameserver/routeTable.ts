/**
 * The registry of a NameServer: who registered what, and the routes that follow from it. In memory only, no timer, no
 * I/O, every call synchronous: what is lost with the process the brokers tell again (nsq, nsqlookupd/registration_db.go).
 *
 * What always holds:
 *  - liveness is judged when read: a member that is silent for too long is invisible before a scan removes it, and its
 *    next registration is answered as if it had been removed already, so no answer depends on when the scan ran;
 *  - a refused registration changes nothing;
 *  - an address belongs to at most one member, a broker name to at most one cluster.
 */
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { BrokerGroup, routeBroker, routeQueues, type LiveGroup } from './brokerGroup';
import { noteSuccession, objectionTo } from './claim';
import { FoldersSeen } from './foldersSeen';
import { Member, type MemberName } from './member';
import type { ClusterBroker, ClusterView, RefusedClaim, Registration, RegistrationAnswer, Role } from './route';
import type { RouteBroker, RoutePage, RouteQueues, TopicRegistration, TopicRoute } from './route';

/** RocketMQ's default: a broker misses four heartbeats of 30 s. */
export const DEFAULT_HEARTBEAT_TIMEOUT_MS = 120_000;

/** What changed in the table, told once per change; counts and names are of topics. */
export type TableChange =
  | (MemberName & { kind: 'REGISTERED'; address: string; role: Role; epoch: number; topics: number })
  | (MemberName & { kind: 'TOPICS_CHANGED'; changed: readonly string[]; removed: readonly string[] })
  | (MemberName & { kind: 'REMOVED'; address: string; reason: RemovalReason })
  | (MemberName & { kind: 'REFUSED'; address: string; why: string })
  | { kind: 'WRITE_PERMISSION'; broker: string; writePermission: boolean };

/** A refused process repeats its claim every few seconds: one that has been silent for this long has gone, milliseconds. */
const CLAIM_MS = 60_000;

/** REPLACED: the same member registered from another address. ADDRESS_TAKEN: another member registered from its address. */
export type RemovalReason = 'UNREGISTERED' | 'SILENT' | 'REPLACED' | 'ADDRESS_TAKEN';

export interface RouteTableOptions {
  /** For members that name no time-out of their own, milliseconds. */
  heartbeatTimeoutMs?: number;
  /** Told of every change, after it is made. */
  report?: (change: TableChange) => void;
}

export class RouteTable {
  readonly #clock: Clock;
  readonly #heartbeatTimeoutMs: number;
  readonly #report: (change: TableChange) => void;
  readonly #groups = new Map<string, BrokerGroup>();
  readonly #byAddress = new Map<string, Member>();
  readonly #folders = new FoldersSeen();
  /** Names of all registered topics in order, those of silent members too; undefined when they must be collected anew. */
  #names: readonly string[] | undefined;

  constructor(clock: Clock, options: RouteTableOptions = {}) {
    this.#clock = clock;
    this.#heartbeatTimeoutMs = options.heartbeatTimeoutMs ?? DEFAULT_HEARTBEAT_TIMEOUT_MS;
    this.#report = options.report ?? (() => undefined);
  }

  /**
   * Takes a registration (registerBroker). `known: false` means that nothing was taken and a FULL one is needed.
   * Throws REGISTRATION_CONFLICT if the name is in another cluster or a live member defends it (claim.ts).
   */
  register(cluster: string, broker: string, brokerId: number, registration: Registration): RegistrationAnswer {
    requireComplete(brokerId, registration);
    const name: MemberName = { cluster, broker, brokerId };
    this.#dropSilentOf(broker);
    this.#refuseConflicts(name, registration);
    const taken = this.#take(name, registration);
    if (taken) this.#folders.note(registration);
    return this.#answer(name, taken);
  }

  /**
   * Removes a member at once (unregisterBroker). With `address`, only if it is registered from there: a process that
   * stops late does not remove the one that took its place. Throws BROKER_NOT_FOUND if there is nothing to remove.
   */
  unregister(cluster: string, broker: string, brokerId: number, address?: string): void {
    const group = this.#groups.get(broker);
    const member = group?.cluster === cluster ? group.members.get(brokerId) : undefined;
    if (member === undefined || (address !== undefined && member.said.address !== address)) {
      throw new GantryError('BROKER_NOT_FOUND', `No member ${brokerId} of broker ${broker} is registered here.`);
    }
    this.#remove(member, 'UNREGISTERED');
  }

  /** The route of a topic, or undefined if no live broker has it. */
  route(topic: string): TopicRoute | undefined {
    return assembleRoute(topic, this.#liveGroups());
  }

  /** At most `limit` routes whose names come after `after` (from the start if absent), in the order of code units. */
  routes(after: string | undefined, limit: number): RoutePage {
    const names = this.#sortedNames();
    const live = this.#liveGroups();
    const routes: TopicRoute[] = [];
    for (let at = after === undefined ? 0 : firstAfter(names, after); at < names.length; at++) {
      const route = assembleRoute(names[at] ?? '', live);
      if (route === undefined) continue;
      const last = routes.at(-1);
      if (routes.length === limit && last !== undefined) return { routes, next: last.topic };
      routes.push(route);
    }
    return { routes };
  }

  /** All live members by cluster and broker, and all folders that registered (getNameserverCluster). */
  clusterView(): Omit<ClusterView, 'started'> {
    const clusters = new Map<string, ClusterBroker[]>();
    for (const live of this.#liveGroups()) {
      const brokers = clusters.get(live.group.cluster) ?? [];
      clusters.set(live.group.cluster, brokers);
      brokers.push(this.#clusterBroker(live));
    }
    const inOrder = [...clusters].sort(([a], [b]) => (a < b ? -1 : 1));
    const folders = this.#folders.all();
    return { clusters: inOrder.map(([cluster, brokers]) => ({ cluster, brokers })), folders };
  }

  /** Names of the brokers that have a live master. */
  brokersWithMaster(): string[] {
    return this.#liveGroups()
      .filter(({ master }) => master !== undefined)
      .map(({ group }) => group.broker);
  }

  /**
   * Takes W from all queues of a broker, at this NameServer only. Returns how many topics that concerns. Unlike
   * RocketMQ's wipeWritePerm, which the next changed registration of a topic undoes, it holds across heartbeats and
   * registrations until it is restored or the broker's last member is gone. Throws BROKER_NOT_FOUND.
   */
  wipeWritePermission(broker: string): number {
    return this.#setWriteWiped(broker, true);
  }

  /**
   * Undoes `wipeWritePermission`. Returns how many topics that concerns. Unlike RocketMQ's addWritePerm, which sets RW,
   * the queues get back what topic and broker allow. Throws BROKER_NOT_FOUND.
   */
  restoreWritePermission(broker: string): number {
    return this.#setWriteWiped(broker, false);
  }

  /** Removes who is silent for too long; returns how many members that were. */
  dropSilent(): number {
    let dropped = 0;
    for (const broker of [...this.#groups.keys()]) dropped += this.#dropSilentOf(broker);
    return dropped;
  }

  #refuseConflicts(name: MemberName, registration: Registration): void {
    const group = this.#groups.get(name.broker);
    if (group === undefined) return;
    if (group.cluster !== name.cluster) {
      throw new GantryError(
        'REGISTRATION_CONFLICT',
        `Broker ${name.broker} is registered in cluster ${group.cluster}; a broker name belongs to one cluster.`,
      );
    }
    const why = objectionTo(name, registration, group, (member) => this.#isAlive(member));
    if (why === undefined) return;
    const { address } = registration;
    const isNew = this.#refusedClaim(group)?.address !== address;
    group.refusedClaim = { address, timestamp: this.#clock.now(), at: this.#clock.monotonic() };
    if (isNew) this.#report({ kind: 'REFUSED', ...name, address, why });
    throw new GantryError('REGISTRATION_CONFLICT', why);
  }

  /** The last refused claim of a process that still tries. */
  #refusedClaim({ refusedClaim }: BrokerGroup): RefusedClaim | undefined {
    if (refusedClaim === undefined || this.#clock.monotonic() - refusedClaim.at > CLAIM_MS) return undefined;
    const { address, timestamp } = refusedClaim;
    return { address, timestamp };
  }

  /** Applies what can be applied; returns whether it was. */
  #take(name: MemberName, registration: Registration): boolean {
    if (registration.mode === 'FULL') {
      this.#replace(name, registration);
      return true;
    }
    const member = this.#groups.get(name.broker)?.members.get(name.brokerId);
    if (member === undefined) return false;
    if (registration.mode === 'HEARTBEAT') {
      if (!member.agreesWith(registration)) return false;
    } else {
      const base = registration.baseVersion;
      if (base === undefined || !member.isAt(registration.address, base)) return false;
      this.#change(member, registration);
    }
    member.heard(this.#clock);
    return true;
  }

  #replace(name: MemberName, registration: Registration): void {
    const { address, role, epoch } = registration;
    const group = this.#groups.get(name.broker) ?? new BrokerGroup(name.cluster, name.broker);
    const before = group.members.get(name.brokerId);
    if (before !== undefined && before.said.address !== address) this.#forget(before, 'REPLACED');
    const neighbour = this.#byAddress.get(address);
    if (neighbour !== undefined && neighbour !== before) this.#remove(neighbour, 'ADDRESS_TAKEN');
    const member = new Member(name, registration, this.#clock);
    if (before !== undefined) noteSuccession(member, before, registration);
    group.members.set(name.brokerId, member);
    // Set again: removing its only other member from this address has dropped the group, and its wipe must survive.
    this.#groups.set(name.broker, group);
    this.#byAddress.set(address, member);
    this.#names = undefined;
    this.#report({ kind: 'REGISTERED', ...name, address, role, epoch, topics: member.topics.size });
  }

  #change(member: Member, registration: Registration): void {
    member.change(registration);
    const changed = (registration.topics ?? []).map((topic) => topic.name);
    const removed = registration.removedTopics ?? [];
    if (changed.length + removed.length === 0) return;
    this.#names = undefined;
    this.#report({ kind: 'TOPICS_CHANGED', ...member.name, changed, removed });
  }

  #answer(name: MemberName, known: boolean): RegistrationAnswer {
    const group = this.#groups.get(name.broker);
    const member = group?.members.get(name.brokerId);
    const master = group?.judge((other) => this.#isAlive(other))?.master;
    const refusedClaim = group && this.#refusedClaim(group);
    return {
      known,
      ...(master && { masterAddress: master.said.address, masterEpoch: master.said.epoch }),
      ...(member && { dataVersion: member.dataVersion }),
      ...(refusedClaim && { refusedClaim }),
    };
  }

  #setWriteWiped(broker: string, wiped: boolean): number {
    const group = this.#groups.get(broker);
    const live = group?.judge((member) => this.#isAlive(member));
    if (live === undefined) throw new GantryError('BROKER_NOT_FOUND', `No broker ${broker} is registered here.`);
    if (live.group.writeWiped !== wiped) {
      live.group.writeWiped = wiped;
      this.#report({ kind: 'WRITE_PERMISSION', broker, writePermission: !wiped });
    }
    return live.source.topics.size;
  }

  #dropSilentOf(broker: string): number {
    const members = this.#groups.get(broker)?.members.values() ?? [];
    const silent = [...members].filter((member) => !this.#isAlive(member));
    for (const member of silent) this.#remove(member, 'SILENT');
    return silent.length;
  }

  /** Removes a member and, with its last one, the group. */
  #remove(member: Member, reason: RemovalReason): void {
    const group = this.#groups.get(member.name.broker);
    group?.members.delete(member.name.brokerId);
    if (group?.members.size === 0) this.#groups.delete(member.name.broker);
    this.#forget(member, reason);
  }

  #forget(member: Member, reason: RemovalReason): void {
    const address = member.said.address;
    if (this.#byAddress.get(address) === member) this.#byAddress.delete(address);
    this.#names = undefined;
    this.#report({ kind: 'REMOVED', ...member.name, address, reason });
  }

  #isAlive(member: Member): boolean {
    return !member.isSilent(this.#clock.monotonic(), this.#heartbeatTimeoutMs);
  }

  /** In the order of broker names, so that every NameServer lists alike. */
  #liveGroups(): LiveGroup[] {
    const live = [...this.#groups.values()].map((group) => group.judge((member) => this.#isAlive(member)));
    const alive = live.filter((group) => group !== undefined);
    return alive.sort((a, b) => (a.group.broker < b.group.broker ? -1 : 1));
  }

  #clusterBroker(live: LiveGroup): ClusterBroker {
    const members = live.members.map((member) => ({
      brokerId: member.name.brokerId,
      address: member.said.address,
      role: member.said.role,
      epoch: member.said.epoch,
      lastHeartbeatTimestamp: member.heardTimestamp,
    }));
    return {
      broker: live.group.broker,
      messageIdTag: live.source.said.messageIdTag,
      writePermission: !live.group.writeWiped,
      members,
    };
  }

  #sortedNames(): readonly string[] {
    if (this.#names === undefined) {
      const names = new Set<string>();
      for (const group of this.#groups.values()) {
        for (const member of group.members.values()) for (const name of member.topics.keys()) names.add(name);
      }
      this.#names = [...names].sort();
    }
    return this.#names;
  }
}

/** What the contract cannot say about a registration, since which members it needs depends on its mode. */
function requireComplete(brokerId: number, registration: Registration): void {
  if (!Number.isSafeInteger(brokerId) || brokerId < 1) {
    const detail = 'Member ids are 1 upwards; 0 is the label of the master in a route.';
    throw new GantryError('VALIDATION_FAILED', detail, { errors: [{ parameter: 'brokerId', in: 'path', detail }] });
  }
  if (registration.mode === 'FULL' && registration.topics === undefined) missing('/topics', 'FULL');
  if (registration.mode === 'CHANGES' && registration.baseVersion === undefined) missing('/baseVersion', 'CHANGES');
}

function missing(pointer: string, mode: string): never {
  const detail = `Needed in a registration with mode ${mode}.`;
  throw new GantryError('VALIDATION_FAILED', `${pointer}: ${detail}`, { errors: [{ pointer, detail }] });
}

/**
 * The route of a topic over all groups that have its newest creation. A broker that still has an older one (another id)
 * was away when the topic was created again and contributes nothing.
 */
function assembleRoute(topic: string, groups: readonly LiveGroup[]): TopicRoute | undefined {
  let newest: TopicRegistration | undefined;
  for (const live of groups) {
    const held = live.source.topics.get(topic);
    if (held !== undefined && (newest === undefined || isNewerTopic(held, newest))) newest = held;
  }
  if (newest === undefined) return undefined;
  const { id, version, partitions } = newest;
  // A broker whose queues have left the topic, and that has not heard of it yet, is in no route.
  const holders = new Set(partitions.map(({ broker }) => broker));
  const brokers: RouteBroker[] = [];
  const queues: RouteQueues[] = [];
  for (const live of groups) {
    const held = live.source.topics.get(topic);
    if (held?.id !== id || !holders.has(live.group.broker)) continue;
    brokers.push(routeBroker(live));
    queues.push(routeQueues(live, held));
  }
  return { topic, id, version, partitions, brokers, queues };
}

/** By version; by id when two creations have the same version, so that every NameServer decides alike. */
function isNewerTopic(a: TopicRegistration, b: TopicRegistration): boolean {
  return a.version > b.version || (a.version === b.version && a.id > b.id);
}

/** The index of the first of the sorted `names` that is greater than `name`. */
function firstAfter(names: readonly string[], name: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] ?? '') <= name) low = middle + 1;
    else high = middle;
  }
  return low;
}
