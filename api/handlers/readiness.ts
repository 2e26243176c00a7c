/** What fronts ask of a broker while they serve somebody on several: to wait without taking, and to take back. */
import type { Broker } from '../../src/broker/broker';
import { nameOf } from '../names';
import type { HandlerTable } from '../operation';

type ReadinessOperations = 'awaitMessages' | 'giveBackReceipts' | 'awaitTransactionChecks';

export function readinessHandlers({ broker }: { readonly broker: Broker }): HandlerTable<ReadinessOperations> {
  return {
    async awaitMessages(call) {
      const wait = { waitMs: call.query.waitMs, signal: () => call.signal };
      return { status: 200, body: { ready: await broker.rooms.leases.ready(nameOf(call.path.group), wait) } };
    },

    async giveBackReceipts({ path, body }) {
      await broker.rooms.leases.giveBack(nameOf(path.group), body.receiptHandles);
      return { status: 204 };
    },

    async awaitTransactionChecks(call) {
      const wait = { waitMs: call.query.waitMs, signal: () => call.signal };
      return { status: 200, body: { ready: await broker.rooms.checkbacks.ready(call.path.producerGroup, wait) } };
    },
  };
}
