/** Asks NameServers how far they have seen a data folder, before a broker serves any client. */
import type { Clock } from '../base/clock';
import { LIMITS } from '../base/limits';
import type { FolderSeen } from '../nameserver/route';
import { withDeadline } from './deadline';
import type { NameserverPeer } from './nameserverPeer';

const NEVER = new AbortController().signal;

/**
 * The furthest that any NameServer has seen the folder; undefined when none has seen it, or none answers within
 * LIMITS.folderSeenMs: a NameServer that restarted has seen nothing.
 */
export async function folderSeen(
  clock: Clock,
  nameservers: readonly NameserverPeer[],
  folderId: string,
): Promise<Omit<FolderSeen, 'folderId'> | undefined> {
  const views = await Promise.all(
    nameservers.map((peer) =>
      withDeadline(clock, LIMITS.folderSeenMs, NEVER, (signal) => peer.clusterView(signal)).catch(() => undefined),
    ),
  );
  const seen = views.flatMap((view) => view?.folders?.filter((folder) => folder.folderId === folderId) ?? []);
  if (seen.length === 0) return undefined;
  return {
    epoch: Math.max(...seen.map(({ epoch }) => epoch)),
    journalEnd: Math.max(...seen.map(({ journalEnd }) => journalEnd)),
  };
}
