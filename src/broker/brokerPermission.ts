/**
 * What the whole broker may be used for, whatever its topics allow (RocketMQ's brokerPermission): an operator takes the
 * writing away, lets consumers finish, and stops it. It narrows every topic's permission, here and in the routes.
 */
import { GantryError } from '../base/errors';
import { bothAllow } from '../nameserver/permission';
import type { Applied, CommandOf, Outcome } from './apply';
import type { Precondition } from './command';
import type { Core } from './core';
import type { BrokerState } from './state';
import type { Permission, Topic } from './topic';
import { preconditionRefusal } from './topicChanges';

export interface BrokerPermission {
  readonly permission: Permission;
  readonly version: number;
}

/** Until somebody says otherwise. */
export const EVERYTHING_ALLOWED: BrokerPermission = { permission: 'RW', version: 1 };

/** What may be done with a topic here and now. */
export const permissionHere = (state: BrokerState, topic: Topic): Permission =>
  bothAllow(topic.permission, state.permission.permission);

/** Changes it; durable when it resolves. Throws PRECONDITION_FAILED. */
export const setBrokerPermission = (
  core: Core,
  permission: Permission,
  condition: Precondition = {},
): Promise<BrokerPermission> => core.submit({ kind: 'setPermission', permission, ...condition });

export function setPermission(
  state: BrokerState,
  { command }: Applied<CommandOf<'setPermission'>>,
): Outcome<'setPermission'> {
  const before = state.permission;
  const failed = preconditionRefusal(command, before.version, 'the permission of the broker');
  if (failed) return { refused: failed };
  if (command.permission !== before.permission)
    state.putPermission({ permission: command.permission, version: before.version + 1 });
  return { ok: state.permission };
}

/** Not the caller's fault, and over some time: another broker may take it, or this one later. */
export const takesNothing = ({ state, brokerName }: Core): GantryError =>
  new GantryError(
    'QUEUE_READ_ONLY',
    `broker ${brokerName} takes no messages now: an operator has set its permission to ${state.permission.permission}`,
    { retryAfterMs: 1000 },
  );

export const givesNothing = ({ state, brokerName }: Core): GantryError =>
  new GantryError(
    'SERVICE_NOT_AVAILABLE',
    `broker ${brokerName} gives no messages now: an operator has set its permission to ${state.permission.permission}`,
    { retryAfterMs: 1000 },
  );
