/** Taking a broker out of the cluster for good: this one, or another one that does not answer. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import type { BrokerRemoval } from '../../src/broker/definition';
import { allHeld, type Holding } from '../../src/broker/holdings';
import { leaveForGood, partsOn, removalOf, type TopicPart } from '../../src/broker/removal';
import { writable } from '../../src/broker/topic';
import type { Fleet } from '../../src/cluster/fleet';
import type { Spread } from '../../src/cluster/spread';
import type { Answer, HandlerTable, QueryOf } from '../operation';
import { notTold } from '../told';

export interface RemovalDeps {
  readonly broker: Broker;
  readonly fleet: Fleet;
  readonly spread: Spread;
  /** Unregisters this broker at its NameServers. */
  readonly unregister: () => Promise<void>;
  /** Unregisters another one. */
  readonly forget: (broker: string) => Promise<void>;
}

type Options = QueryOf<'removeBroker'>;

/** Entries that an answer lists. */
const LISTED = 1000;

export function removalHandlers(deps: RemovalDeps): HandlerTable<'removeBroker'> {
  return {
    removeBroker: ({ path, query }) =>
      path.broker === deps.broker.name ? removeThis(deps, query) : removeOther(deps, path.broker, query),
  };
}

async function removeThis(
  deps: RemovalDeps,
  { dryRun = false, force = false, allowReorder }: Options,
): Promise<Answer> {
  const { broker } = deps;
  const { core, consumers } = broker.rooms;
  const { state } = core;
  const holdings = allHeld(state);
  const parts = partsOn(core, broker.name);
  const { permission } = state.permission;
  const members = [...state.groups.values()].reduce((sum, group) => sum + consumers.members(group).length, 0);
  const safe = holdings.length === 0 && !writable(permission);
  const view = { ...viewOf(broker.name, parts, holdings), dryRun, safe, reachable: true, permission, members };
  if (dryRun) return { status: 200, body: { ...view, removed: false } };
  checkOrder(parts, allowReorder);
  const removal = await leaveForGood(core, force);
  const unavailable = await tellOthers(deps, removal);
  await deps.unregister();
  return removed(view, unavailable);
}

/** It does not answer: what it holds nobody can tell. */
async function removeOther(
  deps: RemovalDeps,
  name: string,
  { dryRun = false, force = false, allowReorder }: Options,
): Promise<Answer> {
  const { core, definitions } = deps.broker.rooms;
  const parts = partsOn(core, name);
  if (parts.length === 0 && !(await isRegistered(deps, name))) throw unknownBroker(name);
  const view = { ...viewOf(name, parts, []), dryRun, safe: false, reachable: false, members: 0 };
  if (dryRun) return { status: 200, body: { ...view, removed: false } };
  if (!force) throw silentBroker(name);
  checkOrder(parts, allowReorder);
  const removal = removalOf(core, name);
  await definitions.install(removal);
  const unavailable = await tellOthers(deps, removal);
  await deps.forget(name);
  return removed(view, unavailable);
}

const viewOf = (broker: string, parts: readonly TopicPart[], holdings: readonly Holding[]) => ({
  broker,
  holdings: holdings.slice(0, LISTED),
  topics: parts.map(({ topic, queues, isHome }) => ({ topic, queues, isHome })),
});

const removed = (view: object, unavailable: { unavailable?: readonly string[] }): Answer => ({
  status: unavailable.unavailable ? 207 : 200,
  body: { ...view, removed: true, ...unavailable },
});

async function tellOthers({ broker, fleet, spread }: RemovalDeps, removal: BrokerRemoval) {
  const live = (await fleet.brokersNow()).map(({ name }) => name);
  const others = live.filter((name) => name !== broker.name && name !== removal.name);
  return notTold(await spread.tell(others, [removal]));
}

const isRegistered = async ({ fleet }: RemovalDeps, name: string): Promise<boolean> =>
  (await fleet.brokersNow()).some((live) => live.name === name);

/** Fewer queues take messageGroups to other queues. */
function checkOrder(parts: readonly TopicPart[], allowReorder: boolean | undefined): void {
  const [first] = parts.filter(({ mayReorder }) => mayReorder);
  if (!first || allowReorder) return;
  throw new GantryError(
    'REORDER_NOT_ALLOWED',
    `topic ${first.topic} takes messageGroups, and with fewer queues they may move to others and overtake themselves. ` +
      'Let consumers finish first and say allowReorder=true.',
  );
}

const unknownBroker = (name: string): GantryError =>
  new GantryError(
    'BROKER_NOT_FOUND',
    `there is no broker ${name}, and no topic has queues there: GET /v1/brokers lists those that live`,
  );

const silentBroker = (name: string): GantryError =>
  new GantryError(
    'IN_USE',
    `broker ${name} does not answer, so nobody can tell what it holds: start it and remove it then, or say force=true, which gives up all its messages`,
  );
