#!/usr/bin/env node
/**
 * The command line. Sees everything, builds by hand, starts in order, stops in reverse: the one exception to the law of
 * the floors, and the one door to the environment and to the end of the process.
 *
 * Exit codes: 0 stopped as asked · 64 the configuration is refused · 69 the data folder cannot be used (in use, damaged,
 * data lost, a foreign format, no right or no room to write) · 70 a write failed or an invariant broke; start again · 71 an address cannot be used.
 */
import { readFileSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { resolve } from 'node:path';
import type { OwnAddresses } from '../api/advertised';
import { BrokerNode } from '../api/brokerNode';
import { GatewayNode } from '../api/gatewayNode';
import { NameserverClient } from '../api/client/nameserverClient';
import { Contract } from '../api/contract';
import { ListenError } from '../api/listenError';
import { NameserverNode } from '../api/nameserverNode';
import { VERSION } from '../api/version';
import {
  DamagedError,
  DataLostError,
  FolderFormatError,
  FolderInUseError,
  FolderUnusableError,
} from '../storage/failures';
import { systemChance } from './base/chance';
import { systemClock } from './base/clock';
import { createLog, type Log } from './base/log';
import { LocalNameserver } from './cluster/localNameserver';
import type { NameserverPeer } from './cluster/nameserverPeer';
import {
  parseConfig,
  type BrokerConfig,
  type BrokerOptions,
  type GatewayConfig,
  type NameserverConfig,
  type NameserverOptions,
  type StandaloneConfig,
} from './config';
import { joinHostPort } from './config/kinds';

/** Records of about a kilobyte are cut from slabs of this many bytes: half the cost of an allocation (measured: 0.91 → 0.47 µs). */
Buffer.poolSize = 64 * 1024;

const FOLDER_FAULTS = [DataLostError, DamagedError, FolderFormatError, FolderInUseError, FolderUnusableError];
const EXIT = { refused: 64, folder: 69, fatal: 70, address: 71 } as const;

interface Node {
  drain(ms: number, hurry: AbortSignal): Promise<void>;
  stop(): Promise<void>;
}

interface Shared {
  readonly clock: typeof systemClock;
  readonly chance: typeof systemChance;
  readonly log: Log;
  readonly contract: Contract;
}

function main(): void {
  const parsed = parseConfig(process.argv.slice(2), process.env, (path) => readFileSync(path, 'utf8'), hostname());
  switch (parsed.command) {
    case 'help':
    case 'config':
      process.stdout.write(parsed.text);
      return;
    case 'version':
      process.stdout.write(`gantry ${VERSION}\n`);
      return;
    case 'refused':
      process.stderr.write(parsed.text);
      process.exitCode = EXIT.refused;
      return;
    case 'run':
      void run(parsed.config);
  }
}

async function run(config: StandaloneConfig | NameserverConfig | BrokerConfig | GatewayConfig): Promise<void> {
  const log = createLog(config.logLevel);
  const shared: Shared = { clock: systemClock, chance: systemChance, log, contract: Contract.load() };
  const nodes: Node[] = [];
  process.on('uncaughtException', (error) => die(log, error));
  process.on('unhandledRejection', (error) => die(log, error));
  stopOnSignals(nodes, config.drainMs, log);
  try {
    if (config.role === 'nameserver') await runNameserver(shared, config, nodes);
    else if (config.role === 'broker') await runBroker(shared, config, nameserversOf(config), nodes);
    else if (config.role === 'gateway') await runGateway(shared, config, nodes);
    else await runStandalone(shared, config, nodes);
  } catch (error) {
    await refuseToStart(error, nodes);
  }
}

const nameserversOf = ({ nameservers, clusterSecret }: BrokerConfig | GatewayConfig): NameserverClient[] =>
  nameservers.map((url) => new NameserverClient(url, clusterSecret));

async function runGateway(shared: Shared, config: GatewayConfig, nodes: Node[]): Promise<void> {
  const node = new GatewayNode({ ...shared, config, nameservers: nameserversOf(config), ...ownAddresses() });
  nodes.push(node);
  await node.start();
  say([
    `Gantry ${VERSION}, gateway`,
    `  API         ${urlOf(config.host, node.port)}/v1`,
    `  Swagger UI  ${urlOf(config.host, node.port)}/docs`,
    `  NameServer  ${config.nameservers.join(', ')}`,
  ]);
}

async function runNameserver(shared: Shared, config: NameserverConfig, nodes: Node[]): Promise<void> {
  const node = nameserverNode(shared, config, { port: config.port, portOption: '--port' });
  nodes.push(node);
  await node.start();
  say([
    `Gantry ${VERSION}, NameServer`,
    `  Routes      ${urlOf(config.host, node.port)}/v1/nameserver/routes`,
    `  Swagger UI  ${urlOf(config.host, node.port)}/docs`,
  ]);
}

function nameserverNode(
  shared: Shared,
  config: NameserverOptions,
  place: { readonly port: number; readonly portOption: string; readonly advertise?: string | undefined },
): NameserverNode {
  return new NameserverNode({
    ...shared,
    host: config.host,
    ...place,
    scanMs: config.nameserverScanMs,
    expiryMs: config.brokerExpiryMs,
    startingMs: config.nameserverStartingMs,
    maxConnections: config.maxConnections,
    corsOrigins: config.corsOrigins,
    allowedHosts: config.allowedHosts,
    clusterSecret: config.clusterSecret,
  });
}

async function runStandalone(shared: Shared, config: StandaloneConfig, nodes: Node[]): Promise<void> {
  const nameserver = nameserverNode(shared, config, {
    port: config.nameserverPort,
    portOption: '--nameserver-port',
    advertise: config.advertise,
  });
  nodes.push(nameserver);
  const peer = new LocalNameserver(() => urlOf(config.host, nameserver.port), nameserver.nameserver);
  await runBroker(shared, config, [peer], nodes, () => nameserver.start());
  nameserver.nameserver.started();
}

async function runBroker(
  shared: Shared,
  config: BrokerOptions & { role: string },
  nameservers: NameserverPeer[],
  nodes: Node[],
  beforeListening: () => Promise<void> = async () => undefined,
): Promise<void> {
  const node = new BrokerNode({
    ...shared,
    config,
    nameservers,
    ...ownAddresses(),
    pid: process.pid,
    onFatal: (error) => dieAfterAnswers(shared.log, error),
  });
  // Stopped before the NameServer: it unregisters there.
  nodes.unshift(node);
  await node.prepare();
  await beforeListening();
  await node.start();
  say([
    `Gantry ${VERSION}, ${config.role} ${config.name} in ${config.cluster}`,
    `  API         http://${node.address}/v1`,
    `  Swagger UI  http://${node.address}/docs`,
    `  NameServer  ${nameservers.map((peer) => peer.address).join(', ') || 'none'}`,
    `  Data        ${resolve(config.data)}`,
  ]);
}

const urlOf = (host: string, port: number): string => `http://${joinHostPort(host, port)}`;

/** The first addresses that others could reach this host by. */
function ownAddresses(): OwnAddresses {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const first = (family: string) =>
    all.find((address) => address.family === family && !address.internal && !address.address.startsWith('fe80:'));
  return { hostAddress: first('IPv4')?.address ?? '127.0.0.1', hostAddress6: first('IPv6')?.address };
}

function say(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** SIGTERM and Ctrl-C drain first; a second signal ends the draining, a third the process. Other signals end nothing. */
function stopOnSignals(nodes: readonly Node[], drainMs: number, log: Log): void {
  const hurry = new AbortController();
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    signals++;
    if (signals === 1) log.info({ signal, drainMs }, 'stopping');
    if (signals === 1) void stopAll(nodes, drainMs, hurry.signal, log);
    else if (signals === 2) hurry.abort();
    else process.exit(EXIT.fatal);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // A terminal that closes and a tool that asks daemons to read their configuration again must not end a broker.
  for (const ignored of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(ignored, () =>
      log.info({ signal: ignored }, 'signal ignored: the configuration is read at the start only'),
    );
}

async function stopAll(nodes: readonly Node[], drainMs: number, hurry: AbortSignal, log: Log): Promise<void> {
  try {
    await Promise.all(nodes.map((node) => node.drain(drainMs, hurry)));
    for (const node of nodes) await node.stop();
    log.info('stopped');
    process.exit(0);
  } catch (error) {
    die(log, error);
  }
}

async function refuseToStart(error: unknown, nodes: readonly Node[]): Promise<void> {
  const message = error instanceof Error ? error.message : String(error);
  const address = error instanceof ListenError;
  const folder = FOLDER_FAULTS.some((kind) => error instanceof kind);
  process.stderr.write(`Gantry cannot start: ${message}\n`);
  if (!folder && !address && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  for (const node of nodes) await node.stop().catch(() => undefined);
  process.exit(folder ? EXIT.folder : address ? EXIT.address : EXIT.fatal);
}

/** Nothing is written any more; whoever waited for a write has just been refused, and hears it before the process ends. */
function dieAfterAnswers(log: Log, error: unknown): void {
  systemClock.soon(() => die(log, error));
}

/** Nothing is handled and continued: what was acknowledged is on disk, and a restart replays it. */
function die(log: Log, error: unknown): never {
  log.fatal({ err: error }, 'the process ends: start it again');
  process.exit(EXIT.fatal);
}

main();
