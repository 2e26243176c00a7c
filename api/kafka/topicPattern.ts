/**
 * Regular expressions from strangers, matched in time that grows with the pattern times the text and no faster: all
 * states of an automaton move on together (Thompson, "Regular expression search algorithm", CACM 1968). What needs going
 * back, look-around and back references, is refused.
 */
import { unprocessable } from './faults';

/** One instruction of the automaton. */
type Step =
  | { readonly kind: 'char'; readonly takes: (code: number) => boolean }
  | { readonly kind: 'fork'; to: number[] }
  | { readonly kind: 'end' };

const MAX_CHARACTERS = 256;
const MAX_STEPS = 2000;
const MAX_REPEATS = 127;
const MAX_GROUPS = 32;

type Piece =
  | { readonly kind: 'char'; readonly takes: (code: number) => boolean }
  | { readonly kind: 'all'; readonly pieces: readonly Piece[] }
  | { readonly kind: 'any'; readonly pieces: readonly Piece[] }
  | { readonly kind: 'repeat'; readonly piece: Piece; readonly min: number; readonly max: number };

export class TopicPattern {
  readonly #steps: Step[] = [];

  /** Throws 422 for what is no pattern, or none that is taken. */
  constructor(text: string) {
    if (text === '' || text.length > MAX_CHARACTERS) throw refuse(text, `it has 1 to ${MAX_CHARACTERS} characters`);
    this.#add(new Parser(text).parse(), text);
    this.#steps.push({ kind: 'end' });
  }

  /** Whether the whole name fits. */
  matches(name: string): boolean {
    let states = this.#closure([0]);
    for (let i = 0; i < name.length; i++) {
      const next: number[] = [];
      for (const at of states) {
        const step = this.#steps[at]!;
        if (step.kind === 'char' && step.takes(name.charCodeAt(i))) next.push(at + 1);
      }
      if (next.length === 0) return false;
      states = this.#closure(next);
    }
    return [...states].some((at) => this.#steps[at]!.kind === 'end');
  }

  /** All that can be reached without reading a character. */
  #closure(from: number[]): Set<number> {
    const states = new Set<number>();
    const open = [...from];
    while (open.length > 0) {
      const at = open.pop()!;
      if (states.has(at)) continue;
      states.add(at);
      const step = this.#steps[at]!;
      if (step.kind === 'fork') open.push(...step.to);
    }
    return states;
  }

  #add(piece: Piece, text: string): void {
    if (this.#steps.length > MAX_STEPS) throw refuse(text, 'it is too large: shorten its repetitions');
    switch (piece.kind) {
      case 'char':
        this.#steps.push({ kind: 'char', takes: piece.takes });
        return;
      case 'all':
        for (const part of piece.pieces) this.#add(part, text);
        return;
      case 'any':
        return this.#addAny(piece.pieces, text);
      case 'repeat':
        for (let i = 0; i < piece.min; i++) this.#add(piece.piece, text);
        if (piece.max === Infinity) this.#addLoop(piece.piece, text);
        else for (let i = piece.min; i < piece.max; i++) this.#addOptional(piece.piece, text);
    }
  }

