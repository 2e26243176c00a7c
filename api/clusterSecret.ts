/**
 * What the parts of a cluster know and strangers do not: with `--cluster-secret`, operations that the contract marks
 * with `x-cluster-secret` are answered to whoever sends it as a bearer token (RFC 6750), and to nobody else.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { GantryError } from '../src/base/errors';

/** The headers that a caller sends. */
export const authorization = (secret: string | undefined): Record<string, string> =>
  secret === undefined ? {} : { authorization: `Bearer ${secret}` };

/** Throws UNAUTHENTICATED. Without a secret everybody may call: whoever reaches the port is trusted. */
export function checkSecret(secret: string | undefined, req: IncomingMessage): void {
  if (secret === undefined) return;
  const given = /^bearer +(.+)$/i.exec(req.headers.authorization ?? '')?.[1];
  if (given !== undefined && timingSafeEqual(digest(given), digest(secret))) return;
  throw new GantryError(
    'UNAUTHENTICATED',
    given === undefined
      ? 'this operation needs the secret of the cluster: send it as Authorization: Bearer …'
      : 'this is not the secret of the cluster: all its parts are started with the same --cluster-secret',
  );
}

/** Of equal length, so that comparing them tells nothing. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
