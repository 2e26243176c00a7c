/**
 * NameServers and brokers as processes of their own: two NameServers that know nothing of each other, and a broker that
 * tells both. Scenes follow each other on one stage.
 */
import type { Http } from '../support/http';
import { eventually, Stage, type Program } from './program';

const stage = new Stage();
afterAll(() => stage.clear());

const startNameserver = (port: string, ...flags: string[]) =>
  stage.start('nameserver', '--port', port, '--log-level', 'info', ...flags);

async function startBroker(data: string, nameservers: readonly string[], ...flags: string[]): Promise<Program> {
  return stage.start(
    ...['broker', '--port', '0', '--data', await stage.path(data), '--nameservers', nameservers.join(',')],
    ...(flags.includes('--name') ? [] : ['--name', 'broker-a']),
    ...['--heartbeat-ms', '200', '--log-level', 'info', ...flags],
  );
}

/** Names of the brokers that a NameServer shows as alive. */
const brokersAt = async (nameserver: Http): Promise<string[]> =>
  (await nameserver.call('getNameserverCluster')).body.clusters.flatMap(({ brokers }) =>
    brokers.map(({ broker }) => broker),
  );

const memberAt = async (nameserver: Http) =>
  (await nameserver.call('getNameserverCluster')).body.clusters[0]!.brokers[0]!.members[0]!;

