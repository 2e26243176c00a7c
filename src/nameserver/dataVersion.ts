/**
 * Which state of a broker's topic table is meant. Two states are the same only if all three parts are equal; a broker
 * that restarts, is promoted or changes a topic has another version. RocketMQ's DataVersion, same parts and order.
 */
export interface DataVersion {
  /** The epoch in which the state was made. */
  readonly stateVersion: number;
  /** Wall clock of the last change, milliseconds since 1970. */
  readonly timestamp: number;
  /** Changes since the broker's start. */
  readonly counter: number;
}

/** Negative if `a` is older, positive if newer: stateVersion, then counter, then timestamp (RocketMQ's DataVersion). */
export function compareVersions(a: DataVersion, b: DataVersion): number {
  return a.stateVersion - b.stateVersion || a.counter - b.counter || a.timestamp - b.timestamp;
}

/** True if both name the same state. */
export function sameVersion(a: DataVersion, b: DataVersion): boolean {
  return compareVersions(a, b) === 0;
}
