/** What a consumer brings back: opaque, its own, and never a changed one. */
import fc from 'fast-check';
import {
  CursorCodec,
  CURSOR_PARTS,
  type CursorOwner,
  type CursorPart,
  type CursorSource,
} from '../../src/broker/cursor';
import { LIMITS } from '../../src/base/limits';
import { coded } from '../support/broker';

const codec = new CursorCodec(Buffer.alloc(32, 7));
const OWNER: CursorOwner = { group: 12, groupName: 'billing', consumerId: 'c1', topic: 9 };
const PARTS: CursorPart[] = [
  { queueId: 0, epoch: 4_294_967_297, position: 0 },
  { queueId: 3, epoch: 4_294_967_299, position: 812 },
];

const refused = (text: string, owner = OWNER) => {
  try {
    return codec.decode(text, owner, 'query');
  } catch (error) {
    return (error as { code: string }).code;
  }
};

test('any parts come back as they went', () => {
  const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const part = fc.record({ queueId: fc.integer({ min: 0, max: 1023 }), epoch: number, position: number });
  fc.assert(
    fc.property(fc.array(part, { maxLength: CURSOR_PARTS }), (parts) => {
      const text = codec.encode(OWNER, parts);
      expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
      expect(codec.decode(text, OWNER, 'query')).toEqual(parts);
    }),
  );
});

test('with as many parts as it holds it stays within 4,096 characters, and one more would not fit', () => {
  const most = Array.from({ length: CURSOR_PARTS }, (_, queueId) => ({
    queueId,
    epoch: Number.MAX_SAFE_INTEGER,
    position: Number.MAX_SAFE_INTEGER,
  }));
  expect(codec.encode(OWNER, most).length).toBeLessThanOrEqual(LIMITS.cursorCharacters);
  expect(codec.encode(OWNER, [...most, most[0]!]).length).toBeGreaterThan(LIMITS.cursorCharacters);
  expect(CURSOR_PARTS).toBeGreaterThan(150);
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
    const shorter = Buffer.concat([bytes.subarray(0, 21), bytes.subarray(39)]); // a part cut out
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
