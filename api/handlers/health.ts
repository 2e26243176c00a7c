/** Is the process alive, may it get traffic, and its figures: at the root of every role's port, without authentication. */
import type { Registry } from 'prom-client';
import type { HandlerTable } from '../operation';

export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

export function healthHandlers(deps: {
  readonly checks: () => HealthCheck[] | Promise<HealthCheck[]>;
  readonly registry: Registry;
}): HandlerTable<'livez' | 'readyz' | 'metrics'> {
  return {
    livez: () => ({ status: 200, body: { status: 'OK' } }),
    async readyz() {
      const checks = await deps.checks();
      const ok = checks.every((check) => check.ok);
      return {
        status: ok ? 200 : 503,
        body: { status: ok ? 'OK' : 'UNAVAILABLE', checks },
        ...(ok ? {} : { headers: { 'Retry-After': '1' } }),
      };
    },
    async metrics() {
      return {
        status: 200,
        text: await deps.registry.metrics(),
        headers: { 'Content-Type': deps.registry.contentType },
      };
    },
  };
}
