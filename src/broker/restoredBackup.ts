/**
 * An older backup of the data folder was restored: others have seen journal indexes that are not in it. Messages that were
 * stored in the meantime are gone, and their ids and receipts are known to clients. So these indexes are left out for
 * ever: what names one (offsetMessageIds, transactionIds, receipt handles, the owner epochs in cursors) never means
 * something else. Queue offsets go on where the backup ended, and are used again.
 */
import type { Journal } from '../../storage/journal';
import { LIMITS } from '../base/limits';
import type { Log } from '../base/log';
import type { FolderSeen } from '../nameserver/route';

/** A restored backup as the start found it. */
export interface RestoredBackup {
  /** The last command of the backup. */
  readonly journalEnd: number;
  /** The last one that a NameServer had seen. */
  readonly seenEnd: number;
}

/** Looks for the traces of a lost life, and leaves its indexes out; undefined when there are none. */
export async function leaveOutLostLife(
  journal: Journal,
  seen: Omit<FolderSeen, 'folderId'> | undefined,
  log: Log,
): Promise<RestoredBackup | undefined> {
  if (!seen || seen.journalEnd <= journal.end) return undefined;
  const found = { journalEnd: journal.end, seenEnd: seen.journalEnd };
  await journal.skipTo(seen.journalEnd + LIMITS.restoreGap);
  log.warn(
    { ...found, goesOnAt: journal.end + 1, seenEpoch: seen.epoch },
    'this data folder is older than what a NameServer has seen of it: a backup was restored, or commands were lost. ' +
      'What was stored since then is gone; its ids, receipts and cursors are refused, queue offsets are used again',
  );
  return found;
}
