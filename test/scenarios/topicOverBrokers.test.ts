/**
 * Topics, tags and groups over several brokers: what the home of a topic decides the others have learnt when it answers,
 * and those that were away learn it before anybody is sent to them. Calls are made as a front makes them: to the home.
 */
import { DefinitionClient } from '../../api/client/definitionClient';
import { HOP_HEADER } from '../../api/operation';
import type { Http, Reply, RequestParts, SuccessOf } from '../support/http';
import type { OperationId } from '../../api/operation';
import { TestCluster } from '../support/cluster';

let cluster: TestCluster;

afterEach(() => cluster.stop());

/** Asks one broker for what it decides or knows itself. */
function at<Op extends OperationId>(
  name: string,
  operation: Op,
  parts: RequestParts = {},
): Promise<Reply<SuccessOf<Op>>> {
  const client: Http = cluster.client(name);
  return client.call(operation, { ...parts, headers: { [HOP_HEADER]: 'test', ...parts.headers } });
}

const orders = { path: { topic: 'orders' } };
const billing = { path: { group: 'billing' } };

/** The topic orders with two queues on each of the brokers. */
const create = (home: string, brokers: readonly string[], rest: object = {}) =>
  at(home, 'createTopic', { body: { name: 'orders', readQueues: 2, writeQueues: 2, brokers, ...rest } });

/** Brokers that the NameServer knows a topic on. */
const routed = (topic = 'orders'): string[] =>
  cluster.nameservers[0]!.nameserver.routes(undefined, 1000)
    .routes.filter((route) => route.topic === topic)
    .flatMap(({ queues }) => queues.map(({ broker }) => broker));

/** A record without what a broker says of its own. */
const topicAt = async (name: string) => (await at(name, 'getTopic', orders)).body;

describe('a topic over two brokers', () => {
  beforeEach(async () => {
    cluster = await TestCluster.start({ brokers: ['a', 'b'] });
  });

  test('is on both when its creation is answered, in one list of queues, with its home first', async () => {
    const created = await create('b', ['a', 'b']);
    expect([created.status, created.body.results.map(({ broker, status }) => [broker, status])]).toEqual([
      201,
      [
        ['b', 'OK'],
        ['a', 'OK'],
      ],
    ]);
    expect(created.body.topic.partitions.map(({ broker, queueId }) => `${broker}${queueId}`)).toEqual([
      'b0',
      'b1',
      'a0',
      'a1',
    ]);
    expect(routed()).toEqual(['a', 'b']);
    expect(await topicAt('a')).toEqual(await topicAt('b'));
  });

  test('is created once, however often one asks', async () => {
    const { topic } = (await create('a', ['a', 'b'])).body;
    const again = await create('a', ['a', 'b']);
    expect([again.status, again.body.topic]).toEqual([200, topic]);
    expect((await create('a', ['a', 'b'], { type: 'FIFO' })).problem.code).toBe('TOPIC_EXISTS');
    expect((await create('a', ['a', 'nobody'])).problem.code).toBe('BROKER_NOT_FOUND');
    expect((await at('a', 'createTopic', { body: { name: 'mail', brokers: ['b'] } })).problem).toMatchObject({
      code: 'NOT_HOME',
      home: 'b',
    });
  });

  test('changes at its home, and there alone', async () => {
    await create('a', ['a', 'b']);
    const grown = await at('a', 'updateTopic', {
      ...orders,
      body: { readQueues: 3, writeQueues: 3, description: 'more' },
    });
    expect(grown.body.partitions.map(({ broker, queueId }) => `${broker}${queueId}`)).toEqual([
      'a0',
      'a1',
      'b0',
      'b1',
      'a2',
      'b2',
    ]);
    expect(await topicAt('b')).toEqual(grown.body);
    expect((await at('b', 'listQueues', orders)).body.queues).toHaveLength(3);
    const refused = await at('b', 'updateTopic', { ...orders, body: { description: 'less' } });
    expect(refused.problem).toMatchObject({ code: 'NOT_HOME', home: 'a', retryable: true });
    const tag = { path: { topic: 'orders', tag: 'paid' } };
    expect((await at('b', 'putTag', tag)).problem.code).toBe('NOT_HOME');
    await at('a', 'putTag', { ...tag, body: { description: 'Money came' } });
    expect((await at('b', 'listTags', orders)).body.declared).toEqual(
      (await at('a', 'listTags', orders)).body.declared,
    );
    await at('a', 'deleteTag', tag);
    expect((await at('b', 'listTags', orders)).body.declared).toEqual([]);
  });

  test('is not shrunk over unread messages on another broker, unless by force; then they are told of as stranded', async () => {
    await create('a', ['a', 'b']);
    await at('a', 'putGroup', { ...billing, body: { topic: 'orders' } });
    const queue = { broker: 'b', queueId: 1 };
    await at('b', 'sendMessages', { ...orders, body: { messages: [{ body: 'm', queue }] } });
    const fewer = { ...orders, body: { readQueues: 1, writeQueues: 1 } };
    const refused = await cluster.client('b').call('updateTopic', fewer);
    expect(refused.problem).toMatchObject({
      status: 409,
      code: 'IN_USE',
      holdings: [{ kind: 'UNREAD', broker: 'b', topic: 'orders', group: 'billing', messages: 1 }],
    });
    await cluster.client('b').call('updateTopic', { ...fewer, query: { force: true } });
    const { body } = await cluster.client('a').call('getOffsets', billing);
    expect(body).toMatchObject({ lag: 0, stranded: 1 });
    await cluster.client('a').call('updateTopic', { ...orders, body: { readQueues: 2, writeQueues: 2 } });
    expect((await cluster.client('a').call('getOffsets', billing)).body).toMatchObject({ lag: 1 });
  });

  test('is not shrunk while a broker that may have unread messages is away', async () => {
    await create('a', ['a', 'b']);
    await cluster.stopBroker('b');
    const fewer = { ...orders, body: { readQueues: 1, writeQueues: 1 } };
    expect((await at('a', 'updateTopic', fewer)).problem).toMatchObject({
      code: 'SERVICE_NOT_AVAILABLE',
      detail: expect.stringContaining('broker b is away'),
    });
    expect((await at('a', 'updateTopic', { ...fewer, query: { force: true } })).body).toMatchObject({
      readQueues: 1,
      unavailable: ['b'],
    });
  });

  test('is deleted at any of its brokers, with the groups that read it', async () => {
    await create('a', ['a', 'b']);
    await at('a', 'putGroup', { ...billing, body: { topic: 'orders' } });
    expect((await at('b', 'deleteTopic', orders)).problem.code).toBe('IN_USE');
    expect((await at('b', 'deleteTopic', { ...orders, query: { force: true } })).status).toBe(204);
    for (const name of ['a', 'b']) {
      expect((await at(name, 'getTopic', orders)).problem.code).toBe('TOPIC_NOT_FOUND');
      expect((await at(name, 'getGroup', billing)).problem.code).toBe('GROUP_NOT_FOUND');
    }
    expect(routed()).toEqual([]);
  });
});

