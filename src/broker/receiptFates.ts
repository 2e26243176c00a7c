/** Outcome of messages whose receipts are not valid any more, and whether a valid receipt may still be used. */
import type { Tables } from '../../storage/tables';
import type { GantryError } from '../base/errors';
import { copiesOf, type Copy } from './copies';
import type { Core } from './core';
import { deadLetterTopicOf, retryTopicOf } from './group';
import { decodeMessage } from './message';
import { doneAlready, late, receiptRefusal } from './receiptRules';
import type { Receipt } from './receipts';
import type { FailureReport, Retries } from './retries';
import { queueNumber, type GroupState } from './state';

/** A receipt, and the handle that says it. */
export interface Handed {
  readonly receipt: Receipt;
  readonly handle: string;
}

export class ReceiptFates {
  readonly #core: Core;
  readonly #tables: Tables;
  readonly #retries: Retries;

  constructor(core: Core, parts: { tables: Tables; retries: Retries }) {
    this.#core = core;
    this.#tables = parts.tables;
    this.#retries = parts.retries;
  }

  /** Why a message cannot be kept longer, or failed, under this receipt; undefined: it can. */
  async refusal(group: GroupState, handed: Handed): Promise<GantryError | undefined> {
    const refused = this.owned(group, handed.receipt) ?? receiptRefusal(this.#core.state, group, handed.receipt, false);
    return refused === 'ABSENT' ? ((await this.ofDone(group, handed)) ?? doneAlready()) : refused;
  }

  /** A consumer that owns the queue is handed what is left of it: nobody else may go on with it. */
  owned(group: GroupState, { topic, queueId }: Receipt): GantryError | undefined {
    const queue = this.#core.state.topics.get(topic)?.queues[queueId];
    const owner = queue && this.#core.consumers.owner(group, queue);
    return owner && late(`consumer ${owner.id} has joined and reads its queue now`);
  }

  /** Why a message that is done under its receipt still is not acknowledged; undefined: it does not come again. */
  async ofDone(group: GroupState, { receipt, handle }: Handed): Promise<GantryError | undefined> {
    const { state, reader } = this.#core;
    const { name } = group.record;
    if (!state.topicsByName.has(retryTopicOf(name)) && !state.topicsByName.has(deadLetterTopicOf(name)))
      return undefined; // nothing of this group failed ever
    const [failed] = await this.#retries.answered(group, [handle]);
    if (failed?.outcome) return failedWith(failed);
    const queue = state.topics.get(receipt.topic)?.queues[receipt.queueId];
    const found = queue && (await reader.one(queue, receipt.offset));
    if (!found) return undefined;
    const { origin, position, storeTimestamp } = decodeMessage(found.record);
    const copies = await copiesOf(state, this.#tables, origin ?? { position, storeTimestamp });
    const copy = copies.get(group.record.no);
    return copy && this.#goesOnAs(group, copy, receipt);
  }

  #goesOnAs(group: GroupState, copy: Copy, { topic, queueId, offset }: Receipt): GantryError | undefined {
    if (copy.is === 'DEAD' || copy.is === 'SENT_ON') return givenUp();
    const itself =
      copy.is === 'BACK' &&
      copy.queueOffset === offset &&
      this.#core.state.topics.get(topic)?.record.name === retryTopicOf(group.record.name);
    // Leased anew behind a reset: the copy may be of an earlier reading.
    return itself || group.resets.has(queueNumber(topic, queueId)) ? undefined : wentOn(copy.attempt);
  }
}

const failedWith = ({ outcome, attempt }: FailureReport): GantryError =>
  outcome === 'DEAD_LETTER' ? givenUp() : wentOn(attempt);

const givenUp = (): GantryError => late('the group has given it up. It is a dead letter, or was one');

const wentOn = (attempt: number | undefined): GantryError =>
  late(`it failed, and went on as delivery ${attempt}, which has a receipt of its own`);
