/** Which brokers hold a topic. */
import { GantryError } from '../../src/base/errors';
import { groupOfOwnTopic } from '../../src/broker/group';
import { nameOf } from '../names';
import type { Front } from './front';
import type { Asking } from './peer';

/** Where the topics of groups are: the NameServers do not know these. */
export interface OwnTopics {
  brokersOf(group: string, call: Asking): Promise<readonly string[]>;
}

/** A call about a topic. */
type OfTopic = Asking & { readonly path: { readonly topic: string } };

export interface Holders {
  readonly front: Front;
  readonly groups: OwnTopics;
}

/**
 * Names of the brokers that hold the topic a call is about, also of those that are away, in the order of its partitions:
 * the first one is its home. Throws TOPIC_NOT_FOUND, and why nobody can tell.
 */
export async function holdersOf({ front, groups }: Holders, call: OfTopic): Promise<readonly string[]> {
  const topic = nameOf(call.path.topic);
  const group = groupOfOwnTopic(topic);
  if (group === undefined) return front.fleet.brokersOf(topic);
  try {
    return await groups.brokersOf(group, call);
  } catch (error) {
    if (!(error instanceof GantryError) || error.code !== 'GROUP_NOT_FOUND') throw error;
    throw new GantryError('TOPIC_NOT_FOUND', `there is no topic ${topic}, because there is no group ${group}`);
  }
}
