// What `branchline` says to whoever types something else than it takes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

const branchline = path.join(process.env.BRANCHLINE_BIN, 'branchline');
const run = (...args) => spawnSync(branchline, args, { encoding: 'utf8' });

test('a word that is no subcommand is named, with those there are', () => {
  for (const [args, first, one] of [
    [['nonsense'], '`nonsense` is no subcommand of branchline; its subcommands are:', /^ {2}status +\S/m],
    [['ca', 'nonsense'], '`nonsense` is no subcommand of branchline ca; its subcommands are:', /^ {2}issue +\S/m],
    [['ca'], 'branchline ca needs a subcommand; its subcommands are:', /^ {2}issue +\S/m],
    [[], 'branchline needs a subcommand; its subcommands are:', /^ {2}import +\S/m],
  ]) {
    const done = run(...args);
    assert.equal(done.status, 2);
    assert.equal(done.stderr.split('\n')[0], first);
    assert.match(done.stderr, one);
  }
  assert.match(run('status').stderr, /^--topology is required/);
});

test('ca takes a server as SERVER or as --server, and needs one', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'ca-'));
  const ca = path.join(folder, 'ca');
  try {
    assert.equal(run('ca', 'create', '--dir', ca).status, 0);
    assert.equal(run('ca', 'issue', 'east', '--dir', ca, '--out', path.join(folder, 'east')).status, 0);
    assert.equal(run('ca', 'issue', '--server', 'west', '--dir', ca, '--out', path.join(folder, 'west')).status, 0);
    const none = run('ca', 'issue', '--dir', ca, '--out', path.join(folder, 'none'));
    assert.equal(none.status, 2);
    assert.match(none.stderr, /^SERVER \(or --server\) is required/);
    const lines = run('ca', 'issue', '--help').stdout.split('\n');
    assert.deepEqual(lines.filter((l) => /SERVER TEXT|--server/.test(l) && l.includes('REQUIRED')), []);
    const file = path.join(folder, 'east', 'server.pem');
    const shown = JSON.parse(run('--output', 'json', 'ca', 'show', file).stdout);
    assert.equal(shown.file, file);
    assert.equal(shown.folder, undefined);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
