// The parts of tools/demo that servers do not test by running.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { decimal, show } from '../../tools/demo/decimal.mjs';
import { Demo } from '../../tools/demo/demo.mjs';
import { Supervisor } from '../../tools/demo/programs.mjs';
import { makeTopology } from '../../tools/demo/topology.mjs';
import { until } from '../../tools/demo/text.mjs';
import { told } from '../../tools/demo/told.mjs';
import { compare, truthOf } from '../../tools/demo/truth.mjs';

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..');
let folder;
beforeEach(() => (folder = mkdtempSync(path.join(os.tmpdir(), 'demo-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const alive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('sums of decimals are exact', () => {
  assert.equal(show(decimal('0.1') + decimal('0.2')), '0.3');
  assert.equal(show(decimal('-383.031')), '-383.031');
  assert.equal(show(decimal('100')), '100');
  assert.equal(show(decimal('957.5775') - decimal('957.5775')), '0');
  assert.throws(() => decimal('1e3'));
  assert.throws(() => decimal(''));
});

const HEADER = 'Row ID,Order ID,Order Date,Ship Date,Customer ID,Region,Product ID,Product Name,Sales,Quantity,Profit\n';

test('a difference anywhere is named', () => {
  const file = path.join(folder, 'f.csv');
  const truth = (rows) => {
    writeFileSync(file, HEADER + rows);
    return truthOf(file);
  };
  const row = '1,O-1,2017-01-01,2017-01-03,C1,South,P1,"Desk, ""large""",10.5,2,1\n';
  const good = truth(row);
  assert.deepEqual(compare(good, truth(row), ['south']), []);
  assert.equal(good.products.get('P1'), 'Desk, "large"');
  const wrong = {
    order: row.replace('O-1', 'O-2'),
    'ship date': row.replace('2017-01-03', '2017-01-04'),
    'order date': row.replace('2017-01-01', '2017-01-02'),
    sales: row.replace('10.5', '10.51'),
    quantity: row.replace(',2,1', ',3,1'),
    customer: row.replace('C1', 'C2'),
    product: row.replace('Desk', 'Table'),
    region: row + row.replace('1,O-1', '2,O-2').replace('South', 'East'),
  };
  for (const [what, rows] of Object.entries(wrong)) assert.notDeepEqual(compare(good, truth(rows), ['south']), [], what);
});

test('a topology is moved as a whole', () => {
  const source = path.join(root, 'topology/demo.yaml');
  const t = makeTopology(source, path.join(folder, 't.yaml'), 9000);
  assert.equal(t.master.adminUrl, 'http://127.0.0.1:9001');
  assert.equal(t.byName('hq').url, 'http://127.0.0.1:9010');
  assert.deepEqual(t.offices.map((o) => o.name), ['central', 'east', 'south', 'west']);
  assert.equal(t.byName('south').wanUrl, 'http://127.0.0.1:9043');
  assert.ok(!readFileSync(t.file, 'utf8').includes(':74'));
});

test('a server that dies is started again, and all are gone after stop', async () => {
  const supervisor = new Supervisor(folder);
  supervisor.start('a', '/bin/sleep', ['600']);
  supervisor.start('b', '/bin/sleep', ['600']);
  const file = path.join(folder, 'pid', 'a');
  const pid = () => Number(readFileSync(file, 'utf8'));
  const first = pid();
  assert.ok(alive(first));
  process.kill(first, 'SIGKILL');
  await until('a new process', 10_000, () => pid() !== first && alive(pid()), { pauseMs: 5 });
  const pids = [pid(), supervisor.pid('b')];
  assert.deepEqual(await supervisor.stop([['b'], ['a']]), []);
  assert.ok(!pids.some(alive));
  assert.ok(!existsSync(file));
});

test('a server that cannot run is named', async () => {
  const supervisor = new Supervisor(folder);
  supervisor.start('a', '/bin/sh', ['-c', 'echo no luck; exit 3']);
  await until('giving up', 20_000, () => supervisor.failing() === 'a', { pauseMs: 20 });
  assert.match(supervisor.tail('a'), /no luck/);
  await supervisor.stop([['a']]);
});

test('what is told to try works in a shell that has read demo.env', () => {
  for (const single of [true, false]) {
    const topology = makeTopology(path.join(root, 'topology', single ? 'single.yaml' : 'demo.yaml'), path.join(folder, `${single}.yaml`), 9000);
    const demo = new Demo({ directory: folder, programs: folder, topology });
    demo.token = 'secret';
    demo.writeEnvironment();
    const known = [...readFileSync(path.join(folder, 'demo.env'), 'utf8').matchAll(/^([A-Z_]+)=/gm)].map((m) => m[1]);
    const lines = told(demo, single);
    const read = lines.indexOf(`  . ${path.join(folder, 'demo.env')}`);
    assert.ok(read > 0, `single ${single}: demo.env is not read`);
    const uses = lines.flatMap((line, at) => [...line.matchAll(/\$([A-Z_]+)/g)].map((m) => ({ name: m[1], at })));
    assert.ok(uses.length >= 3);
    for (const { name, at } of uses) {
      assert.ok(known.includes(name), `$${name} is not in demo.env`);
      assert.ok(at > read, `$${name} is used before demo.env is read`);
    }
  }
});

test('a build without a terminal tells how far it is, at once and again after the time', async () => {
  const child = spawn(path.join(root, 'tools', 'progress'), ['1'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (data) => (out += data));
  const ended = new Promise((resolve) => child.on('close', resolve));
  const shows = (what) => until(what, 10_000, () => out.includes(what), { pauseMs: 5 });
  child.stdin.write('[1/99 0.1 s] Building a\n');
  await shows('[1/99 0.1 s] Building a\n');
  child.stdin.write('[2/99 0.2 s] Building b\n[3/99 0.2 s] Building c\n');
  await shows('[3/99 0.2 s] Building c\n');
  assert.ok(!out.includes('Building b'), 'every line is shown');
  await shows('[3/99 0.2 s] Building c (still, after');
  child.stdin.write('FAILED: d\n\n  d.cc:1');
  await shows('FAILED: d\n\n');
  child.stdin.write(':2: error\n[4/99 9 s] Building e\n[5/99 9 s] Building f\n');
  await shows('  d.cc:1:2: error\n');
  child.stdin.end('ninja: build stopped');
  assert.equal(await ended, 0);
  assert.match(out, /\nninja: build stopped\n\[5\/99 9 s\] Building f\n$/);
});
