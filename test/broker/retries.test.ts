/** Messages that a consumer could not handle come again to its group, later and later, and are given up in the end. */
import { tableKeys } from '../../storage/keys';
import { decodeMessage } from '../../src/broker/message';
import type { SendBackRequest, SendBackResult } from '../../src/broker/retries';
import {
  bodies,
  codeOf,
  HOUR,
  NAME,
  setup,
  stopBrokers,
  turn,
  until,
  type Given,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const RETRIES = '%RETRY%billing';
const S = 1000;
const M = 60 * S;

/** One queue, one consumer that was handed what `messages` are. */
async function polled(messages: Given[], group: object = {}) {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group('billing', group);
  await t.join();
  if (messages.length > 0) await t.send('orders', ...messages);
  const answer = await t.poll('billing', 'c1', { max: 2000, maxBytes: 64 << 20 });
  return { t, answer };
}

const at = (queueOffset: number, more: object = {}) => ({
  ...{ topic: 'orders', broker: NAME, queueId: 0, queueOffset },
  ...more,
});

const told = (t: Bench, messages: SendBackRequest['messages'], more: Partial<SendBackRequest> = {}, key?: string) =>
  t.rooms.retries.sendBack('billing', { consumerId: 'c1', messages, ...more }, key);

const sendBack = (...call: Parameters<typeof told>) => told(...call).then(({ results }) => results);

const codes = (results: SendBackResult[]) => results.map(({ error }) => error?.code);
const counts = (t: Bench) => t.state.groupsByName.get('billing')!.counts;
const committed = (t: Bench, topic = 'orders') => {
  const { queues } = t.rooms.positions.offsets('billing');
  return queues.find(({ queue }) => t.state.topics.get(queue.topic)!.record.name === topic)!.committed;
};
const retried = (t: Bench) => t.state.topicsByName.get(RETRIES)?.queues[0]?.max ?? 0;

/** Lets the time come; it must not have come a millisecond before. */
async function comes(t: Bench, due: number): Promise<void> {
  const before = retried(t);
  if (due - t.clock.now() > 2001) await t.skip(due - t.clock.now() - 2001);
  await t.clock.advance(due - t.clock.now() - 1);
  expect(retried(t)).toBe(before);
  await t.clock.advance(1);
  await until(() => retried(t) > before, 'the retry');
}

/** How many commands of retries are written meanwhile. */
function commands(t: Bench): () => number {
  const submit = jest.spyOn(t.rooms.core, 'submit');
  return () => submit.mock.calls.filter(([{ kind }]) => kind === 'retry').length;
}

describe('a message that failed', () => {
  test('comes again after RocketMQ’s delays, sixteen times, and is a dead letter then', async () => {
    const { t, answer } = await polled(['a']);
    let { cursor } = answer;
    let place = at(0);
    const minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120];
    const delays = [10 * S, 30 * S, ...minutes.map((each) => each * M)];
    for (const [i, delay] of delays.entries()) {
      const due = t.clock.now() + delay;
      expect(await sendBack(t, [place], { cursor })).toEqual([
        { ...place, attempt: i + 2, outcome: 'RETRY', dueTimestamp: due },
      ]);
      expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
      await comes(t, due);
      expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
      const again = await t.poll();
      expect(again.messages.map(({ record }) => decodeMessage(record).attempt)).toEqual([i + 2]);
      ({ cursor } = again);
      place = at(i, { topic: RETRIES });
    }
    expect(await sendBack(t, [place], { cursor })).toEqual([{ ...place, outcome: 'DEAD_LETTER' }]);
    expect(counts(t)).toEqual({ waiting: 0, dead: 1 });
    expect((await t.poll()).messages).toEqual([]);
  });

  test('waits as long as its group says, the last delay again and again', async () => {
    const { t } = await polled(['a'], { retryDelaysMs: [100, 7000], maxAttempts: 1000 });
    let place = at(0);
    for (const [i, delay] of [100, 7000, 7000, 7000].entries()) {
      const due = t.clock.now() + delay;
      expect((await sendBack(t, [place]))[0]).toMatchObject({ attempt: i + 2, dueTimestamp: due });
      await comes(t, due);
      place = at(i, { topic: RETRIES });
    }
  });

  test('waits as long as the call says', async () => {
    const { t } = await polled(['a', 'b']);
    const now = t.clock.now();
    const results = await sendBack(t, [at(0, { delayMs: 0 }), at(1, { delayMs: 5 * M })]);
    expect(results.map(({ dueTimestamp }) => dueTimestamp)).toEqual([now, now + 5 * M]);
    await t.clock.advance(1);
    await until(() => retried(t) === 1, 'the first');
    expect(bodies((await t.poll('billing', 'c1', { cursor: '' })).messages)).toContain('a');
    await comes(t, now + 5 * M);
    expect(await t.readAll(RETRIES, 0)).toEqual(['a', 'b']);
  });

  test('comes with all it had, and says where it came from', async () => {
    const given = {
      ...{ body: Buffer.from([0, 255, 7]), text: false, contentType: 'image/png', tag: 'big' },
      ...{ keys: ['k1', 'k2'], properties: { region: 'eu' }, messageGroup: 'kunde' },
    };
    const t = await setup();
    await t.topic('orders', { type: 'FIFO' });
    await t.group();
    await t.join();
    const [sent] = await t.send('orders', given);
    const first = await t.poll();
    const original = decodeMessage(first.messages[0]!.record);
    const place = at(0, { queueId: sent!.queueId });
    await t.clock.advance(50);
    await sendBack(t, [{ ...place, delayMs: 500, reason: 'no stock – später' }], { cursor: first.cursor });
    await t.clock.advance(500);
    await until(() => retried(t) === 1, 'the retry');
    const [again] = (await t.poll()).messages;
    const copy = decodeMessage(again!.record);
    const origin = {
      ...{ topic: 'orders', queueId: sent!.queueId, queueOffset: 0 },
      ...{ position: original.position, storeTimestamp: sent!.storeTimestamp },
    };
    expect(t.state.topics.get(again!.queue.topic)!.record.name).toBe(RETRIES);
    expect(copy).toEqual({
      ...original,
      ...{ topic: again!.queue.topic, queueId: 0, position: copy.position, storeTimestamp: t.clock.now() },
      ...{ attempt: 2, origin, reason: 'no stock – später' },
    });
    // The second failure keeps the first origin, and has its own reason.
    await sendBack(t, [at(0, { topic: RETRIES, delayMs: 0 })]);
    await t.clock.advance(5);
    await until(() => retried(t) === 2, 'the second retry');
    const third = decodeMessage((await t.poll()).messages[1]!.record);
    expect(third).toMatchObject({ attempt: 3, origin, reason: undefined });
    expect(third.body).toEqual(given.body);
  });

  test('comes past the group’s filter, to this group alone', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group('billing', { filter: { type: 'TAG', expression: 'red' } });
    await t.group('audit');
    await t.join('billing', 'c1', { filter: { type: 'TAG', expression: 'red' } });
    await t.join('audit', 'a1');
    await t.send('orders', { body: 'r', tag: 'red' }, { body: 'b', tag: 'blue' });
    const first = await t.poll();
    expect(bodies(first.messages)).toEqual(['r']);
    const others = await t.poll('audit', 'a1');
    expect(bodies(others.messages)).toEqual(['r', 'b']);
    // A message that the filter would leave out now: the group's filter was changed since.
    await t.group('billing', { filter: { type: 'TAG', expression: 'green' } });
    await sendBack(t, [at(0, { delayMs: 0 })], { cursor: first.cursor });
    await t.clock.advance(1);
    await until(() => retried(t) === 1, 'the retry');
    expect(bodies((await t.poll()).messages)).toEqual(['r']);
    expect((await t.poll('audit', 'a1', { cursor: others.cursor })).messages).toEqual([]);
  });

  test('wakes the poll that waits for it', async () => {
    const { t, answer } = await polled(['a']);
    await sendBack(t, [at(0, { delayMs: 3000 })], { cursor: answer.cursor });
    const waiting = t.poll('billing', 'c1', { waitMs: 30_000 });
    await t.parked(1);
    await t.clock.advance(3000);
    expect(bodies((await waiting).messages)).toEqual(['a']);
  });

  test('is committed in the same step with what the cursor covers', async () => {
    const { t, answer } = await polled(['a', 'b', 'c']);
    const written = t.journal.end;
    const topics = 2; // %RETRY%billing, and who reads it
    await sendBack(t, [at(1)], { cursor: answer.cursor });
    expect(committed(t)).toBe(3);
    expect(t.journal.end).toBe(written + 1 + topics);
    expect((await t.poll()).messages).toEqual([]);
    await t.crash();
    expect(committed(t)).toBe(3);
    expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
  });

  test('a cursor may be committed without any message', async () => {
    const { t, answer } = await polled(['a']);
    expect(await sendBack(t, [], { cursor: answer.cursor })).toEqual([]);
    expect(committed(t)).toBe(1);
  });
});

