/** A row of one number, behind which a second may stand: earlier versions wrote the first alone. */
import { numberValue, readNumber, writeNumber } from '../../storage/keys';

const BYTES = 8;

export function numbersValue(first: number, second: number | undefined): Buffer {
  if (second === undefined) return numberValue(first);
  const value = Buffer.allocUnsafe(2 * BYTES);
  writeNumber(value, first, 0);
  writeNumber(value, second, BYTES);
  return value;
}

export const readNumbers = (value: Buffer): [first: number, second: number | undefined] => [
  readNumber(value, 0),
  value.length > BYTES ? readNumber(value, BYTES) : undefined,
];
