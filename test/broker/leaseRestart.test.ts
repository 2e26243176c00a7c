/** Leases over a restart: the wall clock goes on while no process runs. */
import { leaseValue, readLease } from '../../src/broker/leaseRow';
import { bodies, HOUR, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function shop(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group('billing');
  return t;
}

const progress = (t: Bench) => t.rooms.positions.offsets('billing').queues[0]!;
const traceOf = async (t: Bench, id: string) => (await t.rooms.traces.of('orders', id, 10, undefined)).entries[0]!;

const ENDS = [
  ['restart', (t: Bench) => t.restart()],
  ['crash', (t: Bench) => t.crash()],
] as const;

/** Ends the process, lets time go by without it, and starts it again. */
async function away(t: Bench, ms: number): Promise<void> {
  await t.stop();
  t.clock.jumpTo(t.clock.now() + ms);
  await t.open();
  await t.broker.start();
}

test.each(ENDS)('a message ready before a %s is ready after it, one in flight is in flight', async (_, end) => {
  const t = await shop();
  await t.send('orders', 'a', 'b', 'c');
  await t.receive('billing', { max: 1, invisibleMs: 1000 });
  await t.receive('billing', { max: 1, invisibleMs: 12 * HOUR });
  await t.clock.advance(1001);
  const before = progress(t);
  expect(before).toMatchObject({ ready: 2, inFlight: 1 });
  await end(t);
  expect(progress(t)).toMatchObject({ ready: 2, inFlight: 1, lag: before.lag, committed: before.committed });
  expect(bodies((await t.receive()).messages)).toEqual(['a', 'c']);
});

test('the time without a process counts', async () => {
  const t = await shop();
  const [a] = await t.send('orders', 'a');
  const [leased] = (await t.receive('billing', { invisibleMs: 12 * HOUR })).messages;
  for (let i = 0; i < 3; i++) {
    await away(t, 3 * HOUR);
    expect(await traceOf(t, a!.messageId)).toMatchObject({
      status: 'IN_FLIGHT',
      invisibleUntil: leased!.invisibleUntil,
    });
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
  }
  const waiting = t.receive('billing', { waitMs: 30_000 });
  await t.parked(1);
  t.clock.jumpTo(leased!.invisibleUntil - 1000);
  await away(t, 2000);
  expect((await waiting).reason).toBe('SHUTTING_DOWN');
  expect(await traceOf(t, a!.messageId)).toMatchObject({ status: 'WAITING_RETRY', attempt: 2 });
  expect((await t.receive()).messages).toMatchObject([{ attempt: 2 }]);
});

test('an extended lease ends when the extension said, and a message that failed in its place comes when it was due', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1, type: 'FIFO' });
  await t.group('billing', { ordered: true });
  await t.send('orders', { body: 'a', messageGroup: 'a' }, { body: 'b', messageGroup: 'b' });
  const [a, b] = (await t.receive('billing', { invisibleMs: 1000 })).messages.map(({ receiptHandle }) => receiptHandle);
  await t.rooms.leases.extend('billing', [{ receiptHandle: a!, invisibleMs: 60_000 }]);
  await t.rooms.leases.nack('billing', [{ receiptHandle: b!, delayMs: 40_000, reason: undefined }]);
  await away(t, 39_000);
  expect((await t.receive()).messages).toEqual([]);
  await t.clock.advance(1001);
  expect(bodies((await t.receive()).messages)).toEqual(['b']);
  await away(t, 20_000);
  expect(bodies((await t.receive()).messages)).toEqual(['a']);
});

test('a clock that was set back makes no lease longer than it was given for', async () => {
  const t = await shop();
  await t.send('orders', 'a');
  await t.receive('billing', { invisibleMs: 10_000 });
  await away(t, -100 * HOUR);
  await t.clock.advance(9_999);
  expect((await t.receive()).reason).toBe('IN_FLIGHT');
  await t.clock.advance(2);
  expect((await t.receive()).messages).toMatchObject([{ attempt: 2 }]);
});

test('rows of earlier versions are read, and written as they were', () => {
  const entry = { attempt: 3, lease: 2 ** 40, ms: 43_200_000, groupHash: 0xffffffff };
  for (const one of [
    entry,
    { ...entry, failed: true },
    { ...entry, until: 1_768_478_419_000 },
    { ...entry, until: 0, failed: true },
  ])
    expect(readLease(leaseValue(one))).toEqual(one);
  expect(leaseValue(entry)).toHaveLength(20);
  expect(readLease(Buffer.concat([leaseValue(entry), Buffer.alloc(1)]))).toEqual({ ...entry, failed: true });
});

test('a lease that an earlier version recorded has its full time', async () => {
  const t = await shop();
  await t.send('orders', 'a');
  await t.receive('billing', { invisibleMs: 10_000 });
  for (const leases of t.state.groupsByName.get('billing')!.leases.values())
    for (const [offset, { until: _, ...old }] of leases.entries)
      t.state.putLease(t.state.groupsByName.get('billing')!, leases, offset, old);
  await away(t, HOUR);
  expect((await t.receive()).reason).toBe('IN_FLIGHT');
  await t.clock.advance(10_001);
  expect((await t.receive()).messages).toMatchObject([{ attempt: 2 }]);
});
