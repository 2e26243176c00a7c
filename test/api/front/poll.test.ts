/** Polls over several brokers: nothing is lost whoever is cancelled, and nobody who is dead holds up the others. */
import fc from 'fast-check';
import { codeOf, coded, stopBrokers, turn } from '../../support/broker';
import { bodiesOf, Company, type Polled } from './company';

afterEach(stopBrokers);

async function joined(...names: string[]): Promise<Company> {
  const company = await Company.of(...names);
  await company.group('billing');
  await company.join();
  company.asked = [];
  return company;
}

test('gives what all have, and the next one goes on behind it', async () => {
  const company = await joined('broker-a', 'broker-b');
  await company.send('broker-a', 'a1', 'a2');
  await company.send('broker-b', 'b1');
  const first = await company.poll();
  expect(bodiesOf(first)).toEqual(['a1', 'a2', 'b1']);
  expect(first).toMatchObject({
    lag: 0,
    generation: expect.stringMatching(/^broker-[ab]\/\w+,broker-[ab]\/\w+$/) as string,
  });
  await company.send('broker-b', 'b2');
  expect(bodiesOf(await company.poll({ cursor: first.cursor }))).toEqual(['b2']);
  // Nothing was committed: without the cursor all come again.
  expect(bodiesOf(await company.poll())).toEqual(['a1', 'a2', 'b1', 'b2']);
});

test('autoCommit commits at every broker what the cursor covers, and nothing of what it finds itself', async () => {
  const company = await joined('broker-a', 'broker-b');
  await company.send('broker-a', 'a1');
  await company.send('broker-b', 'b1');
  const { cursor } = await company.poll();
  await company.send('broker-b', 'b2');
  const second = company.makePoll({ cursor, autoCommit: true, min: 2, waitMs: 5000 });
  await company.parked(2);
  await company.manual.advance(5000);
  expect(bodiesOf((await second.answer).body as unknown as Polled)).toEqual(['b2']);
  expect([company.on('broker-a'), company.on('broker-b')].map((t) => t.committed())).toEqual([
    [1, 0],
    [1, 0],
  ]);
});

test('waits at all of them, and answers with the first; what comes elsewhere meanwhile comes next', async () => {
  const company = await joined('broker-a', 'broker-b', 'broker-c');
  const poll = company.makePoll({ waitMs: 5000 });
  await company.parked(3);
  await Promise.all([company.send('broker-b', 'b1'), company.send('broker-c', 'c1'), company.send('broker-a', 'a1')]);
  const first = (await poll.answer).body as unknown as Polled;
  expect(first.messages).toHaveLength(1);
  await company.parked(0);
  const next = await company.poll({ cursor: first.cursor, autoCommit: true });
  expect(bodiesOf({ messages: [...first.messages, ...next.messages] })).toEqual(['a1', 'b1', 'c1']);
});

test('waits for min over all brokers', async () => {
  const company = await joined('broker-a', 'broker-b');
  await company.send('broker-a', 'a1');
  const poll = company.makePoll({ waitMs: 5000, min: 3 });
  await company.parked(2);
  await company.send('broker-b', 'b1');
  await company.parked(2);
  await company.send('broker-b', 'b2');
  expect(bodiesOf((await poll.answer).body as unknown as Polled)).toEqual(['a1', 'b1', 'b2']);
  await company.parked(0);
});

test('never gives more than max, with more brokers than that, too', async () => {
  const company = await joined('broker-a', 'broker-b', 'broker-c');
  for (const name of company.brokers.keys()) await company.send(name, `${name} 1`, `${name} 2`);
  const seen: string[] = [];
  let cursor = '';
  for (let i = 0; i < 10 && seen.length < 6; i++) {
    const polled = await company.poll({ max: 2, cursor, autoCommit: true });
    expect(polled.messages.length).toBeLessThanOrEqual(2);
    expect(polled.lag).toBe(6 - seen.length - polled.messages.length);
    seen.push(...bodiesOf(polled));
    ({ cursor } = polled);
  }
  expect(new Set(seen).size).toBe(6);
  expect(seen).toHaveLength(6);
});

test('an empty answer says why: caught up as soon as one broker is', async () => {
  const company = await joined('broker-a', 'broker-b');
  expect(await company.poll()).toMatchObject({ messages: [], reason: 'CAUGHT_UP', lag: 0 });
  // Five members and four queues: the last one gets none.
  for (const id of ['c0', 'c2', 'c3', 'c4']) await company.join(id);
  expect(await company.poll({}, 'c4')).toMatchObject({ reason: 'NOT_ASSIGNED' });
  expect(await company.poll({}, 'c0')).toMatchObject({ reason: 'CAUGHT_UP' });
});

