/**
 * Transactions of several brokers. Each is where it was prepared, and its id says where that is; questions about them are
 * fetched from every broker, one after the other.
 */
import { unknownTransaction } from '../../src/broker/transactions';
import type { TransactionOperations } from '../handlers/transactions';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';
import type { Front } from './front';
import { oneByOne } from './oneByOne';
import { endEach } from './resolutionFront';
import { pollChecks } from './checkFront';
import type { Rounds } from './rounds';
import type { Sending } from './sending';

export interface TransactionParts {
  readonly rounds: Rounds;
  readonly sending: Sending;
}

export function transactionFront({ rounds, sending }: TransactionParts): HandlerTable<TransactionOperations> {
  const { front } = rounds;
  return {
    async prepareTransaction(call) {
      const ask = (broker: string, signal: AbortSignal) => front.ask(call, broker, signal);
      const key = call.headers['Idempotency-Key'];
      return (await sending.send(nameOf(call.path.topic), key, call.signal, ask)).asAnswer();
    },

    endTransaction: async (call) => front.forward(call, await brokerOf(front, call.path.transactionId)),
    getTransaction: async (call) => front.forward(call, await brokerOf(front, call.path.transactionId)),
    endTransactions: (call) => endEach(front, call),

    async listTransactions(call) {
      const { cursor: _, ...wanted } = call.query;
      const brokers = await askedFor(front, wanted.topic);
      const body = await oneByOne(brokers, call.query, 'transactions', (broker, page) => {
        const request = { path: call.path, query: { ...wanted, ...page } };
        return front.look(call, broker, 'listTransactions', request);
      });
      return { status: 200, body };
    },

    pollTransactionChecks: (call) => pollChecks(rounds, call),
  };
}

/** Where it was prepared. Throws TRANSACTION_NOT_FOUND for the id of no broker. */
async function brokerOf(front: Front, transactionId: string): Promise<string> {
  const broker = await front.fleet.brokerOfId(transactionId);
  if (!broker) throw unknownTransaction(transactionId);
  return broker.name;
}

async function askedFor(front: Front, topic: string | undefined): Promise<string[]> {
  if (topic !== undefined) return front.fleet.brokersOf(nameOf(topic));
  return (await front.fleet.brokersNow()).map(({ name }) => name);
}
