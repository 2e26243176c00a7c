/** Producer groups: setting, deleting. The decisions, made when applied. */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import { creationIdOf, unknownProducerGroup, type ProducerGroup } from './producerGroup';
import type { BrokerState } from './state';
import { preconditionRefusal } from './topicChanges';

export interface ProducerGroupChange {
  readonly group: ProducerGroup;
  readonly created: boolean;
}

export function putProducerGroup(
  state: BrokerState,
  applied: Applied<CommandOf<'putProducerGroup'>>,
): Outcome<'putProducerGroup'> {
  const { command, time } = applied;
  const { producerGroups } = state.halves;
  const { name } = command.group;
  const before = producerGroups.get(name);
  const failed = preconditionRefusal(command, before?.version, `producer group ${name}`);
  if (failed) return { refused: failed };
  if (!before && producerGroups.size >= LIMITS.producerGroups) {
    return { refused: new GantryError('LIMIT_EXCEEDED', `this broker has ${LIMITS.producerGroups} producer groups`) };
  }
  const tombstone = state.tombstones.PRODUCER_GROUP.get(name);
  // Each creation has a time of its own, and versions go on rising across a deletion.
  const createdAt = before?.createdAt ?? Math.max(time, tombstone ? Number(tombstone.id) + 1 : 0);
  const version = (before?.version ?? tombstone?.version ?? 0) + 1;
  const group = { ...command.group, version, createdAt, updatedAt: time };
  state.halves.putProducerGroup(group);
  return { ok: { group, created: !before } };
}

/** Its transactions stay, and are asked about by the defaults. */
export function deleteProducerGroup(
  state: BrokerState,
  { command, time }: Applied<CommandOf<'deleteProducerGroup'>>,
): Outcome<'deleteProducerGroup'> {
  const group = state.halves.producerGroups.get(command.name);
  if (!group) return { refused: unknownProducerGroup(command.name) };
  const failed = preconditionRefusal(command, group.version, `producer group ${command.name}`);
  if (failed) return { refused: failed };
  const { name, version } = group;
  state.halves.dropProducerGroup(name);
  state.bury('PRODUCER_GROUP', { name, id: creationIdOf(group), version: version + 1, deletedAt: time });
  return { ok: { group, created: false } };
}
