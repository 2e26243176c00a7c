/** The lease style on the wire: receiving without membership, and what becomes of each delivery. */
import type { Broker } from '../../src/broker/broker';
import type { ReceiveAnswer } from '../../src/broker/leases';
import { bulkAnswer, itemsOf } from '../bulk';
import { MessageWriter } from '../messageJson';
import { nameOf } from '../names';
import type { BodyOf, Call, HandlerTable } from '../operation';

type LeaseOperations = 'receiveMessages' | 'ackMessages' | 'nackMessages' | 'extendReceipts';

/** api.md, rule 7; the invisible time is RocketMQ's. */
const DEFAULTS = { max: 1, min: 1, maxBytes: 1024 * 1024, waitMs: 5000, invisibleMs: 60_000 };

export function leaseHandlers({ broker }: { readonly broker: Broker }): HandlerTable<LeaseOperations> {
  return {
    async receiveMessages(call) {
      const wanted: Partial<NonNullable<BodyOf<'receiveMessages'>>> = call.body ?? {};
      const answer = await broker.rooms.leases.receive(nameOf(call.path.group), {
        ...DEFAULTS,
        ...wanted,
        signal: () => call.signal,
      });
      giveBackUnread(call, answer);
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

/**
 * Leases whose answer was not written to its end come back at once: nobody has the handles. When the connection breaks
 * under an answer, Node calls the answer finished all the same; that the socket is destroyed by then tells it.
 */
function giveBackUnread({ req, res, gone }: Call<'receiveMessages'>, answer: ReceiveAnswer): void {
  if (gone) return answer.giveBack();
  const { socket } = req;
  res.once('close', () => void ((res.writableFinished && !socket.destroyed) || answer.giveBack()));
}

/** What cannot be written reaches nobody: another answer is written to its end in its place. */
function receiveJson(broker: Broker, answer: ReceiveAnswer): string {
  const { messages, reason, lag } = answer;
  try {
    const json = `{"messages":${new MessageWriter(broker).leased(messages)},"lag":{"ready":${lag.ready},"inFlight":${lag.inFlight}}`;
    return reason === undefined ? `${json}}` : `${json},"reason":"${reason}"}`;
  } catch (error) {
    answer.giveBack();
    throw error;
  }
}