describe('a group over two brokers', () => {
  beforeEach(async () => {
    cluster = await TestCluster.start({ brokers: ['a', 'b'] });
    await create('a', ['a', 'b']);
  });

  const join = (name: string, consumerId: string) =>
    at(name, 'joinGroup', { path: { group: 'billing', consumerId }, body: { topic: 'orders' } });

  test('is made and changed at the home of its topic, and known at both', async () => {
    expect((await at('b', 'putGroup', { ...billing, body: { topic: 'orders' } })).problem.code).toBe('NOT_HOME');
    await at('a', 'putGroup', { ...billing, body: { topic: 'orders', consumeFrom: 'LATEST' } });
    await at('a', 'updateGroup', { ...billing, body: { maxAttempts: 3 } });
    const group = (await at('a', 'getGroup', billing)).body;
    expect([(await at('b', 'getGroup', billing)).body, group.maxAttempts]).toEqual([group, 3]);
    expect((await at('b', 'deleteGroup', billing)).status).toBe(204);
    expect((await at('a', 'getGroup', billing)).problem.code).toBe('GROUP_NOT_FOUND');
  });

  test('that a join creates is known at both before the join is answered; elsewhere than at home nobody creates it', async () => {
    expect((await join('b', 'c1')).problem.code).toBe('NOT_HOME');
    expect((await join('a', 'c1')).status).toBe(200);
    expect((await at('b', 'getGroup', billing)).body).toEqual((await at('a', 'getGroup', billing)).body);
    expect((await join('b', 'c1')).status).toBe(200);
  });

  test('that another broker could not be told of is asked for at its home when somebody joins, and so are its changes', async () => {
    const deaf = jest.spyOn(DefinitionClient.prototype, 'install').mockResolvedValue([]);
    await at('a', 'putGroup', { ...billing, body: { topic: 'orders' } });
    expect((await at('b', 'getGroup', billing)).problem.code).toBe('GROUP_NOT_FOUND');
    expect((await join('b', 'c1')).status).toBe(200);
    const filter = { type: 'TAG', expression: 'paid' };
    await at('a', 'updateGroup', { ...billing, body: { filter } });
    const joined = await at('b', 'joinGroup', {
      path: { group: 'billing', consumerId: 'c2' },
      body: { topic: 'orders', filter },
    });
    expect([joined.status, (await at('b', 'getGroup', billing)).body.filter]).toEqual([200, filter]);
    deaf.mockRestore();
    await cluster.stopBroker('a');
    const other = await at('b', 'joinGroup', {
      path: { group: 'billing', consumerId: 'c3' },
      body: { topic: 'orders', filter: { type: 'TAG', expression: 'open' } },
    });
    expect(other.problem).toMatchObject({
      code: 'SERVICE_NOT_AVAILABLE',
      detail: expect.stringContaining('group billing is changed at its home, broker a, which is away'),
    });
  });

  test('that was made while a broker was away is known to it when it is back', async () => {
    await cluster.stopBroker('b');
    const group = (await at('a', 'putGroup', { ...billing, body: { topic: 'orders' } })).body;
    expect(group.unavailable).toEqual(['b']);
    await cluster.startBroker('b');
    expect((await at('b', 'getGroup', billing)).body.id).toBe(group.id);
  });
});

