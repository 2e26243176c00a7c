/** The Kafka REST face against the native API of the same broker: records of 1 KiB in, one and many at a time, and out. */
import { alternate } from '../alternation';
import type { Broker } from '../broker';
import { Connection } from '../connection';
import { Histogram } from '../histogram';
import { messageText, requestBytes, sendRequest } from '../request';
import type { Line, Row } from '../row';
import { askOn, checked } from '../served';
import { BACKLOG_BATCH, type Session } from '../session';

const TOPIC = 'bench';
const CONNECTIONS = 32;
const BATCHES = [1, 50, 500];
const FORMATS = ['json', 'binary'] as const;
type Format = (typeof FORMATS)[number];
const BACKLOG = 100_000;
/** Longest reading of one line. */
const LIMIT_MS = 5000;
const JSON_V2 = 'application/vnd.kafka.json.v2+json';

export const kafkaProduce: Row = { name: 'kafka-produce', run: produce };
export const kafkaRecords: Row = { name: 'kafka-records', run: records };

async function produce(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('kafka-produce');
  await broker.createTopic(TOPIC);
  const lines: Line[] = [];
  for (const format of FORMATS) for (const batch of BATCHES) lines.push(await compare(session, broker, format, batch));
  await session.discard(broker);
  return lines;
}

async function compare(session: Session, broker: Broker, format: Format, batch: number): Promise<Line> {
  const load = { port: broker.port, connections: batch > 100 ? CONNECTIONS / 4 : CONNECTIONS };
  const native = { ...load, request: always(sendRequest(TOPIC, batch)) };
  const ours = { ...load, request: always(produceRequest(format, batch)) };
  const latencies = new Histogram();
  await session.warm(native);
  await session.warm(ours);
  const { a, b, ratio } = await alternate(
    session.rounds,
    async () => batch * (await session.measure(native)),
    async () => batch * (await session.measure(ours, latencies)),
  );
  return {
    what: `Kafka REST, produce of ${batch}, ${format}, ${load.connections} connections`,
    value: b,
    unit: 'msg/s',
    baseline: { name: 'native send', value: a },
    ratio,
    p50: latencies.percentile(0.5),
    p99: latencies.percentile(0.99),
    target: { of: 'ratio', atLeast: 0.85 },
  };
}

const always = (request: Buffer) => () => request;

function produceRequest(format: Format, count: number): Buffer {
  const text = messageText();
  const value = format === 'binary' ? Buffer.from(text).toString('base64') : text;
  const body = JSON.stringify({ records: Array.from({ length: count }, () => ({ value })) });
  const type = `application/vnd.kafka.${format}.v2+json`;
  return Buffer.from(requestBytes('POST', `/topics/${TOPIC}`, body).toString().replace('application/json', type));
}

async function records(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('kafka-records', ['--tail-bytes', '512MiB']);
  await broker.createTopic(TOPIC);
  const backlog = { port: broker.port, connections: 8, request: always(produceRequest('json', BACKLOG_BATCH)) };
  await session.warm(backlog);
  const first = await read(broker, 'warm');
  await session.writeBacklog(broker, TOPIC, BACKLOG - first.records);
  const { records: count, perSecond } = await read(broker, 'readers');
  await session.discard(broker);
  return [{ what: `Kafka REST, records polled by one instance (${count})`, value: perSecond, unit: 'msg/s' }];
}

/** A group of its own reads the topic from its beginning. */
async function read(broker: Broker, group: string): Promise<{ records: number; perSecond: number }> {
  const connection = new Connection(broker.port);
  const base = `/consumers/${group}/instances/i`;
  const ask = async (method: string, path: string, body?: object) =>
    checked(await askOn(connection, method, path, body), method, path);
  await ask('POST', `/consumers/${group}`, { name: 'i', format: 'json', 'auto.offset.reset': 'earliest' });
  await ask('POST', `${base}/subscription`, { topics: [TOPIC] });
  const began = performance.now();
  let count = 0;
  for (;;) {
    const found = await page(connection, `${base}/records?timeout=0`);
    count += found;
    const ms = performance.now() - began;
    if (found > 0 && ms < LIMIT_MS) continue;
    connection.close();
    return { records: count, perSecond: (count / ms) * 1000 };
  }
}

const MARK = Buffer.from('"offset":');

/** How many records one call gave. */
function page(connection: Connection, path: string): Promise<number> {
  const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: ${JSON_V2}\r\n\r\n`);
  return new Promise((resolve, reject) => {
    connection.send(request, {
      answered: (status, body) => {
        if (status !== 200) return reject(new Error(`a poll was answered ${status}: ${body.toString('utf8', 0, 500)}`));
        let count = 0;
        for (let at = body.indexOf(MARK); at >= 0; at = body.indexOf(MARK, at + MARK.length)) count++;
        resolve(count);
      },
      failed: reject,
    });
  });
}
