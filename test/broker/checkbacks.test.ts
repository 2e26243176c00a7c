/** Producers are asked what became of their transactions: by poll, shared among those who poll, or by webhook. */
import type { CheckCaller, TransactionCheck } from '../../src/broker/checkbacks';
import { CHECK_DEFAULTS } from '../../src/broker/producerGroup';
import { message, setup, stopBrokers, until, type TestBroker } from '../support/broker';
import type { ManualClock } from '../support/clock';

afterEach(stopBrokers);

type Bench = TestBroker<ManualClock>;

const S = 1000;
const WEBHOOK = { url: 'https://example.com/checks', secret: 'whsec_AAAA' };

async function bank(caller?: CheckCaller): Promise<Bench> {
  const t = await setup();
  if (caller) {
    t.checkCaller = caller;
    await t.restart();
  }
  await t.topic('transfers', { type: 'TRANSACTION', readQueues: 1, writeQueues: 1 });
  return t;
}

async function prepare(t: Bench, body = 'pay', more: object = {}): Promise<string> {
  const request = { producerGroup: 'banks', message: message(body), ...more };
  return (await t.rooms.transactions.prepare('transfers', request)).transactionId;
}

const end = (t: Bench, id: string) => t.rooms.transactions.end(id, { resolution: 'COMMIT', producerGroup: 'banks' });

function poll(t: Bench, more: object = {}, group = 'banks'): Promise<TransactionCheck[]> {
  const { signal } = new AbortController();
  return t.rooms.checkbacks
    .poll(group, { max: 32, waitMs: 0, signal: () => signal, ...more })
    .then(({ checks }) => checks);
}

const ids = (checks: readonly TransactionCheck[]) => checks.map(({ transactionId }) => transactionId);
const halfOf = async (t: Bench, id: string) => (await t.rooms.transactions.get(id)).half;

/** A webhook that is told what to answer, and remembers what it was asked. */
class Webhook implements CheckCaller {
  readonly asked: { id: string; checks: number; at: number; body: string }[] = [];
  answer: (check: TransactionCheck) => Promise<'COMMIT' | 'ROLLBACK' | 'UNKNOWN'> = () => Promise.resolve('UNKNOWN');
  now = () => 0;
  check = () => Promise.resolve();
  ask(_: unknown, check: TransactionCheck) {
    const { transactionId: id, half, record } = check;
    this.asked.push({ id, checks: half.checks, at: this.now(), body: record.toString('latin1').slice(-3) });
    return this.answer(check);
  }
}

/** A bank whose webhook is called. */
async function called(given: Partial<Webhook> = {}): Promise<{ t: Bench; webhook: Webhook }> {
  const webhook = Object.assign(new Webhook(), given);
  const t = await bank(webhook);
  webhook.now = () => t.clock.now();
  await t.rooms.checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS, webhook: WEBHOOK });
  return { t, webhook };
}

test('an empty answer says why', async () => {
  const t = await bank();
  const { signal } = new AbortController();
  const reason = async (waitMs = 0) =>
    (await t.rooms.checkbacks.poll('banks', { max: 1, waitMs, signal: () => signal })).reason;
  expect(await reason()).toBe('CAUGHT_UP');
  const id = await prepare(t);
  expect(await reason()).toBe('NOT_DUE');
  await t.clock.advance(CHECK_DEFAULTS.checkAfterMs);
  expect(await reason()).toBeUndefined();
  expect(await reason()).toBe('NOT_DUE'); // it was asked, and will be again
  await end(t, id);
  expect(await reason()).toBe('CAUGHT_UP');
  const waiting = reason(10_000);
  await t.parked(1);
  t.broker.lot.close();
  expect(await waiting).toBe('SHUTTING_DOWN');
});

