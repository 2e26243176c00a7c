/** A group that changes its style keeps what was acknowledged, how often each message was delivered, and what is left. */
import type { NewGroup } from '../../src/broker/groups';
import { decodeMessage } from '../../src/broker/message';
import type { Delivery } from '../../src/broker/reader';
import {
  at,
  bodies,
  codeOf,
  NAME,
  seededChance,
  setup,
  stopBrokers,
  type Given,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function shop(group: Partial<NewGroup> = {}, queues = 1): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  await t.group('billing', group);
  return t;
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `m${i}`);
const leave = (t: Bench, consumer = 'c1') => t.rooms.groups.leave('billing', consumer);

/** Leases everything that is there for a second, and acknowledges these of it. Answers all handles, by body. */
async function lease(t: Bench, acknowledged: readonly string[]): Promise<Map<string, string>> {
  const { messages } = await t.receive('billing', { max: 1000, invisibleMs: 1000 });
  const handles = new Map(messages.map((one) => [decodeMessage(one.record).body.toString(), one.receiptHandle]));
  await ack(t, ...acknowledged.map((body) => handles.get(body)!));
  await t.clock.advance(1001);
  return handles;
}

async function ack(t: Bench, ...handles: string[]): Promise<(string | undefined)[]> {
  const results = await t.rooms.leases.acknowledge('billing', handles);
  return results.map(({ error }) => error?.code);
}

const attemptsOf = (messages: readonly Delivery[]) => messages.map(({ attempt }) => attempt);
const progress = (t: Bench) => t.rooms.positions.offsets('billing').queues[0]!;

test('a message that was delivered comes again, though the filter of its group does not want it any more', async () => {
  for (const ordered of [false, true]) {
    const t = await shop({ ordered });
    await t.send('orders', ...numbered(3).map((body) => ({ body, tag: 'a' })));
    const handles = await lease(t, ['m1', 'm2']);
    await t.group('billing', { ordered, filter: { type: 'TAG', expression: 'b' } });
    const { messages } = await t.receive('billing', { invisibleMs: 1000 });
    expect([bodies(messages), attemptsOf(messages)]).toEqual([['m0'], [2]]);
    expect(await ack(t, handles.get('m0')!)).toEqual(['LATE_ACK']);
    await t.clock.advance(1001);
    await t.group('billing', { ordered });
    expect(bodies((await t.receive()).messages)).toEqual(['m0']);
    await stopBrokers();
  }
});

