/**
 * `npm run cluster`: a whole cluster on this machine, as plain processes, for whoever wants to see one work. Starts all
 * parts in order, shows what they say, and stops them in reverse at Ctrl-C. A part that ends meanwhile is told of and not
 * started again: how the others go on without it is what one wants to watch.
 *
 * Exit codes: 0 stopped as asked · 64 wrong options · 69 the data folder cannot be used · 71 a port is taken · 70, or the
 * part's own, when one cannot start or all have ended.
 */
import { Part, MAIN, type Exit } from './part';
import { HELP, readOptions, type Options } from './options';
import { removePid, writePid } from './pidFile';
import { planOf, urlOf, type PlannedPart } from './plan';
import { takenPorts } from './ports';
import { clusterSecret, secretPath, SECRET_VARIABLE } from './secret';

const EXIT = { options: 64, folder: 69, fatal: 70, ports: 71 } as const;

class Cluster {
  readonly #options: Options;
  readonly #plan: PlannedPart[][];
  readonly #environment: NodeJS.ProcessEnv;
  readonly #width: number;
  /** By steps, as they started. */
  readonly #steps: Part[][] = [];
  #stopping = false;

  constructor(options: Options) {
    this.#options = options;
    this.#plan = planOf(options);
    this.#width = Math.max(...this.#plan.flat().map(({ name }) => name.length));
    const others = Object.entries(process.env).filter(([name]) => !name.startsWith('GANTRY_'));
    const secret = clusterSecret(options.data, process.env[SECRET_VARIABLE]);
    this.#environment = { ...Object.fromEntries(others), [SECRET_VARIABLE]: secret };
  }

  /** Resolves when all parts are ready, with false when one of them cannot start or is stopped meanwhile. */
  async start(): Promise<boolean> {
    for (const step of this.#plan) {
      if (this.#stopping) return false;
      const parts = step.map((planned) => new Part(planned, this.#environment, (line) => this.#show(planned, line)));
      this.#steps.push(parts);
      for (const part of parts) this.#note(part);
      const ready = await Promise.all(parts.map((part) => part.ready()));
      const failed = parts[ready.indexOf(false)];
      if (failed && !this.#stopping) await this.#cannotStart(failed);
      if (failed) return false;
    }
    for (const part of this.#parts) void part.exited.then((exit) => this.#hasEnded(part, exit));
    return true;
  }

  /** Stops all parts: first who calls, then who is called. Again: waits for nothing any more. */
  async stop(): Promise<never> {
    if (this.#stopping) process.exit(EXIT.fatal);
    this.#stopping = true;
    say('Stopping.');
    let clean = true;
    for (const step of this.#steps.toReversed()) {
      const inTime = await Promise.all(step.map((part) => part.stop()));
      step.filter((_, i) => !inTime[i]).forEach(({ planned }) => say(`${planned.name} did not stop and was killed.`));
      clean &&= inTime.every((yes) => yes);
    }
    say('Stopped.');
    process.exit(clean ? 0 : EXIT.fatal);
  }

  killNow(): void {
    for (const part of this.#parts) part.killNow();
  }

  /** What is where, and what to try. */
  describe(): string {
    const gateway = urlOf(this.#plan.at(-1)![0]!);
    const json = `-H 'content-type: application/json'`;
    return [
      '',
      'The cluster is up. Ctrl-C stops it.',
      ...this.#parts.map(({ planned, pid }) => `  ${this.#padded(planned)}  ${urlOf(planned)}  pid ${pid}`),
      `  ${'Swagger UI'.padEnd(this.#width)}  ${gateway}/docs`,
      `  ${'Data'.padEnd(this.#width)}  ${this.#options.data}`,
      '',
      'In another terminal:',
      `  curl -s ${gateway}/v1/topics ${json} -d '{"name":"orders"}'`,
      `  curl -s ${gateway}/v1/topics/orders/messages ${json} -d '{"body":"order 1"}'`,
      `  curl -s ${gateway}/v1/topics/orders/route`,
      `  curl -s ${gateway}/v1/brokers`,
      '',
    ].join('\n');
  }

  get #parts(): Part[] {
    return this.#steps.flat();
  }

  #note({ planned: { name }, pid, exited }: Part): void {
    const { data } = this.#options;
    writePid(data, name, pid);
    void exited.then(() => removePid(data, name));
  }

  #padded({ name }: PlannedPart): string {
    return name.padEnd(this.#width);
  }

  #show(planned: PlannedPart, line: string): void {
    say(`${this.#padded(planned)} | ${line}`);
  }

  async #cannotStart(part: Part): Promise<never> {
    this.#stopping = true;
    say(`${part.planned.name} ${part.ended ? 'has ended' : 'does not become ready'}: the cluster cannot start.`);
    const code = part.ended ? (await part.exited).code : null;
    for (const step of this.#steps.toReversed()) await Promise.all(step.map((other) => other.stop()));
    process.exit(code || EXIT.fatal);
  }

  #hasEnded({ planned }: Part, { code, signal }: Exit): void {
    if (this.#stopping) return;
    say(`${planned.name} has ended (${signal ?? `exit code ${code}`}).`);
    if (this.#parts.every((part) => part.ended)) {
      say('All parts have ended.');
      process.exit(EXIT.fatal);
    }
    const secret = process.env[SECRET_VARIABLE]
      ? ''
      : `${SECRET_VARIABLE}=$(cat ${quoted(secretPath(this.#options.data))}) `;
    say('The others go on. To start it again, in another terminal:');
    say(`  ${secret}node ${[MAIN, ...planned.againArgs].map(quoted).join(' ')}`);
  }
}

/** For a shell. */
const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Ends the process with a word about it when the command line is wrong. */
function understand(): Options {
  try {
    const options = readOptions(process.argv.slice(2));
    if (options !== 'help') return options;
    process.stdout.write(HELP);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nAll options: npm run cluster -- --help\n`);
    process.exit(EXIT.options);
  }
}

function newCluster(options: Options): Cluster {
  try {
    return new Cluster(options);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}. Choose another --data\n`);
    process.exit(EXIT.folder);
  }
}

async function main(): Promise<void> {
  const options = understand();
  const ports = planOf(options).flatMap((step) => step.map(({ port }) => port));
  const taken = await takenPorts(ports);
  if (taken.length > 0) {
    process.stderr.write(
      `Taken: port ${taken.join(', ')}. Stop what listens there, or choose others: --ports-from, --nameserver-ports-from\n`,
    );
    process.exit(EXIT.ports);
  }
  const cluster = newCluster(options);
  // The end of every way out but SIGKILL: no part outlives this process.
  process.on('exit', () => cluster.killNow());
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void cluster.stop());
  if (await cluster.start()) say(cluster.describe());
}

void main();
