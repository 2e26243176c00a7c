/** What this build is, for GET /v1 and for support. */
export const VERSION = '0.1.0';

/** What a client may look for beyond the first release; names are only ever added. */
export const FEATURES: readonly string[] = [];
