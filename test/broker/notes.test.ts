/** Notes of fronts: the newest of each name, for as long as they last. */
import { LIMITS } from '../../src/base/limits';
import { setup, stopBrokers } from '../support/broker';

afterEach(stopBrokers);

test('the newest version counts, in whatever order they come', async () => {
  const t = await setup();
  expect(t.rooms.notes.get('a')).toBeUndefined();
  await t.rooms.notes.put('a', 'two', 2, 1000);
  await t.rooms.notes.put('a', 'one', 1, 1000);
  expect(t.rooms.notes.get('a')).toMatchObject({ value: 'two', version: 2 });
  await t.rooms.notes.put('a', '', 3, 1000);
  await t.rooms.notes.put('a', 'two', 2, 1000);
  expect(t.rooms.notes.get('a')).toMatchObject({ value: '', version: 3 });
});

test('its time ends, and then any version counts again', async () => {
  const t = await setup();
  await t.rooms.notes.put('a', 'short', 9, 1000);
  await t.clock.advance(999);
  expect(t.rooms.notes.get('a')).toMatchObject({ value: 'short' });
  await t.clock.advance(1);
  expect(t.rooms.notes.get('a')).toBeUndefined();
  await t.rooms.notes.put('a', 'again', 1, 1000);
  expect(t.rooms.notes.get('a')).toMatchObject({ value: 'again' });
});

test('they outlive a restart, with what is left of their time', async () => {
  const t = await setup();
  await t.rooms.notes.put('a', 'kept', 1, 10_000);
  await t.rooms.notes.put('b', 'gone', 1, 1000);
  await t.restart();
  expect(t.rooms.notes.get('a')).toMatchObject({ value: 'kept', version: 1 });
  await t.clock.advance(5000);
  await t.restart();
  expect([t.rooms.notes.get('a')?.value, t.rooms.notes.get('b')]).toEqual(['kept', undefined]);
});

test('what is old makes room by itself', async () => {
  const t = await setup();
  for (let i = 0; i < 100; i++) await t.rooms.notes.put(`old-${i}`, 'x', 1, 1000);
  await t.clock.advance(2000);
  for (let i = 0; i < 25; i++) await t.rooms.notes.put(`new-${i}`, 'x', 1, 100_000);
  expect([...t.state.notes.keys()].filter((name) => name.startsWith('old-'))).toEqual([]);
  expect(t.state.counts.e).toBe(25);
  await t.restart();
  expect(t.state.notes.size).toBe(25);
});

test('there is a bound', async () => {
  const t = await setup();
  const until = t.clock.now() + 1_000_000;
  for (let i = 0; i < LIMITS.notes; i++) t.state.notes.set(`n${i}`, { name: `n${i}`, value: '', version: 1, until });
  await expect(t.rooms.notes.put('one more', 'x', 1, 1000)).rejects.toMatchObject({ code: 'LIMIT_EXCEEDED' });
  await t.rooms.notes.put('n5', 'new', 2, 1000);
  expect(t.rooms.notes.get('n5')).toMatchObject({ value: 'new' });
  t.state.notes.clear();
});
