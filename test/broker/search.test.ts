/** Searches by key and tag: all that there is, oldest first, in bounded answers that go on where they ended. */
import fc from 'fast-check';
import { LIMITS } from '../../src/base/limits';
import type { SearchAnswer, SearchOptions, Wanted } from '../../src/broker/search';
import { bodies, codeOf, HOUR, setup, stopBrokers, to, turn, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const ask = (t: Bench, wanted: Wanted, options: Partial<SearchOptions> = {}, topic = 'orders'): Promise<SearchAnswer> =>
  t.rooms.search.messages(topic, wanted, { from: undefined, to: undefined, limit: 100, behind: undefined, ...options });

/** All pages of a search, and how many they were. */
async function all(t: Bench, wanted: Wanted, options: Partial<SearchOptions> = {}) {
  const found: string[] = [];
  for (let { behind } = options, pages = 1; ; pages++) {
    const answer = await ask(t, wanted, { ...options, behind });
    found.push(...bodies(answer.messages));
    if (!answer.behind) return { found, pages };
    ({ behind } = answer);
  }
}

const KEY: Wanted = { key: 'k' };
const TAG: Wanted = { tag: 'a' };
const EVERYTHING: Wanted = {};
const marked = { keys: ['k'], tag: 'a' };
const both = test.each([
  ['by key', KEY],
  ['by tag', TAG],
]);
/** Without a key a search goes either way. */
const eitherWay = test.each<[string, Wanted]>([
  ['by tag', TAG],
  ['by time alone', EVERYTHING],
]);

describe('a search finds', () => {
  both('over all queues, in the order of storing, wherever it lies: %s', async (_, wanted) => {
    const t = await setup({ options: { tailBytes: 20_000 } });
    await t.topic();
    const expected: string[] = [];
    for (let i = 0; i < 40; i++) {
      await t.send('orders', to(i % 3, `m${i}`, i % 2 ? marked : { keys: ['other'], tag: 'b' }));
      if (i % 2) expected.push(`m${i}`);
      if (i % 10 === 0) await t.clock.advance(100);
    }
    const look = async () => expect((await all(t, wanted)).found).toEqual(expected);
    await look();
    const hold = t.disk.hold('tables', 'write');
    const flushing = t.clock.advance(100);
    await hold.reached;
    await look();
    hold.release();
    await flushing;
    await look();
    await t.restart();
    await look();
    await t.crash();
    await look();
  });

  both('between two times, both inclusive: %s', async (_, wanted) => {
    const t = await setup();
    await t.topic();
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const [sent] = await t.send('orders', to(i % 2, `m${i}`, marked));
      times.push(sent!.storeTimestamp);
      await t.skip(7 * HOUR);
    }
    const between = async (from?: number, until?: number) => (await all(t, wanted, { from, to: until })).found;
    expect(await between(times[1], times[3])).toEqual(['m1', 'm2', 'm3']);
    expect(await between(times[1]! + 1, times[3]! - 1)).toEqual(['m2']);
    expect(await between(undefined, times[0])).toEqual(['m0']);
    expect(await between(times[4])).toEqual(['m4']);
    expect(await between(times[4]! + 1)).toEqual([]);
    expect(await between(0, times[0]! - 1)).toEqual([]);
    expect(await between(0, Number.MAX_SAFE_INTEGER)).toHaveLength(5);
  });

  both('in pages of any size, the same whatever comes in between: %s', async (_, wanted) => {
    const sizes = fc.integer({ min: 1, max: 9 });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 25 }), sizes, async (queues, limit) => {
        const t = await setup();
        await t.topic();
        const expected: string[] = [];
        for (const [i, queueId] of queues.entries()) {
          await t.send('orders', to(queueId, `m${i}`, i % 3 ? marked : {}));
          if (i % 3) expected.push(`m${i}`);
          if (i % 4 === 0) await t.clock.advance(100);
        }
        const found: string[] = [];
        let answer = await ask(t, wanted, { limit });
        for (let n = 0; ; n++) {
          expect(answer.messages.length).toBeLessThanOrEqual(limit);
          found.push(...bodies(answer.messages));
          if (!answer.behind) break;
          if (n < 3) {
            await t.send('orders', to(n, `late${n}`, marked));
            expected.push(`late${n}`);
          }
          answer = await ask(t, wanted, { limit, behind: answer.behind });
        }
        expect(found).toEqual(expected);
        await stopBrokers();
      }),
      { numRuns: 25 },
    );
  });

  eitherWay('the newest first, in pages of any size, without those that come in between: %s', async (_, wanted) => {
    const sizes = fc.integer({ min: 1, max: 9 });
    const queues = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(queues, sizes, fc.boolean(), async (places, limit, restarts) => {
        const t = await setup({ options: { tailBytes: 2000 } });
        await t.topic();
        const expected: string[] = [];
        for (const [i, queueId] of places.entries()) {
          const has = wanted === EVERYTHING || i % 3 > 0;
          await t.send('orders', to(queueId, `m${i}`, i % 3 ? marked : {}));
          if (has) expected.unshift(`m${i}`);
          if (i % 4 === 0) await t.clock.advance(100);
        }
        if (restarts) await t.restart();
        const found: string[] = [];
        for (let behind: SearchAnswer['behind'], n = 0; ; n++) {
          const answer = await ask(t, wanted, { limit, behind, newestFirst: true });
          expect(answer.messages.length).toBeLessThanOrEqual(limit);
          found.push(...bodies(answer.messages));
          if (!answer.behind) break;
          ({ behind } = answer);
          await t.send('orders', to(n % 4, `late${n}`, marked));
        }
        expect(found).toEqual(expected);
        await stopBrokers();
      }),
      { numRuns: 25 },
    );
  });

  eitherWay('the newest first between two times: %s', async (_, wanted) => {
    const t = await setup();
    await t.topic();
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const [sent] = await t.send('orders', to(i % 2, `m${i}`, marked));
      times.push(sent!.storeTimestamp);
      await t.skip(7 * HOUR);
    }
    const between = async (from?: number, until?: number) =>
      (await all(t, wanted, { from, to: until, newestFirst: true })).found;
    expect(await between(times[1], times[3])).toEqual(['m3', 'm2', 'm1']);
    expect(await between(times[1]! + 1, times[3]! - 1)).toEqual(['m2']);
    expect(await between(undefined, times[0])).toEqual(['m0']);
    expect(await between(times[4]! + 1)).toEqual([]);
    expect(await between(0, times[0]! - 1)).toEqual([]);
  });

  test('all messages of a stretch of time, oldest first', async () => {
    const t = await setup();
    await t.topic();
    for (let i = 0; i < 7; i++) await t.send('orders', to(i % 3, `m${i}`, i % 2 ? marked : {}));
    expect((await all(t, EVERYTHING, { limit: 2 })).found).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6']);
  });

  test('what has the key itself, not what shares its beginning or its hash', async () => {
    const t = await setup();
    await t.topic();
    await t.send('orders', to(0, 'a', { keys: ['order-1'] }), to(0, 'b', { keys: ['order-10', 'order-1 '] }));
    await t.send('orders', to(1, 'c', { keys: ['größe "7"\\', 'order-1', 'order-1'] }));
    expect((await all(t, { key: 'order-1' })).found).toEqual(['a', 'c']);
    expect((await all(t, { key: 'größe "7"\\' })).found).toEqual(['c']);
    expect((await all(t, { key: 'order' })).found).toEqual([]);
    // Java's hash: the same for both.
    await t.send('orders', to(2, 'd', { tag: 'Aa' }), to(2, 'e', { tag: 'BB' }));
    expect((await all(t, { tag: 'BB' })).found).toEqual(['e']);
  });
});

