/** One log line per change of state, with the ids needed to follow it; none per message. */
import pino, { type Logger } from 'pino';
import { DeadlineOver, GantryError } from './errors';

export type Log = Logger;

/** A JSON logger on standard error, so that standard output stays the program's own. */
export function createLog(level: string): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
}

/**
 * Fields of a line that tells of a failure. One that has to be reckoned with, such as a refusal or a connection that
 * cannot be made, is told in its own words; anything else may be a fault in the program, and is shown with its stack.
 */
export function failureFields(error: unknown): { readonly why: string } | { readonly err: unknown } {
  if (!isReckonedWith(error)) return { err: error };
  return { why: error instanceof GantryError ? `${error.code}: ${error.message}` : error.message };
}

function isReckonedWith(error: unknown): error is Error {
  if (error instanceof GantryError || error instanceof DeadlineOver) return true;
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  return syscall !== undefined || isUndici(code);
}

/** Codes of the HTTP client: time-outs, connections that end early. */
const isUndici = (code: unknown): boolean => typeof code === 'string' && code.startsWith('UND_ERR_');

/** Says nothing: for tests and for parts that run before the configuration is known. */
export const silentLog: Log = pino({ level: 'silent' });
