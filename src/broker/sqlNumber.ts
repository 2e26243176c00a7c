/**
 * Numbers of SQL filters: literals and properties that are compared with them. They are doubles, but whole numbers of a
 * long (RocketMQ's largest type) that a double cannot hold are kept as bigint, so that ids of 64 bits are told apart.
 * `<` and `>` between number and bigint are exact in JavaScript, so that the rest need not know.
 */
import { LIMITS } from '../base/limits';

export type SqlNumber = number | bigint;

const LARGEST = 2n ** 63n - 1n;
/** More digits than a long has: converting them exactly would only cost time. */
const LONG_DIGITS = 19;

export interface NumberShape {
  /** Where it ends, exclusive. */
  readonly end: number;
  /** No decimal point and no exponent. */
  readonly whole: boolean;
}

/** The unsigned number that begins here, the longest one: `5`, `5.`, `.5`, `5.5e10`, `5E-3`; undefined = none does. */
export function numberAt(text: string, start: number): NumberShape | undefined {
  let end = digitsEnd(text, start);
  let whole = true;
  let digits = end - start;
  if (text[end] === '.') {
    const fraction = digitsEnd(text, end + 1);
    digits += fraction - end - 1;
    if (digits === 0) return undefined;
    end = fraction;
    whole = false;
  }
  if (digits === 0) return undefined;
  if (text[end] === 'e' || text[end] === 'E') {
    const sign = text[end + 1] === '+' || text[end + 1] === '-' ? 1 : 0;
    const exponent = digitsEnd(text, end + 1 + sign);
    if (exponent > end + 1 + sign) return { end: exponent, whole: false };
  }
  return { end, whole };
}

function digitsEnd(text: string, start: number): number {
  let end = start;
  while (isDigit(text.charCodeAt(end))) end++;
  return end;
}

export const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;

/** A whole number of digits alone; undefined = larger than a long, which RocketMQ refuses, too. */
export function longLiteral(digits: string): SqlNumber | undefined {
  const value = wholeNumber(digits, false);
  return value <= LARGEST && digits.length <= LONG_DIGITS ? value : undefined;
}

/**
 * The number a property's text stands for; undefined = none. Blanks around it and a sign are allowed, as in Java's
 * Double.valueOf; Java's further forms (hexadecimal, `1d`, `1f`, `NaN`, `Infinity`) are not numbers here.
 */
export function readNumber(text: string): SqlNumber | undefined {
  if (text.length > LIMITS.filterNumberCharacters) return undefined;
  let start = 0;
  let stop = text.length;
  while (start < stop && text.charCodeAt(start) <= 0x20) start++;
  while (stop > start && text.charCodeAt(stop - 1) <= 0x20) stop--;
  const sign = text[start];
  const negative = sign === '-';
  if (negative || sign === '+') start++;
  const shape = numberAt(text, start);
  if (shape?.end !== stop) return undefined;
  const unsigned = text.slice(start, stop);
  return shape.whole ? wholeNumber(unsigned, negative) : negated(Number(unsigned), negative);
}

function wholeNumber(digits: string, negative: boolean): SqlNumber {
  const near = Number(digits);
  if (Number.isSafeInteger(near) || digits.length > LONG_DIGITS) return negated(near, negative);
  const exact = BigInt(digits);
  return negative ? -exact : exact;
}

/** Minus zero is zero. */
const negated = (value: number, negative: boolean): number => (negative && value !== 0 ? -value : value);

export const negate = (value: SqlNumber): SqlNumber => (typeof value === 'bigint' ? -value : negated(value, true));

/** A literal that reads as this very number again. */
export function printNumber(value: SqlNumber): string {
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return String(value);
  // A whole double beyond 2^53 must not read as a long.
  return (Number.isInteger(value) ? value.toExponential() : String(value)).replace('e+', 'e');
}

export const sameNumber = (left: SqlNumber, right: SqlNumber): boolean => !(left < right) && !(left > right);
