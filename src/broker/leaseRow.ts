/**
 * The row of a message that a group has not acknowledged: lease(8) ms(6) attempt(2) groupHash(4), then until(8) when a
 * lease is recorded, then one byte for a message that failed (0) or was put off (1). Earlier versions wrote no `until`.
 */
import { readNumber, writeNumber } from '../../storage/keys';
import type { LeaseEntry } from './leaseQueue';

const BYTES = 20;
const UNTIL_BYTES = 8;
const PUT_OFF = 1;

export function leaseValue({ lease, ms, until, attempt, groupHash, failed, putOff }: LeaseEntry): Buffer {
  const length = BYTES + (until === undefined ? 0 : UNTIL_BYTES);
  const value = Buffer.alloc(failed || putOff ? length + 1 : length);
  if (putOff) value[length] = PUT_OFF;
  writeNumber(value, lease, 0);
  value.writeUIntBE(ms, 8, 6);
  value.writeUInt16BE(attempt, 14);
  value.writeUInt32BE(groupHash, 16);
  if (until !== undefined) writeNumber(value, until, BYTES);
  return value;
}

export function readLease(value: Buffer): LeaseEntry {
  const timed = value.length >= BYTES + UNTIL_BYTES;
  const length = BYTES + (timed ? UNTIL_BYTES : 0);
  const mark = value[length] === PUT_OFF ? { putOff: true } : { failed: true };
  return {
    lease: readNumber(value, 0),
    ms: value.readUIntBE(8, 6),
    attempt: value.readUInt16BE(14),
    groupHash: value.readUInt32BE(16),
    ...(timed ? { until: readNumber(value, BYTES) } : {}),
    ...(value.length > length ? mark : {}),
  };
}
