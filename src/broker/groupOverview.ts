/** A group in a few figures, as this broker sees it: its members, how far it is, and what failed. */
import type { Broker } from './broker';
import type { QueueProgress } from './positions';
import type { GroupState } from './state';

/** Numbers of members and of messages. */
export interface GroupOverview {
  readonly members: number;
  readonly lag: number;
  readonly ready: number;
  readonly inFlight: number;
  readonly waitingRetry: number;
  readonly deadLetters: number;
}

export function overviewOf(broker: Broker, group: GroupState): GroupOverview {
  const { consumers, positions } = broker.rooms;
  const { queues } = positions.offsets(group.record.name);
  return {
    members: consumers.members(group).length,
    lag: queues.reduce((sum, { lag }) => sum + lag, 0),
    ...onTheWay(broker, group, queues),
    waitingRetry: group.counts.waiting,
    deadLetters: group.counts.dead,
  };
}

/** Over all queues that a group reads, its retries too; in a broadcasting group over all its consumers. */
export function onTheWay(
  broker: Broker,
  group: GroupState,
  queues: readonly QueueProgress[],
): Pick<GroupOverview, 'ready' | 'inFlight'> {
  const total = { ready: 0, inFlight: 0 };
  for (const progress of queues) {
    const inFlight = progress.inFlight ?? handedOut(broker, group, progress);
    total.inFlight += inFlight;
    total.ready += progress.ready ?? Math.max(0, progress.lag - inFlight);
  }
  return total;
}

/** Messages that the owner of a queue, or a listener, was handed beyond what is committed. */
function handedOut(broker: Broker, group: GroupState, { queue, committed, consumerId }: QueueProgress): number {
  const { consumers } = broker.rooms;
  const member = consumerId === undefined ? consumers.owner(group, queue) : consumers.member(group, consumerId);
  return Math.max(0, (member?.handedOut.get(queue) ?? 0) - Math.max(committed, queue.min));
}
