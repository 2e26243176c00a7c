/** The lease style: any consumer takes any message, has it to himself for a while, and acknowledges each by itself. */
import { Heap } from '../../src/base/heap';
import { LIMITS } from '../../src/base/limits';
import { Chooser } from '../../src/broker/choice';
import type { NewGroup } from '../../src/broker/groups';
import type { ReceiveAnswer, ReceiveOptions } from '../../src/broker/leases';
import type { NewTopic } from '../../src/broker/topics';
import type { WaitingLine } from '../../src/broker/waitingLine';
import {
  at,
  bodies,
  coded,
  codeOf,
  HOUR,
  NAME,
  setup,
  stopBrokers,
  turn,
  until,
  type Given,
  type SetupOptions,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

/** One queue, so that what is first is known. */
async function shop(
  group: Partial<NewGroup> = {},
  options: SetupOptions<ManualClock> = {},
  topic: Partial<NewTopic> = {},
): Promise<Bench> {
  const t = await setup(options);
  await t.topic('orders', { readQueues: 1, writeQueues: 1, ...topic });
  await t.group('billing', group);
  return t;
}

/** An ordered group on one FIFO queue. */
const line = (group: Partial<NewGroup> = {}, options: SetupOptions<ManualClock> = {}) =>
  shop({ ordered: true, ...group }, options, { type: 'FIFO' });

/** Messages of a messageGroup that is named by their first letter. */
const inLine = (...names: string[]): Given[] => names.map((body) => ({ body, messageGroup: body[0]! }));
const tagged = (tag: string, body: string): Given => ({ tag, body });
const numbered = (count: number, name = 'm'): string[] => Array.from({ length: count }, (_, i) => `${name}${i}`);

const handlesOf = (answer: Pick<ReceiveAnswer, 'messages'>): string[] =>
  answer.messages.map(({ receiptHandle }) => receiptHandle);
const attempts = (answer: ReceiveAnswer): number[] => answer.messages.map(({ attempt }) => attempt);

/** Codes of what was refused, in order. */
async function ack(t: Bench, ...handles: string[]): Promise<(string | undefined)[]> {
  const results = await t.rooms.leases.acknowledge('billing', handles);
  expect(results.map(({ receiptHandle }) => receiptHandle)).toEqual(handles);
  return results.map(({ error }) => error?.code);
}

const nack = (t: Bench, receiptHandle: string, delayMs?: number, reason?: string) =>
  t.rooms.leases.nack('billing', [{ receiptHandle, delayMs, reason }]).then(([result]) => result!);

const extend = (t: Bench, receiptHandle: string, invisibleMs: number) =>
  t.rooms.leases.extend('billing', [{ receiptHandle, invisibleMs }]).then(([result]) => result!);

const committed = (t: Bench, queueId = 0) => t.rooms.positions.offsets('billing').queues[queueId]!.committed;
const progress = (t: Bench, queueId = 0) => t.rooms.positions.offsets('billing').queues[queueId]!;

/** Takes and answers everything that is there, as bodies. */
async function takeAll(t: Bench): Promise<string[]> {
  const all: string[] = [];
  for (;;) {
    const { messages } = await t.receive('billing', { max: 1000 });
    if (messages.length === 0) return all;
    all.push(...bodies(messages));
    await ack(t, ...handlesOf({ messages }));
  }
}

const deadLetters = async (t: Bench): Promise<string[]> => {
  const { deadLetters: letters } = await t.rooms.deadLetters.list('billing', -1, 100);
  return bodies(letters.map(({ delivery }) => delivery));
};

describe('receive and acknowledge', () => {
  test('receives at the same time never share a message, and together get all', async () => {
    const t = await shop({}, {}, { readQueues: 3, writeQueues: 3 });
    for (let i = 0; i < 30; i++) await t.send('orders', `m${i}`);
    const answers = await Promise.all(Array.from({ length: 10 }, () => t.receive('billing', { max: 4 })));
    const all = answers.flatMap(({ messages }) => bodies(messages));
    expect(all.sort()).toEqual(numbered(30).sort());
    expect(answers.every(({ messages }) => messages.length <= 4)).toBe(true);
    expect((await t.receive()).messages).toEqual([]);
  });

  test('a message tells what it is, and until when it is invisible', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const { messages, reason, lag } = await t.receive('billing', { invisibleMs: 7000 });
    expect(messages).toHaveLength(1);
    expect(messages[0]).toMatchObject({ queueOffset: 0, attempt: 1, invisibleUntil: t.clock.now() + 7000 });
    expect(messages[0]!.receiptHandle).toMatch(/^[A-Za-z0-9_-]{1,512}$/);
    expect(reason).toBeUndefined();
    expect(lag).toEqual({ ready: 0, inFlight: 1 });
  });

  test('is invisible until its time is over, then comes again as attempt 2', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 10_000 });
    await t.clock.advance(9_999);
    expect((await t.receive()).messages).toEqual([]);
    await t.clock.advance(2);
    const again = await t.receive('billing', { invisibleMs: 10_000 });
    expect(bodies(again.messages)).toEqual(['a']);
    expect(attempts(again)).toEqual([2]);
    await t.clock.advance(10_001);
    expect(attempts(await t.receive())).toEqual([3]);
  });

  test('what came back goes first, lowest first, before what nobody has seen', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b', 'c', 'd');
    const first = await t.receive('billing', { max: 3, invisibleMs: 10_000 });
    await ack(t, handlesOf(first)[1]!);
    await t.clock.advance(10_001);
    expect(bodies((await t.receive('billing', { max: 3 })).messages)).toEqual(['a', 'c', 'd']);
  });

  test('an acknowledged message never comes again', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const first = await t.receive('billing', { invisibleMs: 10_000 });
    expect(await ack(t, ...handlesOf(first))).toEqual([undefined, undefined]);
    await t.clock.advance(20_000);
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP', lag: { ready: 0, inFlight: 0 } });
  });

  test('a late acknowledgement counts as long as the message was not handed out again', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [handle] = handlesOf(await t.receive('billing', { invisibleMs: 10_000 }));
    await t.clock.advance(60_000);
    expect(await ack(t, handle!)).toEqual([undefined]);
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });

  test('after that it is LATE_ACK and changes nothing for whoever has it now', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [old] = handlesOf(await t.receive('billing', { invisibleMs: 10_000 }));
    await t.clock.advance(10_001);
    const [young] = handlesOf(await t.receive('billing', { invisibleMs: 10_000 }));
    expect(await ack(t, old!)).toEqual(['LATE_ACK']);
    expect((await extend(t, old!, 60_000)).error).toMatchObject(coded('LATE_ACK'));
    expect((await nack(t, old!)).error).toMatchObject(coded('LATE_ACK'));
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    await t.clock.advance(10_001);
    const third = await t.receive();
    expect(attempts(third)).toEqual([3]);
    expect(await ack(t, old!, young!, ...handlesOf(third))).toEqual(['LATE_ACK', 'LATE_ACK', undefined]);
  });

  test('an acknowledgement may be repeated, in one call and later', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const [a, b] = handlesOf(await t.receive());
    expect(await ack(t, a!, a!)).toEqual([undefined, undefined]);
    expect(await ack(t, a!, b!)).toEqual([undefined, undefined]);
    await t.crash();
    expect(await ack(t, a!, b!)).toEqual([undefined, undefined]);
  });

  test('what is acknowledged stays so after a crash', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(10));
    const handles = handlesOf(await t.receive('billing', { invisibleMs: 10_000 }));
    await ack(t, ...handles.filter((_, i) => i % 2 === 0));
    await t.crash();
    await t.clock.advance(10_001);
    expect(await takeAll(t)).toEqual(['m1', 'm3', 'm5', 'm7', 'm9']);
    await t.crash();
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });

  test.each([
    ['restart', (t: Bench) => t.restart()],
    ['crash', (t: Bench) => t.crash()],
  ])('after a %s a lease ends when it was promised to end, and its handle counts', async (_, end) => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const handles = handlesOf(await t.receive('billing', { invisibleMs: 10_000 }));
    await t.clock.advance(4_000);
    await end(t);
    await t.clock.advance(5_900);
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    expect(await ack(t, handles[0]!)).toEqual([undefined]);
    await t.clock.advance(101);
    const again = await t.receive();
    expect(bodies(again.messages)).toEqual(['b']);
    expect(attempts(again)).toEqual([2]);
  });

  test('an unknown group is not found', async () => {
    const t = await shop();
    expect(await codeOf(t.receive('nobody'))).toBe('GROUP_NOT_FOUND');
    expect(await codeOf(t.rooms.leases.acknowledge('nobody', []))).toBe('GROUP_NOT_FOUND');
    expect(await codeOf(t.rooms.leases.nack('nobody', []))).toBe('GROUP_NOT_FOUND');
    expect(await codeOf(t.rooms.leases.extend('nobody', []))).toBe('GROUP_NOT_FOUND');
  });

  test('a group of several topics receives from all of them', async () => {
    const t = await shop({ allowMultipleTopics: true });
    await t.topic('returns', { readQueues: 1, writeQueues: 1 });
    await t.join('billing', 'c1', { topic: 'returns' });
    t.rooms.groups.leave('billing', 'c1');
    await t.send('orders', 'a');
    await t.send('returns', 'b');
    expect((await takeAll(t)).sort()).toEqual(['a', 'b']);
  });
});

