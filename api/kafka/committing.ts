/** Commits by the native operation: who may, and what became of each. */
import { CODES, GantryError, type Code } from '../../src/base/errors';
import type { Native } from './native';
import type { QueueOffset } from './reading';

export interface Committer {
  readonly group: string;
  /** Undefined: for a queue that nobody reads as a member of the group. */
  readonly consumer?: string | undefined;
  readonly generation?: string | undefined;
}

/** Those that were refused, with the reason. Backwards is allowed: Kafka's clients may go back. */
export async function commit(
  native: Native,
  { group, consumer, generation }: Committer,
  offsets: readonly QueueOffset[],
  signal: AbortSignal,
): Promise<{ readonly at: QueueOffset; readonly error: GantryError }[]> {
  if (offsets.length === 0) return [];
  const by =
    consumer === undefined ? {} : { consumerId: consumer, ...(generation === undefined ? {} : { generation }) };
  const body = { ...by, offsets: offsets.map((at) => ({ ...at })), force: true };
  const answer = await native.call('commitOffsets', { path: { group }, query: {} as never, body }, signal);
  const { results } = answer.json<{ results?: readonly { error?: { code: string; detail: string } }[] }>();
  if (!results) throw answer.failure();
  return results.flatMap(({ error }, i) => (error ? [{ at: offsets[i]!, error: coded(error) }] : []));
}

const coded = ({ code, detail }: { code: string; detail: string }): GantryError =>
  new GantryError(code in CODES ? (code as Code) : 'SERVICE_NOT_AVAILABLE', detail);
