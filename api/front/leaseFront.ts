/** The lease style over all brokers of a group: receiving from any of them, and each receipt to the broker that made it. */
import { brokerMark, brokerMarkOf, receiptInvalid } from '../../src/broker/receipts';
import { bulkAnswer, failed } from '../bulk';
import type { LeaseOperations } from '../handlers/leases';
import type { Answer, Call, HandlerTable, PathOf } from '../operation';
import type { GroupPlaces, Places } from './groupPlaces';
import type { PeerRequest } from './peer';
import { namely, type Rounds } from './rounds';
import { placesByBroker, split } from './split';
import { WideReceive } from './wideReceive';

type Settling = Exclude<LeaseOperations, 'receiveMessages'>;

interface Named {
  readonly receiptHandle: string;
}

/** A handle that no broker of the group made. */
const NOBODY = '';

export function leaseFront(rounds: Rounds, places: GroupPlaces): HandlerTable<LeaseOperations> {
  const { front } = rounds;
  /** Receives begin with another broker each time. */
  let receives = 0;
  return {
    receiveMessages: (call) =>
      places.serve(call, call.path.group, ({ brokers }) =>
        new WideReceive(rounds, { call, brokers, first: receives++ }).run(),
      ),

    ackMessages: (call) =>
      settle(call, 'ackMessages', {
        receipts: call.body.receiptHandles.map((receiptHandle) => ({ receiptHandle })),
        bodyOf: (part) => ({ receiptHandles: part.map(({ receiptHandle }) => receiptHandle) }),
      }),

    nackMessages: (call) =>
      settle(call, 'nackMessages', { receipts: call.body.receipts, bodyOf: (receipts) => ({ receipts }) }),

    extendReceipts: (call) =>
      settle(call, 'extendReceipts', { receipts: call.body.receipts, bodyOf: (receipts) => ({ receipts }) }),
  };

  async function settle<Op extends Settling, Item extends Named>(
    call: Call<Op>,
    operationId: Op,
    { receipts, bodyOf }: { receipts: readonly Item[]; bodyOf: (part: Item[]) => unknown },
  ): Promise<Answer> {
    const { group } = call.path as PathOf<Settling>;
    return places.serve(call, group, async (at) => {
      if (at.brokers.length === 1) return front.forward(call, at.home);
      const parts = new Map(placesByBroker(receipts, ({ receiptHandle }) => brokerOf(at, receiptHandle)));
      const nameOf = (place: number) => ({ receiptHandle: receipts[place]!.receiptHandle });
      const foreign = parts.get(NOBODY) ?? [];
      parts.delete(NOBODY);
      const { results, unavailable } = await split(front, {
        ...{ call: call, operationId, parts, nameOf },
        asked: (_, part) =>
          ({ path: call.path, query: {}, body: bodyOf(part.map((i) => receipts[i]!)) }) as unknown as PeerRequest<Op>,
      });
      for (const place of foreign) results[place] = { ...failed(receiptInvalid(), call.requestId), ...nameOf(place) };
      return bulkAnswer(call, results, namely(unavailable));
    });
  }
}

function brokerOf({ brokers }: Places, handle: string): string {
  const mark = brokerMarkOf(handle);
  return brokers.find((broker) => brokerMark(broker) === mark) ?? NOBODY;
}
