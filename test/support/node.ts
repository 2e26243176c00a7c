/**
 * A whole standalone inside the test's process: NameServer and broker on free ports, with a data folder of its own that
 * is removed afterwards. `stop` fails when something was left behind (a timer, a listener, a socket) or when the node
 * has logged an error: no test ends well beside a fault of the server.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { BrokerNode } from '../../api/brokerNode';
import { Contract } from '../../api/contract';
import { NameserverNode } from '../../api/nameserverNode';
import { systemChance } from '../../src/base/chance';
import { systemClock, type Clock, type Timer } from '../../src/base/clock';
import type { Log } from '../../src/base/log';
import { LocalNameserver } from '../../src/cluster/localNameserver';
import { parseConfig, type StandaloneConfig } from '../../src/config';
import { patience } from './patience';

/** The document under test, read once per file. */
export const contract = Contract.load();

/** Flags as on the command line, without the dashes: `{ 'max-parked-polls': '3' }`. */
export type Flags = Readonly<Record<string, string>>;

/** What has not parked by then never will. */
const PARKING_MS = patience(30_000);

/** The system's clock, which knows what still runs on it. */
export class WatchedClock implements Clock {
  readonly #running = new Map<Timer, Error>();

  now(): number {
    return systemClock.now();
  }

  monotonic(): number {
    return systemClock.monotonic();
  }

  soon(callback: () => void): void {
    systemClock.soon(callback);
  }

  after(ms: number, callback: () => void): Timer {
    const inner = systemClock.after(ms, () => {
      this.#running.delete(timer);
      callback();
    });
    const timer: Timer = {
      cancel: () => {
        this.#running.delete(timer);
        inner.cancel();
      },
    };
    this.#running.set(timer, new Error('a timer still runs'));
    return timer;
  }

  /** Where each timer that still runs was started. */
  get running(): string[] {
    return [...this.#running.values()].map((error) => error.stack ?? '');
  }
}

export class Standalone {
  readonly nameserver: NameserverNode;
  readonly brokerNode: BrokerNode;
  readonly data: string;
  /** What the node logged as an error or worse; must be empty when it is stopped. */
  readonly errors: string[] = [];
  readonly #clock = new WatchedClock();
  readonly #socketsBefore = openSockets();
  readonly #closers: (() => Promise<unknown> | void)[] = [];
  #stopped: Promise<void> | undefined;

  /** A fresh one with its default configuration, but for `flags` and for free ports. */
  static async start(flags: Flags = {}): Promise<Standalone> {
    const data = await mkdtemp(join(tmpdir(), 'gantry-'));
    const standalone = new Standalone(configOf(data, flags));
    await standalone.#start();
    return standalone;
  }

  private constructor(config: StandaloneConfig) {
    this.data = config.data;
    const shared = { clock: this.#clock, chance: systemChance, log: this.#log(), contract };
    this.nameserver = new NameserverNode({
      ...shared,
      host: config.host,
      port: config.nameserverPort,
      scanMs: config.nameserverScanMs,
      expiryMs: config.brokerExpiryMs,
      startingMs: config.nameserverStartingMs,
      maxConnections: config.maxConnections,
      corsOrigins: config.corsOrigins,
      allowedHosts: config.allowedHosts,
      clusterSecret: config.clusterSecret,
    });
    this.brokerNode = new BrokerNode({
      ...shared,
      config,
      nameservers: [new LocalNameserver(() => 'http://in-process', this.nameserver.nameserver)],
      hostAddress: '127.0.0.1',
      pid: process.pid,
      onFatal: (error) => void this.errors.push(`fatal: ${(error as Error).stack}`),
    });
  }

  /** Where the broker's front listens: `http://127.0.0.1:…`, without a path. */
  get url(): string {
    return `http://${this.brokerNode.address}`;
  }

  get nameserverUrl(): string {
    return `http://127.0.0.1:${this.nameserver.port}`;
  }

  /** Resolves when that many polls wait: the moment from which a send must wake them. */
  async untilParked(polls: number): Promise<void> {
    const { lot } = this.brokerNode.broker;
    const deadline = this.#clock.monotonic() + PARKING_MS;
    while (lot.parked !== polls) {
      if (this.#clock.monotonic() > deadline) throw new Error(`${lot.parked} polls wait, not ${polls}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Something, a client say, that is closed before the node is. */
  closeFirst(close: () => Promise<unknown> | void): void {
    this.#closers.push(close);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #start(): Promise<void> {
    await this.nameserver.start();
    await this.brokerNode.start();
    this.nameserver.nameserver.started();
  }

  async #stop(): Promise<void> {
    for (const close of this.#closers) await close();
    await this.brokerNode.stop();
    await this.nameserver.stop();
    await rm(this.data, { recursive: true, force: true });
    await socketsToClose(this.#socketsBefore);
    const left = [...this.#clock.running, ...this.errors];
    if (left.length > 0) throw new Error(`the node left behind:\n${left.join('\n')}`);
  }

  #log(): Log {
    return pino({ level: 'error', base: null }, { write: (line: string) => void this.errors.push(line) });
  }
}

/** What `gantry standalone` makes of these flags. */
function configOf(data: string, flags: Flags): StandaloneConfig {
  const given = { port: '0', 'nameserver-port': '0', data, 'drain-ms': '0', ...flags };
  const argv = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value]);
  const parsed = parseConfig(['standalone', ...argv], {}, () => '');
  if (parsed.command === 'run' && parsed.role === 'standalone') return parsed.config;
  throw new Error('text' in parsed ? parsed.text : `not a standalone: ${parsed.command}`);
}

export const openSockets = (): number =>
  process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap' || name === 'TCPSocketWrap').length;

/** A destroyed socket takes a few turns of the event loop to go. */
export async function socketsToClose(before: number): Promise<void> {
  for (let turn = 0; openSockets() > before; turn += 1) {
    if (turn > 10_000) throw new Error(`${openSockets() - before} sockets were left open`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
