/** What a start reads: rows that are missing are noticed, and a journal that begins anew has nothing to add. */
import { tableKeys } from '../../storage/keys';
import { loadTables } from '../../src/broker/load';
import { hourOf } from '../../src/broker/idRuns';
import { BrokerState } from '../../src/broker/state';
import { Tail } from '../../src/broker/tail';
import { NAME, setup, stopBrokers } from '../support/broker';

afterEach(stopBrokers);

const load = async (t: Awaited<ReturnType<typeof setup>>) => {
  const state = new BrokerState(new Tail(1000));
  await loadTables(state, t.folder.tables, NAME);
  return state;
};

describe('a family of rows that is loaded whole', () => {
  test.each(['t', 'x', 'g', 'o', 'D', 'S', 'Q'])('%s is not loaded with a row missing', async (letter) => {
    const t = await setup();
    await t.topic();
    await t.topic('gone');
    await t.rooms.topics.delete('gone', false);
    await t.rooms.topics.putTag('orders', 'a', undefined);
    await t.send('orders', { tag: 'a' });
    await t.group();
    await t.rooms.retention.trim(t.journal.end + 1, 0, []);
    await t.broker.stop();
    await expect(load(t)).resolves.toBeInstanceOf(BrokerState);
    const [row] = await t.disk.keys('tables', letter);
    const batch = t.disk.engines.tables!.batch();
    batch.delete(Buffer.from(row!, 'hex'));
    await batch.write({ sync: true });
    await expect(load(t)).rejects.toThrow(`family ${letter}`);
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
