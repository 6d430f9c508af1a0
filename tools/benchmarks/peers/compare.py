#!/usr/bin/env python3
"""Branchline and others that replicate, by turns on one machine. tools/bench --peers starts it; README.md says how."""
import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True

from others import Nats, Pouch  # noqa: E402
from peer import WRITERS, Behind, Data  # noqa: E402
from sites import Failed, Memory, Work, say  # noqa: E402
from sql import Maria, MariaCompressed, Postgres  # noqa: E402

SUBJECT = 'Branchline'
# name -> (unit, whether more is better)
FIGURES = {
    'write.p50.1client': ('us', False), 'write.p99.1client': ('us', False), 'write.rate.16clients': ('/s', True),
    'write.p50.1client.slow_fsync': ('us', False), 'write.rate.16clients.slow_fsync': ('/s', True),
    'lag.p50': ('ms', False), 'lag.p99': ('ms', False), 'bytes.per_change.live': ('B', False),
    'catchup.link': ('/s', True), 'catchup.loopback': ('/s', True), 'bytes.per_change': ('B', False),
    'memory.office': ('MiB', False), 'memory.head': ('MiB', False)}
# What Branchline does in that figure and the peers do not; said where it is not first.
REASONS = {
    'write.p50': 'a request is HTTP and JSON with a token, access rules and an operation key, and passes between two '
                 'threads of the server; the peers run a prepared statement on a session that is signed in',
    'write.p99': 'as the median; and the threads of the request wait for a processor each',
    'write.rate': 'HTTP, JSON, token and operation key are computed per request, on the same two cores as the client',
    'lag': 'two synced writes and their hand-overs between threads lie on the way: the master decides and stores, then '
           "head office's branch does; a peer's change is shown by the only server that it comes to, which need not have "
           'synced it',
    'catchup': "a change is merged by the master and then applied by head office's branch, both synced, and its fate "
               'returns to the author before the clock stops; a peer applies once and answers nothing',
    'bytes': 'TLS, and per change its operation key, digest and fate, which peers do not have',
    'memory.office': 'caches and write buffers of the store, and the outbox',
    'memory.head': "two servers, master and head office's branch, where a peer has one"}


