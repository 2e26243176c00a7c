/** Failed messages of a group: they are counted, a reset tells which still come, and drops them when it is told to. */
import { decodeMessage } from '../../src/broker/message';
import { bodies, NAME, setup, stopBrokers, until, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const RETRIES = '%RETRY%billing';
const DELAY_MS = 5000;

/** A group with one message that waits for its retry, and one whose retry has come and lies in the group's own queue. */
async function failing(group: object = {}): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group('billing', { retryDelaysMs: [DELAY_MS], ...group });
  await t.send('orders', 'come', 'waiting');
  const [come, waiting] = (await t.receive('billing', { max: 2 })).messages;
  const nack = (message: typeof come, delayMs: number) =>
    t.rooms.leases.nack('billing', [{ receiptHandle: message!.receiptHandle, delayMs }]);
  await nack(come, 0);
  await t.clock.advance(10);
  await until(() => t.state.topicsByName.get(RETRIES)?.queues[0]?.max === 1, 'the retry');
  await nack(waiting, DELAY_MS);
  return t;
}

const counts = (t: Bench) => t.rooms.positions.offsets('billing').counts;
const reset = async (
  t: Bench,
  ...more: [only?: { broker: string; queueId: number; topic?: string }[], drop?: boolean]
) => {
  const { steps: _, ...retries } = await t.rooms.positions.reset('billing', 'LATEST', more[0], false, more[1]);
  return retries;
};
/** Bodies of the messages that come when all delays are over. */
const comes = async (t: Bench) => {
  await t.clock.advance(DELAY_MS + 1);
  await t.settled();
  return bodies((await t.receive('billing', { max: 9 })).messages).sort();
};

test('waiting messages and dead letters are counted', async () => {
  const t = await failing({ maxAttempts: 1 });
  expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
  const [retry] = (await t.receive()).messages;
  await t.rooms.leases.nack('billing', [{ receiptHandle: retry!.receiptHandle }]);
  expect(counts(t)).toEqual({ waiting: 1, dead: 1 });
});

test('a reset tells how many retries still come, and leaves them', async () => {
  const t = await failing();
  expect(await reset(t)).toEqual({ retriesToCome: 2, retriesDropped: 0 });
  expect(await comes(t)).toEqual(['come', 'waiting']);
});

test('a dry run tells of dropped retries, and leaves them', async () => {
  const t = await failing();
  const { steps, ...retries } = await t.rooms.positions.reset('billing', 'LATEST', undefined, true, true);
  expect(retries).toEqual({ retriesToCome: 0, retriesDropped: 2 });
  expect(steps.map(({ queue, from, to }) => [t.state.topics.get(queue.topic)!.record.name, from, to])).toEqual([
    ['orders', 2, 2],
    [RETRIES, 0, 1],
  ]);
  expect(await comes(t)).toEqual(['come', 'waiting']);
});

describe.each(['live', 'restart', 'crash'] as const)('retries that are dropped (%s)', (how) => {
  const again = async (t: Bench) => void (how === 'live' || (await t[how]()));

  test('do not come when they are due, and are not counted', async () => {
    const t = await failing();
    expect(await reset(t, undefined, true)).toEqual({ retriesToCome: 0, retriesDropped: 2 });
    await again(t);
    expect(counts(t)).toMatchObject({ waiting: 0 });
    expect(await comes(t)).toEqual([]);
    expect(counts(t)).toMatchObject({ waiting: 0 });
    expect(t.rooms.positions.lag(t.state.groupsByName.get('billing')!)).toBe(0);
  });

  test('are those of before: what fails later comes again', async () => {
    const t = await failing();
    await reset(t, undefined, true);
    await again(t);
    await t.send('orders', 'later');
    const [later] = (await t.receive()).messages;
    await t.rooms.leases.nack('billing', [{ receiptHandle: later!.receiptHandle }]);
    expect(counts(t)).toMatchObject({ waiting: 1 });
    expect(await comes(t)).toEqual(['later']);
    expect(counts(t)).toMatchObject({ waiting: 0 });
  });

  test('are over for a trace, before and after they would have come', async () => {
    const t = await failing();
    await reset(t, undefined, true);
    await again(t);
    const { record } = (await t.rooms.core.reader.one(t.state.topicsByName.get('orders')!.queues[0]!, 1))!;
    const id = decodeMessage(record).messageId.toString('hex').toUpperCase();
    const status = async () => (await t.rooms.traces.of('orders', id, 9, undefined)).entries[0]!.status;
    expect(await status()).toBe('CONSUMED');
    await comes(t);
    expect(await status()).toBe('CONSUMED');
  });
});

test('a reset to LATEST that names the retries drops them, unless it says otherwise', async () => {
  const named = [{ topic: RETRIES, broker: NAME, queueId: 0 }];
  const t = await failing();
  expect(await reset(t, named, false)).toEqual({ retriesToCome: 1, retriesDropped: 0 });
  expect(await reset(t, named)).toEqual({ retriesToCome: 0, retriesDropped: 1 });
  expect(await comes(t)).toEqual([]);
});
