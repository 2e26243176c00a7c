/**
 * Times in requests. The contract marks an integer that is a time with `x-time: true`. Such a field takes milliseconds
 * since 1970, or a text as RFC 3339 writes it, which is replaced by its milliseconds. Seconds are refused: read as
 * milliseconds they lie in the seventies, and a reset to there would rewind a group to its beginning without a word.
 */
import type { Ajv } from 'ajv';
import type { DataValidationCxt, SchemaValidateFunction } from 'ajv/dist/types';
import { TIME, type Schema } from './schema';

/** Seconds of 2001 and later, read as milliseconds, and all that lies before 2001. Less than that says: from the start. */
const SECONDS = { from: 1e9, to: Date.UTC(2001, 0, 1) };

const RFC_3339 =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$/;

type Read = { readonly time: number } | { readonly detail: string };

/** A time of a request as milliseconds since 1970, or what is wrong with it. */
export function readTime(value: unknown): Read {
  if (typeof value === 'string') return readText(value);
  if (typeof value !== 'number' || !Number.isInteger(value)) return { detail: `must be an integer, ${ADVICE}` };
  if (value < 0) return { detail: 'must be >= 0' };
  if (value > Number.MAX_SAFE_INTEGER) return { detail: `must be <= ${Number.MAX_SAFE_INTEGER}` };
  if (isSeconds(value)) return { detail: 'is in milliseconds since 1970, and these seem to be seconds: × 1000' };
  return { time: value };
}

const isSeconds = (time: number): boolean => time >= SECONDS.from && time < SECONDS.to;

const ADVICE = 'milliseconds since 1970, or a time as RFC 3339 writes it: 2026-01-15T12:00:00Z';

function readText(text: string): Read {
  // An offset's + that was not percent-encoded in a query arrives as a blank.
  const [, day, clock, fraction = '', offset] = RFC_3339.exec(text.replace(/ (?=[0-9]{2}:[0-9]{2}$)/, '+')) ?? [];
  const time = day === undefined ? NaN : Date.parse(`${day}T${clock!}${fraction}${offset!.toUpperCase()}`);
  // Date.parse takes the 30th of February for the 2nd of March.
  const isDay = () => new Date(`${day!}T00:00:00Z`).toISOString().startsWith(day!);
  if (!(time >= 0 && isDay())) return { detail: `must be ${ADVICE}` };
  return { time };
}

/** Whether a parameter's schema is a time; its text is left to the keyword. */
export const isTime = (schema: Schema): boolean => schema[TIME] === true;

/** Teaches a validator the keyword. */
export function addTimeKeyword(ajv: Ajv): void {
  const validate: SchemaValidateFunction = (_: unknown, value: unknown, __, context?: DataValidationCxt) => {
    const read = readTime(value);
    if ('time' in read) {
      const { parentData, parentDataProperty } = context!;
      parentData[parentDataProperty] = read.time;
      return true;
    }
    validate.errors = [{ keyword: TIME, message: read.detail, params: {} }];
    return false;
  };
  ajv.addKeyword({ keyword: TIME, modifying: true, errors: true, validate });
}
