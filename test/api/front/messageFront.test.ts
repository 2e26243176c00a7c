/** Looking for messages of several brokers through a front: found wherever they are, and absent only when all say so. */
import { messageFront } from '../../../api/front/messageFront';
import type { PeerAnswer } from '../../../api/front/peer';
import type { OperationId } from '../../../api/operation';
import { answered, bodyOf, failureOf, FrontBench, refused, type Asked } from './frontBench';

const ALL = ['a', 'b', 'c'];
const ID = '7F00000104D22A6F9C310005A2B40001';

class MessageBench extends FrontBench {
  /** Where the topics of a group are. */
  readonly groups = { brokersOf: (group: string) => Promise.resolve(group === 'billing' ? ['a', 'c'] : []) };
  readonly #table = messageFront(this);

  ask(id: OperationId, parts: object = {}) {
    return this.through(this.#table, id, { path: { topic: 'orders' }, ...parts });
  }

  all(answer: (asked: Asked) => PeerAnswer | Promise<PeerAnswer>): void {
    for (const broker of this.brokers.values()) broker.answer = answer;
  }
}

/** A bench on which only one broker has what is looked for. */
function only(has: string): MessageBench {
  const t = new MessageBench();
  t.all(({ broker }) => (broker === has ? answered(200, { broker }) : refused('MESSAGE_NOT_FOUND')));
  return t;
}

const at = (messageId: string) => ({ path: { topic: 'orders', messageId } });

describe.each(['getMessage', 'getMessageTrace', 'recallScheduled'] as const)('%s', (id) => {
  test('the first that has it answers, whoever it is', async () => {
    for (const has of ALL) {
      const t = only(has);
      expect(bodyOf((await t.ask(id, at(ID))).result)).toEqual({ broker: has });
    }
  });

  test('it is absent when every broker says so', async () => {
    const t = only('none');
    const { result } = await t.ask(id, at(ID));
    expect(result.status).toBe(404);
    expect(bodyOf(result)).toMatchObject({ code: 'MESSAGE_NOT_FOUND' });
    expect([...t.askedBrokers].sort()).toEqual(ALL);
  });

  test('who could not be asked may have it', async () => {
    for (const away of ALL) {
      const t = only('none');
      t.broker(away).network = 'REFUSING';
      const failure = await failureOf(t.ask(id, at(ID)));
      expect(failure).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
      expect(failure.message).toContain(`broker ${away}`);
    }
  });

  test('it is found all the same when another is away', async () => {
    const t = only('b');
    t.broker('a').network = 'REFUSING';
    t.broker('c').answer = () => refused('STARTING');
    expect(bodyOf((await t.ask(id, at(ID))).result)).toEqual({ broker: 'b' });
  });

  test('what a broker finds wrong is told, also when another is away', async () => {
    const t = only('none');
    t.broker('a').network = 'REFUSING';
    t.broker('b').answer = () => refused('NO_PERMISSION');
    expect((await t.ask(id, at(ID))).result.status).toBe(403);
  });

  test('a broker that has no such topic yet has no such message', async () => {
    const t = only('none');
    t.broker('a').answer = () => refused('TOPIC_NOT_FOUND');
    expect(bodyOf((await t.ask(id, at(ID))).result)).toMatchObject({ code: 'MESSAGE_NOT_FOUND' });
  });

  test('an unknown topic', async () => {
    const t = only('a');
    const path = { topic: 'none', messageId: ID };
    expect(await failureOf(t.ask(id, { path }))).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
  });
});

describe('by offsetMessageId', () => {
  test('its broker alone is asked', async () => {
    for (const broker of ALL) {
      const t = only(broker);
      expect(bodyOf((await t.ask('getMessage', at(t.broker(broker).idOf(7)))).result)).toEqual({ broker });
      expect(t.askedBrokers).toEqual([broker]);
    }
  });

  test('the others are asked when it has none: a sender may have chosen such an id', async () => {
    const t = only('c');
    expect(bodyOf((await t.ask('getMessage', at(t.broker('a').idOf(7)))).result)).toEqual({ broker: 'c' });
    expect(t.askedBrokers[0]).toBe('a');
  });

  test('when it is away, it is told', async () => {
    const t = only('none');
    t.broker('a').network = 'REFUSING';
    expect(await failureOf(t.ask('getMessage', at(t.broker('a').idOf(7))))).toMatchObject({
      code: 'SERVICE_NOT_AVAILABLE',
    });
  });
});

test("a group's own topics are where the group is", async () => {
  const t = new MessageBench();
  t.all(({ broker }) => answered(200, { messages: [broker] }));
  const query = { limit: 9, tag: 'x' };
  const { result } = await t.ask('queryMessages', { path: { topic: '%RETRY%billing' }, query });
  expect(bodyOf(result)).toEqual({ messages: ['a', 'c'] });
  const path = { topic: '%DLQ%billing', broker: 'b', queueId: 0 };
  expect(await failureOf(t.ask('readQueue', { path }))).toMatchObject({ code: 'QUEUE_NOT_FOUND' });
});

describe('recalling', () => {
  test('a message that came already says so, whatever others say', async () => {
    const t = only('none');
    t.broker('b').answer = () => refused('ALREADY_DELIVERED');
    t.broker('c').network = 'REFUSING';
    expect((await t.ask('recallScheduled', at(ID))).result.status).toBe(409);
  });

  test('an answer that was lost leaves it unknown', async () => {
    const t = only('b');
    t.broker('b').network = 'LOSING';
    expect(await failureOf(t.ask('recallScheduled', at(ID)))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  test('goes on at the others when one has answered', async () => {
    const t = only('a');
    const signals: AbortSignal[] = [];
    t.all(() => answered(200, {}));
    const peer = t.front.peer.bind(t.front);
    jest.spyOn(t.front, 'peer').mockImplementation((broker, call) => {
      const real = peer(broker, call);
      return {
        name: broker,
        reach: (signal) => real.reach(signal),
        call: (id, request, signal) => (signals.push(signal), real.call(id, request, signal)),
      };
    });
    await t.ask('recallScheduled', at(ID));
    for (const slow of ['b', 'c']) t.broker(slow).network = 'HUNG';
    await t.ask('getMessage', at(ID));
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, false, false, true, true]);
  });
});

describe.each([
  ['queryMessages', 'messages', { key: 'k' }],
  ['listScheduled', 'scheduled', {}],
] as const)('%s', (id, field, wanted) => {
  test('broker after broker, with what is wanted', async () => {
    const t = new MessageBench();
    t.all(({ broker }) => answered(200, { [field]: [broker] }));
    const first = bodyOf<{ cursor: string }>((await t.ask(id, { query: { limit: 2, ...wanted } })).result);
    expect(first).toMatchObject({ [field]: ['a', 'b'] });
    const query = { limit: 2, ...wanted, cursor: first.cursor };
    expect(bodyOf((await t.ask(id, { query })).result)).toEqual({ [field]: ['c'] });
    expect(t.asked.map(({ request }) => request.query)).toEqual([
      { limit: 2, ...wanted },
      { limit: 1, ...wanted },
      { limit: 2, ...wanted },
    ]);
  });

  test('a short page of a broker is one of the list', async () => {
    const t = new MessageBench();
    t.broker('a').answer = () => answered(200, { [field]: [], cursor: 'own' });
    const { cursor } = bodyOf<{ cursor: string }>((await t.ask(id, { query: { limit: 9, ...wanted } })).result);
    t.all(({ broker }) => answered(200, { [field]: [broker] }));
    await t.ask(id, { query: { limit: 9, ...wanted, cursor } });
    expect(t.asked[1]!.request.query).toEqual({ limit: 9, ...wanted, cursor: 'own' });
    expect(t.askedBrokers).toEqual(['a', 'a', 'b', 'c']);
  });

  test('who is away, or takes no readers, is named; what is wrong with the request is told', async () => {
    const t = new MessageBench();
    t.all(({ broker }) => answered(200, { [field]: [broker] }));
    t.broker('a').network = 'REFUSING';
    t.broker('b').answer = () => refused('SERVICE_NOT_AVAILABLE');
    expect(bodyOf((await t.ask(id, { query: { limit: 9, ...wanted } })).result)).toEqual({
      ...{ [field]: ['c'], unavailable: ['a', 'b'] },
    });
    t.broker('c').answer = () => refused('NO_PERMISSION');
    const failure = await failureOf(t.ask(id, { query: { limit: 9, ...wanted } }));
    expect(failure).toMatchObject({ code: 'NO_PERMISSION' });
  });

  test('large pages of one broker leave the next one for later', async () => {
    const t = new MessageBench();
    t.all(({ broker }) => answered(200, { [field]: [broker + 'x'.repeat(4 << 20)] }));
    const body = bodyOf<Record<string, string[]>>((await t.ask(id, { query: { limit: 9, ...wanted } })).result);
    expect(body[field]).toHaveLength(1);
    expect(body).toHaveProperty('cursor');
  });
});

describe.each(['readQueue', 'searchOffset'] as const)('%s', (id) => {
  const queue = (broker: string) => ({ path: { topic: 'orders', broker, queueId: 0 }, query: { at: 'LATEST' } });

  test('is asked of its broker, also what it refuses', async () => {
    const t = new MessageBench();
    t.all(({ broker }) => answered(200, { broker }));
    for (const broker of ALL) expect(bodyOf((await t.ask(id, queue(broker))).result)).toEqual({ broker });
    t.all(() => refused('OFFSET_MOVED', 'go on', { nextOffset: 7 }));
    expect(bodyOf((await t.ask(id, queue('b'))).result)).toMatchObject({ code: 'OFFSET_MOVED', nextOffset: 7 });
  });

  test('of no broker of the topic is no queue', async () => {
    const t = new MessageBench();
    expect(await failureOf(t.ask(id, queue('z')))).toMatchObject({ code: 'QUEUE_NOT_FOUND' });
    expect(t.asked).toEqual([]);
  });

  test('of a broker that is away is there, and cannot be read', async () => {
    const t = new MessageBench();
    for (const away of [{ network: 'REFUSING' as const }, { listed: false }]) {
      Object.assign(t.broker('b'), away);
      await t.clock.advance(30_000);
      expect(await failureOf(t.ask(id, queue('b')))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
    }
  });
});

describe('testFilter', () => {
  test('each broker gives an even share, the newest of all first', async () => {
    const t = new MessageBench();
    t.all((asked) => {
      const { last } = (asked.request as unknown as { body: { last: number } }).body;
      const results = [{ storeTimestamp: last * 10 }, { storeTimestamp: last }];
      return answered(200, { examined: last, matched: 1, failed: 1, complete: asked.broker !== 'b', results });
    });
    const body = { filter: { type: 'TAG', expression: 'x' }, last: 8 };
    expect(bodyOf((await t.ask('testFilter', { body })).result)).toEqual({
      ...{ examined: 8, matched: 3, failed: 3, complete: false },
      results: [30, 30, 20, 3, 3, 2].map((storeTimestamp) => ({ storeTimestamp })),
    });
    expect(t.asked.map(({ request }) => (request as unknown as { body: unknown }).body)).toEqual(
      [3, 3, 2].map((last) => ({ ...body, last })),
    );
  });

  const counts = { examined: 1, matched: 1, failed: 0, complete: true, results: [] };

  test('fewer messages than brokers, and 100 if nothing is said', async () => {
    const t = new MessageBench();
    t.all(() => answered(200, counts));
    await t.ask('testFilter', { body: { filter: {}, last: 2 } });
    expect(t.asked).toHaveLength(2);
    await t.ask('testFilter', { body: { filter: {} } });
    const shares = t.asked.slice(2).map(({ request }) => (request as unknown as { body: { last: number } }).body.last);
    expect(shares).toEqual([34, 33, 33]);
  });

  test('who is away is named; a filter that cannot be read is refused', async () => {
    const t = new MessageBench();
    t.all(() => answered(200, counts));
    t.broker('c').network = 'REFUSING';
    expect(bodyOf((await t.ask('testFilter', { body: { filter: {} } })).result)).toMatchObject({
      ...{ examined: 2, unavailable: ['c'] },
    });
    t.broker('a').answer = () => refused('FILTER_INVALID');
    expect(await failureOf(t.ask('testFilter', { body: { filter: {} } }))).toMatchObject({ code: 'FILTER_INVALID' });
  });
});
