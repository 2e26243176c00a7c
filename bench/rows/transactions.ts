/**
 * Transactions of one message of 1 KiB, each prepared and then committed on its connection, against single sends of the
 * same message: a pair is two requests and two durable commands where a send is one.
 */
import { alternate } from '../alternation';
import type { Broker } from '../broker';
import { CpuCount } from '../cpuCount';
import { Histogram } from '../histogram';
import { messageText, requestBytes, sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const PRODUCERS = 'producers';
/** Long enough that nobody is asked about a transaction while it is measured. */
const CHECK_AFTER_MS = 60_000;
const ID = Buffer.from('"transactionId":"');
const ID_CHARACTERS = 32;

export const transactions: Row = {
  name: 'transactions',
  run: async (session) => [...(await compare(session, 32)), ...(await compare(session, 256))],
};

async function compare(session: Session, connections: number): Promise<Line[]> {
  const broker = await session.startBroker('transactions');
  await broker.createTopic(TOPIC, 8, 'MIXED');
  const send = sendRequest(TOPIC);
  const sends = { port: broker.port, connections, request: () => send };
  const prepare = prepareRequest();
  const pairs = { ...sends, request: () => prepare, second: commitRequest };
  const latencies = new Histogram();
  await session.warm(sends);
  await session.warm(pairs);
  const [sendCpu, pairCpu] = [new CpuCount(broker.child), new CpuCount(broker.child)];
  const { a, b, ratio } = await alternate(
    session.rounds,
    () => sendCpu.during(sends, (load) => session.measure(load)),
    () => pairCpu.during(pairs, (load) => session.measure(load, latencies)),
  );
  await checkNoneOpen(broker);
  await session.discard(broker);
  return [
    {
      what: `transactions, prepared and committed, ${connections} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'single sends', value: a },
      ratio,
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      note: 'prepare to committed',
      details: { cpuMicrosPerPair: pairCpu.serverMicros, cpuMicrosPerSend: sendCpu.serverMicros },
    },
  ];
}

function prepareRequest(): Buffer {
  const body = { producerGroup: PRODUCERS, checkAfterMs: CHECK_AFTER_MS, message: { body: messageText() } };
  return requestBytes('POST', `/v1/topics/${TOPIC}/transactions`, JSON.stringify(body));
}

const COMMIT = JSON.stringify({ producerGroup: PRODUCERS, resolution: 'COMMIT' });

function commitRequest(prepared: Buffer): Buffer {
  const at = prepared.indexOf(ID) + ID.length;
  const id = prepared.toString('latin1', at, at + ID_CHARACTERS);
  return requestBytes('POST', `/v1/transactions/${id}/resolution`, COMMIT);
}

/** A commit that decides nothing would be quick, too. */
async function checkNoneOpen(broker: Broker): Promise<void> {
  const { transactions } = JSON.parse(await broker.tell('GET', '/v1/transactions?limit=1')) as {
    transactions: unknown[];
  };
  if (transactions.length > 0) throw new Error('a transaction that was committed is still open');
}
