/** Where the calls of an instance go: what the client, or the proxy before us, calls this server. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { joinHostPort } from '../../src/config/kinds';
import { pathOf } from '../operation';
import type { Dialect } from './dialects';

const HOST = /^[A-Za-z0-9_.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$/;
const PATH = /^(\/[A-Za-z0-9_.~%:@!$&'()*+;=-]+)+$/;

/**
 * The URI of the collection that `req` was posted to, as its client has to call it: no slash at its end.
 * X-Forwarded-Prefix stands before our path. X-Forwarded-Path is, by the dialect, what replaces it or stands before it; in
 * any dialect one that ends with our path contains it already.
 */
export function baseOf(req: IncomingMessage, { explicitPort, forwardedPath }: Dialect): string {
  const { headers, socket } = req;
  const forwarded = forwardedBy(firstOf(headers['forwarded']));
  const proto =
    (forwarded.proto ?? firstOf(headers['x-forwarded-proto']))?.toLowerCase() === 'https' ? 'https' : 'http';
  const given = forwarded.host ?? firstOf(headers['x-forwarded-host']) ?? headers.host ?? '';
  const own = joinHostPort(socket.localAddress ?? '127.0.0.1', socket.localPort ?? 80);
  const host = withPort(HOST.test(given) ? given : own, firstOf(headers['x-forwarded-port']), proto, explicitPort);
  return `${proto}://${host}${pathFor(headers, pathOf(req.url ?? '/').replace(/\/+$/, ''), forwardedPath)}`;
}

function pathFor(headers: IncomingHttpHeaders, own: string, forwardedPath: Dialect['forwardedPath']): string {
  const prefix = pathIn(headers['x-forwarded-prefix']);
  const path = prefix === '' ? pathIn(headers['x-forwarded-path']) : '';
  const isWhole = path !== '' && (forwardedPath === 'whole' || decoded(path).endsWith(decoded(own)));
  return isWhole ? path : `${prefix}${path}${own}`;
}

/** The path in a header, without a query and a slash at its end; empty when it is none. */
function pathIn(header: string | string[] | undefined): string {
  const path = (firstOf(header) ?? '').replace(/\?.*$/, '').replace(/\/+$/, '');
  return PATH.test(path) ? path : '';
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

/** Of a list the first: the proxy next to the client. */
function firstOf(header: string | string[] | undefined): string | undefined {
  const text = (Array.isArray(header) ? header[0] : header)?.split(',')[0]?.trim();
  return text === '' ? undefined : text;
}

/** RFC 7239, of one element. */
function forwardedBy(element: string | undefined): { proto?: string; host?: string } {
  const pairs = (element ?? '').split(';').map((pair) => {
    const [name = '', value = ''] = pair.split(/=(.*)/s);
    return [name.trim().toLowerCase(), value.trim().replace(/^"(.*)"$/, '$1')];
  });
  return Object.fromEntries(pairs.filter(([name]) => name === 'proto' || name === 'host')) as ReturnType<
    typeof forwardedBy
  >;
}

function withPort(host: string, port: string | undefined, proto: string, explicit: boolean): string {
  if (/:[0-9]+$/.test(host)) return host;
  if (port !== undefined && /^[0-9]{1,5}$/.test(port) && !isUsual(port, proto)) return `${host}:${port}`;
  return explicit ? `${host}:${proto === 'https' ? 443 : 80}` : host;
}

const isUsual = (port: string, proto: string): boolean => port === (proto === 'https' ? '443' : '80');
