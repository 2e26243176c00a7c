/**
 * What people and tools read first: the served part of the contract, Swagger UI on it, and the way there from `/`. All
 * links are relative, so that a proxy may put the whole API below a prefix; nothing is fetched from elsewhere.
 */
import { Router, type Express, type Request, type Response } from 'express';
import swaggerUi from 'swagger-ui-express';
import type { Contract } from './contract';
import { prefersHtml } from './mediaType';

/** Swagger UI is inline-styled, runs its own scripts only, and calls this server only. */
const POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

/** The files of Swagger UI a browser asks for; nothing else of its package is served. */
const FILE = /^\/(index\.css|swagger-ui[\w-]*\.(css|js)|favicon-[\w]+\.png)?$/;

/** How these paths take part in what every answer has. */
export interface DocsRim {
  /** Checks and common headers of a path that is only read; false when the request has been answered. */
  admit(req: Request, res: Response): boolean;
  /** Answers JSON. */
  json(req: Request, res: Response, json: string): void;
}

/** Adds `/`, `/openapi.json` and `/docs/`, all read only; `kafka` is the document of the other API, if it is served. */
export function addDocs(
  app: Express,
  contract: Contract,
  tags: readonly string[],
  kafka: string | undefined,
  rim: DocsRim,
): void {
  const document = JSON.stringify(contract.served(tags));
  app.all('/', (req, res) => {
    if (rim.admit(req, res)) redirect(res, prefersHtml(req.headers.accept) ? './docs/' : './v1');
  });
  app.all('/openapi.json', (req, res) => {
    if (rim.admit(req, res)) rim.json(req, res, document);
  });
  if (kafka !== undefined)
    app.all('/kafka-rest.json', (req, res) => {
      if (rim.admit(req, res)) rim.json(req, res, kafka);
    });
  app.all('/docs', (req, res) => {
    if (rim.admit(req, res)) redirect(res, './docs/');
  });
  app.use('/docs', swaggerFiles(rim, kafka !== undefined));
}

/** The documents that the page offers, when there is more than one. */
const DOCUMENTS = [
  { url: '../openapi.json', name: 'Gantry' },
  { url: '../kafka-rest.json', name: 'Kafka REST v2' },
];

function swaggerFiles(rim: DocsRim, both: boolean): Router {
  const options = {
    customSiteTitle: 'Gantry API',
    ...(both
      ? { explorer: true, swaggerOptions: { validatorUrl: null, urls: DOCUMENTS } }
      : { swaggerUrl: '../openapi.json', swaggerOptions: { validatorUrl: null } }),
  };
  const [script] = swaggerUi.serveFiles(undefined, options);
  const [, files] = swaggerUi.serveWithOptions({
    etag: false,
    lastModified: false,
    cacheControl: false,
    redirect: false,
  });
  const router = Router({ strict: true, caseSensitive: true });
  router.use((req, res, next) => {
    if (!FILE.test(req.path) || !req.originalUrl.startsWith('/docs/')) return next('router');
    if (!rim.admit(req, res)) return;
    res.setHeader('Content-Security-Policy', POLICY);
    next();
  });
  router.get('/', swaggerUi.setup(undefined, options));
  router.use(script!, files!);
  return router;
}

function redirect(res: Response, to: string): void {
  res.statusCode = 302;
  res.setHeader('Location', to);
  res.setHeader('Content-Length', 0);
  res.end();
}
