// The public client of the Dataverse Web API, unchanged, against an office. Prints what it did; exit code 0 if all held.
//
//   node dynamics_client_test.mjs http://127.0.0.1:7430 TOKEN
//   (or OFFICE_URL and TOKEN in the environment)
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { DynamicsWebApi } = createRequire(import.meta.url)('dynamics-web-api');
const [url = process.env.OFFICE_URL, token = process.env.TOKEN] = process.argv.slice(2);
if (!url || !token) {
  console.error('usage: node dynamics_client_test.mjs OFFICE_URL TOKEN');
  process.exit(2);
}
const api = new DynamicsWebApi({
  serverUrl: url,
  dataApi: { version: '9.2' },
  onTokenRefresh: async () => token,
});

const steps = [];
const step = (name, run) => steps.push([name, run]);
const refusal = async (promise, status) => {
  const error = await promise.then(() => assert.fail(`expected ${status}`), (e) => e);
  assert.equal(error.status, status, `${error.status}: ${error.message}`);
  assert.ok(error.message.length > 10, 'the client shows a message');
  return error;
};
const stamp = Date.now().toString(36);
let id, account, etag;

step('WhoAmI', async () => {
  const who = await api.callFunction({ name: 'WhoAmI' });
  assert.match(who.UserId, /^[0-9a-f-]{36}$/);
});
step('create answers with the id', async () => {
  id = await api.create({ collection: 'accounts', data: { name: `Client ${stamp}`, creditlimit: 12.5, telephone1: '+1 555 0100' } });
  assert.match(id, /^[0-9a-f-]{36}$/);
});
step('create with a representation', async () => {
  account = await api.create({ collection: 'accounts', data: { name: `Shown ${stamp}`, accountnumber: `D-${stamp}` }, returnRepresentation: true, select: ['name', 'accountnumber'] });
  assert.equal(account.accountnumber, `D-${stamp}`);
  assert.match(account.accountid, /^[0-9a-f-]{36}$/);
});
step('retrieve by id and by alternate key', async () => {
  const r = await api.retrieve({ collection: 'accounts', key: id, select: ['name', 'creditlimit'], includeAnnotations: '*' });
  assert.equal(r.name, `Client ${stamp}`);
  assert.equal(r.creditlimit, 12.5);
  etag = r['@odata.etag'];
  assert.ok(etag.startsWith('W/"'));
  assert.equal((await api.retrieve({ collection: 'accounts', key: `accountnumber='D-${stamp}'`, select: ['name'] })).accountid, account.accountid);
});
step('retrieve what has not changed: nothing', async () => {
  assert.equal(await api.retrieve({ collection: 'accounts', key: id, select: ['name'], ifnonematch: etag }), undefined);
});
step('update, and with an ETag that is out of date', async () => {
  assert.equal(await api.update({ collection: 'accounts', key: id, data: { telephone1: '+1 555 0101' } }), true);
  assert.equal(await api.update({ collection: 'accounts', key: id, data: { telephone1: 'x' }, ifmatch: etag }), false);
  const shown = await api.update({ collection: 'accounts', key: id, data: { description: 'd' }, returnRepresentation: true, select: ['telephone1', 'description'] });
  assert.equal(shown.telephone1, '+1 555 0101');
  assert.equal(shown.description, 'd');
  await refusal(api.update({ collection: 'accounts', key: '0b5cf7a1-0000-4000-8000-0000000000ff', data: { name: 'x' } }), 404);
});
step('update of a single property', async () => {
  await api.updateSingleProperty({ collection: 'accounts', key: id, fieldValuePair: { name: `Renamed ${stamp}` } });
  assert.equal((await api.retrieve({ collection: 'accounts', key: id, select: ['name'] })).name, `Renamed ${stamp}`);
});
step('upsert creates, updates, and does one only where asked', async () => {
  const key = `0b5cf7a1-0000-4000-8000-${stamp.padStart(12, '0').replace(/[^0-9a-f]/g, '0')}`;
  const made = await api.upsert({ collection: 'accounts', key, data: { name: 'Upserted' }, returnRepresentation: true });
  assert.equal(made.accountid, key);
  await api.upsert({ collection: 'accounts', key, data: { name: 'Upserted again' } });
  assert.equal(await api.upsert({ collection: 'accounts', key, data: { name: 'x' }, ifnonematch: '*' }), null);
  assert.equal((await api.retrieve({ collection: 'accounts', key, select: ['name'] })).name, 'Upserted again');
  await api.upsert({ collection: 'accounts', key: `accountnumber='K-${stamp}'`, data: { name: 'By key' } });
  assert.equal((await api.retrieveMultiple({ collection: 'accounts', filter: `accountnumber eq 'K-${stamp}'` })).value.length, 1);
});
step('children, lookups and expansion', async () => {
  for (let i = 0; i < 23; ++i) {
    await api.create({ collection: 'contacts', data: { lastname: `L${i % 3}`, firstname: `${i}`.padStart(2, '0'), numberofchildren: i, 'parentcustomerid_account@odata.bind': `/accounts(${id})` } });
  }
  const r = await api.retrieve({ collection: 'accounts', key: id, select: ['name'], expand: [{ property: 'contact_customer_accounts', select: ['lastname'], top: 5 }] });
  assert.equal(r.contact_customer_accounts.length, 5);
  const one = (await api.retrieveMultiple({ collection: 'contacts', filter: `_parentcustomerid_value eq ${id}`, top: 1, expand: [{ property: 'parentcustomerid_account', select: ['name'] }] })).value[0];
  assert.equal(one.parentcustomerid_account.name, `Renamed ${stamp}`);
});
step('list with a condition, an order, a count and pages', async () => {
  const query = { collection: 'contacts', select: ['firstname'], filter: `_parentcustomerid_value eq ${id} and lastname ne 'L9'`, orderBy: ['firstname desc'], count: true, maxPageSize: 5 };
  let page = await api.retrieveMultiple(query);
  assert.equal(page['@odata.count'] ?? page.oDataCount, 23);
  const seen = [];
  for (;;) {
    assert.ok(page.value.length <= 5);
    seen.push(...page.value.map((c) => c.firstname));
    const next = page['@odata.nextLink'] ?? page.oDataNextLink;
    if (!next) break;
    page = await api.retrieveMultiple(query, next);
  }
  assert.deepEqual(seen, [...seen].sort().reverse());
  assert.equal(seen.length, 23);
  const all = await api.retrieveAll({ collection: 'contacts', select: ['firstname'], filter: `_parentcustomerid_value eq ${id}`, maxPageSize: 10 });
  assert.equal(all.value.length, 23);
});
step('count and aggregate', async () => {
  assert.equal(await api.count({ collection: 'contacts', filter: `_parentcustomerid_value eq ${id}` }), 23);
  const rows = await api.retrieveMultiple({ collection: 'contacts', apply: `filter(_parentcustomerid_value eq ${id})/groupby((lastname),aggregate($count as n,numberofchildren with sum as children))` });
  assert.deepEqual(rows.value.map((r) => [r.lastname, r.n, r.children]), [['L0', 8, 84], ['L1', 8, 92], ['L2', 7, 77]]);
});
step('associate and disassociate a lookup', async () => {
  const contact = (await api.retrieveMultiple({ collection: 'contacts', filter: `_parentcustomerid_value eq ${id}`, top: 1 })).value[0].contactid;
  await api.associateSingleValued({ collection: 'accounts', primaryKey: id, navigationProperty: 'primarycontactid', relatedCollection: 'contacts', relatedKey: contact });
  assert.equal((await api.retrieve({ collection: 'accounts', key: id, select: ['_primarycontactid_value'] }))._primarycontactid_value, contact);
  await api.disassociateSingleValued({ collection: 'accounts', primaryKey: id, navigationProperty: 'primarycontactid' });
  assert.equal((await api.retrieve({ collection: 'accounts', key: id, select: ['_primarycontactid_value'] }))._primarycontactid_value, null);
});
step('refusals arrive as messages', async () => {
  assert.match((await refusal(api.retrieveMultiple({ collection: 'contacts', filter: 'nmae eq 1' }), 400)).message, /position 1/);
  assert.match((await refusal(api.create({ collection: 'accounts', data: { name: 5 } }), 400)).message, /name: expected a text/);
  await refusal(api.retrieve({ collection: 'accounts', key: '0b5cf7a1-0000-4000-8000-0000000000ff' }), 404);
});
step('delete a property, then the record', async () => {
  await api.deleteRecord({ collection: 'accounts', key: id, property: 'description' });
  assert.equal((await api.retrieve({ collection: 'accounts', key: id, select: ['description'] })).description, null);
  await api.deleteRecord({ collection: 'accounts', key: account.accountid });
  await refusal(api.retrieve({ collection: 'accounts', key: account.accountid }), 404);
});

for (const [name, run] of steps) {
  try {
    await run();
    console.log(`ok    ${name}`);
  } catch (error) {
    console.error(`FAIL  ${name}\n${error.stack ?? JSON.stringify(error)}`);
    process.exit(1);
  }
}
console.log(`${steps.length} steps with dynamics-web-api 2.5.0 against ${url}`);
