/**
 * JSON from a stranger: valid UTF-8, nested at most LIMITS.jsonDepth levels, no `__proto__` or `constructor.prototype`,
 * no half of a surrogate pair. What comes out is bounded in depth, so everything after may recurse.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import { parse as parseSecurely } from 'secure-json-parse';
import { GantryError } from '../src/base/errors';
import { LIMITS } from '../src/base/limits';
import { locateJsonFault } from './jsonFault';
import { below } from './schemaCheck';

/** The bytes as text, or ENCODING_INVALID. */
export function decodeUtf8(bytes: Buffer): string {
  if (isAscii(bytes)) return bytes.toString('latin1');
  if (isUtf8(bytes)) return bytes.toString('utf8');
  throw new GantryError('ENCODING_INVALID', 'The body is not valid UTF-8.');
}

/** Where in a larger request a text stands; for the errors of `parseJson`. */
export interface TextPlace {
  /** JSON pointer of the text's value. */
  readonly pointer: string;
  /** Stands before each detail: 'line 3: '. */
  readonly prefix: string;
}

const WHOLE: TextPlace = { pointer: '', prefix: '' };

/**
 * Up to this length depth is looked for in the parsed value, which is quicker; a longer text could fill the memory with
 * empty arrays before, so it is scanned first.
 */
const SCANNED_CHARACTERS = 64 * 1024;

/** The value of a JSON text, or the GantryError that says what is wrong and where. */
export function parseJson(text: string, place: TextPlace = WHOLE): unknown {
  const long = text.length > SCANNED_CHARACTERS;
  if (long) checkDepth(text, place);
  let value: unknown;
  try {
    value = JSON.parse(withoutMark(text));
    if (isOdd(value, LIMITS.jsonDepth)) {
      checkDepth(text, place);
      value = parseSecurely(text);
    }
  } catch (error) {
    throw error instanceof GantryError ? error : explain(text, place);
  }
  // Without \u escapes no surrogate stands alone: the bytes were valid UTF-8.
  if (text.includes('\\u')) checkWellFormed(value, place, place.pointer);
  return value;
}

/** Whether a value is nested deeper than so many levels, or has a field whose name secure-json-parse has to judge. */
function isOdd(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) {
    for (const part of value) if (typeof part === 'object' && isOdd(part, levels - 1)) return true;
    return false;
  }
  for (const key in value) {
    if (key === '__proto__' || key === 'constructor') return true;
    const part = (value as Record<string, unknown>)[key];
    if (typeof part === 'object' && isOdd(part, levels - 1)) return true;
  }
  return false;
}

/** Throws JSON_TOO_DEEP for what is nested deeper than so many levels. */
export function checkDepth(text: string, place: TextPlace = WHOLE, levels: number = LIMITS.jsonDepth): void {
  const at = depthFault(text, levels);
  if (at >= 0) throw refuse('JSON_TOO_DEEP', place, `nested deeper than ${levels} levels at character ${at}`);
}

const withoutMark = (text: string): string => (text.charCodeAt(0) === 0xfeff ? text.slice(1) : text);

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The position at which the text gets too deep, or -1. Right for every text that is JSON. */
function depthFault(text: string, levels: number): number {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
      if (at < 0) return -1;
    } else if (code === 0x7b || code === 0x5b) {
      depth += 1;
      if (depth > levels) return at;
    } else if (code === 0x7d || code === 0x5d) depth -= 1;
  }
  return -1;
}

/** The position of the quote that closes the string opened at `start`, or -1. Most strings hold no escaped quote. */
export function endOfString(text: string, start: number): number {
  const end = text.indexOf('"', start + 1);
  if (end < 0 || text.charCodeAt(end - 1) !== BACKSLASH) return end;
  for (let at = text.indexOf('\\', start + 1); at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === BACKSLASH) at += 1;
    else if (code === QUOTE) return at;
  }
  return -1;
}

/** Why a text was not taken. Throws where it is too deep to be looked into. */
function explain(text: string, place: TextPlace): GantryError {
  checkDepth(text, place);
  let value: unknown;
  try {
    value = JSON.parse(withoutMark(text));
  } catch {
    const plain = withoutMark(text);
    const { at, expected } = locateJsonFault(plain);
    const line = plain.slice(0, at).split('\n').length;
    const where = place.prefix === '' ? `line ${line}, character ${at}` : `character ${at}`;
    return refuse('MALFORMED_JSON', place, `not JSON at ${where}: expected ${expected}`);
  }
  const pointer = prototypePointer(value, place.pointer) ?? place.pointer;
  return refuse('VALIDATION_FAILED', { ...place, pointer }, 'this field name is not allowed');
}

function refuse(
  code: 'JSON_TOO_DEEP' | 'MALFORMED_JSON' | 'VALIDATION_FAILED' | 'ENCODING_INVALID',
  place: TextPlace,
  what: string,
): GantryError {
  const detail = `${place.prefix}${what}`;
  return new GantryError(code, `The body is refused: ${detail}.`, { errors: [{ pointer: place.pointer, detail }] });
}

/** Where `__proto__` or `constructor.prototype` stands. */
function prototypePointer(value: unknown, pointer: string): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, part] of Object.entries(value)) {
    const here = below(pointer, Array.isArray(value) ? Number(key) : key);
    if (key === '__proto__') return here;
    if (
      key === 'constructor' &&
      typeof part === 'object' &&
      part !== null &&
      Object.hasOwn(part as object, 'prototype')
    )
      return here;
    const deeper = prototypePointer(part, here);
    if (deeper !== undefined) return deeper;
  }
  return undefined;
}

/** Refuses half a surrogate pair in any string or name: it has no UTF-8. */
function checkWellFormed(value: unknown, place: TextPlace, pointer: string): void {
  if (typeof value === 'string') {
    if (value.isWellFormed()) return;
    throw refuse('ENCODING_INVALID', { ...place, pointer }, 'half of a surrogate pair is not Unicode text');
  }
  if (typeof value !== 'object' || value === null) return;
  for (const [key, part] of Object.entries(value)) {
    if (!key.isWellFormed())
      throw refuse('ENCODING_INVALID', { ...place, pointer }, 'a field name holds half of a surrogate pair');
    checkWellFormed(part, place, below(pointer, Array.isArray(value) ? Number(key) : key));
  }
}