describe('from leases to consumers and back', () => {
  test('a join and a leave forget nothing', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(100));
    await lease(t, numbered(100).slice(1));
    await t.join('billing', 'curious');
    leave(t, 'curious');
    const { messages } = await t.receive('billing', { max: 1000 });
    expect(bodies(messages)).toEqual(['m0']);
    expect(attemptsOf(messages)).toEqual([2]);
  });

  test('a consumer is handed what is left, as its next delivery, and then what is new', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    await lease(t, ['m1', 'm2', 'm4']);
    await t.send('orders', 'new');
    await t.join();
    expect(progress(t)).toMatchObject({ committed: 0, ready: 4, inFlight: 0 });
    const polled = await t.poll();
    expect(bodies(polled.messages)).toEqual(['m0', 'm3', 'm5', 'new']);
    expect(attemptsOf(polled.messages)).toEqual([2, 2, 2, undefined]);
    expect(polled.lag).toBe(0);
    expect(await t.commit('billing', 'c1', polled.cursor)).toEqual([undefined]);
    expect(t.committed()).toEqual([7]);
    leave(t);
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });

  test('messages that a consumer does not commit come under leases, and no others', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    await lease(t, ['m1', 'm2', 'm4']);
    await t.join();
    const first = await t.poll('billing', 'c1', { max: 1 });
    expect(bodies(first.messages)).toEqual(['m0']);
    expect(first.lag).toBe(2);
    for (let i = 0; i < 2; i++) expect(await t.commit('billing', 'c1', first.cursor)).toEqual([undefined]);
    expect(t.committed()).toEqual([3]);
    const second = await t.poll('billing', 'c1', { max: 1, cursor: first.cursor });
    expect(bodies(second.messages)).toEqual(['m3']);
    expect(bodies((await t.poll('billing', 'c1', { cursor: second.cursor })).messages)).toEqual(['m5']);
    leave(t);
    const { messages } = await t.receive();
    expect(bodies(messages)).toEqual(['m3', 'm5']);
    expect(attemptsOf(messages)).toEqual([2, 2]);
  });

  test('a commit by offset passes what lies before it', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    await lease(t, ['m1', 'm2', 'm4']);
    await t.join();
    expect(await t.commit('billing', 'c1', { offsets: [at(0, 2)] })).toEqual([undefined]);
    expect(t.committed()).toEqual([3]);
    expect(bodies((await t.poll()).messages)).toEqual(['m3', 'm5']);
    expect(await t.commit('billing', 'c1', { offsets: [at(0, 4)] })).toEqual([undefined]);
    expect(t.committed()).toEqual([5]);
    expect(await t.commit('billing', 'c1', { offsets: [at(0, 6)] })).toEqual([undefined]);
    expect(t.committed()).toEqual([6]);
  });

  test('a commit that is repeated, also by force as Kafka’s are, brings nothing back that is done', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    await lease(t, ['m1', 'm2', 'm4', 'm5']);
    await t.join();
    const commit = (offset: number, force = true) => t.commit('billing', 'c1', { offsets: [at(0, offset)], force });
    for (const again of [() => Promise.resolve(), () => t.crash()]) {
      await again();
      await t.join();
      for (const force of [true, false]) {
        expect(await commit(1, force)).toEqual([undefined]);
        expect(t.committed()).toEqual([3]);
        expect(bodies((await t.poll()).messages)).toEqual(['m3']);
      }
    }
    for (let i = 0; i < 2; i++) expect(await commit(4)).toEqual([undefined]);
    expect(t.committed()).toEqual([6]);
    expect((await t.poll()).reason).toBe('CAUGHT_UP');
    expect(await commit(2, false)).toEqual(['OFFSET_BACKWARDS']);
    leave(t);
    expect((await t.receive()).reason).toBe('CAUGHT_UP');
    await t.join();
    await t.send('orders', 'new');
    for (let i = 0; i < 2; i++) expect(await commit(7)).toEqual([undefined]);
    expect(await commit(6)).toEqual([undefined]);
    expect(bodies((await t.poll()).messages)).toEqual(['new']);
  });

  test('a forced commit backwards brings everything behind it again', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(4));
    await lease(t, ['m0', 'm2']);
    await t.join();
    expect(await t.commit('billing', 'c1', { offsets: [at(0, 0)], force: true })).toEqual([undefined]);
    expect(bodies((await t.poll()).messages)).toEqual(numbered(4));
    leave(t);
    const { messages } = await t.receive();
    expect(bodies(messages)).toEqual(numbered(4));
  });

  test('with nothing left behind a gap the consumer has caught up, without looking at what is done', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(50));
    await lease(t, numbered(50).slice(1));
    await t.join();
    const first = await t.poll('billing', 'c1');
    expect(bodies(first.messages)).toEqual(['m0']);
    const reads = t.disk.reads();
    expect(await t.poll('billing', 'c1', { cursor: first.cursor })).toMatchObject({
      messages: [],
      reason: 'CAUGHT_UP',
    });
    expect(t.disk.reads()).toBe(reads);
    const waiting = t.poll('billing', 'c1', { cursor: first.cursor, waitMs: 30_000 });
    await t.parked(1);
    await t.send('orders', 'new');
    expect(bodies((await waiting).messages)).toEqual(['new']);
  });

  test('a consumer that seeks back reads everything from there, until it polls without that cursor', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    await lease(t, ['m0', 'm1', 'm3', 'm5']);
    await t.join();
    const seek = (nextOffset: number) =>
      t.rooms.seeker.seek('billing', 'c1', { cursor: undefined, offsets: [at(0, nextOffset)] });
    const first = await t.poll('billing', 'c1', { cursor: seek(1).cursor, max: 2 });
    expect(bodies(first.messages)).toEqual(['m1', 'm2']);
    expect(bodies((await t.poll('billing', 'c1', { cursor: first.cursor })).messages)).toEqual(['m3', 'm4', 'm5']);
    expect(t.committed()).toEqual([2]);
    expect(bodies((await t.poll()).messages)).toEqual(['m2', 'm4']);
    leave(t);
    expect(bodies((await t.receive()).messages)).toEqual(['m2', 'm4']);
  });

  test('a filter that has to see the messages is shown only what is left', async () => {
    const t = await shop({ filter: { type: 'SQL92', expression: 'price > 1' } });
    const priced = (body: string, price: string): Given => ({ body, properties: { price } });
    await t.send('orders', priced('a', '2'), priced('b', '2'), priced('cheap', '1'), priced('c', '2'));
    await lease(t, ['b']);
    await t.join();
    const polled = await t.poll();
    expect(bodies(polled.messages)).toEqual(['a', 'c']);
    expect(await t.commit('billing', 'c1', polled.cursor)).toEqual([undefined]);
    expect(t.committed()).toEqual([4]);
  });

  test('a message that is sent back was delivered under its leases, too', async () => {
    const t = await shop({ maxAttempts: 1 });
    await t.send('orders', 'a', 'b');
    await lease(t, ['b']);
    await t.join();
    const [a] = (await t.poll()).messages;
    const messages = [{ topic: 'orders', broker: NAME, queueId: 0, queueOffset: a!.queueOffset }];
    const { results } = await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages });
    expect(results[0]).toMatchObject({ outcome: 'DEAD_LETTER' });
  });

  test('retries that were acknowledged under leases are done for consumers, too', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b', 'c');
    const { messages } = await t.receive();
    await t.rooms.leases.nack(
      'billing',
      messages.map(({ receiptHandle }) => ({ receiptHandle, delayMs: 0 })),
    );
    await t.clock.advance(1001);
    await lease(t, ['b']);
    await t.join();
    const polled = await t.poll();
    expect(bodies(polled.messages)).toEqual(['a', 'c']);
    expect(attemptsOf(polled.messages)).toEqual([3, 3]);
  });

  test('it holds over another owner, a new filter, a restart and a crash', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(5));
    await lease(t, ['m0', 'm2', 'm3']);
    await t.join('billing', 'c1');
    leave(t, 'c1');
    await t.join('billing', 'c2');
    expect(bodies((await t.poll('billing', 'c2')).messages)).toEqual(['m1', 'm4']);
    await t.group('billing', { filter: { type: 'TAG', expression: 'red' } });
    await t.group('billing');
    for (const again of [() => t.restart(), () => t.crash()]) {
      await again();
      await t.join('billing', 'c2');
      expect(bodies((await t.poll('billing', 'c2')).messages)).toEqual(['m1', 'm4']);
    }
    leave(t, 'c2');
    const { messages } = await t.receive();
    expect(bodies(messages)).toEqual(['m1', 'm4']);
    expect(attemptsOf(messages)).toEqual([2, 2]);
  });

  test('a late acknowledgement counts while a consumer owns the queue', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const handles = await lease(t, []);
    await t.join();
    expect(await ack(t, handles.get('a')!)).toEqual([undefined]);
    expect(bodies((await t.poll()).messages)).toEqual(['b']);
    expect(t.committed()).toEqual([1]);
  });

  test('a former owner of a queue is no consumer any more when leases run and the broker starts anew', async () => {
    const t = await shop({}, 2);
    await t.join();
    leave(t);
    await t.send('orders', { body: 'a', queue: { broker: NAME, queueId: 0 } });
    const [a] = (await t.receive()).messages;
    await t.restart();
    expect(t.rooms.groups.members('billing').members).toEqual([]);
    expect(await ack(t, a!.receiptHandle)).toEqual([undefined]);
    expect((await t.receive()).reason).toBe('CAUGHT_UP');
  });

  test('no join while a lease is being extended', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const handles = await lease(t, []);
    const write = t.disk.hold('journal', 'write');
    const extended = t.rooms.leases.extend('billing', [{ receiptHandle: handles.get('a')!, invisibleMs: 5000 }]);
    await write.reached;
    const joined = codeOf(t.join());
    write.release();
    expect(await joined).toBe('STYLE_CONFLICT');
    expect((await extended)[0]!.error).toBeUndefined();
  });
});

