/** What one listens on may be no address that others can use. */
export const advertisedHost = (host: string, hostAddress: string): string =>
  host === '0.0.0.0' || host === '::' ? hostAddress : host;
