/** The lease style on the wire: receiving without membership, and what becomes of each delivery. */
import type { Broker } from '../../src/broker/broker';
import type { ReceiveAnswer } from '../../src/broker/leases';
import { bulkAnswer, itemsOf } from '../bulk';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { BodyOf, HandlerTable } from '../operation';
import { movedOf } from '../places';
import { ifUnread } from '../unread';

export type LeaseOperations = 'receiveMessages' | 'ackMessages' | 'nackMessages' | 'extendReceipts';

/** What a receive without more words wants (api.md, rule 7); the invisible time is RocketMQ's. */
export const RECEIVE_DEFAULTS = { max: 1, min: 1, maxBytes: 1024 * 1024, waitMs: 5000, invisibleMs: 60_000 };

export function leaseHandlers({ broker }: { readonly broker: Broker }): HandlerTable<LeaseOperations> {
  return {
    async receiveMessages(call) {
      const wanted: Partial<NonNullable<BodyOf<'receiveMessages'>>> = call.body ?? {};
      const answer = await broker.rooms.leases.receive(nameOf(call.path.group), {
        ...RECEIVE_DEFAULTS,
        ...wanted,
        signal: () => call.signal,
      });
      // Nobody has the handles then.
      ifUnread(call, () => answer.giveBack());
      return { status: 200, json: () => receiveJson(broker, answer) };
    },

    async ackMessages(call) {
      const results = await broker.rooms.leases.acknowledge(nameOf(call.path.group), call.body.receiptHandles);
      return bulkAnswer(call, itemsOf(call, results));
    },

    async nackMessages(call) {
      const results = await broker.rooms.leases.nack(nameOf(call.path.group), call.body.receipts);
      return bulkAnswer(call, itemsOf(call, results));
    },

    async extendReceipts(call) {
      const results = await broker.rooms.leases.extend(nameOf(call.path.group), call.body.receipts);
      return bulkAnswer(call, itemsOf(call, results));
    },
  };
}

/** What cannot be written reaches nobody: another answer is written to its end in its place. */
function receiveJson(broker: Broker, answer: ReceiveAnswer): string {
  const { messages, reason, lag, moved } = answer;
  try {
    let json = `{"messages":${new MessageWriter(broker).leased(messages)},"lag":{"ready":${lag.ready},"inFlight":${lag.inFlight}}`;
    if (reason !== undefined) json += `,"reason":"${reason}"`;
    if (moved.length > 0) json += `,"moved":${JSON.stringify(movedOf(broker, moved))}`;
    return `${json}}`;
  } catch (error) {
    answer.giveBack();
    throw error;
  }
}
