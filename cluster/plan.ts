/** Which processes make up the cluster, and the command line of each. */
import { join } from 'node:path';
import type { Options } from './options';

/** One process, to be started. */
export interface PlannedPart {
  readonly name: string;
  readonly port: number;
  /** Of `gantry`. */
  readonly args: readonly string[];
  /** The same, for starting it again among others that run. */
  readonly againArgs: readonly string[];
}

const NAMESERVERS = 2;
const HOST = '127.0.0.1';

/** Shorter than what is good for many machines: a person at a terminal sees the cluster notice things. */
const HEARTBEAT_MS = 2_000;
const EXPIRY_MS = 10_000;
const SCAN_MS = 1_000;
/** A broker asks a NameServer that was away every 10 s: until then one that comes back cannot know all. */
const STARTING_AGAIN_MS = 15_000;
/** At first nobody asks before all brokers have registered. */
const STARTING_MS = 0;

export const urlOf = ({ port }: PlannedPart): string => `http://${HOST}:${port}`;

/**
 * The parts in the order in which they start: those of one step at the same time, those of the next when these are
 * ready. They stop in reverse. The last one is the gateway.
 */
export function planOf({ portsFrom, nameserverPortsFrom, brokers, data }: Options): PlannedPart[][] {
  const nameservers = Array.from({ length: NAMESERVERS }, (_, i) =>
    nameserver(`nameserver-${i + 1}`, nameserverPortsFrom + i),
  );
  const known = ['--nameservers', nameservers.map(urlOf).join(',')];
  const all = Array.from({ length: brokers }, (_, i) => {
    const name = `broker-${String.fromCharCode('a'.charCodeAt(0) + i)}`;
    const own = ['--name', name, '--data', join(data, name), '--heartbeat-ms', String(HEARTBEAT_MS)];
    return part(name, portsFrom + 1 + i, 'broker', [...own, ...known]);
  });
  return [nameservers, all, [part('gateway', portsFrom, 'gateway', known)]];
}

function nameserver(name: string, port: number): PlannedPart {
  const startingFor = (ms: number) =>
    part(name, port, 'nameserver', [
      ...['--nameserver-starting-ms', String(ms), '--nameserver-scan-ms', String(SCAN_MS)],
      ...['--broker-expiry-ms', String(EXPIRY_MS)],
    ]);
  return { ...startingFor(STARTING_MS), againArgs: startingFor(STARTING_AGAIN_MS).args };
}

function part(name: string, port: number, role: string, options: readonly string[]): PlannedPart {
  // The parts stop one after the other, and nobody else looks at them.
  const args = [role, '--host', HOST, '--port', String(port), '--drain-ms', '0', ...options];
  return { name, port, args, againArgs: args };
}
