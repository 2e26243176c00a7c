/** Everything else that consumers ask, over several brokers: each part is done by its broker, and put together again. */
import { topicDefinition } from '../../../src/broker/definition';
import { retryTopicOf } from '../../../src/broker/group';
import { codeOf, stopBrokers } from '../../support/broker';
import { packCursors, unpackCursors } from '../../../api/front/compositeCursor';
import { bodiesOf, Company } from './company';

afterEach(stopBrokers);

const group = 'billing';
const path = { group };
const LIST = { limit: 100 };
const BOTH = ['broker-a', 'broker-b'];

interface Result {
  readonly status: string;
  readonly broker?: string;
  readonly queueId?: number;
  readonly messageId?: string;
  readonly error?: { readonly code: string };
}

const resultsOf = ({ body }: { body: object }) => (body as { results: Result[] }).results;
const codesOf = (answer: { body: object }) => resultsOf(answer).map(({ error }) => error?.code);

/** A member that was given `a1` and `b1`. */
async function polled() {
  const company = await Company.of(...BOTH);
  await company.group(group);
  await company.join();
  await company.send('broker-a', 'a1');
  await company.send('broker-b', 'b1');
  const answer = await company.poll();
  const message = (broker: string) => {
    const { queueOffset } = answer.messages.find((one) => one.broker === broker)!;
    return { topic: 'orders', broker, queueId: 0, queueOffset };
  };
  const committed = () => BOTH.map((name) => company.on(name).committed()[0]);
  return { company, ...answer, message, committed };
}

describe('groups', () => {
  test('are listed once, though each broker has them, and in pages', async () => {
    const company = await Company.of(...BOTH);
    await company.group('a');
    await company.on('broker-a').group('b');
    await company.on('broker-b').topic('own');
    await company.on('broker-b').group('c', { topic: 'own' });
    await company.on('broker-a').group('a', { description: 'newer' }); // broker-b was not told yet
    const names = ({ body }: { body: object }) =>
      (body as { groups: { name: string; description?: string }[] }).groups.map(({ name, description }) => [
        name,
        description,
      ]);
    const all = await company.call('listGroups', { query: LIST });
    expect(names(all)).toEqual([
      ['a', 'newer'],
      ['b', undefined],
      ['c', undefined],
    ]);
    const first = await company.call('listGroups', { query: { limit: 2 } });
    const second = await company.call('listGroups', { query: { limit: 2, cursor: first.body['cursor'] } });
    expect([names(first).length, names(second)]).toEqual([2, [['c', undefined]]]);
    expect(second.body['cursor']).toBeUndefined();
    company.network.set('broker-a', 'DOWN');
    const half = await company.call('listGroups', { query: LIST });
    expect([names(half), half.body['unavailable']]).toEqual([
      [
        ['a', undefined],
        ['c', undefined],
      ],
      ['broker-a'],
    ]);
  });

  test('are made and changed at their home, and read from any that has them', async () => {
    const company = await Company.of(...BOTH);
    const put = (body: object) => company.call('putGroup', { path, body: { topic: 'orders', ...body } });
    expect((await put({})).status).toBe(201);
    expect(company.asked).toContain('broker-a putGroup');
    expect(company.on('broker-b').state.groupsByName.has(group)).toBe(true);
    expect((await put({ description: 'x' })).status).toBe(200);
    const patched = await company.call('updateGroup', { path, body: { description: 'y' } });
    expect(patched.body).toMatchObject({ version: 3, description: 'y' });
    company.network.set('broker-a', 'DOWN');
    expect((await company.call('getGroup', { path })).status).toBe(200);
    expect(await codeOf(put({}))).toBe('SERVICE_NOT_AVAILABLE');
  });

  test('that no broker knows do not exist; while one is silent nobody can tell', async () => {
    const company = await Company.of(...BOTH);
    expect(await codeOf(company.call('getGroup', { path }))).toBe('GROUP_NOT_FOUND');
    company.network.set('broker-b', 'DOWN');
    expect(await codeOf(company.call('getGroup', { path }))).toBe('SERVICE_NOT_AVAILABLE');
    await company.on('broker-a').group(group);
    expect((await company.call('getGroup', { path })).status).toBe(200);
  });

  test('that were deleted are gone at once, whatever was known of where they are', async () => {
    const company = await Company.of('broker-a');
    await company.group(group);
    expect((await company.call('getGroup', { path })).status).toBe(200);
    await company.on('broker-a').rooms.groups.delete(group, false);
    expect(await codeOf(company.call('getOffsets', { path, query: {} }))).toBe('GROUP_NOT_FOUND');
  });
});

