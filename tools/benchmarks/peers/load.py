"""Raw protocols as far as the benchmark speaks them, a closed loop, and 500 changes a second by the clock."""
import ctypes
import gc
import itertools
import json
import math
import select
import socket
import struct
import time

from sites import LIBC, PR_SET_TIMERSLACK, Failed

RATE = 500
POLL_FROM = 0.0395  # a line of 40 ms one way shows nothing earlier
POLL_PAUSE = 0.00025
MOST_WRITERS = 64
PATIENCE = 20
TRIES = 1000  # to find a row that has no change on its way


class Channel:
    """A connection with one request under way. answer() is what came, once complete."""

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b''

    def fileno(self):
        return self.socket.fileno()

    def send(self, request):
        self.socket.sendall(request)

    def receive(self):
        """Takes what has arrived; None until the answer is complete."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise Failed(f'{type(self).__name__}: the server closed the connection')
        self.buffer += chunk
        return self.take()

    def ask(self, request):
        self.send(request)
        answer = self.receive()
        while answer is None:
            answer = self.receive()
        return answer

    def close(self):
        self.socket.close()


class PostgresChannel(Channel):
    """The simple query protocol, text values."""

    def __init__(self, port, user='bench', database='postgres'):
        super().__init__(port)
        self.rows = []
        parameters = f'user\0{user}\0database\0{database}\0\0'.encode()
        self.ask(struct.pack('!ii', len(parameters) + 8, 196608) + parameters)

    @staticmethod
    def query(sql):
        text = sql.encode() + b'\0'
        return b'Q' + struct.pack('!i', len(text) + 4) + text

    def sql(self, text):
        return self.ask(self.query(text))

    def take(self):
        at, buffer = 0, self.buffer
        while len(buffer) - at >= 5:
            size = struct.unpack_from('!i', buffer, at + 1)[0] + 1
            if len(buffer) - at < size:
                break
            kind, body = buffer[at:at + 1], buffer[at + 5:at + size]
            at += size
            if kind == b'E':
                fields = {f[:1]: f[1:].decode() for f in body.split(b'\0') if f}
                raise Failed('PostgreSQL: ' + fields.get(b'M', '?'))
            if kind == b'D':
                row, pos = [], 2
                for _ in range(struct.unpack_from('!h', body)[0]):
                    n = struct.unpack_from('!i', body, pos)[0]
                    pos += 4
                    row.append(None if n < 0 else body[pos:pos + n].decode())
                    pos += max(n, 0)
                self.rows.append(row)
            if kind == b'Z':
                self.buffer, rows, self.rows = buffer[at:], self.rows, []
                return rows
        self.buffer = buffer[at:]
        return None


class MariaChannel(Channel):
    """COM_QUERY, text values; a user without a password."""

    def __init__(self, port, user='bench'):
        super().__init__(port)
        self._state(greeted=False)
        while self.receive() is None:
            pass
        wants = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x80000  # 4.1 protocol, plug-in authentication
        body = (struct.pack('<IIB23x', wants, 1 << 24, 45) + user.encode() + b'\0\0mysql_native_password\0')
        self.ask(struct.pack('<I', len(body))[:3] + b'\1' + body)

    def _state(self, greeted=True):
        self.greeted, self.columns, self.ends, self.rows = greeted, None, 0, []

    @staticmethod
    def query(sql):
        text = b'\3' + sql.encode()
        return struct.pack('<I', len(text))[:3] + b'\0' + text

    def sql(self, text):
        return self.ask(self.query(text))

    def take(self):
        while len(self.buffer) >= 4:
            size = int.from_bytes(self.buffer[:3], 'little')
            if len(self.buffer) < size + 4:
                return None
            sequence, body = self.buffer[3], self.buffer[4:size + 4]
            self.buffer = self.buffer[size + 4:]
            done = self._packet(body, sequence)
            if done is not None:
                return done
        return None

    def _packet(self, body, sequence):
        if body[:1] == b'\xff':
            raise Failed('MariaDB: ' + body[3:].decode(errors='replace'))
        if not self.greeted:  # the greeting itself
            self._state()
            return []
        if self.columns is None:
            if body[:1] == b'\0':
                return []
            if body[:1] == b'\xfe':  # another way to sign in: still no password
                self.send(b'\0\0\0' + bytes([sequence + 1]))
                return None
            self.columns = body[0]
            return None
        if body[:1] == b'\xfe' and len(body) < 9:
            self.ends += 1
            if self.ends < 2:
                return None
            rows = self.rows
            self._state()
            return rows
        if self.ends == 1:
            row, at = [], 0
            for _ in range(self.columns):
                n, at = body[at], at + 1
                if n == 0xfb:
                    row.append(None)
                    continue
                if n >= 0xfc:
                    width = {0xfc: 2, 0xfd: 3, 0xfe: 8}[n]
                    n, at = int.from_bytes(body[at:at + width], 'little'), at + width
                row.append(body[at:at + n].decode(errors='replace'))
                at += n
            self.rows.append(row)
        return None


class NatsChannel(Channel):
    """Request and reply, one at a time."""

    def __init__(self, port):
        super().__init__(port)
        self.inbox = f'_INBOX.{port}.{id(self)}.{time.monotonic_ns()}'
        self.ready = False
        self.ask(b'CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1"}\r\nSUB '
                 + self.inbox.encode() + b' 1\r\nPING\r\n')

    def request(self, subject, payload):
        return f'PUB {subject} {self.inbox} {len(payload)}\r\n'.encode() + payload + b'\r\n'

    def api(self, subject, body=None):
        answer = json.loads(self.ask(self.request(subject, json.dumps(body).encode() if body else b'')))
        if 'error' in answer:
            raise Failed(f'NATS: {subject}: {answer["error"]}')
        return answer

    def take(self):
        while True:
            line, end, rest = self.buffer.partition(b'\r\n')
            if not end:
                return None
            if line.startswith(b'MSG '):
                size = int(line.rsplit(b' ', 1)[1])
                if len(rest) < size + 2:
                    return None
                self.buffer = rest[size + 2:]
                return rest[:size]
            self.buffer = rest
            if line == b'PING':
                self.send(b'PONG\r\n')
            elif line == b'PONG' and not self.ready:
                self.ready = True
                return b''
            elif line.startswith(b'-ERR'):
                raise Failed('NATS: ' + line.decode())


class HttpChannel(Channel):
    @staticmethod
    def request(method, target, body=None):
        text = json.dumps(body, separators=(',', ':')).encode() if body is not None else b''
        head = f'{method} {target} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\n'
        if body is not None:
            head += f'Content-Type: application/json\r\nContent-Length: {len(text)}\r\n'
        return head.encode() + b'\r\n' + text

    def json(self, method, target, body=None, fine=(200, 201, 202)):
        status, text = self.ask(self.request(method, target, body))
        if status not in fine:
            raise Failed(f'PouchDB: {method} {target}: {status} {text[:200].decode(errors="replace")}')
        return json.loads(text)

    def take(self):
        head, end, rest = self.buffer.partition(b'\r\n\r\n')
        if not end:
            return None
        fields = head.lower()
        at = fields.find(b'\r\ncontent-length:')
        if at >= 0:
            size = int(fields[at + 17:].split(b'\r\n', 1)[0])
            if len(rest) < size:
                return None
            body, self.buffer = rest[:size], rest[size:]
        elif b'chunked' in fields:
            if not rest.endswith(b'0\r\n\r\n'):
                return None
            body, self.buffer = b'', b''
            while True:
                size, _, rest = rest.partition(b'\r\n')
                if int(size, 16) == 0:
                    break
                body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
        else:
            body, self.buffer = rest, b''
        return int(head.split(b' ', 2)[1]), body


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(p * len(ordered)) - 1))]


def closed_loop(channels, make, taken, seconds=0.0, count=0):
    """Each channel sends its next request when its answer is there, for some seconds or a count.
    make(channel's number) -> request; taken(number, answer) raises where it was refused."""
    poll = select.epoll()
    by_fd, sent = {}, [0] * len(channels)
    started, spent = 0, []
    gc.disable()
    cpu, begin = time.process_time(), time.perf_counter()
    try:
        for number, channel in enumerate(channels):
            poll.register(channel.fileno(), select.EPOLLIN)
            by_fd[channel.fileno()] = number
            if not count or started < count:
                started += 1
                sent[number] = time.perf_counter_ns()
                channel.send(make(number))
        while len(spent) < started:
            for fd, _ in poll.poll():
                number = by_fd[fd]
                answer = channels[number].receive()
                if answer is None:
                    continue
                now = time.perf_counter_ns()
                spent.append((now - sent[number]) / 1000)
                taken(number, answer)
                if started < count if count else now / 1e9 - begin < seconds:
                    started += 1
                    sent[number] = now
                    channels[number].send(make(number))
    finally:
        gc.enable()
        poll.close()
    took = time.perf_counter() - begin
    return {'rate': len(spent) / took, 'p50_us': percentile(spent, 0.5), 'p99_us': percentile(spent, 0.99),
            'client_cpu': (time.process_time() - cpu) / took}


def live(connect, write, check, reader, look, shown, next_change, seconds):
    """Writes by the clock, whatever the answers do; asks head office for the oldest changes that it does not show yet
    (for several at once, so that a reader who waits for a processor does not make them older than they are).
    write(channel, change) -> request, check(change, answer), look(reader, changes) -> request,
    shown(answer, changes) -> the changes that are there."""
    writers = [connect() for _ in range(8)]
    free, busy, waiting, asked, spent = list(writers), {}, {}, [], []  # waiting: id -> (sent, change), in order
    total, started, answered = int(seconds * RATE), 0, 0
    next_look = 0.0
    LIBC.prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1))
    gc.disable()
    begin = time.perf_counter()
    try:
        while answered < total or waiting:
            now = time.perf_counter()
            if now > begin + seconds + PATIENCE:
                raise Failed(f'falls behind: after {now - begin:.0f} s {answered} of {total} accepted, '
                             f'{len(spent)} shown')
            while started < total and begin + started / RATE <= now:
                if not free and len(writers) >= MOST_WRITERS:
                    break
                if not free:
                    writers.append(connect())
                    free.append(writers[-1])
                change = next((one for one in (next_change() for _ in range(TRIES)) if one['id'] not in waiting), None)
                if change is None:
                    raise Failed(f'falls behind: after {now - begin:.0f} s {answered} of {total} accepted, '
                                 f'{len(spent)} shown, and nearly every row waits to be shown')
                channel = free.pop()
                busy[channel] = change
                waiting[change['id']] = time.perf_counter(), change
                channel.send(write(channel, change))
                started += 1
            oldest = next(iter(waiting.values()), None)
            if oldest and not asked and now >= max(oldest[0] + POLL_FROM, next_look):
                due = itertools.islice(waiting.values(), MOST_WRITERS)
                asked = [change for at, change in due if now >= at + POLL_FROM]
                reader.send(look(reader, asked))
            now = time.perf_counter()
            until = now + 0.02
            if started < total and (free or len(writers) < MOST_WRITERS):
                until = min(until, begin + started / RATE)
            if oldest and not asked:
                until = min(until, max(oldest[0] + POLL_FROM, next_look))
            ready, _, _ = select.select([*busy, reader], [], [], max(0.0, until - now))
            for channel in ready:
                answer = channel.receive()
                if answer is None:
                    continue
                if channel is not reader:
                    check(busy.pop(channel), answer)
                    free.append(channel)
                    answered += 1
                    continue
                now = time.perf_counter()
                there, asked = shown(answer, asked), []
                for change in there:
                    spent.append((now - waiting.pop(change['id'])[0]) * 1000)
                next_look = now if there else now + POLL_PAUSE  # where some are, more may be
    finally:
        gc.enable()
        for channel in writers:
            channel.close()
    return {'p50_ms': percentile(spent, 0.5), 'p99_ms': percentile(spent, 0.99), 'changes': total}
