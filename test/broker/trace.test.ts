/** What a trace tells of a message, at each station of its way, live, after a restart and after a crash. */
import type { TraceEntry } from '../../src/broker/trace';
import { HOUR, NAME, setup, stopBrokers, to, type Stored, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function sent(group: Parameters<Bench['group']>[1] = {}, rest: object = {}) {
  const t = await setup();
  await t.topic('orders', { type: 'MIXED' });
  await t.group('billing', { retryDelaysMs: [5000], maxAttempts: 1, ...group });
  const [message] = await t.send('orders', to(0, 'x', rest));
  return { t, message: message! };
}

async function entries(t: Bench, { messageId }: Stored, topic = 'orders'): Promise<TraceEntry[]> {
  const { entries: all, behind } = await t.rooms.traces.of(topic, messageId, 1000, undefined);
  expect(behind).toBeUndefined();
  return all;
}

const of = async (t: Bench, message: Stored, topic?: string) => {
  const [{ group, ...entry }, ...others] = (await entries(t, message, topic)) as [TraceEntry];
  expect([group, others]).toEqual(['billing', []]);
  return entry;
};

const failed = (queueOffset = 0, topic = 'orders') => ({ topic, broker: NAME, queueId: 0, queueOffset });

describe('a group whose consumers own its queues', () => {
  async function joined() {
    const { t, message } = await sent();
    await t.join();
    return { t, message, look: () => of(t, message) };
  }

  test('has it not, has it, is done with it', async () => {
    const { t, look } = await joined();
    expect(await look()).toEqual({ status: 'NOT_CONSUMED' });
    const { cursor } = await t.poll();
    expect(await look()).toEqual({ status: 'IN_FLIGHT', consumerId: 'c1', attempt: 1 });
    await t.commit('billing', 'c1', cursor);
    expect(await look()).toEqual({ status: 'CONSUMED' });
    await t.crash();
    expect(await look()).toEqual({ status: 'CONSUMED' });
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect(await look()).toEqual({ status: 'NOT_CONSUMED' });
  });

  test('has perhaps been handed it by a broker that does not run any more', async () => {
    const { t, look } = await joined();
    await t.crash();
    expect(await look()).toEqual({ status: 'IN_FLIGHT', consumerId: 'c1', attempt: 1 });
  });

  test('gets it back when its consumer goes without having committed it', async () => {
    const { t, look } = await joined();
    await t.poll();
    t.rooms.groups.leave('billing', 'c1');
    expect(await look()).toEqual({ status: 'NOT_CONSUMED' });
  });

  test('sends it back: it waits, is there, is out again, is a dead letter, comes again, is done', async () => {
    const { t, look } = await joined();
    const { cursor } = await t.poll();
    // Also before its position is behind it.
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: [failed()] });
    const due = t.clock.now() + 5000;
    const waits = { status: 'WAITING_RETRY', attempt: 2, dueTimestamp: due };
    expect(await look()).toEqual(waits);
    await t.commit('billing', 'c1', cursor);
    expect(await look()).toEqual(waits);
    await t.crash();
    expect(await look()).toEqual(waits);

    await t.clock.advance(6000);
    t.rooms.groups.leave('billing', 'c1');
    expect(await look()).toEqual(waits);
    await t.join();
    const again = await t.poll();
    expect(await look()).toEqual({ status: 'IN_FLIGHT', consumerId: 'c1', attempt: 2 });
    const last = failed(again.messages[0]!.queueOffset, '%RETRY%billing');
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: [last], cursor: again.cursor });
    const dead = { status: 'DEAD', attempt: 2, deadTimestamp: t.state.marks.time };
    expect(await look()).toEqual(dead);
    await t.crash();
    expect(await look()).toEqual(dead);

    await t.join();
    await t.rooms.deadLetters.redrive('billing', { all: true, dryRun: false });
    expect(await look()).toEqual({ status: 'WAITING_RETRY', attempt: 1, dueTimestamp: t.state.marks.time });
    await t.commit('billing', 'c1', (await t.poll()).cursor);
    expect(await look()).toEqual({ status: 'CONSUMED' });
  });

  test('that gave it up, and whose position is moved back, has yet to consume it', async () => {
    const { t, look } = await joined();
    await t.group('billing', { maxAttempts: 0 });
    await t.poll();
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages: [failed()] });
    expect(await look()).toMatchObject({ status: 'DEAD' });
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect(await look()).toEqual({ status: 'NOT_CONSUMED' });
  });
});

