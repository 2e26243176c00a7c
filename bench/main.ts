/**
 * `npm run bench`: what the broker does on this machine, as ratios against raw baselines measured in the same run. Runs
 * its rows one after the other, each with processes and folders of its own, prints one table, and leaves nothing behind
 * however it ends.
 */
import { killAll, takeDeaths } from './child';
import { describeMachine, type Machine } from './machine';
import { helpText, readOptions, type Options } from './options';
import { reached, type Line, type Row } from './row';
import { batches } from './rows/batches';
import { bigGroup } from './rows/bigGroup';
import { coldReaders } from './rows/coldReaders';
import { disk, tail } from './rows/consumption';
import { delivery } from './rows/delivery';
import { hop } from './rows/hop';
import { kafkaProduce, kafkaRecords } from './rows/kafka';
import { keyQuery } from './rows/keyQuery';
import { leases } from './rows/leases';
import { manyGroups } from './rows/manyGroups';
import { manyTopics } from './rows/manyTopics';
import { parkedPolls } from './rows/parkedPolls';
import { rebalance } from './rows/rebalance';
import { routes } from './rows/routes';
import { largeScheduled, scheduled } from './rows/scheduled';
import { singleSends256, singleSends32 } from './rows/singleSends';
import { sqlFilter } from './rows/sqlFilter';
import { largeStartUp, startUp } from './rows/startUp';
import { transactions } from './rows/transactions';
import { trimming } from './rows/trimming';
import { twoBrokers } from './rows/twoBrokers';
import { Session } from './session';
import { machineText, tableText } from './table';
import { Workspace } from './workspace';

const ROWS: readonly Row[] = [
  singleSends32,
  singleSends256,
  batches,
  delivery,
  tail,
  disk,
  manyGroups,
  bigGroup,
  leases,
  transactions,
  scheduled,
  sqlFilter,
  rebalance,
  manyTopics,
  trimming,
  coldReaders,
  parkedPolls,
  keyQuery,
  hop,
  twoBrokers,
  routes,
  kafkaProduce,
  kafkaRecords,
  startUp,
  largeStartUp,
  largeScheduled,
];

interface Failure {
  readonly row: string;
  readonly reason: string;
}

interface Report {
  readonly command: string;
  readonly machine: Machine;
  readonly lines: readonly Line[];
  readonly failures: readonly Failure[];
  readonly seconds: number;
}

async function main(): Promise<void> {
  const names = ROWS.map((row) => row.name);
  const options = understand(() => readOptions(process.argv.slice(2), names));
  if (options === 'help') return void process.stdout.write(helpText(names));
  const workspace = new Workspace(options.data, options.keep);
  cleanUpAtExit(workspace);
  const report = await measure(options, workspace);
  process.stdout.write(options.json ? `${jsonText(report)}\n` : reportText(report));
  if (options.keep) process.stderr.write(`Data: ${workspace.path}\n`);
  process.exit(report.failures.length > 0 ? 1 : 0);
}

function understand<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nAll options: npm run bench -- --help\n`);
    process.exit(64);
  }
}

/** 'exit' comes at the end of every way out but SIGKILL; its work must be synchronous. */
function cleanUpAtExit(workspace: Workspace): void {
  process.on('exit', () => {
    killAll();
    workspace.dropAll();
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
}

async function measure(options: Options, workspace: Workspace): Promise<Report> {
  const began = performance.now();
  const command = ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' ');
  const machine = describeMachine(workspace.path);
  const session = new Session(workspace, options);
  const lines: Line[] = [];
  const failures: Failure[] = [];
  for (const row of chosen(options)) {
    process.stderr.write(`${row.name} …`);
    const rowBegan = performance.now();
    try {
      lines.push(...(await row.run(session)));
    } catch (error) {
      failures.push({ row: row.name, reason: await reasonOf(error as Error) });
      killAll();
    }
    process.stderr.write(` ${seconds(rowBegan).toFixed(1)} s\n`);
  }
  return { command, machine, lines, failures, seconds: seconds(began) };
}

/** A process that died is noticed by its connections first. */
async function reasonOf(error: Error): Promise<string> {
  await new Promise((resolve) => setTimeout(resolve, 200));
  return [error.message, ...takeDeaths()].join('; ');
}

const seconds = (since: number): number => (performance.now() - since) / 1000;

function chosen({ only, large }: Options): Row[] {
  const byDefault = (row: Row) => (row.onRequest ? large : only.length === 0);
  return ROWS.filter((row) => only.includes(row.name) || byDefault(row));
}

function jsonText(report: Report): string {
  const lines = report.lines.map((line) => ({ ...line, ...(line.target && { ok: reached(line, line.target) }) }));
  return JSON.stringify({ ...report, lines }, null, 2);
}

function reportText({ command, machine, lines, failures, seconds: took }: Report): string {
  return [
    `$ ${command}`,
    machineText(machine),
    '',
    tableText(lines),
    ...failures.map(({ row, reason }) => `${row}: failed: ${reason}`),
    '',
    'Durable (--flush sync), 1 KiB bodies, 8 queues. ratio: median of neighbouring runs, ours / baseline.',
    `${took.toFixed(0)} s in all`,
    '',
  ].join('\n');
}

void main();
