/**
 * The configuration: command line, environment and YAML file become one typed value, checked before anything starts.
 * Pure: main.ts hands in what it reads. The options themselves are the table in config/option.ts.
 */
import { readArguments, type Arguments } from './config/arguments';
import { CONFIG_VARIABLE, readEnvironment, type Environment } from './config/environment';
import { readConfigFile } from './config/file';
import { oneLine, quoted } from './config/given';
import { helpText } from './config/help';
import { didYouMean } from './config/nearest';
import { ROLES, type OptionsOf, type Role } from './config/option';
import { printSettings } from './config/printout';
import { settle, type Settings } from './config/settings';

/** What every process has, whatever its role. */
export type ProcessOptions = OptionsOf<Role>;
/** What every process with a broker in it has. */
export type BrokerOptions = OptionsOf<'standalone' | 'broker'>;
/** What every process with a NameServer in it has. `port` is the NameServer's only in the role nameserver. */
export type NameserverOptions = OptionsOf<'standalone' | 'nameserver'>;

/** A NameServer and one broker in one process. */
export interface StandaloneConfig extends OptionsOf<'standalone'> {
  readonly role: 'standalone';
}

/** A NameServer alone. */
export interface NameserverConfig extends OptionsOf<'nameserver'> {
  readonly role: 'nameserver';
}

/** A broker that registers with NameServers elsewhere. */
export interface BrokerConfig extends OptionsOf<'broker'> {
  readonly role: 'broker';
}

/** A front without a broker. */
export interface GatewayConfig extends OptionsOf<'gateway'> {
  readonly role: 'gateway';
}

export type { Role } from './config/option';

/** What the command line asks for. `text` is complete and ends in a line break. */
export type ParsedCommand =
  | { readonly command: 'help'; readonly text: string }
  | { readonly command: 'version' }
  | { readonly command: 'config'; readonly text: string }
  | { readonly command: 'run'; readonly role: 'standalone'; readonly config: StandaloneConfig }
  | { readonly command: 'run'; readonly role: 'nameserver'; readonly config: NameserverConfig }
  | { readonly command: 'run'; readonly role: 'broker'; readonly config: BrokerConfig }
  | { readonly command: 'run'; readonly role: 'gateway'; readonly config: GatewayConfig }
  | { readonly command: 'refused'; readonly text: string };

const COMMANDS = ['config', 'help', 'version'] as const;
type Command = (typeof COMMANDS)[number] | 'run';
const WORDS: readonly string[] = [...ROLES, ...COMMANDS];

interface Intent {
  readonly command: Command;
  /** Undefined when none is named, or one that does not exist. */
  readonly role: Role | undefined;
  readonly problems: readonly string[];
}

/** Understands `[command] [role]`. */
function readIntent({ words, help, version }: Arguments): Intent {
  const named = COMMANDS.find((command) => command === words[0]);
  const [word, ...rest] = named === undefined ? words : words.slice(1);
  const role = ROLES.find((candidate) => candidate === word);
  const problems = rest.map((extra) => `${quoted(extra)}: unexpected, one role at most is expected`);
  if (word !== undefined && role === undefined) {
    const known = named === undefined ? WORDS : ROLES;
    problems.unshift(
      `${quoted(word)}: unknown ${named === undefined ? 'command or role' : 'role'}${didYouMean(word, known)}, expected one of ${known.join(', ')}`,
    );
  }
  const command = help ? 'help' : version ? 'version' : (named ?? 'run');
  return { command, role, problems: help || version ? [] : problems };
}

function refusal(problems: readonly string[], role: Role | undefined): ParsedCommand {
  const heading = problems.length === 1 ? 'There is a problem' : `There are ${problems.length} problems`;
  const help = role === undefined ? 'gantry --help' : `gantry ${role} --help`;
  const lines = [
    `${heading} with the configuration:`,
    ...problems.map((problem) => `  ${oneLine(problem)}`),
    `All options: ${help}`,
  ];
  return { command: 'refused', text: `${lines.join('\n')}\n` };
}

/** The one place where a table of values becomes a typed configuration: the types come from the same table. */
function run({ role, values }: Settings): ParsedCommand {
  return { command: 'run', role, config: { role, ...values } } as ParsedCommand;
}

/**
 * Reads the command line (without node and the script), the environment and, if one is named, the YAML file.
 * `readFile` answers a file's text or throws. `hostName`: what this machine calls itself.
 */
export function parseConfig(
  argv: readonly string[],
  environment: Environment,
  readFile: (path: string) => string,
  hostName = '',
): ParsedCommand {
  const given = readArguments(argv, WORDS);
  const { command, role, problems } = readIntent(given);
  if (command === 'help' && problems.length === 0) return { command, text: helpText(role) };
  if (command === 'version' && problems.length === 0) return { command };

  const file = readConfigFile(given.file ?? (environment[CONFIG_VARIABLE] || undefined), readFile);
  const places = { flags: given, environment: readEnvironment(environment), file };
  const misnamed = [...problems, ...given.problems, ...places.environment.problems, ...file.problems];
  if (problems.length > 0 || command === 'help' || command === 'version') return refusal(misnamed, role);
  const settings = settle(role ?? 'standalone', places, hostName);
  if (settings.problems.length > 0) return refusal(settings.problems, role);
  return command === 'config' ? { command, text: printSettings(settings) } : run(settings);
}
