/**
 * Reads HTTP/1.1 answers from a socket's chunks, wherever the cuts fall. Knows as little as a load generator needs:
 * status, Content-Length, and whether the connection ends. A body is lent: it is valid only during the call.
 */
export type OnResponse = (status: number, body: Buffer, closes: boolean) => void;

const HEAD_END = Buffer.from('\r\n\r\n');
const NOTHING = Buffer.alloc(0);
/** No server we measure sends more; what does is not HTTP. */
const HEAD_BYTES = 64 * 1024;

export class ResponseReader {
  readonly #onResponse: OnResponse;
  /** The beginning of a head whose end has not come yet. */
  #partial: Buffer = NOTHING;
  #status = 0;
  #closes = false;
  /** Bytes of the body still to come, and where those that came are gathered. */
  #missing = 0;
  #body: Buffer = NOTHING;
  #filled = 0;

  constructor(onResponse: OnResponse) {
    this.#onResponse = onResponse;
  }

  /** Calls back once for each answer that this chunk completes. Throws on what it cannot read. */
  feed(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) rest = this.#missing > 0 ? this.#gather(rest) : this.#begin(rest);
  }

  /** Takes a head and, if it is all there, the body; answers what is left of the chunk. */
  #begin(chunk: Buffer): Buffer {
    const bytes = this.#partial.length > 0 ? Buffer.concat([this.#partial, chunk]) : chunk;
    const end = bytes.indexOf(HEAD_END);
    if (end < 0) {
      if (bytes.length > HEAD_BYTES) throw new Error('the head of an answer does not end');
      this.#partial = Buffer.from(bytes);
      return NOTHING;
    }
    this.#partial = NOTHING;
    const length = this.#readHead(bytes.toString('latin1', 0, end));
    const start = end + HEAD_END.length;
    if (length < 0) return bytes.subarray(start);
    if (bytes.length - start >= length) {
      this.#onResponse(this.#status, bytes.subarray(start, start + length), this.#closes);
      return bytes.subarray(start + length);
    }
    this.#missing = length;
    this.#filled = 0;
    if (this.#body.length < length) this.#body = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#body.length));
    return bytes.subarray(start);
  }

  /** The length of the body that follows; -1 when this is no final answer (1xx). */
  #readHead(head: string): number {
    if (!head.startsWith('HTTP/1.')) throw new Error(`no HTTP answer: ${head.slice(0, 60)}`);
    this.#status = Number(head.slice(9, 12));
    this.#closes = /\r\nconnection: *close/i.test(head);
    if (this.#status < 200) return -1;
    if (this.#status === 204 || this.#status === 304) return 0;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head);
    if (!length) throw new Error(`an answer without Content-Length: ${head.slice(0, 200)}`);
    return Number(length[1]);
  }

  #gather(chunk: Buffer): Buffer {
    const taken = Math.min(this.#missing, chunk.length);
    chunk.copy(this.#body, this.#filled, 0, taken);
    this.#filled += taken;
    this.#missing -= taken;
    if (this.#missing === 0) this.#onResponse(this.#status, this.#body.subarray(0, this.#filled), this.#closes);
    return chunk.subarray(taken);
  }
}
