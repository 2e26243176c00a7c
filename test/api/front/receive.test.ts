/** Receiving from several brokers: leases run only where an answer is used, and each receipt finds its broker. */
import { topicDefinition } from '../../../src/broker/definition';
import { brokerMark, brokerMarkOf } from '../../../src/broker/receipts';
import type { Permission } from '../../../src/broker/topic';
import { codeOf, stopBrokers, turn } from '../../support/broker';
import { bodiesOf, Company, type Received } from './company';

afterEach(stopBrokers);

async function mailing(...names: string[]): Promise<Company> {
  const company = await Company.of(...names);
  await company.group('mail');
  // Where the group is, is known from now on.
  await company.received();
  company.asked = [];
  return company;
}

/** Messages of the group that are out, by broker. */
async function inFlight(company: Company): Promise<Record<string, number>> {
  const all = [...company.brokers].map(async ([name, t]) => [name, (await t.receive('mail', { max: 0 })).lag.inFlight]);
  return Object.fromEntries(await Promise.all(all)) as Record<string, number>;
}

const told = async (made: { answer: Promise<{ body: unknown }> }) => (await made.answer).body as Received;

describe('receiving', () => {
  test('takes from one broker, and leases nothing at the others', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1');
    const first = await company.received();
    expect(first.messages).toHaveLength(1);
    expect(Object.values(await inFlight(company)).sort()).toEqual([0, 1]);
    const second = await company.received();
    expect(bodiesOf({ messages: [...first.messages, ...second.messages] })).toEqual(['a1', 'b1']);
  });

  test('begins with another broker each time', async () => {
    const company = await mailing('broker-a', 'broker-b');
    for (let i = 0; i < 4; i++) await company.received();
    const firsts = company.asked.filter((_, i) => i % 2 === 0);
    expect(firsts.filter((asked) => asked === 'broker-a receiveMessages')).toHaveLength(2);
  });

  test('goes on to the next broker as long as it has too few', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1', 'b2', 'b3');
    const { messages } = await company.received({ min: 4, max: 4 });
    expect(bodiesOf({ messages })).toEqual(['a1', 'b1', 'b2', 'b3']);
    expect((await company.received({ max: 10 })).messages).toEqual([]);
  });

  test('waits at all of them and takes nothing; what comes is taken where it is', async () => {
    const company = await mailing('broker-a', 'broker-b', 'broker-c');
    const receive = company.receive({ waitMs: 5000, max: 10 });
    await company.parked(3);
    await company.send('broker-b', 'b1');
    expect((await told(receive)).messages).toMatchObject([{ body: 'b1', attempt: 1 }]);
    await company.parked(0);
    expect(await inFlight(company)).toEqual({ 'broker-a': 0, 'broker-b': 1, 'broker-c': 0 });
  });

  test('of several that wait each message is given to one', async () => {
    const company = await mailing('broker-a', 'broker-b');
    const waiting = Array.from({ length: 5 }, () => company.receive({ waitMs: 5000 }));
    await company.parked(10);
    await company.send('broker-a', 'a1', 'a2');
    await company.send('broker-b', 'b1', 'b2', 'b3');
    const all = await Promise.all(waiting.map(told));
    expect(bodiesOf({ messages: all.flatMap(({ messages }) => messages) })).toEqual(['a1', 'a2', 'b1', 'b2', 'b3']);
    await company.parked(0);
  });

  test('says why there is nothing when the wait is over, with the lag of all', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1');
    await company.received();
    const receive = company.receive({ waitMs: 1000 });
    await company.parked(2);
    await company.manual.advance(1000);
    expect(await told(receive)).toMatchObject({ messages: [], reason: 'IN_FLIGHT', lag: { ready: 0, inFlight: 1 } });
  });

  test('a repetition of an attempt gets the same messages, without another attempt', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1', 'a2');
    await company.send('broker-b', 'b1', 'b2');
    for (const attemptId of ['one', 'two', 'three', 'four']) {
      const first = await company.received({ attemptId });
      const second = await company.received({ attemptId });
      expect(second.messages).toEqual(first.messages);
      expect(second.messages[0]!.attempt).toBe(1);
    }
  });
});

