/**
 * Messages that were given up: they are kept for 14 days whatever the journal's retention, can be looked at, and sent
 * again, to the group that gave them up or to a topic.
 */
import { createHash } from 'node:crypto';
import { after, readNumber, tableKeys } from '../../storage/keys';
import { recordTime } from '../../storage/record';
import type { Tables } from '../../storage/tables';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import { Turns } from '../base/turns';
import { hexOf } from '../base/messageId';
import { hashOfCommand, type Answers, type KeyedCall } from './answers';
import { inCommands, type RedrivenItem } from './command';
import { groupNamed, type Core } from './core';
import type { RedriveAnswer } from './failureChanges';
import { deadLetterTopicOf, retryTopicOf } from './group';
import { copyMessage, decodeMessage, messageIdOf } from './message';
import type { Lookup } from './lookup';
import type { Queue } from './queue';
import type { Delivery } from './reader';
import type { Retries } from './retries';
import { scanRows } from './rows';
import { writableTopic, type Sender } from './sender';
import type { GroupState } from './state';
import { refusalOf } from './topic';

export interface DeadLetter {
  readonly delivery: Delivery;
  readonly deadTimestamp: number;
  readonly reason?: string;
  /** Its offset in %DLQ%group: ascending. */
  readonly no: number;
}

export interface RedriveRequest {
  readonly messageIds?: readonly string[] | undefined;
  readonly all: boolean;
  /** Instead of the group's retries. */
  readonly topic?: string | undefined;
  readonly dryRun: boolean;
}

export interface RedriveResult {
  readonly messageId: string;
  readonly topic?: string;
  readonly broker?: string;
  readonly queueId?: number;
  readonly queueOffset?: number;
  readonly error?: GantryError;
}

/** Of all that was asked for, what this call did, and how many dead letters are left to do. */
export interface Redriven {
  readonly results: RedriveResult[];
  readonly remaining: number;
  /** Nothing was sent now: this is the answer of the first call with this Idempotency-Key. */
  readonly replayed: boolean;
}

/** How long a dead letter is kept; the design's number. */
const DEAD_LETTER_MS = 14 * 24 * 3_600_000;
const PAGE = 1000;
/** Bytes of dead letters that are read at once. */
const PAGE_BYTES = LIMITS.batchBytes;
/** Bytes of dead letters that one call sends. */
const REDRIVE_BYTES = 8 * LIMITS.batchBytes;

interface Found {
  readonly no: number;
  readonly record: Buffer;
}

/** Where a dead letter goes, and what goes there. */
interface Place {
  readonly dead: number;
  readonly item: RedrivenItem;
  readonly record: Buffer;
  /** Why it does not go there. */
  readonly refusal: GantryError | undefined;
}

export class DeadLetters {
  readonly #core: Core;
  readonly #tables: Tables;
  readonly #retries: Retries;
  readonly #sender: Sender;
  readonly #lookup: Lookup;
  readonly #answers: Answers;
  /** One call at a time changes a group's dead letters. */
  readonly #turns = new Turns<GroupState>();

  constructor(
    core: Core,
    parts: { tables: Tables; retries: Retries; sender: Sender; lookup: Lookup; answers: Answers },
  ) {
    this.#core = core;
    this.#tables = parts.tables;
    this.#retries = parts.retries;
    this.#sender = parts.sender;
    this.#lookup = parts.lookup;
    this.#answers = parts.answers;
  }

