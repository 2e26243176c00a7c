/** Why a process cannot listen, in a sentence that names the option to change. */

/** Address that a process was to listen on. */
export interface ListenPlace {
  readonly host: string;
  readonly port: number;
  /** The option that the port came from: `--port`, or `--nameserver-port` in a standalone. */
  readonly portOption: string;
}

/** Thrown when the operating system refuses the address. */
export class ListenError extends Error {
  override readonly name = 'ListenError';

  constructor(place: ListenPlace, cause: NodeJS.ErrnoException) {
    const { code = 'unknown' } = cause;
    super(`${reasonOf(place, code) ?? `${cause.message}: choose another --host or ${place.portOption}`} (${code})`, {
      cause,
    });
  }
}

function reasonOf({ host, port, portOption }: ListenPlace, code: string): string | undefined {
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} of ${host} is in use by another process: stop that process, or choose another ${portOption}`;
    case 'EACCES':
    case 'EPERM':
      return `this user may not listen on port ${port} of ${host}: choose another ${portOption} (1024 or above)`;
    case 'EADDRNOTAVAIL':
      return `${host} is no address of this machine: choose another --host (0.0.0.0 or :: for all)`;
    case 'EAFNOSUPPORT':
      return `this machine has no IPv6, which ${host} needs: choose another --host (0.0.0.0 for all of IPv4)`;
    case 'EINVAL':
      return `${host} cannot be listened on, a link-local address needs its interface (fe80::1%eth0): choose another --host`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EAI_FAIL':
    case 'EAI_NODATA':
      return `the name ${host} leads to no address: choose another --host, or mend the name service`;
    default:
      return undefined;
  }
}