describe('members', () => {
  test('join at every broker, and have the queues of all', async () => {
    const company = await Company.of(...BOTH);
    await company.group(group);
    const { body } = await company.join();
    const queues = (body['queues'] as unknown as Result[]).map(({ broker, queueId }) => `${broker} ${queueId}`);
    expect(queues.sort()).toEqual(['broker-a 0', 'broker-a 1', 'broker-b 0', 'broker-b 1']);
    expect(body).toMatchObject({ group, consumerId: 'c1', pending: [], leaseMs: 30_000 });
    expect(body['unavailable']).toBeUndefined();
    await company.join('c0');
    const listed = await company.call('listConsumers', { path });
    expect(listed.body['consumers']).toMatchObject([
      { consumerId: 'c0', queues: [{ broker: 'broker-a' }, { broker: 'broker-a' }] },
      { consumerId: 'c1', queues: [{ broker: 'broker-b' }, { broker: 'broker-b' }] },
    ]);
  });

  test('of a group that does not exist make it at its home first', async () => {
    const company = await Company.of(...BOTH);
    await company.join();
    const joins = company.asked.filter((asked) => asked.endsWith('joinGroup'));
    expect(joins).toEqual(['broker-a joinGroup', 'broker-b joinGroup']);
    company.asked = [];
    await company.join();
    expect(company.asked.sort()).toEqual([
      'broker-a getGroup',
      'broker-a joinGroup',
      'broker-b getGroup',
      'broker-b joinGroup',
    ]);
  });

  test('join where they can; a broker that is away is named', async () => {
    const company = await Company.of(...BOTH);
    await company.group(group);
    company.network.set('broker-b', 'DOWN');
    const { body } = await company.join();
    expect(body).toMatchObject({ queues: [{ broker: 'broker-a' }, { broker: 'broker-a' }], unavailable: ['broker-b'] });
    company.network.set('broker-a', 'DOWN');
    expect(await codeOf(company.join())).toBe('SERVICE_NOT_AVAILABLE');
  });

  test('are refused by a broker’s word', async () => {
    const company = await Company.of(...BOTH);
    await company.group(group, { filter: { type: 'TAG', expression: 'x' } });
    const other = company.call('joinGroup', {
      path: { group, consumerId: 'c1' },
      body: { topic: 'orders', filter: { type: 'TAG', expression: 'y' } },
    });
    expect(await codeOf(other)).toBe('SUBSCRIPTION_CONFLICT');
  });

  test('leave all', async () => {
    const company = await Company.of(...BOTH);
    await company.group(group);
    await company.join();
    expect((await company.call('leaveGroup', { path: { group, consumerId: 'c1' } })).status).toBe(204);
    expect(await codeOf(company.poll())).toBe('NOT_JOINED');
  });
});

describe('committing', () => {
  test('a cursor commits its part at each broker', async () => {
    const { company, cursor, committed } = await polled();
    const answer = await company.call('commitOffsets', { path, body: { consumerId: 'c1', cursor } });
    expect(answer.status).toBe(200);
    expect(
      resultsOf(answer)
        .map(({ broker }) => broker)
        .sort(),
    ).toEqual(BOTH);
    expect(committed()).toEqual([1, 1]);
  });

  test('of a broker that is away is told of each of its queues, and the rest is committed', async () => {
    const { company, cursor, committed } = await polled();
    company.network.set('broker-b', 'DOWN');
    const answer = await company.call('commitOffsets', { path, body: { consumerId: 'c1', cursor } });
    expect(answer.status).toBe(207);
    expect(resultsOf(answer).find(({ error }) => error)).toMatchObject({
      ...{ topic: 'orders', broker: 'broker-b', queueId: 0, nextOffset: 1, error: { code: 'SERVICE_NOT_AVAILABLE' } },
    });
    expect(committed()).toEqual([1, 0]);
  });

  test('queues by name, in the order of the request, judged by each broker’s generation', async () => {
    const { company, generation, committed } = await polled();
    const offsets = ['broker-b', 'broker-a', 'broker-x', 'broker-b'].map((broker, i) => ({
      ...{ topic: 'orders', broker, queueId: i === 3 ? 7 : 0, nextOffset: 1 },
    }));
    const answer = await company.call('commitOffsets', { path, body: { consumerId: 'c1', generation, offsets } });
    expect(answer.status).toBe(207);
    expect(codesOf(answer)).toEqual([undefined, undefined, 'QUEUE_NOT_FOUND', 'QUEUE_NOT_FOUND']);
    expect(committed()).toEqual([1, 1]);
    const old = company.call('commitOffsets', {
      path,
      body: { consumerId: 'c1', generation: 'broker-a/0', offsets: offsets.slice(0, 2) },
    });
    expect(codesOf(await old)).toEqual(['QUEUE_NOT_OWNED', 'QUEUE_NOT_OWNED']);
  });

  test('a foreign cursor is refused', async () => {
    const { company, cursor } = await polled();
    const other = company.call('commitOffsets', { path, body: { consumerId: 'c2', cursor } });
    expect(await codeOf(other)).toBe('CURSOR_INVALID');
    expect(await codeOf((async () => company.call('commitOffsets', { path, body: {} }))())).toBe('VALIDATION_FAILED');
  });
});

