/** Routes come from whichever NameServer answers; none of them alone makes a live topic unknown. */
import { Routes } from '../../src/cluster/routes';
import type { Registration } from '../../src/nameserver/route';
import type { GantryError } from '../../src/base/errors';
import { ManualClock } from '../support/clock';
import { FakeNameserver } from './fakeNameserver';

const { signal } = new AbortController();

const registration = (topic: string): Registration => ({
  mode: 'FULL',
  address: '127.0.0.1:8080',
  role: 'MASTER',
  epoch: 1,
  messageIdTag: '127.0.0.1:8080',
  permission: 'RW',
  dataVersion: { stateVersion: 1, timestamp: 1, counter: 1 },
  topics: [
    {
      ...{ name: topic, id: 'a1', version: 1, type: 'NORMAL', readQueues: 1, writeQueues: 1, permission: 'RW' },
      partitions: [{ broker: 'broker-a', queueId: 0 }],
    },
  ],
});

/** Three NameServers that have been up for long and know `orders`. */
async function three() {
  const clock = new ManualClock();
  const nameservers = ['a', 'b', 'c'].map((name) => new FakeNameserver(`http://${name}`, clock));
  for (const { nameserver } of nameservers) {
    await nameserver.start();
    nameserver.register('DefaultCluster', 'broker-a', 1, registration('orders'));
    nameserver.started();
  }
  return { clock, nameservers, routes: new Routes({ clock, nameservers }) };
}

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => 'found',
    (error: GantryError) => error.code,
  );

afterEach(() => jest.restoreAllMocks());

test('any of them tells', async () => {
  const { routes } = await three();
  expect(await routes.of('orders', signal)).toMatchObject({ topic: 'orders', brokers: [{ broker: 'broker-a' }] });
});

test('one that is down is passed over, and not asked first again', async () => {
  const { nameservers, routes } = await three();
  nameservers[0]!.network = 'DOWN';
  const asked = nameservers.map((nameserver) => jest.spyOn(nameserver, 'route'));
  for (let i = 0; i < 5; i++) await routes.of('orders', signal);
  expect(asked.map((spy) => spy.mock.calls.length)).toEqual([1, 5, 0]);
});

test('one that hangs costs a second, once', async () => {
  const { clock, nameservers, routes } = await three();
  nameservers[0]!.network = 'HUNG';
  const first = routes.of('orders', signal);
  await clock.advance(1000);
  expect((await first).topic).toBe('orders');
  expect((await routes.of('orders', signal)).topic).toBe('orders');
});

test('one that restarted, and is empty, hides no topic', async () => {
  const { nameservers, routes } = await three();
  nameservers[0]!.restart();
  await nameservers[0]!.nameserver.start();
  expect(await refusal(routes.of('orders', signal))).toBe('found');
  nameservers[0]!.nameserver.started(); // wrongly sure
  expect(await refusal(routes.of('orders', signal))).toBe('found');
  expect(await refusal(routes.of('nowhere', signal))).toBe('TOPIC_NOT_FOUND');
});

test('a topic is unknown when one that has been up says so; while all have just started nobody can tell', async () => {
  const { nameservers, routes } = await three();
  for (const [i, nameserver] of [...nameservers].reverse().entries()) {
    nameserver.restart();
    await nameserver.nameserver.start();
    expect(await refusal(routes.of('nowhere', signal))).toBe(i < 2 ? 'TOPIC_NOT_FOUND' : 'STARTING');
  }
});

test('those that cannot be reached do not count, but one must answer', async () => {
  const { nameservers, routes } = await three();
  for (const nameserver of nameservers.slice(1)) nameserver.network = 'DOWN';
  expect(await refusal(routes.of('nowhere', signal))).toBe('TOPIC_NOT_FOUND');
  nameservers[0]!.network = 'DOWN';
  expect(await refusal(routes.of('orders', signal))).toBe('SERVICE_NOT_AVAILABLE');
});

test('how it stands with each is known by its last answer, a refusal too', async () => {
  const { clock, nameservers, routes } = await three();
  const reachable = () => routes.nameservers().map((nameserver) => nameserver.reachable);
  expect(reachable()).toEqual([false, false, false]);
  await routes.of('orders', signal);
  expect(reachable()).toEqual([true, false, false]);
  nameservers[0]!.network = 'DOWN';
  expect(await refusal(routes.of('nowhere', signal))).toBe('TOPIC_NOT_FOUND');
  expect(reachable()).toEqual([false, true, true]);
  nameservers[0]!.network = 'UP';
  await routes.brokers();
  await clock.advance(0);
  expect(reachable()).toEqual([true, true, true]);
});

