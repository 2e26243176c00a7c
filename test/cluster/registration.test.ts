import { silentLog } from '../../src/base/log';
import { Registrar, type BrokerDescription } from '../../src/cluster/registration';
import type { Registration, TopicRegistration } from '../../src/nameserver/route';
import { full, heartbeat, topic } from '../nameserver/registrations';
import { ManualClock } from '../support/clock';
import { FakeNameserver } from './fakeNameserver';

const HEARTBEAT_MS = 30_000;

/** A broker with its topics, its registrar and two NameServers that know nothing of each other. */
function setup(nameserverCount = 2) {
  const clock = new ManualClock();
  const nameservers = [...Array(nameserverCount).keys()].map((n) => new FakeNameserver(`ns${n}:9876`, clock));
  const topics = new Map<string, TopicRegistration>([['orders', topic('orders')]]);
  const attributes = {
    address: 'a:8080',
    role: 'MASTER',
    epoch: 1,
    messageIdTag: '127.0.0.1:8080',
    permission: 'RW',
  };
  const state = attributes as Omit<BrokerDescription, 'topics'>;
  const broker = { state };
  const describe = () => ({ ...broker.state, topics: [...topics.values()] });
  const registrar = new Registrar({
    clock,
    log: silentLog,
    cluster: 'c',
    broker: 'a',
    brokerId: 1,
    nameservers,
    describe,
  });
  const put = (name: string) => {
    topics.set(name, topic(name));
    return registrar.changed([name]);
  };
  const remove = (name: string) => {
    topics.delete(name);
    return registrar.changed([name]);
  };
  const [first, second] = nameservers as [FakeNameserver, FakeNameserver];
  return { clock, registrar, broker, first, second, put, remove };
}

const FOLDERS = ['a'.repeat(32), 'b'.repeat(32)];

/** The broker of another folder with the same name, at these NameServers. */
function holdName(nameservers: readonly FakeNameserver[], address = 'old:8080'): Registration {
  const registration = full([topic('orders')], { address, folderId: FOLDERS[1]! });
  for (const { nameserver } of nameservers) nameserver.register('c', 'a', 1, registration);
  return registration;
}

/** `setup`, with the first registrations made. */
async function registered() {
  const bundle = setup();
  await bundle.registrar.start();
  await bundle.registrar.acknowledged();
  return bundle;
}

describe('start and heartbeat', () => {
  test('it registers in full with every NameServer and then sends heartbeats', async () => {
    const { clock, registrar, first, second } = await registered();
    expect([first.topics, second.topics]).toEqual([['orders'], ['orders']]);
    await clock.advance(2 * HEARTBEAT_MS);
    expect([first.modes, second.modes]).toEqual([
      ['FULL', 'HEARTBEAT', 'HEARTBEAT'],
      ['FULL', 'HEARTBEAT', 'HEARTBEAT'],
    ]);
    await registrar.stop();
  });

  test('heartbeats keep it in the routes for as long as they come', async () => {
    const { clock, registrar, first } = await registered();
    await clock.advance(600_000);
    expect(first.topics).toEqual(['orders']);
    first.network = 'DOWN';
    await clock.advance(120_001);
    expect(first.topics).toEqual([]);
    await registrar.stop();
  });

  test('start does not wait for NameServers, and one acknowledgement makes the broker registered', async () => {
    const { registrar, first, clock } = setup();
    first.network = 'HUNG';
    await registrar.start();
    expect(registrar.registered).toBe(false);
    await clock.advance(0);
    expect(registrar.registered).toBe(true);
    await clock.advance(6_000);
    expect(registrar.status()).toEqual([
      { address: 'ns0:9876', reachable: false, lastError: 'no answer within 6000 ms' },
      { address: 'ns1:9876', reachable: true, lastRegistrationTimestamp: clock.now() - 6_000 },
    ]);
    first.network = 'DOWN';
    const stopped = registrar.stop();
    await clock.advance(2_000);
    await stopped;
  });

  test('without NameServers it is registered at once', async () => {
    const { registrar, put } = setup(0);
    await registrar.start();
    expect(registrar.registered).toBe(true);
    expect(await put('payments')).toEqual([]);
    await registrar.stop();
  });
});

