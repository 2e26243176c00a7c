/**
 * Who may call from a browser (api.md, rule 13): pages of this host and of the configured origins. A call that a browser
 * marks as cross-site, or that names another origin, is refused; other clients send neither header.
 */
import type { IncomingMessage } from 'node:http';
import { GantryError } from '../src/base/errors';

type Headers = Record<string, string>;

const EXPOSED = 'X-Request-Id, ETag, Location, Retry-After, Idempotency-Replayed, Allow';

export class OriginPolicy {
  readonly #origins: ReadonlySet<string>;

  /** `origins`: `https://console.example`; `*` allows every page. */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins);
  }

  /**
   * Throws ORIGIN_NOT_ALLOWED, or gives the CORS headers of the answer; undefined for most calls: there are none.
   * `page`: what is asked for is a page without effects, to which a link of another site may lead.
   */
  check(req: IncomingMessage, page = false): Headers | undefined {
    const { origin } = req.headers;
    const site = req.headers['sec-fetch-site'];
    if (origin === undefined && site === undefined) return undefined;
    if (page && origin === undefined && req.headers['sec-fetch-mode'] === 'navigate') return undefined;
    if (origin !== undefined && this.#configured(origin)) {
      return { 'Access-Control-Allow-Origin': origin, 'Access-Control-Expose-Headers': EXPOSED, Vary: 'Origin' };
    }
    if (site === 'cross-site' || (origin !== undefined && !isThisHost(origin, req.headers.host))) {
      const who = origin === undefined ? 'Another site' : `The origin ${origin.slice(0, 200)}`;
      throw new GantryError(
        'ORIGIN_NOT_ALLOWED',
        `${who} may not call this server from a browser: it is not in its list of origins.`,
      );
    }
    return undefined;
  }

  /** Whether the page that calls is of an origin that is configured by its name: `*` names none. */
  names({ headers: { origin } }: IncomingMessage): boolean {
    return origin !== undefined && this.#origins.has(origin);
  }

  /** What a preflight by a configured origin is answered beside `Allow`. */
  preflight(methods: string): Headers {
    return {
      'Access-Control-Allow-Methods': methods,
      'Access-Control-Allow-Headers':
        'Content-Type, Authorization, Idempotency-Key, If-Match, If-None-Match, X-Request-Id, X-Gantry-Kafka-Dialect',
      'Access-Control-Max-Age': '600',
    };
  }

  #configured(origin: string): boolean {
    return this.#origins.size > 0 && (this.#origins.has(origin) || this.#origins.has('*'));
  }
}

function isThisHost(origin: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  const mark = origin.indexOf('://');
  if (mark < 0) return false; // 'null': a sandbox or a file
  if (origin.slice(mark + 3) === host) return true;
  try {
    return new URL(origin).host === new URL(`${origin.slice(0, mark)}://${host}`).host;
  } catch {
    return false;
  }
}
