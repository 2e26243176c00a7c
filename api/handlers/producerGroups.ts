/** Producer groups, as resources, on the wire. */
import type { Chance } from '../../src/base/chance';
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { CHECK_DEFAULTS, creationIdOf, type ProducerGroup, type Webhook } from '../../src/broker/producerGroup';
import type { Fleet } from '../../src/cluster/fleet';
import type { Spread, Told } from '../../src/cluster/spread';
import { etagOf, preconditionOf } from '../etag';
import type { Answer, BodyOf, HandlerTable } from '../operation';
import { afterOf, listCursor } from '../paging';
import { goneAnswer, notTold } from '../told';

export type ProducerGroupOperations =
  'listProducerGroups' | 'putProducerGroup' | 'getProducerGroup' | 'updateProducerGroup' | 'deleteProducerGroup';

/** Bytes of a webhook's key that is made here. */
const SECRET_BYTES = 24;

export interface ProducerGroupDeps {
  readonly broker: Broker;
  readonly chance: Chance;
  readonly fleet: Fleet;
  readonly spread: Spread;
}

export function producerGroupHandlers(deps: ProducerGroupDeps): HandlerTable<ProducerGroupOperations> {
  const { broker, chance } = deps;
  const known = (name: string) => broker.state.halves.producerGroups.get(name);
  return {
    listProducerGroups({ query }) {
      const { groups, more } = broker.rooms.checkbacks.list(afterOf(query.cursor), query.limit);
      const cursor = more ? { cursor: listCursor(groups.at(-1)!.name) } : {};
      return { status: 200, body: { producerGroups: groups.map(viewOf), ...cursor } };
    },

    putProducerGroup: ({ path, body, headers }) =>
      put(path.producerGroup, body ?? {}, preconditionOf(headers, idOf(known(path.producerGroup)))),

    getProducerGroup({ path }) {
      const group = broker.rooms.checkbacks.group(path.producerGroup);
      return { status: 200, body: viewOf(group), headers: tagOf(group) };
    },

    updateProducerGroup({ path, body, headers }) {
      const before = broker.rooms.checkbacks.group(path.producerGroup);
      const condition = { ifMatch: before.version, ...preconditionOf(headers, idOf(before)) };
      return put(before.name, patched(before, body), condition);
    },

    async deleteProducerGroup(call) {
      const name = call.path.producerGroup;
      const condition = preconditionOf(call.headers, idOf(known(name)));
      const { name: gone } = await broker.rooms.checkbacks.deleteGroup(name, call.query.force, condition);
      return goneAnswer(call.requestId, broker.name, await tell(deps, gone));
    },
  };

  async function put(
    name: string,
    { webhook: wanted, ...settings }: Settings,
    condition: ReturnType<typeof preconditionOf>,
  ): Promise<Answer> {
    const { webhook, isNew } = webhookOf(wanted, known(name)?.webhook);
    const { group, created } = await broker.rooms.checkbacks.putGroup(
      { name, ...CHECK_DEFAULTS, ...settings, ...(webhook ? { webhook } : {}) },
      condition,
    );
    const view = viewOf(group);
    // The key is told once, in the answer that sets it.
    const shown = group.webhook && isNew ? { ...view, webhook: group.webhook } : view;
    const unavailable = notTold(await tell(deps, name));
    return { status: created ? 201 : 200, body: { ...shown, ...unavailable }, headers: tagOf(group) };
  }

  /** A key that is not given is the one that this address has, else a new one. */
  function webhookOf(wanted: Settings['webhook'], before: Webhook | undefined): { webhook?: Webhook; isNew: boolean } {
    if (!wanted) return { isNew: false };
    const { url, secret } = wanted;
    if (before?.url === url && (secret ?? before.secret) === before.secret) return { webhook: before, isNew: false };
    const made = () => `whsec_${chance.bytes(SECRET_BYTES).toString('base64')}`;
    return { webhook: { url, secret: secret ?? made() }, isNew: true };
  }
}

/** Settings of a producer group that a request may contain. */
type Settings = NonNullable<BodyOf<'putProducerGroup'>>;

const FIELDS = ['checkAfterMs', 'checkIntervalMs', 'maxChecks', 'webhook', 'description'] as const;

/** PATCH merges; null resets to what a new group has. */
function patched(before: ProducerGroup, patch: { readonly [Field in (typeof FIELDS)[number]]?: unknown }): Settings {
  const fields = FIELDS.map((field) => [field, field in patch ? patch[field] : before[field]] as const);
  return Object.fromEntries(fields.filter(([, value]) => value !== undefined && value !== null));
}

/** A producer group has no topic: all live brokers are told. Without a NameServer nobody is; they ask. */
async function tell({ broker, fleet, spread }: ProducerGroupDeps, name: string): Promise<Told[]> {
  const { definitions } = broker.rooms;
  const live = await fleet.brokersNow().catch((error: unknown) => {
    if (error instanceof GantryError) return [];
    throw error;
  });
  return spread.tell(definitions.others(live.map((one) => one.name)), definitions.producerGroup(name));
}

const idOf = (group: ProducerGroup | undefined): string | undefined => group && `${group.name}.${creationIdOf(group)}`;

const tagOf = (group: ProducerGroup) => ({ ETag: etagOf(idOf(group)!, group.version) });

function viewOf({ name, version, webhook, createdAt, updatedAt, ...settings }: ProducerGroup) {
  return {
    producerGroup: name,
    version,
    ...settings,
    ...(webhook ? { webhook: { url: webhook.url } } : {}),
    createdTimestamp: createdAt,
    updatedTimestamp: updatedAt,
  };
}
