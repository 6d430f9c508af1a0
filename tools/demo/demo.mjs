// One running company: a master, its branches and their lines, in one directory.
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Branch, masterStatus, request } from './api.mjs';
import { writeWhole } from './files.mjs';
import { Supervisor, must } from './programs.mjs';
import { progress, until } from './text.mjs';

const START_MS = 60_000;

export class Demo {
  // `programs`: folder of the built programs; `branchBinary`: in place of branchline-branch, for tests.
  constructor({ directory, programs, topology, branchBinary, line, signal }) {
    Object.assign(this, { directory, programs, topology, branchBinary, line, signal });
    this.supervisor = new Supervisor(directory);
    this.token = '';
  }

  program = (name) => path.join(this.programs, name);
  path = (...names) => path.join(this.directory, ...names);
  branch = (name) => new Branch(this.topology.byName(name), this.token);

  // The demo's own authority; each server finds its certificate in its data directory.
  async certificates() {
    const ca = this.path('ca');
    const branchline = this.program('branchline');
    if (!existsSync(path.join(ca, 'ca.key'))) await must(branchline, ['ca', 'create', '--dir', ca]);
    for (const { name } of this.topology.servers) {
      const out = this.path('data', name, 'tls');
      if (existsSync(path.join(out, 'server.pem'))) continue;
      mkdirSync(out, { recursive: true });
      await must(branchline, ['ca', 'issue', name, '--dir', ca, '--out', out]);
    }
  }

  async start() {
    await this.certificates();
    const { master, branches, offices, file } = this.topology;
    const server = (name) => ['--topology', file, '--server', name, '--data', this.path('data', name)];
    this.supervisor.start(master.name, this.program('branchline-master'), server(master.name));
    for (const o of offices) {
      const line = ['--listen', `127.0.0.1:${o.dial}`, '--connect', `127.0.0.1:${master.link}`, '--control', `127.0.0.1:${o.dial + 1}`];
      line.push('--rtt', this.line.rtt, '--rate', this.line.rate, '--queue', this.line.queue);
      this.supervisor.start(`wan-${o.name}`, this.program('branchline-wan'), line, { hidden: true });
    }
    for (const b of branches) this.supervisor.start(b.name, this.branchBinary ?? this.program('branchline-branch'), server(b.name));
    await this.#await('the master', async () => (await request('GET', `${master.adminUrl}/readyz`)).status === 200);
    await this.signIn();
    for (const b of branches) {
      const branch = this.branch(b.name);
      await this.#await(`${b.name}, which joins the company`, async () => (await branch.ready()) && (await branch.signedIn()));
    }
  }

  // The administrator's token, made at the first start, is good at every branch and at the admin addresses.
  async signIn() {
    const file = this.path('token');
    if (existsSync(file)) {
      this.token = readFileSync(file, 'utf8').trim();
      return;
    }
    const operator = readFileSync(this.path('data', this.topology.master.name, 'operator.token'), 'utf8').trim();
    const args = ['--output', 'json', 'token', 'create', '--topology', this.topology.file, '--user', 'admin'];
    args.push('--full-name', 'Administrator', '--name', 'quickstart', '--admin');
    this.token = JSON.parse(await must(this.program('branchline'), args, { env: { BRANCHLINE_TOKEN: operator } })).token;
    writeWhole(file, `${this.token}\n`, 0o600);
  }

  #await(what, probe) {
    const guarded = async () => {
      const failing = this.supervisor.failing();
      if (failing) throw Object.assign(new Error(`${failing} does not start:\n${this.supervisor.tail(failing)}`), { final: true });
      return probe();
    };
    return until(`waiting for ${what}`, START_MS, guarded, this);
  }

  // Until nothing is under way: nothing pending anywhere, and everybody at the master's commit.
  async settled(timeoutMs = 120_000) {
    const branches = this.topology.branches.map((b) => this.branch(b.name));
    return until(
      'all servers at one commit',
      timeoutMs,
      async () => {
        const all = await Promise.all(branches.map((b) => b.status()));
        const { csn } = await masterStatus(this.topology.master, this.token);
        const behind = all.filter((s) => s.pending > 0 || s.csn !== csn);
        if (behind.length === 0) return csn;
        const text = behind.map((s) => `${s.server} ${s.pending} waiting, ${csn - s.csn} commits behind`).join('; ');
        progress(`arriving: ${text}`);
        throw new Error(text);
      },
      { pauseMs: 100, signal: this.signal },
    );
  }

  writeEnvironment() {
    const { master, branches, offices } = this.topology;
    const lines = [['MASTER_URL', master.adminUrl]];
    for (const b of branches) lines.push([`${b.name.toUpperCase()}_URL`, b.url]);
    lines.push(['TOKEN', this.token]);
    for (const o of offices) lines.push([`${o.name.toUpperCase()}_WAN`, o.wanUrl]);
    writeWhole(this.path('demo.env'), lines.map(([k, v]) => `${k}=${v}\n`).join(''), 0o600);
  }

  // Offices first, so that what they still have to ship can go; the master last.
  stop() {
    const { master, branches, offices } = this.topology;
    return this.supervisor.stop([branches.map((b) => b.name), offices.map((o) => `wan-${o.name}`), [master.name]]);
  }
}
