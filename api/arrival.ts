/**
 * What is done to every request before anyone looks what it asks for: it gets an id and is refused when HTTP itself is
 * abused. Nothing here reads a body.
 */
import type { IncomingMessage } from 'node:http';
import type { Chance } from '../src/base/chance';
import { GantryError } from '../src/base/errors';
import { LIMITS } from '../src/base/limits';

const SANE_ID = /^[A-Za-z0-9_.:-]{1,128}$/;

/** Request ids: the client's own when it is harmless, else a mark of this process and a counter. */
export class RequestIds {
  readonly #mark: string;
  #count = 0;

  constructor(chance: Chance) {
    this.#mark = `${chance.bytes(6).toString('hex')}-`;
  }

  of(req: IncomingMessage): string {
    const given = req.headers['x-request-id'];
    return typeof given === 'string' && SANE_ID.test(given) ? given : this.next();
  }

  next(): string {
    return this.#mark + (this.#count++).toString(36);
  }
}

/** Throws on a request that no operation could take. */
export function checkArrival(req: IncomingMessage): void {
  const { length } = req.url ?? '';
  if (length > LIMITS.uriCharacters) {
    throw new GantryError(
      'URI_TOO_LONG',
      `Path and query have at most ${LIMITS.uriCharacters} characters, not ${length}.`,
    );
  }
  if (req.headers.host === undefined && req.httpVersionMinor !== 0) {
    throw new GantryError('MALFORMED_REQUEST', 'The header host is missing.');
  }
  checkDuplicates(req.rawHeaders);
}

/** Headers that decide who is asked, who asks and what is meant: two of them mean an attack or a broken proxy. */
const SINGLE = ['host', 'content-type', 'authorization', 'content-length', 'idempotency-key', 'transfer-encoding'];
const SINGLE_LENGTHS = new Set(SINGLE.map((name) => name.length));

function checkDuplicates(raw: readonly string[]): void {
  let seen = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    if (!SINGLE_LENGTHS.has(name.length)) continue;
    const index = SINGLE.indexOf(name.toLowerCase());
    if (index < 0) continue;
    const bit = 1 << index;
    if ((seen & bit) !== 0) {
      throw new GantryError('MALFORMED_REQUEST', `The header ${SINGLE[index]} stands more than once.`);
    }
    seen |= bit;
  }
}
