# A libvirtd of our own: it shares nothing with one that the machine may have,
# and leaves nothing.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import uuid
from pathlib import Path

from ipvlan_guest import PATIENCE, wait_for

EMULATOR = (Path(__file__).resolve().parents[2] / 'build' / 'qemu' /
            'qemu-system-x86_64')

# Nothing is confined, counted or logged by services that only a whole
# system has.
QEMU_CONF = '''
security_driver = "none"
stdio_handler = "file"
'''
SYSTEM_CONF = '''
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
'''

# Where the system's libvirtd has its files.
SYSTEM_DIRS = {'etc': '/etc/libvirt', 'run': '/run/libvirt',
               'lib': '/var/lib/libvirt', 'cache': '/var/cache/libvirt',
               'log': '/var/log/libvirt'}
# Debian's looks this user up, whoever runs its domains.
SYSTEM_USER = 'libvirt-qemu:x:0:0::/:/bin/false\n'
SYSTEM_GROUP = 'libvirt-qemu:x:0:\n'


class VirshError(AssertionError):
    """What virsh said when it failed."""


class Libvirtd:
    """A user's libvirtd, with all of its files below one directory."""

    mode = 'session'

    def __init__(self, test, directory, host):
        self.test = test
        self.dir = directory
        self.host = host
        self.process = None
        self.make_dirs()
        self.log = self.dir / 'libvirtd.log'
        self.config = self.dir / 'libvirtd.conf'
        self.config.write_text(f'''
host_uuid = "{uuid.uuid4()}"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:file:{self.log}"
''')
        self.qemu_conf().write_text(self.qemu_settings())
        test.addCleanup(self.end)

    # ---- how a session differs from the system ----

    def make_dirs(self):
        for name in 'config/libvirt', 'run', 'cache/libvirt/qemu', 'data':
            (self.dir / name).mkdir(parents=True, mode=0o700)
        (self.dir / 'cache/libvirt/qemu/cache').symlink_to(self.test.probed)

    def qemu_conf(self):
        return self.dir / 'config/libvirt/qemu.conf'

    def qemu_settings(self):
        return QEMU_CONF

    def run_dir(self):
        return self.dir / 'run' / 'libvirt'

    def environment(self):
        return {'HOME': self.dir,
                'XDG_RUNTIME_DIR': self.dir / 'run',
                'XDG_CONFIG_HOME': self.dir / 'config',
                'XDG_CACHE_HOME': self.dir / 'cache',
                'XDG_DATA_HOME': self.dir / 'data'}

    def prefix(self):
        """Root would be given the system's, so it becomes somebody else.

        Its files stay its own.
        """
        if os.geteuid() == 0:
            # a user that exists, or libvirtd would not start
            nobody = pwd.getpwnam('nobody')
            return ['unshare', '--user', f'--map-user={nobody.pw_uid}',
                    f'--map-group={nobody.pw_gid}']
        return []

    # ---- the daemon ----

    @property
    def uri(self):
        return (f'qemu+unix:///{self.mode}?socket='
                f'{self.run_dir()}/libvirt-sock')

    def start(self):
        env = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LC_ALL': 'C.UTF-8',
               **self.environment()}
        output = open(self.dir / 'libvirtd.out', 'ab')
        with output, self.host:
            self.process = subprocess.Popen(
                [*self.prefix(), 'libvirtd', '--config', self.config,
                 '--pid-file', self.dir / 'libvirtd.pid'], env=env,
                stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT)
        wait_for(self.answers, f'libvirtd, see {self.log}')

    def answers(self):
        self.test.assertIsNone(self.process.poll(), self.last_words())
        return self.run_virsh('uri').returncode == 0

    def last_words(self):
        return ''.join(file.read_text() for file in
                       (self.dir / 'libvirtd.out', self.log)
                       if file.exists())

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def end(self):
        if self.process and self.process.poll() is None:
            self.kill(signal.SIGTERM)

    def errors(self):
        """What it has logged as errors so far."""
        return re.findall(' error : (.*)', self.log.read_text())

    def files(self):
        """All that it has, but for logs and what it knows of emulators."""
        return {path for path in self.dir.rglob('*') if not path.is_dir() and
                not re.search(r'\.log$|/capabilities/', str(path))}

    # ---- virsh ----

    def run_virsh(self, *args, **options):
        return subprocess.run(
            ['virsh', '--quiet', '--connect', self.uri, *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.STDOUT, **options)

    def virsh(self, *args):
        done = self.run_virsh(*args)
        if done.returncode:
            raise VirshError(f'virsh {" ".join(map(str, args))}: '
                             f'{done.stdout.strip()}')
        return done.stdout.strip()


class SystemLibvirtd(Libvirtd):
    """Root's libvirtd, in a mount namespace where all files are its own."""

    mode = 'system'

    def __init__(self, test, directory, host):
        super().__init__(test, directory, host)
        for name, line in ('passwd', SYSTEM_USER), ('group', SYSTEM_GROUP):
            with open(f'/etc/{name}') as file:
                (self.dir / name).write_text(file.read() + line)
        # Something has to be there to be hidden.
        for path in SYSTEM_DIRS.values():
            if not os.path.exists(path):
                os.mkdir(path)
                test.addCleanup(os.rmdir, path)

    def make_dirs(self):
        for name in SYSTEM_DIRS:
            (self.dir / name).mkdir(parents=True)

    def qemu_conf(self):
        return self.dir / 'etc' / 'qemu.conf'

    def qemu_settings(self):
        return QEMU_CONF + SYSTEM_CONF

    def run_dir(self):
        return self.dir / 'run'

    def environment(self):
        return {}

    def prefix(self):
        mounts = {**SYSTEM_DIRS, 'passwd': '/etc/passwd',
                  'group': '/etc/group'}
        script = ''.join(f'mount --bind "{self.dir}/{name}" {path}\n'
                         for name, path in mounts.items())
        return ['unshare', '--mount', 'sh', '-ec', f'{script} exec "$@"',
                'sh']


class Domain:
    """A domain of a daemon's.  It has what Guest wants of a machine."""

    def __init__(self, daemon, name='web', identity=None):
        self.daemon = daemon
        self.name = name
        self.uuid = identity or str(uuid.uuid4())
        self.console = daemon.dir / 'console'
        self.console_socket = None
        daemon.test.addCleanup(self.end)

    def end(self):
        """Whatever has become of it and of the daemon."""
        self.disconnect()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def processes(self):
        """Those that are this domain, here or with another daemon."""
        found = []
        for name in filter(str.isdecimal, os.listdir('/proc')):
            try:
                with open(f'/proc/{name}/cmdline') as file:
                    words = file.read().split('\0')
            except (FileNotFoundError, ProcessLookupError):
                continue
            if words[0] == str(EMULATOR) and self.uuid in words:
                found.append(int(name))
        return found

    def virsh(self, command, *args):
        return self.daemon.virsh(command, self.name, *args)

    def define(self, xml):
        path = self.daemon.dir / 'domain.xml'
        path.write_text(xml)
        self.daemon.virsh('define', '--validate', path)
        path.unlink()

    def start(self):
        self.virsh('start')
        self.connect()

    def connect(self):
        """Have its console, from now on."""
        self.disconnect()
        self.console_socket = socket.socket(socket.AF_UNIX)
        self.console_socket.connect(str(self.console))

    def disconnect(self):
        if self.console_socket:
            self.console_socket.close()
            self.console_socket = None

    def state(self):
        return self.virsh('domstate')

    def qmp(self, command, **arguments):
        reply = json.loads(self.virsh(
            'qemu-monitor-command', json.dumps({'execute': command,
                                                'arguments': arguments})))
        return reply['return']

    def hmp(self, line):
        return self.virsh('qemu-monitor-command', '--hmp', line)

    def slaves(self):
        """All slaves that query-ipvlan shows, by id."""
        return {slave['id']: slave for port in self.qmp('query-ipvlan')
                for slave in port['slaves']}

    def owned(self, slave):
        return {entry['address']: entry['origin']
                for entry in self.slaves()[slave]['addresses']}