describe('committed offset and progress', () => {
  test('is the lowest that is not acknowledged', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(5));
    expect(committed(t)).toBe(0);
    const handles = handlesOf(await t.receive('billing', { max: 4 }));
    expect(committed(t)).toBe(0);
    await ack(t, handles[1]!);
    expect(committed(t)).toBe(0);
    await ack(t, handles[0]!);
    expect(committed(t)).toBe(2);
    await ack(t, handles[3]!);
    expect(progress(t)).toMatchObject({ committed: 2, lag: 3, ready: 1, inFlight: 1 });
    await ack(t, handles[2]!);
    expect(progress(t)).toMatchObject({ committed: 4, lag: 1, ready: 1, inFlight: 0 });
    await t.crash();
    expect(progress(t)).toMatchObject({ committed: 4, lag: 1, ready: 1, inFlight: 0 });
  });

  test('counts alike in all: queues that nothing was received from, and retries, too', async () => {
    const t = await shop({}, {}, { readQueues: 2, writeQueues: 2 });
    for (const queueId of [0, 0, 1]) await t.send('orders', { body: 'a', queue: { broker: NAME, queueId } });
    const first = await t.receive('billing', { max: 1 });
    const sums = () => {
      const { queues } = t.rooms.positions.offsets('billing');
      const sum = (field: 'lag' | 'ready' | 'inFlight') => queues.reduce((all, one) => all + (one[field] ?? 0), 0);
      return { lag: sum('lag'), ready: sum('ready'), inFlight: sum('inFlight') };
    };
    expect(sums()).toEqual({ lag: 3, ready: 2, inFlight: 1 });
    await nack(t, handlesOf(first)[0]!, 1000);
    await t.clock.advance(2000);
    expect(sums()).toEqual({ lag: 3, ready: 3, inFlight: 0 });
    expect(t.rooms.positions.lag(t.state.groupsByName.get('billing')!)).toBe(3);
    expect((await t.receive('billing', { max: 3 })).lag).toEqual({ ready: 0, inFlight: 3 });
    expect(sums()).toEqual({ lag: 3, ready: 0, inFlight: 3 });
  });

  test('what came back is ready, not in flight', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    await t.receive('billing', { max: 1, invisibleMs: 1000 });
    expect(progress(t)).toMatchObject({ ready: 1, inFlight: 1 });
    await t.clock.advance(1001);
    expect(progress(t)).toMatchObject({ ready: 2, inFlight: 0 });
  });

  test('what the filter leaves out is done with, when something behind it is taken', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x' } });
    await t.send('orders', tagged('y', 'a'), tagged('y', 'b'), tagged('x', 'c'), tagged('y', 'd'));
    const answer = await t.receive();
    expect(bodies(answer.messages)).toEqual(['c']);
    expect(committed(t)).toBe(2);
    await ack(t, ...handlesOf(answer));
    expect(committed(t)).toBeGreaterThanOrEqual(3);
  });

  test('so many that were left out are recorded without anything being taken', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x' } });
    for (let i = 0; i < 2; i++) await t.send('orders', ...numbered(600).map((body) => tagged('y', body)));
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'FILTERED' });
    expect(committed(t)).toBe(1200);
    await t.crash();
    expect(committed(t)).toBe(1200);
  });
});

describe('how much', () => {
  test('max is kept over all queues', async () => {
    const t = await shop({}, {}, { readQueues: 4, writeQueues: 4 });
    for (let i = 0; i < 20; i++) await t.send('orders', `m${i}`);
    expect((await t.receive('billing', { max: 7 })).messages).toHaveLength(7);
    expect((await t.receive('billing', { max: 20 })).messages).toHaveLength(13);
  });

  test('maxBytes is kept, but one message comes whatever it weighs', async () => {
    const t = await shop();
    await t.send('orders', 'a'.repeat(5000), 'b'.repeat(400), 'c'.repeat(400), 'd'.repeat(400));
    expect(bodies((await t.receive('billing', { maxBytes: 1500 })).messages)).toEqual(['a'.repeat(5000)]);
    expect((await t.receive('billing', { maxBytes: 1200 })).messages).toHaveLength(2);
    expect((await t.receive('billing', { maxBytes: 1200 })).messages).toHaveLength(1);
  });

  test('with a full answer nobody waits for min', async () => {
    const t = await shop();
    await t.send('orders', 'a'.repeat(500), 'b'.repeat(500));
    const answer = await t.receive('billing', { min: 2, maxBytes: 700, waitMs: 30_000 });
    expect(answer.messages).toHaveLength(1);
  });

  test('waits for min, then answers', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const answer = t.receive('billing', { min: 4, waitMs: 30_000 });
    await t.parked(1);
    await t.send('orders', 'c');
    await t.parked(1);
    await t.send('orders', 'd', 'e');
    expect(bodies((await answer).messages)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });

  test('what is there when the wait is over is answered, though it is less than min', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const answer = t.receive('billing', { min: 3, waitMs: 5000 });
    await t.parked(1);
    await t.clock.advance(5000);
    expect(bodies((await answer).messages)).toEqual(['a', 'b']);
  });

  test('who waits for min keeps nothing from the others meanwhile', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const patient = t.receive('billing', { min: 3, waitMs: 5000 });
    await t.parked(1);
    expect(bodies((await t.receive('billing', { max: 1 })).messages)).toEqual(['a']);
    await t.clock.advance(5000);
    expect(bodies((await patient).messages)).toEqual(['b']);
  });

  test('no queue is always the first', async () => {
    const t = await shop({}, {}, { readQueues: 3, writeQueues: 3 });
    for (let i = 0; i < 9; i++) await t.send('orders', { queue: { broker: NAME, queueId: i % 3 }, body: `q${i % 3}` });
    const firsts = [];
    for (let i = 0; i < 3; i++) firsts.push(...bodies((await t.receive('billing', { max: 1 })).messages));
    expect(firsts.sort()).toEqual(['q0', 'q1', 'q2']);
  });
});

describe('waiting', () => {
  test('takes no longer than it is told', async () => {
    const t = await shop();
    const answer = t.receive('billing', { waitMs: 5000 });
    await t.parked(1);
    await t.clock.advance(4999);
    expect(t.broker.lot.parked).toBe(1);
    await t.clock.advance(1);
    expect(await answer).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });

  test('a send ends it', async () => {
    const t = await shop();
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    await t.send('orders', 'a');
    expect(bodies((await answer).messages)).toEqual(['a']);
  });

  test('of many that wait one gets the message, and the others go on waiting', async () => {
    const t = await shop();
    const answers = Array.from({ length: 20 }, () => t.receive('billing', { waitMs: 30_000 }));
    await t.parked(20);
    await t.send('orders', 'a');
    await t.parked(19);
    await t.send('orders', ...numbered(19));
    await t.parked(18);
    await t.clock.advance(30_000);
    const all = (await Promise.all(answers)).flatMap(({ messages }) => bodies(messages));
    expect(all.sort()).toEqual(['a', ...numbered(19)].sort());
  });

  test('the end of a lease ends it', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 10_000 });
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    await t.clock.advance(10_001);
    expect(attempts(await answer)).toEqual([2]);
  });

  test('an answer that nobody got ends it', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const lost = await t.receive();
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    lost.giveBack();
    expect(attempts(await answer)).toEqual([1]);
  });

  test('a retry ends it when it is due, also the very first one of the group', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [handle] = handlesOf(await t.receive());
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    expect(await nack(t, handle!, 5000)).toMatchObject({ outcome: 'RETRY', attempt: 2 });
    await t.clock.advance(4999);
    expect(t.broker.lot.parked).toBe(1);
    await t.clock.advance(1002);
    const retried = await answer;
    expect(bodies(retried.messages)).toEqual(['a']);
    expect(attempts(retried)).toEqual([2]);
  });

  test('ends when the client goes', async () => {
    const t = await shop();
    const gone = new AbortController();
    const answer = t.receive('billing', { waitMs: 30_000, signal: () => gone.signal });
    await t.parked(1);
    gone.abort();
    expect((await answer).messages).toEqual([]);
    expect(t.broker.lot.parked).toBe(0);
  });

  test('ends when the broker stops', async () => {
    const t = await shop();
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    await t.broker.stop();
    expect(await answer).toMatchObject({ messages: [], reason: 'SHUTTING_DOWN' });
  });

  test('ends when the group is deleted, or its topic with it', async () => {
    const t = await shop();
    const one = codeOf(t.receive('billing', { waitMs: 30_000 }));
    await t.parked(1);
    await t.rooms.groups.delete('billing', false);
    expect(await one).toBe('GROUP_NOT_FOUND');
    await t.group();
    const two = codeOf(t.receive('billing', { waitMs: 30_000 }));
    await t.parked(1);
    await t.rooms.topics.delete('orders', true);
    expect(await two).toBe('GROUP_NOT_FOUND');
  });

  test('ends when a consumer joins the group', async () => {
    const t = await shop();
    const answer = codeOf(t.receive('billing', { waitMs: 30_000 }));
    await t.parked(1);
    await t.join('billing', 'c1');
    expect(await answer).toBe('STYLE_CONFLICT');
  });

  test('a place to wait is refused when there is none, and nothing is kept', async () => {
    const t = await shop({}, { options: { maxParkedPolls: 1 } });
    const first = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    expect(await codeOf(t.receive('billing', { waitMs: 30_000 }))).toBe('TOO_MANY_REQUESTS');
    await t.send('orders', 'a');
    expect(bodies((await first).messages)).toEqual(['a']);
  });

  test('is for the queues that its topic grows by, too', async () => {
    const t = await shop({}, {}, { readQueues: 1, writeQueues: 1 });
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    await t.rooms.topics.update('orders', { readQueues: 2, writeQueues: 2 });
    await t.send('orders', { body: 'a', queue: { broker: NAME, queueId: 1 } });
    await t.clock.advance(1000);
    expect(t.broker.lot.parked).toBe(0);
    expect(bodies((await answer).messages)).toEqual(['a']);
  });

  test('ends with a redrive that makes the group’s topic of retries', async () => {
    const t = await shop({ maxAttempts: 0 }, {}, { readQueues: 1, writeQueues: 1 });
    await t.send('orders', 'a');
    const [message] = (await t.receive()).messages;
    await t.rooms.leases.nack('billing', [{ receiptHandle: message!.receiptHandle }]);
    const answer = t.receive('billing', { waitMs: 30_000 });
    await t.parked(1);
    await t.rooms.deadLetters.redrive('billing', { all: true, dryRun: false });
    await t.clock.advance(1000);
    expect(t.broker.lot.parked).toBe(0);
    expect(bodies((await answer).messages)).toEqual(['a']);
  });
});

