/**
 * What a front needs to serve any call: the brokers it can ask, itself among them if it is one, and where things are.
 * A call that another part of the cluster made is never passed on, so nothing goes round in circles.
 */
import type { Chance } from '../../src/base/chance';
import type { Clock } from '../../src/base/clock';
import { GantryError } from '../../src/base/errors';
import type { Fleet } from '../../src/cluster/fleet';
import { Patience } from '../../src/cluster/patience';
import type { BrokerClients } from '../client/brokerClient';
import type { Contract } from '../contract';
import { type Answer, type Call, type Handlers, type OperationId, type Request } from '../operation';
import { problemOf, STATUS } from '../problem';
import { PeerAnswer, type Peer, type PeerRequest } from './peer';

/** The broker in this process. */
export interface Here {
  readonly name: string;
  readonly handlers: Handlers;
}

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

  isHere(broker: string): boolean {
    return this.#here?.name === broker;
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
    if (here?.name === broker) return handlerOf(here, call.operation.id)(call);
    return (await this.ask(call, broker, call.signal)).asAnswer();
  }

  /** The call as it came, asked of that broker. See Peer.call for how it fails. */
  ask<Op extends OperationId>(call: Call<Op>, broker: string, signal: AbortSignal): Promise<PeerAnswer> {
    return this.peer(broker, call).call(call.operation.id as Op, askedOf(call), signal);
  }
}

/** What of a call stays the same when something else is asked for its sake. */
export type Asking = Pick<Call<OperationId>, 'derive' | 'requestId' | 'instance'>;

/** What a call asks, to be asked of a broker: the broker here takes the body as it was read, others the bytes. */
export const askedOf = <Op extends OperationId>(call: Call<Op>): PeerRequest<Op> => ({
  path: call.path,
  query: call.query,
  headers: call.headers,
  body: call.body,
  ...(call.bodyBytes.length === 0 ? {} : { bytes: call.bodyBytes, contentType: call.contentType }),
});

function handlerOf(here: Here, operationId: string): (call: unknown) => Promise<Answer> | Answer {
  return here.handlers[operationId] as (call: unknown) => Promise<Answer> | Answer;
}

const NO_BYTES = Buffer.alloc(0);

/** Handlers of this process, asked like a broker that is one hop away. */
export class LocalPeer implements Peer {
  readonly name: string;
  readonly #contract: Contract;
  readonly #here: Here;
  readonly #call: Asking;

  constructor(contract: Contract, here: Here, call: Asking) {
    this.name = here.name;
    this.#contract = contract;
    this.#here = here;
    this.#call = call;
  }

  async call<Op extends OperationId>(
    operationId: Op,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    const request = {
      path: asked.path,
      query: asked.query,
      headers: asked.headers ?? {},
      body: asked.body,
      bodyBytes: asked.bytes ?? NO_BYTES,
    } as unknown as Request<Op>;
    const operation = this.#contract.operation(operationId);
    const call = this.#call.derive(operation, request, { signal, contentType: asked.contentType });
    try {
      const answer = await handlerOf(this.#here, operationId)(call);
      return new PeerAnswer(answer.status, lowerCase(answer.headers), textOf(answer));
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      const problem = problemOf(error, call.requestId, call.instance);
      return new PeerAnswer(
        STATUS[error.code],
        { 'content-type': 'application/problem+json' },
        JSON.stringify(problem),
      );
    }
  }
}

const lowerCase = (headers: Readonly<Record<string, string>> = {}): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

function textOf({ body, json, text }: Answer): string {
  if (json !== undefined) return typeof json === 'string' ? json : json();
  return text ?? (body === undefined ? '' : JSON.stringify(body));
}

class RemotePeer implements Peer {
  readonly name: string;
  readonly #fleet: Fleet;
  readonly #clients: BrokerClients;
  readonly #requestId: string;

  constructor(fleet: Fleet, clients: BrokerClients, name: string, requestId: string) {
    this.#fleet = fleet;
    this.#clients = clients;
    this.name = name;
    this.#requestId = requestId;
  }

  async call<Op extends OperationId>(
    operationId: Op,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    const address = await this.#address();
    try {
      return await this.#clients.call(address, operationId, asked, { signal, requestId: this.#requestId });
    } catch (error) {
      if (!signal.aborted) this.#fleet.doubt();
      throw error;
    }
  }

  async #address(): Promise<string> {
    try {
      const { address } = await this.#fleet.broker(this.name);
      if (address !== undefined) return address;
    } catch (error) {
      if (!(error instanceof GantryError) || error.code !== 'BROKER_NOT_FOUND') throw error;
    }
    throw new GantryError(
      'SERVICE_NOT_AVAILABLE',
      `broker ${this.name} is away, and this needs it; nothing was done: start it, and call again`,
      {
        retryAfterMs: 1000,
      },
    );
  }
}
