/**
 * Changes that concern several brokers while one of them hangs: what can be done is done, the wait is bounded, and the
 * answer says what was done, what was not, and which broker did not answer.
 */
import { codeOf, stopBrokers } from '../../support/broker';
import { Company, type Told } from './company';

afterEach(stopBrokers);

const group = 'billing';
const path = { group };
const BOTH = ['broker-a', 'broker-b'];
/** The longest time that a change waits for a broker that was well before. */
const FIRST_MS = 2600;
/** The same for one that let the last call wait in vain. */
const NEXT_MS = 600;

interface Item {
  readonly broker?: string;
  readonly receiptHandle?: string;
  readonly error?: { readonly code: string; readonly retryable: boolean; readonly detail: string };
}

const itemsOf = ({ body }: Told) => (body as unknown as { results: Item[] }).results;
const said = (answer: Told) => ({
  status: answer.status,
  unavailable: answer.body['unavailable'] as unknown,
  failed: itemsOf(answer).flatMap(({ error, broker }) => (error ? [`${broker} ${error.code}`] : [])),
});

/** A member that was given a message of each broker, then one of the brokers hangs. */
async function hung(name = 'broker-b') {
  const company = await Company.of(...BOTH);
  await company.group(group);
  await company.join();
  for (const broker of BOTH) await company.send(broker, `${broker} 1`);
  const { cursor, generation, messages } = await company.poll();
  company.network.set(name, 'HUNG');
  const committed = () => BOTH.map((broker) => company.on(broker).committed()[0]);
  return { company, cursor, generation, messages, committed };
}

test('a cursor is committed at the others, soon, and at the one that hung when it is back', async () => {
  const { company, cursor, committed } = await hung();
  const commit = () => company.timed(company.call('commitOffsets', { path, body: { consumerId: 'c1', cursor } }));
  const first = await commit();
  expect(first.ms).toBeLessThan(FIRST_MS);
  expect(said(first.result)).toEqual({
    ...{ status: 207, unavailable: ['broker-b'], failed: ['broker-b OUTCOME_UNKNOWN'] },
  });
  expect(itemsOf(first.result).find(({ error }) => error)).toMatchObject({ error: { retryable: true } });
  expect(committed()).toEqual([1, 0]);
  const second = await commit();
  expect(second.ms).toBeLessThan(NEXT_MS);
  // Nothing was sent to it this time.
  expect(said(second.result)).toMatchObject({ unavailable: ['broker-b'], failed: ['broker-b SERVICE_NOT_AVAILABLE'] });
  company.network.clear();
  const third = await commit();
  expect(third.ms).toBeLessThan(NEXT_MS);
  expect(said(third.result)).toEqual({ status: 200, unavailable: undefined, failed: [] });
  expect(committed()).toEqual([1, 1]);
});

test.each(['HUNG', 'DOWN'] as const)('a broker of which the cursor covers nothing fails no commit: %s', async (how) => {
  const company = await Company.of(...BOTH);
  await company.group(group);
  for (const consumer of ['c1', 'c2', 'c3']) await company.join(consumer);
  for (const consumer of ['c1', 'c2', 'c3']) await company.join(consumer);
  await company.send('broker-a', 'a1');
  const { cursor } = await company.poll();
  company.network.set('broker-b', how);
  const { result } = await company.timed(company.call('commitOffsets', { path, body: { consumerId: 'c1', cursor } }));
  expect(result).toMatchObject({ status: 200, body: { results: [{ status: 'OK', broker: 'broker-a', queueId: 0 }] } });
  expect(company.on('broker-a').committed()[0]).toBe(1);
});

test('positions by name: each has its result', async () => {
  const { company, generation, committed } = await hung('broker-a');
  const offsets = BOTH.map((broker) => ({ topic: 'orders', broker, queueId: 0, nextOffset: 1 }));
  const body = { consumerId: 'c1', generation, offsets };
  const commit = () => company.timed(company.call('commitOffsets', { path, body }));
  const first = await commit();
  expect(first.ms).toBeLessThan(FIRST_MS);
  expect(said(first.result)).toEqual({
    ...{ status: 207, unavailable: ['broker-a'], failed: ['broker-a OUTCOME_UNKNOWN'] },
  });
  expect((await commit()).ms).toBeLessThan(NEXT_MS);
  expect(committed()).toEqual([0, 1]);
});

test('a poll that commits says where it did not, and its cursor commits that later', async () => {
  const { company, cursor, committed } = await hung();
  const { result, ms } = await company.timed(company.poll({ cursor, autoCommit: true }));
  expect(ms).toBeLessThan(FIRST_MS);
  expect(result).toMatchObject({ unavailable: ['broker-b'], uncommitted: ['broker-b'] });
  expect(committed()).toEqual([1, 0]);
  company.network.clear();
  await company.manual.advance(15_000); // it is left alone for so long
  const { result: after } = await company.timed(company.poll({ cursor: result.cursor, autoCommit: true }));
  expect(after).not.toHaveProperty('uncommitted');
  expect(committed()).toEqual([1, 1]);
});