describe('a broker and two NameServers', () => {
  let programs: [Program, Program];
  let urls: [string, string];
  let nameservers: [Http, Http];
  let brokerProgram: Program;
  let broker: Http;
  const orders = { topic: 'orders' };

  beforeAll(async () => {
    programs = [await startNameserver('0'), await startNameserver('0', '--nameserver-starting-ms', '0')];
    urls = [await programs[0].url(), await programs[1].url()];
    nameservers = [stage.client(urls[0]), stage.client(urls[1])];
    brokerProgram = await startBroker('broker-a', urls);
    broker = stage.client(await brokerProgram.url());
  });

  const routesOf = (topic: string) =>
    Promise.all(nameservers.map((at) => at.call('getNameserverRoute', { path: { topic } })));

  test('it is registered at both when it says that it has started', async () => {
    expect((await broker.call('readyz')).status).toBe(200);
    for (const nameserver of nameservers) {
      expect((await nameserver.call('getNameserverCluster')).body.clusters).toMatchObject([
        {
          cluster: 'DefaultCluster',
          brokers: [
            {
              broker: 'broker-a',
              writePermission: true,
              members: [{ brokerId: 1, role: 'MASTER', epoch: 1, address: new URL(await brokerProgram.url()).host }],
            },
          ],
        },
      ]);
    }
    const { nameservers: seen } = (await broker.call('getCluster')).body;
    expect(seen.map(({ address, reachable }) => [address, reachable])).toEqual(urls.map((url) => [url, true]));
  });

  test('it lives by its heartbeats', async () => {
    for (const nameserver of nameservers) {
      const { lastHeartbeatTimestamp } = await memberAt(nameserver);
      await eventually(async () => (await memberAt(nameserver)).lastHeartbeatTimestamp > lastHeartbeatTimestamp);
    }
  });

  test('a new topic is known at both when the call that created it answers', async () => {
    for (let i = 0; i < 5; i += 1) {
      const topic = `at-once-${i}`;
      await broker.call('createTopic', { body: { name: topic, readQueues: 2, writeQueues: 2 } });
      for (const { status } of await routesOf(topic)) expect(status).toBe(200);
      await broker.call('deleteTopic', { path: { topic } });
      const [starting, complete] = await routesOf(topic);
      // One may just not have heard of it yet, the other cannot.
      expect([starting!.problem.code, complete!.problem.code]).toEqual(['STARTING', 'TOPIC_NOT_FOUND']);
    }
  });

  test('the route is the same from the broker and from both', async () => {
    await broker.call('createTopic', { body: { name: 'orders', readQueues: 2, writeQueues: 2 } });
    const route = (await broker.call('getTopicRoute', { path: orders })).body;
    for (const { body } of await routesOf('orders')) expect(body).toEqual(route);
    await broker.call('updateTopic', { path: orders, body: { readQueues: 4, permission: 'R' } });
    const changed = (await broker.call('getTopicRoute', { path: orders })).body;
    expect(changed.queues).toEqual([{ broker: 'broker-a', readQueues: 4, writeQueues: 2, permission: 'R' }]);
    expect(changed.partitions).toHaveLength(4);
    for (const { body } of await routesOf('orders')) expect(body).toEqual(changed);
    await broker.call('updateTopic', { path: orders, body: { permission: 'RW' } });
  });

  test('an operator takes the write permission away at one of them, across heartbeats, and gives it back', async () => {
    const [first] = nameservers;
    const permissions = async () =>
      (await routesOf('orders')).map(
        ({ body }) => (body as { queues: { permission: string }[] }).queues[0]!.permission,
      );
    expect((await first.call('wipeWritePermission', { path: { broker: 'broker-a' } })).body).toEqual({
      broker: 'broker-a',
      topics: 1,
    });
    expect(await permissions()).toEqual(['R', 'RW']);
    const { lastHeartbeatTimestamp } = await memberAt(first);
    await eventually(async () => (await memberAt(first)).lastHeartbeatTimestamp > lastHeartbeatTimestamp);
    expect(await permissions()).toEqual(['R', 'RW']);
    expect((await first.call('getNameserverCluster')).body.clusters[0]!.brokers[0]!.writePermission).toBe(false);
    expect((await first.call('restoreWritePermission', { path: { broker: 'broker-a' } })).body).toEqual({
      broker: 'broker-a',
      topics: 1,
    });
    expect(await permissions()).toEqual(['RW', 'RW']);
  });

  test('one NameServer dies: the broker and the other one go on', async () => {
    programs[0].kill('SIGKILL');
    await programs[0].exited;
    expect((await broker.call('sendMessages', { path: orders, body: { body: 'a' } })).status).toBe(200);
    await eventually(async () => {
      const { nameservers: seen } = (await broker.call('getCluster')).body;
      return seen.map(({ reachable }) => reachable).join() === 'false,true';
    });
    expect((await broker.call('readyz')).status).toBe(200);
    expect((await broker.call('createTopic', { body: { name: 'meanwhile' } })).status).toBe(201);
    expect((await nameservers[1].call('getNameserverRoute', { path: { topic: 'meanwhile' } })).status).toBe(200);
  });

  test('it comes back at its place, knowing nothing: the broker tells it everything', async () => {
    programs[0] = await startNameserver(new URL(urls[0]).port);
    expect(await programs[0].url()).toBe(urls[0]);
    await eventually(async () => (await brokersAt(nameservers[0])).length === 1);
    for (const topic of ['orders', 'meanwhile']) {
      const [first, second] = await routesOf(topic);
      expect(first!.body).toEqual(second!.body);
    }
    await eventually(async () =>
      (await broker.call('getCluster')).body.nameservers.every(({ reachable }) => reachable),
    );
  });

  test('the broker stops: it is gone from both at once', async () => {
    expect(await brokerProgram.stop()).toEqual({ code: 0, signal: null });
    for (const nameserver of nameservers) expect(await brokersAt(nameserver)).toEqual([]);
    expect((await nameservers[1].call('getNameserverRoute', { path: orders })).problem.code).toBe('TOPIC_NOT_FOUND');
  });

  test('it starts again, with a higher epoch and all its topics', async () => {
    brokerProgram = await startBroker('broker-a', urls);
    broker = stage.client(await brokerProgram.url());
    for (const nameserver of nameservers)
      expect(await memberAt(nameserver)).toMatchObject({ role: 'MASTER', epoch: 2 });
    const route = (await broker.call('getTopicRoute', { path: orders })).body;
    for (const { body } of await routesOf('orders')) expect(body).toEqual(route);
  });

  test('another process under the same name and id is not let in', async () => {
    const second = await startBroker('broker-a-too', urls);
    await eventually(async () => second.stderr.includes('REGISTRATION_CONFLICT'));
    expect((await memberAt(nameservers[0])).address).toBe(new URL(await brokerProgram.url()).host);
    expect((await stage.client(await second.url()).call('readyz')).status).toBe(503);
    await second.stop();
    expect(await brokersAt(nameservers[0])).toEqual(['broker-a']);
  });

  test('the NameServers stop when asked to', async () => {
    for (const program of programs) expect(await program.stop('SIGINT')).toEqual({ code: 0, signal: null });
    await brokerProgram.stop();
  });
});

