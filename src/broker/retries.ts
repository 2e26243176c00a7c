/**
 * Messages that a consumer could not handle: each is copied, waits, and comes again by the group's own topic
 * %RETRY%group; after 1 + maxAttempts deliveries it is a dead letter. Only this group gets it again. Repeating the call
 * finds the first answer.
 */
import { createHash } from 'node:crypto';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Answers } from './answers';
import { inCommands, type Committer, type FailedMessage, type ReadOffset } from './command';
import { Consumers } from './consumers';
import { groupNamed, type Core } from './core';
import type { FailureAnswer, FailureResult } from './failureChanges';
import { deadLetterTopicOf, exhausted, retryDelay, retryTopicOf, type Group } from './group';
import { copyMessage, decodeMessage, messageAttempt, type Origin } from './message';
import type { Positions } from './positions';
import type { Queue } from './queue';
import { queueNumber, type GroupState } from './state';
import type { Topics } from './topics';

/** One message that failed. */
export interface Failure {
  readonly queue: Queue;
  readonly queueOffset: number;
  readonly record: Buffer;
  /** How often it was delivered. */
  readonly attempt: number;
  /** The lease it is out under; without it the queue has an owner. */
  readonly lease?: number;
  /** Instead of the group's own delay. */
  readonly delayMs?: number | undefined;
  readonly reason?: string | undefined;
  /** By what a repetition is recognised. */
  readonly key?: string;
}

export type FailureOutcome = 'RETRY' | 'DEAD_LETTER';

export interface FailureReport {
  /** Which delivery the next one is. */
  readonly attempt?: number;
  readonly outcome?: FailureOutcome;
  /** When it comes again. */
  readonly dueTimestamp?: number;
  readonly error?: GantryError;
}

export interface SendBackRequest {
  readonly consumerId: string;
  readonly generation?: string | undefined;
  readonly messages: readonly SentBack[];
  readonly cursor?: string | undefined;
}

interface SentBack {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly delayMs?: number | undefined;
  readonly reason?: string | undefined;
}

/** A message of a request, by its place in it. */
interface Part {
  readonly at: number;
  readonly failure: Failure;
}

export type SendBackResult = Omit<SentBack, 'delayMs' | 'reason'> & FailureReport;

export class Retries {
  readonly #core: Core;
  readonly #answers: Answers;
  readonly #topics: Topics;
  readonly #positions: Positions;
  /** The last call of each consumer that is under way. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(core: Core, parts: { answers: Answers; topics: Topics; positions: Positions }) {
    this.#core = core;
    this.#answers = parts.answers;
    this.#topics = parts.topics;
    this.#positions = parts.positions;
  }

  /** Messages of a poll that failed; with a cursor, what it covers is committed in the same step. One result per message, in order. */
  async sendBack(groupName: string, request: SendBackRequest): Promise<SendBackResult[]> {
    // A repetition that overtakes the first call must find its answer: a consumer's calls go one after another.
    const name = `${groupName} ${request.consumerId}`;
    const work = () => this.#sendBack(groupName, request);
    const mine = (this.#turns.get(name) ?? Promise.resolve()).then(work, work);
    this.#turns.set(name, mine);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(name) === mine) this.#turns.delete(name);
    }
  }

  async #sendBack(groupName: string, request: SendBackRequest): Promise<SendBackResult[]> {
    const group = groupNamed(this.#core.state, groupName);
    checkStyle(group);
    const offsets =
      request.cursor === undefined || request.cursor === '' ? [] : this.#positions.covered(group, request);
    const generation = request.generation === undefined ? {} : { generation: Consumers.epochOf(request.generation) };
    const by = { consumer: request.consumerId, ...generation };
    const keys = request.messages.map((message, at) =>
      keyOf(group, this.#positions.queueOf(group, message), message, request.consumerId, at),
    );
    const reports: (FailureReport | undefined)[] = await this.answered(group, keys);
    const fail = async (part: readonly Part[], committed: readonly ReadOffset[]) => {
      const failures = part.map(({ failure }) => failure);
      const outcomes = await this.fail(group, failures, by, committed);
      part.forEach(({ at }, i) => (reports[at] = outcomes[i]!));
    };
    let next: readonly Part[] = [];
    for await (const part of this.#parts(group, request.messages, keys, reports)) {
      await fail(next, []);
      next = part;
    }
    await fail(next, offsets);
    return request.messages.map(({ topic, broker, queueId, queueOffset }, at) => ({
      ...{ topic, broker, queueId, queueOffset },
      ...(reports[at] ?? reports[keys.indexOf(keys[at]!)]!),
    }));
  }

  /** What is not reported yet, as much at a time as a command takes: not all that a request names fits into memory. */
  async *#parts(
    group: GroupState,
    messages: readonly SentBack[],
    keys: readonly string[],
    reports: (FailureReport | undefined)[],
  ): AsyncIterable<readonly Part[]> {
    let part: Part[] = [];
    let bytes = 0;
    for (const [at, message] of messages.entries()) {
      if (reports[at] || keys.indexOf(keys[at]!) < at) continue; // answered before, or named twice
      const found = await this.#find(group, message);
      if (found instanceof GantryError) {
        reports[at] = { error: found };
        continue;
      }
      if (part.length > 0 && bytes + found.record.length > LIMITS.batchBytes) {
        yield part;
        [part, bytes] = [[], 0];
      }
      const { delayMs, reason } = message;
      part.push({ at, failure: { ...found, delayMs, reason, key: keys[at]! } });
      bytes += found.record.length;
    }
    yield part;
  }

