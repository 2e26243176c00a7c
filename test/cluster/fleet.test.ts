/** What a front knows of the brokers: how long it believes it, when it asks again, and what it does when nobody answers. */
import type { GantryError } from '../../src/base/errors';
import { brokersIn } from '../../src/broker/partitions';
import { Fleet } from '../../src/cluster/fleet';
import { Routes } from '../../src/cluster/routes';
import { full, topic } from '../nameserver/registrations';
import { ManualClock } from '../support/clock';
import { FakeNameserver } from './fakeNameserver';

const FRESH_MS = 30_000;

/** Two NameServers that have been up for long, and two brokers with a topic at both. */
async function setup() {
  const clock = new ManualClock();
  const nameservers = ['http://n0', 'http://n1'].map((address) => new FakeNameserver(address, clock));
  const register = (broker: string, ...topics: string[]) => {
    for (const { nameserver } of nameservers) registerAt(nameserver, broker, topics);
  };
  const registerAt = (nameserver: FakeNameserver['nameserver'], broker: string, topics: readonly string[]) => {
    const address = `${broker}:8080`;
    const messageIdTag = `10.0.0.${broker.charCodeAt(0)}:8080`;
    const holders = [...new Set(['a', 'b', broker])];
    const held = topics.map((name) => topic(name, holders, { version: holders.length }));
    nameserver.register('c', broker, 1, full(held, { address, messageIdTag }));
  };
  const restart = async (nameserver: FakeNameserver) => {
    nameserver.restart();
    await nameserver.nameserver.start();
  };
  for (const { nameserver } of nameservers) {
    await nameserver.start();
    nameserver.started();
  }
  register('a', 'orders');
  register('b', 'orders');
  const asked = {
    routes: nameservers.map((nameserver) => jest.spyOn(nameserver, 'route')),
    brokers: nameservers.map((nameserver) => jest.spyOn(nameserver, 'clusterView')),
  };
  const count = (of: keyof typeof asked) => asked[of].reduce((sum, spy) => sum + spy.mock.calls.length, 0);
  const fleet = new Fleet({ clock, routes: new Routes({ clock, nameservers }) });
  const names = async () => (await fleet.brokers()).map(({ name }) => name);
  return { clock, nameservers, register, registerAt, restart, fleet, names, count };
}

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'found',
    (error: GantryError) => error.code,
  );

afterEach(() => jest.restoreAllMocks());

describe('for 30 s what was asked for is believed', () => {
  test('the brokers', async () => {
    const { clock, fleet, names, register, count } = await setup();
    expect(await names()).toEqual(['a', 'b']);
    register('z', 'orders');
    await clock.advance(FRESH_MS - 1);
    expect(await names()).toEqual(['a', 'b']);
    expect((await fleet.broker('a')).address).toBe('a:8080');
    expect(count('brokers')).toBe(2); // one question to each of two
    await clock.advance(1);
    expect(await names()).toEqual(['a', 'b', 'z']);
    expect(count('brokers')).toBe(4);
  });

  test('a route; and those who ask at the same time ask once', async () => {
    const { clock, fleet, count } = await setup();
    const [one, other] = await Promise.all([fleet.route('orders'), fleet.route('orders')]);
    expect(one).toBe(other);
    expect(await fleet.brokersOf('orders')).toEqual(['a', 'b']);
    await clock.advance(FRESH_MS - 1);
    await fleet.route('orders');
    expect(count('routes')).toBe(1);
    await clock.advance(1);
    await fleet.route('orders');
    expect(count('routes')).toBe(2);
  });
});

describe('it asks again', () => {
  test('before it says that there is no such broker', async () => {
    const { clock, fleet, register } = await setup();
    expect(await refusal(fleet.broker('z'))).toBe('BROKER_NOT_FOUND');
    await clock.advance(500);
    register('z');
    expect((await fleet.broker('z')).address).toBe('z:8080');
  });

  test('before it says that an id is nobody’s', async () => {
    const { clock, fleet, register } = await setup();
    const id = `0A00007A00001F90${'0'.repeat(16)}`;
    expect(await fleet.brokerOfId(id)).toBeUndefined();
    await clock.advance(500);
    register('z');
    expect(await fleet.brokerOfId(id.toLowerCase())).toMatchObject({ name: 'z' });
    expect(await fleet.brokerOfId('short')).toBeUndefined();
  });

  test('for a topic that was unknown, each time', async () => {
    const { fleet, register } = await setup();
    expect(await refusal(fleet.route('refunds'))).toBe('TOPIC_NOT_FOUND');
    register('a', 'orders', 'refunds');
    expect((await fleet.route('refunds')).topic).toBe('refunds');
  });

  test('when what it knew was wrong, but not at every failure', async () => {
    const { clock, fleet, names, count } = await setup();
    await names();
    await fleet.route('orders');
    for (let i = 0; i < 10; i++) {
      fleet.doubt();
      await names();
      await fleet.route('orders');
      await clock.advance(100);
    }
    // The first doubt, and one half a second later.
    expect([count('brokers'), count('routes')]).toEqual([6, 3]);
  });

  test('and finds that a topic is gone', async () => {
    const { clock, fleet, register } = await setup();
    await fleet.route('orders');
    register('a');
    register('b');
    expect((await fleet.route('orders')).topic).toBe('orders');
    await clock.advance(FRESH_MS);
    expect(await refusal(fleet.route('orders'))).toBe('TOPIC_NOT_FOUND');
  });
});

