/**
 * Who reads a queue for a group, and how far he came: the decisions, made when applied. A commit counts while the queue's
 * owner epoch is what it was when the messages were read, however late it comes; a reset and a new owner raise it.
 */
import { positionOf } from '../../storage/keys';
import { GantryError } from '../base/errors';
import type { Applied, CommandOf, Outcome } from './apply';
import type { Committer, QueueOffset, ReadOffset } from './command';
import { retryTopicOf } from './group';
import { passLeases } from './leaseChanges';
import { queueNumber, type BrokerState, type GroupState, type Listener } from './state';

/** One queue's part of a commit. */
export type OffsetResult =
  | { readonly topic: number; readonly queueId: number; readonly nextOffset: number; readonly error?: undefined }
  | { readonly topic: number; readonly queueId: number; readonly nextOffset: number; readonly error: GantryError };

const groupGone = () => new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile');

export function assignQueues(state: BrokerState, applied: Applied<CommandOf<'assignQueues'>>): Outcome<'assignQueues'> {
  const { command, index } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: groupGone() };
  for (const { topic, queueId, consumer, leaseMs } of command.owners) {
    if (!state.topics.get(topic)?.queues[queueId]) continue;
    // The owner reads what the leases left undone. Without a gap that is all behind the committed offset.
    const number = queueNumber(topic, queueId);
    const leases = group.leases.get(number);
    if (leases?.said === undefined && leases?.entries.size === 0) state.dropLeases(group, number);
    else if (leases && leases.said === undefined) state.putLeaseSaid(group, leases, leases.committed);
    state.putOwner(group, topic, queueId, { consumer, leaseMs, epoch: index });
  }
  return { ok: undefined };
}

export function commitOffsets(
  state: BrokerState,
  applied: Applied<CommandOf<'commitOffsets'>>,
): Outcome<'commitOffsets'> {
  const { command, index } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: groupGone() };
  return { ok: commitAll(state, group, command.offsets, command.by, command.backwards ? index : undefined) };
}

/** Moves each position that may be moved; one result per queue. `backwards`: index of a command that may move them back. */
export function commitAll(
  state: BrokerState,
  group: GroupState,
  offsets: readonly ReadOffset[],
  by: Committer | undefined,
  backwards?: number,
): OffsetResult[] {
  if (group.record.mode === 'BROADCASTING')
    return offsets.map((at) => commitListener(state, group, at, by, backwards !== undefined));
  return offsets.map((at) => {
    const refusal =
      ownerRefusal(group, at, by) ??
      (by ? undefined : leaseRefusal(group, at)) ??
      offsetRefusal(state, saidOf(group, at), at, backwards !== undefined);
    if (refusal) return { ...placeOf(at), error: refusal };
    moveTo(state, group, at, backwards);
    return placeOf(at);
  });
}

function moveTo(state: BrokerState, group: GroupState, at: QueueOffset, backwards: number | undefined): void {
  const leases = group.leases.get(queueNumber(at.topic, at.queueId));
  const before = saidOf(group, at);
  if (backwards !== undefined && before !== undefined && at.nextOffset < before)
    return state.rewind(group, placeOf(at), backwards);
  if (leases) return passLeases(state, group, leases, at.nextOffset);
  if (before !== at.nextOffset) state.putOffset(group, at.topic, at.queueId, at.nextOffset);
}

const placeOf = ({ topic, queueId, nextOffset }: QueueOffset): QueueOffset => ({ topic, queueId, nextOffset });
/** The offset that a commit must not lie before, unless it moves the position back. */
const saidOf = (group: GroupState, at: QueueOffset): number | undefined => {
  const number = queueNumber(at.topic, at.queueId);
  return group.leases.get(number)?.said ?? group.offsets.get(number);
};

/** Why this consumer may not move the position of a queue, or undefined. Without a consumer it is an operator. */
export function ownerRefusal(
  group: GroupState,
  at: { readonly topic: number; readonly queueId: number; readonly epoch?: number },
  by: Committer | undefined,
): GantryError | undefined {
  if (!by) return undefined;
  const owner = group.owners.get(queueNumber(at.topic, at.queueId));
  if (owner?.consumer !== by.consumer) return notOwned(by.consumer, owner?.consumer);
  const held = at.epoch === undefined || at.epoch === owner.epoch;
  return held && owner.epoch <= (by.generation ?? Infinity) ? undefined : notOwned(by.consumer, owner.consumer);
}

function notOwned(consumer: string, owner: string | undefined): GantryError {
  const now = owner === undefined ? 'nobody owns it now' : `${owner} owns it now`;
  return new GantryError(
    'QUEUE_NOT_OWNED',
    `${consumer} does not own this queue, or has not all the time since: ${now}. Join and poll again; what was not committed is delivered again`,
  );
}

/** Even when all is acknowledged: the next receive goes on where the leases stand, whatever is committed here. */
function leaseRefusal(group: GroupState, { topic, queueId }: QueueOffset): GantryError | undefined {
  if (!group.leases.has(queueNumber(topic, queueId))) return undefined;
  return new GantryError(
    'STYLE_CONFLICT',
    `the position of this queue follows from acknowledgements: acknowledge messages by their receipts, or move it with POST /v1/groups/${group.record.name}/offset-resets`,
  );
}

