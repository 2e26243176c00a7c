/** The other brokers, as this one tells them what it has decided and asks what they have. api/client implements it over HTTP. */
import type { GantryError } from '../base/errors';
import type { Definition } from '../broker/definition';
import type { Holding } from '../broker/holdings';

export interface DefinitionQuestion {
  /** Behind which page to go on. */
  readonly cursor?: string;
  /** What the broker's digest was: if it is still that, it answers no definitions. */
  readonly digest?: string;
  /** This group alone. */
  readonly group?: string;
}

export interface DefinitionAnswer {
  /** Of all that the broker knows, at the time of the answer. */
  readonly digest: string;
  readonly definitions: readonly unknown[];
  /** For the next page; absent at the end. */
  readonly cursor?: string;
}

export interface DefinitionPeers {
  /**
   * Tells a broker; answers, for each definition, why it was refused or undefined. Rejects with a GantryError when the
   * broker gives no answer.
   */
  install(
    broker: string,
    definitions: readonly Definition[],
    signal: AbortSignal,
  ): Promise<readonly (GantryError | undefined)[]>;
  /** Asks a broker what it holds of a topic in queues from number `fromQueue` on. Rejects with a GantryError. */
  holdings(broker: string, topic: string, fromQueue: number, signal: AbortSignal): Promise<readonly Holding[]>;
  /** Tells a broker to give up its queues of a topic. Rejects with a GantryError, IN_USE when it still holds messages. */
  leave(broker: string, topic: string, force: boolean, signal: AbortSignal): Promise<void>;
  /** Asks a broker for a page of what it knows. Rejects with a GantryError. */
  list(broker: string, question: DefinitionQuestion, signal: AbortSignal): Promise<DefinitionAnswer>;
}
