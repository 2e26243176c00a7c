/** Messages that failed: they wait for another try, become dead letters, are sent again. The decisions, made when applied. */
import { positionOf, tableKeys } from '../../storage/keys';
import { GantryError } from '../base/errors';
import type { Applied, CommandOf, Outcome } from './apply';
import { NO_MESSAGE, type FailedMessage, type RedrivenItem } from './command';
import { noteCopy } from './copies';
import { groupOfRetryTopic, retryTopicOf } from './group';
import { commitLowest } from './leaseChanges';
import { messageIdOf, messageQueueId, messageTopic } from './message';
import { ABSENT, doneAlready, receiptRefusal } from './receiptRules';
import { commitAll, ownerRefusal, type OffsetResult } from './positionChanges';
import type { Receipt } from './receipts';
import { answerBucketOf, storeMessage } from './sends';
import type { Queue } from './queue';
import { json, queueNumber, type BrokerState, type GroupState, type TopicState } from './state';

/** What became of one failed message. */
export type FailureResult =
  | { readonly outcome: 'RETRY'; readonly attempt: number; readonly due: number; readonly error?: undefined }
  | { readonly outcome: 'DEAD_LETTER'; readonly error?: undefined }
  | { readonly error: GantryError };

export interface RetryOutcome {
  readonly results: readonly FailureResult[];
  /** Whether all positions that came with it are committed; undefined when there were none. */
  readonly committed: boolean | undefined;
}

/** What is kept of a failed message, so that telling of it again changes nothing. */
export interface FailureAnswer {
  readonly time: number;
  readonly result: FailureResult;
}

/** What is kept of messages that were sent back with an Idempotency-Key. */
export interface SentBackAnswer {
  readonly time: number;
  readonly content: string;
  /** Of what was accepted: its place in the request, and what became of it. */
  readonly results: readonly (readonly [number, FailureResult])[];
  readonly committed?: boolean;
}

/** What is kept of a redrive with an Idempotency-Key. */
export interface RedriveAnswer {
  readonly time: number;
  readonly content: string;
  readonly items: readonly RedrivenItem[];
  /** null: its topic was gone. */
  readonly offsets: readonly (number | null)[];
}

export interface RedriveOutcome {
  /** Queue offset of each message, in order; undefined: its topic is gone. */
  readonly offsets: readonly (number | undefined)[];
}

export function applyRetry(
  state: BrokerState,
  applied: Applied<CommandOf<'retry'>>,
  touched: Set<Queue>,
): Outcome<'retry'> {
  const { command, index, time } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  state.idRuns.begin();
  state.tail.put(index, [NO_MESSAGE, ...command.records]);
  const results = command.items.map((item, i): FailureResult => {
    const record = command.records[i]!;
    const topic = state.topics.get(messageTopic(record));
    // First: what cannot go anywhere stays with whoever has it.
    if (!topic) return { error: new GantryError('TOPIC_NOT_FOUND', 'the topic of the copy was deleted meanwhile') };
    const refusal =
      item.lease === undefined
        ? ownerRefusal(group, item, command.by)
        : takeBack(state, group, { ...item, lease: item.lease });
    if (refusal) return { error: refusal };
    const result = moveAway(state, group, item, { topic, record, position: positionOf(index, i + 1) }, time, touched);
    if (item.key !== undefined) {
      const answer: FailureAnswer = { time, result };
      state.overlay.put(tableKeys.answer(answerBucketOf(time), Buffer.from(item.key, 'base64')), json(answer));
    }
    return result;
  });
  // A message that was refused would be lost behind the new position: it stays, and so do the others.
  const accepted = results.every(({ error }) => error === undefined);
  const positions = accepted ? commitAll(state, group, command.offsets, command.by) : [];
  const committed = command.offsets.length === 0 ? undefined : accepted && positions.every(isCommitted);
  if (command.answer) rememberSentBack(state, command.answer, results, accepted ? committed : undefined, time);
  return { ok: { results, committed } };
}

/** What is behind the present position is committed already. */
const isCommitted = ({ error }: OffsetResult): boolean => error === undefined || error.code === 'OFFSET_BACKWARDS';

function rememberSentBack(
  state: BrokerState,
  { key, content, places }: NonNullable<CommandOf<'retry'>['answer']>,
  results: readonly FailureResult[],
  committed: boolean | undefined,
  time: number,
): void {
  const accepted = places.map((at, i) => [at, results[i]!] as const).filter(([, { error }]) => error === undefined);
  if (accepted.length === 0 && committed === undefined) return;
  const answer: SentBackAnswer = {
    time,
    content,
    results: accepted,
    ...(committed === undefined ? {} : { committed }),
  };
  state.overlay.put(tableKeys.answer(answerBucketOf(time), Buffer.from(key, 'base64')), json(answer));
}