test('messages that are given back: their fate is told, and where the cursor is not committed', async () => {
  const { company, cursor, messages, committed } = await hung();
  const [given] = messages.filter(({ broker }) => broker === 'broker-a');
  const message = { topic: 'orders', broker: 'broker-a', queueId: 0, queueOffset: given!.queueOffset };
  const body = { consumerId: 'c1', messages: [message], cursor };
  const { result, ms } = await company.timed(company.call('sendBack', { path, headers: {}, body }));
  expect(ms).toBeLessThan(FIRST_MS);
  expect(result).toMatchObject({
    status: 200,
    body: { cursorCommitted: false, uncommitted: ['broker-b'], unavailable: ['broker-b'], results: [{ status: 'OK' }] },
  });
  expect(committed()).toEqual([1, 0]);
});

test('a consumer leaves where it can, and is told where it is still thought to be', async () => {
  const { company } = await hung();
  const leave = () => company.timed(company.call('leaveGroup', { path: { group, consumerId: 'c1' } }));
  const { result, ms } = await leave();
  expect(ms).toBeLessThan(FIRST_MS);
  expect(said(result)).toMatchObject({ status: 207, failed: ['broker-b OUTCOME_UNKNOWN'] });
  company.network.clear();
  expect((await leave()).result.status).toBe(204);
});

test('positions are reset at the others, and the one that hung is named', async () => {
  const { company, committed } = await hung();
  const { result, ms } = await company.timed(company.call('resetOffsets', { path, body: { to: 'LATEST' } }));
  expect(ms).toBeLessThan(FIRST_MS);
  expect(result).toMatchObject({ status: 200, body: { dryRun: false, unavailable: ['broker-b'] } });
  expect(committed()).toEqual([1, 0]);
});

test('receipts: those of the others are settled', async () => {
  const company = await Company.of(...BOTH);
  await company.group('mail');
  for (const broker of BOTH) await company.send(broker, `${broker} 1`);
  const { messages } = await company.received({ max: 2, min: 2 });
  expect(messages).toHaveLength(2);
  company.network.set('broker-b', 'HUNG');
  const receipts = messages.map(({ receiptHandle }) => ({ receiptHandle }));
  const settle = (id: 'ackMessages' | 'extendReceipts' | 'nackMessages', body: object) =>
    company.timed(company.call(id, { path: { group: 'mail' }, body }));
  const extended = await settle('extendReceipts', {
    receipts: receipts.map((one) => ({ ...one, invisibleMs: 60_000 })),
  });
  expect(extended.ms).toBeLessThan(FIRST_MS);
  expect(extended.result).toMatchObject({ status: 207, body: { unavailable: ['broker-b'] } });
  const acked = await settle('ackMessages', { receiptHandles: messages.map(({ receiptHandle }) => receiptHandle) });
  expect(acked.ms).toBeLessThan(NEXT_MS);
  expect(acked.result).toMatchObject({ status: 207, body: { unavailable: ['broker-b'] } });
  expect(itemsOf(acked.result).filter(({ error }) => error?.code === 'SERVICE_NOT_AVAILABLE')).toHaveLength(1);
});

test('when all of them hang nobody says that nothing was done', async () => {
  const { company, cursor } = await hung();
  company.network.set('broker-a', 'HUNG');
  const commit = () => company.timed(company.call('commitOffsets', { path, body: { consumerId: 'c1', cursor } }));
  const { result, ms } = await commit();
  expect(ms).toBeLessThan(FIRST_MS);
  expect(result).toMatchObject({ status: 504, body: { code: 'OUTCOME_UNKNOWN', retryable: true, unavailable: BOTH } });
  const again = await commit();
  expect(again.ms).toBeLessThan(NEXT_MS);
  expect(again.result).toMatchObject({ status: 503, body: { code: 'SERVICE_NOT_AVAILABLE', unavailable: BOTH } });
});

test('a group is deleted by the next broker when its home hangs', async () => {
  const { company } = await hung('broker-a');
  const remove = () =>
    company.timed(codeOf(company.call('deleteGroup', { path, query: { force: true }, headers: {} })));
  const first = await remove();
  expect(first.result).toBe('OUTCOME_UNKNOWN');
  const second = await remove();
  expect(second.ms).toBeLessThan(NEXT_MS);
  expect(second.result).toMatchObject({ resolved: { status: 207, body: { unavailable: ['broker-a'] } } });
});

test('that a group may be at a broker that hangs is told soon', async () => {
  const { company } = await hung();
  const ask = () => company.timed(codeOf(company.call('getGroup', { path: { group: 'unknown' } })));
  expect((await ask()).ms).toBeLessThan(1100);
  expect(await ask()).toMatchObject({ result: 'SERVICE_NOT_AVAILABLE' });
  expect((await ask()).ms).toBeLessThan(300);
});
