/**
 * What those who ask notice of NameServers that die, hang or come back empty: nothing. And what they see of a broker that
 * hangs. Processes of their own, asked as fronts ask: through Routes and Fleet, over HTTP.
 */
import { NameserverClient } from '../../api/client/nameserverClient';
import { GantryError } from '../../src/base/errors';
import { systemClock } from '../../src/base/clock';
import { Fleet } from '../../src/cluster/fleet';
import { Routes } from '../../src/cluster/routes';
import type { Http } from '../support/http';
import { eventually, Stage, type Program } from './program';

const stage = new Stage();
const clients: NameserverClient[] = [];
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await stage.clear();
});

const { signal } = new AbortController();
/** Liveness is judged when it is read: no scan comes in these tests. */
const NO_SCAN = ['--nameserver-scan-ms', '86400000'];

const startNameserver = (port: string, ...flags: string[]) =>
  stage.start('nameserver', '--port', port, ...NO_SCAN, ...flags);

async function startBroker(name: string, urls: readonly string[], ...flags: string[]): Promise<Program> {
  const own = ['--name', name, '--data', await stage.path(name), '--nameservers', urls.join(',')];
  return stage.start('broker', '--port', '0', ...own, ...flags);
}

/** One who asks for the first time. */
function newRoutes(urls: readonly string[]): Routes {
  const nameservers = urls.map((url) => new NameserverClient(url));
  clients.push(...nameservers);
  return new Routes({ clock: systemClock, nameservers });
}

const newFleet = (urls: readonly string[]) => new Fleet({ clock: systemClock, routes: newRoutes(urls) });
const names = async (fleet: Fleet) => (await fleet.brokers()).map(({ name }) => name);
const refusal = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'found',
    (error: unknown) => (error instanceof GantryError ? error.code : String(error)),
  );

describe('of two NameServers', () => {
  let programs: [Program, Program];
  let urls: [string, string];

  beforeAll(async () => {
    // The second has been up for long; brokers that have registered are silent for 30 s.
    programs = [await startNameserver('0'), await startNameserver('0', '--nameserver-starting-ms', '0')];
    urls = [await programs[0].url(), await programs[1].url()];
    const broker = stage.client(await (await startBroker('broker-a', urls)).url());
    await startBroker('broker-b', urls);
    await broker.call('createTopic', { body: { name: 'orders', readQueues: 2, writeQueues: 2 } });
  });

  /** A front that has just started, and one that has known the topic since before. */
  async function expectNothingNoticed(known: Fleet): Promise<void> {
    for (const fleet of [newFleet(urls), newFleet([...urls].reverse()), known]) {
      expect(await names(fleet)).toEqual(['broker-a', 'broker-b']);
      const { partitions, queues } = await fleet.route('orders');
      expect(partitions[0]).toEqual({ broker: 'broker-a', queueId: 0 });
      expect(queues[0]).toMatchObject({ broker: 'broker-a', permission: 'RW' });
    }
  }

  test('either knows all', async () => {
    for (const url of urls) expect(await names(newFleet([url]))).toEqual(['broker-a', 'broker-b']);
    await expectNothingNoticed(newFleet(urls));
  });

  test('one hangs: the other is asked, from then on first', async () => {
    const known = newFleet(urls);
    const hanging = clients.at(-2)!;
    await names(known);
    programs[0].kill('SIGSTOP');
    await expectNothingNoticed(known);
    known.doubt();
    const asked = jest.spyOn(hanging, 'route');
    await known.route('orders');
    expect(asked).not.toHaveBeenCalled();
    await names(known);
    programs[0].kill('SIGCONT');
  });

  test('one dies: the other is asked', async () => {
    const known = newFleet(urls);
    await names(known);
    programs[0].kill('SIGKILL');
    await programs[0].exited;
    await expectNothingNoticed(known);
    expect(await refusal(newRoutes(urls).of('nowhere', signal))).toBe('TOPIC_NOT_FOUND');
  });

  test('it comes back empty: it makes no live topic unknown, and the other one is believed about those that do not exist', async () => {
    const known = newFleet(urls);
    await names(known);
    programs[0] = await startNameserver(new URL(urls[0]).port);
    expect(await refusal(newRoutes([urls[0]]).of('orders', signal))).toBe('STARTING');
    expect(await newRoutes([urls[0]]).brokers()).toEqual({ complete: false, brokers: [] });
    await expectNothingNoticed(known);
    expect(await refusal(newRoutes(urls).of('nowhere', signal))).toBe('TOPIC_NOT_FOUND');
  });

  test('the other one dies, too, while the first is still empty: who knew, goes on', async () => {
    const known = newFleet(urls);
    await names(known);
    await known.route('orders');
    programs[1].kill('SIGKILL');
    await programs[1].exited;
    known.doubt();
    expect(await names(known)).toEqual(['broker-a', 'broker-b']);
    expect((await known.route('orders')).queues[0]).toMatchObject({ broker: 'broker-a' });
    // Who has just started cannot know, and says so.
    expect(await refusal(newFleet(urls).route('orders'))).toBe('STARTING');
  });
});

describe('a broker that hangs', () => {
  let nameservers: Http[];
  let urls: string[];
  let program: Program;
  let address: string;

  beforeAll(async () => {
    const flags = ['--broker-expiry-ms', '2000', '--nameserver-starting-ms', '0'];
    const programs = [await startNameserver('0', ...flags), await startNameserver('0', ...flags)];
    urls = await Promise.all(programs.map((nameserver) => nameserver.url()));
    nameservers = urls.map((url) => stage.client(url));
    program = await startBroker('broker-c', urls, '--heartbeat-ms', '200');
    address = new URL(await program.url()).host;
    await stage.client(await program.url()).call('createTopic', { body: { name: 'orders' } });
  });

  const routesAt = () =>
    Promise.all(nameservers.map((at) => at.call('getNameserverRoute', { path: { topic: 'orders' } })));
  const statuses = async () => (await routesAt()).map(({ status }) => status).join();

  test('leaves the routes of both when its time is over, without any scan', async () => {
    const known = newFleet(urls);
    expect((await known.broker('broker-c')).address).toBe(address);
    program.kill('SIGSTOP');
    expect(await statuses()).toBe('200,200');
    await eventually(async () => (await statuses()) === '404,404');
    for (const nameserver of nameservers)
      expect((await nameserver.call('getNameserverCluster')).body).toMatchObject({ started: true, clusters: [] });
    expect(await refusal(newFleet(urls).broker('broker-c'))).toBe('BROKER_NOT_FOUND');
    // Who knew it goes by what it knew, until it turns out wrong.
    expect((await known.broker('broker-c')).address).toBe(address);
    known.doubt();
    expect(await refusal(known.broker('broker-c'))).toBe('BROKER_NOT_FOUND');
  });

  test('comes back by itself, with all its topics', async () => {
    program.kill('SIGCONT');
    await eventually(async () => (await statuses()) === '200,200');
    for (const { body } of await routesAt()) expect(body.brokers).toMatchObject([{ addresses: { '0': address } }]);
    expect((await newFleet(urls).broker('broker-c')).address).toBe(address);
  });
});
