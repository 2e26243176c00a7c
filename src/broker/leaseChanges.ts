/** Handing messages out for a while, and what is done with them: the decisions, made when applied. */
import { GantryError } from '../base/errors';
import type { Applied, CommandOf, Outcome } from './apply';
import type { LeaseTake, Settlement } from './command';
import { deliveries, type LeaseEntry, type LeaseQueue } from './leaseQueue';
import { receiptRefusal, type ReceiptRefusal } from './receiptRules';
import { queueNumber, type BrokerState, type GroupState } from './state';

/** One message that a receive got. */
export interface Granted {
  readonly topic: number;
  readonly queueId: number;
  readonly offset: number;
  /** Deliveries from this queue, this one included. */
  readonly attempt: number;
}

export interface LeaseOutcome {
  /** Number of the lease, by which a receipt is told from an earlier one. */
  readonly lease: number;
  readonly time: number;
  readonly granted: readonly Granted[];
}

export function applyLease(state: BrokerState, applied: Applied<CommandOf<'lease'>>): Outcome<'lease'> {
  const { command, index, time } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  const granted: Granted[] = [];
  const until = time + command.invisibleMs;
  // A former owner goes on with leases now, or not at all: a restart must not take it for a living one.
  for (const number of [...group.owners.keys()]) state.dropOwner(group, number);
  for (const take of command.takes)
    grant(state, group, take, { lease: index, ms: command.invisibleMs, until }, granted);
  for (const [name, { until }] of group.attempts) {
    if (until > time) break;
    state.dropAttempt(group, name);
  }
  if (command.attempt !== undefined && granted.length > 0) {
    const items = granted.map(({ topic, queueId, offset }) => [topic, queueId, offset] as const);
    state.putAttempt(group, command.attempt, { lease: index, until, items });
  }
  return { ok: { lease: index, time, granted } };
}

function grant(
  state: BrokerState,
  group: GroupState,
  take: LeaseTake,
  now: { lease: number; ms: number; until: number },
  granted: Granted[],
): void {
  const { topic, queueId } = take;
  const queue = state.topics.get(topic)?.queues[queueId];
  if (!queue) return;
  const number = queueNumber(topic, queueId);
  const leases = state.leaseQueue(group, topic, queueId, group.offsets.get(number) ?? queue.min);
  if (leases.said !== undefined) state.putLeaseSaid(group, leases, undefined);
  const give = (offset: number, attempt: number, groupHash: number) => {
    state.putLease(group, leases, offset, { ...now, attempt, groupHash });
    granted.push({ topic, queueId, offset, attempt });
  };
  for (const [offset, seen] of take.again) {
    const entry = leases.entries.get(offset);
    if (entry?.lease === seen) give(offset, Math.min(entry.attempt + 1, 0xffff), entry.groupHash);
  }
  for (const [offset, seen] of take.dropped)
    if (leases.entries.get(offset)?.lease === seen) state.dropLease(group, leases, offset);
  if (take.from === leases.next && take.next > take.from) {
    const news = [...take.fresh.map((at) => [...at, true] as const), ...take.held.map((at) => [...at, false] as const)];
    for (const [offset, hash, fresh] of news.sort(([a], [b]) => a - b)) {
      if (fresh) give(offset, 1, hash);
      else state.putLease(group, leases, offset, { attempt: 0, lease: 0, ms: 0, groupHash: hash });
    }
    state.putLeaseNext(group, leases, take.next);
  }
  commitLowest(state, group, leases);
}

/** Everything before `offset` is done: a consumer that owns the queue says so. Behind all leases it is a plain position. */
export function passLeases(state: BrokerState, group: GroupState, leases: LeaseQueue, offset: number): void {
  for (const open of [...leases.entries.keys()]) {
    if (open >= offset) break;
    state.dropLease(group, leases, open);
  }
  if (offset < leases.next) {
    state.putLeaseSaid(group, leases, offset);
    return commitLowest(state, group, leases);
  }
  const { topic, queueId } = leases;
  state.dropLeases(group, queueNumber(topic, queueId));
  state.putOffset(group, topic, queueId, offset);
}

/** The committed offset is the lowest that is not done. */
export function commitLowest(state: BrokerState, group: GroupState, leases: LeaseQueue): void {
  const { topic, queueId, committed } = leases;
  if (group.offsets.get(queueNumber(topic, queueId)) !== committed) state.putOffset(group, topic, queueId, committed);
}

export function applySettle(state: BrokerState, applied: Applied<CommandOf<'settle'>>): Outcome<'settle'> {
  const { command, time } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  const touched = new Set<LeaseQueue>();
  const results = command.items.map((item): ReceiptRefusal => {
    const refused = receiptRefusal(state, group, item, item.action !== 'EXTEND');
    if (refused) return refused;
    const leases = group.leases.get(queueNumber(item.topic, item.queueId))!;
    touched.add(leases);
    const after = settled(leases.entries.get(item.offset)!, item, time);
    if (after) state.putLease(group, leases, item.offset, after);
    else state.dropLease(group, leases, item.offset);
    return undefined;
  });
  for (const leases of touched) commitLowest(state, group, leases);
  return { ok: results };
}

/** Entry of a message after a settlement; undefined: the message is done. */
function settled(entry: LeaseEntry, item: Settlement, time: number): LeaseEntry | undefined {
  const { lease, groupHash } = entry;
  if (item.action === 'ACK') return undefined;
  const before = deliveries(entry) - 1;
  if (item.action === 'RETURN') return { attempt: before, lease: 0, ms: 0, groupHash };
  const { ms = 0, failed, putOff } = item;
  const lasting = { lease, ms, until: time + ms, groupHash };
  if (putOff) return { attempt: before, ...lasting, putOff };
  return { attempt: before + 1, ...lasting, ...(failed ? { failed } : {}) };
}