/** A wake is for one of those who wait, and is never lost. */
describe('many that wait', () => {
  const MANY = 200;
  let looks: jest.SpyInstance;
  beforeEach(() => void (looks = jest.spyOn(Chooser.prototype, 'choose')));
  afterEach(() => looks.mockRestore());

  /** So many receives of one message each, which wait one after another; what they get, in the order they get it. */
  async function crowd(t: Bench, count: number, given: Partial<ReceiveOptions> = {}) {
    const served: ReceiveAnswer[] = [];
    for (let i = 1; i <= count; i++) {
      const answer = t.receive('billing', { max: 1, waitMs: 30_000, ...given });
      answer.then(
        (one) => served.push(one),
        () => undefined, // refused in the end, which some tests want
      );
      await t.parked(i);
    }
    looks.mockClear();
    return served;
  }

  test('one message is handed out once, and hardly anybody else looks', async () => {
    const t = await shop({}, {}, { readQueues: 4, writeQueues: 4 });
    const served = await crowd(t, MANY);
    await t.send('orders', 'a');
    await t.parked(MANY - 1);
    await t.settled();
    expect(served.flatMap(({ messages }) => bodies(messages))).toEqual(['a']);
    expect(looks.mock.calls.length).toBeLessThanOrEqual(3);
    expect(t.broker.lot.parked).toBe(MANY - 1);
  });

  test.each([
    ['sent together', (t: Bench) => t.send('orders', ...numbered(MANY))],
    ['sent by many', (t: Bench) => Promise.all(numbered(MANY).map((body) => t.send('orders', body)))],
    [
      'sent one after another',
      async (t: Bench) => {
        for (const body of numbered(MANY)) await t.send('orders', body);
      },
    ],
  ])('as many messages serve them all: %s', async (_, send) => {
    const t = await shop({}, {}, { readQueues: 4, writeQueues: 4 });
    const served = await crowd(t, MANY);
    await send(t);
    await until(() => served.length === MANY, 'all answers');
    expect(served.flatMap(({ messages }) => bodies(messages)).sort()).toEqual(numbered(MANY).sort());
    expect(looks.mock.calls.length).toBeLessThanOrEqual(5 * MANY);
  });

  test('the wake is passed on before anything is written: nobody waits for the disk of those before him', async () => {
    const t = await shop();
    const served = await crowd(t, MANY);
    const { turns } = t.rooms.turns;
    await t.send('orders', ...numbered(MANY));
    await until(() => served.length === MANY, 'all answers');
    expect(t.rooms.turns.turns - turns).toBeLessThanOrEqual(MANY / 10);
  });

  test('as many messages that come back together serve them all', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(MANY));
    await t.receive('billing', { max: MANY, invisibleMs: 20_000 });
    const served = await crowd(t, MANY);
    await t.clock.advance(20_000);
    await until(() => served.length === MANY, 'all answers');
    expect(served.flatMap(({ messages }) => bodies(messages)).sort()).toEqual(numbered(MANY).sort());
    expect(looks.mock.calls.length).toBeLessThanOrEqual(5 * MANY);
  });

  test('one whose client goes away in the very moment in which it is woken passes it on', async () => {
    const t = await shop();
    const gone = new AbortController();
    const first = t.receive('billing', { max: 1, waitMs: 30_000, signal: () => gone.signal });
    await t.parked(1);
    const second = t.receive('billing', { max: 1, waitMs: 30_000 });
    await t.parked(2);
    looks.mockClear();
    const [line] = t.state.topicsByName.get('orders')!.queues[0]!.waiting as Set<WaitingLine>;
    const wake = line!.wake.bind(line);
    jest.spyOn(line!, 'wake').mockImplementation((reason) => {
      wake(reason);
      gone.abort();
    });
    await t.send('orders', 'a');
    expect((await first).messages).toEqual([]);
    const answer = await second;
    expect([bodies(answer.messages), attempts(answer)]).toEqual([['a'], [1]]);
    expect(looks).toHaveBeenCalledTimes(1); // nobody looked for the one who was gone
  });

  test('one that cannot look passes it on', async () => {
    const t = await shop();
    const first = t.receive('billing', { max: 1, waitMs: 30_000 });
    await t.parked(1);
    const second = t.receive('billing', { max: 1, waitMs: 30_000 });
    await t.parked(2);
    const broken = new Error('a disk that cannot be read');
    looks.mockRejectedValueOnce(broken);
    await t.send('orders', 'a');
    await expect(first).rejects.toBe(broken);
    expect(bodies((await second).messages)).toEqual(['a']);
  });

  test('one that is told of it when its time is over takes it', async () => {
    const t = await shop();
    const first = t.receive('billing', { max: 1, waitMs: 1000 });
    await t.parked(1);
    const second = t.receive('billing', { max: 1, waitMs: 30_000 });
    await t.parked(2);
    const hold = t.disk.hold('journal', 'write');
    const sending = t.send('orders', 'a');
    await hold.reached;
    hold.release();
    await Promise.all([t.clock.advance(1000), sending]);
    const [one, two] = await Promise.all([first, t.clock.advance(29_000).then(() => second)]);
    expect([...bodies(one.messages), ...bodies(two.messages)]).toEqual(['a']);
  });

  test('one that wants more than there is leaves it to the next, and gets its own when there is enough', async () => {
    const t = await shop();
    const served: string[][] = [];
    for (const [i, min] of [3, 2, 1, 1].entries()) {
      const options = { min, max: min, waitMs: 30_000 };
      void t.receive('billing', options).then(({ messages }) => served.push(bodies(messages)));
      await t.parked(i + 1);
    }
    looks.mockClear();
    await t.send('orders', 'a');
    await t.parked(3);
    await t.send('orders', 'b');
    await t.parked(2);
    await t.settled();
    expect(served).toEqual([['a'], ['b']]);
    await t.send('orders', 'c');
    await t.settled();
    expect(looks.mock.calls.length).toBeLessThanOrEqual(10);
    await t.send('orders', 'd', 'e', 'f', 'g');
    await t.parked(0);
    await until(() => served.length === 4, 'all answers');
    expect(served.slice(2).flat().sort()).toEqual(['c', 'd', 'e', 'f', 'g']);
  });

  test('what the filter leaves out is looked at once', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x' } });
    const served = await crowd(t, 20);
    await t.send('orders', tagged('y', 'a'));
    await t.settled();
    expect(looks).toHaveBeenCalledTimes(1);
    await t.send('orders', tagged('y', 'b'), tagged('x', 'c'), tagged('y', 'd'));
    await t.parked(19);
    await t.settled();
    expect(served.flatMap(({ messages }) => bodies(messages))).toEqual(['c']);
  });

  test('in an ordered group each end of a message is for one of them', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a0', 'a1', 'a2', 'a3'));
    let [handle] = handlesOf(await t.receive('billing', { max: 1 }));
    const served = await crowd(t, 20);
    for (let i = 1; i <= 3; i++) {
      await ack(t, handle!);
      await t.parked(20 - i);
      await until(() => served.length === i, 'an answer');
      [handle] = handlesOf(served.at(-1)!);
    }
    expect(served.flatMap(({ messages }) => bodies(messages))).toEqual(['a1', 'a2', 'a3']);
    expect(looks.mock.calls.length).toBeLessThanOrEqual(15);
  });

  test('all are told when consumers join, and when the topic changes', async () => {
    const t = await shop();
    await crowd(t, 20);
    await t.rooms.topics.update('orders', { readQueues: 2, writeQueues: 2 });
    await t.parked(20);
    const codes = Array.from({ length: 20 }, () => codeOf(t.receive('billing', { waitMs: 30_000 })));
    await t.parked(40);
    const queue = t.state.topicsByName.get('orders')!.queues[1]!;
    expect(queue.waiting.size).toBe(1);
    await t.join('billing', 'c1');
    expect(new Set(await Promise.all(codes))).toEqual(new Set(['STYLE_CONFLICT']));
    expect([t.broker.lot.parked, queue.waiting.size]).toEqual([0, 0]);
  });
});

describe('reasons', () => {
  test('IN_FLIGHT when others have all that is there', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    await t.receive();
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'IN_FLIGHT', lag: { ready: 0, inFlight: 1 } });
  });

  test('FILTERED when the filter leaves out what is there', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x' } });
    expect((await t.receive()).reason).toBe('CAUGHT_UP');
    await t.send('orders', tagged('y', 'a'));
    expect((await t.receive()).reason).toBe('FILTERED');
  });

  test('BLOCKED when what is there waits for earlier ones', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2'));
    const first = await t.receive();
    expect(bodies(first.messages)).toEqual(['a1']);
    expect(await t.receive()).toMatchObject({ reason: 'BLOCKED', lag: { ready: 1, inFlight: 1 } });
    expect(await t.receive()).toMatchObject({ reason: 'BLOCKED', lag: { ready: 1, inFlight: 1 } });
  });
});

describe('filters', () => {
  test('a tag with the same hash is told apart, and stands in nobody’s way', async () => {
    // "Aa" and "BB" have one hash: the index cannot tell them apart, and the record must.
    const t = await shop({ filter: { type: 'TAG', expression: 'Aa' } });
    await t.send('orders', tagged('BB', 'no1'), tagged('BB', 'no2'), tagged('Aa', 'yes'));
    expect(bodies((await t.receive('billing', { max: 1, waitMs: 1000 })).messages)).toEqual(['yes']);
    await t.send('orders', tagged('BB', 'no3'.repeat(500)), tagged('Aa', 'yes2'));
    expect(bodies((await t.receive('billing', { maxBytes: 1000, waitMs: 1000 })).messages)).toEqual(['yes2']);
    expect(committed(t)).toBe(2);
  });

  test('nor in that of its messageGroup', async () => {
    const t = await shop({ ordered: true, filter: { type: 'TAG', expression: 'Aa' } }, {}, { type: 'FIFO' });
    const inGroup = (tag: string, body: string): Given => ({ tag, body, messageGroup: 'g' });
    await t.send('orders', inGroup('BB', 'no'), inGroup('Aa', 'yes'), inGroup('Aa', 'next'));
    const answer = await t.receive('billing', { waitMs: 1000 });
    expect(bodies(answer.messages)).toEqual(['yes']);
    await ack(t, ...handlesOf(answer));
    expect(await takeAll(t)).toEqual(['next']);
  });

  test('a receive that waits looks at as many as there are', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x' } });
    const noise = numbered(1000, '').map((body) => tagged('y', body));
    for (let left = LIMITS.pollEntries + 2000; left > 0; left -= noise.length) await t.send('orders', ...noise);
    await t.send('orders', tagged('x', 'needle'));
    const answer = await t.receive('billing', { waitMs: 1000 });
    expect(bodies(answer.messages)).toEqual(['needle']);
  });

  test('one that does not wait gets on with every call', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x' } });
    const noise = numbered(1000, '').map((body) => tagged('y', body));
    for (let left = LIMITS.pollEntries + 2000; left > 0; left -= noise.length) await t.send('orders', ...noise);
    await t.send('orders', tagged('x', 'needle'));
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'FILTERED' });
    expect(committed(t)).toBe(LIMITS.pollEntries);
    expect(bodies((await t.receive()).messages)).toEqual(['needle']);
  });

  test('a message that came back is handed out again, wanted or not: it was delivered once', async () => {
    const t = await shop();
    await t.send('orders', tagged('x', 'a'), tagged('y', 'b'), tagged('x', 'c'));
    await t.receive('billing', { invisibleMs: 1000 });
    await t.group('billing', { filter: { type: 'TAG', expression: 'y' } });
    await t.clock.advance(1001);
    const answer = await t.receive('billing', { max: 3 });
    expect(bodies(answer.messages)).toEqual(['a', 'b', 'c']);
    await ack(t, ...handlesOf(answer));
    expect(await t.receive()).toMatchObject({ messages: [], lag: { ready: 0, inFlight: 0 } });
    expect(committed(t)).toBe(3);
  });

  test('topic and filter of a receive must be the group’s', async () => {
    const t = await shop({ filter: { type: 'TAG', expression: 'x || y' } });
    await t.topic('returns');
    const same = { topic: 'orders', filter: { type: 'TAG', expression: 'y||x' } } as const;
    expect((await t.receive('billing', same)).reason).toBe('CAUGHT_UP');
    expect((await t.receive('billing', { topic: 'orders', filter: same.filter })).reason).toBe('CAUGHT_UP');
    const other = { filter: { type: 'TAG', expression: 'x' } } as const;
    expect(await codeOf(t.receive('billing', other))).toBe('SUBSCRIPTION_CONFLICT');
    expect(await codeOf(t.receive('billing', { ...same, topic: 'returns' }))).toBe('SUBSCRIPTION_CONFLICT');
  });
});

