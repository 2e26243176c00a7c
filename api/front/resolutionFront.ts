/** Deciding many transactions at once, each where it was prepared. */
import { unknownTransaction } from '../../src/broker/transactions';
import { bulkAnswer, failed } from '../bulk';
import type { Answer, Call } from '../operation';
import type { Front } from './front';
import { namely } from './rounds';
import { placesByBroker, split } from './split';

/** The id of no broker. */
const NOBODY = '';

/** Results in the order of the request; what a broker does not answer, or refuses as a whole, is each one's failure. */
export async function endEach(front: Front, call: Call<'endTransactions'>): Promise<Answer> {
  const { path, query, body } = call;
  const { resolutions } = body;
  const owners = await Promise.all(resolutions.map(({ transactionId }) => front.fleet.brokerOfId(transactionId)));
  const parts = new Map(placesByBroker(owners, (owner) => owner?.name ?? NOBODY));
  const [only] = parts.keys();
  if (only !== undefined && only !== NOBODY && parts.size === 1) return front.forward(call, only);
  const unknown = parts.get(NOBODY) ?? [];
  parts.delete(NOBODY);
  const nameOf = (at: number) => ({ transactionId: resolutions[at]!.transactionId });
  const { results, unavailable } = await split(front, {
    ...{ call, operationId: 'endTransactions', parts, nameOf },
    asked: (_, part) => ({ path, query, body: { ...body, resolutions: part.map((at) => resolutions[at]!) } }),
  });
  for (const at of unknown)
    results[at] = { ...failed(unknownTransaction(nameOf(at).transactionId), call.requestId), ...nameOf(at) };
  return bulkAnswer(call, results, namely(unavailable));
}
