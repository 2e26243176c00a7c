/** Versions of resources on the wire: a strong ETag names creation and version (RFC 9110, 8.8.3). */
import type { Precondition } from '../src/broker/command';

/** `id` is the resource's creation, so that a tag of an earlier creation never matches. */
export const etagOf = (id: string, version: number): string => `"${id}.${version}"`;

/** A version that no resource has: the condition cannot hold. */
const NEVER = -1;

/**
 * What If-Match and If-None-Match ask of the resource with creation `id` (undefined when it does not exist). Of
 * If-None-Match only `*` has a meaning for changes; other values are no condition here.
 */
export function preconditionOf(
  headers: { 'If-Match'?: string | undefined; 'If-None-Match'?: string | undefined },
  id: string | undefined,
): Precondition {
  const condition: { ifMatch?: number | '*'; ifAbsent?: boolean } = {};
  if (headers['If-None-Match']?.trim() === '*') condition.ifAbsent = true;
  const match = headers['If-Match']?.trim();
  if (match === '*') condition.ifMatch = '*';
  else if (match !== undefined) condition.ifMatch = versionIn(match, id);
  return condition;
}

function versionIn(list: string, id: string | undefined): number {
  const start = `"${id}.`;
  const own = list
    .split(',')
    .map((tag) => tag.trim())
    .find((tag) => tag.startsWith(start) && tag.endsWith('"'));
  const version = own === undefined ? NEVER : Number(own.slice(start.length, -1));
  return Number.isSafeInteger(version) ? version : NEVER;
}
