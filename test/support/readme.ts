/** The README, whose programs are run as they stand there. */
import { spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const README = readFileSync(join(__dirname, '../../README.md'), 'utf8');

/** The first block of a language under a heading; without a language it is one that is shown only. */
export function blockUnder(heading: string, language = ''): string {
  const block = new RegExp(`### ${heading}\n[\\s\\S]*?\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(README)?.[1];
  if (block === undefined) throw new Error(`the README has no block under "${heading}"`);
  return block;
}

/** The blocks of a language under a chapter's heading, in order. */
export function blocksOf(chapter: string, language: string): string[] {
  const text = README.split(/^(?=## )/m).find((part) => part.startsWith(`## ${chapter}\n`)) ?? '';
  const blocks = [...text.matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, 'g'))].map((match) => match[1]!);
  if (blocks.length === 0) throw new Error(`the README has no ${language} under "${chapter}"`);
  return blocks;
}

export const missingOf = (...tools: string[]): string[] =>
  tools.filter((tool) => spawnSync('which', [tool]).status !== 0);

/** A detached process with all that it started. */
export function killTree(shell: ChildProcess): void {
  try {
    process.kill(-shell.pid!, 'SIGKILL');
  } catch {
    // it is gone already
  }
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 100));
}