  async #find(group: GroupState, at: SentBack): Promise<Failure | GantryError> {
    const queue = this.#positions.queueOf(group, at);
    if (queue instanceof GantryError) return queue;
    const found = await this.#core.reader.one(queue, at.queueOffset);
    if (found) return { ...found, attempt: messageAttempt(found.record) };
    return new GantryError(
      'OFFSET_MOVED',
      `queue ${at.queueId} of ${at.topic} has no message ${at.queueOffset}: it keeps ${queue.min}..${queue.max - 1}`,
      { members: { minOffset: queue.min, maxOffset: queue.max } },
    );
  }

  /** What was answered for these keys within the last 10 minutes. */
  async answered(group: GroupState, keys: readonly string[]): Promise<(FailureReport | undefined)[]> {
    const answers = keys.map((key) => this.#answers.of<FailureAnswer>(hashOf(group.record.no, key)));
    return (await Promise.all(answers)).map((answer) => answer && reportOf(answer.result));
  }

  /** Moves failed messages to the group's retries or dead letters, and commits `offsets` with the last of them. In order. */
  async fail(
    group: GroupState,
    failures: readonly Failure[],
    by?: Committer,
    offsets: readonly ReadOffset[] = [],
  ): Promise<FailureReport[]> {
    if (failures.length === 0 && offsets.length === 0) return [];
    const reports: FailureReport[] = [];
    // As the group is now: while its topics are made, it may change.
    const { record } = group;
    const topics = await this.#topicsFor(record, failures);
    const parts = failures.length === 0 ? [[]] : [...inCommands(failures)];
    for (const part of parts) {
      const { results } = await this.#core.submit({
        kind: 'retry',
        group: record.no,
        items: part.map((failure) => this.#item(record, failure)),
        offsets: part === parts.at(-1) ? offsets : [],
        ...(by ? { by } : {}),
        records: part.map((failure) => this.#copy(record, failure, topics)),
      });
      for (const result of results) reports.push(reportOf(result));
    }
    return reports;
  }

  #item(group: Group, failure: Failure): FailedMessage {
    const { queue, queueOffset, attempt, lease, delayMs, key } = failure;
    const dead = exhausted(group, attempt);
    return {
      topic: queue.topic,
      queueId: queue.queueId,
      offset: queueOffset,
      attempt: attempt + 1,
      ...(lease === undefined ? {} : { lease }),
      ...(dead ? {} : { delayMs: delayMs ?? retryDelay(group, attempt) }),
      ...(key === undefined ? {} : { key: hashOf(group.no, key).toString('base64') }),
    };
  }

  #copy(group: Group, failure: Failure, topics: { retries: number; dead: number }): Buffer {
    const { queue, queueOffset, record, attempt, reason } = failure;
    const dead = exhausted(group, attempt);
    const { origin, position, storeTimestamp } = decodeMessage(record);
    const here: Origin = {
      topic: this.#core.state.topics.get(queue.topic)?.record.name ?? '',
      ...{ queueId: queue.queueId, queueOffset, position, storeTimestamp },
    };
    return copyMessage(record, {
      topic: dead ? topics.dead : topics.retries,
      queueId: 0,
      attempt: dead ? attempt : attempt + 1,
      origin: origin ?? here,
      reason,
    });
  }

  async #topicsFor(group: Group, failures: readonly Failure[]): Promise<{ retries: number; dead: number }> {
    const { name } = group;
    const dead = failures.filter(({ attempt }) => exhausted(group, attempt)).length;
    return {
      retries: dead < failures.length ? await this.ensureTopic(retryTopicOf(name)) : 0,
      dead: dead > 0 ? await this.ensureTopic(deadLetterTopicOf(name)) : 0,
    };
  }

  /** The number of one of a group's own topics, which is made when it is needed first. Nobody may send to it. */
  async ensureTopic(name: string): Promise<number> {
    const known = this.#core.state.topicsByName.get(name);
    if (known) return known.record.no;
    const counts = { readQueues: 1, writeQueues: 1 } as const;
    const { topic } = await this.#topics.create({ name, type: 'MIXED', ...counts, permission: 'R', tagPolicy: 'OPEN' });
    return topic.no;
  }
}

function checkStyle({ record }: GroupState): void {
  const { name, ordered, mode } = record;
  if (mode === 'CLUSTERING' && !ordered) return;
  throw new GantryError(
    'STYLE_CONFLICT',
    ordered
      ? `group ${name} is ordered: a retry would come out of order. Handle the message again, or receive and nack it`
      : `group ${name} is broadcasting: its consumers handle a failed message again themselves`,
  );
}

/** The same message of the same reading: a new owner, or a reset, may send it back anew. */
function keyOf(
  group: GroupState,
  queue: Queue | GantryError,
  { queueOffset }: SentBack,
  consumer: string,
  at: number,
): string {
  if (queue instanceof GantryError) return `none ${at}`;
  const epoch = group.owners.get(queueNumber(queue.topic, queue.queueId))?.epoch ?? 0;
  // Another consumer is not told what this one was: it does not own the queue.
  return `${queue.topic} ${queue.queueId} ${queueOffset} ${epoch} ${consumer}`;
}

const hashOf = (group: number, key: string): Buffer =>
  createHash('sha256').update(`fail\0${group}\0${key}`).digest().subarray(0, 16);

function reportOf(result: FailureResult): FailureReport {
  if (result.error) return { error: result.error };
  if (result.outcome === 'DEAD_LETTER') return { outcome: result.outcome };
  return { attempt: result.attempt, outcome: result.outcome, dueTimestamp: result.due };
}
