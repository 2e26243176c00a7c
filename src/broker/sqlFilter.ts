/**
 * RocketMQ's SQL92 filter: a condition over a message's properties, and over `TAGS` (its tag) and `KEYS` (its keys,
 * joined by a blank, as RocketMQ stores them). sqlParser.ts has the grammar and what it refuses.
 *
 * Three-valued: a property that a message lacks is NULL, a comparison with NULL is neither true nor false, AND, OR and
 * NOT follow SQL, and a message is taken only when the whole is true. IS NULL is always true or false.
 *   = <>             text with text as it is; with a number, a property is read as a number; with TRUE or FALSE, a
 *                    property is TRUE when it reads `true` in any case, else FALSE. Two properties are compared as text.
 *   < <= > >= BETWEEN  numbers only; two properties are both read as numbers
 *   IN               texts only
 *   CONTAINS …       case counts; an empty text is found in nothing, and its NOT form is not true either
 *   LIKE             sqlLike.ts; RocketMQ has none
 * **A property that should be a number and is none ends the evaluation: the message is not taken**, whatever stands to the
 * right of it, and NOT does not turn it round. What AND or OR have decided further left stands. RocketMQ fails there, too.
 *
 * Where this is not RocketMQ, measured against its 5.3.2:
 *   numbers          doubles (and longs, exactly); there `a > 3` reads a as an int, and fails for 3.5
 *   = with a missing NULL on either side; there 'x' = a and b = a are false when a is missing, 'x' <> a and b <> a are
 *   property         true, and a = b is true when both are
 *   TRUE = a         as a = TRUE; there it never matches
 *   CONTAINS …       NULL when the property is missing; there false, so that a NOT before it takes the message
 *   NOT              looser than comparisons (sqlParser.ts)
 */
import { printSql, type OrderOperator, type SearchOperator, type SqlCondition, type SqlNode } from './sqlExpression';
import { isLike, parseLike } from './sqlLike';
import { readNumber, sameNumber, type SqlNumber } from './sqlNumber';
import { parseSqlCondition } from './sqlParser';
import { withNormalTags } from './sqlTags';

/** What a filter sees of a message; a StoredMessage has it all, RecordAttributes reads what is asked for. */
export interface FilteredAttributes {
  readonly tag?: string | undefined;
  readonly keys?: readonly string[] | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
}

export interface SqlFilter {
  matches(attributes: FilteredAttributes): boolean;
  /** Whether a property that should be a number and is none ended the evaluation. */
  fails(attributes: FilteredAttributes): boolean;
}

/** Throws FILTER_INVALID. */
export function parseSql(expression: string): SqlFilter {
  const truth = compile(withNormalTags(parseSqlCondition(expression)));
  return {
    matches: (attributes) => truth(attributes) === true,
    fails: (attributes) => truth(attributes) === FAILED,
  };
}

/**
 * Two ways of writing the same expression (blanks, comments, the case of keywords, parentheses that change nothing, the
 * form of numbers) are the same subscription. For comparing and showing: it may be longer than filterCharacters.
 * Throws FILTER_INVALID.
 */
export const canonicalSql = (expression: string): string => printSql(parseSqlCondition(expression));

/** A property that had to be a number is none. */
const FAILED = Symbol('failed');

/** Null = nobody knows. */
type Truth = boolean | null | typeof FAILED;
type Value = string | SqlNumber | Truth;

type Condition = (message: FilteredAttributes) => Truth;
type Operand = (message: FilteredAttributes) => Value;

function compile(node: SqlCondition): Condition {
  switch (node.kind) {
    case 'truth':
      return () => node.value;
    case 'and':
      return chain(node.terms.map(compile), false);
    case 'or':
      return chain(node.terms.map(compile), true);
    case 'not':
      return negated(compile(node.term));
    case 'equal':
      return maybeNegated(node.not, equal(operand(node.left), operand(node.right)));
    case 'order':
      return order(node.operator, operand(node.left), operand(node.right));
    case 'between':
      return between(node.not, operand(node.value), operand(node.low), operand(node.high));
    case 'in':
      return maybeNegated(node.not, among(operand(node.property), new Set(node.texts)));
    case 'null':
      return maybeNegated(node.not, isNull(operand(node.value)));
    case 'search':
      return search(node.operator, node.not, operand(node.property), node.text);
    case 'like':
      return maybeNegated(node.not, like(operand(node.property), node.pattern, node.escape));
  }
}

