// The web app in a real browser, on a real company of one office, with its WAN going down in the middle.
//   node web_test.mjs BIN_DIR      screens of a failure go to a temporary folder, which is named
import { chromium } from 'playwright-core';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import { client, startSystem, until } from './system.mjs';

const kBrowsers = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const kFlags = ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'];
const kPatienceMs = 20_000;

const browserPath = kBrowsers.find((path) => path && existsSync(path));
if (!browserPath) {
  console.error('no chromium here: tools/setup --tests installs it');
  process.exit(1);
}

const steps = [];
const step = (name, run) => steps.push({ name, run });

// What the steps share.
const w = {};

const header = () => w.page.getByRole('banner');
const visible = (locator) => locator.first().waitFor({ state: 'visible', timeout: kPatienceMs });
const gone = (locator) => locator.first().waitFor({ state: 'hidden', timeout: kPatienceMs });
const field = (name) => w.page.locator(`[data-field="${name}"]`);
const sync = (text) => visible(header().getByRole('status').filter({ hasText: text }));

async function signIn(token, remember) {
  await w.page.getByLabel('API token', { exact: true }).fill(token);
  if (remember) await w.page.getByLabel('Keep me signed in on this computer').check();
  await w.page.getByRole('button', { name: 'Sign in' }).click();
}

async function change(name, value) {
  await w.page.locator(`input[name="${name}"]`).fill(value);
}

// What a program sees of the change stream, as text.
function readStream(url, token) {
  const stop = new AbortController();
  const told = { text: '', end: () => stop.abort() };
  const read = async () => {
    const answer = await fetch(`${url}/api/changes`, { headers: { Authorization: `Bearer ${token}` }, signal: stop.signal });
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) told.text += chunk;
  };
  void read().catch((error) => {
    if (!stop.signal.aborted) told.text += `broken: ${error.message}`;
  });
  return told;
}

step('the page has a strict policy, and assets are kept', async () => {
  const page = await fetch(`${w.system.url}/accounts/anything`);
  assert.equal(page.status, 200);
  assert.match(page.headers.get('content-security-policy'), /default-src 'self'/);
  const html = await page.text();
  const script = html.match(/src="(\/assets\/[^"]+\.js)"/)?.[1];
  assert.ok(script, 'the page names its script');
  const asset = await fetch(w.system.url + script, { headers: { 'Accept-Encoding': 'gzip' } });
  assert.match(asset.headers.get('cache-control'), /immutable/);
  assert.equal(asset.headers.get('content-encoding'), 'gzip');
  const plain = await fetch(w.system.url + script, { headers: { 'Accept-Encoding': 'identity' } });
  assert.equal(plain.headers.get('content-encoding'), null);
  assert.equal(await plain.text(), await asset.text());
  assert.equal((await fetch(`${w.system.url}/assets/none.js`)).status, 404);
});

step('a wrong token is told', async () => {
  await w.page.goto(w.system.url);
  await signIn('branchline_wrong', false);
  await visible(w.page.getByRole('alert').filter({ hasText: 'not known here' }));
});

step('sign in, and stay signed in after a reload', async () => {
  await signIn(w.token, true);
  await visible(w.page.getByRole('heading', { name: 'Accounts', level: 1 }));
  await w.page.reload();
  await visible(w.page.getByRole('heading', { name: 'Accounts', level: 1 }));
  await visible(w.page.getByText('63 accounts'));
  await sync('Up to date');
});

step('list: pages and columns', async () => {
  const rows = w.page.getByRole('table').locator('tbody tr');
  await until('50 rows', async () => (await rows.count()) === 50);
  await w.page.getByRole('button', { name: 'Show more' }).click();
  await until('63 rows', async () => (await rows.count()) === 63);
  const number = w.page.getByRole('columnheader', { name: 'Account number' });
  await number.getByRole('button').click();
  await until('sorted upwards', async () => (await number.getAttribute('aria-sort')) === 'ascending' && /N-001/.test(await rows.first().innerText()));
  await number.getByRole('button').click();
  await until('sorted downwards', async () => (await number.getAttribute('aria-sort')) === 'descending' && /N-063/.test(await rows.first().innerText()));
});

