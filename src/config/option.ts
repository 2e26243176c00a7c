/**
 * Every option, described once. Flags, environment names, YAML keys, validation, help, the printed configuration and the
 * types of the configurations all come from this table. The key is the YAML key; `portOf` would be `--port-of` and
 * `GANTRY_PORT_OF`.
 */
import { LIMITS } from '../base/limits';
import * as kinds from './kinds';
import type { Kind } from './kinds';

/** What one process is. */
export const ROLES = ['standalone', 'nameserver', 'broker', 'gateway'] as const;
export type Role = (typeof ROLES)[number];

/** The chapters of the help and of the printed configuration, in their order. */
export const GROUPS = [
  'Network',
  'Names',
  'Storage',
  'Retention',
  'NameServer and registration',
  'Bounds',
  'Process',
] as const;

interface Description<R extends Role> {
  readonly group: (typeof GROUPS)[number];
  readonly roles: readonly R[];
  /** What it does, one sentence. */
  readonly help: string;
  /** Why it exists or why the default is what it is. */
  readonly reason: string;
}

/** An option whose value is a T (`undefined` among them: it may be left unset) for the roles R. */
export interface Option<T = unknown, R extends Role = Role> extends Description<R> {
  readonly kind: Kind<T>;
  readonly default: T;
  /** Defaults of single roles. */
  readonly defaultFor: { readonly [role in Role]?: T };
  /** What happens when it is unset, for options that may be. */
  readonly unset: string;
  /** The same for single roles, where the value then comes from the machine. */
  readonly unsetFor: { readonly [role in Role]?: string };
}

type WithDefault<T, R extends Role> = Description<R> &
  Pick<Option<T, R>, 'kind'> & {
    readonly default: NoInfer<T>;
    readonly defaultFor?: { readonly [role in Role]?: NoInfer<T> };
    readonly unsetFor?: Option['unsetFor'];
  };

function option<T, const R extends Role>(description: WithDefault<T, R>): Option<T, R> {
  return { defaultFor: {}, unset: '', unsetFor: {}, ...description };
}

function optional<T, const R extends Role>(
  description: Description<R> & { readonly kind: Kind<T>; readonly unset: string },
): Option<T | undefined, R> {
  return { default: undefined, defaultFor: {}, unsetFor: {}, ...description };
}

const BROKERS = ['standalone', 'broker'] as const;
const FRONTS = ['standalone', 'broker', 'gateway'] as const;
const NAMESERVERS = ['standalone', 'nameserver'] as const;
const DAY_MS = 24 * 60 * 60_000;
const MIB = 1024 * 1024;

