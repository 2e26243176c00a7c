/** What a consumer group promises, one scenario each, over HTTP as a client feels it. */
import { MessageWriter } from '../../api/messageJson';
import { GantryError } from '../../src/base/errors';
import { http, type Http, type RequestParts } from '../support/http';
import { contract, Standalone } from '../support/node';

let node: Standalone;
let client: Http;
let count = 0;

beforeAll(async () => {
  node = await Standalone.start();
  client = http(node.url, contract);
  node.closeFirst(() => client.close());
});
afterAll(() => node.stop());

const QUEUES = 4;
const place = (topic: string, queueId: number) => ({ topic, broker: 'broker-a', queueId });
const values = (messages: readonly { body: string }[]): string[] => messages.map(({ body }) => body);
const ids = (queues: readonly { queueId: number }[]): number[] => queues.map(({ queueId }) => queueId);

/** A topic and a group that nobody else uses. */
class Stage {
  readonly topic = `topic-${++count}`;
  readonly group = `group-${count}`;
  readonly path = { group: this.group };

  /** Without settings there is no group yet. */
  static async open(group: object | null = {}, queues = QUEUES): Promise<Stage> {
    const stage = new Stage();
    await client.call('createTopic', {
      body: { name: stage.topic, readQueues: queues, writeQueues: queues, type: 'MIXED' },
    });
    if (group) await client.call('putGroup', { path: stage.path, body: { topic: stage.topic, ...group } });
    return stage;
  }

  send = (message: object) => client.call('sendMessages', { path: { topic: this.topic }, body: message });

  /** One message to each queue: `0` … */
  async fill(queues = QUEUES): Promise<void> {
    for (let i = 0; i < queues; i++) await this.send({ body: `${i}`, queue: { broker: 'broker-a', queueId: i } });
  }

  member = (id: string, group = this.group) => new Member(this.topic, group, id);

  async receive(body: object = {}) {
    const reply = await client.call('receiveMessages', { path: this.path, body: { max: 32, waitMs: 0, ...body } });
    return reply.body;
  }

  ack = (...receiptHandles: string[]) => client.call('ackMessages', { path: this.path, body: { receiptHandles } });
  nack = (receipt: object) => client.call('nackMessages', { path: this.path, body: { receipts: [receipt] } });
  offsets = async (consumerId?: string) =>
    (await client.call('getOffsets', { path: this.path, query: { consumerId } })).body;
  dead = async () => (await client.call('listDeadLetters', { path: this.path })).body.deadLetters;
}

class Member {
  readonly path: { group: string; consumerId: string };
  readonly #topic: string;
  cursor = '';

  constructor(topic: string, group: string, consumerId: string) {
    this.#topic = topic;
    this.path = { group, consumerId };
  }