  /** Oldest first, behind `afterNo` (−1 = from the beginning); fewer than `limit` when they are large. */
  async list(groupName: string, afterNo: number, limit: number): Promise<{ deadLetters: DeadLetter[]; more: boolean }> {
    const group = groupNamed(this.#core.state, groupName);
    const { found, more } = await this.#page(group, afterNo, limit + 1);
    const queue = this.#queue(group);
    if (!queue) return { deadLetters: [], more: false };
    const deadLetters = found.slice(0, limit).map((letter) => letterIn(queue, letter));
    return { deadLetters, more: more || found.length > limit };
  }

  /** The dead letter with this messageId. Throws GROUP_NOT_FOUND, MESSAGE_NOT_FOUND. */
  async get(groupName: string, messageId: string): Promise<DeadLetter> {
    const group = groupNamed(this.#core.state, groupName);
    const found = await this.#find(group, messageId);
    const queue = this.#queue(group);
    if (!found || !queue) throw notDead(group, messageId);
    return letterIn(queue, found);
  }

  /** Drops the dead letter with this messageId for good. Throws GROUP_NOT_FOUND, MESSAGE_NOT_FOUND. */
  async delete(groupName: string, messageId: string): Promise<void> {
    const group = groupNamed(this.#core.state, groupName);
    await this.#turns.run(group, async () => {
      const found = await this.#find(group, messageId);
      if (!found) throw notDead(group, messageId);
      await this.#core.submit({ kind: 'dropDeadLetters', group: group.record.no, offsets: [found.no] });
    });
  }

  /** By the index of messageIds while the topic of the dead letters still has the message, else among all of them. */
  async #find(group: GroupState, messageId: string): Promise<Found | undefined> {
    const id = messageId.toUpperCase();
    const hasId = ({ record }: Found) => hexOf(messageIdOf(record)) === id;
    const place = this.#queue(group) && (await this.#placeOf(deadLetterTopicOf(group.record.name), id));
    if (place !== undefined) {
      const [letter] = (await this.#page(group, place - 1, 1)).found;
      if (letter?.no === place && hasId(letter)) return letter;
    }
    for await (const letter of this.#letters(group)) if (hasId(letter)) return letter;
    return undefined;
  }

  async #placeOf(topic: string, messageId: string): Promise<number | undefined> {
    try {
      return (await this.#lookup.message(topic, messageId)).queueOffset;
    } catch (error) {
      if (error instanceof GantryError) return undefined;
      throw error;
    }
  }

  #queue(group: GroupState): Queue | undefined {
    return this.#core.state.topicsByName.get(deadLetterTopicOf(group.record.name))?.queues[0];
  }

  async #page(group: GroupState, afterNo: number, limit: number): Promise<{ found: Found[]; more: boolean }> {
    const { no } = group.record;
    const range = { gte: tableKeys.deadLetter(no, afterNo + 1), lt: after(tableKeys.deadLettersOf(no)) };
    const limits = { limit, maxBytes: PAGE_BYTES };
    const { rows, more } = await scanRows(this.#tables, this.#core.state.overlay, range, limits);
    return { found: rows.map(({ key, value }) => ({ no: readNumber(key, 7), record: value })), more };
  }

  /** Sends dead letters again, at most 1,000 in one call; they are dead letters no more. */
  async redrive(groupName: string, request: RedriveRequest, idempotencyKey?: string): Promise<Redriven> {
    const group = groupNamed(this.#core.state, groupName);
    if (!request.dryRun) this.#core.checkRoom();
    const keyed = idempotencyKey === undefined ? undefined : keyedCall(group, request, idempotencyKey);
    const work = () => this.#turns.run(group, () => this.#redrive(group, request, keyed));
    return keyed ? this.#answers.alone(hashOfCommand(keyed, 0).toString('base64'), work) : work();
  }

  async #redrive(group: GroupState, request: RedriveRequest, keyed: KeyedCall | undefined): Promise<Redriven> {
    const before = keyed ? await this.#before(keyed) : [];
    // What the first call did is answered as it was; of what was named and is not in it, it may have got no further.
    const done = before.flat();
    if (request.all && done.length > 0) return { results: done, remaining: group.counts.dead, replayed: true };
    const answered = new Set(done.map(({ messageId }) => messageId));
    const ids = request.messageIds?.filter((id) => !answered.has(id.toUpperCase()));
    const { found, missing, left } = await this.#asked(group, request.all ? undefined : (ids ?? []));
    const places = await this.#places(group, found, request);
    const sent: RedriveResult[] = request.dryRun
      ? places.map((place) => this.#planned(place))
      : await this.#send(group, places, keyed, before.length);
    const lost = missing.map((messageId) => ({ messageId, error: notDead(group, messageId) }));
    return { results: [...done, ...sent, ...lost], remaining: left, replayed: done.length > 0 && sent.length === 0 };
  }

  /** Dead letters by id (undefined = all), oldest first, as many as one call sends; how many more there are; ids that are none. */
  async #asked(
    group: GroupState,
    ids: readonly string[] | undefined,
  ): Promise<{ found: Found[]; missing: string[]; left: number }> {
    const wanted = new Set(ids?.map((id) => id.toUpperCase()));
    const seen = new Set<string>();
    const found: Found[] = [];
    const total = group.counts.dead;
    let left = 0;
    let bytes = 0;
    if (ids?.length === 0) return { found, missing: [], left };
    for await (const letter of this.#letters(group)) {
      const id = hexOf(messageIdOf(letter.record));
      if (ids && !wanted.has(id)) continue;
      seen.add(id);
      const fits = found.length < PAGE && bytes < REDRIVE_BYTES;
      if (fits) found.push(letter);
      else if (ids) left++;
      else break;
      bytes += letter.record.length;
    }
    const missing = ids?.filter((id) => !seen.has(id.toUpperCase())) ?? [];
    return { found, missing, left: ids ? left : Math.max(0, total - found.length) };
  }

  async *#letters(group: GroupState): AsyncIterable<Found> {
    for (let from = -1; ;) {
      const { found, more } = await this.#page(group, from, PAGE);
      yield* found;
      if (!more) return;
      from = found.at(-1)!.no;
    }
  }

