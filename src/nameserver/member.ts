/**
 * One broker process as it registered itself: attributes, its topic table, and when it was last heard. Its table is
 * always exactly the state its `dataVersion` names, because changes are applied only on the state they were made from.
 */
import type { Clock } from '../base/clock';
import { sameVersion, type DataVersion, type Registration, type TopicRegistration } from './route';

export interface MemberName {
  readonly cluster: string;
  readonly broker: string;
  readonly brokerId: number;
}

/** A registration without its topics. */
export type MemberAttributes = Omit<Registration, 'mode' | 'baseVersion' | 'topics' | 'removedTopics'>;

export class Member {
  readonly name: MemberName;
  readonly #topics = new Map<string, TopicRegistration>();
  #said: MemberAttributes;
  #heardAt: number;
  #heardTimestamp: number;
  /** The process with the same folder that this one replaced: should it be heard again, one of the two runs from a copy. */
  predecessor: Member | undefined;
  /** host:port of a process that runs from a copy of this member's folder. */
  copyAddress: string | undefined;

  /** From a FULL registration. */
  constructor(name: MemberName, registration: Registration, clock: Clock) {
    this.name = name;
    this.#said = attributesOf(registration);
    for (const topic of registration.topics ?? []) this.#topics.set(topic.name, topic);
    this.#heardAt = clock.monotonic();
    this.#heardTimestamp = clock.now();
  }

  /** The attributes of the last registration that changed anything. */
  get said(): MemberAttributes {
    return this.#said;
  }

  get dataVersion(): DataVersion {
    return this.#said.dataVersion;
  }

  get topics(): ReadonlyMap<string, TopicRegistration> {
    return this.#topics;
  }

  /** Wall clock, milliseconds. */
  get heardTimestamp(): number {
    return this.#heardTimestamp;
  }

  /** True if CHANGES made from `base` by the process at `address` can be applied here. */
  isAt(address: string, base: DataVersion): boolean {
    return this.#said.address === address && sameVersion(this.#said.dataVersion, base);
  }

  /** True if the registration comes from the very process that is registered here. */
  isProcessOf({ address, epoch, folderId }: Registration): boolean {
    const said = this.#said;
    return said.address === address && said.epoch === epoch && said.folderId === folderId;
  }

  /** True if a HEARTBEAT says nothing that is not known: same process, same table, same attributes. */
  agreesWith(heartbeat: Registration): boolean {
    const { role, epoch, permission } = this.#said;
    const sameAttributes = heartbeat.role === role && heartbeat.epoch === epoch && heartbeat.permission === permission;
    return sameAttributes && this.isAt(heartbeat.address, heartbeat.dataVersion);
  }

  /** Applies CHANGES; the caller has checked `isAt`. */
  change(registration: Registration): void {
    this.#said = attributesOf(registration);
    for (const name of registration.removedTopics ?? []) this.#topics.delete(name);
    for (const topic of registration.topics ?? []) this.#topics.set(topic.name, topic);
  }

  heard(clock: Clock): void {
    this.#heardAt = clock.monotonic();
    this.#heardTimestamp = clock.now();
  }

  /** Silent for longer than it said it might be (RocketMQ: heartbeatTimeoutMillis, default 120 s). */
  isSilent(monotonicNow: number, defaultTimeoutMs: number): boolean {
    return monotonicNow - this.#heardAt > (this.#said.heartbeatTimeoutMs ?? defaultTimeoutMs);
  }
}

/**
 * True if `claim` comes from an older life of a member than `holder`: epoch, then stateVersion (RocketMQ's rule), then
 * the time of the last change, so that two brokers configured alike do not take the place from each other for ever.
 */
export function isOlderLife(claim: MemberAttributes, holder: MemberAttributes): boolean {
  const byEpoch = claim.epoch - holder.epoch || claim.dataVersion.stateVersion - holder.dataVersion.stateVersion;
  return (byEpoch || claim.dataVersion.timestamp - holder.dataVersion.timestamp) < 0;
}

function attributesOf(registration: Registration): MemberAttributes {
  const { mode: _, baseVersion: __, topics: ___, removedTopics: ____, ...attributes } = registration;
  return attributes;
}