describe('changes', () => {
  test('a change reaches every NameServer at once, with only what changed', async () => {
    const { registrar, first, second, put, remove } = await registered();
    expect(await put('payments')).toEqual([]);
    expect([first.topics, second.topics]).toEqual([
      ['orders', 'payments'],
      ['orders', 'payments'],
    ]);
    expect(first.sent.at(-1)).toMatchObject({ mode: 'CHANGES', topics: [{ name: 'payments' }], removedTopics: [] });
    expect(await remove('orders')).toEqual([]);
    expect(first.sent.at(-1)).toMatchObject({ mode: 'CHANGES', topics: [], removedTopics: ['orders'] });
    expect(second.topics).toEqual(['payments']);
    await registrar.stop();
  });

  test('a burst becomes one exchange', async () => {
    const { registrar, first, put, remove } = await registered();
    await Promise.all([put('a'), put('b'), put('c'), remove('b')]);
    expect(first.modes).toEqual(['FULL', 'CHANGES']);
    expect(first.topics).toEqual(['a', 'c', 'orders']);
    await registrar.stop();
  });

  test('a change while an exchange is under way follows it', async () => {
    const { clock, registrar, first, put } = await registered();
    first.network = 'HUNG';
    void put('payments');
    await clock.advance(100);
    first.network = 'UP';
    void put('refunds');
    await clock.advance(6_000 + 1_000);
    expect(first.topics).toEqual(['orders', 'payments', 'refunds']);
    await registrar.stop();
  });

  test('changed attributes are told as a change without topics', async () => {
    const { registrar, broker, first } = await registered();
    broker.state = { ...broker.state, permission: 'R' };
    expect(await registrar.changed([])).toEqual([]);
    expect(first.sent.at(-1)).toMatchObject({ mode: 'CHANGES', permission: 'R', topics: [] });
    expect(first.nameserver.route('orders').queues).toMatchObject([{ permission: 'R' }]);
    await registrar.stop();
  });

  test('a new epoch is a new state', async () => {
    const { clock, registrar, broker, first } = await registered();
    broker.state = { ...broker.state, epoch: 2 };
    await clock.advance(HEARTBEAT_MS);
    expect(first.sent.at(-1)).toMatchObject({ mode: 'CHANGES', epoch: 2, dataVersion: { stateVersion: 2 } });
    expect(first.nameserver.route('orders').brokers).toMatchObject([{ epoch: 2 }]);
    await registrar.stop();
  });
});

