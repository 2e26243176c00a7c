import type { GantryError } from '../../src/base/errors';
import { silentLog } from '../../src/base/log';
import { Nameserver } from '../../src/nameserver/nameserver';
import { ManualClock } from '../support/clock';
import { codeOf, full, topic } from './registrations';

async function setup() {
  const clock = new ManualClock();
  const nameserver = new Nameserver({ clock, log: silentLog });
  await nameserver.start();
  return { clock, nameserver };
}

test('a miss is STARTING for the first 35 s, then TOPIC_NOT_FOUND', async () => {
  const { clock, nameserver } = await setup();
  expect(codeOf(() => nameserver.route('orders'))).toBe('STARTING');
  try {
    nameserver.route('orders');
  } catch (error) {
    expect((error as GantryError).extras.retryAfterMs).toBe(1_000);
    expect((error as GantryError).retryable).toBe(true);
  }
  await clock.advance(34_999);
  expect(nameserver.starting).toBe(true);
  await clock.advance(1);
  expect(nameserver.starting).toBe(false);
  expect(codeOf(() => nameserver.route('orders'))).toBe('TOPIC_NOT_FOUND');
  await nameserver.stop();
});

test('what is registered is found while starting', async () => {
  const { nameserver } = await setup();
  nameserver.register('c', 'a', 1, full([topic('orders')]));
  expect(nameserver.route('orders').topic).toBe('orders');
  await nameserver.stop();
});

test('the starting time ends when told so', async () => {
  const { nameserver } = await setup();
  nameserver.started();
  expect(codeOf(() => nameserver.route('orders'))).toBe('TOPIC_NOT_FOUND');
  await nameserver.stop();
});

test('the scan runs every 10 s and removes who is silent', async () => {
  const { clock, nameserver } = await setup();
  nameserver.register('c', 'a', 1, full([topic('orders')]));
  await clock.advance(130_000);
  expect(codeOf(() => nameserver.unregister('c', 'a', 1))).toBe('BROKER_NOT_FOUND');
  await nameserver.stop();
});

test('a stopped NameServer leaves no timer, also when it was never started', async () => {
  const { clock, nameserver } = await setup();
  await nameserver.stop();
  await nameserver.stop();
  expect(clock.pendingTimers).toBe(0);
  const never = new Nameserver({ clock, log: silentLog });
  await never.stop();
  await never.start();
  expect(clock.pendingTimers).toBe(0);
});
