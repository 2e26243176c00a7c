import { RouteTable, type TableChange } from '../../src/nameserver/routeTable';
import { ManualClock } from '../support/clock';
import { changes, codeOf, full, heartbeat, topic, version, withoutTopics } from './registrations';

function setup() {
  const clock = new ManualClock();
  const reported: TableChange[] = [];
  const table = new RouteTable(clock, { report: (change) => reported.push(change) });
  const queuesOf = (name: string) => table.route(name)?.queues ?? [];
  const addressesOf = (name: string) => table.route(name)?.brokers.map((broker) => broker.addresses);
  const names = () => table.routes(undefined, 1000).routes.map((route) => route.topic);
  return { clock, reported, table, queuesOf, addressesOf, names };
}

describe('what a broker registers', () => {
  test('a full registration makes its topics routable', () => {
    const { table } = setup();
    expect(table.register('c', 'a', 1, full([topic('orders')]))).toEqual({
      known: true,
      masterAddress: 'a:8080',
      masterEpoch: 1,
      dataVersion: version(),
    });
    expect(table.route('orders')).toEqual({
      topic: 'orders',
      id: 'orders#1',
      version: 1,
      partitions: [
        { broker: 'a', queueId: 0 },
        { broker: 'a', queueId: 1 },
      ],
      brokers: [{ cluster: 'c', broker: 'a', epoch: 1, addresses: { '0': 'a:8080' }, messageIdTag: '127.0.0.1:8080' }],
      queues: [{ broker: 'a', readQueues: 2, writeQueues: 2, permission: 'RW' }],
    });
    expect(table.route('payments')).toBeUndefined();
  });

  test('a full registration replaces everything before it', () => {
    const { table, names } = setup();
    table.register('c', 'a', 1, full([topic('orders'), topic('payments')]));
    table.register('c', 'a', 1, full([topic('payments'), topic('refunds')], { dataVersion: version(1, 1) }));
    expect(names()).toEqual(['payments', 'refunds']);
  });

  test('changes add, replace and remove topics', () => {
    const { table, names, queuesOf } = setup();
    const first = full([topic('orders'), topic('payments')]);
    table.register('c', 'a', 1, first);
    const second = changes(first, {
      topics: [topic('orders', ['a'], { permission: 'R' }), topic('refunds')],
      removedTopics: ['payments'],
    });
    expect(table.register('c', 'a', 1, second)).toMatchObject({ known: true, dataVersion: second.dataVersion });
    expect(names()).toEqual(['orders', 'refunds']);
    expect(queuesOf('orders')).toMatchObject([{ permission: 'R' }]);
  });

  test('changes made from another state than the registered one are not taken', () => {
    const { table, names } = setup();
    const first = full([topic('orders')]);
    expect(table.register('c', 'a', 1, changes(first, { topics: [topic('refunds')] }))).toEqual({ known: false });
    table.register('c', 'a', 1, first);
    const gap = changes({ ...first, dataVersion: version(1, 1) }, { topics: [topic('refunds')] });
    expect(table.register('c', 'a', 1, gap)).toMatchObject({ known: false, dataVersion: version() });
    expect(names()).toEqual(['orders']);
  });

  test.each([
    ['an unknown broker', undefined, {}],
    ['another data version', full([]), { dataVersion: version(1, 1) }],
    ['another address', full([]), { address: 'b:8080' }],
    ['another role', full([]), { role: 'SLAVE' as const }],
    ['another epoch', full([]), { epoch: 2 }],
    ['another permission', full([]), { permission: 'R' as const }],
  ])('a heartbeat from %s asks for a full registration', (_case, before, difference) => {
    const { table } = setup();
    if (before) table.register('c', 'a', 1, before);
    expect(table.register('c', 'a', 1, { ...heartbeat(full([])), ...difference }).known).toBe(false);
  });

  test('what cannot be understood is refused and changes nothing', () => {
    const { table, names } = setup();
    expect(codeOf(() => table.register('c', 'a', 1, withoutTopics(full([]))))).toBe('VALIDATION_FAILED');
    expect(codeOf(() => table.register('c', 'a', 1, { ...heartbeat(full([])), mode: 'CHANGES' }))).toBe(
      'VALIDATION_FAILED',
    );
    expect(codeOf(() => table.register('c', 'a', 0, full([topic('orders')])))).toBe('VALIDATION_FAILED');
    expect(names()).toEqual([]);
  });

  test('unregistering removes the member, and with its last member the broker and its topics', () => {
    const { table, names } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    table.unregister('c', 'a', 1, 'a:8080');
    expect(names()).toEqual([]);
    expect(table.clusterView().clusters).toEqual([]);
    expect(codeOf(() => table.unregister('c', 'a', 1))).toBe('BROKER_NOT_FOUND');
  });

  test('a process that stops late does not remove the one that took its place', () => {
    const { table, names } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    table.register('c', 'a', 1, full([topic('orders')], { address: 'new:8080', epoch: 2 }));
    expect(codeOf(() => table.unregister('c', 'a', 1, 'a:8080'))).toBe('BROKER_NOT_FOUND');
    expect(codeOf(() => table.unregister('other', 'a', 1))).toBe('BROKER_NOT_FOUND');
    expect(names()).toEqual(['orders']);
  });
});

