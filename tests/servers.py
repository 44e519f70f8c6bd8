"""Real servers for the proofs and the bench: RabbitMQ, MariaDB and MySQL on free ports and folders of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_START_S = 300
"""RabbitMQ takes five seconds of CPU, which is minutes where twenty others want it too."""


_OTHERS = os.environ.get("BONGSU_TEST_SERVERS", "")
"""Where other servers than the system's are (tests/trixie.sh, tests/mysql.sh)."""


class ServerError(RuntimeError):
    """A server is not installed, or did not start; the message says what to do."""


class Server:
    """One server process that can be stopped, killed and started again on the same folder and port."""

    name = "server"
    host = "127.0.0.1"

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it serves.

        Raises:
            ServerError: it is not installed or did not start.
        """
        command, environment = self._command()
        with (self.home / "out.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, env=environment,
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + _START_S
        while True:
            if self._process.poll() is not None:
                raise ServerError(f"{self.name} ended: {(self.home / 'out.log').read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 0.5):
                break
            if time.monotonic() > end:
                raise ServerError(f"{self.name} did not listen within {_START_S} s: see {self.home / 'out.log'}")
            time.sleep(0.1)
        self._await_service()

    def stop(self) -> None:
        """Stop as an operator would: SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop as a power cut would: SIGKILL."""
        self._end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signum)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def _await_service(self) -> None:
        """Wait until it can do more than listen."""


class Rabbit(Server):
    """A RabbitMQ node."""

    name = "rabbitmq-server"

    def __init__(self, home: Path, *, has_management: bool = False) -> None:
        super().__init__(home)
        self.management_port = free_port() if has_management else None
        (home / "plugins").write_text("[rabbitmq_management]." if has_management else "[].")
        (home / "rabbitmq.conf").write_text(
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n" if has_management else ""
        )
        tools = rabbit_tools()
        if tools is None:
            raise ServerError("no rabbitmq-server: apt-get install rabbitmq-server")
        self._tools = tools
        self._environment = {
            **os.environ,
            "RABBITMQ_NODENAME": f"bongsu{os.getpid()}x{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(home),
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(home / "feature_flags"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "HOME": str(home),  # where the Erlang cookie is
            "PATH": f"{tools}:{os.environ['PATH']}",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def ctl(self, *arguments: str) -> str:
        """What `rabbitmqctl` prints."""
        command = [str(self._tools / "rabbitmqctl"), "-q", *arguments]
        done = subprocess.run(
            command, check=True, timeout=600, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environment
        )
        return done.stdout.decode()

    def _command(self) -> tuple[list[str], dict[str, str]]:
        return [str(self._tools / "rabbitmq-server")], self._environment

    def _await_service(self) -> None:
        # It listens once all else has started, so an answer to the protocol's first bytes is enough. `rabbitmqctl
        # await_startup` costs seconds of CPU, and gives up where the machine is so busy that nodes are slow to connect.
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as talk:
                talk.settimeout(10)
                talk.sendall(b"AMQP\x00\x00\x09\x01")
                if talk.recv(1) == b"\x01":  # a method frame: connection.start
                    return
            time.sleep(0.2)
        raise ServerError(f"rabbitmq-server did not answer within {_START_S} s: see {self.home / 'out.log'}")


class MariaDB(Server):
    """A MariaDB with one empty database, `bongsu`."""

    name = "mariadbd"

    def __init__(self, home: Path, statements: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        """In a folder with a short path, as its socket lies there.

        Args:
            home: its folder.
            statements: SQL that runs at each start, after the database is there.
            options: of the server, over those below.
        """
        super().__init__(home)
        self._options = options
        self._server = self._find(self.name)
        self._data = home / "data"
        if not self._data.exists():
            subprocess.run(self._install(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            created = "CREATE DATABASE IF NOT EXISTS bongsu CHARACTER SET utf8mb4"
            (home / "init.sql").write_text("".join(f"{statement};\n" for statement in (created, *statements)))

    @property
    def url(self) -> str:
        return f"mysql+aiomysql://root@127.0.0.1:{self.port}/bongsu"

    def _install(self) -> list[str]:
        """The command that makes an empty data folder."""
        return [
            self._find("mariadb-install-db"), "--no-defaults", f"--datadir={self._data}", "--skip-test-db",
            "--auth-root-authentication-method=normal", *self._user(),
        ]  # fmt: skip

    def _command(self) -> tuple[list[str], dict[str, str]]:
        options = [
            "--no-defaults", f"--datadir={self._data}", f"--socket={self.home}/s.sock", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--pid-file={self.home}/pid", f"--init-file={self.home}/init.sql",
            "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=1", *self._user(), *self._options,
        ]  # fmt: skip
        return [self._server, *options], dict(os.environ)

    @staticmethod
    def _find(program: str) -> str:
        found = shutil.which(program, path=f"{_OTHERS}:/usr/sbin:{os.environ['PATH']}".lstrip(":"))
        if found is None:
            raise ServerError(f"no {program}: apt-get install mariadb-server")
        return found

    @staticmethod
    def _user() -> list[str]:
        return ["--user=root"] if os.geteuid() == 0 else []


class MySQL(MariaDB):
    """Oracle's MySQL with one empty database, `bongsu`: users sign in as its default is, by caching_sha2_password."""

    name = "mysqld"

    def __init__(self, home: Path, statements: Sequence[str] = (), options: Sequence[str] = ()) -> None:
        # Its own root is of the socket alone.
        root = ("CREATE USER IF NOT EXISTS root@'127.0.0.1'", "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION")
        own = ("--mysqlx=0", "--disable-log-bin", "--secure-file-priv=NULL")
        super().__init__(home, (*root, *statements), (*own, *options))

    def _install(self) -> list[str]:
        return [
            self._server, "--no-defaults", "--initialize-insecure", "--secure-file-priv=NULL",
            f"--datadir={self._data}", *self._user(),
        ]  # fmt: skip


def database_server(home: Path, statements: Sequence[str] = (), options: Sequence[str] = ()) -> MariaDB:
    """A MariaDB, or a MySQL where that is what BONGSU_TEST_SERVERS has (tests/mysql.sh)."""
    kind = MySQL if (Path(_OTHERS or "/nowhere") / MySQL.name).is_file() else MariaDB
    return kind(home, statements, options)


class Mosquitto(Server):
    """A Mosquitto that keeps nothing when it ends. `settings` are further lines of its configuration."""

    name = "mosquitto"

    def __init__(self, home: Path, settings: Sequence[str] = ("allow_anonymous true",)) -> None:
        super().__init__(home)
        self.settings = list(settings)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if program is None:
            raise ServerError("mosquitto is not installed: apt-get install mosquitto")
        # As root it would become the user `mosquitto`, who may read none of our files.
        user = ["user root"] if os.geteuid() == 0 else []
        lines = [*user, f"listener {self.port} 127.0.0.1", *self.settings]
        (self.home / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        return [program, "-c", str(self.home / "mosquitto.conf")], dict(os.environ)

    def _await_service(self) -> None:
        """It listens, so it serves."""


def rabbit_tools() -> Path | None:
    """The folder of RabbitMQ's own scripts, if it is installed."""
    # Debian's wrappers in PATH change to a user who may not write our folder; the real scripts are beside the code.
    found = [
        Path(_OTHERS or "/nowhere"),
        Path("/usr/lib/rabbitmq/bin"),
        Path(shutil.which("rabbitmq-server") or "/nowhere").parent,
    ]
    return next((folder for folder in found if (folder / "rabbitmq-server").is_file()), None)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
