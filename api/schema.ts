/**
 * A JSON schema as it stands in the contract, and what is done to it before it is compiled: local references are put
 * in place, `x-nullable` becomes a real null, and in tests answers are closed. The contract itself is never changed.
 */
/** Marks an integer that is a time. */
export const TIME = 'x-time';

export type Schema = { readonly [keyword: string]: unknown };

/** Anything in a YAML or JSON document that is an object. */
export type Node = { readonly [key: string]: unknown };

export const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A copy of `value` in which every local `$ref` is replaced by what it names. A cycle is an error of the contract. */
export function resolveReferences(document: Node, value: unknown, trail: readonly string[] = []): unknown {
  if (Array.isArray(value)) return value.map((item) => resolveReferences(document, item, trail));
  if (!isNode(value)) return value;
  const reference = value['$ref'];
  if (typeof reference === 'string') {
    if (trail.includes(reference)) throw new Error(`openapi.yaml: ${reference} contains itself`);
    const { $ref: _, ...beside } = value;
    const target = resolveReferences(document, lookUp(document, reference), [...trail, reference]);
    return Object.keys(beside).length === 0 ? target : { ...(target as Node), ...beside };
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => [key, resolveReferences(document, part, trail)]),
  );
}

function lookUp(document: Node, reference: string): unknown {
  if (!reference.startsWith('#/')) throw new Error(`openapi.yaml: only local references are allowed, not ${reference}`);
  let found: unknown = document;
  for (const token of reference.slice(2).split('/')) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
    found = isNode(found) ? found[key] : undefined;
  }
  if (found === undefined) throw new Error(`openapi.yaml: ${reference} does not exist`);
  return found;
}

/**
 * A copy of a resolved request schema in which `x-nullable: true` accepts null as well, and `x-time: true` alone judges
 * what has it (timeField.ts).
 */
export function withNulls(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withNulls);
  if (!isNode(schema)) return schema;
  const copy: Record<string, unknown> = {};
  for (const [key, part] of Object.entries(schema)) {
    if (schema[TIME] === true && OF_INTEGERS.has(key)) continue;
    if (KEPT.has(key)) copy[key] = part;
    else copy[key] = key === 'properties' && isNode(part) ? mapValues(part, withNulls) : withNulls(part);
  }
  if (schema['x-nullable'] !== true) return copy;
  if (typeof copy['type'] !== 'string') return { anyOf: [{ type: 'null' }, copy] };
  copy['type'] = [copy['type'], 'null'];
  if (Array.isArray(copy['enum'])) copy['enum'] = [...(copy['enum'] as unknown[]), null];
  return copy;
}

/** A copy of a resolved answer schema that allows no field it does not name, at any depth; `allOf` is merged first. */
export function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed);
  if (!isNode(schema)) return schema;
  const flat = Array.isArray(schema['allOf']) ? merged(schema) : schema;
  const copy: Record<string, unknown> = {};
  for (const [key, part] of Object.entries(flat)) {
    if (KEPT.has(key)) copy[key] = part;
    else if (key === 'properties' && isNode(part)) copy[key] = mapValues(part, closed);
    else copy[key] = closed(part);
  }
  if (isNode(copy['properties']) && copy['additionalProperties'] === undefined) copy['additionalProperties'] = false;
  return copy;
}

/** Keywords of a time's schema that hold for integers only. */
const OF_INTEGERS = new Set(['type', 'format', 'minimum', 'maximum']);

/** Keywords whose values are data, not schemas. */
const KEPT = new Set(['example', 'examples', 'default', 'enum', 'const', 'required']);

const mapValues = (node: Node, change: (value: unknown) => unknown): Node =>
  Object.fromEntries(Object.entries(node).map(([key, value]) => [key, change(value)]));

function merged(schema: Node): Node {
  const { allOf, ...own } = schema;
  const parts = (allOf as Node[]).map((part) => (Array.isArray(part['allOf']) ? merged(part) : part));
  const all = [...parts, own];
  return {
    ...(Object.assign({}, ...all) as Node),
    properties: Object.assign({}, ...all.map((part) => part['properties'] ?? {})) as Node,
    required: all.flatMap((part) => (part['required'] as string[] | undefined) ?? []),
  };
}
