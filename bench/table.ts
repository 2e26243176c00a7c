/** The table for people, and the figures in it. */
import type { Machine } from './machine';
import { reached, type Line, type Target, type Unit } from './row';

const HEADINGS = ['', 'measured', 'baseline', 'ratio', 'p50', 'p99', 'target', '', ''] as const;

export function tableText(lines: readonly Line[]): string {
  const cells = [HEADINGS as readonly string[], ...lines.map(cellsOf)];
  const widths = HEADINGS.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  return cells
    .map((row) => row.map((cell, i) => (isFigure(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join('  '))
    .map((text) => text.trimEnd())
    .join('\n');
}

const isFigure = (column: number): boolean => column === 1 || (column >= 3 && column <= 5);

function cellsOf(line: Line): string[] {
  const { what, value, unit, baseline, ratio, p50, p99, target, note } = line;
  return [
    what,
    quantity(value, unit),
    baseline ? `${quantity(baseline.value, unit)} ${baseline.name}` : '',
    ratio === undefined ? '' : ratio.toFixed(2),
    p50 === undefined ? '' : quantity(p50, 'ms'),
    p99 === undefined ? '' : quantity(p99, 'ms'),
    target ? targetText(target, unit) : '',
    target ? (reached(line, target) ? 'ok' : 'short') : '',
    note ?? '',
  ];
}

function quantity(value: number, unit: Unit): string {
  const figure = value >= 1000 ? Math.round(value).toLocaleString('en') : value.toFixed(value < 10 ? 2 : 1);
  return `${figure} ${unit}`;
}

function targetText({ of, atLeast, atMost }: Target, unit: Unit): string {
  const bound = (atLeast ?? atMost)!;
  const figure = of === 'ratio' ? bound.toFixed(2) : `${bound.toLocaleString('en')} ${unit}`;
  return `${atLeast === undefined ? '≤' : '≥'} ${figure}`;
}

export function machineText(machine: Machine): string {
  const { cores, processor, memoryGiB, node, platform, syncMs, tmpfs } = machine;
  return [
    `${cores} cores (${processor}), ${memoryGiB} GiB, ${platform}, Node ${node}; load generator on the same cores`,
    `fdatasync of 4 KiB: ${syncMs.toFixed(2)} ms (median)${tmpfs ? '; a disk in memory: say --data on a real one' : ''}`,
  ].join('\n');
}
