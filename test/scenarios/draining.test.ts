/** An operator drains a broker over HTTP: the NameServers know it when the call answers. */
import { http, type Http } from '../support/http';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let broker: Http;
let nameserver: Http;

beforeAll(async () => {
  node = await Standalone.start();
  broker = http(node.url, contract);
  nameserver = http(node.nameserverUrl, contract);
  node.closeFirst(() => broker.close());
  node.closeFirst(() => nameserver.close());
});
afterAll(() => node.stop());

const path = { broker: 'broker-a' };
const orders = { topic: 'orders' };

test('senders are told to go elsewhere or come back, routes say so, and consumers finish', async () => {
  await broker.call('createTopic', { body: { name: 'orders' } });
  await broker.call('sendMessages', { path: orders, body: { body: 'before' } });
  const set = await broker.call('setBrokerPermission', { path, body: { permission: 'R' } });
  expect([set.status, set.body]).toEqual([200, { broker: 'broker-a', permission: 'R' }]);

  const route = await nameserver.call('getNameserverRoute', { path: orders });
  expect(route.body.queues).toMatchObject([{ broker: 'broker-a', permission: 'R' }]);
  expect((await broker.call('getTopicRoute', { path: orders })).body.queues).toMatchObject([{ permission: 'R' }]);
  expect((await broker.call('listBrokers')).body.brokers).toMatchObject([{ permission: 'R' }]);

  const refused = await broker.call('sendMessages', { path: orders, body: { body: 'during' } });
  expect([refused.status, refused.problem.code, refused.problem.retryable]).toEqual([503, 'QUEUE_READ_ONLY', true]);
  expect(refused.headers['retry-after']).toBe('1');

  await broker.call('putGroup', { path: { group: 'billing' }, body: orders });
  const received = await broker.call('receiveMessages', { path: { group: 'billing' }, body: { waitMs: 5000 } });
  expect(received.body.messages).toMatchObject([{ body: 'before' }]);

  const etag = set.headers['etag']!;
  const back = await broker.call('setBrokerPermission', {
    path,
    body: { permission: 'RW' },
    headers: { 'If-Match': etag },
  });
  expect(back.status).toBe(200);
  expect((await broker.call('sendMessages', { path: orders, body: { body: 'after' } })).status).toBe(200);
  const stale = await broker.call('setBrokerPermission', {
    path,
    body: { permission: 'NONE' },
    headers: { 'If-Match': etag },
  });
  expect([stale.status, stale.problem.code]).toEqual([412, 'PRECONDITION_FAILED']);
});

test('a broker that is not here is not found', async () => {
  const reply = await broker.call('setBrokerPermission', { path: { broker: 'broker-z' }, body: { permission: 'R' } });
  expect([reply.status, reply.problem.code]).toEqual([404, 'BROKER_NOT_FOUND']);
});