describe('refused', () => {
  test('message by message: not owned, not there any more, not the group’s', async () => {
    const { t, answer } = await polled(['a', 'b', 'c']);
    await t.rooms.retention.trim(t.journal.end + 1, { reason: 'age' });
    await t.send('orders', 'd');
    const results = await sendBack(t, [
      at(2),
      at(3),
      at(4),
      at(3, { queueId: 7 }),
      at(3, { topic: 'mail' }),
      at(3, { broker: 'broker-b' }),
    ]);
    expect(codes(results)).toEqual([
      'OFFSET_MOVED',
      undefined,
      'OFFSET_MOVED',
      ...['QUEUE_NOT_FOUND', 'QUEUE_NOT_FOUND', 'QUEUE_NOT_FOUND'],
    ]);
    expect(results[0]!.error!.extras.members).toEqual({ minOffset: 3, maxOffset: 4 });
    expect(results[4]).toMatchObject({ topic: 'mail', broker: NAME, queueId: 0, queueOffset: 3 });
    expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
    expect(answer.messages).toHaveLength(3);
  });

  test('by who does not own the queue, and by who read it before it was another’s', async () => {
    const { t, answer } = await polled(['a']);
    expect(codes(await sendBack(t, [at(0)], { consumerId: 'c2' }))).toEqual(['QUEUE_NOT_OWNED']);
    t.rooms.groups.leave('billing', 'c1');
    await t.join('billing', 'c2');
    await t.poll('billing', 'c2');
    expect(codes(await sendBack(t, [at(0)]))).toEqual(['QUEUE_NOT_OWNED']);
    t.rooms.groups.leave('billing', 'c2');
    await t.join();
    expect(codes(await sendBack(t, [at(0)], { generation: answer.generation }))).toEqual(['QUEUE_NOT_OWNED']);
    expect(codes(await sendBack(t, [at(0)], { generation: 'no generation' }))).toEqual(['QUEUE_NOT_OWNED']);
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
    const { generation } = await t.poll();
    expect(codes(await sendBack(t, [at(0)], { generation }))).toEqual([undefined]);
  });

  test('for ordered and broadcasting groups, and for such as there are not', async () => {
    const t = await setup();
    await t.topic();
    await t.group('billing', { ordered: true });
    expect(await codeOf(sendBack(t, [at(0)]))).toBe('STYLE_CONFLICT');
    await t.group('all', { mode: 'BROADCASTING' });
    const request = { consumerId: 'c1', messages: [at(0)] };
    expect(await codeOf(t.rooms.retries.sendBack('all', request))).toBe('STYLE_CONFLICT');
    expect(await codeOf(t.rooms.retries.sendBack('none', request))).toBe('GROUP_NOT_FOUND');
  });

  test.each([
    ['its topic of retries is made', {}, 'its topic was asked for first'],
    ['its topic of retries is made', {}, 'it was deleted first'],
    ['its topic of dead letters is made', { maxAttempts: 0 }, 'it was deleted first'],
  ])('a group that is deleted while %s: nothing of it is left (%#)', async (_, settings, order) => {
    const { t } = await polled(['a'], settings);
    const hold = t.disk.hold('journal', 'write');
    if (order === 'it was deleted first') void t.send('orders', 'b'); // what holds the disk
    const sending = order === 'it was deleted first' ? undefined : codeOf(sendBack(t, [at(0)]));
    await hold.reached;
    const deleting = t.rooms.groups.delete('billing', true);
    const late = sending ?? codeOf(sendBack(t, [at(0)]));
    await turn();
    hold.release();
    await deleting;
    expect(await late).toBe('GROUP_NOT_FOUND');
    expect([...t.state.topicsByName.keys()]).toEqual(['orders']);
    await t.crash();
    expect([...t.state.topicsByName.keys()]).toEqual(['orders']);
  });

  test('when the topic of retries goes meanwhile: the message stays with its consumer', async () => {
    const { t } = await polled(['a', 'b']);
    await sendBack(t, [at(0)]);
    const hold = t.disk.hold('journal', 'write');
    const deleting = t.rooms.core.submit({
      kind: 'deleteTopic',
      no: t.state.topicsByName.get(RETRIES)!.record.no,
      force: true,
    });
    await hold.reached;
    const written = commands(t);
    const sending = sendBack(t, [at(1)]);
    await until(() => written() === 1, 'the command');
    hold.release();
    await deleting;
    expect(codes(await sending)).toEqual(['TOPIC_NOT_FOUND']);
    expect(codes(await sendBack(t, [at(1)]))).toEqual([undefined]);
  });
});

