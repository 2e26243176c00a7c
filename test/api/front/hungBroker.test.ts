/** Questions about all brokers while one hangs: the others' answers come soon, and say who is not among them. */
import { clusterFront } from '../../../api/front/clusterFront';
import { messageFront } from '../../../api/front/messageFront';
import { Rounds } from '../../../api/front/rounds';
import { topicFront } from '../../../api/front/topicFront';
import { transactionFront } from '../../../api/front/transactionFront';
import type { OperationId } from '../../../api/operation';
import { answered, bodyOf, FrontBench } from './frontBench';

/** The least time in which a client may notice. */
const NOTICED_MS = 1100;
const HARDLY_MS = 300;

const LISTS: Readonly<Record<string, object>> = {
  listTopics: { topics: [] },
  listBrokers: { brokers: [] },
  listQueues: { queues: [] },
  listTags: { policy: 'OPEN', declared: [], seen: [] },
  listScheduled: { scheduled: [] },
  listTransactions: { transactions: [] },
  queryMessages: { messages: [] },
  getTopic: { name: 'orders' },
  testFilter: { examined: 0, matched: 0, failed: 0, complete: true, results: [] },
};

class HungBench extends FrontBench {
  readonly #table = {
    ...topicFront(new Rounds(this.front), { brokersOf: () => Promise.resolve([]) }),
    ...clusterFront(new Rounds(this.front)),
    ...messageFront({ front: this.front, groups: { brokersOf: () => Promise.resolve([]) } }),
    ...transactionFront({ rounds: new Rounds(this.front), sending: this.sending }),
  };

  constructor() {
    super();
    for (const broker of this.brokers.values()) broker.answer = ({ operation }) => answered(200, LISTS[operation]);
  }

  ask(id: OperationId) {
    const parts = { path: { topic: 'orders' }, query: { limit: 10 }, body: {} };
    return this.through(this.#table, id, parts);
  }
}

const ASKED = Object.keys(LISTS) as OperationId[];

test.each(ASKED)('%s', async (id) => {
  const t = new HungBench();
  t.broker('a').network = 'HUNG';
  const first = await t.ask(id);
  expect(first.result.status).toBe(200);
  expect(first.ms).toBeLessThan(id === 'queryMessages' || id === 'testFilter' ? NOTICED_MS + 2000 : NOTICED_MS);
  expect((await t.ask(id)).ms).toBeLessThan(HARDLY_MS);
  if (id !== 'getTopic') expect(bodyOf(first.result)).toMatchObject({ unavailable: ['a'] });
});

test('once it answers again it is heard at once', async () => {
  const t = new HungBench();
  t.broker('b').network = 'HUNG';
  await t.ask('listBrokers');
  t.broker('b').network = 'UP';
  const { result } = await t.ask('listBrokers');
  expect(bodyOf(result)).toEqual({ brokers: [] });
});

test('a message is found while another broker hangs, and its absence is told soon', async () => {
  const t = new HungBench();
  t.broker('a').network = 'HUNG';
  const table = messageFront({ front: t.front, groups: { brokersOf: () => Promise.resolve([]) } });
  const asked = t.through(table, 'getMessage', { path: { topic: 'orders', messageId: 'x' } });
  expect((await asked).ms).toBe(0);
});
