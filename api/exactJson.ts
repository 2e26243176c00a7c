/** The text of single values inside of a JSON document, as it was written. Only for text that JSON.parse has accepted. */
import { endOfString } from './jsonText';

/** Texts of fields by name; of two fields with one name the last counts, as in JSON.parse. */
export type FieldTexts = Readonly<Record<string, string>>;

const QUOTE = 0x22;
const COMMA = 0x2c;

/** The texts of the named fields of the object that the document is. */
export function fieldsOfObject(text: string, names: readonly string[]): FieldTexts {
  const found: Record<string, string> = {};
  fieldsAt(text, skipBlank(text, 0), names, found);
  return found;
}

/** The texts of the named fields of each item of the document's `list`, in order. An item that is no object has none. */
export function fieldsOfItems(text: string, list: string, names: readonly string[]): FieldTexts[] {
  let found: FieldTexts[] = [];
  eachField(text, skipBlank(text, 0), (name, start) => {
    if (name !== list) return endOfValue(text, start);
    found = [];
    return text[start] === '[' ? itemsAt(text, start, names, found) : endOfValue(text, start);
  });
  return found;
}

/** Reads the list that begins at `start`; returns where it ends. */
function itemsAt(text: string, start: number, names: readonly string[], found: FieldTexts[]): number {
  let at = skipBlank(text, start + 1);
  while (text[at] !== ']') {
    const fields: Record<string, string> = {};
    found.push(fields);
    at = text[at] === '{' ? fieldsAt(text, at, names, fields) : endOfValue(text, at);
    at = behindComma(text, at);
  }
  return at + 1;
}

function fieldsAt(text: string, start: number, names: readonly string[], found: Record<string, string>): number {
  return eachField(text, start, (name, at) => {
    const end = endOfValue(text, at);
    if (names.includes(name)) found[name] = text.slice(at, end);
    return end;
  });
}

/** Calls with each name and where its value begins, to be told where that ends. Returns where the object ends. */
function eachField(text: string, start: number, onField: (name: string, at: number) => number): number {
  let at = skipBlank(text, start + 1);
  while (text[at] !== '}') {
    const nameEnd = endOfString(text, at) + 1;
    const quoted = text.slice(at, nameEnd);
    const name = quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
    const valueAt = skipBlank(text, skipBlank(text, nameEnd) + 1);
    at = behindComma(text, onField(name, valueAt));
  }
  return at + 1;
}

function behindComma(text: string, end: number): number {
  const at = skipBlank(text, end);
  return text.charCodeAt(at) === COMMA ? skipBlank(text, at + 1) : at;
}

function skipBlank(text: string, start: number): number {
  let at = start;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09 && code !== 0xfeff) return at;
    at++;
  }
}

/** Behind the value that begins at `start`. */
function endOfValue(text: string, start: number): number {
  if (text.charCodeAt(start) === QUOTE) return endOfString(text, start) + 1;
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === 0x7b || code === 0x5b) depth++;
    else if (code === 0x7d || code === 0x5d) {
      // The bracket of what the value stands in ends it, too.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (code === COMMA || code <= 0x20)) return at;
  }
  return text.length;
}
