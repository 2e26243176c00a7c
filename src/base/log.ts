/** One log line per change of state, with the ids needed to follow it; none per message. */
import pino, { type Logger } from 'pino';

export type Log = Logger;

/** A JSON logger on standard error, so that standard output stays the program's own. */
export function createLog(level: string): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
}

/** Says nothing: for tests and for parts that run before the configuration is known. */
export const silentLog: Log = pino({ level: 'silent' });
