/**
 * A SQL filter as a tree, and the tree as text again. Chains of AND and OR are one node each, however long: nesting
 * comes from parentheses and NOT alone, which the parser counts.
 */
import { isPlainName } from './sqlLexer';
import { printNumber, type SqlNumber } from './sqlNumber';

export type OrderOperator = '<' | '<=' | '>' | '>=';
export type SearchOperator = 'CONTAINS' | 'STARTSWITH' | 'ENDSWITH';

export interface SqlProperty {
  readonly kind: 'property';
  readonly name: string;
}

/** TRUE, FALSE, and NULL, whose truth nobody knows. It may stand as a value and as a condition. */
export interface SqlTruth {
  readonly kind: 'truth';
  readonly value: boolean | null;
}

export type SqlLiteral =
  { readonly kind: 'text'; readonly value: string } | { readonly kind: 'number'; readonly value: SqlNumber } | SqlTruth;

export type SqlCondition =
  | SqlTruth
  | { readonly kind: 'and' | 'or'; readonly terms: readonly SqlCondition[] }
  | { readonly kind: 'not'; readonly term: SqlCondition }
  | { readonly kind: 'equal'; readonly not: boolean; readonly left: SqlNode; readonly right: SqlNode }
  | { readonly kind: 'order'; readonly operator: OrderOperator; readonly left: SqlNode; readonly right: SqlNode }
  | {
      readonly kind: 'between';
      readonly not: boolean;
      readonly value: SqlNode;
      readonly low: SqlNode;
      readonly high: SqlNode;
    }
  | { readonly kind: 'in'; readonly not: boolean; readonly property: SqlProperty; readonly texts: readonly string[] }
  | { readonly kind: 'null'; readonly not: boolean; readonly value: SqlNode }
  | {
      readonly kind: 'search';
      readonly operator: SearchOperator;
      readonly not: boolean;
      readonly property: SqlProperty;
      readonly text: string;
    }
  | {
      readonly kind: 'like';
      readonly not: boolean;
      readonly property: SqlProperty;
      readonly pattern: string;
      readonly escape: string | undefined;
    };

export type SqlNode = SqlProperty | SqlLiteral | SqlCondition;

export function isCondition(node: SqlNode): node is SqlCondition {
  return node.kind !== 'property' && node.kind !== 'text' && node.kind !== 'number';
}

/** How tightly a node holds together: what is looser than its surroundings needs parentheses. */
const OR = 0;
const AND = 1;
const NOT = 2;
const COMPARISON = 3;
const VALUE = 4;
const BOND: Readonly<Record<SqlNode['kind'], number>> = {
  or: OR,
  and: AND,
  not: NOT,
  equal: COMPARISON,
  order: COMPARISON,
  between: COMPARISON,
  in: COMPARISON,
  null: COMPARISON,
  search: COMPARISON,
  like: COMPARISON,
  property: VALUE,
  text: VALUE,
  number: VALUE,
  truth: VALUE,
};

/** With the fewest parentheses, keywords in capitals, one blank between words. Parsed again it gives the same tree. */
export function printSql(node: SqlNode): string {
  const maybeNot = 'not' in node && node.not ? 'NOT ' : '';
  switch (node.kind) {
    case 'property':
      return isPlainName(node.name) ? node.name : `\`${node.name.replaceAll('`', '``')}\``;
    case 'text':
      return quoted(node.value);
    case 'number':
      return printNumber(node.value);
    case 'truth':
      return node.value === null ? 'NULL' : node.value ? 'TRUE' : 'FALSE';
    case 'and':
      return node.terms.map((term) => within(term, NOT)).join(' AND ');
    case 'or':
      return node.terms.map((term) => within(term, AND)).join(' OR ');
    case 'not':
      return `NOT ${within(node.term, NOT)}`;
    case 'equal':
      return `${value(node.left)} ${node.not ? '<>' : '='} ${value(node.right)}`;
    case 'order':
      return `${value(node.left)} ${node.operator} ${value(node.right)}`;
    case 'between':
      return `${value(node.value)} ${maybeNot}BETWEEN ${value(node.low)} AND ${value(node.high)}`;
    case 'in':
      return `${value(node.property)} ${maybeNot}IN (${node.texts.map(quoted).join(', ')})`;
    case 'null':
      return `${value(node.value)} IS ${maybeNot}NULL`;
    case 'search':
      return `${value(node.property)} ${maybeNot}${node.operator} ${quoted(node.text)}`;
    case 'like': {
      const escape = node.escape === undefined ? '' : ` ESCAPE ${quoted(node.escape)}`;
      return `${value(node.property)} ${maybeNot}LIKE ${quoted(node.pattern)}${escape}`;
    }
  }
}

const value = (node: SqlNode): string => within(node, VALUE);

const within = (node: SqlNode, least: number): string =>
  BOND[node.kind] < least ? `(${printSql(node)})` : printSql(node);

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;
