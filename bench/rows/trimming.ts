/**
 * Single sends while what was sent some seconds ago is trimmed at the same rate, against sends without. Before, after
 * and between the runs of one broker the other one does nothing: the trimming one is only there for its run.
 */
import { alternate } from '../alternation';
import type { Broker } from '../broker';
import { sendRequest } from '../request';
import type { Line, Row } from '../row';
import type { Session } from '../session';

const TOPIC = 'bench';
const CONNECTIONS = 256;
const RETENTION_MS = 2000;
const TRIMMING = ['--retention-ms', `${RETENTION_MS}`, '--retention-check-ms', '250'];
/** From the first send until trims come as fast as sends. */
const FILL_MS = RETENTION_MS + 1500;
const ROUNDS = 2;

export const trimming: Row = { name: 'trimming', run };

async function run(session: Session): Promise<Line[]> {
  const request = sendRequest(TOPIC);
  const loadOn = (broker: Broker) => ({ port: broker.port, connections: CONNECTIONS, request: () => request });
  const plain = await session.startBroker('untrimmed');
  await plain.createTopic(TOPIC);
  await session.warm(loadOn(plain));
  const shares: number[] = [];
  const { a, b, ratio } = await alternate(
    ROUNDS,
    () => session.measure(loadOn(plain)),
    async () => {
      const broker = await session.startBroker('trimmed', TRIMMING);
      await broker.createTopic(TOPIC);
      await session.measure(loadOn(broker), undefined, FILL_MS);
      const before = await minOffsets(broker);
      const pace = await session.measure(loadOn(broker));
      shares.push((await minOffsets(broker)) - before);
      await session.discard(broker);
      return pace;
    },
  );
  await session.discard(plain);
  const trimmed = (shares.reduce((sum, count) => sum + count, 0) / shares.length / session.runMs) * 1000;
  return [
    {
      what: `single sends while trimming, ${CONNECTIONS} connections`,
      value: b,
      unit: 'msg/s',
      baseline: { name: 'without trimming', value: a },
      ratio,
      note: `${Math.round(trimmed).toLocaleString('en')} msg/s trimmed`,
    },
  ];
}

/** Messages of the topic that are trimmed. */
async function minOffsets(broker: Broker): Promise<number> {
  const text = await broker.tell('GET', `/v1/topics/${TOPIC}/queues`);
  const { queues } = JSON.parse(text) as { queues: { minOffset: number }[] };
  return queues.reduce((sum, queue) => sum + queue.minOffset, 0);
}
