/** A message whose last delivery ended by silence is a dead letter at that moment, though nobody receives. */
import type { NewGroup } from '../../src/broker/groups';
import { bodies, codeOf, HOUR, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function shop(group: Partial<NewGroup> = {}): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1, type: 'MIXED' });
  await t.group('billing', group);
  return t;
}

const progress = (t: Bench) => t.rooms.positions.offsets('billing').queues[0]!;
const letters = async (t: Bench) => (await t.rooms.deadLetters.list('billing', -1, 100)).deadLetters;
const dead = async (t: Bench): Promise<string[]> => bodies((await letters(t)).map(({ delivery }) => delivery));

async function over(t: Bench, ms: number): Promise<void> {
  await t.clock.advance(ms);
  await t.settled();
}

test('it is listed with its reason, counted, and can be redriven', async () => {
  const t = await shop({ maxAttempts: 1 });
  const [a] = await t.send('orders', 'a', 'b');
  for (const attempt of [1, 2]) {
    const { messages } = await t.receive('billing', { max: 1, invisibleMs: 1000 });
    expect(messages).toMatchObject([{ attempt }]);
    expect(await dead(t)).toEqual([]);
    await over(t, 1001);
  }
  expect(await letters(t)).toMatchObject([
    { deadTimestamp: t.clock.now(), reason: 'the lease of delivery 2, the last one, ended without an acknowledgement' },
  ]);
  expect(progress(t)).toMatchObject({ committed: 1, ready: 1, inFlight: 0 });
  expect(t.state.groupsByName.get('billing')!.counts).toEqual({ waiting: 0, dead: 1 });
  const [entry] = (await t.rooms.traces.of('orders', a!.messageId, 10, undefined)).entries;
  expect(entry).toMatchObject({ status: 'DEAD', attempt: 2 });
  await t.rooms.deadLetters.redrive('billing', { all: true, dryRun: false });
  expect(bodies((await t.receive()).messages).sort()).toEqual(['a', 'b']);
});

test('one that came back as a retry counts its deliveries there and before', async () => {
  const t = await shop({ maxAttempts: 2 });
  await t.send('orders', 'a');
  const [a] = (await t.receive()).messages;
  await t.rooms.leases.nack('billing', [{ receiptHandle: a!.receiptHandle, delayMs: 0 }]);
  await over(t, 1000);
  for (const attempt of [2, 3]) {
    expect((await t.receive('billing', { invisibleMs: 1000 })).messages).toMatchObject([{ attempt }]);
    expect(await dead(t)).toEqual([]);
    await over(t, 1001);
  }
  expect(await dead(t)).toEqual(['a']);
});

test('in an ordered group the next of its messageGroup follows, also to who waits', async () => {
  const t = await shop({ maxAttempts: 0, ordered: true });
  for (const body of ['a1', 'a2']) await t.send('orders', { body, messageGroup: 'a' });
  await t.receive('billing', { max: 1, invisibleMs: 1000 });
  const waiting = t.receive('billing', { waitMs: 30_000, invisibleMs: HOUR });
  await t.parked(1);
  await over(t, 1001);
  expect(bodies((await waiting).messages)).toEqual(['a2']);
  expect(await dead(t)).toEqual(['a1']);
});

test.each([
  ['a restart', (t: Bench) => t.restart()],
  ['a crash', (t: Bench) => t.crash()],
])('also when its last lease ends behind %s, or ended meanwhile', async (_, again) => {
  const t = await shop({ maxAttempts: 0 });
  await t.send('orders', 'a', 'b');
  await t.receive('billing', { max: 1, invisibleMs: 1000 });
  await t.receive('billing', { max: 1, invisibleMs: 5000 });
  t.clock.jumpTo(t.clock.now() + 2000);
  await again(t);
  await over(t, 1);
  expect(await dead(t)).toEqual(['a']);
  await over(t, 3000);
  expect(await dead(t)).toEqual(['a', 'b']);
  await t.crash();
  await over(t, 1000);
  expect(await dead(t)).toEqual(['a', 'b']);
});

test('one that is acknowledged, extended or given back in time is none', async () => {
  const t = await shop({ maxAttempts: 0 });
  await t.send('orders', 'acked', 'extended', 'back');
  const answers = [];
  for (let i = 0; i < 3; i++) answers.push(await t.receive('billing', { max: 1, invisibleMs: 1000 }));
  const [acked, extended] = answers.flatMap(({ messages }) => messages.map(({ receiptHandle }) => receiptHandle));
  await t.rooms.leases.acknowledge('billing', [acked!]);
  await t.rooms.leases.extend('billing', [{ receiptHandle: extended!, invisibleMs: 5000 }]);
  answers[2]!.giveBack();
  await over(t, 1001);
  expect(await dead(t)).toEqual([]);
  expect((await t.receive('billing', { invisibleMs: HOUR })).messages).toMatchObject([{ attempt: 1 }]);
  await over(t, 5000);
  expect(await dead(t)).toEqual(['extended']);
});

test('with fewer attempts allowed what lies there is given up at once', async () => {
  const t = await shop({ maxAttempts: 5 });
  await t.send('orders', 'a', 'b');
  for (let i = 0; i < 2; i++) {
    await t.receive('billing', { max: 1, invisibleMs: 1000 });
    await over(t, 1001);
  }
  await t.group('billing', { maxAttempts: 1 });
  await over(t, 1);
  expect(await dead(t)).toEqual(['a']);
  await over(t, 1000);
  expect(bodies((await t.receive()).messages)).toEqual(['b']);
});

test('many are given up together, and a consumer may join afterwards', async () => {
  const t = await shop({ maxAttempts: 0 });
  await t.send('orders', ...Array.from({ length: 200 }, (_, i) => `m${i}`));
  expect((await t.receive('billing', { max: 1000, invisibleMs: 1000 })).messages).toHaveLength(200);
  expect(await codeOf(t.join())).toBe('STYLE_CONFLICT');
  await over(t, 1001);
  await over(t, 1000);
  expect(t.state.groupsByName.get('billing')!.counts.dead).toBe(200);
  await t.join();
  expect((await t.poll()).reason).toBe('CAUGHT_UP');
  expect(t.committed()).toEqual([200]);
});

test('one that retention deleted before is none', async () => {
  const t = await shop({ maxAttempts: 0 });
  await t.send('orders', 'a');
  await t.receive('billing', { invisibleMs: 12 * HOUR });
  expect(progress(t)).toMatchObject({ ready: 0, inFlight: 1 });
  await t.rooms.retention.trim(t.state.applied + 1, { reason: 'age' });
  expect(progress(t)).toMatchObject({ ready: 0, inFlight: 0 });
  await over(t, 1000);
  t.clock.jumpTo(t.clock.now() + 12 * HOUR);
  await t.restart();
  await over(t, 2000);
  expect(await dead(t)).toEqual([]);
  expect(progress(t)).toMatchObject({ ready: 0, inFlight: 0 });
  expect((await t.receive()).reason).toBe('CAUGHT_UP');
  expect(progress(t)).toMatchObject({ ready: 0, inFlight: 0 });
});