class Subject:
    name = SUBJECT
    durable = indexed = True
    note = ("HTTP with JSON, API token, access rules, operation keys; mutual TLS on the line; head office is master and a "
            'branch, and catch-up ends when both agree with the office, fates included')

    def __init__(self, work, quick):
        self.work, self.quick, self.server = work, quick, None

    def start(self, slow=False):
        name = 'branchline-slow' if slow else 'branchline'
        command = [os.path.join(self.work.programs, 'branchline-bench'), '--folder', os.path.join(self.work.root, name)]
        command += ['--quick'] if self.quick else []
        command += ['--slow-fsync', '1ms'] if slow else []
        self.server = self.work.start(name, command + ['subject'], self.work.root, unprivileged=False,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pids()

    def ask(self, command):
        try:
            self.server.process.stdin.write(command + '\n')
            self.server.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.server.process.stdout.readline()
        if not answer:
            self.server.process.wait()
            self.server.check()
        return json.loads(answer)

    def stop(self):
        if self.server:
            self.server.process.stdin.close()  # its servers end in order
            try:
                self.server.process.wait(60)
            except subprocess.TimeoutExpired:
                pass
            self.server.stop()

    def pids(self):
        return self.ask('pids')

    def measure_write(self, clients, seconds):
        return self.ask(f'write {clients} {seconds}')

    def measure_live(self, seconds):
        return self.ask(f'live {seconds}')

    def measure_catchup(self, link, count):
        seen = self.ask(f'catchup {"link" if link else "loopback"} {count}')
        say(f'{self.name}: decided and stored at the master: {seen["decided_rate"]:.0f}/s')
        return seen


class Run:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.rounds = options.rounds or (1 if options.quick else 3)
        self.pending = 20_000 if options.quick else 200_000
        self.seconds, self.live_seconds = (2, 8) if options.quick else (5, 20)
        self.systems, self.skipped = [], {}
        self.values = {}  # (figure, system) -> a value per round, None where there is none
        self.remarks = {}

    def skip(self, name, why):
        say(f'SKIPPED {name}: {why}')
        self.skipped[name] = str(why)

    def prepare(self):
        say('making contacts and changes')
        # Four times as many changes as are made at once, so that none repeats what its row has.
        data = Data(self.work, self.pending, 4 * self.pending)
        slow = {'LD_PRELOAD': os.path.join(self.work.programs_shared, 'libbranchline-slow-fsync.so'),
                'BRANCHLINE_BENCH_FSYNC_US': '1000'}
        kinds = {
            'branchline': (SUBJECT, lambda: Subject(self.work, self.options.quick)),
            'postgresql': (Postgres.name, lambda: Postgres(self.work, data, slow)),
            'mariadb': (Maria.name, lambda: Maria(self.work, data, slow)),
            'mariadb-compressed': (MariaCompressed.name, lambda: MariaCompressed(self.work, data, slow)),
            'nats': (Nats.name, lambda: Nats(self.work, data, slow)),
            'pouchdb': (Pouch.name, lambda: Pouch(self.work, data, slow, self.options.modules, self.options.node))}
        for key, (name, make) in kinds.items():
            if self.options.only and key not in self.options.only and key != 'branchline':
                continue
            try:
                say(f'starting {name}')
                system = make()
                self.systems.append(system)
                system.start()
            except (Failed, OSError) as e:
                self.give_up(name, self.installing(key, e))

    def installing(self, key, error):
        """What tools/setup --peers could not do, where that is the cause."""
        try:
            with open(os.path.join(self.options.modules, key.split('-')[0] + '.missing')) as f:
                return f'{error} ({f.read().strip()})'
        except OSError:
            return str(error)

    def give_up(self, name, why):
        self.skip(name, why)
        for system in [s for s in self.systems if s.name == name]:
            self.systems.remove(system)
            if system.name == SUBJECT:
                raise Failed(f'without {SUBJECT} there is nothing to compare with')
            system.stop()

    def measure(self, round_number, measure, wanted, text):
        for system in list(self.systems):
            try:
                seen = measure(system)
            except Behind as e:
                say(f'{system.name}: {text}: {e}')
                self.remarks[(wanted[0][0], system.name)] = str(e)
                seen = {}
            except (Failed, OSError, ValueError) as e:
                self.give_up(system.name, f'{text}: {e}')
                continue
            for figure, member in wanted:
                self.values.setdefault((figure, system.name), [None] * self.rounds)[round_number] = seen.get(member)
            if seen:
                busy = f", its client took {seen['client_cpu']:.0%} of a core" if 'client_cpu' in seen else ''
                say(f'{system.name}: ' + ', '.join(f'{f} {shown(seen[m])}' for f, m in wanted if m in seen) + busy)

    def with_memory(self, system, link):
        with Memory(system.pids()) as memory:
            seen = system.measure_catchup(link, self.pending)
        return {**seen, **memory.peak}

    def plain(self):
        for n in range(self.rounds):
            self.measure(n, lambda s: s.measure_write(1, self.seconds),
                         [('write.p50.1client', 'p50_us'), ('write.p99.1client', 'p99_us')], 'write')
            self.measure(n, lambda s: s.measure_write(WRITERS, self.seconds), [('write.rate.16clients', 'rate')], 'write')
            self.measure(n, lambda s: s.measure_live(self.live_seconds),
                         [('lag.p50', 'p50_ms'), ('lag.p99', 'p99_ms'), ('bytes.per_change.live', 'bytes')], 'lag')
            self.measure(n, lambda s: self.with_memory(s, True),
                         [('catchup.link', 'rate'), ('bytes.per_change', 'bytes'), ('memory.office', 'office'),
                          ('memory.head', 'head')], 'catch-up over the line')
            self.measure(n, lambda s: s.measure_catchup(False, self.pending), [('catchup.loopback', 'rate')],
                         'catch-up on loopback')

    def slow(self):
        for system in list(self.systems):
            system.stop()
        for system in list(self.systems):
            try:
                system.start(slow=True)
            except Behind as e:
                self.remarks[('write.p50.1client.slow_fsync', system.name)] = str(e)
                self.systems.remove(system)
            except (Failed, OSError) as e:
                self.give_up(system.name, f'with the slow disk: {e}')
        for n in range(self.rounds):
            self.measure(n, lambda s: s.measure_write(1, self.seconds), [('write.p50.1client.slow_fsync', 'p50_us')],
                         'write')
            self.measure(n, lambda s: s.measure_write(WRITERS, self.seconds),
                         [('write.rate.16clients.slow_fsync', 'rate')], 'write')

    def results(self, systems):
        rows = []
        for figure, (unit, _) in FIGURES.items():
            own = self.values.get((figure, SUBJECT), [])
            for system in systems:
                seen = self.values.get((figure, system.name), [])
                values = [v for v in seen if v is not None]
                if not values:
                    continue
                ratios = [v / o for v, o in zip(seen, own) if v is not None and o]
                rows.append({'name': figure, 'system': system.name, 'value': statistics.median(values), 'unit': unit,
                             'ratio': statistics.median(ratios) if ratios else None})
        return rows


def shown(value):
    return f'{value:,.0f}' if value >= 1000 else f'{value:.1f}' if value >= 10 else f'{value:.2f}'


def table(rows, systems, remarks):
    by_place = {(r['name'], r['system']): r for r in rows}
    out = ['| figure | unit | ' + ' | '.join(s.name for s in systems) + ' |', '|---' * (len(systems) + 2) + '|']
    for figure, (unit, _) in FIGURES.items():
        cells = []
        for system in systems:
            r = by_place.get((figure, system.name))
            if not r:
                remark = remarks.get((figure, system.name), '–')
                cells.append('falls behind' if 'falls behind' in remark else 'does not sync' if 'sync' in remark else '–')
            elif system.name == SUBJECT:
                cells.append(shown(r['value']))
            else:
                cells.append(f"{shown(r['value'])} ({r['ratio']:.2f}x)" if r['ratio'] else shown(r['value']))
        if any(c != '–' for c in cells):
            out.append(f'| `{figure}` | {unit} | ' + ' | '.join(cells) + ' |')
    return out


def verdict(rows, systems):
    """Per figure: who is first among those that durably apply indexed rows."""
    rivals = {s.name for s in systems if s.durable and s.indexed}
    first, others = [], []
    for figure, (unit, more) in FIGURES.items():
        of = {r['system']: r['value'] for r in rows if r['name'] == figure and r['system'] in rivals}
        if SUBJECT not in of or len(of) < 2:
            continue
        best = (max if more else min)(of, key=of.get)
        second = (max if more else min)((s for s in of if s != SUBJECT), key=of.get)
        factor = of[SUBJECT] / of[second] if more else of[second] / of[SUBJECT]
        if best == SUBJECT:
            first.append(f'- `{figure}`: {factor:.2f}x better than the next, {second}')
        else:
            why = next(text for name, text in REASONS.items() if figure.startswith(name))
            others.append(f'- `{figure}`: {best} is {1 / factor:.2f}x better ({shown(of[best])} against '
                          f'{shown(of[SUBJECT])} {unit}): {why}.')
    out = ['', f'**{SUBJECT} is first** among those that durably apply indexed rows:', '', *(first or ['- nowhere'])]
    return out + (['', '**Not first:**', '', *others] if others else [])


def check_durability(rows, systems):
    """A commit that waits for a disk which takes 1 ms takes 1 ms."""
    for r in rows:
        if r['name'] == 'write.p50.1client.slow_fsync':
            system = next(s for s in systems if s.name == r['system'])
            if system.durable and r['value'] < 1000:
                yield f'{system.name} answers before a disk of 1 ms could have synced: it is not durable as it is set here'


def version_of(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ''
    except OSError:
        return ''


def report(run, systems, begin, load_before):
    rows = run.results(systems)
    warnings = list(check_durability(rows, systems))
    where = {
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), 'quick': run.options.quick,
        'rounds': run.rounds, 'changes': run.pending, 'cores': os.cpu_count(), 'kernel': platform.release(),
        'minutes': round((time.monotonic() - begin) / 60, 1), 'load_before': round(load_before, 2),
        'load_after': round(os.getloadavg()[0], 2),
        'versions': [v for v in (version_of(['/usr/lib/postgresql/15/bin/postgres', '--version']),
                                 version_of(['/usr/sbin/mariadbd', '--version']),
                                 version_of(['/usr/sbin/nats-server', '--version'])) if v]}
    out = [f"{where['date']}, {where['cores']} cores, {run.rounds} round{'s' * (run.rounds > 1)}, "
           f"{run.pending:,} contacts and changes, {where['minutes']} minutes, load {where['load_before']} before and "
           f"{where['load_after']} after" + (', **quick: for a look, not for the record**' if run.options.quick else ''), '']
    out += table(rows, systems, run.remarks)
    out += verdict(rows, systems) + ['']
    out += [f'- {s.name}: {s.note}.' for s in systems]
    out += [f'- SKIPPED {name}: {why}' for name, why in run.skipped.items()]
    out += [f'- {name}, `{figure}`: {why}' for (figure, name), why in run.remarks.items()]
    out += [f'- WARNING: {w}' for w in warnings]
    text = '\n'.join(out)
    print(text)
    if run.options.json:
        with open(run.options.json, 'w') as f:
            json.dump({**where, 'figures': rows, 'skipped': run.skipped, 'warnings': warnings,
                       'remarks': [{'name': f, 'system': s, 'text': t} for (f, s), t in run.remarks.items()]}, f, indent=1)
            f.write('\n')
    if run.options.markdown:
        with open(run.options.markdown, 'w') as f:
            f.write(text + '\n')


def stop_on_signals():
    def stop(number, _):
        raise SystemExit(128 + number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--programs', required=True, help="the build's bin folder")
    parser.add_argument('--modules', required=True, help='where tools/setup --peers put what comes from npm')
    parser.add_argument('--node', default='')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--only', nargs='+', help='postgresql mariadb mariadb-compressed nats pouchdb')
    parser.add_argument('--rounds', type=int, default=0)
    parser.add_argument('--json')
    parser.add_argument('--markdown')
    parser.add_argument('--folder', help='on the disk that is to be measured')
    options = parser.parse_args()
    options.programs, options.modules = os.path.abspath(options.programs), os.path.abspath(options.modules)
    if options.folder:
        os.makedirs(options.folder, exist_ok=True)
    stop_on_signals()
    begin, load_before = time.monotonic(), os.getloadavg()[0]
    work = Work(options.folder, options.programs)
    try:
        # What unprivileged processes read.
        work.programs_shared = work.folder('programs')
        here = os.path.dirname(os.path.abspath(__file__))
        shutil.copy(os.path.join(here, 'update.lua'), work.programs_shared)
        shutil.copy(os.path.join(options.programs, '../lib/libbranchline-slow-fsync.so'), work.programs_shared)
        run = Run(options, work)
        run.prepare()
        systems = list(run.systems)
        run.plain()
        run.slow()
        report(run, systems, begin, load_before)
        return 0
    except Failed as e:
        print(f'the comparison failed: {e}', file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        work.close()


if __name__ == '__main__':
    sys.exit(main())
