/** What brokers tell each other about topics and groups, over HTTP. */
import { GantryError } from '../../src/base/errors';
import type { Definition } from '../../src/broker/definition';
import type { Holding } from '../../src/broker/holdings';
import type { DefinitionAnswer, DefinitionPeers, DefinitionQuestion } from '../../src/cluster/definitionPeers';
import type { Fleet } from '../../src/cluster/fleet';
import { PeerAnswer, type PeerRequest } from '../front/peer';
import type { OperationId } from '../operation';
import type { BrokerClients } from './brokerClient';

/** Definitions of one page. */
const PAGE = 1000;

export class DefinitionClient implements DefinitionPeers {
  readonly #fleet: Fleet;
  readonly #clients: BrokerClients;

  constructor(fleet: Fleet, clients: BrokerClients) {
    this.#fleet = fleet;
    this.#clients = clients;
  }

  async install(
    broker: string,
    definitions: readonly Definition[],
    signal: AbortSignal,
  ): Promise<readonly (GantryError | undefined)[]> {
    const body = { definitions: definitions.map(onWire) };
    const answer = await this.#call(broker, 'installDefinitions', { path: {}, query: {}, body }, signal);
    const { results } = answer.json<{ results?: readonly { readonly error?: object }[] }>();
    if (!results) throw answer.failure();
    return results.map(({ error }) => error && new PeerAnswer(0, {}, JSON.stringify(error)).failure());
  }

  async list(broker: string, question: DefinitionQuestion, signal: AbortSignal): Promise<DefinitionAnswer> {
    const query = { limit: PAGE, ...question };
    const answer = await this.#call(broker, 'listDefinitions', { path: {}, query }, signal);
    return answer.orThrow().json<DefinitionAnswer>();
  }

  async holdings(broker: string, topic: string, fromQueue: number, signal: AbortSignal): Promise<readonly Holding[]> {
    const answer = await this.#call(broker, 'listHoldings', { path: { topic }, query: { fromQueue } }, signal);
    return answer.orThrow().json<{ holdings: readonly Holding[] }>().holdings;
  }

  async leave(broker: string, topic: string, force: boolean, signal: AbortSignal): Promise<void> {
    const answer = await this.#call(broker, 'leaveTopic', { path: { topic }, query: {}, body: { force } }, signal);
    answer.orThrow();
  }

  async #call<Op extends OperationId>(
    broker: string,
    operation: Op,
    asked: PeerRequest<Op>,
    signal: AbortSignal,
  ): Promise<PeerAnswer> {
    const address = await this.#addressOf(broker);
    try {
      return await this.#clients.call(address, operation, asked, { signal });
    } catch (error) {
      if (!signal.aborted) this.#fleet.doubt();
      throw error;
    }
  }

  async #addressOf(broker: string): Promise<string> {
    const address = await this.#fleet.broker(broker).then(
      (found) => found.address,
      (error: unknown) => {
        if (error instanceof GantryError) return undefined;
        throw error;
      },
    );
    if (address !== undefined) return address;
    throw new GantryError('SERVICE_NOT_AVAILABLE', `broker ${broker} is away`, { retryAfterMs: 1000 });
  }
}

/** The generated types know lists that may be changed only. */
const onWire = (definition: Definition) =>
  definition as unknown as { kind: Definition['kind']; name: string; version: number };