describe('liveness', () => {
  test('a broker silent for more than 120 s is not shown, before any scan', async () => {
    const { clock, table, names } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    await clock.advance(120_000);
    expect(table.route('orders')).toBeDefined();
    await clock.advance(1);
    expect(table.route('orders')).toBeUndefined();
    expect(names()).toEqual([]);
    expect(table.clusterView().clusters).toEqual([]);
    expect(codeOf(() => table.wipeWritePermission('a'))).toBe('BROKER_NOT_FOUND');
  });

  test('heartbeats and changes keep it alive, whatever the wall clock does', async () => {
    const { clock, table } = setup();
    const first = full([topic('orders')]);
    table.register('c', 'a', 1, first);
    await clock.advance(100_000);
    table.register('c', 'a', 1, heartbeat(first));
    await clock.advance(100_000);
    table.register('c', 'a', 1, changes(first, {}));
    clock.jumpTo(clock.now() + 86_400_000);
    await clock.advance(100_000);
    expect(table.route('orders')).toBeDefined();
  });

  test('a broker may name its own time-out', async () => {
    const { clock, table } = setup();
    table.register('c', 'a', 1, full([topic('orders')], { heartbeatTimeoutMs: 10_000 }));
    await clock.advance(10_001);
    expect(table.route('orders')).toBeUndefined();
  });

  test('the scan removes the silent and says so', async () => {
    const { clock, table, reported } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    await clock.advance(60_000);
    table.register('c', 'b', 1, full([topic('orders', ['b'])], { address: 'b:8080' }));
    await clock.advance(60_001);
    expect(table.dropSilent()).toBe(1);
    expect(table.dropSilent()).toBe(0);
    expect(reported.at(-1)).toMatchObject({ kind: 'REMOVED', broker: 'a', reason: 'SILENT' });
    expect(table.route('orders')?.queues.map((queue) => queue.broker)).toEqual(['b']);
  });

  test('a heartbeat after too long a silence is answered alike before and after the scan', async () => {
    for (const scanned of [false, true]) {
      const { clock, table } = setup();
      const first = full([topic('orders')]);
      table.register('c', 'a', 1, first);
      await clock.advance(120_001);
      if (scanned) table.dropSilent();
      expect(table.register('c', 'a', 1, heartbeat(first))).toEqual({ known: false });
    }
  });

  test('the view shows when each member was last heard', async () => {
    const { clock, table } = setup();
    table.register('c', 'a', 1, full([]));
    await clock.advance(5_000);
    table.register('c', 'a', 1, heartbeat(full([])));
    const member = { brokerId: 1, address: 'a:8080', role: 'MASTER', epoch: 1, lastHeartbeatTimestamp: clock.now() };
    expect(table.clusterView()).toMatchObject({
      clusters: [
        {
          cluster: 'c',
          brokers: [{ broker: 'a', messageIdTag: '127.0.0.1:8080', writePermission: true, members: [member] }],
        },
      ],
    });
  });
});