describe('extend', () => {
  test('moves the deadline, from now on; the old handle and the new one count', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const [a, b] = handlesOf(await t.receive('billing', { invisibleMs: 10_000 }));
    await t.clock.advance(9_000);
    const result = await extend(t, a!, 20_000);
    expect(result.invisibleUntil).toBe(t.clock.now() + 20_000);
    await t.clock.advance(19_999);
    expect(bodies((await t.receive('billing', { invisibleMs: 100_000 })).messages)).toEqual(['b']);
    expect((await extend(t, a!, 20_000)).error).toBeUndefined();
    expect((await extend(t, result.receiptHandle, 20_000)).error).toBeUndefined();
    await t.clock.advance(20_001);
    expect(bodies((await t.receive()).messages)).toEqual(['a']);
    expect(await ack(t, a!, b!)).toEqual(['LATE_ACK', 'LATE_ACK']);
  });

  test('may shorten, too: that is putting it off', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: HOUR }));
    await extend(t, a!, 1000);
    await t.clock.advance(1001);
    expect(attempts(await t.receive())).toEqual([1]);
  });

  test('is kept over a restart', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
    await extend(t, a!, 20_000);
    await t.crash();
    await t.clock.advance(19_000);
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    await t.clock.advance(1001);
    expect(attempts(await t.receive())).toEqual([2]);
  });

  test('takes back a message whose time was over, if nobody has it yet', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
    await t.clock.advance(2000);
    expect((await extend(t, a!, 10_000)).error).toBeUndefined();
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    expect(await ack(t, a!)).toEqual([undefined]);
  });

  test('of what is acknowledged is LATE_ACK', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive());
    await ack(t, a!);
    expect((await extend(t, a!, 10_000)).error).toMatchObject(coded('LATE_ACK'));
  });

  test('and a receive at the same moment never both get the message', async () => {
    for (const early of [true, false]) {
      const t = await shop();
      await t.send('orders', 'a');
      const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
      await t.clock.advance(2000);
      const extended = early ? extend(t, a!, 10_000) : undefined;
      const received = t.receive();
      const other = extended ?? (await turn(), extend(t, a!, 10_000));
      const got = (await received).messages.length;
      expect([got, (await other).error?.code]).toEqual(got === 1 ? [1, 'LATE_ACK'] : [0, undefined]);
      await t.stop();
    }
  });

  test('that is under way when a receive has chosen, and not yet taken, keeps the message', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
    await t.clock.advance(2000);
    const read = t.disk.hold('journal', 'read');
    const received = t.receive();
    await read.reached;
    const write = t.disk.hold('journal', 'write');
    const extended = extend(t, a!, 10_000);
    await write.reached;
    read.release();
    await turn();
    write.release();
    expect((await extended).error).toBeUndefined();
    expect(await received).toMatchObject({ messages: [], reason: 'IN_FLIGHT' });
    await t.clock.advance(10_001);
    expect(attempts(await t.receive())).toEqual([2]);
  });
});

describe('handles that are none', () => {
  test('forged, cut, of another group: each is an error in its place', async () => {
    const t = await shop();
    await t.group('shipping');
    await t.send('orders', 'a', 'b', 'c');
    const [a, b] = handlesOf(await t.receive('billing', { max: 2 }));
    const [foreign] = handlesOf(await t.receive('shipping'));
    const forged = `${a!.slice(0, 10)}${a![10] === 'A' ? 'B' : 'A'}${a!.slice(11)}`;
    const bad = [forged, foreign!, a!.slice(0, -1), `${a!}A`, 'x', ''];
    const handles = [bad[0]!, a!, ...bad.slice(1, 4), b!, ...bad.slice(4)];
    const invalid = 'RECEIPT_INVALID';
    const wanted = [invalid, undefined, invalid, invalid, invalid, undefined, invalid, invalid];
    const { leases } = t.rooms;
    const extended = await leases.extend(
      'billing',
      handles.map((receiptHandle) => ({ receiptHandle, invisibleMs: 60_000 })),
    );
    expect(extended.map(({ receiptHandle }) => receiptHandle)).toEqual(handles);
    expect(extended.map(({ error }) => error?.code)).toEqual(wanted);
    expect(await ack(t, ...handles)).toEqual(wanted);
    const nacked = await leases.nack(
      'billing',
      handles.map((receiptHandle) => ({ receiptHandle })),
    );
    expect(nacked.map(({ receiptHandle }) => receiptHandle)).toEqual(handles);
    expect(nacked.map(({ error }) => error?.code)).toEqual(wanted.map((code) => code ?? 'LATE_ACK'));
    // The other group still has its own.
    expect((await leases.acknowledge('shipping', [foreign!]))[0]!.error).toBeUndefined();
  });

  test('of a group of the same name that was deleted', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive());
    await t.rooms.groups.delete('billing', false);
    await t.group();
    expect(await ack(t, a!, 'x')).toEqual(['TOPIC_RECREATED', 'RECEIPT_INVALID']);
    expect((await nack(t, a!)).error).toMatchObject(coded('TOPIC_RECREATED'));
    expect((await extend(t, a!, 60_000)).error).toMatchObject(coded('TOPIC_RECREATED'));
    expect(await takeAll(t)).toEqual(['a']);
  });

  test('the signing key is one over restarts, and another one for another broker', async () => {
    const t = await shop();
    const other = await shop({}, { seed: 2 });
    await t.send('orders', 'a');
    await other.send('orders', 'a');
    const [mine] = handlesOf(await t.receive());
    const [theirs] = handlesOf(await other.receive());
    await t.restart();
    expect(await ack(t, theirs!, mine!)).toEqual(['RECEIPT_INVALID', undefined]);
  });
});

describe('an answer that nobody got', () => {
  test('comes back at once, and its attempt does not count', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const lost = await t.receive();
    lost.giveBack();
    lost.giveBack();
    await until(() => progress(t).ready === 2, 'they came back');
    const again = await t.receive();
    expect(bodies(again.messages)).toEqual(['a', 'b']);
    expect(attempts(again)).toEqual([1, 1]);
    expect(await ack(t, ...handlesOf(lost))).toEqual(['LATE_ACK', 'LATE_ACK']);
    expect(await ack(t, ...handlesOf(again))).toEqual([undefined, undefined]);
  });

  test('does not count after a crash either', async () => {
    const t = await shop({ maxAttempts: 0 });
    await t.send('orders', 'a');
    (await t.receive()).giveBack();
    await until(() => progress(t).ready === 1, 'it came back');
    await t.crash();
    expect(attempts(await t.receive())).toEqual([1]);
  });

  test('when its lease was over and the message is with another: that one keeps it', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const slow = await t.receive('billing', { invisibleMs: 1000 });
    await t.clock.advance(1001);
    const now = await t.receive('billing', { invisibleMs: 10_000 });
    expect(attempts(now)).toEqual([2]);
    const end = t.journal.end;
    slow.giveBack();
    await until(() => t.state.applied > end, 'the return is decided');
    await turn();
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'IN_FLIGHT' });
    expect(await ack(t, ...handlesOf(now))).toEqual([undefined]);
  });

  test('when part of it was acknowledged: the rest comes back', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const lost = await t.receive();
    await ack(t, handlesOf(lost)[0]!);
    lost.giveBack();
    await until(() => progress(t).ready === 1, 'it came back');
    expect(await takeAll(t)).toEqual(['b']);
  });
});

describe('attemptId', () => {
  test('gives the same messages again, under the same handles', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    const first = await t.receive('billing', { max: 3, attemptId: 'one' });
    await t.clock.advance(1000);
    const again = await t.receive('billing', { max: 3, attemptId: 'one' });
    expect(bodies(again.messages)).toEqual(['m0', 'm1', 'm2']);
    expect(handlesOf(again)).toEqual(handlesOf(first));
    expect(attempts(again)).toEqual([1, 1, 1]);
    expect(again.messages.map((m) => m.invisibleUntil)).toEqual(first.messages.map((m) => m.invisibleUntil));
    expect(bodies((await t.receive('billing', { max: 3, attemptId: 'two' })).messages)).toEqual(['m3', 'm4', 'm5']);
  });

  test.each([
    ['restart', (t: Bench) => t.restart()],
    ['crash', (t: Bench) => t.crash()],
  ])('also after a %s, until the same time', async (_, end) => {
    const t = await shop();
    await t.send('orders', ...numbered(4));
    const first = await t.receive('billing', { max: 3, attemptId: 'one', invisibleMs: 10_000 });
    await t.clock.advance(9000);
    await end(t);
    const again = await t.receive('billing', { max: 3, attemptId: 'one' });
    expect(handlesOf(again)).toEqual(handlesOf(first));
    expect(again.messages[0]!.invisibleUntil).toBe(first.messages[0]!.invisibleUntil);
    expect(await ack(t, ...handlesOf(again))).toEqual([undefined, undefined, undefined]);
  });

  test('without those that were acknowledged meanwhile; with none left it is a new receive', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(4));
    const handles = handlesOf(await t.receive('billing', { max: 2, attemptId: 'one' }));
    await ack(t, handles[0]!);
    expect(bodies((await t.receive('billing', { max: 2, attemptId: 'one' })).messages)).toEqual(['m1']);
    await ack(t, handles[1]!);
    expect(bodies((await t.receive('billing', { max: 2, attemptId: 'one' })).messages)).toEqual(['m2', 'm3']);
    expect(bodies((await t.receive('billing', { max: 2, attemptId: 'one' })).messages)).toEqual(['m2', 'm3']);
  });

  test('without those whose time was over', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    await t.receive('billing', { max: 1, attemptId: 'one', invisibleMs: 1000 });
    await t.clock.advance(1001);
    const other = await t.receive('billing', { max: 1 });
    expect(bodies(other.messages)).toEqual(['a']);
    expect(bodies((await t.receive('billing', { max: 1, attemptId: 'one' })).messages)).toEqual(['b']);
  });

  test('two calls at the same time get the same', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(6));
    const calls = Array.from({ length: 3 }, () => t.receive('billing', { max: 2, attemptId: 'one' }));
    const answers = await Promise.all(calls);
    for (const answer of answers) expect(handlesOf(answer)).toEqual(handlesOf(answers[0]!));
    expect(progress(t)).toMatchObject({ inFlight: 2, ready: 4 });
  });

  test('the second of two waits with the first, also when that one fails', async () => {
    const t = await shop();
    const gone = new AbortController();
    const first = t.receive('billing', { attemptId: 'one', waitMs: 30_000, signal: () => gone.signal });
    const second = t.receive('billing', { attemptId: 'one', waitMs: 30_000 });
    await t.parked(1);
    gone.abort();
    expect((await first).messages).toEqual([]);
    await t.parked(1);
    await t.send('orders', 'a');
    expect(bodies((await second).messages)).toEqual(['a']);
  });

  test('an answer that was told again is not given back by the first one’s loss', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const lost = await t.receive('billing', { attemptId: 'one' });
    const again = await t.receive('billing', { attemptId: 'one' });
    expect(handlesOf(again)).toEqual(handlesOf(lost));
    lost.giveBack();
    await turn();
    await turn();
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    expect(await ack(t, ...handlesOf(again))).toEqual([undefined]);
  });

  test('one that was given back is not told again', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const lost = await t.receive('billing', { attemptId: 'one' });
    lost.giveBack();
    const again = await t.receive('billing', { attemptId: 'one', waitMs: 1000 });
    expect(bodies(again.messages)).toEqual(['a']);
    expect(handlesOf(again)).not.toEqual(handlesOf(lost));
    expect(attempts(again)).toEqual([1]);
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    expect(await ack(t, ...handlesOf(again))).toEqual([undefined]);
  });

  test('two groups may use the same', async () => {
    const t = await shop();
    await t.group('shipping');
    await t.send('orders', 'a');
    expect(bodies((await t.receive('billing', { attemptId: 'one' })).messages)).toEqual(['a']);
    expect(bodies((await t.receive('shipping', { attemptId: 'one' })).messages)).toEqual(['a']);
  });

  test('old ones are forgotten', async () => {
    const t = await shop();
    for (let i = 0; i < 5; i++) {
      await t.send('orders', 'a');
      await t.receive('billing', { max: 1, attemptId: `try-${i}`, invisibleMs: 1000 });
      await t.clock.advance(1001);
    }
    expect(t.state.groupsByName.get('billing')!.attempts.size).toBe(1);
  });
});

