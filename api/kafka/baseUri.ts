/** Where the calls of an instance go: what the client, or the proxy before us, calls this server. */
import type { IncomingMessage } from 'node:http';
import { joinHostPort } from '../../src/config/kinds';
import type { Dialect } from './dialects';

const HOST = /^[A-Za-z0-9_.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$/;
const PREFIX = /^(\/[A-Za-z0-9_.~%-]+)+$/;

/** `http://host:port/prefix`, without a slash at its end. */
export function baseOf({ headers, socket }: IncomingMessage, { explicitPort }: Dialect): string {
  const forwarded = forwardedBy(firstOf(headers['forwarded']));
  const proto =
    (forwarded.proto ?? firstOf(headers['x-forwarded-proto']))?.toLowerCase() === 'https' ? 'https' : 'http';
  const given = forwarded.host ?? firstOf(headers['x-forwarded-host']) ?? headers.host ?? '';
  const own = joinHostPort(socket.localAddress ?? '127.0.0.1', socket.localPort ?? 80);
  const host = withPort(HOST.test(given) ? given : own, firstOf(headers['x-forwarded-port']), proto, explicitPort);
  const prefix = firstOf(headers['x-forwarded-prefix']) ?? firstOf(headers['x-forwarded-path']) ?? '';
  const path = prefix.replace(/\/+$/, '');
  return `${proto}://${host}${PREFIX.test(path) ? path : ''}`;
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
