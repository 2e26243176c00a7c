/** Messages of a poll that could not be handled, on the wire. */
import type { Broker } from '../../src/broker/broker';
import { bulkAnswer, itemsOf } from '../bulk';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';

export function retryHandlers({ broker }: { readonly broker: Broker }): HandlerTable<'sendBack'> {
  return {
    async sendBack(call) {
      const { path, body, headers } = call;
      const { retries } = broker.rooms;
      const { results, committed, replayed } = await retries.sendBack(
        nameOf(path.group),
        body,
        headers['Idempotency-Key'],
      );
      const members = committed === undefined ? {} : { cursorCommitted: committed };
      const answer = bulkAnswer(call, itemsOf(call, results), members);
      return replayed ? { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } } : answer;
    },
  };
}
