/** Traffic of a broker per second. */
import { Rates } from '../../src/broker/rates';
import { ManualClock } from '../support/clock';

function setup() {
  const clock = new ManualClock();
  const traffic = { messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0 };
  const rates = new Rates(clock, () => ({ ...traffic }));
  const pass = async (seconds: number, messages: number) => {
    traffic.messagesIn += messages;
    traffic.bytesIn += 10 * messages;
    traffic.messagesOut += 2 * messages;
    traffic.bytesOut += 20 * messages;
    await clock.advance(seconds * 1000);
  };
  return { clock, traffic, rates, pass };
}

test('in the first second nobody can tell; then it is since the start', async () => {
  const { clock, rates, pass } = setup();
  await clock.advance(999);
  expect(rates.perSecond()).toBeUndefined();
  await pass(0.001, 100);
  expect(rates.perSecond()).toEqual({ messagesIn: 100, messagesOut: 200, bytesIn: 1000, bytesOut: 2000 });
});

test('traffic of over a minute ago does not count if there was a look since', async () => {
  const { rates, pass } = setup();
  await pass(30, 3000);
  rates.note();
  await pass(30, 30);
  rates.note();
  await pass(30, 30);
  expect(rates.perSecond()?.messagesIn).toBe(1);
});

test('when nobody looked for long, it is since the last look', async () => {
  const { rates, pass } = setup();
  await pass(200, 400);
  expect(rates.perSecond()?.messagesIn).toBe(2);
  rates.note();
  await pass(100, 100);
  rates.note();
  expect(rates.perSecond()?.messagesIn).toBe(1);
});

test('counts that went with a topic make no rate below zero', async () => {
  const { traffic, rates, pass } = setup();
  await pass(10, 100);
  rates.note();
  traffic.messagesIn = 0;
  await pass(10, 0);
  rates.note();
  await pass(1, 5);
  expect(Object.values(rates.perSecond()!).every((rate) => rate >= 0)).toBe(true);
});
