/** Swagger UI in a browser: every operation is tried out with the document's own examples, and succeeds. */
import type { Page } from 'playwright-core';
import type { Operation } from '../../api/contract';
import { http, type Http } from '../support/http';
import { Browser, findBrowser } from '../support/browser';
import { contract, Standalone } from '../support/node';
import { atNameserver, examplesOf, Walk, walkthrough, type Example } from './examples';

const chromium = findBrowser();
if (!chromium) console.warn('skipped: no Chromium on this machine (apt-get install chromium, or set CHROMIUM)');
const scene = chromium ? describe : describe.skip;

scene('Swagger UI', () => {
  let node: Standalone;
  let browser: Browser;
  let pages: Record<'broker' | 'nameserver', Page>;
  let clients: Record<'broker' | 'nameserver', Http>;
  const placeOf = (operation: Operation) => (atNameserver(operation) ? 'nameserver' : 'broker');
  const walk = new Walk(contract, (operation) => clients[placeOf(operation)]);

  beforeAll(async () => {
    node = await Standalone.start();
    browser = await Browser.launch(
      chromium!,
      [node.url, node.nameserverUrl].map((url) => new URL(url).host),
    );
    node.closeFirst(() => browser.close());
    clients = { broker: http(node.url, contract), nameserver: http(node.nameserverUrl, contract) };
    for (const client of Object.values(clients)) node.closeFirst(() => client.close());
    pages = {
      broker: await browser.open(`${node.url}/docs`),
      nameserver: await browser.open(`${node.nameserverUrl}/docs`),
    };
  });
  afterAll(() => node.stop());

  test.each(['broker', 'nameserver'] as const)('the page of the %s shows its operations', async (which) => {
    const page = pages[which];
    await page.locator('.opblock').first().waitFor();
    expect(await page.locator('.info .title').textContent()).toMatch(/^Gantry/);
    const shown = await page.locator('.opblock').evaluateAll((blocks: { id: string }[]) => blocks.map(({ id }) => id));
    const own = [...contract.operations.values()].filter(
      (operation) =>
        !operation.internal &&
        (operation.tags.some((tag) => ['Meta', 'Health'].includes(tag)) ||
          atNameserver(operation) === (which === 'nameserver')),
    );
    expect(shown.sort()).toEqual(own.map(({ id, tags }) => `operations-${tags[0]}-${id}`).sort());
  });

  /** The status that Swagger UI shows when everything is left as the page suggests it, but for what a server makes up. */
  async function tryOut(page: Page, { operation, parts }: Example): Promise<string> {
    const { id, tags } = operation;
    await page.bringToFront();
    const block = page.locator(`#operations-${tags[0]}-${id}`);
    await block.locator('.opblock-summary').click();
    await block.locator('.try-out__btn').click();
    const body = walk.real(parts.body);
    if (JSON.stringify(body) !== JSON.stringify(parts.body))
      await block.locator('.body-param__text').fill(JSON.stringify(body));
    for (const [name, shown] of Object.entries(parts.path ?? {})) {
      const real = walk.real(shown);
      if (real !== shown) await block.locator(`tr[data-param-name="${name}"] input`).fill(String(real));
    }
    const answered = page.waitForResponse(() => true);
    await block.locator('button.execute').click();
    const response = await answered;
    if (response.status() < 300 && response.headers()['content-type'] === 'application/json')
      walk.learn(operation, await response.json(), response.status());
    const status = block.locator('.live-responses-table .response-col_status').first();
    await status.waitFor();
    const answer = (await block.locator('.live-responses-table tbody').innerText()).slice(0, 500);
    // Closed again, or the page gets slower with each.
    await block.locator('.opblock-summary').click();
    return answer;
  }

  test.each(walkthrough(contract).map((operation) => [operation.id, operation] as const))(
    '%s works as it stands',
    async (_, operation) => {
      // The page suggests the first one; what comes later may need the others, too.
      const [first, ...others] = examplesOf(contract, operation);
      // What the parts of a cluster ask each other is on no page; what comes later may need it all the same.
      if (operation.internal) expect((await walk.send(first!)).status).toBeLessThan(300);
      else expect(await tryOut(pages[placeOf(operation)], first!)).toMatch(/^2\d\d\b/);
      for (const other of others) expect((await walk.send(other)).status).toBeLessThan(300);
    },
    30_000,
  );

  test('nobody else was called, and no page complained', () => {
    expect(browser.strayed).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
