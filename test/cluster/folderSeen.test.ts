import { RouteTable } from '../../src/nameserver/routeTable';
import { folderSeen } from '../../src/cluster/folderSeen';
import type { NameserverPeer } from '../../src/cluster/nameserverPeer';
import type { Registration } from '../../src/nameserver/route';
import { ManualClock } from '../support/clock';

const ID = '0'.repeat(32);
const registration = (more: Partial<Registration>): Registration => ({
  ...{
    mode: 'FULL',
    address: '10.0.0.1:8080',
    role: 'MASTER',
    epoch: 3,
    messageIdTag: '10.0.0.1:8080',
    permission: 'RW',
  },
  ...{ folderId: ID, journalEnd: 10, dataVersion: { stateVersion: 3, timestamp: 1, counter: 0 }, topics: [] },
  ...more,
});

const peerOf = (table: RouteTable): NameserverPeer =>
  ({ clusterView: async () => ({ started: true, ...table.clusterView() }) }) as unknown as NameserverPeer;
const dead = { clusterView: () => Promise.reject(new Error('ECONNREFUSED')) } as unknown as NameserverPeer;

test('a NameServer remembers how far a folder had come, by heartbeats too, and after the broker has gone', async () => {
  const clock = new ManualClock();
  const table = new RouteTable(clock);
  table.register('c', 'a', 1, registration({}));
  table.register('c', 'a', 1, registration({ mode: 'HEARTBEAT', journalEnd: 25 }));
  table.unregister('c', 'a', 1);
  expect(table.clusterView().clusters).toEqual([]);
  expect(await folderSeen(clock, [dead, peerOf(table)], ID)).toEqual({ epoch: 3, journalEnd: 25 });
});

test('the furthest of all counts; nobody knows of a folder that was never registered', async () => {
  const clock = new ManualClock();
  const tables = [10, 30, 20].map((journalEnd) => {
    const table = new RouteTable(clock);
    table.register('c', 'a', 1, registration({ journalEnd }));
    return table;
  });
  expect(await folderSeen(clock, tables.map(peerOf), ID)).toEqual({ epoch: 3, journalEnd: 30 });
  expect(await folderSeen(clock, tables.map(peerOf), 'f'.repeat(32))).toBeUndefined();
  expect(await folderSeen(clock, [dead], ID)).toBeUndefined();
  expect(await folderSeen(clock, [], ID)).toBeUndefined();
});
