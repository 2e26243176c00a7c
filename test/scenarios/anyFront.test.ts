/**
 * Any front serves any call: two brokers and a gateway, and each call goes to the next of the three. What one front
 * began another goes on with, also when fronts end and start again in between.
 */
import { FRONT_TAGS } from '../../api/gatewayNode';
import type { OperationId } from '../../api/operation';
import { VERSION } from '../../api/version';
import { TestCluster } from '../support/cluster';
import type { Reply, RequestParts, SuccessOf } from '../support/http';
import { contract } from '../support/node';
import { eventually } from '../support/patience';

const FRONTS = ['a', 'gw1', 'b'];
const called = new Set<OperationId>();
let cluster: TestCluster;
let turns = 0;

beforeAll(async () => {
  cluster = await TestCluster.start({ brokers: ['a', 'b'], nameservers: 2, gateways: 1 });
});
afterAll(() => cluster.stop());

/** The next front in turn. */
function call<Op extends OperationId>(operation: Op, parts: RequestParts = {}): Promise<Reply<SuccessOf<Op>>> {
  called.add(operation);
  return cluster.client(FRONTS[turns++ % FRONTS.length]!).call(operation, parts);
}

/** The same at each of the three. */
const everywhere = <Op extends OperationId>(operation: Op, parts: RequestParts = {}) =>
  Promise.all(FRONTS.map(() => call(operation, parts)));

/** Asks one front after the other until `enough`. */
async function until<T>(ask: () => Promise<T>, enough: (answer: T) => boolean): Promise<T> {
  const found = await eventually(async () => {
    const answer = await ask();
    return enough(answer) ? [answer] : undefined;
  }, enough.toString());
  return found![0]!;
}

async function restartFronts(): Promise<void> {
  await cluster.stopGateway('gw1');
  await cluster.startGateway('gw1');
  await cluster.stopBroker('b');
  await cluster.startBroker('b');
}

const orders = { topic: 'orders' };
const bodies = Array.from({ length: 12 }, (_, i) => `order ${i}`);

test('a topic is made, described, changed and found over all brokers', async () => {
  const made = await call('createTopic', { body: { name: 'orders', writeQueues: 2, description: 'first' } });
  expect([made.status, made.body.results.map(({ broker, status }) => [broker, status]).sort()]).toEqual([
    201,
    [
      ['a', 'OK'],
      ['b', 'OK'],
    ],
  ]);
  for (const reply of await everywhere('createTopic', {
    body: { name: 'orders', writeQueues: 2, description: 'first' },
  }))
    expect(reply.status).toBe(200);
  await call('updateTopic', { path: orders, body: { description: 'second' } });
  for (const { body } of await everywhere('getTopic', { path: orders })) expect(body.description).toBe('second');
  for (const { body } of await everywhere('listTopics'))
    expect(body.topics.map(({ name }) => name)).toEqual(['orders']);
  for (const { body } of await everywhere('getTopicRoute', { path: orders }))
    expect(body.brokers.map(({ broker }) => broker)).toEqual(['a', 'b']);
  for (const { body } of await everywhere('listQueues', { path: orders }))
    expect(body.queues.map(({ broker, queueId }) => `${broker}${queueId}`).sort()).toEqual(['a0', 'a1', 'b0', 'b1']);
  await call('putTag', { path: { ...orders, tag: 'paid' }, body: { description: 'with money' } });
  for (const { body } of await everywhere('listTags', { path: orders }))
    expect(body.declared).toMatchObject([{ tag: 'paid', description: 'with money' }]);
  await call('deleteTag', { path: { ...orders, tag: 'paid' } });
  for (const { body } of await everywhere('listTags', { path: orders })) expect(body.declared).toEqual([]);
});