test('two who ask at the same time each ask all of them, whoever is asked first from then on', async () => {
  const { clock, nameservers, routes } = await three();
  nameservers[0]!.network = 'HUNG';
  const [unknown, known] = [refusal(routes.of('nowhere', signal)), refusal(routes.of('orders', signal))];
  nameservers[1]!.restart();
  await nameservers[1]!.nameserver.start();
  nameservers[1]!.nameserver.started(); // wrongly sure
  await clock.advance(1000);
  expect([await unknown, await known]).toEqual(['TOPIC_NOT_FOUND', 'found']);
});

describe('the brokers', () => {
  const names = async (routes: Routes) => (await routes.brokers()).brokers.map(({ name }) => name);

  test('any of them tells who lives, where, and by which ids', async () => {
    const { clock, nameservers, routes } = await three();
    const where = { address: '127.0.0.1:8080', idMark: '7F00000100001F90', lastHeartbeatTimestamp: clock.now() };
    expect(await routes.brokers()).toEqual({
      complete: true,
      brokers: [{ name: 'broker-a', cluster: 'DefaultCluster', ...where }],
    });
    nameservers[0]!.network = nameservers[1]!.network = 'DOWN';
    expect(await names(routes)).toEqual(['broker-a']);
  });

  test('one that is cut off from a NameServer lives as long as another one hears it, where it was heard last', async () => {
    const { clock, nameservers, routes } = await three();
    const heard = (at: number, address: string) =>
      nameservers[at]!.nameserver.register('DefaultCluster', 'broker-b', 1, { ...registration('orders'), address });
    heard(2, 'before:8080');
    await clock.advance(1);
    heard(1, 'now:8080');
    const { brokers } = await routes.brokers();
    expect(brokers.map(({ name, address }) => [name, address])).toEqual([
      ['broker-a', '127.0.0.1:8080'],
      ['broker-b', 'now:8080'],
    ]);
  });

  test('one that hangs costs a second, once', async () => {
    const { clock, nameservers, routes } = await three();
    nameservers[0]!.network = 'HUNG';
    const first = names(routes);
    await clock.advance(1000);
    expect(await first).toEqual(['broker-a']);
    expect(await names(routes)).toEqual(['broker-a']);
    expect((await routes.of('orders', signal)).topic).toBe('orders');
  });

  test('one that has just started is not believed over one that has been up', async () => {
    const { nameservers, routes } = await three();
    for (const nameserver of nameservers.slice(0, 2)) {
      nameserver.restart();
      await nameserver.nameserver.start();
    }
    expect(await routes.brokers()).toMatchObject({ complete: true, brokers: [{ name: 'broker-a' }] });
  });

  test('when only such answer, all that they know counts, and it is said that there may be more', async () => {
    const { nameservers, routes } = await three();
    for (const nameserver of nameservers) {
      nameserver.restart();
      await nameserver.nameserver.start();
    }
    expect(await routes.brokers()).toEqual({ complete: false, brokers: [] });
    for (const [at, name] of [['2', 'broker-a'] as const, ['1', 'broker-b'] as const, ['2', 'broker-b'] as const])
      nameservers[Number(at)]!.nameserver.register('DefaultCluster', name, 1, {
        ...registration('orders'),
        address: `${name}:8080`,
      });
    expect(await routes.brokers()).toMatchObject({
      complete: false,
      brokers: [{ name: 'broker-a' }, { name: 'broker-b' }],
    });
  });

  test('a broker without a master has no address; of two masters the one of the higher epoch has', async () => {
    const { nameservers, routes } = await three();
    const member = (brokerId: number, epoch: number, role: 'MASTER' | 'SLAVE') =>
      nameservers[0]!.nameserver.register('DefaultCluster', 'broker-b', brokerId, {
        ...registration('orders'),
        address: `10.0.0.${brokerId}:8080`,
        epoch,
        role,
      });
    const addressOfB = async () => (await routes.brokers()).brokers[1]!.address;
    member(2, 2, 'SLAVE');
    expect(await addressOfB()).toBeUndefined();
    member(1, 1, 'MASTER');
    expect(await addressOfB()).toBeUndefined();
    member(3, 3, 'MASTER');
    expect(await addressOfB()).toBe('10.0.0.3:8080');
  });

  test('none answers: nobody can tell', async () => {
    const { nameservers, routes } = await three();
    for (const nameserver of nameservers) nameserver.network = 'DOWN';
    expect(await refusal(routes.brokers())).toBe('SERVICE_NOT_AVAILABLE');
  });
});

test('a caller who went away is not served', async () => {
  const { nameservers, routes } = await three();
  for (const nameserver of nameservers) nameserver.network = 'HUNG';
  const gone = new AbortController();
  const route = routes.of('orders', gone.signal);
  gone.abort(new Error('gone'));
  await expect(route).rejects.toThrow('gone');
});
