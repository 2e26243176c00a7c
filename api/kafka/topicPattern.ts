/**
 * Which topics a pattern names. Patterns come from strangers, so they are RE2's, which are matched in time that grows with
 * pattern and text and no faster: look-around and back references are refused, and so is what no name needs.
 */
import { RE2JS, RE2JSException } from 're2js';
import { unprocessable } from './faults';

const MAX_CHARACTERS = 256;
/** No name is longer: more repetitions mean nothing. */
const MAX_REPEATS = 127;
/** More than anybody needs to name topics. */
const MAX_GROUPS = 32;

export class TopicPattern {
  readonly #pattern: RE2JS;

  /** Throws 422 for what is no pattern, or none that is taken. */
  constructor(text: string) {
    if (text === '' || text.length > MAX_CHARACTERS) throw refuse(text, `it has 1 to ${MAX_CHARACTERS} characters`);
    try {
      this.#pattern = RE2JS.compile(text);
    } catch (error) {
      if (!(error instanceof RE2JSException)) throw error;
      throw refuse(text, error.message);
    }
    if (this.#pattern.groupCount() > MAX_GROUPS) throw refuse(text, `it has more than ${MAX_GROUPS} groups`);
    if (
      [...text.matchAll(/\{(\d+),?(\d*)\}/g)].some(([, from, to]) => Math.max(Number(from), Number(to)) > MAX_REPEATS)
    )
      throw refuse(text, `it repeats more than ${MAX_REPEATS} times`);
  }

  /** Whether the whole name fits. */
  matches(name: string): boolean {
    return this.#pattern.matcher(name).matches();
  }
}

const refuse = (text: string, why: string) =>
  unprocessable(`topic_pattern ${JSON.stringify(text.slice(0, 100))} is not taken: ${why}.`);
