/** Trying a filter on a topic of several brokers: each tries it on its newest messages, an even share of those wanted. */
import { GantryError } from '../../src/base/errors';
import type { Answer, Call } from '../operation';
import type { Front } from './front';
import { partOf } from './oneByOne';

const DEFAULT_LAST = 100;
/** Milliseconds that trying a filter may take beyond what any other question may. */
const SEARCH_MS = 2000;

/** What of a broker's answer is put together with that of others. */
interface Trial {
  readonly examined: number;
  readonly matched: number;
  readonly failed: number;
  readonly complete: boolean;
  readonly results: readonly { readonly storeTimestamp: number }[];
}

/** Throws what a broker finds wrong with the filter, and SERVICE_NOT_AVAILABLE when none can be asked. */
export async function testEverywhere(
  front: Front,
  call: Call<'testFilter'>,
  brokers: readonly string[],
): Promise<Answer> {
  const last = call.body.last ?? DEFAULT_LAST;
  const share = (i: number) => Math.floor(last / brokers.length) + (i < last % brokers.length ? 1 : 0);
  const asked = brokers.slice(0, last);
  const parts = await Promise.all(
    asked.map((broker, i) => {
      const request = { path: call.path, query: call.query, body: { ...call.body, last: share(i) } };
      return partOf(front.look(call, broker, 'testFilter', request, SEARCH_MS));
    }),
  );
  const trials = parts.flatMap((part) => (part instanceof GantryError ? [] : [part.json<Trial>()]));
  const failures = parts.filter((part) => part instanceof GantryError);
  if (trials.length === 0) throw failures[0]!;
  const unavailable = asked.filter((_, i) => isAway(parts[i]));
  return { status: 200, body: { ...together(trials), ...(unavailable.length > 0 ? { unavailable } : {}) } };
}

/** A broker that has no such topic yet leaves nothing out. */
const isAway = (part: unknown): boolean => part instanceof GantryError && part.code !== 'TOPIC_NOT_FOUND';

function together(trials: readonly Trial[]): Trial {
  const sum = (field: 'examined' | 'matched' | 'failed') => trials.reduce((total, trial) => total + trial[field], 0);
  return {
    ...{ examined: sum('examined'), matched: sum('matched'), failed: sum('failed') },
    complete: trials.every(({ complete }) => complete),
    results: trials.flatMap(({ results }) => results).sort((a, b) => b.storeTimestamp - a.storeTimestamp),
  };
}
