/** Messages on this broker that somebody still needs: they stand in the way when queues are to go. */
import { GantryError } from '../base/errors';
import { subscriptionTo } from './group';
import type { Queue } from './queue';
import { queueNumber, type BrokerState, type GroupState, type TopicState } from './state';

/** UNREAD: a group has not finished reading them. */
export type HoldingKind = 'UNREAD';

export interface Holding {
  readonly kind: HoldingKind;
  readonly broker: string;
  /** Topic that the messages were sent to. */
  readonly topic: string;
  /** Group that they are kept for. */
  readonly group?: string;
  /** How many; never 0. */
  readonly messages: number;
}

/** Holdings that a refusal lists. */
const LISTED = 100;

/**
 * Messages that the groups of a topic have not finished in some of its queues on this broker: never looked at, fetched
 * and uncommitted, or leased and not acknowledged. Messages that no group has to read any more do not count.
 */
export function unreadIn(state: BrokerState, { record }: TopicState, asked: readonly Queue[]): Holding[] {
  const broker = state.identity?.name ?? '';
  const holdings = [...state.groups.values()].flatMap((group): Holding[] => {
    if (!subscriptionTo(group.record, record.no)) return [];
    const messages = asked.reduce((sum, queue) => sum + unreadBy(group, queue), 0);
    return [{ kind: 'UNREAD', broker, topic: record.name, group: group.record.name, messages }];
  });
  return holdings.filter(({ messages }) => messages > 0);
}

/** The queues that a topic's groups do not read any more with that many `readQueues`. */
export const queuesBehind = ({ record, queues }: TopicState, readQueues: number): readonly Queue[] =>
  queues.slice(readQueues, record.readQueues);

/** In a broadcasting group by the listener that has the most before it. */
function unreadBy(group: GroupState, queue: Queue): number {
  const positions = group.record.mode === 'BROADCASTING' ? [...group.listeners.values()] : [group];
  const number = queueNumber(queue.topic, queue.queueId);
  const behind = (position = 0): number => {
    const from = Math.max(position, queue.min);
    return group.leases.get(number)?.openFrom(from, queue.max) ?? queue.max - from;
  };
  return Math.max(0, ...positions.map(({ offsets }) => behind(offsets.get(number))));
}

/** 409: these messages would have no reader. `way`: what to do instead of waiting. */
export function stillHeld(what: string, holdings: readonly Holding[], way: string): GantryError {
  const named = holdings.slice(0, 3).map(inWords).join(', ');
  const rest = holdings.length > 3 ? ` and ${holdings.length - 3} more` : '';
  return new GantryError('IN_USE', `${what}: ${named}${rest}. Let them be consumed, or ${way}`, {
    members: { holdings: holdings.slice(0, LISTED) },
  });
}

const inWords = ({ broker, topic, group, messages }: Holding): string =>
  `${messages} unread messages of topic ${topic} for group ${group ?? ''} on broker ${broker}`;
