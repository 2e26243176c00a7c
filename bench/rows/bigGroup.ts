/**
 * The 64 consumers of one group drain a backlog of 1 KiB messages out of the memory tail, each with a connection and a
 * queue of its own, and commit as they go: each poll commits what the one before it gave.
 */
import type { Broker } from '../broker';
import { Consumer, drain } from '../consumer';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const CONSUMERS = 64;
const BACKLOG = 200_000;
const WARM_BACKLOG = 20_000;
/** Room for the whole backlog in memory. */
const TAIL_OPTIONS = ['--tail-bytes', '512MiB'];
const MAX = 256;
/** Longest reading, so that a slow broker does not use up the bench's three minutes. */
const LIMIT_MS = 4000;

export const bigGroup: Row = { name: 'big-group', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('big-group', TAIL_OPTIONS);
  await drainTogether(session, broker, 'warm', WARM_BACKLOG);
  const { perSecond, joinMs, uncommitted } = await drainTogether(session, broker, 'bench', BACKLOG);
  await session.discard(broker);
  return [
    {
      what: `backlog read by a group of ${CONSUMERS}, max ${MAX}`,
      value: perSecond,
      unit: 'msg/s',
      note: uncommitted === 0 ? 'and committed' : `and committed; ${uncommitted.toLocaleString('en')} left`,
      details: { joinMs },
    },
  ];
}

/** Fills a topic and reads it; the group is named like the topic. */
async function drainTogether(session: Session, broker: Broker, topic: string, backlog: number) {
  await broker.createTopic(topic, CONSUMERS);
  await session.writeBacklog(broker, topic, backlog);
  const consumers = Array.from(
    { length: CONSUMERS },
    (_, i) => new Consumer({ port: broker.port, topic, group: topic, id: `reader-${i}`, max: MAX, autoCommit: true }),
  );
  const joining = performance.now();
  for (const consumer of consumers) await consumer.join();
  await checkShared(broker, topic);
  const began = performance.now();
  const counts = await Promise.all(consumers.map(drainAndCommit));
  const ms = performance.now() - began;
  for (const consumer of consumers) consumer.close();
  const { lag } = JSON.parse(await broker.tell('GET', `/v1/groups/${topic}/offsets`)) as { lag: number };
  const messages = counts.reduce((sum, count) => sum + count, 0);
  if (messages + lag < backlog) throw new Error(`of ${backlog} messages ${messages} were read, and ${lag} are left`);
  return { perSecond: (messages / ms) * 1000, joinMs: began - joining, uncommitted: lag };
}

/** One poll more than there are pages: the last page is committed, too. */
async function drainAndCommit(consumer: Consumer): Promise<number> {
  const { messages } = await drain(consumer, LIMIT_MS);
  return messages + (await consumer.poll()).messages;
}

/** Each has a queue before the first one polls: nothing has to be handed over any more. */
async function checkShared(broker: Broker, group: string): Promise<void> {
  const text = await broker.tell('GET', `/v1/groups/${group}/consumers`);
  const { consumers } = JSON.parse(text) as { consumers: { queues: unknown[] }[] };
  const sharing = consumers.filter(({ queues }) => queues.length === 1).length;
  if (sharing !== CONSUMERS) throw new Error(`${sharing} of ${CONSUMERS} consumers have a queue`);
}
