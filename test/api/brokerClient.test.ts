/** Calls of a broker that gives no answer: what each says about it, and what to do. */
import { createServer, type AddressInfo, type Server } from 'node:net';
import { BrokerClients } from '../../api/client/brokerClient';
import type { OperationId } from '../../api/operation';
import { systemClock } from '../../src/base/clock';
import type { GantryError } from '../../src/base/errors';
import { silentLog } from '../../src/base/log';
import { contract } from '../support/node';

let server: Server;
let clients: BrokerClients;
let address: string;

beforeAll(async () => {
  // It dies as soon as it has read something.
  server = createServer((socket) => socket.once('data', () => socket.destroy()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  clients = new BrokerClients({ clock: systemClock, contract, secret: undefined, from: 'test', log: silentLog });
});

afterAll(async () => {
  await clients.close();
  if (server.listening) await new Promise((resolve) => server.close(resolve));
});

const PATHS = { topic: 'orders', group: 'billing', broker: 'broker-a', tag: 'paid' };

function call(operationId: OperationId, headers: Record<string, string> = {}): Promise<GantryError> {
  const asked = { path: PATHS as never, query: {} as never, headers: headers as never };
  return clients.call(address, operationId, asked, { signal: new AbortController().signal }).then(
    () => Promise.reject(new Error('it was answered')),
    (error: GantryError) => error,
  );
}

test.each(['createTopic', 'updateTopic', 'deleteTopic', 'putTag', 'putGroup', 'updateGroup'] as const)(
  '%s may have been done, and can be repeated',
  async (id) => {
    const error = await call(id);
    expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: true });
    expect(error.message).toMatch(/call again, which does nothing twice$/);
  },
);

test('what would be done twice is not to be repeated without a look, unless it has a key', async () => {
  const error = await call('sendMessages');
  expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
  expect(error.message).toMatch(/check whether it was done before you call again$/);
  expect(await call('sendMessages', { 'Idempotency-Key': 'k1' })).toMatchObject({ retryable: true });
});

test('a question is asked again', async () => {
  for (const id of ['getTopic', 'receiveMessages'] as const)
    expect(await call(id)).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
});

test('a broker is given ten seconds, and as long as it was asked to wait itself', async () => {
  const given: number[] = [];
  const after = (ms: number, callback: () => void) => {
    given.push(ms);
    return systemClock.after(1, callback);
  };
  const clock = { after, now: () => systemClock.now(), monotonic: () => 0, soon: () => undefined };
  const hurried = new BrokerClients({ clock, contract, secret: undefined, from: 'test', log: silentLog });
  const { signal } = new AbortController();
  const ask = (id: OperationId, query: object) =>
    hurried.call(address, id, { path: PATHS as never, query: query as never }, { signal }).catch(() => undefined);
  await ask('updateTopic', {});
  await ask('readQueue', { waitMs: 3000 });
  await ask('receiveMessages', {});
  await hurried.close();
  expect(given).toEqual([10_000, 13_000, 15_000]);
});

test('a broker that listens no more has done nothing', async () => {
  await new Promise((resolve) => server.close(resolve));
  const error = await call('sendMessages');
  expect(error).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
  expect(error.message).toMatch(/nothing was done there: see to it that it runs, and call again$/);
});
