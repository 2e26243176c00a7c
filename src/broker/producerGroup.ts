/**
 * A producer group: the senders that can say what became of each other's transactions. It needs no record; one changes
 * how its transactions are asked about.
 */

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

/** RocketMQ 5's transactionTimeOut, transactionCheckInterval and transactionCheckMax. */
export const CHECK_DEFAULTS: CheckSettings = { checkAfterMs: 6000, checkIntervalMs: 30_000, maxChecks: 15 };
