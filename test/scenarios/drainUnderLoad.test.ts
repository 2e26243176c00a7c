/**
 * An operator takes a broker out of a cluster under load and brings it back: senders and consumers at the other fronts
 * notice nothing. Only what must keep its place, a messageGroup, is told to wait.
 */
import { TestCluster } from '../support/cluster';
import { eventually, patience } from '../support/patience';

const FRONTS = ['a', 'gw1'];
let cluster: TestCluster;

beforeAll(async () => {
  const flags = { 'route-refresh-ms': '500' };
  cluster = await TestCluster.start({ brokers: ['a', 'b'], nameservers: 1, gateways: 1, flags });
});
afterAll(() => cluster.stop());

const topic = { topic: 'orders' };

class Load {
  /** Calls that did not succeed. */
  readonly failures: string[] = [];
  readonly sent = new Set<string>();
  readonly polled = new Set<string>();
  readonly received = new Set<string>();
  #sending = true;
  #running = true;
  #turns = 0;

  #front() {
    return cluster.client(FRONTS[this.#turns++ % FRONTS.length]!);
  }

  async send(name: string): Promise<void> {
    for (let i = 0; this.#sending; i++) {
      const body = `${name}-${i}`;
      const reply = await this.#front().call('sendMessages', { path: topic, body: { body } });
      if (this.#succeeded(reply)) this.sent.add(body);
    }
  }

  async consume(consumerId: string): Promise<void> {
    const path = { group: 'billing', consumerId };
    let cursor = '';
    while (this.#running) {
      this.#succeeded(await this.#front().call('joinGroup', { path, body: topic }));
      const query = { waitMs: 200, max: 100, cursor, autoCommit: true };
      const reply = await this.#front().call('pollMessages', { path, query });
      if (!this.#succeeded(reply)) continue;
      cursor = reply.body.cursor;
      for (const { body } of reply.body.messages) this.polled.add(body);
    }
  }

  async work(): Promise<void> {
    const path = { group: 'mail' };
    while (this.#running) {
      const reply = await this.#front().call('receiveMessages', { path, body: { max: 50, waitMs: 200 } });
      if (!this.#succeeded(reply) || reply.body.messages.length === 0) continue;
      for (const { body } of reply.body.messages) this.received.add(body);
      const receiptHandles = reply.body.messages.map((message) => message.receiptHandle);
      this.#succeeded(await this.#front().call('ackMessages', { path, body: { receiptHandles } }));
    }
  }

  #succeeded({ status, text }: { status: number; text: string }): boolean {
    // Where a second is too short for an answer, a broker counts as hung now and then, and clients are told to repeat.
    const isSlow = status === 503 && patience(1) > 2;
    if (status !== 200 && !isSlow) this.failures.push(`${status} ${text}`);
    return status === 200;
  }

  stopSending(): void {
    this.#sending = false;
  }

  stop(): void {
    this.#running = false;
  }
}

/** Messages that a broker has taken in since it started. */
async function takenBy(name: string): Promise<number> {
  const { body } = await cluster.client('a').call('listBrokers');
  return body.brokers.find(({ broker }) => broker === name)!.traffic.messagesIn;
}

/** What both groups have still to read of a broker. */
async function leftAt(name: string): Promise<number> {
  const lags = await Promise.all(
    ['billing', 'mail'].map(async (group) => {
      const { body } = await cluster.client('gw1').call('getOffsets', { path: { group } });
      return body.offsets.filter(({ broker }) => broker === name).reduce((sum, { lag }) => sum + lag, 0);
    }),
  );
  return lags[0]! + lags[1]!;
}

const until = (what: string, holds: () => Promise<boolean>) => eventually(holds, what);

test('a broker is drained, stopped and brought back under load', async () => {
  await cluster.client('a').call('createTopic', { body: { name: 'orders', type: 'MIXED', writeQueues: 2 } });
  await cluster.client('a').call('putGroup', { path: { group: 'mail' }, body: topic });
  await cluster.client('a').call('joinGroup', { path: { group: 'billing', consumerId: 'ann' }, body: topic });
  const load = new Load();
  const sending = ['s1', 's2', 's3'].map((name) => load.send(name));
  const consuming = [load.consume('ann'), load.consume('bob'), load.work()];
  await until('both brokers take messages', async () => (await takenBy('a')) > 20 && (await takenBy('b')) > 20);

  await until('listBrokers says how much goes through per second', async () => {
    const { body } = await cluster.client('gw1').call('listBrokers');
    return body.brokers.every(({ rates }) => rates !== undefined && rates.messagesIn > 0 && rates.bytesOut > 0);
  });

  const path = { broker: 'b' };
  const gateway = cluster.client('gw1');
  expect((await gateway.call('setBrokerPermission', { path, body: { permission: 'R' } })).status).toBe(200);
  let before = -1;
  await until('no message goes to it any more', async () => {
    const now = await takenBy('b');
    const still = now === before;
    before = now;
    return still;
  });
  const sentBefore = load.sent.size;
  await until('sends go on', () => Promise.resolve(load.sent.size > sentBefore + 20));
  expect(await takenBy('b')).toBe(before);

  const groups = ['ada', 'ben', 'cleo', 'dan', 'eve', 'fay', 'gus', 'hal'];
  const keptInOrder = await Promise.all(
    groups.map((messageGroup) =>
      gateway.call('sendMessages', { path: topic, body: { body: messageGroup, messageGroup } }),
    ),
  );
  const codes = new Set(keptInOrder.map((reply) => (reply.status === 200 ? 'OK' : reply.problem.code)));
  expect(codes).toEqual(new Set(['OK', 'QUEUE_READ_ONLY']));

  await until('everything on it is consumed', async () => (await leftAt('b')) === 0);
  await cluster.stopBroker('b');
  const sentWithout = load.sent.size;
  await until('sends go on without it', () => Promise.resolve(load.sent.size > sentWithout + 20));
  await cluster.startBroker('b');
  expect((await gateway.call('setBrokerPermission', { path, body: { permission: 'RW' } })).status).toBe(200);
  await until('it takes messages again', async () => (await takenBy('b')) > 20);

  load.stopSending();
  await Promise.all(sending);
  const all = (seen: ReadonlySet<string>) => [...load.sent].every((body) => seen.has(body));
  await until('everything has come', () => Promise.resolve(all(load.polled) && all(load.received)));
  load.stop();
  await Promise.all(consuming);
  expect(load.failures).toEqual([]);
});
