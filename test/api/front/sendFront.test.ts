/** Sends through a front: where each one goes, where it goes next, and when it goes nowhere else. */
import { sendFront } from '../../../api/front/sendFront';
import type { PeerAnswer } from '../../../api/front/peer';
import { ClientGone } from '../../../api/operation';
import type { Code } from '../../../src/base/errors';
import { partitionOf } from '../../../src/broker/partition';
import { rendezvous } from '../../../src/cluster/rendezvous';
import {
  answered,
  bodiesOf,
  bodyOf,
  failureOf,
  FrontBench,
  refused,
  storedBy,
  type Asked,
  type BenchSpec,
} from './frontBench';

interface Wire {
  readonly body: string;
  readonly messageGroup?: string;
  readonly queue?: { broker: string; queueId: number };
}
interface Sent {
  readonly key?: string;
  readonly bytes?: string;
  readonly contentType?: string;
  readonly query?: object;
  readonly signal?: AbortSignal;
}
interface Result {
  readonly status: string;
  readonly messageId?: string;
  readonly broker?: string;
  readonly error?: { readonly code: string; readonly detail: string; readonly retryable: boolean };
}

class SendBench extends FrontBench {
  readonly #table = sendFront(this);

  constructor(spec?: BenchSpec) {
    super(spec);
  }

