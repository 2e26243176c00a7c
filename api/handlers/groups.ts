/** Consumer groups, as resources, on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { EVERYTHING } from '../../src/broker/filter';
import { overviewOf } from '../../src/broker/groupOverview';
import { GROUP_DEFAULTS, type Group } from '../../src/broker/group';
import type { NewGroup } from '../../src/broker/groups';
import type { Spread, Told } from '../../src/cluster/spread';
import { etagOf, preconditionOf } from '../etag';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';
import { goneAnswer, notTold } from '../told';
import { askingHome } from './groupHome';
import { checkName } from './topics';

export type GroupOperations = 'listGroups' | 'putGroup' | 'getGroup' | 'updateGroup' | 'deleteGroup';

export interface GroupDeps {
  readonly broker: Broker;
  readonly spread: Spread;
}

export function groupHandlers(deps: GroupDeps): HandlerTable<GroupOperations> {
  const { broker } = deps;
  return {
    listGroups({ query }) {
      const { groups, more } = broker.rooms.groups.list(afterOf(query.cursor), query.limit);
      return {
        status: 200,
        body: {
          groups: groups.map((group) => listed(broker, group)),
          ...(more ? { cursor: listCursor(groups.at(-1)!.name) } : {}),
        },
      };
    },

    async putGroup({ path, body, headers }) {
      checkName(path.group, '/group');
      checkNewName(path.group);
      const condition = preconditionOf(headers, groupId(broker, path.group));
      const wanted = newGroup(path.group, body);
      const { done, away } = await askingHome(deps, { group: path.group, topic: body.topic }, (homeIsAway) =>
        broker.rooms.groups.put(wanted, condition, homeIsAway),
      );
      const { group, created } = done;
      const view = { ...groupView(group), ...notTold(await tellGroup(deps, group, away)) };
      return { status: created ? 201 : 200, body: view, headers: { ETag: groupTag(group) } };
    },

    getGroup({ path }) {
      const { record } = broker.rooms.groups.get(nameOf(path.group));
      return { status: 200, body: groupView(record), headers: { ETag: groupTag(record) } };
    },

    async updateGroup({ path, body, headers }) {
      const name = nameOf(path.group);
      const condition = preconditionOf(headers, groupId(broker, name));
      const { group } = await broker.rooms.groups.update(name, (before) => patched(before, body), condition);
      const view = { ...groupView(group), ...notTold(await tellGroup(deps, group)) };
      return { status: 200, body: view, headers: { ETag: groupTag(group) } };
    },

    async deleteGroup(call) {
      const { path, query, headers } = call;
      const name = nameOf(path.group);
      const condition = preconditionOf(headers, groupId(broker, name));
      const group = await broker.rooms.groups.delete(name, query.force, condition);
      return goneAnswer(call.requestId, broker.name, await tellGroup(deps, group));
    },
  };
}

/** Tells the other brokers of the group's topics what is known of it now, but for one that was just found to be away. */
export async function tellGroup({ broker, spread }: GroupDeps, group: Group, away?: Told): Promise<Told[]> {
  const { definitions } = broker.rooms;
  const others = definitions.brokersOf(group).filter((name) => name !== away?.broker);
  const told = await spread.tell(others, definitions.group(group.name));
  return away ? [away, ...told] : told;
}

/** RocketMQ's length. `~` and two hexadecimal digits stand for a byte that no name has: of a name from elsewhere. */
const NEW_NAME = /^(?=.{1,120}$)([A-Za-z0-9_.-]|~[0-9A-F]{2})+$/;

/** A path may carry the longer system names; a group that is made has a name of its own. */
export function checkNewName(name: string): void {
  if (NEW_NAME.test(name)) return;
  throw new GantryError(
    'VALIDATION_FAILED',
    'the name of a group has 1 to 120 letters, digits, and _ . -, or ~XX (two hexadecimal digits) for another byte',
    { errors: [{ parameter: 'group', in: 'path', detail: `must match ${NEW_NAME.source}` }] },
  );
}

/** What a request may say of a group beside its topic. */
type GroupFields = Partial<Omit<NewGroup, 'name' | 'topic'>>;

const FIELDS = [
  'filter',
  'mode',
  'consumeFrom',
  'consumeTimestamp',
  'allocation',
  'ordered',
  'maxAttempts',
  'retryDelaysMs',
  'allowMultipleTopics',
  'description',
] as const satisfies (keyof GroupFields)[];

function newGroup(name: string, { topic, ...fields }: GroupFields & { readonly topic: string }): NewGroup {
  return { ...GROUP_DEFAULTS, filter: EVERYTHING, consumeFrom: 'EARLIEST', ...fields, name, topic };
}

/** PATCH merges; null resets to what a new group has. */
function patched(before: Group, patch: { readonly [Field in keyof GroupFields]?: unknown }): NewGroup {
  const fields = FIELDS.map((field) => [field, field in patch ? patch[field] : before[field]] as const);
  const given = fields.filter(([, value]) => value !== undefined && value !== null);
  return newGroup(before.name, { ...(Object.fromEntries(given) as GroupFields), topic: before.topicName });
}

/** Names this creation of the group; undefined when there is none. */
export const groupId = (broker: Broker, name: string): string | undefined =>
  broker.state.groupsByName.get(name)?.record.id;

const groupTag = (group: Group): string => etagOf(group.id, group.version);

/** An entry of the list: the group, and where it stands on this broker. */
function listed(broker: Broker, group: Group) {
  return { ...groupView(group), ...overviewOf(broker, broker.rooms.groups.get(group.name)) };
}

function groupView({
  no: _,
  name,
  mergedIds: _merged,
  topic: _topic,
  topicName,
  subscriptions,
  createdAt,
  updatedAt,
  startedAt,
  ...group
}: Group) {
  return {
    name,
    topic: topicName,
    ...group,
    subscriptions: subscriptions.map((one) => ({ topic: one.topicName, filter: one.filter })),
    createdTimestamp: createdAt,
    updatedTimestamp: updatedAt,
    startedTimestamp: startedAt,
  };
}
