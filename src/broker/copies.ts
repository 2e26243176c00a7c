/**
 * What became of messages that failed. A message that a group sends back goes on as a copy: it waits, comes again, fails
 * again, is given up. One row for each message and group says where its newest copy is, found by where the message was
 * first; it is what a trace asks, instead of all that waits and is dead. Rows are dropped with the hour of the message
 * itself, as its id is: what is not kept has no trace.
 */
import { tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import { LIMITS } from '../base/limits';
import { hourOf } from './idRuns';
import { messageAttempt, messageOrigin, type Origin } from './message';
import { scanRows } from './rows';
import { json, parseJson, type BrokerState, type GroupState } from './state';

/** Where a copy is. */
type State =
  /** `position`: where it was written; rows of earlier builds have none. */
  | { readonly is: 'WAITING'; readonly due: number; readonly position?: number }
  /** In the group's own queue, since `due`. */
  | { readonly is: 'BACK'; readonly due: number; readonly queueOffset: number }
  | { readonly is: 'DEAD'; readonly time: number }
  /** It was a dead letter, and was sent to a topic as a message of its own. */
  | { readonly is: 'SENT_ON' };

/** `attempt`: which delivery its next one is; of a dead letter, which one its last one was. */
export type Copy = State & { readonly attempt: number };

type Place = Pick<Origin, 'position' | 'storeTimestamp'>;

/** Notes where the copy of a message is now; undefined = the group has none any more. */
export function noteCopy(state: BrokerState, group: GroupState, record: Buffer, copy: State | undefined): void {
  const origin = messageOrigin(record);
  // What lies below the mark was deleted, and nobody would delete it again.
  if (!origin || hourOf(origin.storeTimestamp) < state.marks.idHour) return;
  const key = tableKeys.failedCopy(hourOf(origin.storeTimestamp), origin.position, group.record.no);
  if (copy) state.overlay.put(key, json({ ...copy, attempt: messageAttempt(record) }));
  else state.overlay.delete(key);
}

/** The copies of a message, by the number of their group. */
export async function copiesOf(state: BrokerState, tables: Tables, at: Place): Promise<Map<number, Copy>> {
  const hour = hourOf(at.storeTimestamp);
  const range = { gte: tableKeys.failedCopy(hour, at.position, 0), lt: tableKeys.failedCopy(hour, at.position + 1, 0) };
  const { rows } = await scanRows(tables, state.overlay, range, { limit: LIMITS.groups });
  return new Map(rows.map(({ key, value }) => [key.readUIntBE(13, 6), parseJson<Copy>(value)]));
}
