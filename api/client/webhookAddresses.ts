/**
 * Where webhooks may lead. Whoever may set one must not reach through the broker what only the broker reaches: unless
 * the operator allows any network, addresses are refused that are not of the public internet, in the URL and where its
 * name leads. A name is resolved once per connection, and only what passed is connected to.
 */
import { lookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { GantryError } from '../../src/base/errors';

export type WebhookNetworks = 'public' | 'any';

/** IANA's special-purpose registries (RFC 6890), multicast, and what is reserved. */
const IPV4 = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/4', '240.0.0.0/4'],
];
/** All but 2000::/3, and with it IPv4 in IPv6; within 2000::/3 tunnels, tests and the addresses of books. */
const IPV6 = ['::/3', '4000::/2', '8000::/1', '2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];

/** A list for each family: in one, Node takes every IPv4 address for a part of ::/3. */
const SPECIAL = { ipv4: blockList('ipv4', IPV4), ipv6: blockList('ipv6', IPV6) };

function blockList(family: 'ipv4' | 'ipv6', networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address, bits] = network.split('/');
    list.addSubnet(address!, Number(bits), family);
  }
  return list;
}

export function isPublic(address: string): boolean {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  return !SPECIAL[family].check(address, family);
}

export class WebhookAddresses {
  readonly #networks: WebhookNetworks;
  #last: Promise<void> = Promise.resolve();

  constructor(networks: WebhookNetworks) {
    this.#networks = networks;
  }

  /** What the URL says by itself; its host. Throws WEBHOOK_REFUSED. */
  check(url: string): string {
    // What the contract takes for a URI may be none: port 99999, or 256.1.1.1.
    if (!URL.canParse(url)) throw refused('the URL cannot be read: its host or its port is none');
    const { protocol, hostname, username, password } = new URL(url);
    if (protocol !== 'https:' && protocol !== 'http:') throw refused(`${protocol} is not called, http: and https: are`);
    if (username !== '' || password !== '') throw refused('the URL must have no user name and no password');
    const host = hostname.replace(/^\[|\]$/g, '');
    const here = /(^|\.)localhost\.?$/.test(host) || (isIP(host) > 0 && !isPublic(host));
    if (here && this.#networks === 'public') throw notPublic(host);
    return host;
  }

  /** `dns.lookup` for connections, answering what may be connected to. Fails with WEBHOOK_REFUSED when it leads elsewhere only. */
  readonly lookup: LookupFunction = (hostname, options, done) => {
    this.#resolve(hostname, { ...options, all: true }).then(
      (found) => (options.all ? done(null, found) : done(null, found[0]!.address, found[0]!.family)),
      (error: NodeJS.ErrnoException) => done(error, ''),
    );
  };

  /** Whether a name leads where it may; one that cannot be resolved now may do so later. Throws WEBHOOK_REFUSED. */
  async checkName(hostname: string): Promise<void> {
    if (this.#networks === 'any' || isIP(hostname) > 0) return;
    try {
      await this.#resolve(hostname, { all: true });
    } catch (error) {
      if (error instanceof GantryError) throw error;
    }
  }

  /** One name at a time: the system's resolver holds one of Node's four threads, and the journal's writes need them. */
  #resolve(hostname: string, options: Parameters<LookupFunction>[1]): Promise<LookupAddress[]> {
    const found = this.#last.then(() => addressesOf(hostname, options));
    this.#last = found.then(
      () => undefined,
      () => undefined,
    );
    if (this.#networks === 'any') return found;
    return found.then((addresses) => {
      const open = addresses.filter(({ address }) => isPublic(address));
      if (open.length === 0) throw notPublic(hostname);
      return open;
    });
  }
}

const addressesOf = (hostname: string, options: Parameters<LookupFunction>[1]): Promise<LookupAddress[]> =>
  new Promise((resolve, reject) => {
    lookup(hostname, { ...options, all: true }, (error, found) => (error ? reject(error) : resolve(found)));
  });

const notPublic = (host: string): GantryError =>
  refused(`${host} is not a public address: start the broker with --webhook-networks any to allow it`);

const refused = (detail: string): GantryError =>
  new GantryError('WEBHOOK_REFUSED', detail, { errors: [{ pointer: '/webhook/url', detail }] });
