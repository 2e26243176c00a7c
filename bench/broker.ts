/** A broker that is measured: `standalone` as a user starts it, on free ports and a folder of its own. */
import { freePorts, Served } from './served';

export class Broker extends Served {
  readonly folder: string;

  private constructor(port: number, folder: string, args: readonly string[]) {
    super(port, args);
    this.folder = folder;
  }

  /** Resolves when /readyz says 200; `readyMs` is how long that took from the start of the process. */
  static async start(
    folder: string,
    options: readonly string[] = [],
    withinMs = 60_000,
  ): Promise<{ broker: Broker; readyMs: number }> {
    const [port, nameserverPort] = await freePorts(2);
    const args = [
      ...['standalone', '--data', folder, '--port', String(port), '--nameserver-port', String(nameserverPort)],
      ...['--drain-ms', '0'],
      ...options,
    ];
    const broker = new Broker(port!, folder, args);
    return { broker, readyMs: await broker.ready(withinMs) };
  }

  async createTopic(name: string, queues = 8, type = 'NORMAL'): Promise<void> {
    await this.tell('POST', '/v1/topics', { name, writeQueues: queues, readQueues: queues, type });
  }
}
