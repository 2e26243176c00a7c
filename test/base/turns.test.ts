/** Work under one name goes one after another, other work beside it. */
import { Turns } from '../../src/base/turns';

/** Work that ends when it is told. */
function gate() {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { open, opened };
}

test('what is asked for under one name runs in the order it was asked for, never two at once', async () => {
  const turns = new Turns<string>();
  const log: string[] = [];
  const gates = [gate(), gate(), gate()];
  const works = gates.map(({ opened }, i) =>
    turns.run('a', async () => {
      log.push(`begin ${i}`);
      await opened;
      log.push(`end ${i}`);
      return i;
    }),
  );
  for (const { open } of [...gates].reverse()) open();
  expect(await Promise.all(works)).toEqual([0, 1, 2]);
  expect(log).toEqual(['begin 0', 'end 0', 'begin 1', 'end 1', 'begin 2', 'end 2']);
});

test('other names do not wait', async () => {
  const turns = new Turns<string>();
  const { open, opened } = gate();
  const slow = turns.run('a', () => opened);
  expect(await turns.run('b', () => Promise.resolve('b'))).toBe('b');
  open();
  await slow;
});

test('work that fails fails alone', async () => {
  const turns = new Turns<number>();
  const failed = turns.run(1, () => Promise.reject(new Error('no')));
  const next = turns.run(1, () => Promise.resolve('yes'));
  await expect(failed).rejects.toThrow('no');
  expect(await next).toBe('yes');
});
