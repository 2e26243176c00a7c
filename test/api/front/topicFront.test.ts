/** Topics asked about at a front: put together from all brokers, and none that hangs holds the answer up. */
import { topicFront } from '../../../api/front/topicFront';
import type { OperationId } from '../../../api/operation';
import { answered, bodyOf, failureOf, FrontBench, refused } from './frontBench';

const ALL = ['a', 'b', 'c'];
const LIST = { query: { limit: 2 } };

class TopicBench extends FrontBench {
  readonly #table = topicFront(this.rounds, { brokersOf: () => Promise.resolve(ALL) });

  ask(id: OperationId, parts: object = {}) {
    return this.through(this.#table, id, { path: { topic: 'orders' }, ...parts });
  }
}

/** Each broker has topics of its own, and all have `orders`, each in its version. */
function listing(): TopicBench {
  const t = new TopicBench();
  for (const [version, name] of ALL.entries()) {
    const topics = [
      { name: `${name}1`, version: 1 },
      { name: 'orders', version },
    ];
    t.broker(name).answer = ({ request }) => {
      const { cursor, limit } = request.query as { cursor?: string; limit: number };
      const after = cursor === undefined ? '' : Buffer.from(cursor, 'base64url').toString();
      const left = topics.filter((topic) => after === '' || !after.includes('orders') || topic.name > 'orders');
      return answered(200, { topics: left.slice(0, limit) });
    };
  }
  return t;
}

describe('a list of topics', () => {
  test('names each once, in its newest version', async () => {
    const { result } = await listing().ask('listTopics', { query: { limit: 10 } });
    const { topics } = bodyOf<{ topics: { name: string; version: number }[] }>(result);
    expect(topics.map(({ name, version }) => `${name} ${version}`)).toEqual(['a1 1', 'b1 1', 'c1 1', 'orders 2']);
  });

  test('goes on behind the last name when there are more than were wanted', async () => {
    const { result } = await listing().ask('listTopics', LIST);
    const { topics, cursor } = bodyOf<{ topics: { name: string }[]; cursor?: string }>(result);
    expect([topics.map(({ name }) => name), cursor]).toEqual([['a1', 'b1'], expect.any(String)]);
  });

  test.each(['HUNG', 'REFUSING'] as const)('is not held up by a broker that is %s, which is named', async (network) => {
    const t = listing();
    t.broker('b').network = network;
    const { result, ms } = await t.ask('listTopics', { query: { limit: 10 } });
    const { topics, unavailable } = bodyOf<{ topics: { name: string }[]; unavailable: string[] }>(result);
    expect([topics.map(({ name }) => name), unavailable]).toEqual([['a1', 'c1', 'orders'], ['b']]);
    expect(ms).toBeLessThanOrEqual(1100);
    t.broker('b').network = 'UP';
    // Whoever asks again is told how it is now.
    expect(bodyOf((await t.ask('listTopics', { query: { limit: 10 } })).result)).not.toHaveProperty('unavailable');
  });

  test('fails when nobody can be asked', async () => {
    const t = new TopicBench();
    for (const broker of t.brokers.values()) broker.network = 'REFUSING';
    expect(await failureOf(t.ask('listTopics', LIST))).toMatchObject({ code: 'SERVICE_NOT_AVAILABLE' });
  });
});

describe('a topic', () => {
  test('is shown by the next broker when its home hangs, and soon', async () => {
    const t = new TopicBench();
    for (const broker of t.brokers.values()) broker.answer = (asked) => answered(200, { by: asked.broker });
    expect(bodyOf((await t.ask('getTopic')).result)).toEqual({ by: 'a' });
    t.broker('a').network = 'HUNG';
    const { result, ms } = await t.ask('getTopic');
    expect([bodyOf(result), ms <= 1100]).toEqual([{ by: 'b' }, true]);
    expect((await t.ask('getTopic')).ms).toBeLessThan(100);
  });

  test('that its home does not have is not there, whatever others say', async () => {
    const t = new TopicBench();
    for (const broker of t.brokers.values()) broker.answer = (asked) => answered(200, { by: asked.broker });
    t.broker('a').answer = () => refused('TOPIC_NOT_FOUND');
    expect((await t.ask('getTopic')).result.status).toBe(404);
  });

  test('is deleted at one broker: at the next only when the first surely did nothing', async () => {
    const t = new TopicBench();
    for (const broker of t.brokers.values()) broker.answer = () => answered(204, {});
    t.broker('a').network = 'REFUSING';
    expect((await t.ask('deleteTopic', { query: { force: false } })).result.status).toBe(204);
    expect(t.askedBrokers).toEqual(['a', 'b']);
    t.asked.length = 0;
    await t.clock.advance(3000); // it is left alone for so long
    t.broker('a').network = 'LOSING';
    expect(await failureOf(t.ask('deleteTopic', { query: { force: false } }))).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    });
    expect(t.askedBrokers).toEqual(['a']);
  });
});
