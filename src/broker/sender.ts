/**
 * Takes messages in. A message without messageGroup goes to the next writable queue in turn, a whole request's messages
 * to the same one, side by side; a messageGroup always goes to the same queue. What is refused is refused before
 * anything is written; the rest of the request is one command.
 */
import { createHash } from 'node:crypto';
import { positionOf } from '../../storage/keys';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { hexOf, MESSAGE_ID_BYTES, type MessageIds } from '../base/messageId';
import { reused, type Answers } from './answers';
import { takesNothing } from './brokerPermission';
import { topicNamed, type Core } from './core';
import { bodyBytes, encodeMessage, type KeyedSend, type OutgoingMessage, type StoredAnswer } from './message';
import { offsetMessageId } from './offsetMessageId';
import { noWritableQueue, partitionOf } from './partition';
import type { SendOutcome } from './sends';
import type { KeyedAnswer } from './sends';
import type { TopicState } from './state';
import { refusalOf, writable } from './topic';

export type SendResult = StoredResult | ScheduledResult | { readonly error: GantryError };

/** It can be read. */
export interface StoredResult {
  readonly messageId: string;
  readonly offsetMessageId: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly storeTimestamp: number;
  readonly deliverTimestamp?: undefined;
  readonly error?: undefined;
}

/** It is stored, and has a place in a queue when its time has come. */
export interface ScheduledResult {
  readonly messageId: string;
  readonly storeTimestamp: number;
  /** When it becomes visible, milliseconds since 1970. */
  readonly deliverTimestamp: number;
  readonly error?: undefined;
}

export interface SendAnswer {
  readonly results: SendResult[];
  /** Nothing was stored now: these are the answers of the first call with this key. */
  readonly replayed: boolean;
}

const DAY_MS = 24 * 3_600_000;

interface Plan {
  /** Queue of each item, or why it is refused. */
  readonly items: (number | GantryError)[];
  readonly accepted: number;
}

export class Sender {
  readonly #core: Core;
  readonly #answers: Answers;
  readonly #ids: MessageIds;
  readonly #turn = new WeakMap<TopicState, { next: number }>();

  constructor(core: Core, answers: Answers, ids: MessageIds) {
    this.#core = core;
    this.#answers = answers;
    this.#ids = ids;
  }

  /**
   * One answer per message, in order. Throws what concerns the whole request (TOPIC_NOT_FOUND, NO_PERMISSION, DISK_FULL,
   * SERVICE_NOT_AVAILABLE: nothing was written; OUTCOME_UNKNOWN: nobody knows).
   */
  async send(topicName: string, messages: readonly OutgoingMessage[], idempotencyKey?: string): Promise<SendAnswer> {
    const topic = writableTopic(this.#core, topicName);
    this.#core.checkRoom();
    if (idempotencyKey !== undefined) return this.#sendOnce(topic, messages, idempotencyKey);
    return { results: await this.#store(topic, messages, this.#plan(topic, messages)), replayed: false };
  }

  #plan(topic: TopicState, messages: readonly OutgoingMessage[]): Plan {
    let shared = -1;
    let accepted = 0;
    const items = messages.map((message) => {
      const refusal = refusalOf(topic.record, message, topic.declared) ?? this.#delayRefusal(topic, message);
      if (refusal) return refusal;
      let queueId: number | GantryError;
      if (message.queue !== undefined) queueId = this.#pinned(topic, message.queue);
      else if (message.messageGroup !== undefined) queueId = this.#queueOfGroup(topic, message.messageGroup);
      else queueId = shared < 0 ? (shared = this.#nextQueue(topic)) : shared;
      if (typeof queueId === 'number') accepted++;
      return queueId;
    });
    return { items, accepted };
  }

  #delayRefusal(topic: TopicState, message: OutgoingMessage): GantryError | undefined {
    const now = this.#core.clock.now();
    const due = dueAt(message, now);
    if (due === undefined) return undefined;
    if (due - now > LIMITS.delayMs) {
      const days = Math.ceil((due - now) / DAY_MS);
      return new GantryError(
        'DELAY_TOO_LONG',
        `a message waits at most 40 days, and this one would wait ${days}: send it when its time is nearer`,
      );
    }
    if (topic.scheduled < LIMITS.scheduledMessages) return undefined;
    return new GantryError(
      'LIMIT_EXCEEDED',
      `${topic.scheduled} messages of topic ${topic.record.name} wait for their time already: recall some, or use another topic`,
    );
  }

  #nextQueue(topic: TopicState): number {
    let turn = this.#turn.get(topic);
    if (!turn) this.#turn.set(topic, (turn = { next: this.#core.chance.below(topic.record.writeQueues) }));
    const queueId = turn.next % topic.record.writeQueues;
    turn.next = queueId + 1;
    return queueId;
  }

  /** The queue for a message that is on this broker already and stays on it: that of its messageGroup, if it is here. */
  queueFor(topic: TopicState, messageGroup: string | undefined): number {
    const queueId = messageGroup === undefined ? undefined : this.#queueOfGroup(topic, messageGroup);
    return typeof queueId === 'number' ? queueId : this.#nextQueue(topic);
  }

  #queueOfGroup({ record }: TopicState, messageGroup: string): number | GantryError {
    const { broker, queueId } = partitionOf(record.partitions, record.writeQueues, messageGroup);
    if (broker === this.#core.brokerName) return queueId;
    return new GantryError(
      'QUEUE_ELSEWHERE',
      `messageGroup ${messageGroup} of topic ${record.name} belongs to queue ${queueId} of broker ${broker}: send it there`,
      { retryAfterMs: 1000 },
    );
  }

