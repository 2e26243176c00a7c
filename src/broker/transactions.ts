/**
 * Messages that are seen by nobody until their sender says so: prepared as a half message, then committed or rolled
 * back. What must always hold: one decision counts, the first one; saying it again answers the same; a commit makes the
 * message visible once.
 */
import { createHash } from 'node:crypto';
import type { Tables } from '../../storage/tables';
import { tableKeys } from '../../storage/keys';
import { GantryError, invariant } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { MessageIds } from '../base/messageId';
import { reused, type Answers } from './answers';
import type { Core } from './core';
import type { Decision, Half, Resolution } from './halves';
import { hourOf } from './idRuns';
import { encodeMessage, releaseMessage, type OutgoingMessage } from './message';
import { offsetMessageId, positionOfId } from './offsetMessageId';
import { CHECK_DEFAULTS } from './producerGroup';
import { getRow } from './rows';
import { contentHash, writableTopic, type Sender } from './sender';
import { parseJson, type TopicState } from './state';
import { refusalOf } from './topic';
import type { Preparation, PreparationAnswer } from './transactionChanges';

export interface PrepareRequest {
  readonly producerGroup: string;
  readonly message: OutgoingMessage;
  /** Milliseconds until it is asked about first; otherwise the producer group's. */
  readonly checkAfterMs?: number | undefined;
}

export interface Prepared {
  readonly transactionId: string;
  readonly messageId: string;
  readonly preparedTimestamp: number;
  /** It is the answer of the first call with this Idempotency-Key. */
  readonly replayed: boolean;
}

export interface EndRequest {
  /** UNKNOWN: nobody knows yet, ask again. */
  readonly resolution: Resolution | 'UNKNOWN';
  /** Whose transaction it must be; without one it is an operator's call. */
  readonly producerGroup?: string | undefined;
}

export interface Transaction {
  readonly transactionId: string;
  readonly half: Half;
  /** Absent: nobody has decided. */
  readonly decision?: Decision | undefined;
}

export interface TransactionList {
  readonly transactions: Transaction[];
  /** Behind which position the next page begins; undefined: there is none. */
  readonly next: number | undefined;
}

export class Transactions {
  readonly #core: Core;
  readonly #tables: Tables;
  readonly #answers: Answers;
  readonly #ids: MessageIds;
  readonly #sender: Sender;

  constructor(core: Core, parts: { tables: Tables; answers: Answers; ids: MessageIds; sender: Sender }) {
    this.#core = core;
    this.#tables = parts.tables;
    this.#answers = parts.answers;
    this.#ids = parts.ids;
    this.#sender = parts.sender;
  }

  /** Stores a half message. Throws what speaks against the message, and TOO_MANY_REQUESTS while too many are undecided. */
  async prepare(topicName: string, request: PrepareRequest, idempotencyKey?: string): Promise<Prepared> {
    const topic = writableTopic(this.#core, topicName);
    this.#core.checkRoom();
    const refusal = refusalOf(topic.record, request.message, topic.declared, 'TRANSACTION');
    if (refusal) throw refusal;
    if (idempotencyKey === undefined) return this.#prepared(await this.#prepare(topic, request), false);
    const text = `prepare\0${topic.record.no}\0${idempotencyKey}`;
    const hash = createHash('sha256').update(text).digest().subarray(0, 16);
    return this.#answers.alone(text, () => this.#prepareOnce(topic, request, hash));
  }

  async #prepareOnce(topic: TopicState, request: PrepareRequest, hash: Buffer): Promise<Prepared> {
    const { producerGroup, checkAfterMs, message } = request;
    const content = createHash('sha256')
      .update(JSON.stringify([producerGroup, checkAfterMs, contentHash([message])]))
      .digest('base64');
    const before = await this.#answers.of<PreparationAnswer>(hash);
    if (before && before.content !== content) throw reused();
    if (before) return this.#prepared(before, true);
    return this.#prepared(await this.#prepare(topic, request, { key: hash.toString('base64'), content }), false);
  }

