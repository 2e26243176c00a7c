/**
 * RocketMQ's offsetMsgId: IPv4 (4 bytes), port (4), position in the journal (8), as 32 hex digits. The address is the
 * broker group's label, fixed at its first start; nobody dials it.
 */
import { readNumber, writeNumber } from '../../storage/keys';
import { ipv4Bytes } from '../base/messageId';

/** The 8 bytes of a label `ip:port`. */
export function idTagBytes(messageIdTag: string): Buffer {
  const colon = messageIdTag.lastIndexOf(':');
  const tag = Buffer.alloc(8);
  ipv4Bytes(messageIdTag.slice(0, colon)).copy(tag);
  tag.writeUInt32BE(Number(messageIdTag.slice(colon + 1)), 4);
  return tag;
}

/** The first 16 digits of every id of a broker with this label. */
export const idMarkOf = (messageIdTag: string): string => idTagBytes(messageIdTag).toString('hex').toUpperCase();

export function offsetMessageId(idTag: Buffer, position: number): string {
  const id = Buffer.allocUnsafe(16);
  idTag.copy(id);
  writeNumber(id, position, 8);
  return id.toString('hex').toUpperCase();
}

/** The position that an id of this broker names, or undefined if it is none of ours. */
export function positionOfId(idTag: Buffer, id: Buffer): number | undefined {
  if (id.compare(idTag, 0, 8, 0, 8) !== 0) return undefined;
  const position = readNumber(id, 8);
  return Number.isSafeInteger(position) ? position : undefined;
}