describe('a poll', () => {
  test('is told of a transaction after six seconds, then every thirty, fifteen times; then it is parked', async () => {
    const t = await bank();
    const id = await prepare(t);
    await t.clock.advance(6 * S - 1);
    expect(await poll(t)).toEqual([]);
    await t.clock.advance(1);
    for (let n = 1; n <= 15; n++) {
      expect((await poll(t)).map(({ transactionId, half }) => [transactionId, half.checks])).toEqual([[id, n]]);
      expect(await poll(t)).toEqual([]);
      if (n === 8) await t.crash();
      await t.clock.advance(30 * S - 1);
      expect([n, await poll(t)]).toEqual([n, []]);
      expect((await halfOf(t, id)).parked).toBeUndefined();
      await t.clock.advance(1);
    }
    await until(() => t.state.halves.open.values().next().value!.parked === true, 'the transaction parked');
    expect(await poll(t)).toEqual([]);
    await t.crash();
    await t.clock.advance(600 * S);
    expect([await poll(t), t.rooms.transactions.list({ parked: true }, -1, 10).transactions.length]).toEqual([[], 1]);
    await end(t, id); // whoever knows may still say
    expect(await t.readAll('transfers', 0)).toEqual(['pay']);
  });

  test('brings the message, so that any member can look', async () => {
    const t = await bank();
    await prepare(t, 'from A to B');
    await t.clock.advance(6 * S);
    const [check] = await poll(t);
    expect(check!.record.toString('latin1')).toContain('from A to B');
  });

  test('waits until one is due', async () => {
    const t = await bank();
    const waiting = poll(t, { waitMs: 30 * S });
    await t.parked(1);
    const id = await prepare(t);
    await t.clock.advance(6 * S - 20);
    await t.parked(1);
    await t.clock.advance(40);
    expect(ids(await waiting)).toEqual([id]);
  });

  test('that waited in vain is answered with nothing', async () => {
    const t = await bank();
    const waiting = poll(t, { waitMs: 2 * S });
    await t.parked(1);
    await t.clock.advance(2 * S);
    expect(await waiting).toEqual([]);
  });

  test('is not told of what was decided', async () => {
    const t = await bank();
    const [first, second] = [await prepare(t), await prepare(t)];
    await end(t, first);
    await t.clock.advance(6 * S);
    expect(ids(await poll(t))).toEqual([second]);
  });

  test('of another group is told nothing', async () => {
    const t = await bank();
    await prepare(t);
    await t.clock.advance(6 * S);
    expect(await poll(t, {}, 'shops')).toEqual([]);
    expect(await poll(t)).toHaveLength(1);
  });

  test('shares the work with others: each transaction goes to one of them', async () => {
    const t = await bank();
    const polls = Array.from({ length: 5 }, () => poll(t, { waitMs: 30 * S, max: 2 }));
    await t.parked(5);
    const prepared: string[] = [];
    for (let i = 0; i < 10; i++) prepared.push(await prepare(t));
    await t.clock.advance(6 * S + 100);
    const answers = await Promise.all(polls);
    expect(answers.map((checks) => checks.length)).toEqual([2, 2, 2, 2, 2]);
    expect(answers.flatMap(ids).sort()).toEqual(prepared.sort());
  });

  test('whose client went away takes nothing; the next one is told', async () => {
    const t = await bank();
    const gone = new AbortController();
    const first = poll(t, { waitMs: 30 * S, signal: () => gone.signal });
    const second = poll(t, { waitMs: 30 * S });
    await t.parked(2);
    const id = await prepare(t);
    gone.abort();
    expect(await first).toEqual([]);
    await t.clock.advance(6 * S + 100);
    expect(ids(await second)).toEqual([id]);
    expect((await halfOf(t, id)).checks).toBe(1);
  });

  test('while nobody asks, no question counts: a producer that was away is asked as often as any', async () => {
    const t = await bank();
    const id = await prepare(t);
    await t.clock.advance(3600 * S);
    expect(await halfOf(t, id)).toMatchObject({ checks: 0 });
    expect((await poll(t)).map(({ half }) => half.checks)).toEqual([1]);
  });

  test('is told at its own time when the message, or its group, says so', async () => {
    const t = await bank();
    await t.rooms.checkbacks.putGroup({ name: 'banks', checkAfterMs: 60 * S, checkIntervalMs: 5 * S, maxChecks: 2 });
    const slow = await prepare(t);
    const fast = await prepare(t, 'pay', { checkAfterMs: S });
    await t.clock.advance(S);
    expect(ids(await poll(t))).toEqual([fast]);
    await t.clock.advance(5 * S);
    expect(ids(await poll(t))).toEqual([fast]);
    await t.clock.advance(5 * S);
    await until(() => [...t.state.halves.open.values()].some(({ parked }) => parked), 'the fast one parked');
    await t.clock.advance(49 * S);
    expect(ids(await poll(t))).toEqual([slow]);
  });

  test('brings large messages a few at a time', async () => {
    const t = await bank();
    for (let i = 0; i < 10; i++) await prepare(t, `${i}${'x'.repeat(1 << 20)}`);
    await t.clock.advance(6 * S);
    let rounds = 0;
    let found = 0;
    for (let more = await poll(t); more.length > 0; more = await poll(t), rounds++) found += more.length;
    expect([found, rounds > 1]).toEqual([10, true]);
  });

  test('that the disk refuses leaves the questions due', async () => {
    const t = await bank();
    const id = await prepare(t);
    await t.clock.advance(6 * S);
    const { core } = t.rooms;
    const refuse = jest.spyOn(core, 'submit').mockRejectedValueOnce(new Error('no room'));
    await expect(poll(t)).rejects.toThrow('no room');
    refuse.mockRestore();
    expect(ids(await poll(t))).toEqual([id]);
  });

  test('more questions may be allowed, and fewer, while a transaction is open', async () => {
    const t = await bank();
    const id = await prepare(t);
    const settings = { name: 'banks', checkAfterMs: 6 * S, checkIntervalMs: 10 * S };
    await t.rooms.checkbacks.putGroup({ ...settings, maxChecks: 1 });
    await t.clock.advance(6 * S);
    expect(ids(await poll(t))).toEqual([id]);
    await t.rooms.checkbacks.putGroup({ ...settings, maxChecks: 3 });
    await t.clock.advance(10 * S);
    expect(ids(await poll(t))).toEqual([id]);
    await t.rooms.checkbacks.putGroup({ ...settings, maxChecks: 2 });
    await t.clock.advance(10 * S);
    expect(await poll(t)).toEqual([]);
    await until(() => [...t.state.halves.open.values()].every(({ parked }) => parked), 'the transaction parked');
  });
});