describe('a broker that dies', () => {
  test('is shown until its time is over, then no more', async () => {
    const program = await startNameserver(
      '0',
      '--broker-expiry-ms',
      '3000',
      '--nameserver-scan-ms',
      '50',
      '--nameserver-starting-ms',
      '0',
    );
    const nameserver = stage.client(await program.url());
    const brokerProgram = await startBroker('broker-b', [await program.url()], '--name', 'broker-b');
    const broker = stage.client(await brokerProgram.url());
    await broker.call('createTopic', { body: { name: 'orders' } });
    // Its heartbeats keep it there.
    const { lastHeartbeatTimestamp } = await memberAt(nameserver);
    await eventually(async () => (await memberAt(nameserver)).lastHeartbeatTimestamp > lastHeartbeatTimestamp + 3000);

    brokerProgram.kill('SIGKILL');
    await brokerProgram.exited;
    expect(await brokersAt(nameserver)).toEqual(['broker-b']);
    await eventually(async () => (await brokersAt(nameserver)).length === 0);
    const route = await nameserver.call('getNameserverRoute', { path: { topic: 'orders' } });
    expect([route.status, route.problem.code]).toEqual([404, 'TOPIC_NOT_FOUND']);
    expect((await nameserver.call('listNameserverRoutes')).body).toEqual({ routes: [] });
    await eventually(async () => program.stderr.includes('broker removed'));
    await program.stop();
  });
});

describe('a broker whose NameServers are all away', () => {
  test('starts and serves what it has, but is not ready until one of them hears it', async () => {
    const probe = await startNameserver('0', '--nameserver-starting-ms', '0');
    const url = await probe.url();
    const before = await startBroker('broker-c', [url], '--name', 'broker-c');
    const made = await stage.client(await before.url()).call('createTopic', { body: { name: 'orders' } });
    expect(made.status).toBe(201);
    await before.stop();
    await probe.stop();
    const brokerProgram = await startBroker('broker-c', [url], '--name', 'broker-c');
    const broker = stage.client(await brokerProgram.url());
    const unready = await broker.call('readyz');
    expect(unready.status).toBe(503);
    expect(unready.body).toMatchObject({
      checks: expect.arrayContaining([expect.objectContaining({ name: 'registration', ok: false })]),
    });
    expect((await broker.call('sendMessages', { path: { topic: 'orders' }, body: { body: 'a' } })).status).toBe(200);
    const { body } = await broker.call('getCluster');
    expect(body).toMatchObject({ brokers: [{ broker: 'broker-c' }], nameservers: [{ reachable: false }] });
    expect(body.brokers[0]!.lastHeartbeatTimestamp).toBeUndefined();
    // Nobody can tell whether another broker has such a topic.
    const refused = await broker.call('createTopic', { body: { name: 'meanwhile' } });
    expect([refused.status, refused.problem.code]).toEqual([503, 'SERVICE_NOT_AVAILABLE']);

    const program = await startNameserver(new URL(url).port);
    await eventually(async () => (await broker.call('readyz')).status === 200);
    const route = await stage.client(url).call('getNameserverRoute', { path: { topic: 'orders' } });
    expect(route.body.brokers).toMatchObject([{ broker: 'broker-c' }]);
    await brokerProgram.stop();
    await program.stop();
  });
});
