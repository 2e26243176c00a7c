/** A NameServer with its HTTP front. */
import type { Chance } from '../src/base/chance';
import type { Clock } from '../src/base/clock';
import type { Service } from '../src/base/life';
import type { Log } from '../src/base/log';
import { createRegistry, requestTimes } from '../src/base/metrics';
import { meterBrokers } from '../src/cluster/meter';
import { Nameserver } from '../src/nameserver/nameserver';
import { createApp } from './app';
import type { Contract } from './contract';
import { metaHandlers } from './handlers/cluster';
import { healthHandlers } from './handlers/health';
import { nameserverHandlers } from './handlers/nameserver';
import { leave } from './leaving';
import { HttpServer } from './server';

export const NAMESERVER_TAGS = ['Meta', 'NameServer', 'Health'] as const;

export interface NameserverNodeOptions {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  readonly contract: Contract;
  readonly host: string;
  readonly port: number;
  /** The option that sets the port; `--port` unless given. */
  readonly portOption?: string;
  readonly scanMs: number;
  readonly expiryMs: number;
  readonly startingMs: number;
  readonly maxConnections: number;
  readonly corsOrigins: readonly string[];
  readonly allowedHosts: readonly string[];
  /** `host:port` that others are told of this process. */
  readonly advertise?: string | undefined;
  readonly clusterSecret: string | undefined;
}

export class NameserverNode implements Service {
  readonly nameserver: Nameserver;
  readonly #options: NameserverNodeOptions;
  readonly #server: HttpServer;
  #draining = false;
  #stopped: Promise<void> | undefined;

  constructor(options: NameserverNodeOptions) {
    const { clock, chance, log, contract, corsOrigins } = options;
    this.#options = options;
    this.nameserver = new Nameserver({
      clock,
      log,
      scanMs: options.scanMs,
      heartbeatTimeoutMs: options.expiryMs,
      startingMs: options.startingMs,
    });
    this.#server = new HttpServer({
      host: options.host,
      port: options.port,
      ...(options.portOption === undefined ? {} : { portOption: options.portOption }),
      clock,
      log,
      maxConnections: options.maxConnections,
    });
    const registry = createRegistry();
    meterBrokers(registry, () => this.nameserver.standing());
    this.#server.serve(
      createApp({
        contract,
        tags: NAMESERVER_TAGS,
        clusterSecret: options.clusterSecret,
        handlers: {
          ...metaHandlers,
          ...nameserverHandlers(this.nameserver),
          ...healthHandlers({
            checks: () => [
              { name: 'draining', ok: !this.#draining, detail: this.#draining ? 'the process is stopping' : 'serves' },
            ],
            registry,
          }),
        },
        clock,
        chance,
        log,
        corsOrigins,
        names: options,
        ready: () => true,
        onFinish: requestTimes(registry),
      }),
    );
  }

  get port(): number {
    return this.#server.address().port;
  }

  async start(): Promise<void> {
    await this.nameserver.start();
    await this.#server.start();
  }

  /** As a broker's: unready first, closed later. */
  async drain(drainMs: number, hurry?: AbortSignal): Promise<void> {
    this.#draining = true;
    await leave({ clock: this.#options.clock, server: this.#server, drainMs, hurry });
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    await this.#server.stop();
    await this.nameserver.stop();
  }
}
