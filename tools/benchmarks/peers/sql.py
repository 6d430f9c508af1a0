"""PostgreSQL and MariaDB: the office's table is replicated to head office's, which has the same indexes."""
import os
import re
import signal

import load
from peer import WRITERS, Peer
from sites import Failed, find_program, free_port, wait_until

COLUMNS = '''firstname varchar(50), lastname varchar(50) NOT NULL, jobtitle varchar(100), emailaddress1 varchar(100),
  telephone1 varchar(50), mobilephone varchar(50), address1_line1 varchar(250), address1_city varchar(80),
  address1_stateorprovince varchar(50), address1_postalcode varchar(20), address1_country varchar(80), birthdate date,
  description varchar(2000), statuscode int, lastusedincampaign {instant}, numberofchildren bigint,
  createdon {instant} NOT NULL'''
INDEXES = ('CREATE INDEX contact_name ON contact (lastname, firstname)',
           'CREATE INDEX contact_status ON contact (statuscode, createdon)')


class Site:
    def __init__(self, folder):
        self.folder, self.port, self.server = folder, free_port(), None


class Sql(Peer):
    driver = channel = None

    def __init__(self, work, data, slow_environment):
        super().__init__(work, data, slow_environment)
        self.sysbench = find_program('sysbench')
        self.lines_done = 0
        self.prepare()
        self.sites = {name: Site(work.folder(f'{type(self).__name__.lower()}-{name}')) for name in ('office', 'head')}

    def open(self, site):
        return self.channel(self.sites[site].port)

    def sql(self, site, text):
        channel = self.open(site)
        try:
            return channel.sql(text)
        finally:
            channel.close()

    def answers(self, site):
        self.sites[site].server.check()
        try:
            return self.sql(site, 'SELECT 1') is not None
        except (OSError, Failed):
            return False

    def wait_started(self):
        for site in self.sites:
            wait_until(lambda site=site: self.answers(site), 60, f"{self.name}'s {site}")

    def stop(self):
        for site in self.sites.values():
            if site.server:
                site.server.stop()

    def pids(self):
        return {name: [site.server.pid] for name, site in self.sites.items()}

    def _sysbench(self, clients, limits):
        text = self.work.run([
            self.sysbench, os.path.join(self.work.programs_shared, 'update.lua'), f'--db-driver={self.driver}',
            *self.sign_in(), f'--threads={clients}', *limits, '--histogram=on', f'--chunks={self.data.chunks}',
            f'--from={self.lines_done}', f'--number={self.number + 1}', 'run'], self.work.folder('client'))
        events = int(re.search(r'total number of events:\s+(\d+)', text).group(1))
        seconds = float(re.search(r'total time:\s+([\d.]+)s', text).group(1))
        histogram = [(float(ms), int(n)) for ms, n in re.findall(r'^\s*([\d.]+) \|\**\s+(\d+)$', text, re.M)]
        self.lines_done += events // clients + 1
        self.number += 4 * events + 1000  # a thread may have done more than its share

        def at(p):
            left = p * sum(n for _, n in histogram)
            for ms, n in histogram:
                left -= n
                if left <= 0:
                    return ms * 1000
            raise Failed('sysbench showed no latencies: ' + text[-300:])
        return {'rate': events / seconds, 'p50_us': at(0.5), 'p99_us': at(0.99)}

    def write(self, clients, seconds):
        return self._sysbench(clients, [f'--time={seconds}', '--events=0'])

    def make(self, count):
        self._sysbench(WRITERS, ['--time=0', f'--events={count}'])

    @staticmethod
    def update(change):
        return ("UPDATE contact SET statuscode = {statuscode}, description = '{description}', "
                "lastusedincampaign = '{at}', numberofchildren = {number} WHERE id = '{id}'").format(**change)

    @staticmethod
    def look(channel, changes):
        ids = ', '.join(f"'{change['id']}'" for change in changes)
        return channel.query(f'SELECT id, numberofchildren FROM contact WHERE id IN ({ids})')

    @staticmethod
    def shown(rows, changes):
        numbers = dict(rows)
        return [change for change in changes if int(numbers[change['id']]) >= change['number']]

    def run_live(self, seconds):
        reader = self.open('head')
        try:
            return load.live(connect=lambda: self.open('office'),
                             write=lambda channel, change: channel.query(self.update(change)),
                             check=lambda change, answer: None, reader=reader, look=self.look, shown=self.shown,
                             next_change=self.next_change, seconds=seconds)
        finally:
            reader.close()


