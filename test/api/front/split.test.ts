/** One call that concerns several brokers: each gets its items, and every item has its result in its place. */
import type { Front } from '../../../api/front/front';
import { PeerAnswer, type PeerRequest } from '../../../api/front/peer';
import { placesByBroker, split } from '../../../api/front/split';
import { GantryError } from '../../../src/base/errors';

const call = { requestId: 'r', instance: '/', derive: undefined as never, signal: new AbortController().signal };
const HANDLES = ['a1', 'b1', 'a2', 'c1', 'b2'];

type Says = (handles: readonly string[]) => PeerAnswer | Error;

const json = (status: number, body: object) => new PeerAnswer(status, {}, JSON.stringify(body));
const well: Says = (handles) =>
  json(200, { results: handles.map((receiptHandle) => ({ status: 'OK', receiptHandle })) });

/** Acknowledges at brokers that say what the test says. */
async function ack(brokers: Readonly<Record<string, Says>>) {
  const asked: string[] = [];
  const change = (_call: unknown, broker: string, _id: string, request: PeerRequest<'ackMessages'>) => {
    const { receiptHandles } = request.body!;
    asked.push(`${broker} ${receiptHandles.join()}`);
    const answer = (brokers[broker] ?? well)(receiptHandles);
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  const { results } = await split({ change } as unknown as Front, {
    call,
    operationId: 'ackMessages',
    parts: placesByBroker(HANDLES, (handle) => handle[0]!),
    asked: (_, at) => ({ path: { group: 'g' }, query: {}, body: { receiptHandles: at.map((i) => HANDLES[i]!) } }),
    nameOf: (at) => ({ receiptHandle: HANDLES[at] }),
  });
  const shown = results as unknown as { status: string; receiptHandle: string; error?: { code: string } }[];
  return {
    asked,
    results: shown.map(({ status, receiptHandle, error }) => `${receiptHandle} ${error?.code ?? status}`),
  };
}

test('each broker is asked once, and results stand in the order of the request', async () => {
  const { asked, results } = await ack({});
  expect(asked).toEqual(['a a1,a2', 'b b1,b2', 'c c1']);
  expect(results).toEqual(['a1 OK', 'b1 OK', 'a2 OK', 'c1 OK', 'b2 OK']);
});

test('a refusal of a whole call is that of each of its items, and so is silence', async () => {
  const { results } = await ack({
    a: () => json(404, { code: 'GROUP_NOT_FOUND', detail: 'there is none' }),
    b: () => new GantryError('OUTCOME_UNKNOWN', 'nobody knows'),
    c: () => new PeerAnswer(502, {}, '{}'),
  });
  expect(results).toEqual([
    'a1 GROUP_NOT_FOUND',
    'b1 OUTCOME_UNKNOWN',
    'a2 GROUP_NOT_FOUND',
    'c1 SERVICE_NOT_AVAILABLE',
    'b2 OUTCOME_UNKNOWN',
  ]);
});

test('a problem document that has results of items tells them apart', async () => {
  const failed = (code: string, receiptHandle: string) => ({ status: 'FAILED', receiptHandle, error: { code } });
  const { results } = await ack({
    a: () => json(409, { code: 'LATE_ACK', results: [failed('LATE_ACK', 'a1'), failed('LATE_ACK', 'a2')] }),
    b: () => json(207, { results: [{ status: 'OK', receiptHandle: 'b1' }, failed('RECEIPT_INVALID', 'b2')] }),
  });
  expect(results).toEqual(['a1 LATE_ACK', 'b1 OK', 'a2 LATE_ACK', 'c1 OK', 'b2 RECEIPT_INVALID']);
});

test('what is no broker’s failure is everybody’s', async () => {
  await expect(ack({ b: () => new TypeError('a mistake') })).rejects.toThrow('a mistake');
});
