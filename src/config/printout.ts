/** The effective configuration as YAML that can be saved and used as the file: each value with where it came from. */
import { stringify } from 'yaml';
import { describeSource } from './given';
import { appliesTo, GROUPS, KEYS, optionOf, unsetOf, type Key } from './option';
import type { Settings } from './settings';

/** What is unset or worked out from other options is a comment, so that a saved file does not pin it. */
function line(key: Key, { role, values, sources }: Settings): string {
  const value: unknown = values[key];
  const shown = value === undefined ? 'not set' : stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd();
  const source = sources.get(key) ?? { from: 'default' };
  const { kind } = optionOf(key);
  const unset = unsetOf(key, role);
  if (kind.hidden && value !== undefined)
    return `# ${key}: set, and not shown # ${describeSource(sources.get(key) ?? { from: 'default' })}`;
  if (source.from === 'default' && unset !== '') return `# ${key}: ${shown} (default: ${unset})`;
  return `${key}: ${shown} # ${describeSource(source)}`;
}

/** Prints settings without problems. */
export function printSettings(settings: Settings): string {
  const lines = [`# The effective configuration of: gantry ${settings.role}`];
  for (const group of GROUPS) {
    const keys = KEYS.filter((key) => optionOf(key).group === group && appliesTo(key, settings.role));
    if (keys.length > 0) lines.push('', `# ${group}`, ...keys.map((key) => line(key, settings)));
  }
  if (settings.unused.length > 0) lines.push('', `# Set, but not for this role: ${settings.unused.join(', ')}`);
  return `${lines.join('\n')}\n`;
}
