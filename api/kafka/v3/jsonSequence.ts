/**
 * Cuts a stream of bytes into the JSON objects that follow each other in it, with or without white space between them.
 * Only the ends are found here: whether a part is JSON is for its reader.
 */
import { KafkaFault } from '../faults';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = 0x7b;
const CLOSE = 0x7d;
/** Space, tab, line ends, and the bytes of a byte order mark. */
const BLANK: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d, 0xef, 0xbb, 0xbf]);
const NOTHING = Buffer.alloc(0);

export class JsonSequence {
  /** Bytes of one object. */
  readonly #limit: number;
  #pending: Buffer = NOTHING;
  /** Up to here `pending` was looked at. */
  #at = 0;
  #depth = 0;
  #inString = false;
  /** Set once bytes came that cannot be read on from; the objects before them count. */
  fault: KafkaFault | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The objects that are complete with these bytes, until there is a fault: 400 for anything between objects, 413 for one that is too long. */
  push(chunk: Buffer): Buffer[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const objects: Buffer[] = [];
    let start = 0;
    for (; this.#at < this.#pending.length && !this.fault; this.#at++) {
      if (this.#depth === 0 && !this.#begins()) start = this.#at + 1;
      else if (this.#ends()) {
        objects.push(this.#pending.subarray(start, this.#at + 1));
        start = this.#at + 1;
      }
    }
    this.#pending = this.#pending.subarray(start);
    this.#at -= start;
    if (this.#pending.length > this.#limit)
      this.fault ??= new KafkaFault(413, 413, `A record has at most ${this.#limit} bytes.`);
    return objects;
  }

  /** No more bytes come: ending inside of an object is a fault, too. */
  end(): void {
    if (this.#depth > 0) this.fault ??= new KafkaFault(400, 400, 'The body ends in the middle of a record.');
  }

  /** Between objects: whether one begins at this byte. */
  #begins(): boolean {
    const byte = this.#pending[this.#at]!;
    if (byte === OPEN) return true;
    if (BLANK.has(byte)) return false;
    this.fault = new KafkaFault(400, 400, 'The body must be JSON objects, one for each record.');
    return false;
  }

  /** Inside of an object, from its first byte on: whether it ends with this one. */
  #ends(): boolean {
    const byte = this.#pending[this.#at]!;
    if (this.#inString) {
      // A backslash takes the next byte with it; if that has not come, the next call begins behind it.
      if (byte === BACKSLASH) this.#at++;
      else if (byte === QUOTE) this.#inString = false;
    } else if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN) this.#depth++;
    else if (byte === CLOSE) this.#depth--;
    return this.#depth === 0;
  }
}
