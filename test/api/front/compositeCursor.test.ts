/** Cursors and generations of several brokers in one. */
import fc from 'fast-check';
import { fits, isComposite, packCursors, unpackCursors } from '../../../api/front/compositeCursor';
import { generationsOf, joinGenerations } from '../../../api/front/generations';
import { LIMITS } from '../../../src/base/limits';
import { Consumers } from '../../../src/broker/consumers';
import { CursorCodec, CursorParts } from '../../../src/broker/cursor';

const NAME = fc.stringMatching(/^[A-Za-z0-9_.:@-]{1,128}$/);
const CURSOR = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('base64url'));
const PARTS = fc
  .dictionary(NAME, CURSOR, { noNullPrototype: true, maxKeys: 20 })
  .map((parts) => new Map(Object.entries(parts)));
const INVALID = expect.objectContaining({ code: 'CURSOR_INVALID' }) as Error;

/** A broker's own, of so many queues that have each been taken over at another time. */
function cursorOf(queues: number): string {
  const parts = new CursorParts();
  for (let queueId = 0; queueId < queues; queueId++)
    parts.add({ topic: 7, queueId, epoch: 1000 + queueId, position: 2 ** 40 });
  const owner = { group: 5, groupName: 'billing', consumerId: 'worker-1', topic: 7 };
  return new CursorCodec(Buffer.alloc(32, 1)).encode(owner, parts.parts);
}

describe('cursors', () => {
  test('come out as they went in', () => {
    fc.assert(
      fc.property(PARTS, (parts) => {
        const text = packCursors(parts);
        expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(isComposite(text)).toBe(true);
        expect(unpackCursors(text, 'home', 'query')).toEqual(parts);
        const bytes = Buffer.from(text, 'base64url').length;
        if (fits(parts)) expect(text.length).toBeLessThanOrEqual(LIMITS.compositeCursorCharacters);
        else expect(Math.ceil((bytes * 4) / 3)).toBeGreaterThan(LIMITS.compositeCursorCharacters);
      }),
    );
  });

  test('of 16 brokers with 8 queues each fit', () => {
    const parts = new Map(Array.from({ length: 16 }, (_, i) => [`a-broker-with-a-long-name-${i}`, cursorOf(8)]));
    expect(fits(parts)).toBe(true);
    expect(packCursors(parts).length).toBeLessThanOrEqual(LIMITS.compositeCursorCharacters);
    // With path and other parameters of the greatest length a request's target still takes it.
    const target = `/v1/groups/${'g'.repeat(255)}/consumers/${'c'.repeat(128)}/messages?max=1000&maxBytes=8388608&min=1000&waitMs=30000&autoCommit=false&cursor=`;
    expect(target.length + LIMITS.compositeCursorCharacters).toBeLessThanOrEqual(LIMITS.uriCharacters);
  });

  test('one broker’s own is its home’s, and none is nobody’s', () => {
    const own = cursorOf(2);
    expect(isComposite(own)).toBe(false);
    expect(unpackCursors(own, 'home', 'query')).toEqual(new Map([['home', own]]));
    expect(unpackCursors('', 'home', 'query')).toEqual(new Map());
    expect(unpackCursors(packCursors(new Map([['a', '']])), 'home', 'query')).toEqual(new Map());
  });

  test('cut, made longer or changed in what holds them together they are refused, or other parts', () => {
    const parts = new Map([
      ['broker-a', cursorOf(1)],
      ['broker-b', cursorOf(2)],
    ]);
    const text = packCursors(parts);
    for (let length = 2; length < text.length; length++) {
      const cut = text.slice(0, length);
      try {
        expect([...unpackCursors(cut, 'home', 'query').keys()].length).toBeLessThan(2);
      } catch (error) {
        expect(error).toEqual(INVALID);
      }
    }
    for (const more of ['A', '=', ' ', '!', 'AAAA'])
      expect(() => unpackCursors(text + more, 'home', 'body')).toThrow(INVALID);
    const twice = Buffer.concat([Buffer.from(text, 'base64url'), Buffer.from(text, 'base64url').subarray(1)]);
    expect(() => unpackCursors(twice.toString('base64url'), 'home', 'body')).toThrow(INVALID);
  });
});

describe('generations', () => {
  test('come out as they went in; a broker that is not named has none that is late enough', () => {
    const of = generationsOf(
      joinGenerations(
        new Map([
          ['broker-a', 'o4h'],
          ['b:1@x', '2'],
        ]),
      ),
      'broker-a',
    );
    expect(['broker-a', 'b:1@x', 'broker-c'].map(of)).toEqual(['o4h', '2', '0']);
    expect(Consumers.epochOf(of('broker-c')!)).toBe(0);
  });

  test('one broker’s own is its home’s', () => {
    expect(['broker-a', 'broker-b'].map(generationsOf('o4h', 'broker-a'))).toEqual(['o4h', '0']);
    expect(generationsOf(undefined, 'broker-a')('broker-a')).toBeUndefined();
  });

  test.each(['/', '//', 'a/', ',', 'a/b/c', 'a,b/'])('what is none (%s) stands for no ownership', (text) => {
    expect(Consumers.epochOf(generationsOf(text, 'home')('home')!)).toBeLessThanOrEqual(0);
  });
});
