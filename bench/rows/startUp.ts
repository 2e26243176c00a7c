/** From the start of the process until /readyz says 200, after it was killed right behind the last answered send. */
import { Broker } from '../broker';
import { runTimes } from '../closedLoop';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import { BACKLOG_BATCH, type Session } from '../session';

const TOPIC = 'bench';
const MILLION = 1_000_000;
const LARGE_BODY_BYTES = 100;
const LARGE_BATCH = 1000;
const READY_WITHIN_MS = 10 * 60_000;

export const startUp: Row = { name: 'start-up', run: (session) => afterKill(session, MILLION, write1KiB) };
export const largeStartUp: Row = {
  name: 'start-up-20m',
  onRequest: true,
  run: (session) => afterKill(session, 20 * MILLION, writeSmall),
};

type Write = (session: Session, broker: Broker, messages: number) => Promise<string>;

const write1KiB: Write = async (session, broker, messages) => {
  await session.writeBacklog(broker, TOPIC, messages);
  return `1 KiB each, in batches of ${BACKLOG_BATCH}`;
};

const writeSmall: Write = async (_, broker, messages) => {
  const request = sendRequest(TOPIC, LARGE_BATCH, LARGE_BODY_BYTES);
  await runTimes({ port: broker.port, connections: 4, request: () => request }, messages / LARGE_BATCH);
  return `${LARGE_BODY_BYTES} bytes each, in batches of ${LARGE_BATCH}`;
};

async function afterKill(session: Session, messages: number, write: Write): Promise<Line[]> {
  const killed = await session.startBroker('start-up');
  await killed.createTopic(TOPIC);
  const note = await write(session, killed, messages);
  await killed.kill();
  const { broker, readyMs } = await Broker.start(killed.folder, [], READY_WITHIN_MS);
  await checkAllThere(broker, messages);
  await session.discard(broker);
  return [
    {
      what: `start-up after SIGKILL, ${messages / MILLION} M messages`,
      value: readyMs / 1000,
      unit: 's',
      ...(messages === MILLION && { target: { of: 'value', atMost: 5 } }),
      note,
    },
  ];
}

/** A start that loses what was answered would be quick, too. */
async function checkAllThere(broker: Broker, messages: number): Promise<void> {
  const { queues } = JSON.parse(await broker.tell('GET', `/v1/topics/${TOPIC}/queues`)) as {
    queues: { maxOffset: number }[];
  };
  const found = queues.reduce((sum, queue) => sum + queue.maxOffset, 0);
  if (found !== messages) throw new Error(`${messages} messages were answered, ${found} are there after the restart`);
}