describe('nack and dead letters', () => {
  test('a failed message comes again after its delay, as the next attempt, with its origin', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const [a] = handlesOf(await t.receive('billing', { max: 1 }));
    const result = await nack(t, a!, 5000, 'no');
    expect(result).toEqual({ receiptHandle: a, attempt: 2, outcome: 'RETRY', dueTimestamp: t.clock.now() + 5000 });
    expect(bodies((await t.receive()).messages)).toEqual(['b']);
    expect(committed(t)).toBe(1);
    await t.clock.advance(4000);
    expect((await t.receive()).messages).toEqual([]);
    await t.clock.advance(2002);
    const again = await t.receive();
    expect(bodies(again.messages)).toEqual(['a']);
    expect(attempts(again)).toEqual([2]);
    expect(await ack(t, ...handlesOf(again))).toEqual([undefined]);
    expect((await t.receive()).reason).toBe('IN_FLIGHT'); // b
  });

  test.each([false, true])(
    'many large ones in one call are read a few at a time, in an ordered group (%s) too',
    async (ordered) => {
      const t = await shop({ ordered, maxAttempts: 1 }, {}, { type: 'MIXED' });
      for (const text of ['a', 'b', 'c', 'd']) await t.send('orders', text.repeat(3 << 20));
      const handles = handlesOf(await t.receive('billing', { maxBytes: 64 << 20 }));
      expect(handles).toHaveLength(4);
      const { core } = t.rooms;
      const written = jest.spyOn(core, 'submit');
      const read = core.reader.records.bind(core.reader);
      const writtenFirst: number[] = [];
      jest.spyOn(core.reader, 'records').mockImplementation((positions) => {
        writtenFirst.push(written.mock.calls.length);
        return read(positions);
      });
      const receipts = ['x', ...handles, 'y'].map((receiptHandle) => ({ receiptHandle, delayMs: 1000 }));
      const results = await t.rooms.leases.nack('billing', receipts);
      expect(writtenFirst).toHaveLength(4);
      expect(writtenFirst.at(-1)).toBeGreaterThan(0);
      expect(results.map(({ receiptHandle, outcome, error }) => [receiptHandle, outcome ?? error?.code])).toEqual([
        ['x', 'RECEIPT_INVALID'],
        ...handles.map((handle) => [handle, ordered ? 'WAITING' : 'RETRY']),
        ['y', 'RECEIPT_INVALID'],
      ]);
    },
  );

  test('repeating a nack answers the same and changes nothing', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive());
    const first = await nack(t, a!, 5000);
    await t.clock.advance(1000);
    expect(await nack(t, a!, 5000)).toEqual(first);
    await t.crash();
    expect(await nack(t, a!, 5000)).toEqual(first);
    await t.clock.advance(6000);
    expect(bodies((await t.receive()).messages)).toEqual(['a']);
    expect((await t.receive()).messages).toEqual([]);
  });

  test('the group’s own delays count when none is said', async () => {
    const t = await shop({ retryDelaysMs: [3000, 70_000] });
    await t.send('orders', 'a');
    const one = await nack(t, handlesOf(await t.receive())[0]!);
    expect(one.dueTimestamp).toBe(t.clock.now() + 3000);
    await t.clock.advance(4001);
    const two = await nack(t, handlesOf(await t.receive())[0]!);
    expect(two).toMatchObject({ attempt: 3, dueTimestamp: t.clock.now() + 70_000 });
  });

  test.each([0, 1, 3])(
    'with maxAttempts %i it is dead after so many more deliveries, by nacks',
    async (maxAttempts) => {
      const t = await shop({ maxAttempts });
      await t.send('orders', 'a');
      for (let attempt = 1; attempt <= 1 + maxAttempts; attempt++) {
        const answer = await t.receive();
        expect(attempts(answer)).toEqual([attempt]);
        const result = await nack(t, handlesOf(answer)[0]!, 0, 'broken');
        expect(result.outcome).toBe(attempt <= maxAttempts ? 'RETRY' : 'DEAD_LETTER');
        await t.clock.advance(1001);
      }
      expect(await t.receive()).toMatchObject({ messages: [], lag: { ready: 0, inFlight: 0 } });
      expect(await deadLetters(t)).toEqual(['a']);
      expect(committed(t)).toBe(1);
    },
  );

  test.each([0, 1, 3])(
    'with maxAttempts %i it is dead after so many more deliveries, by silence',
    async (maxAttempts) => {
      const t = await shop({ maxAttempts });
      await t.send('orders', 'a', 'b');
      for (let attempt = 1; attempt <= 1 + maxAttempts; attempt++) {
        expect(attempts(await t.receive('billing', { max: 1, invisibleMs: 1000 }))).toEqual([attempt]);
        await t.clock.advance(1001);
      }
      expect(bodies((await t.receive()).messages)).toEqual(['b']);
      expect(await deadLetters(t)).toEqual(['a']);
      expect(committed(t)).toBe(1);
      await t.crash();
      expect(await deadLetters(t)).toEqual(['a']);
    },
  );

  test('by both: what was counted in the topic goes on counting in its retries', async () => {
    const t = await shop({ maxAttempts: 3 });
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 1000 });
    await t.clock.advance(1001);
    const second = await t.receive();
    expect(await nack(t, handlesOf(second)[0]!, 0)).toMatchObject({ attempt: 3, outcome: 'RETRY' });
    await t.clock.advance(1001);
    expect(attempts(await t.receive('billing', { invisibleMs: 1000 }))).toEqual([3]);
    await t.clock.advance(1001);
    const last = await t.receive();
    expect(attempts(last)).toEqual([4]);
    expect((await nack(t, handlesOf(last)[0]!)).outcome).toBe('DEAD_LETTER');
    expect(await deadLetters(t)).toEqual(['a']);
  });

  test('several receives that meet an exhausted message make one dead letter', async () => {
    const t = await shop({ maxAttempts: 0 });
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 1000 });
    await t.clock.advance(1001);
    const answers = await Promise.all(Array.from({ length: 5 }, () => t.receive()));
    for (const answer of answers) expect(answer.messages).toEqual([]);
    expect(await deadLetters(t)).toEqual(['a']);
  });

  test('one whose lease is extended at that moment is extended, or dead, and not both', async () => {
    for (const early of [true, false]) {
      const t = await shop({ maxAttempts: 0 });
      await t.send('orders', 'a');
      const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
      const write = t.disk.hold('journal', 'write');
      const ahead = early ? extend(t, a!, 10_000) : undefined;
      await t.clock.advance(1001);
      const received = t.receive();
      await turn();
      write.release();
      const extended = await (ahead ?? extend(t, a!, 10_000));
      expect((await received).messages).toEqual([]);
      expect(extended.error?.code).toBe(early ? undefined : 'LATE_ACK');
      expect(await deadLetters(t)).toEqual(early ? [] : ['a']);
      expect((await t.receive()).reason).toBe(early ? 'IN_FLIGHT' : 'CAUGHT_UP');
      await t.stop();
    }
  });

  test('one that cannot be given up is there for the next who looks', async () => {
    const t = await shop({ maxAttempts: 0 });
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 1000 });
    const { core } = t.rooms;
    const submit = core.submit.bind(core);
    const refused = new Error('no');
    Object.assign(core, { submit: () => Promise.reject(refused) });
    await t.clock.advance(1001);
    expect(await codeOf(t.receive())).toBe(refused);
    Object.assign(core, { submit });
    expect(progress(t)).toMatchObject({ ready: 1, inFlight: 0 });
    expect((await t.receive()).messages).toEqual([]);
    await t.settled();
    expect(await deadLetters(t)).toEqual(['a']);
  });

  test('one that cannot be given up at the end of its lease is given up soon, though nobody looks', async () => {
    const t = await shop({ maxAttempts: 0 });
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 1000 });
    const { core } = t.rooms;
    const submit = core.submit.bind(core);
    Object.assign(core, { submit: () => Promise.reject(new Error('no')) });
    await t.clock.advance(2001);
    Object.assign(core, { submit });
    expect(await deadLetters(t)).toEqual([]);
    await t.clock.advance(501);
    await t.settled();
    expect(await deadLetters(t)).toEqual(['a']);
  });

  test('one that the group gives another chance, while somebody is about to give it up, is dead or comes again', async () => {
    const t = await shop({ maxAttempts: 0 });
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 1000 });
    const write = t.disk.hold('journal', 'write');
    await t.clock.advance(1001);
    const first = t.receive();
    await write.reached;
    const changed = t.group('billing', { maxAttempts: 5 });
    const second = t.receive('billing', { invisibleMs: 1000 });
    await turn();
    write.release();
    await changed;
    const third = t.receive('billing', { invisibleMs: 1000 });
    const got = (await Promise.all([first, second, third])).flatMap(({ messages }) => bodies(messages));
    await t.clock.advance(30_000); // it may have become a retry
    const later = bodies((await t.receive()).messages);
    const dead = await deadLetters(t);
    expect([...dead, ...later]).toEqual(['a']);
    if (dead.length > 0) expect(got).toEqual([]);
  });

  test('at whatever moment it is extended, one that is about to be given up is extended or given up, not both', async () => {
    const t = await shop({ maxAttempts: 0 });
    const outcomes = new Set<boolean>();
    for (let moment = 0; moment < 60; moment++) {
      await t.send('orders', `m${moment}`);
      const [handle] = handlesOf(await t.receive('billing', { invisibleMs: 1100 }));
      await t.clock.advance(1099);
      const dead = (await deadLetters(t)).length;
      const expiring = t.clock.advance(2);
      for (let i = 0; i < moment; i++) await Promise.resolve();
      const [result] = await t.rooms.leases.extend('billing', [{ receiptHandle: handle!, invisibleMs: 5000 }]);
      await expiring;
      await t.settled();
      const extended = result!.error === undefined;
      outcomes.add(extended);
      expect([moment, (await deadLetters(t)).length - dead]).toEqual([moment, extended ? 0 : 1]);
      if (extended) await ack(t, handle!);
    }
    expect(outcomes).toEqual(new Set([true, false]));
  });

  test('at whatever moment it is acknowledged, one that is about to be given up is done or given up, not both', async () => {
    const t = await shop({ maxAttempts: 0 });
    const outcomes = new Set<unknown>();
    for (let moment = 0; moment < 60; moment++) {
      await t.send('orders', `m${moment}`);
      const [handle] = handlesOf(await t.receive('billing', { invisibleMs: 1100 }));
      await t.clock.advance(1099);
      const dead = (await deadLetters(t)).length;
      const expiring = t.clock.advance(2);
      for (let i = 0; i < moment; i++) await Promise.resolve();
      const [result] = await t.rooms.leases.acknowledge('billing', [handle!]);
      await expiring;
      await t.settled();
      outcomes.add(result!.error?.code);
      expect([moment, (await deadLetters(t)).length - dead]).toEqual([moment, result!.error ? 1 : 0]);
    }
    expect(outcomes).toEqual(new Set([undefined, 'LATE_ACK']));
  });
});

