/** Makes sure that a group exists and reads a topic, so that it has positions there, from where they are to begin. */
import { GantryError } from '../../src/base/errors';
import type { Native } from './native';
import { illegalState } from './faults';

export type Reset = 'earliest' | 'latest';

interface GroupView {
  readonly subscriptions: readonly { readonly topic: string }[];
  readonly allowMultipleTopics: boolean;
  readonly consumeFrom: string;
}

/** Longest time a consumer may be silent before its partitions pass on, milliseconds: Kafka's session.timeout.ms. */
export const LEASE_MS = 45_000;
const ATTEMPTS = 5;

const startOf = (reset: Reset) => (reset === 'earliest' ? 'EARLIEST' : 'LATEST');

/**
 * Whoever creates the group fixes where it begins, inside of this call; a topic that is added later begins where the one
 * who adds it says. Throws 409 when the group reads another topic and was made for one alone.
 */
export async function setUpGroup(
  native: Native,
  to: { readonly group: string; readonly topic: string; readonly consumer: string; readonly reset: Reset },
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const group = await groupNamed(native, to.group, signal);
    if (group) return addTopic(native, group, to, signal);
    const body = { topic: to.topic, allowMultipleTopics: true, consumeFrom: startOf(to.reset) } as const;
    const asked = { path: { group: to.group }, query: {} as never, headers: { 'If-None-Match': '*' }, body } as const;
    const answer = await native.call('putGroup', asked as never, signal);
    if (answer.ok) return;
    // Somebody else made it meanwhile.
    const failure = answer.failure();
    if (failure.code !== 'PRECONDITION_FAILED' || attempt === ATTEMPTS) throw failure;
  }
}

async function groupNamed(native: Native, group: string, signal: AbortSignal): Promise<GroupView | undefined> {
  const answer = await native.call('getGroup', { path: { group }, query: {} }, signal);
  if (answer.ok) return answer.json<GroupView>();
  const failure = answer.failure();
  if (failure.code === 'GROUP_NOT_FOUND') return undefined;
  throw failure;
}

async function addTopic(
  native: Native,
  { subscriptions, allowMultipleTopics, consumeFrom }: GroupView,
  { group, topic, consumer, reset }: Parameters<typeof setUpGroup>[1],
  signal: AbortSignal,
): Promise<void> {
  if (subscriptions.some((one) => one.topic === topic)) return;
  if (!allowMultipleTopics)
    throw illegalState(
      `The group ${group} was made for the topic ${subscriptions[0]?.topic} alone: use another group, or give it more topics with PUT /v1/groups/${group}.`,
    );
  await join(native, { group, topic, consumer }, signal);
  if (consumeFrom !== startOf(reset)) await moveTo(native, { group, topic, to: startOf(reset) }, signal);
}

async function moveTo(
  native: Native,
  { group, topic, to }: { readonly group: string; readonly topic: string; readonly to: 'EARLIEST' | 'LATEST' },
  signal: AbortSignal,
): Promise<void> {
  const { partitions } = await native.topic(topic);
  const queues = partitions.map((place) => ({ topic, ...place }));
  const asked = { path: { group }, query: {} as never, body: { to, queues, dryRun: false } };
  (await native.call('resetOffsets', asked, signal)).orThrow();
}

export interface OwnedQueue {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
}

/** Makes the consumer a member for the topic, or renews that; answers what it has now, of all its topics. */
export async function join(
  native: Native,
  { group, topic, consumer }: { readonly group: string; readonly topic: string; readonly consumer: string },
  signal: AbortSignal,
): Promise<{ readonly queues: readonly OwnedQueue[]; readonly generation: string }> {
  const asked = { path: { group, consumerId: consumer }, query: {} as never, body: { topic, leaseMs: LEASE_MS } };
  const answer = await native.call('joinGroup', asked as never, signal);
  return answer.orThrow().json();
}

/** Idempotent; a group that is gone has no members. */
export async function leave(native: Native, group: string, consumer: string, signal: AbortSignal): Promise<void> {
  const asked = { path: { group, consumerId: consumer }, query: {} as never };
  const answer = await native.call('leaveGroup', asked, signal);
  if (answer.ok) return;
  const failure = answer.failure();
  if (!(failure instanceof GantryError) || failure.code !== 'GROUP_NOT_FOUND') throw failure;
}
