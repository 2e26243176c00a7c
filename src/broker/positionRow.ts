/** The row of a group's position in a queue: offset(8), and the index(8) of the last reset if there was any. */
import { numberValue, readNumber, writeNumber } from '../../storage/keys';

const RESET_AT = 8;

export function positionValue(offset: number, reset: number | undefined): Buffer {
  if (reset === undefined) return numberValue(offset);
  const value = Buffer.allocUnsafe(RESET_AT + 8);
  writeNumber(value, offset, 0);
  writeNumber(value, reset, RESET_AT);
  return value;
}

export const readPosition = (value: Buffer): { offset: number; reset: number | undefined } => ({
  offset: readNumber(value, 0),
  reset: value.length > RESET_AT ? readNumber(value, RESET_AT) : undefined,
});
