/** What a consumer brings back: opaque, its own, and never a changed one. */
import fc from 'fast-check';
import {
  CursorCodec,
  CursorParts,
  type CursorOwner,
  type CursorPart,
  type CursorSource,
} from '../../src/broker/cursor';
import { LIMITS } from '../../src/base/limits';
import { coded } from '../support/broker';

const codec = new CursorCodec(Buffer.alloc(32, 7));
const OWNER: CursorOwner = { group: 12, groupName: 'billing', consumerId: 'c1', topic: 9 };
const PARTS: CursorPart[] = [
  { topic: 9, queueId: 0, epoch: 4_294_967_297, position: 0 },
  { topic: 9, queueId: 3, epoch: 4_294_967_299, position: 812 },
  { topic: 30, queueId: 3, epoch: 4_294_967_297, position: 5 },
];

/** The largest numbers that the state machine makes: 48 bits. */
const MOST = 2 ** 48 - 1;

const refused = (text: string, owner = OWNER) => {
  try {
    return codec.decode(text, owner, 'query');
  } catch (error) {
    return (error as { code: string }).code;
  }
};

/** What of these parts finds room. */
function collected(parts: readonly CursorPart[]): CursorPart[] {
  const all = new CursorParts();
  for (const part of parts) all.add(part);
  return all.parts;
}

const number = fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: MOST }));
const anyPart = fc.record({
  topic: number,
  queueId: fc.integer({ min: 0, max: LIMITS.queuesPerTopic - 1 }),
  epoch: number,
  position: fc.integer({ min: 0, max: MOST }),
});

test('any parts come back as they went, of many topics and epochs', () => {
  fc.assert(
    fc.property(fc.array(anyPart, { maxLength: 400, size: 'max' }), (given) => {
      const parts = collected(given);
      const text = codec.encode(OWNER, parts);
      expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
      expect(text.length).toBeLessThanOrEqual(LIMITS.cursorCharacters);
      expect(codec.decode(text, OWNER, 'query')).toEqual(parts);
    }),
    { endOnFailure: true }, // shrinking hundreds of parts takes minutes
  );
});

describe('the room in a cursor', () => {
  const fill = (part: (i: number) => CursorPart) => {
    const parts = new CursorParts();
    let i = 0;
    while (i < 5000 && parts.add(part(i))) i++;
    return { parts, count: i };
  };
  const place = (topic: number, queueId: number, epoch: number) => ({ topic, queueId, epoch, position: MOST });

  test('is for over 300 queues of one topic that were given together, for over 140 whatever they are', () => {
    expect(fill((i) => place(MOST, i, MOST)).count).toBeGreaterThan(300);
    for (const each of [(i: number) => place(MOST, i, MOST - i), (i: number) => place(MOST - i, 0, MOST)])
      expect(fill(each).count).toBeGreaterThan(140);
  });

  test('is used up to 4,096 characters and no further', () => {
    for (const each of [
      (i: number) => place(1, i, 1),
      (i: number) => place(i, i, 1),
      (i: number) => place(1, i, i >> 1),
    ]) {
      const { parts, count } = fill(each);
      const { length } = codec.encode(OWNER, parts.parts);
      expect(length).toBeLessThanOrEqual(LIMITS.cursorCharacters);
      expect(codec.encode(OWNER, [...parts.parts, each(count)]).length).toBeGreaterThan(LIMITS.cursorCharacters);
    }
  });

  test('fits says what add would do, and a queue that is in it is moved, not added', () => {
    const { parts, count } = fill((i) => place(1, i, i));
    expect([parts.fits(1, count, count), parts.add(place(1, count, count))]).toEqual([false, false]);
    expect([parts.fits(1, 0, 7), parts.add({ ...place(1, 0, 0), position: 5 })]).toEqual([true, true]);
    expect(parts.parts).toHaveLength(count);
    expect(parts.parts[0]!.position).toBe(5);
  });

  test('a queue of the same number in another topic is another queue', () => {
    expect(collected([place(1, 0, 1), place(2, 0, 1)])).toHaveLength(2);
  });
});

describe('a cursor that was changed', () => {
  const good = codec.encode(OWNER, PARTS);

  test('in any character is refused', () => {
    for (let i = 0; i < good.length; i++) {
      for (const other of ['A', 'B', '_', '9']) {
        if (good[i] === other) continue;
        expect([i, refused(good.slice(0, i) + other + good.slice(i + 1))]).toEqual([i, 'CURSOR_INVALID']);
      }
    }
  });

  test('in any bit is refused', () => {
    const bytes = Buffer.from(good, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const forged = Buffer.from(bytes);
      forged[bit >> 3]! ^= 1 << (bit & 7);
      expect([bit, refused(forged.toString('base64url'))]).toEqual([bit, 'CURSOR_INVALID']);
    }
  });

  test('in its length is refused', () => {
    const bytes = Buffer.from(good, 'base64url');
    for (let length = 0; length < bytes.length; length++) {
      expect(refused(bytes.subarray(0, length).toString('base64url'))).toBe('CURSOR_INVALID');
    }
    for (const more of ['A', 'AAAA', '=', '==', '\n', ' ', '.', '\0'])
      expect(refused(good + more)).toBe('CURSOR_INVALID');
    const shorter = Buffer.concat([bytes.subarray(0, -21), bytes.subarray(-12)]); // a part cut out
    expect(refused(shorter.toString('base64url'))).toBe('CURSOR_INVALID');
  });

  test.each(['x', 'AAAA', '%%%', 'ü', '{}', 'a'.repeat(4096)])('to %j is refused', (text) => {
    expect(refused(text)).toBe('CURSOR_INVALID');
  });

  test('names the place it came from', () => {
    const placed = (place: object) => coded('CURSOR_INVALID', { extras: { errors: [expect.objectContaining(place)] } });
    const decode = (from: CursorSource) => () => codec.decode('x', OWNER, from);
    expect(decode('query')).toThrow(expect.objectContaining(placed({ parameter: 'cursor', in: 'query' })));
    expect(decode('body')).toThrow(expect.objectContaining(placed({ pointer: '/cursor' })));
  });
});

describe('a cursor of somebody else', () => {
  const good = codec.encode(OWNER, PARTS);

  test('another group or another consumer cannot use it', () => {
    expect(refused(good, { ...OWNER, groupName: 'mail' })).toBe('CURSOR_INVALID');
    expect(refused(good, { ...OWNER, consumerId: 'c2' })).toBe('CURSOR_INVALID');
  });

  test('another cluster cannot use it', () => {
    const foreign = new CursorCodec(Buffer.alloc(32, 8)).encode(OWNER, PARTS);
    expect(refused(foreign)).toBe('CURSOR_INVALID');
  });

  test('the same names, created again, are told so', () => {
    expect(refused(good, { ...OWNER, group: 13 })).toBe('TOPIC_RECREATED');
    expect(refused(good, { ...OWNER, topic: 10 })).toBe('TOPIC_RECREATED');
  });
});