  /** What the front answers to a request, however long it takes. */
  send(messages: readonly Wire[], { key, bytes, contentType, query, signal }: Sent = {}) {
    const headers = key === undefined ? {} : { 'Idempotency-Key': key };
    const bodyBytes = Buffer.from(bytes ?? JSON.stringify({ messages }));
    const parts = { path: { topic: 'orders' }, query: { ...query }, headers, bodyBytes };
    const typed = { ...parts, ...(contentType === undefined ? {} : { contentType }) };
    return this.timed(Promise.resolve(this.#table.sendMessages(this.call('sendMessages', typed, signal))));
  }

  /** The broker that stored one message. */
  async brokerOf(messages: readonly Wire[] = ONE, sent: Sent = {}): Promise<string | undefined> {
    const { result } = await this.send(messages, sent);
    return bodyOf<{ results: Result[] }>(result).results[0]?.broker;
  }

  async results(messages: readonly Wire[], sent: Sent = {}) {
    const { result } = await this.send(messages, sent);
    return { status: result.status, headers: result.headers, results: bodyOf<{ results: Result[] }>(result).results };
  }

  /** A messageGroup whose queue is on that broker. */
  groupOn(broker: string): string {
    for (let i = 0; ; i++) {
      if (partitionOf(this.partitions.get('orders')!, 2, `g${i}`).broker === broker) return `g${i}`;
    }
  }
}

const ONE: readonly Wire[] = [{ body: 'm' }];
const ALL = ['a', 'b', 'c'];
const KEY = 'order-1';
const HOME = rendezvous(KEY, ALL)[0]!;
const others = (broker: string) => ALL.filter((name) => name !== broker);

/** One that remembers keys, as a broker does. */
function remembering(): (asked: Asked) => PeerAnswer {
  const answers = new Map<string, PeerAnswer>();
  return (asked) => {
    const key = asked.request.headers?.['Idempotency-Key'] ?? '';
    const before = answers.get(key);
    if (before) return answered(200, before.json(), { 'idempotency-replayed': 'true' });
    const answer = storedBy(asked);
    answers.set(key, answer);
    return answer;
  };
}

describe('without key, messageGroup and queue', () => {
  test('each broker in its turn, and the bytes as they came', async () => {
    const t = new SendBench();
    const bytes = '{ "body":"ü",  "tag":"t" }';
    for (let i = 0; i < 9; i++) await t.send([], { bytes });
    const first = ALL.indexOf(t.askedBrokers[0]!);
    expect(t.askedBrokers).toEqual(Array.from({ length: 9 }, (_, i) => ALL[(first + i) % 3]));
    for (const { request } of t.asked) expect(request.bytes!.toString()).toBe(bytes);
  });

  test('fronts begin anywhere', async () => {
    const firsts = new Set<string>();
    for (let seed = 0; seed < 20; seed++) firsts.add((await new SendBench({ seed }).brokerOf())!);
    expect([...firsts].sort()).toEqual(ALL);
  });

  test('a raw body keeps its type and its query', async () => {
    const t = new SendBench();
    await t.send([], { bytes: 'plain', contentType: 'text/plain', query: { tag: 'x' } });
    expect(t.asked[0]!.request).toMatchObject({ contentType: 'text/plain', query: { tag: 'x' } });
  });

  test('a broker that may not be written to is left out', async () => {
    const t = new SendBench();
    t.broker('b').permission = 'R';
    for (let i = 0; i < 6; i++) await t.send(ONE);
    expect(new Set(t.askedBrokers)).toEqual(new Set(['a', 'c']));
  });

  test('when none may be written to, a broker says why', async () => {
    const t = new SendBench();
    for (const name of ALL) {
      t.broker(name).permission = 'R';
      t.broker(name).answer = () => refused('NO_PERMISSION');
    }
    expect((await t.send(ONE)).result.status).toBe(403);
    expect(t.asked).toHaveLength(1);
  });
});

describe('what was surely not written goes elsewhere', () => {
  const REFUSALS: Code[] = ['QUEUE_READ_ONLY', 'DISK_FULL', 'STARTING', 'SERVICE_NOT_AVAILABLE', 'NOT_MASTER'];

  test.each(REFUSALS)('%s, and the next sends begin elsewhere', async (code) => {
    for (const bad of ALL) {
      const t = new SendBench();
      t.broker(bad).answer = () => refused(code);
      for (let i = 0; i < 3; i++) expect(others(bad)).toContain(await t.brokerOf());
      expect(t.askedBrokers.filter((name) => name === bad)).toHaveLength(1);
    }
  });

  test('a broker without the topic is not avoided for others', async () => {
    const t = new SendBench();
    t.broker('a').answer = () => refused('TOPIC_NOT_FOUND');
    for (let i = 0; i < 6; i++) expect(['b', 'c']).toContain(await t.brokerOf());
    expect(t.avoidance.ordered(ALL)).toEqual(ALL);
  });

  test.each(['REFUSING', 'BLACK'] as const)('a broker that is %s', async (network) => {
    for (const bad of ALL) {
      const t = new SendBench();
      t.broker(bad).network = network;
      for (let i = 0; i < 6; i++) expect(others(bad)).toContain(await t.brokerOf());
      // From then on it is avoided.
      expect(t.askedBrokers.filter((name) => name === bad)).toHaveLength(1);
    }
  });

  test('one alone is left', async () => {
    const t = new SendBench();
    t.broker('a').network = 'REFUSING';
    t.broker('b').answer = () => refused('DISK_FULL');
    for (let i = 0; i < 6; i++) expect(await t.brokerOf()).toBe('c');
  });

  test('all refuse: each was asked once, and the last word is passed on', async () => {
    const t = new SendBench();
    for (const name of ALL) t.broker(name).answer = () => refused('QUEUE_READ_ONLY');
    const { result } = await t.send(ONE);
    expect(result).toMatchObject({ status: 503, headers: { 'Retry-After': '1' } });
    expect(bodyOf(result)).toMatchObject({ code: 'QUEUE_READ_ONLY', retryable: true });
    expect([...t.askedBrokers].sort()).toEqual(ALL);
  });

  test('none can be reached', async () => {
    const t = new SendBench();
    for (const name of ALL) t.broker(name).network = 'REFUSING';
    expect(await failureOf(t.send(ONE))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
    expect([...t.askedBrokers].sort()).toEqual(ALL);
  });

  test('that one has no such topic says less than why the others take nothing', async () => {
    for (const without of ALL) {
      const t = new SendBench();
      for (const name of ALL) t.broker(name).answer = () => refused('DISK_FULL');
      t.broker(without).answer = () => refused('TOPIC_NOT_FOUND');
      expect(bodyOf((await t.send(ONE)).result)).toMatchObject({ code: 'DISK_FULL' });
    }
  });

  test('a topic that is gone everywhere is unknown', async () => {
    const t = new SendBench();
    await t.send(ONE);
    await t.clock.advance(1000);
    t.partitions.clear();
    for (const name of ALL) t.broker(name).answer = () => refused('TOPIC_NOT_FOUND');
    expect(await failureOf(t.send(ONE))).toMatchObject({ code: 'TOPIC_NOT_FOUND' });
  });
});

describe('what a broker has judged is judged', () => {
  const JUDGED: Code[] = [
    ...(['VALIDATION_FAILED', 'NO_PERMISSION', 'MESSAGE_TYPE_MISMATCH', 'TAG_NOT_DECLARED'] as const),
    ...(['TOO_MANY_REQUESTS', 'INTERNAL_ERROR', 'OUTCOME_UNKNOWN'] as const),
  ];
  test.each(JUDGED)('%s', async (code) => {
    const t = new SendBench();
    for (const name of ALL) t.broker(name).answer = () => refused(code);
    const { result } = await t.send(ONE);
    expect(bodyOf(result)).toMatchObject({ code });
    expect(t.asked).toHaveLength(1);
  });
});

describe('an outcome that nobody knows is told and not repeated', () => {
  test.each(['LOSING', 'HUNG'] as const)('a broker that is %s', async (network) => {
    const t = new SendBench();
    for (const name of ALL) t.broker(name).network = network;
    const failure = await failureOf(t.send(ONE));
    expect(failure).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
    expect(failure.message).toContain(`broker ${t.askedBrokers[0]}`);
    expect(t.asked).toHaveLength(1);
  });

  test.each([
    [1, 10_000],
    [2, 5000],
    [3, 3350],
    [8, 2500],
  ])('of %i brokers the first that hangs has its share of the 10 s', async (count, ms) => {
    const t = new SendBench({ brokers: Array.from({ length: count }, (_, i) => `b${i}`) });
    for (const broker of t.brokers.values()) broker.network = 'HUNG';
    const started = t.clock.monotonic();
    expect(await failureOf(t.send(ONE))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(t.clock.monotonic() - started).toBe(ms);
    expect(t.asked).toHaveLength(1);
  });

  test('who hung is avoided for 10 s', async () => {
    const t = new SendBench();
    t.broker('a').network = 'HUNG';
    while (t.askedBrokers.at(-1) !== 'a') await t.send(ONE).catch(() => undefined);
    const before = t.asked.length;
    t.broker('a').network = 'UP';
    for (let i = 0; i < 6; i++) expect(await t.brokerOf()).not.toBe('a');
    await t.clock.advance(10_000);
    for (let i = 0; i < 3; i++) await t.send(ONE);
    expect(t.askedBrokers.slice(before).slice(6)).toContain('a');
  });
});

describe('one deadline for all tries', () => {
  test('brokers that cannot be connected to cost less than 10 s together, however many they are', async () => {
    const t = new SendBench({ brokers: Array.from({ length: 12 }, (_, i) => `b${i}`) });
    for (const broker of t.brokers.values()) broker.network = 'BLACK';
    const started = t.clock.monotonic();
    expect(await failureOf(t.send(ONE))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
    // A fifth could not be told from one that hangs before the time is over.
    expect(t.clock.monotonic() - started).toBe(8000);
    expect(t.asked).toHaveLength(4);
  });

  test('a client that goes away ends it, and nobody is avoided for that', async () => {
    const t = new SendBench();
    const client = new AbortController();
    for (const name of ALL) t.broker(name).network = 'HUNG';
    const gone = failureOf(t.send(ONE, { signal: client.signal }));
    await t.settle();
    client.abort(new ClientGone());
    expect(await gone).toBeInstanceOf(ClientGone);
    expect(t.avoidance.ordered(ALL)).toEqual(ALL);
  });
});

test('a slow broker is left alone for a while', async () => {
  const t = new SendBench();
  t.broker('a').latencyMs = 600;
  while (t.askedBrokers.at(-1) !== 'a') await t.send(ONE);
  for (let i = 0; i < 6; i++) expect(await t.brokerOf()).not.toBe('a');
  await t.clock.advance(2000);
  for (let i = 0; i < 3; i++) await t.send(ONE);
  expect(t.askedBrokers.slice(-3)).toContain('a');
});

describe('with an Idempotency-Key', () => {
  test('every front sends it to the home of the key, alive or not', async () => {
    const t = new SendBench();
    const other = new SendBench({ beside: t, seed: 7 });
    for (let i = 0; i < 30; i++) {
      const key = `key-${i}`;
      const home = rendezvous(key, ALL)[0];
      expect([await t.brokerOf(ONE, { key }), await other.brokerOf(ONE, { key })]).toEqual([home, home]);
    }
    t.broker(HOME).listed = false;
    t.broker(HOME).network = 'REFUSING';
    await t.clock.advance(30_000);
    const failure = await failureOf(t.send(ONE, { key: KEY }));
    expect(failure).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
    expect(failure.message).toContain(`broker ${HOME} is away`);
    expect(t.askedBrokers.slice(30)).toEqual([]);
  });

  test.each(['LOSING', 'HUNG'] as const)('a home that is %s: unknown, may be repeated', async (network) => {
    const t = new SendBench();
    t.broker(HOME).network = network;
    expect(await failureOf(t.send(ONE, { key: KEY }))).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: true });
    expect(t.askedBrokers).toEqual([HOME]);
  });

  test('a home that restarts is waited for', async () => {
    for (const restarting of ['REFUSING', 'STARTING'] as const) {
      const t = new SendBench();
      if (restarting === 'REFUSING') t.broker(HOME).network = restarting;
      else t.broker(HOME).answer = () => refused('STARTING');
      t.clock.after(1000, () => Object.assign(t.broker(HOME), { network: 'UP', answer: storedBy }));
      expect(await t.brokerOf(ONE, { key: KEY })).toBe(HOME);
      expect(new Set(t.askedBrokers)).toEqual(new Set([HOME]));
    }
  });

  test('not for long: then its absence is told', async () => {
    const t = new SendBench();
    t.broker(HOME).network = 'REFUSING';
    const started = t.clock.monotonic();
    const failure = await failureOf(t.send(ONE, { key: KEY }));
    expect(failure).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
    expect(failure.message).toContain(HOME);
    expect(t.clock.monotonic() - started).toBeLessThanOrEqual(3000);
  });

  test('a home that takes nothing says so, and nobody else is asked', async () => {
    const t = new SendBench();
    t.broker(HOME).answer = () => refused('QUEUE_READ_ONLY');
    expect((await t.send(ONE, { key: KEY })).result.status).toBe(503);
    expect(t.askedBrokers).toEqual([HOME]);
  });

  test('the answer of an earlier call says so', async () => {
    const t = new SendBench();
    t.broker(HOME).answer = remembering();
    expect((await t.send(ONE, { key: KEY })).result.headers).not.toHaveProperty('Idempotency-Replayed');
    expect((await t.send(ONE, { key: KEY })).result.headers).toMatchObject({ 'Idempotency-Replayed': 'true' });
  });
});

/**
 * The front dies in the middle of a keyed send. Whatever the home has done by then, and wherever the client turns to, the
 * message is stored once: the next front goes to the same home.
 */
describe('a front that dies in the middle of a keyed send', () => {
  const MOMENTS: [string, (t: SendBench) => void, boolean][] = [
    ['before it has connected', (t) => void (t.broker(HOME).network = 'BLACK'), false],
    ['after the request, before the home has it', (t) => void (t.broker(HOME).network = 'HUNG'), false],
    ['after the home has stored it', (t) => void (t.broker(HOME).latencyMs = 60_000), true],
  ];

  test.each(MOMENTS)('%s', async (_, arrange, stored) => {
    const t = new SendBench();
    const messages: string[] = [];
    const remember = remembering();
    t.broker(HOME).answer = (asked) => {
      const answer = remember(asked);
      if (answer.headers['idempotency-replayed'] === undefined) messages.push(...bodiesOf(asked));
      return answer;
    };
    arrange(t);
    const death = new AbortController();
    const dying = failureOf(t.send(ONE, { key: KEY, signal: death.signal }));
    await t.settle();
    death.abort(new Error('killed'));
    await dying;
    expect(messages).toEqual(stored ? ['m'] : []);

    // The home is away at first: the client is told to come again, and nobody else takes it.
    const next = new SendBench({ beside: t, seed: 5 });
    Object.assign(t.broker(HOME), { network: 'REFUSING', latencyMs: 0 });
    expect(await failureOf(next.send(ONE, { key: KEY }))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
    t.broker(HOME).network = 'UP';
    const { result } = await next.send(ONE, { key: KEY });
    expect(result.status).toBe(200);
    expect(result.headers?.['Idempotency-Replayed']).toBe(stored ? 'true' : undefined);
    expect(messages).toEqual(['m']);
    expect(new Set([...t.askedBrokers, ...next.askedBrokers])).toEqual(new Set([HOME]));
  });
});

describe('messages with a place', () => {
  test.each(['body', 'query', 'escape'] as const)(
    'a messageGroup in the %s leads to its queue, bytes untouched',
    async (where) => {
      for (const broker of ALL) {
        const t = new SendBench();
        const messageGroup = t.groupOn(broker);
        const json = JSON.stringify({ messageGroup, body: 'm' });
        const escaped = json.replace('messageGroup', 'message\\u0047roup');
        const sent = where === 'query' ? { bytes: 'm', contentType: 'text/plain', query: { messageGroup } } : undefined;
        const bytes = where === 'escape' ? escaped : json;
        expect(await t.brokerOf([], sent ?? { bytes })).toBe(broker);
        expect(t.asked.map(({ request }) => request.bytes!.toString())).toEqual([sent ? 'm' : bytes]);
      }
    },
  );

  test('a chosen queue leads to its broker', async () => {
    const t = new SendBench();
    for (const broker of ALL) expect(await t.brokerOf([{ body: 'm', queue: { broker, queueId: 1 } }])).toBe(broker);
  });

  test('a queue of no broker of the topic', async () => {
    const t = new SendBench();
    const { status, results } = await t.results([{ body: 'm', queue: { broker: 'z', queueId: 1 } }]);
    expect({ status, codes: results.map(({ error }) => error?.code) }).toEqual({
      status: 404,
      codes: ['QUEUE_NOT_FOUND'],
    });
    expect(t.asked).toEqual([]);
  });

  test('the queue of a broker that is away: 503 that names it, at once, and nowhere else', async () => {
    const t = new SendBench();
    const messageGroup = t.groupOn('b');
    for (const away of [{ network: 'REFUSING' as const }, { listed: false }]) {
      Object.assign(t.broker('b'), away);
      await t.clock.advance(30_000);
      const started = t.clock.monotonic();
      const failure = await failureOf(t.send([{ body: 'm', messageGroup }]));
      expect(failure).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
      expect(failure.message).toContain('broker b is away');
      expect(t.clock.monotonic()).toBe(started);
    }
    expect(new Set(t.askedBrokers)).toEqual(new Set(['b']));
  });

  test('a request for several brokers is one call to each, its results in the order of the request', async () => {
    const t = new SendBench();
    const messages = Array.from({ length: 60 }, (_, i) => ({ body: `m${i}`, messageGroup: `g${i % 20}` }));
    const { status, results } = await t.results(messages);
    expect(status).toBe(200);
    expect(results.map(({ messageId }) => messageId)).toEqual(messages.map(({ body }) => body));
    expect(results.map(({ broker }) => broker)).toEqual(
      messages.map(({ messageGroup }) => partitionOf(t.partitions.get('orders')!, 2, messageGroup).broker),
    );
    expect([...t.askedBrokers].sort()).toEqual(ALL);
  });

  test('the part of a broker that is away fails, the others are stored', async () => {
    const t = new SendBench();
    t.broker('b').network = 'REFUSING';
    const messages = ALL.map((broker) => ({ body: broker, queue: { broker, queueId: 0 } }));
    const { status, results } = await t.results(messages);
    expect([status, results.map((result) => result.status)]).toEqual([207, ['SEND_OK', 'FAILED', 'SEND_OK']]);
    expect(results[1]!.error).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryable: true });
    expect(results[1]!.error!.detail).toContain('broker b');
  });

  test('a part whose outcome is unknown, and one that is refused as a whole', async () => {
    const t = new SendBench();
    t.broker('a').network = 'LOSING';
    t.broker('c').answer = () => refused('QUEUE_READ_ONLY', 'c takes nothing');
    const messages = ALL.map((broker) => ({ body: broker, queue: { broker, queueId: 0 } }));
    const { results } = await t.results(messages);
    const said = results.map(({ error }) => [error?.code, error?.retryable]);
    expect(said).toEqual([
      ['OUTCOME_UNKNOWN', false],
      [undefined, undefined],
      ['QUEUE_READ_ONLY', true],
    ]);
  });

  test('those without a place in the same request go to one broker, or with a key to its home', async () => {
    const t = new SendBench();
    const mixed = [{ body: '1' }, { body: '2', messageGroup: t.groupOn('b') }, { body: '3' }];
    const { results } = await t.results(mixed);
    expect(results.map(({ messageId }) => messageId)).toEqual(['1', '2', '3']);
    expect(results[0]!.broker).toBe(results[2]!.broker);
    const elsewhere = ALL.find((name) => name !== HOME)!;
    const keyed = [{ body: '1' }, { body: '2', messageGroup: t.groupOn(elsewhere) }, { body: '3' }];
    const sent = await t.results(keyed, { key: KEY });
    expect(sent.results.map(({ broker }) => broker)).toEqual([HOME, elsewhere, HOME]);
    for (const { request } of t.asked.slice(-2)) expect(request.headers).toEqual({ 'Idempotency-Key': KEY });
  });

  test('it was sent before only if every part was', async () => {
    const t = new SendBench();
    const messages = ['a', 'b'].map((broker) => ({ body: broker, queue: { broker, queueId: 0 } }));
    for (const name of ['a', 'b']) t.broker(name).answer = remembering();
    t.broker('b').network = 'REFUSING';
    expect((await t.results(messages, { key: KEY })).status).toBe(207);
    t.broker('b').network = 'UP';
    expect((await t.results(messages, { key: KEY })).headers ?? {}).not.toHaveProperty('Idempotency-Replayed');
    expect(await t.results(messages, { key: KEY })).toMatchObject({
      status: 200,
      headers: { 'Idempotency-Replayed': 'true' },
    });
  });
});

describe('a broker that knows newer partitions', () => {
  const CODE = { code: 'QUEUE_ELSEWHERE' };
  const failedItem = { status: 'FAILED', error: { ...refused('SERVICE_NOT_AVAILABLE', 'not mine').json(), ...CODE } };
  /** A refusal of all the messages of a request. */
  const elsewhere = (count: number) =>
    refused('SERVICE_NOT_AVAILABLE', 'not mine', { ...CODE, results: Array.from({ length: count }, () => failedItem) });

  /** The topic has grown to `d`, which no route of this front says yet. */
  async function grown() {
    const t = new SendBench({ brokers: ['a', 'b', 'c', 'd'] });
    const after = t.partitions.get('orders')!;
    t.partitions.set(
      'orders',
      after.filter(({ broker }) => broker !== 'd'),
    );
    await t.send(ONE);
    await t.clock.advance(1000);
    t.partitions.set('orders', after);
    t.asked.length = 0;
    for (const broker of t.brokers.values()) {
      broker.answer = (asked) => {
        const wires = (JSON.parse(asked.request.bytes!.toString()) as { messages: Wire[] }).messages;
        const results = wires.map(({ body, messageGroup }) => {
          const own = partitionOf(after, 2, messageGroup!).broker === asked.broker;
          return own ? { status: 'SEND_OK', messageId: body, broker: asked.broker } : failedItem;
        });
        const errors = results.filter(({ status }) => status === 'FAILED').length;
        if (errors === results.length) return elsewhere(errors);
        return answered(errors > 0 ? 207 : 200, { results });
      };
    }
    return t;
  }

  test('is believed: one message', async () => {
    const t = await grown();
    expect(await t.brokerOf([{ body: 'm', messageGroup: t.groupOn('d') }])).toBe('d');
    expect(t.asked).toHaveLength(2);
  });

  test('is believed: those of many that it sent back, and these alone', async () => {
    const t = await grown();
    const messages = Array.from({ length: 40 }, (_, i) => ({ body: `m${i}`, messageGroup: `g${i}` }));
    const { status, results } = await t.results(messages);
    expect(status).toBe(200);
    expect(results.map(({ messageId }) => messageId)).toEqual(messages.map(({ body }) => body));
    const homes = messages.map(({ messageGroup }) => partitionOf(t.partitions.get('orders')!, 2, messageGroup).broker);
    expect(results.map(({ broker }) => broker)).toEqual(homes);
    const sentHome = (body: string, i: number) =>
      t.asked.filter((asked) => asked.broker === homes[i] && bodiesOf(asked).includes(body)).length;
    expect(messages.map(({ body }, i) => sentHome(body, i))).toEqual(messages.map(() => 1));
  });

  test('is believed: also when it took the others of them', async () => {
    const t = await grown();
    const after = t.partitions.get('orders')!;
    const before = after.filter(({ broker }) => broker !== 'd');
    const went = (from: string, to: string) => {
      const is = (group: string) =>
        partitionOf(before, 2, group).broker === from && partitionOf(after, 2, group).broker === to;
      for (let i = 0; ; i++) if (is(`g${i}`)) return `g${i}`;
    };
    const messages = [went('a', 'a'), went('a', 'd')].map((messageGroup) => ({ body: messageGroup, messageGroup }));
    const { status, results } = await t.results(messages);
    expect([status, results.map(({ broker }) => broker)]).toEqual([200, ['a', 'd']]);
  });

  test('is believed once', async () => {
    const t = new SendBench();
    for (const name of ALL) t.broker(name).answer = () => elsewhere(1);
    const { result } = await t.send([{ body: 'm', messageGroup: 'g' }]);
    expect(result.status).toBe(503);
    expect(t.asked).toHaveLength(2);
  });
});

describe('a send to a broker that hangs', () => {
  const hung = () => {
    const t = new SendBench();
    t.broker(HOME).network = 'HUNG';
    return t;
  };
  const SENDS: Readonly<Record<string, (t: SendBench) => Promise<unknown>>> = {
    'an Idempotency-Key': (t) => t.send(ONE, { key: KEY }),
    'a messageGroup': (t) => t.send([{ body: 'm', messageGroup: t.groupOn(HOME) }]),
    'a queue': (t) => t.send([{ body: 'm', queue: { broker: HOME, queueId: 0 } }]),
  };
  const took = async (t: SendBench, send: (t: SendBench) => Promise<unknown>) => {
    const started = t.clock.monotonic();
    const failure = await failureOf(send(t));
    return { code: failure.code, ms: t.clock.monotonic() - started, retryAfterMs: failure.extras.retryAfterMs };
  };

  test.each(Object.keys(SENDS))(
    'by %s is refused soon once one attempt hung, until the broker answers again',
    async (by) => {
      const t = hung();
      const send = SENDS[by]!;
      expect(await took(t, send)).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
      for (let i = 0; i < 3; i++) {
        await t.clock.advance(15_000);
        const next = await took(t, send);
        expect(next).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE', retryAfterMs: 1000 });
        expect(next.ms).toBeLessThanOrEqual(1000);
      }
      expect(t.askedBrokers).toEqual([HOME]); // surely not sent
      t.broker(HOME).network = 'UP';
      expect(await send(t)).toMatchObject({ result: { status: 200 }, ms: 0 });
    },
  );

  test('is sent one at a time while the broker lives and stores nothing', async () => {
    const t = hung();
    t.broker(HOME).network = 'STALLED';
    const send = SENDS['a queue']!;
    await failureOf(send(t));
    const one = took(t, send);
    const others = await Promise.all([took(t, send), took(t, send)]);
    for (const other of others) {
      expect(other.code).toBe('SERVICE_NOT_AVAILABLE');
      expect(other.ms).toBeLessThanOrEqual(1000);
    }
    expect(await one).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(t.askedBrokers).toHaveLength(2);
    t.broker(HOME).network = 'UP';
    const all = await Promise.all([send(t), send(t), send(t)]);
    for (const each of all) expect(each).toMatchObject({ result: { status: 200 } });
  });

  test('does not hang because something else hung there before', async () => {
    const t = hung();
    const leaving = t.front.change(t.call('leaveGroup'), HOME, 'leaveGroup', { path: {} as never, query: {} });
    expect(await failureOf(t.timed(leaving))).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: true });
    const next = await took(t, SENDS['an Idempotency-Key']!);
    expect([next.code, next.ms <= 1000]).toEqual(['SERVICE_NOT_AVAILABLE', true]);
  });
});

test('the broker in the same process is asked without a hop', async () => {
  const asked: string[] = [];
  const handlers = {
    sendMessages: (call: { bodyBytes: Buffer; contentType: string }) => {
      asked.push(`${call.contentType} ${call.bodyBytes.toString()}`);
      return { status: 200, json: '{"results":[{"status":"SEND_OK","broker":"a"}]}' };
    },
  };
  const t = new SendBench({ here: { name: 'a', handlers: handlers } });
  const stored: (string | undefined)[] = [];
  for (let i = 0; i < 3; i++) stored.push(await t.brokerOf([], { bytes: '{"body":"m"}' }));
  expect(stored.sort()).toEqual(ALL);
  expect(asked).toEqual(['application/json {"body":"m"}']);
  expect([...t.askedBrokers].sort()).toEqual(['b', 'c']);
});
