/** Receives that wait in line: one is woken for one thing that comes, and nobody twice for the same. */
import { Queue } from '../../src/broker/queue';
import { ParkingLot, type Parking, type WakeReason } from '../../src/broker/parking';
import { WaitingLine } from '../../src/broker/waitingLine';
import { turn } from '../support/broker';
import { ManualClock } from '../support/clock';

function setup() {
  const clock = new ManualClock();
  const lot = new ParkingLot(clock, { total: 100, perGroup: 100 });
  const queues = [new Queue(1, 0, 0, 0), new Queue(1, 1, 0, 0)];
  const line = new WaitingLine();
  const ended: string[] = [];
  const join = (name: string, given: { looked?: number; on?: Queue[]; ms?: number; signal?: AbortSignal } = {}) => {
    const { looked = line.news, on = queues, ms = 1000, ...rest } = given;
    const options = { queues: [], ms, onParked: (parking: Parking) => line.join(parking, on, looked), ...rest };
    void lot.wait(options).then((reason) => ended.push(`${name} ${reason}`));
  };
  const wake = (queue: Queue, reason: WakeReason) => [...queue.waiting].forEach((waiter) => waiter.wake(reason));
  return { clock, lot, queues, line, ended, join, wake };
}

test('what is stored wakes whoever has waited longest, and stands once on each queue', async () => {
  const { join, wake, queues, ended, line } = setup();
  for (const name of ['a', 'b', 'c']) join(name);
  expect(queues.map(({ waiting }) => [...waiting])).toEqual([[line], [line]]);
  wake(queues[1]!, 'DATA');
  wake(queues[0]!, 'DATA');
  await turn();
  expect(ended).toEqual(['a DATA', 'b DATA']);
  expect(line.length).toBe(1);
});

test('the wake is passed on to those who have not looked since, once to each', async () => {
  const { join, ended, line } = setup();
  for (const name of ['a', 'b', 'c']) join(name);
  line.passOn(); // nothing has come
  line.wake('DATA');
  await turn();
  join('a'); // he has looked
  for (let i = 0; i < 5; i++) line.passOn();
  await turn();
  expect(ended).toEqual(['a DATA', 'b DATA', 'c DATA']);
  line.wake('DATA');
  await turn();
  expect(ended.at(-1)).toBe('a DATA');
});

test('who looked before the last news is woken by what is passed on', async () => {
  const { join, ended, line } = setup();
  const looked = line.news;
  line.wake('DATA'); // nobody waits
  join('a', { looked });
  line.passOn();
  await turn();
  expect(ended).toEqual(['a DATA']);
});

test('what is no data concerns all', async () => {
  const { join, wake, queues, ended } = setup();
  for (const name of ['a', 'b']) join(name);
  wake(queues[0]!, 'REBALANCED');
  await turn();
  expect(ended).toEqual(['a REBALANCED', 'b REBALANCED']);
});

test('a queue is left by the last who stood on it, however he goes', async () => {
  const { join, queues, ended, line, clock, lot } = setup();
  const [one, two] = queues;
  const gone = new AbortController();
  join('a', { ms: 500 });
  join('b', { on: [two!], signal: gone.signal });
  await clock.advance(500);
  expect([one!.waiting.size, two!.waiting.size]).toEqual([0, 1]);
  gone.abort();
  expect([one!.waiting.size, two!.waiting.size]).toEqual([0, 0]);
  await turn();
  expect(ended).toEqual(['a TIMEOUT', 'b GONE']);
  join('c');
  lot.close();
  expect([line.length, one!.waiting.size]).toEqual([0, 0]);
});
