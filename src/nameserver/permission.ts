/**
 * What may be done with a queue: read, write, both or nothing. Permissions only ever shrink on their way to a route:
 * what the topic allows, narrowed by its broker, narrowed by the operator.
 */
export type Permission = 'RW' | 'R' | 'W' | 'NONE';

const READ = 1;
const WRITE = 2;
const BITS: Record<Permission, number> = { NONE: 0, R: READ, W: WRITE, RW: READ | WRITE };
const BY_BITS: readonly Permission[] = ['NONE', 'R', 'W', 'RW'];

/** What both allow (RocketMQ registers topic permission ∧ brokerPermission). */
export function bothAllow(a: Permission, b: Permission): Permission {
  return BY_BITS[BITS[a] & BITS[b]] ?? 'NONE';
}
