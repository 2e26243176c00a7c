/**
 * A broker is stopped and started again: what was is still so. And when it is not, because the disk has less than was
 * acknowledged, the broker does not start until an operator has said that it may.
 */
import { cpSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { Children, KilledProcessDisk, type Exit, type GantryProcess } from '../support/child';

// Several starts of a process each, on machines that have other things to do, too.
const disk = new KilledProcessDisk();
const children = new Children();
let data: string;

beforeEach(async () => {
  data = await disk.prepare();
});
afterEach(async () => {
  await children.killAll();
  await disk.remove();
});

const start = (...flags: string[]) => children.start({ data, flags });
const refused = (...flags: string[]) => children.startRefused({ data, flags });

interface Sent {
  readonly queueId: number;
  readonly queueOffset: number;
  readonly messageId: string;
  readonly offsetMessageId: string;
}

/** Sends bodies to one queue, in one request or one by one, and answers where they lie. */
async function send(child: GantryProcess, topic: string, bodies: readonly string[], queueId = 0): Promise<Sent[]> {
  const messages = bodies.map((body) => ({ body, queue: { broker: 'broker-a', queueId } }));
  const { results } = await child.ask('POST', `/v1/topics/${topic}/messages`, { messages });
  return results as Sent[];
}

const sendEach = async (child: GantryProcess, topic: string, bodies: readonly string[]): Promise<Sent[]> => {
  const sent: Sent[] = [];
  for (const body of bodies) sent.push(...(await send(child, topic, [body])));
  return sent;
};

const numbered = (name: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${name}-${i + 1}`);

async function readQueue(child: GantryProcess, topic: string, queueId = 0): Promise<string[]> {
  const bodies: string[] = [];
  for (let offset = 0; ;) {
    const path = `/v1/topics/${topic}/queues/broker-a/${queueId}/messages?max=1000&offset=${offset}`;
    const { messages, nextOffset, maxOffset } = await child.ask('GET', path);
    bodies.push(...(messages as { body: string }[]).map(({ body }) => body));
    if (nextOffset >= maxOffset) return bodies;
    offset = nextOffset;
  }
}

/** The one broker, as GET /v1/brokers shows it. */
async function brokerOf(child: GantryProcess) {
  const { brokers } = (await child.ask('GET', '/v1/brokers')) as {
    brokers: { epoch: number; journal: { head: number; end: number }; lostRanges?: { from: number; to: number }[] }[];
  };
  return brokers[0]!;
}

/** The number in `--accept-data-loss=<index>` as the refusal names it. */
function indexNamedBy({ code, stderr }: Exit): number {
  expect(code).toBe(69);
  const [, index] = /--accept-data-loss=(\d+)/.exec(stderr) ?? [];
  expect(stderr).toMatch(/--accept-data-loss=\d+/);
  return Number(index);
}

describe('a clean stop and a start', () => {
  /** Everything that a client can ask for and that has nothing to do with the process that answers. */
  /** Groups without the messages in flight: after a restart all that a member may have been handed counts. */
  const durable = (body: unknown) => {
    const { groups } = body as { groups: { ready: number; inFlight: number }[] };
    return groups.map(({ ready, inFlight, ...group }) => ({ ...group, there: ready + inFlight }));
  };

  async function everything(child: GantryProcess, sent: readonly Sent[]) {
    const paths = [
      '/v1/topics',
      '/v1/topics/orders',
      '/v1/topics/orders/tags',
      '/v1/topics/orders/queues',
      '/v1/topics/steps/queues',
      '/v1/groups',
      '/v1/groups/billing',
      '/v1/groups/latest',
      ...sent.flatMap(({ messageId, offsetMessageId }) => [
        `/v1/topics/orders/messages/${messageId}`,
        `/v1/topics/orders/messages/${offsetMessageId}`,
      ]),
      ...[0, 1].map((queueId) => `/v1/topics/orders/queues/broker-a/${queueId}/messages?offset=0&max=1000`),
    ];
    const answers: Record<string, unknown> = {};
    for (const path of paths) {
      const { status, headers, body } = await child.call('GET', path);
      expect([path, status]).toEqual([path, 200]);
      answers[path] = { etag: headers['etag'], body: path === '/v1/groups' ? durable(body) : body };
    }
    for (const group of ['billing', 'latest']) {
      const { lag, offsets } = (await child.ask('GET', `/v1/groups/${group}/offsets`)) as {
        lag: number;
        offsets: { queueId: number; committed: number; owner?: string }[];
      };
      // Members come again by themselves; their positions are what must be kept.
      answers[group] = { lag, offsets: offsets.map(({ owner: _, ...offset }) => offset) };
    }
    return answers;
  }

  async function furnish(child: GantryProcess): Promise<Sent[]> {
    await child.ask('POST', '/v1/topics', {
      name: 'orders',
      writeQueues: 2,
      tagPolicy: 'DECLARED',
      description: 'all',
    });
    await child.ask('PATCH', '/v1/topics/orders', { description: 'all orders' });
    await child.ask('PUT', '/v1/topics/orders/tags/paid', { description: 'money is there' });
    await child.ask('PUT', '/v1/topics/orders/tags/created', {});
    await child.ask('POST', '/v1/topics', { name: 'steps', type: 'FIFO', writeQueues: 2 });
    await child.ask('POST', '/v1/topics', { name: 'gone', writeQueues: 1 });
    await child.ask('DELETE', '/v1/topics/gone');
    const messages = numbered('order', 9).map((body, i) => ({
      body,
      tag: i % 3 === 0 ? 'paid' : 'created',
      keys: [`k${i}`],
      properties: { region: 'eu' },
    }));
    const { results } = await child.ask('POST', '/v1/topics/orders/messages', { messages });
    const more = await child.ask('POST', '/v1/topics/orders/messages', { messages: messages.slice(0, 4) });
    await child.ask('POST', '/v1/topics/steps/messages', { body: 'step', messageGroup: 'ada' });
    await child.ask('PUT', '/v1/groups/billing', { topic: 'orders', filter: { type: 'TAG', expression: 'paid' } });
    await child.ask('PUT', '/v1/groups/latest', { topic: 'orders', consumeFrom: 'LATEST', description: 'new ones' });
    return [...(results as Sent[]), ...(more.results as Sent[])];
  }

  test('keep topics, tags, groups, positions, messages, counts and the answers to keys', async () => {
    let child = await start();
    const sent = await furnish(child);
    const keyed = { json: { body: 'once', tag: 'paid' }, headers: { 'idempotency-key': 'k-1' } };
    const first = await child.call('POST', '/v1/topics/orders/messages', keyed);
    expect(first.status).toBe(200);
    await child.ask('PUT', '/v1/groups/billing/consumers/c1', { topic: 'orders' });
    const poll = await child.ask('GET', '/v1/groups/billing/consumers/c1/messages?max=2&waitMs=0');
    expect(poll.messages).toHaveLength(2);
    await child.ask('POST', '/v1/groups/billing/offsets', { consumerId: 'c1', cursor: poll.cursor });
    const before = await everything(child, sent);
    const { epoch } = await brokerOf(child);

    expect(await child.stop()).toMatchObject({ code: 0 });
    child = await start();

    expect(await everything(child, sent)).toEqual(before);
    const tags = await child.ask('GET', '/v1/topics/orders/tags');
    expect(tags.seen).toEqual([
      expect.objectContaining({ tag: 'created', count: 8 }),
      expect.objectContaining({ tag: 'paid', count: 6 }),
    ]);
    expect((await child.call('GET', '/v1/topics/gone')).status).toBe(404);
    // The key is known: the first answer again, and another content is refused.
    const again = await child.call('POST', '/v1/topics/orders/messages', keyed);
    expect(again).toMatchObject({ status: 200, body: first.body });
    expect(again.headers['idempotency-replayed']).toBe('true');
    const other = await child.call('POST', '/v1/topics/orders/messages', {
      ...keyed,
      json: { body: 'else', tag: 'paid' },
    });
    expect(other).toMatchObject({ status: 422, body: { code: 'IDEMPOTENCY_KEY_REUSED' } });
    // Life goes on where it was: a higher epoch, the next version, the next offset.
    expect((await brokerOf(child)).epoch).toBeGreaterThan(epoch);
    const { version } = await child.ask('GET', '/v1/topics/orders');
    expect(await child.ask('PATCH', '/v1/topics/orders', { description: 'some' })).toMatchObject({
      version: version + 1,
    });
    const { queues } = await child.ask('GET', '/v1/topics/orders/queues');
    const [next] = await send(child, 'orders', ['next'], 1);
    expect(next!.queueOffset).toBe((queues as { queueId: number; maxOffset: number }[])[1]!.maxOffset);
  });

  test('let consumers go on behind what they committed, and versions of a topic rise beyond its deletion', async () => {
    let child = await start();
    await child.ask('POST', '/v1/topics', { name: 'orders', writeQueues: 1 });
    await child.ask('PATCH', '/v1/topics/orders', { description: 'changed' });
    await sendEach(child, 'orders', numbered('order', 5));
    await child.ask('PUT', '/v1/groups/billing/consumers/c1', { topic: 'orders' });
    const poll = await child.ask('GET', '/v1/groups/billing/consumers/c1/messages?max=3');
    await child.ask('POST', '/v1/groups/billing/offsets', { consumerId: 'c1', cursor: poll.cursor });
    await child.stop();

    child = await start();
    const path = '/v1/groups/billing/consumers/c1/messages';
    // Who owned a queue is recorded, and goes on without joining; nobody else may.
    const stranger = await child.call('GET', path.replace('/c1/', '/c2/'));
    expect(stranger).toMatchObject({ status: 409, body: { code: 'NOT_JOINED' } });
    const rest = await child.ask('GET', path);
    expect((rest.messages as { body: string }[]).map(({ body }) => body)).toEqual(['order-4', 'order-5']);
    await child.ask('DELETE', '/v1/topics/orders?force=true');
    await child.stop();

    child = await start();
    const { topic } = await child.ask('POST', '/v1/topics', { name: 'orders', writeQueues: 1 });
    expect(topic.version).toBeGreaterThan(2);
    expect(await readQueue(child, 'orders')).toEqual([]);
  });

  test('are the same with a kill instead of the stop', async () => {
    let child = await start();
    const sent = await furnish(child);
    const before = await everything(child, sent);
    await child.kill();
    child = await start();
    expect(await everything(child, sent)).toEqual(before);
  });
});

describe('a folder that this process must not use is refused with exit code 69', () => {
  test('one that another process has', async () => {
    const child = await start();
    const second = await refused();
    expect(second.code).toBe(69);
    expect(second.stderr).toContain('in use');
    expect((await child.call('GET', '/readyz')).status).toBe(200);
  });

  test('one of another format version', async () => {
    await (await start()).stop();
    const path = join(data, 'format.json');
    const { crc: _, ...content } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const later = { ...content, format: 99 };
    writeFileSync(path, JSON.stringify({ ...later, crc: crc32(JSON.stringify(later)) }));
    const exit = await refused();
    expect(exit.code).toBe(69);
    expect(exit.stderr).toContain('format 99');
  });

  test('one that is no data folder', async () => {
    await (await start()).stop();
    rmSync(join(data, 'format.json'));
    const exit = await refused();
    expect(exit.code).toBe(69);
    expect(exit.stderr).toContain('format.json');
  });
});

describe('lost data is refused with exit code 69 until an operator accepts just that', () => {
  /** Ten messages that are safe, ten that will be lost with the journal behind a copy, and a group that stands at 2. */
  async function loseTheSecondHalf(): Promise<{ safe: Sent[]; lost: Sent[]; end: number }> {
    let child = await start();
    await child.ask('POST', '/v1/topics', { name: 'orders', writeQueues: 1 });
    const safe = await sendEach(child, 'orders', numbered('safe', 10));
    await child.ask('PUT', '/v1/groups/billing/consumers/c1', { topic: 'orders' });
    const offsets = [{ topic: 'orders', broker: 'broker-a', queueId: 0, nextOffset: 2 }];
    await child.ask('POST', '/v1/groups/billing/offsets', { consumerId: 'c1', offsets });
    await child.stop();
    cpSync(join(data, 'journal'), join(data, '..', 'older'), { recursive: true });

    child = await start();
    const lost = await sendEach(child, 'orders', numbered('lost', 10));
    const { end } = (await brokerOf(child)).journal;
    await child.stop();
    rmSync(join(data, 'journal'), { recursive: true });
    cpSync(join(data, '..', 'older'), join(data, 'journal'), { recursive: true });
    return { safe, lost, end };
  }

  test('a journal from an older copy', async () => {
    const { safe, lost, end } = await loseTheSecondHalf();
    const index = indexNamedBy(await refused());
    expect(index).toBeLessThan(end);
    // Neither another index nor a second try changes anything.
    expect(indexNamedBy(await refused(`--accept-data-loss=${index - 1}`))).toBe(index);

    let child = await start(`--accept-data-loss=${index}`);
    const broker = await brokerOf(child);
    expect(broker.lostRanges).toEqual([{ from: index + 1, to: end }]);
    expect(broker.journal.end).toBeGreaterThan(end);
    // What is not lost is there, what is lost is not there, and nothing else is in its place.
    expect(await readQueue(child, 'orders')).toEqual(numbered('safe', 10));
    for (const { messageId, offsetMessageId } of safe) {
      for (const id of [messageId, offsetMessageId]) {
        expect((await child.call('GET', `/v1/topics/orders/messages/${id}`)).status).toBe(200);
      }
    }
    for (const { messageId, offsetMessageId } of lost) {
      for (const id of [messageId, offsetMessageId]) {
        expect((await child.call('GET', `/v1/topics/orders/messages/${id}`)).status).toBe(404);
      }
    }
    // New ones get places of their own.
    const fresh = await sendEach(child, 'orders', numbered('new', 3));
    const taken = new Set([...safe, ...lost].map(({ offsetMessageId }) => offsetMessageId));
    expect(fresh.filter(({ offsetMessageId }) => taken.has(offsetMessageId))).toEqual([]);
    expect(fresh[0]!.queueOffset).toBe(lost.at(-1)!.queueOffset + 1);

    // The flag was for that once: from now on it starts without, and still tells.
    await child.stop();
    child = await start();
    expect((await brokerOf(child)).lostRanges).toEqual([{ from: index + 1, to: end }]);
    expect(await readQueue(child, 'orders')).toEqual([...numbered('safe', 10), ...numbered('new', 3)]);
  });

  test('consumers step over what is lost, and commit behind it', async () => {
    await loseTheSecondHalf();
    const child = await start(`--accept-data-loss=${indexNamedBy(await refused())}`);
    await sendEach(child, 'orders', numbered('new', 3));
    await child.ask('PUT', '/v1/groups/billing/consumers/c1', { topic: 'orders' });
    const bodies: string[] = [];
    let cursor = '';
    // Small pages, so that some begin and end within what is lost.
    for (let polls = 0; bodies.at(-1) !== 'new-3' && polls < 30; polls++) {
      const path = `/v1/groups/billing/consumers/c1/messages?max=4&waitMs=100&autoCommit=true&cursor=${cursor}`;
      const page = await child.ask('GET', path);
      bodies.push(...(page.messages as { body: string }[]).map(({ body }) => body));
      cursor = page.cursor as string;
    }
    expect(bodies).toEqual([...numbered('safe', 10).slice(2), ...numbered('new', 3)]);
    await child.ask('POST', '/v1/groups/billing/offsets', { consumerId: 'c1', cursor });
    expect(await child.ask('GET', '/v1/groups/billing/offsets')).toMatchObject({
      lag: 0,
      offsets: [{ committed: 23 }],
    });
  });

  test('a second loss is not covered by having accepted the first', async () => {
    await loseTheSecondHalf();
    const index = indexNamedBy(await refused());
    const child = await start(`--accept-data-loss=${index}`);
    await sendEach(child, 'orders', numbered('new', 3));
    await child.stop();
    rmSync(join(data, 'journal'), { recursive: true });
    cpSync(join(data, '..', 'older'), join(data, 'journal'), { recursive: true });
    const second = await refused();
    expect(second.code).toBe(69);
    expect(second.stderr).toContain('lost');
  });

  test('a journal whose log was cut', async () => {
    let child = await start();
    await child.ask('POST', '/v1/topics', { name: 'orders', writeQueues: 1 });
    await sendEach(child, 'orders', numbered('order', 20));
    await child.kill();
    const log = logOf(join(data, 'journal'));
    truncateSync(log, Math.floor(statSync(log).size / 2));
    const index = indexNamedBy(await refused());
    child = await start(`--accept-data-loss=${index}`);
    const kept = await readQueue(child, 'orders');
    expect(kept.length).toBeLessThan(20);
    expect(kept).toEqual(numbered('order', 20).slice(0, kept.length));
    expect((await brokerOf(child)).lostRanges).toHaveLength(1);
    const [fresh] = await send(child, 'orders', ['new']);
    expect((await child.ask('GET', `/v1/topics/orders/messages/${fresh!.messageId}`)).body).toBe('new');
  });

  test('a file of marks that was deleted: nobody knows whether anything is lost, and nothing is', async () => {
    let child = await start();
    await child.ask('POST', '/v1/topics', { name: 'orders', writeQueues: 1 });
    await sendEach(child, 'orders', numbered('order', 20));
    const { end } = (await brokerOf(child)).journal;
    await child.stop();
    rmSync(join(data, 'acked'));
    const index = indexNamedBy(await refused());
    expect(index).toBe(end);
    expect(indexNamedBy(await refused())).toBe(end); // asking once does not make it up
    child = await start(`--accept-data-loss=${index}`);
    expect((await brokerOf(child)).lostRanges).toBeUndefined();
    expect(await readQueue(child, 'orders')).toEqual(numbered('order', 20));
    await child.stop();
    child = await start();
    expect(await readQueue(child, 'orders')).toEqual(numbered('order', 20));
  });

  /** RocksDB's write-ahead log: what was written since the start. */
  function logOf(folder: string): string {
    const names = readdirSync(folder).filter((name) => name.endsWith('.log'));
    return join(folder, names.sort().at(-1)!);
  }
});