describe('told again', () => {
  test('answers the same and makes no second copy, also after a restart and a crash', async () => {
    const { t } = await polled(['a', 'b'], { maxAttempts: 1 });
    const first = await sendBack(t, [at(0), at(1)]);
    await t.clock.advance(5000);
    expect(await sendBack(t, [at(1), at(0)])).toEqual([first[1], first[0]]);
    await t.restart();
    expect(await sendBack(t, [at(0, { delayMs: 1, reason: 'another' })])).toEqual([first[0]]);
    await t.crash();
    expect(await sendBack(t, [at(0), at(1)])).toEqual(first);
    expect(counts(t)).toEqual({ waiting: 2, dead: 0 });
    await comes(t, first[0]!.dueTimestamp!);
    expect(await t.readAll(RETRIES, 0)).toHaveLength(2);
    const dead = await sendBack(t, [at(0, { topic: RETRIES })]);
    expect(dead).toMatchObject([{ outcome: 'DEAD_LETTER' }]);
    expect(await sendBack(t, [at(0, { topic: RETRIES })])).toEqual(dead);
    expect(counts(t)).toEqual({ waiting: 0, dead: 1 });
  });

  test('while the first call is under way, and twice in one call', async () => {
    const { t } = await polled(['a']);
    const hold = t.disk.hold('journal', 'write');
    const calls = [sendBack(t, [at(0), at(0)]), sendBack(t, [at(0)])];
    await hold.reached;
    hold.release();
    const [[first, twin], [again]] = (await Promise.all(calls)) as [SendBackResult[], SendBackResult[]];
    expect(first).toMatchObject({ attempt: 2, outcome: 'RETRY' });
    expect([twin, again]).toEqual([first, first]);
    expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
  });

  test('still commits what its cursor covers', async () => {
    const { t, answer } = await polled(['a']);
    await sendBack(t, [at(0)]);
    await sendBack(t, [at(0)], { cursor: answer.cursor });
    expect(committed(t)).toBe(1);
    expect(counts(t).waiting).toBe(1);
  });

  test('by a new owner it is another failure, as after a reset', async () => {
    const { t } = await polled(['a']);
    await sendBack(t, [at(0)]);
    t.rooms.groups.leave('billing', 'c1');
    await t.join('billing', 'c2');
    expect(bodies((await t.poll('billing', 'c2')).messages)).toEqual(['a']);
    await sendBack(t, [at(0)], { consumerId: 'c2' });
    expect(counts(t).waiting).toBe(2);
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    await sendBack(t, [at(0)], { consumerId: 'c2' });
    expect(counts(t).waiting).toBe(3);
  });
});

