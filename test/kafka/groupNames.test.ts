/** Groups may have any name here; native operations reach them by one that says the same. */
import { nativeGroup } from '../../api/kafka/groupNames';
import type { Http } from '../support/http';
import { JSON_V2, startSite, type Kafka } from '../support/kafka';
import type { Standalone } from '../support/node';

let node: Standalone;
let rest: Kafka;
let native: Http;

beforeAll(async () => {
  ({ node, rest, native } = await startSite());
});
afterAll(() => node.stop());

test.each([
  ['billing', 'billing'],
  ['a_b.c-D9', 'a_b.c-D9'],
  ['app:orders', 'app~3Aorders'],
  ['me@host', 'me~40host'],
  ['two words', 'two~20words'],
  [' ', '~20'],
  ['a/b', 'a~2Fb'],
  ['~3A', '~7E3A'],
  ['%DLQ%x', '~25DLQ~25x'],
  ['größe', 'gr~C3~B6~C3~9Fe'],
  ['😀', '~F0~9F~98~80'],
  ['.', '~2E'],
  ['..', '~2E~2E'],
])('%j is natively %s', (name, expected) => expect(nativeGroup(name)).toBe(expected));

test.each(['app:orders', 'me@host', 'two words', ' ', 'größe/😀', '~3A', '%DLQ%x', 'a+b&c=d?e#f'])(
  'a session in the group %j',
  async (name) => {
    const topic = `topic-${[...name].map((one) => one.codePointAt(0)).join('-')}`;
    await native.call('createTopic', { body: { name: topic, writeQueues: 1 } });
    await rest.post(`/topics/${topic}`, { records: [{ value: 1 }, { value: 2 }] }, { type: JSON_V2 });
    const group = encodeURIComponent(name);
    const made = await rest.post(`/consumers/${group}`, {
      ...{ name: 'i', format: 'json', 'auto.offset.reset': 'earliest', 'auto.commit.enable': 'false' },
    });
    const base = new URL((made.body as { base_uri: string }).base_uri);
    expect(decodeURIComponent(base.pathname.split('/')[2]!)).toBe(name);
    await rest.post(`${base.pathname}/subscription`, { topics: [topic] });
    const { body } = await rest.get(`${base.pathname}/records?timeout=5000`, { accept: JSON_V2 });
    expect((body as { value: number }[]).map(({ value }) => value)).toEqual([1, 2]);
    expect((await rest.post(`${base.pathname}/offsets`)).status).toBe(200);

    const path = { group: nativeGroup(name) };
    expect((await native.call('getOffsets', { path })).body).toMatchObject({ group: path.group, lag: 0 });
    expect((await native.call('listConsumers', { path })).body.consumers).toMatchObject([{ consumerId: 'i' }]);
    const queue = { topic, broker: 'broker-a', queueId: 0, queueOffset: 1 };
    const back = { consumerId: 'i', messages: [{ ...queue, delayMs: 0 }] };
    expect((await native.call('sendBack', { path, body: back })).status).toBe(200);
    expect((await rest.delete(base.pathname)).status).toBe(204);
    expect((await native.call('resetOffsets', { path, body: { to: 'EARLIEST' } })).status).toBe(200);
    expect((await native.call('deleteGroup', { path })).status).toBe(204);
  },
);

test('an invalid name is refused', async () => {
  expect(await rest.post('/consumers/a%0Ab')).toMatchObject({ status: 400, body: { error_code: 400 } });
  expect(await rest.post(`/consumers/${':'.repeat(41)}`)).toMatchObject({ status: 422, body: { error_code: 422 } });
  expect((await rest.post(`/consumers/${':'.repeat(40)}`)).status).toBe(200);
  expect(await rest.get('/consumers/a%0Ab/instances/i/records')).toMatchObject({ status: 400 });
  await native.call('createTopic', { body: { name: 'orders' } });
  for (const group of ['a~', 'a~3', 'a~3a', 'a:b', '~RETRY'])
    expect(await native.call('putGroup', { path: { group }, body: { topic: 'orders' } })).toMatchObject({
      status: 400,
    });
});
