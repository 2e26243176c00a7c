/** The command line of `npm run cluster`. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

export interface Options {
  /** The gateway's port; the brokers have the next ones. */
  readonly portsFrom: number;
  /** The first NameServer's port; the second has the next one. */
  readonly nameserverPortsFrom: number;
  readonly brokers: number;
  /** Absolute path of the folder that holds a folder for each broker. */
  readonly data: string;
}

export const HELP = `Usage: npm run cluster -- [options]

Two NameServers, brokers and a gateway, each a process of its own on this machine. Ctrl-C stops them all.

  --ports-from n              port of the gateway; the brokers have the next ones (8080)
  --nameserver-ports-from n   port of the first NameServer; the second has the next one (9876)
  --brokers n                 how many brokers, 1 to 26 (2)
  --data folder               where their data is, a folder for each (./data/cluster)

GANTRY_CLUSTER_SECRET is the secret that the parts share; without it one is made and kept in the data folder.
No other GANTRY_ variable reaches the parts.
`;

/** Names of brokers end in a letter. */
const MOST_BROKERS = 26;

/** Throws with what to say about it when something is wrong. */
export function readOptions(argv: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      'ports-from': { type: 'string', default: '8080' },
      'nameserver-ports-from': { type: 'string', default: '9876' },
      brokers: { type: 'string', default: '2' },
      data: { type: 'string', default: './data/cluster' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const brokers = whole(values.brokers, '--brokers', 1, MOST_BROKERS);
  if (values.data === '') throw new Error('--data needs the path of a folder');
  return {
    portsFrom: whole(values['ports-from'], '--ports-from', 1, 65_535 - brokers),
    nameserverPortsFrom: whole(values['nameserver-ports-from'], '--nameserver-ports-from', 1, 65_534),
    brokers,
    data: resolve(values.data),
  };
}

function whole(text: string, option: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  throw new Error(`${option} needs a whole number from ${min} to ${max}, not ${text}`);
}