describe('with an Idempotency-Key', () => {
  test('the same again does nothing and gets the first answer, whoever owns the queue by then', async () => {
    const { t, answer } = await polled(['a', 'b']);
    const { cursor } = answer;
    const call = () => told(t, [at(0), at(1), at(0)], { cursor }, 'k1');
    const first = await call();
    expect(first).toMatchObject({ committed: true, replayed: false });
    expect(codes(first.results)).toEqual([undefined, undefined, undefined]);
    const written = t.journal.end;
    expect(await call()).toEqual({ ...first, replayed: true });
    expect(t.journal.end).toBe(written);
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    await t.crash();
    expect(await call()).toEqual({ ...first, replayed: true });
    await t.join('billing', 'c2');
    expect(await call()).toEqual({ ...first, replayed: true });
    expect(counts(t).waiting).toBe(2);
    expect(committed(t)).toBe(0); // as the reset left it
  });

  test('is another key in another group, and is over after 10 minutes', async () => {
    const { t } = await polled(['a', 'b']);
    await t.group('audit');
    await t.join('audit');
    await t.poll('audit');
    expect((await told(t, [at(0)], {}, 'k1')).replayed).toBe(false);
    const other = await t.rooms.retries.sendBack('audit', { consumerId: 'c1', messages: [at(1)] }, 'k1');
    expect(other).toMatchObject({ replayed: false, results: [{ queueOffset: 1, outcome: 'RETRY' }] });
    await t.skip(10 * M);
    await t.join();
    expect((await told(t, [at(1)], {}, 'k1')).replayed).toBe(false);
  });

  test('another content under it is refused', async () => {
    const { t, answer } = await polled(['a', 'b']);
    const { cursor, generation } = answer;
    await told(t, [at(0, { delayMs: 5, reason: 'x' })], {}, 'k1');
    const others: [SendBackRequest['messages'], Partial<SendBackRequest>?][] = [
      [[at(1)]],
      [[at(0)]],
      [[at(0, { delayMs: 5, reason: 'y' })]],
      [[at(0, { delayMs: 6, reason: 'x' })]],
      [[at(0, { delayMs: 5, reason: 'x' })], { cursor }],
      [[at(0, { delayMs: 5, reason: 'x' })], { generation }],
      [[at(0, { delayMs: 5, reason: 'x' })], { consumerId: 'c2' }],
    ];
    for (const [messages, more] of others)
      expect(await codeOf(told(t, messages, more, 'k1'))).toBe('IDEMPOTENCY_KEY_REUSED');
    expect(counts(t).waiting).toBe(1);
    expect(committed(t)).toBe(0);
  });

  test('what was refused is tried again, what was accepted is not; then the cursor is committed', async () => {
    const { t, answer } = await polled(['a', 'b']);
    await sendBack(t, [at(0)]);
    await comes(t, t.clock.now() + 10 * S);
    const { cursor } = await t.poll('billing', 'c1', { cursor: answer.cursor });
    const call = () => told(t, [at(1), at(0, { topic: 'mail' })], { cursor }, 'k1');
    // The group does not read that topic, yet.
    const first = await call();
    expect([codes(first.results), first.committed]).toEqual([[undefined, 'QUEUE_NOT_FOUND'], false]);
    await t.topic('mail', { readQueues: 1, writeQueues: 1 });
    await t.group('billing', { allowMultipleTopics: true });
    await t.join('billing', 'c1', { topic: 'mail' });
    await t.send('mail', 'm');
    const second = await call();
    expect([codes(second.results), second.committed, second.replayed]).toEqual([[undefined, undefined], true, false]);
    expect(second.results[0]).toEqual(first.results[0]);
    expect(counts(t).waiting).toBe(2);
    expect(committed(t)).toBe(2);
    expect(await call()).toEqual({ ...second, replayed: true });
  });

  test('a call that was cut short by a crash goes on where it was', async () => {
    const { t, answer } = await polled(['a', 'b', 'c'].map((text) => text.repeat(3 << 20)));
    const call = () => told(t, [at(0), at(1), at(2)], { cursor: answer.cursor }, 'k1');
    const submit = t.rooms.core.submit.bind(t.rooms.core);
    const lost = new Error('the power is gone');
    jest.spyOn(t.rooms.core, 'submit').mockImplementation((command) => {
      return command.kind === 'retry' && command.offsets.length > 0 ? Promise.reject(lost) : submit(command);
    });
    await expect(call()).rejects.toBe(lost);
    expect(counts(t).waiting).toBe(2);
    await t.crash();
    const again = await call();
    expect(again).toMatchObject({ committed: true, replayed: false });
    expect(counts(t).waiting).toBe(3);
    expect(await call()).toEqual({ ...again, replayed: true });
  });

  test('while the first call runs the second is told to come back', async () => {
    const { t } = await polled(['a']);
    const hold = t.disk.hold('journal', 'write');
    const first = told(t, [at(0)], {}, 'k1');
    await hold.reached;
    await expect(told(t, [at(0)], {}, 'k1')).rejects.toMatchObject({
      code: 'IDEMPOTENCY_IN_PROGRESS',
      extras: { retryAfterMs: 1000 },
    });
    hold.release();
    expect((await first).replayed).toBe(false);
    expect((await told(t, [at(0)], {}, 'k1')).replayed).toBe(true);
  });

  test('a message that was sent back without one, or with another, is still one', async () => {
    const { t } = await polled(['a']);
    const [first] = await sendBack(t, [at(0)]);
    for (const key of ['k1', 'k2']) expect((await told(t, [at(0)], {}, key)).results).toEqual([first]);
    expect(counts(t).waiting).toBe(1);
  });
});

