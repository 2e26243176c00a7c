/**
 * A NameServer over HTTP, as brokers see it. Explicit deadlines come with the caller's signal; nothing is repeated here
 * but a registration that hit a connection which the NameServer had just closed, because that one is idempotent.
 */
import { Agent, errors as undiciErrors, request, type Dispatcher } from 'undici';
import { CODES, GantryError, type Code } from '../../src/base/errors';
import type { NameserverPeer } from '../../src/cluster/nameserverPeer';
import type { ClusterView, Registration, RegistrationAnswer, RoutePage, TopicRoute } from '../../src/nameserver/route';
import { authorization } from '../clusterSecret';
import { listCursor } from '../paging';

export class NameserverClient implements NameserverPeer {
  readonly address: string;
  readonly #agent: Agent;
  readonly #authorization: Record<string, string>;

  /** `address` is `http://host:port`; `secret`: the cluster's, if it has one. */
  constructor(address: string, secret?: string) {
    this.#authorization = authorization(secret);
    this.address = address.replace(/\/+$/, '');
    this.#agent = new Agent({ keepAliveTimeout: 60_000, connections: 4 });
  }

  async register(
    cluster: string,
    broker: string,
    brokerId: number,
    registration: Registration,
    signal: AbortSignal,
  ): Promise<RegistrationAnswer> {
    const path = member(cluster, broker, brokerId);
    try {
      return (await this.#call('PUT', path, signal, registration)) as RegistrationAnswer;
    } catch (error) {
      if (!(error instanceof undiciErrors.SocketError)) throw error;
      return (await this.#call('PUT', path, signal, registration)) as RegistrationAnswer;
    }
  }

  async unregister(
    cluster: string,
    broker: string,
    brokerId: number,
    address: string,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#call('DELETE', `${member(cluster, broker, brokerId)}?address=${encodeURIComponent(address)}`, signal);
  }

  async route(topic: string, signal: AbortSignal): Promise<TopicRoute> {
    return (await this.#call('GET', `/v1/nameserver/routes/${encodeURIComponent(topic)}`, signal)) as TopicRoute;
  }

  async routes(after: string | undefined, limit: number, signal: AbortSignal): Promise<RoutePage> {
    const cursor = after === undefined ? '' : `&cursor=${listCursor(after)}`;
    const page = (await this.#call('GET', `/v1/nameserver/routes?limit=${limit}${cursor}`, signal)) as {
      routes: TopicRoute[];
      cursor?: string;
    };
    const last = page.routes.at(-1);
    return { routes: page.routes, ...(page.cursor !== undefined && last ? { next: last.topic } : {}) };
  }

  async clusterView(signal: AbortSignal): Promise<ClusterView> {
    return (await this.#call('GET', '/v1/nameserver/cluster', signal)) as ClusterView;
  }

  /** Ends its connections; calls under way fail. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #call(method: Dispatcher.HttpMethod, path: string, signal: AbortSignal, body?: unknown): Promise<unknown> {
    const answer = await request(this.address + path, {
      method,
      signal,
      dispatcher: this.#agent,
      headers: { ...this.#authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    if (answer.statusCode < 300) return text === '' ? undefined : (JSON.parse(text) as unknown);
    throw asError(this.address, answer.statusCode, text);
  }
}

const member = (cluster: string, broker: string, brokerId: number): string =>
  `/v1/nameserver/brokers/${encodeURIComponent(cluster)}/${encodeURIComponent(broker)}/${brokerId}`;

/** The NameServer's own refusal, as it was coded; anything else is a fault on the way. */
function asError(address: string, status: number, text: string): Error {
  try {
    const problem = JSON.parse(text) as { code?: string; detail?: string };
    if (problem.code !== undefined && problem.code in CODES)
      return new GantryError(problem.code as Code, problem.detail ?? '');
  } catch {
    // not a problem document: told below
  }
  return new Error(`${address} answered ${status}`);
}
