/**
 * Order per messageGroup holds from concurrent senders, in the order in which they are acknowledged, through redelivery
 * and restart; over HTTP, by the program as users start it.
 */
import type { Http } from '../support/http';
import { Stage, type Program } from './program';

const stage = new Stage();
afterAll(() => stage.clear());

const ACCOUNTS = ['ada', 'ben', 'cleo'];
const SENDERS = 6;
/** Each sender's messages to each account. */
const MESSAGES = 5;

interface Received {
  readonly body: string;
  readonly messageGroup?: string;
  readonly receiptHandle: string;
}

/** A broker on one folder, whatever process it is. */
class Broker {
  readonly #data: string;
  #program!: Program;
  client!: Http;

  constructor(data: string) {
    this.#data = data;
  }

  async start(): Promise<this> {
    this.#program = await stage.start('standalone', '--port', '0', '--nameserver-port', '0', '--data', this.#data);
    this.client = stage.client(await this.#program.url());
    return this;
  }

  async restart(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.#program.kill(signal);
    await this.#program.exited;
    await this.start();
  }

  async send(body: string, messageGroup: string): Promise<void> {
    await this.client.call('sendMessages', { path: { topic: 'bookings' }, body: { body, messageGroup } });
  }

  async receive(body: object): Promise<Received[]> {
    return (await this.client.call('receiveMessages', { path: { group: 'ledger' }, body })).body.messages;
  }
}

/** Whose messages stand where, by messageGroup. */
const byAccount = (messages: readonly { body: string; messageGroup?: string }[]) =>
  Object.fromEntries(
    ACCOUNTS.map((account) => [
      account,
      messages.filter(({ messageGroup }) => messageGroup === account).map(({ body }) => body),
    ]),
  );

let broker: Broker;
/** When each message was sent and acknowledged; the numbers of what happened, in order. */
const times = new Map<string, { sent: number; acknowledged: number }>();
/** What everybody has to see. */
let order: Record<string, string[]>;

beforeAll(async () => {
  broker = await new Broker(await stage.path('data')).start();
  await broker.client.call('createTopic', { body: { name: 'bookings', type: 'FIFO', readQueues: 2, writeQueues: 2 } });
  const settings = { topic: 'bookings', ordered: true, retryDelaysMs: [0, 20] };
  await broker.client.call('putGroup', { path: { group: 'ledger' }, body: settings });
});

test('a FIFO topic takes no message without a messageGroup', async () => {
  const { problem } = await broker.client.call('sendMessages', { path: { topic: 'bookings' }, body: { body: 'one' } });
  expect([problem.status, problem.code]).toEqual([422, 'MESSAGE_TYPE_MISMATCH']);
});

test('order per messageGroup holds from concurrent senders: what is acknowledged before another is sent is before it', async () => {
  let now = 0;
  const sender = async (name: string) => {
    for (let i = 0; i < MESSAGES; i++)
      for (const account of ACCOUNTS) {
        const body = `${name}-${i} for ${account}`;
        const sent = now++;
        await broker.send(body, account);
        times.set(body, { sent, acknowledged: now++ });
      }
  };
  await Promise.all(Array.from({ length: SENDERS }, (_, i) => sender(`sender-${i}`)));
  const path = { group: 'auditors', consumerId: 'auditor' };
  await broker.client.call('joinGroup', { path, body: { topic: 'bookings' } });
  const { messages } = (await broker.client.call('pollMessages', { path, query: { max: 1000 } })).body;
  order = byAccount(messages);
  for (const account of ACCOUNTS) {
    const bodies = order[account]!;
    expect(bodies).toHaveLength(SENDERS * MESSAGES);
    bodies.forEach((body, i) => {
      const overtaken = bodies.slice(i + 1).filter((later) => times.get(later)!.acknowledged < times.get(body)!.sent);
      expect(overtaken).toEqual([]);
    });
  }
});

test('… through redelivery and restart, under retries: each comes when all before it are done', async () => {
  const delivered: Received[] = [];
  const done: Record<string, string[]> = byAccount([]);
  const tried = new Set<string>();
  const total = SENDERS * MESSAGES * ACCOUNTS.length;
  const restarts = new Map<number, 'SIGKILL' | 'SIGTERM'>([
    [total / 4, 'SIGKILL'],
    [total / 2, 'SIGTERM'],
  ]);
  for (let finished = 0; finished < total;) {
    // Two workers at a time.
    const answers = await Promise.all([1, 2].map(() => broker.receive({ max: 2, waitMs: 100, invisibleMs: 2000 })));
    for (const message of answers.flat()) {
      const { body, messageGroup = '', receiptHandle } = message;
      // It is the next one of its messageGroup, whether it comes for the first time or again.
      expect(body).toBe(order[messageGroup]![done[messageGroup]!.length]);
      const isNew = !tried.has(body);
      tried.add(body);
      if (isNew) delivered.push(message);
      if (isNew && tried.size % 3 === 0) {
        const receipts = [{ receiptHandle }];
        await broker.client.call('nackMessages', { path: { group: 'ledger' }, body: { receipts } });
      } else if (isNew && tried.size % 40 === 0) {
        // Its worker dies: the lease runs out.
      } else {
        const acks = { receiptHandles: [receiptHandle] };
        const { status } = await broker.client.call('ackMessages', { path: { group: 'ledger' }, body: acks });
        if (status === 409) continue; // on a slow machine it took too long, and comes again
        done[messageGroup]!.push(body);
        finished++;
      }
    }
    for (const [at, signal] of restarts) {
      if (finished < at) continue;
      restarts.delete(at);
      await broker.restart(signal);
    }
  }
  expect(done).toEqual(order);
  expect(byAccount(delivered)).toEqual(order);
  expect(restarts.size).toBe(0);
});

test('… and for a consumer of assigned queues that begins anew after each restart', async () => {
  const path = { group: 'auditors', consumerId: 'auditor' };
  const read: Received[] = [];
  for (let cursor = ''; read.length < SENDERS * MESSAGES * ACCOUNTS.length;) {
    if (cursor === '') await broker.client.call('joinGroup', { path, body: { topic: 'bookings' } });
    const query = { max: 20, autoCommit: true, cursor };
    const page = (await broker.client.call('pollMessages', { path, query })).body;
    read.push(...(page.messages as unknown as Received[]));
    ({ cursor } = page);
    if (read.length !== 40) continue;
    // What it has it commits, and then everything that it knows is gone.
    const commit = { consumerId: 'auditor', cursor };
    await broker.client.call('commitOffsets', { path: { group: 'auditors' }, body: commit });
    await broker.restart('SIGKILL');
    cursor = '';
  }
  expect(byAccount(read)).toEqual(order);
});
