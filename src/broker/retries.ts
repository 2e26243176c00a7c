/**
 * Messages that a consumer could not handle: each is copied, waits, and comes again by the group's own topic
 * %RETRY%group; after 1 + maxAttempts deliveries it is a dead letter. Only this group gets it again. Repeating the call
 * finds the first answer. No position moves behind a message that was refused.
 */
import { createHash } from 'node:crypto';
import { GantryError } from '../base/errors';
import { Turns } from '../base/turns';
import { hashOfCommand, type Answers, type KeyedCall } from './answers';
import type { CommandOf } from './apply';
import { inCommands, type Committer, type FailedMessage, type ReadOffset } from './command';
import { Consumers } from './consumers';
import { groupNamed, type Core } from './core';
import type { FailureAnswer, FailureResult, RetryOutcome, SentBackAnswer } from './failureChanges';
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
  /** False: it was put off. This delivery does not count, and it does not become a dead letter. */
  readonly countAttempt?: boolean | undefined;
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
  readonly countAttempt?: boolean | undefined;
}

/** A message of a request, by its place in it. */
type Placed = Failure & { readonly at: number };

export type SendBackResult = Omit<SentBack, 'delayMs' | 'reason' | 'countAttempt'> & FailureReport;

export interface SendBackAnswer {
  readonly results: SendBackResult[];
  /** Whether all that the cursor covers is committed; undefined without a cursor. */
  readonly committed: boolean | undefined;
  /** Nothing was done now: this is the answer of the first call with this Idempotency-Key. */
  readonly replayed: boolean;
}

/** What a command has of messages that were sent back, and of no others. */
type RetryCommand = Pick<CommandOf<'retry'>, 'by' | 'offsets' | 'answer'>;

/** One call of `sendBack`, while it is worked off. */
interface SendingBack {
  readonly group: GroupState;
  readonly messages: readonly SentBack[];
  readonly by: Committer;
  /** What the cursor covers; undefined without one. */
  readonly offsets: readonly ReadOffset[] | undefined;
  readonly keyed: KeyedCall | undefined;
  /** Commands with this key that are remembered. */
  remembered: number;
  /** By what each message is recognised. */
  readonly keys: readonly string[];
  /** For each message the place of the first that names the same. */
  readonly firsts: readonly number[];
  readonly reports: (FailureReport | undefined)[];
  committed: boolean | undefined;
}

export class Retries {
  readonly #core: Core;
  readonly #answers: Answers;
  readonly #topics: Topics;
  readonly #positions: Positions;
  /** A repetition that overtakes the first call must find its answer: a consumer's calls go one after another. */
  readonly #turns = new Turns<string>();

  constructor(core: Core, parts: { answers: Answers; topics: Topics; positions: Positions }) {
    this.#core = core;
    this.#answers = parts.answers;
    this.#topics = parts.topics;
    this.#positions = parts.positions;
  }

  /**
   * Messages of a poll that failed. With a cursor, what it covers is committed in the same step as the last of them,
   * unless one is refused. One result per message, in order.
   */
  async sendBack(groupName: string, request: SendBackRequest, idempotencyKey?: string): Promise<SendBackAnswer> {
    const group = groupNamed(this.#core.state, groupName);
    checkStyle(group);
    if (idempotencyKey === undefined) return this.#inTurn(group, request, undefined);
    const keyed = keyedCall(group, request, idempotencyKey);
    const name = hashOfCommand(keyed, 0).toString('base64');
    return this.#answers.alone(name, () => this.#inTurn(group, request, keyed));
  }

  #inTurn(group: GroupState, request: SendBackRequest, keyed: KeyedCall | undefined): Promise<SendBackAnswer> {
    const name = `${group.record.no} ${request.consumerId}`;
    return this.#turns.run(name, () => this.#sendBack(group, request, keyed));
  }

