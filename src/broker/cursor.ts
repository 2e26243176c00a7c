/**
 * What a consumer brings back to its next poll: how far it was served in each queue. Opaque and signed: it names the
 * group's and the consumer's creation, and a changed or foreign one is refused. An older one is no error; each of its
 * parts counts as long as the consumer has held that queue without interruption (its owner epoch is unchanged).
 *
 *   version 1 · group 6 · crc of the group's name 4 · crc of the consumer 4 · topic 6 · parts [queueId 2, epoch 8, position 8] · mac 12
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { readNumber, writeNumber } from '../../storage/keys';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';

export interface CursorPart {
  readonly queueId: number;
  readonly epoch: number;
  /** The next offset to read. */
  readonly position: number;
}

export interface CursorOwner {
  /** Number and name of the group, id of the consumer. */
  readonly group: number;
  readonly groupName: string;
  readonly consumerId: string;
  readonly topic: number;
}

/** Where in the request the cursor stood. */
export type CursorSource = 'query' | 'body';

const VERSION = 1;
const HEAD_BYTES = 21;
const PART_BYTES = 18;
const MAC_BYTES = 12;

/** Queues a cursor has room for within the 4,096 characters of rule 6. */
export const CURSOR_PARTS = Math.floor(
  (Math.floor((LIMITS.cursorCharacters * 3) / 4) - HEAD_BYTES - MAC_BYTES) / PART_BYTES,
);

export class CursorCodec {
  readonly #secret: Buffer;

  constructor(secret: Buffer) {
    this.#secret = secret;
  }

  encode(owner: CursorOwner, parts: readonly CursorPart[]): string {
    const bytes = Buffer.allocUnsafe(HEAD_BYTES + parts.length * PART_BYTES + MAC_BYTES);
    bytes[0] = VERSION;
    bytes.writeUIntBE(owner.group, 1, 6);
    bytes.writeUInt32BE(crc32(owner.groupName), 7);
    bytes.writeUInt32BE(crc32(owner.consumerId), 11);
    bytes.writeUIntBE(owner.topic, 15, 6);
    let at = HEAD_BYTES;
    for (const part of parts) {
      bytes.writeUInt16BE(part.queueId, at);
      writeNumber(bytes, part.epoch, at + 2);
      writeNumber(bytes, part.position, at + 10);
      at += PART_BYTES;
    }
    this.#mac(bytes.subarray(0, at)).copy(bytes, at);
    return bytes.toString('base64url');
  }

  /** Throws CURSOR_INVALID for what we did not make for this group and consumer, TOPIC_RECREATED for an earlier creation. */
  decode(text: string, owner: CursorOwner, from: CursorSource): CursorPart[] {
    const bytes = Buffer.from(text, 'base64url');
    const end = bytes.length - MAC_BYTES;
    const shaped =
      end >= HEAD_BYTES &&
      (end - HEAD_BYTES) % PART_BYTES === 0 &&
      bytes.toString('base64url') === text &&
      bytes[0] === VERSION;
    if (!shaped || !timingSafeEqual(this.#mac(bytes.subarray(0, end)), bytes.subarray(end)))
      throw invalid('it was not made by this cluster', from);
    if (bytes.readUInt32BE(7) !== crc32(owner.groupName)) throw invalid('it belongs to another group', from);
    if (bytes.readUInt32BE(11) !== crc32(owner.consumerId)) throw invalid('it belongs to another consumer', from);
    if (bytes.readUIntBE(1, 6) !== owner.group || bytes.readUIntBE(15, 6) !== owner.topic) {
      throw new GantryError(
        'TOPIC_RECREATED',
        'the topic or the group was deleted and created again since this cursor was made: poll without a cursor',
      );
    }
    const parts: CursorPart[] = [];
    for (let at = HEAD_BYTES; at < end; at += PART_BYTES) {
      parts.push({
        queueId: bytes.readUInt16BE(at),
        epoch: readNumber(bytes, at + 2),
        position: readNumber(bytes, at + 10),
      });
    }
    return parts;
  }

  #mac(bytes: Buffer): Buffer {
    return createHmac('sha256', this.#secret).update(bytes).digest().subarray(0, MAC_BYTES);
  }
}

function invalid(why: string, from: CursorSource): GantryError {
  const place = from === 'query' ? { parameter: 'cursor', in: 'query' as const } : { pointer: '/cursor' };
  return new GantryError(
    'CURSOR_INVALID',
    `the cursor cannot be used: ${why}. Poll without one to read from the committed offsets on`,
    { errors: [{ ...place, detail: why }] },
  );
}
