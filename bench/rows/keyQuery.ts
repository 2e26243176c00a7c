/** Queries by key on a topic with a million messages, each with a key of its own, most of them not in memory any more. */
import type { Broker } from '../broker';
import { runTimes } from '../closedLoop';
import { Histogram } from '../histogram';
import { messageText, requestBytes } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const MESSAGES = 1_000_000;
const BATCH = 1000;
const BODY_BYTES = 100;
const WRITERS = 4;
const CONNECTIONS = 4;
/** What is read is what was flushed: the newest messages do not stay in memory. */
const OPTIONS = ['--tail-bytes', '16MiB'];
/** Neighbouring queries look far from each other. */
const STRIDE = 618_033;

export const keyQuery: Row = { name: 'key-query', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('key-query', OPTIONS);
  await broker.createTopic(TOPIC);
  const load = { port: broker.port, connections: WRITERS, request: sendOf };
  const { ms } = await runTimes(load, MESSAGES / BATCH);
  await checkFound(broker);
  const queries = { port: broker.port, connections: CONNECTIONS, request: queryOf };
  const latencies = new Histogram();
  await session.warm(queries);
  const perSecond = await session.measure(queries, latencies);
  await session.discard(broker);
  const p99 = latencies.percentile(0.99);
  return [
    {
      what: `query by key on ${MESSAGES / 1_000_000} M messages, ${CONNECTIONS} connections, p99`,
      value: p99,
      unit: 'ms',
      p50: latencies.percentile(0.5),
      p99,
      target: { of: 'value', atMost: 9 },
      note: `${Math.round(perSecond).toLocaleString('en')} queries/s`,
      details: { sentPerSecond: Math.round((MESSAGES / ms) * 1000) },
    },
  ];
}

const keyOf = (n: number): string => `order-${n % MESSAGES}`;

function sendOf(batch: number): Buffer {
  const body = messageText(BODY_BYTES);
  const messages = Array.from({ length: BATCH }, (_, i) => ({ body, keys: [keyOf(batch * BATCH + i)] }));
  return requestBytes('POST', `/v1/topics/${TOPIC}/messages`, JSON.stringify({ messages }));
}

const pathOf = (key: string): string => `/v1/topics/${TOPIC}/messages?key=${key}`;
const queryOf = (n: number): Buffer => requestBytes('GET', pathOf(keyOf(n * STRIDE)));

/** A query that finds nothing would be quick, too. */
async function checkFound(broker: Broker): Promise<void> {
  for (const n of [0, 1, MESSAGES / 2, MESSAGES - 1]) {
    const { messages } = JSON.parse(await broker.tell('GET', pathOf(keyOf(n)))) as { messages: { keys: string[] }[] };
    if (messages.length !== 1 || messages[0]!.keys[0] !== keyOf(n)) throw new Error(`${keyOf(n)} is not found`);
  }
}
