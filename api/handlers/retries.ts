/** Messages of a poll that could not be handled, on the wire. */
import type { Broker } from '../../src/broker/broker';
import { bulkAnswer, itemsOf } from '../bulk';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';

export function retryHandlers({ broker }: { readonly broker: Broker }): HandlerTable<'sendBack'> {
  return {
    async sendBack(call) {
      // Each message is recognised when it is sent back again, with an Idempotency-Key or without.
      const results = await broker.rooms.retries.sendBack(nameOf(call.path.group), call.body);
      return bulkAnswer(call, itemsOf(call, results));
    },
  };
}
