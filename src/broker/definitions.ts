/**
 * What brokers share, as this one tells it and learns it: all definitions page by page, with a digest by which others see
 * that nothing has changed, and taking over what another broker has decided. What would change nothing is no command.
 */
import { GantryError } from '../base/errors';
import type { Checkbacks } from './checkbacks';
import type { QueueOffset } from './command';
import type { Core } from './core';
import {
  deletionOf,
  groupDefinition,
  producerGroupDefinition,
  topicDefinition,
  type BrokerRemoval,
  type Definition,
  type GroupDefinition,
  type GroupRecord,
  type ProducerGroupDefinition,
  type SharedGroup,
  type TopicDefinition,
} from './definition';
import { verdictOn, type Verdict } from './definitionChanges';
import { checkDefinition } from './definitionShape';
import { isSystemTopic, type Group } from './group';
import type { Lookup } from './lookup';
import { brokersIn } from './partitions';
import type { Queue } from './queue';
import type { Tombstone } from './tombstone';
import { readersOf } from './topicChanges';

/** Definitions and their queues and tags in one page, at most; one of them is there whatever it weighs. */
const PAGE_WEIGHT = 20_000;
/** A group that begins with the newest messages misses none that came while its creation was under way. */
const BEFORE_START_MS = 10_000;
/** Removed brokers come first: with their queues gone, lists of topics are what the others say of them. */
const KINDS = ['BROKER', 'TOPIC', 'GROUP', 'PRODUCER_GROUP'] as const;

export interface DefinitionPage {
  readonly definitions: Definition[];
  /** Behind what the next page begins; undefined at the end. */
  readonly next: string | undefined;
}

export class Definitions {
  readonly #core: Core;
  readonly #lookup: Lookup;
  readonly #checkbacks: Checkbacks;
  /** Places of all names in the order of a list, as long as the digest is this. */
  #places: { readonly digest: string; readonly all: readonly string[] } | undefined;
  /** Rises when a topic comes to this broker from another: what did not concern it before may do so now. */
  reach = 0;
  /** Told when this broker learns that it was removed from its cluster. */
  onRemoved: (removal: Tombstone) => void = () => undefined;

  constructor(core: Core, parts: { lookup: Lookup; checkbacks: Checkbacks }) {
    this.#core = core;
    this.#lookup = parts.lookup;
    this.#checkbacks = parts.checkbacks;
  }

  /** Another one after each change, and after each start. */
  get digest(): string {
    const { marks, definitionChanges, halves } = this.#core.state;
    return `${marks.epoch}.${definitionChanges + halves.groupChanges}`;
  }

  /** Topics, then groups, then producer groups, each by name, with deletions before what was created since; behind `after`. */
  list(after: string, limit: number): DefinitionPage {
    const places = this.#ordered();
    const definitions: Definition[] = [];
    let at = firstBehind(places, after);
    for (let weight = 0; at < places.length && definitions.length < limit && weight < PAGE_WEIGHT; at++) {
      const found = this.#at(places[at]!);
      definitions.push(...found);
      weight += found.reduce((sum, one) => sum + weightOf(one), 0);
    }
    return { definitions, next: at < places.length ? places[at - 1] : undefined };
  }

  /** That a broker was removed, or nothing. */
  removal(name: string): BrokerRemoval[] {
    const removal = this.#core.state.removedBrokers.get(name);
    return removal ? [deletionOf('BROKER', removal)] : [];
  }

  /** What is known of a name: its deletion, what was created since, both, or nothing. */
  topic(name: string): TopicDefinition[] {
    const { tombstones, topicsByName } = this.#core.state;
    const tombstone = tombstones.TOPIC.get(name);
    const topic = topicsByName.get(name);
    return [
      ...(tombstone ? [deletionOf('TOPIC', tombstone)] : []),
      ...(topic ? [topicDefinition(topic.record, topic.declared.values())] : []),
    ];
  }

  group(name: string): GroupDefinition[] {
    const { tombstones, groupsByName } = this.#core.state;
    const tombstone = tombstones.GROUP.get(name);
    const group = groupsByName.get(name);
    return [...(tombstone ? [deletionOf('GROUP', tombstone)] : []), ...(group ? [groupDefinition(group.record)] : [])];
  }

  producerGroup(name: string): ProducerGroupDefinition[] {
    const { tombstones, halves } = this.#core.state;
    const tombstone = tombstones.PRODUCER_GROUP.get(name);
    const group = halves.producerGroups.get(name);
    return [
      ...(tombstone ? [deletionOf('PRODUCER_GROUP', tombstone)] : []),
      ...(group ? [producerGroupDefinition(group)] : []),
    ];
  }

