/** Texts that a SQL filter compares with `TAGS`: they follow the rules of tags, as those of a TAG filter do (tag.ts). */
import { isCondition, type SqlCondition, type SqlNode, type SqlProperty } from './sqlExpression';
import { normalTag, tagFault } from './tag';

/** A comparison that no tag can meet, and why; undefined when there is none. */
export function sqlTagFault(node: SqlNode): { readonly text: string; readonly detail: string } | undefined {
  if (!isCondition(node)) return undefined;
  for (const text of wholeTags(node)) {
    const detail = tagFault(normalTag(text));
    if (detail) return { text, detail };
  }
  if (node.kind === 'search' && isTags(node.property)) {
    // A part of a tag may be empty or `*`.
    const detail = tagFault(`x${normalTag(node.text)}`);
    if (detail) return { text: node.text, detail };
  }
  for (const part of partsOf(node)) {
    const fault = sqlTagFault(part);
    if (fault) return fault;
  }
  return undefined;
}

/**
 * The same condition, met also by the tag that each text stands for: an earlier build stored tags as they were written,
 * so both forms are looked for.
 */
export function withNormalTags(node: SqlCondition): SqlCondition {
  switch (node.kind) {
    case 'and':
    case 'or':
      return { ...node, terms: node.terms.map(withNormalTags) };
    case 'not':
      return { ...node, term: withNormalTags(node.term) };
    case 'equal': {
      const texts = wholeTags(node);
      if (texts.some((text) => normalTag(text) !== text))
        return { kind: 'in', not: node.not, property: TAGS, texts: bothForms(texts) };
      return { ...node, left: within(node.left), right: within(node.right) };
    }
    case 'in':
      return isTags(node.property) ? { ...node, texts: bothForms(node.texts) } : node;
    case 'search':
      return isTags(node.property) ? eitherForm(node, node.text, (text) => ({ ...node, text })) : node;
    case 'like':
      return isTags(node.property) ? eitherForm(node, node.pattern, (pattern) => ({ ...node, pattern })) : node;
    case 'null':
      return { ...node, value: within(node.value) };
    default:
      return node;
  }
}

const TAGS: SqlProperty = { kind: 'property', name: 'TAGS' };
const isTags = (node: SqlNode): boolean => node.kind === 'property' && node.name === TAGS.name;
const within = (node: SqlNode): SqlNode => (isCondition(node) ? withNormalTags(node) : node);
const bothForms = (texts: readonly string[]): string[] => [
  ...new Set(texts.flatMap((text) => [text, normalTag(text)])),
];

/** Blanks count in a part of a tag. */
function eitherForm(node: { readonly not: boolean }, text: string, form: (text: string) => SqlCondition): SqlCondition {
  const normal = text.normalize('NFC');
  if (normal === text) return form(text);
  return { kind: node.not ? 'and' : 'or', terms: [form(text), form(normal)] };
}

/** The texts that the node itself compares with a whole tag. */
function wholeTags(node: SqlCondition): readonly string[] {
  if (node.kind === 'in') return isTags(node.property) ? node.texts : [];
  if (node.kind !== 'equal') return [];
  const { left, right } = node;
  if (isTags(left)) return right.kind === 'text' ? [right.value] : [];
  return isTags(right) && left.kind === 'text' ? [left.value] : [];
}

function partsOf(node: SqlCondition): readonly SqlNode[] {
  switch (node.kind) {
    case 'and':
    case 'or':
      return node.terms;
    case 'not':
      return [node.term];
    case 'equal':
      return [node.left, node.right];
    case 'null':
      return [node.value];
    default:
      return [];
  }
}