describe('where a group stands', () => {
  test('is put together, with the lag of all; who could not be asked is named', async () => {
    const { company } = await polled();
    const all = await company.call('getOffsets', { path, query: {} });
    expect(all.body).toMatchObject({ group, topic: 'orders', lag: 2 });
    expect(all.body['offsets']).toHaveLength(4);
    company.network.set('broker-a', 'DOWN');
    const half = await company.call('getOffsets', { path, query: {} });
    expect(half.body).toMatchObject({ lag: 1, unavailable: ['broker-a'] });
    expect(half.body['offsets']).toHaveLength(2);
  });

  test('is reset everywhere, or where it was asked for', async () => {
    const { company, committed } = await polled();
    const reset = (body: object) => company.call('resetOffsets', { path, body });
    const looked = await reset({ to: 'LATEST', dryRun: true });
    expect(looked.body).toMatchObject({ dryRun: true });
    expect(resultsOf(looked)).toHaveLength(4);
    expect(committed()).toEqual([0, 0]);
    await reset({ to: 'LATEST', queues: [{ broker: 'broker-b', queueId: 0 }] });
    expect(committed()).toEqual([0, 1]);
    expect((await reset({ to: 'LATEST' })).body).toMatchObject({ dryRun: false });
    expect(committed()).toEqual([1, 1]);
  });

  test('is shown in the list of groups, with the messages of all brokers and each member once', async () => {
    const { company } = await polled();
    const { groups } = (await company.call('listGroups', { query: { limit: 10 } })).body as unknown as {
      groups: { name: string }[];
    };
    expect(groups.find(({ name }) => name === group)).toMatchObject({ members: 1, lag: 2, ready: 0, inFlight: 2 });
  });

  test('counts failed messages of all brokers, and a reset drops them everywhere', async () => {
    const { company, cursor, message } = await polled();
    const messages = [message('broker-a'), message('broker-b')].map((one) => ({ ...one, delayMs: 60_000 }));
    await company.call('sendBack', { path, headers: {}, body: { consumerId: 'c1', cursor, messages } });
    const waiting = async () => (await company.call('getOffsets', { path, query: {} })).body['waitingRetry'];
    expect(await waiting()).toBe(2);
    const reset = async (body: object) => (await company.call('resetOffsets', { path, body })).body;
    expect(await reset({ to: 'LATEST' })).toMatchObject({ retriesToCome: 2, retriesDropped: 0 });
    const drop = { to: 'LATEST', dropRetries: true };
    expect(await reset({ ...drop, dryRun: true })).toMatchObject({ retriesToCome: 0, retriesDropped: 2 });
    expect(await waiting()).toBe(2);
    expect(await reset(drop)).toMatchObject({ retriesToCome: 0, retriesDropped: 2 });
    expect(await waiting()).toBe(0);
  });

  test('is not moved at all by a request that is wrong for one broker', async () => {
    const { company, committed } = await polled();
    const queues = [
      { broker: 'broker-a', queueId: 0 },
      { broker: 'broker-b', queueId: 9 },
    ];
    expect(await codeOf(company.call('resetOffsets', { path, body: { to: 'LATEST', queues } }))).toBe(
      'QUEUE_NOT_FOUND',
    );
    expect(committed()).toEqual([0, 0]);
  });
});