describe('a cursor beside a message that is refused', () => {
  test('commits nothing, so that no message is lost; told again with what is left it does', async () => {
    const { t, answer } = await polled(['a', 'b', 'c']);
    const { cursor } = answer;
    const first = await told(t, [at(0), at(7)], { cursor });
    expect([codes(first.results), first.committed]).toEqual([[undefined, 'OFFSET_MOVED'], false]);
    expect(committed(t)).toBe(0);
    expect(await told(t, [at(0)], { cursor })).toMatchObject({ committed: true, replayed: false });
    expect(committed(t)).toBe(3);
    expect(counts(t).waiting).toBe(1);
  });

  test('when it is refused by the command itself', async () => {
    const { t, answer } = await polled(['a', 'b']);
    await sendBack(t, [at(0)]);
    const hold = t.disk.hold('journal', 'write');
    const no = t.state.topicsByName.get(RETRIES)!.record.no;
    const deleting = t.rooms.core.submit({ kind: 'deleteTopic', no, force: true });
    await hold.reached;
    const written = commands(t);
    const sending = told(t, [at(1)], { cursor: answer.cursor });
    await until(() => written() === 1, 'the command');
    hold.release();
    await deleting;
    const refused = await sending;
    expect([codes(refused.results), refused.committed]).toEqual([['TOPIC_NOT_FOUND'], false]);
    expect(committed(t)).toBe(0);
    expect(await told(t, [at(1)], { cursor: answer.cursor })).toMatchObject({ committed: true });
    expect(committed(t)).toBe(2);
  });

  test('when it is refused in an earlier command than the cursor’s', async () => {
    const { t, answer } = await polled(['a', 'b', 'c'].map((text) => text.repeat(3 << 20)));
    const refused = await told(t, [at(9), at(0), at(1)], { cursor: answer.cursor });
    expect([codes(refused.results), refused.committed]).toEqual([['OFFSET_MOVED', undefined, undefined], false]);
    expect(committed(t)).toBe(0);
  });

  test('says when a queue that it covers is another’s by now, and nothing without a cursor', async () => {
    const { t, answer } = await polled(['a']);
    expect((await told(t, [at(0)])).committed).toBeUndefined();
    await t.rooms.positions.reset('billing', 'EARLIEST', undefined, false);
    expect((await told(t, [], { cursor: answer.cursor })).committed).toBe(false);
    const { cursor } = await t.poll();
    expect((await told(t, [], { cursor })).committed).toBe(true);
    await t.commit('billing', 'c1', cursor);
    expect((await told(t, [], { cursor })).committed).toBe(true);
  });
});

