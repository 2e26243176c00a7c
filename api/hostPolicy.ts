/**
 * Which names in the Host header are this server's own. A page whose name was made to lead here (DNS rebinding) is of the
 * same origin as this server for its browser: only the Host tells it apart. So a server that listens on a loopback address
 * answers to addresses, localhost and its configured names alone, and so does every other one to browsers. Other
 * clients may call a server that is open to a network by any name: names of services are not known here.
 */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { GantryError } from '../src/base/errors';

/** Configured names of a process. */
export interface HostNames {
  /** Where it listens: an address, or a name. */
  readonly host: string;
  /** `host:port` that others are told. */
  readonly advertise?: string | undefined;
  /** Names of its own; `.example` for all names below, `*` for any. */
  readonly allowedHosts: readonly string[];
}

/** Characters of a foreign Host that an error shows. */
const SHOWN_CHARACTERS = 200;
const HOST = /^(?:\[([^\]]*)\]|([^:]*))(?::[0-9]*)?$/;

export class HostPolicy {
  readonly #loopback: boolean;
  readonly #names = new Set<string>();
  readonly #suffixes: string[] = [];
  readonly #any: boolean;
  /** The latest Host that was one of its own: nearly always the next one, too. */
  #known: string | undefined;

  constructor({ host, advertise, allowedHosts }: HostNames) {
    this.#loopback = isLoopback(nameIn(host));
    this.#any = allowedHosts.includes('*');
    for (const text of [host, ...(advertise === undefined ? [] : [advertise]), ...allowedHosts]) {
      if (text.startsWith('.')) this.#suffixes.push(text.toLowerCase());
      else this.#names.add(nameIn(text));
    }
  }

  /** Throws MISDIRECTED_REQUEST for a Host that is not this server's. `vouched`: the page's origin is a configured one. */
  check(req: IncomingMessage, vouched = false): void {
    const { host } = req.headers;
    if (host === undefined || host === this.#known) return;
    const name = nameIn(host);
    if (this.#any || this.#isOwn(name)) {
      this.#known = host;
      return;
    }
    // A name without a dot is no name of the public DNS: nobody can make it lead here from outside.
    const foreign = isFromBrowser(req) ? !vouched : this.#loopback && name.includes('.');
    if (!foreign) return;
    const shown = name.slice(0, SHOWN_CHARACTERS) || 'a server without a name';
    throw new GantryError(
      'MISDIRECTED_REQUEST',
      `this server is not ${shown}: call it by its address, or start it with --allowed-hosts ${name === '' ? 'NAME' : shown}`,
    );
  }

  #isOwn(name: string): boolean {
    return (
      isIP(name) !== 0 ||
      isLocalhost(name) ||
      this.#names.has(name) ||
      this.#suffixes.some((suffix) => name.endsWith(suffix))
    );
  }
}

/** The name or address in `host`, `host:port` or `[address]:port`, in lower case and without a dot or zone at its end. */
function nameIn(text: string): string {
  if (isIP(text) !== 0) return withoutZone(text);
  const [, address, name = text] = HOST.exec(text) ?? [];
  if (address !== undefined) return isIP(withoutZone(address)) === 6 ? withoutZone(address) : text;
  return (name.endsWith('.') ? name.slice(0, -1) : name).toLowerCase();
}

const withoutZone = (address: string): string => address.split('%')[0]!;

/** localhost is the machine itself, and so is every name below it (RFC 6761, 6.3). */
const isLocalhost = (name: string): boolean => name === 'localhost' || name.endsWith('.localhost');

const isLoopback = (name: string): boolean =>
  isLocalhost(name) || (isIP(name) === 4 && name.startsWith('127.')) || isLoopback6(name);

const isLoopback6 = (name: string): boolean =>
  isIP(name) === 6 && /^\[::(1|ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4})\]$/.test(new URL(`http://[${name}]`).hostname);

/** Headers that pages cannot leave out of what they ask for, in all the ways that could do harm. */
function isFromBrowser({ headers }: IncomingMessage): boolean {
  return (
    headers.origin !== undefined ||
    headers.referer !== undefined ||
    headers['sec-fetch-site'] !== undefined ||
    headers['sec-fetch-mode'] !== undefined ||
    headers['sec-fetch-dest'] !== undefined ||
    headers['sec-fetch-user'] !== undefined
  );
}
