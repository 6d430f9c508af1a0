"""Folders, servers and lines of a run, all of which end with it; what a site's processes need of memory."""
import ctypes
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29


class Failed(Exception):
    """One system cannot go on; the others can."""


def say(text):
    os.write(2, f'  {text}\n'.encode())


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_until(condition, seconds, what, pause=0.02):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f'waited {seconds} s in vain for {what}')
        time.sleep(pause)


def find_program(*candidates):
    for candidate in candidates:
        path = shutil.which(candidate, path=os.environ['PATH'] + ':/usr/sbin:/sbin')
        if path:
            return path
    raise Failed(f'{candidates[0]} is not installed')


def tail_of(path, lines=6):
    try:
        with open(path, errors='replace') as f:
            return '\n'.join(f.read().splitlines()[-lines:])
    except OSError:
        return ''


class Server:
    def __init__(self, process, name, log, end_signal):
        self.process, self.name, self.log, self.end_signal = process, name, log, end_signal

    @property
    def pid(self):
        return self.process.pid

    def check(self):
        if self.process.poll() is not None:
            raise Failed(f'{self.name} ended with {self.process.returncode}: {tail_of(self.log)}')
        return True

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.send_signal(self.end_signal)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Work:
    """Everything that is on disk or runs. Databases refuse to run as root: under root they run as nobody."""

    def __init__(self, folder, programs):
        self.programs = programs  # where branchline-wan is
        self.root = tempfile.mkdtemp(prefix='branchline-peers-', dir=folder)
        os.chmod(self.root, 0o755)
        self.servers = []
        self.user = pwd.getpwnam('nobody') if os.geteuid() == 0 else None

    def folder(self, name):
        path = os.path.join(self.root, name)
        os.makedirs(path, exist_ok=True)
        self.own(path)
        return path

    def own(self, path):
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def _options(self, unprivileged, environment, home):
        env = {k: v for k, v in os.environ.items() if not k.startswith(('PG', 'MYSQL', 'NODE_'))}
        env.update(HOME=home, LC_ALL='C.UTF-8', TZ='UTC')
        env.update(environment or {})
        options = {'env': env, 'cwd': home, 'start_new_session': True}
        if self.user and unprivileged:
            options.update(user=self.user.pw_uid, group=self.user.pw_gid, extra_groups=[])
        return options

    def run(self, command, home, unprivileged=True, environment=None):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                              stdin=subprocess.DEVNULL, **self._options(unprivileged, environment, home))
        if done.returncode != 0:
            last = '\n'.join(done.stdout.splitlines()[-8:])
            raise Failed(f'{os.path.basename(command[0])} ended with {done.returncode}: {last}')
        return done.stdout

    def start(self, name, command, home, unprivileged=True, environment=None, end_signal=signal.SIGTERM, **pipes):
        log = os.path.join(self.root, name + '.log')
        options = self._options(unprivileged, environment, home)

        def with_parent():  # also after a kill -9 of this script
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        with open(log, 'ab') as out:
            pipes.setdefault('stdin', subprocess.DEVNULL)
            pipes.setdefault('stdout', out)
            process = subprocess.Popen(command, stderr=out, preexec_fn=with_parent, **pipes, **options)
        server = Server(process, name, log, end_signal)
        self.servers.append(server)
        return server

    def close(self):
        for server in reversed(self.servers):
            server.stop()
        shutil.rmtree(self.root, ignore_errors=True)


class Line:
    """The emulator, before one server. Its control says what passed."""

    def __init__(self, work, name, port):
        self.port, self.control = free_port(), free_port()
        local = '127.0.0.1:'
        self.server = work.start(f'wan-{name}', [
            os.path.join(work.programs, 'branchline-wan'), '--listen', local + str(self.port), '--connect',
            local + str(port), '--rtt', '80ms', '--rate', '20Mbit', '--queue', '256KiB', '--control',
            local + str(self.control)], work.root, unprivileged=False)
        wait_until(lambda: self.server.check() and self._answers(), 10, 'the line')

    def _answers(self):
        try:
            return self._ask('GET', '/healthz') is not None
        except OSError:
            return False

    def _ask(self, method, target):
        connection = http.client.HTTPConnection('127.0.0.1', self.control, timeout=10)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status >= 300:
                raise Failed(f'the line refused {target}: {body.decode()}')
            return body
        finally:
            connection.close()

    def up(self):
        self._ask('POST', '/up')

    def down(self):
        self._ask('POST', '/down')

    def reset(self):
        self._ask('POST', '/stats/reset')

    def bytes(self):
        stats = json.loads(self._ask('GET', '/stats'))
        return stats['up_bytes'] + stats['down_bytes']


def with_descendants(pids):
    children = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat') as f:
                    parent = int(f.read().rpartition(')')[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
            except (OSError, IndexError, ValueError):
                pass  # it ended meanwhile
    found, ahead = [], list(pids)
    while ahead:
        pid = ahead.pop()
        found.append(pid)
        ahead += children.get(pid, [])
    return found


def resident_mib(pids):
    """Resident memory of processes; pages that they share count once (PSS), or a database of many processes
    would be charged its cache for each of them."""
    total = 0
    for pid in with_descendants(pids):
        try:
            with open(f'/proc/{pid}/smaps_rollup') as f:
                total += sum(int(row.split()[1]) for row in f if row.startswith('Pss:'))
        except OSError:
            pass
    return total / 1024


class Memory:
    """The most that sites held while this lives."""

    def __init__(self, sites):  # name -> pids
        self.peak = {name: 0.0 for name in sites}
        self._sites, self._done = sites, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _look(self):
        for name, pids in self._sites.items():
            self.peak[name] = max(self.peak[name], resident_mib(pids))

    def _watch(self):
        while not self._done.wait(0.5):
            self._look()

    def __enter__(self):
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._look()
