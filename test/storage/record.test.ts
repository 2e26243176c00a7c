import { DamagedError } from '../../storage/failures';
import { positionOf } from '../../storage/keys';
import {
  openRecord,
  RECORD_HEADER_BYTES,
  recordCount,
  recordCrc,
  recordEpoch,
  recordKind,
  recordPosition,
  recordTime,
  sealRecord,
} from '../../storage/record';

const SEAL = {
  position: positionOf(2 ** 40, 17),
  time: 1_768_478_400_123,
  epoch: 4_000_000_000,
  kind: 255,
  count: 1024,
};

function sealed(payload = 'some payload'): Buffer {
  const record = Buffer.concat([Buffer.alloc(RECORD_HEADER_BYTES, 0xee), Buffer.from(payload)]);
  sealRecord(record, SEAL);
  return record;
}

describe('a journal record', () => {
  it('gives back what it was sealed with', () => {
    const record = sealed();
    expect(openRecord(record, SEAL.position)).toEqual({ ...SEAL, crc: recordCrc(record) });
    const read = {
      position: recordPosition(record),
      time: recordTime(record),
      epoch: recordEpoch(record),
      kind: recordKind(record),
      count: recordCount(record),
    };
    expect(read).toEqual(SEAL);
    expect(record.subarray(RECORD_HEADER_BYTES).toString()).toBe('some payload');
  });

  it('has its layout fixed byte by byte, because slaves and old folders read it', () => {
    const record = Buffer.concat([Buffer.alloc(RECORD_HEADER_BYTES), Buffer.from('ab')]);
    sealRecord(record, { position: 1025, time: 258, epoch: 3, kind: 4, count: 5 });
    expect(record.toString('hex')).toBe('86c2e06f0000000000000401000000000000010200000003040000056162');
  });

  it('shows every single bit that changes', () => {
    const record = sealed();
    for (let bit = 0; bit < record.length * 8; bit++) {
      record[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => openRecord(record, SEAL.position)).toThrow(DamagedError);
      record[bit >> 3]! ^= 1 << (bit & 7);
    }
    openRecord(record, SEAL.position);
  });

  it('is refused at another position, and when it is cut off', () => {
    const record = sealed();
    expect(() => openRecord(record, SEAL.position + 1)).toThrow(/is the record of 1099511627776\/17/);
    for (const length of [0, 4, RECORD_HEADER_BYTES - 1, RECORD_HEADER_BYTES, record.length - 1]) {
      expect(() => openRecord(record.subarray(0, length), SEAL.position)).toThrow(DamagedError);
    }
  });

  it.each([0, 1025])('cannot be one of %i', (count) => {
    expect(() => sealRecord(Buffer.alloc(RECORD_HEADER_BYTES), { ...SEAL, count })).toThrow(RangeError);
  });
});