describe('giving back', () => {
  const sendBack = (company: Company, messages: object[], more: object = {}, headers: object = {}) =>
    company.call('sendBack', { path, headers, body: { consumerId: 'c1', messages, ...more } });

  test('goes to each message’s broker, and commits the cursor everywhere', async () => {
    const { company, cursor, generation, message, committed } = await polled();
    await company.on('broker-a').settled();
    const answer = await sendBack(company, [message('broker-b')], { cursor, generation });
    expect(answer.body).toMatchObject({ cursorCommitted: true, results: [{ status: 'OK', outcome: 'RETRY' }] });
    expect(committed()).toEqual([1, 1]);
    expect(company.on('broker-a').state.topicsByName.has(retryTopicOf(group))).toBe(false);
    await company.manual.advance(15_000);
    const again = await company.poll();
    expect(again.messages).toMatchObject([{ body: 'b1', attempt: 2, broker: 'broker-b' }]);
  });

  test('commits nothing elsewhere when a message was refused', async () => {
    const { company, cursor, message, committed } = await polled();
    const absent = { ...message('broker-b'), queueOffset: 77 };
    const answer = await sendBack(company, [absent], { cursor });
    expect(answer).toMatchObject({ status: 409, body: { cursorCommitted: false } });
    expect(codesOf(answer)).toEqual(['OFFSET_MOVED']);
    expect(committed()).toEqual([0, 0]);
  });

  test('tells what became of the messages also when the cursor is refused elsewhere', async () => {
    const { company, cursor, message } = await polled();
    const parts = new Map(unpackCursors(cursor, 'broker-a', 'body')).set('broker-b', 'AAAA');
    const body = { consumerId: 'c1', messages: [message('broker-a')], cursor: packCursors(parts) };
    const answer = await company.call('sendBack', { path, headers: {}, body });
    expect(answer).toMatchObject({ status: 200, body: { cursorCommitted: false, results: [{ status: 'OK' }] } });
  });

  test('is answered in the order of the request, and a broker that is away fails its own', async () => {
    const { company, cursor, message } = await polled();
    company.network.set('broker-a', 'DOWN');
    const answer = await sendBack(company, [message('broker-a'), message('broker-b')], { cursor });
    expect(answer).toMatchObject({ status: 207, body: { cursorCommitted: false } });
    expect(codesOf(answer)).toEqual(['SERVICE_NOT_AVAILABLE', undefined]);
  });

  test('again with the same key is answered as before', async () => {
    const { company, message } = await polled();
    const headers = { 'Idempotency-Key': 'k1' };
    const both = [message('broker-a'), message('broker-b')];
    const first = await sendBack(company, both, {}, headers);
    const second = await sendBack(company, both, {}, headers);
    expect(second.body).toEqual(first.body);
    expect([first, second].map((answer) => answer.headers['Idempotency-Replayed'])).toEqual([undefined, 'true']);
  });
});

