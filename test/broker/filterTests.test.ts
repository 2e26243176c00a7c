/** Trying a filter on the newest messages of a topic. */
import { LIMITS } from '../../src/base/limits';
import type { FilterSpec } from '../../src/broker/filter';
import type { FilterTrial } from '../../src/broker/filterTests';
import { codeOf, setup, stopBrokers, to, turn, type Given, type TestBroker } from '../support/broker';
import { ManualClock } from '../support/clock';

afterEach(stopBrokers);

/** Goes on by itself, so much with each look. */
class BusyClock extends ManualClock {
  perLook = 0;
  #drift = 0;

  override monotonic(): number {
    this.#drift += this.perLook;
    return super.monotonic() + this.#drift;
  }
}

type Bench = TestBroker<ManualClock>;

const sql = (expression: string): FilterSpec => ({ type: 'SQL92', expression });
const ANY = sql('TRUE');

/** Keys name the messages here: bodies are not shown. */
const named = (key: string, rest: object = {}, queueId = 0): Given =>
  to(queueId, `body of ${key}`, { keys: [key], ...rest });
const names = ({ results }: FilterTrial) => results.map(({ keys }) => keys.join());
const outcomes = ({ results }: FilterTrial) => results.map(({ keys, outcome }) => `${keys.join()} ${outcome}`);

async function shop(queues = 1): Promise<Bench> {
  const t = await setup();
  await t.topic('orders', { readQueues: queues, writeQueues: queues });
  return t;
}

const run = (t: Bench, filter: FilterSpec = ANY, last = 100) => t.rooms.filterTests.run('orders', filter, last);

test('says of each message what the filter makes of it, and shows what the filter sees', async () => {
  const t = await shop();
  const stored = await t.send(
    'orders',
    named('a', { tag: 'paid', properties: { total: '11' } }),
    named('b', { properties: { total: '9' } }),
    named('c', { properties: { total: 'much' } }),
    named('d'),
  );
  const trial = await run(t, sql('total > 10'));
  expect(outcomes(trial)).toEqual(['d NOT_MATCHED', 'c FAILED', 'b NOT_MATCHED', 'a MATCHED']);
  expect(trial.complete).toBe(true);
  const { messageId, storeTimestamp } = stored[0]!;
  expect(trial.results[3]).toMatchObject({
    ...{ queueOffset: 0, messageId, storeTimestamp },
    ...{ tag: 'paid', keys: ['a'], properties: { total: '11' } },
  });
  expect(trial.results[0]).toMatchObject({ tag: undefined, properties: {} });
});

test('tries tags, too', async () => {
  const t = await shop();
  await t.send('orders', named('a', { tag: 'x' }), named('b', { tag: 'y' }), named('c'));
  expect(outcomes(await run(t, { type: 'TAG', expression: 'x || z' }))).toEqual([
    'c NOT_MATCHED',
    'b NOT_MATCHED',
    'a MATCHED',
  ]);
  expect(outcomes(await run(t, { type: 'TAG', expression: '*' }))).toEqual(['c MATCHED', 'b MATCHED', 'a MATCHED']);
});

test('takes the newest of all queues together, in the order in which they were stored', async () => {
  const t = await shop(3);
  for (let i = 0; i < 9; i++) await t.send('orders', named(`m${i}`, {}, [0, 0, 1, 0, 2, 2, 1, 0, 0][i]));
  expect(names(await run(t, ANY, 4))).toEqual(['m8', 'm7', 'm6', 'm5']);
  expect(names(await run(t))).toEqual(['m8', 'm7', 'm6', 'm5', 'm4', 'm3', 'm2', 'm1', 'm0']);
});

test('finds them on disk, over many segments', async () => {
  const t = await shop(2);
  for (let i = 0; i < 4; i++)
    await t.send('orders', ...Array.from({ length: 400 }, (_, j) => named(`${i}-${j}`, {}, i % 2)));
  await t.restart();
  await turn();
  const trial = await run(t, sql("KEYS ENDSWITH '-7'"), 1000);
  expect(trial).toMatchObject({ complete: true, results: { length: 1000 } });
  expect(outcomes(trial).filter((outcome) => outcome.endsWith(' MATCHED'))).toEqual(['3-7 MATCHED', '2-7 MATCHED']);
});

test('an empty topic has nothing to try it on; what is wrong is told all the same', async () => {
  const t = await shop();
  expect(await run(t)).toEqual({ results: [], complete: true });
  expect(await codeOf(run(t, sql('total >')))).toBe('FILTER_INVALID');
  expect(await codeOf(run(t, { type: 'TAG', expression: '||' }))).toBe('FILTER_INVALID');
  expect(await codeOf(t.rooms.filterTests.run('nowhere', ANY, 1))).toBe('TOPIC_NOT_FOUND');
  await t.topic('silent', { permission: 'W' });
  expect(await codeOf(t.rooms.filterTests.run('silent', ANY, 1))).toBe('NO_PERMISSION');
});

test('moves nothing and writes nothing', async () => {
  const t = await shop();
  await t.group('billing');
  await t.send('orders', named('a'));
  const { end } = t.journal;
  await run(t);
  expect([t.journal.end, t.committed()]).toEqual([end, [0]]);
});

test('ends when it takes too long, and says so; one message is tried at least', async () => {
  const clock = new BusyClock();
  const t = await setup<BusyClock>({ clock });
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.send('orders', ...Array.from({ length: 100 }, (_, i) => named(`m${i}`)));
  clock.perLook = 10;
  const trial = await t.rooms.filterTests.run('orders', ANY, 100);
  expect(trial.complete).toBe(false);
  expect(trial.results.length).toBeGreaterThan(1);
  expect(trial.results.length).toBeLessThan(100);
  expect(names(trial)[0]).toBe('m99');
  clock.perLook = LIMITS.filterMs;
  expect(names(await t.rooms.filterTests.run('orders', ANY, 100))).toEqual(['m99']);
});

test('holds a part of what it reads at a time, however large messages are', async () => {
  const t = await shop();
  for (let i = 0; i < 12; i++) await t.send('orders', to(0, 'x'.repeat(400 * 1024), { keys: [`m${i}`] }));
  await t.restart();
  await turn();
  const read = t.journal.readPositions.bind(t.journal);
  const parts: number[] = [];
  jest.spyOn(t.journal, 'readPositions').mockImplementation((positions) => {
    parts.push(positions.length);
    return read(positions);
  });
  expect(await run(t)).toMatchObject({ complete: true, results: { length: 12 } });
  expect(parts).toEqual([2, 2, 2, 2, 2, 2]);
});
