/**
 * A producer group: the senders that can say what became of each other's transactions. It needs no record; one changes
 * how its transactions are asked about.
 */
import { GantryError } from '../base/errors';

/** Where the broker asks when nobody polls. */
export interface Webhook {
  /** http or https. */
  readonly url: string;
  /** `whsec_` and base64, as Standard Webhooks writes keys; signs each question. */
  readonly secret: string;
}

export interface CheckSettings {
  /** Milliseconds from preparation to the first question. */
  readonly checkAfterMs: number;
  /** Milliseconds between questions. */
  readonly checkIntervalMs: number;
  /** Questions about one transaction; then it is parked. */
  readonly maxChecks: number;
}

export interface ProducerGroup extends CheckSettings {
  readonly name: string;
  readonly version: number;
  readonly webhook?: Webhook;
  readonly description?: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Names the creation: a deletion is final for it. */
export const creationIdOf = ({ createdAt }: Pick<ProducerGroup, 'createdAt'>): string => String(createdAt);

export const unknownProducerGroup = (name: string): GantryError =>
  new GantryError(
    'PRODUCER_GROUP_NOT_FOUND',
    `producer group ${name} has no settings of its own: the defaults hold, until PUT /v1/producer-groups/${name}`,
  );

export const producerGroupInUse = (name: string, transactionIds: readonly string[]): GantryError =>
  new GantryError(
    'IN_USE',
    `producer group ${name} has open transactions, which would be asked about by the default settings and by no webhook: end them, or say force=true`,
    { members: { transactionIds } },
  );

/** RocketMQ 5's transactionTimeOut, transactionCheckInterval and transactionCheckMax. */
export const CHECK_DEFAULTS: CheckSettings = { checkAfterMs: 6000, checkIntervalMs: 30_000, maxChecks: 15 };