describe('master and slaves', () => {
  const slave = { address: 'slave:8080', role: 'SLAVE' } as const;

  test('the master is 0, the others have their own ids, and a slave learns its master', () => {
    const { table, addressesOf, queuesOf } = setup();
    table.register('c', 'a', 2, full([topic('orders')]));
    const answer = table.register('c', 'a', 1, full([topic('orders', ['a'], { readQueues: 9 })], slave));
    expect(answer).toMatchObject({ masterAddress: 'a:8080', masterEpoch: 1 });
    expect(addressesOf('orders')).toEqual([{ '0': 'a:8080', '1': 'slave:8080' }]);
    expect(queuesOf('orders')).toMatchObject([{ readQueues: 2 }]);
  });

  test('of two masters the one of the higher epoch counts; the deposed one is listed under its id and sets nothing', () => {
    const { table, addressesOf, names } = setup();
    table.register('c', 'a', 1, full([topic('orders'), topic('old')]));
    table.register('c', 'a', 2, full([topic('orders')], { address: 'new:8080', epoch: 2 }));
    table.register('c', 'a', 1, full([topic('orders'), topic('old')], { dataVersion: version(1, 1) }));
    expect(addressesOf('orders')).toEqual([{ '0': 'new:8080', '1': 'a:8080' }]);
    expect(names()).toEqual(['orders']);
    expect(table.route('orders')?.brokers).toMatchObject([{ epoch: 2 }]);
  });

  test('a slave that knows a higher epoch deposes the master', () => {
    const { table, addressesOf } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    const answer = table.register('c', 'a', 2, full([topic('orders')], { ...slave, epoch: 2 }));
    expect(answer.masterAddress).toBeUndefined();
    expect(addressesOf('orders')).toEqual([{ '1': 'a:8080', '2': 'slave:8080' }]);
  });

  test('without a master the slaves stay and the queues lose W', async () => {
    const { clock, table, addressesOf, queuesOf } = setup();
    const registered = full([topic('orders')], slave);
    table.register('c', 'a', 1, full([topic('orders')]));
    table.register('c', 'a', 2, registered);
    await clock.advance(100_000);
    table.register('c', 'a', 2, heartbeat(registered));
    await clock.advance(100_000);
    expect(addressesOf('orders')).toEqual([{ '2': 'slave:8080' }]);
    expect(queuesOf('orders')).toMatchObject([{ permission: 'R' }]);
  });

  test('without a master the slave that knows most speaks for the group', () => {
    const { table, names } = setup();
    table.register('c', 'a', 1, full([], { ...slave, address: 's1:8080' }));
    table.register('c', 'a', 2, full([topic('orders')], { ...slave, address: 's2:8080', dataVersion: version(1, 4) }));
    table.register('c', 'a', 3, full([], { ...slave, address: 's3:8080', dataVersion: version(1, 4) }));
    expect(names()).toEqual(['orders']);
  });
});

