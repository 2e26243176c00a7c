/** Waiting without taking, for fronts that wait on several brokers; and giving back what reached nobody. */
import { HOUR, codeOf, setup, stopBrokers, turn } from '../support/broker';

afterEach(stopBrokers);

const { signal } = new AbortController();
const wait = (waitMs: number, given = signal) => ({ waitMs, signal: () => given });

async function mail(given = {}) {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group('mail', given);
  return { t, leases: t.rooms.leases };
}

describe('messages', () => {
  test('that are there: at once, and nothing is taken', async () => {
    const { t, leases } = await mail();
    await t.send('orders', 'a', 'b');
    const { end } = t.journal;
    expect(await leases.ready('mail', wait(5000))).toBe(true);
    expect(await leases.ready('mail', wait(0))).toBe(true);
    expect(t.journal.end).toBe(end);
    expect((await t.receive('mail')).messages.map(({ attempt }) => attempt)).toEqual([1, 1]);
  });

  test('that come wake everybody who waits so, one after the other, and a receive still gets them', async () => {
    const { t, leases } = await mail();
    const waiting = [1, 2, 3].map(() => leases.ready('mail', wait(5000)));
    await t.parked(3);
    await t.send('orders', 'a');
    expect(await Promise.all(waiting)).toEqual([true, true, true]);
    expect((await t.receive('mail')).messages).toHaveLength(1);
  });

  test('that do not come: no, when the time is over', async () => {
    const { t, leases } = await mail();
    const waiting = leases.ready('mail', wait(1000));
    await t.parked(1);
    await t.clock.advance(1000);
    expect(await waiting).toBe(false);
    expect(await leases.ready('mail', wait(0))).toBe(false);
  });

  test('that others have, or that the filter leaves out, are none', async () => {
    const { t, leases } = await mail({ filter: { type: 'TAG', expression: 'x' } });
    await t.send('orders', { tag: 'y' }, { tag: 'x' });
    await t.receive('mail');
    expect(await leases.ready('mail', wait(0))).toBe(false);
    const waiting = leases.ready('mail', wait(HOUR));
    await t.parked(1);
    await t.clock.advance(60_000);
    expect(await waiting).toBe(true); // its lease is over
  });

  test('nobody is left waiting when the one that was woken is gone', async () => {
    const { t, leases } = await mail();
    const gone = new AbortController();
    const first = leases.ready('mail', wait(HOUR, gone.signal));
    await t.parked(1);
    const second = t.receive('mail', { waitMs: HOUR });
    await t.parked(2);
    const sent = t.send('orders', 'a');
    gone.abort();
    await sent;
    await first;
    expect((await second).messages).toHaveLength(1);
  });

  test('are judged like a receive: by group and style', async () => {
    const { t, leases } = await mail();
    expect(await codeOf(leases.ready('nobody', wait(0)))).toBe('GROUP_NOT_FOUND');
    await t.join('mail', 'c1');
    expect(await codeOf(leases.ready('mail', wait(0)))).toBe('STYLE_CONFLICT');
  });
});

describe('giving back', () => {
  test('brings messages back at once, without an attempt', async () => {
    const { t, leases } = await mail();
    await t.send('orders', 'a', 'b');
    const { messages } = await t.receive('mail');
    const waiting = t.receive('mail', { waitMs: 5000 });
    await t.parked(1);
    await leases.giveBack(
      'mail',
      messages.map(({ receiptHandle }) => receiptHandle),
    );
    expect((await waiting).messages.map(({ attempt }) => attempt)).toEqual([1, 1]);
  });

  test('passes over what is no handle, or acknowledged', async () => {
    const { t, leases } = await mail();
    await t.send('orders', 'a', 'b');
    const [a, b] = (await t.receive('mail')).messages.map(({ receiptHandle }) => receiptHandle);
    await leases.acknowledge('mail', [a!]);
    await leases.giveBack('mail', ['AAAA', a!, b!]);
    expect((await t.receive('mail')).messages.map(({ queueOffset }) => queueOffset)).toEqual([1]);
  });
});

describe('questions about transactions', () => {
  async function prepared() {
    const t = await setup();
    await t.topic('transfers', { type: 'TRANSACTION' });
    const request = { producerGroup: 'banks', checkAfterMs: 6000, message: { text: true, body: Buffer.from('a') } };
    const prepare = () => t.rooms.transactions.prepare('transfers', request, undefined);
    return { t, prepare, checkbacks: t.rooms.checkbacks };
  }

  test('wake whoever waits when they are due, and are asked by whoever polls then', async () => {
    const { t, prepare, checkbacks } = await prepared();
    await prepare();
    const waiting = [1, 2].map(() => checkbacks.ready('banks', wait(HOUR)));
    await t.parked(2);
    await t.clock.advance(5000);
    expect(t.broker.lot.parked).toBe(2);
    await t.clock.advance(2000);
    expect(await Promise.all(waiting)).toEqual([true, true]);
    const { checks } = await checkbacks.poll('banks', { max: 10, ...wait(0) });
    expect(checks.map(({ half }) => half.checks)).toEqual([1]);
    expect(await checkbacks.ready('banks', wait(0))).toBe(false);
  });

  test('that nobody comes to ask after all are the webhook’s', async () => {
    const { t, prepare, checkbacks } = await prepared();
    const asked: string[] = [];
    t.checkCaller.ask = (_, { transactionId }) => {
      asked.push(transactionId);
      return Promise.resolve('UNKNOWN');
    };
    await checkbacks.putGroup({
      ...{ name: 'banks', checkAfterMs: 6000, checkIntervalMs: 30_000, maxChecks: 15 },
      webhook: { url: 'http://a', secret: 'x' },
    });
    const { transactionId } = await prepare();
    const waiting = checkbacks.ready('banks', wait(HOUR));
    await t.parked(1);
    await t.clock.advance(7000);
    expect(await waiting).toBe(true);
    for (let i = 0; i < 5; i++) await t.clock.advance(1000).then(turn);
    expect(asked).toEqual([transactionId]);
  });
});
