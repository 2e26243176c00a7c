/**
 * Reads a SQL filter: recursive descent over the words of sqlLexer.ts, one word ahead, bounded by filterCharacters,
 * filterDepth and filterTerms. Every refusal is FILTER_INVALID with the place of the first fault.
 *
 *   condition   = conjunction { OR conjunction }
 *   conjunction = negation { AND negation }
 *   negation    = NOT negation | comparison
 *   comparison  = value [ ( = | <> | < | <= | > | >= ) value
 *                       | [NOT] BETWEEN value AND value
 *                       | [NOT] IN ( text { , text } )
 *                       | [NOT] ( CONTAINS | STARTSWITH | ENDSWITH ) text
 *                       | [NOT] LIKE text [ ESCAPE text ]
 *                       | IS [NOT] NULL ]
 *   value       = ( + | - ) value | property | text | number | TRUE | FALSE | NULL | ( condition )
 *
 * Refused although the words fit, because it can be seen without a message that something else was meant. As in RocketMQ:
 *   - anything but properties and numbers beside < <= > >= and in BETWEEN: they compare numbers
 *   - = NULL and <> NULL: IS NULL is meant
 *   - anything but a property before IN
 *   - BETWEEN two numbers of which the first is the larger
 *   - whole numbers above 2^63 - 1, and decimals that a double cannot hold (RocketMQ refuses 0.0 as well)
 *   - a text or a number alone, where a condition is expected
 * And here only, where RocketMQ takes it and then never matches, always matches, or reads something else:
 *   - a property alone: false there, whatever it holds
 *   - a sign before anything but a number: NULL there, for every message
 *   - = and <> between literals of different kinds
 *   - anything but a property before CONTAINS, STARTSWITH, ENDSWITH and LIKE
 *   - NOT BETWEEN two numbers of which the first is the larger
 *   - one comparison as a side of another without parentheses: `a = b = c`
 *   - a name in double quotes behind = and <>: a text is meant (backticks are for a property there)
 *   - words behind the end, which RocketMQ ignores, and leading zeros with them: `a = 007` is `a = 0` there
 *
 * LIKE and ESCAPE are not RocketMQ's. They are no keywords: where an operator stands no name can, so a property called
 * `like` needs no quotes.
 *
 * The one thing that is read differently: NOT is looser than a comparison, as in SQL. RocketMQ's is tighter, so that
 * `NOT a = 5` is never true there, and `NOT a IS NULL` is true when a is missing. With parentheses both agree.
 */
import { LIMITS } from '../base/limits';
import {
  isCondition,
  type OrderOperator,
  type SearchOperator,
  type SqlCondition,
  type SqlLiteral,
  type SqlNode,
  type SqlProperty,
} from './sqlExpression';
import { excerpt, SqlLexer, type Keyword, type SqlSymbol, type Token } from './sqlLexer';
import { parseLike } from './sqlLike';
import { negate, printNumber } from './sqlNumber';
import { characters, sqlRefusal } from './sqlRefusal';

/** Throws FILTER_INVALID. */
export function parseSqlCondition(expression: string): SqlCondition {
  return new SqlParser(expression).parse();
}

/** A node, and where its text begins: what is wrong with it is known only when its neighbour is. */
interface Placed<T extends SqlNode = SqlNode> {
  readonly node: T;
  readonly at: number;
}

class SqlParser {
  readonly #expression: string;
  readonly #lexer: SqlLexer;
  #token: Token;
  #depth = 0;
  #terms = 0;

  constructor(expression: string) {
    refuseTooLong(expression);
    this.#expression = expression;
    this.#lexer = new SqlLexer(expression);
    this.#token = this.#lexer.next();
  }

  parse(): SqlCondition {
    const condition = this.#asCondition(this.#condition());
    if (this.#token.kind !== 'end') throw this.#unexpected('AND, OR or the end');
    return condition;
  }

  #condition(): Placed {
    return this.#chain('OR', 'or', () => this.#chain('AND', 'and', () => this.#negation()));
  }

  /** One node for a chain of any length; parentheses around a part of the same kind make no difference. */
  #chain(word: 'AND' | 'OR', kind: 'and' | 'or', next: () => Placed): Placed {
    const first = next();
    if (this.#token.kind !== word) return first;
    const terms: SqlCondition[] = [];
    const add = (condition: SqlCondition) => {
      if (condition.kind === kind) terms.push(...condition.terms);
      else terms.push(condition);
    };
    add(this.#asCondition(first));
    while (this.#take(word)) add(this.#asCondition(next()));
    return { node: { kind, terms }, at: first.at };
  }

  #negation(): Placed {
    const { at } = this.#token;
    if (this.#token.kind !== 'NOT') return this.#comparison();
    const term = this.#nested(() => {
      this.#advance();
      return this.#asCondition(this.#negation());
    });
    return { node: { kind: 'not', term }, at };
  }

