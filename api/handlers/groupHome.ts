/** Groups at another broker than their home: what is known of them here may be old, or nothing, and the home may be away. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import { homeOf } from '../../src/broker/topic';
import type { Told } from '../../src/cluster/spread';
import { homeAway, isAway } from '../homes';
import type { GroupDeps } from './groups';

/** Result of the change; `away`: the home, if it could not be asked. */
export interface DoneHere<T> {
  readonly done: T;
  readonly away?: Told;
}

/**
 * Tries it, and once more after the home was asked what it knows. When the home is away, a group that is not known here is
 * created here: `attempt` is told so. Throws SERVICE_NOT_AVAILABLE for the change of a known group, which waits for its home.
 */
export async function askingHome<T>(
  { broker, spread }: GroupDeps,
  { group, topic }: { readonly group: string; readonly topic: string },
  attempt: (homeIsAway: boolean) => Promise<T>,
): Promise<DoneHere<T>> {
  try {
    return { done: await attempt(false) };
  } catch (error) {
    if (!(error instanceof GantryError) || !MAYBE_OLD.has(error.code)) throw error;
    const home = homeOfGroup(broker, group, topic);
    if (home === undefined) throw error;
    const away = await spread.learnGroup(group, home).then(() => undefined, coded);
    if (away === undefined) return { done: await attempt(false) };
    if (!isAway(away)) throw away;
    if (broker.state.groupsByName.has(group)) throw homeAway(`group ${group}`, home);
    return { done: await attempt(true), away: { broker: home, error: away } };
  }
}

const MAYBE_OLD: ReadonlySet<string> = new Set(['NOT_HOME', 'SUBSCRIPTION_CONFLICT']);

function coded(error: unknown): GantryError {
  if (error instanceof GantryError) return error;
  throw error;
}

/** The broker that decides about a group; undefined when that is this one. */
function homeOfGroup({ name, state }: Broker, group: string, topicName: string): string | undefined {
  const first = state.groupsByName.get(group)?.record.topicName ?? topicName;
  const topic = state.topicsByName.get(first)?.record;
  const home = topic && homeOf(topic);
  return home === name ? undefined : home;
}
