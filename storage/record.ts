/**
 * The layout of one journal record. A record proves itself: its CRC covers everything behind the CRC, and the position
 * inside must be the one it is stored under, so that a record found at the wrong place is as bad as a broken one.
 *
 *   crc(4) position(8) time(8) epoch(4) kind(1) flags(1) count(2) payload
 *
 * The same bytes are on our disk, on a slave's disk and on the way between them. Whoever encodes a payload leaves
 * RECORD_HEADER_BYTES free in front of it, so that sealing copies nothing.
 */
import { crc32 } from 'node:zlib';
import { DamagedError } from './failures';
import { indexOf, ORDINALS, ordinalOf, readNumber, writeNumber } from './keys';

export const RECORD_HEADER_BYTES = 28;

const POSITION = 4;
const TIME = 12;
const EPOCH = 20;
const KIND = 24;
const FLAGS = 25;
const COUNT = 26;

export interface RecordSeal {
  position: number;
  /** Milliseconds since 1970. */
  time: number;
  epoch: number;
  /** What the command is; 0..255. */
  kind: number;
  /** Records of this command, 1..1024; the same in each of them. */
  count: number;
}

export interface RecordHeader extends RecordSeal {
  crc: number;
}

/** Fills the header in place and answers the CRC. The payload must not change any more. */
export function sealRecord(record: Buffer, seal: RecordSeal): number {
  if (seal.count < 1 || seal.count > ORDINALS)
    throw new RangeError(`a command has 1..${ORDINALS} records, not ${seal.count}`);
  writeNumber(record, seal.position, POSITION);
  writeNumber(record, seal.time, TIME);
  record.writeUInt32BE(seal.epoch, EPOCH);
  record.writeUInt8(seal.kind, KIND);
  record[FLAGS] = 0;
  record.writeUInt16BE(seal.count, COUNT);
  const crc = crc32(record.subarray(4));
  record.writeUInt32BE(crc, 0);
  return crc;
}

export const recordCrc = (record: Buffer): number => record.readUInt32BE(0);
export const recordPosition = (record: Buffer): number => readNumber(record, POSITION);
export const recordTime = (record: Buffer): number => readNumber(record, TIME);
export const recordEpoch = (record: Buffer): number => record.readUInt32BE(EPOCH);
export const recordKind = (record: Buffer): number => record.readUInt8(KIND);
export const recordCount = (record: Buffer): number => record.readUInt16BE(COUNT);

/** The reason why these bytes are not the record of this position, or undefined when they are. */
export function recordFault(record: Buffer, position: number): string | undefined {
  if (record.length < RECORD_HEADER_BYTES) return `has ${record.length} bytes, fewer than a header`;
  if (crc32(record.subarray(4)) !== record.readUInt32BE(0)) return 'fails its checksum';
  if (recordPosition(record) !== position) return `is the record of ${placeOf(recordPosition(record))}`;
  return undefined;
}

/** Throws `DamagedError` unless the bytes are the whole, unchanged record of this position. */
export function checkRecord(record: Buffer, position: number): void {
  const fault = recordFault(record, position);
  if (fault !== undefined) throw new DamagedError(`journal record ${placeOf(position)} ${fault}`);
}

/** Checks a record and reads its header; throws `DamagedError`. */
export function openRecord(record: Buffer, position: number): RecordHeader {
  checkRecord(record, position);
  return headerOf(record);
}

/** The header of a record that was checked before. */
export function headerOf(record: Buffer): RecordHeader {
  return {
    crc: recordCrc(record),
    position: recordPosition(record),
    time: recordTime(record),
    epoch: recordEpoch(record),
    kind: recordKind(record),
    count: recordCount(record),
  };
}

/** index/ordinal, as people read a position. */
export const placeOf = (position: number): string => `${indexOf(position)}/${ordinalOf(position)}`;