test('in any order of styles, acknowledged and committed messages never come again, and nothing is lost', async () => {
  for (let seed = 1; seed <= 15; seed++) {
    const chance = seededChance(seed);
    const below = (bound: number) => chance.below(bound);
    const t = await shop({}, 2);
    const done = new Set<string>();
    let sent = 0;
    const got = (messages: readonly Delivery[]) => {
      for (const body of bodies(messages)) if (done.has(body)) throw new Error(`${body} came again, seed ${seed}`);
    };
    const some = <T>(all: readonly T[]): T[] => all.filter(() => below(2) === 0);
    const leasing = async () => {
      const { messages } = await t.receive('billing', { max: 1 + below(8), invisibleMs: 1000 });
      got(messages);
      const chosen = some(messages);
      await ack(t, ...chosen.map(({ receiptHandle }) => receiptHandle));
      for (const body of bodies(chosen)) done.add(body);
      await t.clock.advance(1001);
    };
    const polling = async () => {
      const ids = some(['c1', 'c2', 'c3']);
      for (const id of ids) await t.join('billing', id);
      for (const id of ids) {
        const { messages, cursor } = await t.poll('billing', id, { max: 1 + below(8) });
        got(messages);
        if (below(2) === 0) continue;
        const codes = await t.commit('billing', id, cursor);
        if (codes.every((code) => code === undefined)) for (const body of bodies(messages)) done.add(body);
      }
      for (const id of ids) leave(t, id);
    };
    for (let step = 0; step < 25; step++) {
      for (let i = below(6); i > 0; i--) await t.send('orders', `m${sent++}`);
      await [leasing, polling, () => (below(3) === 0 ? t.crash() : t.restart())][below(8) % 3]!();
      await t.clock.advance(31_000); // consumers that a restart presumes are gone
    }
    for (;;) {
      const { messages } = await t.receive('billing', { max: 1000 });
      if (messages.length === 0) break;
      got(messages);
      await ack(t, ...messages.map(({ receiptHandle }) => receiptHandle));
      for (const body of bodies(messages)) done.add(body);
    }
    expect([seed, done.size]).toEqual([seed, sent]);
    await t.stop();
  }
});