export const OPTIONS = {
  host: option({
    group: 'Network',
    roles: ROLES,
    kind: kinds.host,
    default: '127.0.0.1',
    help: 'Address to listen on.',
    reason:
      'Nothing is authenticated, so only this machine is let in unless you say otherwise (0.0.0.0 or :: for all).',
  }),
  port: option({
    group: 'Network',
    roles: ROLES,
    kind: kinds.port,
    default: 8080,
    defaultFor: { nameserver: 9876 },
    help: 'Port of the HTTP front, or of the NameServer in that role; 0 takes any free one.',
    reason: 'The ports people know: 8080 for HTTP, 9876 for the NameServer of RocketMQ.',
  }),
  nameserverPort: option({
    group: 'Network',
    roles: ['standalone'],
    kind: kinds.port,
    default: 9876,
    help: 'Port of the NameServer in the same process; 0 takes any free one.',
    reason: 'Other brokers can register with it, too.',
  }),
  advertise: optional({
    group: 'Network',
    roles: FRONTS,
    kind: kinds.hostPort,
    unset: 'host:port, or worked out at start when the host is 0.0.0.0 or :: or the port is 0',
    help: 'Address that others call; a broker registers it with the NameServers.',
    reason: 'Inside a container or behind NAT, the address to listen on is not the one to call.',
  }),
  corsOrigins: option({
    group: 'Network',
    roles: ROLES,
    kind: kinds.list(kinds.origin, 0),
    default: [],
    help: 'Web origins, besides its own, whose pages may call this process.',
    reason: 'Any page you visit could call a broker on your machine: other origins get 403 unless they are named here.',
  }),
  allowedHosts: option({
    group: 'Network',
    roles: ROLES,
    kind: kinds.list(kinds.hostPattern, 0),
    default: [],
    help: 'Names that browsers, and clients of a loopback address, may call this process by, besides addresses, localhost and the advertised name; and .example.org means all below, * any.',
    reason:
      'A page can make a name of its own lead to this machine, and is then at home here: other names get 421 unless they are named here.',
  }),

  name: option({
    group: 'Names',
    roles: BROKERS,
    kind: kinds.resourceName,
    default: 'broker-a',
    unsetFor: { broker: 'the host name' },
    help: "Name of the broker's group: one name for a master and its slaves.",
    reason:
      'Routes, queues and consumers name the broker by it, so it outlives addresses. Two brokers of a cluster must not share one, so several processes on one host need names of their own.',
  }),
  brokerId: option({
    group: 'Names',
    roles: BROKERS,
    kind: kinds.integer(1, 1000),
    default: 1,
    help: 'Number of this member in its group, for ever.',
    reason: 'Id 0 is no member: routes give it to whoever is the master.',
  }),
  cluster: option({
    group: 'Names',
    roles: BROKERS,
    kind: kinds.resourceName,
    default: 'DefaultCluster',
    help: 'Cluster the broker registers in.',
    reason: "RocketMQ's default name.",
  }),

  data: option({
    group: 'Storage',
    roles: BROKERS,
    kind: kinds.folder,
    default: './data',
    help: 'Folder of the journal and the tables.',
    reason: 'One process per folder: a second one is refused.',
  }),
  flush: option({
    group: 'Storage',
    roles: BROKERS,
    kind: kinds.oneOf('sync', 'async'),
    default: 'sync',
    help: 'sync: a send is answered when the disk has it. async: it is answered earlier, and a power cut or a crash of the machine loses what was answered since the last sync, up to --flush-interval-ms and the time of one sync.',
    reason: 'Many sends share one sync, so sync costs little behind HTTP.',
  }),
  flushIntervalMs: option({
    group: 'Storage',
    roles: BROKERS,
    kind: kinds.milliseconds(1, 60_000),
    default: 200,
    help: 'Time between two syncs with --flush async; no effect otherwise.',
    reason: 'It is the loss window you choose.',
  }),
  acceptDataLoss: optional({
    group: 'Storage',
    roles: BROKERS,
    kind: kinds.integer(0, Number.MAX_SAFE_INTEGER),
    unset: 'refuses to start on lost data',
    help: 'Start although acknowledged data is lost, at exactly the journal index that the refusal to start named.',
    reason: 'Loss is accepted once, by someone who saw it: the index keeps the option from accepting the next loss.',
  }),

  retentionMs: option({
    group: 'Retention',
    roles: BROKERS,
    kind: kinds.milliseconds(1, 36_500 * DAY_MS),
    default: 72 * 60 * 60_000,
    help: 'Age at which messages are trimmed, consumed or not.',
    reason: "72 hours, RocketMQ's fileReservedTime.",
  }),
  retentionCheckMs: option({
    group: 'Retention',
    roles: BROKERS,
    kind: kinds.milliseconds(10, DAY_MS),
    default: 10_000,
    help: 'Time between two looks at ages and at the disk.',
    reason: "RocketMQ's cleanResourceInterval.",
  }),
  trustClock: option({
    group: 'Retention',
    roles: BROKERS,
    kind: kinds.oneOf('no', 'yes'),
    default: 'no',
    help: 'yes: the wall clock is right at this start, however far it is ahead of the newest stored command. no: beyond an hour nothing is deleted for its age by it before it has run steadily for a day.',
    reason: 'A clock that was set wrong would delete everything at once. Give it for one start, after a long downtime.',
  }),
  diskForceTrimRatio: option({
    group: 'Retention',
    roles: BROKERS,
    kind: kinds.ratio(0.01, 0.99),
    default: 0.85,
    help: 'Share of the disk in use above which the oldest messages are trimmed before their age, if the journal is large enough for that to help.',
    reason:
      "RocketMQ's diskSpaceCleanForciblyRatio. When others fill the disk, trimming would lose messages and free nothing.",
  }),
  diskRefuseRatio: option({
    group: 'Retention',
    roles: BROKERS,
    kind: kinds.ratio(0.01, 0.99),
    default: 0.9,
    help: 'Share of the disk in use above which sends are refused (DISK_FULL).',
    reason: "RocketMQ's diskSpaceWarningLevelRatio. Consuming and trimming need room to write, too.",
  }),

  nameservers: option({
    group: 'NameServer and registration',
    roles: ['broker', 'gateway'],
    kind: kinds.list(kinds.serverUrl, 1),
    default: ['http://127.0.0.1:9876'],
    help: 'NameServers. A broker registers with all of them; every front asks any of them where things are.',
    reason: 'NameServers know nothing of each other, so a broker must know each.',
  }),
  heartbeatMs: option({
    group: 'NameServer and registration',
    roles: BROKERS,
    kind: kinds.milliseconds(10, DAY_MS),
    default: 30_000,
    help: 'Time between two heartbeats to every NameServer; changes are told at once.',
    reason: "RocketMQ's registerNameServerPeriod.",
  }),
  nameserverScanMs: option({
    group: 'NameServer and registration',
    roles: NAMESERVERS,
    kind: kinds.milliseconds(10, DAY_MS),
    default: 10_000,
    help: 'Time between two scans for brokers that fell silent.',
    reason: 'Liveness is judged when routes are read; the scan only frees memory and logs.',
  }),
  brokerExpiryMs: option({
    group: 'NameServer and registration',
    roles: NAMESERVERS,
    kind: kinds.milliseconds(10, DAY_MS),
    default: 120_000,
    help: 'Silence after which a broker is dropped; longer than --heartbeat-ms of every broker, better more than twice it.',
    reason: 'Four heartbeats, as in RocketMQ: one lost heartbeat must not take a broker out of the routes.',
  }),
  nameserverStartingMs: option({
    group: 'NameServer and registration',
    roles: NAMESERVERS,
    kind: kinds.milliseconds(0, DAY_MS),
    default: 35_000,
    help: 'Time after start in which unknown topics are answered 503 STARTING, not 404; in a standalone it ends as soon as its own broker has registered.',
    reason: 'One heartbeat and a little: until then not every broker has had its turn to register.',
  }),

  defaultQueues: option({
    group: 'Bounds',
    roles: BROKERS,
    kind: kinds.integer(1, LIMITS.queuesPerTopic, 'queues'),
    default: 8,
    help: 'Read and write queues of a new topic on each broker when its creator names no number.',
    reason: "RocketMQ's defaultTopicQueueNums; it bounds how many consumers of a group have work.",
  }),
  maxParkedPolls: option({
    group: 'Bounds',
    roles: BROKERS,
    kind: kinds.integer(1, 1_000_000, 'polls'),
    default: LIMITS.parkedPolls,
    help: 'Polls that may wait at once; more are answered 429 with Retry-After.',
    reason: 'Each holds a connection and a few objects.',
  }),
  maxConnections: option({
    group: 'Bounds',
    roles: ROLES,
    kind: kinds.integer(1, 1_000_000, 'connections'),
    default: LIMITS.connections,
    help: 'Open connections of one port; more are closed at once.',
    reason: 'Each costs a file descriptor (see ulimit -n) and about 20 KiB.',
  }),
  routeRefreshMs: option({
    group: 'NameServer and registration',
    roles: FRONTS,
    kind: kinds.milliseconds(10, DAY_MS),
    default: 30_000,
    help: 'How long a front believes what NameServers said of brokers and routes; what turns out wrong is asked at once.',
    reason: "RocketMQ's pollNameServerInterval. So long may it take until a broker that came back is sent to again.",
  }),
  sendBackoff: option({
    group: 'Bounds',
    roles: FRONTS,
    kind: kinds.list(kinds.latencyStep, 0),
    default: ['550:2000', '1800:5000', '3000:6000', '5000:10000', '15000:30000'],
    help: 'How long a broker that was slow to take a send is avoided for the next ones, as latency:time; a failure counts as 10000 ms.',
    reason: "RocketMQ 5's numbers. An avoided broker is still used when no other takes the message.",
  }),
  tailBytes: option({
    group: 'Bounds',
    roles: BROKERS,
    kind: kinds.bytes(MIB, 64 * 1024 * MIB),
    default: LIMITS.tailBytes,
    help: 'Memory for recent messages; consumers that keep up are served from it.',
    reason: 'They cause no disk read, which would slow the writer.',
  }),

  kafkaDialect: option({
    group: 'Network',
    roles: FRONTS,
    kind: kinds.kafkaDialect,
    default: 'confluent',
    help: 'How the Kafka REST v2 API answers where the servers of it differ: confluent, karapace, strimzi or redpanda, and single switches (commitOffset=next, say) after commas.',
    reason: "A client that was written for one of them works unchanged. Confluent's is the documented one.",
  }),
  clusterSecret: optional({
    group: 'Network',
    roles: ROLES,
    kind: kinds.secret,
    unset: 'whoever reaches a port is trusted',
    help: 'What the parts of the cluster know: without it nobody registers a broker. The same for all of them.',
    reason:
      'A stranger who registers a broker is sent the messages of others. Better in the environment or the file than in a flag.',
  }),
  webhookNetworks: option({
    group: 'Network',
    roles: BROKERS,
    kind: kinds.oneOf('public', 'any'),
    default: 'public',
    help: 'Where the webhooks of producer groups may lead: public addresses, or any.',
    reason: 'Whoever may set a webhook could otherwise reach what only the broker reaches.',
  }),
  drainMs: option({
    group: 'Process',
    roles: ROLES,
    kind: kinds.milliseconds(0, 10 * 60_000),
    default: 5000,
    help: 'Time from SIGTERM or SIGINT, when /readyz turns 503 and NameServers drop the broker, until new requests are refused; a second signal ends it.',
    reason: 'Load balancers and fronts need that long to look away.',
  }),
  logLevel: option({
    group: 'Process',
    roles: ROLES,
    kind: kinds.oneOf('fatal', 'error', 'warn', 'info', 'debug', 'silent'),
    default: 'info',
    help: 'Least severe lines to log, as JSON on standard error.',
    reason: 'info has one line per change of state and none per message.',
  }),
};

