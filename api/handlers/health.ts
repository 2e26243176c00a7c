/** Is the process alive, may it get traffic, and its figures: at the root of every role's port, without authentication. */
import type { Registry } from 'prom-client';
import type { HandlerTable } from '../operation';

export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** While it is not ok, this kind of traffic alone is refused; nothing at all is served when absent. */
  readonly only?: 'writes';
}

export function healthHandlers(deps: {
  readonly checks: () => HealthCheck[] | Promise<HealthCheck[]>;
  readonly registry: Registry;
}): HandlerTable<'livez' | 'readyz' | 'metrics'> {
  return {
    livez: () => ({ status: 200, body: { status: 'OK' } }),
    async readyz() {
      const checks = await deps.checks();
      const failed = checks.filter((check) => !check.ok);
      const reads = failed.every(({ only }) => only !== undefined);
      const writes = failed.length === 0;
      return {
        status: reads ? 200 : 503,
        body: {
          status: writes ? 'OK' : reads ? 'READ_ONLY' : 'UNAVAILABLE',
          accepts: { reads, writes },
          checks: checks.map(({ name, ok, detail }) => ({ name, ok, detail })),
        },
        ...(reads ? {} : { headers: { 'Retry-After': '1' } }),
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