test('messages are spread over the brokers, and each is found from everywhere', async () => {
  const placed = [];
  for (const body of bodies) {
    const reply = await call('sendMessages', { path: orders, body: { body, keys: ['k'], tag: 'paid' } });
    placed.push(reply.body.results[0]!);
  }
  expect(new Set(placed.map(({ broker }) => broker))).toEqual(new Set(['a', 'b']));
  await restartFronts();
  const { messageId, offsetMessageId, broker, queueId, queueOffset } = placed[0]!;
  for (const id of [messageId!, offsetMessageId!])
    for (const { body } of await everywhere('getMessage', { path: { ...orders, messageId: id } }))
      expect(body).toMatchObject({ body: 'order 0', broker, queueId, queueOffset });
  for (const { body } of await everywhere('getMessageTrace', { path: { ...orders, messageId: messageId! } }))
    expect(body).toMatchObject({ broker, queueId });
  for (const { body } of await everywhere('readQueue', {
    path: { ...orders, broker: broker!, queueId: queueId! },
    query: { offset: queueOffset!, max: 1 },
  }))
    expect(body.messages).toMatchObject([{ body: 'order 0' }]);
  for (const { body } of await everywhere('searchOffset', {
    path: { ...orders, broker: broker!, queueId: queueId! },
    query: { at: 'EARLIEST' },
  }))
    expect(body.offset).toBe(0);
  for (const { body } of await everywhere('testFilter', {
    path: orders,
    body: { filter: { type: 'TAG', expression: 'paid' }, last: 100 },
  }))
    expect(body).toMatchObject({ examined: 12, matched: 12 });
  const found: string[] = [];
  let cursor: string | undefined;
  do {
    const { body } = await call('queryMessages', { path: orders, query: { key: 'k', limit: 5, cursor } });
    found.push(...body.messages.map((message) => message.body));
    cursor = body.cursor;
  } while (cursor !== undefined);
  expect(found.sort()).toEqual([...bodies].sort());
});

test('a topic is purged on all of its brokers', async () => {
  const path = { topic: 'purged' };
  await call('createTopic', { body: { name: 'purged', readQueues: 2, writeQueues: 2 } });
  for (let i = 0; i < 8; i++) await call('sendMessages', { path, body: { body: `m${i}` } });
  for (const { body } of await everywhere('purgeTopic', { path, body: { all: true, dryRun: true } }))
    expect([body.messages, body.results.length]).toEqual([8, 4]);
  expect((await call('purgeTopic', { path, body: { all: true } })).body.messages).toBe(8);
  for (const { body } of await everywhere('queryMessages', { path })) expect(body.messages).toEqual([]);
});

test('a send with a key is stored once, wherever it is repeated', async () => {
  const send = () =>
    call('sendMessages', { path: orders, body: { body: 'once' }, headers: { 'Idempotency-Key': 'order-1' } });
  const first = await send();
  await restartFronts();
  for (let i = 0; i < 3; i++) {
    const again = await send();
    expect([again.headers['idempotency-replayed'], again.body]).toEqual(['true', first.body]);
  }
});

test('members join at one front, poll at another and commit at a third', async () => {
  const group = { group: 'billing' };
  await call('putGroup', { path: group, body: { ...orders, retryDelaysMs: [1000] } });
  for (const { body } of await everywhere('getGroup', { path: group })) expect(body.topic).toBe('orders');
  for (const { body } of await everywhere('listGroups'))
    expect(body.groups.map(({ name }) => name)).toEqual(['billing']);
  await call('updateGroup', { path: group, body: { description: 'who bills' } });
  for (const { body } of await everywhere('getGroup', { path: group })) expect(body.description).toBe('who bills');

  const path = { ...group, consumerId: 'ann' };
  const joined = await call('joinGroup', { path, body: orders });
  expect(joined.body.queues.filter(({ topic }) => topic === 'orders')).toHaveLength(4);
  for (const { body } of await everywhere('listConsumers', { path: group }))
    expect(body.consumers).toMatchObject([{ consumerId: 'ann' }]);

  const got: { body: string; topic: string; broker: string; queueId: number; queueOffset: number }[] = [];
  let cursor = '';
  await until(
    async () => {
      const { body } = await call('pollMessages', { path, query: { waitMs: 1000, max: 4, cursor } });
      got.push(...body.messages);
      cursor = body.cursor;
      return got;
    },
    ({ length }) => length >= 13,
  );
  expect(got.map(({ body }) => body).sort()).toEqual([...bodies, 'once'].sort());

  const own = joined.body.queues.filter((queue) => queue.topic === 'orders');
  const offsets = own.map((queue) => ({ ...queue, nextOffset: 0 }));
  for (const reply of await everywhere('seekConsumer', { path, body: { cursor, offsets } })) {
    expect(reply.status).toBe(200);
    const { body } = await call('pollMessages', { path, query: { waitMs: 1000, max: 1, cursor: reply.body.cursor } });
    expect(body.messages[0]!.queueOffset).toBe(0);
  }
  const elsewhere = await call('seekConsumer', {
    path: { ...path, consumerId: 'nobody' },
    body: { offsets: [{ ...own[0]!, nextOffset: 0 }] },
  });
  expect([elsewhere.status, elsewhere.problem?.code]).toEqual([409, 'NOT_JOINED']);

  const { topic, broker, queueId, queueOffset } = got[0]!;
  const back = await call('sendBack', {
    path: group,
    body: { consumerId: 'ann', messages: [{ topic, broker, queueId, queueOffset, delayMs: 0 }], cursor },
  });
  expect([back.status, back.body]).toMatchObject([200, { cursorCommitted: true }]);
  await until(
    async () => {
      const { body } = await call('pollMessages', { path, query: { waitMs: 1000, cursor } });
      cursor = body.cursor;
      return body.messages;
    },
    (messages) => messages.some((message) => message.body === got[0]!.body && message.attempt === 2),
  );
  const committed = await call('commitOffsets', { path: group, body: { consumerId: 'ann', cursor } });
  expect(committed.status).toBe(200);
  for (const { body } of await everywhere('getOffsets', { path: group })) expect(body.lag).toBe(0);

  await call('resetOffsets', { path: group, body: { to: 'EARLIEST' } });
  expect((await call('getOffsets', { path: group })).body.lag).toBeGreaterThanOrEqual(13);
  await call('leaveGroup', { path });
  for (const { body } of await everywhere('listConsumers', { path: group })) expect(body.consumers).toEqual([]);
  expect((await call('deleteGroup', { path: group })).status).toBe(204);
  for (const reply of await everywhere('getGroup', { path: group })) expect(reply.status).toBe(404);
});