/** Ends the lease of a failed message; its copy goes on for it. */
function takeBack(state: BrokerState, group: GroupState, item: Receipt): GantryError | undefined {
  const refused = receiptRefusal(state, group, item, true);
  if (refused) return refused === ABSENT ? doneAlready() : refused;
  const leases = group.leases.get(queueNumber(item.topic, item.queueId))!;
  state.dropLease(group, leases, item.offset);
  commitLowest(state, group, leases);
  return undefined;
}

function moveAway(
  state: BrokerState,
  group: GroupState,
  item: FailedMessage,
  copy: { readonly topic: TopicState; readonly record: Buffer; readonly position: number },
  time: number,
  touched: Set<Queue>,
): FailureResult {
  const { topic, record, position } = copy;
  if (item.delayMs !== undefined) {
    const due = time + item.delayMs;
    state.putTimer(due, position, record);
    state.count(group, { waiting: 1 });
    noteCopy(state, group, record, { is: 'WAITING', due, position });
    return { outcome: 'RETRY', attempt: item.attempt, due };
  }
  const offset = storeMessage(state, topic, record, position, time, touched);
  state.putDeadLetter(group, offset, record);
  state.count(group, { dead: 1 });
  noteCopy(state, group, record, { is: 'DEAD', time });
  return { outcome: 'DEAD_LETTER' };
}

/** The time of waiting messages has come. What belongs to a deleted group or topic falls away. */
export function applyFireTimers(
  state: BrokerState,
  applied: Applied<CommandOf<'fireTimers'>>,
  touched: Set<Queue>,
): Outcome<'fireTimers'> {
  const { command, index, time } = applied;
  state.idRuns.begin();
  state.tail.put(index, [NO_MESSAGE, ...command.records]);
  command.timers.forEach(([due, position], i) => {
    const record = command.records[i]!;
    const topic = state.topics.get(messageTopic(record));
    const groupName = topic && groupOfRetryTopic(topic.record.name);
    const group = state.groupsByName.get(groupName ?? '');
    if (topic && groupName === undefined) state.unschedule(topic, due, position, messageIdOf(record));
    else state.dropTimer(due, position);
    if (!topic?.queues[messageQueueId(record)]) return;
    if (group && position < (group.counts.droppedBelow ?? 0)) return noteCopy(state, group, record, undefined);
    const queueOffset = storeMessage(state, topic, record, positionOf(index, i + 1), time, touched);
    if (!group) return;
    state.count(group, { waiting: -1 });
    noteCopy(state, group, record, { is: 'BACK', due, queueOffset });
  });
  return { ok: undefined };
}

export function applyRedrive(
  state: BrokerState,
  applied: Applied<CommandOf<'redrive'>>,
  touched: Set<Queue>,
): Outcome<'redrive'> {
  const { command, index, time } = applied;
  const group = state.groups.get(command.group);
  if (!group) return { refused: new GantryError('GROUP_NOT_FOUND', 'the group was deleted meanwhile') };
  state.idRuns.begin();
  state.tail.put(index, [NO_MESSAGE, ...command.records]);
  const offsets = command.offsets.map((dead, i) => {
    const record = command.records[i]!;
    const topic = state.topics.get(messageTopic(record));
    if (!topic?.queues[messageQueueId(record)]) return undefined;
    state.dropDeadLetter(group, dead);
    state.count(group, { dead: -1 });
    const queueOffset = storeMessage(state, topic, record, positionOf(index, i + 1), time, touched);
    const ours = topic.record.name === retryTopicOf(group.record.name);
    noteCopy(state, group, record, ours ? { is: 'BACK', due: time, queueOffset } : { is: 'SENT_ON' });
    return queueOffset;
  });
  if (command.answer) {
    const { key, content, items } = command.answer;
    const answer: RedriveAnswer = { time, content, items, offsets: offsets.map((offset) => offset ?? null) };
    state.overlay.put(tableKeys.answer(answerBucketOf(time), Buffer.from(key, 'base64')), json(answer));
  }
  return { ok: { offsets } };
}

export function dropDeadLetters(
  state: BrokerState,
  { command }: Applied<CommandOf<'dropDeadLetters'>>,
): Outcome<'dropDeadLetters'> {
  const group = state.groups.get(command.group);
  if (!group) return { ok: undefined };
  for (const offset of command.offsets) state.dropDeadLetter(group, offset);
  state.count(group, { dead: -command.offsets.length });
  return { ok: undefined };
}
