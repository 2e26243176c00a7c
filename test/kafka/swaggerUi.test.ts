/** kafka-rest.yaml in Swagger UI, in a browser: it can be chosen, and its operations can be tried out. */
import { Browser, findBrowser } from '../support/browser';
import { kafkaContract } from '../support/kafka';
import { Standalone } from '../support/node';

const chromium = findBrowser();
if (!chromium) console.warn('skipped: no Chromium on this machine (apt-get install chromium, or set CHROMIUM)');
const scene = chromium ? describe : describe.skip;

scene('Swagger UI', () => {
  let node: Standalone;
  let browser: Browser;

  beforeAll(async () => {
    node = await Standalone.start();
    browser = await Browser.launch(chromium!, [new URL(node.url).host]);
    node.closeFirst(() => browser.close());
  });
  afterAll(() => node.stop());

  test('shows the document that is chosen, and calls what it describes', async () => {
    const page = await browser.open(`${node.url}/docs`);
    await page.locator('.opblock').first().waitFor();
    expect(await page.locator('.info .title').textContent()).toMatch(/^Gantry/);
    await page.locator('.download-url-wrapper select').selectOption({ label: 'Kafka REST v2' });
    await page.locator('#operations-Consumers-createConsumer').waitFor();
    expect(await page.locator('.info .title').textContent()).toMatch(/Kafka REST/);
    expect(await page.locator('.opblock').count()).toBe(kafkaContract.operations.size);

    const block = page.locator('#operations-Consumers-createConsumer');
    await block.locator('.opblock-summary').click();
    await block.locator('.try-out__btn').click();
    await block.locator('tr[data-param-name="group"] input').fill('tried');
    await block.locator('button.execute').click();
    const status = block.locator('.live-responses-table .response-col_status').first();
    await status.waitFor();
    expect(await block.locator('.live-responses-table tbody').innerText()).toMatch(/^200\b[\s\S]*my_consumer_instance/);
    expect(browser.strayed).toEqual([]);
    expect(browser.complaints).toEqual([]);
  });
});