describe('NameServers that fail', () => {
  test('an unreachable NameServer does not delay the change at the other, nor the answer once that is known', async () => {
    const { clock, registrar, first, second, put } = await registered();
    first.network = 'DOWN';
    expect(await put('payments')).toEqual(['ns0:9876']);
    expect(await put('refunds')).toEqual(['ns0:9876']);
    expect(second.topics).toEqual(['orders', 'payments', 'refunds']);
    first.network = 'UP';
    await clock.advance(1_000);
    expect(first.topics).toEqual(['orders', 'payments', 'refunds']);
    await registrar.stop();
  });

  test('a NameServer that hangs does not delay the change at the other, and the answer only up to the deadline', async () => {
    const { clock, registrar, first, second, put } = await registered();
    first.network = 'HUNG';
    const answer = put('payments');
    await clock.advance(0);
    expect(second.topics).toEqual(['orders', 'payments']);
    await clock.advance(3_000);
    expect(await answer).toEqual(['ns0:9876']);
    first.network = 'DOWN';
    await clock.advance(3_000);
    await registrar.stop();
  });

  test('it tries again after 0.5, 1, 2, 4, 5, 5 s', async () => {
    const { clock, registrar, first } = setup(1);
    first.network = 'DOWN';
    const startedAt = clock.monotonic();
    await registrar.start();
    await clock.advance(0);
    const attempts: number[] = [];
    for (let half = 0; half <= 36; half++) {
      if (first.sent.length > attempts.length) attempts.push(clock.monotonic() - startedAt);
      await clock.advance(500);
    }
    expect(attempts).toEqual([0, 500, 1_500, 3_500, 7_500, 12_500, 17_500]);
    await registrar.stop();
  });

  test('a NameServer that restarts gets a full registration at the next heartbeat', async () => {
    const { clock, registrar, first, second } = await registered();
    first.restart();
    expect(first.topics).toEqual([]);
    await clock.advance(HEARTBEAT_MS);
    expect(first.modes).toEqual(['FULL', 'HEARTBEAT', 'FULL']);
    expect(first.topics).toEqual(['orders']);
    expect(second.modes).toEqual(['FULL', 'HEARTBEAT']);
    await registrar.stop();
  });

  test('a NameServer that restarted and hears of a change first gets everything within that change', async () => {
    const { registrar, first, put } = await registered();
    first.restart();
    expect(await put('payments')).toEqual([]);
    expect(first.modes).toEqual(['FULL', 'CHANGES', 'FULL']);
    expect(first.topics).toEqual(['orders', 'payments']);
    await registrar.stop();
  });

  test('a change whose answer was lost heals by a full registration', async () => {
    const { clock, registrar, first, put, remove } = await registered();
    first.network = 'LOSING';
    expect(await put('payments')).toEqual(['ns0:9876']);
    first.network = 'UP';
    void remove('orders');
    await clock.advance(1_000);
    expect(first.modes).toEqual(['FULL', 'CHANGES', 'CHANGES', 'FULL']);
    expect(first.topics).toEqual(['payments']);
    await registrar.stop();
  });

  test('more changes than are remembered become a full registration', async () => {
    const { clock, registrar, first, put } = await registered();
    first.network = 'HUNG';
    void put('first');
    await clock.advance(0);
    first.network = 'UP';
    for (let n = 0; n < 500; n++) void put(`a${n}`);
    for (let n = 0; n < 501; n++) void put(`b${n}`);
    await clock.advance(7_000);
    expect(first.modes).toEqual(['FULL', 'CHANGES', 'FULL']);
    expect(first.nameserver.route('b500').topic).toBe('b500');
    await registrar.stop();
  });

  test('a refused broker says so, stays refused, and is let in when the other has gone', async () => {
    const { clock, registrar, first, broker } = setup(1);
    const rival = { ...broker.state, address: 'rival:8080', epoch: 2, mode: 'FULL', topics: [] } as const;
    const dataVersion = { stateVersion: 2, timestamp: clock.now(), counter: 0 };
    first.nameserver.register('c', 'a', 1, { ...rival, dataVersion });
    await registrar.start();
    expect(await registrar.acknowledged()).toEqual(['ns0:9876']);
    expect(registrar.registered).toBe(false);
    expect(registrar.status()[0]).toMatchObject({
      reachable: true,
      lastError: expect.stringContaining('rival:8080') as string,
    });
    first.nameserver.unregister('c', 'a', 1);
    await clock.advance(1_000);
    expect(registrar.status()[0]?.lastError).toBeUndefined();
    expect(first.topics).toEqual(['orders']);
    await registrar.stop();
  });
});

describe('stop', () => {
  test('it unregisters everywhere and leaves no timer', async () => {
    const { clock, registrar, first, second } = await registered();
    await registrar.stop();
    await registrar.stop();
    expect([first.topics, second.topics]).toEqual([[], []]);
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(HEARTBEAT_MS);
    expect(first.modes).toEqual(['FULL']);
  });

  test('a NameServer that hangs holds it for 2 s at most', async () => {
    const { clock, registrar, first, second, put } = await registered();
    first.network = 'HUNG';
    const answer = put('payments');
    await clock.advance(0);
    const stopped = registrar.stop();
    await clock.advance(0);
    expect(second.topics).toEqual([]);
    await clock.advance(2_000);
    await stopped;
    expect(await answer).toEqual(['ns0:9876']);
    expect(clock.pendingTimers).toBe(0);
  });

  test('before start and without one it is over at once, and a later start does nothing', async () => {
    const { registrar, first } = setup();
    await registrar.stop();
    await registrar.start();
    expect(await registrar.acknowledged()).toEqual(['ns0:9876', 'ns1:9876']);
    expect(first.sent).toEqual([]);
  });
});

