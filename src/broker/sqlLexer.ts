/**
 * The words of a SQL filter, one at a time, read character by character from left to right and never looked at twice.
 *
 * As in RocketMQ: blanks, tabs, line ends and form feeds separate words, and so do comments (`-- to the end of the
 * line`, `/ * … * /`). A name begins with an ASCII letter, `_` or `$` and goes on with these and digits. Names keep their
 * case, keywords have none. Text stands in single quotes, and `''` in it is one quote.
 * Other than in RocketMQ, a name of any characters, or one that is a keyword, stands in double quotes (as in SQL) or in
 * backticks; a doubled one is one of them.
 */
import { isDigit, longLiteral, numberAt, type SqlNumber } from './sqlNumber';
import { sqlRefusal } from './sqlRefusal';

const KEYWORDS = [
  'AND',
  'BETWEEN',
  'CONTAINS',
  'ENDSWITH',
  'FALSE',
  'IN',
  'IS',
  'NOT',
  'NULL',
  'OR',
  'STARTSWITH',
  'TRUE',
] as const;
export type Keyword = (typeof KEYWORDS)[number];
const KEYWORD = new Map<string, Keyword>(KEYWORDS.map((keyword) => [keyword, keyword]));
const LONGEST_KEYWORD = 'STARTSWITH'.length;

const SYMBOLS = ['=', '<>', '<=', '<', '>=', '>', '(', ')', ',', '+', '-'] as const;
export type SqlSymbol = (typeof SYMBOLS)[number];

/** What people write from other languages, and what it is called here. */
const FOREIGN: Readonly<Record<string, string>> = {
  '!': "'<>' or NOT, there is no '!'",
  '&': "AND, there is no '&'",
  '|': "OR, there is no '|'",
  ';': "the end, there is no ';'",
};

export type Token = (
  | { readonly kind: Keyword | SqlSymbol | 'end' }
  /** `quote` is the character that it stands in. */
  | { readonly kind: 'name'; readonly name: string; readonly quote?: '"' | '`' }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'number'; readonly number: SqlNumber }
) & {
  /** Where it stands in the expression: the first character, and the one behind the last. */
  readonly at: number;
  readonly end: number;
};

export class SqlLexer {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Behind the last word it answers `end`, however often it is asked. Throws FILTER_INVALID. */
  next(): Token {
    this.#skipBlanks();
    const at = this.#at;
    const text = this.#text;
    if (at === text.length) return { kind: 'end', at, end: at };
    if (beginsName(text.charCodeAt(at))) return this.#word(at);
    const quote = text[at]!;
    if (quote === "'") return { kind: 'text', text: this.#quoted(at, quote), at, end: this.#at };
    if (quote === '"' || quote === '`') return this.#quotedName(at, quote);
    const shape = numberAt(text, at);
    if (shape) return this.#number(at, shape.end, shape.whole);
    const symbol = SYMBOLS.find((candidate) => text.startsWith(candidate, at));
    if (symbol === undefined) throw this.#unknown(at);
    this.#at += symbol.length;
    return { kind: symbol, at, end: this.#at };
  }

  #skipBlanks(): void {
    const text = this.#text;
    for (;;) {
      while (isBlank(text.charCodeAt(this.#at))) this.#at++;
      if (text.startsWith('--', this.#at)) {
        while (this.#at < text.length && !isLineEnd(text.charCodeAt(this.#at))) this.#at++;
      } else if (text.startsWith('/*', this.#at)) {
        const end = text.indexOf('*/', this.#at + 2);
        if (end < 0) throw sqlRefusal(text, this.#at, "expected '*/' somewhere behind this comment's beginning");
        this.#at = end + 2;
      } else {
        return;
      }
    }
  }

  #word(at: number): Token {
    let end = at + 1;
    while (continuesName(this.#text.charCodeAt(end))) end++;
    this.#at = end;
    const name = this.#text.slice(at, end);
    const keyword = name.length > LONGEST_KEYWORD ? undefined : KEYWORD.get(name.toUpperCase());
    return keyword === undefined ? { kind: 'name', name, at, end } : { kind: keyword, at, end };
  }

  #quotedName(at: number, quote: '"' | '`'): Token {
    const name = this.#quoted(at, quote);
    if (name === '') throw sqlRefusal(this.#text, at, 'expected the name of a property between these quotes');
    return { kind: 'name', name, quote, at, end: this.#at };
  }

  /** Text from the quote at `at` to the next one that is not doubled. */
  #quoted(at: number, quote: string): string {
    const source = this.#text;
    let text = '';
    for (let from = at + 1; ;) {
      const found = source.indexOf(quote, from);
      if (found < 0) throw sqlRefusal(source, at, 'expected a closing quote somewhere behind this one');
      text += source.slice(from, found);
      if (source[found + 1] !== quote) {
        this.#at = found + 1;
        return text;
      }
      text += quote;
      from = found + 2;
    }
  }

  #number(at: number, end: number, whole: boolean): Token {
    const text = this.#text;
    const image = text.slice(at, end);
    this.#at = end;
    if (!whole) return { kind: 'number', number: this.#decimal(image, at), at, end };
    if (image.length > 1 && image.startsWith('0')) {
      throw sqlRefusal(text, at, `expected a whole number without leading zeros, found ${excerpt(image)}`);
    }
    const number = longLiteral(image);
    if (number === undefined) {
      throw sqlRefusal(text, at, `expected a whole number up to 9223372036854775807, found ${excerpt(image)}`);
    }
    if (text[end] === 'L' || text[end] === 'l') this.#at++;
    return { kind: 'number', number, at, end: this.#at };
  }

  #decimal(image: string, at: number): number {
    const value = Number(image);
    // What a double cannot hold would silently be compared as another number.
    if (!Number.isFinite(value) || (value === 0 && significant(image))) {
      throw sqlRefusal(this.#text, at, `expected a number that a double can hold, found ${excerpt(image)}`);
    }
    return value;
  }

  #unknown(at: number) {
    const character = String.fromCodePoint(this.#text.codePointAt(at)!);
    const instead = FOREIGN[character] ?? 'a property, a value or an operator';
    return sqlRefusal(this.#text, at, `expected ${instead}, found ${excerpt(character)}`);
  }
}

/** A word as it is shown in a refusal. */
export function excerpt(word: string): string {
  return JSON.stringify(word.length > 32 ? `${word.slice(0, 32)}…` : word);
}

/** Has a digit other than 0 before its exponent. */
function significant(image: string): boolean {
  for (const character of image) {
    if (character === 'e' || character === 'E') return false;
    if (character >= '1' && character <= '9') return true;
  }
  return false;
}

/** Whether a name may stand without quotes. */
export function isPlainName(name: string): boolean {
  if (!beginsName(name.charCodeAt(0)) || KEYWORD.has(name.toUpperCase())) return false;
  for (let i = 1; i < name.length; i++) if (!continuesName(name.charCodeAt(i))) return false;
  return true;
}

const isBlank = (code: number): boolean => code === 0x20 || code === 0x09 || code === 0x0c || isLineEnd(code);
const isLineEnd = (code: number): boolean => code === 0x0a || code === 0x0d;

/** A-Z, a-z, _, $ */
const beginsName = (code: number): boolean =>
  (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f || code === 0x24;

const continuesName = (code: number): boolean => beginsName(code) || isDigit(code);
