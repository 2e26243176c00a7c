/**
 * What a front needs to serve any call: the brokers it can ask, itself among them if it is one, and where things are.
 * A call that another part of the cluster made is never passed on, so nothing goes round in circles.
 */
import type { Chance } from '../../src/base/chance';
import type { Clock } from '../../src/base/clock';
import type { Fleet } from '../../src/cluster/fleet';
import { Patience } from '../../src/cluster/patience';
import { isKeyed, type BrokerClients } from '../client/brokerClient';
import { changesSomething, unanswered } from '../client/unanswered';
import type { Contract } from '../contract';
import type { Answer, Call, OperationId } from '../operation';
import { handlerOf, LocalPeer, type Here } from './localPeer';
import type { Asking, Peer, PeerAnswer, PeerRequest } from './peer';
import { RemotePeer, type RemotePeerParts } from './remotePeer';

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

/**
 * Milliseconds that a change may take beyond a plain answer: it waits for the disk. With it a connection has the time to
 * be made or to fail, so that what was never sent is told apart.
 */
const CHANGE_MS = 1500;

export class Front {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly contract: Contract;
  readonly fleet: Fleet;
  readonly nameservers: () => readonly NameserverInfo[];
  /** Of everybody who waits for several brokers. */
  readonly patience: Patience;
  readonly #remote: RemotePeerParts;
  readonly #here: Here | undefined;

  constructor(parts: FrontParts) {
    this.clock = parts.clock;
    this.chance = parts.chance;
    this.contract = parts.contract;
    this.fleet = parts.fleet;
    this.nameservers = parts.nameservers;
    this.patience = new Patience(parts.clock);
    this.#remote = { ...parts, patience: this.patience };
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
    return new RemotePeer(this.#remote, broker, call.requestId);
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
    return this.patience.glance(broker, { waitMs, signal: call.signal }, (own) => peer.call(operationId, asked, own));
  }

  /**
   * Asks a broker, among others, to change something, for as long as it deserves. Rejects with SERVICE_NOT_AVAILABLE when
   * the broker surely did nothing, with OUTCOME_UNKNOWN when it did not answer in time. `waitMs`: more time for what takes
   * longer.
   */
  change<Op extends OperationId>(
    call: Asking & { readonly signal: AbortSignal },
    broker: string,
    operationId: Op,
    asked: PeerRequest<Op>,
    waitMs = 0,
  ): Promise<PeerAnswer> {
    const peer = this.peer(broker, call);
    if (this.here === broker) return peer.call(operationId, asked, call.signal);
    const operation = this.contract.operation(operationId);
    const overdue = () => unanswered({ operation, keyed: isKeyed(asked.headers), broker: `broker ${broker}` });
    const waits = { waitMs: CHANGE_MS + waitMs, signal: call.signal, overdue };
    return this.patience.wait(broker, waits, (own) => peer.call(operationId, asked, own));
  }

  /** The call as it came, answered by that broker. */
  async forward<Op extends OperationId>(call: Call<Op>, broker: string): Promise<Answer> {
    const here = this.#here;
    if (here?.name === broker) return handlerOf(here, call.operation.id)(call as unknown as Call<OperationId>);
    return (await this.ask(call, broker, call.signal)).asAnswer();
  }

  /** The call as it came, asked of that broker. See Peer.call for how it fails. */
  async ask<Op extends OperationId>(call: Call<Op>, broker: string, signal: AbortSignal): Promise<PeerAnswer> {
    const peer = this.peer(broker, call);
    if (!changesSomething(call.operation)) await peer.reach(signal);
    return peer.call(call.operation.id as Op, askedOf(call), signal);
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
