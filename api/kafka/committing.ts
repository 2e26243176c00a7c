/** Commits by the native operation: who may, and what became of each. */
import { CODES, GantryError, type Code } from '../../src/base/errors';
import type { Native } from './native';
import type { QueueOffset, Shortened } from './reading';

export interface Committer {
  readonly group: string;
  /** Undefined: for a queue that nobody reads as a member of the group. */
  readonly consumer?: string | undefined;
  readonly generation?: string | undefined;
}

export interface Committed {
  /** Offsets that were refused, with the reason. */
  readonly refused: readonly Refused[];
  readonly shortened: readonly Shortened[];
}

interface Refused {
  readonly at: QueueOffset;
  readonly error: GantryError;
}

/** A refusal as the native answer has it. */
interface WireError {
  readonly code: string;
  readonly detail: string;
  /** Of OFFSET_MOVED: the end of the queue. */
  readonly maxOffset?: number;
}

/**
 * Backwards is allowed: Kafka's clients may go back. So is an offset behind the end of its queue, by `beyond` at most:
 * some clients name the next offset where the last one is meant. The end is stored then, since a message that comes there
 * would be skipped otherwise.
 */
export async function commit(
  native: Native,
  by: Committer,
  offsets: readonly QueueOffset[],
  signal: AbortSignal,
  beyond = 0,
): Promise<Committed> {
  const errors = await commitAll(native, by, offsets, signal);
  const refused: Refused[] = [];
  const shortened: Shortened[] = [];
  errors.forEach((error, i) => {
    const at = offsets[i]!;
    const end = error?.code === 'OFFSET_MOVED' ? error.maxOffset : undefined;
    if (error && end !== undefined && at.nextOffset > end && at.nextOffset <= end + beyond)
      shortened.push({ at, stored: end });
    else if (error) refused.push({ at, error: coded(error) });
  });
  if (shortened.length === 0) return { refused, shortened };
  const ends = shortened.map(({ at, stored }) => ({ ...at, nextOffset: stored }));
  const again = await commitAll(native, by, ends, signal);
  return {
    refused: [...refused, ...again.flatMap((error, i) => (error ? [{ at: ends[i]!, error: coded(error) }] : []))],
    shortened: shortened.filter((_, i) => !again[i]),
  };
}

/** One for each offset: why it was refused, or undefined. */
async function commitAll(
  native: Native,
  { group, consumer, generation }: Committer,
  offsets: readonly QueueOffset[],
  signal: AbortSignal,
): Promise<readonly (WireError | undefined)[]> {
  if (offsets.length === 0) return [];
  const by =
    consumer === undefined ? {} : { consumerId: consumer, ...(generation === undefined ? {} : { generation }) };
  const body = { ...by, offsets: offsets.map((at) => ({ ...at })), force: true };
  const answer = await native.call('commitOffsets', { path: { group }, query: {} as never, body }, signal);
  const { results } = answer.json<{ results?: readonly { error?: WireError }[] }>();
  if (!results) throw answer.failure();
  return results.map(({ error }) => error);
}

const coded = ({ code, detail }: WireError): GantryError =>
  new GantryError(code in CODES ? (code as Code) : 'SERVICE_NOT_AVAILABLE', detail);
