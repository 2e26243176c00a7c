/** A cluster with a secret: its own parts register, strangers do not. */
import { NameserverClient } from '../../api/client/nameserverClient';
import type { Registration } from '../../src/nameserver/route';
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';
import { patience } from '../support/patience';

const SECRET = 'known-to-the-parts-alone';

let node: Standalone;
let nameserver: Http;

beforeAll(async () => {
  node = await Standalone.start({ 'cluster-secret': SECRET });
  nameserver = http(node.nameserverUrl, contract);
  node.closeFirst(() => nameserver.close());
});
afterAll(() => node.stop());

const wipe = (token?: string) =>
  nameserver.call('wipeWritePermission', {
    path: { broker: 'broker-a' },
    ...(token === undefined ? {} : { headers: { Authorization: token } }),
  });

const registration: Registration = {
  mode: 'FULL',
  address: '127.0.0.1:9999',
  role: 'MASTER',
  epoch: 1,
  messageIdTag: '127.0.0.1:9999',
  permission: 'RW',
  dataVersion: { stateVersion: 1, timestamp: 1, counter: 1 },
  topics: [],
};

const register = async (secret?: string) => {
  const client = new NameserverClient(node.nameserverUrl, secret);
  try {
    return await client.register('DefaultCluster', 'broker-s', 1, registration, AbortSignal.timeout(patience(30_000)));
  } finally {
    await client.close();
  }
};

test.each([
  ['no token', undefined],
  ['another one', 'Bearer something-else-entirely'],
  ['another scheme', `Basic ${SECRET}`],
  ['half of it', `Bearer ${SECRET.slice(0, -1)}`],
])('a stranger with %s changes nothing', async (_, token) => {
  const reply = await wipe(token);
  expect([reply.status, reply.problem.code]).toEqual([401, 'UNAUTHENTICATED']);
  expect(reply.headers['www-authenticate']).toBe('Bearer');
});

test('an operator who knows it does', async () => {
  expect((await wipe(`Bearer ${SECRET}`)).status).toBe(200);
  const [restored] = [
    await nameserver.call('restoreWritePermission', {
      path: { broker: 'broker-a' },
      headers: { Authorization: `bearer  ${SECRET}` },
    }),
  ];
  expect(restored.status).toBe(200);
});

test('a broker that knows it is registered, a stranger is not', async () => {
  await expect(register()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  await expect(register('not-the-secret-at-all')).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  const { clusters } = (await nameserver.call('getNameserverCluster')).body;
  expect(clusters.flatMap(({ brokers }) => brokers.map(({ broker }) => broker))).toEqual(['broker-a']);
  expect(await register(SECRET)).toMatchObject({ known: true });
});

test('routes are told to everybody', async () => {
  expect((await nameserver.call('listNameserverRoutes')).status).toBe(200);
});
