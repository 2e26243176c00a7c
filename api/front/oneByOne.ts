/**
 * A list that is spread over brokers: one broker after another in the order of their names, each one's part in its own
 * order. A cursor names the broker to go on with and that broker's own cursor, so it means the same on any front. Who
 * cannot be asked is named, and the list goes on with the next.
 */
import { GantryError } from '../../src/base/errors';
import { afterPartsOf, listCursor } from '../paging';
import { refusedBeforeWriting, type PeerAnswer } from './peer';

/** Once a page has so many characters the next broker is left for the next page: each answers up to 4 MiB of messages. */
const PAGE_CHARACTERS = 4 * 1024 * 1024;

/** What a broker is asked for: `cursor` is its own. */
export interface OwnPage {
  readonly limit: number;
  readonly cursor?: string;
}

/**
 * The body of one page; `field` is the list's name in it and in what the brokers answer. Throws CURSOR_INVALID, what a
 * broker finds wrong with the request, and SERVICE_NOT_AVAILABLE when none can be asked.
 */
export async function oneByOne(
  brokers: readonly string[],
  { limit, cursor }: OwnPage,
  field: string,
  ask: (broker: string, page: OwnPage) => Promise<PeerAnswer>,
): Promise<Record<string, unknown>> {
  const names = [...brokers].sort();
  const [first = '', inner = ''] = afterPartsOf(cursor, /^(\S+) (\S*)$/) ?? [];
  const items: unknown[] = [];
  const unavailable: string[] = inner !== '' && !names.includes(first) ? [first] : [];
  let characters = 0;
  let refusal: GantryError | undefined;
  let answered = false;
  const page = (next?: string) => ({
    [field]: items,
    ...(next === undefined ? {} : { cursor: listCursor(next) }),
    ...(unavailable.length > 0 ? { unavailable } : {}),
  });
  for (const name of names.filter((one) => one >= first)) {
    if (items.length >= limit || characters >= PAGE_CHARACTERS) return page(`${name} `);
    const own = name === first && inner !== '' ? { cursor: inner } : {};
    const answer = await partOf(ask(name, { limit: limit - items.length, ...own }));
    if (answer instanceof GantryError) {
      refusal = answer;
      if (!NOT_HERE.has(answer.code)) unavailable.push(name);
      continue;
    }
    answered = true;
    characters += answer.text.length;
    const body = answer.json();
    items.push(...(body[field] as unknown[]));
    if (body['cursor'] !== undefined) return page(`${name} ${body['cursor'] as string}`);
  }
  // A later page may be all that is left of a list whose last brokers are away.
  if (refusal && !answered && first === '') throw refusal;
  return page();
}

/** Said by a broker that was not told yet: it has nothing that would be missing. */
const NOT_HERE: ReadonlySet<string | undefined> = new Set(['TOPIC_NOT_FOUND', 'GROUP_NOT_FOUND']);

/** A broker's part, or why it has none: it is away, or has no such topic or group yet. Throws what is wrong with the request. */
export async function partOf(asked: Promise<PeerAnswer>): Promise<PeerAnswer | GantryError> {
  try {
    const answer = await asked;
    if (refusedBeforeWriting(answer) || NOT_HERE.has(answer.code)) return answer.failure();
    return answer.orThrow();
  } catch (error) {
    if (error instanceof GantryError && error.code === 'SERVICE_NOT_AVAILABLE') return error;
    throw error;
  }
}
