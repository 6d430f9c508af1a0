// tools/quickstart runs this: see its --help.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { check } from './check.mjs';
import { Demo } from './demo.mjs';
import { fetchSuperstore, importSuperstore } from './superstore.mjs';
import { say, seconds, warn } from './text.mjs';
import { told } from './told.mjs';
import { freeBase, makeTopology, takenPorts } from './topology.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..');
const LINE = { rtt: '80ms', rate: '20Mbit', queue: '256KiB' };

const HELP = `usage: tools/quickstart [options]
  Builds Branchline and runs a company on this machine: a master, head office, and four offices, each behind an
  emulated line of 80 ms and 20 Mbit/s, with the Superstore data imported at the offices. Runs until Ctrl-C.

  --data DIR     keep the data in DIR; a second start with it goes on where the first stopped
  --ports BASE   use ports from BASE on (default 7400, about 60 of them)
  --single       a company of one office: a master and one branch, empty
  --check        run the main job as a test, on free ports: exit 0, or 1 with the step that failed
  --csv FILE     the Superstore's superstore.csv, where it cannot be fetched
  -h, --help

  With --check only:
  --offices A,B           import and compare these offices only
  --branch-binary PATH    run this in place of branchline-branch
`;

function options() {
  try {
    const { values } = parseArgs({
      options: {
        data: { type: 'string' },
        ports: { type: 'string' },
        single: { type: 'boolean' },
        check: { type: 'boolean' },
        csv: { type: 'string' },
        offices: { type: 'string' },
        'branch-binary': { type: 'string' },
        programs: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    const ports = values.ports === undefined ? undefined : Number(values.ports);
    if (ports !== undefined && !(Number.isInteger(ports) && ports >= 1024 && ports <= 65000)) throw new Error('--ports takes a number from 1024 to 65000');
    if (values.single && values.check) throw new Error('--single and --check do not go together');
    for (const name of ['offices', 'branch-binary']) {
      if (values[name] !== undefined && !values.check) throw new Error(`--${name} goes with --check`);
    }
    return { ...values, ports };
  } catch (error) {
    process.stderr.write(`quickstart: ${error.message}\n${HELP}`);
    process.exit(2);
  }
}

// One quickstart per directory: two would restart each other's servers for ever.
function claim(directory) {
  const file = path.join(directory, 'quickstart.pid');
  if (existsSync(file)) {
    const pid = Number(readFileSync(file, 'utf8'));
    try {
      process.kill(pid, 0);
      const mine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('quickstart');
      if (mine) throw new Error(`a quickstart already runs in ${directory} (process ${pid}); stop it, or use another --data`);
    } catch (error) {
      if (error.message.startsWith('a quickstart')) throw error;
    }
  }
  writeFileSync(file, `${process.pid}\n`);
  return () => rmSync(file, { force: true });
}

const companyOf = (file) => /^name: (.*)$/m.exec(readFileSync(file, 'utf8'))?.[1];

async function importOnce(demo, csvFile) {
  const marker = demo.path('imported');
  if (existsSync(marker)) {
    say('The Superstore data is here already.');
    return;
  }
  const csv = csvFile ?? (await fetchSuperstore(root));
  const begin = Date.now();
  const errorsDirectory = demo.path('import');
  mkdirSync(errorsDirectory, { recursive: true });
  say('Importing the Superstore: products at head office, then customers, orders and shipments at the four offices ...');
  const summaries = await importSuperstore({ demo, csv, offices: demo.topology.offices, errorsDirectory });
  await demo.settled();
  const rejected = Object.values(summaries).reduce((sum, s) => sum + s.rejectedRows, 0);
  const changes = Object.values(summaries).reduce((sum, s) => sum + s.mutations, 0);
  say(`${changes} changes made at the offices and arrived everywhere in ${seconds(Date.now() - begin)}${rejected ? `; ${rejected} rows rejected, see ${errorsDirectory}` : ''}.`);
  const repeats = summaries.hq?.repeats ?? [];
  const ids = new Set(repeats.map((r) => r.key));
  if (ids.size > 0) say(`${ids.size} product ids come with two names in the file; the first one was kept (e.g. ${repeats[0].key}: ${repeats[0].kept}).`);
  writeFileSync(marker, `${new Date().toISOString()}\n`);
}

async function main() {
  const o = options();
  if (o.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const temporary = !o.data;
  const directory = path.resolve(o.data ?? mkdtempSync(path.join(os.tmpdir(), 'branchline-')));
  mkdirSync(directory, { recursive: true });
  let release;
  try {
    release = claim(directory);
  } catch (error) {
    warn(`quickstart: ${error.message}`);
    return 1;
  }
  rmSync(path.join(directory, 'demo.env'), { force: true });

  const stop = new AbortController();    // somebody wants an end
  const failed = new AbortController();  // something went wrong: what else is under way ends, too
  let signals = 0;
  const onSignal = () => {
    signals += 1;
    if (signals === 1) {
      warn('Stopping ...');
      stop.abort(new Error('stopped'));
    }
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);

  const source = path.join(root, 'topology', o.single ? 'single.yaml' : 'demo.yaml');
  const copy = path.join(directory, 'topology.yaml');
  if (existsSync(copy) && companyOf(copy) !== companyOf(source)) {
    warn(`quickstart: ${directory} holds the data of the company \`${companyOf(copy)}\`; use another --data for \`${companyOf(source)}\``);
    release();
    return 1;
  }
  const base = o.ports ?? (o.check ? await freeBase() : 7400);
  const topology = makeTopology(source, copy, base);
  const programs = o.programs ?? path.join(root, 'build', 'release', 'bin');
  const demo = new Demo({ directory, programs, topology, branchBinary: o['branch-binary'], line: LINE, signal: AbortSignal.any([stop.signal, failed.signal]) });
  let code = 0;
  try {
    const taken = await takenPorts(topology);
    if (taken.length > 0) throw new Error(`ports are in use: ${taken.join(', ')}; choose others with --ports BASE`);
    if (o.check) {
      const csv = o.csv ?? (await fetchSuperstore(root));
      code = (await check({ demo, csv, offices: o.offices?.split(',') })) ? 0 : 1;
    } else {
      say(`Starting ${topology.servers.map((s) => s.name).join(', ')} ...`);
      await demo.start();
      if (!o.single) await importOnce(demo, o.csv);
      demo.writeEnvironment();
      for (const line of told(demo, o.single)) say(line);
      await new Promise((resolve) => stop.signal.addEventListener('abort', resolve));
    }
  } catch (error) {
    if (!stop.signal.aborted) {
      warn(`quickstart: ${error.message}`);
      code = 1;
    }
  }
  if (code !== 0) failed.abort();
  if (stop.signal.aborted && o.check) code = 1;
  rmSync(path.join(directory, 'demo.env'), { force: true });
  const killed = await demo.stop();
  if (killed.length > 0) {
    warn(`quickstart: ${killed.join(', ')} did not stop when asked and had to be killed`);
    if (o.check) code = 1;
  }
  release();
  if (temporary && code === 0) rmSync(directory, { recursive: true, force: true });
  if (temporary && code !== 0) warn(`data and logs are kept in ${directory}`);
  if (stop.signal.aborted) say('Everything has stopped.');
  return code;
}

process.exitCode = await main();