describe('a client that is gone', () => {
  test('while it waits leaves all of them', async () => {
    const company = await mailing('broker-a', 'broker-b');
    const receive = company.receive({ waitMs: 30_000 });
    await company.parked(2);
    receive.gone();
    await expect(receive.answer).rejects.toThrow('the client went away');
    await company.parked(0);
    await company.send('broker-a', 'a1');
    expect((await company.received()).messages).toMatchObject([{ attempt: 1 }]);
  });

  test('before its answer was written gets nothing: the messages come back at once, without an attempt', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1');
    const receive = company.receive({ min: 2, max: 2 });
    for (let i = 0; i < 100 && !company.asked.includes('broker-b receiveMessages'); i++) await turn();
    receive.gone();
    await receive.answer.catch(() => undefined);
    const again = company.receive({ min: 2, max: 2, waitMs: 0 });
    let got = await told(again);
    for (let i = 0; i < 50 && got.messages.length < 2; i++) {
      await turn();
      const more = await company.received({ min: 2, max: 2 });
      got = { ...got, messages: [...got.messages, ...more.messages] };
    }
    expect(bodiesOf(got)).toEqual(['a1', 'b1']);
    expect(got.messages.map(({ attempt }) => attempt)).toEqual([1, 1]);
  });

  test('after the front had its answer: it is told to the broker', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1');
    await company.send('broker-b', 'b1');
    const receive = company.receive();
    receive.leaveUnread();
    const { messages } = await told(receive);
    expect(messages).toHaveLength(1);
    receive.gone();
    await company.on('broker-a').settled();
    expect(company.asked.at(-1)).toMatch(/^broker-[ab] giveBackReceipts$/);
    expect(await inFlight(company)).toEqual({ 'broker-a': 0, 'broker-b': 0 });
  });
});

describe('a broker that is away', () => {
  test('is passed over, and named', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-b', 'b1');
    company.network.set('broker-a', 'DOWN');
    const all = [await company.received(), await company.received()];
    expect(bodiesOf({ messages: all.flatMap(({ messages }) => messages) })).toEqual(['b1']);
    expect(all.flatMap(({ unavailable = [] }) => unavailable)).toEqual(['broker-a']);
  });

  test('does not end the wait at the others', async () => {
    const company = await mailing('broker-a', 'broker-b');
    company.network.set('broker-a', 'HUNG');
    const receive = company.receive({ waitMs: 5000 });
    for (let i = 0; i < 75; i++) await company.manual.advance(20);
    await company.parked(1);
    await company.send('broker-b', 'b1');
    expect((await told(receive)).messages).toMatchObject([{ body: 'b1' }]);
  });

  test('alone is the refusal', async () => {
    const company = await mailing('broker-a', 'broker-b');
    for (const name of company.brokers.keys()) company.network.set(name, 'DOWN');
    expect(await codeOf(company.received())).toBe('SERVICE_NOT_AVAILABLE');
  });
});

test('a group that is used by members is refused, and one that nobody knows, too', async () => {
  const company = await mailing('broker-a', 'broker-b');
  expect(await codeOf(company.received({}, 'nobody'))).toBe('GROUP_NOT_FOUND');
  await company.join('c1', 'mail');
  expect(await codeOf(company.received())).toBe('STYLE_CONFLICT');
});

describe('a topic that may not be read', () => {
  const permit = async (company: Company, permission: Permission) => {
    const [home, ...others] = company.brokers.values();
    const { topic } = await home!.rooms.topics.update('orders', { permission });
    for (const t of others) await t.rooms.definitions.install(topicDefinition(topic, []));
  };

  test('is refused, whatever is leased', async () => {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1', 'a2');
    await company.received();
    await permit(company, 'W');
    expect(await codeOf(company.received())).toBe('NO_PERMISSION');
    expect(await codeOf(company.received({ waitMs: 1000 }))).toBe('NO_PERMISSION');
    await permit(company, 'RW');
    expect(bodiesOf(await company.received())).toEqual(['a2']);
  });

  test('is refused to those that wait, too', async () => {
    const company = await mailing('broker-a', 'broker-b');
    const refused = codeOf(company.received({ waitMs: 30_000 }));
    await company.parked(2);
    await permit(company, 'W');
    expect(await refused).toBe('NO_PERMISSION');
  });
});