  async #sendBack(group: GroupState, request: SendBackRequest, keyed: KeyedCall | undefined): Promise<SendBackAnswer> {
    const before = keyed ? await this.#answers.before<SentBackAnswer>(keyed) : [];
    const call = this.#call(group, request, keyed, before.length);
    for (const { results, committed } of before) {
      for (const [at, result] of results) call.reports[at] = reportOf(result);
      call.committed = committed ?? call.committed;
    }
    const judged = call.offsets === undefined || call.committed !== undefined;
    const replayed = before.length > 0 && judged && call.firsts.every((at) => call.reports[at]);
    if (!replayed) await this.#work(call);
    const results = call.messages.map(({ topic, broker, queueId, queueOffset }, at) => ({
      ...{ topic, broker, queueId, queueOffset },
      ...call.reports[call.firsts[at]!]!,
    }));
    return { results, committed: call.committed, replayed };
  }

  #call(
    group: GroupState,
    { consumerId, generation, messages, cursor }: SendBackRequest,
    keyed: KeyedCall | undefined,
    remembered: number,
  ): SendingBack {
    const read = generation === undefined ? {} : { generation: Consumers.epochOf(generation) };
    const named = new Map<string, number>();
    const firsts = messages.map(({ topic, broker, queueId, queueOffset }, at) => {
      const name = JSON.stringify([topic, broker, queueId, queueOffset]);
      if (!named.has(name)) named.set(name, at);
      return named.get(name)!;
    });
    return {
      ...{ group, messages, keyed, remembered, firsts },
      by: { consumer: consumerId, ...read },
      offsets:
        cursor === undefined || cursor === '' ? undefined : this.#positions.covered(group, { cursor, consumerId }),
      keys: messages.map((message, at) =>
        keyOf(group, this.#positions.queueOf(group, message), message, consumerId, at),
      ),
      reports: [],
      committed: undefined,
    };
  }

  /** What no call with this key did before. As much at a time as a command takes: not all that a request names fits into memory. */
  async #work(call: SendingBack): Promise<void> {
    const answered = await this.answered(call.group, call.keys);
    for (const [at, report] of answered.entries()) call.reports[at] ??= report;
    let next: readonly Placed[] = [];
    for await (const part of inCommands(this.#open(call))) {
      await this.#send(call, next, []);
      next = part;
    }
    const refused = () => call.reports.some((report) => report?.error);
    await this.#send(call, next, refused() ? [] : (call.offsets ?? []));
    if (call.offsets && refused()) call.committed = false;
    else if (call.offsets?.length === 0) call.committed = true;
  }

  /** What is not reported yet. What is not there to be sent back is reported on the way. */
  async *#open({ group, messages, keys, firsts, reports }: SendingBack): AsyncIterable<Placed> {
    for (const [at, message] of messages.entries()) {
      if (reports[at] || firsts[at] !== at) continue;
      const found = await this.#find(group, message);
      const { delayMs, reason, countAttempt } = message;
      if (found instanceof GantryError) reports[at] = { error: found };
      else yield { at, ...found, delayMs, reason, countAttempt, key: keys[at]! };
    }
  }

  async #send(call: SendingBack, part: readonly Placed[], offsets: readonly ReadOffset[]): Promise<void> {
    const { group, by, keyed } = call;
    if (part.length === 0 && offsets.length === 0) return;
    const answer = keyed && {
      key: hashOfCommand(keyed, call.remembered).toString('base64'),
      content: keyed.content,
      places: part.map(({ at }) => at),
    };
    const { results, committed } = await this.#move(group, part, { by, offsets, ...(answer ? { answer } : {}) });
    part.forEach(({ at }, i) => (call.reports[at] = reportOf(results[i]!)));
    call.committed = committed ?? call.committed;
    if (results.some(({ error }) => !error)) call.remembered++;
  }

  async #find(group: GroupState, at: SentBack): Promise<Failure | GantryError> {
    const queue = this.#positions.queueOf(group, at);
    if (queue instanceof GantryError) return queue;
    const found = await this.#core.reader.one(queue, at.queueOffset);
    const leases = group.leases.get(queueNumber(queue.topic, queue.queueId));
    const before = leases?.entries.get(at.queueOffset)?.attempt ?? 0;
    if (found) return { ...found, attempt: messageAttempt(found.record) + before };
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

  /** Moves failed messages to the group's retries or dead letters, in order. */
  async fail(group: GroupState, failures: Iterable<Failure> | AsyncIterable<Failure>): Promise<FailureReport[]> {
    const reports: FailureReport[] = [];
    for await (const part of inCommands(failures)) {
      const { results } = await this.#move(group, part);
      for (const result of results) reports.push(reportOf(result));
    }
    return reports;
  }

  async #move(group: GroupState, part: readonly Failure[], more: Partial<RetryCommand> = {}): Promise<RetryOutcome> {
    // As the group is now: while its topics are made, it may change.
    const { record } = group;
    const topics = await this.#topicsFor(record, part);
    return this.#core.submit({
      ...{ kind: 'retry', group: record.no, offsets: [], ...more },
      items: part.map((failure) => this.#item(record, failure)),
      records: part.map((failure) => this.#copy(record, failure, topics)),
    });
  }

  #item(group: Group, failure: Failure): FailedMessage {
    const { queue, queueOffset, attempt, lease, delayMs, key } = failure;
    const dead = isLast(group, failure);
    return {
      topic: queue.topic,
      queueId: queue.queueId,
      offset: queueOffset,
      attempt: nextAttempt(failure),
      ...(lease === undefined ? {} : { lease }),
      ...(dead ? {} : { delayMs: delayMs ?? retryDelay(group, attempt) }),
      ...(key === undefined ? {} : { key: hashOf(group.no, key).toString('base64') }),
    };
  }

  #copy(group: Group, failure: Failure, topics: { retries: number; dead: number }): Buffer {
    const { queue, queueOffset, record, attempt, reason } = failure;
    const dead = isLast(group, failure);
    const { origin, position, storeTimestamp } = decodeMessage(record);
    const here: Origin = {
      topic: this.#core.state.topics.get(queue.topic)?.record.name ?? '',
      ...{ queueId: queue.queueId, queueOffset, position, storeTimestamp },
    };
    return copyMessage(record, {
      topic: dead ? topics.dead : topics.retries,
      queueId: 0,
      attempt: dead ? attempt : nextAttempt(failure),
      origin: origin ?? here,
      reason,
    });
  }

  async #topicsFor(group: Group, failures: readonly Failure[]): Promise<{ retries: number; dead: number }> {
    const { name } = group;
    const dead = failures.filter((failure) => isLast(group, failure)).length;
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

