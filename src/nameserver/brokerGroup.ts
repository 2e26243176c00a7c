/**
 * The members that share a broker name: one master and its slaves, all with the same data. A group lives as long as it
 * has a member; the operator's wipe lives in the group, so heartbeats and re-registrations do not lift it.
 *
 * Who counts as master: a member that says MASTER and has the highest epoch any live member registered. A master of an
 * older epoch was deposed, and a slave that knows a higher epoch is enough to know it.
 */
import type { Member } from './member';
import { compareVersions, type Permission, type RouteBroker, type RouteQueues } from './route';
import type { RefusedClaim, TopicRegistration } from './route';
import { bothAllow } from './permission';

export class BrokerGroup {
  readonly cluster: string;
  readonly broker: string;
  /** By broker id, 1 upwards. */
  readonly members = new Map<number, Member>();
  writeWiped = false;
  /** The last claim that was refused for the sake of a live member, with its monotonic time. */
  refusedClaim: (RefusedClaim & { readonly at: number }) | undefined;

  constructor(cluster: string, broker: string) {
    this.cluster = cluster;
    this.broker = broker;
  }

  /** The group as its live members make it; undefined if none is alive. */
  judge(isAlive: (member: Member) => boolean): LiveGroup | undefined {
    const members = [...this.members.values()].filter(isAlive).sort((a, b) => a.name.brokerId - b.name.brokerId);
    const first = members[0];
    if (first === undefined) return undefined;
    const epoch = Math.max(...members.map((member) => member.said.epoch));
    const master = members.find((member) => member.said.role === 'MASTER' && member.said.epoch === epoch);
    const source = master ?? members.reduce((best, member) => (knowsMore(member, best) ? member : best), first);
    return { group: this, members, epoch, master, source };
  }
}

/** A group at one moment. */
export interface LiveGroup {
  readonly group: BrokerGroup;
  /** In the order of their ids. */
  readonly members: readonly Member[];
  readonly epoch: number;
  readonly master: Member | undefined;
  /** Whose topic table speaks for the group: the master's, else the one of the slave that knows most. */
  readonly source: Member;
}

/** The group as a route lists it. */
export function routeBroker(live: LiveGroup): RouteBroker {
  const addresses: Record<string, string> = {};
  for (const member of live.members) {
    addresses[member === live.master ? '0' : String(member.name.brokerId)] = member.said.address;
  }
  const { cluster, broker } = live.group;
  return { cluster, broker, epoch: live.epoch, addresses, messageIdTag: live.source.said.messageIdTag };
}

/** The queues the group has of a topic, with what is allowed on them now. */
export function routeQueues(live: LiveGroup, topic: TopicRegistration): RouteQueues {
  const writable = live.master !== undefined && !live.group.writeWiped;
  const allowed: Permission = bothAllow(topic.permission, live.source.said.permission);
  return {
    broker: live.group.broker,
    readQueues: topic.readQueues,
    writeQueues: topic.writeQueues,
    permission: writable ? allowed : bothAllow(allowed, 'R'),
  };
}

/** Without a master: the higher epoch, then the newer table; the lower id when they are equal (RocketMQ's prime slave). */
function knowsMore(member: Member, other: Member): boolean {
  const byEpoch = member.said.epoch - other.said.epoch;
  return (byEpoch || compareVersions(member.dataVersion, other.dataVersion)) > 0;
}