describe('more than one command takes', () => {
  test('in number', async () => {
    const some = (text: string, count: number) => Array.from({ length: count }, (_, i) => `${text}${i}`);
    const { t } = await polled(some('a', 100));
    await t.send('orders', ...some('b', 1000));
    const answer = await t.poll('billing', 'c1', { max: 2000 });
    const written = commands(t);
    const results = await sendBack(
      t,
      answer.messages.map(({ queueOffset }) => at(queueOffset)),
      { cursor: answer.cursor },
    );
    expect(written()).toBe(2);
    expect(results.map(({ queueOffset, attempt }) => [queueOffset, attempt])).toEqual(
      answer.messages.map(({ queueOffset }) => [queueOffset, 2]),
    );
    expect(counts(t)).toEqual({ waiting: 1100, dead: 0 });
    expect(committed(t)).toBe(1100);
    await comes(t, results[0]!.dueTimestamp!);
    await until(() => retried(t) === 1100, 'all retries');
    expect((await t.readAll(RETRIES, 0)).sort()).toEqual([...some('a', 100), ...some('b', 1000)].sort());
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
  });

  test('in bytes', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group();
    await t.join();
    for (const text of ['a', 'b', 'c', 'd']) await t.send('orders', text.repeat(3 << 20));
    const { cursor } = await t.poll('billing', 'c1', { maxBytes: 64 << 20 });
    const written = commands(t);
    const readFirst: number[] = [];
    const read = t.rooms.core.reader.records.bind(t.rooms.core.reader);
    jest.spyOn(t.rooms.core.reader, 'records').mockImplementation((positions) => {
      readFirst.push(written());
      return read(positions);
    });
    const results = await sendBack(t, [at(0), at(1), at(2), at(3)], { cursor });
    expect(written()).toBe(4);
    // Not all of it stands in memory at once: some is written before the last is read.
    expect(readFirst).toHaveLength(4);
    expect(readFirst.at(-1)).toBeGreaterThan(0);
    expect(results.map(({ outcome }) => outcome)).toEqual(['RETRY', 'RETRY', 'RETRY', 'RETRY']);
    expect(committed(t)).toBe(4);
    await comes(t, results[0]!.dueTimestamp!);
    await until(() => retried(t) === 4, 'all retries');
    expect((await t.readAll(RETRIES, 0)).map((text) => [text[0], text.length])).toEqual(
      ['a', 'b', 'c', 'd'].map((text) => [text, 3 << 20]),
    );
  });
});