describe('receipts', () => {
  async function four() {
    const company = await mailing('broker-a', 'broker-b');
    await company.send('broker-a', 'a1', 'a2');
    await company.send('broker-b', 'b1', 'b2');
    const { messages } = await company.received({ min: 4, max: 4 });
    const handles = messages.map(({ receiptHandle }) => receiptHandle);
    // One of the one broker after one of the other.
    return { company, handles: [handles[0]!, handles[2]!, handles[1]!, handles[3]!] };
  }

  const results = ({ body }: { body: Record<string, never> }) =>
    (body['results'] as unknown as { status: string; receiptHandle: string; error?: { code: string } }[]).map(
      ({ status, receiptHandle, error }) => ({ status, receiptHandle, code: error?.code }),
    );

  test('are acknowledged each at its broker, and answered in the order of the request', async () => {
    const { company, handles } = await four();
    const answer = await company.call('ackMessages', { path: { group: 'mail' }, body: { receiptHandles: handles } });
    expect(answer.status).toBe(200);
    expect(results(answer)).toEqual(handles.map((receiptHandle) => ({ status: 'OK', receiptHandle })));
    expect(await inFlight(company)).toEqual({ 'broker-a': 0, 'broker-b': 0 });
    expect((await company.received()).reason).toBe('CAUGHT_UP');
  });

  test('that nobody made are refused as a broker does it', async () => {
    const { company, handles } = await four();
    const receiptHandles = ['AAAA', handles[0]!, `${handles[1]!.slice(0, -1)}${handles[1]!.endsWith('A') ? 'B' : 'A'}`];
    const answer = await company.call('ackMessages', { path: { group: 'mail' }, body: { receiptHandles } });
    expect(answer.status).toBe(207);
    expect(results(answer).map(({ code }) => code)).toEqual(['RECEIPT_INVALID', undefined, 'RECEIPT_INVALID']);
    const none = await company.call('ackMessages', { path: { group: 'mail' }, body: { receiptHandles: ['AAAA'] } });
    expect(none).toMatchObject({
      status: 400,
      body: { code: 'RECEIPT_INVALID', results: [{ receiptHandle: 'AAAA' }] },
    });
  });

  test('of a broker that is away fail, the others do not', async () => {
    const { company, handles } = await four();
    const lost = brokerMarkOf(handles[0]!) === brokerMark('broker-a') ? 'broker-a' : 'broker-b';
    company.network.set(lost, 'DOWN');
    const receipts = handles.map((receiptHandle) => ({ receiptHandle, delayMs: 1000 }));
    const answer = await company.call('nackMessages', { path: { group: 'mail' }, body: { receipts } });
    expect(answer.status).toBe(207);
    const away = 'SERVICE_NOT_AVAILABLE';
    expect(results(answer)).toEqual([
      { status: 'FAILED', receiptHandle: handles[0], code: away },
      { status: 'OK', receiptHandle: handles[1] },
      { status: 'FAILED', receiptHandle: handles[2], code: away },
      { status: 'OK', receiptHandle: handles[3] },
    ]);
  });

  test('are extended', async () => {
    const { company, handles } = await four();
    const receipts = handles.map((receiptHandle) => ({ receiptHandle, invisibleMs: 500_000 }));
    const answer = await company.call('extendReceipts', { path: { group: 'mail' }, body: { receipts } });
    expect(results(answer).map(({ status }) => status)).toEqual(['OK', 'OK', 'OK', 'OK']);
    await company.manual.advance(100_000);
    expect((await company.received()).reason).toBe('IN_FLIGHT');
  });
});