step('search by the keyboard: / finds, Enter opens, Esc returns', async () => {
  await w.page.locator('body').press('/');
  const search = w.page.getByRole('searchbox', { name: 'Search accounts' });
  await until('the search has the focus', () => search.evaluate((e) => e === document.activeElement));
  await w.page.keyboard.type('n-017');
  await visible(w.page.getByText('1 found'));
  await search.fill('granite');
  await visible(w.page.getByText('1 found'));
  await search.fill("o'har");
  await visible(w.page.getByRole('link', { name: "O'Hara & Sons" }));
  await search.fill('nothing like this');
  await visible(w.page.getByText('Nothing matches'));
  // As people do it: typed and entered before the answer is here.
  await search.fill('');
  await w.page.keyboard.type('granite');
  await w.page.keyboard.press('Enter');
  await visible(w.page.getByRole('heading', { name: 'Granite Works', level: 1 }));
  await w.page.keyboard.press('Escape');
  await visible(w.page.getByRole('heading', { name: 'Accounts', level: 1 }));
  await w.page.goto(`${w.system.url}/accounts/${w.granite}`);
});

step('related: contacts, orders with their lines, shipments', async () => {
  await visible(w.page.getByRole('link', { name: /Maria Koch/ }));
  await w.page.getByRole('tab', { name: /Orders/ }).click();
  const open = w.page.getByRole('button', { name: 'Lines of order O-1' });
  assert.equal(await open.getAttribute('aria-expanded'), 'false');
  await open.click();
  await visible(w.page.getByRole('table', { name: 'Order lines' }).getByText('Oak desk'));
  await visible(w.page.getByText('$841.00'));
  await w.page.getByRole('tab', { name: /Shipments/ }).click();
  await visible(w.page.getByText('S-1', { exact: true }));
  await visible(w.page.getByText('Late', { exact: true }));
});

step('edit: shown at once, followed to its fate', async () => {
  await w.page.getByRole('button', { name: 'Edit', exact: true }).click();
  await change('telephone1', '+1 503 555 0001');
  await w.page.keyboard.press('Enter');
  await visible(field('telephone1').getByText('+1 503 555 0001'));
  await visible(field('telephone1').getByRole('status', { name: 'Confirmed' }));
  assert.equal((await w.other.get(`accounts(${w.granite})`)).telephone1, '+1 503 555 0001');
  await sync('Up to date');
});

step('empty fields show on request', async () => {
  assert.equal(await field('creditlimit').count(), 0);
  await w.page.getByRole('button', { name: /empty fields/ }).click();
  await visible(field('creditlimit').getByText('Not set'));
  await w.page.getByRole('button', { name: 'Edit Credit limit' }).click();
  await until('the form opens there', () => w.page.locator('input[name="creditlimit"]').evaluate((e) => e === document.activeElement));
  await w.page.keyboard.type('2500.5');
  await w.page.keyboard.press('Enter');
  await visible(field('creditlimit').getByText('$2,500.50'));
});

step('Esc leaves the form without a change', async () => {
  await w.page.locator('body').press('e');
  await change('telephone1', '999');
  await w.page.keyboard.press('Escape');
  await visible(field('telephone1').getByText('+1 503 555 0001'));
});

step('what somebody else changes appears without a reload', async () => {
  await w.page.evaluate(() => (window.sameDocument = true));
  await w.other.update('accounts', w.granite, { websiteurl: 'granite.example' });
  await visible(field('websiteurl').getByText('granite.example'));
  await w.other.create('contacts', { firstname: 'Ines', lastname: 'Lund', 'parentcustomerid@odata.bind': `/accounts(${w.granite})` });
  await w.page.getByRole('tab', { name: /Contacts/ }).click();
  await visible(w.page.getByRole('link', { name: /Ines Lund/ }));
  assert.equal(await w.page.evaluate(() => window.sameDocument), true);
});

step('an address that is not of the web is no link', async () => {
  await w.other.update('accounts', w.granite, { websiteurl: 'file:///etc/hosts' });
  await visible(field('websiteurl').getByText('file:///etc/hosts'));
  assert.equal(await w.page.locator('a[href^="file:"]').count(), 0);
  const script = w.other.update('accounts', w.granite, { websiteurl: 'javascript:alert(1)' });
  await assert.rejects(script, /value\.url/);
});

