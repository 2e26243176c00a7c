/** Consumer groups, their consumers and positions on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import type { FilterSpec } from '../../src/broker/filter';
import type { ConsumeFrom, Group } from '../../src/broker/group';
import type { NewGroup, ResetTarget } from '../../src/broker/groups';
import type { PollAnswer } from '../../src/broker/poller';
import type { Queue } from '../../src/broker/queue';
import { bulkAnswer, failed } from '../bulk';
import { etagOf, preconditionOf } from '../etag';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';
import { writerFor } from './messages';
import { checkName } from './topics';

type GroupOperations =
  | 'listGroups'
  | 'putGroup'
  | 'getGroup'
  | 'updateGroup'
  | 'deleteGroup'
  | 'joinGroup'
  | 'leaveGroup'
  | 'listConsumers'
  | 'pollMessages'
  | 'commitOffsets'
  | 'getOffsets'
  | 'resetOffsets';

/** RocketMQ waits 15 s for a pull and drops a silent consumer after 120 s; ours is told by its own lease. */
const DEFAULT_LEASE_MS = 30_000;

export function groupHandlers({ broker }: { readonly broker: Broker }): HandlerTable<GroupOperations> {
  return { ...groupResource(broker), ...membership(broker), ...positions(broker) };
}

function groupResource(
  broker: Broker,
): HandlerTable<'listGroups' | 'putGroup' | 'getGroup' | 'updateGroup' | 'deleteGroup'> {
  return {
    listGroups({ query }) {
      const { groups, more } = broker.rooms.groups.list(afterOf(query.cursor), query.limit);
      return {
        status: 200,
        body: { groups: groups.map(groupView), ...(more ? { cursor: listCursor(groups.at(-1)!.name) } : {}) },
      };
    },

    async putGroup({ path, body, headers }) {
      checkName(path.group, '/group');
      checkNewName(path.group);
      const condition = preconditionOf(headers, idOf(broker, path.group));
      const { group, created } = await broker.rooms.groups.put(newGroup(path.group, body), condition);
      return { status: created ? 201 : 200, body: groupView(group), headers: { ETag: groupTag(group) } };
    },

    getGroup({ path }) {
      const { record } = broker.rooms.groups.get(nameOf(path.group));
      return { status: 200, body: groupView(record), headers: { ETag: groupTag(record) } };
    },

    async updateGroup({ path, body, headers }) {
      const name = nameOf(path.group);
      const condition = preconditionOf(headers, idOf(broker, name));
      const change = body as { filter?: FilterSpec | null; description?: string | null };
      const { group } = await broker.rooms.groups.update(name, (before) => patched(before, change), condition);
      return { status: 200, body: groupView(group), headers: { ETag: groupTag(group) } };
    },

    async deleteGroup({ path, query, headers }) {
      const name = nameOf(path.group);
      await broker.rooms.groups.delete(name, query.force, preconditionOf(headers, idOf(broker, name)));
      return { status: 204 };
    },
  };
}

function membership(broker: Broker): HandlerTable<'joinGroup' | 'leaveGroup' | 'listConsumers' | 'pollMessages'> {
  return {
    async joinGroup({ path, body }) {
      if (idOf(broker, nameOf(path.group)) === undefined) checkNewName(path.group);
      const joined = await broker.rooms.groups.join(nameOf(path.group), path.consumerId, {
        topic: body.topic,
        filter: body.filter,
        consumeFrom: body.consumeFrom ?? 'EARLIEST',
        ...(body.consumeTimestamp === undefined ? {} : { consumeTimestamp: body.consumeTimestamp }),
        leaseMs: body.leaseMs ?? DEFAULT_LEASE_MS,
      });
      const topic = joined.group.topicName;
      return {
        status: 200,
        body: {
          group: joined.group.name,
          consumerId: path.consumerId,
          generation: joined.generation,
          leaseMs: joined.member.leaseMs,
          queues: joined.queues.map(({ queue, nextOffset }) => ({ ...queueView(broker, topic, queue), nextOffset })),
          pending: [],
        },
      };
    },

    leaveGroup({ path }) {
      broker.rooms.groups.leave(nameOf(path.group), path.consumerId);
      return { status: 204 };
    },

    listConsumers({ path }) {
      const name = nameOf(path.group);
      const topic = broker.rooms.groups.get(name).record.topicName;
      const { members, generation } = broker.rooms.groups.members(name);
      const consumers = members.map((member) => ({
        consumerId: member.id,
        joinedTimestamp: member.joinedAt,
        lastSeenTimestamp: member.lastSeenAt,
        leaseMs: member.leaseMs,
        queues: member.queues.map((queue) => queueView(broker, topic, queue)),
      }));
      return { status: 200, body: { consumers, generation } };
    },

    async pollMessages(call) {
      const { path, query } = call;
      const name = nameOf(path.group);
      const answer = await broker.rooms.poller.poll(name, path.consumerId, {
        max: query.max,
        maxBytes: query.maxBytes,
        min: query.min,
        waitMs: query.waitMs,
        cursor: query.cursor ?? '',
        autoCommit: query.autoCommit,
        signal: () => call.signal,
      });
      return { status: 200, json: pollJson(broker, broker.rooms.groups.get(name).record.topicName, answer) };
    },
  };
}

