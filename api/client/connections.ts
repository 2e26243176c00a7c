/** How parts of a cluster connect to each other, and what is known of a call whose connection was never made. */
import { Agent } from 'undici';

/** What cannot be connected to within this time is away. undici counts in half seconds: it may be 2 s, and the shortest try of a send is longer. */
const CONNECT_MS = 1500;

/** One connection per call under way, since a parked poll holds its own. How long an answer takes is for the caller to bound. */
export const newConnections = (): Agent =>
  new Agent({
    connect: { timeout: CONNECT_MS },
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 30_000,
    allowH2: false,
  });

const NEVER_SENT = new Set([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'EHOSTDOWN'],
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** True for the failure of a connection that was never made: nothing was sent. */
export function wasNeverSent(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code !== undefined && NEVER_SENT.has(code);
}
