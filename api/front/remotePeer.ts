/** A broker that is one hop away, wherever the NameServers say that it is. */
import { GantryError } from '../../src/base/errors';
import type { Fleet } from '../../src/cluster/fleet';
import type { BrokerClients } from '../client/brokerClient';
import type { OperationId } from '../operation';
import type { Peer, PeerAnswer, PeerRequest } from './peer';

export class RemotePeer implements Peer {
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
