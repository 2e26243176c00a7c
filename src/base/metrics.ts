/**
 * Figures for Prometheus. RocketMQ's names are used where it has one (its BrokerMetricsConstant), `gantry_` ones for the
 * rest. Counts are kept as plain numbers where they arise and read when asked: the hot path pays nothing.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

export { Registry };

export interface Sample {
  readonly labels: Record<string, string>;
  readonly value: number;
}

/** A registry with the process's own figures. */
export function createRegistry(): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return registry;
}

export interface FigureOptions {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  /** Read when the figures are asked for. */
  readonly read: () => Iterable<Sample>;
}

/** A figure that goes up and down. */
export function gauge(registry: Registry, { name, help, labels = [], read }: FigureOptions): void {
  new Gauge({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const sample of read()) this.set(sample.labels, sample.value);
    },
  });
}

/** A figure that only grows while the process lives. */
export function counter(registry: Registry, { name, help, labels = [], read }: FigureOptions): void {
  new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const sample of read()) this.inc(sample.labels, sample.value);
    },
  });
}

/** Times of requests by operation and status class; answers the function that notes one, in milliseconds. */
export function requestTimes(registry: Registry): (operation: string, status: number, ms: number) => void {
  const histogram = new Histogram({
    name: 'gantry_http_request_duration_seconds',
    help: 'Time from a request to its answer, long polls included',
    labelNames: ['operation', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers: [registry],
  });
  const children = new Map<string, { observe(value: number): void }>();
  return (operation, status, ms) => {
    const key = `${operation} ${status}`;
    let child = children.get(key);
    if (!child) children.set(key, (child = histogram.labels(operation, String(status))));
    child.observe(ms / 1000);
  };
}

export const single = (value: number): Sample[] => [{ labels: {}, value }];
