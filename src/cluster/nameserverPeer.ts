/**
 * One NameServer as a broker or a front sees it. The seam is owned here; it is implemented over HTTP by the client and
 * in the same process by LocalNameserver.
 *
 * Every call may fail with anything the way to the NameServer can do. A GantryError with a code of the operation is the
 * NameServer's own answer. A call ends soon after `signal` aborts.
 */
import type { ClusterView, Registration, RegistrationAnswer, RoutePage, TopicRoute } from '../nameserver/route';

export interface NameserverPeer {
  /** How the NameServer is named in configuration and status. */
  readonly address: string;

  /** registerBroker. Throws REGISTRATION_CONFLICT. */
  register(
    cluster: string,
    broker: string,
    brokerId: number,
    registration: Registration,
    signal: AbortSignal,
  ): Promise<RegistrationAnswer>;

  /** unregisterBroker, only if the member is registered from `address`. Throws BROKER_NOT_FOUND. */
  unregister(cluster: string, broker: string, brokerId: number, address: string, signal: AbortSignal): Promise<void>;

  /** getNameserverRoute. Throws TOPIC_NOT_FOUND, or STARTING while the NameServer cannot know yet. */
  route(topic: string, signal: AbortSignal): Promise<TopicRoute>;

  /** listNameserverRoutes: at most `limit` routes after the name `after`, from the start if it is undefined. */
  routes(after: string | undefined, limit: number, signal: AbortSignal): Promise<RoutePage>;

  /** getNameserverCluster. */
  clusterView(signal: AbortSignal): Promise<ClusterView>;
}

/** Host and port of a NameServer, as log lines name it: a URL inside of JSON cannot be copied by a double click. */
export const hostPortOf = ({ address }: NameserverPeer): string => address.replace(/^https?:\/\//, '');
