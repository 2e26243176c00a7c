/** The heap, against a sorted list. */
import fc from 'fast-check';
import { Heap } from '../../src/base/heap';

interface Item {
  readonly key: number;
  readonly name: number;
}

test('an empty heap has nothing', () => {
  const heap = new Heap<number>((item) => item);
  expect(heap.size).toBe(0);
  expect(heap.first).toBeUndefined();
  expect(heap.take()).toBeUndefined();
  expect(heap.size).toBe(0);
});

test('gives out what it was given, in order', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -50, max: 50 })), (keys) => {
      const heap = new Heap<number>((item) => item);
      for (const key of keys) heap.add(key);
      expect(heap.size).toBe(keys.length);
      expect(keys.map(() => heap.take())).toEqual([...keys].sort((a, b) => a - b));
      expect(heap.take()).toBeUndefined();
    }),
  );
});

test('through any adding, taking and clearing it is what a sorted list is', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ add: fc.integer({ min: 0, max: 20 }) }) },
    { weight: 5, arbitrary: fc.constant('take' as const) },
    { weight: 1, arbitrary: fc.constant('clear' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
      const heap = new Heap<Item>(({ key }) => key);
      let list: Item[] = [];
      for (const [name, what] of steps.entries()) {
        if (what === 'clear') {
          heap.clear();
          list = [];
        } else if (what === 'take') {
          const taken = heap.take();
          // Of equal keys any may come; it comes once.
          expect(taken?.key).toBe(list.length === 0 ? undefined : Math.min(...list.map(({ key }) => key)));
          expect(taken === undefined || list.includes(taken)).toBe(true);
          list = list.filter((item) => item !== taken);
        } else {
          const item = { key: what.add, name };
          heap.add(item);
          list.push(item);
        }
        expect(heap.size).toBe(list.length);
        expect(heap.first?.key).toBe(list.length === 0 ? undefined : Math.min(...list.map(({ key }) => key)));
      }
    }),
  );
});

test('asks few keys: adding and taking cost the logarithm of its size', () => {
  let asked = 0;
  const heap = new Heap<number>((item) => {
    asked++;
    return item;
  });
  const count = 1 << 14;
  for (let i = 0; i < count; i++) heap.add((i * 7919) % count);
  for (let i = 0; i < count; i++) expect(heap.take()).toBe(i);
  expect(asked / count).toBeLessThan(4 * 14 + 8);
});
