/** Rows between decision and disk: readable at every moment. */
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
