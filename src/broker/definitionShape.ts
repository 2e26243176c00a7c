/**
 * Whether a definition that came from elsewhere is one. It is written into the journal and applied as it is, so a wrong
 * one must not get that far: an apply that fails ends the process, and fails again at the next start.
 */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { ALLOCATIONS } from './allocation';
import type { Definition, SharedGroup, SharedTopic } from './definition';
import { parseFilter, type FilterSpec } from './filter';
import { isSystemTopic } from './group';

type Check = (value: unknown) => boolean;
type Fields = Readonly<Record<string, Check>>;

const NAME = /^[A-Za-z0-9_.:@~-]{1,128}$/;
const isName: Check = (value) => typeof value === 'string' && NAME.test(value);
const isText: Check = (value) => typeof value === 'string';
const isBoolean: Check = (value) => typeof value === 'boolean';
const isNumber: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isCount: Check = (value) => isNumber(value) && (value as number) >= 1;
const oneOf = (...values: readonly string[]): Check => {
  return (value) => values.includes(value as string);
};
const listOf = (check: Check): Check => {
  return (value) => Array.isArray(value) && value.every(check);
};
const optional = (check: Check): Check => {
  return (value) => value === undefined || check(value);
};
/** Fields of which nothing is known come from a newer version and are kept. */
const shape = (fields: Fields): Check => {
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(fields).every(([name, check]) => check((value as Readonly<Record<string, unknown>>)[name]));
};

const CREATION: Fields = { name: isName, id: isName, version: isNumber };
const TIMES: Fields = { createdAt: isNumber, updatedAt: isNumber };

const isTopic = shape({
  ...CREATION,
  ...TIMES,
  tagsVersion: optional(isNumber),
  type: oneOf('NORMAL', 'FIFO', 'DELAY', 'TRANSACTION', 'MIXED'),
  readQueues: isCount,
  writeQueues: isCount,
  permission: oneOf('RW', 'R', 'W', 'NONE'),
  tagPolicy: oneOf('OPEN', 'DECLARED'),
  description: optional(isText),
  partitions: listOf(shape({ broker: isName, queueId: isNumber })),
});

const isTag = shape({ ...TIMES, tag: isName, version: isNumber, description: optional(isText) });
const isFilter = shape({ type: oneOf('TAG', 'SQL92'), expression: isText });

const isGroup = shape({
  ...CREATION,
  ...TIMES,
  topicName: isName,
  filter: isFilter,
  subscriptions: listOf(shape({ topicName: isName, filter: isFilter })),
  allowMultipleTopics: isBoolean,
  mode: oneOf('CLUSTERING', 'BROADCASTING'),
  consumeFrom: oneOf('EARLIEST', 'LATEST', 'TIMESTAMP'),
  consumeTimestamp: optional(isNumber),
  allocation: oneOf(...ALLOCATIONS),
  ordered: isBoolean,
  maxAttempts: isNumber,
  retryDelaysMs: listOf(isNumber),
  description: optional(isText),
  startedAt: isNumber,
  mergedIds: optional(listOf(isName)),
});

const isProducerGroup = shape({
  ...TIMES,
  name: isName,
  version: isNumber,
  checkAfterMs: isNumber,
  checkIntervalMs: isNumber,
  maxChecks: isNumber,
  webhook: optional(shape({ url: isText, secret: isText })),
  description: optional(isText),
});

const isDeletion = shape({ ...CREATION, deletedAt: isNumber, formerIds: optional(listOf(isName)) });

/** Throws VALIDATION_FAILED, and FILTER_INVALID. */
export function checkDefinition(given: unknown): Definition {
  const definition = given as Definition;
  if (!fits(definition)) {
    const { kind, name } = definition;
    throw new GantryError(
      'VALIDATION_FAILED',
      `what is said of ${kind} ${name} cannot be understood here: all brokers of a cluster have the same version, or the next one`,
    );
  }
  return definition;
}

function fits(definition: Definition): boolean {
  const { kind, record } = definition;
  if (kind === 'BROKER') return record === undefined && isDeletion(definition);
  if (isSystemTopic(definition.name)) return false;
  if (record === undefined) return isDeletion(definition);
  if (kind === 'PRODUCER_GROUP') return isNumber(definition.updatedAt) && isProducerGroup(record) && agrees(definition);
  if (!agrees(definition) || definition.id !== record.id || definition.deletedAt !== undefined) return false;
  if (kind === 'GROUP') return isGroup(record) && holdsTogether(definition.record);
  return isTopic(record) && listOf(isTag)(definition.tags) && tagsFit(definition.tags) && isWhole(definition.record);
}

const agrees = ({ name, version, record }: { name: string; version: number; record?: unknown }): boolean => {
  const said = record as { readonly name: string; readonly version: number };
  return said.name === name && said.version === version;
};

const tagsFit = (tags: readonly unknown[]): boolean => tags.length <= LIMITS.declaredTags;

/** Every broker has the queues 0, 1, …, and at least as many as are read; these as many as are written to. */
function isWhole({ partitions, readQueues, writeQueues }: SharedTopic): boolean {
  if (partitions.length === 0 || readQueues < writeQueues) return false;
  const next = new Map<string, number>();
  for (const { broker, queueId } of partitions) {
    if (queueId !== (next.get(broker) ?? 0)) return false;
    next.set(broker, queueId + 1);
  }
  return [...next.values()].every((queues) => queues >= readQueues && queues <= LIMITS.queuesPerTopic);
}

/** Its first subscription is what it is called after, its filters can be read, and retries have their delays. */
function holdsTogether({ subscriptions, topicName, filter, retryDelaysMs }: SharedGroup): boolean {
  for (const one of subscriptions) parseFilter(one.filter);
  const [first] = subscriptions;
  const same = (one: FilterSpec) => one.type === filter.type && one.expression === filter.expression;
  return first !== undefined && first.topicName === topicName && same(first.filter) && retryDelaysMs.length > 0;
}
