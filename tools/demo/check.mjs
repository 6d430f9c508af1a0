// The main job as a test: each step has a name, and the first that fails ends it.
import { mkdirSync } from 'node:fs';
import { Branch, masterStatus, wan } from './api.mjs';
import { decimal, show } from './decimal.mjs';
import { run } from './programs.mjs';
import { importSuperstore } from './superstore.mjs';
import { clearProgress, say, seconds, sleep, until, warn } from './text.mjs';
import { compare, describe, figuresOf, truthOf } from './truth.mjs';

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

const steps = {
  async 'start the company'(c) {
    await c.demo.start();
    return `${c.demo.topology.servers.length} servers, ${c.demo.topology.offices.length} lines of 80 ms and 20 Mbit/s`;
  },

  async 'import at the offices'(c) {
    const errorsDirectory = c.demo.path('import');
    mkdirSync(errorsDirectory, { recursive: true });
    const summaries = await importSuperstore({ demo: c.demo, csv: c.csv, offices: c.offices, errorsDirectory });
    await c.demo.settled();
    clearProgress();
    const parts = Object.entries(summaries).map(([name, s]) => `${name} ${s.mutations}`);
    const rejected = Object.values(summaries).reduce((sum, s) => sum + s.rejectedRows, 0);
    return `${parts.join(', ')} changes${rejected ? `, ${rejected} rows REJECTED (${errorsDirectory})` : ''}; all arrived`;
  },

  // Against the file, counted by code that shares nothing with the importer: servers that agree on something wrong
  // fail here.
  async 'count against the file'(c) {
    const names = c.offices.map((o) => o.name);
    const asked = [{ branch: c.hq, names }, ...c.offices.map((o) => ({ branch: c.demo.branch(o.name), names: [o.name] }))];
    let text = '';
    for (const { branch, names: regions } of asked) {
      const figures = await figuresOf(branch);
      const differences = compare(c.truth, figures, regions);
      expect(differences.length === 0, `${branch.name} differs from the file:\n    ${differences.join('\n    ')}`);
      if (branch === c.hq) text = describe(figures, regions);
    }
    return `${text}: head office, and each office its part`;
  },

  async 'a second import changes nothing'(c) {
    const before = await masterStatus(c.demo.topology.master, c.demo.token);
    const office = c.demo.topology.byName(c.office.name);
    const summaries = await importSuperstore({ demo: c.demo, csv: c.csv, offices: [office], errorsDirectory: c.demo.path('import') });
    const changes = Object.values(summaries).reduce((sum, s) => sum + s.mutations, 0);
    expect(changes === 0, `it made ${changes} changes`);
    const csn = await c.demo.settled();
    expect(csn === before.csn, `the main line went on from ${before.csn} to ${csn}`);
    return `products at head office, ${office.name}'s rows again`;
  },

  async 'edit with the line down'(c) {
    await wan(c.office, 'down');
    await until('the office to notice', 30_000, async () => !(await c.office.status()).link.connected, c.demo);
    c.account = (await c.office.get(`accounts?$top=1&$orderby=accountnumber&$filter=endswith(accountnumber,'/${c.region}')`)).value[0];
    c.path = `accounts(${c.account.accountid})`;
    const begin = Date.now();
    await c.office.patch(c.path, { telephone1: '+12125550147', description: 'asked for a quote' });
    const there = await c.office.get(`${c.path}?$select=telephone1,description`);
    const took = Date.now() - begin;
    expect(there.telephone1 === '+12125550147' && there.description === 'asked for a quote', `read back ${JSON.stringify(there)}`);
    const { pending } = await c.office.status();
    expect(pending >= 1, 'nothing waits to be shipped');
    const elsewhere = await c.hq.get(`${c.path}?$select=telephone1`);
    expect(elsewhere.telephone1 !== '+12125550147', 'head office has it, though the line is down');
    return `written and read back at ${c.office.name} in ${took} ms, ${pending} change waits`;
  },

  async 'report with the line down'(c) {
    const query = 'salesorderdetails?$apply=aggregate(extendedamount with sum as sales,$count as lines)';
    const text = await c.office.getText(query);
    const sales = /"sales":\s*"?(-?[\d.]+)/.exec(text)?.[1];
    const lines = /"lines":\s*(\d+)/.exec(text)?.[1];
    const want = c.truth.regions[c.office.name];
    const sum = [...want.orders.values()].reduce((total, o) => total + o.total, 0n);
    expect(sales !== undefined && decimal(sales) === sum, `sales are ${sales}, the file says ${show(sum)}`);
    expect(Number(lines) === want.lines.size, `${lines} lines, the file has ${want.lines.size}`);
    return `${lines} lines, sales ${sales}`;
  },

  async 'the line comes back'(c) {
    await wan(c.office, 'up');
    const begin = Date.now();
    await until(`the edit at head office`, 60_000, async () => (await c.hq.get(`${c.path}?$select=telephone1`)).telephone1 === '+12125550147', c.demo);
    return `at head office ${seconds(Date.now() - begin)} later`;
  },

  async 'the same record at two offices'(c) {
    await c.demo.settled();
    await wan(c.office, 'down');
    await until('the office to notice', 30_000, async () => !(await c.office.status()).link.connected, c.demo);
    await c.office.patch(c.path, { name: 'Edited at the office', telephone2: '+12125550148' });
    await sleep(10); // so that this is the later edit by the clock, which is what counts
    await c.hq.patch(c.path, { name: 'Edited at head office', websiteurl: 'https://example.com/' });
    await wan(c.office, 'up');
    await c.demo.settled();
    clearProgress();
    const fields = '?$select=name,telephone2,websiteurl';
    const [a, b] = await Promise.all([c.hq.get(c.path + fields), c.office.get(c.path + fields)]);
    for (const f of ['name', 'telephone2', 'websiteurl']) expect(a[f] === b[f], `${f}: head office has '${a[f]}', ${c.office.name} '${b[f]}'`);
    expect(a.name === 'Edited at head office', `the later edit of the name should count; it is '${a.name}'`);
    expect(a.telephone2 === '+12125550148' && a.websiteurl === 'https://example.com/', 'an edit of another field was lost');
    return `both say '${a.name}', and both other fields are kept`;
  },

  async 'audit'(c) {
    await c.demo.settled();
    const args = ['audit', '--topology', c.demo.topology.file];
    const done = await run(c.demo.program('branchline'), args, { env: { BRANCHLINE_TOKEN: c.demo.token } });
    expect(done.code === 0, `${done.out}${done.err}`);
    return 'every ledger is true by recount';
  },

  async 'all servers agree'(c) {
    const csn = await c.demo.settled();
    const audits = await Promise.all([c.demo.topology.master, ...c.demo.topology.branches].map(async (server) => {
      const answer = await new Branch(server, c.demo.token).audit();
      return { name: server.name, csn: answer.csn, sums: answer.sums };
    }));
    const [master, ...branches] = audits;
    expect(Object.keys(master.sums).length > 1, 'the master names no checksums');
    let compared = 0;
    for (const b of branches) {
      expect(b.csn === master.csn, `${b.name} stands at commit ${b.csn}, the master at ${master.csn}`);
      for (const [territory, sum] of Object.entries(b.sums)) {
        expect(sum === master.sums[territory], `${b.name} differs from the master in territory ${territory}`);
        compared += 1;
      }
    }
    const hq = branches.find((b) => b.name === c.hq.name);
    for (const [territory, sum] of Object.entries(master.sums)) expect(hq.sums[territory] === sum, `head office differs in territory ${territory}`);
    return `${compared} checksums equal at commit ${csn}`;
  },
};

