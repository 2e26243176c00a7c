/** What a line of the log says of a failure. */
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { request } from 'undici';
import { DeadlineOver, GantryError } from '../../src/base/errors';
import { failureFields } from '../../src/base/log';

test('a refusal, a time-out and a broken connection are told in their own words, without a stack', async () => {
  const refusal = new GantryError('UNAUTHENTICATED', 'this is not the secret');
  expect(failureFields(refusal)).toEqual({ why: 'UNAUTHENTICATED: this is not the secret' });
  expect(failureFields(new DeadlineOver(1000))).toEqual({ why: 'no answer within 1000 ms' });
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const failure = () => request(`http://127.0.0.1:${port}/`).catch(failureFields);
  expect(await failure()).toEqual({ why: expect.any(String) as string });
  await new Promise((resolve) => server.close(resolve));
  expect(await failure()).toEqual({ why: `connect ECONNREFUSED 127.0.0.1:${port}` });
});

test('what nobody reckoned with is shown whole', () => {
  const fault = new TypeError('x is not a function');
  expect(failureFields(fault)).toEqual({ err: fault });
  expect(failureFields('no error')).toEqual({ err: 'no error' });
});