describe('conflicts', () => {
  test('the same member from another address: the older epoch is refused, the newer one replaces', () => {
    const { table, addressesOf, reported } = setup();
    table.register('c', 'a', 1, full([topic('orders')], { epoch: 2 }));
    const older = full([topic('orders')], { address: 'b:8080', epoch: 1 });
    expect(codeOf(() => table.register('c', 'a', 1, older))).toBe('REGISTRATION_CONFLICT');
    expect(codeOf(() => table.register('c', 'a', 1, heartbeat(older)))).toBe('REGISTRATION_CONFLICT');
    expect(addressesOf('orders')).toEqual([{ '0': 'a:8080' }]);

    table.register('c', 'a', 1, full([topic('orders')], { address: 'b:8080', epoch: 3 }));
    expect(addressesOf('orders')).toEqual([{ '0': 'b:8080' }]);
    expect(reported.map((change) => change.kind)).toEqual(['REGISTERED', 'REFUSED', 'REMOVED', 'REGISTERED']);
  });

  test.each([
    ['older stateVersion', version(1), 'REGISTRATION_CONFLICT'],
    ['older last change', version(2, 9, 999), 'REGISTRATION_CONFLICT'],
    ['younger last change', version(2, 0, 1_001), 'none'],
    ['newer stateVersion', version(3), 'none'],
  ])('in the same epoch, %s: %s', (_case, dataVersion, code) => {
    const { table } = setup();
    table.register('c', 'a', 1, full([], { epoch: 2 }));
    const claim = full([], { address: 'b:8080', epoch: 2, dataVersion });
    expect(codeOf(() => table.register('c', 'a', 1, claim))).toBe(code);
  });

  test('a silent holder defends nothing', async () => {
    const { clock, table } = setup();
    table.register('c', 'a', 1, full([], { epoch: 2 }));
    await clock.advance(120_001);
    expect(codeOf(() => table.register('c', 'a', 1, full([], { address: 'b:8080', epoch: 1 })))).toBe('none');
    expect(codeOf(() => table.register('other', 'b', 1, full([], { address: 'c:8080' })))).toBe('none');
  });

  test('the same process may come back with less than it had', () => {
    const { table, names } = setup();
    table.register('c', 'a', 1, full([topic('orders')], { epoch: 5 }));
    table.register('c', 'a', 1, full([topic('payments')], { epoch: 1 }));
    expect(names()).toEqual(['payments']);
  });

  test('a broker name belongs to one cluster', () => {
    const { table, names } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    const foreign = full([topic('payments')], { address: 'b:8080', epoch: 9 });
    expect(codeOf(() => table.register('other', 'a', 2, foreign))).toBe('REGISTRATION_CONFLICT');
    expect(names()).toEqual(['orders']);
  });

  test('an address belongs to one member: the newcomer has it', () => {
    const { table, names, reported } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    table.register('c', 'renamed', 1, full([topic('payments', ['renamed'])]));
    expect(names()).toEqual(['payments']);
    expect(reported[1]).toMatchObject({ kind: 'REMOVED', broker: 'a', reason: 'ADDRESS_TAKEN' });
    expect(table.register('c', 'a', 1, heartbeat(full([]))).known).toBe(false);
  });

  test('a member that changes its id keeps the group and an operator’s wipe', () => {
    const { table, queuesOf, addressesOf } = setup();
    table.register('c', 'a', 1, full([topic('orders')]));
    table.wipeWritePermission('a');
    table.register('c', 'a', 2, full([topic('orders')]));
    expect(addressesOf('orders')).toEqual([{ '0': 'a:8080' }]);
    expect(queuesOf('orders')).toMatchObject([{ permission: 'R' }]);
  });
});

describe('permission', () => {
  test('what topic and broker allow together', () => {
    const { table, queuesOf } = setup();
    const topics = [topic('rw'), topic('w', ['a'], { permission: 'W' }), topic('none', ['a'], { permission: 'NONE' })];
    table.register('c', 'a', 1, full(topics, { permission: 'R' }));
    expect(['rw', 'w', 'none'].map((name) => queuesOf(name)[0]?.permission)).toEqual(['R', 'NONE', 'NONE']);
  });

  test('a wipe holds across heartbeats, changes and full registrations until it is restored', () => {
    const { table, queuesOf } = setup();
    const first = full([topic('orders'), topic('payments', ['a'], { permission: 'R' })]);
    const permissions = () => ['orders', 'payments'].map((name) => queuesOf(name)[0]?.permission);
    table.register('c', 'a', 1, first);
    expect(table.wipeWritePermission('a')).toBe(2);
    table.register('c', 'a', 1, heartbeat(first));
    table.register('c', 'a', 1, changes(first, { topics: [topic('orders', ['a'], { version: 2 })] }));
    table.register('c', 'a', 1, { ...first, dataVersion: version(1, 7) });
    expect(permissions()).toEqual(['R', 'R']);
    expect(table.clusterView().clusters[0]?.brokers[0]?.writePermission).toBe(false);

    expect(table.restoreWritePermission('a')).toBe(2);
    expect(permissions()).toEqual(['RW', 'R']);
    expect(codeOf(() => table.restoreWritePermission('nobody'))).toBe('BROKER_NOT_FOUND');
  });

  test('a wipe concerns one broker and ends with it', async () => {
    const { clock, table, queuesOf } = setup();
    table.register('c', 'a', 1, full([topic('orders', ['a', 'b'])]));
    table.register('c', 'b', 1, full([topic('orders', ['a', 'b'])], { address: 'b:8080' }));
    table.wipeWritePermission('a');
    expect(queuesOf('orders')).toMatchObject([{ permission: 'R' }, { permission: 'RW' }]);
    await clock.advance(120_001);
    table.register('c', 'a', 1, full([topic('orders', ['a', 'b'])]));
    expect(queuesOf('orders')).toMatchObject([{ broker: 'a', permission: 'RW' }]);
  });
});

