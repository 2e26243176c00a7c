/** How far a group came: commits, what is shown of them, and resets. */
import type { CommitRequest } from '../../src/broker/positions';
import { at, bodies, codeOf, HOUR, NAME, setup, stopBrokers, to, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

async function topicWith(messages: number, { queues = 1 } = {}): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  for (let i = 0; i < messages; i++) await t.send('orders', to(i % queues, `m${i}`));
  return t;
}

const byHand = (consumerId: string | undefined, generation?: string): CommitRequest => ({
  consumerId,
  generation,
  cursor: undefined,
  offsets: undefined,
  force: false,
});

describe('a commit', () => {
  async function consuming() {
    const t = await topicWith(8, { queues: 2 });
    await t.group();
    const { generation } = await t.join();
    const commit = async (request: Partial<CommitRequest>) => {
      const items = await t.rooms.positions.commit('billing', { ...byHand('c1', generation), ...request });
      return items.map(({ queueId, nextOffset, error }) => [queueId, nextOffset, error?.code]);
    };
    return { t, commit, generation };
  }

  test('answers per queue, in the order of the request, and takes what it can', async () => {
    const { t, commit } = await consuming();
    expect(
      await commit({
        offsets: [at(1, 3), at(7, 1), at(0, 99), at(0, 2), at(0, 1, 'mail'), at(0, 1, 'orders', 'broker-b')],
      }),
    ).toEqual([
      [1, 3, undefined],
      [7, 1, 'QUEUE_NOT_FOUND'],
      [0, 99, 'OFFSET_MOVED'],
      [0, 2, undefined],
      [0, 1, 'QUEUE_NOT_FOUND'],
      [0, 1, 'QUEUE_NOT_FOUND'],
    ]);
    expect(t.committed()).toEqual([2, 3]);
  });

  test('to the end is taken, beyond it refused with the bounds', async () => {
    const { t, commit } = await consuming();
    expect(await commit({ offsets: [at(0, 4)] })).toEqual([[0, 4, undefined]]);
    const [item] = await t.rooms.positions.commit('billing', { ...byHand('c1'), offsets: [at(0, 5)] });
    expect(item!.error).toMatchObject({ code: 'OFFSET_MOVED', extras: { members: { minOffset: 0, maxOffset: 4 } } });
  });

  test('backwards is refused unless it is forced', async () => {
    const { t, commit } = await consuming();
    await commit({ offsets: [at(0, 3)] });
    expect(await commit({ offsets: [at(0, 3)] })).toEqual([[0, 3, undefined]]);
    expect(await commit({ offsets: [at(0, 1)] })).toEqual([[0, 1, 'OFFSET_BACKWARDS']]);
    expect(t.committed()).toEqual([3, 0]);
    expect(await commit({ offsets: [at(0, 1)], force: true })).toEqual([[0, 1, undefined]]);
    expect(t.committed()).toEqual([1, 0]);
  });

  test('is refused for a queue that somebody else owns, or nobody ever owned', async () => {
    const { t, commit } = await consuming();
    await t.join('billing', 'c2'); // takes queue 1
    expect(await commit({ offsets: [at(0, 1), at(1, 1)] })).toEqual([
      [0, 1, undefined],
      [1, 1, 'QUEUE_NOT_OWNED'],
    ]);
    expect(await commit({ consumerId: 'stranger', offsets: [at(0, 2)] })).toEqual([[0, 2, 'QUEUE_NOT_OWNED']]);
    t.rooms.groups.leave('billing', 'c1');
    await t.settled();
    expect(await commit({ offsets: [at(0, 2)] })).toEqual([[0, 2, 'QUEUE_NOT_OWNED']]);
    await t.group('search');
    expect(await t.commit('search', 'c1', { offsets: [at(0, 2)] })).toEqual(['QUEUE_NOT_OWNED']);
  });

  test('is refused with a generation from before an interruption', async () => {
    const { t, commit, generation } = await consuming();
    await t.join('billing', 'c2');
    t.rooms.groups.leave('billing', 'c2');
    await t.settled();
    expect(await commit({ generation, offsets: [at(0, 1), at(1, 1)] })).toEqual([
      [0, 1, undefined],
      [1, 1, 'QUEUE_NOT_OWNED'],
    ]);
    const now = t.rooms.groups.members('billing').generation;
    expect(await commit({ generation: now, offsets: [at(1, 1)] })).toEqual([[1, 1, undefined]]);
    expect(await commit({ generation: 'nonsense!', offsets: [at(1, 1)] })).toEqual([[1, 1, 'QUEUE_NOT_OWNED']]);
  });

  test('of an operator moves queues that nobody owns, and no others', async () => {
    const { t, commit } = await consuming();
    expect(await commit({ consumerId: undefined, generation: undefined, offsets: [at(0, 1)] })).toEqual([
      [0, 1, 'QUEUE_NOT_OWNED'],
    ]);
    t.rooms.groups.leave('billing', 'c1');
    expect(await commit({ consumerId: undefined, generation: undefined, offsets: [at(0, 1)] })).toEqual([
      [0, 1, undefined],
    ]);
    expect(t.committed()).toEqual([1, 0]);
  });

  test('of an operator is refused where the position follows from acknowledgements, and says what to do instead', async () => {
    const t = await topicWith(2);
    await t.group();
    const { messages } = await t.receive();
    const refused = async () => {
      const [item] = await t.rooms.positions.commit('billing', {
        ...byHand(undefined),
        offsets: [at(0, 0)],
        force: true,
      });
      expect(item!.error).toMatchObject({ code: 'STYLE_CONFLICT', message: expect.stringContaining('offset-resets') });
    };
    await refused();
    await t.rooms.leases.acknowledge(
      'billing',
      messages.map(({ receiptHandle }) => receiptHandle),
    );
    await refused();
    expect(t.committed()).toEqual([2]);
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect(bodies((await t.receive()).messages)).toEqual(['m0', 'm1']);
  });

  test('of an operator names who reads the queue', async () => {
    const { t } = await consuming();
    const [item] = await t.rooms.positions.commit('billing', { ...byHand(undefined), offsets: [at(0, 1)] });
    expect(item!.error!.message).toMatch(/^c1 reads this queue/);
  });

  test('by cursor covers what the poll answered', async () => {
    const { t, commit } = await consuming();
    const { cursor } = await t.poll('billing', 'c1', { max: 6 });
    const items = await commit({ cursor, generation: undefined });
    expect(items.reduce((sum, [, nextOffset]) => sum + (nextOffset as number), 0)).toBe(6);
    expect(t.committed().reduce((sum, offset) => sum + offset, 0)).toBe(6);
  });

  test('by cursor is judged queue by queue', async () => {
    const { t, commit } = await consuming();
    const { cursor } = await t.poll('billing', 'c1', { max: 8 });
    await commit({ offsets: [at(1, 4)] });
    await t.join('billing', 'c2'); // takes queue 1
    const items = await commit({ cursor, generation: undefined });
    expect(items.sort()).toEqual([
      [0, 4, undefined],
      [1, 4, 'QUEUE_NOT_OWNED'],
    ]);
  });

  test('by cursor needs its consumer, and its own cursor', async () => {
    const { t, commit } = await consuming();
    const { cursor } = await t.poll('billing', 'c1');
    expect(await codeOf(commit({ cursor, consumerId: undefined }))).toBe('VALIDATION_FAILED');
    expect(await codeOf(commit({ cursor, consumerId: 'c2' }))).toBe('CURSOR_INVALID');
    expect(await codeOf(commit({ cursor: `${cursor}A` }))).toBe('CURSOR_INVALID');
    expect(t.committed()).toEqual([0, 0]);
  });

  test('that changes nothing writes nothing new to the tables, and is kept over a restart', async () => {
    const { t, commit } = await consuming();
    await commit({ offsets: [at(0, 2), at(1, 3)] });
    await t.restart();
    expect(t.committed()).toEqual([2, 3]);
    await t.crash();
    expect(t.committed()).toEqual([2, 3]);
  });
});

