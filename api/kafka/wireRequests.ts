/** The bodies of consumer calls, as values. What is missing or of another kind is refused with 422. */
import type { Dialect } from './dialects';
import { illegalState, unprocessable } from './faults';
import { readObject } from './produceBody';
import type { Place, SeekTarget } from './reading';
import type { Wanted } from './subscribed';

type Fields = Readonly<Record<string, unknown>>;

/** A body that may be left out. */
export const objectIn = (bytes: Buffer): Fields => (bytes.length === 0 ? {} : readObject(bytes).object);

/** Topics of one subscription at most. */
const TOPICS = 1000;

/** A subscription; to no topic when the list is empty. */
export function wantedIn({ topics, topic_pattern: pattern }: Fields, { emptySubscription }: Dialect): Wanted {
  const names = topics === undefined || topics === null ? undefined : namesIn(topics);
  if (typeof pattern === 'string') {
    if (names && names.length > 0)
      throw illegalState('Subscription to topics, partitions and pattern are mutually exclusive');
    return { pattern };
  }
  if (pattern !== undefined && pattern !== null) throw unprocessable('topic_pattern must be a regular expression.');
  if (names && (names.length > 0 || emptySubscription === 204)) return { topics: [...new Set(names)] };
  const why = `topics must be a list of at most ${TOPICS} names, or topic_pattern a regular expression.`;
  throw emptySubscription === 204 ? unprocessable(why) : illegalState(why);
}

function namesIn(topics: unknown): string[] {
  if (Array.isArray(topics) && topics.length <= TOPICS && topics.every(isName)) return topics;
  throw unprocessable(`topics must be a list of at most ${TOPICS} names.`);
}

const isName = (value: unknown): value is string => typeof value === 'string' && value !== '';

/** `partitions: [{topic, partition}]`; undefined where there are none. */
export function placesIn({ partitions }: Fields): Place[] | undefined {
  if (partitions === undefined || partitions === null) return undefined;
  return listOf(partitions, 'partitions').map((item, i) => placeIn(item, `partitions[${i}]`));
}

/** An assignment; of nothing when the list is empty. */
export function assignmentIn(fields: Fields): Place[] {
  const places = placesIn(fields);
  if (!places) throw unprocessable('partitions must be a list of {"topic", "partition"}.');
  return places;
}

/** Where a seek to an edge leads: one partition at least. */
export function placesNeeded(fields: Fields): Place[] {
  const places = assignmentIn(fields);
  if (places.length === 0) throw unprocessable('partitions must name a partition.');
  return places;
}

export interface PlaceOffset extends Place {
  readonly offset: number;
}

/** `offsets: [{topic, partition, offset}]`; undefined where there are none. */
function offsetsIn({ offsets }: Fields): PlaceOffset[] | undefined {
  return offsets === undefined || offsets === null ? undefined : placeOffsetsIn(offsets, 'offsets');
}

const placeOffsetsIn = (value: unknown, at: string): PlaceOffset[] =>
  listOf(value, at).map((item, i) => ({
    ...placeIn(item, `${at}[${i}]`),
    offset: integer(item['offset'], `${at}[${i}].offset`),
  }));

/**
 * The offsets of a commit, in `offsets` or, as Redpanda has it, in `partitions`; undefined: all that was delivered.
 * Other fields are refused: a misspelt field must not commit what its sender did not mean.
 */
export function commitIn({ offsets, partitions, ...others }: Fields): PlaceOffset[] | undefined {
  const [unknown] = Object.keys(others);
  if (unknown !== undefined)
    throw unprocessable(
      `A commit has no field ${JSON.stringify(unknown.slice(0, 100))}: send {"offsets": [{"topic", "partition", "offset"}]}, or no body to commit all that was delivered.`,
    );
  if (offsets !== undefined && partitions !== undefined)
    throw unprocessable('A commit has its offsets in offsets or in partitions, not in both.');
  if (offsets === undefined && partitions === undefined) return undefined;
  const [list, at] = offsets === undefined ? [partitions, 'partitions'] : [offsets, 'offsets'];
  return placeOffsetsIn(list, at);
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
