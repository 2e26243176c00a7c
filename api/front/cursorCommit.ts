/**
 * Committing a cursor whose parts belong to several brokers. Each broker judges its own part, so one that is away holds up
 * no other: what the cursor covers there is told as failed, and the same cursor commits it later.
 */
import { GantryError } from '../../src/base/errors';
import { cursorContent, cursorInvalid } from '../../src/broker/cursor';
import { retryTopicOf } from '../../src/broker/group';
import { failed, type BulkItem } from '../bulk';
import { isAway } from '../homes';
import { nameOf } from '../names';
import type { Front } from './front';
import type { PeerAnswer, PeerRequest } from './peer';
import { mayBeDone, type AskingNow } from './rounds';

export interface CursorCommit {
  readonly cursors: ReadonlyMap<string, string>;
  readonly consumerId: string | undefined;
  readonly force?: boolean | undefined;
  readonly generationOf: (broker: string) => string | undefined;
  /** The group's first topic. */
  readonly topic: string;
}

export interface CursorCommitted {
  /** One per queue that the cursor covers. */
  readonly items: readonly BulkItem[];
  /** Brokers where nothing was committed, or nobody knows whether it was, since they did not answer. */
  readonly unavailable: readonly string[];
  /** Brokers where something of their part is not committed, as far as is known. */
  readonly uncommitted: readonly string[];
}

/**
 * Throws CURSOR_INVALID before anything is committed when a part is no cursor, and why nothing was committed when no
 * broker took its part and nothing can be told of single queues.
 */
export async function commitCursors(
  front: Front,
  call: AskingNow & { readonly path: { readonly group: string } },
  wanted: CursorCommit,
): Promise<CursorCommitted> {
  const parts = [...wanted.cursors].map(([broker, cursor]) => ({ broker, cursor, covered: coveredBy(cursor) }));
  const outcomes = await Promise.all(parts.map(async (part) => ({ ...part, outcome: await commitPart(part) })));
  const failures = outcomes.flatMap(({ outcome }) => (outcome instanceof GantryError ? [outcome] : []));
  const silent = failures.filter(isAway);
  const items = outcomes.flatMap(({ outcome, ...part }) =>
    outcome instanceof GantryError ? itemsOf(part, outcome) : outcome,
  );
  // Without any answer the failure is told as one, unless it can be told by queue.
  if (failures.length > 0 && failures.length === outcomes.length && (silent.length === 0 || items.length === 0))
    throw failures.find(mayBeDone) ?? silent[0] ?? failures[0]!;
  const isOpen = ({ outcome }: (typeof outcomes)[number]): boolean =>
    outcome instanceof GantryError || outcome.some(({ error }) => error);
  return {
    items,
    unavailable: outcomes.filter(({ outcome }) => outcome instanceof GantryError && isAway(outcome)).map(brokerOf),
    uncommitted: outcomes.filter(isOpen).map(brokerOf),
  };

  function commitPart({ broker, cursor }: { broker: string; cursor: string }) {
    const { consumerId, force, generationOf } = wanted;
    const asked: PeerRequest<'commitOffsets'> = {
      path: { group: call.path.group },
      query: {},
      body: withoutAbsent({ consumerId, cursor, force, generation: generationOf(broker) }),
    };
    return resultsOf(front.change(call, broker, 'commitOffsets', asked));
  }

  /** Results of a part whose broker gave none: only the cursor itself names the positions. */
  function itemsOf({ broker, covered }: Omit<(typeof parts)[number], 'cursor'>, error: GantryError): BulkItem[] {
    const refused = failed(error, call.requestId);
    return covered.map(({ ofFirstTopic, queueId, position }) => ({
      ...{ ...refused, topic: ofFirstTopic ? wanted.topic : retryTopicOf(nameOf(call.path.group)) },
      ...{ broker, queueId, nextOffset: position },
    }));
  }
}

const brokerOf = ({ broker }: { readonly broker: string }): string => broker;

function coveredBy(cursor: string) {
  const covered = cursorContent(cursor);
  if (!covered) throw cursorInvalid('it was not made by this cluster', 'body');
  return covered;
}

/** Results also of a problem document that carries them. */
async function resultsOf(asking: Promise<PeerAnswer>): Promise<readonly BulkItem[] | GantryError> {
  try {
    const answer = await asking;
    const { results } = answer.json<{ results?: readonly BulkItem[] }>();
    return results ?? answer.failure();
  } catch (error) {
    if (error instanceof GantryError) return error;
    throw error;
  }
}

/** A copy of the body without its undefined fields. */
export const withoutAbsent = <T extends object>(body: T): never =>
  Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined)) as never;
