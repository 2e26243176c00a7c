/** What of a cluster is in this process and nowhere else. */
import type { Broker } from '../../src/broker/broker';
import { groupOfOwnTopic } from '../../src/broker/group';
import type { Topic } from '../../src/broker/topic';
import type { Resident } from './routing';

/** Whether all partitions are here, per version of a topic's record. */
const sole = new WeakMap<Topic, boolean>();

export function residence(broker: Broker): Pick<Resident, 'hasAllOf' | 'hasAllOfGroup'> {
  const isSole = (record: Topic | undefined): boolean => {
    if (!record) return false;
    let known = sole.get(record);
    if (known === undefined) {
      known = record.partitions.every((partition) => partition.broker === broker.name);
      sole.set(record, known);
    }
    return known;
  };
  const hasAllOfGroup = (name: string): boolean => {
    const { groupsByName, topics } = broker.state;
    const group = groupsByName.get(name);
    return group !== undefined && group.record.subscriptions.every(({ topic }) => isSole(topics.get(topic)?.record));
  };
  return {
    hasAllOf(topic) {
      const owner = groupOfOwnTopic(topic);
      return owner === undefined ? isSole(broker.state.topicsByName.get(topic)?.record) : hasAllOfGroup(owner);
    },
    hasAllOfGroup,
  };
}
