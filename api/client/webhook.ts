/**
 * Calls the webhooks of producer groups, signed as Standard Webhooks says (standardwebhooks.com, HMAC-SHA256). Whoever
 * may set a webhook must not reach through the broker what only the broker reaches: addresses that are not public are
 * refused, where the name leads as well as in the URL, and redirects are not followed.
 */
import { createHmac } from 'node:crypto';
import { lookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { Agent, request } from 'undici';
import type { Clock } from '../../src/base/clock';
import { GantryError } from '../../src/base/errors';
import type { CheckCaller, TransactionCheck } from '../../src/broker/checkbacks';
import type { Resolution } from '../../src/broker/halves';
import type { Webhook } from '../../src/broker/producerGroup';
import { decodeUtf8, parseJson } from '../jsonText';

/** A producer that needs longer is asked again later. */
const TIMEOUT_MS = 10_000;
/** Bytes of an answer that are read: it is a few words. */
const ANSWER_BYTES = 16 * 1024;
const RESOLUTIONS = ['COMMIT', 'ROLLBACK', 'UNKNOWN'] as const;

export type WebhookNetworks = 'public' | 'any';

export interface WebhookCallerOptions {
  readonly clock: Clock;
  readonly networks: WebhookNetworks;
  /** The question as JSON. */
  readonly describe: (check: TransactionCheck) => string;
}

export class WebhookCaller implements CheckCaller {
  readonly #options: WebhookCallerOptions;
  readonly #agent: Agent;

  constructor(options: WebhookCallerOptions) {
    this.#options = options;
    const guarded = options.networks === 'public' ? { connect: { lookup: publicLookup } } : {};
    this.#agent = new Agent({ ...guarded, connections: 8, maxResponseSize: ANSWER_BYTES });
  }

  check({ url }: Webhook): void {
    const { protocol, hostname, username, password } = new URL(url);
    if (protocol !== 'https:' && protocol !== 'http:') throw refused(`${protocol}// is not called, http and https are`);
    if (username !== '' || password !== '') throw refused('the URL must have no user name and no password');
    if (this.#options.networks === 'any') return;
    const host = hostname.replace(/^\[|\]$/g, '');
    if (/(^|\.)localhost\.?$/.test(host) || (isIP(host) > 0 && !isPublic(host))) throw refused(notPublic(host));
  }

  async ask(webhook: Webhook, check: TransactionCheck): Promise<Resolution | 'UNKNOWN'> {
    this.check(webhook);
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

/** Networks that are not public (IANA's special-purpose registries, RFC 6890), those that carry IPv4 in IPv6 included. */
const SPECIAL = new BlockList();
for (const [net, bits] of [
  ...([
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
  ] as const),
  ...([
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
  ] as const),
  ...([
    ['198.18.0.0', 15],
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 4],
    ['240.0.0.0', 4],
  ] as const),
] as const)
  SPECIAL.addSubnet(net, bits, 'ipv4');
for (const [net, bits] of [
  ...([
    ['::', 96],
    ['::ffff:0:0', 96],
    ['64:ff9b::', 96],
    ['64:ff9b:1::', 48],
    ['100::', 64],
  ] as const),
  ...([
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
    ['fc00::', 7],
    ['fe80::', 10],
    ['ff00::', 8],
  ] as const),
] as const)
  SPECIAL.addSubnet(net, bits, 'ipv6');

const isPublic = (address: string): boolean => !SPECIAL.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Resolves a name to its public addresses alone: what was checked is what is connected to. */
const publicLookup: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, found: LookupAddress[] | undefined) => {
    const open = (found ?? []).filter(({ address }) => isPublic(address));
    const [first] = open;
    if (error) done(error, '');
    else if (!first) done(refused(notPublic(hostname)), '');
    else if (options.all) done(null, open);
    else done(null, first.address, first.family);
  });
};

const notPublic = (host: string): string =>
  `${host} is not a public address: start the broker with --webhook-networks any to allow it`;

const refused = (detail: string): GantryError =>
  new GantryError('WEBHOOK_REFUSED', detail, { errors: [{ pointer: '/webhook/url', detail }] });
