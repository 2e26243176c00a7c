/** Few reads at once, in the order in which they came, and a bound on those that wait. */
import fc from 'fast-check';
import { ReadGate } from '../../src/broker/readGate';
import { codeOf, turn } from '../support/broker';

function setup(atOnce: number, waiting: number) {
  const gate = new ReadGate({ atOnce, waiting });
  const begun: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const read = (name: string) =>
    gate.run(
      () =>
        new Promise<string>((resolve, reject) => {
          begun.push(name);
          ends.set(name, (error) => (error ? reject(error) : resolve(name)));
        }),
    );
  const end = async (name: string, error?: Error) => {
    ends.get(name)!(error);
    ends.delete(name);
    await turn();
  };
  return { read, end, begun, ends };
}

test('so many reads run at once; the next begins when one ends, first come first served', async () => {
  const { read, end, begun } = setup(2, 10);
  const all = ['a', 'b', 'c', 'd'].map(read);
  await turn();
  expect(begun).toEqual(['a', 'b']);
  await end('b');
  expect(begun).toEqual(['a', 'b', 'c']);
  await end('a');
  expect(begun).toEqual(['a', 'b', 'c', 'd']);
  await end('c');
  await end('d');
  expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd']);
});

test('a read that fails gives its place on, too', async () => {
  const { read, end, begun } = setup(1, 10);
  const failing = read('a');
  const next = read('b');
  const failed = expect(failing).rejects.toThrow('damaged');
  await end('a', new Error('damaged'));
  await failed;
  expect(begun).toEqual(['a', 'b']);
  await end('b');
  expect(await next).toBe('b');
});

test('over the bound of those that wait a reader is refused, until there is room', async () => {
  const { read, end, begun } = setup(1, 2);
  const waiting = ['a', 'b', 'c'].map(read);
  expect(await codeOf(read('d'))).toBe('TOO_MANY_REQUESTS');
  await end('a');
  waiting.push(read('e'));
  expect(await codeOf(read('f'))).toBe('TOO_MANY_REQUESTS');
  for (const name of ['b', 'c', 'e']) await end(name);
  await Promise.all(waiting);
  expect(begun).toEqual(['a', 'b', 'c', 'e']);
});

test('nobody overtakes: who comes while others wait begins after them', async () => {
  const { read, end, begun } = setup(1, 10);
  void read('a');
  void read('b');
  const late = end('a').then(() => void read('c'));
  await late;
  await end('b');
  await end('c');
  expect(begun).toEqual(['a', 'b', 'c']);
});

test('whatever comes and ends in whatever order: never too many at once, none forgotten, all in order', async () => {
  const steps = fc.array(fc.oneof(fc.constant('come'), fc.nat({ max: 5 })), { maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(steps, async (plan) => {
      const { read, end, begun, ends } = setup(3, 10_000);
      let came = 0;
      for (const step of plan) {
        if (step === 'come') void read(String(came++));
        else if (ends.size > 0) await end([...ends.keys()][Number(step) % ends.size]!);
        await turn();
        expect(ends.size).toBeLessThanOrEqual(3);
      }
      while (ends.size > 0) await end([...ends.keys()][0]!);
      expect(begun).toEqual(Array.from({ length: came }, (_, i) => String(i)));
    }),
    { numRuns: 50 },
  );
});