describe('ordered groups', () => {
  test('within a messageGroup the next waits; others go on', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2', 'b1', 'a3', 'b2', 'c1'));
    const first = await t.receive();
    expect(bodies(first.messages)).toEqual(['a1', 'b1', 'c1']);
    const [a1, b1] = handlesOf(first);
    expect((await t.receive()).reason).toBe('BLOCKED');
    await ack(t, b1!);
    const second = await t.receive();
    expect(bodies(second.messages)).toEqual(['b2']);
    await ack(t, a1!);
    expect(bodies((await t.receive()).messages)).toEqual(['a2']);
    expect((await t.receive()).reason).toBe('BLOCKED');
  });

  test('receives at the same time do not overtake each other', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2', 'a3', 'a4', 'b1', 'b2'));
    const answers = await Promise.all(Array.from({ length: 6 }, () => t.receive('billing', { max: 1 })));
    expect(answers.flatMap(({ messages }) => bodies(messages)).sort()).toEqual(['a1', 'b1']);
  });

  test('an acknowledgement wakes whoever waits for the next', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2', 'a3'));
    let handles = handlesOf(await t.receive());
    for (const next of ['a2', 'a3']) {
      const answer = t.receive('billing', { waitMs: 30_000 });
      await t.parked(1);
      await ack(t, ...handles);
      expect(bodies((await answer).messages)).toEqual([next]);
      handles = handlesOf(await answer);
    }
  });

  test('an acknowledgement in the very moment in which the next is held back wakes it', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1'));
    const [a1] = handlesOf(await t.receive());
    await t.send('orders', ...inLine('a2'));
    const acked = ack(t, a1!);
    const answers = [t.receive('billing', { waitMs: 1000 }), t.receive('billing', { waitMs: 2000 })];
    await acked;
    await t.parked(1); // one of them got it
    await t.clock.advance(2000);
    expect((await Promise.all(answers)).flatMap(({ messages }) => bodies(messages))).toHaveLength(1);
  });

  test('without a messageGroup nobody waits', async () => {
    const t = await shop({ ordered: true });
    await t.send('orders', 'x', 'y', 'z');
    expect(bodies((await t.receive()).messages)).toEqual(['x', 'y', 'z']);
  });

  test('a lease that is over holds its messageGroup, and comes again first', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2', 'b1'));
    await t.receive('billing', { max: 1, invisibleMs: 1000 });
    await t.clock.advance(1001);
    const again = await t.receive();
    expect(bodies(again.messages)).toEqual(['a1', 'b1']);
    expect(attempts(again)).toEqual([2, 1]);
  });

  test('nack keeps its place: its messageGroup waits for its delay, others go on', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2', 'b1', 'b2'));
    const [a1, b1] = handlesOf(await t.receive());
    expect(await nack(t, a1!, 5000)).toMatchObject({
      outcome: 'WAITING',
      attempt: 2,
      dueTimestamp: t.clock.now() + 5000,
    });
    await ack(t, b1!);
    expect(bodies((await t.receive()).messages)).toEqual(['b2']);
    await t.clock.advance(4999);
    expect((await t.receive()).messages).toEqual([]);
    const waiting = t.receive('billing', { waitMs: 10_000 });
    await t.parked(1);
    await t.clock.advance(2);
    expect(bodies((await waiting).messages)).toEqual(['a1']);
    expect(attempts(await waiting)).toEqual([2]);
    await ack(t, ...handlesOf(await waiting));
    expect(bodies((await t.receive()).messages)).toEqual(['a2']);
  });

  test('nack without a delay of its own waits as the group says', async () => {
    const t = await line({ retryDelaysMs: [2000] });
    await t.send('orders', ...inLine('a1'));
    expect((await nack(t, handlesOf(await t.receive())[0]!)).dueTimestamp).toBe(t.clock.now() + 2000);
    await t.clock.advance(2001);
    expect(attempts(await t.receive())).toEqual([2]);
  });

  test.each(['nack', 'silence'])(
    'exhausted by %s goes to the dead letters, and its messageGroup goes on',
    async (how) => {
      const t = await line({ maxAttempts: 1 });
      await t.send('orders', ...inLine('a1', 'a2', 'b1'));
      for (let attempt = 1; attempt <= 2; attempt++) {
        const answer = await t.receive('billing', { max: 1, invisibleMs: 1000 });
        expect(bodies(answer.messages)).toEqual(['a1']);
        expect(attempts(answer)).toEqual([attempt]);
        if (how === 'nack')
          expect((await nack(t, handlesOf(answer)[0]!, 0)).outcome).toBe(attempt === 1 ? 'WAITING' : 'DEAD_LETTER');
        await t.clock.advance(1001);
        await t.settled();
      }
      const rest = await t.receive('billing', { waitMs: 1000 });
      expect(bodies(rest.messages).sort()).toEqual(['a2', 'b1']);
      expect(await deadLetters(t)).toEqual(['a1']);
    },
  );

  test('the end of an exhausted message wakes whoever waits for the next', async () => {
    const t = await line({ maxAttempts: 0 });
    await t.send('orders', ...inLine('a1', 'a2', 'b1', 'b2'));
    await t.receive('billing', { max: 2, invisibleMs: 1000 });
    const answers = [1, 2].map(() => t.receive('billing', { max: 1, waitMs: 20_000 }));
    await t.parked(2);
    await t.clock.advance(1001);
    const all = (await Promise.all(answers)).flatMap(({ messages }) => bodies(messages));
    expect(all.sort()).toEqual(['a2', 'b2']);
    expect((await deadLetters(t)).sort()).toEqual(['a1', 'b1']);
  });

  test('order holds over a crash', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2', 'b1', 'a3'));
    const first = await t.receive('billing', { invisibleMs: 1000 });
    expect(bodies(first.messages)).toEqual(['a1', 'b1']);
    expect((await t.receive()).reason).toBe('BLOCKED');
    await t.crash();
    expect((await t.receive()).reason).toBe('BLOCKED');
    await t.clock.advance(1001);
    expect(bodies((await t.receive()).messages)).toEqual(['a1', 'b1']);
  });

  test('looks ahead as far as its bound, then says BLOCKED, and goes on when the way is free', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1'));
    const [a1] = handlesOf(await t.receive());
    const more = Array.from({ length: 1000 }, () => inLine('a')[0]!);
    for (let sent = 0; sent < LIMITS.leaseLookAhead; sent += more.length) await t.send('orders', ...more);
    await t.send('orders', ...inLine('b1'));
    expect(await t.receive()).toMatchObject({ messages: [], reason: 'BLOCKED' });
    const { journal } = t;
    const end = journal.end;
    const parked = t.receive('billing', { waitMs: 1000 });
    await t.parked(1);
    expect(journal.end).toBeLessThanOrEqual(end + 1);
    await t.clock.advance(1000);
    expect(await parked).toMatchObject({ messages: [], reason: 'BLOCKED' });
    await ack(t, a1!);
    expect(bodies((await t.receive('billing', { max: 3 })).messages)).toEqual(['a', 'b1']);
  });
});