describe('an answer in which brokers are missing is not believed for 30 s', () => {
  test('without any broker it is asked for again within 500 ms, however long that lasts', async () => {
    const { clock, nameservers, fleet, names, register } = await setup();
    for (const { nameserver } of nameservers) for (const name of ['a', 'b']) nameserver.unregister('c', name, 1);
    for (let i = 0; i < 100; i++) {
      expect(await names()).toEqual([]);
      await clock.advance(500);
    }
    register('a', 'orders');
    expect(await names()).toEqual(['a']);
    expect((await fleet.broker('a')).address).toBe('a:8080');
  });

  test('a list that shrank is asked for again after 500 ms, then more and more rarely', async () => {
    const { clock, nameservers, names, count } = await setup();
    await names();
    for (const { nameserver } of nameservers) nameserver.unregister('c', 'b', 1);
    await clock.advance(FRESH_MS);
    const before = count('brokers');
    for (let ms = 0; ms < 80_000; ms += 500) {
      expect(await names()).toEqual(['a']);
      await clock.advance(500);
    }
    const rounds = (count('brokers') - before) / nameservers.length;
    // After 0, 0.5, 1, 2, 4 … 32 s, then every 30 s.
    expect(rounds).toBeGreaterThanOrEqual(8);
    expect(rounds).toBeLessThanOrEqual(10);
  });

  test('a broker that comes back is seen within 500 ms of its absence', async () => {
    const { clock, nameservers, names, fleet, register, count } = await setup();
    await names();
    await fleet.route('orders');
    for (const { nameserver } of nameservers) nameserver.unregister('c', 'b', 1);
    await clock.advance(FRESH_MS);
    const queues = async () => (await fleet.route('orders')).queues.map(({ broker }) => broker);
    expect([await names(), await queues()]).toEqual([['a'], ['a']]);
    register('b', 'orders');
    await clock.advance(500);
    expect([await names(), await queues()]).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
    const before = count('brokers');
    await clock.advance(FRESH_MS - 1);
    await names();
    expect(count('brokers')).toBe(before);
  });

  test('a check that is repeated at will asks at most every 500 ms', async () => {
    const { clock, fleet, register, count } = await setup();
    await fleet.brokers();
    register('z');
    for (let i = 0; i < 10; i++) await fleet.brokersRecently();
    expect(count('brokers')).toBe(2);
    await clock.advance(500);
    for (let i = 0; i < 10; i++)
      expect((await fleet.brokersRecently()).map(({ name }) => name)).toEqual(['a', 'b', 'z']);
    expect(count('brokers')).toBe(4);
  });
});

describe('when the NameServers fail', () => {
  test('all of them are away: what was known goes on being used, and they are asked again soon', async () => {
    const { clock, nameservers, fleet, names, register } = await setup();
    await names();
    await fleet.route('orders');
    for (const nameserver of nameservers) nameserver.network = 'DOWN';
    await clock.advance(FRESH_MS);
    expect(await names()).toEqual(['a', 'b']);
    expect((await fleet.route('orders')).topic).toBe('orders');
    expect(await refusal(fleet.route('refunds'))).toBe('SERVICE_NOT_AVAILABLE');

    for (const nameserver of nameservers) nameserver.network = 'UP';
    register('z', 'orders');
    await clock.advance(500);
    expect(await names()).toEqual(['a', 'b', 'z']);
    expect((await fleet.route('orders')).queues.map(({ broker }) => broker)).toEqual(['a', 'b', 'z']);
  });

  test('all of them are away and nothing is known: that is said, and not remembered', async () => {
    const { nameservers, fleet, names } = await setup();
    for (const nameserver of nameservers) nameserver.network = 'DOWN';
    expect(await refusal(names())).toBe('SERVICE_NOT_AVAILABLE');
    expect(await refusal(fleet.broker('a'))).toBe('SERVICE_NOT_AVAILABLE');
    expect(await refusal(fleet.route('orders'))).toBe('SERVICE_NOT_AVAILABLE');
    nameservers[1]!.network = 'UP';
    expect(await names()).toEqual(['a', 'b']);
    expect((await fleet.route('orders')).topic).toBe('orders');
  });

  test('one that has just started is not believed over one that is up', async () => {
    const { nameservers, restart, fleet, names } = await setup();
    await restart(nameservers[0]!);
    expect(await names()).toEqual(['a', 'b']);
    expect((await fleet.route('orders')).topic).toBe('orders');
  });

  test('all have just started: nobody who was known is forgotten, and who has come is known', async () => {
    const { clock, nameservers, restart, registerAt, fleet, names } = await setup();
    await names();
    await fleet.route('orders');
    for (const nameserver of nameservers) await restart(nameserver);
    registerAt(nameservers[1]!.nameserver, 'z', []);
    await clock.advance(FRESH_MS);
    expect(await names()).toEqual(['a', 'b', 'z']);
    expect((await fleet.route('orders')).topic).toBe('orders');
    expect(await refusal(fleet.route('refunds'))).toBe('STARTING');
    // After its 35 s a NameServer knows all who live.
    registerAt(nameservers[0]!.nameserver, 'z', []);
    await clock.advance(5000);
    expect(await names()).toEqual(['z']);
    expect(await refusal(fleet.route('orders'))).toBe('TOPIC_NOT_FOUND');
  });

  test('a front that starts with them does not take the first who registered for all', async () => {
    const { clock, nameservers, restart, registerAt, names } = await setup();
    for (const nameserver of nameservers) await restart(nameserver);
    registerAt(nameservers[0]!.nameserver, 'a', []);
    expect(await names()).toEqual(['a']);
    registerAt(nameservers[1]!.nameserver, 'b', []);
    await clock.advance(500);
    expect(await names()).toEqual(['a', 'b']);
  });
});

test('the brokers of a topic stand in the order of its partitions, each once', () => {
  const partitions = ['b', 'a', 'b', 'c', 'a'].map((broker, queueId) => ({ broker, queueId }));
  expect(brokersIn(partitions)).toEqual(['b', 'a', 'c']);
});
