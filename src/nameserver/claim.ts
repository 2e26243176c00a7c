/**
 * Whether a process may take a place in a broker group while others are registered there. Members of one group have the
 * same data, so they have the same folder id; a process with another one is a stranger with the same name, and stays
 * outside as long as a member is heard. The same folder at another address is the same broker after a restart if its
 * epoch is higher, as every start makes it. A copy of a folder looks like that, too, until the process that was replaced
 * is heard again: then the one that was there first gets its place back, and the copy is refused.
 */
import type { BrokerGroup } from './brokerGroup';
import { isOlderLife, type Member, type MemberName } from './member';
import type { Registration } from './route';

/** Why the claim is refused; undefined if it may register. The group has live members only. */
export function objectionTo(
  name: MemberName,
  claim: Registration,
  group: BrokerGroup,
  isAlive: (member: Member) => boolean,
): string | undefined {
  const stranger = [...group.members.values()].find((member) => hasOtherFolder(member, claim));
  if (stranger !== undefined)
    return (
      `Broker ${name.broker} is registered from ${stranger.said.address} with another data folder, and lives. ` +
      'Two brokers cannot share a name: start this one with another --name and a folder of its own, or stop the other one.'
    );
  const holder = group.members.get(name.brokerId);
  if (holder === undefined || holder.said.address === claim.address) return undefined;
  if (isPredecessor(holder, claim) && isAlive(holder.predecessor!)) return undefined;
  if (isCopy(holder, claim))
    return (
      `Broker ${name.broker} is registered from ${holder.said.address} with the same data folder, and lives: ` +
      'one of the two runs from a copy. Stop the one that is not wanted, and never start a copy beside its original.'
    );
  if (isOlderLife(claim, holder.said))
    return (
      `Member ${name.brokerId} of broker ${name.broker} is registered from ${holder.said.address} with a newer state. ` +
      'Give this broker another name or id, or stop the other one.'
    );
  return undefined;
}

/** Notes in `member`, which takes the place of `before`, what is known of copies of their folder. */
export function noteSuccession(member: Member, before: Member, registration: Registration): void {
  if (before.said.folderId === undefined || before.said.folderId !== registration.folderId) return;
  if (before.said.address === registration.address) member.copyAddress = before.copyAddress;
  else if (isPredecessor(before, registration)) member.copyAddress = before.said.address;
  else member.predecessor = before;
  before.predecessor = undefined;
}

/** True if the claim comes from the process that `holder` replaced: it has not ended. */
const isPredecessor = ({ predecessor }: Member, claim: Registration): boolean =>
  predecessor !== undefined && predecessor.isProcessOf(claim);

const hasOtherFolder = ({ said }: Member, { folderId }: Registration): boolean =>
  said.folderId !== undefined && folderId !== undefined && said.folderId !== folderId;

/** Each start of a master makes a new epoch: two masters of one epoch and one folder are two processes. */
function isCopy({ said, copyAddress }: Member, claim: Registration): boolean {
  if (said.folderId === undefined || said.folderId !== claim.folderId) return false;
  if (copyAddress === claim.address) return true;
  return said.role === 'MASTER' && claim.role === 'MASTER' && said.epoch === claim.epoch;
}
