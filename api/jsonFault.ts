/**
 * Where a JSON text stops being JSON. Node's own messages change with its version and often name no place, so a text
 * that `JSON.parse` refused is read again here, slowly, up to the first fault.
 */
export interface JsonFault {
  /** Characters before the fault. */
  readonly at: number;
  /** What should have stood there. */
  readonly expected: string;
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const SPACE = /[ \t\n\r]*/y;

/** The first fault of a text that is not JSON. Nesting must have been bounded before: this recurses. */
export function locateJsonFault(text: string): JsonFault {
  const reader = new Reader(text);
  try {
    reader.value();
    reader.space();
    return { at: reader.at, expected: 'the end of the text' };
  } catch (fault) {
    return fault instanceof Found ? { at: fault.at, expected: fault.expected } : { at: reader.at, expected: 'JSON' };
  }
}

class Found extends Error {
  constructor(
    readonly at: number,
    readonly expected: string,
  ) {
    super(expected);
  }
}

class Reader {
  at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  space(): void {
    this.#take(SPACE);
  }

  value(): void {
    this.space();
    const next = this.#text[this.at];
    if (next === '{') return this.#members('}', 'a field name in double quotes or }', () => this.#member());
    if (next === '[') return this.#members(']', 'a value or ]', () => this.value());
    if (next === '"') return this.#string('a value');
    for (const word of ['true', 'false', 'null']) {
      if (this.#text.startsWith(word, this.at)) return void (this.at += word.length);
    }
    if (!this.#take(NUMBER)) throw new Found(this.at, 'a value');
  }

  #member(): void {
    this.#string('a field name in double quotes');
    this.space();
    if (this.#text[this.at] !== ':') throw new Found(this.at, ':');
    this.at += 1;
    this.value();
  }

  #members(end: string, first: string, read: () => void): void {
    this.at += 1;
    this.space();
    if (this.#text[this.at] === end) return void (this.at += 1);
    if (this.at >= this.#text.length) throw new Found(this.at, first);
    for (;;) {
      this.space();
      read();
      this.space();
      const next = this.#text[this.at];
      if (next !== ',' && next !== end) throw new Found(this.at, `, or ${end}`);
      this.at += 1;
      if (next === end) return;
    }
  }

  #string(expected: string): void {
    if (this.#text[this.at] !== '"') throw new Found(this.at, expected);
    this.at += 1;
    for (;;) {
      const code = this.#text.charCodeAt(this.at);
      if (Number.isNaN(code)) throw new Found(this.at, 'the closing quote of a string');
      if (code < 0x20) throw new Found(this.at, 'an escape such as \\n instead of a control character');
      if (code === 0x5c) {
        if (!this.#take(ESCAPE)) throw new Found(this.at, 'an escape of JSON');
      } else {
        this.at += 1;
        if (code === 0x22) return;
      }
    }
  }

  #take(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.#text);
    if (match === null) return false;
    this.at += match[0].length;
    return true;
  }
}
