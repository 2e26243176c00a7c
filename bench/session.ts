/** One run of the bench: how long things are measured, where data goes, and the brokers that the rows ask for. */
import { Broker } from './broker';
import { runFor, runTimes, type Load } from './closedLoop';
import type { Histogram } from './histogram';
import { sendRequest } from './request';
import type { Workspace } from './workspace';

/** At the beginning of each measured run, until all connections are under way. */
const START_MS = 200;
const WARM_MS = 1000;
/** Messages in one request of a backlog, and connections that write it. */
export const BACKLOG_BATCH = 50;
const BACKLOG_CONNECTIONS = 8;

export class Session {
  readonly workspace: Workspace;
  /** Milliseconds of one measured run. */
  readonly runMs: number;
  /** How often two things are measured in turn. */
  readonly rounds: number;

  constructor(workspace: Workspace, { runMs, rounds }: { runMs: number; rounds: number }) {
    this.workspace = workspace;
    this.runMs = runMs;
    this.rounds = rounds;
  }

  /** A ready broker on an empty folder. */
  async startBroker(name: string, options: readonly string[] = []): Promise<Broker> {
    return (await Broker.start(this.workspace.newFolder(name), options)).broker;
  }

  /** Ends it and deletes its data. */
  async discard(broker: Broker): Promise<void> {
    await broker.kill();
    this.workspace.drop(broker.folder);
  }

  async warm(load: Load): Promise<void> {
    await runFor(load, { warmMs: 0, ms: WARM_MS });
  }

  /** Requests per second. */
  async measure(load: Load, latencies?: Histogram, ms = this.runMs): Promise<number> {
    const pace = await runFor(load, { warmMs: START_MS, ms, latencies });
    return (pace.requests / pace.ms) * 1000;
  }

  /** Writes messages of 1 KiB in batches; answers messages per second. */
  async writeBacklog(broker: Broker, topic: string, messages: number): Promise<number> {
    const request = sendRequest(topic, BACKLOG_BATCH);
    const load = { port: broker.port, connections: BACKLOG_CONNECTIONS, request: () => request };
    const pace = await runTimes(load, Math.ceil(messages / BACKLOG_BATCH));
    return ((pace.requests * BACKLOG_BATCH) / pace.ms) * 1000;
  }
}
