/** Metrics of the other parts of the cluster, as a front knows them. */
import { gauge, single, type Registry } from '../base/metrics';
import type { Fleet } from './fleet';

export interface MeteredCluster {
  readonly fleet: Pick<Fleet, 'standing'>;
  readonly nameservers: () => readonly { readonly address: string; readonly reachable: boolean }[];
}

export function meterCluster(registry: Registry, { fleet, nameservers }: MeteredCluster): void {
  meterBrokers(registry, () => fleet.standing());
  gauge(registry, {
    name: 'gantry_nameserver_reachable',
    help: '1 if the NameServer answered when it was asked last, else 0',
    labels: ['nameserver'],
    read: () =>
      nameservers().map(({ address, reachable }) => ({ labels: { nameserver: address }, value: reachable ? 1 : 0 })),
  });
}

/** Of a front or a NameServer. */
export function meterBrokers(
  registry: Registry,
  standing: () => { readonly live: readonly string[]; readonly missing: readonly string[] },
): void {
  gauge(registry, {
    name: 'gantry_live_brokers',
    help: 'Brokers that are registered and have a master',
    read: () => single(standing().live.length),
  });
  gauge(registry, {
    name: 'gantry_missing_brokers',
    help: 'Brokers that were registered within the last day and are not any more',
    read: () => single(standing().missing.length),
  });
}
