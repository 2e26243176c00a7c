/**
 * What brokers tell a NameServer and what it tells others: plain data, the shapes of the NameServer operations of the
 * contract. A route is always derived from live registrations; nobody writes one.
 */
import type { DataVersion } from './dataVersion';
import type { Permission } from './permission';

export { compareVersions, sameVersion, type DataVersion } from './dataVersion';
export type { Permission } from './permission';

export type TopicType = 'NORMAL' | 'FIFO' | 'DELAY' | 'TRANSACTION' | 'MIXED';
export type Role = 'MASTER' | 'SLAVE';

/** A queue of a topic, as its list of partitions names it. */
export interface Partition {
  readonly broker: string;
  readonly queueId: number;
}

/** One topic as one broker holds it. Counts are this broker's. */
export interface TopicRegistration {
  readonly name: string;
  /** One per creation: a topic that was deleted and created again has another. */
  readonly id: string;
  /** Rises with every change of the topic and goes on rising when it is created again. */
  readonly version: number;
  readonly type: TopicType;
  readonly readQueues: number;
  readonly writeQueues: number;
  readonly permission: Permission;
  /** The queues of the whole topic on all brokers, in the order in which they were added. */
  readonly partitions: readonly Partition[];
}

/**
 * FULL carries all topics and replaces what was registered. CHANGES carries what changed since `baseVersion`. HEARTBEAT
 * says that nothing did. The member's own attributes are in all three.
 */
export type RegistrationMode = 'FULL' | 'CHANGES' | 'HEARTBEAT';

/** The request of registerBroker. The member it is about is named beside it: cluster, broker, brokerId. */
export interface Registration {
  readonly mode: RegistrationMode;
  /** host:port of the member's front, as others reach it. */
  readonly address: string;
  readonly role: Role;
  /** The highest epoch the member knows; a master's own. */
  readonly epoch: number;
  /** The broker group's part of an offsetMessageId (api.md, messageId layouts). */
  readonly messageIdTag: string;
  /** Narrows the permission of every topic on this broker. */
  readonly permission: Permission;
  /** Identity of the data folder, the same on all members of a group; absent from brokers that do not know it yet. */
  readonly folderId?: string;
  /** The last index of the journal when this was said; absent from brokers that do not say it yet. */
  readonly journalEnd?: number;
  /** Milliseconds of silence after which the member is taken for gone; the NameServer's default if absent. */
  readonly heartbeatTimeoutMs?: number;
  /** The state of the member's topic table once this registration is applied. */
  readonly dataVersion: DataVersion;
  /** CHANGES: the state these changes are made from. */
  readonly baseVersion?: DataVersion;
  /** FULL: all topics. CHANGES: the new and changed ones. */
  readonly topics?: readonly TopicRegistration[];
  /** CHANGES: names of topics that are gone. */
  readonly removedTopics?: readonly string[];
}

export interface RegistrationAnswer {
  /** False: nothing was changed, the NameServer needs a FULL registration. */
  readonly known: boolean;
  /** The group's master, by which slaves find it (RocketMQ's masterAddr); absent when none is registered. */
  readonly masterAddress?: string;
  readonly masterEpoch?: number;
  /** What the NameServer holds of this member now; absent if nothing. */
  readonly dataVersion?: DataVersion;
  /** Another process that claimed the group's name lately and was refused because this one lives. */
  readonly refusedClaim?: RefusedClaim;
}

export interface RefusedClaim {
  /** host:port that it wanted to be registered with. */
  readonly address: string;
  /** Wall clock of its last attempt, milliseconds since 1970. */
  readonly timestamp: number;
}

/** A broker group in a route. */
export interface RouteBroker {
  readonly cluster: string;
  readonly broker: string;
  /** The highest epoch its live members registered. */
  readonly epoch: number;
  /** By broker id: "0" is the master's label, every other member has its own id, "1" upwards. No "0": no master. */
  readonly addresses: Readonly<Record<string, string>>;
  readonly messageIdTag: string;
}

/** The queues of one topic on one broker group. */
export interface RouteQueues {
  readonly broker: string;
  readonly readQueues: number;
  readonly writeQueues: number;
  /** What is allowed now: topic ∧ broker ∧ not wiped, and no writing without a master. */
  readonly permission: Permission;
}

/** Where a topic can be reached now. `partitions` also names brokers that are away, `brokers` and `queues` do not. */
export interface TopicRoute {
  readonly topic: string;
  readonly id: string;
  readonly version: number;
  readonly partitions: readonly Partition[];
  readonly brokers: readonly RouteBroker[];
  readonly queues: readonly RouteQueues[];
}

/** A part of all routes, in the order of topic names. */
export interface RoutePage {
  readonly routes: readonly TopicRoute[];
  /** The name to go on after; absent at the end. */
  readonly next?: string;
}

export interface ClusterMember {
  /** The member's own id, 1 upwards, whatever its role. */
  readonly brokerId: number;
  readonly address: string;
  /** As the member says; with two masters the higher epoch counts. */
  readonly role: Role;
  readonly epoch: number;
  /** Wall clock of this NameServer, milliseconds since 1970. */
  readonly lastHeartbeatTimestamp: number;
}

export interface ClusterBroker {
  readonly broker: string;
  /** The group's part of the ids of its messages. */
  readonly messageIdTag: string;
  /** False while an operator has taken the broker's write permission at this NameServer. */
  readonly writePermission: boolean;
  readonly members: readonly ClusterMember[];
}

/** How far a data folder had come when it was heard of last. */
export interface FolderSeen {
  readonly folderId: string;
  readonly epoch: number;
  readonly journalEnd: number;
}

/** Who is alive, by name. */
export interface ClusterView {
  /** False while this NameServer has just started, and not every broker has had its turn to register. */
  readonly started: boolean;
  readonly clusters: readonly { readonly cluster: string; readonly brokers: readonly ClusterBroker[] }[];
  /** Data folders that registered since this NameServer started, living or not; absent from NameServers that do not say it yet. */
  readonly folders?: readonly FolderSeen[];
}