  /** The groups that read a topic. */
  groupsOf(topic: number): GroupRecord[] {
    return readersOf(this.#core.state, topic).map(({ record }) => groupDefinition(record));
  }

  /** Brokers with queues of any topic that the group reads, but this one. */
  brokersOf({ subscriptions }: Group): string[] {
    const partitions = subscriptions.flatMap(
      ({ topic }) => this.#core.state.topics.get(topic)?.record.partitions ?? [],
    );
    return this.others(brokersIn(partitions));
  }

  others(brokers: readonly string[]): string[] {
    return brokers.filter((name) => name !== this.#core.brokerName);
  }

  /**
   * Takes over what another broker says; durable when it resolves. Throws VALIDATION_FAILED, TOPIC_EXISTS or
   * SUBSCRIPTION_CONFLICT (another creation of that name is in use here), LIMIT_EXCEEDED.
   */
  async install(given: unknown): Promise<Verdict> {
    const definition = checkDefinition(given);
    const { state, brokerName } = this.#core;
    const verdict = verdictOn(state, definition, brokerName);
    if (verdict instanceof GantryError) throw verdict;
    if (verdict === 'NOTHING') return verdict;
    if (definition.kind === 'BROKER' && definition.name === brokerName && state.topics.size > 0) {
      this.onRemoved(definition);
      throw new GantryError('REGISTRATION_CONFLICT', `broker ${brokerName} was removed from the cluster`);
    }
    const start = definition.kind === 'GROUP' && definition.record ? await this.#startOf(definition.record) : undefined;
    const command = { kind: 'install', definition, broker: brokerName, ...(start ? { start } : {}) } as const;
    const outcome = await this.#core.submit(command);
    if (definition.kind === 'PRODUCER_GROUP') this.#checkbacks.renewed(definition.name);
    if (definition.kind === 'TOPIC' && (outcome.verdict === 'MAKE' || outcome.verdict === 'REPLACE')) this.reach++;
    return outcome.verdict;
  }

  /** Where the group begins was decided when it was created; what that means for the queues here the index tells. */
  async #startOf({
    mode,
    consumeFrom,
    consumeTimestamp,
    startedAt,
    ...group
  }: SharedGroup): Promise<QueueOffset[] | undefined> {
    if (mode === 'BROADCASTING' || consumeFrom === 'EARLIEST') return undefined;
    const at = consumeFrom === 'LATEST' ? startedAt - BEFORE_START_MS : (consumeTimestamp ?? startedAt);
    const { topicsByName } = this.#core.state;
    const queues = group.subscriptions.flatMap(
      ({ topicName }): readonly Queue[] => topicsByName.get(topicName)?.queues ?? [],
    );
    return Promise.all(
      queues.map(async (queue) => {
        const { topic, queueId } = queue;
        return { topic, queueId, nextOffset: await this.#lookup.offsetAt(queue, at) };
      }),
    );
  }

  #ordered(): readonly string[] {
    const { digest } = this;
    if (this.#places?.digest === digest) return this.#places.all;
    const { topicsByName, groupsByName, tombstones, halves, removedBrokers } = this.#core.state;
    const topics = [...topicsByName.keys(), ...tombstones.TOPIC.keys()].filter((name) => !isSystemTopic(name));
    const groups = [...groupsByName.keys(), ...tombstones.GROUP.keys()];
    const producers = [...halves.producerGroups.keys(), ...tombstones.PRODUCER_GROUP.keys()];
    const named = [[...removedBrokers.keys()], topics, groups, producers];
    const all = named.flatMap((names, kind) => [...new Set(names)].sort().map((name) => `${kind} ${name}`));
    this.#places = { digest, all };
    return all;
  }

  #at(place: string): Definition[] {
    const name = place.slice(2);
    const kind = KINDS[Number(place[0])];
    if (kind === 'BROKER') return this.removal(name);
    if (kind === 'TOPIC') return this.topic(name);
    return kind === 'GROUP' ? this.group(name) : this.producerGroup(name);
  }
}

function firstBehind(places: readonly string[], after: string): number {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle]! <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

function weightOf(definition: Definition): number {
  if (definition.kind !== 'TOPIC' || !definition.record) return 10;
  return 10 + definition.record.partitions.length + definition.tags.length;
}
