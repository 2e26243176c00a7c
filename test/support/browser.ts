/**
 * A Chromium without a window, a profile or a wish to call home. Tests that need one ask `findBrowser` first, and say so
 * when there is none.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { patience } from './patience';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where the machine has a Chromium; CHROMIUM overrides. */
export const findBrowser = (): string | undefined =>
  [process.env['CHROMIUM'] ?? '', ...PLACES].find((path) => path !== '' && existsSync(path));

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** What a page does not show by then it never will. */
const PATIENCE_MS = patience(30_000);

export class Browser {
  /** Requests that went, or would have gone, to a host that is not allowed. */
  readonly strayed: string[] = [];
  /** What pages complained about. */
  readonly complaints: string[] = [];
  readonly #context: BrowserContext;
  readonly #profile: string;

  private constructor(context: BrowserContext, profile: string) {
    this.#context = context;
    this.#profile = profile;
  }

  /** Its pages may call `hosts` (host:port) and nobody else. */
  static async launch(executablePath: string, hosts: readonly string[]): Promise<Browser> {
    const profile = await mkdtemp(join(tmpdir(), 'gantry-browser-'));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath,
      headless: true,
      args: ARGUMENTS,
    });
    context.setDefaultTimeout(PATIENCE_MS);
    const browser = new Browser(context, profile);
    await context.route('**/*', async (route) => {
      const { host, protocol, href } = new URL(route.request().url());
      if (hosts.includes(host) || protocol === 'data:') return route.continue();
      browser.strayed.push(href);
      return route.abort();
    });
    return browser;
  }

  async open(url: string): Promise<Page> {
    const page = await this.#context.newPage();
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  async close(): Promise<void> {
    await this.#context.close();
    await rm(this.#profile, { recursive: true, force: true });
  }
}
