"""NATS JetStream, which keeps messages and no rows, and PouchDB server, whose writes wait for no disk."""
import json
import os
import shutil
import signal
import urllib.request

import load
from peer import Behind, Peer
from sites import Failed, find_program, free_port, wait_until


class Nats(Peer):
    name = 'NATS JetStream 2.9'
    durable = indexed = False
    note = ('append only: no rows, no indexes; a leaf node whose stream head office mirrors. Version 2.9 cannot be told to '
            'sync each write. Client in Python')

    def __init__(self, work, data, slow_environment):
        super().__init__(work, data, slow_environment)
        self.program = find_program('nats-server')
        self.folders = {site: work.folder(f'nats-{site}') for site in ('office', 'head')}
        self.ports = {site: free_port() for site in self.folders}
        self.monitor, self.leaf = free_port(), free_port()
        self.servers, self.channels = {}, []

    def start(self, slow=False):
        if slow:
            raise Behind('does not sync at all')
        self._start('head', f'leafnodes {{ host: "127.0.0.1", port: {self.leaf} }}')
        self.new_line(self.leaf)
        self._start_office(direct=True)
        self._api('office', '$JS.API.STREAM.CREATE.contacts',
                  {'name': 'contacts', 'subjects': ['contact.>'], 'storage': 'file'})
        self.connected = True

    def _start(self, site, more):
        config = os.path.join(self.folders[site], 'nats.conf')
        with open(config, 'w') as f:
            f.write(f'server_name: {site}\nhost: "127.0.0.1"\nport: {self.ports[site]}\n'
                    f'jetstream {{ store_dir: "{self.folders[site]}", domain: {site} }}\n{more}\n')
        self.servers[site] = self.work.start(f'nats-{site}', [self.program, '-c', config], self.folders[site])
        wait_until(lambda: self.servers[site].check() and self._answers(site), 60, f"NATS's {site}")

    def _start_office(self, direct):
        for channel in self.channels:
            channel.close()
        self.channels = []
        if 'office' in self.servers:
            self.servers['office'].stop()
        port = self.leaf if direct else self.line.port
        self._start('office', f'http: "127.0.0.1:{self.monitor}"\n'
                    f'leafnodes {{ reconnect: 1, remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ] }}')

    def _answers(self, site):
        try:
            return self._api(site, '$JS.API.INFO') is not None
        except (OSError, Failed):
            return False

    def _api(self, site, subject, body=None):
        channel = load.NatsChannel(self.ports[site])
        try:
            return channel.api(subject, body)
        finally:
            channel.close()

    def stop(self):
        for server in self.servers.values():
            server.stop()

    def pids(self):
        return {site: [server.pid] for site, server in self.servers.items()}

    def _last(self, site, stream):
        return self._api(site, f'$JS.API.STREAM.INFO.{stream}')['state']['last_seq']

    def disconnect(self):
        pass  # the line goes down

    def _apart(self):
        # A leaf node dials one address: which one is decided by connect(), which starts it again.
        self.line.down()
        if self.connected:
            self._start_office(direct=False)
        self.connected = False

    def connect(self, direct):
        if direct:
            self._start_office(direct=True)

        def leafs():
            with urllib.request.urlopen(f'http://127.0.0.1:{self.monitor}/leafz', timeout=10) as answer:
                return json.load(answer)['leafnodes'] > 0
        wait_until(leafs, 60, 'the leaf node', 0.01)
        # A mirror that lost its line only looks again after some ten seconds; a new one begins at once.
        names = self._api('head', '$JS.API.STREAM.NAMES').get('streams') or []
        seen = self._last('head', 'copy') if 'copy' in names else 0
        if 'copy' in names:
            self._api('head', '$JS.API.STREAM.DELETE.copy')
        self._api('head', '$JS.API.STREAM.CREATE.copy', {
            'name': 'copy', 'storage': 'file', 'mirror': {
                'name': 'contacts', 'opt_start_seq': seen + 1, 'external': {'api': '$JS.office.API', 'deliver': ''}}})

    def wait_applied(self):
        last = self._last('office', 'contacts')
        if last > 0:
            wait_until(lambda: self._last('head', 'copy') >= last, 900, 'the mirror', 0.01)

    @staticmethod
    def message(channel, change):
        body = json.dumps({'statuscode': change['statuscode'], 'description': change['description'],
                           'lastusedincampaign': change['at'], 'numberofchildren': change['number']},
                          separators=(',', ':')).encode()
        return channel.request('contact.' + change['id'], body)

    @staticmethod
    def check(change, answer):
        if b'"error"' in answer:
            raise Failed('NATS: ' + answer.decode())
        change['sequence'] = json.loads(answer)['seq']

    @staticmethod
    def shown(answer, changes):
        """A mirror keeps the numbers of what it copies."""
        last = json.loads(answer)['state']['last_seq']
        return [change for change in changes if change.get('sequence', last + 1) <= last]

    def _loop(self, clients, **limits):
        while len(self.channels) < clients:
            self.channels.append(load.NatsChannel(self.ports['office']))
        return load.closed_loop(self.channels[:clients], lambda n: self.message(self.channels[n], self.next_change()),
                                lambda n, answer: self.check({}, answer), **limits)

    def write(self, clients, seconds):
        return self._loop(clients, seconds=seconds)

    def make(self, count):
        self._loop(16, count=count)

    def run_live(self, seconds):
        reader = load.NatsChannel(self.ports['head'])
        try:
            return load.live(
                connect=lambda: load.NatsChannel(self.ports['office']), write=self.message, check=self.check,
                reader=reader, look=lambda channel, changes: channel.request('$JS.API.STREAM.INFO.copy', b''),
                shown=self.shown, next_change=self.next_change, seconds=seconds)
        finally:
            reader.close()


