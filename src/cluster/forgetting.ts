/** Takes a broker that is gone for good out of the NameServers, which would wait for its heartbeats for a while. */
import type { Clock } from '../base/clock';
import { failureFields, type Log } from '../base/log';
import { withDeadline } from './deadline';
import { hostPortOf, type NameserverPeer } from './nameserverPeer';

/** Longest wait for one NameServer; one that cannot be asked drops the broker by itself. */
const FORGET_MS = 2000;
const NEVER = new AbortController().signal;

export interface ForgettingParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly nameservers: readonly NameserverPeer[];
}

/** Asks all NameServers at once. Never rejects because of one of them. */
export async function forgetEverywhere({ clock, log, nameservers }: ForgettingParts, broker: string): Promise<void> {
  const forgetAt = async (peer: NameserverPeer) => {
    try {
      await withDeadline(clock, FORGET_MS, NEVER, (signal) => unregisterAll(peer, broker, signal));
    } catch (error) {
      log.info(
        { nameserver: hostPortOf(peer), broker, ...failureFields(error) },
        'a removed broker is not unregistered here',
      );
    }
  };
  await Promise.all(nameservers.map(forgetAt));
}

async function unregisterAll(peer: NameserverPeer, name: string, signal: AbortSignal): Promise<void> {
  const { clusters } = await peer.clusterView(signal);
  for (const { cluster, brokers } of clusters)
    for (const { broker, members } of brokers)
      if (broker === name)
        for (const { brokerId, address } of members) await peer.unregister(cluster, broker, brokerId, address, signal);
}
