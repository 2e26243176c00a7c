/** Whether a receipt still counts: the decisions, made when applied. They speak of the message as it is now. */
import { GantryError } from '../base/errors';
import type { Receipt } from './receipts';
import { queueNumber, type BrokerState, type GroupState } from './state';

/** The group is done with the message: it was acknowledged, passed by a commit, or given up. The caller finds out which. */
export const ABSENT = 'ABSENT';

export type ReceiptRefusal = GantryError | typeof ABSENT | undefined;

/** `ends`: the receipt is to end its lease, which a message needs not be kept for. */
export function receiptRefusal(
  state: BrokerState,
  group: GroupState,
  { topic, queueId, lease, offset }: Receipt,
  ends: boolean,
): ReceiptRefusal {
  const queue = state.topics.get(topic)?.queues[queueId];
  if (!queue) return topicGone();
  const number = queueNumber(topic, queueId);
  if (lease < (group.resets.get(number) ?? 0)) return positionMoved();
  const leases = group.leases.get(number);
  const entry = leases?.entries.get(offset);
  // A reset that an earlier version recorded is known only by the place of the position.
  if (!entry) return offset < (leases?.next ?? group.offsets.get(number) ?? queue.min) ? ABSENT : positionMoved();
  if (entry.lease !== lease) return entry.lease === 0 ? givenBack() : handedOutAgain();
  return ends || offset >= queue.min ? undefined : late('retention or a purge has deleted it');
}

export const late = (why: string): GantryError =>
  new GantryError('LATE_ACK', `nothing can be done with this message under this receipt: ${why}`);

export const doneAlready = (): GantryError =>
  late('it is acknowledged already, or a commit passed it; there is nothing left to do');

const handedOutAgain = (): GantryError =>
  new GantryError(
    'LATE_ACK',
    'the message stayed out longer than invisibleMs and was handed out again: extend receipts in time, or receive with a longer invisibleMs',
  );

const givenBack = (): GantryError => late('its delivery was given back unread, and the next receive gets it');

const positionMoved = (): GantryError =>
  late('the position of its queue was reset since it was handed out. Receive what the group is to read now');

const topicGone = (): GantryError =>
  new GantryError(
    'TOPIC_RECREATED',
    'the topic of this message was deleted since it was handed out, and the message with it',
  );
