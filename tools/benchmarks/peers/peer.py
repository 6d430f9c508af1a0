"""What every peer does alike, and the rows and changes that all get."""
import json
import os
import subprocess
import time
import uuid
from datetime import datetime, timezone

from sites import Failed, Line

WRITERS = 16
FIELDS = ('firstname', 'lastname', 'jobtitle', 'emailaddress1', 'telephone1', 'mobilephone', 'address1_line1',
          'address1_city', 'address1_stateorprovince', 'address1_postalcode', 'address1_country', 'birthdate',
          'description', 'statuscode', 'lastusedincampaign', 'numberofchildren')


class Behind(Failed):
    """A figure that a peer does not reach; its others may be measured."""


def now_text():
    return datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]


class Data:
    """From the same seed and vocabulary as the contacts and changes of Branchline's own benchmark."""

    def __init__(self, work, contacts, changes):
        made = subprocess.run([os.path.join(work.programs, 'branchline-bench'), 'peer-data', '--contacts', str(contacts),
                               '--changes', str(changes)], check=True, stdout=subprocess.PIPE).stdout.splitlines()
        self.contacts = [json.loads(row) for row in made[:contacts]]
        created = now_text()
        for number, row in enumerate(self.contacts):
            row['lastusedincampaign'] = row['lastusedincampaign'].replace('T', ' ').rstrip('Z')
            row['id'] = str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
            row['createdon'] = created
        self.changes = []
        for row in made[contacts:]:
            c = json.loads(row)
            self.changes.append((c['row'], c['statuscode'], c['description']))
        self.rows_file = os.path.join(work.root, 'contacts.tsv')
        with open(self.rows_file, 'w') as f:
            for row in self.contacts:
                f.write('\t'.join(str(row[name]) for name in ('id', *FIELDS, 'createdon')) + '\n')
        self.chunks = os.path.join(work.root, 'changes')
        for part in range(WRITERS):
            with open(f'{self.chunks}.{part}', 'w') as f:
                for row, status, note in self.changes[part::WRITERS]:
                    f.write(f'{self.contacts[row]["id"]}\t{status}\t{note}\n')


class Peer:
    """Two sites, an office that writes and a head office that gets it, and the line between them.

    A peer has: start(slow), stop(), disconnect(), connect(direct), wait_applied(), write(), make(), run_live(), pids().
    """
    name = ''
    durable = True  # commits are on disk when they are answered; the slow disk's figures check it
    indexed = True  # rows with indexes
    note = ''

    def __init__(self, work, data, slow_environment):
        self.work, self.data, self.slow_environment = work, data, slow_environment
        self.line, self.number, self.next = None, 0, 0
        self.connected = False

    def environment(self, slow):
        return self.slow_environment if slow else {}

    def new_line(self, port):
        self.line = Line(self.work, type(self).__name__.lower() + str(port), port)

    def next_change(self, rows=None):
        row, status, note = self.data.changes[self.next % len(self.data.changes)]
        contact = self.data.contacts[row % (rows or len(self.data.contacts))]
        self.next += 1
        self.number += 1
        return {'id': contact['id'], 'statuscode': status, 'description': note, 'at': now_text(), 'number': self.number}

    def _apart(self):
        if self.connected:
            self.disconnect()
        self.connected = False
        self.line.down()

    def _together(self, direct):
        self.line.up()
        self.connect(direct)
        self.connected = True

    def _drain(self):
        self._apart()
        self._together(True)
        self.wait_applied()
        self._apart()

    def measure_write(self, clients, seconds):
        self._apart()
        return self.write(clients, seconds)

    def measure_live(self, seconds):
        self._drain()
        self._together(False)
        self.wait_applied()
        self.line.reset()
        seen = self.run_live(seconds)
        self.wait_applied()
        seen['bytes'] = self.line.bytes() / seen['changes']
        return seen

    def measure_catchup(self, link, count):
        self._drain()
        self.make(count)
        self.line.reset()
        self._together(not link)
        begin = time.monotonic()
        self.wait_applied()
        rate = count / (time.monotonic() - begin)
        return {'rate': rate, 'bytes': self.line.bytes() / count}
