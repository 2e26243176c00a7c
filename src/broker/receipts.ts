/**
 * The handle of a message that was handed out under a lease: opaque, signed, and refused by any other group. It names
 * the message and the lease; whether the message still belongs to that lease is decided when it is used.
 *
 *   version 1 · group 6 · topic 6 · queueId 2 · lease 6 · offset 6 · mac 12
 *
 * The mac covers all but the offset, so that one serves all messages of a queue in one answer: with another offset a
 * handle reaches a message of the same lease, which its holder was given anyway, or none.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export interface Receipt {
  readonly topic: number;
  readonly queueId: number;
  readonly lease: number;
  readonly offset: number;
}

const VERSION = 1;
const SIGNED_BYTES = 21;
const MAC_AT = 27;
const MAC_BYTES = 12;
const BYTES = MAC_AT + MAC_BYTES;
/** Base64url passes over what it cannot use: a handle of another length is none of ours, whatever it decodes to. */
const CHARACTERS = (BYTES * 4) / 3;
/** Macs kept, so that the acknowledgements of one answer are checked by one. */
const REMEMBERED = 10_000;

export class ReceiptCodec {
  readonly #secret: Buffer;
  readonly #macs = new Map<string, Buffer>();

  constructor(secret: Buffer) {
    this.#secret = secret;
  }

  encode(group: number, { topic, queueId, lease, offset }: Receipt): string {
    const bytes = Buffer.allocUnsafe(BYTES);
    bytes[0] = VERSION;
    bytes.writeUIntBE(group, 1, 6);
    bytes.writeUIntBE(topic, 7, 6);
    bytes.writeUInt16BE(queueId, 13);
    bytes.writeUIntBE(lease, 15, 6);
    bytes.writeUIntBE(offset, 21, 6);
    this.#mac(bytes).copy(bytes, MAC_AT);
    return bytes.toString('base64url');
  }

  /** What a handle of this group says; undefined for what we did not make for it. */
  decode(group: number, handle: string): Receipt | undefined {
    if (handle.length !== CHARACTERS) return undefined;
    const bytes = Buffer.from(handle, 'base64url');
    if (bytes.length !== BYTES || bytes[0] !== VERSION || bytes.readUIntBE(1, 6) !== group) return undefined;
    if (!timingSafeEqual(this.#mac(bytes), bytes.subarray(MAC_AT))) return undefined;
    return {
      topic: bytes.readUIntBE(7, 6),
      queueId: bytes.readUInt16BE(13),
      lease: bytes.readUIntBE(15, 6),
      offset: bytes.readUIntBE(21, 6),
    };
  }

  #mac(bytes: Buffer): Buffer {
    const name = bytes.toString('latin1', 0, SIGNED_BYTES);
    let mac = this.#macs.get(name);
    if (mac) return mac;
    mac = createHmac('sha256', this.#secret).update('receipt').update(bytes.subarray(0, SIGNED_BYTES)).digest();
    mac = mac.subarray(0, MAC_BYTES);
    if (this.#macs.size >= REMEMBERED) this.#macs.delete(this.#macs.keys().next().value!);
    this.#macs.set(name, mac);
    return mac;
  }
}
