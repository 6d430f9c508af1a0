// What the Superstore's file says, counted by a reader that shares nothing with the importer; and the same figures read
// from a server.
import { readFileSync } from 'node:fs';
import { decimal, show } from './decimal.mjs';

function parseCsv(text) {
  const rows = [];
  let row = [];
  let field = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') field += c;
      else if (text[i + 1] === '"') field += text[++i];
      else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ',') {
      row.push(field);
      field = '';
    } else if (c === '\n') {
      row.push(field.replace(/\r$/, ''));
      rows.push(row);
      row = [];
      field = '';
    } else field += c;
  }
  if (field || row.length) rows.push([...row, field]);
  const [header, ...body] = rows;
  return body.map((cells) => Object.fromEntries(header.map((name, i) => [name, cells[i]])));
}

const empty = () => ({ accounts: new Set(), contacts: 0, orders: new Map(), lines: new Map(), shipments: new Map() });

// By region in lower case, as the offices are called.
export function truthOf(file) {
  const regions = {};
  const products = new Map();
  for (const r of parseCsv(readFileSync(file, 'utf8'))) {
    const t = (regions[r.Region.toLowerCase()] ??= empty());
    t.accounts.add(`${r['Customer ID']}/${r.Region}`);
    t.contacts = t.accounts.size;
    const order = t.orders.get(r['Order ID']) ?? { date: r['Order Date'], customer: `${r['Customer ID']}/${r.Region}`, total: 0n };
    order.total += decimal(r.Sales);
    t.orders.set(r['Order ID'], order);
    t.lines.set(r['Row ID'], [r['Product ID'], r.Quantity, show(decimal(r.Sales)), show(decimal(r.Profit))].join(' '));
    t.shipments.set(r['Order ID'], r['Ship Date']);
    if (!products.has(r['Product ID'])) products.set(r['Product ID'], r['Product Name'].trim());
  }
  return { regions, products };
}

// Numbers become texts before JSON.parse can round them.
const exact = (text) => JSON.parse(text.replace(/("(?:[^"\\]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)/g, (all, string) => string ?? `"${all}"`));

async function everything(branch, query) {
  const rows = [];
  for (let next = query; next; ) {
    const page = exact(await branch.getText(next, { Prefer: 'odata.maxpagesize=5000' }));
    rows.push(...page.value);
    next = page['@odata.nextLink'];
  }
  return rows;
}

// The same figures as a branch shows them over HTTP; the region is that in the customer's number.
export async function figuresOf(branch) {
  const regions = {};
  const accountOf = new Map();
  for (const a of await everything(branch, 'accounts?$select=accountnumber')) {
    const region = a.accountnumber.split('/')[1].toLowerCase();
    accountOf.set(a.accountid, { number: a.accountnumber, region });
    (regions[region] ??= empty()).accounts.add(a.accountnumber);
  }
  for (const c of await everything(branch, 'contacts?$select=_parentcustomerid_value')) regions[accountOf.get(c._parentcustomerid_value).region].contacts += 1;
  const orderOf = new Map();
  for (const o of await everything(branch, 'salesorders?$select=ordernumber,orderdate,totalamount,_customerid_value')) {
    const account = accountOf.get(o._customerid_value);
    orderOf.set(o.salesorderid, { number: o.ordernumber, region: account.region });
    regions[account.region].orders.set(o.ordernumber, { date: o.orderdate, customer: account.number, total: decimal(o.totalamount ?? '0') });
  }
  const productOf = new Map();
  const products = new Map();
  for (const p of await everything(branch, 'products?$select=productnumber,name')) {
    productOf.set(p.productid, p.productnumber);
    products.set(p.productnumber, p.name);
  }
  for (const l of await everything(branch, 'salesorderdetails?$select=externalid,quantity,extendedamount,profit,_productid_value,_salesorderid_value')) {
    const order = orderOf.get(l._salesorderid_value);
    regions[order.region].lines.set(l.externalid, [productOf.get(l._productid_value), show(decimal(l.quantity)), show(decimal(l.extendedamount)), show(decimal(l.profit))].join(' '));
  }
  for (const s of await everything(branch, 'shipments?$select=shipmentnumber,shippeddate,_salesorderid_value')) {
    const order = orderOf.get(s._salesorderid_value);
    if (order.number !== s.shipmentnumber) throw new Error(`shipment ${s.shipmentnumber} belongs to order ${order.number}`);
    regions[order.region].shipments.set(s.shipmentnumber, s.shippeddate);
  }
  return { regions, products };
}

function compareMaps(what, want, have, differences) {
  if (want.size !== have.size) differences.push(`${what}: ${have.size} instead of ${want.size}`);
  const shown = (v) => (typeof v === 'string' ? v : `${v.date} ${v.customer} ${show(v.total)}`);
  let told = 0;
  for (const [key, value] of want) {
    const held = have.get(key);
    const complaint = held === undefined ? 'is missing' : shown(held) === shown(value) ? '' : `is ${shown(held)} instead of ${shown(value)}`;
    if (complaint && told++ < 3) differences.push(`${what}: ${key} ${complaint}`);
  }
  if (told > 3) differences.push(`${what}: ${told - 3} more differ`);
}

const sumOf = (region) => [...region.orders.values()].reduce((sum, o) => sum + o.total, 0n);
const sumOfLines = (region) => [...region.lines.values()].reduce((sum, l) => sum + decimal(l.split(' ')[2]), 0n);

// What differs between truth and figures in these regions; empty: nothing does.
export function compare(truth, figures, names) {
  const differences = [];
  for (const name of names) {
    const want = truth.regions[name];
    const have = figures.regions[name] ?? empty();
    const asMap = (set) => new Map([...set].map((k) => [k, '']));
    compareMaps(`${name} accounts`, asMap(want.accounts), asMap(have.accounts), differences);
    if (want.contacts !== have.contacts) differences.push(`${name} contacts: ${have.contacts} instead of ${want.contacts}`);
    compareMaps(`${name} orders`, want.orders, have.orders, differences);
    compareMaps(`${name} order lines`, want.lines, have.lines, differences);
    compareMaps(`${name} shipments`, want.shipments, have.shipments, differences);
    for (const [what, sum] of [['orders', sumOf(have)], ['lines', sumOfLines(have)]]) {
      if (sum !== sumOf(want)) differences.push(`${name} sum of sales by ${what}: ${show(sum)} instead of ${show(sumOf(want))}`);
    }
  }
  for (const name of Object.keys(figures.regions)) {
    if (!names.includes(name)) differences.push(`records of ${name}, which do not belong here`);
  }
  compareMaps('products', truth.products, figures.products, differences);
  return differences;
}

export function describe(figures, names) {
  const totals = names.map((n) => figures.regions[n]);
  const add = (f) => totals.reduce((sum, r) => sum + f(r), 0);
  const sales = totals.reduce((sum, r) => sum + sumOf(r), 0n);
  return `${add((r) => r.accounts.size)} accounts, ${add((r) => r.contacts)} contacts, ${add((r) => r.orders.size)} orders, ${add((r) => r.lines.size)} lines, ${add((r) => r.shipments.size)} shipments, sales ${show(sales)}`;
}
