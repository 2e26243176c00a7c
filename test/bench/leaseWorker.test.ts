import { handlesIn } from '../../bench/leaseWorker';

const body = 'x'.repeat(100);
const message = (receiptHandle: string, text = body) => ({
  body: text,
  attempt: 1,
  receiptHandle,
  invisibleUntil: 1767261663500,
});
const answer = (...messages: object[]): Buffer =>
  Buffer.from(JSON.stringify({ messages, lag: { ready: 0, inFlight: messages.length } }));

test('finds the handle of each message, in order', () => {
  expect(handlesIn(answer(message('AQ-1_a'), message('AQ-2_b'), message('AQ-3_c')), 100)).toEqual([
    'AQ-1_a',
    'AQ-2_b',
    'AQ-3_c',
  ]);
});

test('finds them behind longer bodies', () => {
  expect(handlesIn(answer(message('a'), message('b', body + body), message('c')), 100)).toEqual(['a', 'b', 'c']);
});

test('finds none in an empty answer', () => {
  expect(handlesIn(answer(), 100)).toEqual([]);
});