describe('offsets', () => {
  test('show committed, end, lag and owner', async () => {
    const t = await topicWith(6, { queues: 2 });
    await t.group();
    await t.join();
    await t.rooms.positions.commit('billing', { ...byHand('c1'), offsets: [at(0, 1)] });
    expect(
      t.rooms.positions.offsets('billing').queues.map(({ queue, ...rest }) => ({ max: queue.max, ...rest })),
    ).toEqual([
      { max: 3, committed: 1, lag: 2, owner: 'c1' },
      { max: 3, committed: 0, lag: 3, owner: 'c1' },
    ]);
  });

  test('show the group’s retries with the rest, and a commit may name them', async () => {
    const t = await topicWith(2);
    await t.group('billing', { retryDelaysMs: [0] });
    await t.join();
    await t.poll();
    const messages = [{ topic: 'orders', broker: NAME, queueId: 0, queueOffset: 1 }];
    await t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages });
    await t.clock.advance(1000);
    await t.settled();
    const [, retries] = t.rooms.positions.offsets('billing').queues;
    expect(retries).toMatchObject({ committed: 0, lag: 1, owner: 'c1' });
    expect(await t.commit('billing', 'c1', { offsets: [at(0, 1, '%RETRY%billing')] })).toEqual([undefined]);
    expect(t.committed()).toEqual([0, 1]);
    await t.group('search');
    expect(await t.commit('search', undefined, { offsets: [at(0, 1, '%RETRY%billing')] })).toEqual(['QUEUE_NOT_FOUND']);
  });

  test('count as lag only what is still kept', async () => {
    const t = await topicWith(3);
    await t.group();
    await t.skip(73 * HOUR);
    await t.rooms.retention.runOnce();
    await t.send('orders', 'new');
    expect(t.rooms.positions.offsets('billing').queues[0]).toMatchObject({ committed: 0, lag: 1 });
  });
});