describe('a group that uses leases', () => {
  const receive = async (t: Bench) => {
    const { messages } = await t.receive('billing', { invisibleMs: 60_000 });
    return messages[0]!.receiptHandle;
  };

  test('has it not, has it until, has it again, is done with it', async () => {
    const { t, message } = await sent();
    expect(await of(t, message)).toEqual({ status: 'NOT_CONSUMED' });
    await receive(t);
    const until = t.clock.now() + 60_000;
    expect(await of(t, message)).toEqual({ status: 'IN_FLIGHT', attempt: 1, invisibleUntil: until });
    await t.clock.advance(60_001);
    expect(await of(t, message)).toEqual({ status: 'WAITING_RETRY', attempt: 2 });
    const receipt = await receive(t);
    expect(await of(t, message)).toMatchObject({ status: 'IN_FLIGHT', attempt: 2 });
    await t.rooms.leases.acknowledge('billing', [receipt]);
    expect(await of(t, message)).toEqual({ status: 'CONSUMED' });
    await t.crash();
    expect(await of(t, message)).toEqual({ status: 'CONSUMED' });
  });

  test('whose answer was lost has not had it', async () => {
    const { t, message } = await sent();
    (await t.receive()).giveBack();
    await t.settled();
    expect(await of(t, message)).toEqual({ status: 'NOT_CONSUMED' });
  });

  test('nacks it: it waits, is out again under a lease, is a dead letter', async () => {
    const { t, message } = await sent();
    const nack = async () => t.rooms.leases.nack('billing', [{ receiptHandle: await receive(t) }]);
    await nack();
    expect(await of(t, message)).toMatchObject({
      ...{ status: 'WAITING_RETRY', attempt: 2, dueTimestamp: t.clock.now() + 5000 },
    });
    await t.clock.advance(6000);
    await t.receive('billing', { invisibleMs: 1000 });
    expect(await of(t, message)).toMatchObject({ status: 'IN_FLIGHT', attempt: 2 });
    // A lease that is over counts as a delivery, too: it was the last one.
    await t.clock.advance(1001);
    await t.settled();
    expect(await of(t, message)).toMatchObject({ status: 'DEAD', attempt: 2 });
  });

  test('in order holds it in its place: it waits, and those behind it are not consumed', async () => {
    const { t, message } = await sent({ ordered: true }, { messageGroup: 'g' });
    const [behind] = await t.send('orders', to(0, 'y', { messageGroup: 'g' }));
    const receipt = await receive(t);
    await t.rooms.leases.nack('billing', [{ receiptHandle: receipt }]);
    const waits = { status: 'WAITING_RETRY', attempt: 2, dueTimestamp: t.clock.now() + 5000 };
    expect(await of(t, message)).toEqual(waits);
    expect(await of(t, behind!)).toEqual({ status: 'NOT_CONSUMED' });
    await t.crash();
    expect(await of(t, message)).toEqual({ ...waits, dueTimestamp: t.clock.now() + 5000 });
    await t.clock.advance(5001);
    expect(await of(t, message)).toEqual({ status: 'WAITING_RETRY', attempt: 2 });
    await receive(t);
    expect(await of(t, message)).toMatchObject({ status: 'IN_FLIGHT', attempt: 2 });
  });

  test('extended is still out, until the new end', async () => {
    const { t, message } = await sent();
    await t.rooms.leases.extend('billing', [{ receiptHandle: await receive(t), invisibleMs: 300_000 }]);
    const until = t.clock.now() + 300_000;
    expect(await of(t, message)).toEqual({ status: 'IN_FLIGHT', attempt: 1, invisibleUntil: until });
  });
});

