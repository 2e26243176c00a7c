/** The command line of the bench. */
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

export interface Options {
  readonly json: boolean;
  /** Names of rows; empty = the default ones. */
  readonly only: readonly string[];
  readonly large: boolean;
  readonly keep: boolean;
  /** Folder in which the temporary one is made. */
  readonly data: string;
  readonly runMs: number;
  readonly rounds: number;
}

export function helpText(rows: readonly string[]): string {
  return `Usage: npm run bench -- [options]

  --only a,b     only these rows: ${rows.join(', ')}
  --large        also the start-up with 20 M messages, and a million scheduled ones (ten minutes, about 5 GiB)
  --json         JSON instead of the table (npm run --silent bench -- --json)
  --data dir     where the temporary folder is made (${tmpdir()}); the disk under it is what is measured
  --keep         leave the temporary folder behind
  --seconds n    length of one measured run (1.5)
  --rounds n     how often two things are measured in turn (3)
`;
}

/** Throws with what to say about it when it is wrong. */
export function readOptions(argv: readonly string[], rows: readonly string[]): Options | 'help' {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      large: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      data: { type: 'string', default: tmpdir() },
      seconds: { type: 'string', default: '1.5' },
      rounds: { type: 'string', default: '3' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const only = values.only.split(',').filter((name) => name !== '');
  const unknown = only.filter((name) => !rows.includes(name));
  if (unknown.length > 0) throw new Error(`no row is called ${unknown.join(', ')}; there are ${rows.join(', ')}`);
  return {
    json: values.json,
    only,
    large: values.large,
    keep: values.keep,
    data: values.data,
    runMs: positive(values.seconds, '--seconds') * 1000,
    rounds: Math.ceil(positive(values.rounds, '--rounds')),
  };
}

function positive(text: string, option: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 3600)) throw new Error(`${option} needs a number above 0, not ${text}`);
  return value;
}