describe('a webhook', () => {
  test('is asked when nobody polls, and what it answers is done', async () => {
    const { t, webhook } = await called();
    const now = t.clock.now();
    const [a, b, c] = [await prepare(t, 'a'), await prepare(t, 'b'), await prepare(t, 'c')];
    webhook.answer = ({ transactionId }) =>
      Promise.resolve(transactionId === a ? 'COMMIT' : transactionId === b ? 'ROLLBACK' : 'UNKNOWN');
    await t.clock.advance(6 * S + 100);
    await until(() => t.state.halves.open.size === 1, 'two decisions');
    const asked = webhook.asked.map(({ id, checks }) => [id, checks]);
    expect(asked.sort()).toEqual([a, b, c].map((id) => [id, 1]));
    expect(webhook.asked[0]!.at - now).toBeGreaterThanOrEqual(6 * S);
    expect(await t.readAll('transfers', 0)).toEqual(['a']);
    webhook.answer = () => Promise.resolve('COMMIT');
    await t.clock.advance(30 * S + 100);
    await until(() => t.state.halves.open.size === 0, 'the third');
    expect(webhook.asked.slice(3).map(({ id, checks }) => [id, checks])).toEqual([[c, 2]]);
  });

  test('is not asked while somebody polls', async () => {
    const { t, webhook } = await called();
    const waiting = poll(t, { waitMs: 30 * S });
    await t.parked(1);
    const id = await prepare(t);
    await t.clock.advance(6 * S + 100);
    expect([ids(await waiting), webhook.asked]).toEqual([[id], []]);
  });

  test('that fails is left alone, longer each time, and asked again when it is back', async () => {
    const { t, webhook } = await called({ answer: () => Promise.reject(new Error('it is down')) });
    for (let i = 0; i < 20; i++) await prepare(t, `${i}`);
    await t.clock.advance(6 * S + 100);
    const burst = webhook.asked.length;
    expect(burst).toBeLessThanOrEqual(8);
    const at: number[] = [];
    for (let i = 0; i < 600; i++) {
      const before = webhook.asked.length;
      await t.clock.advance(S);
      if (webhook.asked.length > before) at.push(i);
    }
    expect(webhook.asked.length - burst).toBeLessThanOrEqual(12); // not 20 every 30 seconds
    const gaps = at.slice(1).map((second, i) => second - at[i]!);
    expect(gaps.length).toBeGreaterThan(0);
    expect(gaps).toEqual([...gaps].sort((a, b) => a - b));
    webhook.answer = () => Promise.resolve('COMMIT');
    for (let i = 0; i < 400 && t.state.halves.open.size > 0; i++) await t.clock.advance(S);
    expect(t.state.halves.open.size).toBe(0);
    expect(await t.readAll('transfers', 0)).toHaveLength(20);
  });

  test('that fails is left alone as long when there was nothing to ask meanwhile', async () => {
    const { t, webhook } = await called({ answer: () => Promise.reject(new Error('it is down')) });
    for (let i = 0; i < 5; i++) {
      const id = await prepare(t);
      await t.clock.advance(6 * S + 100);
      await t.clock.advance(60 * S);
      await end(t, id);
      await t.clock.advance(S); // nothing is open now
    }
    const before = webhook.asked.length;
    await prepare(t);
    await t.clock.advance(6 * S + 100);
    expect(webhook.asked.length).toBe(before); // still left alone
    webhook.answer = () => Promise.resolve('COMMIT');
    for (let i = 0; i < 400 && t.state.halves.open.size > 0; i++) await t.clock.advance(S);
    expect(t.state.halves.open.size).toBe(0);
  });

  test('that fails is named in the log, with the transaction', async () => {
    const { t } = await called({ answer: () => Promise.reject(new Error('it is down')) });
    const transactionId = await prepare(t);
    await t.clock.advance(6 * S + 100);
    await until(() => t.logged.some(({ msg }) => msg === 'the webhook of a producer group failed'), 'a line');
    const line = t.logged.find(({ msg }) => msg === 'the webhook of a producer group failed');
    expect(line).toMatchObject({ group: 'banks', url: WEBHOOK.url, transactionId, pauseMs: 1000 });
  });

  test('that fails several calls at once has failed once: it is asked again after a second', async () => {
    const { t, webhook } = await called({ answer: () => Promise.reject(new Error('it restarts')) });
    for (let i = 0; i < 20; i++) await prepare(t, `${i}`);
    await t.clock.advance(6 * S + 100);
    const burst = webhook.asked.length;
    expect(burst).toBe(8);
    webhook.answer = () => Promise.resolve('COMMIT');
    await t.clock.advance(2 * S);
    await until(() => t.state.halves.open.size === burst, 'those that were not asked before');
    expect(await t.readAll('transfers', 0)).toHaveLength(20 - burst);
  });

  test('is asked about a few transactions at once, and about all in the end', async () => {
    const waiting: (() => void)[] = [];
    const { t, webhook } = await called({
      answer: () => new Promise((resolve) => waiting.push(() => resolve('COMMIT'))),
    });
    for (let i = 0; i < 50; i++) await prepare(t, `${i}`);
    await t.clock.advance(6 * S + 100);
    expect(webhook.asked).toHaveLength(8);
    while (t.state.halves.open.size > 0) {
      waiting.splice(0).forEach((answer) => answer());
      await t.clock.advance(50);
    }
    expect(new Set(webhook.asked.map(({ id }) => id)).size).toBe(50);
  });

  test('that answers what was decided meanwhile changes nothing, and did not fail', async () => {
    let answer!: () => void;
    const { t, webhook } = await called({
      answer: () => new Promise((resolve) => (answer = () => resolve('ROLLBACK'))),
    });
    const id = await prepare(t);
    await t.clock.advance(6 * S + 100);
    await end(t, id);
    answer();
    await t.settled();
    expect(await t.readAll('transfers', 0)).toEqual(['pay']);
    await prepare(t);
    await t.clock.advance(6 * S + 100);
    expect(webhook.asked).toHaveLength(2);
  });

  test('set while transactions are overdue is asked at once', async () => {
    const webhook = new Webhook();
    const t = await bank(webhook);
    await prepare(t);
    await t.clock.advance(100 * S);
    expect(webhook.asked).toEqual([]);
    await t.rooms.checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS, webhook: WEBHOOK });
    await t.clock.advance(100);
    expect(webhook.asked).toHaveLength(1);
    await t.restart();
    await t.clock.advance(30 * S);
    expect(webhook.asked.map(({ checks }) => checks)).toEqual([1, 2]);
  });
});

