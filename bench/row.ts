/** What the bench is made of: rows that are run by name, and the lines of the table that they answer. */
import type { Session } from './session';

export interface Row {
  /** For --only. */
  readonly name: string;
  readonly run: (session: Session) => Promise<Line[]>;
  /** Runs only when asked for. */
  readonly onRequest?: boolean;
}

export interface Line {
  readonly what: string;
  readonly value: number;
  readonly unit: Unit;
  /** What the value is compared with, and the median of the ratios of neighbouring runs. */
  readonly baseline?: { readonly name: string; readonly value: number };
  readonly ratio?: number;
  /** Milliseconds. */
  readonly p50?: number;
  readonly p99?: number;
  readonly target?: Target;
  readonly note?: string;
  /** Only in the JSON. */
  readonly details?: Readonly<Record<string, number | string | undefined>>;
}

export type Unit = 'msg/s' | 'ms' | 's' | 'MiB';

/** What is to be reached: one bound on one of the line's figures. */
export interface Target {
  readonly of: 'value' | 'ratio';
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** True when the target is reached. */
export function reached(line: Line, { of, atLeast = -Infinity, atMost = Infinity }: Target): boolean {
  const figure = of === 'value' ? line.value : (line.ratio ?? NaN);
  return figure >= atLeast && figure <= atMost;
}
