/** Times in requests: milliseconds or RFC 3339, and never seconds. */
import { readTime } from '../../api/timeField';

const NOON = Date.UTC(2026, 0, 15, 12);

test.each<[unknown, number]>([
  [0, 0],
  [1, 1],
  [NOON, NOON],
  [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  [Date.UTC(2001, 0, 1), Date.UTC(2001, 0, 1)],
  ['2026-01-15T12:00:00Z', NOON],
  ['2026-01-15t12:00:00z', NOON],
  ['2026-01-15 12:00:00Z', NOON],
  ['2026-01-15T12:00:00.25Z', NOON + 250],
  ['2026-01-15T12:00:00.123456789Z', NOON + 123],
  ['2026-01-15T13:30:00+01:30', NOON],
  ['2026-01-15T13:30:00 01:30', NOON],
  ['2026-01-15T07:00:00-05:00', NOON],
  ['1970-01-01T00:00:00Z', 0],
  ['1999-12-31T23:59:59Z', Date.UTC(1999, 11, 31, 23, 59, 59)],
  ['2001-01-01T00:00:00Z', Date.UTC(2001, 0, 1)],
  ['2028-02-29T00:00:00Z', Date.UTC(2028, 1, 29)],
])('%j is a time', (given, time) => {
  expect(readTime(given)).toEqual({ time });
});

test.each<readonly [unknown, string]>([
  [-1, '>= 0'],
  [2 ** 53, '<= 9007199254740991'],
  [0.5, 'must be an integer'],
  [true, 'must be an integer'],
  [null, 'must be an integer'],
  [[NOON], 'must be an integer'],
  [NOON / 1000, 'seem to be seconds'],
  [1e9, 'seem to be seconds'],
  [Date.UTC(2001, 0, 1) - 1, 'seem to be seconds'],
  ...['', String(NOON), 'now', '2026-01-15', '2026-01-15T12:00:00', '2026-01-15T12:00Z', '2026-02-30T00:00:00Z'].map(
    (text) => [text, 'RFC 3339'] as const,
  ),
  ...['2026-01-15T12:00:60Z', '2026-01-15T12:00:00+25:00', '1969-12-31T23:59:59Z', '26-01-15T12:00:00Z'].map(
    (text) => [text, 'RFC 3339'] as const,
  ),
])('%j is none', (given, detail) => {
  expect(readTime(given)).toEqual({ detail: expect.stringContaining(detail) as string });
});
