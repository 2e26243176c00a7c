/** The members of groups on the wire: joining, leaving, and the long poll. */
import type { Broker } from '../../src/broker/broker';
import type { PollAnswer } from '../../src/broker/poller';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { movedOf, placeOf } from '../places';
import { askingHome } from './groupHome';
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
      const options = {
        topic: body.topic,
        filter: body.filter,
        consumeFrom: body.consumeFrom ?? 'EARLIEST',
        ...(body.consumeTimestamp === undefined ? {} : { consumeTimestamp: body.consumeTimestamp }),
        leaseMs: body.leaseMs ?? DEFAULT_LEASE_MS,
      };
      const { done: joined, away } = await askingHome(deps, { group: name, topic: body.topic }, (homeIsAway) =>
        broker.rooms.groups.join(name, path.consumerId, { ...options, homeIsAway }),
      );
      // What the join created, or subscribed, its topics' other brokers know before anybody joins there.
      if (joined.changed) await tellGroup(deps, joined.group, away);
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
