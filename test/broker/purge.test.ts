/** A purge deletes the messages of a topic, and nothing else. */
import { bodies, codeOf, HOUR, setup, stopBrokers, to, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function ready(): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { type: 'MIXED', readQueues: 2, writeQueues: 2 });
  await t.topic('other');
  return t;
}

const purge = (t: Bench, before?: number, dryRun = false) => t.rooms.purge.run('orders', { before, dryRun });
const bounds = (t: Bench, topic = 'orders') =>
  t.state.topicsByName.get(topic)!.queues.map(({ min, max }) => `${min}..${max}`);
const all = async (t: Bench) => {
  const options = { from: undefined, to: undefined, limit: 100, behind: undefined };
  return bodies((await t.rooms.search.messages('orders', {}, options)).messages);
};

test('all messages go, whoever has read them, and new ones follow behind them', async () => {
  const t = await ready();
  await t.send('orders', to(0, 'a'), to(0, 'b'), to(1, 'c'));
  await t.send('other', to(0, 'x'));
  const purged = await purge(t);
  expect(purged.map(({ from, to: end }) => [from, end])).toEqual([
    [0, 2],
    [0, 1],
  ]);
  await t.send('orders', to(0, 'd'));
  const look = async () => {
    expect(bounds(t)).toEqual(['2..3', '1..1']);
    expect(bounds(t, 'other')[0]).toBe('0..1');
    expect(await all(t)).toEqual(['d']);
  };
  await look();
  await t.restart();
  await look();
  await t.crash();
  await look();
});

test('messages stored at the time or later stay', async () => {
  const t = await ready();
  await t.send('orders', to(0, 'old'), to(1, 'old too'));
  await t.skip(HOUR);
  const [sent] = await t.send('orders', to(0, 'new'));
  await purge(t, sent!.storeTimestamp);
  expect([bounds(t), await all(t)]).toEqual([['1..2', '1..1'], ['new']]);
});

test('a dry run tells the same and changes nothing', async () => {
  const t = await ready();
  await t.send('orders', to(0, 'a'), to(0, 'b'), to(1, 'c'));
  const planned = await purge(t, undefined, true);
  expect([bounds(t), await all(t)]).toEqual([
    ['0..2', '0..1'],
    ['a', 'b', 'c'],
  ]);
  expect((await purge(t)).map(({ from, to: end }) => [from, end])).toEqual(
    planned.map(({ from, to: end }) => [from, end]),
  );
  expect(await purge(t, undefined, true)).toMatchObject([
    { from: 2, to: 2 },
    { from: 1, to: 1 },
  ]);
});

test('a group is told by its next poll, and its lag is 0', async () => {
  const t = await ready();
  await t.group('billing');
  await t.join();
  await t.send('orders', to(0, 'a'), to(0, 'b'), to(1, 'c'));
  await purge(t);
  const answer = await t.poll();
  expect(answer.messages).toEqual([]);
  expect(answer.moved).toMatchObject([
    { from: 0, to: 2 },
    { from: 0, to: 1 },
  ]);
});

test('messages that wait for their time, prepared messages and dead letters stay', async () => {
  const t = await ready();
  await t.group('billing', { maxAttempts: 0 });
  await t.join();
  await t.send('orders', to(0, 'dies'));
  await t.schedule('orders', { body: 'later', delayMs: HOUR });
  await t.rooms.retries.sendBack('billing', {
    consumerId: 'c1',
    messages: [{ topic: 'orders', broker: t.broker.name, queueId: 0, queueOffset: 0 }],
  });
  await purge(t);
  expect((await t.rooms.deadLetters.list('billing', -1, 10)).deadLetters).toHaveLength(1);
  await t.clock.advance(HOUR);
  expect(await all(t)).toEqual(['later']);
});

test('of a topic that is not there, or belongs to a group', async () => {
  const t = await ready();
  const run = (topic: string) => t.rooms.purge.run(topic, { before: undefined, dryRun: false });
  expect(await codeOf(run('none'))).toBe('TOPIC_NOT_FOUND');
  expect(await codeOf(run('%DLQ%billing'))).toBe('VALIDATION_FAILED');
});