test('a queue that is taken away ends the wait', async () => {
  const company = await joined('broker-a', 'broker-b');
  const poll = company.makePoll({ waitMs: 30_000 });
  await company.parked(2);
  await company.join('c0');
  expect((await poll.answer).body).toMatchObject({ reason: 'REBALANCED' });
  await company.parked(0);
});

test('a client that goes away leaves all of them', async () => {
  const company = await joined('broker-a', 'broker-b');
  const poll = company.makePoll({ waitMs: 30_000 });
  await company.parked(2);
  poll.gone();
  await expect(poll.answer).rejects.toThrow('the client went away');
  await company.parked(0);
});

describe('a broker that is away', () => {
  test('is named, is not asked again at once, and its part of the cursor is kept', async () => {
    const company = await joined('broker-a', 'broker-b');
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1');
    const first = await company.poll();
    company.network.set('broker-b', 'DOWN');
    await company.send('broker-a', 'a2');
    const second = await company.poll({ cursor: first.cursor });
    expect(second).toMatchObject({ messages: [{ body: 'a2' }], unavailable: ['broker-b'] });
    company.network.clear();
    company.asked = [];
    const third = await company.poll({ cursor: second.cursor });
    expect(third).toMatchObject({ messages: [], unavailable: ['broker-b'] });
    expect(company.asked).toEqual(['broker-a pollMessages']);
    await company.manual.advance(2000);
    const last = await company.poll({ cursor: third.cursor });
    expect(last).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
    expect(last.unavailable).toBeUndefined();
  });

  test('leaves the client able to commit what came from it', async () => {
    const company = await Company.of('broker-a', 'broker-b');
    await company.group('billing');
    await company.join();
    await company.send('broker-b', 'b1');
    const { cursor: before } = await company.poll();
    company.network.set('broker-b', 'DOWN');
    const { cursor, generation, unavailable } = await company.poll({ cursor: before });
    expect(unavailable).toEqual(['broker-b']);
    company.network.delete('broker-b');
    const body = { consumerId: 'c1', cursor, generation };
    expect((await company.call('commitOffsets', { path: { group: 'billing' }, body })).status).toBe(200);
    expect(company.on('broker-b').committed()[0]).toBe(1);
  });

  test('is waited for like the others once it failed, and answers when it is back', async () => {
    const company = await joined('broker-a', 'broker-b');
    company.network.set('broker-b', 'DOWN');
    await company.poll();
    company.network.clear();
    const poll = company.makePoll({ waitMs: 30_000 });
    await company.parked(2);
    await company.send('broker-b', 'b1');
    expect((await poll.answer).body).toMatchObject({ messages: [{ body: 'b1' }] });
  });

  test('costs a second when it hangs, once, and no wait gets longer by it', async () => {
    const company = await joined('broker-a', 'broker-b');
    company.network.set('broker-b', 'HUNG');
    await company.send('broker-a', 'a1');
    const first = company.makePoll();
    await turn();
    await company.manual.advance(1000);
    expect((await first.answer).body).toMatchObject({ messages: [{ body: 'a1' }], unavailable: ['broker-b'] });
    const { cursor } = (await first.answer).body as unknown as Polled;
    await company.send('broker-a', 'a2');
    expect(await company.poll({ cursor })).toMatchObject({ messages: [{ body: 'a2' }] });
    const waits = company.makePoll({ waitMs: 3000, cursor: (await company.poll({ cursor })).cursor });
    await company.parked(1);
    await company.manual.advance(3000);
    expect((await waits.answer).body).toMatchObject({ messages: [], unavailable: ['broker-b'] });
  });

  test('that is only slow is given more time', async () => {
    const company = await joined('broker-a', 'broker-b');
    company.network.set('broker-b', 'HUNG');
    const first = company.makePoll();
    await turn();
    await company.manual.advance(1000);
    await first.answer;
    await company.manual.advance(10_000); // left alone as long as that
    const second = company.makePoll();
    await turn();
    await company.manual.advance(1000);
    let answered = false;
    void second.answer.then(() => (answered = true));
    await turn();
    expect(answered).toBe(false);
    await company.manual.advance(1000);
    await second.answer;
  });

  test('alone is the refusal', async () => {
    const company = await joined('broker-a', 'broker-b');
    for (const name of company.brokers.keys()) company.network.set(name, 'DOWN');
    expect(await codeOf(company.poll())).toBe('SERVICE_NOT_AVAILABLE');
  });
});

