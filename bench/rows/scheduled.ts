/**
 * Many messages wait for their time: how fast they are taken, what they cost in memory, how long a start takes while
 * they wait and after they came, and how late they are when thousands are due each second. What comes before its time
 * ends the run.
 */
import { Broker } from '../broker';
import { runTimes } from '../closedLoop';
import { bodyOf, DueWatch, scheduleRequest, Stretch } from '../dueWatch';
import type { Line, Row } from '../row';
import type { Session } from '../session';

interface Plan {
  /** All that wait at once. */
  readonly messages: number;
  /** What is due, one stretch behind the other; the others are due hours later. */
  readonly stretches: readonly Pace[];
}

interface Pace {
  readonly perSecond: number;
  readonly seconds: number;
  /** All at the first millisecond. */
  readonly atOnce?: boolean;
  /** Not shown. */
  readonly warm?: boolean;
}

const TOPIC = 'bench';
const BATCH = 100;
const CONNECTIONS = 8;
/** What is measured as memory are waiting messages, not the newest ones. */
const OPTIONS = ['--tail-bytes', '16MiB'];
/** The others are due an hour later and spread over another one. */
const HOUR_MS = 3_600_000;
/** Between the start that is measured and the first that is due. */
const CALM_MS = 1500;
/** Before that the consumer joins: one that does not poll would be gone after half a minute. */
const JOIN_MS = 500;
const READY_WITHIN_MS = 60_000;
/** Behind its time by so much is lost. */
const LOST_MS = 60_000;
const MIB = 2 ** 20;

export const scheduled: Row = {
  name: 'scheduled',
  run: (session) =>
    measure(session, {
      messages: 100_000,
      stretches: [
        { perSecond: 1000, seconds: 1, warm: true },
        { perSecond: 1000, seconds: 3 },
        { perSecond: 5000, seconds: 3 },
        { perSecond: 10_000, seconds: 1, atOnce: true },
      ],
    }),
};

/** Three minutes of it, and a million. */
export const largeScheduled: Row = {
  name: 'scheduled-1m',
  onRequest: true,
  run: (session) => measure(session, { messages: 1_000_000, stretches: [{ perSecond: 5000, seconds: 180 }] }),
};

async function measure(session: Session, plan: Plan): Promise<Line[]> {
  const before = await session.startBroker('scheduled', OPTIONS);
  await before.createTopic(TOPIC, 8, 'MIXED');
  const emptyBytes = before.child.rssBytes ?? NaN;
  const near = plan.stretches.reduce((sum, { perSecond, seconds }) => sum + perSecond * seconds, 0);
  const far = plan.messages - near;
  const pace = await schedule(before, far, (n) => Date.now() + HOUR_MS + (n / far) * HOUR_MS);
  const began = Date.now() + CALM_MS + (near / pace) * 2000 + startMs(plan);
  const stretches = stretchesFrom(began, plan);
  await schedule(before, near, (n) => dueOf(n, began, plan));
  const scheduledBytes = before.child.rssBytes ?? NaN;
  await before.kill();
  const { broker, readyMs } = await Broker.start(before.folder, OPTIONS, READY_WITHIN_MS);
  await until(began - JOIN_MS);
  const waitingBytes = broker.child.rssBytes ?? NaN;
  const watch = new DueWatch(broker, TOPIC, stretches);
  await watch.join();
  if (Date.now() > began) throw new Error('the broker was not ready when the first message was due');
  await watch.see(near, stretches.at(-1)!.to + LOST_MS);
  const firedBytes = broker.child.rssBytes ?? NaN;
  await watch.close();
  await broker.kill();
  const after = await startAfter(broker.folder);
  await session.discard(after.broker);
  const count = inWords(plan.messages);
  return [
    {
      what: `scheduling, in batches of ${BATCH}, ${CONNECTIONS} connections`,
      value: pace,
      unit: 'msg/s',
      note: `${count} in all`,
    },
    ...plan.stretches.flatMap((pace, i) => (pace.warm ? [] : [lineOf(stretches[i]!, pace)])),
    {
      what: `memory of ${count} waiting messages`,
      value: (waitingBytes - emptyBytes) / MIB,
      unit: 'MiB',
      target: { of: 'value', atMost: 100 },
      note: 'after a restart',
      details: { emptyBytes, scheduledBytes, waitingBytes, firedBytes },
    },
    {
      what: `start-up after SIGKILL, ${count} waiting messages`,
      value: readyMs / 1000,
      unit: 's',
      target: { of: 'value', atMost: 5 },
    },
    {
      what: `start-up after SIGKILL, ${inWords(near)} of them came`,
      value: after.readyMs / 1000,
      unit: 's',
      target: { of: 'value', atMost: 5 },
      note: `a message due then was ${after.lateMs} ms late`,
    },
  ];
}

const inWords = (count: number): string => count.toLocaleString('en');

/** Room for a start with so many waiting, seconds of which are measured. */
const startMs = ({ messages }: Plan): number => 1500 + messages / 100;

/** Answers messages per second. */
async function schedule(broker: Broker, messages: number, dueAt: (n: number) => number): Promise<number> {
  const request = (batch: number) =>
    scheduleRequest(
      TOPIC,
      Array.from({ length: BATCH }, (_, i) => Math.floor(dueAt(batch * BATCH + i))),
    );
  const { ms } = await runTimes({ port: broker.port, connections: CONNECTIONS, request }, messages / BATCH);
  return (messages / ms) * 1000;
}

function stretchesFrom(began: number, plan: Plan): Stretch[] {
  let from = Math.floor(began);
  return plan.stretches.map(({ seconds }) => {
    const stretch = new Stretch(from, from + seconds * 1000);
    from = stretch.to;
    return stretch;
  });
}

function dueOf(n: number, began: number, { stretches }: Plan): number {
  let from = Math.floor(began);
  let left = n;
  for (const { perSecond, seconds, atOnce } of stretches) {
    if (left < perSecond * seconds) return atOnce ? from : from + (left / perSecond) * 1000;
    left -= perSecond * seconds;
    from += seconds * 1000;
  }
  throw new Error(`only ${n - left} are due soon`);
}

async function until(time: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, time - Date.now())));
}

/** A start behind what came, and how late the first message is that is due then. */
async function startAfter(folder: string) {
  const { broker, readyMs } = await Broker.start(folder, OPTIONS, READY_WITHIN_MS);
  const due = Date.now() + 10;
  const stretch = new Stretch(due, due + 1);
  const watch = new DueWatch(broker, TOPIC, [stretch]);
  await watch.join();
  await broker.tell('POST', `/v1/topics/${TOPIC}/messages`, { messages: [{ body: bodyOf(due), deliverAt: due }] });
  await watch.see(1, due + LOST_MS);
  return { broker, readyMs, lateMs: stretch.seen.max };
}

function lineOf({ stored, seen }: Stretch, { perSecond, atOnce }: Pace): Line {
  const count = inWords(perSecond);
  return {
    what: atOnce ? `${count} due at once, the last late by` : `${count} due per second, late by, p99`,
    value: atOnce ? seen.max : seen.percentile(0.99),
    unit: 'ms',
    p50: seen.percentile(0.5),
    p99: seen.percentile(0.99),
    ...(!atOnce && { target: { of: 'value', atMost: 100 } }),
    note: `a long poll has it; at most ${seen.max} ms`,
    details: {
      messages: seen.count,
      storedP50: stored.percentile(0.5),
      storedP99: stored.percentile(0.99),
      storedMax: stored.max,
    },
  };
}
