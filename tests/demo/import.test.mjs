// `branchline import csv` against a branch that is slow, full, unreliable, or changed by others meanwhile.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

const branchline = path.join(process.env.BRANCHLINE_BIN, 'branchline');
const MAP = `version: 1
name: t
records:
  - set: accounts
    key: {accountnumber: "{Id}"}
    fields: {name: "{Name}"}
`;

// Accounts by number; `before` may answer in its place.
class FakeBranch {
  accounts = new Map();
  keys = new Map();
  requests = [];
  before = () => undefined;

  async listen() {
    this.server = http.createServer((request, response) => {
      let body = '';
      request.on('data', (data) => (body += data));
      request.on('end', () => {
        const call = { method: request.method, url: decodeURIComponent(request.url), headers: request.headers, body };
        this.requests.push(call);
        const answer = this.before(call) ?? this.answer(call);
        if (answer === 'hang up') {
          response.socket.destroy();
          return;
        }
        response.writeHead(answer.status, answer.headers ?? {});
        response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
      });
    });
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
  }

  answer({ method, url, headers, body }) {
    const key = headers['idempotency-key'];
    if (url === '/api/data/v9.2/WhoAmI()') return { status: 200, body: { UserId: 'u', Server: 'fake' } };
    if (method === 'GET') {
      const number = /accountnumber='(.*)'/.exec(url)[1];
      const held = this.accounts.get(number);
      if (!held) return { status: 404, body: { error: { code: 'record.not_found', message: 'none' } } };
      return { status: 200, body: { '@odata.etag': `W/"${held.version}"`, accountid: held.id, accountnumber: number, name: held.name } };
    }
    assert.ok(key, 'a write without an Idempotency-Key');
    if (this.keys.has(key)) return { status: 204, headers: { 'Branchline-Mutation': this.keys.get(key), 'Branchline-Replayed': 'true' } };
    const sent = JSON.parse(body);
    let held;
    if (method === 'POST') {
      if (this.accounts.has(sent.accountnumber)) return { status: 412, body: { error: { code: 'key.taken', message: 'taken' } } };
      held = { id: `id-${sent.accountnumber}`, version: 0 };
      this.accounts.set(sent.accountnumber, held);
    } else {
      held = [...this.accounts.values()].find((a) => url.endsWith(`(${a.id})`));
      if (headers['if-match'] !== `W/"${held.version}"`) return { status: 412, body: { error: { code: 'precondition.etag', message: 'changed' } } };
    }
    held.name = sent.name;
    held.version += 1;
    this.keys.set(key, `m${this.keys.size}`);
    return { status: 204, headers: { 'Branchline-Mutation': this.keys.get(key) } };
  }

  writes = () => this.requests.filter((r) => r.method !== 'GET');
}

let branch;
let folder;
beforeEach(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'import-'));
  writeFileSync(path.join(folder, 'map.yaml'), MAP);
  branch = new FakeBranch();
  await branch.listen();
});
afterEach(() => {
  branch.server.closeAllConnections();
  branch.server.close();
  rmSync(folder, { recursive: true });
});

