/** The bodies of consumer calls, as values. What is missing or of another kind is refused with 422. */
import { KafkaFault, unprocessable } from './faults';
import type { Place } from './instance';
import type { SeekTarget } from './reading';
import { readObject } from './produceBody';
import type { Wanted } from './subscribed';

type Fields = Readonly<Record<string, unknown>>;

/** A body that may be left out. */
export const objectIn = (bytes: Buffer): Fields => (bytes.length === 0 ? {} : readObject(bytes).object);

/** Topics of one subscription at most. */
const TOPICS = 1000;

export function wantedIn({ topics, topic_pattern: pattern }: Fields): Wanted {
  const given = topics !== undefined && topics !== null;
  if (given && typeof pattern === 'string')
    throw new KafkaFault(409, 40903, 'Subscription to topics, partitions and pattern are mutually exclusive');
  if (typeof pattern === 'string') return { pattern };
  if (!Array.isArray(topics) || topics.length === 0 || topics.length > TOPICS || !topics.every(isName))
    throw unprocessable(`topics must be a list of 1 to ${TOPICS} names, or topic_pattern a regular expression.`);
  return { topics: [...new Set(topics)] };
}

const isName = (value: unknown): value is string => typeof value === 'string' && value !== '';

/** `partitions: [{topic, partition}]`; undefined where there are none. */
export function placesIn({ partitions }: Fields): Place[] | undefined {
  if (partitions === undefined || partitions === null) return undefined;
  return listOf(partitions, 'partitions').map((item, i) => placeIn(item, `partitions[${i}]`));
}

export function placesNeeded(fields: Fields): Place[] {
  const places = placesIn(fields);
  if (!places || places.length === 0) throw unprocessable('partitions must be a list of {"topic", "partition"}.');
  return places;
}

export interface PlaceOffset extends Place {
  readonly offset: number;
}

/** `offsets: [{topic, partition, offset}]`; undefined where there are none. */
export function offsetsIn({ offsets }: Fields): PlaceOffset[] | undefined {
  if (offsets === undefined || offsets === null) return undefined;
  return listOf(offsets, 'offsets').map((item, i) => ({
    ...placeIn(item, `offsets[${i}]`),
    offset: integer(item['offset'], `offsets[${i}].offset`),
  }));
}

/** Where to seek to: offsets, and times in milliseconds since 1970. */
export function positionsIn(fields: Fields): { offsets: PlaceOffset[]; timestamps: (Place & { at: number })[] } {
  const offsets = offsetsIn(fields) ?? [];
  const { timestamps } = fields;
  const times =
    timestamps === undefined || timestamps === null
      ? []
      : listOf(timestamps, 'timestamps').map((item, i) => ({
          ...placeIn(item, `timestamps[${i}]`),
          at: timeIn(item['timestamp'], `timestamps[${i}].timestamp`),
        }));
  if (offsets.length + times.length === 0) throw unprocessable('offsets or timestamps must name a partition.');
  return { offsets, timestamps: times };
}

function listOf(value: unknown, at: string): Fields[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'object' && item !== null))
    return value as Fields[];
  throw unprocessable(`${at} must be a list of objects.`);
}

function placeIn({ topic, partition }: Fields, at: string): Place {
  if (!isName(topic)) throw unprocessable(`${at}.topic must be a name.`);
  return { topic, partition: integer(partition, `${at}.partition`) };
}

/** Also as text: some clients write all numbers so. */
function integer(value: unknown, at: string): number {
  const number = typeof value === 'string' && /^[0-9]{1,16}$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number;
  throw unprocessable(`${at} must be a whole number from 0.`);
}

/** Numbers below this are seconds: as milliseconds they would lie in the first months of 1970. */
const SECONDS_BELOW = 1e11;

/** RFC 3339, milliseconds, or seconds since 1970. */
function timeIn(value: unknown, at: string): number {
  const number = typeof value === 'string' && /^[0-9]+(\.[0-9]+)?$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && number >= 0 && number < 1e16)
    return Math.floor(number < SECONDS_BELOW ? number * 1000 : number);
  const ms = typeof value === 'string' ? Date.parse(value) : NaN;
  if (Number.isNaN(ms) || ms < 0) throw unprocessable(`${at} must be a time such as 2026-01-15T12:00:00Z.`);
  return ms;
}

export type SeekTo = Place & { readonly to: SeekTarget };