describe('a broker that was away', () => {
  beforeEach(async () => {
    cluster = await TestCluster.start({ brokers: ['a', 'b'] });
    await create('a', ['a', 'b']);
    await at('a', 'putGroup', { ...billing, body: { topic: 'orders' } });
    await cluster.stopBroker('b');
  });

  test('is named, and learns of a deletion before it registers', async () => {
    const gone = await at('a', 'deleteTopic', { ...orders, query: { force: true } });
    expect([gone.status, gone.body.results.map(({ broker, status }) => [broker, status])]).toEqual([
      207,
      [
        ['a', 'OK'],
        ['b', 'FAILED'],
      ],
    ]);
    const { nameserver } = cluster.nameservers[0]!;
    const register = jest.spyOn(nameserver, 'register');
    await cluster.startBroker('b');
    const told = register.mock.calls
      .filter(([, broker]) => broker === 'b')
      .flatMap(([, , , { topics }]) => topics ?? []);
    expect(told.map(({ name }) => name)).toEqual([]);
    expect((await at('b', 'getTopic', orders)).problem.code).toBe('TOPIC_NOT_FOUND');
    expect((await at('b', 'getGroup', billing)).problem.code).toBe('GROUP_NOT_FOUND');
  });

  test('learns of another topic under the same name', async () => {
    await at('a', 'deleteTopic', { ...orders, query: { force: true } });
    const again = await create('a', ['a']);
    expect(again.status).toBe(201);
    const spread = await at('a', 'updateTopic', { ...orders, body: { readQueues: 3 } });
    expect(spread.status).toBe(200);
    await cluster.startBroker('b');
    expect((await at('b', 'getTopic', orders)).problem.code).toBe('TOPIC_NOT_FOUND');
    expect(routed()).toEqual(['a']);
  });

  test('learns of changes, of tags and of groups', async () => {
    await at('a', 'updateTopic', { ...orders, body: { readQueues: 4 } });
    await at('a', 'putTag', { path: { topic: 'orders', tag: 'paid' } });
    await at('a', 'updateGroup', { ...billing, body: { maxAttempts: 3 } });
    await at('a', 'putProducerGroup', { path: { producerGroup: 'banks' }, body: { maxChecks: 2 } });
    await cluster.startBroker('b');
    const known = async (name: string) => [
      await topicAt(name),
      (await at(name, 'listTags', orders)).body.declared,
      (await at(name, 'getGroup', billing)).body,
      (await at(name, 'getProducerGroup', { path: { producerGroup: 'banks' } })).body,
    ];
    expect(await known('b')).toEqual(await known('a'));
    expect((await at('b', 'listQueues', orders)).body.queues).toHaveLength(4);
  });
});

test('a topic is spread to a broker that is new, and its groups follow', async () => {
  cluster = await TestCluster.start({ brokers: ['a', 'b'] });
  await create('a', ['a', 'b']);
  await at('a', 'putGroup', { ...billing, body: { topic: 'orders' } });
  await cluster.addBroker('c');
  const spread = await at('a', 'updateTopic', { ...orders, body: { brokers: ['a', 'b', 'c'] } });
  expect(spread.body.partitions.map(({ broker, queueId }) => `${broker}${queueId}`)).toEqual([
    'a0',
    'a1',
    'b0',
    'b1',
    'c0',
    'c1',
  ]);
  expect(routed()).toEqual(['a', 'b', 'c']);
  for (const name of ['b', 'c']) {
    expect(await topicAt(name)).toEqual(await topicAt('a'));
    expect((await at(name, 'getGroup', billing)).body).toEqual((await at('a', 'getGroup', billing)).body);
  }
  const nobody = await at('a', 'updateTopic', { ...orders, body: { brokers: ['a', 'b', 'c', 'nobody'] } });
  expect(nobody.problem.code).toBe('BROKER_NOT_FOUND');
});

test('producer groups are known everywhere', async () => {
  cluster = await TestCluster.start({ brokers: ['a', 'b'] });
  const banks = { path: { producerGroup: 'banks' } };
  await at('b', 'putProducerGroup', { ...banks, body: { maxChecks: 2 } });
  await at('a', 'putProducerGroup', { ...banks, body: { maxChecks: 3 } });
  const group = (await at('a', 'getProducerGroup', banks)).body;
  expect([(await at('b', 'getProducerGroup', banks)).body, group.maxChecks]).toEqual([group, 3]);
  expect((await at('b', 'deleteProducerGroup', banks)).status).toBe(204);
  for (const name of ['a', 'b']) {
    expect((await at(name, 'getProducerGroup', banks)).problem.code).toBe('PRODUCER_GROUP_NOT_FOUND');
    expect((await at(name, 'listProducerGroups')).body).toEqual({ producerGroups: [] });
  }
});
