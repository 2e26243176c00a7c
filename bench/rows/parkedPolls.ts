/**
 * Memory of 1,000 polls that wait at once, each on a connection of its own: growth of the broker's resident memory,
 * connections included, from before the first connection. The consumers have joined before.
 */
import type { Broker } from '../broker';
import { Connection } from '../connection';
import { requestBytes } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const POLLS = 1000;
const GROUPS = 8;
/** Each consumer of a group owns one queue. */
const QUEUES = POLLS / GROUPS;
/** Until what the joins and the polls left behind has settled. */
const SETTLE_MS = 1500;
const MIB = 2 ** 20;

export const parkedPolls: Row = { name: 'parked-polls', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('parked-polls');
  await broker.createTopic(TOPIC, QUEUES);
  const paths = Array.from({ length: POLLS }, (_, i) => `/v1/groups/group-${i % GROUPS}/consumers/consumer-${i}`);
  for (const path of paths) await broker.tell('PUT', path, { topic: TOPIC, leaseMs: 120_000 });
  await settle();
  const before = rss(broker);
  const connections = paths.map(() => new Connection(broker.port));
  const early: string[] = [];
  paths.forEach((path, i) => {
    connections[i]!.send(requestBytes('GET', `${path}/messages?waitMs=30000`), {
      answered: (status, body) => early.push(`${status}: ${body.toString()}`),
      failed: (error) => early.push(error.message),
    });
  });
  await settle();
  const growth = rss(broker) - before;
  if (early.length > 0) throw new Error(`${early.length} polls did not wait, the first: ${early[0]?.slice(0, 300)}`);
  for (const connection of connections) connection.close();
  await session.discard(broker);
  return [
    {
      what: `memory of ${POLLS.toLocaleString('en')} parked polls`,
      value: growth / MIB,
      unit: 'MiB',
      target: { of: 'value', atMost: 40 },
      note: `${GROUPS} groups, connections included`,
      details: { rssBeforeMiB: before / MIB },
    },
  ];
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

function rss(broker: Broker): number {
  const bytes = broker.child.rssBytes;
  if (bytes === undefined) throw new Error('resident memory is read from /proc, which is not there');
  return bytes;
}
