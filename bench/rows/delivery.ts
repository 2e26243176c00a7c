/** Long-poll delivery: from the moment a message is handed to its socket until the poll's answer with it has arrived. */
import { Consumer } from '../consumer';
import { Histogram } from '../histogram';
import type { Line, Row } from '../row';
import { SteadySender, markAt } from '../steadySender';
import type { Session } from '../session';

const TOPIC = 'bench';
const PER_SECOND = 1000;
const WARM_MS = 1000;
const MEASURED_MS = 4000;
const WAIT_MS = 1000;

export const delivery: Row = { name: 'delivery', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('delivery');
  await broker.createTopic(TOPIC);
  const latencies = new Histogram();
  const sender = new SteadySender(broker.port, TOPIC, PER_SECOND);
  const consumer = new Consumer({
    port: broker.port,
    topic: TOPIC,
    group: 'readers',
    id: 'reader',
    max: 32,
    waitMs: WAIT_MS,
    onMessage: (answer, bodyAt) => {
      const number = markAt(answer, bodyAt);
      if (number >= (WARM_MS / 1000) * PER_SECOND) latencies.record(performance.now() - sender.sentAt(number));
    },
  });
  await consumer.join();
  let received = 0;
  const sending = sender.run(WARM_MS + MEASURED_MS);
  let sent: number | undefined;
  void sending.then((count) => (sent = count)).catch(() => undefined);
  while (sent === undefined || received < sent) {
    const page = await consumer.poll();
    received += page.messages;
    if (sent !== undefined && page.messages === 0 && received < sent) {
      throw new Error(`${sent} messages were sent and ${received} delivered`);
    }
  }
  await sending;
  consumer.close();
  await session.discard(broker);
  const p50 = latencies.percentile(0.5);
  return [
    {
      what: `long-poll delivery at ${PER_SECOND.toLocaleString('en')} msg/s, p50`,
      value: p50,
      unit: 'ms',
      p50,
      p99: latencies.percentile(0.99),
      target: { of: 'value', atMost: 3 },
      note: 'send to answer',
      details: { messages: latencies.count },
    },
  ];
}
