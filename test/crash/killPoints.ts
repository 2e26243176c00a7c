/**
 * A broker that dies between two steps of one command. A script that is loaded before Gantry looks at what is written;
 * the command that is meant is known by a text in it, and its process ends itself by SIGKILL at the point that is asked
 * for: nothing of it runs on, and the folder is what the operating system was given by then.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { KilledProcessDisk, type Answer, type Children, type GantryProcess } from '../support/child';
import { patience } from '../support/patience';

/** In the order in which a command gets there. */
export const POINTS = [
  'before the journal is written',
  'when the journal is written',
  'when it is marked as acknowledged',
  'before the tables are written',
  'when the tables are written',
] as const;
export type Point = (typeof POINTS)[number];

/** Whether the next start finds the command. */
export const outlives = (point: Point): boolean => point !== 'before the journal is written';

/** What is not reached by then never will be. */
const PATIENCE_MS = patience(60_000);

const preload = (order: string): string => `
  const { existsSync, readFileSync, rmSync } = require('node:fs');
  const batches = require(${JSON.stringify(require.resolve('rocksdb/chained-batch'))}).prototype;
  const marks = require(${JSON.stringify(resolve(__dirname, '../../dist/storage/ackedFile.js'))}).AckedFile.prototype;
  const order = ${JSON.stringify(order)};
  const { _put, _write } = batches;
  const { mark } = marks;
  let written = '';
  let applied = '';
  const die = () => {
    rmSync(order);
    process.kill(process.pid, 'SIGKILL');
  };
  batches._put = function (key, value) {
    if (this.db.location.endsWith('journal') && existsSync(order)) {
      const { point, text } = JSON.parse(readFileSync(order, 'utf8'));
      if (value.includes(text)) this.point = point;
    }
    return _put.call(this, key, value);
  };
  batches._write = function (options, done) {
    const isTables = this.db.location.endsWith('tables');
    if (this.point === 'before the journal is written' || (isTables && applied === 'before the tables are written')) die();
    return _write.call(this, options, (...result) => {
      if (this.point === 'when the journal is written' || (isTables && applied === 'when the tables are written')) die();
      written = this.point ?? '';
      done(...result);
    });
  };
  marks.mark = function (...given) {
    mark.apply(this, given);
    if (written === 'when it is marked as acknowledged') die();
    if (written) applied = written;
  };`;

/** One folder, the broker that lives on it, and the point at which it dies. */
export class Mortal {
  readonly #children: Children;
  readonly #point: Point;
  readonly #disk = new KilledProcessDisk();
  #data = '';
  child!: GantryProcess;

  constructor(children: Children, point: Point) {
    this.#children = children;
    this.#point = point;
  }

  get #order(): string {
    return join(dirname(this.#data), 'kill-at');
  }

  async open(): Promise<this> {
    this.#data = await this.#disk.prepare();
    writeFileSync(join(dirname(this.#data), 'preload.cjs'), preload(this.#order));
    await this.start();
    return this;
  }

  async start(): Promise<void> {
    const script = join(dirname(this.#data), 'preload.cjs');
    this.child = this.#children.spawn({ data: this.#data, nodeFlags: ['--require', script] });
    await this.child.ready();
  }

  /** Does something whose command has `text` in it, a start maybe, and the broker dies of it; answers what was heard. */
  async die(text: string, act: () => Promise<Answer | void>): Promise<Answer | undefined> {
    // Renamed: never read before it is whole.
    writeFileSync(`${this.#order}.new`, JSON.stringify({ point: this.#point, text }));
    renameSync(`${this.#order}.new`, this.#order);
    const answer = act().catch(() => undefined);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, fail) => {
      timer = setTimeout(() => fail(new Error(`never came: ${text} ${this.#point}`)), PATIENCE_MS);
    });
    const { signal, stderr } = await Promise.race([this.child.exited, late]).finally(() => clearTimeout(timer));
    if (signal !== 'SIGKILL') throw new Error(`it ended by itself: ${stderr}`);
    return (await answer) ?? undefined;
  }

  async remove(): Promise<void> {
    await this.#disk.remove();
  }
}