  async #places(group: GroupState, found: readonly Found[], { topic, dryRun }: RedriveRequest): Promise<Place[]> {
    const name = topic ?? retryTopicOf(group.record.name);
    const target = topic === undefined ? undefined : writableTopic(this.#core, topic);
    const retries = (): number | Promise<number> =>
      dryRun ? (this.#core.state.topicsByName.get(name)?.record.no ?? 0) : this.#retries.ensureTopic(name);
    const no = target?.record.no ?? (await retries());
    return found.map(({ no: dead, record }) => {
      const { messageId, origin, ...message } = decodeMessage(record);
      const refusal = target && refusalOf(target.record, message, target.declared);
      const queueId = target && !refusal ? this.#sender.queueFor(target, message.messageGroup) : 0;
      const item: RedrivenItem = { messageId: hexOf(messageId), topic: name, queueId };
      const copy = copyMessage(record, { topic: no, queueId, attempt: 1, origin: origin! });
      return { dead, item, record: copy, refusal };
    });
  }

  #planned({ item, refusal }: Place): RedriveResult {
    return refusal ? { messageId: item.messageId, error: refusal } : { ...item, broker: this.#core.brokerName };
  }

  /** `first`: number of the first command, by which its answer is remembered. */
  async #send(
    group: GroupState,
    places: readonly Place[],
    keyed: KeyedCall | undefined,
    first: number,
  ): Promise<RedriveResult[]> {
    const results: RedriveResult[] = places.filter(({ refusal }) => refusal).map((place) => this.#planned(place));
    let command = first;
    for await (const part of inCommands(places.filter(({ refusal }) => !refusal))) {
      const items = part.map(({ item }) => item);
      const key = keyed && hashOfCommand(keyed, command++).toString('base64');
      const { offsets } = await this.#core.submit({
        kind: 'redrive',
        group: group.record.no,
        offsets: part.map(({ dead }) => dead),
        records: part.map(({ record }) => record),
        ...(keyed && key ? { answer: { key, content: keyed.content, items } } : {}),
      });
      items.forEach((item, i) => results.push(this.#result(item, offsets[i])));
    }
    return results;
  }

  #result(item: RedrivenItem, queueOffset: number | undefined): RedriveResult {
    if (queueOffset !== undefined) return { ...item, broker: this.#core.brokerName, queueOffset };
    const error = new GantryError('TOPIC_NOT_FOUND', `topic ${item.topic} was deleted while this was sent`);
    return { messageId: item.messageId, error };
  }

  /** What the call with this key answered before, command by command. */
  async #before(keyed: KeyedCall): Promise<RedriveResult[][]> {
    const answers = await this.#answers.before<RedriveAnswer>(keyed);
    return answers.map(({ items, offsets }) => items.map((item, i) => this.#result(item, offsets[i] ?? undefined)));
  }

  /** Dead letters over 14 days old go, about a thousand per group and look. */
  async expire(): Promise<void> {
    const before = this.#core.trustedNow() - DEAD_LETTER_MS;
    for (const group of [...this.#core.state.groups.values()])
      if (group.counts.dead > 0) await this.#turns.run(group, () => this.#expire(group, before));
  }

  async #expire(group: GroupState, before: number): Promise<void> {
    for (let dropped = 0, old = 1; old > 0 && dropped < PAGE; dropped += old) {
      // One at first: mostly none is old, and they may be large.
      const { found } = await this.#page(group, -1, dropped === 0 ? 1 : PAGE);
      const offsets = found.filter(({ record }) => recordTime(record) < before).map(({ no }) => no);
      old = offsets.length;
      if (old > 0) await this.#core.submit({ kind: 'dropDeadLetters', group: group.record.no, offsets });
    }
  }
}

function letterIn(queue: Queue, { no, record }: Found): DeadLetter {
  const { reason } = decodeMessage(record);
  const delivery = { queue, queueOffset: no, record };
  return { delivery, deadTimestamp: recordTime(record), no, ...(reason === undefined ? {} : { reason }) };
}

const keyedCall = (group: GroupState, request: RedriveRequest, key: string): KeyedCall => ({
  ...{ operation: 'redrive', group: group.record.no, key },
  content: createHash('sha256')
    .update(JSON.stringify({ ...request, dryRun: undefined }))
    .digest('base64'),
});

const notDead = (group: GroupState, messageId: string): GantryError =>
  new GantryError(
    'MESSAGE_NOT_FOUND',
    `group ${group.record.name} has no dead letter ${messageId}: it was sent again or deleted, or its 14 days are over`,
  );
