/** Taking messages in: where each one goes, what is refused, and that a key stores once. */
import { LIMITS } from '../../src/base/limits';
import { decodeMessage } from '../../src/broker/message';
import { messageGroupHash } from '../../src/broker/hash';
import {
  bodies,
  codeOf,
  HOUR,
  message,
  NAME,
  setup,
  stopBrokers,
  stored,
  type Given,
  type TestBroker,
} from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const queues = (results: { queueId: number }[]) => results.map(({ queueId }) => queueId);
const pinned = (queueId: number, body = 'x', broker = NAME): Given => ({ body, queue: { broker, queueId } });

/** One request; the code of each item that is refused, 'stored' for the others. */
async function attempt(t: Bench, topic: string, messages: Given[], key?: string) {
  const answer = await t.rooms.sender.send(topic, messages.map(message), key);
  return { ...answer, codes: answer.results.map((result) => result.error?.code ?? 'stored') };
}

describe('a message without messageGroup', () => {
  test('goes to the next queue in turn', async () => {
    const t = await setup();
    await t.topic();
    const rounds: number[] = [];
    for (let i = 0; i < 8; i++) rounds.push(...queues(await t.send('orders', `m${i}`)));
    const first = rounds[0]!;
    expect(rounds).toEqual(Array.from({ length: 8 }, (_, i) => (first + i) % 4));
  });

  test('of a topic that takes fewer queues than it reads goes to these alone', async () => {
    const t = await setup();
    await t.topic('orders', { readQueues: 4, writeQueues: 2 });
    const used = new Set<number>();
    for (let i = 0; i < 8; i++) used.add((await t.send('orders', 'x'))[0]!.queueId);
    expect([...used].sort()).toEqual([0, 1]);
  });

  test('shares its queue with the rest of its request, in order, without a hole', async () => {
    const t = await setup();
    await t.topic();
    const first = await t.send('orders', ...Array.from({ length: 100 }, (_, i) => `a${i}`));
    const second = await t.send('orders', ...Array.from({ length: 100 }, (_, i) => `b${i}`));
    expect(new Set(queues(first)).size).toBe(1);
    expect(first.map(({ queueOffset }) => queueOffset)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(queues(second)[0]).not.toBe(queues(first)[0]);
    expect(await t.readAll('orders', queues(first)[0]!)).toEqual(Array.from({ length: 100 }, (_, i) => `a${i}`));
  });

  test('does not begin with the same queue in every process', async () => {
    const begins = new Set<number>();
    for (let seed = 1; seed <= 20; seed++) {
      const t = await setup({ seed });
      await t.topic();
      begins.add((await t.send('orders', 'x'))[0]!.queueId);
    }
    expect(begins.size).toBeGreaterThan(1);
  });
});

describe('a messageGroup', () => {
  test('always goes to the queue of its hash, also after a restart', async () => {
    const t = await setup();
    await t.topic('orders', { type: 'FIFO' });
    const groups = Array.from({ length: 20 }, (_, i) => `customer-${i}`);
    const place = async () => queues(await t.send('orders', ...groups.map((messageGroup) => ({ messageGroup }))));
    const expected = groups.map((group) => messageGroupHash(group) % 4);
    expect(await place()).toEqual(expected);
    expect(await place()).toEqual(expected);
    await t.restart();
    expect(await place()).toEqual(expected);
    expect(new Set(expected).size).toBeGreaterThan(1);
  });

  test('keeps its order within a request and across requests', async () => {
    const t = await setup();
    await t.topic('orders', { type: 'FIFO' });
    const sent = ['a1', 'b1', 'a2', 'c1', 'a3'].map((body) => ({ body, messageGroup: body[0]! }));
    await t.send('orders', ...sent.slice(0, 3));
    await t.send('orders', ...sent.slice(3));
    const all = await t.readAll('orders', messageGroupHash('a') % 4);
    expect(all.filter((body) => body.startsWith('a'))).toEqual(['a1', 'a2', 'a3']);
  });

  test('does not take a turn from the others', async () => {
    const t = await setup();
    await t.topic('orders', { type: 'MIXED' });
    const [before] = queues(await t.send('orders', 'x'));
    await t.send('orders', { messageGroup: 'g' }, { messageGroup: 'h' });
    expect(queues(await t.send('orders', 'x'))).toEqual([(before! + 1) % 4]);
  });
});

describe('a message for a named queue', () => {
  test('goes there', async () => {
    const t = await setup();
    await t.topic();
    expect(queues(await t.send('orders', pinned(3), pinned(1)))).toEqual([3, 1]);
  });

  test.each([
    ['a queue that does not exist', pinned(4)],
    ['a queue that takes no messages any more', pinned(2)],
    ['another broker', pinned(0, 'x', 'broker-b')],
  ])('is refused for %s, and the rest of the request is stored', async (_, wrong) => {
    const t = await setup();
    await t.topic('orders', { writeQueues: 2 });
    const { codes } = await attempt(t, 'orders', [pinned(0), wrong, pinned(1)]);
    expect(codes).toEqual(['stored', 'QUEUE_NOT_FOUND', 'stored']);
  });
});

describe('what is stored', () => {
  test('is answered with where and when, and is read back as it was sent', async () => {
    const t = await setup();
    await t.topic('orders', { type: 'MIXED' });
    const sent: Given = {
      body: Buffer.from([0, 255, 1]),
      text: false,
      tag: 'created',
      keys: ['k1', 'k2'],
      properties: { region: 'eu' },
      contentType: 'application/octet-stream',
      messageGroup: 'customer-7',
    };
    const [answer] = await t.send('orders', sent);
    expect(answer).toMatchObject({ queueOffset: 0, storeTimestamp: t.clock.now() });
    expect(answer!.messageId).toMatch(/^0A000007[0-9A-F]{24}$/);
    expect(answer!.offsetMessageId).toMatch(/^0A00000700002A9F[0-9A-F]{16}$/);
    const { record } = await t.rooms.lookup.message('orders', answer!.messageId);
    expect(decodeMessage(record)).toMatchObject({
      ...sent,
      bornTimestamp: t.clock.now(),
      storeTimestamp: t.clock.now(),
    });
  });

  test('keeps an id that the sender chose', async () => {
    const t = await setup();
    await t.topic();
    const own = 'abcdef0123456789ABCDEF0123456789';
    const results = await t.send('orders', 'a', { body: 'b', messageId: own }, 'c');
    expect(results[1]!.messageId).toBe(own.toUpperCase());
    expect(new Set(results.map(({ messageId }) => messageId)).size).toBe(3);
    expect(bodies([await t.rooms.lookup.message('orders', own)])).toEqual(['b']);
  });

  test('has an id of its own, over thousands', async () => {
    const t = await setup();
    await t.topic();
    const ids = new Set<string>();
    for (let i = 0; i < 5; i++)
      for (const { messageId } of await t.send('orders', ...Array.from({ length: 1000 }, () => 'x')))
        ids.add(messageId);
    expect(ids.size).toBe(5000);
  });
});

describe('a request is refused whole', () => {
  test('for a topic that does not exist', async () => {
    const t = await setup();
    expect(await codeOf(t.send('orders', 'x'))).toBe('TOPIC_NOT_FOUND');
  });

  test.each([
    ['RW', 'stored'],
    ['W', 'stored'],
    ['R', 'NO_PERMISSION'],
    ['NONE', 'NO_PERMISSION'],
  ] as const)('or not, by the permission %s', async (permission, outcome) => {
    const t = await setup();
    await t.topic('orders', { permission });
    const result = await codeOf(attempt(t, 'orders', ['x']).then(({ codes }) => codes[0]));
    expect(result).toEqual(outcome === 'stored' ? { resolved: 'stored' } : outcome);
  });

  test('when the disk is full, and nothing is written', async () => {
    const t = await setup();
    await t.topic();
    t.used = 0.95;
    await t.rooms.retention.look();
    const end = t.journal.end;
    await expect(t.send('orders', 'x')).rejects.toMatchObject({
      code: 'DISK_FULL',
      retryable: true,
      extras: { retryAfterMs: 10_000 },
    });
    expect(t.journal.end).toBe(end);
    t.used = 0.5;
    await t.rooms.retention.look();
    await t.send('orders', 'x');
  });

  test('when the topic is deleted while it is written', async () => {
    const t = await setup();
    await t.topic();
    const deleting = t.rooms.topics.delete('orders', true);
    const sending = codeOf(t.send('orders', 'x'));
    await deleting;
    expect(await sending).toBe('TOPIC_NOT_FOUND');
  });
});

describe('the type of a topic is enforced', () => {
  const plain: Given = 'x';
  const fifo: Given = { messageGroup: 'g' };
  test.each([
    ['NORMAL', plain, 'stored'],
    ['NORMAL', fifo, 'MESSAGE_TYPE_MISMATCH'],
    ['FIFO', plain, 'MESSAGE_TYPE_MISMATCH'],
    ['FIFO', fifo, 'stored'],
    ['DELAY', plain, 'MESSAGE_TYPE_MISMATCH'],
    ['DELAY', fifo, 'MESSAGE_TYPE_MISMATCH'],
    ['TRANSACTION', plain, 'MESSAGE_TYPE_MISMATCH'],
    ['TRANSACTION', fifo, 'MESSAGE_TYPE_MISMATCH'],
    ['MIXED', plain, 'stored'],
    ['MIXED', fifo, 'stored'],
  ] as const)('%s × %j → %s', async (type, sent, outcome) => {
    const t = await setup();
    await t.topic('orders', { type });
    const { codes } = await attempt(t, 'orders', [sent]);
    expect(codes).toEqual([outcome]);
  });
});

describe('a topic of declared tags', () => {
  test('takes these and messages without one, and refuses others by item', async () => {
    const t = await setup();
    await t.topic('orders', { tagPolicy: 'DECLARED' });
    await t.rooms.topics.putTag('orders', 'created', undefined);
    const sent = [{ tag: 'created' }, { tag: 'Created' }, 'untagged', { tag: 'paid' }];
    expect((await attempt(t, 'orders', sent)).codes).toEqual([
      'stored',
      'TAG_NOT_DECLARED',
      'stored',
      'TAG_NOT_DECLARED',
    ]);
    await t.rooms.topics.putTag('orders', 'paid', undefined);
    await t.rooms.topics.deleteTag('orders', 'created');
    expect((await attempt(t, 'orders', sent)).codes).toEqual([
      'TAG_NOT_DECLARED',
      'TAG_NOT_DECLARED',
      'stored',
      'stored',
    ]);
  });

  test('an open topic takes any', async () => {
    const t = await setup();
    await t.topic();
    expect((await attempt(t, 'orders', [{ tag: 'whatever' }])).codes).toEqual(['stored']);
  });
});

test('a request of refused items alone writes nothing', async () => {
  const t = await setup();
  await t.topic('orders', { type: 'FIFO' });
  const end = t.journal.end;
  expect((await attempt(t, 'orders', ['a', 'b'])).codes).toEqual(['MESSAGE_TYPE_MISMATCH', 'MESSAGE_TYPE_MISMATCH']);
  expect(t.journal.end).toBe(end);
});

test('whatever is refused, the rest of a request is one command and answered in its order', async () => {
  const t = await setup();
  await t.topic();
  const end = t.journal.end;
  const { results, codes } = await attempt(t, 'orders', [
    pinned(0, 'a'),
    { messageGroup: 'g' },
    pinned(0, 'b'),
    pinned(9),
    pinned(0, 'c'),
  ]);
  expect(codes).toEqual(['stored', 'MESSAGE_TYPE_MISMATCH', 'stored', 'QUEUE_NOT_FOUND', 'stored']);
  expect([0, 2, 4].map((i) => stored(results[i]!).queueOffset)).toEqual([0, 1, 2]);
  expect(t.journal.end).toBe(end + 1);
  expect(await t.readAll('orders', 0)).toEqual(['a', 'b', 'c']);
});

describe('an Idempotency-Key', () => {
  const minutes = (n: number) => n * 60_000;

  test('sent again answers the first answer and stores nothing', async () => {
    const t = await setup();
    await t.topic();
    const first = await attempt(t, 'orders', ['a', 'b'], 'k1');
    const end = t.journal.end;
    const second = await attempt(t, 'orders', ['a', 'b'], 'k1');
    expect(first.replayed).toBe(false);
    expect(second).toEqual({ ...first, replayed: true });
    expect(t.journal.end).toBe(end);
  });

  test('is remembered by topic: another topic stores', async () => {
    const t = await setup();
    await t.topic();
    await t.topic('mail');
    await attempt(t, 'orders', ['a'], 'k1');
    expect((await attempt(t, 'mail', ['a'], 'k1')).replayed).toBe(false);
  });

  test.each<[string, Given[]]>([
    ['another body', ['b']],
    ['another tag', [{ body: 'a', tag: 't' }]],
    ['another property', [{ body: 'a', properties: { p: '1' } }]],
    ['another queue', [pinned(0, 'a')]],
    ['bytes instead of text', [{ body: 'a', text: false }]],
    ['one message more', ['a', 'a']],
    ['nothing', []],
  ])('with %s is refused', async (_, other) => {
    const t = await setup();
    await t.topic();
    await attempt(t, 'orders', ['a'], 'k1');
    expect(await codeOf(attempt(t, 'orders', other, 'k1'))).toBe('IDEMPOTENCY_KEY_REUSED');
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(true);
  });

  test('is refused while its first call still runs, and only then', async () => {
    const t = await setup();
    await t.topic();
    const hold = t.disk.hold('journal', 'write');
    const first = attempt(t, 'orders', ['a'], 'k1');
    await hold.reached;
    await expect(attempt(t, 'orders', ['a'], 'k1')).rejects.toMatchObject({
      code: 'IDEMPOTENCY_IN_PROGRESS',
      retryable: true,
      extras: { retryAfterMs: 1000 },
    });
    hold.release();
    await first;
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(true);
  });

  test('of a request partly refused stores only the rest when it is repeated, in its place', async () => {
    const t = await setup();
    await t.topic('orders', { tagPolicy: 'DECLARED' });
    const request: Given[] = [
      pinned(0, 'a'),
      { body: 'b', tag: 'new', queue: { broker: NAME, queueId: 0 } },
      pinned(0, 'c'),
    ];
    const first = await attempt(t, 'orders', request, 'k1');
    expect(first.codes).toEqual(['stored', 'TAG_NOT_DECLARED', 'stored']);
    expect((await attempt(t, 'orders', request, 'k1')).codes).toEqual(['stored', 'TAG_NOT_DECLARED', 'stored']);
    await t.rooms.topics.putTag('orders', 'new', undefined);
    const second = await attempt(t, 'orders', request, 'k1');
    expect(second.codes).toEqual(['stored', 'stored', 'stored']);
    expect(second.replayed).toBe(false);
    expect([second.results[0], second.results[2]]).toEqual([first.results[0], first.results[2]]);
    expect(await t.readAll('orders', 0)).toEqual(['a', 'c', 'b']);
    const third = await attempt(t, 'orders', request, 'k1');
    expect(third.replayed).toBe(true);
    expect(third.results).toEqual(second.results);
  });

  test('of a request wholly refused is not remembered', async () => {
    const t = await setup();
    await t.topic('orders', { type: 'FIFO' });
    await attempt(t, 'orders', ['a'], 'k1');
    const other = await attempt(t, 'orders', [{ body: 'other', messageGroup: 'g' }], 'k1');
    expect([other.replayed, other.codes]).toEqual([false, ['stored']]);
  });

  test('is forgotten after ten minutes, not before', async () => {
    const t = await setup();
    await t.topic();
    await attempt(t, 'orders', ['a'], 'k1');
    await t.clock.advance(minutes(10) - 1);
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(true);
    await t.clock.advance(1);
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(false);
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(true);
  });

  test.each(['restart', 'crash'] as const)('survives a %s', async (how) => {
    const t = await setup();
    await t.topic();
    const first = await attempt(t, 'orders', ['a', 'b'], 'k1');
    await t[how]();
    const again = await attempt(t, 'orders', ['a', 'b'], 'k1');
    expect(again).toEqual({ ...first, replayed: true });
    await t.clock.advance(1000); // flushed
    await t[how]();
    expect(await attempt(t, 'orders', ['a', 'b'], 'k1')).toEqual({ ...first, replayed: true });
    expect(await codeOf(attempt(t, 'orders', ['x', 'b'], 'k1'))).toBe('IDEMPOTENCY_KEY_REUSED');
  });

  test('holds when the wall clock is set back in between', async () => {
    const t = await setup();
    await t.topic();
    await attempt(t, 'orders', ['a'], 'k1');
    t.clock.jumpTo(t.clock.now() - HOUR);
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(true);
  });

  test('of a deleted topic says nothing about the new one of that name', async () => {
    const t = await setup();
    await t.topic();
    await attempt(t, 'orders', ['a'], 'k1');
    await t.rooms.topics.delete('orders', false);
    await t.topic();
    expect((await attempt(t, 'orders', ['a'], 'k1')).replayed).toBe(false);
  });

  test('makes an unknown outcome repeatable', async () => {
    const t = await setup();
    await t.topic();
    t.memory.disk.fail();
    await expect(attempt(t, 'orders', ['a'], 'k1')).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: true });
    expect(t.fatal.splice(0)).toHaveLength(1);
    expect(await codeOf(attempt(t, 'orders', ['a'], 'k1'))).toBe('SERVICE_NOT_AVAILABLE');
    await t.kill();
  });

  test('does not block its key when the call failed', async () => {
    const t = await setup();
    await t.topic('orders', { permission: 'R' });
    expect(await codeOf(attempt(t, 'orders', ['a'], 'k1'))).toBe('NO_PERMISSION');
    await t.rooms.topics.update('orders', { permission: 'RW' });
    expect((await attempt(t, 'orders', ['a'], 'k1')).codes).toEqual(['stored']);
  });

  test('is bounded in how many run at once', async () => {
    const t = await setup();
    await t.topic();
    const hold = t.disk.hold('journal', 'write');
    const running = Array.from({ length: LIMITS.keyedCalls }, (_, i) => attempt(t, 'orders', ['a'], `k${i}`));
    expect(await codeOf(attempt(t, 'orders', ['a'], 'one-more'))).toBe('SERVICE_NOT_AVAILABLE');
    hold.release();
    await Promise.all(running);
    expect((await attempt(t, 'orders', ['a'], 'one-more')).codes).toEqual(['stored']);
  });
});

test('without a key an unknown outcome is not called repeatable', async () => {
  const t = await setup();
  await t.topic();
  t.memory.disk.fail();
  await expect(t.send('orders', 'a')).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: false });
  expect(t.fatal.splice(0)).toHaveLength(1);
  await t.kill();
});