describe('one style at a time', () => {
  test('no receive while consumers are joined', async () => {
    const t = await shop();
    await t.join('billing', 'c1');
    expect(await codeOf(t.receive())).toBe('STYLE_CONFLICT');
    t.rooms.groups.leave('billing', 'c1');
    expect((await t.receive()).reason).toBe('CAUGHT_UP');
  });

  test('no join while messages are out', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
    expect(await codeOf(t.join('billing', 'c1'))).toBe('STYLE_CONFLICT');
    await ack(t, a!);
    expect(await codeOf(t.join('billing', 'c1'))).toBe('STYLE_CONFLICT');
    await t.restart();
    expect(await codeOf(t.join('billing', 'c1'))).toBe('STYLE_CONFLICT');
    await t.clock.advance(1001);
    await t.join('billing', 'c1');
    expect(bodies((await t.poll()).messages)).toEqual(['b']);
  });

  test('nor while a receive is being recorded', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const write = t.disk.hold('journal', 'write');
    const answer = t.receive();
    await write.reached;
    const joined = codeOf(t.join('billing', 'c1'));
    await turn();
    write.release();
    expect(await joined).toBe('STYLE_CONFLICT');
    expect(bodies((await answer).messages)).toEqual(['a']);
  });

  test('a receive that still reads when a consumer joins takes nothing', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a');
    const read = t.disk.hold('journal', 'read');
    const answer = codeOf(t.receive());
    await read.reached;
    await t.join('billing', 'c1');
    read.release();
    expect(await answer).toBe('STYLE_CONFLICT');
    expect(bodies((await t.poll()).messages)).toEqual(['a']);
    expect(t.state.groupsByName.get('billing')!.owners.size).toBe(1);
  });

  test('each goes on where the other was', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b', 'c', 'd');
    const handles = handlesOf(await t.receive('billing', { max: 2, invisibleMs: 1000 }));
    await ack(t, handles[0]!);
    await t.clock.advance(1001);
    await t.join('billing', 'c1');
    const polled = await t.poll('billing', 'c1', { max: 2 });
    expect(bodies(polled.messages)).toEqual(['b', 'c']);
    await t.poll('billing', 'c1', { cursor: polled.cursor, autoCommit: true, max: 1 });
    t.rooms.groups.leave('billing', 'c1');
    expect(await ack(t, handles[1]!)).toEqual([undefined]);
    const received = await t.receive();
    expect(bodies(received.messages)).toEqual(['d']);
  });

  test('a broadcasting group has no leases', async () => {
    const t = await shop({ mode: 'BROADCASTING' });
    expect(await codeOf(t.receive())).toBe('STYLE_CONFLICT');
  });
});

describe('positions that move', () => {
  test('a reset while leases are out: what was handed out does not count any more', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(5));
    const first = await t.receive('billing', { max: 3, invisibleMs: 1000 });
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect(progress(t)).toMatchObject({ committed: 0, lag: 5 });
    const again = await t.receive('billing', { invisibleMs: 10_000 });
    expect(bodies(again.messages)).toEqual(numbered(5));
    expect(attempts(again)).toEqual([1, 1, 1, 1, 1]);
    expect(await ack(t, ...handlesOf(first))).toEqual(['LATE_ACK', 'LATE_ACK', 'LATE_ACK']);
    await t.clock.advance(2000);
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
  });

  test('a reset forwards leaves nothing in flight', async () => {
    const t = await shop();
    await t.send('orders', ...numbered(5));
    await t.receive('billing', { max: 3, invisibleMs: 1000 });
    await t.rooms.positions.reset('billing', 'LATEST', undefined, false);
    expect(await t.receive()).toMatchObject({ reason: 'CAUGHT_UP', lag: { ready: 0, inFlight: 0 } });
    await t.clock.advance(2000);
    expect((await t.receive()).reason).toBe('CAUGHT_UP');
    await t.join('billing', 'c1');
  });

  test('a reset of one queue leaves what is out of the others as it is', async () => {
    const t = await shop({}, {}, { readQueues: 2, writeQueues: 2 });
    for (const queueId of [0, 1]) await t.send('orders', { body: `q${queueId}`, queue: { broker: NAME, queueId } });
    const first = await t.receive('billing', { invisibleMs: 1000 });
    expect(first.messages).toHaveLength(2);
    await t.rooms.positions.reset('billing', 'EARLIEST', [{ broker: NAME, queueId: 0 }], false);
    expect(await codeOf(t.join('billing', 'c1'))).toBe('STYLE_CONFLICT');
    const [q0] = handlesOf(await t.receive('billing', { invisibleMs: 60_000 }));
    await t.clock.advance(1001);
    const again = await t.receive();
    expect(bodies(again.messages)).toEqual(['q1']);
    expect(attempts(again)).toEqual([2]);
    expect(await ack(t, q0!)).toEqual([undefined]);
  });

  test('a reset of one queue leaves what came back of the others as it is', async () => {
    const t = await shop({}, {}, { readQueues: 2, writeQueues: 2 });
    for (const queueId of [0, 1]) await t.send('orders', { body: `q${queueId}`, queue: { broker: NAME, queueId } });
    await t.receive('billing', { invisibleMs: 1000 });
    await t.clock.advance(1001);
    await t.rooms.positions.reset('billing', 'LATEST', [{ broker: NAME, queueId: 0 }], false);
    expect(await takeAll(t)).toEqual(['q1']);
  });

  test('a reset leaves retries that are out as they are', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    await nack(t, handlesOf(await t.receive())[0]!, 0);
    await t.clock.advance(1001);
    expect(bodies((await t.receive('billing', { invisibleMs: 1000 })).messages)).toEqual(['a']);
    await t.rooms.positions.reset('billing', 'LATEST', undefined, false);
    await t.clock.advance(1001);
    expect(attempts(await t.receive())).toEqual([3]);
  });

  test.each([
    ['back', 0],
    ['on', 15],
  ])('a reset %s while a receive reads: nothing is passed over', async (_, offset) => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', ...numbered(20));
    await ack(t, ...handlesOf(await t.receive('billing', { max: 10 })));
    const read = t.disk.hold('journal', 'read');
    const answer = t.receive('billing', { max: 2 });
    await read.reached;
    await t.rooms.positions.reset('billing', { offset }, undefined, false);
    read.release();
    const taken = bodies((await answer).messages);
    expect([...taken, ...(await takeAll(t))]).toEqual(numbered(20).slice(offset));
  });

  test('a reset while a receive that takes nothing reads', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', ...numbered(20));
    await ack(t, ...handlesOf(await t.receive('billing', { max: 18 })));
    const read = t.disk.hold('journal', 'read');
    const patient = t.receive('billing', { min: 1000, max: 1000, waitMs: 1000 });
    await read.reached;
    await t.rooms.positions.reset('billing', { offset: 0 }, undefined, false);
    read.release();
    await t.parked(1);
    expect(bodies((await t.receive('billing', { max: 5 })).messages)).toEqual(numbered(5));
    await t.clock.advance(1000);
    expect(bodies((await patient).messages)).toEqual(numbered(20).slice(5));
  });

  test('a reset while a receive is being recorded', async () => {
    for (const offset of [0, 4, 7]) {
      const t = await shop();
      await t.send('orders', ...numbered(10));
      await ack(t, ...handlesOf(await t.receive('billing', { max: 4 })));
      const write = t.disk.hold('journal', 'write');
      const answer = t.receive('billing', { max: 2 });
      await write.reached;
      const reset = t.rooms.positions.reset('billing', { offset }, undefined, false);
      await turn();
      write.release();
      await reset;
      expect(bodies((await answer).messages)).toEqual(['m4', 'm5']);
      expect(await takeAll(t)).toEqual(numbered(10).slice(offset));
      await t.join('billing', 'c1'); // nothing is out
      await t.stop();
    }
  });

  describe('by an operator’s commit', () => {
    const commit = (t: Bench, nextOffset: number) =>
      t.commit('billing', undefined, { offsets: [at(0, nextOffset)], force: true });

    test('forwards, when nothing is out', async () => {
      const t = await shop();
      await t.receive();
      await t.send('orders', ...numbered(5));
      expect(await commit(t, 3)).toEqual([undefined]);
      expect(await takeAll(t)).toEqual(['m3', 'm4']);
    });

    test('backwards: what lies there comes, also to whoever waits already', async () => {
      const t = await shop();
      await t.send('orders', ...numbered(5));
      await commit(t, 5);
      expect(await t.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
      expect(await commit(t, 3)).toEqual([undefined]);
      expect(committed(t)).toBe(3);
      expect(await t.receive('billing', { max: 1 })).toMatchObject({ messages: [{ queueOffset: 3 }] });
      const u = await shop();
      await u.send('orders', ...numbered(5));
      await commit(u, 5);
      const waiting = u.receive('billing', { waitMs: 30_000 });
      await u.parked(1);
      await commit(u, 3);
      expect(bodies((await waiting).messages)).toEqual(['m3', 'm4']);
    });

    test('backwards while a receive is being recorded: what comes first decides', async () => {
      for (const first of ['commit', 'receive']) {
        const t = await shop();
        await t.send('orders', ...numbered(5));
        await commit(t, 3);
        const hold = t.disk.hold('journal', 'write');
        const sending = t.send('orders', 'm5'); // what holds the disk
        await hold.reached;
        const early = first === 'commit' ? commit(t, 0) : undefined;
        const answer = t.receive('billing', { max: 1 });
        await turn();
        const committing = early ?? commit(t, 0);
        await turn();
        hold.release();
        await sending;
        const { messages } = await answer;
        // What is handed out tells where the queue stands: no commit is answered that the next acknowledgement undoes.
        expect(await committing).toEqual([first === 'commit' ? undefined : 'STYLE_CONFLICT']);
        expect(bodies(messages)).toEqual([first === 'commit' ? 'm0' : 'm3']);
        expect(committed(t)).toBe(first === 'commit' ? 0 : 3);
        await t.stop();
      }
    });
  });
});

describe('messages that go', () => {
  /** Messages stored now are older than the retention, and those stored afterwards are not. */
  async function trim(t: Bench): Promise<void> {
    await t.skip(73 * HOUR);
    await t.send('orders', 'young');
    await t.rooms.retention.runOnce();
    await t.clock.advance(2000);
    expect(t.state.topicsByName.get('orders')!.queues[0]!.min).toBeGreaterThan(0);
  }

  test('trimmed while they are out: an acknowledgement counts, and they do not come again', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b', 'c');
    const [a, b] = handlesOf(await t.receive('billing', { max: 2, invisibleMs: 10_000 }));
    await trim(t);
    expect(await ack(t, a!)).toEqual([undefined]);
    expect((await nack(t, b!)).error).toMatchObject(coded('LATE_ACK'));
    await t.clock.advance(10_001);
    const rest = await t.receive();
    expect(bodies(rest.messages)).toEqual(['young']);
    await ack(t, ...handlesOf(rest));
    expect(await t.receive()).toMatchObject({ messages: [], lag: { ready: 0, inFlight: 0 } });
    expect(committed(t)).toBe(4);
  });

  test('trimmed before anybody had them, and between receives', async () => {
    const t = await shop();
    await t.send('orders', 'a', 'b', 'c');
    await t.receive('billing', { max: 1, invisibleMs: 1000 });
    await t.clock.advance(1001);
    await trim(t);
    expect((await t.receive('billing', { max: 1, waitMs: 0 })).lag.ready).toBeLessThanOrEqual(1);
    expect(await takeAll(t)).toEqual([]);
    await t.clock.advance(60_001);
    expect(await takeAll(t)).toEqual(['young']);
  });

  test('trimmed while a receive reads', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a', 'b');
    await t.skip(73 * HOUR);
    await t.send('orders', 'young');
    const read = t.disk.hold('journal', 'read');
    const answer = t.receive();
    await read.reached;
    const retention = t.rooms.retention.runOnce();
    await turn();
    read.release();
    await retention;
    const bodiesOf = bodies((await answer).messages);
    expect(bodiesOf.at(-1)).toBe('young');
  });

  test('of an ordered group: the messageGroup goes on', async () => {
    const t = await line();
    await t.send('orders', ...inLine('a1', 'a2'));
    await t.receive('billing', { invisibleMs: 10_000 });
    expect((await t.receive()).reason).toBe('BLOCKED');
    await t.skip(73 * HOUR);
    await t.send('orders', ...inLine('a3'));
    await t.rooms.retention.runOnce();
    await t.clock.advance(10_001);
    expect(bodies((await t.receive('billing', { waitMs: 1000 })).messages)).toEqual(['a3']);
  });

  test('the group is deleted while a receive is recorded: it is refused, and nothing is left', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    const write = t.disk.hold('journal', 'write');
    const deleted = t.rooms.groups.delete('billing', false);
    await write.reached;
    const answer = codeOf(t.receive());
    await turn();
    write.release();
    await deleted;
    expect(await answer).toBe('GROUP_NOT_FOUND');
    await t.group();
    expect(await takeAll(t)).toEqual(['a']);
  });
});

