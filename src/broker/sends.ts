/** Storing messages: each one gets the next offset of its queue, its index entry, and its place in the memory tail. */
import { positionOf, tableKeys } from '../../storage/keys';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import { isSystemTopic } from './group';
import {
  dueOf,
  hasKeys,
  keyedSendOf,
  messageGroupHashOf,
  messageIdOf,
  messageQueueId,
  messageTag,
  messageTagHash,
  type KeyedSend,
  type StoredAnswer,
} from './message';
import { hexOf } from '../base/messageId';
import type { Queue } from './queue';
import { json, type BrokerState, type TopicState } from './state';

export interface SendOutcome {
  /** Queue offset of each record, in order; -1: it waits for its time. */
  readonly offsets: number[];
  readonly index: number;
  readonly time: number;
}

/** What is kept of a send with an Idempotency-Key. */
export interface KeyedAnswer {
  readonly content: string;
  readonly time: number;
  /** By item of the request; null = it was refused and may be tried again. */
  readonly items: readonly (StoredAnswer | null)[];
}

export const answerBucketOf = (time: number): number => Math.floor(time / LIMITS.idempotencyMs);

/** Instead of a queue offset: the message becomes visible later. */
const WAITS = -1;

export function applySend(
  state: BrokerState,
  applied: Applied<CommandOf<'send'>>,
  touched: Set<Queue>,
): Outcome<'send'> {
  const { command, index, time } = applied;
  const topic = state.topics.get(command.topic);
  if (topic === undefined) {
    return {
      refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted while this was sent; nothing was stored'),
    };
  }
  const { records } = command;
  const offsets = new Array<number>(records.length);
  state.idRuns.begin();
  for (let ordinal = 0; ordinal < records.length; ordinal++) {
    const record = records[ordinal]!;
    const due = dueOf(record);
    if (due === undefined) {
      offsets[ordinal] = storeMessage(state, topic, record, positionOf(index, ordinal), time, touched);
    } else {
      state.schedule(topic, due, positionOf(index, ordinal), record);
      offsets[ordinal] = WAITS;
    }
  }
  state.tail.put(index, records);
  const keyed = keyedSendOf(records[0]!);
  if (keyed) rememberAnswer(state, keyed, records, offsets, index, time);
  return { ok: { offsets, index, time } };
}

/** Gives a message the next offset of its queue, and answers it. */
export function storeMessage(
  state: BrokerState,
  topic: TopicState,
  record: Buffer,
  position: number,
  time: number,
  touched: Set<Queue>,
): number {
  const queueId = messageQueueId(record);
  const queue = topic.queues[queueId]!;
  const offset = queue.append(position, record.length, messageTagHash(record), messageGroupHashOf(record), time);
  if (!queue.unflushed) {
    queue.unflushed = true;
    state.unflushedQueues.add(queue);
  }
  state.idRuns.add(record, time, position, queueId, offset);
  // A group's own copies are not what anybody looks for by a key: the message itself is.
  if (hasKeys(record) && !isSystemTopic(topic.record.name))
    state.keys.add(record, topic.record.no, time, position, queueId, offset);
  touched.add(queue);
  const tag = messageTag(record);
  if (tag !== undefined) countTag(state, topic, tag, time);
  topic.traffic.messagesIn++;
  topic.traffic.bytesIn += record.length;
  return offset;
}

/** What was to be visible later never is. */
export function applyRecall(state: BrokerState, { command }: Applied<CommandOf<'recall'>>): Outcome<'recall'> {
  const topic = state.topics.get(command.topic);
  if (!topic) return { refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted meanwhile') };
  for (const [due, position, id] of command.messages) state.unschedule(topic, due, position, Buffer.from(id, 'hex'));
  return { ok: undefined };
}

function countTag(state: BrokerState, topic: TopicState, tag: string, time: number): void {
  const before = topic.seen.size;
  const gone = topic.seen.count(tag, time);
  if (gone !== undefined) {
    state.dropSeenTag(topic.record.no, gone);
    state.counts.S++;
  } else if (topic.seen.size > before) state.counts.S++;
}

function rememberAnswer(
  state: BrokerState,
  keyed: KeyedSend,
  records: Buffer[],
  offsets: number[],
  index: number,
  time: number,
): void {
  const items = keyed.items.map((item): StoredAnswer | null => {
    if (typeof item !== 'number') return item;
    if (item < 0) return null;
    const record = records[item]!;
    const due = dueOf(record);
    const place = [hexOf(messageIdOf(record)), messageQueueId(record), offsets[item]!, positionOf(index, item), time];
    return (due === undefined ? place : [...place, due]) as unknown as StoredAnswer;
  });
  const answer: KeyedAnswer = { content: keyed.content, time, items };
  state.overlay.put(tableKeys.answer(answerBucketOf(time), Buffer.from(keyed.key, 'base64')), json(answer));
}
