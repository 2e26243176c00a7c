/**
 * The handle of a message that was handed out under a lease: opaque, signed, and refused by any other group. It names
 * the message and the lease; whether the message still belongs to that lease is decided when it is used. It names its
 * broker, too, so that any front knows whom to ask.
 *
 *   version 1 · group 6 · of the crc of its name 3 · topic 6 · queueId 2 · lease 6 · crc of the broker's name 4 ·
 *   offset 6 · mac 14
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

const VERSION = 3;
const BROKER_AT = 24;
const SIGNED_BYTES = 28;
const MAC_AT = 34;
/** So many that the whole divides by three: base64url then has no spare bits that could be changed unseen. */
const MAC_BYTES = 14;
const BYTES = MAC_AT + MAC_BYTES;
/** Base64url passes over what it cannot use: a handle of another length is none of ours, whatever it decodes to. */
const CHARACTERS = (BYTES * 4) / 3;
/** Macs kept, so that the acknowledgements of one answer are checked by one. */
const REMEMBERED = 10_000;

export class ReceiptCodec {
  readonly #secret: Buffer;
  readonly #mark: number;
  readonly #macs = new Map<string, Buffer>();

  constructor(secret: Buffer, brokerName: string) {
    this.#secret = secret;
    this.#mark = brokerMark(brokerName);
  }

  encode(group: ReceiptOwner, { topic, queueId, lease, offset }: Receipt): string {
    const bytes = Buffer.allocUnsafe(BYTES);
    bytes[0] = VERSION;
    bytes.writeUIntBE(group.no, 1, 6);
    bytes.writeUIntBE(nameMark(group), 7, 3);
    bytes.writeUIntBE(topic, 10, 6);
    bytes.writeUInt16BE(queueId, 16);
    bytes.writeUIntBE(lease, 18, 6);
    bytes.writeUInt32BE(this.#mark, BROKER_AT);
    bytes.writeUIntBE(offset, SIGNED_BYTES, 6);
    this.#mac(bytes).copy(bytes, MAC_AT);
    return bytes.toString('base64url');
  }

  /** What a handle of this group says; RECEIPT_INVALID for what we did not make for it, TOPIC_RECREATED for an earlier creation. */
  decode(group: ReceiptOwner, handle: string): Receipt | GantryError {
    const bytes = bytesOf(handle);
    if (!bytes || bytes.readUInt32BE(BROKER_AT) !== this.#mark) return receiptInvalid();
    if (bytes.readUIntBE(7, 3) !== nameMark(group)) return receiptInvalid();
    if (!timingSafeEqual(this.#mac(bytes), bytes.subarray(MAC_AT))) return receiptInvalid();
    if (bytes.readUIntBE(1, 6) !== group.no) return recreated(group);
    return {
      topic: bytes.readUIntBE(10, 6),
      queueId: bytes.readUInt16BE(16),
      lease: bytes.readUIntBE(18, 6),
      offset: bytes.readUIntBE(SIGNED_BYTES, 6),
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

/** What stands for a broker in its handles. */
export const brokerMark = (name: string): number => crc32(name);

/** The mark of the broker whose handle it says it is; undefined when no broker made it. Whether it is true only that broker can tell. */
export const brokerMarkOf = (handle: string): number | undefined => bytesOf(handle)?.readUInt32BE(BROKER_AT);

function bytesOf(handle: string): Buffer | undefined {
  if (handle.length !== CHARACTERS) return undefined;
  const bytes = Buffer.from(handle, 'base64url');
  return bytes.length === BYTES && bytes[0] === VERSION ? bytes : undefined;
}

/** The refusal of what is no handle of the group. */
export const receiptInvalid = (): GantryError =>
  new GantryError(
    'RECEIPT_INVALID',
    'this is no receipt of this group: use the receiptHandle of a message it received',
  );

const recreated = ({ name }: ReceiptOwner): GantryError =>
  new GantryError(
    'TOPIC_RECREATED',
    `group ${name} was deleted and created again since this message was handed out: receive what there is for it now`,
  );
