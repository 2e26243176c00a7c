/** Where a seek leads. */
import { queueInfos } from './metadata';
import type { Native } from './native';
import type { QueueAt, QueueOffset, SeekTarget } from './reading';
import type { Reset } from './groupSetup';

/**
 * The offsets that targets stand for. One that its queue does not have (any more) is what auto.offset.reset says, as in
 * Kafka's clients when they read there.
 */
export async function offsetsOf(
  native: Native,
  reset: Reset,
  targets: readonly (QueueAt & { readonly to: SeekTarget })[],
  signal: AbortSignal,
): Promise<QueueOffset[]> {
  const topics = [...new Set(targets.map(({ topic }) => topic))];
  const infos = new Map(
    await Promise.all(topics.map(async (topic) => [topic, await queueInfos(native, topic, signal)] as const)),
  );
  return targets.map(({ to, ...at }) => {
    const { minOffset, maxOffset } = infos.get(at.topic)!(at);
    if (typeof to === 'number' && to >= minOffset && to <= maxOffset) return { ...at, nextOffset: to };
    const first = typeof to === 'number' ? reset === 'earliest' : to === 'EARLIEST';
    return { ...at, nextOffset: first ? minOffset : maxOffset };
  });
}