describe('an answer is bounded', () => {
  both('in bytes, but for its first message: %s', async (_, wanted) => {
    const t = await setup();
    await t.topic();
    const large = Buffer.alloc(LIMITS.batchBytes / 2, 'x').toString();
    for (const name of ['a', 'b', 'c']) await t.send('orders', to(0, name + large.slice(1), marked));
    const answer = await ask(t, wanted);
    expect(answer.messages).toHaveLength(1);
    expect((await all(t, wanted)).found.map(([first]) => first)).toEqual(['a', 'b', 'c']);
  });

  test('in entries that it looks at: a rare tag takes several calls', async () => {
    const t = await setup();
    await t.topic();
    const batch = Array.from({ length: 1000 }, () => to(0, 'x', { tag: 'often' }));
    await t.send('orders', to(1, 'first', { tag: 'rare' }));
    for (let i = 0; i < 11; i++) await t.send('orders', ...batch);
    await t.send('orders', to(1, 'last', { tag: 'rare' }));
    expect(bodies((await ask(t, { tag: 'rare' })).messages)).toEqual(['first']);
    expect(await all(t, { tag: 'rare' })).toEqual({ found: ['first', 'last'], pages: 2 });
  });
});

describe('a search leaves out', () => {
  both('what was trimmed, before and after its bytes go: %s', async (_, wanted) => {
    const t = await setup();
    await t.topic();
    await t.send('orders', to(0, 'old', marked), to(1, 'old', marked));
    await t.send('orders', to(0, 'new', marked));
    await t.rooms.retention.trim(t.journal.end, { reason: 'age' });
    expect((await all(t, wanted)).found).toEqual(['new']);
    await t.clock.advance(3000);
    expect((await all(t, wanted)).found).toEqual(['new']);
    await t.restart();
    expect((await all(t, wanted)).found).toEqual(['new']);
  });

  both('what belongs to the topic’s former self, whose cursors are refused: %s', async (_, wanted) => {
    const t = await setup();
    await t.topic();
    await t.send('orders', to(0, 'old', marked), to(0, 'old', marked));
    const { behind } = await ask(t, wanted, { limit: 1 });
    await t.rooms.topics.delete('orders', false);
    expect(await codeOf(ask(t, wanted))).toBe('TOPIC_NOT_FOUND');
    await t.topic();
    expect((await all(t, wanted)).found).toEqual([]);
    expect(await codeOf(ask(t, wanted, { behind }))).toBe('TOPIC_RECREATED');
    await t.topic('mail');
    expect(await codeOf(ask(t, wanted, { behind }, 'mail'))).toBe('CURSOR_INVALID');
  });

  test('copies of a group; what is sent again to a topic is a message of that topic', async () => {
    const t = await setup();
    await t.topic();
    await t.topic('again');
    await t.group('billing', { maxAttempts: 0 });
    await t.send('orders', to(0, 'x', marked));
    const { messages } = await t.receive();
    await t.rooms.leases.nack('billing', [{ receiptHandle: messages[0]!.receiptHandle }]);
    expect((await all(t, KEY)).found).toEqual(['x']);
    expect(await codeOf(ask(t, KEY, {}, '%DLQ%billing'))).toBe('VALIDATION_FAILED');
    expect(bodies((await ask(t, TAG, {}, '%DLQ%billing')).messages)).toEqual(['x']);
    await t.rooms.deadLetters.redrive('billing', { all: true, topic: 'again', dryRun: false });
    expect(bodies((await ask(t, KEY, {}, 'again')).messages)).toEqual(['x']);
  });

  both('everything, when the topic may not be read: %s', async (_, wanted) => {
    const t = await setup();
    await t.topic('orders', { permission: 'W' });
    expect(await codeOf(ask(t, wanted))).toBe('NO_PERMISSION');
  });
});