/** The YAML key of an option, its one name in the code. */
export type Key = keyof typeof OPTIONS;

type ValueOf<K extends Key> = (typeof OPTIONS)[K] extends Option<infer T> ? T : never;
type RolesOf<K extends Key> = (typeof OPTIONS)[K]['roles'][number];

/** The values of all options that apply to the role, or to each of the roles, R. */
export type OptionsOf<R extends Role> = { readonly [K in Key as [R] extends [RolesOf<K>] ? K : never]: ValueOf<K> };

/** Values by key, of whichever options have one. */
export type Values = { readonly [K in Key]?: ValueOf<K> };

/** All keys, in the table's order. */
export const KEYS = Object.keys(OPTIONS) as readonly Key[];

/** The description of one option, its type of value forgotten. */
export function optionOf(key: Key): Option {
  return OPTIONS[key];
}

export function isKey(text: string): text is Key {
  return Object.hasOwn(OPTIONS, text);
}

export function appliesTo(key: Key, role: Role): boolean {
  return optionOf(key).roles.includes(role);
}

/** Value in a process of this role when the option is not set, in words; empty where that is its default. */
export function unsetOf(key: Key, role: Role | undefined): string {
  const { unset, unsetFor } = optionOf(key);
  return (role && unsetFor[role]) ?? unset;
}

/** What the option is in a process of this role when nobody sets it. */
export function defaultOf(key: Key, role: Role): unknown {
  const { defaultFor, default: common } = optionOf(key);
  return defaultFor[role] ?? common;
}

/** `--nameserver-port` for `nameserverPort`. */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `GANTRY_NAMESERVER_PORT` for `nameserverPort`. */
export function environmentNameOf(key: string): string {
  return `GANTRY_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}
