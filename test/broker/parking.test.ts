/** Polls that wait: woken by key, once, bounded, and gone when their client is. */
import { ParkingLot, type Parking, type WakeReason } from '../../src/broker/parking';
import { Queue } from '../../src/broker/queue';
import { codeOf, turn } from '../support/broker';
import { ManualClock } from '../support/clock';

function setup(limits = { total: 100, perGroup: 100 }) {
  const clock = new ManualClock();
  const lot = new ParkingLot(clock, limits);
  const queues = [new Queue(1, 0, 0, 0), new Queue(1, 1, 0, 0)];
  const ended: WakeReason[] = [];
  const parkings: Parking[] = [];
  const wait = (options: Partial<Parameters<ParkingLot['wait']>[0]> = {}) => {
    const waiting = lot.wait({ queues, ms: 1000, onParked: (parking) => parkings.push(parking), ...options });
    void waiting.then((reason) => ended.push(reason)).catch(() => undefined);
    return waiting;
  };
  return { clock, lot, queues, wait, ended, parkings };
}

describe('a wait', () => {
  test('stands on each of its queues and is woken by one of them', async () => {
    const { queues, lot, wait, clock } = setup();
    const waiting = wait();
    expect(queues.map((queue) => queue.waiting.size)).toEqual([1, 1]);
    [...queues[1]!.waiting][0]!.wake('DATA');
    expect(await waiting).toBe('DATA');
    expect(queues.map((queue) => queue.waiting.size)).toEqual([0, 0]);
    expect(lot.parked).toBe(0);
    expect(clock.pendingTimers).toBe(0);
  });

  test('ends when its time is over, not before', async () => {
    const { clock, wait, ended, queues } = setup();
    void wait({ ms: 500 });
    await clock.advance(499);
    expect(ended).toEqual([]);
    await clock.advance(1);
    expect(ended).toEqual(['TIMEOUT']);
    expect(queues[0]!.waiting.size).toBe(0);
  });

  test('is woken once: the first reason counts', async () => {
    const { wait, parkings } = setup();
    const waiting = wait();
    parkings[0]!.wake('REBALANCED');
    parkings[0]!.wake('DATA');
    expect(await waiting).toBe('REBALANCED');
  });

  test('ends at once when its client goes away', async () => {
    const { lot, wait, clock, queues } = setup();
    const abort = new AbortController();
    const waiting = wait({ signal: abort.signal });
    abort.abort();
    expect(await waiting).toBe('GONE');
    expect([lot.parked, clock.pendingTimers, queues[0]!.waiting.size]).toEqual([0, 0, 0]);
  });

  test('does not begin for a client that has gone already', async () => {
    const { lot, wait, queues } = setup();
    expect(await wait({ signal: AbortSignal.abort() })).toBe('GONE');
    expect([lot.parked, queues[0]!.waiting.size]).toEqual([0, 0]);
  });

  test('without queues waits for its time or a rebalance', async () => {
    const { wait, parkings } = setup();
    const waiting = wait({ queues: [] });
    parkings[0]!.wake('REBALANCED');
    expect(await waiting).toBe('REBALANCED');
  });
});

describe('the bounds', () => {
  test('of the process refuse the next poll, until one ends', async () => {
    const { lot, wait, parkings, ended } = setup({ total: 2, perGroup: 100 });
    void wait();
    void wait();
    await expect(wait()).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS', extras: { retryAfterMs: 1000 } });
    expect(lot.parked).toBe(2);
    parkings[0]!.wake('DATA');
    void wait();
    expect(lot.parked).toBe(2);
    await turn();
    expect(ended).toEqual(['DATA']);
  });

  test('of a group refuse its next poll and nobody else’s', async () => {
    const { lot, wait, parkings } = setup({ total: 100, perGroup: 2 });
    void wait({ group: 'billing' });
    void wait({ group: 'billing' });
    expect(await codeOf(wait({ group: 'billing' }))).toBe('TOO_MANY_REQUESTS');
    void wait({ group: 'mail' });
    void wait();
    expect(lot.parked).toBe(4);
    parkings[1]!.wake('DATA');
    void wait({ group: 'billing' });
    expect(await codeOf(wait({ group: 'billing' }))).toBe('TOO_MANY_REQUESTS');
  });

  test('a refused poll leaves nothing behind', async () => {
    const { lot, wait, queues, clock } = setup({ total: 1, perGroup: 1 });
    void wait({ group: 'billing' });
    await codeOf(wait({ group: 'billing' }));
    await codeOf(wait());
    expect([lot.parked, queues[0]!.waiting.size, clock.pendingTimers]).toEqual([1, 1, 1]);
  });
});

test('a lot that closes answers everybody, now and from now on', async () => {
  const { lot, wait, clock, queues } = setup();
  const waiting = [wait(), wait({ group: 'billing' }), wait({ queues: [] })];
  lot.close();
  expect(await Promise.all(waiting)).toEqual(['STOPPED', 'STOPPED', 'STOPPED']);
  expect(await wait()).toBe('STOPPED');
  expect([lot.parked, clock.pendingTimers, queues[0]!.waiting.size]).toEqual([0, 0, 0]);
});
