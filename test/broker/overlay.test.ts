/** Rows between decision and disk: readable at every moment. */
import fc from 'fast-check';
import { Overlay } from '../../src/broker/overlay';

const key = (name: string) => Buffer.from(name);
const text = (value: Buffer | null | undefined) => (value ? value.toString() : value);
const list = (overlay: Overlay) => [...overlay.take()].map((row) => [row.key.toString(), row.value?.toString()]);

test('the newest value counts, deleted differs from unknown', () => {
  const overlay = new Overlay();
  expect(overlay.get(key('a'))).toBeUndefined();
  overlay.put(key('a'), key('1'));
  overlay.put(key('a'), key('2'));
  expect(text(overlay.get(key('a')))).toBe('2');
  overlay.delete(key('a'));
  expect(overlay.get(key('a'))).toBeNull();
});

test('a flush takes each row once, with its last value', () => {
  const overlay = new Overlay();
  overlay.put(key('a'), key('1'));
  overlay.put(key('b'), key('1'));
  overlay.put(key('a'), key('2'));
  overlay.delete(key('b'));
  expect(list(overlay)).toEqual([
    ['a', '2'],
    ['b', undefined],
  ]);
  expect(list(overlay)).toEqual([]);
});

test('while a flush runs its rows stay readable, and what changes meanwhile wins', () => {
  const overlay = new Overlay();
  overlay.put(key('a'), key('1'));
  overlay.put(key('b'), key('1'));
  overlay.take();
  overlay.put(key('b'), key('2'));
  expect(text(overlay.get(key('a')))).toBe('1');
  expect(text(overlay.get(key('b')))).toBe('2');
  overlay.flushed();
  expect(overlay.get(key('a'))).toBeUndefined();
  expect(text(overlay.get(key('b')))).toBe('2');
  expect(list(overlay)).toEqual([['b', '2']]);
});

test('a row deleted while a flush writes it is deleted', () => {
  const overlay = new Overlay();
  overlay.put(key('a'), key('1'));
  overlay.take();
  overlay.delete(key('a'));
  expect(overlay.get(key('a'))).toBeNull();
  overlay.flushed();
  expect(overlay.get(key('a'))).toBeNull();
});

test('keys of any bytes are told apart', () => {
  const overlay = new Overlay();
  overlay.put(Buffer.from([0xc3, 0xa4]), key('1'));
  overlay.put(Buffer.from([0xe4]), key('2'));
  expect(text(overlay.get(Buffer.from([0xc3, 0xa4])))).toBe('1');
  expect(text(overlay.get(Buffer.from([0xe4])))).toBe('2');
});

test('the bytes that wait count what was put since the last flush', () => {
  const overlay = new Overlay();
  overlay.put(key('ab'), key('1234'));
  expect(overlay.activeBytes).toBe(6);
  overlay.delete(key('ab'));
  expect(overlay.activeBytes).toBe(8);
  overlay.take();
  expect(overlay.activeBytes).toBe(0);
});

describe('the rows within a range', () => {
  const within = (overlay: Overlay, gte: string, lt: string) =>
    overlay
      .within({ gte: key(gte), lt: key(lt) })
      .map((row) => [row.key.toString(), row.value?.toString()])
      .sort();

  test('are the newest word on each key, deleted ones too, from the first key to before the last', () => {
    const overlay = new Overlay();
    for (const name of ['a', 'b', 'ba', 'c', 'd']) overlay.put(key(name), key('1'));
    overlay.take();
    overlay.put(key('b'), key('2'));
    overlay.delete(key('c'));
    expect(within(overlay, 'b', 'd')).toEqual([
      ['b', '2'],
      ['ba', '1'],
      ['c', undefined],
    ]);
    overlay.flushed();
    expect(within(overlay, 'b', 'd')).toEqual([
      ['b', '2'],
      ['c', undefined],
    ]);
    expect(within(overlay, 'ba', 'ba')).toEqual([]);
  });

  test('go by the bytes of their keys, whatever these are', () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 3 }).map((each) => Buffer.from(each));
    fc.assert(
      fc.property(fc.array(fc.tuple(bytes, fc.boolean())), bytes, bytes, fc.nat(10), (rows, gte, lt, takeAt) => {
        const overlay = new Overlay();
        const wanted = new Map<string, string | undefined>();
        rows.forEach(([name, present], i) => {
          if (i === takeAt) overlay.take();
          if (present) overlay.put(name, key(`${i}`));
          else overlay.delete(name);
          const inside = Buffer.compare(name, gte) >= 0 && Buffer.compare(name, lt) < 0;
          if (inside) wanted.set(name.toString('hex'), present ? `${i}` : undefined);
        });
        const found = overlay.within({ gte, lt });
        expect(new Map(found.map((row) => [row.key.toString('hex'), row.value?.toString()]))).toEqual(wanted);
        expect(found).toHaveLength(wanted.size);
      }),
    );
  });
});
