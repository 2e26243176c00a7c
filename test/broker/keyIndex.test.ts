/** Finding messages by key: rows in order of time, whatever lies in between, before, during and after a flush. */
import fc from 'fast-check';
import { positionOf } from '../../storage/keys';
import { KeyIndex, keyHash, type KeyedPlace, type KeyQuery } from '../../src/broker/keyIndex';
import { eachKey, encodeMessage, hasKeys, keyBytes } from '../../src/broker/message';
import { HOUR, message, setup, stopBrokers } from '../support/broker';

afterEach(stopBrokers);

const DAY = 24 * HOUR;
const NOW = 20_000 * DAY + 5 * HOUR;
const TOPIC = 7;

const encode = (keys: readonly string[] | undefined, rest: object = {}) =>
  encodeMessage(message({ body: '{"k":["body"]}', ...rest, ...(keys ? { keys } : {}) }), {
    ...{ topic: TOPIC, queueId: 0, messageId: Buffer.alloc(16), bornTimestamp: NOW },
  });

function keysIn(record: Buffer): string[] {
  const found: string[] = [];
  if (hasKeys(record)) eachKey(record, (start, end) => found.push(record.toString('utf8', start, end)));
  return found;
}

describe('keys in a record', () => {
  const key = fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).filter((text) => text.isWellFormed());

  test('are found whatever stands in them and around them', () => {
    const tricky = fc.constantFrom('"', '\\', '\\"', '","', '"]', ']', ',', 'k', '{"k":["', 'größe', '😀');
    fc.assert(
      fc.property(
        fc.array(fc.oneof(key, tricky), { maxLength: 6 }),
        fc.option(key, { nil: undefined }),
        (keys, other) => {
          const record = encode(keys, { tag: other, messageGroup: other, properties: { k: other ?? '' } });
          expect(keysIn(record)).toEqual(keys.map((one) => keyBytes(one).toString('utf8')));
        },
      ),
    );
  });

  test.each([
    ['no meta', {}],
    ['other meta', { properties: { k: '["x"]' }, messageGroup: 'g', contentType: 'text/plain' }],
    ['a tag that looks like them', { tag: '{"k":["x"]}' }],
    ['an empty list', { keys: [] }],
  ])('there are none with %s', (_, rest) => {
    expect(hasKeys(encode(undefined, rest))).toBe(false);
  });

  test('hash as they did in all data folders there are', () => {
    expect(['order-1', 'größe "7"', 'x'].map(keyHash)).toEqual(HASHES);
  });
});

/** Stored in rows: these numbers never change. */
const HASHES = [235326708214754, 230742211595450, 151385117083381];

/** An index on a tables store of its own. */
async function store() {
  const { folder } = await setup({ stopped: true });
  const index = new KeyIndex();
  let command = 10;
  const add = (keys: string[], time = NOW, topic = TOPIC) => {
    command++;
    index.add(encode(keys), topic, time, positionOf(command, 0), 3, command);
    return positionOf(command, 0);
  };
  const flush = async () => {
    await folder.tables.flush([...index.take()], command);
    index.flushed();
  };
  const find = (key: string, query: Partial<KeyQuery> = {}, limit = 100) =>
    index.find(
      { topic: TOPIC, hash: keyHash(key), from: NOW - 5 * DAY, position: 0, to: NOW + DAY, ...query },
      folder.tables,
      limit,
    );
  const found = async (key: string, query: Partial<KeyQuery> = {}) => positions((await find(key, query)).places);
  return { index, add, flush, find, found, tables: folder.tables };
}

const positions = (places: readonly KeyedPlace[]) => places.map(({ position }) => position);

test('a message is found under each of its keys, with its place', async () => {
  const { add, found, find, flush } = await store();
  const first = add(['a', 'b']);
  const second = add(['b', 'b']);
  for (const flushed of [false, true]) {
    if (flushed) await flush();
    expect(await found('a')).toEqual([first]);
    expect(await found('b')).toEqual([first, second]);
    expect(await found('c')).toEqual([]);
  }
  const [place] = (await find('a')).places;
  expect(place).toEqual({ time: NOW, position: first, queueId: 3, queueOffset: 11, bytes: encode(['a', 'b']).length });
});

test('in memory, under way to disk and on disk it is found once, in order of time, over days', async () => {
  const { add, found, flush, index } = await store();
  const expected = [NOW - 3 * DAY, NOW - DAY, NOW].map((time) => add(['a'], time));
  await flush();
  expected.push(add(['a'], NOW + 1));
  const flushing = Array.from(index.take());
  expected.push(add(['a'], NOW + 2));
  expect(await found('a')).toEqual(expected);
  expect(flushing).toHaveLength(1);
});

test('what a flush carries away while the store is read is found once', async () => {
  const { add, flush, find, tables, index } = await store();
  const expected = [add(['a']), add(['a'])];
  const slow = {
    scan: async (options: Parameters<typeof tables.scan>[0]) => {
      await flush();
      return tables.scan(options);
    },
  };
  const query = { topic: TOPIC, hash: keyHash('a'), from: NOW, position: 0, to: NOW };
  expect(positions((await index.find(query, slow, 10)).places)).toEqual(expected);
  expect(positions((await find('a')).places)).toEqual(expected);
});

test('other topics have keys of their own', async () => {
  const { add, found } = await store();
  const ours = add(['a']);
  const theirs = add(['a'], NOW, TOPIC + 1);
  expect(await found('a')).toEqual([ours]);
  expect(await found('a', { topic: TOPIC + 1 })).toEqual([theirs]);
});

test('any stretch of time, from any place on, in pages of any size: what all rows together say', async () => {
  const times = fc.array(fc.tuple(fc.nat({ max: 60 }), fc.constantFrom<string[]>(['a'], ['b'], ['a', 'b'])), {
    maxLength: 40,
  });
  const bounds = fc.record({
    from: fc.nat({ max: 60 }),
    to: fc.nat({ max: 60 }),
    limit: fc.integer({ min: 1, max: 7 }),
  });
  await fc.assert(
    fc.asyncProperty(times, fc.nat({ max: 40 }), bounds, async (messages, flushAt, { from, to, limit }) => {
      const { add, flush, find } = await store();
      const hour = (n: number) => NOW + n * HOUR;
      const sorted = messages.sort(([a], [b]) => a - b);
      const all: { time: number; position: number }[] = [];
      for (const [i, [time, keys]] of sorted.entries()) {
        if (i === flushAt) await flush();
        const position = add(keys, hour(time));
        if (keys.includes('a')) all.push({ time: hour(time), position });
      }
      const got: number[] = [];
      for (let at = { time: hour(from), position: 0 }; ;) {
        const { places, more } = await find('a', { from: at.time, position: at.position, to: hour(to) }, limit);
        got.push(...positions(places));
        expect(places.length).toBeLessThanOrEqual(limit);
        if (!more) break;
        at = places.at(-1)!;
      }
      expect(got).toEqual(
        all.filter(({ time }) => time >= hour(from) && time <= hour(to)).map(({ position }) => position),
      );
      await stopBrokers();
    }),
    { numRuns: 60 },
  );
});
