/** Parts that were started with another cluster secret than the others: they say so, and no client is blamed for it. */
import type { OperationId } from '../../api/operation';
import type { Http, RequestParts } from '../support/http';
import { eventually, Stage, type Program } from './program';

const SECRET = 'known-to-the-parts-alone';
const WRONG = 'known-to-the-others-alone';

const stage = new Stage();
let nameservers: Program;
let nameserver: string;
let broker: Program;

async function start(role: string, ...flags: string[]): Promise<Program> {
  const connected = role === 'nameserver' ? [] : ['--nameservers', nameserver];
  return stage.start(role, '--port', '0', '--drain-ms', '0', ...connected, ...flags);
}

const startBroker = async (name: string, secret: string) =>
  start('broker', '--name', name, '--data', await stage.path(name), '--cluster-secret', secret);

const clientOf = async (program: Program): Promise<Http> => stage.client(await program.url());
const readyz = async (client: Http) => {
  const { status, body } = await client.call('readyz');
  return { status, check: (name: string) => body.checks.find((check) => check.name === name)! };
};
const figure = async (client: Http, name: string) =>
  (await client.call('metrics')).text
    .split('\n')
    .find((line) => line.startsWith(name))
    ?.split(' ')
    .at(-1);

beforeAll(async () => {
  nameservers = await start(
    'nameserver',
    ...['--cluster-secret', SECRET, '--broker-expiry-ms', '120000', '--nameserver-starting-ms', '0'],
  );
  nameserver = await nameservers.url();
  broker = await startBroker('a', SECRET);
  await (await clientOf(broker)).call('createTopic', { body: { name: 'orders' } });
});
afterAll(() => stage.clear());

describe.each([
  ['another secret', ['--cluster-secret', WRONG]],
  ['no secret', []],
])('a gateway with %s', (_case, flags) => {
  let program: Program;
  let gateway: Http;

  beforeAll(async () => {
    program = await start('gateway', ...flags);
    gateway = await clientOf(program);
  });

  test('is not ready, and says why', async () => {
    const { status, check } = await readyz(gateway);
    expect([status, check('nameserver').ok, check('brokers').ok, check('secret').ok]).toEqual([503, true, true, false]);
    expect(check('secret').detail).toBe(
      'a refuse the cluster secret of this gateway: start all parts with the same --cluster-secret',
    );
  });

  const orders = { path: { topic: 'orders' } };
  const calls: [OperationId, RequestParts][] = [
    ['listBrokers', {}],
    ['getCluster', {}],
    ['listTopics', {}],
    ['getTopic', orders],
    ['createTopic', { body: { name: 'payments' } }],
    ['sendMessages', { ...orders, body: { body: 'x' } }],
    ['sendMessages', { ...orders, body: { body: 'x' }, headers: { 'Idempotency-Key': 'k' } }],
    ['joinGroup', { path: { group: 'billing', consumerId: 'c1' }, body: { topic: 'orders' } }],
    ['receiveMessages', { path: { group: 'billing' }, body: { topic: 'orders' } }],
    ['listGroups', {}],
    ['readQueue', { path: { topic: 'orders', broker: 'a', queueId: 0 }, query: { offset: 0 } }],
    ['setBrokerPermission', { path: { broker: 'a' }, body: { permission: 'RW' } }],
  ];

  test.each(calls)('%s is 503 with the reason', async (operation, parts) => {
    const { status, problem } = await gateway.call(operation, parts);
    expect([status, problem.code]).toEqual([503, 'SERVICE_NOT_AVAILABLE']);
    expect(problem.detail).toContain('cluster secret');
  });

  test('the Kafka face answers 503, too', async () => {
    expect((await fetch(`${await program.url()}/topics`)).status).toBe(503);
  });

  test('counts them, and its log has one line about it', async () => {
    expect(Number(await figure(gateway, 'gantry_failed_forwards_total{reason="secret_refused"}'))).toBeGreaterThan(5);
    expect(program.stderr.split('\n').filter((line) => line.includes('refuses the cluster secret'))).toHaveLength(1);
  });
});

test('a broker with another secret is not ready and says why; others do not list it', async () => {
  const client = await clientOf(await startBroker('b', WRONG));
  await eventually(async () => (await readyz(client)).check('registration').detail.includes('secret'));
  expect((await readyz(client)).status).toBe(503);
  const { brokers } = (await (await clientOf(broker)).call('listBrokers')).body;
  expect(brokers.map((one) => one.broker)).toEqual(['a']);
});

describe('a process that comes or goes', () => {
  test('is in the figures and, once each, in the log of gateway and NameServer', async () => {
    const program = await start('gateway', '--cluster-secret', SECRET);
    const gateway = await clientOf(program);
    const watched = await clientOf(nameservers);
    const both = async (name: string) => [await figure(gateway, name), await figure(watched, name)];
    await eventually(async () => (await readyz(gateway)).status === 200);
    expect([await both('gantry_live_brokers'), await both('gantry_missing_brokers')]).toEqual([
      ['1', '1'],
      ['0', '0'],
    ]);
    const reachable = () => figure(gateway, 'gantry_nameserver_reachable');
    expect(await reachable()).toBe('1');

    await broker.stop();
    await eventually(async () => (await readyz(gateway)).check('brokers').detail.includes('missing: a'));
    // One that has unregistered is not missed where it did so.
    expect([await both('gantry_live_brokers'), await both('gantry_missing_brokers')]).toEqual([
      ['0', '0'],
      ['1', '0'],
    ]);
    expect((await gateway.call('listBrokers')).body.brokers).toEqual([]);

    broker = await startBroker('a', SECRET);
    await eventually(async () => (await readyz(gateway)).status === 200);
    await nameservers.stop();
    await eventually(async () => (await reachable()) === '0');
    expect((await readyz(gateway)).check('nameserver')).toMatchObject({ ok: false });
    const lines = (text: string) => program.stderr.split('\n').filter((line) => line.includes(text)).length;
    expect([lines('broker is there'), lines('broker is gone'), lines('NameServer does not answer')]).toEqual([2, 1, 1]);
  });
});
