/** Answers of brokers, as a front reads them. */
import { PeerAnswer } from '../../../api/front/peer';

test.each([
  ['nothing', {}, ''],
  ['text', { 'content-type': 'text/plain' }, 'Bad Gateway'],
  ['a page', { 'content-type': 'text/html' }, '<html>'],
])('a refusal that is %s is one that may pass', (_, headers, text) => {
  const answer = new PeerAnswer(502, headers, text);
  expect(answer.code).toBeUndefined();
  expect(answer.failure()).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', message: 'a broker answered 502' });
});