describe('given up', () => {
  test('after one delivery more than maxAttempts', async () => {
    const { t } = await polled(['a'], { maxAttempts: 2, retryDelaysMs: [0] });
    let place = at(0);
    for (const attempt of [2, 3]) {
      expect((await sendBack(t, [place]))[0]).toMatchObject({ attempt, outcome: 'RETRY' });
      await t.clock.advance(5);
      await until(() => retried(t) === attempt - 1, 'the retry');
      place = at(attempt - 2, { topic: RETRIES });
    }
    expect(await sendBack(t, [{ ...place, delayMs: 5, reason: 'broken' }])).toEqual([
      { ...place, outcome: 'DEAD_LETTER' },
    ]);
    const { deadLetters } = await t.rooms.deadLetters.list('billing', -1, 10);
    expect(deadLetters).toMatchObject([{ reason: 'broken', deadTimestamp: t.clock.now() }]);
    expect(decodeMessage(deadLetters[0]!.delivery.record)).toMatchObject({
      attempt: 3,
      origin: { topic: 'orders', queueId: 0, queueOffset: 0 },
    });
  });

  test('at once when nothing is tried again', async () => {
    const { t } = await polled(['a', 'b'], { maxAttempts: 0 });
    const results = await sendBack(t, [at(0), at(1)]);
    expect(results.map(({ outcome }) => outcome)).toEqual(['DEAD_LETTER', 'DEAD_LETTER']);
    expect(counts(t)).toEqual({ waiting: 0, dead: 2 });
    expect(t.state.topicsByName.has(RETRIES)).toBe(false);
    expect(await t.readAll('%DLQ%billing', 0)).toEqual(['a', 'b']);
    await t.restart();
    expect(counts(t)).toEqual({ waiting: 0, dead: 2 });
  });
});

