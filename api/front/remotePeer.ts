/**
 * A broker that is one hop away, wherever the NameServers say that it is. One that let a call wait in vain is sent no
 * change before it has answered a probe: the call fails soon, and nothing was done.
 */
import type { Clock } from '../../src/base/clock';
import { DeadlineOver, GantryError } from '../../src/base/errors';
import type { Fleet } from '../../src/cluster/fleet';
import type { Patience } from '../../src/cluster/patience';
import type { BrokerClients } from '../client/brokerClient';
import { changesSomething } from '../client/unanswered';
import type { Contract } from '../contract';
import type { OperationId } from '../operation';
import type { Peer, PeerAnswer, PeerRequest } from './peer';

/** A failure that took so many milliseconds is silence: the next caller is not to wait as long. */
const SILENCE_MS = 1000;

export interface RemotePeerParts {
  readonly clock: Clock;
  readonly contract: Contract;
  readonly fleet: Fleet;
  readonly clients: BrokerClients;
  readonly patience: Patience;
}

export class RemotePeer implements Peer {
  readonly name: string;
  readonly #parts: RemotePeerParts;
  readonly #requestId: string;

  constructor(parts: RemotePeerParts, name: string, requestId: string) {
    this.#parts = parts;
    this.name = name;
    this.#requestId = requestId;
  }

  async call<Op extends OperationId>(
    operationId: Op,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    const { contract, patience } = this.#parts;
    const address = await this.#address();
    const send = () => this.#send(address, operationId, asked, signal);
    if (!changesSomething(contract.operation(operationId))) return send();
    return patience.send(this.name, signal, this.#probeAt(address), async () => {
      const answer = await send();
      patience.heard(this.name);
      return answer;
    });
  }

  async reach(signal: AbortSignal): Promise<void> {
    const { patience } = this.#parts;
    if (patience.isSilent(this.name)) await patience.reach(this.name, signal, this.#probeAt(await this.#address()));
  }

  #probeAt(address: string) {
    const question = { path: {} as never, query: {} as never };
    return (signal: AbortSignal) => this.#parts.clients.call(address, 'livez', question, { signal });
  }

  async #send<Op extends OperationId>(
    address: string,
    operationId: Op,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    const { clock, clients, fleet, patience } = this.#parts;
    const started = clock.monotonic();
    try {
      return await clients.call(address, operationId, asked, { signal, requestId: this.#requestId });
    } catch (error) {
      const byClient = signal.aborted && !(signal.reason instanceof DeadlineOver);
      if (!byClient && clock.monotonic() - started >= SILENCE_MS) patience.unheard(this.name);
      if (!signal.aborted) fleet.doubt();
      throw error;
    }
  }

  async #address(): Promise<string> {
    try {
      const { address } = await this.#parts.fleet.broker(this.name);
      if (address !== undefined) return address;
    } catch (error) {
      if (!(error instanceof GantryError) || error.code !== 'BROKER_NOT_FOUND') throw error;
    }
    throw new GantryError(
      'SERVICE_NOT_AVAILABLE',
      `broker ${this.name} is away, and this needs it; nothing was done there: start it, and call again`,
      { retryAfterMs: 1000 },
    );
  }
}
