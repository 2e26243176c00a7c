/** Whether a broker is known where others look for it, and whether its name is its own. */
import type { Registrar } from '../src/cluster/registration';
import type { HealthCheck } from './handlers/health';

export function registrationCheck(registrar: Registrar): HealthCheck {
  const name = 'registration';
  const statuses = registrar.status();
  const conflict = registrar.refused ?? statuses.find((status) => status.conflict !== undefined)?.conflict;
  const { registered, registeredNow } = registrar;
  if (conflict !== undefined) return { name, ok: registrar.refused === undefined && registeredNow, detail: conflict };
  if (!registered) return { name, ok: false, detail: whyNot(statuses.map(({ lastError }) => lastError)) };
  const claimants = new Set(statuses.flatMap(({ refusedClaim }) => refusedClaim?.address ?? []));
  const detail = ['known to a NameServer'];
  for (const address of claimants)
    detail.push(`another process, at ${address}, wants the name of this broker and is refused: give it another --name`);
  return { name, ok: true, detail: detail.join('; ') };
}

const whyNot = (errors: readonly (string | undefined)[]): string => {
  const known = [...new Set(errors.filter((error) => error !== undefined))];
  return known.length === 0 ? 'no NameServer has answered yet' : `not registered: ${known.join('; ')}`;
};