test('messages are received at one front and acknowledged at another', async () => {
  const group = { group: 'mail' };
  await call('putGroup', { path: group, body: { ...orders, maxAttempts: 1, retryDelaysMs: [0] } });
  const done = new Set<string>();
  let extended = false;
  await until(
    async () => {
      const { body } = await call('receiveMessages', { path: group, body: { max: 5, waitMs: 1000 } });
      const handles = [];
      for (const message of body.messages) {
        let handle = message.receiptHandle;
        if (!extended) {
          const more = await call('extendReceipts', {
            path: group,
            body: { receipts: [{ receiptHandle: handle, invisibleMs: 60_000 }] },
          });
          handle = more.body.results[0]!.receiptHandle!;
          extended = true;
        }
        if (message.body === 'order 3' || message.body === 'order 4')
          await call('nackMessages', { path: group, body: { receipts: [{ receiptHandle: handle, delayMs: 0 }] } });
        else handles.push(handle);
        done.add(message.body);
      }
      if (handles.length > 0)
        expect((await call('ackMessages', { path: group, body: { receiptHandles: handles } })).status).toBe(200);
      return call('listDeadLetters', { path: group });
    },
    ({ body }) => body.deadLetters.length === 2 && done.size === 13,
  );
  const idOf = new Map<string, string>();
  for (const { body } of await everywhere('listDeadLetters', { path: group })) {
    for (const letter of body.deadLetters) idOf.set(letter.body, letter.messageId);
    expect([...idOf.keys()].sort()).toEqual(['order 3', 'order 4']);
  }
  const letter4 = { ...group, messageId: idOf.get('order 4')! };
  expect((await call('deleteDeadLetter', { path: letter4 })).status).toBe(204);
  for (const { status } of await everywhere('getDeadLetter', { path: letter4 })) expect(status).toBe(404);
  const messageId = idOf.get('order 3')!;
  for (const { body } of await everywhere('getDeadLetter', { path: { ...group, messageId } }))
    expect(body).toMatchObject({ body: 'order 3' });
  for (const { bytes } of await everywhere('exportDeadLetter', { path: { ...group, messageId } }))
    expect(bytes.toString()).toBe('order 3');
  const redriven = await call('redriveDeadLetters', { path: group, body: { all: true } });
  expect([redriven.status, redriven.body.results]).toMatchObject([200, [{ status: 'OK' }]]);
  const again = await until(
    async () => (await call('receiveMessages', { path: group, body: { max: 5, waitMs: 1000 } })).body.messages,
    ({ length }) => length > 0,
  );
  expect(again).toMatchObject([{ body: 'order 3' }]);
});