describe('what waits', () => {
  const WEEK = 7 * 24 * HOUR;

  /** The journal is gone. */
  async function trimmed(t: Bench): Promise<void> {
    await t.rooms.retention.trim(t.journal.end + 1, { reason: 'age' });
    await t.clock.advance(3000);
    expect(await t.disk.keys('journal', 'j')).toHaveLength(1); // the trim itself
  }

  test.each(['goes on', 'restart', 'crash'])('survives retention: %s', async (how) => {
    const { t, answer } = await polled(['a', { body: 'b', tag: 'x' }]);
    await sendBack(t, [at(0, { delayMs: WEEK }), at(1, { delayMs: WEEK })], { cursor: answer.cursor });
    const due = t.clock.now() + WEEK;
    await t.clock.advance(100);
    await trimmed(t);
    if (how === 'restart') await t.restart();
    if (how === 'crash') await t.crash();
    expect(counts(t)).toEqual({ waiting: 2, dead: 0 });
    await t.rooms.retention.runOnce();
    await t.join();
    await comes(t, due);
    expect(bodies((await t.poll()).messages).sort()).toEqual(['a', 'b']);
    expect(counts(t)).toEqual({ waiting: 0, dead: 0 });
  });

  test('survives a crash before anything was flushed', async () => {
    const { t } = await polled(['a']);
    await t.clock.advance(500);
    const hold = t.disk.hold('tables', 'write');
    const [result] = await sendBack(t, [at(0)]);
    await t.crash();
    hold.release();
    expect(counts(t)).toEqual({ waiting: 1, dead: 0 });
    await comes(t, result!.dueTimestamp!);
    expect(await t.readAll(RETRIES, 0)).toEqual(['a']);
  });

  test('leaves no row behind when its time has come', async () => {
    const { t } = await polled(['a', 'b']);
    const [result] = await sendBack(t, [at(0), at(1)]);
    await t.clock.advance(200);
    expect(await t.disk.keys('tables', 'T')).toHaveLength(2);
    await comes(t, result!.dueTimestamp!);
    await t.clock.advance(200);
    expect(await t.disk.keys('tables', 'T')).toEqual([]);
    const row = tableKeys.groupCounts(t.state.groupsByName.get('billing')!.record.no).toString('hex');
    expect(await t.disk.keys('tables', 'c')).not.toContain(row);
  });
});
