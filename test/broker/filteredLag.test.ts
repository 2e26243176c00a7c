/** With leases, what a group's filter refuses counts as passed: positions move on, and lag reaches 0. */
import type { FilterSpec } from '../../src/broker/filter';
import { setup, stopBrokers, type Given, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const FILTERS: [string, FilterSpec][] = [
  ['a tag', { type: 'TAG', expression: 'wanted' }],
  ['SQL92', { type: 'SQL92', expression: "TAGS = 'wanted'" }],
];
const wanted = (body: string): Given => ({ body, tag: 'wanted' });
const refused = (count: number): Given[] => Array.from({ length: count }, (_, i) => ({ body: `r${i}`, tag: 'other' }));

async function shop(filter: FilterSpec): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group('billing', { filter });
  return t;
}

function lag(t: Bench) {
  const [progress] = t.rooms.positions.offsets('billing').queues;
  const metric = t.rooms.positions.lag(t.state.groupsByName.get('billing')!);
  expect(metric).toBe(progress!.lag);
  return progress!.lag;
}

/** Receives and acknowledges as a worker does, until an answer is empty. */
async function work(t: Bench, max: number): Promise<number> {
  for (let handled = 0; ;) {
    const { messages } = await t.receive('billing', { max });
    if (messages.length === 0) return handled;
    handled += messages.length;
    await t.rooms.leases.acknowledge(
      'billing',
      messages.map(({ receiptHandle }) => receiptHandle),
    );
  }
}

test('a receive of just what is there passes the refused messages behind it', async () => {
  const t = await shop({ type: 'TAG', expression: 'wanted' });
  await t.send('orders', wanted('a'), ...refused(3), wanted('b'), ...refused(2));
  for (const left of [3, 0]) {
    const [message] = (await t.receive('billing', { max: 1 })).messages;
    await t.rooms.leases.acknowledge('billing', [message!.receiptHandle]);
    expect(lag(t)).toBe(left);
  }
});

describe.each(FILTERS)('a filter by %s', (_, filter) => {
  test.each([1, 32])('messages at the end that are refused leave no lag (max %i)', async (max) => {
    const t = await shop(filter);
    await t.send('orders', ...refused(3), wanted('a'), ...refused(2), wanted('b'), ...refused(4));
    expect(await work(t, max)).toBe(2);
    expect(lag(t)).toBe(0);
    await t.crash();
    expect(lag(t)).toBe(0);
  });

  test('a topic with refused messages alone has no lag after one receive, each time', async () => {
    const t = await shop(filter);
    for (let i = 0; i < 3; i++) {
      await t.send('orders', ...refused(2));
      expect(await t.receive()).toMatchObject({ messages: [], reason: 'FILTERED', lag: { ready: 0, inFlight: 0 } });
      expect(lag(t)).toBe(0);
    }
  });

  test('messages that are leased keep the position, those refused behind them do not', async () => {
    const t = await shop(filter);
    await t.send('orders', wanted('a'), ...refused(3));
    const [message] = (await t.receive('billing', { max: 1 })).messages;
    await t.receive();
    expect(lag(t)).toBe(4);
    await t.rooms.leases.acknowledge('billing', [message!.receiptHandle]);
    expect(lag(t)).toBe(0);
  });

  test('a receive that waits records what it passes, not one command for each message', async () => {
    const t = await shop(filter);
    const receiving = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    const before = t.rooms.turns.commands;
    for (let i = 0; i < 20; i++) {
      await t.send('orders', ...refused(1));
      await t.settled();
    }
    await t.clock.advance(1000);
    await t.settled();
    expect(lag(t)).toBe(0);
    expect(t.rooms.turns.commands - before).toBeLessThan(20 + 4);
    await t.send('orders', wanted('a'));
    expect((await receiving).messages).toHaveLength(1);
  });
});
