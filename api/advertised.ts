/** Address that a process registers and is called by when no advertised address is configured. */
import { isIP } from 'node:net';
import { isWildcard, joinHostPort } from '../src/config/kinds';

/** Addresses of this machine that others could reach it by. */
export interface OwnAddresses {
  /** IPv4, 127.0.0.1 when the machine has no other. */
  readonly hostAddress: string;
  /** IPv6; absent when the machine has only link-local and loopback ones. */
  readonly hostAddress6?: string | undefined;
}

/** `host:port`. An address that means all of them (0.0.0.0, ::) is no address that others can call. */
export function advertisedAddress(host: string, port: number, own: OwnAddresses): string {
  if (!isWildcard(host)) return joinHostPort(host, port);
  const { hostAddress, hostAddress6 } = own;
  const onlyIpv6 = isIP(host) === 6 && hostAddress.startsWith('127.');
  return joinHostPort((onlyIpv6 ? hostAddress6 : undefined) ?? hostAddress, port);
}
