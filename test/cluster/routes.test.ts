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

test('while one cannot know yet, a topic that the others do not know may exist', async () => {
  const { nameservers, routes } = await three();
  nameservers[2]!.restart();
  await nameservers[2]!.nameserver.start();
  expect(await refusal(routes.of('nowhere', signal))).toBe('STARTING');
});

test('those that cannot be reached do not count, but one must answer', async () => {
  const { nameservers, routes } = await three();
  for (const nameserver of nameservers.slice(1)) nameserver.network = 'DOWN';
  expect(await refusal(routes.of('nowhere', signal))).toBe('TOPIC_NOT_FOUND');
  nameservers[0]!.network = 'DOWN';
  expect(await refusal(routes.of('orders', signal))).toBe('SERVICE_NOT_AVAILABLE');
});

test('a caller who went away is not served', async () => {
  const { nameservers, routes } = await three();
  for (const nameserver of nameservers) nameserver.network = 'HUNG';
  const gone = new AbortController();
  const route = routes.of('orders', gone.signal);
  gone.abort(new Error('gone'));
  await expect(route).rejects.toThrow('gone');
});