  #pinned({ record }: TopicState, queue: { broker: string; queueId: number }): number | GantryError {
    const found = queue.broker === this.#core.brokerName && queue.queueId < record.writeQueues;
    return found ? queue.queueId : noWritableQueue(record.name, queue);
  }

  async #store(
    topic: TopicState,
    messages: readonly OutgoingMessage[],
    plan: Plan,
    keyed?: KeyedSend,
  ): Promise<SendResult[]> {
    if (plan.accepted === 0) return plan.items.map((item) => ({ error: item as GantryError }));
    const ids = this.#ids.write(plan.accepted);
    const bornTimestamp = this.#core.clock.now();
    const records: Buffer[] = [];
    const dues: (number | undefined)[] = [];
    for (let i = 0; i < messages.length; i++) {
      const queueId = plan.items[i]!;
      if (typeof queueId !== 'number') continue;
      const message = messages[i]!;
      const at = records.length * MESSAGE_ID_BYTES;
      if (message.messageId !== undefined) ids.write(message.messageId, at, 'hex');
      const due = dueAt(message, bornTimestamp);
      dues.push(due);
      records.push(
        encodeMessage(message, {
          topic: topic.record.no,
          queueId,
          messageId: ids.subarray(at, at + MESSAGE_ID_BYTES),
          bornTimestamp,
          keyed: records.length === 0 ? keyed : undefined,
          due,
        }),
      );
    }
    const outcome = await this.#core.submit({ kind: 'send', topic: topic.record.no, records });
    return this.#results(plan, ids, dues, outcome);
  }

  #results(plan: Plan, ids: Buffer, dues: readonly (number | undefined)[], outcome: SendOutcome): SendResult[] {
    const storeTimestamp = outcome.time;
    let next = 0;
    return plan.items.map((queueId): SendResult => {
      if (typeof queueId !== 'number') return { error: queueId };
      const ordinal = next++;
      const at = ordinal * MESSAGE_ID_BYTES;
      const messageId = hexOf(ids.subarray(at, at + MESSAGE_ID_BYTES));
      const deliverTimestamp = dues[ordinal];
      if (deliverTimestamp !== undefined) return { messageId, storeTimestamp, deliverTimestamp };
      return {
        messageId,
        offsetMessageId: offsetMessageId(this.#core.idTag, positionOf(outcome.index, ordinal)),
        queueId,
        queueOffset: outcome.offsets[ordinal]!,
        storeTimestamp,
      };
    });
  }

  /** Rule 10 of the HTTP surface: same key, same content → the first answer; what was refused then is tried again. */
  async #sendOnce(topic: TopicState, messages: readonly OutgoingMessage[], key: string): Promise<SendAnswer> {
    const hash = createHash('sha256').update(`send\0${topic.record.no}\0${key}`).digest().subarray(0, 16);
    const name = hash.toString('base64');
    return this.#answers.alone(name, () => this.#sendKeyed(topic, messages, hash));
  }

  async #sendKeyed(topic: TopicState, messages: readonly OutgoingMessage[], hash: Buffer): Promise<SendAnswer> {
    const content = contentHash(messages);
    const before = await this.#answers.of<KeyedAnswer>(hash);
    if (before && before.content !== content) throw reused();
    const stored = (i: number): StoredAnswer | null => before?.items[i] ?? null;
    const open = messages.filter((_, i) => stored(i) === null);
    const plan = this.#plan(topic, open);
    let next = 0;
    let ordinal = 0;
    const items = messages.map((_, i) => stored(i) ?? (typeof plan.items[next++] === 'number' ? ordinal++ : -1));
    const fresh = await this.#store(topic, open, plan, { key: hash.toString('base64'), content, items });
    next = 0;
    const results = messages.map((_, i) => {
      const answer = stored(i);
      return answer ? this.#replay(answer) : fresh[next++]!;
    });
    return { results, replayed: open.length === 0 };
  }

  #replay([messageId, queueId, queueOffset, position, storeTimestamp, deliverTimestamp]: StoredAnswer): SendResult {
    if (deliverTimestamp !== undefined) return { messageId, storeTimestamp, deliverTimestamp };
    return {
      messageId,
      offsetMessageId: offsetMessageId(this.#core.idTag, position),
      queueId,
      queueOffset,
      storeTimestamp,
    };
  }
}

/** When a message becomes visible that is to wait, milliseconds since 1970; undefined: at once. What is past is now. */
function dueAt({ delayMs, deliverAt }: OutgoingMessage, now: number): number | undefined {
  const due = deliverAt ?? (delayMs === undefined ? undefined : now + delayMs);
  return due !== undefined && due > now ? due : undefined;
}

/** The topic, if it exists and takes messages. */
export function writableTopic(core: Core, name: string): TopicState {
  const topic = topicNamed(core.state, name);
  if (writable(topic.record.permission)) {
    if (writable(core.state.permission.permission)) return topic;
    throw takesNothing(core);
  }
  throw new GantryError(
    'NO_PERMISSION',
    `topic ${name} takes no messages: its permission is ${topic.record.permission}`,
  );
}

/** The same content is the same bodies with the same attributes in the same order, however the request was written. */
export function contentHash(messages: readonly OutgoingMessage[]): string {
  const hash = createHash('sha256');
  for (const { body, properties, ...attributes } of messages) {
    const pairs = properties && Object.entries(properties).sort(([a], [b]) => (a < b ? -1 : 1));
    const text = JSON.stringify({ ...attributes, pairs });
    hash.update(`${bodyBytes(body)}:${text.length}:${text}`).update(body);
  }
  return hash.digest('base64');
}