function positions(broker: Broker): HandlerTable<'commitOffsets' | 'getOffsets' | 'resetOffsets'> {
  return {
    async commitOffsets(call) {
      const { path, body } = call;
      checkCommit(body);
      const items = await broker.rooms.groups.commit(nameOf(path.group), {
        consumerId: body.consumerId,
        cursor: body.cursor,
        generation: body.generation,
        offsets: body.offsets,
        force: body.force ?? false,
      });
      return bulkAnswer(
        call,
        items.map(({ error, ...place }) => ({
          ...(error ? failed(error, call.requestId) : { status: 'OK' }),
          ...place,
        })),
      );
    },

    getOffsets({ path }) {
      const { group, queues } = broker.rooms.groups.offsets(nameOf(path.group));
      const offsets = queues.map(({ queue, committed, lag, owner }) => ({
        ...queueView(broker, group.topicName, queue),
        committed,
        minOffset: queue.min,
        maxOffset: queue.max,
        lag,
        ...(owner === undefined ? {} : { owner }),
      }));
      const lag = queues.reduce((sum, queue) => sum + queue.lag, 0);
      return { status: 200, body: { group: group.name, topic: group.topicName, lag, offsets } };
    },

    async resetOffsets({ path, body }) {
      const name = nameOf(path.group);
      const dryRun = body.dryRun ?? false;
      const steps = await broker.rooms.groups.reset(name, resetTarget(body), body.queues, dryRun);
      const { topicName } = broker.rooms.groups.get(name).record;
      const results = steps.map(({ queue, from, to }) => ({
        ...queueView(broker, topicName, queue),
        from,
        to,
        maxOffset: queue.max,
      }));
      return { status: 200, body: { dryRun, results } };
    },
  };
}

function checkCommit(body: { cursor?: string; offsets?: unknown[] }): void {
  if ((body.cursor === undefined) !== (body.offsets === undefined)) return;
  throw new GantryError(
    'VALIDATION_FAILED',
    'say either cursor (commits all it covers) or offsets (commits these queues)',
    {
      errors: [{ pointer: '', detail: 'needs exactly one of cursor and offsets' }],
    },
  );
}

function resetTarget(body: { to: string; timestamp?: number; offset?: number }): ResetTarget {
  if (body.to === 'TIMESTAMP') return { timestamp: required(body.timestamp, 'timestamp', body.to) };
  if (body.to === 'OFFSET') return { offset: required(body.offset, 'offset', body.to) };
  return body.to as 'EARLIEST' | 'LATEST';
}

function required(value: number | undefined, field: string, to: string): number {
  if (value !== undefined) return value;
  throw new GantryError('VALIDATION_FAILED', `to ${to} needs ${field}`, {
    errors: [{ pointer: `/${field}`, detail: 'is missing' }],
  });
}

/** A path may carry the longer system names; a group that is made has RocketMQ's length (Validators). */
function checkNewName(name: string): void {
  if (/^[A-Za-z0-9_.-]{1,120}$/.test(name)) return;
  throw new GantryError('VALIDATION_FAILED', 'a group’s name has 1 to 120 letters, digits, and _ . -', {
    errors: [{ parameter: 'group', in: 'path', detail: 'must match ^[A-Za-z0-9_.-]{1,120}$' }],
  });
}

interface GroupRequest {
  readonly topic: string;
  readonly filter?: { type?: string; expression: string } | undefined;
  readonly consumeFrom?: ConsumeFrom;
  readonly consumeTimestamp?: number;
  readonly description?: string;
}

function newGroup(name: string, body: GroupRequest): NewGroup {
  return {
    name,
    topic: body.topic,
    filter: { type: 'TAG', expression: body.filter?.expression ?? '*' },
    mode: 'CLUSTERING',
    consumeFrom: body.consumeFrom ?? 'EARLIEST',
    ...(body.consumeTimestamp === undefined ? {} : { consumeTimestamp: body.consumeTimestamp }),
    allocation: 'AVG',
    ...(body.description === undefined ? {} : { description: body.description }),
  };
}

/** PATCH merges; null resets. */
function patched(before: Group, change: { filter?: FilterSpec | null; description?: string | null }): NewGroup {
  const { description: described, ...rest } = newGroup(before.name, { ...before, topic: before.topicName });
  const description = change.description === undefined ? described : (change.description ?? undefined);
  const filter =
    change.filter === undefined ? before.filter : (change.filter ?? { type: 'TAG' as const, expression: '*' });
  return { ...rest, filter, ...(description === undefined ? {} : { description }) };
}

const idOf = (broker: Broker, name: string): string | undefined => broker.state.groupsByName.get(name)?.record.id;

const groupTag = (group: Group): string => etagOf(group.id, group.version);

function groupView({ no: _, topic: _topic, topicName, createdAt, updatedAt, startedAt, ...group }: Group) {
  return {
    ...group,
    topic: topicName,
    ordered: false,
    allowMultipleTopics: false,
    createdTimestamp: createdAt,
    updatedTimestamp: updatedAt,
    startedTimestamp: startedAt,
  };
}

const queueView = (broker: Broker, topic: string, queue: Queue) => ({
  topic,
  broker: broker.name,
  queueId: queue.queueId,
});

function pollJson(broker: Broker, topic: string, answer: PollAnswer): string {
  const at = (queueId: number) => ({ topic, broker: broker.name, queueId });
  let json = `{"messages":${writerFor(broker, topic).many(answer.messages)},"cursor":"${answer.cursor}","generation":"${answer.generation}","lag":${answer.lag}`;
  if (answer.reason !== undefined) json += `,"reason":"${answer.reason}"`;
  if (answer.dropped.length > 0) json += `,"dropped":${JSON.stringify(answer.dropped.map(at))}`;
  if (answer.moved.length > 0) {
    json += `,"moved":${JSON.stringify(answer.moved.map(({ queue, from, to }) => ({ ...at(queue.queueId), from, to })))}`;
  }
  return `${json}}`;
}