test('keys of days that are over go from the disk, the others stay', async () => {
  const t = await setup();
  await t.topic();
  await t.send('orders', to(0, 'old', marked));
  await t.skip(50 * HOUR);
  await t.send('orders', to(0, 'young', marked));
  await t.skip(50 * HOUR);
  expect(await t.disk.keys('tables', 'k')).toHaveLength(2);
  await t.rooms.retention.runOnce();
  await t.clock.advance(3000);
  expect(await t.disk.keys('tables', 'k')).toHaveLength(1);
  expect((await all(t, KEY)).found).toEqual(['young']);
});

test('a search that a trim overtakes answers what is left', async () => {
  const t = await setup({ options: { tailBytes: 1000 } });
  await t.topic();
  for (let i = 0; i < 6; i++) await t.send('orders', to(0, `m${i}${'x'.repeat(1000)}`, marked));
  await t.clock.advance(100);
  const hold = t.disk.hold('journal', 'read');
  const searching = ask(t, TAG);
  await hold.reached;
  await t.rooms.core.submit({
    ...{ kind: 'trim', head: t.journal.end - 2, idHour: 0, answerBucket: 0, tombstones: [] },
    minima: [{ topic: t.state.topicsByName.get('orders')!.record.no, queueId: 0, nextOffset: 3 }],
  });
  await turn();
  hold.release();
  expect(
    bodies((await searching).messages)
      .map((body) => body.slice(0, 2))
      .slice(-3),
  ).toEqual(['m3', 'm4', 'm5']);
});
