/** Transactions, and how their producers are asked about them, on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import type { ChecksAnswer } from '../../src/broker/checkbacks';
import { topicNamed } from '../../src/broker/core';
import { offsetMessageId } from '../../src/broker/offsetMessageId';
import type { Transaction } from '../../src/broker/transactions';
import { bulkAnswer, failed } from '../bulk';
import { readPrepared } from '../messageBodies';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterNumberOf, listCursor } from '../paging';

export type TransactionOperations =
  | 'prepareTransaction'
  | 'endTransaction'
  | 'endTransactions'
  | 'getTransaction'
  | 'listTransactions'
  | 'pollTransactionChecks';

export function transactionHandlers({ broker }: { readonly broker: Broker }): HandlerTable<TransactionOperations> {
  return {
    async prepareTransaction({ path, body, bodyBytes, headers }) {
      const { producerGroup, checkAfterMs } = body;
      const request = { producerGroup, checkAfterMs, message: readPrepared(body.message, bodyBytes) };
      const { transactions } = broker.rooms;
      const { replayed, ...prepared } = await transactions.prepare(
        nameOf(path.topic),
        request,
        headers['Idempotency-Key'],
      );
      return { status: 201, body: prepared, headers: replayed ? { 'Idempotency-Replayed': 'true' } : {} };
    },

    async endTransaction({ path, body }) {
      return { status: 200, body: viewOf(broker, await broker.rooms.transactions.end(path.transactionId, body)) };
    },

    async endTransactions(call) {
      const { producerGroup, resolutions } = call.body;
      const results = await Promise.all(
        resolutions.map(async ({ transactionId, resolution }) => {
          try {
            const ended = await broker.rooms.transactions.end(transactionId, { resolution, producerGroup });
            return { status: 'OK', ...viewOf(broker, ended) };
          } catch (error) {
            if (!(error instanceof GantryError)) throw error;
            return { ...failed(error, call.requestId), transactionId };
          }
        }),
      );
      return bulkAnswer(call, results);
    },

    async getTransaction({ path }) {
      const { transactions } = broker.rooms;
      const transaction = await transactions.get(path.transactionId);
      const view = JSON.stringify(viewOf(broker, transaction));
      const record = transaction.decision ? undefined : await transactions.recordNamed(path.transactionId);
      if (!record) return { status: 200, json: view };
      return { status: 200, json: `${view.slice(0, -1)},"message":${new MessageWriter(broker).prepared(record)}}` };
    },

    listTransactions({ query }) {
      const topic = query.topic === undefined ? {} : { topic: topicNamed(broker.state, nameOf(query.topic)).record.no };
      const wanted = {
        parked: query.state === undefined ? undefined : query.state === 'PARKED',
        producerGroup: query.producerGroup,
        ...topic,
      };
      const page = broker.rooms.transactions.list(wanted, afterNumberOf(query.cursor), query.limit);
      const cursor = page.next === undefined ? {} : { cursor: listCursor(String(page.next)) };
      const transactions = page.transactions.map((transaction) => viewOf(broker, transaction));
      return { status: 200, body: { transactions, ...cursor } };
    },

    async pollTransactionChecks(call) {
      const { path, query } = call;
      const options = { max: query.max, waitMs: query.waitMs, signal: () => call.signal };
      const answer = await broker.rooms.checkbacks.poll(path.producerGroup, options);
      return { status: 200, json: checksJson(broker, answer) };
    },
  };
}

function checksJson(broker: Broker, { checks, reason }: ChecksAnswer): string {
  const why = reason === undefined ? '' : `,"reason":"${reason}"`;
  return `{"checks":${new MessageWriter(broker).checks(checks)}${why}}`;
}

function viewOf(broker: Broker, { transactionId, half, decision }: Transaction) {
  const { topicName, producerGroup, messageId, checks, preparedAt, nextCheck, parked } = half;
  const view = { transactionId, topic: topicName, broker: broker.name, producerGroup, messageId };
  const asked = { checks, preparedTimestamp: preparedAt };
  if (!decision) {
    return parked
      ? { ...view, state: 'PARKED', ...asked }
      : { ...view, state: 'PREPARED', ...asked, nextCheckTimestamp: nextCheck };
  }
  const { resolution, resolvedAt, place } = decision;
  const state = resolution === 'COMMIT' ? 'COMMITTED' : 'ROLLED_BACK';
  const ended = { ...view, state, ...asked, resolvedTimestamp: resolvedAt };
  if (!place) return ended;
  const { queueId, queueOffset, position } = place;
  return { ...ended, queueId, queueOffset, offsetMessageId: offsetMessageId(broker.rooms.core.idTag, position) };
}