function run(csv, ...more) {
  const file = path.join(folder, 'file.csv');
  writeFileSync(file, csv);
  const args = ['--output', 'json', 'import', 'csv', file, '--map', path.join(folder, 'map.yaml'), '--url', branch.url, '--token', 't', ...more];
  return new Promise((resolve) => {
    const child = spawn(branchline, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    let err = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.on('close', (code) => resolve({ code, err, report: out ? JSON.parse(out) : undefined }));
  });
}

const rows = (n) => 'Id,Name\n' + Array.from({ length: n }, (_, i) => `A${i},Name ${i}\n`).join('');

test('creates, then finds everything unchanged, then writes what differs', async () => {
  let done = await run(rows(50));
  assert.equal(done.code, 0, done.err);
  assert.deepEqual(done.report.sets.accounts, { created: 50, updated: 0, unchanged: 0, rejected: 0, deletedSince: 0 });
  const writes = branch.writes().length;
  done = await run(rows(50));
  assert.equal(done.report.sets.accounts.unchanged, 50);
  assert.equal(branch.writes().length, writes);
  done = await run(rows(50).replace('Name 7\n', 'Seven\n'));
  assert.deepEqual(done.report.sets.accounts, { created: 0, updated: 1, unchanged: 49, rejected: 0, deletedSince: 0 });
  assert.equal(branch.accounts.get('A7').name, 'Seven');
});

test('waits out a branch that has no room, is joining or hangs up', async () => {
  let n = 0;
  branch.before = () => {
    n += 1;
    if (n % 5 === 1) return { status: 503, body: { error: { code: 'branch.joining', message: 'joining' } } };
    if (n % 5 === 2) return { status: 507, body: { error: { code: 'disk.full', message: 'full' } } };
    if (n % 5 === 3) return 'hang up';
    return undefined;
  };
  const done = await run(rows(4));
  assert.equal(done.code, 0, done.err);
  assert.equal(branch.accounts.size, 4);
});

test('an answer that was lost does not double the record', async () => {
  const lost = new Set();
  branch.before = (call) => {
    if (call.method !== 'POST' || lost.has(call.headers['idempotency-key'])) return undefined;
    lost.add(call.headers['idempotency-key']);
    branch.answer(call);
    return 'hang up';
  };
  const done = await run(rows(3));
  assert.equal(done.code, 0, done.err);
  assert.equal(done.report.sets.accounts.created, 3);
  assert.equal(branch.keys.size, 3);
});

test('what somebody changes between read and write is read again', async () => {
  await run('Id,Name\nA0,old\n');
  branch.before = (call) => {
    if (call.method !== 'PATCH') return undefined;
    branch.before = () => undefined;
    branch.accounts.get('A0').version += 1;
    return undefined;
  };
  const done = await run('Id,Name\nA0,new\n');
  assert.equal(done.code, 0, done.err);
  assert.equal(branch.accounts.get('A0').name, 'new');
});

test('what somebody makes meanwhile is compared', async () => {
  branch.before = (call) => {
    if (call.method === 'POST') branch.accounts.set('A0', { id: 'id-A0', version: 1, name: 'Name 0' });
    return undefined;
  };
  const done = await run(rows(1));
  assert.equal(done.code, 0, done.err);
  assert.equal(done.report.sets.accounts.unchanged, 1);
});

test('what was deleted since stays deleted', async () => {
  await run(rows(2));
  branch.accounts.delete('A1');
  const done = await run(rows(2));
  assert.equal(done.code, 0, done.err);
  assert.equal(done.report.sets.accounts.deletedSince, 1);
  assert.ok(!branch.accounts.has('A1'));
});

test('a row that the branch rejects is in the error file, with its column', async () => {
  branch.before = (call) => (call.body.includes('Name 1') ? { status: 400, body: { error: { code: 'value.type', message: 'name: not so' } } } : undefined);
  const done = await run(rows(3));
  assert.equal(done.code, 1);
  assert.equal(branch.accounts.size, 2);
  const [, line] = readFileSync(path.join(folder, 'file.csv.errors.csv'), 'utf8').split('\r\n');
  assert.equal(line, '3,3,Name,Name 1,accounts A1: name: not so,A1,Name 1');
  branch.before = () => undefined;
  assert.equal((await run(rows(3))).code, 0);
  assert.ok(!existsSync(path.join(folder, 'file.csv.errors.csv')), 'the error file of the earlier run is still there');
});

test('an address that is no office ends it before the first row', async () => {
  const missing = { error: { code: 'path.unknown', message: 'there is nothing here; there are: /healthz' } };
  for (const [answer, said] of [
    [{ status: 404, body: missing }, /status 404, there is nothing here/],
    [{ status: 200, body: { hello: 'world' } }, /status 200$/m],
    [{ status: 200 }, /status 200$/m],
  ]) {
    branch.requests = [];
    branch.before = () => answer;
    const done = await run(rows(3));
    assert.equal(done.code, 2);
    assert.equal(done.report, undefined);
    assert.ok(done.err.includes(`--url ${branch.url}: this is no office's address (it is a master's?)`), done.err);
    assert.match(done.err, said);
    assert.deepEqual(branch.requests.map((r) => `${r.method} ${r.url}`), ['GET /api/data/v9.2/WhoAmI()']);
    assert.ok(!existsSync(path.join(folder, 'file.csv.errors.csv')));
  }
});

test('an error file that cannot be written is said before the first row', async () => {
  branch.before = () => ({ status: 400, body: { error: { code: 'value.type', message: 'name: not so' } } });
  for (const errors of [path.join(folder, 'none', 'x.csv'), folder]) {
    const done = await run(rows(3), '--errors', errors);
    assert.equal(done.code, 2);
    assert.equal(done.report, undefined);
    assert.ok(done.err.includes(`${errors} cannot be written`), done.err);
    assert.equal(branch.requests.length, 0);
  }
});

test('an error file that was not written is not pointed to', async () => {
  const errors = path.join(folder, 'errors');
  mkdirSync(errors);
  // The folder goes away while the import runs; the rows are told where people look instead.
  branch.before = (call) => {
    if (call.method !== 'POST') return undefined;
    rmSync(errors, { recursive: true, force: true });
    return { status: 400, body: { error: { code: 'value.type', message: 'name: not so' } } };
  };
  const done = await run(rows(1), '--errors', path.join(errors, 'x.csv'));
  assert.equal(done.code, 1);
  assert.equal(done.report.errorsFile, undefined);
  assert.match(done.err, /x\.csv could not be written/);
  assert.match(done.err, /A0,Name 0/);
});

test('a refused token ends it at once, a silent branch after its patience', async () => {
  branch.before = () => ({ status: 401, body: { error: { code: 'token.unknown', message: 'unknown token' } } });
  let done = await run(rows(3));
  assert.equal(done.code, 2);
  assert.match(done.report.gaveUp, /unknown token/);
  branch.before = () => 'hang up';
  done = await run(rows(3), '--patience', '1');
  assert.equal(done.code, 3);
  assert.match(done.report.gaveUp, /does not answer/);
});
