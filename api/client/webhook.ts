/**
 * Calls the webhooks of producer groups, signed as Standard Webhooks says (standardwebhooks.com, HMAC-SHA256), at the
 * addresses that are allowed (webhookAddresses.ts). Redirects are not followed: they could lead elsewhere.
 */
import { createHmac } from 'node:crypto';
import { Agent, request } from 'undici';
import type { Clock } from '../../src/base/clock';
import type { CheckCaller, TransactionCheck } from '../../src/broker/checkbacks';
import type { Resolution } from '../../src/broker/halves';
import type { Webhook } from '../../src/broker/producerGroup';
import { decodeUtf8, parseJson } from '../jsonText';
import { WebhookAddresses, type WebhookNetworks } from './webhookAddresses';

/** A producer that needs longer is asked again later. */
const TIMEOUT_MS = 10_000;
/** Who sets a webhook waits so long for its name to be resolved; what is not known by then shows when it is called. */
const CHECK_MS = 2000;
/** Bytes of an answer that are read: it is a few words. */
const ANSWER_BYTES = 16 * 1024;
const RESOLUTIONS = ['COMMIT', 'ROLLBACK', 'UNKNOWN'] as const;

export interface WebhookCallerOptions {
  readonly clock: Clock;
  readonly networks: WebhookNetworks;
  /** The question as JSON. */
  readonly describe: (check: TransactionCheck) => string;
}

export class WebhookCaller implements CheckCaller {
  readonly #options: WebhookCallerOptions;
  readonly #addresses: WebhookAddresses;
  readonly #agent: Agent;

  constructor(options: WebhookCallerOptions) {
    this.#options = options;
    this.#addresses = new WebhookAddresses(options.networks);
    const { lookup } = this.#addresses;
    this.#agent = new Agent({ connect: { lookup }, connections: 8, maxResponseSize: ANSWER_BYTES });
  }

  async check({ url }: Webhook): Promise<void> {
    const host = this.#addresses.check(url);
    const { clock } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const timer = clock.after(CHECK_MS, resolve);
      this.#addresses
        .checkName(host)
        .then(resolve, reject)
        .finally(() => timer.cancel());
    });
  }

  async ask(webhook: Webhook, check: TransactionCheck): Promise<Resolution | 'UNKNOWN'> {
    this.#addresses.check(webhook.url);
    const { clock, describe } = this.#options;
    const now = clock.now();
    const id = `chk_${check.transactionId}_${check.half.checks}`;
    const timestamp = String(Math.floor(now / 1000));
    const body = `{"type":"transaction.check","timestamp":"${new Date(now).toISOString()}","data":${describe(check)}}`;
    const abort = new AbortController();
    const timer = clock.after(TIMEOUT_MS, () => abort.abort(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    try {
      const answer = await request(webhook.url, {
        method: 'POST',
        dispatcher: this.#agent,
        signal: abort.signal,
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': timestamp,
          'webhook-signature': signatureOf(webhook.secret, `${id}.${timestamp}.${body}`),
        },
        body,
      });
      const text = Buffer.from(await answer.body.arrayBuffer());
      if (answer.statusCode < 200 || answer.statusCode > 299) throw new Error(`it answered ${answer.statusCode}`);
      return resolutionIn(text);
    } finally {
      timer.cancel();
    }
  }

  /** Ends its connections; calls under way fail. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

function resolutionIn(text: Buffer): Resolution | 'UNKNOWN' {
  const answer = parseJson(decodeUtf8(text)) as { resolution?: unknown } | null;
  const resolution = RESOLUTIONS.find((one) => one === answer?.resolution);
  if (resolution) return resolution;
  throw new Error(`it answered no {"resolution":…} of ${RESOLUTIONS.join(', ')}`);
}

/** Keys are `whsec_` and base64; what is signed is id, time and body, joined by dots. */
function signatureOf(secret: string, content: string): string {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  return `v1,${createHmac('sha256', key).update(content).digest('base64')}`;
}
