/**
 * What a front needs to serve any call: the brokers it can ask, itself among them if it is one, and where things are.
 * A call that another part of the cluster made is never passed on, so nothing goes round in circles.
 */
import type { Chance } from '../../src/base/chance';
import type { Clock } from '../../src/base/clock';
import type { Fleet } from '../../src/cluster/fleet';
import { Patience } from '../../src/cluster/patience';
import type { BrokerClients } from '../client/brokerClient';
import type { Contract } from '../contract';
import type { Answer, Call, OperationId } from '../operation';
import { handlerOf, LocalPeer, type Here } from './localPeer';
import type { Asking, Peer, PeerAnswer, PeerRequest } from './peer';
import { RemotePeer } from './remotePeer';

export interface FrontParts {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly contract: Contract;
  readonly fleet: Fleet;
  readonly clients: BrokerClients;
  readonly here: Here | undefined;
  /** How it stands with each NameServer. */
  readonly nameservers: () => readonly NameserverInfo[];
}

export interface NameserverInfo {
  readonly address: string;
  readonly reachable: boolean;
  readonly lastRegistrationTimestamp?: number;
}

export class Front {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly contract: Contract;
  readonly fleet: Fleet;
  readonly nameservers: () => readonly NameserverInfo[];
  /** Of everybody who waits for several brokers. */
  readonly patience: Patience;
  readonly #clients: BrokerClients;
  readonly #here: Here | undefined;

  constructor(parts: FrontParts) {
    this.clock = parts.clock;
    this.chance = parts.chance;
    this.contract = parts.contract;
    this.fleet = parts.fleet;
    this.nameservers = parts.nameservers;
    this.patience = new Patience(parts.clock);
    this.#clients = parts.clients;
    this.#here = parts.here;
  }

  /** Name of the broker in this process. */
  get here(): string | undefined {
    return this.#here?.name;
  }

  /** Names of the brokers that live, in order. The one here is among them also before it is registered, and while it drains. */
  async liveBrokers(): Promise<string[]> {
    const names = new Set((await this.fleet.brokers()).map(({ name }) => name));
    if (this.#here) names.add(this.#here.name);
    return [...names].sort();
  }

  /** The broker of that name, for this call. What cannot be reached shows when it is called. */
  peer(broker: string, call: Asking): Peer {
    if (this.#here?.name === broker) return new LocalPeer(this.contract, this.#here, call);
    return new RemotePeer(this.fleet, this.#clients, broker, call.requestId);
  }

  /**
   * Asks a broker, among others, what changes nothing: one that hangs holds up the others' answers for a second at first,
   * then hardly. `waitMs`: more time for what takes longer. Fails as Peer.call does.
   */
  look<Op extends OperationId>(
    call: Asking & { readonly signal: AbortSignal },
    broker: string,
    operationId: Op,
    asked: PeerRequest<Op>,
    waitMs = 0,
  ): Promise<PeerAnswer> {
    const peer = this.peer(broker, call);
    return this.patience.glance(broker, waitMs, call.signal, (own) => peer.call(operationId, asked, own));
  }

  /** The call as it came, answered by that broker. */
  async forward<Op extends OperationId>(call: Call<Op>, broker: string): Promise<Answer> {
    const here = this.#here;
    if (here?.name === broker) return handlerOf(here, call.operation.id)(call as unknown as Call<OperationId>);
    return (await this.ask(call, broker, call.signal)).asAnswer();
  }

  /** The call as it came, asked of that broker. See Peer.call for how it fails. */
  ask<Op extends OperationId>(call: Call<Op>, broker: string, signal: AbortSignal): Promise<PeerAnswer> {
    return this.peer(broker, call).call(call.operation.id as Op, askedOf(call), signal);
  }
}

/** What a call asks, to be asked of a broker: the broker here takes the body as it was read, others the bytes. */
export const askedOf = <Op extends OperationId>(call: Call<Op>): PeerRequest<Op> => ({
  path: call.path,
  query: call.query,
  headers: call.headers,
  body: call.body,
  ...(call.bodyBytes.length === 0 ? {} : { bytes: call.bodyBytes, contentType: call.contentType }),
});
