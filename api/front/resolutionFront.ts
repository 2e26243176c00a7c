/** Deciding many transactions at once, each where it was prepared. */
import { GantryError } from '../../src/base/errors';
import { unknownTransaction } from '../../src/broker/transactions';
import { bulkAnswer, failed, type BulkItem } from '../bulk';
import type { Answer, Call } from '../operation';
import type { Front } from './front';
import type { PeerAnswer } from './peer';

/** Results in the order of the request; what a broker does not answer, or refuses as a whole, is each one's failure. */
export async function endEach(front: Front, call: Call<'endTransactions'>): Promise<Answer> {
  const { resolutions } = call.body;
  const results: BulkItem[] = [];
  const fail = (items: readonly number[], error: GantryError) => {
    for (const i of items) {
      const { transactionId } = resolutions[i]!;
      results[i] = { ...failed(error, call.requestId), ...{ transactionId } };
    }
  };
  const parts = new Map<string, number[]>();
  for (const [i, { transactionId }] of resolutions.entries()) {
    const broker = (await front.fleet.brokerOfId(transactionId))?.name;
    if (broker === undefined) fail([i], unknownTransaction(transactionId));
    else parts.set(broker, [...(parts.get(broker) ?? []), i]);
  }
  const [only] = parts.keys();
  if (only !== undefined && parts.get(only)!.length === resolutions.length) return front.forward(call, only);
  await Promise.all(
    [...parts].map(async ([broker, items]) => {
      const answer = await partOf(front, call, broker, items);
      const own = answer instanceof GantryError ? undefined : answer.json<{ results?: BulkItem[] }>().results;
      if (own) items.forEach((i, at) => void (results[i] = own[at]!));
      else fail(items, answer instanceof GantryError ? answer : answer.failure());
    }),
  );
  return bulkAnswer(call, results);
}

async function partOf(
  front: Front,
  call: Call<'endTransactions'>,
  broker: string,
  items: readonly number[],
): Promise<PeerAnswer | GantryError> {
  const { path, query, body } = call;
  const resolutions = items.map((i) => body.resolutions[i]!);
  try {
    return await front
      .peer(broker, call)
      .call('endTransactions', { path, query, body: { ...body, resolutions } }, call.signal);
  } catch (error) {
    if (error instanceof GantryError) return error;
    throw error;
  }
}
