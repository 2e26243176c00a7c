/** What this build is, for GET /v1 and for support. */
export const VERSION = '0.1.0';

/** Abilities a client may look for; names are only ever added. */
export const FEATURES = [
  'topics',
  'tags',
  'groups',
  'long-poll',
  'offsets',
  'idempotency-key',
  'message-lookup',
  'nameserver',
] as const;
