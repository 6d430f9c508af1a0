// A whole company of one office, real processes on loopback: authority, master, an emulated WAN, one branch. Everything
// lies in a temporary folder, every port is the kernel's choice.
import { execFileSync, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const kPatienceMs = 30_000;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks until `condition` gives something true, and returns it; complains with `what` when it takes too long.
export async function until(what, condition, patience = kPatienceMs) {
  const end = Date.now() + patience;
  let last;
  while (Date.now() < end) {
    try {
      const answer = await condition();
      if (answer) return answer;
    } catch (error) {
      last = error;
    }
    await pause(50);
  }
  throw new Error(`waited ${patience / 1000} s in vain: ${what}${last ? ` (${last.message})` : ''}`);
}

// All at once, so that no two are the same.
async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => new Promise((resolve, reject) => {
      const server = createServer();
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => resolve(server));
    })),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function topologyText(p) {
  return `version: 1
name: browser-test
sites:
  - {name: headoffice}
  - {name: office}
territories: [main]
servers:
  - {name: master, site: headoffice, kind: master, link: "127.0.0.1:${p.link}", admin: "127.0.0.1:${p.masterAdmin}"}
  - name: office
    site: office
    kind: branch
    upstream: master
    territories: [main]
    http: "127.0.0.1:${p.http}"
    admin: "127.0.0.1:${p.branchAdmin}"
    dial: "127.0.0.1:${p.wan}"
`;
}

export async function startSystem(bin) {
  const folder = mkdtempSync(join(tmpdir(), 'branchline-e2e-'));
  const processes = [];
  const [link, masterAdmin, http, branchAdmin, wan, control] = await freePorts(6);
  const topology = join(folder, 'topology.yaml');
  writeFileSync(topology, topologyText({ link, masterAdmin, http, branchAdmin, wan }));

  const program = (name) => join(bin, name);
  const run = (args, env = {}) => execFileSync(program('branchline'), args, { encoding: 'utf8', env: { ...process.env, ...env } });
  function start(name, label, args) {
    const child = spawn(program(name), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.pipe(createWriteStream(join(folder, `${label}.log`)));
    const entry = { label, child, ended: new Promise((resolve) => child.once('exit', resolve)) };
    processes.push(entry);
    return entry;
  }

  async function stop() {
    for (const { child } of processes) child.kill('SIGTERM');
    await Promise.race([Promise.all(processes.map((p) => p.ended)), pause(5_000)]);
    for (const { child } of processes) if (child.exitCode === null) child.kill('SIGKILL');
  }

  const logs = () => processes.map((p) => `--- ${p.label}\n${readFileSync(join(folder, `${p.label}.log`), 'utf8').split('\n').slice(-25).join('\n')}`).join('\n');

  try {
    mkdirSync(join(folder, 'ca'));
    run(['ca', 'create', '--dir', join(folder, 'ca')]);
    for (const server of ['master', 'office']) {
      run(['ca', 'issue', '--dir', join(folder, 'ca'), '--server', server, '--out', join(folder, server, 'tls')]);
    }
    const server = (name) => ['--topology', topology, '--server', name, '--data', join(folder, name)];
    start('branchline-master', 'master', server('master'));
    const wanAddresses = ['--listen', `127.0.0.1:${wan}`, '--connect', `127.0.0.1:${link}`, '--control', `127.0.0.1:${control}`];
    start('branchline-wan', 'wan', [...wanAddresses, '--rtt', '20ms', '--rate', '20Mbit']);
    start('branchline-branch', 'office', server('office'));

    const answers = async (url) => (await fetch(url)).ok;
    await until('the master answers', () => answers(`http://127.0.0.1:${masterAdmin}/healthz`));
    const operator = readFileSync(join(folder, 'master', 'operator.token'), 'utf8').trim();
    const makeToken = (user, fullName, more = []) =>
      run(['token', 'create', '--topology', topology, '--user', user, '--full-name', fullName, ...more], { BRANCHLINE_TOKEN: operator }).trim();
    const url = `http://127.0.0.1:${http}`;
    await until('the branch has joined', () => answers(`${url}/readyz`));

    return { folder, url, makeToken, stop, logs, wan: lineAt(`http://127.0.0.1:${control}`), remove: () => rmSync(folder, { recursive: true, force: true }) };
  } catch (error) {
    await stop();
    error.message += `\n${logs()}`;
    throw error;
  }
}

function lineAt(control) {
  const post = async (path) => {
    const answer = await fetch(control + path, { method: 'POST' });
    if (!answer.ok) throw new Error(`the emulator refused ${path}: ${await answer.text()}`);
  };
  return { down: () => post('/down'), up: () => post('/up') };
}

// Somebody's program that speaks to the office over HTTP.
export function client(url, token) {
  async function call(method, path, body, headers = {}) {
    const answer = await fetch(`${url}${path.startsWith('/') ? '' : '/api/data/v9.2/'}${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }
  return {
    get: (path) => call('GET', path),
    create: (set, body) => call('POST', set, body, { Prefer: 'return=representation' }),
    update: (set, id, body) => call('PATCH', `${set}(${id})`, body, { 'If-Match': '*' }),
  };
}
