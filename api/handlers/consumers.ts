/** The members of groups on the wire: joining, leaving, and the long poll. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import type { Joined, JoinOptions } from '../../src/broker/groups';
import type { PollAnswer } from '../../src/broker/poller';
import { homeOf } from '../../src/broker/topic';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { movedOf, placeOf } from '../places';
import { checkNewName, groupId, tellGroup, type GroupDeps } from './groups';

export type ConsumerOperations = 'joinGroup' | 'leaveGroup' | 'listConsumers' | 'pollMessages' | 'seekConsumer';

/** RocketMQ waits 15 s for a pull and drops a silent consumer after 120 s; ours is told by its own lease. */
const DEFAULT_LEASE_MS = 30_000;

export function consumerHandlers(deps: GroupDeps): HandlerTable<ConsumerOperations> {
  const { broker } = deps;
  return {
    async joinGroup({ path, body }) {
      const name = nameOf(path.group);
      if (groupId(broker, name) === undefined) checkNewName(path.group);
      const joined = await joinKnowing(deps, name, path.consumerId, {
        topic: body.topic,
        filter: body.filter,
        consumeFrom: body.consumeFrom ?? 'EARLIEST',
        ...(body.consumeTimestamp === undefined ? {} : { consumeTimestamp: body.consumeTimestamp }),
        leaseMs: body.leaseMs ?? DEFAULT_LEASE_MS,
      });
      // What the join created, or subscribed, its topics' other brokers know before anybody joins there.
      if (joined.changed) await tellGroup(deps, joined.group);
      return {
        status: 200,
        body: {
          group: joined.group.name,
          consumerId: path.consumerId,
          filter: joined.filter,
          generation: joined.generation,
          leaseMs: joined.member.leaseMs,
          queues: joined.queues.map(({ queue, nextOffset }) => ({ ...placeOf(broker, queue), nextOffset })),
          pending: joined.pending.map((queue) => placeOf(broker, queue)),
        },
      };
    },

    leaveGroup({ path }) {
      broker.rooms.groups.leave(nameOf(path.group), path.consumerId);
      return { status: 204 };
    },

    listConsumers({ path }) {
      const { members, generation } = broker.rooms.groups.members(nameOf(path.group));
      const consumers = members.map((member) => ({
        consumerId: member.id,
        joinedTimestamp: member.joinedAt,
        lastSeenTimestamp: member.lastSeenAt,
        leaseMs: member.leaseMs,
        queues: member.queues.map((queue) => placeOf(broker, queue)),
      }));
      return { status: 200, body: { consumers, generation } };
    },

    seekConsumer({ path, body }) {
      const { cursor, offsets } = body;
      return { status: 200, body: broker.rooms.seeker.seek(nameOf(path.group), path.consumerId, { cursor, offsets }) };
    },

    async pollMessages(call) {
      const { path, query } = call;
      const answer = await broker.rooms.poller.poll(nameOf(path.group), path.consumerId, {
        max: query.max,
        maxBytes: query.maxBytes,
        min: query.min,
        waitMs: query.waitMs,
        cursor: query.cursor ?? '',
        autoCommit: query.autoCommit,
        signal: () => call.signal,
      });
      return { status: 200, json: () => pollJson(broker, answer) };
    },
  };
}

/**
 * At another broker than the group's home what is known of the group may be old, or nothing: the home is asked, and then
 * it is tried once more. Throws SERVICE_NOT_AVAILABLE when it cannot be asked.
 */
async function joinKnowing(deps: GroupDeps, group: string, consumer: string, options: JoinOptions): Promise<Joined> {
  const { groups } = deps.broker.rooms;
  try {
    return await groups.join(group, consumer, options);
  } catch (error) {
    if (!(error instanceof GantryError) || !MAYBE_OLD.has(error.code)) throw error;
    const home = homeOfGroup(deps.broker, group, options.topic);
    if (home === undefined) throw error;
    await deps.spread.learnGroup(group, home);
    return groups.join(group, consumer, options);
  }
}

const MAYBE_OLD: ReadonlySet<string> = new Set(['NOT_HOME', 'SUBSCRIPTION_CONFLICT']);

/** The broker that decides about a group; undefined when that is this one. */
function homeOfGroup({ name, state }: Broker, group: string, topicName: string): string | undefined {
  const first = state.groupsByName.get(group)?.record.topicName ?? topicName;
  const topic = state.topicsByName.get(first)?.record;
  const home = topic && homeOf(topic);
  return home === name ? undefined : home;
}

function pollJson(broker: Broker, answer: PollAnswer): string {
  const { messages, cursor, generation, lag, reason, dropped, revoking, moved } = answer;
  let json = `{"messages":${new MessageWriter(broker).many(messages)},"cursor":"${cursor}","generation":"${generation}","lag":${lag}`;
  if (reason !== undefined) json += `,"reason":"${reason}"`;
  if (dropped.length > 0) json += `,"dropped":${JSON.stringify(dropped.map((queue) => placeOf(broker, queue)))}`;
  if (revoking.length > 0) {
    json += `,"revoking":${JSON.stringify(revoking.map(({ queue, deadline }) => ({ ...placeOf(broker, queue), deadline })))}`;
  }
  if (moved.length > 0) json += `,"moved":${JSON.stringify(movedOf(broker, moved))}`;
  return `${json}}`;
}
