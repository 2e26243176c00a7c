/**
 * The handle of a message that was handed out under a lease: opaque, signed, and refused by any other group. It names
 * the message and the lease; whether the message still belongs to that lease is decided when it is used.
 *
 *   version 1 · group 6 · of the crc of its name 3 · topic 6 · queueId 2 · lease 6 · offset 6 · mac 12
 *
 * The mac covers all but the offset, so that one serves all messages of a queue in one answer: with another offset a
 * handle reaches a message of the same lease, which its holder was given anyway, or none.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { GantryError } from '../base/errors';

export interface Receipt {
  readonly topic: number;
  readonly queueId: number;
  readonly lease: number;
  readonly offset: number;
}

/** Number and name of the group that it was given to. */
export interface ReceiptOwner {
  readonly no: number;
  readonly name: string;
}

const VERSION = 2;
const SIGNED_BYTES = 24;
const MAC_AT = 30;
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

  encode(group: ReceiptOwner, { topic, queueId, lease, offset }: Receipt): string {
    const bytes = Buffer.allocUnsafe(BYTES);
    bytes[0] = VERSION;
    bytes.writeUIntBE(group.no, 1, 6);
    bytes.writeUIntBE(nameMark(group), 7, 3);
    bytes.writeUIntBE(topic, 10, 6);
    bytes.writeUInt16BE(queueId, 16);
    bytes.writeUIntBE(lease, 18, 6);
    bytes.writeUIntBE(offset, 24, 6);
    this.#mac(bytes).copy(bytes, MAC_AT);
    return bytes.toString('base64url');
  }

  /** What a handle of this group says; RECEIPT_INVALID for what we did not make for it, TOPIC_RECREATED for an earlier creation. */
  decode(group: ReceiptOwner, handle: string): Receipt | GantryError {
    if (handle.length !== CHARACTERS) return invalid();
    const bytes = Buffer.from(handle, 'base64url');
    if (bytes.length !== BYTES || bytes[0] !== VERSION || bytes.readUIntBE(7, 3) !== nameMark(group)) return invalid();
    if (!timingSafeEqual(this.#mac(bytes), bytes.subarray(MAC_AT))) return invalid();
    if (bytes.readUIntBE(1, 6) !== group.no) return recreated(group);
    return {
      topic: bytes.readUIntBE(10, 6),
      queueId: bytes.readUInt16BE(16),
      lease: bytes.readUIntBE(18, 6),
      offset: bytes.readUIntBE(24, 6),
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

/** By it a group's former self is told from another group; two names that share it are only told the wrong reason. */
const nameMark = ({ name }: ReceiptOwner): number => crc32(name) >>> 8;

const invalid = (): GantryError =>
  new GantryError(
    'RECEIPT_INVALID',
    'this is no receipt of this group: use the receiptHandle of a message it received',
  );

const recreated = ({ name }: ReceiptOwner): GantryError =>
  new GantryError(
    'TOPIC_RECREATED',
    `group ${name} was deleted and created again since this message was handed out: receive what there is for it now`,
  );