class Postgres(Sql):
    name = 'PostgreSQL 15'
    note = ('logical replication, binary; synchronous_commit on at the office; head office applies with it off, as its '
            'subscriptions do by default, and the clock runs until its log is flushed')
    driver, channel = 'pgsql', load.PostgresChannel

    def prepare(self):
        bin_folder = '/usr/lib/postgresql/15/bin'
        self.postgres, self.initdb = (find_program(f'{bin_folder}/{p}') for p in ('postgres', 'initdb'))

    def sign_in(self):
        return ['--pgsql-host=127.0.0.1', f'--pgsql-port={self.sites["office"].port}', '--pgsql-user=bench',
                '--pgsql-password=', '--pgsql-db=postgres']

    def start(self, slow=False):
        fresh = self.line is None
        for name, site in self.sites.items():
            data = os.path.join(site.folder, 'data')
            if fresh:
                self.work.run([self.initdb, '-D', data, '-U', 'bench', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8'],
                              site.folder)
                with open(os.path.join(data, 'postgresql.conf'), 'a') as f:
                    f.write(f"listen_addresses = '127.0.0.1'\nport = {site.port}\n"
                            f"unix_socket_directories = '{site.folder}'\nwal_level = logical\n"
                            'fsync = on\nsynchronous_commit = on\nwal_sync_method = fdatasync\n'
                            'shared_buffers = 256MB\nmax_wal_size = 4GB\nwal_retrieve_retry_interval = 100ms\n')
            site.server = self.work.start(f'postgres-{name}', [self.postgres, '-D', data], site.folder,
                                          environment=self.environment(slow), end_signal=signal.SIGINT)
        self.wait_started()
        if not fresh:
            return
        for name in self.sites:
            self.sql(name, 'CREATE TABLE contact (id uuid PRIMARY KEY, '
                     + COLUMNS.format(instant='timestamptz(3)') + ')')
            for index in INDEXES:
                self.sql(name, index)
            self.sql(name, f"COPY contact FROM '{self.data.rows_file}'")
            self.sql(name, 'ANALYZE contact')
        self.new_line(self.sites['office'].port)
        self.sql('office', 'CREATE PUBLICATION rows FOR TABLE contact')
        self.sql('head', f"CREATE SUBSCRIPTION copy CONNECTION '{self.address(True)}' PUBLICATION rows "
                         'WITH (copy_data = false, binary = true)')
        self.connected = True

    def address(self, direct):
        port = self.sites['office'].port if direct else self.line.port
        return f'host=127.0.0.1 port={port} user=bench dbname=postgres'

    def disconnect(self):
        self.sql('head', 'ALTER SUBSCRIPTION copy DISABLE')
        wait_until(lambda: self.sql('office', 'SELECT pid FROM pg_stat_replication') == [], 30, 'the subscription to end')

    def connect(self, direct):
        self.sql('head', f"ALTER SUBSCRIPTION copy CONNECTION '{self.address(direct)}'")
        self.sql('head', 'ALTER SUBSCRIPTION copy ENABLE')
        office = self.open('office')
        wait_until(lambda: office.sql("SELECT 1 FROM pg_stat_replication WHERE state IN ('catchup', 'streaming')"), 60,
                   'the subscription', 0.002)
        office.close()

    def wait_applied(self):
        mark = self.next_change()
        self.sql('office', self.update(mark))
        head = self.open('head')
        wait_until(lambda: int(head.sql(f"SELECT numberofchildren FROM contact WHERE id = '{mark['id']}'")[0][0])
                   == mark['number'], 900, 'PostgreSQL to apply', 0.005)
        end = head.sql('SELECT pg_current_wal_insert_lsn()')[0][0]
        wait_until(lambda: head.sql(f"SELECT pg_current_wal_flush_lsn() >= '{end}'")[0][0] == 't', 60, 'a flush', 0.005)
        head.close()


class Maria(Sql):
    name = 'MariaDB 10.11'
    compressed = False
    note = ('row format with minimal row images, GTID, sync_binlog=1 and innodb_flush_log_at_trx_commit=1 on both sides, '
            '16 optimistic parallel appliers')
    driver, channel = 'mysql', load.MariaChannel

    def prepare(self):
        self.server, self.install = find_program('mariadbd'), find_program('mariadb-install-db')

    def sign_in(self):
        return ['--mysql-host=127.0.0.1', f'--mysql-port={self.sites["office"].port}', '--mysql-user=bench',
                '--mysql-password=', '--mysql-db=bench']

    def start(self, slow=False):
        fresh = self.line is None
        for number, (name, site) in enumerate(self.sites.items(), 1):
            data, first = os.path.join(site.folder, 'data'), os.path.join(site.folder, 'first.sql')
            options = [f'--datadir={data}', f'--port={site.port}', '--bind-address=127.0.0.1',
                       f'--socket={site.folder}/socket', f'--pid-file={site.folder}/pid', f'--server-id={number}',
                       '--skip-name-resolve', '--secure-file-priv=', '--innodb-flush-log-at-trx-commit=1',
                       '--innodb-buffer-pool-size=256M', '--innodb-log-file-size=512M', f'--init-file={first}',
                       f'--relay-log={site.folder}/relay', '--slave-parallel-threads=16',
                       '--slave-parallel-mode=optimistic', '--character-set-server=utf8mb4',
                       f'--slave-compressed-protocol={int(self.compressed)}', '--skip-slave-start']
            if name == 'office':
                options += [f'--log-bin={site.folder}/log', '--binlog-format=ROW', '--binlog-row-image=MINIMAL',
                            '--sync-binlog=1', f'--log-bin-compress={int(self.compressed)}',
                            '--log-bin-compress-min-len=64']
            if fresh:
                with open(first, 'w') as f:
                    f.write("SET sql_log_bin = 0;\nCREATE DATABASE IF NOT EXISTS bench;\n"
                            "CREATE USER IF NOT EXISTS bench@'127.0.0.1';\n"
                            "GRANT ALL ON *.* TO bench@'127.0.0.1' WITH GRANT OPTION;\n")
                self.work.run([self.install, '--no-defaults', f'--datadir={data}', '--skip-test-db',
                               '--auth-root-authentication-method=normal'], site.folder)
            site.server = self.work.start(f'{type(self).__name__.lower()}-{name}', [self.server, '--no-defaults', *options],
                                          site.folder, environment=self.environment(slow))
        self.wait_started()
        if not fresh:
            return
        for name in self.sites:
            channel = self.open(name)
            for text in ('SET sql_log_bin = 0', 'CREATE TABLE contact (id uuid PRIMARY KEY, '
                         + COLUMNS.format(instant='datetime(3)') + ') ENGINE=InnoDB', *INDEXES,
                         f"LOAD DATA INFILE '{self.data.rows_file}' INTO TABLE contact"):
                channel.sql(text)
            channel.close()
        self.new_line(self.sites['office'].port)

    def open(self, site):
        channel = super().open(site)
        channel.sql('USE bench')
        return channel

    def disconnect(self):
        self.sql('head', 'STOP SLAVE')

    def connect(self, direct):
        port = self.sites['office'].port if direct else self.line.port
        head = self.open('head')
        head.sql(f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'bench', "
                 'MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1')
        head.sql('START SLAVE')
        wait_until(lambda: head.sql("SHOW GLOBAL STATUS LIKE 'Slave_running'")[0][1] == 'ON', 60, 'the replica', 0.002)
        head.close()

    def wait_applied(self):
        mark = self.sql('office', 'SELECT @@gtid_binlog_pos')[0][0]
        head = self.open('head')
        done = mark == '' or head.sql(f"SELECT MASTER_GTID_WAIT('{mark}', 900)")[0][0] == '0'
        head.close()
        if not done:
            raise Failed('MariaDB did not apply in 900 s')


class MariaCompressed(Maria):
    name = 'MariaDB 10.11, compressed'
    compressed = True
    note = 'the same with log_bin_compress and slave_compressed_protocol'
