/** A gateway that starts before its brokers serves as soon as the first of them has registered. */
import { TestCluster } from '../support/cluster';
import { eventually, patience } from '../support/patience';

/** An answer without brokers used to be believed for 30 s. */
const SOON_MS = Math.min(patience(5000), 25_000);

let cluster: TestCluster;

beforeAll(async () => {
  // The NameServer knows for sure that there is no broker, not only that it has just started.
  cluster = await TestCluster.start({ brokers: [], gateways: 1 });
});
afterAll(() => cluster.stop());

test('it is not ready without brokers, and useful soon after the first', async () => {
  const gateway = cluster.client('gw1');
  const checks = async () => (await gateway.call('readyz')).status;
  expect(await checks()).toBe(503);
  await cluster.addBroker('a');
  const began = performance.now();
  await eventually(async () => (await checks()) === 200);
  expect((await gateway.call('createTopic', { body: { name: 'orders' } })).status).toBe(201);
  expect(performance.now() - began).toBeLessThan(SOON_MS);
});

test('another broker is seen by its readiness soon, too', async () => {
  const gateway = cluster.client('gw1');
  await cluster.addBroker('b');
  const began = performance.now();
  const live = async () => (await gateway.call('readyz')).body.checks?.find(({ name }) => name === 'brokers')?.detail;
  await eventually(async () => (await live())?.startsWith('2 '));
  expect(performance.now() - began).toBeLessThan(SOON_MS);
});