test('transactions are prepared, asked about and ended anywhere', async () => {
  const transfers = { topic: 'transfers' };
  const producers = { producerGroup: 'banks' };
  await call('createTopic', { body: { name: 'transfers', type: 'TRANSACTION' } });
  await call('putProducerGroup', { path: producers, body: { checkAfterMs: 1000 } });
  for (const { body } of await everywhere('getProducerGroup', { path: producers }))
    expect(body.checkAfterMs).toBe(1000);
  for (const { body } of await everywhere('listProducerGroups'))
    expect(body.producerGroups.map(({ producerGroup }) => producerGroup)).toEqual(['banks']);
  await call('updateProducerGroup', { path: producers, body: { maxChecks: 20 } });
  const prepare = async (body: string) =>
    (await call('prepareTransaction', { path: transfers, body: { ...producers, message: { body } } })).body
      .transactionId;
  const ids = [await prepare('one'), await prepare('two'), await prepare('three'), await prepare('four')];
  for (const { body } of await everywhere('listTransactions', { query: { topic: 'transfers' } }))
    expect(body.transactions.map(({ transactionId }) => transactionId).sort()).toEqual([...ids].sort());
  const checked = new Set<string>();
  await until(
    async () => {
      const { body } = await call('pollTransactionChecks', { path: producers, query: { waitMs: 3000 } });
      for (const { transactionId } of body.checks) checked.add(transactionId);
      return checked;
    },
    ({ size }) => size === 4,
  );
  for (const { problem } of await everywhere('deleteProducerGroup', { path: producers }))
    expect([problem.code, (problem['transactionIds'] as string[]).length]).toEqual(['IN_USE', 4]);
  await call('endTransaction', { path: { transactionId: ids[0]! }, body: { resolution: 'COMMIT' } });
  const ended = await call('endTransactions', {
    body: { resolutions: ids.slice(1).map((transactionId) => ({ transactionId, resolution: 'COMMIT' })) },
  });
  expect(ended.status).toBe(200);
  await restartFronts();
  for (const transactionId of ids)
    for (const { body } of await everywhere('getTransaction', { path: { transactionId } }))
      expect(body.state).toBe('COMMITTED');
  expect((await call('deleteProducerGroup', { path: producers })).status).toBe(204);
  for (const { status } of await everywhere('getProducerGroup', { path: producers })) expect(status).toBe(404);
});

test('scheduled messages are listed and recalled from anywhere', async () => {
  const reminders = { topic: 'reminders' };
  await call('createTopic', { body: { name: 'reminders', type: 'DELAY' } });
  const ids: string[] = [];
  for (let i = 0; i < 4; i++) {
    const { body } = await call('sendMessages', { path: reminders, body: { body: `${i}`, delayMs: 3_600_000 } });
    ids.push(body.results[0]!.messageId!);
  }
  for (const { body } of await everywhere('listScheduled', { path: reminders }))
    expect(body.scheduled.map(({ messageId }) => messageId).sort()).toEqual([...ids].sort());
  for (const messageId of ids)
    expect((await call('recallScheduled', { path: { ...reminders, messageId } })).status).toBe(204);
  for (const { body } of await everywhere('listScheduled', { path: reminders })) expect(body.scheduled).toEqual([]);
});

test('operators see and change brokers from anywhere', async () => {
  for (const { body } of await everywhere('getCluster')) {
    expect(body.brokers.map(({ broker }) => broker)).toEqual(['a', 'b']);
    expect(body.nameservers).toHaveLength(2);
    for (const { lastHeartbeatTimestamp, role, version } of body.brokers)
      expect([lastHeartbeatTimestamp! > 0, role, version]).toEqual([true, 'MASTER', VERSION]);
  }
  await call('setBrokerPermission', { path: { broker: 'b' }, body: { permission: 'R' } });
  for (const { body } of await everywhere('listBrokers'))
    expect(body.brokers.map(({ broker, permission }) => [broker, permission])).toEqual([
      ['a', 'RW'],
      ['b', 'R'],
    ]);
  for (let i = 0; i < 6; i++) {
    const { body } = await call('sendMessages', { path: orders, body: { body: 'elsewhere' } });
    expect(body.results[0]!.broker).toBe('a');
  }
  for (const { body } of await everywhere('removeBroker', { path: { broker: 'b' }, query: { dryRun: true } }))
    expect([body.reachable, body.permission, body.safe]).toEqual([true, 'R', body.holdings.length === 0]);
  await call('setBrokerPermission', { path: { broker: 'b' }, body: { permission: 'RW' } });
});

test('a topic goes everywhere', async () => {
  const gone = await call('deleteTopic', { path: orders, query: { force: true } });
  expect(gone.status).toBe(204);
  for (const reply of await everywhere('getTopic', { path: orders })) expect(reply.status).toBe(404);
});

test('no operation was left out', () => {
  const all = contract.of(FRONT_TAGS).filter(({ tags }) => !tags.includes('Meta') && !tags.includes('Health'));
  expect(all.map(({ id }) => id).filter((id) => !called.has(id as OperationId))).toEqual([]);
});
