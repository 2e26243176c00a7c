/** What people do with topics and tags: checks what can be told at once and submits the command that decides. */
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { permissionHere } from './brokerPermission';
import type { Precondition } from './command';
import { checkHome, topicNamed, type Core } from './core';
import { isSystemTopic } from './group';
import type { Queue } from './queue';
import { growPartitions } from './partitions';
import type { TopicState } from './state';
import type { DeclaredTag, SeenTag } from './tags';
import {
  checkQueueCounts,
  readable,
  writable,
  type Permission,
  type TagPolicy,
  type Topic,
  type TopicPatch,
  type TopicType,
} from './topic';
import { preconditionRefusal, updateRefusal, type TopicChange, type TagChange } from './topicChanges';

export interface NewTopic {
  readonly name: string;
  readonly type: TopicType;
  readonly readQueues: number;
  readonly writeQueues: number;
  readonly permission: Permission;
  readonly tagPolicy: TagPolicy;
  readonly description?: string;
  /** Its brokers beside this one, which is its home. */
  readonly brokers?: readonly string[];
}

export interface QueueView {
  readonly queue: Queue;
  /** What topic and broker allow. */
  readonly permission: Permission;
  readonly readable: boolean;
  readonly writable: boolean;
}

export class Topics {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  async create({ brokers = [], ...wanted }: NewTopic, condition: Precondition = {}): Promise<TopicChange> {
    checkQueueCounts(wanted.readQueues, wanted.writeQueues);
    checkQueueLimit(wanted.readQueues);
    const existing = this.#core.state.topicsByName.get(wanted.name)?.record;
    return this.#core.submit({
      kind: 'createTopic',
      topic: {
        ...wanted,
        id: existing?.id ?? this.#core.chance.bytes(8).toString('hex'),
        partitions: growPartitions([], this.#homeAnd(brokers), wanted.readQueues),
      },
      ...condition,
    });
  }

  #homeAnd(brokers: readonly string[]): string[] {
    const { brokerName } = this.#core;
    return [brokerName, ...[...brokers].filter((name) => name !== brokerName).sort()];
  }

  async update(name: string, patch: TopicPatch, condition: Precondition = {}): Promise<TopicChange> {
    const { record } = topicNamed(this.#core.state, name);
    if (isSystemTopic(name)) throw belongsToGroup('VALIDATION_FAILED', name);
    checkHome(this.#core, record);
    if (patch.readQueues !== undefined) checkQueueLimit(patch.readQueues);
    return this.#core.submit({
      kind: 'updateTopic',
      no: record.no,
      patch,
      broker: this.#core.brokerName,
      ...condition,
    });
  }

  /** Throws what speaks against an update that other brokers prepare before it is decided. */
  checkUpdate(name: string, patch: TopicPatch, condition: Precondition): void {
    const { state, brokerName } = this.#core;
    const topic = topicNamed(state, name);
    checkHome(this.#core, topic.record);
    const refused = updateRefusal(state, topic, { no: topic.record.no, patch, broker: brokerName, ...condition });
    if (refused) throw refused;
  }

  /** Its queues here go; other brokers have it. Throws IN_USE while messages of it are held here, unless forced. */
  async leave(name: string, force: boolean): Promise<TopicChange> {
    const { record } = topicNamed(this.#core.state, name);
    return this.#core.submit({ kind: 'leaveTopic', no: record.no, force });
  }

  async delete(name: string, force: boolean, condition: Precondition = {}): Promise<TopicChange> {
    const { record } = topicNamed(this.#core.state, name);
    if (isSystemTopic(name)) throw belongsToGroup('IN_USE', name);
    return this.#core.submit({ kind: 'deleteTopic', no: record.no, force, ...condition });
  }

  get(name: string): Topic {
    return topicNamed(this.#core.state, name).record;
  }

  /** By name, behind `after`; at most `limit`. `system`: with the groups' own topics of retries and dead letters. */
  list(after: string, limit: number, system = false): { topics: Topic[]; more: boolean } {
    const wanted = (name: string) => name > after && (system || !isSystemTopic(name));
    const names = [...this.#core.state.topicsByName.keys()].filter(wanted).sort();
    const topics = names.slice(0, limit).map((name) => this.get(name));
    return { topics, more: names.length > limit };
  }

  queues(name: string): QueueView[] {
    const { record, queues } = topicNamed(this.#core.state, name);
    const permission = permissionHere(this.#core.state, record);
    return queues.map((queue) => ({
      queue,
      permission,
      readable: readable(permission) && queue.queueId < record.readQueues,
      writable: writable(permission) && queue.queueId < record.writeQueues,
    }));
  }

  tags(name: string): { topic: TopicState; declared: DeclaredTag[]; seen: SeenTag[] } {
    const topic = topicNamed(this.#core.state, name);
    const declared = [...topic.declared.values()].sort((a, b) => (a.tag < b.tag ? -1 : 1));
    return { topic, declared, seen: topic.seen.list() };
  }

  async putTag(
    name: string,
    tag: string,
    description: string | undefined,
    condition: Precondition = {},
  ): Promise<TagChange> {
    const { record, declared } = topicNamed(this.#core.state, name);
    const known = declared.get(tag);
    // Any of its brokers can say that it is so already.
    if (known && known.description === description && !preconditionRefusal(condition, known.version, ''))
      return { tag: known, created: false };
    checkHome(this.#core, record);
    return this.#core.submit({
      kind: 'putTag',
      topic: record.no,
      tag,
      ...(description === undefined ? {} : { description }),
      ...condition,
    });
  }

  async deleteTag(name: string, tag: string, condition: Precondition = {}): Promise<TagChange> {
    const { record } = topicNamed(this.#core.state, name);
    checkHome(this.#core, record);
    return this.#core.submit({ kind: 'deleteTag', topic: record.no, tag, ...condition });
  }
}

/** A group's retries and dead letters are counted: nobody else may take them away. */
const belongsToGroup = (code: 'VALIDATION_FAILED' | 'IN_USE', name: string): GantryError =>
  new GantryError(code, `topic ${name} belongs to its group: it comes, stays as it is, and goes with it`);

function checkQueueLimit(queues: number): void {
  if (queues > LIMITS.queuesPerTopic) {
    throw new GantryError('LIMIT_EXCEEDED', `a topic has at most ${LIMITS.queuesPerTopic} queues on one broker`);
  }
}