function operand(node: SqlNode): Operand {
  switch (node.kind) {
    case 'property':
      return property(node.name);
    case 'text':
    case 'number':
      return () => node.value;
    default:
      return compile(node);
  }
}

/** A property of the message's own that is called TAGS or KEYS cannot be seen: RocketMQ keeps the names for itself. */
function property(name: string): Operand {
  if (name === 'TAGS') return ({ tag }) => (tag === undefined || tag === '' ? null : tag);
  if (name === 'KEYS') return ({ keys }) => (keys === undefined || keys.length === 0 ? null : keys.join(' '));
  // Names such as __proto__ and constructor are names like others.
  return ({ properties }) => (properties !== undefined && Object.hasOwn(properties, name) ? properties[name]! : null);
}

/** OR is decided by the first that is true, AND by the first that is false; nothing behind it is looked at. */
function chain(terms: readonly Condition[], decisive: boolean): Condition {
  return (message) => {
    let unknown = false;
    for (const term of terms) {
      const truth = term(message);
      if (truth === decisive || truth === FAILED) return truth;
      if (truth === null) unknown = true;
    }
    return unknown ? null : !decisive;
  };
}

function negated(condition: Condition): Condition {
  return (message) => {
    const truth = condition(message);
    return typeof truth === 'boolean' ? !truth : truth;
  };
}

const maybeNegated = (not: boolean, condition: Condition): Condition => (not ? negated(condition) : condition);

function equal(left: Operand, right: Operand): Condition {
  return (message) => {
    const one = left(message);
    const other = right(message);
    if (one === FAILED || other === FAILED) return FAILED;
    if (one === null || other === null) return null;
    if (typeof one === 'string' && typeof other === 'string') return one === other;
    if (typeof one === 'boolean' || typeof other === 'boolean') return isTrue(one) === isTrue(other);
    const number = toNumber(one);
    const otherNumber = toNumber(other);
    return number === undefined || otherNumber === undefined ? FAILED : sameNumber(number, otherNumber);
  };
}

const ORDERS: Readonly<Record<OrderOperator, (left: SqlNumber, right: SqlNumber) => boolean>> = {
  '<': (left, right) => left < right,
  '<=': (left, right) => left <= right,
  '>': (left, right) => left > right,
  '>=': (left, right) => left >= right,
};

function order(operator: OrderOperator, left: Operand, right: Operand): Condition {
  const holds = ORDERS[operator];
  return (message) => {
    const one = left(message);
    const other = right(message);
    if (one === null || other === null) return null;
    const number = toNumber(one);
    const otherNumber = toNumber(other);
    return number === undefined || otherNumber === undefined ? FAILED : holds(number, otherNumber);
  };
}

/** As RocketMQ has it: two comparisons, so that a missing bound does not matter when the other one decides. */
function between(not: boolean, value: Operand, low: Operand, high: Operand): Condition {
  return not
    ? chain([order('<', value, low), order('>', value, high)], true)
    : chain([order('>=', value, low), order('<=', value, high)], false);
}

function among(value: Operand, texts: ReadonlySet<Value>): Condition {
  return (message) => {
    const text = value(message);
    return text === null ? null : texts.has(text);
  };
}

function isNull(value: Operand): Condition {
  return (message) => {
    const known = value(message);
    return known === FAILED ? FAILED : known === null;
  };
}

const SEARCHES: Readonly<Record<SearchOperator, (text: string, part: string) => boolean>> = {
  CONTAINS: (text, part) => text.includes(part),
  STARTSWITH: (text, part) => text.startsWith(part),
  ENDSWITH: (text, part) => text.endsWith(part),
};

function search(operator: SearchOperator, not: boolean, value: Operand, part: string): Condition {
  const found = SEARCHES[operator];
  return (message) => {
    const text = value(message);
    if (typeof text !== 'string') return null;
    return part !== '' && found(text, part) !== not;
  };
}

function like(value: Operand, pattern: string, escape: string | undefined): Condition {
  const pieces = parseLike(pattern, escape)!;
  return (message) => {
    const text = value(message);
    return typeof text === 'string' ? isLike(text, pieces) : null;
  };
}

function toNumber(value: Exclude<Value, null>): SqlNumber | undefined {
  if (typeof value === 'string') return readNumber(value);
  return typeof value === 'number' || typeof value === 'bigint' ? value : undefined;
}

/** Java's Boolean.valueOf. */
const isTrue = (value: string | SqlNumber | boolean): boolean =>
  value === true || (typeof value === 'string' && value.length === 4 && value.toLowerCase() === 'true');
