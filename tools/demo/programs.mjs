// Runs programs to their end, and servers until they are told to stop.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { writeWhole } from './files.mjs';
import { warn } from './text.mjs';

// Resolves to {code, out, err}. `onErr` sees each line of stderr as it comes.
export function run(command, args, { env, onErr, signal } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], signal });
    let out = '';
    let err = '';
    let rest = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => {
      err += data;
      rest += data;
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) onErr?.(line);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

// As run(), but anything but exit 0 is an error.
export async function must(command, args, options) {
  const done = await run(command, args, options);
  if (done.code !== 0) throw new Error(`${path.basename(command)} ${args.slice(0, 2).join(' ')} failed (${done.code}): ${(done.err || done.out).trim()}`);
  return done.out;
}

// The kernel ends a server whose supervisor died, so that none is left behind even after kill -9.
const leash = existsSync('/usr/bin/setpriv') ? ['/usr/bin/setpriv', '--pdeathsig', 'TERM', '--'] : [];

const RESTART_MS = 20; // and longer for a server that dies again and again
const STOP_MS = 20_000;
const QUICK_DEATHS = 5; // in a row, each within a second of its start

// Keeps servers running: one that dies is started again within a second. DIR/pid/NAME holds its current process
// id, DIR/log/NAME.log what it said.
export class Supervisor {
  constructor(directory) {
    this.directory = directory;
    this.servers = new Map();
    for (const d of ['pid', 'log']) mkdirSync(path.join(directory, d), { recursive: true });
  }

  logFile(name) {
    return path.join(this.directory, 'log', `${name}.log`);
  }

  start(name, command, args, { hidden = false } = {}) {
    const server = { name, command, args, hidden, stopping: false, quickDeaths: 0 };
    this.servers.set(name, server);
    this.#spawn(server);
  }

  #spawn(server) {
    const log = openSync(this.logFile(server.name), 'a');
    const [command, ...args] = [...leash, server.command, ...server.args];
    // A group of its own: Ctrl-C reaches the supervisor only, which stops all in order.
    const child = spawn(command, args, { stdio: ['ignore', log, log], detached: true });
    closeSync(log);
    server.child = child;
    server.startedAt = Date.now();
    server.exited = new Promise((resolve) => {
      child.once('error', (error) => {
        warn(`${server.name} cannot be started: ${error.message}`);
        resolve();
      });
      child.once('exit', (code, signal) => {
        resolve();
        this.#died(server, code, signal);
      });
    });
    if (child.pid && !server.hidden) writeWhole(path.join(this.directory, 'pid', server.name), `${child.pid}\n`);
  }

  #died(server, code, signal) {
    if (server.stopping) return;
    const quick = Date.now() - server.startedAt < 1000;
    server.quickDeaths = quick ? server.quickDeaths + 1 : 0;
    if (server.quickDeaths >= QUICK_DEATHS) {
      if (server.quickDeaths === QUICK_DEATHS) warn(`${server.name} does not stay up; the end of its log:\n${this.tail(server.name)}`);
    } else {
      warn(`${server.name} ended (${signal ?? `exit ${code}`}), starting it again`);
    }
    setTimeout(
      () => {
        if (!server.stopping) this.#spawn(server);
      },
      Math.min(RESTART_MS * 4 ** server.quickDeaths, 900),
    );
  }

  // Why a server cannot run, if it cannot; nothing while it can.
  failing() {
    return [...this.servers.values()].find((s) => s.quickDeaths >= QUICK_DEATHS)?.name;
  }

  pid(name) {
    return this.servers.get(name)?.child?.pid;
  }

  tail(name, lines = 12) {
    try {
      return readFileSync(this.logFile(name), 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
    } catch {
      return '(no log)';
    }
  }

  // Each group of names in turn; resolves to the names of servers that had to be killed.
  async stop(groups) {
    const killed = [];
    for (const names of groups) {
      await Promise.all(names.map((name) => this.#stopOne(name, killed)));
    }
    return killed;
  }

  async #stopOne(name, killed) {
    const server = this.servers.get(name);
    if (!server || server.stopping) return;
    server.stopping = true;
    const { child } = server;
    if (child.exitCode === null && child.signalCode === null && child.pid) {
      child.kill('SIGTERM');
      const timer = setTimeout(() => {
        killed.push(name);
        child.kill('SIGKILL');
      }, STOP_MS);
      await server.exited;
      clearTimeout(timer);
    }
    if (!server.hidden) rmSync(path.join(this.directory, 'pid', name), { force: true });
  }
}