describe('a topic on several brokers', () => {
  test('partitions are the newest version’s, also those of a broker that is away', () => {
    const { table } = setup();
    table.register('c', 'a', 1, full([topic('orders', ['a'])]));
    table.register('c', 'b', 1, full([topic('orders', ['a', 'b', 'gone'], { version: 2 })], { address: 'b:8080' }));
    const route = table.route('orders');
    expect(route?.version).toBe(2);
    expect(route?.partitions.map((partition) => partition.broker)).toEqual(['a', 'a', 'b', 'b', 'gone', 'gone']);
    expect(route?.queues.map((queue) => queue.broker)).toEqual(['a', 'b']);
  });

  test('a broker that still has an older creation of the topic contributes nothing', () => {
    const { table } = setup();
    table.register('c', 'a', 1, full([topic('orders', ['a'], { id: 'first', version: 3 })]));
    table.register('c', 'b', 1, full([topic('orders', ['b'], { id: 'second', version: 4 })], { address: 'b:8080' }));
    expect(table.route('orders')).toMatchObject({
      id: 'second',
      brokers: [{ broker: 'b' }],
      queues: [{ broker: 'b' }],
    });
  });

  test('the topic is gone with the last broker that has it', () => {
    const { table, names } = setup();
    const first = full([topic('orders', ['a', 'b'])]);
    table.register('c', 'a', 1, first);
    table.register('c', 'b', 1, full([topic('orders', ['a', 'b'])], { address: 'b:8080' }));
    table.unregister('c', 'b', 1);
    expect(names()).toEqual(['orders']);
    table.register('c', 'a', 1, changes(first, { removedTopics: ['orders'] }));
    expect(names()).toEqual([]);
  });
});

describe('lists', () => {
  test('routes come in pages by name, and a page goes on after a name that has gone', () => {
    const { table } = setup();
    const registered = full(['d', 'B', 'a', 'c', '%RETRY%g'].map((name) => topic(name)));
    table.register('c', 'a', 1, registered);
    const page = (after: string | undefined, limit: number) => {
      const { routes, next } = table.routes(after, limit);
      return [routes.map((route) => route.topic), next];
    };
    expect(page(undefined, 2)).toEqual([['%RETRY%g', 'B'], 'B']);
    expect(page('B', 2)).toEqual([['a', 'c'], 'c']);
    expect(page('c', 2)).toEqual([['d'], undefined]);
    expect(page('c', 1)).toEqual([['d'], undefined]);
    table.register('c', 'a', 1, changes(registered, { removedTopics: ['B'] }));
    expect(page('B', 9)).toEqual([['a', 'c', 'd'], undefined]);
    expect(page('zzz', 9)).toEqual([[], undefined]);
  });

  test('clusters, brokers and members come in order', () => {
    const { table } = setup();
    for (const [cluster, broker, id] of [
      ['c2', 'z', 1],
      ['c1', 'y', 2],
      ['c1', 'y', 1],
      ['c1', 'x', 1],
    ] as const) {
      table.register(cluster, broker, id, full([], { address: `${broker}${id}:1` }));
    }
    const view = table
      .clusterView()
      .clusters.map(({ cluster, brokers }) => [
        cluster,
        brokers.map(({ broker, members }) => [broker, members.map((member) => member.brokerId)]),
      ]);
    expect(view).toEqual([
      [
        'c1',
        [
          ['x', [1]],
          ['y', [1, 2]],
        ],
      ],
      ['c2', [['z', [1]]]],
    ]);
  });
});
