/**
 * An order of brokers for a key that every process finds by itself (rendezvous, or highest random weight, hashing): a
 * broker that is added takes over its share of the keys, and no key moves between the others.
 */
import { createHash } from 'node:crypto';

/**
 * All of `brokers`, each once, in the order of their weights for the key; the order in which they are given does not
 * matter. Weights never change: keys that were sent before an update are still at home.
 */
export function rendezvous(key: string, brokers: readonly string[]): string[] {
  const weighed = [...new Set(brokers)].map((broker) => ({ broker, weight: weightOf(key, broker) }));
  weighed.sort((a, b) => b.weight.compare(a.weight) || (a.broker < b.broker ? -1 : 1));
  return weighed.map(({ broker }) => broker);
}

/** Neither keys nor names contain the separator. */
const weightOf = (key: string, broker: string): Buffer =>
  createHash('sha256').update(`${key}\0${broker}`).digest().subarray(0, 8);