step('WAN down: the header says so, and work goes on', async () => {
  await until('nothing waits', async () => (await w.other.get('/api/sync/status')).pending === 0);
  const told = readStream(w.system.url, w.token);
  await until('the stream tells the state', () => told.text.includes('"connected":true'));
  await w.system.wan.down();
  await sync('Working without the WAN');
  await until('the stream tells that the link is down', () => told.text.includes('"connected":false'));
  told.end();
  await w.page.locator('body').press('e');
  await change('address1_city', 'Leipzig');
  await w.page.keyboard.press('Enter');
  await visible(field('address1_city').getByText('Leipzig'));
  await visible(field('address1_city').getByRole('status', { name: 'Waiting for head office' }));
  await sync(/Working without the WAN \(1 change waiting since /);
  assert.equal((await w.other.get(`accounts(${w.granite})`)).address1_city, 'Leipzig');
  // It is saved here: another page shows it, too, with the mark.
  await w.page.reload();
  await visible(field('address1_city').getByText('Leipzig'));
  await visible(field('address1_city').getByRole('status', { name: 'Waiting for head office' }));
});

step('WAN down: a note and a new account', async () => {
  await w.page.getByLabel('New note').fill('Called Maria, line is down.');
  await w.page.getByRole('button', { name: 'Add note' }).click();
  await visible(w.page.getByRole('region', { name: 'Timeline' }).getByText('Called Maria, line is down.'));
  await w.page.getByRole('link', { name: 'Accounts', exact: true }).click();
  await w.page.getByRole('button', { name: 'New account' }).click();
  await w.page.getByRole('dialog').getByLabel('Account name').fill('Made Offline');
  await w.page.getByRole('dialog').getByLabel('Account name').press('Enter');
  await visible(w.page.getByRole('heading', { name: 'Made Offline', level: 1 }));
  await visible(w.page.getByRole('status', { name: 'Waiting for head office' }));
  await sync(/3 changes waiting/);
});

step('WAN up: everything arrives, and is confirmed', async () => {
  await w.system.wan.up();
  await visible(w.page.getByRole('status', { name: 'Confirmed' }));
  await sync('Up to date');
  assert.equal((await w.other.get('/api/sync/status')).pending, 0);
});

step('somebody was faster: both versions are shown, ours goes on top', async () => {
  await w.page.goto(`${w.system.url}/accounts/${w.granite}`);
  await visible(w.page.getByRole('heading', { name: 'Granite Works', level: 1 }));
  await w.page.locator('body').press('e');
  await change('telephone1', '+1 503 555 0003');
  await w.other.update('accounts', w.granite, { telephone1: '+1 503 555 0002', address1_city: 'Bremen' });
  await w.page.getByRole('button', { name: 'Save' }).click();
  const dialog = w.page.getByRole('dialog', { name: /Somebody else changed this record/ });
  await visible(dialog);
  const row = dialog.getByRole('row', { name: /Main phone/ });
  for (const value of ['+1 503 555 0001', '+1 503 555 0002', '+1 503 555 0003']) await visible(row.getByText(value));
  await visible(dialog.getByRole('row', { name: /City/ }).getByText('Bremen'));
  await dialog.getByRole('button', { name: 'Apply mine on top' }).click();
  await gone(dialog);
  await visible(field('telephone1').getByText('+1 503 555 0003'));
  await visible(field('address1_city').getByText('Bremen'));
  const stored = await w.other.get(`accounts(${w.granite})`);
  assert.equal(stored.telephone1, '+1 503 555 0003');
  assert.equal(stored.address1_city, 'Bremen');
});

step('a refused value is told beside what was typed', async () => {
  await w.page.locator('body').press('e');
  await change('name', '');
  await w.page.getByRole('button', { name: 'Save' }).click();
  await visible(w.page.getByRole('alert').filter({ hasText: 'Account name is needed.' }));
  await change('name', 'Granite Works');
  await change('accountnumber', 'N-001');
  await w.page.getByRole('button', { name: 'Save' }).click();
  await visible(w.page.getByRole('alert').filter({ hasText: /N-001|number|exists|taken/i }));
  assert.equal(await w.page.locator('input[name="accountnumber"]').inputValue(), 'N-001');
  await w.page.keyboard.press('Escape');
});

step('everything that can be pressed has a name, and there is one main heading', async () => {
  for (const path of ['/accounts', `/accounts/${w.granite}`]) {
    await w.page.goto(w.system.url + path);
    await visible(w.page.getByRole('heading', { level: 1 }));
    await visible(w.page.getByRole('main'));
    await visible(w.page.getByRole('navigation'));
    const nameless = await w.page.evaluate(() =>
      [...document.querySelectorAll('button, a[href], input, textarea')]
        .filter((e) => e.checkVisibility() && e.type !== 'hidden')
        .filter((e) => !(e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.length || e.getAttribute('aria-labelledby')))
        .map((e) => e.outerHTML.slice(0, 120)),
    );
    assert.deepEqual(nameless, []);
    assert.equal(await w.page.getByRole('heading', { level: 1 }).count(), 1);
    assert.equal(await w.page.evaluate(() => document.documentElement.lang), 'en');
  }
});

step('German, and dark', async () => {
  await w.page.getByRole('button', { name: 'Your account and settings' }).click();
  await w.page.getByText('Dark', { exact: true }).click();
  await w.page.getByText('Deutsch', { exact: true }).click();
  await sync('Auf dem neuesten Stand');
  assert.equal(await w.page.evaluate(() => document.documentElement.lang), 'de');
  const background = await w.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const [red] = background.match(/\d+/g).map(Number);
  assert.ok(red < 60, `dark is dark: ${background}`);
});

step('an answer of 401 leads back to the sign-in', async () => {
  await w.page.route('**/api/data/**', (route) =>
    route.fulfill({ status: 401, contentType: 'application/json', body: '{"error":{"code":"token.unknown","message":"gone"}}' }),
  );
  await w.page.getByRole('link', { name: 'Firmen', exact: true }).click();
  await visible(w.page.getByText('Ihr Token gilt nicht mehr'));
  assert.equal(await w.page.evaluate(() => localStorage.getItem('branchline.token')), null);
});

async function fill(office) {
  const account = (name, n) => office.create('accounts', { name, accountnumber: `N-${String(n).padStart(3, '0')}` });
  for (let n = 1; n <= 61; n++) await account(`Customer ${String(n).padStart(3, '0')}`, n);
  await account("O'Hara & Sons", 62);
  w.granite = (await account('Granite Works', 63)).accountid;
  await office.create('contacts', { firstname: 'Maria', lastname: 'Koch', 'parentcustomerid@odata.bind': `/accounts(${w.granite})` });
  const order = await office.create('salesorders', {
    ordernumber: 'O-1',
    orderdate: '2026-03-02',
    'customerid_account@odata.bind': `/accounts(${w.granite})`,
  });
  const ofOrder = { 'salesorderid@odata.bind': `/salesorders(${order.salesorderid})` };
  await office.create('salesorderdetails', { lineitemnumber: 1, productdescription: 'Oak desk', quantity: 2, priceperunit: 420.5, ...ofOrder });
  await office.create('shipments', { shipmentnumber: 'S-1', promiseddate: '2026-03-05', shippeddate: '2026-03-04', delivereddate: '2026-03-09', ...ofOrder });
}

async function main() {
  const bin = process.argv[2];
  if (!bin) throw new Error('usage: node web_test.mjs BIN_DIR');
  w.system = await startSystem(bin);
  let browser;
  let at = 'start';
  try {
    w.token = w.system.makeToken('anna', 'Anna Berg');
    w.other = client(w.system.url, w.system.makeToken('bert', 'Bert Maas'));
    // Tokens come to the branch over the main line.
    await until('the tokens are here', async () => (await w.other.get('/api/sync/status')) && client(w.system.url, w.token).get('WhoAmI()'));
    await fill(w.other);
    browser = await chromium.launch({ executablePath: browserPath, args: kFlags });
    const context = await browser.newContext({ locale: 'en-US', colorScheme: 'light', viewport: { width: 1280, height: 860 } });
    context.setDefaultTimeout(kPatienceMs);
    w.page = await context.newPage();
    const complaints = [];
    w.page.on('pageerror', (error) => complaints.push(error.message));
    // Answers other than 2xx are part of the story; what the page itself does wrong is not.
    w.page.on('console', (message) => {
      if (message.type() === 'error' && !/Failed to load resource|net::ERR/.test(message.text())) complaints.push(message.text());
    });
    for (const { name, run } of steps) {
      at = name;
      const begin = Date.now();
      await run();
      assert.deepEqual(complaints, [], 'the page complained');
      console.log(`ok   ${name} (${Date.now() - begin} ms)`);
    }
  } catch (error) {
    console.log(`FAIL ${at}\n${error.stack}`);
    if (w.page) {
      const screens = mkdtempSync(join(tmpdir(), 'branchline-web-'));
      await w.page.screenshot({ path: join(screens, 'failure.png'), fullPage: true }).catch(() => undefined);
      console.log(`the screen: ${join(screens, 'failure.png')}`);
    }
    console.log(w.system.logs());
    process.exitCode = 1;
  } finally {
    await browser?.close();
    await w.system.stop();
    w.system.remove();
  }
}

await main();
