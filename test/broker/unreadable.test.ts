/** The lease style on topics that may not be read: refused as a poll is, and what is out stays in view. */
import type { Permission } from '../../src/broker/topic';
import { bodies, codeOf, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const ONE = { readQueues: 1, writeQueues: 1 };

async function shop(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', ONE);
  await t.group();
  return t;
}

const permit = (t: Bench, permission: Permission, topic = 'orders') => t.rooms.topics.update(topic, { permission });

test.each([
  ['RW', undefined],
  ['R', undefined],
  ['W', 'NO_PERMISSION'],
  ['NONE', 'NO_PERMISSION'],
] as const)('a receive while the permission is %s → %s', async (permission, refused) => {
  const t = await shop();
  await t.send('orders', 'x');
  await permit(t, permission);
  const wait = { waitMs: 0, signal: () => new AbortController().signal };
  if (refused) {
    expect(await codeOf(t.receive())).toBe(refused);
    expect(await codeOf(t.rooms.leases.ready('billing', wait))).toBe(refused);
  } else expect(bodies((await t.receive()).messages)).toEqual(['x']);
});

test('a receive that waits is ended when reading is taken away', async () => {
  const t = await shop();
  const refused = codeOf(t.receive('billing', { waitMs: 30_000 }));
  await t.parked(1);
  await permit(t, 'W');
  expect(await refused).toBe('NO_PERMISSION');
});

test('a message that was leased before is acknowledged, and its attempt is asked for again', async () => {
  const t = await shop();
  await t.send('orders', 'x');
  const [message] = (await t.receive('billing', { attemptId: 'once' })).messages;
  await permit(t, 'W');
  expect(bodies((await t.receive('billing', { attemptId: 'once' })).messages)).toEqual(['x']);
  const [acked] = await t.rooms.leases.acknowledge('billing', [message!.receiptHandle]);
  expect(acked!.error).toBeUndefined();
});

describe('a group of several topics', () => {
  async function two(): Promise<Bench> {
    const t = await shop();
    await t.topic('mail', ONE);
    await t.rooms.groups.update('billing', (before) => ({ ...before, topic: 'orders', allowMultipleTopics: true }));
    await t.join('billing', 'c1', { topic: 'mail' });
    t.rooms.groups.leave('billing', 'c1');
    return t;
  }

  test('is served what may be read, and told of all that is out', async () => {
    const t = await two();
    await t.send('orders', 'o1', 'o2');
    await t.receive('billing', { max: 1 });
    await permit(t, 'W');
    await t.send('mail', 'm1');
    const { messages, lag } = await t.receive('billing', { max: 9 });
    expect(bodies(messages)).toEqual(['m1']);
    expect(lag).toEqual({ ready: 0, inFlight: 2 });
    expect((await t.receive()).lag).toEqual({ ready: 0, inFlight: 2 });
  });

  test('is refused when none of them may be read', async () => {
    const t = await two();
    await permit(t, 'NONE');
    await permit(t, 'W', 'mail');
    expect(await codeOf(t.receive())).toBe('NO_PERMISSION');
  });
});