describe('another broker of the same name', () => {
  /** A broker that tells its folder. */
  function newcomer(nameserverCount = 2) {
    const bundle = setup(nameserverCount);
    bundle.broker.state = { ...bundle.broker.state, folderId: FOLDERS[0]! };
    const at = (nameserver: FakeNameserver) =>
      nameserver.nameserver.clusterView().clusters[0]?.brokers[0]?.members[0]?.address;
    return { ...bundle, at };
  }

  test('lives: this one is refused, says why, tries on, and is taken when that one has left', async () => {
    const { clock, registrar, first, at } = newcomer(1);
    holdName([first]);
    await registrar.start();
    await clock.advance(20_000);
    expect(at(first)).toBe('old:8080');
    expect(registrar.refused).toContain('Broker a is registered from old:8080 with another data folder');
    expect([registrar.registered, registrar.registeredNow]).toEqual([false, false]);
    first.nameserver.unregister('c', 'a', 1);
    await clock.advance(5000);
    expect(at(first)).toBe('a:8080');
    expect([registrar.refused, registrar.registeredNow]).toEqual([undefined, true]);
    await registrar.stop();
  });

  test('is known to one NameServer alone: this one leaves the others, which have just started, alone, too', async () => {
    const { clock, registrar, first, second, at } = newcomer();
    const old = holdName([second]);
    await registrar.start();
    await clock.advance(1000);
    expect([at(first), at(second)]).toEqual([undefined, 'old:8080']);
    await clock.advance(20_000);
    expect([at(first), registrar.registeredNow]).toEqual([undefined, false]);
    // Its NameServer is cut off: that is no reason to take its place elsewhere at once.
    second.network = 'DOWN';
    await clock.advance(60_000);
    expect(at(first)).toBeUndefined();
    second.network = 'UP';
    second.nameserver.register('c', 'a', 1, heartbeat(old));
    second.nameserver.unregister('c', 'a', 1);
    await clock.advance(15_000);
    expect([at(first), at(second)]).toEqual(['a:8080', 'a:8080']);
    await registrar.stop();
  });

  test('came later and took the name at a NameServer that restarted: this one serves on and shows it', async () => {
    const { clock, registrar, first, second, at } = newcomer();
    await registrar.start();
    await clock.advance(HEARTBEAT_MS);
    first.restart();
    holdName([first], 'new:8080');
    await clock.advance(HEARTBEAT_MS + 5000);
    expect([at(first), at(second)]).toEqual(['new:8080', 'a:8080']);
    expect([registrar.refused, registrar.registeredNow]).toEqual([undefined, true]);
    expect(registrar.status()[0]!.conflict).toContain('new:8080');
    await registrar.stop();
    // It has not unregistered the other one.
    expect(at(first)).toBe('new:8080');
  });

  test('wants its name: the heartbeats’ answers tell', async () => {
    const { clock, registrar, first } = newcomer(1);
    await registrar.start();
    await registrar.acknowledged();
    expect(() => holdName([first], 'new:8080')).toThrow();
    await clock.advance(HEARTBEAT_MS);
    expect(registrar.status()[0]!.refusedClaim).toMatchObject({ address: 'new:8080' });
    await registrar.stop();
  });

  test('one that is refused does not unregister, when it stops, a broker that calls itself by the same address', async () => {
    const { clock, registrar, first, at } = newcomer(1);
    holdName([first], 'a:8080');
    await registrar.start();
    await clock.advance(1000);
    await registrar.stop();
    expect(at(first)).toBe('a:8080');
  });
});