  #comparison(): Placed {
    const left = this.#value();
    const { kind, at } = this.#token;
    switch (kind) {
      case '=':
      case '<>':
        this.#advance();
        return this.#term(left, this.#equal(left, kind === '<>', this.#compared()));
      case '<':
      case '<=':
      case '>':
      case '>=':
        this.#advance();
        return this.#term(left, this.#order(left, kind, this.#value()));
      case 'IS': {
        this.#advance();
        const not = this.#take('NOT');
        this.#expect('NULL', not ? 'NULL' : 'NULL or NOT NULL');
        return this.#term(left, { kind: 'null', not, value: left.node });
      }
      case 'NOT':
        this.#advance();
        return this.#term(left, this.#named(left, true, this.#token.at));
      case 'BETWEEN':
      case 'IN':
      case 'CONTAINS':
      case 'STARTSWITH':
      case 'ENDSWITH':
        return this.#term(left, this.#named(left, false, at));
      default:
        return this.#isWord('LIKE') ? this.#term(left, this.#like(left, false)) : left;
    }
  }

  /** The operators that are words and may have NOT before them. */
  #named(left: Placed, not: boolean, at: number): SqlCondition {
    const { kind } = this.#token;
    switch (kind) {
      case 'BETWEEN':
        this.#advance();
        return this.#between(left, not);
      case 'IN':
        this.#advance();
        return { kind: 'in', not, property: this.#property(left, kind), texts: this.#texts() };
      case 'CONTAINS':
      case 'STARTSWITH':
      case 'ENDSWITH':
        this.#advance();
        return this.#search(left, not, kind);
      default:
        if (this.#isWord('LIKE')) return this.#like(left, not);
        throw this.#refusal(at, `expected IN, BETWEEN, LIKE, CONTAINS, STARTSWITH or ENDSWITH, found ${this.#found()}`);
    }
  }

  #equal(left: Placed, not: boolean, right: Placed): SqlCondition {
    for (const { node, at } of [left, right]) {
      if (node.kind === 'truth' && node.value === null) {
        throw this.#refusal(at, `expected a value: nothing ${not ? 'differs from' : 'equals'} NULL, use IS NULL`);
      }
    }
    const [one, other] = [comparable(left.node), comparable(right.node)];
    if (one !== other && one !== 'property' && other !== 'property') {
      const [wanted, found] = [KIND_NAMES[one], KIND_NAMES[other]];
      throw this.#refusal(right.at, `expected ${wanted} or a property to compare ${wanted} with, found ${found}`);
    }
    return { kind: 'equal', not, left: left.node, right: right.node };
  }

  /** Behind = and <> many take double quotes for those of a text: read as a name, it would silently never match. */
  #compared(): Placed {
    if (this.#token.kind === 'name' && this.#token.quote === '"') {
      throw this.#unexpected('text between single quotes (or a property in backticks)');
    }
    return this.#value();
  }

  #order(left: Placed, operator: OrderOperator, right: Placed): SqlCondition {
    for (const side of [left, right]) this.#numeric(side, operator);
    return { kind: 'order', operator, left: left.node, right: right.node };
  }

  #between(value: Placed, not: boolean): SqlCondition {
    this.#numeric(value, 'BETWEEN');
    const low = this.#value();
    this.#numeric(low, 'BETWEEN');
    this.#expect('AND', 'AND and the upper bound');
    const high = this.#value();
    this.#numeric(high, 'BETWEEN');
    if (low.node.kind === 'number' && high.node.kind === 'number' && high.node.value < low.node.value) {
      const least = printNumber(low.node.value);
      throw this.#refusal(
        high.at,
        `expected an upper bound of at least ${least}, found ${printNumber(high.node.value)}`,
      );
    }
    return { kind: 'between', not, value: value.node, low: low.node, high: high.node };
  }

  #texts(): readonly string[] {
    const texts: string[] = [];
    this.#expect('(', "'('");
    do texts.push(this.#text());
    while (this.#take(','));
    this.#expect(')', "',' or ')'");
    return texts;
  }

  #search(left: Placed, not: boolean, operator: SearchOperator): SqlCondition {
    return { kind: 'search', operator, not, property: this.#property(left, operator), text: this.#text() };
  }

  #like(left: Placed, not: boolean): SqlCondition {
    this.#advance();
    const property = this.#property(left, 'LIKE');
    const { at } = this.#token;
    const pattern = this.#text();
    const escape = this.#escape();
    if (parseLike(pattern, escape) === undefined) {
      throw this.#refusal(at, `expected %, _ or ${escape} behind each ${escape} of the pattern`);
    }
    return { kind: 'like', not, property, pattern, escape };
  }

  #escape(): string | undefined {
    if (!this.#isWord('ESCAPE')) return undefined;
    this.#advance();
    const { at } = this.#token;
    const escape = this.#text();
    if (characters(escape) !== 1) throw this.#refusal(at, `expected one character, found ${excerpt(escape)}`);
    return escape;
  }

  /** Whether a name without quotes stands here that means an operator. */
  #isWord(word: 'LIKE' | 'ESCAPE'): boolean {
    const token = this.#token;
    return token.kind === 'name' && token.quote === undefined && token.name.toUpperCase() === word;
  }

  #value(): Placed {
    const token = this.#token;
    const { at } = token;
    switch (token.kind) {
      case 'name':
        return this.#literal({ kind: 'property', name: token.name });
      case 'text':
        return this.#literal({ kind: 'text', value: token.text });
      case 'number':
        return this.#literal({ kind: 'number', value: token.number });
      case 'TRUE':
      case 'FALSE':
        return this.#literal({ kind: 'truth', value: token.kind === 'TRUE' });
      case 'NULL':
        return this.#literal({ kind: 'truth', value: null });
      case '+':
      case '-':
        return { node: this.#signed(token.kind), at };
      case '(':
        return { node: this.#parenthesised(), at };
      default:
        throw this.#unexpected('a property or a value');
    }
  }

  #literal(node: SqlLiteral | SqlProperty): Placed {
    const { at } = this.#token;
    this.#advance();
    return { node, at };
  }

  #signed(sign: '+' | '-'): SqlLiteral {
    const { node, at } = this.#nested(() => {
      this.#advance();
      return this.#value();
    });
    if (node.kind !== 'number') throw this.#refusal(at, `expected a number behind '${sign}'`);
    return sign === '+' ? node : { kind: 'number', value: negate(node.value) };
  }

  #parenthesised(): SqlNode {
    return this.#nested(() => {
      this.#advance();
      const { node } = this.#condition();
      this.#expect(')', isCondition(node) ? "AND, OR or ')'" : "an operator or ')'");
      return node;
    });
  }

  #asCondition({ node, at }: Placed): SqlCondition {
    if (isCondition(node)) return node;
    if (!['AND', 'OR', ')', 'end'].includes(this.#token.kind)) throw this.#unexpected('an operator');
    const example = node.kind === 'property' ? `, for example ${node.name} = TRUE` : '';
    throw this.#refusal(at, `expected a condition: a ${node.kind} alone is neither true nor false${example}`);
  }

  #numeric({ node, at }: Placed, operator: string): void {
    if (node.kind === 'property' || node.kind === 'number') return;
    throw this.#refusal(at, `expected a number or a property, because ${operator} compares numbers`);
  }

  #property({ node, at }: Placed, operator: string): SqlProperty {
    if (node.kind === 'property') return node;
    throw this.#refusal(at, `expected a property before ${operator}`);
  }

  #text(): string {
    const token = this.#token;
    if (token.kind !== 'text') throw this.#unexpected('text between single quotes');
    this.#advance();
    return token.text;
  }

  #term(left: Placed, node: SqlCondition): Placed {
    if (++this.#terms > LIMITS.filterTerms) {
      throw this.#refusal(left.at, `expected the end: an expression has at most ${LIMITS.filterTerms} comparisons`);
    }
    return { node, at: left.at };
  }

  /** What a sign, NOT or a parenthesis begins: the only ways to nest. */
  #nested<T>(inside: () => T): T {
    if (++this.#depth > LIMITS.filterDepth) {
      throw this.#refusal(
        this.#token.at,
        `expected at most ${LIMITS.filterDepth} parentheses, NOTs and signs in each other`,
      );
    }
    const result = inside();
    this.#depth--;
    return result;
  }

  #advance(): void {
    this.#token = this.#lexer.next();
  }

  #take(kind: Keyword | SqlSymbol): boolean {
    if (this.#token.kind !== kind) return false;
    this.#advance();
    return true;
  }

  #expect(kind: Keyword | SqlSymbol, expected: string): void {
    if (!this.#take(kind)) throw this.#unexpected(expected);
  }

  #unexpected(expected: string) {
    return this.#refusal(this.#token.at, `expected ${expected}, found ${this.#found()}`);
  }

  #found(): string {
    const { kind, at, end } = this.#token;
    return kind === 'end' ? 'the end' : excerpt(this.#expression.slice(at, end));
  }

  #refusal(at: number, what: string) {
    return sqlRefusal(this.#expression, at, what);
  }
}

function refuseTooLong(expression: string): void {
  const most = LIMITS.filterCharacters;
  if (expression.length <= most) return;
  if (expression.length <= 2 * most && characters(expression) <= most) return;
  const [...kept] = expression.slice(0, 2 * most);
  const at = kept.slice(0, most).join('').length;
  throw sqlRefusal(expression, at, `expected the end: an expression has at most ${most} characters`);
}

type Comparable = 'property' | 'text' | 'number' | 'truth';
const KIND_NAMES: Readonly<Record<Comparable, string>> = {
  property: 'a property',
  text: 'a text',
  number: 'a number',
  truth: 'a truth value',
};

const comparable = (node: SqlNode): Comparable =>
  node.kind === 'property' || node.kind === 'text' || node.kind === 'number' ? node.kind : 'truth';
