/** The tests' own client: it must fail a test whose answer breaks the contract. */
import type { Answer } from '../../api/operation';
import { closed } from '../../api/schema';
import { startTiny, type Tiny } from './tiny';

let tiny: Tiny;
let answer: Answer;
beforeAll(async () => {
  tiny = await startTiny({ handlers: { createTopic: () => answer } });
});
afterAll(() => tiny.stop());

const send = () => tiny.http.request('POST', '/v1/topics', { body: { name: 'a' } });

test.each<[string, Answer, string]>([
  ['an unknown field', { status: 201, body: { name: 'a', more: 1 } }, 'additional properties'],
  ['a missing field', { status: 200, body: {} }, "required property 'name'"],
  ['a wrong type', { status: 200, body: { name: 1 } }, 'must be string'],
  ['no body', { status: 200 }, 'the body is missing'],
  [
    'another content type',
    { status: 200, text: 'x', headers: { 'Content-Type': 'text/plain' } },
    'text/plain is not documented',
  ],
  ['a cache', { status: 201, body: { name: 'a' }, headers: { 'Cache-Control': 'max-age=1' } }, 'no-store'],
  ['an error that is no problem', { status: 404, body: {} }, 'no problem+json'],
])('%s fails', async (_, given, words) => {
  answer = given;
  await expect(send()).rejects.toThrow(words);
});

test('a good answer is handed over, and asking for the wrong kind fails', async () => {
  answer = { status: 201, body: { name: 'a', writeQueues: 1 } };
  const reply = await send();
  expect([reply.status, reply.body]).toEqual([201, { name: 'a', writeQueues: 1 }]);
  expect(() => reply.problem).toThrow('expected a problem, got 201');
  const refused = await tiny.http.request('POST', '/v1/topics', { body: {} });
  expect(() => refused.body).toThrow('expected a good answer, got 400');
});

test('closed: at any depth, with allOf merged, but not where anything is allowed', () => {
  const inner = { type: 'object', properties: { example: { type: 'object', properties: { a: {} } } } };
  expect(
    closed({ allOf: [inner, { properties: { b: { type: 'array', items: inner } }, required: ['b'] }] }),
  ).toMatchObject({
    additionalProperties: false,
    required: ['b'],
    properties: { example: { additionalProperties: false }, b: { items: { additionalProperties: false } } },
  });
  const open = { type: 'object', additionalProperties: { type: 'string' } };
  expect(closed(open)).toEqual(open);
});