  raw = (options: object = {}) =>
    client.call('joinGroup', { path: this.path, body: { topic: this.#topic, ...options } });
  join = async (options: object = {}) => (await this.raw(options)).body;
  leave = () => client.call('leaveGroup', { path: this.path });

  async poll(query: RequestParts['query'] = {}) {
    const reply = await client.call('pollMessages', {
      path: this.path,
      query: { waitMs: 0, cursor: this.cursor, ...query },
    });
    this.cursor = reply.body.cursor;
    return reply.body;
  }

  commit = (body: object = {}) =>
    client.call('commitOffsets', {
      path: { group: this.path.group },
      body: { consumerId: this.path.consumerId, cursor: this.cursor, ...body },
    });

  sendBack = (messages: object[], more: object = {}) =>
    client.call('sendBack', {
      path: { group: this.path.group },
      body: { consumerId: this.path.consumerId, messages, ...more },
    });
}

const failed = ({
  topic,
  broker,
  queueId,
  queueOffset,
}: {
  topic: string;
  broker: string;
  queueId: number;
  queueOffset: number;
}) => ({
  ...{ topic, broker, queueId, queueOffset },
});

describe('a reading position of its own', () => {
  test('a consumer reads on where it wants, and its group stays where it is', async () => {
    const stage = await Stage.open({}, 2);
    for (const body of ['a', 'b', 'c']) await stage.send({ body, queue: { broker: 'broker-a', queueId: 0 } });
    await stage.send({ body: 'x', queue: { broker: 'broker-a', queueId: 1 } });
    const ann = stage.member('ann');
    await ann.join();
    expect(values((await ann.poll()).messages).sort()).toEqual(['a', 'b', 'c', 'x']);
    const at = (nextOffset: number, queueId = 0) => ({ ...place(stage.topic, queueId), nextOffset });
    const seek = async (body: object, path = ann.path) => {
      const reply = await client.call('seekConsumer', { path, body: body });
      return reply;
    };
    const moved = await seek({ cursor: ann.cursor, offsets: [at(1)] });
    expect(moved.status).toBe(200);
    ann.cursor = moved.body.cursor;
    expect(values((await ann.poll()).messages)).toEqual(['b', 'c']);
    expect((await stage.offsets()).lag).toBe(4);

    // Without a cursor the others go on at what is committed.
    ann.cursor = (await seek({ offsets: [at(3)] })).body.cursor;
    expect(values((await ann.poll()).messages)).toEqual(['x']);
    await ann.leave();
    const bob = stage.member('bob');
    await bob.join();
    expect(values((await bob.poll()).messages).sort()).toEqual(['a', 'b', 'c', 'x']);

    const codes = [];
    for (const [body, path] of [
      [{ offsets: [at(1)] }, ann.path],
      [{ offsets: [at(4)] }, bob.path],
      [{ offsets: [at(0, 9)] }, bob.path],
      [{ offsets: [at(0)], cursor: ann.cursor }, bob.path],
      [{ offsets: [] }, bob.path],
    ] as const)
      codes.push((await seek(body, path)).problem?.code);
    expect(codes).toEqual(['NOT_JOINED', 'OFFSET_MOVED', 'QUEUE_NOT_FOUND', 'CURSOR_INVALID', 'VALIDATION_FAILED']);
    const eve = stage.member('eve');
    await eve.join();
    const { queues } = await bob.join();
    const other = queues[0]!.queueId === 0 ? 1 : 0;
    expect((await seek({ offsets: [at(0, other)] }, bob.path)).problem?.code).toBe('QUEUE_NOT_OWNED');
  });
});

describe('allocation', () => {
  test.each([
    ['AVG', [[0, 1], [2], [3]]],
    ['AVG_BY_CIRCLE', [[0, 3], [1], [2]]],
  ])('%s divides the queues evenly over the members', async (allocation, shares) => {
    const stage = await Stage.open({ allocation });
    for (const id of ['a', 'b', 'c']) await stage.member(id).join();
    const { consumers } = (await client.call('listConsumers', { path: stage.path })).body;
    expect(consumers.map(({ queues }) => ids(queues))).toEqual(shares);
  });

  test('CONSISTENT_HASH gives every queue to somebody, and a leaving member’s queues alone move', async () => {
    const stage = await Stage.open({ allocation: 'CONSISTENT_HASH' }, 16);
    const members = ['a', 'b', 'c'].map((id) => stage.member(id));
    for (const member of members) await member.join();
    const shares = async () => {
      const { consumers } = (await client.call('listConsumers', { path: stage.path })).body;
      return new Map(consumers.map(({ consumerId, queues }) => [consumerId, ids(queues)]));
    };
    const before = await shares();
    expect([...before.values()].flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i));
    await members[2]!.leave();
    await members[0]!.join();
    const after = await shares();
    for (const id of ['a', 'b']) expect(after.get(id)).toEqual(expect.arrayContaining(before.get(id)!));
  });

  test('members over the number of queues idle and are told so', async () => {
    const stage = await Stage.open({}, 1);
    await stage.member('a').join();
    const idle = stage.member('b');
    expect(await idle.join()).toMatchObject({ queues: [], pending: [] });
    expect(await idle.poll()).toMatchObject({ messages: [], reason: 'NOT_ASSIGNED' });
  });

  test('several groups read one topic independently', async () => {
    const stage = await Stage.open();
    await stage.fill();
    for (const group of [`${stage.group}-x`, `${stage.group}-y`]) {
      const member = stage.member('a', group);
      await member.join();
      expect(values((await member.poll()).messages).sort()).toEqual(['0', '1', '2', '3']);
      await member.commit();
    }
  });
});

describe('one queue, one consumer of a group, always', () => {
  test('a queue moves when what was handed out of it is committed, not before', async () => {
    const stage = await Stage.open();
    await stage.fill();
    const [a, b] = [stage.member('a'), stage.member('b')];
    await a.join();
    await a.poll();
    const joined = await b.join();
    expect([joined.queues, ids(joined.pending)]).toEqual([[], [2, 3]]);
    const told = await a.poll();
    expect(ids(told.revoking!)).toEqual([2, 3]);
    const first = b.poll({ waitMs: 30_000 });
    await node.untilParked(1);
    await stage.send({ body: 'new', queue: { broker: 'broker-a', queueId: 2 } });
    await a.commit();
    expect(values((await first).messages)).toEqual(['new']);
    expect((await a.commit()).status).toBe(207); // queues 2 and 3 are b's now
  });

  test('autoCommit commits, and hands over with it', async () => {
    const stage = await Stage.open();
    await stage.fill();
    const [a, b] = [stage.member('a'), stage.member('b')];
    await a.join();
    await a.poll();
    await b.join();
    await a.poll({ autoCommit: true });
    expect(ids((await b.join()).queues)).toEqual([2, 3]);
  });

  test('a dead member’s queues move within its lease, a leaving one’s at once', async () => {
    const stage = await Stage.open();
    await stage.fill();
    const [a, b, c] = ['a', 'b', 'c'].map((id) => stage.member(id)) as [Member, Member, Member];
    await a.join({ leaseMs: 3000 });
    await a.poll(); // and never again
    await b.join();
    const waiting = await b.poll({ waitMs: 10_000, min: 4 });
    expect(values(waiting.messages).sort()).toEqual(['0', '1', '2', '3']);
    await c.join();
    await b.leave();
    expect(ids((await c.join()).queues)).toEqual([0, 1, 2, 3]);
  });
});

describe('joining', () => {
  test('LATEST means latest: what was sent before the join is not seen, what comes after is, on a young topic, too', async () => {
    const stage = await Stage.open(null);
    await stage.send({ body: 'before' });
    const member = stage.member('a');
    await member.join({ consumeFrom: 'LATEST' });
    await stage.send({ body: 'after' });
    expect(values((await member.poll({ waitMs: 1000 })).messages)).toEqual(['after']);
  });

  test('with another topic or filter than the group’s is a conflict that shows both', async () => {
    const stage = await Stage.open({ filter: { type: 'TAG', expression: 'a' } });
    const other = await Stage.open(null);
    const { problem } = await stage.member('a').raw({ topic: other.topic });
    expect(problem).toMatchObject({
      status: 409,
      code: 'SUBSCRIPTION_CONFLICT',
      group: { topic: stage.topic },
      requested: { topic: other.topic },
    });
    expect((await stage.member('a').raw({ filter: { type: 'TAG', expression: 'b' } })).problem.code).toBe(
      'SUBSCRIPTION_CONFLICT',
    );
  });

  test('a rolling deployment changes the filter: members see it at their next poll, and stay members', async () => {
    const stage = await Stage.open({ filter: { type: 'TAG', expression: 'a' } }, 1);
    const old = stage.member('old');
    await old.join({ filter: { type: 'TAG', expression: 'a' } });
    await client.call('putGroup', {
      path: stage.path,
      body: { topic: stage.topic, filter: { type: 'TAG', expression: 'a || b' } },
    });
    await stage.member('new').join({ filter: { type: 'TAG', expression: 'b||a' } });
    // The old one goes on with what it knows, and is served by what the group says.
    await old.join({ filter: { type: 'TAG', expression: 'a' } });
    await stage.send({ messages: [{ body: '1', tag: 'a' }, { body: '2', tag: 'b' }, { body: '3' }] });
    expect(values((await stage.member('new').poll()).messages.concat((await old.poll()).messages))).toEqual(['1', '2']);
    expect((await stage.member('late').raw({ filter: { type: 'TAG', expression: 'a' } })).problem.code).toBe(
      'SUBSCRIPTION_CONFLICT',
    );
  });

  test('several topics, if the group allows them', async () => {
    const stage = await Stage.open({ allowMultipleTopics: true }, 1);
    const other = await Stage.open(null, 1);
    const member = stage.member('a');
    await member.join();
    await member.join({ topic: other.topic });
    await stage.fill(1);
    await other.send({ body: 'other' });
    expect(values((await member.poll({ min: 2, waitMs: 1000 })).messages).sort()).toEqual(['0', 'other']);
  });
});

test('broadcasting: each member gets every message, and positions are its own', async () => {
  const stage = await Stage.open({ mode: 'BROADCASTING' });
  const members = [stage.member('a'), stage.member('b')];
  for (const member of members) await member.join();
  await stage.fill();
  for (const member of members) expect(values((await member.poll()).messages).sort()).toEqual(['0', '1', '2', '3']);
  expect((await members[0]!.commit()).status).toBe(200);
  expect([(await stage.offsets('a')).lag, (await stage.offsets('b')).lag]).toEqual([0, 4]);
  expect((await members[1]!.sendBack([{ ...place(stage.topic, 0), queueOffset: 0 }])).problem.code).toBe(
    'STYLE_CONFLICT',
  );
  expect((await client.call('receiveMessages', { path: stage.path })).problem.code).toBe('STYLE_CONFLICT');
});

describe('leases', () => {
  test('any consumer takes any message; it is invisible, comes back, and its attempts are counted', async () => {
    const stage = await Stage.open();
    await stage.fill();
    const [one, two] = [await stage.receive({ max: 2, invisibleMs: 1000 }), await stage.receive({ max: 32 })];
    expect([...values(one.messages), ...values(two.messages)].sort()).toEqual(['0', '1', '2', '3']);
    expect(await stage.receive()).toMatchObject({ messages: [], reason: 'IN_FLIGHT', lag: { ready: 0, inFlight: 4 } });
    const back = await stage.receive({ waitMs: 5000, min: 2 });
    expect(back.messages.map(({ body, attempt }) => [body, attempt]).sort()).toEqual(
      values(one.messages)
        .sort()
        .map((v) => [v, 2]),
    );
    const late = await stage.ack(one.messages[0]!.receiptHandle);
    expect([late.status, late.problem.code]).toEqual([409, 'LATE_ACK']);
    expect((await stage.ack(...[...back.messages, ...two.messages].map((m) => m.receiptHandle))).status).toBe(200);
    expect(await stage.offsets()).toMatchObject({ lag: 0, ready: 0, inFlight: 0 });
  });

  test('a late acknowledgement counts while the message was not handed out again', async () => {
    const stage = await Stage.open({}, 1);
    await stage.fill(1);
    const { messages } = await stage.receive({ invisibleMs: 1000 });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    expect((await stage.ack(messages[0]!.receiptHandle)).status).toBe(200);
    expect(await stage.receive()).toMatchObject({ messages: [], reason: 'CAUGHT_UP' });
  });

  test('the same attemptId answers the same messages', async () => {
    const stage = await Stage.open();
    await stage.fill();
    const first = await stage.receive({ max: 2, attemptId: 'try-1' });
    const again = await stage.receive({ max: 2, attemptId: 'try-1' });
    const handles = (page: typeof first) => page.messages.map(({ receiptHandle }) => receiptHandle);
    expect([values(again.messages), handles(again)]).toEqual([values(first.messages), handles(first)]);
    expect(values((await stage.receive({ max: 4 })).messages)).toHaveLength(2);
  });

  test('an answer that could not be written gives its messages back at once, uncounted', async () => {
    const stage = await Stage.open({}, 1);
    const gone = new AbortController();
    const waiting = client.call('receiveMessages', { path: stage.path, body: { waitMs: 30_000 }, signal: gone.signal });
    await node.untilParked(1);
    gone.abort();
    await expect(waiting).rejects.toThrow();
    await node.untilParked(0);
    await stage.fill(1);
    const { messages } = await stage.receive({ waitMs: 1000 });
    expect(messages).toMatchObject([{ body: '0', attempt: 1 }]);
  });

  test('an answer that cannot be made is a problem, and gives its messages back at once, uncounted', async () => {
    const stage = await Stage.open({}, 1);
    await stage.fill(1);
    const broken = new GantryError('INTERNAL_ERROR', 'this message cannot be shown');
    jest.spyOn(MessageWriter.prototype, 'leased').mockImplementationOnce(() => {
      throw broken;
    });
    const reply = await client.call('receiveMessages', { path: stage.path, body: { waitMs: 0 } });
    expect([reply.status, reply.problem.code]).toEqual([500, 'INTERNAL_ERROR']);
    const { messages } = await stage.receive({ waitMs: 1000 });
    expect(messages).toMatchObject([{ body: '0', attempt: 1 }]);
  });

  test('one style per group at a time', async () => {
    const stage = await Stage.open();
    await stage.fill();
    const { messages } = await stage.receive({ max: 1 });
    expect((await stage.member('a').raw()).problem.code).toBe('STYLE_CONFLICT');
    await stage.ack(messages[0]!.receiptHandle);
    const member = stage.member('a');
    await member.join();
    expect((await client.call('receiveMessages', { path: stage.path })).problem.code).toBe('STYLE_CONFLICT');
    expect((await member.poll()).messages).toHaveLength(3);
  });

  test('an ordered group: within a messageGroup the next waits, others go on', async () => {
    const stage = await Stage.open({ ordered: true, retryDelaysMs: [1000] }, 1);
    for (const [body, messageGroup] of [
      ['a1', 'a'],
      ['a2', 'a'],
      ['b1', 'b'],
    ] as const)
      await stage.send({ body, messageGroup });
    const { messages } = await stage.receive();
    expect(values(messages)).toEqual(['a1', 'b1']);
    expect(await stage.receive()).toMatchObject({ messages: [], reason: 'BLOCKED' });
    const nacked = await stage.nack({ receiptHandle: messages[0]!.receiptHandle });
    expect(nacked.body.results).toMatchObject([{ outcome: 'WAITING', attempt: 2 }]);
    expect(await stage.receive()).toMatchObject({ messages: [], reason: 'BLOCKED' });
    const again = await stage.receive({ waitMs: 5000 });
    expect(again.messages).toMatchObject([{ body: 'a1', attempt: 2 }]);
    await stage.ack(again.messages[0]!.receiptHandle);
    expect(values((await stage.receive()).messages)).toEqual(['a2']);
  });
});

describe('retries and dead letters', () => {
  test('what is sent back comes again, to this group only, with attempt and origin, and at last is a dead letter', async () => {
    const stage = await Stage.open({ maxAttempts: 1, retryDelaysMs: [100] }, 1);
    const other = stage.member('x', `${stage.group}-other`);
    await other.join();
    const member = stage.member('a');
    await member.join();
    await stage.send({ body: 'fails', tag: 't', keys: ['k'], properties: { p: '1' } });
    const [first] = (await member.poll()).messages;
    const sent = await member.sendBack([{ ...failed(first!), reason: 'no paper' }], { cursor: member.cursor });
    expect(sent.body.results).toMatchObject([{ status: 'OK', outcome: 'RETRY', attempt: 2 }]);
    expect((await stage.offsets()).lag).toBe(0);
    const [again] = (await member.poll({ waitMs: 5000 })).messages;
    expect(again).toMatchObject({
      topic: `%RETRY%${stage.group}`,
      body: 'fails',
      attempt: 2,
      tag: 't',
      keys: ['k'],
      properties: { p: '1' },
    });
    expect(again!.messageId).toBe(first!.messageId);
    expect(again!.origin).toMatchObject({ ...failed(first!), offsetMessageId: first!.offsetMessageId });
    expect((await member.sendBack([failed(again!)], { cursor: member.cursor })).body.results).toMatchObject([
      { outcome: 'DEAD_LETTER' },
    ]);
    expect(await stage.dead()).toMatchObject([{ body: 'fails', attempt: 2, origin: failed(first!) }]);
    expect(values((await other.poll()).messages)).toEqual(['fails']);
    expect((await other.poll()).messages).toEqual([]);
    const { topics } = (await client.call('listTopics', { query: { system: true, limit: 1000 } })).body;
    expect(topics.map(({ name }) => name)).toEqual(
      expect.arrayContaining([`%RETRY%${stage.group}`, `%DLQ%${stage.group}`]),
    );
    // The name itself, percent-encoded, leads where the name for paths does.
    for (const kind of ['RETRY', 'DLQ']) {
      const read = (topic: string) =>
        client.call('readQueue', { path: { topic, broker: 'broker-a', queueId: 0 }, query: { offset: 0 } });
      const { messages } = (await read(`%${kind}%${stage.group}`)).body;
      expect(values(messages)).toEqual(['fails']);
      expect((await read(`~${kind}~${stage.group}`)).body.messages).toEqual(messages);
    }
  });

  test('dead letters are moved, one or all, dry run first, to the group or another topic', async () => {
    const stage = await Stage.open({ maxAttempts: 0 }, 1);
    for (const body of ['x', 'y', 'z']) await stage.send({ body });
    const { messages } = await stage.receive();
    for (const { receiptHandle } of messages) await stage.nack({ receiptHandle });
    const redrive = async (body: object) => (await client.call('redriveDeadLetters', { path: stage.path, body })).body;
    expect(await redrive({ all: true, dryRun: true })).toMatchObject({ dryRun: true, results: [{}, {}, {}] });
    expect(values(await stage.dead())).toEqual(['x', 'y', 'z']);
    expect((await redrive({ messageIds: [messages[0]!.messageId] })).results).toMatchObject([
      { status: 'OK', topic: `%RETRY%${stage.group}` },
    ]);
    const [back] = (await stage.receive({ waitMs: 1000 })).messages;
    expect(back).toMatchObject({ body: 'x', attempt: 1, origin: { topic: stage.topic } });
    const elsewhere = await Stage.open(null, 1);
    expect((await redrive({ all: true, topic: elsewhere.topic })).results).toHaveLength(2);
    const reader = elsewhere.member('a');
    await reader.join();
    expect(values((await reader.poll()).messages)).toEqual(['y', 'z']);
    expect(await stage.dead()).toEqual([]);
  });
});

describe('offsets', () => {
  test('commit per queue, backwards only by force; reset moves members that are online', async () => {
    const stage = await Stage.open({}, 2);
    await stage.fill(2);
    const member = stage.member('a');
    const { generation } = await member.join();
    const offsets = [0, 1].map((queueId) => ({ ...place(stage.topic, queueId), nextOffset: queueId === 0 ? 1 : 9 }));
    const partly = await member.commit({ cursor: undefined, generation, offsets });
    expect(partly.body.results).toMatchObject([
      { status: 'OK' },
      { status: 'FAILED', error: { code: 'OFFSET_MOVED' } },
    ]);
    const back = [{ ...place(stage.topic, 0), nextOffset: 0 }];
    expect((await member.commit({ cursor: undefined, generation, offsets: back })).problem.code).toBe(
      'OFFSET_BACKWARDS',
    );
    expect((await member.commit({ cursor: undefined, generation, offsets: back, force: true })).status).toBe(200);
    await member.poll();
    await member.commit();
    expect((await stage.offsets()).lag).toBe(0);
    const reset = (body: object) => client.call('resetOffsets', { path: stage.path, body });
    expect((await reset({ to: 'EARLIEST', dryRun: true })).body.results).toMatchObject([
      { from: 1, to: 0 },
      { from: 1, to: 0 },
    ]);
    expect((await stage.offsets()).lag).toBe(0);
    const waiting = member.poll({ waitMs: 30_000 });
    await node.untilParked(1);
    await reset({ to: 'EARLIEST' });
    expect(values((await waiting).messages).sort()).toEqual(['0', '1']);
  });
});

test('a group of several topics: a reset names queues of any of them', async () => {
  const stage = await Stage.open({ allowMultipleTopics: true }, 1);
  const other = await Stage.open(null, 1);
  const member = stage.member('a');
  await member.join();
  await member.join({ topic: other.topic });
  for (const each of [stage, other]) await each.fill(1);
  await member.poll({ min: 2, waitMs: 1000 });
  await member.commit();
  const reset = (queue: object) =>
    client.call('resetOffsets', { path: stage.path, body: { to: 'EARLIEST', queues: [{ ...queue, queueId: 0 }] } });
  const moved = { broker: 'broker-a', queueId: 0, from: 1, to: 0, maxOffset: 1 };
  expect((await reset({ broker: 'broker-a', topic: other.topic })).body.results).toEqual([
    { ...moved, topic: other.topic },
  ]);
  expect((await stage.offsets()).offsets.map(({ topic, committed }) => [topic, committed])).toEqual([
    [stage.topic, 1],
    [other.topic, 0],
  ]);
  expect((await reset({ broker: 'broker-a' })).body.results).toEqual([{ ...moved, topic: stage.topic }]);
});

test('a deleted group leaves nothing: not its positions, retries or dead letters; made again it is another one', async () => {
  const stage = await Stage.open({ maxAttempts: 1, retryDelaysMs: [60_000] }, 1);
  await stage.fill(1);
  const member = stage.member('a');
  await member.join();
  const [message] = (await member.poll()).messages;
  await member.sendBack([failed(message!)], { cursor: member.cursor });
  const { cursor } = await member.poll();
  await client.call('deleteGroup', { path: stage.path, query: { force: true } });
  for (const name of [`~RETRY~${stage.group}`, `~DLQ~${stage.group}`])
    expect((await client.call('getTopic', { path: { topic: name } })).problem.code).toBe('TOPIC_NOT_FOUND');
  await member.join();
  const old = await client.call('pollMessages', { path: member.path, query: { cursor, waitMs: 0 } });
  expect(old.problem.code).toBe('TOPIC_RECREATED');
  member.cursor = '';
  expect(values((await member.poll()).messages)).toEqual(['0']);
  await member.leave();
  const leased = await stage.receive({ max: 1, invisibleMs: 60_000 });
  await client.call('deleteGroup', { path: stage.path });
  await client.call('putGroup', { path: stage.path, body: { topic: stage.topic } });
  const stale = await stage.ack(leased.messages[0]!.receiptHandle);
  expect([stale.status, stale.problem.code]).toEqual([409, 'TOPIC_RECREATED']);
});