  #fork(): { to: number[] } {
    const fork = { kind: 'fork' as const, to: [] as number[] };
    this.#steps.push(fork);
    return fork;
  }

  #addAny(pieces: readonly Piece[], text: string): void {
    const start = this.#fork();
    const ends = pieces.map((piece) => {
      start.to.push(this.#steps.length);
      this.#add(piece, text);
      return this.#fork();
    });
    for (const end of ends) end.to.push(this.#steps.length);
  }

  #addLoop(piece: Piece, text: string): void {
    const at = this.#steps.length;
    const start = this.#fork();
    start.to.push(this.#steps.length);
    this.#add(piece, text);
    this.#fork().to.push(at);
    start.to.push(this.#steps.length);
  }

  #addOptional(piece: Piece, text: string): void {
    const start = this.#fork();
    start.to.push(this.#steps.length);
    this.#add(piece, text);
    start.to.push(this.#steps.length);
  }
}

const refuse = (text: string, why: string) =>
  unprocessable(`topic_pattern ${JSON.stringify(text.slice(0, 100))} is not taken: ${why}.`);

const CLASSES: Readonly<Record<string, RegExp>> = {
  d: /\d/,
  D: /\D/,
  w: /\w/,
  W: /\W/,
  s: /\s/,
  S: /\S/,
};

/** Reads a pattern; `^` and `$` at its ends mean nothing, since the whole name is matched. */
class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text.replace(/^\^/, '').replace(/(?<!\\)\$$/, '');
  }

  parse(): Piece {
    const piece = this.#alternatives();
    if (this.#at < this.#text.length) throw this.#refuse('a parenthesis is closed that was not opened');
    return piece;
  }

  #refuse(why: string) {
    return refuse(this.#text, why);
  }

  #alternatives(): Piece {
    const pieces = [this.#sequence()];
    while (this.#text[this.#at] === '|') {
      this.#at++;
      pieces.push(this.#sequence());
    }
    return pieces.length === 1 ? pieces[0]! : { kind: 'any', pieces };
  }

  #sequence(): Piece {
    const pieces: Piece[] = [];
    while (this.#at < this.#text.length && !'|)'.includes(this.#text[this.#at]!)) pieces.push(this.#repeated());
    return { kind: 'all', pieces };
  }

  #repeated(): Piece {
    const piece = this.#one();
    const bounds = this.#bounds();
    if (!bounds) return piece;
    // Lazy or possessive: the same names match.
    if ('?+'.includes(this.#text[this.#at] ?? ' ')) this.#at++;
    if (this.#bounds()) throw this.#refuse('a repetition is repeated');
    return { kind: 'repeat', piece, ...bounds };
  }

  #bounds(): { min: number; max: number } | undefined {
    const char = this.#text[this.#at] ?? '';
    if ('*+?'.includes(char) && char !== '') {
      this.#at++;
      return { min: char === '+' ? 1 : 0, max: char === '?' ? 1 : Infinity };
    }
    if (char !== '{') return undefined;
    const [whole, from, comma, to] = /^\{(\d{1,3})(,)?(\d{1,3})?\}/.exec(this.#text.slice(this.#at)) ?? [];
    const min = Number(from);
    const max = comma === undefined ? min : to === undefined ? Infinity : Number(to);
    if (whole === undefined || min > MAX_REPEATS || max < min || (max > MAX_REPEATS && max !== Infinity))
      throw this.#refuse(`repetitions are {n}, {n,} or {n,m} up to ${MAX_REPEATS}`);
    this.#at += whole.length;
    return { min, max };
  }

  #one(): Piece {
    const char = this.#text[this.#at++]!;
    if (char === '(') return this.#group();
    if (char === '[') return { kind: 'char', takes: this.#set() };
    if (char === '.') return { kind: 'char', takes: () => true };
    if (char === '\\') return { kind: 'char', takes: this.#escaped() };
    if ('*+?{^$'.includes(char)) throw this.#refuse(`${char} stands where nothing can be repeated or ended`);
    const code = char.charCodeAt(0);
    return { kind: 'char', takes: (other) => other === code };
  }

  #group(): Piece {
    if (++this.#depth > MAX_GROUPS) throw this.#refuse('its parentheses are too deep');
    if (this.#text[this.#at] === '?') {
      if (this.#text[this.#at + 1] !== ':') throw this.#refuse('look-around and named groups are not supported');
      this.#at += 2;
    }
    const piece = this.#alternatives();
    if (this.#text[this.#at++] !== ')') throw this.#refuse('a parenthesis is not closed');
    this.#depth--;
    return piece;
  }

  #escaped(): (code: number) => boolean {
    const char = this.#text[this.#at++];
    if (char === undefined) throw this.#refuse('it ends with a backslash');
    const known = CLASSES[char];
    if (known) return (code) => known.test(String.fromCharCode(code));
    if (/[A-Za-z0-9]/.test(char)) throw this.#refuse(`\\${char} is not supported`);
    const code = char.charCodeAt(0);
    return (other) => other === code;
  }

  /** Behind the opening bracket. */
  #set(): (code: number) => boolean {
    const negated = this.#text[this.#at] === '^';
    if (negated) this.#at++;
    const takes: ((code: number) => boolean)[] = [];
    for (let first = true; first || this.#text[this.#at] !== ']'; first = false) {
      const char = this.#text[this.#at++];
      if (char === undefined) throw this.#refuse('a bracket is not closed');
      if (char === '\\') {
        takes.push(this.#escaped());
        continue;
      }
      const from = char.charCodeAt(0);
      const range = this.#text[this.#at] === '-' && ![']', undefined].includes(this.#text[this.#at + 1]);
      const to = range ? this.#text.charCodeAt(this.#at + 1) : from;
      if (range) this.#at += 2;
      if (to < from) throw this.#refuse('a range in brackets goes backwards');
      takes.push((code) => code >= from && code <= to);
    }
    this.#at++;
    return (code) => takes.some((part) => part(code)) !== negated;
  }
}
