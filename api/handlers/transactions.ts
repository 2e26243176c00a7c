/** Transactions, and how their producers are asked about them, on the wire. */
import { GantryError } from '../../src/base/errors';
import type { Chance } from '../../src/base/chance';
import type { Broker } from '../../src/broker/broker';
import type { ChecksAnswer } from '../../src/broker/checkbacks';
import { topicNamed } from '../../src/broker/core';
import { producerGroupDefinition } from '../../src/broker/definition';
import { offsetMessageId } from '../../src/broker/offsetMessageId';
import { CHECK_DEFAULTS, type ProducerGroup } from '../../src/broker/producerGroup';
import type { Transaction } from '../../src/broker/transactions';
import type { Fleet } from '../../src/cluster/fleet';
import type { Spread, Told } from '../../src/cluster/spread';
import { bulkAnswer, failed } from '../bulk';
import { etagOf, preconditionOf } from '../etag';
import { readPrepared } from '../messageBodies';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import { afterNumberOf, listCursor } from '../paging';
import { notTold } from '../told';

export type TransactionOperations =
  | 'prepareTransaction'
  | 'endTransaction'
  | 'endTransactions'
  | 'getTransaction'
  | 'listTransactions'
  | 'putProducerGroup'
  | 'getProducerGroup'
  | 'pollTransactionChecks';

/** Bytes of a webhook's key that is made here. */
const SECRET_BYTES = 24;

export interface TransactionDeps {
  readonly broker: Broker;
  readonly chance: Chance;
  readonly fleet: Fleet;
  readonly spread: Spread;
}

export function transactionHandlers(deps: TransactionDeps): HandlerTable<TransactionOperations> {
  const { broker, chance } = deps;
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

    async putProducerGroup({ path, body, headers }) {
      const name = path.producerGroup;
      const { webhook, ...settings } = body ?? {};
      const secret = webhook && (webhook.secret ?? `whsec_${chance.bytes(SECRET_BYTES).toString('base64')}`);
      const before = broker.state.halves.producerGroups.get(name);
      const { group, created } = await broker.rooms.checkbacks.putGroup(
        {
          name,
          ...CHECK_DEFAULTS,
          ...settings,
          ...(webhook && secret ? { webhook: { url: webhook.url, secret } } : {}),
        },
        preconditionOf(headers, before && idOf(before)),
      );
      // The key is told once, to whoever set it.
      const view = groupView(group);
      const told = group.webhook ? { ...view, webhook: { ...view.webhook, secret: group.webhook.secret } } : view;
      const unavailable = notTold(await tellProducerGroup(deps, group));
      return {
        status: created ? 201 : 200,
        body: { ...told, ...unavailable },
        headers: { ETag: etagOf(idOf(group), group.version) },
      };
    },

    getProducerGroup({ path }) {
      const group = broker.rooms.checkbacks.group(path.producerGroup);
      return { status: 200, body: groupView(group), headers: { ETag: etagOf(idOf(group), group.version) } };
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

/** A producer group has no topic: all live brokers are told. Without a NameServer nobody is; they ask. */
async function tellProducerGroup({ broker, fleet, spread }: TransactionDeps, group: ProducerGroup): Promise<Told[]> {
  const live = await fleet.brokersNow().catch((error: unknown) => {
    if (error instanceof GantryError) return [];
    throw error;
  });
  const others = broker.rooms.definitions.others(live.map(({ name }) => name));
  return spread.tell(others, [producerGroupDefinition(group)]);
}

const idOf = ({ name, createdAt }: ProducerGroup): string => `${name}.${createdAt}`;

function groupView({ name, version: _, webhook, createdAt, updatedAt, ...settings }: ProducerGroup) {
  return {
    producerGroup: name,
    ...settings,
    ...(webhook ? { webhook: { url: webhook.url } } : {}),
    createdTimestamp: createdAt,
    updatedTimestamp: updatedAt,
  };
}