describe('a command that is refused', () => {
  /** The writer takes nothing more until the answer's end. */
  async function fillWriter(t: Bench): Promise<() => Promise<void>> {
    const write = t.disk.hold('journal', 'write');
    const filler = t.state.topicsByName.get('filler')!.record.name;
    const sends: Promise<unknown>[] = [];
    for (let bytes = 0; bytes < LIMITS.pendingBytes + (8 << 20); bytes += 4 << 20)
      sends.push(t.send(filler, 'x'.repeat((4 << 20) - 100)).catch(() => undefined));
    // What is left is filled with small ones: not even a lease fits then.
    for (let i = 0; i < 40; i++) sends.push(t.send(filler, 'x'.repeat(100_000)).catch(() => undefined));
    for (let i = 0; i < 1000; i++) sends.push(t.send(filler, 'x').catch(() => undefined));
    await write.reached;
    await until(() => t.rooms.pendingBytes > LIMITS.pendingBytes - 250, 'the writer is full');
    return async () => {
      write.release();
      await Promise.all(sends);
    };
  }

  test('leaves nothing reserved: neither new ones nor those that came back', async () => {
    const t = await shop({}, { options: { tailBytes: 1 << 20 } });
    await t.topic('filler', { readQueues: 1, writeQueues: 1 });
    await t.send('orders', ...numbered(6));
    await t.receive('billing', { max: 3, invisibleMs: 1000 });
    await t.clock.advance(1001);
    const empty = await fillWriter(t);
    expect(await codeOf(t.receive())).toBe('SERVICE_NOT_AVAILABLE');
    expect(await codeOf(t.receive())).toBe('SERVICE_NOT_AVAILABLE');
    await empty();
    const answer = await t.receive();
    expect(bodies(answer.messages)).toEqual(numbered(6));
    expect(attempts(answer)).toEqual([2, 2, 2, 1, 1, 1]);
  });

  test.each([1, 2])('of attempt %i wakes whoever went to wait because of what it had chosen', async (attempt) => {
    const t = await shop();
    await t.send('orders', 'a');
    if (attempt === 2) {
      await t.receive('billing', { invisibleMs: 1000 });
      await t.clock.advance(1001);
    }
    const { core } = t.rooms;
    const submit = core.submit.bind(core);
    let refuse!: (error: Error) => void;
    const chosen = new Promise<void>((resolve) => {
      Object.assign(core, {
        submit: () => {
          Object.assign(core, { submit });
          resolve();
          return new Promise((_, reject) => (refuse = reject));
        },
      });
    });
    const first = codeOf(t.receive());
    await chosen;
    const second = t.receive('billing', { waitMs: 10_000 });
    await t.parked(1);
    refuse(new Error('no'));
    expect(await first).toEqual(new Error('no'));
    expect(bodies((await second).messages)).toEqual(['a']);
    expect(attempts(await second)).toEqual([attempt]);
  });

  test('by a disk that fails: nobody has the message after the restart, or the lease counts', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    t.memory.disk.fail();
    expect(await codeOf(t.receive())).toBe('OUTCOME_UNKNOWN');
    expect(t.fatal.splice(0)).toHaveLength(1);
    expect(await codeOf(t.receive())).toBe('SERVICE_NOT_AVAILABLE');
  });
});

describe('reads from disk', () => {
  test('interleave with other receives: nobody gets what another one has', async () => {
    const t = await shop({}, { options: { tailBytes: 2000 } }, { readQueues: 2, writeQueues: 2 });
    for (let i = 0; i < 40; i++) await t.send('orders', `m${i}`);
    await t.clock.advance(1000); // the index goes to disk, too
    await t.restart();
    const read = t.disk.hold('journal', 'read');
    const answers = Array.from({ length: 12 }, () => t.receive('billing', { max: 4 }));
    await read.reached;
    answers.push(...Array.from({ length: 3 }, () => t.receive('billing', { max: 4 })));
    await turn();
    read.release();
    const all = (await Promise.all(answers)).flatMap(({ messages }) => bodies(messages));
    expect(all.sort()).toEqual(numbered(40).sort());
  });

  test('a receive that does not wait says nothing is there only when nobody is choosing', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a', 'b');
    const read = t.disk.hold('journal', 'read');
    const slow = t.receive('billing', { max: 1 });
    await read.reached;
    const quick = t.receive('billing', { max: 1 });
    await turn();
    read.release();
    expect(bodies((await slow).messages)).toEqual(['a']);
    expect(bodies((await quick).messages)).toEqual(['b']);
  });

  test('what is acknowledged late while it is read again is not handed out', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a', 'b');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
    await t.clock.advance(1001);
    const read = t.disk.hold('journal', 'read');
    const answer = t.receive('billing', { max: 1 });
    await read.reached;
    expect(await ack(t, a!)).toEqual([undefined]);
    read.release();
    const got = await answer;
    expect([...bodies(got.messages), ...(await takeAll(t))]).toEqual(['b']);
  });

  test('what is extended while it is read again, and then not taken, is not there for others', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a');
    const [a] = handlesOf(await t.receive('billing', { invisibleMs: 1000 }));
    await t.clock.advance(1001);
    const read = t.disk.hold('journal', 'read');
    const patient = t.receive('billing', { min: 2, waitMs: 5000 });
    await read.reached;
    expect((await extend(t, a!, 10_000)).error).toBeUndefined();
    read.release();
    await t.parked(1);
    expect(await t.receive()).toMatchObject({ reason: 'IN_FLIGHT', lag: { ready: 0, inFlight: 1 } });
    await t.clock.advance(5000);
    expect((await patient).messages).toEqual([]);
  });

  test('an attempt that is given back while it is told again is not told', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a');
    const lost = await t.receive('billing', { attemptId: 'one' });
    const read = t.disk.hold('journal', 'read');
    const again = t.receive('billing', { attemptId: 'one', waitMs: 1000 });
    await read.reached;
    lost.giveBack();
    read.release();
    const answer = await again;
    expect(bodies(answer.messages)).toEqual(['a']);
    expect(handlesOf(answer)).not.toEqual(handlesOf(lost));
    expect(await ack(t, ...handlesOf(answer))).toEqual([undefined]);
  });

  test('an attempt that is told again while its lease ends is not told', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a');
    await t.receive('billing', { attemptId: 'one', invisibleMs: 1000 });
    const read = t.disk.hold('journal', 'read');
    const again = t.receive('billing', { attemptId: 'one' });
    await read.reached;
    await t.clock.advance(1001);
    read.release();
    const answer = await again;
    expect(attempts(answer)).toEqual([2]);
  });

  test('that fail leave nothing reserved', async () => {
    const t = await shop({}, { options: { tailBytes: 1 } });
    await t.send('orders', 'a', 'b');
    await t.receive('billing', { max: 1, invisibleMs: 1000 });
    await t.clock.advance(1001);
    const { reader } = t.rooms.core;
    const records = reader.records.bind(reader);
    Object.assign(reader, { records: () => Promise.reject(new Error('unreadable')) });
    expect(await codeOf(t.receive())).toEqual(new Error('unreadable'));
    Object.assign(reader, { records });
    expect(await takeAll(t)).toEqual(['a', 'b']);
  });
});

describe('time', () => {
  test('a process that stood still ends no leases by that', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 10_000 });
    await t.clock.advance(5000);
    stall(t, HOUR);
    await t.clock.advance(4000);
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    await t.clock.advance(1501);
    expect(attempts(await t.receive())).toEqual([2]);
  });

  test('a wall clock that is set moves no lease', async () => {
    const t = await shop();
    await t.send('orders', 'a');
    await t.receive('billing', { invisibleMs: 10_000 });
    t.clock.jumpTo(t.clock.now() + 100 * HOUR);
    expect((await t.receive()).reason).toBe('IN_FLIGHT');
    t.clock.jumpTo(t.clock.now() - 200 * HOUR);
    await t.clock.advance(10_001);
    expect(attempts(await t.receive())).toEqual([2]);
  });

  test('deadlines that do not count any more do not pile up, and those that do are kept', async () => {
    const added = jest.spyOn(Heap.prototype, 'add');
    const t = await shop();
    await t.send('orders', 'a', 'b');
    const [a] = handlesOf(await t.receive('billing', { max: 1, invisibleMs: 5000 }));
    await t.receive('billing', { max: 1, invisibleMs: 2000 });
    const heap = added.mock.contexts.at(-1) as Heap<unknown>;
    const receipts = Array.from({ length: 1000 }, () => ({ receiptHandle: a!, invisibleMs: 12 * HOUR }));
    for (let i = 0; i < 25; i++) await t.rooms.leases.extend('billing', receipts);
    expect(added.mock.contexts.filter((one) => one === heap).length).toBeGreaterThan(25_000);
    expect(heap.size).toBeLessThan(12_000);
    added.mockRestore();
    expect((await extend(t, a!, 3000)).error).toBeUndefined();
    await t.clock.advance(2001);
    expect(bodies((await t.receive('billing', { invisibleMs: HOUR })).messages)).toEqual(['b']);
    await t.clock.advance(1000);
    expect(bodies((await t.receive()).messages)).toEqual(['a']);
  });
});

/** Time passes and nothing of it runs: timers come late. */
function stall(t: Bench, ms: number): void {
  const monotonic = t.clock.monotonic.bind(t.clock);
  Object.assign(t.clock, { monotonic: () => monotonic() + ms });
}
