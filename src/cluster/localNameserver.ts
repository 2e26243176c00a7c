/** A NameServer in the same process, for standalone: the peer's calls without a network between. */
import type { Nameserver } from '../nameserver/nameserver';
import type { ClusterView, Registration, RegistrationAnswer, RoutePage, TopicRoute } from '../nameserver/route';
import type { NameserverPeer } from './nameserverPeer';

export class LocalNameserver implements NameserverPeer {
  readonly #address: () => string;
  readonly #nameserver: Nameserver;

  /** `address`: asked for when it is needed, since the port may be known only later. */
  constructor(address: () => string, nameserver: Nameserver) {
    this.#address = address;
    this.#nameserver = nameserver;
  }

  get address(): string {
    return this.#address();
  }

  async register(
    cluster: string,
    broker: string,
    brokerId: number,
    registration: Registration,
  ): Promise<RegistrationAnswer> {
    return this.#nameserver.register(cluster, broker, brokerId, registration);
  }

  async unregister(cluster: string, broker: string, brokerId: number, address: string): Promise<void> {
    this.#nameserver.unregister(cluster, broker, brokerId, address);
  }

  async route(topic: string): Promise<TopicRoute> {
    return this.#nameserver.route(topic);
  }

  async routes(after: string | undefined, limit: number): Promise<RoutePage> {
    return this.#nameserver.routes(after, limit);
  }

  async clusterView(): Promise<ClusterView> {
    return this.#nameserver.clusterView();
  }
}