describe('a filter', () => {
  test('leaves it out, before and after the group has passed it', async () => {
    const { t, message } = await sent({ filter: { type: 'TAG', expression: 'paid' } }, { tag: 'created' });
    expect(await of(t, message)).toEqual({ status: 'FILTERED' });
    await t.join('billing', 'c1', { filter: { type: 'TAG', expression: 'paid' } });
    const { cursor } = await t.poll();
    expect(await of(t, message)).toEqual({ status: 'FILTERED' });
    await t.commit('billing', 'c1', cursor);
    expect(await of(t, message)).toEqual({ status: 'FILTERED' });
  });

  test('that came later does not hide what is out or waits', async () => {
    const { t, message } = await sent({}, { tag: 'created' });
    const { messages } = await t.receive();
    await t.group('billing', { filter: { type: 'TAG', expression: 'paid' } });
    expect(await of(t, message)).toMatchObject({ status: 'IN_FLIGHT' });
    await t.rooms.leases.nack('billing', [{ receiptHandle: messages[0]!.receiptHandle }]);
    expect(await of(t, message)).toMatchObject({ status: 'WAITING_RETRY' });
  });
});

test('in a broadcasting group each consumer stands for itself', async () => {
  const { t, message } = await sent({ mode: 'BROADCASTING' });
  expect(await of(t, message)).toEqual({ status: 'NOT_CONSUMED' });
  for (const consumer of ['c1', 'c2', 'c3']) await t.join('billing', consumer);
  await t.poll('billing', 'c2');
  await t.commit('billing', 'c3', (await t.poll('billing', 'c3')).cursor);
  expect(await entries(t, message)).toEqual([
    { group: 'billing', consumerId: 'c1', status: 'NOT_CONSUMED' },
    { group: 'billing', consumerId: 'c2', status: 'IN_FLIGHT' },
    { group: 'billing', consumerId: 'c3', status: 'CONSUMED' },
  ]);
});

test('groups come by name, a page at a time, with the consumers of those that broadcast', async () => {
  const { t, message } = await sent();
  await t.topic('mail');
  await t.group('other', { topic: 'mail' });
  await t.group('archive', { mode: 'BROADCASTING' });
  for (const consumer of ['a', 'b', 'c']) await t.join('archive', consumer);
  await t.group('zip');
  const seen: string[] = [];
  let pages = 0;
  for (let behind: Parameters<typeof t.rooms.traces.of>[3]; ; pages++) {
    const page = await t.rooms.traces.of('orders', message.messageId, 2, behind);
    seen.push(...page.entries.map(({ group, consumerId = '' }) => `${group} ${consumerId}`));
    if (!page.behind) break;
    ({ behind } = page);
  }
  expect(seen).toEqual(['archive a', 'archive b', 'archive c', 'billing ', 'zip ']);
  expect(pages).toBe(2);
});

test('of a copy the same is told as of the message that it was made of', async () => {
  const { t, message } = await sent();
  const { messages } = await t.receive();
  await t.rooms.leases.nack('billing', [{ receiptHandle: messages[0]!.receiptHandle, delayMs: 0 }]);
  await t.clock.advance(1000);
  expect(await of(t, message, '%RETRY%billing')).toMatchObject({ status: 'WAITING_RETRY', attempt: 2 });
  await t.receive('billing', { invisibleMs: 1000 });
  expect(await of(t, message, '%RETRY%billing')).toMatchObject({ status: 'IN_FLIGHT', attempt: 2 });
  expect(await of(t, message)).toEqual(await of(t, message, '%RETRY%billing'));
});

test('a dead letter that was sent to another topic is nothing that the group has to do', async () => {
  const { t, message } = await sent({ maxAttempts: 0 });
  await t.topic('again');
  const { messages } = await t.receive();
  await t.rooms.leases.nack('billing', [{ receiptHandle: messages[0]!.receiptHandle }]);
  await t.rooms.deadLetters.redrive('billing', { all: true, topic: 'again', dryRun: false });
  expect(await of(t, message)).toEqual({ status: 'CONSUMED' });
  expect(await entries(t, message, 'again')).toEqual([]);
});

test('what became of messages goes from the disk with their hour, and is not written any more when that is over', async () => {
  const { t } = await sent({ maxAttempts: 100, retryDelaysMs: [90 * HOUR] });
  const nack = async () => {
    const { messages } = await t.receive();
    await t.rooms.leases.nack('billing', [{ receiptHandle: messages[0]!.receiptHandle }]);
    await t.clock.advance(100);
  };
  await nack();
  expect(await t.disk.keys('tables', 'f')).toHaveLength(1);
  await t.skip(91 * HOUR);
  await t.rooms.retention.runOnce();
  await t.clock.advance(3000);
  expect(await t.disk.keys('tables', 'f')).toEqual([]);
  await nack(); // the copy came back by itself
  expect(await t.disk.keys('tables', 'f')).toEqual([]);
});