  async #prepare(
    topic: TopicState,
    { producerGroup, message, checkAfterMs }: PrepareRequest,
    answer?: { readonly key: string; readonly content: string },
  ): Promise<Preparation> {
    const { open, producerGroups } = this.#core.state.halves;
    if (open.size >= LIMITS.halfMessages) {
      throw new GantryError('TOO_MANY_REQUESTS', `${open.size} prepared messages wait for a decision already`, {
        retryAfterMs: 1000,
      });
    }
    const messageId = this.#ids.write(1);
    if (message.messageId !== undefined) messageId.write(message.messageId, 'hex');
    const bornTimestamp = this.#core.clock.now();
    const record = encodeMessage(message, { topic: topic.record.no, queueId: 0, messageId, bornTimestamp });
    const settings = producerGroups.get(producerGroup) ?? CHECK_DEFAULTS;
    return this.#core.submit({
      kind: 'prepare',
      topic: topic.record.no,
      producerGroup,
      checkAfterMs: checkAfterMs ?? settings.checkAfterMs,
      ...(answer ? { answer } : {}),
      records: [record],
    });
  }

  #prepared({ position, messageId, time }: Preparation, replayed: boolean): Prepared {
    return { transactionId: this.idOf(position), messageId, preparedTimestamp: time, replayed };
  }

  idOf(position: number): string {
    return offsetMessageId(this.#core.idTag, position);
  }

  /** Decides, or with UNKNOWN leaves it open. Throws ALREADY_RESOLVED when it was decided otherwise. */
  async end(transactionId: string, request: EndRequest): Promise<Transaction> {
    const position = this.#positionOf(transactionId);
    const half = this.#core.state.halves.open.get(position);
    if (!half) return this.#endedBefore(transactionId, position, request);
    checkGroup(half, request);
    if (request.resolution === 'UNKNOWN') return { transactionId, half };
    const decision = await this.#resolve(position, half, request.resolution);
    return decision ? { transactionId, half, decision } : this.#endedBefore(transactionId, position, request);
  }

  /** undefined: somebody else decided meanwhile. */
  async #resolve(position: number, half: Half, resolution: Resolution): Promise<Decision | undefined> {
    const records: Buffer[] = [];
    if (resolution === 'COMMIT') {
      const record = await this.recordOf(position, half);
      const topic = this.#core.state.topics.get(half.topic);
      if (!record || !topic) return undefined;
      const prepared = { position, timestamp: half.preparedAt };
      records.push(releaseMessage(record, this.#sender.queueFor(topic, undefined), prepared));
    }
    return this.#core.submit({ kind: 'resolve', half: position, records });
  }

  /** The half message of an id; undefined when it was decided about. */
  async recordNamed(transactionId: string): Promise<Buffer | undefined> {
    const position = this.#positionOf(transactionId);
    const half = this.#core.state.halves.open.get(position);
    return half && this.recordOf(position, half);
  }

  /** The half message itself; undefined when it was decided about meanwhile. */
  async recordOf(position: number, half: Half): Promise<Buffer | undefined> {
    const { overlay, halves } = this.#core.state;
    const record = await getRow(this.#tables, overlay, tableKeys.halfRecord(half.topic, position));
    invariant(record || !halves.open.has(position), `the half message at ${position} has a record`);
    return record;
  }

  async #endedBefore(transactionId: string, position: number, request: EndRequest): Promise<Transaction> {
    const decision = await this.#decisionOf(transactionId, position);
    checkGroup(decision.half, request);
    if (decision.resolution === request.resolution) return { transactionId, half: decision.half, decision };
    throw new GantryError(
      'ALREADY_RESOLVED',
      `transaction ${transactionId} was ${decision.resolution === 'COMMIT' ? 'committed' : 'rolled back'} already`,
      { members: { resolution: decision.resolution } },
    );
  }

  async get(transactionId: string): Promise<Transaction> {
    const position = this.#positionOf(transactionId);
    const half = this.#core.state.halves.open.get(position);
    if (half) return { transactionId, half };
    const decision = await this.#decisionOf(transactionId, position);
    return { transactionId, half: decision.half, decision };
  }

  /** Those that nobody has decided about, in the order of their preparation, behind `after`. */
  list(
    wanted: {
      readonly parked: boolean | undefined;
      readonly producerGroup?: string | undefined;
      readonly topic?: number;
    },
    after: number,
    limit: number,
  ): TransactionList {
    const transactions: Transaction[] = [];
    let last = after;
    for (const [position, half] of this.#core.state.halves.open) {
      if (position <= after || !fits(half, wanted)) continue;
      if (transactions.length === limit) return { transactions, next: last };
      transactions.push({ transactionId: this.idOf(position), half });
      last = position;
    }
    return { transactions, next: undefined };
  }

  #positionOf(transactionId: string): number {
    const id = Buffer.from(transactionId, 'hex');
    const position = id.length === 16 ? positionOfId(this.#core.idTag, id) : undefined;
    if (position === undefined) throw unknownTransaction(transactionId);
    return position;
  }

  /** By the hour of the decision, which the id does not say: all hours that are kept are looked at in one read. */
  async #decisionOf(transactionId: string, position: number): Promise<Decision> {
    const { state, clock } = this.#core;
    const now = Math.max(clock.now(), state.marks.time);
    const keys: Buffer[] = [];
    for (let hour = hourOf(now); hour >= hourOf(now - LIMITS.decisionMs) && hour >= state.marks.decisionHour; hour--) {
      const key = tableKeys.decision(hour, position);
      const fresh = state.overlay.get(key);
      if (fresh) return parseJson<Decision>(fresh);
      keys.push(key);
    }
    const stored = (await this.#tables.getMany(keys)).find((value) => value !== undefined);
    if (!stored) throw unknownTransaction(transactionId);
    return parseJson<Decision>(stored);
  }
}

function fits(half: Half, { parked, producerGroup, topic }: Parameters<Transactions['list']>[0]): boolean {
  if (parked !== undefined && (half.parked === true) !== parked) return false;
  if (topic !== undefined && half.topic !== topic) return false;
  return producerGroup === undefined || half.producerGroup === producerGroup;
}

function checkGroup(half: Half, { producerGroup }: EndRequest): void {
  if (producerGroup === undefined || producerGroup === half.producerGroup) return;
  throw new GantryError(
    'PRODUCER_GROUP_MISMATCH',
    `the transaction is not one of producer group ${producerGroup}: say the group that prepared it, or none as an operator`,
  );
}

/** Nobody knows of it, or no longer. */
export const unknownTransaction = (transactionId: string): GantryError =>
  new GantryError(
    'TRANSACTION_NOT_FOUND',
    `there is no transaction ${transactionId} here: it was never prepared, its topic was deleted, or it was decided over 24 hours ago`,
  );