// True if all steps passed.
export async function check({ demo, csv, offices }) {
  const chosen = demo.topology.offices.filter((o) => !offices || offices.includes(o.name));
  if (chosen.length === 0 || (offices && chosen.length !== offices.length)) throw new Error(`--offices names some of ${demo.topology.offices.map((o) => o.name).join(', ')}`);
  const edited = chosen.find((o) => o.name === 'south') ?? chosen[0];
  const c = {
    demo,
    csv,
    offices: chosen,
    truth: truthOf(csv),
    region: edited.name[0].toUpperCase() + edited.name.slice(1),
    get hq() { return (this.hqBranch ??= demo.branch('hq')); },
    get office() { return (this.officeBranch ??= demo.branch(edited.name)); },
  };
  const begin = Date.now();
  for (const [name, step] of Object.entries(steps)) {
    const from = Date.now();
    try {
      const text = await step(c);
      say(`ok    ${name} (${seconds(Date.now() - from)}): ${text}`);
    } catch (error) {
      if (demo.signal.aborted) return false;
      clearProgress();
      say(`FAIL  ${name} (${seconds(Date.now() - from)}): ${error.message}`);
      const failing = demo.supervisor.failing();
      if (failing) warn(demo.supervisor.tail(failing));
      say(`check failed at: ${name}`);
      return false;
    }
  }
  say(`check passed in ${seconds(Date.now() - begin)}`);
  return true;
}