function offsetRefusal(
  state: BrokerState,
  committed: number | undefined,
  at: QueueOffset,
  backwards: boolean,
): GantryError | undefined {
  const queue = state.topics.get(at.topic)?.queues[at.queueId];
  if (!queue) return new GantryError('QUEUE_NOT_FOUND', 'the queue does not exist any more');
  if (at.nextOffset > queue.max) {
    return new GantryError(
      'OFFSET_MOVED',
      `nextOffset ${at.nextOffset} lies behind the queue's end ${queue.max}: commit the offset after the last handled message`,
      { members: { minOffset: queue.min, maxOffset: queue.max } },
    );
  }
  if (committed !== undefined && at.nextOffset < committed && !backwards) {
    return new GantryError(
      'OFFSET_BACKWARDS',
      `${committed} is committed already, and ${at.nextOffset} is before it: say force to go back`,
      { members: { committed } },
    );
  }
  return undefined;
}

function commitListener(
  state: BrokerState,
  group: GroupState,
  at: ReadOffset,
  by: Committer | undefined,
  backwards: boolean,
): OffsetResult {
  const consumer = by?.consumer ?? '';
  const listener = group.listeners.get(consumer);
  const held =
    listener !== undefined &&
    (at.epoch ?? listener.epoch) === listener.epoch &&
    listener.epoch <= (by?.generation ?? Infinity);
  if (!held) return { ...placeOf(at), error: notOwned(consumer, undefined) };
  const committed = listener.offsets.get(queueNumber(at.topic, at.queueId));
  const refusal = offsetRefusal(state, committed, at, backwards);
  if (refusal) return { ...placeOf(at), error: refusal };
  if (committed !== at.nextOffset) state.putListenerPosition(group, consumer, listener, at);
  return placeOf(at);
}

/** In a broadcasting group all its consumers are moved. */
export function resetOffsets(state: BrokerState, applied: Applied<CommandOf<'resetOffsets'>>): Outcome<'resetOffsets'> {
  const { command, index } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: groupGone() };
  for (const [consumer, listener] of group.listeners) {
    state.putListener(group, consumer, Object.assign(listener, { epoch: index }));
  }
  for (const at of command.offsets)
    if (state.topics.get(at.topic)?.queues[at.queueId]) resetOne(state, group, at, index);
  if (command.dropRetries) dropRetries(state, group, index);
  return { ok: undefined };
}

/** Drops retries written before this command: waiting ones when they are due; visible ones are passed over. */
function dropRetries(state: BrokerState, group: GroupState, index: number): void {
  state.dropWaiting(group, positionOf(index, 0));
  for (const { topic, queueId, max } of state.topicsByName.get(retryTopicOf(group.record.name))?.queues ?? [])
    resetOne(state, group, { topic, queueId, nextOffset: max }, index);
}

function resetOne(state: BrokerState, group: GroupState, at: QueueOffset, index: number): void {
  for (const [consumer, listener] of group.listeners) state.putListenerPosition(group, consumer, listener, at);
  if (group.record.mode === 'BROADCASTING') return;
  const number = queueNumber(at.topic, at.queueId);
  const owner = group.owners.get(number);
  state.rewind(group, at, index);
  if (owner) state.putOwner(group, at.topic, at.queueId, { ...owner, epoch: index });
}

/** A consumer of a broadcasting group joins, shows that it lives, or is forgotten. */
export function changeListeners(state: BrokerState, applied: Applied<CommandOf<'listeners'>>): Outcome<'listeners'> {
  const { command, time } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: groupGone() };
  const { joined, seen = [], gone = [] } = command;
  if (joined) joinListener(state, group, applied, joined.consumer, joined.offsets ?? []);
  for (const consumer of seen) {
    const listener = group.listeners.get(consumer);
    if (listener) state.putListener(group, consumer, Object.assign(listener, { seenAt: time }));
  }
  for (const consumer of gone) state.dropListener(group, consumer);
  return { ok: undefined };
}

/** In each topic that is new to it, it begins where the group's consumeFrom says now; positions that need the index came with the command. */
function joinListener(
  state: BrokerState,
  group: GroupState,
  { index, time }: Applied,
  consumer: string,
  offsets: readonly QueueOffset[],
): void {
  const known = group.listeners.get(consumer);
  const listener: Listener = known ?? { epoch: index, seenAt: time, offsets: new Map() };
  const start = new Map(offsets.map((at) => [queueNumber(at.topic, at.queueId), at.nextOffset]));
  state.putListener(group, consumer, Object.assign(listener, { seenAt: time }));
  for (const { topic } of group.record.subscriptions) {
    const latest = group.record.consumeFrom === 'LATEST' && !listener.offsets.has(queueNumber(topic, 0));
    for (const queue of state.topics.get(topic)?.queues ?? []) {
      const number = queueNumber(topic, queue.queueId);
      if (listener.offsets.has(number)) continue;
      const decided = latest ? queue.max : queue.min;
      const nextOffset = start.get(number) ?? decided;
      state.putListenerPosition(group, consumer, listener, { topic, queueId: queue.queueId, nextOffset });
    }
  }
}