describe('a reset', () => {
  async function consumed() {
    const t = await topicWith(0, { queues: 2 });
    const times: number[] = [];
    for (let i = 0; i < 4; i++) {
      times.push(t.clock.now());
      await t.send('orders', to(0, `a${i}`), to(1, `b${i}`));
      await t.clock.advance(1000);
    }
    await t.group();
    await t.rooms.positions.commit('billing', { ...byHand(undefined), offsets: [at(0, 4), at(1, 3)] });
    const steps = async (
      ...args: Parameters<typeof t.rooms.positions.reset> extends [string, ...infer R] ? R : never
    ) =>
      (await t.rooms.positions.reset('billing', ...args)).steps.map(({ queue, from, to: next }) => [
        queue.queueId,
        from,
        next,
      ]);
    return { t, times, steps };
  }

  test.each([
    ['EARLIEST' as const, [0, 0]],
    ['LATEST' as const, [4, 4]],
    [{ offset: 2 }, [2, 2]],
    [{ offset: 99 }, [4, 4]],
  ])('to %j', async (target, expected) => {
    const { t, steps } = await consumed();
    expect(await steps(target, undefined, false)).toEqual([
      [0, 4, expected[0]],
      [1, 3, expected[1]],
    ]);
    expect(t.committed()).toEqual(expected);
  });

  test('to a time', async () => {
    const { t, times, steps } = await consumed();
    await steps({ timestamp: times[1]! }, undefined, false);
    expect(t.committed()).toEqual([1, 1]);
    await steps({ timestamp: times[3]! + 1 }, undefined, false);
    expect(t.committed()).toEqual([4, 4]);
  });

  test('tried first says what it would do and does nothing', async () => {
    const { t, steps } = await consumed();
    expect(await steps('EARLIEST', undefined, true)).toEqual([
      [0, 4, 0],
      [1, 3, 0],
    ]);
    expect(t.committed()).toEqual([4, 3]);
  });

  test('of some queues leaves the others', async () => {
    const { t, steps } = await consumed();
    await steps('EARLIEST', [{ broker: NAME, queueId: 1 }], false);
    expect(t.committed()).toEqual([4, 0]);
    expect(await codeOf(steps('EARLIEST', [{ broker: NAME, queueId: 9 }], false))).toBe('QUEUE_NOT_FOUND');
    expect(await codeOf(steps('EARLIEST', [{ broker: 'broker-b', queueId: 0 }], false))).toBe('QUEUE_NOT_FOUND');
  });

  test('reaches consumers that are online: they read from there, and older cursors commit nothing', async () => {
    const { t, steps } = await consumed();
    await t.join();
    const { cursor } = await t.poll();
    const polling = t.poll('billing', 'c1', { waitMs: 30_000, min: 5, cursor });
    await t.parked(1);
    await steps('EARLIEST', undefined, false);
    expect(bodies((await polling).messages).sort()).toEqual(['a0', 'a1', 'a2', 'a3', 'b0', 'b1', 'b2', 'b3']);
    const items = await t.rooms.positions.commit('billing', { ...byHand('c1'), cursor });
    expect(items.map(({ error }) => error?.code)).toEqual(items.map(() => 'QUEUE_NOT_OWNED'));
    expect(t.committed()).toEqual([0, 0]);
  });

  test('never goes below what is kept', async () => {
    const { t, steps } = await consumed();
    await t.skip(73 * HOUR);
    await t.rooms.retention.runOnce();
    await steps({ offset: 0 }, undefined, false);
    expect(t.committed()).toEqual([4, 4]);
  });
});
