/** What a start reads: rows that are missing are noticed, and a journal that begins anew has nothing to add. */
import { tableKeys } from '../../storage/keys';
import { loadTables } from '../../src/broker/load';
import { hourOf } from '../../src/broker/idRuns';
import { BrokerState, type Family } from '../../src/broker/state';
import { Tail } from '../../src/broker/tail';
import { CHECK_DEFAULTS } from '../../src/broker/producerGroup';
import { HOUR, message, NAME, setup, stopBrokers, to } from '../support/broker';

afterEach(stopBrokers);

const FAMILIES: readonly Family[] = [
  't',
  'u',
  'x',
  'G',
  'g',
  'o',
  'D',
  'S',
  'Q',
  'O',
  'N',
  'L',
  'A',
  'b',
  'P',
  'c',
  'w',
  'h',
  'p',
  'e',
];

const load = async (t: Awaited<ReturnType<typeof setup>>) => {
  const state = new BrokerState(new Tail(1000));
  await loadTables(state, t.folder.tables, NAME);
  return state;
};

describe('a family of rows that is loaded whole', () => {
  /** A broker that stopped with rows in all of them. */
  async function full() {
    const t = await setup();
    await t.topic();
    await t.topic('gone');
    await t.rooms.topics.delete('gone', false);
    await t.rooms.topics.putTag('orders', 'a', undefined);
    for (let queueId = 0; queueId < 4; queueId++)
      await t.send('orders', to(queueId, 'x', { tag: 'a' }), to(queueId, 'y'));
    await t.group();
    await t.group('gone');
    await t.rooms.groups.delete('gone', false);
    await t.group('search');
    await t.join('search');
    await t.poll('search', 'c1');
    const failed = { topic: 'orders', broker: NAME, queueId: 0, queueOffset: 0 };
    await t.rooms.retries.sendBack('search', { consumerId: 'c1', messages: [failed] });
    await t.topic('reminders', { type: 'DELAY' });
    await t.schedule('reminders', { delayMs: HOUR });
    await t.topic('transfers', { type: 'TRANSACTION' });
    await t.rooms.transactions.prepare('transfers', { producerGroup: 'banks', message: message('pay') });
    await t.rooms.checkbacks.putGroup({ name: 'banks', ...CHECK_DEFAULTS });
    await t.rooms.checkbacks.putGroup({ name: 'gone', ...CHECK_DEFAULTS });
    await t.rooms.checkbacks.deleteGroup('gone', false);
    await t.rooms.notes.put('who', 'here', 1, HOUR);
    await t.group('mail', { mode: 'BROADCASTING' });
    await t.join('mail', 'c1');
    await t.rooms.retention.trim(t.state.applied + 1, { reason: 'age' });
    for (let queueId = 0; queueId < 4; queueId++) await t.send('orders', to(queueId, 'z', { tag: 'a' }));
    await t.receive('billing', { attemptId: 'once', max: 2 });
    await t.broker.stop();
    return t;
  }

  test.each([...FAMILIES])('%s is not loaded with a row missing', async (letter) => {
    const t = await full();
    await expect(load(t)).resolves.toBeInstanceOf(BrokerState);
    const [row] = await t.disk.keys('tables', letter);
    const batch = t.disk.engines.tables!.batch();
    batch.delete(Buffer.from(row!, 'hex'));
    await batch.write({ sync: true });
    await expect(load(t)).rejects.toThrow(`family ${letter}`);
  });

  test('is counted as it is changed', async () => {
    const t = await full();
    const { counts } = await load(t);
    expect(counts).toEqual(t.state.counts);
    expect(Object.keys(counts).sort()).toEqual([...FAMILIES].sort());
    for (const letter of FAMILIES)
      expect([letter, (await t.disk.keys('tables', letter)).length]).toEqual([letter, counts[letter]]);
  });
});

test('the first command of all sets the hour before which no message id is looked for', async () => {
  const t = await setup({ stopped: true });
  t.used = new Error('not asked yet');
  await expect(t.broker.start()).rejects.toThrow('not asked yet');
  expect(t.state.marks.idHour).toBe(hourOf(t.clock.now()));
});

test('empty tables are a state in which nothing has happened', async () => {
  const t = await setup({ stopped: true });
  const state = await load(t);
  expect([state.applied, state.topics.size, state.marks.journalHead]).toEqual([0, 0, 1]);
  expect(await t.folder.tables.get(tableKeys.fact('marks'))).toBeUndefined();
});
