/**
 * An answer about a receipt is true of its message at that moment, whatever happened in between: an acknowledged
 * message stays away, a failed or extended one comes again, and a refusal says why.
 */
import { decodeMessage } from '../../src/broker/message';
import { at, codeOf, NAME, setup, stopBrokers, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;
type Handed = Awaited<ReturnType<Bench['receive']>>['messages'][number];

const INVISIBLE_MS = 5000;
const VERBS = ['ack', 'nack', 'extend'] as const;
type Verb = (typeof VERBS)[number];

const verbs: Record<Verb, (t: Bench, handle: string) => Promise<{ error?: { code: string; message: string } }[]>> = {
  ack: (t, handle) => t.rooms.leases.acknowledge('billing', [handle]),
  nack: (t, handle) => t.rooms.leases.nack('billing', [{ receiptHandle: handle, delayMs: 0 }]),
  extend: (t, handle) => t.rooms.leases.extend('billing', [{ receiptHandle: handle, invisibleMs: INVISIBLE_MS }]),
};

const reset = (t: Bench, to: 'EARLIEST' | 'LATEST' | { offset: number }) =>
  t.rooms.positions.reset('billing', to, undefined, false);
const ended = (t: Bench) => t.clock.advance(INVISIBLE_MS + 1).then(() => t.settled());
const leave = (t: Bench) => t.rooms.groups.leave('billing', 'c1');

/** An event, and whether each verb succeeds after it, or why not; `comes`: whether the message comes again if not. */
interface Case {
  readonly happened: (t: Bench, handed: Handed, giveBack: () => void) => Promise<unknown>;
  readonly ack: true | RegExp;
  readonly nack: true | RegExp;
  readonly extend: true | RegExp;
  readonly comes: boolean;
  readonly maxAttempts?: number;
}

const all = (answer: true | RegExp) => ({ ack: answer, nack: answer, extend: answer });
const onlyAck = (why: RegExp) => ({ ack: true as const, nack: why, extend: why });

const CASES: Record<string, Case> = {
  nothing: { happened: () => Promise.resolve(), ...all(true), comes: true },
  'its lease ended': { happened: ended, ...all(true), comes: true },
  'a restart': { happened: (t) => t.restart(), ...all(true), comes: true },
  'a crash': { happened: (t) => t.crash(), ...all(true), comes: true },
  'its lease ended, and another worker has it': {
    happened: (t) => ended(t).then(() => t.receive('billing', { invisibleMs: INVISIBLE_MS })),
    ...all(/handed out again/),
    comes: true,
  },
  'it was acknowledged': {
    happened: (t, { receiptHandle }) => verbs.ack(t, receiptHandle),
    ...onlyAck(/acknowledged already/),
    comes: false,
  },
  'it was nacked': {
    happened: (t, { receiptHandle }) => verbs.nack(t, receiptHandle),
    ack: /went on as delivery 2/,
    nack: true, // the same answer
    extend: /went on as delivery 2/,
    comes: true,
  },
  'it was nacked long ago': {
    happened: async (t, { receiptHandle }) => {
      await verbs.nack(t, receiptHandle);
      t.clock.jumpTo(t.clock.now() + 30 * 60_000);
      await t.rooms.retention.runOnce();
      await t.clock.advance(2000);
    },
    ...all(/went on as delivery 2/),
    comes: true,
  },
  'it was given back unread': {
    happened: async (t, _, giveBack) => (giveBack(), t.settled()),
    ...all(/given back unread/),
    comes: true,
  },
  'its group was reset to the beginning': { happened: (t) => reset(t, 'EARLIEST'), ...all(/reset/), comes: true },
  'its group was reset to the same place': { happened: (t) => reset(t, { offset: 0 }), ...all(/reset/), comes: true },
  'its group was reset to the end': { happened: (t) => reset(t, 'LATEST'), ...all(/reset/), comes: false },
  'its group was reset, and the broker restarted': {
    happened: (t) => reset(t, 'LATEST').then(() => t.restart()),
    ...all(/reset/),
    comes: false,
  },
  'its group was reset, and another worker has it': {
    happened: (t) => reset(t, 'EARLIEST').then(() => t.receive('billing', { invisibleMs: INVISIBLE_MS })),
    ...all(/reset/),
    comes: true,
  },
  'its group was reset, and another worker acknowledged it': {
    happened: async (t) => {
      await reset(t, 'EARLIEST');
      const [again] = (await t.receive()).messages;
      await verbs.ack(t, again!.receiptHandle);
    },
    ...all(/reset/),
    comes: false,
  },
  'it is dead by its last lease': { happened: ended, ...all(/given it up/), comes: false, maxAttempts: 0 },
  'it is dead by a nack': {
    happened: (t, { receiptHandle }) => verbs.nack(t, receiptHandle),
    ack: /given it up/,
    nack: true, // the same answer
    extend: /given it up/,
    comes: false,
    maxAttempts: 0,
  },
  'it was dead and is redriven': {
    happened: (t) => ended(t).then(() => t.rooms.deadLetters.redrive('billing', { all: true, dryRun: false })),
    ...all(/went on as delivery 1/),
    comes: true,
    maxAttempts: 0,
  },
  'it was dead and is sent to its topic again': {
    happened: (t) =>
      ended(t).then(() => t.rooms.deadLetters.redrive('billing', { all: true, topic: 'orders', dryRun: false })),
    ...all(/given it up/),
    comes: true,
    maxAttempts: 0,
  },
  'retention deleted it': {
    happened: (t) => t.rooms.retention.trim(t.state.applied + 1, { reason: 'age' }),
    ...onlyAck(/retention or a purge has deleted it/),
    comes: false,
  },
  'a consumer joined': {
    happened: (t) => ended(t).then(() => t.join()),
    ...onlyAck(/consumer c1 has joined/),
    comes: true,
  },
  'a consumer joined and left': {
    happened: (t) =>
      ended(t)
        .then(() => t.join())
        .then(() => leave(t)),
    ...all(true),
    comes: true,
  },
  'a consumer committed it': {
    happened: async (t) => {
      await ended(t);
      await t.join();
      await t.commit('billing', 'c1', (await t.poll()).cursor);
      leave(t);
    },
    ...onlyAck(/a commit passed it/),
    comes: false,
  },
  'a consumer moved the position back by force': {
    happened: async (t) => {
      await ended(t);
      await t.join();
      await t.commit('billing', 'c1', (await t.poll()).cursor);
      await t.commit('billing', 'c1', { offsets: [at(0, 0)], force: true });
      leave(t);
    },
    ...all(/reset/),
    comes: true,
  },
};

/** Bodies and attempts of everything that comes in the next minutes. */
async function coming(t: Bench): Promise<string[]> {
  leave(t);
  const seen: string[] = [];
  for (let i = 0; i < 3; i++) {
    const { messages } = await t.receive('billing', { max: 100 });
    seen.push(...messages.map(({ record, attempt }) => `${decodeMessage(record).body.toString()} ${attempt}`));
    await t.rooms.leases.acknowledge(
      'billing',
      messages.map(({ receiptHandle }) => receiptHandle),
    );
    await t.clock.advance(INVISIBLE_MS + 1);
    await t.settled();
  }
  return seen;
}

describe.each(Object.entries(CASES))('after: %s', (_, { happened, comes, maxAttempts, ...answers }) => {
  test.each(VERBS)('%s', async (verb) => {
    const t = await setup();
    await t.topic('orders', { readQueues: 1, writeQueues: 1 });
    await t.group('billing', maxAttempts === undefined ? {} : { maxAttempts });
    await t.send('orders', 'x');
    const answer = await t.receive('billing', { invisibleMs: INVISIBLE_MS });
    const [handed] = answer.messages;
    await happened(t, handed!, () => answer.giveBack());
    const [result] = await verbs[verb](t, handed!.receiptHandle);
    const expected = answers[verb];
    if (expected === true) expect(result!.error).toBeUndefined();
    else expect(result!.error).toMatchObject({ code: 'LATE_ACK', message: expect.stringMatching(expected) as string });
    const came = await coming(t);
    if (expected === true && verb === 'ack') expect(came).toEqual([]);
    else expect([verb, came.length]).toEqual([verb, comes ? 1 : 0]);
  });
});

test.each(VERBS)('%s of a message of a group or topic that was deleted, and created again', async (verb) => {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.topic('more', { readQueues: 1, writeQueues: 1 });
  await t.group('billing', { allowMultipleTopics: true });
  await t.join('billing', 'c1', { topic: 'more' });
  leave(t);
  await t.send('more', 'x');
  const [x] = (await t.receive()).messages;
  await t.rooms.topics.delete('more', true);
  const codes = async () => (await verbs[verb](t, x!.receiptHandle)).map(({ error }) => error?.code);
  expect(await codes()).toEqual(['TOPIC_RECREATED']);
  await t.topic('more', { readQueues: 1, writeQueues: 1 });
  expect(await codes()).toEqual(['TOPIC_RECREATED']);
  await t.rooms.groups.delete('billing', true);
  expect(await codeOf(verbs[verb](t, x!.receiptHandle))).toBe('GROUP_NOT_FOUND');
  await t.group('billing');
  expect(await codes()).toEqual(['TOPIC_RECREATED']);
  await t.rooms.topics.delete('orders', true);
  await t.topic('orders');
  await t.group('billing');
  expect(await codes()).toEqual(['TOPIC_RECREATED']);
});

test.each(VERBS)('%s of a message in a queue that is hidden counts', async (verb) => {
  const t = await setup();
  await t.topic('orders', { readQueues: 2, writeQueues: 2 });
  await t.group('billing');
  await t.send('orders', { body: 'x', queue: { broker: NAME, queueId: 1 } });
  const [x] = (await t.receive('billing', { invisibleMs: INVISIBLE_MS })).messages;
  const resized = (queues: number) => t.rooms.topics.update('orders', { readQueues: queues, writeQueues: queues });
  await resized(1);
  expect((await verbs[verb](t, x!.receiptHandle)).map(({ error }) => error)).toEqual([undefined]);
  await resized(2);
  expect(await coming(t)).toHaveLength(verb === 'ack' ? 0 : 1);
});

test('an acknowledged retry may be acknowledged again, the delivery before it not', async () => {
  const t = await setup();
  await t.topic('orders', { readQueues: 1, writeQueues: 1 });
  await t.group('billing');
  await t.send('orders', 'x');
  const [first] = (await t.receive()).messages;
  await verbs.nack(t, first!.receiptHandle);
  await t.clock.advance(1001);
  const [second] = (await t.receive()).messages;
  t.clock.jumpTo(t.clock.now() + 30 * 60_000);
  await t.rooms.retention.runOnce();
  for (let i = 0; i < 2; i++) expect((await verbs.ack(t, second!.receiptHandle))[0]!.error).toBeUndefined();
  expect((await verbs.ack(t, first!.receiptHandle))[0]!.error).toMatchObject({ code: 'LATE_ACK' });
});