type Tried = Pick<Failure, 'attempt' | 'countAttempt'>;

/** Whether a failed message is given up. */
export const isLast = (group: Group, { attempt, countAttempt = true }: Tried): boolean =>
  countAttempt && exhausted(group, attempt);

const nextAttempt = ({ attempt, countAttempt = true }: Tried): number => (countAttempt ? attempt + 1 : attempt);

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

function keyedCall(group: GroupState, request: SendBackRequest, key: string): KeyedCall {
  const { consumerId, generation, messages, cursor } = request;
  const named = messages.map(({ topic, broker, queueId, queueOffset, delayMs, reason, countAttempt }) => [
    ...[topic, broker, queueId, queueOffset],
    ...[delayMs, reason],
    ...((countAttempt ?? true) ? [] : [countAttempt]),
  ]);
  const content = createHash('sha256').update(JSON.stringify([consumerId, generation, named, cursor]));
  return { operation: 'sendBack', group: group.record.no, key, content: content.digest('base64') };
}

const hashOf = (group: number, key: string): Buffer =>
  createHash('sha256').update(`fail\0${group}\0${key}`).digest().subarray(0, 16);

function reportOf(result: FailureResult): FailureReport {
  if (result.error) return { error: result.error };
  if (result.outcome === 'DEAD_LETTER') return { outcome: result.outcome };
  return { attempt: result.attempt, outcome: result.outcome, dueTimestamp: result.due };
}