describe('dead letters', () => {
  /** Two on each broker. */
  async function dead() {
    const company = await Company.of(...BOTH);
    await company.group(group, { maxAttempts: 0 });
    await company.join();
    for (const name of BOTH) await company.send(name, `${name} 1`, `${name} 2`);
    const { messages } = await company.poll();
    const given = messages.map(({ broker, queueOffset }) => ({ topic: 'orders', broker, queueId: 0, queueOffset }));
    await company.call('sendBack', { path, headers: {}, body: { consumerId: 'c1', messages: given } });
    return company;
  }

  const list = async (company: Company, query: object = {}) =>
    (await company.call('listDeadLetters', { path, query: { ...LIST, ...query } })).body as unknown as {
      deadLetters: { body: string; messageId: string; broker: string }[];
      cursor?: string;
      unavailable?: string[];
    };

  test.each([1, 2, 3, 4])('are listed broker after broker, %i at a time', async (limit) => {
    const company = await dead();
    const seen: string[] = [];
    let cursor: string | undefined;
    for (let pages = 0; pages === 0 || cursor !== undefined; pages++) {
      const page = await list(company, { limit, ...(cursor === undefined ? {} : { cursor }) });
      expect(page.deadLetters.length).toBeLessThanOrEqual(limit);
      seen.push(...page.deadLetters.map(({ body }) => body));
      ({ cursor } = page);
      expect(pages).toBeLessThan(5);
    }
    expect(seen).toEqual(['broker-a 1', 'broker-a 2', 'broker-b 1', 'broker-b 2']);
  });

  test('of a broker that is away are named as missing; a foreign cursor is refused', async () => {
    const company = await dead();
    company.network.set('broker-a', 'DOWN');
    expect(await list(company)).toMatchObject({ unavailable: ['broker-a'], deadLetters: [{}, {}] });
    expect(await codeOf(list(company, { cursor: 'AAAA' }))).toBe('CURSOR_INVALID');
    company.network.set('broker-b', 'DOWN');
    expect(await codeOf(list(company))).toBe('SERVICE_NOT_AVAILABLE');
  });

  test('are redriven by id, wherever they are; what nobody has is told so', async () => {
    const company = await dead();
    const { deadLetters } = await list(company);
    const none = 'F'.repeat(32);
    const ids = [deadLetters[3]!.messageId, none, deadLetters[0]!.messageId];
    const redrive = () => company.call('redriveDeadLetters', { path, headers: {}, body: { messageIds: ids } });
    const answer = await redrive();
    expect(answer).toMatchObject({ status: 207, body: { dryRun: false, remaining: 0 } });
    expect(resultsOf(answer).map(({ messageId }) => messageId)).toEqual(ids);
    expect(codesOf(answer)).toEqual([undefined, 'MESSAGE_NOT_FOUND', undefined]);
    expect((await list(company)).deadLetters).toHaveLength(2);
    company.network.set('broker-b', 'DOWN');
    // The silent one may have it.
    expect(codesOf(await redrive())).toEqual([
      'SERVICE_NOT_AVAILABLE',
      'SERVICE_NOT_AVAILABLE',
      'SERVICE_NOT_AVAILABLE',
    ]);
  });

  test('are redriven all at once', async () => {
    const company = await dead();
    const redrive = (body: object) => company.call('redriveDeadLetters', { path, headers: {}, body });
    const looked = await redrive({ all: true, dryRun: true });
    expect(looked.body).toMatchObject({ dryRun: true, remaining: 0 });
    expect(resultsOf(looked)).toHaveLength(4);
    company.network.set('broker-b', 'DOWN');
    const half = await redrive({ all: true });
    expect(half.body).toMatchObject({ unavailable: ['broker-b'] });
    expect(resultsOf(half)).toHaveLength(2);
    company.network.clear();
    await redrive({ all: true });
    expect((await list(company)).deadLetters).toEqual([]);
    expect(bodiesOf(await company.poll())).toEqual(
      ['broker-a 1', 'broker-a 2', 'broker-b 1', 'broker-b 2'].flatMap((x) => [x, x]).sort(),
    );
  });
});

describe('a group that reads several topics', () => {
  /** `own` is on the first broker alone, where the group is at home. */
  async function several() {
    const company = await Company.of(...BOTH);
    await company.on('broker-a').topic('own');
    await company.call('putGroup', { path, body: { topic: 'own', allowMultipleTopics: true } });
    await company.join('c1', group, 'own');
    return company;
  }

  test('gets messages also from brokers that do not have its first topic', async () => {
    const company = await several();
    const { body } = await company.join('c1', group, 'orders');
    expect([(body as Record<string, object[]>)['queues']!.length, body['unavailable']]).toEqual([8, undefined]);
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1');
    const answer = await company.poll();
    expect([bodiesOf(answer), answer.unavailable]).toEqual([['a1', 'b1'], undefined]);
    const { cursor, generation } = answer;
    const commit = { path, body: { consumerId: 'c1', cursor, generation } };
    expect((await company.call('commitOffsets', commit)).status).toBe(200);
    company.network.set('broker-a', 'DOWN');
    const { body: view } = await company.call('getGroup', { path });
    const topics = (view as Record<string, { topic: string }[]>)['subscriptions']!;
    expect(topics.map(({ topic }) => topic)).toEqual(['own', 'orders']);
  });

  test('is one group, also where a further topic is at home', async () => {
    const company = await several();
    const topic = await company.on('broker-b').topic('mail', { brokers: BOTH });
    await company.on('broker-a').rooms.definitions.install(topicDefinition(topic, []));
    expect((await company.join('c1', group, 'mail')).body['unavailable']).toBeUndefined();
    const ids = BOTH.map((broker) => company.on(broker).rooms.groups.get(group).record.id);
    expect(ids[0]).toBe(ids[1]);
  });

  test('takes none that its home does not have', async () => {
    const company = await several();
    await company.on('broker-b').topic('mail');
    expect(await codeOf(company.join('c1', group, 'mail'))).toBe('SUBSCRIPTION_CONFLICT');
  });
});
