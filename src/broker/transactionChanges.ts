/** Transactions: preparing, deciding, asking. The decisions, made when applied. */
import { positionOf, tableKeys } from '../../storage/keys';
import { GantryError } from '../base/errors';
import { hexOf } from '../base/messageId';
import type { Applied, CommandOf, Outcome } from './apply';
import { NO_MESSAGE } from './command';
import type { Decision } from './halves';
import { messageIdOf, messageQueueId } from './message';
import type { Queue } from './queue';
import { answerBucketOf, storeMessage } from './sends';
import { json, type BrokerState } from './state';

/** What a preparation answers, and what is kept of one with an Idempotency-Key. */
export interface Preparation {
  readonly position: number;
  readonly messageId: string;
  readonly time: number;
}

export interface PreparationAnswer extends Preparation {
  readonly content: string;
}

export function applyPrepare(state: BrokerState, applied: Applied<CommandOf<'prepare'>>): Outcome<'prepare'> {
  const { command, index, time } = applied;
  const { topic, producerGroup, checkAfterMs, answer } = command;
  const topicName = state.topics.get(topic)?.record.name;
  if (topicName === undefined) {
    return {
      refused: new GantryError('TOPIC_NOT_FOUND', 'the topic was deleted while this was prepared; nothing was stored'),
    };
  }
  const record = command.records[0]!;
  const position = positionOf(index, 1);
  const messageId = hexOf(messageIdOf(record));
  const next = { checks: 0, nextCheck: time + checkAfterMs };
  const half = { topic, topicName, producerGroup, messageId, preparedAt: time, ...next };
  state.halves.prepare(position, half, record);
  const preparation = { position, messageId, time };
  if (answer) {
    const kept: PreparationAnswer = { ...preparation, content: answer.content };
    state.overlay.put(tableKeys.answer(answerBucketOf(time), Buffer.from(answer.key, 'base64')), json(kept));
  }
  return { ok: preparation };
}

/** Whoever comes first decides; the answer to the others is nothing. */
export function applyResolve(
  state: BrokerState,
  applied: Applied<CommandOf<'resolve'>>,
  touched: Set<Queue>,
): Outcome<'resolve'> {
  const { command, index, time } = applied;
  const half = state.halves.open.get(command.half);
  const topic = half && state.topics.get(half.topic);
  if (!topic) return { ok: undefined };
  const [record] = command.records;
  const decision: Decision = { resolution: record ? 'COMMIT' : 'ROLLBACK', resolvedAt: time, half };
  if (!record) {
    topic.traffic.rolledBack++;
    state.halves.decide(command.half, decision);
    return { ok: decision };
  }
  topic.traffic.committed++;
  state.idRuns.begin();
  state.tail.put(index, [NO_MESSAGE, record]);
  const position = positionOf(index, 1);
  const queueOffset = storeMessage(state, topic, record, position, time, touched);
  const committed = { ...decision, place: { queueId: messageQueueId(record), queueOffset, position } };
  state.halves.decide(command.half, committed);
  return { ok: committed };
}

export function applyChecks(state: BrokerState, applied: Applied<CommandOf<'checkHalves'>>): Outcome<'checkHalves'> {
  const { command, time } = applied;
  for (const position of command.asked) {
    const half = state.halves.open.get(position);
    if (half) state.halves.update(position, { ...half, checks: half.checks + 1, nextCheck: time + command.intervalMs });
  }
  for (const position of command.parked) {
    const half = state.halves.open.get(position);
    if (half) state.halves.update(position, { ...half, parked: true });
  }
  return { ok: undefined };
}
