/**
 * What a SQL filter costs for each message that it looks at. One consumer reads a backlog out of the memory tail: all of
 * it, by a filter that takes everything and by none; and one message in 50, by properties and by the tag, which the index
 * decides about without a look at the message.
 */
import { alternate, type Compared } from '../alternation';
import type { Broker } from '../broker';
import { runTimes } from '../closedLoop';
import { Consumer, drain } from '../consumer';
import { messageText, requestBytes } from '../request';
import type { Line, Row } from '../row';
import { BACKLOG_BATCH, type Session } from '../session';

const TOPIC = 'bench';
const BACKLOG = 60_000;
const CONNECTIONS = 8;
const ROUNDS = 2;
const LIMIT_MS = 5000;

const EVERYTHING = { type: 'TAG', expression: '*' };
const ALL_BY_SQL = { type: 'SQL92', expression: "region IN ('eu', 'us') AND total >= 0" };
const FEW_BY_TAG = { type: 'TAG', expression: 'wanted' };
const FEW_BY_SQL = { type: 'SQL92', expression: "region = 'eu' AND total > 100" };

export const sqlFilter: Row = { name: 'sql-filter', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('sql-filter', ['--tail-bytes', '256MiB']);
  await broker.createTopic(TOPIC);
  const request = batch();
  await runTimes({ port: broker.port, connections: CONNECTIONS, request: () => request }, BACKLOG / BACKLOG_BATCH);
  const by = (filter: object) => () => read(broker, filter);
  for (const filter of [EVERYTHING, ALL_BY_SQL]) await read(broker, filter);
  const all = await alternate(ROUNDS, by(EVERYTHING), by(ALL_BY_SQL));
  const few = await alternate(ROUNDS, by(FEW_BY_TAG), by(FEW_BY_SQL));
  await session.discard(broker);
  return [
    line('SQL filter that takes all, max 256', 'no filter', all),
    line(`SQL filter that takes 1 in ${BACKLOG_BATCH}`, 'tag filter', few),
  ];
}

/** One of them is wanted, by its tag and by its properties. */
function batch(): Buffer {
  const messages = Array.from({ length: BACKLOG_BATCH }, (_, i) => ({
    body: messageText(),
    tag: i === 0 ? 'wanted' : 'other',
    properties: { region: i % 2 === 0 ? 'eu' : 'us', total: i === 0 ? '250.50' : String(i), customer: `c-${i}` },
  }));
  return requestBytes('POST', `/v1/topics/${TOPIC}/messages`, JSON.stringify({ messages }));
}

let groups = 0;

/** A group of its own reads to the end; answers messages per second that were looked at. */
async function read(broker: Broker, filter: object): Promise<number> {
  const group = `readers-${++groups}`;
  await broker.tell('PUT', `/v1/groups/${group}`, { topic: TOPIC, filter });
  const consumer = new Consumer({ port: broker.port, topic: TOPIC, group, id: 'reader', max: 256 });
  await consumer.join();
  const { messages, perSecond } = await drain(consumer, LIMIT_MS);
  consumer.close();
  const expected = filter === EVERYTHING || filter === ALL_BY_SQL ? BACKLOG : BACKLOG / BACKLOG_BATCH;
  if (messages !== expected) throw new Error(`${messages} messages were read instead of ${expected}`);
  return (BACKLOG / messages) * perSecond;
}

function line(what: string, name: string, { a, b, ratio }: Compared): Line {
  const more = 1e6 / b - 1e6 / a;
  return {
    ...{ what, value: b, unit: 'msg/s', baseline: { name, value: a }, ratio },
    note: `looked at; ${more.toFixed(1)} µs more for each`,
  };
}
