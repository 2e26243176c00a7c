/** Low marks move. What is below them is gone for every reader from this command on; the bytes follow (janitor.ts). */
import type { Applied, CommandOf, Outcome } from './apply';
import type { BrokerState } from './state';

export function applyTrim(state: BrokerState, { command }: Applied<CommandOf<'trim'>>): Outcome<'trim'> {
  const { marks } = state;
  for (const { topic, queueId, nextOffset } of command.minima) {
    const queue = state.topics.get(topic)?.queues[queueId];
    if (queue && nextOffset > queue.min) state.putQueueMin(queue, nextOffset);
  }
  marks.journalHead = Math.max(marks.journalHead, command.head);
  marks.idHour = Math.max(marks.idHour, command.idHour);
  marks.answerBucket = Math.max(marks.answerBucket, command.answerBucket);
  marks.decisionHour = Math.max(marks.decisionHour, command.decisionHour ?? 0);
  for (const name of command.tombstones) state.dropTombstone('TOPIC', name);
  for (const name of command.groupTombstones ?? []) state.dropTombstone('GROUP', name);
  for (const name of command.producerGroupTombstones ?? []) state.dropTombstone('PRODUCER_GROUP', name);
  return { ok: undefined };
}