describe('the settings of a producer group', () => {
  test('are listed by name, page by page', async () => {
    const t = await bank();
    const { checkbacks } = t.rooms;
    for (const name of ['c', 'a', 'b']) await checkbacks.putGroup({ name, ...CHECK_DEFAULTS });
    const names = (after: string, limit: number) => {
      const { groups, more } = checkbacks.list(after, limit);
      return [groups.map(({ name }) => name), more];
    };
    expect([names('', 2), names('b', 2), names('', 3)]).toEqual([
      [['a', 'b'], true],
      [['c'], false],
      [['a', 'b', 'c'], false],
    ]);
  });

  test('are deleted when nothing is open, or by force; what is open is asked about by the defaults then', async () => {
    const { t, webhook } = await called();
    const { checkbacks } = t.rooms;
    const id = await prepare(t);
    const refused = checkbacks.deleteGroup('banks', false);
    await expect(refused).rejects.toMatchObject({ code: 'IN_USE', extras: { members: { transactionIds: [id] } } });
    await expect(checkbacks.deleteGroup('banks', true, { ifMatch: 7 })).rejects.toThrow('changed');
    await checkbacks.deleteGroup('banks', true, { ifMatch: 1 });
    expect(() => checkbacks.group('banks')).toThrow('defaults');
    await expect(checkbacks.deleteGroup('banks', true)).rejects.toMatchObject({ code: 'PRODUCER_GROUP_NOT_FOUND' });
    await t.clock.advance(6 * S + 100);
    expect(webhook.asked).toEqual([]);
    expect(ids(await poll(t))).toEqual([id]);
    await t.crash();
    expect(() => t.rooms.checkbacks.group('banks')).toThrow('defaults');
  });

  test('are replaced as a whole, guarded by their version, and survive', async () => {
    const t = await bank();
    const { checkbacks } = t.rooms;
    expect(() => checkbacks.group('banks')).toThrow('defaults');
    const first = await checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS, maxChecks: 3, webhook: WEBHOOK });
    expect([first.created, first.group.version]).toEqual([true, 1]);
    await expect(checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS }, { ifMatch: 7 })).rejects.toThrow('changed');
    await expect(checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS }, { ifAbsent: true })).rejects.toThrow(
      'exists',
    );
    const second = await checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS }, { ifMatch: 1 });
    expect(second.group).toMatchObject({ version: 2, maxChecks: 15 });
    expect(second.group.webhook).toBeUndefined();
    await t.crash();
    expect(t.rooms.checkbacks.group('banks')).toEqual(second.group);
  });
});

test('tens of thousands that were decided in time cost no question', async () => {
  const t = await bank();
  const submit = jest.spyOn(t.rooms.core, 'submit');
  for (let round = 0; round < 20; round++) {
    const prepared = await Promise.all(Array.from({ length: 500 }, () => prepare(t)));
    await Promise.all(prepared.map((id) => end(t, id)));
    await t.clock.advance(S);
  }
  await t.clock.advance(60 * S);
  expect(submit.mock.calls.filter(([{ kind }]) => kind === 'checkHalves')).toEqual([]);
  expect(await t.readAll('transfers', 0)).toHaveLength(10_000);
});