describe('a consumer that is not a member', () => {
  test('of any broker is told so', async () => {
    const company = await joined('broker-a', 'broker-b');
    expect(await codeOf(company.poll({}, 'nobody'))).toBe('NOT_JOINED');
  });

  test('of one of them gets what the others have; joining again heals it', async () => {
    const company = await joined('broker-a', 'broker-b');
    const { state, rooms } = company.on('broker-b');
    rooms.consumers.leave(state.groupsByName.get('billing')!, 'c1');
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1');
    const polled = await company.poll();
    expect(polled).toMatchObject({ messages: [{ body: 'a1' }], unavailable: ['broker-b'] });
    await company.join();
    expect(bodiesOf(await company.poll({ cursor: polled.cursor }))).toEqual(['b1']);
  });

  test('any more, since a newer poll took over, is told that, and the others are cancelled', async () => {
    const company = await joined('broker-a', 'broker-b');
    const older = company.makePoll({ waitMs: 30_000 });
    await company.parked(2);
    const newer = company.makePoll({ waitMs: 30_000 });
    await expect(older.answer).rejects.toMatchObject(coded('CONSUMER_REPLACED'));
    await company.parked(2);
    await company.send('broker-a', 'a1');
    expect((await newer.answer).body).toMatchObject({ messages: [{ body: 'a1' }] });
  });
});

test('a cursor of one broker’s own is its home’s; what is none is refused', async () => {
  const company = await joined('broker-a', 'broker-b');
  await company.send('broker-a', 'a1');
  const { cursor } = await company.on('broker-a').poll();
  await company.send('broker-b', 'b1');
  expect(bodiesOf(await company.poll({ cursor }))).toEqual(['b1']);
  expect(await codeOf(company.poll({ cursor: 'AAAA' }))).toBe('CURSOR_INVALID');
  expect(await codeOf(company.poll({ cursor: 'wQAA' }))).toBe('CURSOR_INVALID');
});

const seed = Math.floor(Math.random() * 2 ** 31);

test(`every message comes exactly once to whoever brings his cursors back, seed ${seed}`, async () => {
  const names = ['broker-a', 'broker-b', 'broker-c'];
  const step = fc.record({
    sends: fc.array(fc.constantFrom(...names), { maxLength: 5 }),
    late: fc.array(fc.constantFrom(...names), { maxLength: 3 }),
    down: fc.option(fc.constantFrom(...names), { nil: undefined, freq: 3 }),
    max: fc.integer({ min: 1, max: 8 }),
    min: fc.integer({ min: 1, max: 4 }),
    autoCommit: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const company = await joined(...names);
      const sent: string[] = [];
      const seen: string[] = [];
      let cursor = '';
      const send = async (broker: string) => {
        const body = `${sent.length}`.padStart(4, '0');
        sent.push(body);
        await company.send(broker, body);
      };
      const poll = async (query: object) => {
        const made = company.makePoll({ cursor, waitMs: 100, ...query });
        let answered = false;
        void made.answer.finally(() => (answered = true));
        return { made, isAnswered: () => answered };
      };
      for (const { sends, late, down, max, min, autoCommit } of steps) {
        for (const broker of sends) await send(broker);
        if (down !== undefined) company.network.set(down, 'DOWN');
        const { made, isAnswered } = await poll({ max, min, autoCommit });
        for (const broker of late) await send(broker);
        while (!isAnswered()) await company.manual.advance(20);
        const polled = (await made.answer).body as unknown as Polled;
        expect(polled.messages.length).toBeLessThanOrEqual(max);
        seen.push(...polled.messages.map(({ body }) => body));
        ({ cursor } = polled);
        company.network.clear();
        await company.manual.advance(2500);
      }
      for (let i = 0; i < 20 && seen.length < sent.length; i++) {
        const polled = await company.poll({ cursor, autoCommit: true });
        seen.push(...polled.messages.map(({ body }) => body));
        ({ cursor } = polled);
      }
      expect(seen.sort()).toEqual(sent);
      await stopBrokers();
    }),
    { numRuns: 30, seed },
  );
});