class Pouch(Peer):
    name = 'PouchDB server 4.2'
    durable = indexed = False
    note = ('documents without further indexes; LevelDB without sync, which PouchDB has no setting for; a tenth of the '
            'rows and a twentieth of the changes. Client in Python')

    def __init__(self, work, data, slow_environment, modules, node):
        super().__init__(work, data, slow_environment)
        if not node:
            raise Failed('there is no Node')
        program = 'node_modules/pouchdb-server/bin/pouchdb-server'
        if not os.path.exists(os.path.join(modules, program)):
            raise Failed('pouchdb-server is not installed')
        home = work.folder('pouchdb')
        self.node, self.program = node, os.path.join(modules, program)
        try:
            work.run([self.node, '-e', "require('fs').accessSync(process.argv[1])", self.program], home)
        except (Failed, OSError):  # they are where the unprivileged user may not look
            shutil.copytree(os.path.join(modules, 'node_modules'), os.path.join(home, 'node_modules'), symlinks=True)
            self.node = shutil.copy(node, os.path.join(home, 'node'))
            self.program = os.path.join(home, program)
        self.folders = {site: work.folder(f'pouchdb-{site}') for site in ('office', 'head')}
        self.ports = {site: free_port() for site in self.folders}
        self.servers, self.revisions = {}, {}
        self.rows = max(2000, len(data.contacts) // 10)
        self.direct = True

    def start(self, slow=False):
        fresh = self.line is None
        self.slow = slow
        for site in self.folders:
            self._start(site)
        if not fresh:
            return
        self.new_line(self.ports['head'])
        for site in self.folders:
            self._ask(site, 'PUT', '/contacts')
        rows = [{**{k: v for k, v in row.items() if k != 'id'}, '_id': row['id']} for row in self.data.contacts[:self.rows]]
        self.documents = {row['_id']: row for row in rows}
        for at in range(0, len(rows), 500):
            self._ask('office', 'POST', '/contacts/_bulk_docs', {'docs': rows[at:at + 500]})
        self.connect(True)
        self.wait_applied()

    def _start(self, site):
        home = self.folders[site]
        self.servers[site] = self.work.start(f'pouchdb-{site}', [
            self.node, self.program, '--host', '127.0.0.1', '--port', str(self.ports[site]), '--dir', home, '--config',
            os.path.join(home, 'config.json'), '--no-stdout-logs'], home, environment=self.environment(self.slow),
            end_signal=signal.SIGKILL)  # which loses nothing that the system has; it does not end while it replicates

        def answers():
            try:
                return self._ask(site, 'GET', '/') is not None
            except OSError:
                return False
        wait_until(lambda: self.servers[site].check() and answers(), 60, f"PouchDB's {site}")

    def _ask(self, site, method, target, body=None):
        channel = load.HttpChannel(self.ports[site])
        try:
            return channel.json(method, target, body)
        finally:
            channel.close()

    def stop(self):
        for server in self.servers.values():
            server.stop()

    def pids(self):
        return {site: [server.pid] for site, server in self.servers.items()}

    # A replication is asked for when it is waited for: one call that ends when all has arrived.
    def disconnect(self):
        pass

    def connect(self, direct):
        self.direct = direct

    def _replication(self, **more):
        port = self.ports['head'] if self.direct else self.line.port
        return {'source': f'http://127.0.0.1:{self.ports["office"]}/contacts',
                'target': f'http://127.0.0.1:{port}/contacts', 'batch_size': 1000, **more}

    def wait_applied(self):
        answer = self._ask('office', 'POST', '/_replicate', self._replication())
        if not answer.get('ok'):
            raise Failed(f'PouchDB: {answer}')

    def next_change(self):
        return super().next_change(self.rows)

    def _read_revisions(self):
        rows = self._ask('office', 'GET', '/contacts/_all_docs')['rows']
        self.revisions = {row['id']: row['value']['rev'] for row in rows}

    def put(self, _, change):
        row = self.documents[change['id']]
        row.update(statuscode=change['statuscode'], description=change['description'],
                   lastusedincampaign=change['at'], numberofchildren=change['number'],
                   _rev=self.revisions[change['id']])
        return load.HttpChannel.request('PUT', '/contacts/' + change['id'], row)

    def check(self, change, answer):
        status, body = answer
        if status != 201:
            raise Failed(f'PouchDB: {status} {body[:200].decode(errors="replace")}')
        self.revisions[change['id']] = json.loads(body)['rev']

    def _loop(self, clients, **limits):
        self._read_revisions()
        channels = [load.HttpChannel(self.ports['office']) for _ in range(clients)]
        under_way = {}

        def make(number):
            change = self.next_change()
            while change['id'] in (c['id'] for c in under_way.values()):
                change = self.next_change()
            under_way[number] = change
            return self.put(None, change)
        try:
            return load.closed_loop(channels, make, lambda n, answer: self.check(under_way.pop(n), answer), **limits)
        finally:
            for channel in channels:
                channel.close()

    def write(self, clients, seconds):
        return self._loop(clients, seconds=seconds)

    def make(self, count):
        self._loop(16, count=count)

    def measure_catchup(self, link, count):
        return super().measure_catchup(link, max(1000, count // 20))

    def run_live(self, seconds):
        self._read_revisions()
        self._ask('office', 'POST', '/_replicate', self._replication(continuous=True))
        reader = load.HttpChannel(self.ports['head'])
        try:
            return load.live(
                connect=lambda: load.HttpChannel(self.ports['office']), write=self.put, check=self.check, reader=reader,
                look=lambda channel, changes: channel.request('GET', '/contacts/' + changes[0]['id']),
                shown=lambda answer, changes: [
                    c for c in changes[:1] if json.loads(answer[1]).get('numberofchildren', 0) >= c['number']],
                next_change=self.next_change, seconds=seconds)
        except Failed as e:
            raise Behind(str(e)) from e
        finally:
            reader.close()
            # Ends the continuous replication.
            self.servers['office'].stop()
            self._start('office')
