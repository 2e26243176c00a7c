/**
 * What a consumer brings back to its next poll: how far it was served in each queue. Opaque and signed: it names the
 * group's and the consumer's creation, and a changed or foreign one is refused. An older one is no error; each of its
 * parts counts as long as the consumer has held that queue without interruption (its owner epoch is unchanged).
 *
 *   version 1 · group 6 · crc of the group's name 4 · crc of the consumer 4 · first topic 6
 *   · slots 1 [topic 6, epoch 6] · parts [slot 1, queueId 2, position 6] · mac 12
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';

export interface CursorPart {
  readonly topic: number;
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
  /** The group's first topic. */
  readonly topic: number;
}

/** Where in the request the cursor stood. */
export type CursorSource = 'query' | 'body';

const VERSION = 2;
const HEAD_BYTES = 22;
const SLOT_BYTES = 12;
const PART_BYTES = 9;
const MAC_BYTES = 12;
const SLOTS = 255;

/** Bytes that slots and parts may take within the 4,096 characters of rule 6. */
const ROOM = Math.floor((LIMITS.cursorCharacters * 3) / 4) - HEAD_BYTES - MAC_BYTES;

/** Collects parts as long as there is room for them in a cursor. */
export class CursorParts {
  readonly #slots = new Set<string>();
  readonly #parts = new Map<string, CursorPart>();
  #left = ROOM;

  /** Adds a part, or moves that of the same queue; false when there is no room. */
  add(part: CursorPart): boolean {
    const { place, slot } = namesOf(part.topic, part.queueId, part.epoch);
    const cost = this.#cost(place, slot);
    if (cost > this.#left) return false;
    this.#left -= cost;
    this.#slots.add(slot);
    this.#parts.set(place, part);
    return true;
  }

  /** Whether a part of this queue would fit. */
  fits(topic: number, queueId: number, epoch: number): boolean {
    const { place, slot } = namesOf(topic, queueId, epoch);
    return this.#cost(place, slot) <= this.#left;
  }

  #cost(place: string, slot: string): number {
    const part = this.#parts.has(place) ? 0 : PART_BYTES;
    if (this.#slots.has(slot)) return part;
    return this.#slots.size < SLOTS ? part + SLOT_BYTES : Infinity;
  }

  get parts(): CursorPart[] {
    return [...this.#parts.values()];
  }
}

const namesOf = (topic: number, queueId: number, epoch: number) => ({
  place: `${topic}-${queueId}`,
  slot: `${topic}-${epoch}`,
});

export class CursorCodec {
  readonly #secret: Buffer;

  constructor(secret: Buffer) {
    this.#secret = secret;
  }

  /** The parts must have been collected by `CursorParts`. */
  encode(owner: CursorOwner, parts: readonly CursorPart[]): string {
    const slots = new Map<string, { number: number; topic: number; epoch: number }>();
    for (const { topic, epoch } of parts) {
      const name = `${topic}-${epoch}`;
      if (!slots.has(name)) slots.set(name, { number: slots.size, topic, epoch });
    }
    const bytes = Buffer.allocUnsafe(HEAD_BYTES + slots.size * SLOT_BYTES + parts.length * PART_BYTES + MAC_BYTES);
    bytes[0] = VERSION;
    bytes.writeUIntBE(owner.group, 1, 6);
    bytes.writeUInt32BE(crc32(owner.groupName), 7);
    bytes.writeUInt32BE(crc32(owner.consumerId), 11);
    bytes.writeUIntBE(owner.topic, 15, 6);
    bytes[21] = slots.size;
    let at = HEAD_BYTES;
    for (const { topic, epoch } of slots.values()) {
      bytes.writeUIntBE(topic, at, 6);
      bytes.writeUIntBE(epoch, at + 6, 6);
      at += SLOT_BYTES;
    }
    for (const part of parts) {
      bytes[at] = slots.get(`${part.topic}-${part.epoch}`)!.number;
      bytes.writeUInt16BE(part.queueId, at + 1);
      bytes.writeUIntBE(part.position, at + 3, 6);
      at += PART_BYTES;
    }
    this.#mac(bytes.subarray(0, at)).copy(bytes, at);
    return bytes.toString('base64url');
  }

  /** Throws CURSOR_INVALID for what we did not make for this group and consumer, TOPIC_RECREATED for an earlier creation. */
  decode(text: string, owner: CursorOwner, from: CursorSource): CursorPart[] {
    const bytes = Buffer.from(text, 'base64url');
    const end = bytes.length - MAC_BYTES;
    const shaped = end >= HEAD_BYTES && bytes.toString('base64url') === text && bytes[0] === VERSION;
    if (!shaped || !timingSafeEqual(this.#mac(bytes.subarray(0, end)), bytes.subarray(end)))
      throw cursorInvalid('it was not made by this cluster', from);
    if (bytes.readUInt32BE(7) !== crc32(owner.groupName)) throw cursorInvalid('it belongs to another group', from);
    if (bytes.readUInt32BE(11) !== crc32(owner.consumerId)) throw cursorInvalid('it belongs to another consumer', from);
    if (bytes.readUIntBE(1, 6) !== owner.group || bytes.readUIntBE(15, 6) !== owner.topic) {
      throw new GantryError(
        'TOPIC_RECREATED',
        'the topic or the group was deleted and created again since this cursor was made: poll without a cursor',
      );
    }
    return readParts(bytes, end);
  }

  #mac(bytes: Buffer): Buffer {
    return createHmac('sha256', this.#secret).update(bytes).digest().subarray(0, MAC_BYTES);
  }
}

/**
 * Positions in a cursor, not verified: for a caller that has to name positions whose broker could not be asked.
 * Undefined if the text is no cursor.
 */
export function cursorContent(
  text: string,
): { ofFirstTopic: boolean; queueId: number; epoch: number; position: number }[] | undefined {
  const bytes = Buffer.from(text, 'base64url');
  const end = bytes.length - MAC_BYTES;
  const slots = bytes[21] ?? 0;
  const start = HEAD_BYTES + slots * SLOT_BYTES;
  if (bytes[0] !== VERSION || end < start || (end - start) % PART_BYTES !== 0) return undefined;
  for (let at = start; at < end; at += PART_BYTES) if (bytes[at]! >= slots) return undefined;
  const first = bytes.readUIntBE(15, 6);
  return readParts(bytes, end).map(({ topic, queueId, epoch, position }) => ({
    ...{ ofFirstTopic: topic === first, queueId, epoch, position },
  }));
}

/** Of bytes that we made: their shape is known. */
function readParts(bytes: Buffer, end: number): CursorPart[] {
  const parts: CursorPart[] = [];
  for (let at = HEAD_BYTES + bytes[21]! * SLOT_BYTES; at < end; at += PART_BYTES) {
    const slot = HEAD_BYTES + bytes[at]! * SLOT_BYTES;
    parts.push({
      topic: bytes.readUIntBE(slot, 6),
      epoch: bytes.readUIntBE(slot + 6, 6),
      queueId: bytes.readUInt16BE(at + 1),
      position: bytes.readUIntBE(at + 3, 6),
    });
  }
  return parts;
}

/** The refusal of a cursor; `why` ends the sentence “it cannot be used”. */
export function cursorInvalid(why: string, from: CursorSource): GantryError {
  const place = from === 'query' ? { parameter: 'cursor', in: 'query' as const } : { pointer: '/cursor' };
  return new GantryError(
    'CURSOR_INVALID',
    `the cursor cannot be used: ${why}. Poll without one to read from the committed offsets on`,
    { errors: [{ ...place, detail: why }] },
  );
}
